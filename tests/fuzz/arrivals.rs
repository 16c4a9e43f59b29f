//! Golden inputs for what stands between a socket and MQTT, and for the files that say who may pass.
//!
//! Invariants:
//! - As in `golden.rs`: every input has a name, and no two of a target have the same.

use crate::packet::{field, packet};
use crate::targets::{SIGNATURE, UPGRADE};

type Named = Vec<(&'static str, Vec<u8>)>;

/// A frame of a client: first byte, and payload behind a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let length = u16::try_from(payload.len()).expect("short payloads");
    let mut out = match u8::try_from(length) {
        Ok(short @ ..126) => vec![first, 0x80 | short],
        _ => [&[first, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

pub(crate) fn websockets() -> Named {
    let connect = packet(0x10, &[&field("MQTT"), &[4, 2, 0, 60], &field("c")]);
    let ping = packet(0xc0, &[]);
    let behind = |cuts: &[u8], parts: &[Vec<u8>]| {
        let count = cuts.len().to_le_bytes()[0];
        [&[1, count][..], cuts, &parts.concat()].concat()
    };
    vec![
        ("request", [&[0, 2, 10, 100][..], UPGRADE, &frame(0x82, &connect)].concat()),
        ("request_of_another_path", [&[0, 0][..], b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat()),
        ("one_packet", behind(&[1, 3], &[frame(0x82, &connect)])),
        (
            "several_packets",
            behind(&[9], &[frame(0x82, &[connect.clone(), ping.clone(), ping.clone()].concat())]),
        ),
        (
            "a_packet_in_three",
            behind(
                &[2, 4],
                &[frame(0x02, &connect[..3]), frame(0x00, &connect[3..9]), frame(0x80, &connect[9..])],
            ),
        ),
        (
            "pings_between",
            behind(
                &[5, 5],
                &[frame(0x82, &connect), frame(0x89, b"p"), frame(0x89, b"q"), frame(0x82, &ping)],
            ),
        ),
        ("pong_and_close", behind(&[], &[frame(0x8a, b""), frame(0x88, &[3, 0xe8]), frame(0x82, &ping)])),
        ("text", behind(&[], &[frame(0x81, b"hello")])),
        ("long", behind(&[100, 100], &[frame(0x82, &[0x61; 900])])),
        ("too_long", behind(&[100], &[frame(0x82, &[0x61; 1_100])])),
        ("without_a_mask", behind(&[1], &[b"\x82\x02\xc0\x00".to_vec()])),
        ("length_of_all_bits", behind(&[], &[b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec()])),
    ]
}

pub(crate) fn proxies() -> Named {
    let two = |command: u8, family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).expect("short addresses").to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, addresses].concat()
    };
    let four = [203, 0, 113, 7, 192, 0, 2, 1, 0xc7, 0x38, 0x07, 0x5b];
    let six = [[0x20, 1, 0x0d, 0xb8].repeat(8), vec![0xc7, 0x38, 0x07, 0x5b]].concat();
    let named = |cuts: &[u8], header: &[u8]| {
        let count = cuts.len().to_le_bytes()[0];
        [&[0, count][..], cuts, header, b"\xc0\x00"].concat()
    };
    vec![
        ("one_tcp4", named(&[3, 9], b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 1883\r\n")),
        ("one_tcp6", named(&[], b"PROXY TCP6 2001:db8::1 2001:db8::2 51000 1883\r\n")),
        ("one_unknown", named(&[7], b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n")),
        ("one_too_long", named(&[], &[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat())),
        ("two_tcp4", named(&[13, 2], &two(1, 0x11, &four))),
        ("two_tcp6", named(&[12], &two(1, 0x21, &six))),
        ("two_local", named(&[], &two(0, 0x11, &four))),
        ("two_more_behind", named(&[], &two(1, 0x11, &[&four[..], b"\x04\x00\x03abc"].concat()))),
        ("two_of_a_socket_file", named(&[], &two(1, 0x31, &[0x61; 216]))),
        ("mqtt_at_once", named(&[], &packet(0x10, &[&field("MQTT"), &[4, 2, 0, 60], &field("c")]))),
    ]
}

pub(crate) fn conversations() -> Named {
    vec![
        ("a_good_line", b"\x01\x00\x0a\x05\x00\x01\xff\x07\x20\x05\x00\x07\xff\x00\x40\x05\x00".to_vec()),
        (
            "in_small_pieces",
            [&b"\x01\x00\x01"[..], &b"\x02\x06".repeat(60), b"\x00\x30\x02\x05\x02\x05\x05\x00"].concat(),
        ),
        ("spoiled_in_the_hello", b"\x01\x06\x20\x05\x00".to_vec()),
        ("spoiled_behind_the_handshake", b"\x01\x05\x00\x00\x20\x06\x10\x05\x00\x00\x01\x05\x00".to_vec()),
        ("written_before_the_handshake", b"\x01\x00\xff\x01\xff\x02\x40\x05\x00".to_vec()),
        ("plain_mqtt", [&[0, 0][..], &packet(0x10, &[&field("MQTT"), &[4, 2, 0, 60], &field("c")])].concat()),
        ("a_record_cut_off", b"\x00\x02\x01\x03\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an_alert", b"\x00\x00\x15\x03\x03\x00\x02\x02\x28".to_vec()),
    ]
}

pub(crate) fn rules() -> Named {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            "for_all",
            text(
                "topic read public/#\npattern write devices/%c/up\n?c||public/a\n?c||devices/c/up\n?d|ann|devices/c/up\n",
            ),
        ),
        (
            "for_users",
            text(
                "user ann\ntopic home/#\ntopic deny home/safe\nuser bob b\ntopic write x\n?c|ann|home/x\n?c|ann|home/safe\n?c|bob b|x\n?c||x\n",
            ),
        ),
        (
            "names_that_widen",
            text(
                "pattern home/%u/%c\n?#|+|home/a/b\n?+|#|home/+\n?a/b|ann|home/ann/a/b\n?c|ann|home/ann/c\n",
            ),
        ),
        ("names_in_words", text("pattern read a%cb%u/%%c/%u%c\n?c|u|acbu/%c/uc\n?%u|c|a%ubc/%%u/c%u\n")),
        ("dollar", text("topic read #\ntopic $SYS/a\npattern +/b\n?c||$SYS/a\n?c||$SYS/b\n?c||x/b\n")),
        ("spaces", text("\n  topic\tread  a b/c  \n# topic d\n\ttopic write\n\n")),
        ("a_topic_called_read", text("topic read read\ntopic readwrite/x\n?c||read\n?c||readwrite/x\n")),
        ("not_a_rule", text("topic a\nallow b\n")),
        ("cut", text("topic read a")),
    ]
}

pub(crate) fn password_files() -> Named {
    let text = |text: &str| text.as_bytes().to_vec();
    let argon2 = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21l$\
        iPBLuvlgl4PpDVTdnpA5QCmGIBzYEBfCMaVmTL6mU4I";
    let old = "$6$zTvOwfBgQHLh8XTk$\
        KSvzVYTZbFFFN4CLm0JH0Ki+B85F1mmwo3Yc2pS8sPoKTx4QoiXvKsmYIb2iBGSb0KPvbvYbgrYXgpqGZbVNlg==";
    let new = "$7$101$ZJoBDlFr5dMmKzRM$\
        KSvzVYTZbFFFN4CLm0JH0Ki+B85F1mmwo3Yc2pS8sPoKTx4QoiXvKsmYIb2iBGSb0KPvbvYbgrYXgpqGZbVNlg==";
    vec![
        ("argon2", text(&format!("ann:{argon2}\n"))),
        ("salted", text(&format!("# ours\nann:{old}\n\nbob:{new}\n"))),
        ("twice", text(&format!("ann:{new}\nann:{new}\n"))),
        ("plain_text", text("ann:this is no hash at all\n")),
        ("no_colon", text("ann\n")),
        ("cut", text(&format!("ann:{new}"))),
        ("empty", text("")),
    ]
}

pub(crate) fn config_files() -> Named {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", text("")),
        (
            "two_listeners",
            text(
                "[[listener]]\nbind = \"127.0.0.1:1883\"\n[[listener]]\nbind = \"[::1]:1884\"\ndurability = \"memory\"\n",
            ),
        ),
        (
            "doors",
            text(
                "[[listener]]\nbind = \"127.0.0.1:8883\"\nprotocol = \"mqtts\"\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\nclient_ca = \"ca.pem\"\ntls_min = \"1.3\"\n[[listener]]\nbind = \"127.0.0.1:8083\"\nprotocol = \"ws\"\nwebsocket_path = \"/mqtt\"\nproxy_protocol_from = \"10.0.0.0/8, 127.0.0.1\"\n",
            ),
        ),
        ("a_socket_file", text("[[listener]]\nbind = \"unix:ringmq.sock\"\n")),
        (
            "numbers",
            text(
                "[limits]\npacket_bytes_max = 1_048_576\nqos_max = 3\nretain_available = 1\nsessions_max = -1\n",
            ),
        ),
        ("unknown", text("[limts]\nx = 1\n[limits]\npacket_byte_max = 1\n[server]\ncores = \"0,2-3\"\n")),
        ("no_toml", text("[[listener]\nbind = \n")),
    ]
}
