//! Properties: the table of all 27, the one loop that checks them, and the two readers of checked ones.
//!
//! Why a table: where a property may stand, how it is written, whether it may repeat and which values it may have are
//! facts; the decoder, the forwarder and the tests read the same row.
//!
//! Invariants:
//! - `walk` is the only place that judges properties; it visits each after all its checks.
//! - [`user`] and [`forwardable`] read property bytes that a decoded packet carries; on other bytes they stop early
//!   and do not panic.
//!
//! Source: MQTT 5.0 section 2.2.2.2.

use crate::cursor::Cursor;
use crate::{Violation, topic};

/// How a property's value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

/// Which values a property may have, beyond what its shape can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    Any,
    /// Zero or one.
    Boolean(Violation),
    NonZero(Violation),
    /// A topic name: not empty, no wildcard.
    Name,
}

/// Where a property stands: one bit per packet type, and bit 0 for the will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(u16);

impl Place {
    pub(crate) const WILL: Self = Self(1);
    pub(crate) const CONNECT: Self = Self(1 << 1);
    pub(crate) const CONNACK: Self = Self(1 << 2);
    pub(crate) const PUBLISH: Self = Self(1 << 3);
    pub(crate) const PUBACK: Self = Self(1 << 4);
    pub(crate) const PUBREC: Self = Self(1 << 5);
    pub(crate) const PUBREL: Self = Self(1 << 6);
    pub(crate) const PUBCOMP: Self = Self(1 << 7);
    pub(crate) const SUBSCRIBE: Self = Self(1 << 8);
    pub(crate) const SUBACK: Self = Self(1 << 9);
    pub(crate) const UNSUBSCRIBE: Self = Self(1 << 10);
    pub(crate) const UNSUBACK: Self = Self(1 << 11);
    pub(crate) const DISCONNECT: Self = Self(1 << 14);
    pub(crate) const AUTH: Self = Self(1 << 15);
    /// Every packet that has properties, but not the will.
    const ALL: Self = Self(0b1100_1111_1111_1110);

    const fn union(places: &[Self]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < places.len() {
            bits |= places[index].0;
            index += 1;
        }
        Self(bits)
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    property: Property,
    shape: Shape,
    range: Range,
    repeats: bool,
    places: Place,
}

const ONCE: bool = false;
const OFTEN: bool = true;

macro_rules! properties {
    ($($name:ident = $id:literal, $shape:ident, $times:ident, $range:expr, [$($place:ident),*];)*) => {
        /// A property identifier.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum Property { $($name = $id,)* }

        /// The rows by identifier.
        const ROWS: [Option<Row>; 0x2b] = {
            let mut rows = [None; 0x2b];
            $(rows[$id] = Some(Row {
                property: Property::$name,
                shape: Shape::$shape,
                range: $range,
                repeats: $times,
                places: Place::union(&[$(Place::$place),*]),
            });)*
            rows
        };

        impl Property {
            pub(crate) const fn byte(self) -> u8 {
                match self { $(Self::$name => $id,)* }
            }
        }
    };
}

properties! {
    PayloadFormat = 0x01, Byte, ONCE, Range::Boolean(Violation::PayloadFormatOutOfRange), [PUBLISH, WILL];
    MessageExpiry = 0x02, Four, ONCE, Range::Any, [PUBLISH, WILL];
    ContentType = 0x03, Text, ONCE, Range::Any, [PUBLISH, WILL];
    ResponseTopic = 0x08, Text, ONCE, Range::Name, [PUBLISH, WILL];
    CorrelationData = 0x09, Binary, ONCE, Range::Any, [PUBLISH, WILL];
    SubscriptionId = 0x0b, Varint, ONCE, Range::NonZero(Violation::SubscriptionIdZero), [PUBLISH, SUBSCRIBE];
    SessionExpiry = 0x11, Four, ONCE, Range::Any, [CONNECT, CONNACK, DISCONNECT];
    AssignedClientId = 0x12, Text, ONCE, Range::Any, [CONNACK];
    ServerKeepAlive = 0x13, Two, ONCE, Range::Any, [CONNACK];
    AuthenticationMethod = 0x15, Text, ONCE, Range::Any, [CONNECT, CONNACK, AUTH];
    AuthenticationData = 0x16, Binary, ONCE, Range::Any, [CONNECT, CONNACK, AUTH];
    RequestProblem = 0x17, Byte, ONCE, Range::Boolean(Violation::RequestProblemOutOfRange), [CONNECT];
    WillDelay = 0x18, Four, ONCE, Range::Any, [WILL];
    RequestResponse = 0x19, Byte, ONCE, Range::Boolean(Violation::RequestResponseOutOfRange), [CONNECT];
    ResponseInformation = 0x1a, Text, ONCE, Range::Any, [CONNACK];
    ServerReference = 0x1c, Text, ONCE, Range::Any, [CONNACK, DISCONNECT];
    ReasonString = 0x1f, Text, ONCE, Range::Any,
        [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];
    ReceiveMaximum = 0x21, Two, ONCE, Range::NonZero(Violation::ReceiveMaximumZero), [CONNECT, CONNACK];
    TopicAliasMaximum = 0x22, Two, ONCE, Range::Any, [CONNECT, CONNACK];
    TopicAlias = 0x23, Two, ONCE, Range::Any, [PUBLISH];
    MaximumQoS = 0x24, Byte, ONCE, Range::Any, [CONNACK];
    RetainAvailable = 0x25, Byte, ONCE, Range::Any, [CONNACK];
    User = 0x26, Pair, OFTEN, Range::Any, [ALL, WILL];
    MaximumPacketSize = 0x27, Four, ONCE, Range::NonZero(Violation::PacketSizeMaximumZero), [CONNECT, CONNACK];
    WildcardAvailable = 0x28, Byte, ONCE, Range::Any, [CONNACK];
    SubscriptionIdAvailable = 0x29, Byte, ONCE, Range::Any, [CONNACK];
    SharedAvailable = 0x2a, Byte, ONCE, Range::Any, [CONNACK];
}

/// A property's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    /// A byte, an integer of two or four bytes, or a variable byte integer.
    Number(u32),
    /// A string that was checked, binary data, or nothing for a pair.
    Bytes(&'a [u8]),
}

impl Shape {
    // Inlined by force: each walk has few shapes to expect, and a call would pass every value through memory.
    #[inline(always)]
    fn read<'a>(self, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Violation> {
        Ok(match self {
            Self::Byte => Value::Number(u32::from(cursor.byte()?)),
            Self::Two => Value::Number(u32::from(cursor.two()?)),
            Self::Four => Value::Number(cursor.four()?),
            Self::Varint => Value::Number(cursor.varint()?),
            Self::Text => Value::Bytes(cursor.checked()?),
            Self::Binary => Value::Bytes(cursor.binary()?),
            Self::Pair => {
                cursor.checked()?;
                cursor.checked()?;
                Value::Bytes(&[])
            }
        })
    }

    /// Steps over a value that was checked before.
    fn skip(self, cursor: &mut Cursor<'_>) -> Result<(), Violation> {
        match self {
            Self::Byte => cursor.take(1).map(drop),
            Self::Two => cursor.take(2).map(drop),
            Self::Four => cursor.take(4).map(drop),
            Self::Varint => cursor.varint().map(drop),
            Self::Text | Self::Binary => cursor.binary().map(drop),
            Self::Pair => cursor.binary().and_then(|_| cursor.binary()).map(drop),
        }
    }
}

impl Range {
    fn check(self, value: Value<'_>) -> Result<(), Violation> {
        match (self, value) {
            (Self::Boolean(violation), Value::Number(2..)) | (Self::NonZero(violation), Value::Number(0)) => {
                Err(violation)
            }
            (Self::Name, Value::Bytes(&[])) => Err(Violation::ResponseTopicEmpty),
            (Self::Name, Value::Bytes(name)) if topic::has_wildcard(name) => {
                Err(Violation::ResponseTopicHasWildcard)
            }
            (Self::Any | Self::Boolean(_) | Self::NonZero(_) | Self::Name, _) => Ok(()),
        }
    }
}

impl Row {
    fn of(id: u8) -> Option<&'static Self> {
        // A static, so that the lookup is a load and not a copy of the table.
        static TABLE: [Option<Row>; 0x2b] = ROWS;
        TABLE.get(usize::from(id))?.as_ref()
    }
}

/// Checks all properties of a packet and shows each to `visit`.
///
/// An identifier is a variable byte integer, but all that exist are below 0x80, so any longer one is unknown.
pub(crate) fn walk<'a>(
    raw: &'a [u8],
    place: Place,
    mut visit: impl FnMut(Property, Value<'a>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut cursor = Cursor::new(raw);
    let mut seen = 0u64;
    while !cursor.is_empty() {
        let id = cursor.byte()?;
        let row = Row::of(id).ok_or(Violation::PropertyUnknown)?;
        if !row.places.meets(place) {
            return Err(Violation::PropertyMisplaced);
        }
        let bit = 1 << id;
        if seen & bit != 0 && !row.repeats {
            return Err(Violation::PropertyRepeated);
        }
        seen |= bit;
        let value = row.shape.read(&mut cursor)?;
        row.range.check(value)?;
        visit(row.property, value)?;
    }
    Ok(())
}

/// The user properties among the properties of a decoded packet, in their order, duplicates included.
/// Source: [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.1.3-10].
pub fn user(raw: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut cursor = Cursor::new(raw);
    std::iter::from_fn(move || {
        loop {
            let row = Row::of(cursor.byte().ok()?)?;
            if row.property != Property::User {
                row.shape.skip(&mut cursor).ok()?;
                continue;
            }
            return Some((cursor.text().ok()?, cursor.text().ok()?));
        }
    })
}

/// Appends to `out`, in wire form and in their order, the properties of a decoded PUBLISH or will that travel unchanged
/// to subscribers: payload format indicator, content type, response topic, correlation data and user properties.
///
/// Left out is what belongs to one hop: topic alias, message expiry (the receiver gets what is left of it),
/// subscription identifiers and will delay.
/// Source: [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20].
pub fn forwardable(raw: &[u8], out: &mut Vec<u8>) {
    let mut cursor = Cursor::new(raw);
    while !cursor.is_empty() {
        let before = cursor.rest();
        let Some(row) = cursor.byte().ok().and_then(Row::of) else { return };
        if row.shape.skip(&mut cursor).is_err() {
            return;
        }
        let travels = match row.property {
            Property::PayloadFormat
            | Property::ContentType
            | Property::ResponseTopic
            | Property::CorrelationData
            | Property::User => true,
            // Every other property speaks to the next hop only.
            _ => false,
        };
        if travels {
            out.extend_from_slice(&before[..before.len() - cursor.rest().len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_properties_keep_their_order_and_their_duplicates() {
        // FR-22 [MQTT-3.3.2-17], [MQTT-3.3.2-18].
        let raw = b"\x26\0\x01a\0\x011\x01\x01\x26\0\x01b\0\x012\x02\0\0\0\x05\x0b\x80\x01\x26\0\x01a\0\0";
        assert_eq!(user(raw).collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("a", "")]);
        assert_eq!(user(b"").count(), 0);
    }

    #[test]
    fn bytes_that_no_decoder_has_seen_end_the_readers_early() {
        assert_eq!(user(b"\x26\0\x01a\0\x011\x26\0\x09a").collect::<Vec<_>>(), [("a", "1")]);
        assert_eq!(user(b"\x7f\x26\0\x01a\0\x011").count(), 0);
        let mut out = Vec::new();
        forwardable(b"\x01\x01\x03\0\x09ab", &mut out);
        assert_eq!(out, b"\x01\x01");
    }

    #[test]
    fn what_belongs_to_one_hop_is_not_forwarded_and_the_rest_keeps_its_order() {
        // TA-08, EX-02, WL-13 [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-20].
        let raw = [
            &b"\x26\0\x01z\0\x01y\x23\0\x05\x09\0\x02\0\xff\x02\0\0\0\x07\x08\0\x01r"[..],
            b"\x18\0\0\0\x09\x03\0\0\x0b\x07\x01\0\x26\0\0\0\0",
        ]
        .concat();
        let mut out = b"before".to_vec();
        forwardable(&raw, &mut out);
        assert_eq!(out, b"before\x26\0\x01z\0\x01y\x09\0\x02\0\xff\x08\0\x01r\x03\0\0\x01\0\x26\0\0\0\0");
    }

    #[test]
    fn the_table_has_all_27_properties_each_at_its_identifier() {
        let rows: Vec<_> = ROWS.iter().enumerate().filter_map(|(id, row)| row.map(|row| (id, row))).collect();
        assert_eq!(rows.len(), 27);
        assert!(rows.iter().all(|(id, row)| usize::from(row.property.byte()) == *id));
    }
}
