//! Golden inputs: lawful packets of every type and version, streams, filters and scripts. The corpus begins with them.
//!
//! Why made by code: a packet with its length in the right place is easier to read as a call than as a file of bytes.
//!
//! Invariants:
//! - Every input has a name, and no two of a target have the same.

use crate::arrivals;
use crate::conversations;
use crate::packet::{field, packet, properties};
use crate::script::code;

type Inputs = Vec<(String, Vec<u8>)>;

/// The golden inputs of a target, by name.
#[must_use]
pub fn golden(target: &str) -> Inputs {
    let named = |named: Vec<(&str, Vec<u8>)>| {
        named.into_iter().map(|(name, input)| (name.to_owned(), input)).collect()
    };
    match target {
        "packet_v3" => named(packets(&[], &[])),
        "packet_v5" => named([packets(&[0], &[0x26, 0, 1, b'k', 0, 1, b'v']), packets_5()].concat()),
        "connect" => named(connects()),
        "properties" => named(property_bytes()),
        "stream_splitter" => named(streams()),
        "filters" => named(filter_lines()),
        "script" => scripts(),
        "websocket" => named(arrivals::websockets()),
        "proxy" => named(arrivals::proxies()),
        "tls" => named(arrivals::conversations()),
        "acl" => named(arrivals::rules()),
        "passwords" => named(arrivals::password_files()),
        "config" => named(arrivals::config_files()),
        "devices" => named(conversations::of_devices()),
        _ => Vec::new(),
    }
}

/// What all versions have. `none` are the bytes of no properties, `some` one property or nothing.
fn packets(none: &[u8], some: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with = if none.is_empty() { Vec::new() } else { properties(&[some]) };
    vec![
        ("publish_qos0", packet(0x30, &[&field("a/b"), none, b"payload"])),
        ("publish_qos1", packet(0x3b, &[&field("a/b"), &[0x12, 0x34], &with, b"1"])),
        ("publish_qos2_long", packet(0x3c, &[&field("a"), &[0xff, 0xff], none, &[0x7a; 200]])),
        ("puback", packet(0x40, &[&[0x12, 0x34]])),
        ("pubrec", packet(0x50, &[&[0, 1]])),
        ("pubrel", packet(0x62, &[&[0xff, 0xff]])),
        ("pubrel_dup", packet(0x6a, &[&[0, 1]])),
        ("pubcomp", packet(0x70, &[&[0x12, 0x34]])),
        (
            "subscribe",
            packet(0x82, &[&[0, 7], none, &field("a/+"), &[1], &field("#"), &[2], &field("\u{e9}"), &[0]]),
        ),
        ("subscribe_dup", packet(0x8a, &[&[0, 1], none, &field("a"), &[1]])),
        ("unsubscribe", packet(0xa2, &[&[0, 7], &with, &field("a/+"), &field("$share/g/a")])),
        ("pingreq", packet(0xc0, &[])),
        ("disconnect", packet(0xe0, &[])),
        ("second_connect", packet(0x10, &[])),
        ("two_packets", [packet(0xc0, &[]), packet(0x31, &[&field("r"), none])].concat()),
    ]
}

const USER: &[u8] = b"\x26\0\x01k\0\x02vv";

fn packets_5() -> Vec<(&'static str, Vec<u8>)> {
    let all = properties(&[
        b"\x01\x01\x02\0\0\x0e\x10\x23\0\x0a\x03",
        &field("text/plain"),
        USER,
        b"\x08",
        &field("reply/to"),
        b"\x09",
        &field([0, 0xff]),
        USER,
    ]);
    let why = properties(&[b"\x1f", &field("why"), USER]);
    let auth = properties(&[b"\x15", &field("SCRAM"), b"\x16", &field([0, 1, 2]), USER]);
    let bye = properties(&[b"\x11\0\0\0\x3c\x1f", &field("bye"), USER]);
    vec![
        ("publish_all_properties", packet(0x3b, &[&field("a/b"), &[0, 9], &all, "caf\u{e9}".as_bytes()])),
        ("publish_alias_alone", packet(0x30, &[&field(""), &properties(&[b"\x23\0\x01"]), b"x"])),
        (
            "publish_long_property",
            packet(0x30, &[&field("a"), &properties(&[b"\x03", &field("c".repeat(140))])]),
        ),
        ("puback_reason", packet(0x40, &[&[0, 7, 0x87]])),
        ("pubrec_why", packet(0x50, &[&[0, 7, 0x97], &why])),
        ("pubrel_why", packet(0x62, &[&[0, 7, 0x92], &why])),
        ("pubcomp_no_properties", packet(0x70, &[&[0, 7, 0, 0]])),
        (
            "subscribe_identifier",
            packet(0x82, &[&[0, 1], &properties(&[b"\x0b\xff\xff\xff\x7f", USER]), &field("a/#"), &[0x2e]]),
        ),
        (
            "subscribe_shared",
            packet(0x82, &[&[0, 1], &[0], &field("$share/g/a"), &[0x18], &field("b"), &[4]]),
        ),
        ("disconnect_will", packet(0xe0, &[&[4]])),
        ("disconnect_expiry", packet(0xe0, &[&[0x81], &bye])),
        ("auth", packet(0xf0, &[&[0x18], &auth])),
    ]
}

fn connects() -> Vec<(&'static str, Vec<u8>)> {
    let old = |name: &str, level: u8, flags: u8, rest: &[u8]| {
        packet(0x10, &[&field(name), &[level, flags, 0, 60], rest])
    };
    let full =
        [field("client"), field("will/topic"), field([0, 0xff]), field("user"), field([1, 0, 2])].concat();
    let limits = properties(&[b"\x11\0\0\0\x3c\x21\0\x14\x27\0\x01\0\0\x22\0\x0a\x19\x01\x17\0", USER, USER]);
    let method = properties(&[b"\x15", &field("SCRAM"), b"\x16", &field([9, 0])]);
    let will = properties(&[
        b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x0a\x03",
        &field("t"),
        b"\x08",
        &field("r"),
        b"\x09",
        &field(""),
        USER,
    ]);
    let rest = [field("will"), field("gone"), field("user"), field("secret")].concat();
    vec![
        ("v31_clean", old("MQIsdp", 3, 0x02, &field("c"))),
        ("v31_full", old("MQIsdp", 3, 0xf6, &full)),
        ("v311_clean", old("MQTT", 4, 0x02, &field("c"))),
        ("v311_lasting", old("MQTT", 4, 0x00, &field("c".repeat(40)))),
        ("v311_full", old("MQTT", 4, 0xee, &full)),
        ("v311_user", old("MQTT", 4, 0x82, &[field("c"), field("user")].concat())),
        ("v311_no_name", old("MQTT", 4, 0x02, &field(""))),
        ("v5_no_name", old("MQTT", 5, 0x00, &[&[0][..], &field("")].concat())),
        ("v5_limits", old("MQTT", 5, 0x02, &[limits.clone(), field("c")].concat())),
        ("v5_method", old("MQTT", 5, 0x42, &[method, field("c"), field("only a password")].concat())),
        ("v5_full", old("MQTT", 5, 0xf4, &[limits, field("c"), will, rest].concat())),
        ("level_of_a_bridge", old("MQTT", 0x84, 0x02, &field("c"))),
        ("level_unknown", old("MQTT", 6, 0x02, &[&[0][..], &field("c")].concat())),
    ]
}

fn property_bytes() -> Vec<(&'static str, Vec<u8>)> {
    let text = |id: u8, text: &str| [&[id][..], &field(text)].concat();
    vec![
        ("user_twice", [USER, USER].concat()),
        ("publish", [&b"\x01\x01\x02\0\0\0\x07\x23\0\x05"[..], &text(3, "t"), &text(8, "r"), USER].concat()),
        ("correlation", [&b"\x09\0\x02\0\xff"[..], &text(3, "")].concat()),
        ("connect", b"\x11\xff\xff\xff\xff\x21\0\x01\x27\0\0\x01\0\x22\0\x0a\x19\x01\x17\0".to_vec()),
        ("will", [&b"\x18\0\0\0\x09\x01\0"[..], &text(8, "a/b")].concat()),
        ("subscription_identifier", b"\x0b\xff\xff\xff\x7f".to_vec()),
        ("auth", [text(0x15, "m"), b"\x16\0\x01\0".to_vec(), text(0x1f, "why")].concat()),
        ("disconnect", [&b"\x11\0\0\0\0"[..], &text(0x1f, "why"), USER].concat()),
        (
            "server_only",
            [text(0x12, "id"), b"\x24\x01\x25\x01\x28\x01\x29\x01\x2a\x01\x13\0\x01".to_vec()].concat(),
        ),
    ]
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let long = packet(0x30, &[&field("a"), &[0x61; 300]]);
    let publish = packet(0x32, &[&field("a/b"), &[0, 1], b"hi"]);
    let ping = packet(0xc0, &[]);
    let stream = |head: [u8; 4], cuts: &[u8], parts: &[&[u8]]| [&head[..], cuts, &parts.concat()].concat();
    vec![
        ("short_packets", stream([20, 0, 255, 3], &[1, 2, 5], &[&ping, &publish, &ping])),
        ("a_long_packet", stream([20, 0, 255, 4], &[1, 1, 1, 100], &[&ping, &long, &ping])),
        (
            "a_reader_that_waits",
            stream([20, 0b1010_1010, 255, 2], &[3, 3], &[&ping, &publish, &publish, &ping]),
        ),
        ("a_reader_that_ends", stream([20, 0, 2, 2], &[3, 3], &[&ping, &publish, &publish, &ping])),
        ("too_large", stream([6, 0, 255, 2], &[2, 2], &[&ping, &publish, &long])),
        ("length_too_long", stream([20, 0, 255, 2], &[2, 2], &[&ping, &[0x30, 0xff, 0xff, 0xff, 0xff, 1]])),
        ("length_not_minimal", stream([20, 0, 255, 1], &[2], &[&ping, &[0xc0, 0x80, 0]])),
        ("a_packet_cut_off", stream([20, 2, 255, 1], &[2], &[&publish, &long[..100]])),
    ]
}

fn filter_lines() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| [b"\0", text.as_bytes()].concat();
    vec![
        ("wildcards", text("#\n+\na/+\na/#\n+/b\n+/#\n/+\n=a\n=a/b\n=/\n=/b\n=a/b/c\n=b")),
        ("dollar", text("#\n+/x\n$SYS/#\n$SYS/+\n=$SYS\n=$SYS/x\n=a/$SYS\n=$")),
        ("taken_out", text("a/+/c\na/+/#\na/b/c\n=a/b/c\n!a/+/c\n=a/b/c\n!a/+/#\n!a/b/c\n=a/b/c")),
        ("empty_levels", text("//\n/+/\n+//+\n//#\n=//\n=///\n=/a/\n=a//b")),
        ("exact", text("a\nA\na/\n/a\n\u{e9}\n=a\n=A\n=a/\n=/a\n=\u{e9}")),
        ("not_filters", text("a#\n#/a\n+a\na/++\n##\n\n=a+\n=#\n=")),
        (
            "few_letters",
            b"\x01\x00\x02\x04\x06\x03\x06\x04\x02\x01\x06\x07\x00\x02\x01\x06\x08\x03\x06\x07\x00".to_vec(),
        ),
    ]
}

/// Flags of a clean 3.1.1, a clean 5.0 and a lasting 5.0 client.
const CLEAN: u8 = 0x08;
const CLEAN_5: u8 = 0x0c;
const LASTING_5: u8 = 0x44;

fn scripts() -> Inputs {
    let open = |slot, flags, name| [code(0, slot), flags, name];
    let publish = |slot, flags, topic, id| [code(1, slot), flags, topic, id];
    let subscribe = |slot, filter, options, id| [code(2, slot), filter, options, id];
    let raw = |slot, bytes: &[u8]| [&[code(8, slot), bytes.len().to_le_bytes()[0]][..], bytes].concat();
    let rest = [code(13, 0)];
    let talk = [
        &open(0, CLEAN, 0)[..],
        &open(1, CLEAN_5 | 1, 1),
        &rest,
        &subscribe(0, 2, 2, 1),
        &subscribe(1, 3, 0x41, 1),
        &rest,
        &publish(1, 0x41, 1, 1),
        &publish(0, 0x42, 2, 2),
        &rest,
        &[code(4, 0), 2, 2, code(15, 1), 4 << 2, code(14, 0)],
    ]
    .concat();
    let away = [
        &open(0, LASTING_5, 2)[..],
        &subscribe(0, 2, 2, 1),
        &[code(7, 0)],
        &open(1, CLEAN | 1, 3),
        &publish(1, 0x41, 1, 1),
        &publish(1, 0x62, 1, 2),
        &publish(1, 0x44, 1, 2),
        &[code(10, 0), 13],
        &open(2, LASTING_5 | 1, 2),
        &rest,
        &[code(15, 2), 4 << 2, code(6, 1), 0],
    ]
    .concat();
    let takeover = [
        &open(0, LASTING_5 | 0x10, 4)[..],
        &open(1, LASTING_5 | 0x11, 4),
        &open(2, 0x11, 4),
        &[code(11, 0), code(11, 1)],
        &open(3, CLEAN_5 | 0x90, 4),
        &[code(10, 0), 12],
    ]
    .concat();
    let slow = [
        &open(0, CLEAN, 0)[..],
        &subscribe(0, 3, 2, 1),
        &rest,
        &[code(12, 0), 0],
        &open(1, CLEAN_5, 1),
        &publish(1, 0xc0, 1, 1).repeat(12),
        &publish(1, 0xc1, 1, 1),
        &[code(12, 0), 40, code(14, 0), code(12, 0), 255],
    ]
    .concat();
    let shared = [
        &open(0, CLEAN_5, 0)[..],
        &open(1, CLEAN_5 | 1, 1),
        &open(2, LASTING_5, 2),
        &subscribe(0, 9, 1, 1),
        &subscribe(1, 9, 2, 1),
        &subscribe(2, 11, 1, 1),
        &rest,
        &publish(0, 0x41, 1, 1),
        &publish(0, 0x41, 1, 2),
        &[code(7, 1), code(3, 0), 9, 2],
        &publish(2, 0x41, 1, 3),
    ]
    .concat();
    let bent = [
        &open(0, CLEAN, 0)[..],
        &[code(9, 0), 3],
        &raw(0, &packet(0x32, &[&field("t"), &[0, 1], b"cut"])),
        &raw(0, &packet(0x36, &[&field("t"), &[0, 1]])),
        &open(1, CLEAN_5, 1),
        &raw(1, &packet(0x30, &[&field("a/+"), &[0]])),
        &open(2, CLEAN_5, 2),
        &raw(2, &[0x30, 0xff, 0xff, 0xff, 0xff]),
        &open(3, CLEAN_5 | 1, 3),
        &raw(3, &packet(0xf0, &[&[0x18], &properties(&[b"\x15", &field("m")])])),
    ]
    .concat();
    let all = [
        ("talk", talk),
        ("away", away),
        ("takeover", takeover),
        ("slow", slow),
        ("shared", shared),
        ("bent", bent),
    ];
    let setups = [("1_core", 0), ("2_cores", 1), ("2_cores_narrow", 0x13)];
    let named = setups.iter().flat_map(|(suffix, setup)| {
        all.iter().map(move |(name, body)| (format!("{name}_{suffix}"), [&[*setup][..], body].concat()))
    });
    named.collect()
}
