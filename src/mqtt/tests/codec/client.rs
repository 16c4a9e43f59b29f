//! Bytes after CONNECT, each row with its statement and what must come of it.

use std::collections::HashSet;

use mqtt::{Ack, Packet, PacketId, QoS, ReasonCode, RetainHandling, Version, Violation, topic};

use crate::wire::{VERSIONS, field, hex, packet, read};

use Version::{V5, V31, V311};

/// Row of the checklist, versions, bytes, violation.
type Row = (&'static str, &'static [Version], &'static str, Violation);

const ALL: &[Version] = &[V31, V311, V5];
const OLD: &[Version] = &[V31, V311];
const NEW: &[Version] = &[V5];

const ROWS: &[Row] = &[
    // Flags of the fixed header.
    ("FR-01 MQTT-2.1.3-1", ALL, "c1 00", Violation::FlagsReserved),
    ("FR-01 MQTT-2.1.3-1", ALL, "41 02 0001", Violation::FlagsReserved),
    ("FR-01 MQTT-2.1.3-1", ALL, "51 02 0001", Violation::FlagsReserved),
    ("FR-01 MQTT-2.1.3-1", ALL, "71 02 0001", Violation::FlagsReserved),
    ("FR-01 MQTT-2.1.3-1", ALL, "11 00", Violation::FlagsReserved),
    ("QS-09 MQTT-3.6.1-1", ALL, "60 02 0001", Violation::FlagsReserved),
    ("QS-09 MQTT-3.6.1-1", ALL, "64 02 0001", Violation::FlagsReserved),
    ("QS-09 MQTT-3.6.1-1", &[V311, V5], "6a 02 0001", Violation::FlagsReserved),
    ("SB-01 MQTT-3.8.1-1", ALL, "80 06 0001 0001 61 00", Violation::FlagsReserved),
    ("SB-01 MQTT-3.8.1-1", &[V311, V5], "8a 06 0001 0001 61 00", Violation::FlagsReserved),
    ("UN-01 MQTT-3.10.1-1", ALL, "a0 05 0001 0001 61", Violation::FlagsReserved),
    ("DC-02 MQTT-3.14.1-1", ALL, "e1 00", Violation::FlagsReserved),
    ("AU-01 MQTT-3.15.1-1", NEW, "f1 00", Violation::FlagsReserved),
    ("FR-02", ALL, "00 00", Violation::PacketTypeReserved),
    ("FR-02", OLD, "f0 00", Violation::PacketTypeReserved),
    ("FR-03", ALL, "20 02 00 00", Violation::ServerOnlyPacket),
    ("FR-03", ALL, "90 03 0001 00", Violation::ServerOnlyPacket),
    ("FR-03", ALL, "b0 02 0001", Violation::ServerOnlyPacket),
    ("FR-03", ALL, "d0 00", Violation::ServerOnlyPacket),
    // Integers and lengths.
    ("FR-05 MQTT-1.5.5-1", NEW, "30 05 0001 61 80 00", Violation::IntegerNotMinimal),
    ("FR-06 MQTT-1.5.5-1", NEW, "30 08 0001 61 ffffffff 01", Violation::IntegerTooLong),
    ("FR-07", NEW, "30 04 0001 61 01", Violation::FieldOverrun),
    ("FR-08 MQTT-2.2.2-1", NEW, "30 03 0001 61", Violation::FieldOverrun),
    // The filter's length is taken for the properties and the rest does not fit.
    ("FR-08 MQTT-2.2.2-1", NEW, "82 06 0001 0001 61 00", Violation::FieldOverrun),
    ("FR-09", ALL, "30 08 ffff 616161616161", Violation::FieldOverrun),
    ("FR-09", ALL, "30 01 00", Violation::FieldOverrun),
    ("FR-09", ALL, "30 00", Violation::FieldOverrun),
    ("FR-09", ALL, "32 04 0001 61 00", Violation::FieldOverrun),
    ("FR-09", OLD, "82 06 0001 0009 61 00", Violation::FieldOverrun),
    ("FR-09", OLD, "82 05 0001 0001 61", Violation::FieldOverrun),
    ("FR-09", OLD, "a2 05 0001 0009 61", Violation::FieldOverrun),
    ("FR-09", ALL, "40 01 00", Violation::FieldOverrun),
    ("FR-10 PG-02", ALL, "c0 01 00", Violation::BytesSurplus),
    ("FR-10 AK-03", OLD, "40 03 0001 00", Violation::BytesSurplus),
    ("FR-10", NEW, "40 05 0001 00 00 00", Violation::BytesSurplus),
    ("DC-09", OLD, "e0 01 00", Violation::BytesSurplus),
    ("FR-10", NEW, "e0 03 00 00 00", Violation::BytesSurplus),
    ("FR-10", NEW, "f0 07 18 04 15 0001 78 00", Violation::BytesSurplus),
    // Strings.
    ("FR-13 MQTT-1.5.4-1", OLD, "82 06 0001 0001 80 00", Violation::Utf8Invalid),
    ("FR-13 MQTT-1.5.4-1", NEW, "82 09 0001 00 0003 eda080 00", Violation::Utf8Invalid),
    ("FR-13 MQTT-1.5.4-1", OLD, "a2 06 0001 0002 c0af", Violation::Utf8Invalid),
    ("FR-14 MQTT-1.5.4-2", OLD, "82 08 0001 0003 610062 00", Violation::NulCharacter),
    ("FR-14 MQTT-1.5.4-2", NEW, "a2 06 0001 00 0001 00", Violation::NulCharacter),
    ("FR-16 MQTT-1.5.7-1", NEW, "30 0b 0001 61 07 26 0001 00 0001 61", Violation::NulCharacter),
    ("FR-16 MQTT-1.5.7-1", NEW, "30 0d 0001 61 09 26 0001 61 0003 eda080", Violation::Utf8Invalid),
    ("FR-16 MQTT-1.5.7-1", NEW, "30 08 0001 61 04 26 0001 61", Violation::FieldOverrun),
    ("FR-17 MQTT-3.3.2-13", NEW, "30 08 0001 61 04 08 0001 80", Violation::Utf8Invalid),
    ("FR-17 MQTT-3.3.2-19", NEW, "30 08 0001 61 04 03 0001 80", Violation::Utf8Invalid),
    ("FR-17", NEW, "e0 06 00 04 1f 0001 80", Violation::Utf8Invalid),
    ("FR-17", NEW, "f0 06 18 04 15 0001 80", Violation::Utf8Invalid),
    // Properties.
    ("FR-19", NEW, "30 06 0001 61 02 7f 00", Violation::PropertyUnknown),
    ("FR-19", NEW, "30 06 0001 61 02 00 00", Violation::PropertyUnknown),
    ("FR-19", NEW, "30 07 0001 61 03 80 01 00", Violation::PropertyUnknown),
    ("FR-19", NEW, "30 07 0001 61 03 8b 00 01", Violation::PropertyUnknown),
    ("FR-20", NEW, "30 07 0001 61 03 21 0001", Violation::PropertyMisplaced),
    ("FR-20", NEW, "82 0a 0001 03 23 0001 0001 61 00", Violation::PropertyMisplaced),
    ("FR-21", NEW, "30 08 0001 61 04 01 01 01 01", Violation::PropertyRepeated),
    ("FR-21", NEW, "30 0a 0001 61 06 23 0001 23 0002", Violation::PropertyRepeated),
    ("SB-12", NEW, "82 0b 0001 04 0b 01 0b 02 0001 61 00", Violation::PropertyRepeated),
    ("FR-23", NEW, "30 06 0001 61 02 01 02", Violation::PayloadFormatOutOfRange),
    ("SB-11", NEW, "82 09 0001 02 0b 00 0001 61 00", Violation::SubscriptionIdZero),
    ("FR-05 MQTT-1.5.5-1", NEW, "82 0a 0001 03 0b 81 00 0001 61 00", Violation::IntegerNotMinimal),
    // Packet identifiers.
    ("FR-24 MQTT-2.2.1-3", ALL, "32 05 0001 61 0000", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "34 05 0001 61 0000", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "82 06 0000 0001 61 00", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "a2 05 0000 0001 61", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "40 02 0000", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "50 02 0000", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "62 02 0000", Violation::PacketIdZero),
    ("FR-24 MQTT-2.2.1-3", ALL, "70 02 0000", Violation::PacketIdZero),
    // PUBLISH.
    ("PB-01 MQTT-3.3.1-4", ALL, "36 05 0001 61 0001", Violation::QoSInvalid),
    ("PB-01 MQTT-3.3.1-4", ALL, "3e 05 0001 61 0001", Violation::QoSInvalid),
    ("PB-02 MQTT-3.3.1-2", ALL, "38 04 0001 61 00", Violation::DupWithQoS0),
    ("PB-06 MQTT-4.7.3-1", ALL, "30 03 0000 00", Violation::TopicEmpty),
    ("PB-06", NEW, "30 08 0000 05 02 0000000a", Violation::TopicEmpty),
    ("PB-08 MQTT-3.3.4-6", NEW, "30 06 0001 61 02 0b 01", Violation::SubscriptionIdFromClient),
    ("RR-01 MQTT-3.3.2-14", NEW, "30 0a 0001 61 06 08 0003 612f23", Violation::ResponseTopicHasWildcard),
    ("RR-01 MQTT-3.3.2-14", NEW, "30 08 0001 61 04 08 0001 2b", Violation::ResponseTopicHasWildcard),
    ("RR-01", NEW, "30 07 0001 61 03 08 0000", Violation::ResponseTopicEmpty),
    // Acknowledgements.
    ("AK-01 MQTT-3.4.2-1", NEW, "40 03 0001 93", Violation::PubAckReasonInvalid),
    ("AK-01 MQTT-3.4.2-1", NEW, "40 03 0001 ff", Violation::PubAckReasonInvalid),
    ("AK-01 MQTT-3.5.2-1", NEW, "50 03 0001 92", Violation::PubRecReasonInvalid),
    ("AK-02 MQTT-3.6.2-1", NEW, "62 03 0001 10", Violation::PubRelReasonInvalid),
    ("AK-02 MQTT-3.7.2-1", NEW, "70 03 0001 80", Violation::PubCompReasonInvalid),
    // SUBSCRIBE and UNSUBSCRIBE.
    ("SB-02 MQTT-3.8.3-2", OLD, "82 02 0001", Violation::SubscribeEmpty),
    ("SB-02 MQTT-3.8.3-2", NEW, "82 03 0001 00", Violation::SubscribeEmpty),
    ("SB-03 MQTT-3.8.3-5", OLD, "82 06 0001 0001 61 04", Violation::SubscribeFlagReserved),
    ("SB-03 MQTT-3.8.3-5", OLD, "82 06 0001 0001 61 80", Violation::SubscribeFlagReserved),
    ("SB-03 MQTT-3.8.3-5", NEW, "82 07 0001 00 0001 61 40", Violation::SubscribeFlagReserved),
    ("SB-03 MQTT-3.8.3-5", NEW, "82 07 0001 00 0001 61 80", Violation::SubscribeFlagReserved),
    ("SB-04", OLD, "82 06 0001 0001 61 03", Violation::SubscribeQoSInvalid),
    ("SB-04", NEW, "82 07 0001 00 0001 61 03", Violation::SubscribeQoSInvalid),
    ("SB-04", NEW, "82 07 0001 00 0001 61 30", Violation::RetainHandlingInvalid),
    // ER-06: a good request before a bad one changes nothing.
    ("ER-06", OLD, "82 0a 0001 0001 61 01 0001 62 03", Violation::SubscribeQoSInvalid),
    ("SB-15 MQTT-3.8.3-4", NEW, "82 10 0001 00 000a 2473686172652f672f61 04", Violation::NoLocalOnShared),
    ("UN-02 MQTT-3.10.3-2", OLD, "a2 02 0001", Violation::UnsubscribeEmpty),
    ("UN-02 MQTT-3.10.3-2", NEW, "a2 03 0001 00", Violation::UnsubscribeEmpty),
    // DISCONNECT and AUTH.
    ("DC-03 MQTT-3.14.2-1", NEW, "e0 01 8e", Violation::DisconnectReasonInvalid),
    ("DC-03 MQTT-3.14.2-1", NEW, "e0 01 01", Violation::DisconnectReasonInvalid),
    ("DC-03 MQTT-3.14.2-1", NEW, "e0 01 ff", Violation::DisconnectReasonInvalid),
    ("AU-03 MQTT-3.15.2-1", NEW, "f0 00", Violation::AuthReasonInvalid),
    ("AU-10 MQTT-3.15.2-1", NEW, "f0 02 01 00", Violation::AuthReasonInvalid),
    ("AU-10 MQTT-3.15.2-1", NEW, "f0 06 00 04 15 0001 78", Violation::AuthReasonInvalid),
    ("AU-12", NEW, "f0 02 19 00", Violation::AuthWithoutMethod),
];

#[test]
fn every_row_is_refused_by_its_statement() {
    for (row, versions, bytes, expected) in ROWS {
        for &version in *versions {
            let bytes = hex(bytes);
            assert_eq!(read(&bytes, version), Err(*expected), "{row} in {version:?}: {bytes:02x?}");
        }
    }
}

/// Violations that no single packet after CONNECT can commit before `decode`: they need state, a CONNECT, a topic, or
/// stand in the tests of their own file.
const ELSEWHERE: &[Violation] = &[
    // tests of frame.rs.
    Violation::RemainingLengthTooLong,
    Violation::RemainingLengthNotMinimal,
    Violation::PacketTooLarge,
    // tests of topic.rs.
    Violation::TopicHasWildcard,
    Violation::TopicTooDeep,
    Violation::FilterEmpty,
    Violation::FilterHashMisplaced,
    Violation::FilterPlusMisplaced,
    Violation::FilterTooDeep,
    Violation::ShareNameEmpty,
    Violation::ShareNameInvalid,
    // tests of connect.rs.
    Violation::RequestResponseOutOfRange,
    Violation::RequestProblemOutOfRange,
    Violation::ReceiveMaximumZero,
    Violation::PacketSizeMaximumZero,
    Violation::FirstPacketNotConnect,
    Violation::ProtocolName,
    Violation::ProtocolLevel,
    Violation::ConnectFlagReserved,
    Violation::WillQoSInvalid,
    Violation::WillQoSWithoutWill,
    Violation::WillRetainWithoutWill,
    Violation::WillFieldMissing,
    Violation::WillTopicEmpty,
    Violation::WillTopicHasWildcard,
    Violation::UserNameMissing,
    Violation::PasswordMissing,
    Violation::PasswordWithoutUserName,
    Violation::ClientIdMissing,
    Violation::ClientIdEmpty,
    Violation::AuthDataWithoutMethod,
    // The session's and the listener's.
    Violation::ControlCharacter,
    Violation::SecondConnect,
    Violation::ConnectTimeout,
    Violation::WillTopicTooDeep,
    Violation::TopicTooLong,
    Violation::WillQoSTooHigh,
    Violation::WillRetainNotSupported,
    Violation::PacketBeforeConnAck,
    Violation::TopicAliasZero,
    Violation::TopicAliasTooLarge,
    Violation::TopicAliasUnknown,
    Violation::ReceiveMaximumExceeded,
    Violation::PublishQoSTooHigh,
    Violation::RetainNotSupported,
    Violation::PayloadNotUtf8,
    Violation::RetainedQuotaExceeded,
    Violation::AnswerTooLarge,
    Violation::AckStateMismatch,
    Violation::SessionExpiryRaisedFromZero,
    Violation::AuthUnexpected,
    Violation::AuthMethodChanged,
    Violation::KeepAliveTimeout,
];

#[test]
fn every_violation_has_a_row_or_a_home_elsewhere() {
    let rows: HashSet<_> = ROWS.iter().map(|row| row.3).collect();
    for violation in Violation::ALL {
        let homes = u8::from(rows.contains(violation)) + u8::from(ELSEWHERE.contains(violation));
        assert_eq!(homes, 1, "{violation:?}");
    }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not zero")
}

#[test]
fn short_and_long_acknowledgements_say_the_same() {
    // AK-03.
    let success = Ack { packet_id: id(0x1234), reason: ReasonCode::Success };
    for bytes in ["40 02 1234", "40 03 1234 00", "40 04 1234 00 00", "40 0b 1234 00 07 26 0001 61 0001 62"] {
        assert_eq!(read(&hex(bytes), V5), Ok(Packet::PubAck(success)), "{bytes}");
    }
    let failed = Ack { packet_id: id(1), reason: ReasonCode::PacketIdNotFound };
    assert_eq!(read(&hex("62 03 0001 92"), V5), Ok(Packet::PubRel(failed)));
    assert_eq!(read(&hex("70 08 0001 92 04 1f 0001 78"), V5), Ok(Packet::PubComp(failed)));
}

#[test]
fn dup_on_three_packets_is_allowed_in_3_1_alone() {
    // FR-01, QS-09, SB-01.
    assert!(matches!(read(&hex("6a 02 0001"), V31), Ok(Packet::PubRel(_))));
    assert!(matches!(read(&hex("8a 06 0001 0001 61 00"), V31), Ok(Packet::Subscribe(_))));
    assert!(matches!(read(&hex("aa 05 0001 0001 61"), V31), Ok(Packet::Unsubscribe(_))));
}

#[test]
fn disconnect_is_read_in_all_its_lengths() {
    // DC-09, B-38.
    for (bytes, reason) in [
        ("e0 00", ReasonCode::Success),
        ("e0 01 04", ReasonCode::DisconnectWithWill),
        ("e0 02 00 00", ReasonCode::Success),
        ("e0 02 81 00", ReasonCode::MalformedPacket),
    ] {
        match read(&hex(bytes), V5) {
            Ok(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason, reason),
            other => panic!("{other:?}"),
        }
    }
    // DC-05.
    match read(&hex("e0 07 00 05 11 00000064"), V5) {
        Ok(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.session_expiry_s, Some(100)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_options_of_a_subscription_are_read_bit_by_bit() {
    // SB-04, SB-11: the largest identifier works.
    let bytes = packet(0x82, &[&hex("0007 05 0b ffffff7f"), &field("a"), &[0x00], &field("b/#"), &[0x2e]]);
    let Ok(Packet::Subscribe(subscribe)) = read(&bytes, V5) else { panic!("refused") };
    assert_eq!((subscribe.packet_id, subscribe.subscription_id), (id(7), Some(268_435_455)));
    let requests: Vec<_> = subscribe.requests().collect();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].filter, requests[1].filter), ("a", "b/#"));
    let first = requests[0].options;
    assert_eq!((first.qos, first.no_local, first.retain_as_published), (QoS::AtMostOnce, false, false));
    assert_eq!(first.retain_handling, RetainHandling::Send);
    let second = requests[1].options;
    assert_eq!((second.qos, second.no_local, second.retain_as_published), (QoS::ExactlyOnce, true, true));
    assert_eq!(second.retain_handling, RetainHandling::Never);
}

#[test]
fn the_payload_of_a_publish_is_everything_behind_its_header() {
    // FR-25 [MQTT-2.2.1-2], PB-12.
    for version in VERSIONS {
        let none: &[u8] = if version == V5 { &[0] } else { &[] };
        let bytes = packet(0x30, &[&field("a/b"), none]);
        let Ok(Packet::Publish(publish)) = read(&bytes, version) else { panic!("refused") };
        assert_eq!((publish.topic, publish.payload, publish.packet_id), (&b"a/b"[..], &b""[..], None));
        let bytes = packet(0x3d, &[&field("a/b"), &[0, 9], none, &[0, 0xff]]);
        let Ok(Packet::Publish(publish)) = read(&bytes, version) else { panic!("refused") };
        assert_eq!((publish.payload, publish.packet_id), (&[0, 0xff][..], Some(id(9))));
        assert!(publish.dup && publish.retain && publish.qos == QoS::ExactlyOnce);
        assert!(publish.raw.is_empty() && publish.raw_is_forwardable);
    }
}

#[test]
fn a_topic_of_65535_bytes_passes() {
    // TN-05, PS-06.
    let name = "t".repeat(65_535);
    for version in VERSIONS {
        let none: &[u8] = if version == V5 { &[0] } else { &[] };
        let bytes = packet(0x30, &[&field(&name), none, b"x"]);
        let Ok(Packet::Publish(publish)) = read(&bytes, version) else { panic!("refused") };
        assert_eq!(topic::check_name(publish.topic, 128), Ok(&*name));
    }
}
