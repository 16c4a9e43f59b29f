//! The language itself, against a server that says what it is told to.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use talk::{Arrived, HangUp, LineId, Order, PolicyChange, Script, Version, World, play};

/// Answers the n-th write with the n-th of its lines; what it was told is kept.
#[derive(Default)]
struct Parrot {
    lines: VecDeque<Vec<u8>>,
    arrived: Vec<(LineId, Arrived)>,
    told: Vec<Vec<u8>>,
}

impl World for Parrot {
    fn transport(&self) -> &'static str {
        "memory"
    }

    fn open(&mut self, _core: Option<u16>) -> Result<LineId, String> {
        Ok(LineId(0))
    }

    fn send(&mut self, line: LineId, bytes: &[u8]) {
        self.told.push(bytes.to_vec());
        match self.lines.pop_front() {
            Some(bytes) if bytes.is_empty() => self.arrived.push((line, Arrived::Ended)),
            Some(bytes) => self.arrived.push((line, Arrived::Bytes(bytes))),
            None => {}
        }
    }

    fn hang_up(&mut self, _line: LineId, _how: HangUp) {}

    fn set_reading(&mut self, _line: LineId, _is_reading: bool) {}

    fn listen(&mut self, _wanted: &[LineId]) -> Vec<(LineId, Arrived)> {
        std::mem::take(&mut self.arrived)
    }

    fn wait(&mut self, _span: Duration) {}

    fn is_exact(&self) -> bool {
        true
    }

    fn fence(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn order(&mut self, _order: Order) -> Result<(), String> {
        Ok(())
    }

    fn change_policy(&mut self, _change: &PolicyChange) -> Result<(), String> {
        Ok(())
    }

    fn resident_bytes(&mut self) -> Option<u64> {
        None
    }

    fn server_log(&mut self) -> Vec<String> {
        Vec::new()
    }
}

fn parse(body: &str) -> Result<Script, String> {
    Script::parse(Path::new("test.talk"), &format!("title: a test\nrow: PB-05\n{body}"))
}

/// Plays `body` against a parrot that answers `lines`; the bytes that it was told, or the failure.
fn played(body: &str, version: Version, lines: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
    let mut parrot = Parrot { lines: lines.iter().map(|line| line.to_vec()).collect(), ..Parrot::default() };
    let script = parse(body)?;
    play(&script, version, &mut parrot).map_err(|failure| failure.to_string())?;
    Ok(parrot.told)
}

/// What a single line puts on the wire.
fn said(line: &str, version: Version) -> Vec<u8> {
    played(line, version, &[]).unwrap_or_else(|error| panic!("{line}: {error}")).concat()
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const CONNACK_3X: &[u8] = &[0x20, 2, 0, 0];
const CLOSE: &[u8] = &[];

#[test]
fn packets_are_written_as_the_standard_says() {
    let rows: [(&str, Version, &[u8]); 22] = [
        ("a > CONNECT", Version::V31, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01a"),
        ("a > CONNECT", Version::V311, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"),
        ("a > CONNECT resume ka=10", Version::V5, b"\x10\x0e\0\x04MQTT\x05\0\0\x0a\0\0\x01a"),
        ("a > CONNECT v311 id=\"\"", Version::V5, b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"),
        (
            "a > CONNECT persistent",
            Version::V5,
            b"\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\xff\xff\xff\xff\0\x01a",
        ),
        (
            "a > CONNECT user=u password=p will(w x q1 retain delay=5)",
            Version::V5,
            b"\x10\x20\0\x04MQTT\x05\xee\0\0\0\0\x01a\x05\x18\0\0\0\x05\0\x01w\0\x01x\0\x01u\0\x01p",
        ),
        ("a > PUBLISH t \"x\"", Version::V311, b"\x30\x04\0\x01tx"),
        (
            "a > PUBLISH q1 dup retain t x id=7 expiry=9",
            Version::V5,
            b"\x3b\x0c\0\x01t\0\x07\x05\x02\0\0\0\x09x",
        ),
        ("a > PUBLISH q3 t", Version::V311, b"\x36\x05\0\x01t\0\x01"),
        ("a > PUBACK id=7", Version::V5, b"\x40\x02\0\x07"),
        ("a > PUBACK 0x80 id=7", Version::V5, b"\x40\x03\0\x07\x80"),
        ("a > PUBREC long id=7", Version::V5, b"\x50\x04\0\x07\0\0"),
        ("a > PUBREL id=7", Version::V311, b"\x62\x02\0\x07"),
        (
            "a > SUBSCRIBE t q1 nl rap rh=2, u subid=5",
            Version::V5,
            b"\x82\x0d\0\x01\x02\x0b\x05\0\x01t\x2d\0\x01u\0",
        ),
        ("a > SUBSCRIBE t options=0x40 noprops", Version::V5, b"\x82\x06\0\x01\0\x01t\x40"),
        ("a > UNSUBSCRIBE t, u", Version::V311, b"\xa2\x08\0\x01\0\x01t\0\x01u"),
        ("a > PINGREQ flags=1 extra=hex(00)", Version::V311, b"\xc1\x01\0"),
        ("a > PINGREQ length=hex(80 00)", Version::V5, b"\xc0\x80\0"),
        ("a > DISCONNECT", Version::V5, b"\xe0\0"),
        (
            "a > DISCONNECT 0x04 expiry=1 up(k \"v w\")",
            Version::V5,
            b"\xe0\x10\x04\x0e\x11\0\0\0\x01\x26\0\x01k\0\x03v w",
        ),
        ("a > PUBLISH t drop=1 proplen=9", Version::V5, b"\x30\x03\0\x01t"),
        ("a > AUTH 0x19 prop=hex(7f) method=M", Version::V5, b"\xf0\x07\x19\x05\x7f\x15\0\x01M"),
    ];
    for (line, version, bytes) in rows {
        assert_eq!(said(line, version), bytes, "{line}");
    }
}

#[test]
fn values_are_bytes_of_any_kind() {
    let rows: [(&str, &[u8]); 8] = [
        ("a > raw \"a\\0\\xff\\u{e9}\\{\"", b"a\0\xff\xc3\xa9{"),
        ("a > raw \"ab\"*2hex(00 ff)\"c\"", b"abab\0\xffc"),
        ("a > raw bytes(3) utf8(\"x\")", b"\0\x01\x02\0\x01x"),
        ("a > hex 30 04", b"\x30\x04"),
        ("repeat 2 as i\na > raw t{i+1}\nend", b"t2t3"),
        ("each x in hex(01) \"b c\"\na > raw {x}\nend", b"\x01b c"),
        ("each k v\n| a | 1|2\n| \"x\" | 3\na > raw {k}{v}\nend", b"a1|2x3"),
        ("a > raw x -- a comment", b"x"),
    ];
    for (line, bytes) in rows {
        assert_eq!(said(line, Version::V5), bytes, "{line}");
    }
}

#[test]
fn writes_are_cut_as_the_line_says() {
    let told = played("a > chunked 2 hex 01 02 03\na + hex 04\n", Version::V5, &[]).unwrap();
    assert_eq!(told, [vec![1, 2], vec![3, 4]]);
    let told = played("a > part -1 hex 01 02 03\na > rest", Version::V5, &[]).unwrap();
    assert_eq!(told, [vec![1, 2], vec![3]]);
}

#[test]
fn guards_choose_lines_by_version() {
    let body = "[v5] a > hex 05\n[v3] a > hex 03\n[v31 v5] a > hex 00\n[tcp] a > hex ff";
    assert_eq!(said(body, Version::V5), [5, 0]);
    assert_eq!(said(body, Version::V311), [3]);
}

#[test]
fn a_mismatch_names_line_expectation_and_transcript() {
    let text = played("a connects\n\na < PUBACK", Version::V5, &[CONNACK]).unwrap_err();
    assert!(text.starts_with("test.talk:5: a < PUBACK\n  nothing came\n"), "{text}");
    assert!(text.contains("3  a < CONNACK 0x00 sp=0    20 03 00 00 00"), "{text}");
    let text = played("a connects -> 0x87", Version::V5, &[CONNACK]).unwrap_err();
    assert!(text.contains("came: CONNACK 0x00 sp=0"), "{text}");
    assert!(text.contains("code 0x87 expected, 0x00 came"), "{text}");
}

#[test]
fn a_breach_fails_whatever_the_line_expects() {
    let dup_qos_0: &[u8] = &[0x38, 4, 0, 1, b't', 0];
    let text =
        played("a connects\na > PINGREQ\na < PUBLISH t ...", Version::V5, &[CONNACK, dup_qos_0]).unwrap_err();
    assert!(text.contains("a breach of [MQTT-3.3.1-2]"), "{text}");
}

#[test]
fn nothing_may_be_left_over() {
    let text = played("a > CONNECT", Version::V5, &[CONNACK]).unwrap_err();
    assert!(text.contains("left over for a: CONNACK 0x00"), "{text}");
    let text = played("a > CONNECT", Version::V5, &[CLOSE]).unwrap_err();
    assert!(text.contains("left over for a: close"), "{text}");
    assert!(played("a connects\na > DISCONNECT", Version::V5, &[CONNACK, CLOSE]).is_ok());
}

#[test]
fn cut_and_refused_depend_on_the_version() {
    let cut = "a connects\na > PINGREQ flags=1\na < cut 0x81";
    let disconnect: &[u8] = &[0xe0, 1, 0x81];
    assert!(played(cut, Version::V311, &[CONNACK_3X, CLOSE]).is_ok());
    assert!(played(cut, Version::V5, &[CONNACK, CLOSE]).is_err(), "5.0 wants the DISCONNECT");
    assert!(played(cut, Version::V5, &[CONNACK, disconnect]).is_err(), "the close must follow");
    let refused = "a > CONNECT\na < refused 0x86";
    assert!(played(refused, Version::V5, &[CLOSE]).is_ok());
    assert!(played(refused, Version::V5, &[CONNACK]).is_err());
    assert!(played(refused, Version::V311, &[CLOSE]).is_ok());
    assert!(
        played("a > CONNECT\na < refused 0x86/0x04", Version::V311, &[CLOSE]).is_err(),
        "3.x names a code here"
    );
}

#[test]
fn packets_match_in_any_order_or_one_of_several_ways() {
    let both: &[u8] = &[0x30, 4, 0, 1, b'p', 0, 0x30, 4, 0, 1, b'q', 0];
    let unordered = "a connects\na > PINGREQ\na < unordered\nPUBLISH q\nPUBLISH ~+\nend";
    assert!(played(unordered, Version::V5, &[CONNACK, both]).is_ok());
    assert!(played(&unordered.replace("~+", "r"), Version::V5, &[CONNACK, both]).is_err());
    let either = "a connects\na > PINGREQ\neither\na < close\nor\na < PUBLISH p\na < PUBLISH q\nend";
    assert!(played(either, Version::V5, &[CONNACK, both]).is_ok());
    assert!(played(either, Version::V5, &[CONNACK, CLOSE]).is_ok());
    assert!(played(either, Version::V5, &[CONNACK]).is_err());
    let one_of = "a connects\na > PINGREQ\na < PUBLISH r or PUBLISH p\na < PUBLISH p or PUBLISH q";
    assert!(played(one_of, Version::V5, &[CONNACK, both]).is_ok());
}

#[test]
fn names_bind_and_compare() {
    let assigned: &[u8] = &[0x20, 7, 0, 0, 4, 0x12, 0, 1, b'z'];
    let body = "a connects id=\"\" -> assigned=@id\ncheck @id == z\ncheck @id != y\na > raw \"{id}\"";
    assert_eq!(played(body, Version::V5, &[assigned]).unwrap()[1], b"z");
    assert!(played(&body.replace("== z", "== y"), Version::V5, &[assigned]).is_err());
}

#[test]
fn runs_count_up() {
    let two: &[u8] = &[0x30, 5, 0, 1, b't', 0, b'1', 0x30, 5, 0, 1, b't', 0, b'3'];
    let body = "a connects\na > PINGREQ\na < run 2 rising PUBLISH t";
    assert!(played(body, Version::V5, &[CONNACK, two]).is_ok());
    let text = played(&body.replace("rising", "gapless"), Version::V5, &[CONNACK, two]).unwrap_err();
    assert!(text.contains("3 follows Some(1)"), "{text}");
    let back: &[u8] = &[0x30, 5, 0, 1, b't', 0, b'3', 0x30, 5, 0, 1, b't', 0, b'3'];
    assert!(played(body, Version::V5, &[CONNACK, back]).is_err());
}

#[test]
fn mistakes_in_a_file_name_their_line() {
    let rows = [
        ("a does", "test.talk:3: `a` does nothing known: does"),
        ("\n\nrepeat 3\na pings", "test.talk:6: the block of line 5 has no end"),
        ("a connects\nend", "test.talk:4: `end` closes nothing"),
        ("a > PUBLISSH", "test.talk:3: no packet is called `PUBLISSH`"),
        ("each x y\n| 1\nend", "test.talk:4: 1 cells for 2 names"),
        ("versions: v6", "test.talk:3: no version is called `v6`"),
        ("[v6] a pings", "test.talk:3: no guard is called `v6`"),
    ];
    for (body, message) in rows {
        assert_eq!(parse(body).unwrap_err(), message);
    }
    let text = played("a > PUBLISH t expiry=1", Version::V311, &[]).unwrap_err();
    assert!(text.contains("v311 PUBLISH has no properties; guard the line with [v5]"), "{text}");
    assert!(Script::parse(Path::new("x"), "row: PB-05\n").unwrap_err().contains("no title"));
}

#[test]
fn long_waits_and_policies_stay_in_memory() {
    let runs_over_tcp = |body: &str| parse(body).unwrap().runs_in("tcp");
    assert!(runs_over_tcp("wait 5s"));
    assert!(!runs_over_tcp("repeat 6\nwait 1s\nend"));
    assert!(!runs_over_tcp("deny publish a x\na pings"));
    assert!(!runs_over_tcp("password a = \"x\"\na pings"));
    assert!(!runs_over_tcp("transports: memory\na pings"));
}
