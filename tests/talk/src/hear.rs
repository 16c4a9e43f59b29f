//! Reads what the server says, strictly: every rule of the wire that needs no memory of the connection.
//!
//! Why its own decoder: the broker's codec would forgive the broker's mistakes.
//!
//! Source: MQTT 5.0 and 3.1.1, sections 1.5, 2 and 3.

use crate::packet::{Heard, Kind, Version};
use crate::property::{self, Held, SUBSCRIPTION_ID, Shape, USER_PROPERTY};

/// A rule that the server broke.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// The statement, or the section where the text has no number.
    pub statement: &'static str,
    /// What is wrong.
    pub text: String,
}

/// A breach of `statement`.
pub(crate) fn breach<T>(statement: &'static str, text: impl Into<String>) -> Result<T, Breach> {
    Err(Breach { statement, text: text.into() })
}

/// The length of the packet at the start of `bytes`, once its header is there.
///
/// # Errors
/// A Remaining Length of more than four bytes, or one that is not minimal.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Breach> {
    let Some(behind_type) = bytes.get(1..) else { return Ok(None) };
    match read_var(behind_type)? {
        Some((number, length)) => Ok(Some(1 + length + usize::try_from(number).unwrap_or(usize::MAX))),
        None => Ok(None),
    }
}

/// A variable byte integer and how many bytes it took.
fn read_var(bytes: &[u8]) -> Result<Option<(u64, usize)>, Breach> {
    let mut number = 0;
    for at in 0..4 {
        let Some(byte) = bytes.get(at) else { return Ok(None) };
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            if *byte == 0 && at > 0 {
                return breach("MQTT-1.5.5-1", "a variable byte integer is longer than it must be");
            }
            return Ok(Some((number, at + 1)));
        }
    }
    breach("MQTT-1.5.5-1", "a variable byte integer of more than four bytes")
}

/// Decodes one whole packet.
///
/// # Errors
/// The first rule that it breaks.
pub fn hear(frame: &[u8], version: Version) -> Result<Heard, Breach> {
    let Some(kind) = Kind::from_first_byte(frame[0]) else { return breach("2.1.2", "packet type 0") };
    let is_fifth = version == Version::V5;
    let allowed = match kind {
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq => false,
        Kind::Disconnect | Kind::Auth => is_fifth,
        _ => true, // The packets that a server of every version may send.
    };
    if !allowed {
        return breach("2.1.2", format!("{} from a server to a {} client", kind.word(), version.word()));
    }
    let flags = frame[0] & 0x0f;
    let expected_flags = if kind == Kind::PubRel { 2 } else { 0 };
    if kind != Kind::Publish && flags != expected_flags {
        return breach("MQTT-2.1.3-1", format!("flags {flags:#06b} of {}", kind.word()));
    }
    let length_bytes = read_var(&frame[1..])?.map_or(0, |(_, length)| length);
    let mut reader = Reader { rest: &frame[1 + length_bytes..] };
    let mut heard = Heard::new(kind, frame);
    match kind {
        Kind::Publish => publish(&mut reader, &mut heard, flags, is_fifth)?,
        Kind::ConnAck => connack(&mut reader, &mut heard, version)?,
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            heard.id = reader.id()?;
            coded(&mut reader, &mut heard, is_fifth)?;
        }
        Kind::SubAck | Kind::UnsubAck => list(&mut reader, &mut heard, is_fifth)?,
        Kind::Disconnect | Kind::Auth => coded(&mut reader, &mut heard, is_fifth)?,
        _ => {} // PINGRESP has no content.
    }
    match reader.rest {
        [] => Ok(heard),
        surplus => breach("1.5", format!("{} surplus bytes at the end of {}", surplus.len(), kind.word())),
    }
}

fn publish(reader: &mut Reader<'_>, heard: &mut Heard, flags: u8, is_fifth: bool) -> Result<(), Breach> {
    heard.dup = flags & 8 != 0;
    heard.qos = flags >> 1 & 3;
    heard.retain = flags & 1 != 0;
    if heard.qos == 3 {
        return breach("MQTT-3.3.1-4", "a PUBLISH of QoS 3");
    }
    if heard.qos == 0 && heard.dup {
        return breach("MQTT-3.3.1-2", "a PUBLISH of QoS 0 with DUP");
    }
    heard.wire_topic = reader.text("topic")?.to_vec();
    heard.topic = heard.wire_topic.clone();
    if heard.topic.iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return breach("MQTT-3.3.2-2", "a wildcard in the topic of a PUBLISH");
    }
    if heard.qos > 0 {
        heard.id = reader.id()?;
    }
    if is_fifth {
        heard.properties = reader.properties(Kind::Publish)?;
    }
    if heard.topic.is_empty() && heard.property(property::TOPIC_ALIAS).is_none() {
        return breach("MQTT-4.7.3-1", "an empty topic without alias");
    }
    heard.payload = std::mem::take(&mut reader.rest).to_vec();
    Ok(())
}

fn connack(reader: &mut Reader<'_>, heard: &mut Heard, version: Version) -> Result<(), Breach> {
    let flags = reader.byte("acknowledge flags")?;
    let flags_max = if version == Version::V31 { 0 } else { 1 };
    if flags > flags_max {
        return breach("MQTT-3.2.2-1", format!("acknowledge flags {flags:#04x}"));
    }
    heard.session_present = flags == 1;
    heard.codes = vec![reader.byte("reason code")?];
    if version == Version::V5 && !reader.rest.is_empty() {
        heard.properties = reader.properties(Kind::ConnAck)?;
    } else if version == Version::V5 {
        return breach("MQTT-2.2.2-1", "a CONNACK without property length");
    }
    if heard.code() != 0 && heard.session_present {
        return breach("MQTT-3.2.2-6", "Session Present with an error code");
    }
    let is_legal = match version {
        Version::V5 => {
            matches!(heard.code(), 0 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
        }
        Version::V31 | Version::V311 => heard.code() <= 5,
    };
    match is_legal {
        true => Ok(()),
        false => breach("MQTT-3.2.2-8", format!("CONNACK with code 0x{:02x}", heard.code())),
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH: code and properties, either of which may be left out.
fn coded(reader: &mut Reader<'_>, heard: &mut Heard, is_fifth: bool) -> Result<(), Breach> {
    if is_fifth && !reader.rest.is_empty() {
        heard.codes = vec![reader.byte("reason code")?];
    }
    if is_fifth && !reader.rest.is_empty() {
        heard.properties = reader.properties(heard.kind)?;
    }
    let code = heard.code();
    let (is_legal, statement) = match heard.kind {
        Kind::PubAck => (is_publish_code(code), "MQTT-3.4.2-1"),
        Kind::PubRec => (is_publish_code(code), "MQTT-3.5.2-1"),
        Kind::PubRel => (matches!(code, 0 | 0x92), "MQTT-3.6.2-1"),
        Kind::PubComp => (matches!(code, 0 | 0x92), "MQTT-3.7.2-1"),
        Kind::Auth => (matches!(code, 0 | 0x18), "MQTT-3.15.2-1"),
        _ => (is_disconnect_code(code), "MQTT-3.14.2-1"), // DISCONNECT is the last one.
    };
    match is_legal {
        true => Ok(()),
        false => breach(statement, format!("{} with code 0x{code:02x}", heard.kind.word())),
    }
}

const fn is_publish_code(code: u8) -> bool {
    matches!(code, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
}

const fn is_disconnect_code(code: u8) -> bool {
    matches!(code, 0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0x9f | 0xa0..=0xa2)
}

fn list(reader: &mut Reader<'_>, heard: &mut Heard, is_fifth: bool) -> Result<(), Breach> {
    heard.id = reader.id()?;
    if is_fifth {
        heard.properties = reader.properties(heard.kind)?;
    }
    if heard.kind == Kind::SubAck || is_fifth {
        heard.codes = std::mem::take(&mut reader.rest).to_vec();
    }
    for code in &heard.codes {
        let (is_legal, statement) = match (heard.kind, is_fifth) {
            (Kind::SubAck, true) => (
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2),
                "MQTT-3.9.3-2",
            ),
            (Kind::SubAck, false) => (matches!(code, 0..=2 | 0x80), "MQTT-3.9.3-2"),
            _ => (matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91), "MQTT-3.11.3-2"), // UNSUBACK.
        };
        if !is_legal {
            return breach(statement, format!("{} with code 0x{code:02x}", heard.kind.word()));
        }
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Breach> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => breach("1.5", format!("the packet ends inside of: {what}")),
        }
    }

    fn byte(&mut self, what: &str) -> Result<u8, Breach> {
        Ok(self.take(1, what)?[0])
    }

    fn two(&mut self, what: &str) -> Result<u16, Breach> {
        let taken = self.take(2, what)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn id(&mut self) -> Result<u16, Breach> {
        match self.two("packet identifier")? {
            0 => breach("MQTT-2.2.1-4", "packet identifier 0"),
            id => Ok(id),
        }
    }

    fn binary(&mut self, what: &str) -> Result<&'a [u8], Breach> {
        let length = usize::from(self.two(what)?);
        self.take(length, what)
    }

    fn text(&mut self, what: &str) -> Result<&'a [u8], Breach> {
        let bytes = self.binary(what)?;
        match std::str::from_utf8(bytes) {
            Err(_) => breach("MQTT-1.5.4-1", format!("ill-formed UTF-8 in: {what}")),
            Ok(text) if text.contains('\0') => breach("MQTT-1.5.4-2", format!("U+0000 in: {what}")),
            Ok(_) => Ok(bytes),
        }
    }

    fn var(&mut self, what: &str) -> Result<u64, Breach> {
        match read_var(self.rest)? {
            Some((number, length)) => {
                self.take(length, what)?;
                Ok(number)
            }
            None => breach("1.5", format!("the packet ends inside of: {what}")),
        }
    }

    fn properties(&mut self, kind: Kind) -> Result<Vec<(u8, Held)>, Breach> {
        let length = usize::try_from(self.var("property length")?).unwrap_or(usize::MAX);
        let mut section = Reader { rest: self.take(length, "properties")? };
        let mut out: Vec<(u8, Held)> = Vec::new();
        while !section.rest.is_empty() {
            let id = section.byte("property identifier")?;
            let may_repeat = matches!(id, USER_PROPERTY | SUBSCRIPTION_ID);
            if !may_repeat && out.iter().any(|(held, _)| *held == id) {
                return breach("2.2.2.2", format!("property 0x{id:02x} twice"));
            }
            out.push((id, section.property(id, kind)?));
        }
        Ok(out)
    }

    fn property(&mut self, id: u8, kind: Kind) -> Result<Held, Breach> {
        let row = match property::by_id(id) {
            Some(row) if row.from_server.contains(&kind) => row,
            Some(_) if id == property::SESSION_EXPIRY && kind == Kind::Disconnect => {
                return breach("MQTT-3.14.2-2", "Session Expiry Interval in a DISCONNECT of a server");
            }
            _ => return breach("2.2.2.2", format!("property 0x{id:02x} in {} of a server", kind.word())),
        };
        let number = match row.shape {
            Shape::Byte => u64::from(self.byte(row.name)?),
            Shape::Two => u64::from(self.two(row.name)?),
            Shape::Four => {
                let taken = self.take(4, row.name)?;
                u64::from(u32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
            }
            Shape::Var => self.var(row.name)?,
            Shape::Text => return Ok(Held::Bytes(self.text(row.name)?.to_vec())),
            Shape::Binary => return Ok(Held::Bytes(self.binary(row.name)?.to_vec())),
            Shape::Pair => {
                return Ok(Held::Pair(self.text(row.name)?.to_vec(), self.text(row.name)?.to_vec()));
            }
        };
        let is_never_zero =
            matches!(row.name, "receive-maximum" | "maximum-packet-size" | "subscription-id" | "topic-alias");
        if number > row.number_max || (is_never_zero && number == 0) {
            return breach("2.2.2.2", format!("{}={number}", row.name));
        }
        Ok(Held::Number(number))
    }
}

#[cfg(test)]
mod tests {
    use super::{frame_length, hear};
    use crate::packet::Version;

    fn broken(bytes: &[u8], version: Version) -> &'static str {
        hear(bytes, version).expect_err("the packet breaks a rule").statement
    }

    #[test]
    fn every_rule_of_the_wire_is_held_against_the_server() {
        let rows: [(&[u8], Version, &str); 28] = [
            (&[0x21, 3, 0, 0, 0], Version::V5, "MQTT-2.1.3-1"),
            (&[0x20, 3, 2, 0, 0], Version::V5, "MQTT-3.2.2-1"),
            (&[0x20, 2, 1, 0], Version::V31, "MQTT-3.2.2-1"),
            (&[0x20, 2, 0, 0], Version::V5, "MQTT-2.2.2-1"),
            (&[0x20, 3, 1, 0x87, 0], Version::V5, "MQTT-3.2.2-6"),
            (&[0x20, 2, 0, 6], Version::V311, "MQTT-3.2.2-8"),
            (&[0x20, 3, 0, 0x8d, 0], Version::V5, "MQTT-3.2.2-8"),
            (&[0x20, 5, 0, 0, 2, 0x24, 2], Version::V5, "2.2.2.2"),
            (&[0x20, 6, 0, 0, 3, 0x21, 0, 0], Version::V5, "2.2.2.2"),
            (&[0x20, 6, 0, 0, 3, 0x23, 0, 1], Version::V5, "2.2.2.2"),
            (&[0xe0, 0], Version::V311, "2.1.2"),
            (&[0xe0, 7, 0x8b, 5, 0x11, 0, 0, 0, 1], Version::V5, "MQTT-3.14.2-2"),
            (&[0x40, 3, 0, 1, 0x93], Version::V5, "MQTT-3.4.2-1"),
            (&[0x40, 3, 0, 1, 0], Version::V311, "1.5"),
            (&[0x40, 2, 0, 0], Version::V311, "MQTT-2.2.1-4"),
            (&[0x38, 4, 0, 1, b'a', 0], Version::V5, "MQTT-3.3.1-2"),
            (&[0x30, 4, 0, 1, b'#', 0], Version::V5, "MQTT-3.3.2-2"),
            (&[0x30, 4, 0, 1, 0xff, 0], Version::V5, "MQTT-1.5.4-1"),
            (&[0x90, 3, 0, 1, 0x87], Version::V311, "MQTT-3.9.3-2"),
            (&[0x30, 5, 0, 2, b'a', 0, 0], Version::V5, "MQTT-1.5.4-2"),
            (&[0x30, 3, 0, 0, 0], Version::V5, "MQTT-4.7.3-1"),
            (&[0x36, 6, 0, 1, b'a', 0, 1, 0], Version::V5, "MQTT-3.3.1-4"),
            (&[0x62, 3, 0, 1, 0x10], Version::V5, "MQTT-3.6.2-1"),
            (&[0xe0, 1, 0x84], Version::V5, "MQTT-3.14.2-1"),
            (&[0xf0, 1, 0x19], Version::V5, "MQTT-3.15.2-1"),
            (&[0xb0, 4, 0, 1, 0, 0x10], Version::V5, "MQTT-3.11.3-2"),
            (&[0x20, 9, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1], Version::V5, "2.2.2.2"),
            (&[0xd0, 1, 0], Version::V5, "1.5"),
        ];
        for (bytes, version, statement) in rows {
            assert_eq!(broken(bytes, version), statement, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_length_must_be_minimal_and_at_most_four_bytes() {
        assert_eq!(frame_length(&[0xd0, 0]), Ok(Some(2)));
        assert_eq!(frame_length(&[0x30, 0x80]), Ok(None));
        assert_eq!(frame_length(&[0x30, 0x80, 1]), Ok(Some(131)));
        assert!(frame_length(&[0xd0, 0x80, 0]).is_err());
        assert!(frame_length(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
    }
}
