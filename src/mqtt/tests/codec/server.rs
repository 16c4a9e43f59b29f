//! What the encoders write, read back by the reference and by the decoder.

use mqtt::encode::{self, AckKind, Fit};
use mqtt::{Auth, ConnAck, Packet, PacketId, PublishOut, QoS, ReasonCode, Version, properties};

use crate::golden;
use crate::reference::{Property, Reader, find, split};
use crate::wire::{VERSIONS, hex, read};

use Version::{V5, V31, V311};

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not zero")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // Encoders append: what is there stays.
    let mut out = b"before".to_vec();
    write(&mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

fn connack(version: Version, connack: &ConnAck<'_>, packet_bytes_max: u32) -> (Vec<u8>, Fit) {
    let mut fit = Fit::Nothing;
    let bytes = written(|out| fit = encode::connack(out, version, connack, packet_bytes_max));
    assert!(u32::try_from(bytes.len()).expect("small") <= packet_bytes_max);
    assert_eq!(bytes.is_empty(), fit == Fit::Nothing);
    (bytes, fit)
}

/// Reads a 5.0 CONNACK: flags, code, properties.
fn read_connack(bytes: &[u8]) -> (u8, u8, Vec<Property>) {
    let (first, body) = split(bytes).expect("one packet");
    assert_eq!(first, 0x20);
    let mut reader = Reader::new(body);
    let (flags, code) = (reader.byte().expect("flags"), reader.byte().expect("code"));
    let properties = reader.properties('c').expect("lawful properties");
    assert_eq!(reader.left(), 0);
    (flags, code, properties)
}

#[test]
fn connack_below_5_0_is_four_bytes() {
    // CN-05, CN-07, CN-19, CA-06 [MQTT-3.2.2-6], CA-08.
    let rows = [
        (V311, true, ReasonCode::Success, "20 02 01 00"),
        (V311, false, ReasonCode::Success, "20 02 00 00"),
        // 3.1 has no session present.
        (V31, true, ReasonCode::Success, "20 02 00 00"),
        (V311, true, ReasonCode::ClientIdNotValid, "20 02 00 02"),
        (V311, false, ReasonCode::UnsupportedProtocolVersion, "20 02 00 01"),
        (V311, false, ReasonCode::ConnectionRateExceeded, "20 02 00 03"),
        (V31, false, ReasonCode::BadUserNameOrPassword, "20 02 00 04"),
        (V31, false, ReasonCode::NotAuthorized, "20 02 00 05"),
        (V311, false, ReasonCode::MalformedPacket, ""),
        (V31, false, ReasonCode::PacketTooLarge, ""),
    ];
    for (version, session_present, reason, expected) in rows {
        let full = ConnAck { session_present, reason, reason_string: Some("why"), ..ConnAck::default() };
        assert_eq!(connack(version, &full, u32::MAX).0, hex(expected), "{version:?} {reason:?}");
    }
}

#[test]
fn connack_of_5_0_says_all_that_it_is_told() {
    // CA-03, CA-09, CA-12, CA-13.
    let full = ConnAck {
        session_present: true,
        reason: ReasonCode::Success,
        session_expiry_s: Some(3600),
        receive_maximum: Some(1024),
        qos_max: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        packet_bytes_max: Some(1 << 20),
        assigned_client_id: Some("auto-1"),
        topic_alias_max: Some(16),
        reason_string: Some("welcome"),
        wildcard_available: Some(true),
        subscription_id_available: Some(false),
        shared_available: Some(true),
        server_keep_alive_s: Some(10),
        response_information: Some("r/"),
        server_reference: Some("other"),
        authentication_method: Some("SCRAM"),
        authentication_data: Some(&[0, 1]),
    };
    let (bytes, fit) = connack(V5, &full, u32::MAX);
    let (flags, code, found) = read_connack(&bytes);
    assert_eq!((fit, flags, code), (Fit::Whole, 1, 0));
    let expected: [(u8, &[u8]); 16] = [
        (0x11, &[0, 0, 0x0e, 0x10]),
        (0x12, b"auto-1"),
        (0x13, &[0, 10]),
        (0x15, b"SCRAM"),
        (0x16, &[0, 1]),
        (0x1a, b"r/"),
        (0x1c, b"other"),
        (0x1f, b"welcome"),
        (0x21, &[4, 0]),
        (0x22, &[0, 16]),
        (0x24, &[1]),
        (0x25, &[0]),
        (0x27, &[0, 0x10, 0, 0]),
        (0x28, &[1]),
        (0x29, &[0]),
        (0x2a, &[1]),
    ];
    assert_eq!(found.len(), expected.len());
    for (id, value) in expected {
        assert_eq!(find(&found, id), value, "{id:02x}");
    }
}

#[test]
fn connack_of_5_0_says_nothing_that_it_must_not() {
    // FR-08 [MQTT-2.2.2-1], CA-06, CA-09, CA-13.
    let (bytes, _) = connack(V5, &ConnAck::default(), u32::MAX);
    assert_eq!(bytes, hex("20 03 00 00 00"));
    let empty = ConnAck {
        session_present: true,
        reason: ReasonCode::NotAuthorized,
        receive_maximum: Some(0),
        packet_bytes_max: Some(0),
        qos_max: Some(QoS::ExactlyOnce),
        ..ConnAck::default()
    };
    assert_eq!(connack(V5, &empty, u32::MAX).0, hex("20 03 00 87 00"));
}

#[test]
fn connack_drops_its_reason_string_and_then_itself() {
    // CA-14 [MQTT-3.2.2-19], B-34: the border is exact.
    let full = ConnAck {
        reason: ReasonCode::BadUserNameOrPassword,
        assigned_client_id: Some("0123456789"),
        reason_string: Some("a reason of some length"),
        ..ConnAck::default()
    };
    let (whole, _) = connack(V5, &full, u32::MAX);
    let (trimmed, _) = connack(V5, &ConnAck { reason_string: None, ..full.clone() }, u32::MAX);
    for maximum in 1..=u32::try_from(whole.len()).expect("small") + 1 {
        let at_least = |bytes: &[u8]| maximum >= u32::try_from(bytes.len()).expect("small");
        let expected = match (at_least(&whole), at_least(&trimmed)) {
            (true, _) => (whole.clone(), Fit::Whole),
            (false, true) => (trimmed.clone(), Fit::Trimmed),
            (false, false) => (Vec::new(), Fit::Nothing),
        };
        assert_eq!(connack(V5, &full, maximum), expected, "{maximum}");
    }
    // PS-06: a reason string is cut to what a string field holds.
    let long = "x".repeat(70_000);
    let (bytes, fit) = connack(V5, &ConnAck { reason_string: Some(&long), ..ConnAck::default() }, u32::MAX);
    assert_eq!((fit, find(&read_connack(&bytes).2, 0x1f).len()), (Fit::Whole, 65_535));
}

#[test]
fn acknowledgements_are_short_unless_they_say_something() {
    // AK-03, FR-27 [MQTT-2.2.1-5], QS-15: PUBREL has its flag.
    let kinds =
        [(AckKind::PubAck, 0x40), (AckKind::PubRec, 0x50), (AckKind::PubRel, 0x62), (AckKind::PubComp, 0x70)];
    for (kind, first) in kinds {
        for version in VERSIONS {
            let bytes = written(|out| encode::ack(out, version, kind, id(0x1234), ReasonCode::Success));
            assert_eq!(bytes, [first, 2, 0x12, 0x34]);
        }
        for version in [V31, V311] {
            let bytes = written(|out| encode::ack(out, version, kind, id(0xffff), ReasonCode::NotAuthorized));
            assert_eq!(bytes, [first, 2, 0xff, 0xff]);
        }
        let bytes = written(|out| encode::ack(out, V5, kind, id(1), ReasonCode::PacketIdNotFound));
        assert_eq!(bytes, [first, 3, 0, 1, 0x92]);
    }
}

#[test]
fn suback_has_one_code_for_each_request_in_the_words_of_its_version() {
    // SB-06 [MQTT-3.9.3-1], [MQTT-3.9.3-2].
    let codes = [
        ReasonCode::Success,
        ReasonCode::GrantedQoS1,
        ReasonCode::GrantedQoS2,
        ReasonCode::NotAuthorized,
        ReasonCode::TopicFilterInvalid,
    ];
    let expected = [
        (V31, "90 07 0007 00 01 02 00 00"),
        (V311, "90 07 0007 00 01 02 80 80"),
        (V5, "90 08 0007 00 00 01 02 87 8f"),
    ];
    for (version, expected) in expected {
        let bytes = written(|out| encode::suback(out, version, id(7), &codes));
        assert_eq!(bytes, hex(expected));
        assert_eq!(encode::suback_len(version, codes.len()), bytes.len());
    }
    // PS-06: across the border of the length's size.
    for count in [120, 124, 125, 126, 200, 16_400] {
        let bytes = written(|out| encode::suback(out, V5, id(7), &vec![ReasonCode::GrantedQoS1; count]));
        let (_, body) = split(&bytes).expect("one packet");
        assert_eq!((body.len(), bytes.len()), (count + 3, encode::suback_len(V5, count)));
    }
}

#[test]
fn unsuback_has_codes_in_5_0_alone() {
    // UN-04 [MQTT-3.11.3-1], [MQTT-3.10.4-4].
    let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::TopicFilterInvalid];
    for (version, expected) in [(V31, "b0 02 0007"), (V311, "b0 02 0007"), (V5, "b0 06 0007 00 00 11 8f")] {
        let bytes = written(|out| encode::unsuback(out, version, id(7), &codes));
        assert_eq!(bytes, hex(expected));
        assert_eq!(encode::unsuback_len(version, codes.len()), bytes.len());
    }
}

#[test]
fn pingresp_is_two_bytes() {
    assert_eq!(written(encode::pingresp), hex("d0 00"));
}

#[test]
fn disconnect_exists_in_5_0_alone_and_fits() {
    // ER-07, DC-04 [MQTT-3.14.2-2], DC-08 [MQTT-3.14.2-3].
    for version in [V31, V311] {
        let mut out = Vec::new();
        let fit = encode::disconnect(&mut out, version, ReasonCode::ProtocolError, Some("why"), u32::MAX);
        assert_eq!((fit, out.len()), (Fit::Nothing, 0));
    }
    let whole = hex("e0 08 82 06 1f 0003 776879");
    for (text, maximum, expected, expected_fit) in [
        (Some("why"), 10, whole.clone(), Fit::Whole),
        (Some("why"), 9, hex("e0 01 82"), Fit::Trimmed),
        (None, 9, hex("e0 01 82"), Fit::Whole),
        (None, 3, hex("e0 01 82"), Fit::Whole),
        (None, 2, Vec::new(), Fit::Nothing),
    ] {
        let mut fit = Fit::Nothing;
        let bytes =
            written(|out| fit = encode::disconnect(out, V5, ReasonCode::ProtocolError, text, maximum));
        assert_eq!((bytes, fit), (expected, expected_fit), "{maximum}");
    }
}

#[test]
fn auth_carries_method_and_data_and_is_written_whole_or_not_at_all() {
    // AU-03, AU-05, AU-11.
    let challenge =
        Auth { reason: ReasonCode::ContinueAuthentication, method: Some("SCRAM"), data: Some(&[0, 9]) };
    let bytes = written(|out| assert_eq!(encode::auth(out, V5, &challenge, 17), Fit::Whole));
    assert_eq!(read(&bytes, V5), Ok(Packet::Auth(challenge)));
    let challenge =
        Auth { reason: ReasonCode::ContinueAuthentication, method: Some("SCRAM"), data: Some(&[0, 9]) };
    for (version, maximum) in [(V5, 16), (V311, 100), (V31, 100)] {
        let bytes = written(|out| assert_eq!(encode::auth(out, version, &challenge, maximum), Fit::Nothing));
        assert_eq!(bytes, b"");
    }
}

/// A PUBLISH of the server, read back by the reference.
struct ReadPublish {
    first: u8,
    topic: Vec<u8>,
    packet_id: Option<Vec<u8>>,
    properties: Vec<Property>,
    payload: Vec<u8>,
}

fn read_publish(bytes: &[u8], version: Version) -> ReadPublish {
    let (first, body) = split(bytes).expect("one packet");
    let mut reader = Reader::new(body);
    let topic = reader.field().expect("a topic");
    let packet_id = (first & 6 != 0).then(|| reader.id().expect("an identifier"));
    let properties =
        if version == V5 { reader.properties('P').expect("lawful properties") } else { Vec::new() };
    let payload = reader.take(reader.left()).expect("the rest");
    ReadPublish { first, topic, packet_id, properties, payload }
}

fn plain<'a>(topic: &'a [u8], payload: &'a [u8]) -> PublishOut<'a> {
    PublishOut {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forward: &[],
        payload,
    }
}

#[test]
fn publish_is_written_with_every_header_that_it_can_have() {
    // QS-01, PB-03, RT-07, FR-25.
    let rows = [
        (QoS::AtMostOnce, false, false, 0x30),
        (QoS::AtMostOnce, false, true, 0x31),
        (QoS::AtLeastOnce, false, false, 0x32),
        (QoS::AtLeastOnce, true, true, 0x3b),
        (QoS::ExactlyOnce, false, true, 0x35),
        (QoS::ExactlyOnce, true, false, 0x3c),
    ];
    for (qos, dup, retain, first) in rows {
        for version in VERSIONS {
            let packet_id = (qos != QoS::AtMostOnce).then(|| id(0x0102));
            let publish = PublishOut { qos, dup, retain, packet_id, ..plain(b"a/b", b"payload") };
            let bytes = written(|out| encode::publish(out, version, &publish));
            let seen = read_publish(&bytes, version);
            assert_eq!((seen.first, seen.topic, seen.payload), (first, b"a/b".to_vec(), b"payload".to_vec()));
            assert_eq!(seen.packet_id, packet_id.map(|_| vec![1, 2]));
            assert_eq!(seen.properties, []);
        }
    }
}

#[test]
fn publish_is_written_right_across_every_border_of_its_lengths() {
    // PS-04, PS-06.
    let topic = vec![b't'; 65_535];
    let filler = vec![b'p'; 2_097_160];
    for version in VERSIONS {
        for (topic_bytes, payload_bytes) in
            [(1, 0), (1, 121), (1, 122), (1, 123), (1, 124), (1, 125), (20, 64)]
                .into_iter()
                .chain((16_375..16_385).map(|payload_bytes| (1, payload_bytes)))
                .chain((2_097_140..2_097_155).map(|payload_bytes| (1, payload_bytes)))
                .chain([(65_535, 0), (65_535, 1_000)])
        {
            let publish = plain(&topic[..topic_bytes], &filler[..payload_bytes]);
            let bytes = written(|out| encode::publish(out, version, &publish));
            assert_eq!(bytes.len(), encode::publish_len(version, &publish));
            let seen = read_publish(&bytes, version);
            assert_eq!((seen.topic.len(), seen.payload.len()), (topic_bytes, payload_bytes));
        }
    }
}

#[test]
fn publish_tells_5_0_receivers_all_properties_and_others_none() {
    // SB-10, TA-06, EX-02, RR-06, FR-22.
    let forward = b"\x26\0\x01a\0\x011\x03\0\x04text\x26\0\x01a\0\x012";
    let publish = PublishOut {
        qos: QoS::AtLeastOnce,
        packet_id: Some(id(5)),
        topic_alias: Some(3),
        expiry_s: Some(7),
        subscription_ids: &[1, 128, 268_435_455],
        forward,
        ..plain(b"a", b"x")
    };
    let bytes = written(|out| encode::publish(out, V5, &publish));
    assert_eq!(bytes.len(), encode::publish_len(V5, &publish));
    let seen = read_publish(&bytes, V5);
    assert_eq!(find(&seen.properties, 0x23), [0, 3]);
    assert_eq!(find(&seen.properties, 0x02), [0, 0, 0, 7]);
    let ids: Vec<_> = seen.properties.iter().filter(|property| property.0 == 0x0b).collect();
    let expected = [1u64, 128, 268_435_455].map(|id| (0x0b, id.to_be_bytes().to_vec()));
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    let users: Vec<_> = seen.properties.iter().filter(|property| property.0 == 0x26).collect();
    assert_eq!(users, [&(0x26, b"a\x001".to_vec()), &(0x26, b"a\x002".to_vec())]);
    assert_eq!(find(&seen.properties, 0x03), b"text");
    for version in [V31, V311] {
        let bytes = written(|out| encode::publish(out, version, &publish));
        assert_eq!(bytes, hex("32 06 0001 61 0005 78"));
    }
    // An alias alone names the topic.
    let bytes = written(|out| {
        encode::publish(out, V5, &PublishOut { topic_alias: Some(3), ..plain(b"", b"x") });
    });
    assert_eq!(bytes, hex("30 07 0000 03 23 0003 78"));
}

#[test]
fn the_properties_length_is_right_at_its_borders() {
    // PS-06: 127, 128, 16,383 and 16,384 bytes of properties.
    for value_bytes in [119, 120, 121, 122, 123, 16_375, 16_376, 16_377, 16_378, 16_379] {
        let value = vec![b'v'; value_bytes];
        let length = u16::try_from(value_bytes).expect("small").to_be_bytes();
        let forward = [&b"\x26\0\x01k"[..], &length, &value].concat();
        let publish = PublishOut { forward: &forward, ..plain(b"a", b"x") };
        let bytes = written(|out| encode::publish(out, V5, &publish));
        assert_eq!(bytes.len(), encode::publish_len(V5, &publish));
        assert_eq!(read_publish(&bytes, V5).properties, [(0x26, [b"k\0", &value[..]].concat())]);
    }
}

#[test]
fn what_was_published_goes_out_as_it_came_in() {
    // RR-02 to RR-05: decode, forward, encode, decode.
    let mut count = 0;
    for (version, bytes) in golden::packets() {
        let Ok(Packet::Publish(came)) = read(&bytes, version) else { continue };
        let mut forward = Vec::new();
        properties::forwardable(came.raw, &mut forward);
        if came.raw_is_forwardable {
            assert_eq!(forward, came.raw);
        }
        let out = PublishOut {
            dup: came.dup,
            qos: came.qos,
            retain: came.retain,
            topic: came.topic,
            packet_id: came.packet_id,
            topic_alias: came.topic_alias,
            expiry_s: came.expiry_s,
            subscription_ids: &[],
            forward: &forward,
            payload: came.payload,
        };
        let again = written(|buffer| encode::publish(buffer, version, &out));
        assert_eq!(again.len(), bytes.len());
        let Ok(Packet::Publish(went)) = read(&again, version) else { panic!("refused {again:02x?}") };
        assert_eq!((went.topic, went.payload, went.packet_id), (came.topic, came.payload, came.packet_id));
        assert_eq!((went.topic_alias, went.expiry_s), (came.topic_alias, came.expiry_s));
        assert!(properties::user(went.raw).eq(properties::user(came.raw)));
        let mut forwarded = Vec::new();
        properties::forwardable(went.raw, &mut forwarded);
        assert_eq!(forwarded, forward);
        count += 1;
    }
    assert_eq!(count, 3 * 5 + 4);
}

#[test]
fn a_patched_template_is_what_would_have_been_encoded() {
    for version in VERSIONS {
        for payload in [&b""[..], &[7; 130], &[7; 20_000]] {
            let template = PublishOut {
                qos: QoS::AtLeastOnce,
                packet_id: Some(id(1)),
                forward: b"\x01\x01",
                ..plain(b"some/topic", payload)
            };
            let offset =
                encode::publish_packet_id_offset(version, &template).expect("QoS 1 has an identifier");
            let mut bytes = written(|out| encode::publish(out, version, &template));
            for (packet_id, dup) in [(id(0xabcd), true), (id(2), false)] {
                encode::publish_patch(&mut bytes, offset, packet_id, dup);
                let own = PublishOut { packet_id: Some(packet_id), dup, ..template };
                assert_eq!(bytes, written(|out| encode::publish(out, version, &own)));
            }
        }
    }
    assert_eq!(encode::publish_packet_id_offset(V5, &plain(b"a", b"")), None);
}
