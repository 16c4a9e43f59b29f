//! Packets: what a decoder accepts must be whole, and must come out of the encoder as it went in.
//!
//! Why the way back: "does not panic" is little. A field that is read wrongly is written wrongly, and the bytes differ.
//!
//! Invariants:
//! - Below 5.0 a PUBLISH or an acknowledgement is encoded again byte for byte; in 5.0 it decodes again to the same.
//!
//! Source: MQTT 5.0 sections 2.1, 3.1 and 3.3 to 3.7.

use mqtt::{
    Ack, AckKind, ConnAck, Connect, Fit, Frame, Framing, Packet, Publish, PublishOut, ReasonCode, Version,
    Violation, decode, decode_connect, encode, frame, topic,
};

/// Larger packets are refused; far above what an input has.
const PACKET_BYTES_MAX: u32 = 65_536;

/// Bytes of a 3.1 or 3.1.1 client after its CONNECT.
pub fn packet_v3(bytes: &[u8]) {
    packets(bytes, Version::V31);
    packets(bytes, Version::V311);
}

/// Bytes of a 5.0 client after its CONNECT.
pub fn packet_v5(bytes: &[u8]) {
    packets(bytes, Version::V5);
}

fn packets(bytes: &[u8], version: Version) {
    let mut rest = bytes;
    while let Some(whole) = first_frame(rest) {
        rest = &rest[whole.bytes.len()..];
        match decode(whole, version) {
            Ok(packet) => again(&packet, whole, version),
            Err(violation) => assert!(!violation.facts().text.is_empty(), "{violation:?} says why"),
        }
    }
}

/// The first packet of some bytes, after a look at how it was cut off.
fn first_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let Ok(Framing::Whole(whole)) = frame(bytes, PACKET_BYTES_MAX) else { return None };
    assert_eq!(whole.first, bytes[0]);
    assert!(bytes.starts_with(whole.bytes) && whole.bytes.ends_with(whole.body));
    let size = u32::try_from(whole.bytes.len()).expect("below the maximum");
    assert!(size <= PACKET_BYTES_MAX);
    assert_eq!(frame(&bytes[..whole.bytes.len() - 1], PACKET_BYTES_MAX), Ok(Framing::Partial));
    assert_eq!(frame(bytes, size - 1), Err(Violation::PacketTooLarge));
    Some(whole)
}

/// What was accepted is encoded, if the broker can send such a packet, and looked at from the other side.
fn again(packet: &Packet<'_>, whole: Frame<'_>, version: Version) {
    match packet {
        Packet::Publish(publish) => publish_again(publish, whole, version),
        Packet::PubAck(ack) => ack_again(*ack, AckKind::PubAck, whole, version),
        Packet::PubRec(ack) => ack_again(*ack, AckKind::PubRec, whole, version),
        Packet::PubRel(ack) => ack_again(*ack, AckKind::PubRel, whole, version),
        Packet::PubComp(ack) => ack_again(*ack, AckKind::PubComp, whole, version),
        Packet::Subscribe(subscribe) => {
            let bytes: usize = subscribe.requests().map(|request| 3 + request.filter.len()).sum();
            assert!(subscribe.requests().count() == subscribe.len() && subscribe.len() > 0);
            assert!(whole.bytes.len() > bytes && subscribe.subscription_id != Some(0));
            judge_filters(subscribe.requests().map(|request| request.filter));
        }
        Packet::Unsubscribe(unsubscribe) => {
            let bytes: usize = unsubscribe.filters().map(|filter| 2 + filter.len()).sum();
            assert!(unsubscribe.filters().count() == unsubscribe.len() && unsubscribe.len() > 0);
            assert!(whole.bytes.len() > bytes);
            judge_filters(unsubscribe.filters());
        }
        Packet::PingReq => assert_eq!(whole.bytes, [0xc0, 0]),
        Packet::Disconnect(disconnect) => {
            assert!(
                version == Version::V5 || whole.body.is_empty() && disconnect.reason == ReasonCode::Success
            );
        }
        Packet::Auth(auth) => assert!(version == Version::V5 && auth.method.is_some()),
        Packet::Connect => assert_eq!(whole.first, 0x10),
    }
}

/// Filters reach the checks of syntax as they are.
fn judge_filters<'a>(filters: impl Iterator<Item = &'a str>) {
    for filter in filters {
        let Ok(inner) = topic::parse_share(filter).map(|share| share.map_or(filter, |(_, inner)| inner))
        else {
            continue;
        };
        if topic::check_filter(inner, 128).is_ok() {
            assert!(topic::levels(inner).count() <= 128 && !inner.is_empty());
        }
    }
}

fn publish_again(publish: &Publish<'_>, whole: Frame<'_>, version: Version) {
    let mut forward = Vec::new();
    mqtt::properties::forwardable(publish.raw, &mut forward);
    assert!(!publish.raw_is_forwardable || forward == publish.raw, "what travels as it is differs");
    let out = PublishOut {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        topic_alias: publish.topic_alias,
        expiry_s: publish.expiry_s,
        subscription_ids: &[],
        forward: &forward,
        payload: publish.payload,
    };
    let mut bytes = Vec::new();
    encode::publish(&mut bytes, version, &out);
    assert_eq!(bytes.len(), encode::publish_len(version, &out));
    if version < Version::V5 {
        assert_eq!(bytes, whole.bytes, "a PUBLISH is not what it was");
    }
    let read = first_frame(&bytes).map(|read| decode(read, version));
    let Some(Ok(Packet::Publish(read))) = read else { panic!("{read:?} is read from {bytes:02x?}") };
    let (users, users_read): (Vec<_>, Vec<_>) =
        (mqtt::properties::user(publish.raw).collect(), mqtt::properties::user(read.raw).collect());
    assert_eq!(users, users_read);
    assert_eq!(forward_of(read.raw), forward);
    let Publish { raw, raw_is_forwardable, packet, .. } = *publish;
    let same = Publish { raw, raw_is_forwardable, packet, ..read };
    assert_eq!(same, *publish);
    if let (Some(id), Some(offset)) = (publish.packet_id, encode::publish_packet_id_offset(version, &out)) {
        assert_eq!(bytes[offset..offset + 2], id.get().to_be_bytes());
    }
}

fn forward_of(raw: &[u8]) -> Vec<u8> {
    let mut forward = Vec::new();
    mqtt::properties::forwardable(raw, &mut forward);
    forward
}

fn ack_again(ack: Ack, kind: AckKind, whole: Frame<'_>, version: Version) {
    let mut bytes = Vec::new();
    encode::ack(&mut bytes, version, kind, ack.packet_id, ack.reason);
    if version < Version::V5 {
        // MQTT 3.1 allows DUP on PUBREL, and nothing is made of it.
        assert_eq!(bytes[1..], whole.bytes[1..]);
        return;
    }
    let read = first_frame(&bytes).map(|read| decode(read, version));
    let (Some(Ok(
        Packet::PubAck(same) | Packet::PubRec(same) | Packet::PubRel(same) | Packet::PubComp(same),
    )),) = (read,)
    else {
        panic!("an acknowledgement is not read from {bytes:02x?}")
    };
    assert_eq!((same, bytes[0]), (ack, whole.first));
}

/// The first bytes of a connection.
pub fn connect(bytes: &[u8]) {
    let Some(whole) = first_frame(bytes) else { return };
    match decode_connect(whole) {
        Ok(connect) => accepted(&connect, whole),
        Err(refusal) => {
            assert!(!refusal.violation.facts().text.is_empty());
            if let Some((version, reason)) = refusal.answer() {
                refused(version, reason);
            }
        }
    }
}

fn accepted(connect: &Connect<'_>, whole: Frame<'_>) {
    assert_eq!(whole.first, 0x10);
    assert!(!connect.client_id.contains('\0'));
    let properties = &connect.properties;
    assert!(connect.version == Version::V5 || properties.raw.is_empty());
    assert!(properties.receive_maximum != Some(0) && properties.packet_bytes_max != Some(0));
    let strings = connect.client_id.len() + connect.password.map_or(0, <[u8]>::len);
    let users: usize =
        mqtt::properties::user(properties.raw).map(|(key, value)| 5 + key.len() + value.len()).sum();
    assert!(users <= properties.raw.len() && strings + properties.raw.len() < whole.body.len());
    let Some(will) = &connect.will else { return };
    let levels_max = will.topic.len() + 1;
    assert_eq!(
        topic::check_name(will.topic.as_bytes(), levels_max),
        Ok(will.topic),
        "a will on no topic name"
    );
    let forward = forward_of(will.raw);
    assert!(forward.len() <= will.raw.len());
    assert!(connect.version == Version::V5 || will.raw.is_empty());
}

/// The answer to a refused CONNECT is one whole CONNACK.
fn refused(version: Version, reason: ReasonCode) {
    let mut bytes = Vec::new();
    let connack = ConnAck { reason, session_present: true, ..ConnAck::default() };
    assert_eq!(encode::connack(&mut bytes, version, &connack, u32::MAX), Fit::Whole);
    let whole = first_frame(&bytes).expect("a whole CONNACK");
    assert_eq!((whole.first, whole.bytes.len(), whole.body[0]), (0x20, bytes.len(), 0));
    assert_ne!(whole.body[1], 0, "a refusal that reads as success");
}
