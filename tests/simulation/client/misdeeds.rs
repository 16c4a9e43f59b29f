//! Ways to break the standard on an established connection, each with the codes that the server may close with.
//!
//! Invariants:
//! - Each of them obliges the server to close that connection and no other.
//!
//! Source: the rows FR, PB, SB, UN, DC, CN-03 of the standard's error cases; MQTT 5.0 section 4.13.

use super::Desk;
use crate::wire::{Bad, Version};

/// Versions in which a row is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    All,
    Five,
    Three,
}

const MALFORMED: &[u8] = &[0x81];
const PROTOCOL: &[u8] = &[0x82];
const EITHER: &[u8] = &[0x81, 0x82];

/// What is wrong, where, the bytes, the codes.
const TABLE: [(&str, In, &[u8], &[u8]); 40] = [
    ("type 0", In::All, b"\x00\x00", MALFORMED),
    ("PINGREQ with flags", In::All, b"\xc1\x00", MALFORMED),
    ("PINGREQ with a body", In::All, b"\xc0\x01\x00", MALFORMED),
    ("CONNACK from a client", In::All, b"\x20\x02\x00\x00", EITHER),
    ("PINGRESP from a client", In::All, b"\xd0\x00", EITHER),
    ("SUBACK from a client", In::Three, b"\x90\x03\x00\x01\x00", EITHER),
    ("type 15 below 5.0", In::Three, b"\xf0\x00", EITHER),
    ("AUTH without a method", In::Five, b"\xf0\x00", EITHER),
    ("Remaining Length of five bytes", In::All, b"\x30\x80\x80\x80\x80\x01", MALFORMED),
    ("Remaining Length not minimal", In::Five, b"\xc0\x80\x00", MALFORMED),
    ("second CONNECT", In::Three, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01z", PROTOCOL),
    ("second CONNECT in 5.0", In::Five, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01z", PROTOCOL),
    ("both QoS bits", In::Three, b"\x36\x06\x00\x01a\x00\x01x", MALFORMED),
    ("both QoS bits in 5.0", In::Five, b"\x36\x07\x00\x01a\x00\x01\x00x", MALFORMED),
    ("DUP with QoS 0", In::Three, b"\x38\x03\x00\x01a", EITHER),
    ("DUP with QoS 0 in 5.0", In::Five, b"\x38\x04\x00\x01a\x00", EITHER),
    ("wildcard in a topic", In::Three, b"\x30\x05\x00\x03a/#", &[]),
    ("wildcard in a topic in 5.0", In::Five, b"\x30\x06\x00\x03a/+\x00", &[0x90, 0x81, 0x82]),
    ("empty topic", In::Three, b"\x30\x02\x00\x00", &[]),
    ("empty topic without alias", In::Five, b"\x30\x03\x00\x00\x00", PROTOCOL),
    ("ill-formed UTF-8 topic", In::Three, b"\x30\x04\x00\x02\xc0\xaf", MALFORMED),
    ("ill-formed UTF-8 topic in 5.0", In::Five, b"\x30\x05\x00\x02\xc0\xaf\x00", MALFORMED),
    ("U+0000 in a filter", In::Three, b"\x82\x08\x00\x01\x00\x03a\x00b\x00", MALFORMED),
    ("a topic longer than the packet", In::All, b"\x30\x04\xff\xffab", MALFORMED),
    ("packet id 0", In::Three, b"\x32\x05\x00\x01a\x00\x00", EITHER),
    ("packet id 0 in 5.0", In::Five, b"\x32\x06\x00\x01a\x00\x00\x00", EITHER),
    ("SUBSCRIBE with wrong flags", In::Three, b"\x80\x06\x00\x01\x00\x01a\x00", MALFORMED),
    ("SUBSCRIBE without filters", In::Three, b"\x82\x02\x00\x01", PROTOCOL),
    ("SUBSCRIBE without filters in 5.0", In::Five, b"\x82\x03\x00\x01\x00", PROTOCOL),
    ("SUBSCRIBE with QoS 3", In::Five, b"\x82\x07\x00\x01\x00\x00\x01a\x03", EITHER),
    (
        "good filter, then a broken one",
        In::Five,
        b"\x82\x0d\x00\x01\x00\x00\x01#\x00\x00\x03a#b\x00",
        &[0x8f, 0x81, 0x82],
    ),
    ("No Local on a shared subscription", In::Five, b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", PROTOCOL),
    ("Subscription Identifier 0", In::Five, b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", PROTOCOL),
    ("alias 0", In::Five, b"\x30\x07\x00\x01a\x03\x23\x00\x00", &[0x94]),
    ("alias above the maximum", In::Five, b"\x30\x07\x00\x01a\x03\x23\x00\x64", &[0x94]),
    ("Subscription Identifier from a client", In::Five, b"\x30\x06\x00\x01a\x02\x0b\x01", EITHER),
    ("a property twice", In::Five, b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", PROTOCOL),
    ("an unknown property", In::Five, b"\x30\x06\x00\x01a\x02\x7f\x00", EITHER),
    ("PUBREL with wrong flags", In::All, b"\x60\x02\x00\x01", MALFORMED),
    ("UNSUBSCRIBE without filters", In::Three, b"\xa2\x02\x00\x01", PROTOCOL),
];

/// One of them.
pub(super) fn misdeed(version: Version, desk: &mut Desk) -> Bad {
    loop {
        let (what, scope, bytes, codes) = desk.dice.pick(&TABLE);
        let applies = match scope {
            In::All => true,
            In::Five => version == Version::V5,
            In::Three => version != Version::V5,
        };
        if applies {
            return Bad { what, bytes: bytes.to_vec(), codes };
        }
    }
}
