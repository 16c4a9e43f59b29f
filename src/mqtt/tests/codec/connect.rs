//! CONNECT, each row with its statement, its violation and its answer.

use mqtt::{Connect, QoS, ReasonCode, Version, Violation, properties};

use crate::wire::{field, hex, packet, properties as block, read_connect};

use ReasonCode::{
    ClientIdNotValid, MalformedPacket, ProtocolError, TopicNameInvalid, UnsupportedProtocolVersion,
};
use Version::{V5, V31, V311};

/// What is answered before the connection is closed; `None` is not a byte.
type Answer = Option<(Version, ReasonCode)>;

const MQTT: &str = "0004 4d515454";
const MQISDP: &str = "0006 4d5149736470";

/// Row of the checklist, body of the CONNECT, violation, answer.
type Row = (&'static str, String, Violation, Answer);

/// A CONNECT of 3.1.1 from its flags on.
fn old(rest: &str) -> String {
    format!("{MQTT} 04 {rest}")
}

/// A CONNECT of 5.0 from its flags on.
fn new(rest: &str) -> String {
    format!("{MQTT} 05 {rest}")
}

fn rows() -> Vec<Row> {
    [header_rows(), field_rows()].concat()
}

/// What is wrong with name, flags, and the fields that the flags promise.
fn header_rows() -> Vec<Row> {
    let bad = Some((V5, MalformedPacket));
    vec![
        ("CN-04 MQTT-3.1.2-1", "0004 4d515474 04 02 003c 0001 61".into(), Violation::ProtocolName, None),
        ("CN-04", "0006 4d5149534450 03 02 003c 0001 61".into(), Violation::ProtocolName, None),
        ("CN-04", "0000 04 02 003c 0001 61".into(), Violation::ProtocolName, None),
        (
            "CN-04",
            "0004 6d717474 05 02 003c 00 0001 61".into(),
            Violation::ProtocolName,
            Some((V5, UnsupportedProtocolVersion)),
        ),
        ("CN-24", "0004 4d51".into(), Violation::FieldOverrun, None),
        ("CN-24", MQTT.into(), Violation::FieldOverrun, None),
        ("CN-24", old("02 00"), Violation::FieldOverrun, None),
        ("CN-08 MQTT-3.1.2-3", old("03 003c 0001 61"), Violation::ConnectFlagReserved, None),
        ("CN-08 MQTT-3.1.2-3", new("03 003c 00 0001 61"), Violation::ConnectFlagReserved, bad),
        ("CN-09 MQTT-3.1.2-12", old("1e 003c 0001 61 0001 74 0001 70"), Violation::WillQoSInvalid, None),
        ("CN-09 MQTT-3.1.2-12", new("1e 003c 00 0001 61 00 0001 74 0001 70"), Violation::WillQoSInvalid, bad),
        ("CN-10 MQTT-3.1.2-11", old("0a 003c 0001 61"), Violation::WillQoSWithoutWill, None),
        ("CN-10 MQTT-3.1.2-11", new("12 003c 00 0001 61"), Violation::WillQoSWithoutWill, bad),
        ("CN-10 MQTT-3.1.2-13", new("22 003c 00 0001 61"), Violation::WillRetainWithoutWill, bad),
        ("CN-11 MQTT-3.1.2-9", old("06 003c 0001 61"), Violation::WillFieldMissing, None),
        ("CN-11 MQTT-3.1.2-9", old("06 003c 0001 61 0001 74"), Violation::WillFieldMissing, None),
        ("CN-11 MQTT-3.1.2-9", new("06 003c 00 0001 61"), Violation::WillFieldMissing, bad),
        ("CN-11 MQTT-3.1.2-9", new("06 003c 00 0001 61 00"), Violation::WillFieldMissing, bad),
        ("CN-12 MQTT-3.1.2-17", old("82 003c 0001 61"), Violation::UserNameMissing, None),
        ("CN-12 MQTT-3.1.2-17", new("82 003c 00 0001 61"), Violation::UserNameMissing, bad),
        ("CN-12 MQTT-3.1.2-16", old("02 003c 0001 61 0001 75"), Violation::BytesSurplus, None),
        ("CN-12 MQTT-3.1.2-16", new("02 003c 00 0001 61 0001 75"), Violation::BytesSurplus, bad),
        ("CN-13 MQTT-3.1.2-19", old("c2 003c 0001 61 0001 75"), Violation::PasswordMissing, None),
        ("CN-13 MQTT-3.1.2-18", new("82 003c 00 0001 61 0001 75 0001 70"), Violation::BytesSurplus, bad),
        (
            "CN-14 3.1.1 MQTT-3.1.2-22",
            old("42 003c 0001 61 0001 70"),
            Violation::PasswordWithoutUserName,
            None,
        ),
        ("CN-15 MQTT-3.1.3-3", old("02 003c"), Violation::ClientIdMissing, None),
        ("CN-15 MQTT-3.1.3-3", new("02 003c 00"), Violation::ClientIdMissing, bad),
        ("CN-19 MQTT-3.1.3-8", old("00 003c 0000"), Violation::ClientIdEmpty, Some((V311, ClientIdNotValid))),
        (
            "CN-20",
            format!("{MQISDP} 03 02 003c 0000"),
            Violation::ClientIdEmpty,
            Some((V31, ClientIdNotValid)),
        ),
    ]
}

/// What is wrong inside properties and strings.
fn field_rows() -> Vec<Row> {
    let bad = Some((V5, MalformedPacket));
    let wrong = Some((V5, ProtocolError));
    vec![
        ("CN-21", new("02 003c 03 21 0000 0001 61"), Violation::ReceiveMaximumZero, wrong),
        ("CN-22", new("02 003c 05 27 00000000 0001 61"), Violation::PacketSizeMaximumZero, wrong),
        ("CN-23", new("02 003c 04 16 0001 78 0001 61"), Violation::AuthDataWithoutMethod, wrong),
        ("FR-07", new("02 003c 09 0001 61"), Violation::FieldOverrun, bad),
        ("FR-09", old("02 003c ffff 61"), Violation::FieldOverrun, None),
        ("FR-10", new("02 003c 00 0001 61 00"), Violation::BytesSurplus, bad),
        ("FR-13 MQTT-3.1.3-4", old("02 003c 0002 c0af"), Violation::Utf8Invalid, None),
        ("FR-14 MQTT-1.5.4-2", new("02 003c 00 0003 610062"), Violation::NulCharacter, bad),
        ("FR-17 MQTT-3.1.3-12", new("82 003c 00 0001 61 0001 80"), Violation::Utf8Invalid, bad),
        ("FR-17 MQTT-3.1.3-11", new("06 003c 00 0001 61 00 0001 80 0000"), Violation::Utf8Invalid, bad),
        ("FR-20", new("02 003c 05 18 00000001 0001 61"), Violation::PropertyMisplaced, bad),
        ("FR-20", new("06 003c 00 0001 61 05 11 00000001 0001 74 0000"), Violation::PropertyMisplaced, bad),
        ("FR-21", new("02 003c 06 21 0001 21 0001 0001 61"), Violation::PropertyRepeated, wrong),
        ("FR-23", new("02 003c 02 17 02 0001 61"), Violation::RequestProblemOutOfRange, wrong),
        ("FR-23", new("02 003c 02 19 02 0001 61"), Violation::RequestResponseOutOfRange, wrong),
        (
            "WL-14 MQTT-4.7.3-1",
            new("06 003c 00 0001 61 00 0000 0001 70"),
            Violation::WillTopicEmpty,
            Some((V5, TopicNameInvalid)),
        ),
        (
            "WL-14 MQTT-4.7.0-1",
            new("06 003c 00 0001 61 00 0003 612f23 0001 70"),
            Violation::WillTopicHasWildcard,
            Some((V5, TopicNameInvalid)),
        ),
        ("WL-14", old("06 003c 0001 61 0003 612f23 0001 70"), Violation::WillTopicHasWildcard, None),
    ]
}

#[test]
fn every_row_is_refused_by_its_statement_and_answered_in_its_version() {
    for (row, body, violation, answer) in rows() {
        let bytes = packet(0x10, &[&hex(&body)]);
        let refused = read_connect(&bytes).expect_err(row);
        assert_eq!((refused.violation, refused.answer()), (violation, answer), "{row}: {body}");
    }
}

#[test]
fn a_level_that_is_not_spoken_is_told_in_the_form_that_its_client_understands() {
    // CN-05, CN-06 [MQTT-3.1.2-2]; bit 7 is a bridge's.
    let old = Some((V311, UnsupportedProtocolVersion));
    let new = Some((V5, UnsupportedProtocolVersion));
    let cases = [
        (MQTT, 0x00, old),
        (MQTT, 0x03, old),
        (MQTT, 0x83, old),
        (MQTT, 0x84, old),
        (MQTT, 0x06, new),
        (MQTT, 0x85, new),
        (MQTT, 0xff, new),
        (MQISDP, 0x04, old),
        (MQISDP, 0x83, old),
        (MQISDP, 0x05, new),
    ];
    for (name, level, answer) in cases {
        let bytes = packet(0x10, &[&hex(name), &[level], &hex("02 003c 0001 61")]);
        let refused = read_connect(&bytes).expect_err("unsupported");
        assert_eq!(
            (refused.violation, refused.answer()),
            (Violation::ProtocolLevel, answer),
            "{name} {level}"
        );
    }
}

#[test]
fn what_is_no_connect_gets_not_a_byte() {
    // CN-01 [MQTT-3.1.0-1], FR-01.
    for (bytes, violation) in [
        ("c0 00", Violation::FirstPacketNotConnect),
        ("30 03 0001 61", Violation::FirstPacketNotConnect),
        ("f0 00", Violation::FirstPacketNotConnect),
        ("00 00", Violation::FirstPacketNotConnect),
        ("11 0d 0004 4d515454 05 02 003c 00 0000", Violation::FlagsReserved),
    ] {
        let bytes = hex(bytes);
        let refused = read_connect(&bytes).expect_err("no CONNECT");
        assert_eq!((refused.violation, refused.answer()), (violation, None), "{bytes:02x?}");
    }
}

#[test]
fn all_answers_are_codes_that_connack_has() {
    // CA-08 [MQTT-3.2.2-8].
    for (row, _, violation, _) in rows() {
        assert!(violation.facts().reason.is_in_connack(), "{row}");
    }
}

#[test]
fn in_3_1_the_flags_of_fields_that_are_not_there_are_forgiven() {
    // CN-12, CN-07.
    let bytes = packet(0x10, &[&hex(MQISDP), &hex("03 c2 003c 0001 61")]);
    let connect = read_connect(&bytes).expect("lawful in 3.1");
    assert_eq!((connect.version, connect.user_name, connect.password), (V31, None, None));
    let bytes = packet(0x10, &[&hex(MQISDP), &hex("03 c2 003c 0001 61 0001 75")]);
    let connect = read_connect(&bytes).expect("lawful in 3.1");
    assert_eq!((connect.user_name, connect.password), (Some("u"), None));
}

#[test]
fn a_plain_connect_of_each_version_is_read() {
    for (name, level, none, version) in [(MQISDP, 3, "", V31), (MQTT, 4, "", V311), (MQTT, 5, "00", V5)] {
        let bytes = packet(0x10, &[&hex(name), &[level, 0x02, 0xff, 0xff], &hex(none), &field("c1")]);
        let expected = Connect {
            version,
            clean_start: true,
            keep_alive_s: 65_535,
            client_id: "c1",
            will: None,
            user_name: None,
            password: None,
            properties: mqtt::ConnectProperties::default(),
        };
        assert_eq!(read_connect(&bytes), Ok(expected));
    }
}

#[test]
fn a_full_connect_puts_every_field_in_its_place() {
    // CN-15 [MQTT-3.1.3-1], CN-17.
    let limits = block(&[&hex("11 ffffffff 21 0014 27 00000032 22 000a 19 01 17 00"), b"\x26\0\x01k\0\x01v"]);
    let will = block(&[&hex("18 00000005 02 0000000a 01 01"), b"\x26\0\x01k\0\x01w"]);
    let id = "a/\u{e9}".repeat(100);
    let rest = [field(&id), will, field("wt"), field([0xff]), field("u"), field("")].concat();
    let bytes = packet(0x10, &[&hex(MQTT), &[5, 0xf4, 0, 10], &limits, &rest]);
    let connect = read_connect(&bytes).expect("lawful");
    assert_eq!((connect.client_id, connect.clean_start, connect.keep_alive_s), (&*id, false, 10));
    assert_eq!((connect.user_name, connect.password), (Some("u"), Some(&b""[..])));
    let said = &connect.properties;
    assert_eq!((said.session_expiry_s, said.receive_maximum), (Some(u32::MAX), Some(20)));
    assert_eq!((said.packet_bytes_max, said.topic_alias_max), (Some(50), 10));
    assert_eq!((said.request_response_information, said.request_problem_information), (true, Some(false)));
    assert_eq!(properties::user(said.raw).collect::<Vec<_>>(), [("k", "v")]);
    let will = connect.will.expect("asked for");
    assert_eq!(
        (will.topic, will.payload, will.qos, will.retain),
        ("wt", &[0xff][..], QoS::ExactlyOnce, true)
    );
    assert_eq!((will.delay_s, will.expiry_s, will.payload_is_utf8), (5, Some(10), true));
    assert_eq!(properties::user(will.raw).collect::<Vec<_>>(), [("k", "w")]);
}

#[test]
fn a_password_alone_is_lawful_in_5_0() {
    // CN-14, B-38.
    let bytes = packet(0x10, &[&hex(MQTT), &hex("05 42 003c 00 0001 61 0002 00ff")]);
    let connect = read_connect(&bytes).expect("lawful in 5.0");
    assert_eq!((connect.user_name, connect.password), (None, Some(&[0, 0xff][..])));
}
