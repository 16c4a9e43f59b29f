//! What the clients of a script say: lawful packets from a few bytes each.
//!
//! Why lawful ones at all: bent bytes end a connection at once; what goes deep into the exchange is lawful and unusual.
//!
//! Invariants:
//! - A packet is lawful in the version that it is made for.

use crate::packet::{field, packet, properties};

const TOPICS: [&str; 8] = ["t", "t/a", "t/a/b", "u", "/", "$x/a", "t//b", "u/\u{e9}"];
const FILTERS: [&str; 14] = [
    "t",
    "t/a",
    "t/#",
    "#",
    "+",
    "t/+",
    "+/a",
    "u",
    "$x/#",
    "$share/g/t/#",
    "$share/g/t",
    "$share/h/#",
    "/",
    "t//+",
];
const NAMES: [&str; 7] = ["c0", "c1", "c2", "c3", "c4", "c5", ""];

/// Level of the version that a flags byte asks for: 3, 4 or 5.
pub fn level(flags: u8) -> u8 {
    match flags >> 1 & 3 {
        0 => 4,
        1 => 3,
        _two => 5,
    }
}

/// CONNECT. Bit 0 is the core; 1 and 2 the version; then clean, will, keep alive, expiry, narrow limits.
pub fn connect(flags: u8, name: u8) -> Vec<u8> {
    let has = |bit: u8| flags >> bit & 1 == 1;
    let level = level(flags);
    let name = NAMES[usize::from(name) % NAMES.len()];
    let is_clean = has(3) || (name.is_empty() && level < 5);
    let will_flags =
        if has(4) { 0x04 | (name.len().to_le_bytes()[0] & 1) << 3 | u8::from(has(0)) << 5 } else { 0 };
    let keep_alive = [0, if has(5) { 2 } else { 0 }];
    let protocol = if level == 3 { "MQIsdp" } else { "MQTT" };
    let name = if level == 3 && name.is_empty() { "c6" } else { name };
    let mut head = field(protocol);
    head.extend([level, u8::from(is_clean) << 1 | will_flags]);
    head.extend(keep_alive);
    let (mut options, mut will_options) = (Vec::new(), Vec::new());
    if level == 5 {
        let expiry: &[u8] = if has(6) { b"\x11\0\0\0\x64" } else { b"" };
        let narrow: &[u8] = if has(7) { b"\x21\0\x01\x27\0\0\0\x40\x22\0\x02" } else { b"" };
        options = properties(&[expiry, narrow]);
        will_options = properties(&[if has(6) { b"\x18\0\0\0\x05" } else { b"" }]);
    }
    let will = if has(4) { [will_options, field("t/a"), field("will")].concat() } else { Vec::new() };
    packet(0x10, &[&head, &options, &field(name), &will])
}

/// PUBLISH. Bits 0 and 1 are the QoS; then RETAIN, DUP, alias, expiry, and two of the size.
pub fn publish(level: u8, flags: u8, topic: u8, id: u8) -> Vec<u8> {
    let qos = (flags & 3) % 3;
    let dup = u8::from(qos > 0) & flags >> 3;
    let first = 0x30 | dup << 3 | qos << 1 | flags >> 2 & 1;
    let name = TOPICS[usize::from(topic) % TOPICS.len()];
    let id_bytes: &[u8] = if qos > 0 { &[0, id.max(1)] } else { &[] };
    let alias: &[u8] = &[0x23, 0, 1 + (topic & 1)];
    let is_omitted = level == 5 && flags & 0x10 != 0 && topic & 0x80 != 0;
    let options = match (level, flags >> 4 & 3) {
        (..5, _) => Vec::new(),
        (_, 0) => properties(&[]),
        (_, 1) => properties(&[alias]),
        (_, 2) => properties(&[b"\x02\0\0\0\x03"]),
        (_, _) => properties(&[alias, b"\x02\0\0\0\x03\x26\0\x01k\0\x01v"]),
    };
    let payload = vec![id; [0, 1, 30, 300][usize::from(flags >> 6)]];
    packet(first, &[&field(if is_omitted { "" } else { name }), id_bytes, &options, &payload])
}

/// SUBSCRIBE to one filter. Of the options, 5.0 takes No Local, Retain As Published, Retain Handling and an identifier.
pub fn subscribe(level: u8, filter: u8, options: u8, id: u8) -> Vec<u8> {
    let filter = FILTERS[usize::from(filter) % FILTERS.len()];
    let qos = (options & 3) % 3;
    let is_shared = filter.starts_with("$share/");
    let no_local = if is_shared { 0 } else { options & 4 };
    let more = if level == 5 { no_local | options & 8 | ((options >> 4 & 3) % 3) << 4 } else { 0 };
    let own: &[u8] = if options & 0x40 != 0 { b"\x0b\x07" } else { b"" };
    let properties = if level == 5 { properties(&[own]) } else { Vec::new() };
    packet(0x82, &[&[0, id.max(1)], &properties, &field(filter), &[qos | more]])
}

/// UNSUBSCRIBE from one filter.
pub fn unsubscribe(level: u8, filter: u8, id: u8) -> Vec<u8> {
    let filter = FILTERS[usize::from(filter) % FILTERS.len()];
    let properties = if level == 5 { properties(&[]) } else { Vec::new() };
    packet(0xa2, &[&[0, id.max(1)], &properties, &field(filter)])
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; in 5.0 perhaps with a code of failure.
pub fn ack(level: u8, kind: u8, id: u8) -> Vec<u8> {
    let (first, failure) = [(0x40, 0x97), (0x50, 0x80), (0x62, 0x92), (0x70, 0x92)][usize::from(kind & 3)];
    let code: &[u8] = if level == 5 && kind & 4 != 0 { &[failure] } else { &[] };
    packet(first, &[&[0, id.max(1)], code])
}

/// DISCONNECT; in 5.0 perhaps with the wish to have the will sent, or with another expiry.
pub fn disconnect(level: u8, choice: u8) -> Vec<u8> {
    match (level, choice % 4) {
        (..5, _) | (_, 0) => packet(0xe0, &[]),
        (_, 1) => packet(0xe0, &[&[4]]),
        (_, 2) => packet(0xe0, &[&[0], &properties(&[b"\x11\0\0\0\0"])]),
        (_, _) => packet(0xe0, &[&[0], &properties(&[b"\x11\0\0\x10\0"])]),
    }
}
