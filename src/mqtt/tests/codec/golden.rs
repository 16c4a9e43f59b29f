//! Lawful packets of every type that a client may send, in every version that has it.

use mqtt::Version;

use crate::wire::{VERSIONS, field, hex, packet, properties};

/// Packets after CONNECT, each with its version.
pub fn packets() -> Vec<(Version, Vec<u8>)> {
    let mut all = Vec::new();
    for version in VERSIONS {
        all.extend(common(version).into_iter().map(|bytes| (version, bytes)));
    }
    all.extend(dup_in_3_1().into_iter().map(|bytes| (Version::V31, bytes)));
    all.extend(rich_publishes().into_iter().map(|bytes| (Version::V5, bytes)));
    all.extend(rich_acks().into_iter().map(|bytes| (Version::V5, bytes)));
    all.extend(rich_others().into_iter().map(|bytes| (Version::V5, bytes)));
    all
}

/// What all versions have.
fn common(version: Version) -> Vec<Vec<u8>> {
    let none: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let id = [0x12, 0x34];
    vec![
        packet(0x30, &[&field("a/b"), none, b"payload"]),
        packet(0x31, &[&field("a"), none]),
        packet(0x32, &[&field("a/b"), &id, none, b"1"]),
        packet(0x3b, &[&field("a/b"), &id, none, b"2"]),
        packet(0x3c, &[&field("a/b"), &[0xff, 0xff], none, &[0x7a; 200]]),
        hex("40 02 1234"),
        hex("50 02 0001"),
        hex("62 02 ffff"),
        hex("70 02 1234"),
        packet(0x82, &[&id, none, &field("a/+"), &[1], &field("#"), &[2], &field(""), &[0]]),
        packet(0xa2, &[&id, none, &field("a/+"), &field("$share/g/a")]),
        hex("c0 00"),
        hex("e0 00"),
        hex("10 00"),
    ]
}

fn dup_in_3_1() -> Vec<Vec<u8>> {
    vec![
        hex("6a 02 0001"),
        packet(0x8a, &[&[0, 1], &field("a"), &[1]]),
        packet(0xaa, &[&[0, 1], &field("a")]),
    ]
}

const USER: &[u8] = b"\x26\0\x01k\0\x02vv";

fn rich_publishes() -> Vec<Vec<u8>> {
    let all = properties(&[
        &hex("01 01 02 00000e10 23 000a"),
        b"\x03",
        &field("text/plain"),
        USER,
        b"\x08",
        &field("reply/to"),
        b"\x09",
        &field([0, 0xff, 0x80]),
        USER,
    ]);
    vec![
        packet(0x30, &[&field("a"), &properties(&[&hex("01 00")]), b"x"]),
        packet(0x30, &[&field(""), &properties(&[&hex("23 0001")]), b"x"]),
        packet(0x3b, &[&field("a/b"), &[0, 9], &all, "caf\u{e9}".as_bytes()]),
        packet(0x30, &[&field("a"), &properties(&[b"\x03", &field("c".repeat(140))])]),
    ]
}

fn rich_acks() -> Vec<Vec<u8>> {
    let text = properties(&[b"\x1f", &field("why"), USER, USER]);
    let mut all = Vec::new();
    for (first, failure) in [(0x40, 0x87), (0x50, 0x97), (0x62, 0x92), (0x70, 0x92)] {
        all.push(packet(first, &[&[0, 7, failure]]));
        all.push(packet(first, &[&[0, 7, 0, 0]]));
        all.push(packet(first, &[&[0, 7, failure], &text]));
    }
    all
}

fn rich_others() -> Vec<Vec<u8>> {
    vec![
        packet(0x82, &[&[0, 1], &properties(&[&hex("0b ffffff7f"), USER]), &field("a/#"), &[0x2e]]),
        packet(0x82, &[&[0, 1], &[0], &field("$share/g/a"), &[0x18], &field("b"), &[0x04]]),
        packet(0xa2, &[&[0, 1], &properties(&[USER, USER]), &field("a/#")]),
        hex("e0 01 04"),
        hex("e0 02 00 00"),
        packet(
            0xe0,
            &[&[0x81], &properties(&[&hex("11 0000003c 1f"), &field("bye"), USER, b"\x1c", &field("s")])],
        ),
        packet(0xf0, &[&[0x18], &properties(&[b"\x15", &field("SCRAM"), b"\x16", &field([0, 1, 2]), USER])]),
        packet(0xf0, &[&[0x19], &properties(&[b"\x15", &field("SCRAM"), b"\x1f", &field("again")])]),
    ]
}

/// CONNECTs of all versions.
pub fn connects() -> Vec<Vec<u8>> {
    let old = |name: &str, level: u8, flags: u8, rest: &[u8]| {
        packet(0x10, &[&field(name), &[level, flags, 0, 60], rest])
    };
    let full =
        [field("client"), field("will/topic"), field([0, 0xff]), field("user"), field([1, 0, 2])].concat();
    let mut all = Vec::new();
    for (name, level) in [("MQIsdp", 3), ("MQTT", 4)] {
        all.push(old(name, level, 0x02, &field("c")));
        all.push(old(name, level, 0x00, &field("c".repeat(40))));
        all.push(old(name, level, 0xf6, &full));
        all.push(old(name, level, 0xee, &full));
        all.push(old(name, level, 0x82, &[field("c"), field("user")].concat()));
    }
    all.push(old("MQIsdp", 3, 0xc2, &field("c")));
    all.push(old("MQIsdp", 3, 0xc2, &[field("c"), field("user")].concat()));
    all.push(old("MQTT", 4, 0x02, &field("")));
    let limits = properties(&[&hex("11 0000003c 21 0014 27 00010000 22 000a 19 01 17 00"), USER, USER]);
    let method = properties(&[b"\x15", &field("SCRAM"), b"\x16", &field([9, 0])]);
    let will = properties(&[
        &hex("18 00000005 01 01 02 0000000a 03"),
        &field("t"),
        b"\x08",
        &field("r"),
        b"\x09",
        &field(""),
        USER,
    ]);
    let rest = [field("will"), field("gone"), field("user"), field("secret")].concat();
    all.push(old("MQTT", 5, 0x00, &[&[0][..], &field("")].concat()));
    all.push(old("MQTT", 5, 0x02, &[limits.clone(), field("c")].concat()));
    all.push(old("MQTT", 5, 0x42, &[method, field("c"), field("only a password")].concat()));
    all.push(old("MQTT", 5, 0xf4, &[limits, field("c"), will, rest].concat()));
    all
}
