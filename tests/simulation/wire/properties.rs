//! The 27 properties of MQTT 5.0: which value each holds and which server packets may carry it.
//!
//! Invariants:
//! - The table lists every property that a server may send; all others are illegal from a server.
//!
//! Source: MQTT 5.0 section 2.2.2.2, table 2-4.

/// Where a server may send a property: one bit per packet type, counted by its number on the wire.
type Places = u16;

const CONNACK: Places = 1 << 2;
const PUBLISH: Places = 1 << 3;
const PUBACK: Places = 1 << 4;
const PUBREC: Places = 1 << 5;
const PUBREL: Places = 1 << 6;
const PUBCOMP: Places = 1 << 7;
const SUBACK: Places = 1 << 9;
const UNSUBACK: Places = 1 << 11;
const DISCONNECT: Places = 1 << 14;
const AUTH: Places = 1 << 15;
const ACKS: Places = PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK;

/// One property as read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Its identifier.
    pub id: u8,
    /// Its value.
    pub value: Value,
}

/// The value of a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Any of the integer forms.
    Number(u32),
    /// A UTF-8 string.
    Text(String),
    /// Binary data.
    Binary(Vec<u8>),
    /// A string pair.
    Pair(String, String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

/// Identifier, kind, and where a server may send it.
const TABLE: [(u8, Kind, Places); 24] = [
    (0x01, Kind::Byte, PUBLISH),
    (0x02, Kind::Four, PUBLISH),
    (0x03, Kind::Text, PUBLISH),
    (0x08, Kind::Text, PUBLISH),
    (0x09, Kind::Binary, PUBLISH),
    (0x0b, Kind::Varint, PUBLISH),
    (0x11, Kind::Four, CONNACK),
    (0x12, Kind::Text, CONNACK),
    (0x13, Kind::Two, CONNACK),
    (0x15, Kind::Text, CONNACK | AUTH),
    (0x16, Kind::Binary, CONNACK | AUTH),
    (0x1a, Kind::Text, CONNACK),
    (0x1c, Kind::Text, CONNACK | DISCONNECT),
    (0x1f, Kind::Text, CONNACK | ACKS | DISCONNECT | AUTH),
    (0x21, Kind::Two, CONNACK),
    (0x22, Kind::Two, CONNACK),
    (0x23, Kind::Two, PUBLISH),
    (0x24, Kind::Byte, CONNACK),
    (0x25, Kind::Byte, CONNACK),
    (0x26, Kind::Pair, CONNACK | PUBLISH | ACKS | DISCONNECT | AUTH),
    (0x27, Kind::Four, CONNACK),
    (0x28, Kind::Byte, CONNACK),
    (0x29, Kind::Byte, CONNACK),
    (0x2a, Kind::Byte, CONNACK),
];

/// A strict reader over one packet's bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if count > self.rest.len() {
            return Err(format!("a field of {count} bytes overruns the packet"));
        }
        let (field, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(field)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn two(&mut self) -> Result<u16, String> {
        let field = self.take(2)?;
        Ok(u16::from_be_bytes([field[0], field[1]]))
    }

    fn four(&mut self) -> Result<u32, String> {
        let field = self.take(4)?;
        Ok(u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
    }

    pub(super) fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                if place > 0 && byte == 0 {
                    return Err("a variable byte integer is not minimal".into());
                }
                return Ok(value);
            }
        }
        Err("a variable byte integer has more than four bytes".into())
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], String> {
        let count = self.two()?;
        self.take(usize::from(count))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| "a string is not UTF-8".to_string())?;
        if text.contains('\0') { Err("a string holds U+0000".into()) } else { Ok(text) }
    }

    pub(super) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("{} surplus bytes", self.rest.len())) }
    }

    /// The properties of a packet of type `packet`, with their length in front.
    pub(super) fn properties(&mut self, packet: u8) -> Result<Vec<Property>, String> {
        let count = self.varint()?;
        let field = self.take(usize::try_from(count).expect("28 bits"))?;
        let mut reader = Reader::new(field);
        let mut found: Vec<Property> = Vec::new();
        while !reader.rest.is_empty() {
            let property = reader.property(packet)?;
            let may_repeat = property.id == 0x26 || property.id == 0x0b;
            if !may_repeat && found.iter().any(|known| known.id == property.id) {
                return Err(format!("property {:#04x} stands twice", property.id));
            }
            found.push(property);
        }
        Ok(found)
    }

    fn property(&mut self, packet: u8) -> Result<Property, String> {
        let id = self.byte()?;
        let row = TABLE.iter().find(|row| row.0 == id && row.2 & (1 << packet) != 0);
        let Some((_, kind, _)) = row else {
            return Err(format!("property {id:#04x} is illegal in packet type {packet} from a server"));
        };
        let value = match kind {
            Kind::Byte => Value::Number(u32::from(self.byte()?)),
            Kind::Two => Value::Number(u32::from(self.two()?)),
            Kind::Four => Value::Number(self.four()?),
            Kind::Varint => Value::Number(self.varint()?),
            Kind::Text => Value::Text(self.text()?.into()),
            Kind::Binary => Value::Binary(self.binary()?.into()),
            Kind::Pair => Value::Pair(self.text()?.into(), self.text()?.into()),
        };
        check_range(id, &value)?;
        Ok(Property { id, value })
    }
}

/// Values that are legal by their form and illegal by their meaning.
fn check_range(id: u8, value: &Value) -> Result<(), String> {
    let Value::Number(number) = value else { return Ok(()) };
    let is_legal = match id {
        0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => *number <= 1,
        0x0b | 0x21 | 0x23 | 0x27 => *number > 0,
        // All other numbers have no further limit.
        _ => true,
    };
    if is_legal { Ok(()) } else { Err(format!("property {id:#04x} has the value {number}")) }
}
