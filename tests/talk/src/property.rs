//! The 27 properties of MQTT 5.0 in one table, from which encoder, decoder and expectations derive.
//!
//! Source: MQTT 5.0 table 2-4.

use crate::packet::Kind;

/// How a property's value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One byte.
    Byte,
    /// Two bytes.
    Two,
    /// Four bytes.
    Four,
    /// A variable byte integer.
    Var,
    /// A UTF-8 string.
    Text,
    /// Binary with two length bytes.
    Binary,
    /// Two UTF-8 strings.
    Pair,
}

/// The value of a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// Of the shapes Byte, Two, Four, Var.
    Number(u64),
    /// Of the shapes Text and Binary.
    Bytes(Vec<u8>),
    /// Of the shape Pair.
    Pair(Vec<u8>, Vec<u8>),
}

impl Held {
    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(_) | Self::Pair(..) => None,
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Property {
    /// The identifier on the wire.
    pub id: u8,
    /// The key of the language.
    pub name: &'static str,
    /// A shorter key, or the name again.
    pub short: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// The packets in which a server may write it.
    pub from_server: &'static [Kind],
    /// The largest value of a number.
    pub number_max: u64,
}

/// User Property.
pub const USER_PROPERTY: u8 = 0x26;
/// Subscription Identifier.
pub const SUBSCRIPTION_ID: u8 = 0x0b;
/// Topic Alias.
pub const TOPIC_ALIAS: u8 = 0x23;
/// Reason String.
pub const REASON_STRING: u8 = 0x1f;
/// Session Expiry Interval.
pub const SESSION_EXPIRY: u8 = 0x11;
/// Message Expiry Interval.
pub const MESSAGE_EXPIRY: u8 = 0x02;

const PUBLISH: &[Kind] = &[Kind::Publish];
const CONNACK: &[Kind] = &[Kind::ConnAck];
const ACKS: &[Kind] = &[
    Kind::ConnAck,
    Kind::PubAck,
    Kind::PubRec,
    Kind::PubRel,
    Kind::PubComp,
    Kind::SubAck,
    Kind::UnsubAck,
    Kind::Disconnect,
    Kind::Auth,
];
const EVERYWHERE: &[Kind] = &[
    Kind::Publish,
    Kind::ConnAck,
    Kind::PubAck,
    Kind::PubRec,
    Kind::PubRel,
    Kind::PubComp,
    Kind::SubAck,
    Kind::UnsubAck,
    Kind::Disconnect,
    Kind::Auth,
];

const fn row(
    id: u8,
    names: (&'static str, &'static str),
    shape: Shape,
    from_server: &'static [Kind],
    number_max: u64,
) -> Property {
    Property { id, name: names.0, short: names.1, shape, from_server, number_max }
}

const TWO_MAX: u64 = 0xffff;
const FOUR_MAX: u64 = 0xffff_ffff;
/// The largest variable byte integer.
pub const VAR_MAX: u64 = 268_435_455;

/// The table, by identifier.
pub const PROPERTIES: [Property; 27] = [
    row(0x01, ("payload-format", "format"), Shape::Byte, PUBLISH, 1),
    row(0x02, ("message-expiry", "message-expiry"), Shape::Four, PUBLISH, FOUR_MAX),
    row(0x03, ("content-type", "content-type"), Shape::Text, PUBLISH, 0),
    row(0x08, ("response-topic", "response-topic"), Shape::Text, PUBLISH, 0),
    row(0x09, ("correlation", "correlation"), Shape::Binary, PUBLISH, 0),
    row(0x0b, ("subscription-id", "subid"), Shape::Var, PUBLISH, VAR_MAX),
    row(0x11, ("session-expiry", "session-expiry"), Shape::Four, CONNACK, FOUR_MAX),
    row(0x12, ("assigned-client-id", "assigned"), Shape::Text, CONNACK, 0),
    row(0x13, ("server-keep-alive", "server-keep-alive"), Shape::Two, CONNACK, TWO_MAX),
    row(0x15, ("auth-method", "method"), Shape::Text, &[Kind::ConnAck, Kind::Auth], 0),
    row(0x16, ("auth-data", "data"), Shape::Binary, &[Kind::ConnAck, Kind::Auth], 0),
    row(0x17, ("request-problem", "request-problem"), Shape::Byte, &[], 1),
    row(0x18, ("will-delay", "delay"), Shape::Four, &[], FOUR_MAX),
    row(0x19, ("request-response", "request-response"), Shape::Byte, &[], 1),
    row(0x1a, ("response-information", "response-information"), Shape::Text, CONNACK, 0),
    row(0x1c, ("server-reference", "server-reference"), Shape::Text, &[Kind::ConnAck, Kind::Disconnect], 0),
    row(0x1f, ("reason-string", "reason"), Shape::Text, ACKS, 0),
    row(0x21, ("receive-maximum", "rm"), Shape::Two, CONNACK, TWO_MAX),
    row(0x22, ("topic-alias-maximum", "alias-max"), Shape::Two, CONNACK, TWO_MAX),
    row(0x23, ("topic-alias", "alias"), Shape::Two, PUBLISH, TWO_MAX),
    row(0x24, ("maximum-qos", "maximum-qos"), Shape::Byte, CONNACK, 1),
    row(0x25, ("retain-available", "retain-available"), Shape::Byte, CONNACK, 1),
    row(0x26, ("user-property", "up"), Shape::Pair, EVERYWHERE, 0),
    row(0x27, ("maximum-packet-size", "packet-max"), Shape::Four, CONNACK, FOUR_MAX),
    row(0x28, ("wildcard-available", "wildcard-available"), Shape::Byte, CONNACK, 1),
    row(0x29, ("subid-available", "subid-available"), Shape::Byte, CONNACK, 1),
    row(0x2a, ("shared-available", "shared-available"), Shape::Byte, CONNACK, 1),
];

/// The row of an identifier.
#[must_use]
pub fn by_id(id: u8) -> Option<&'static Property> {
    PROPERTIES.iter().find(|property| property.id == id)
}

/// The name of an identifier; empty for an unknown one.
#[must_use]
pub fn name(id: u8) -> &'static str {
    by_id(id).map_or("", |property| property.name)
}

/// The row that a key means; `expiry` depends on where it stands.
#[must_use]
pub fn by_key(key: &str, in_message: bool) -> Option<&'static Property> {
    match key {
        "expiry" if in_message => by_id(MESSAGE_EXPIRY),
        "expiry" => by_id(SESSION_EXPIRY),
        key => PROPERTIES.iter().find(|property| property.name == key || property.short == key),
    }
}

/// Appends a variable byte integer in its shortest form.
pub fn push_var(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends two length bytes and `bytes`, cut at 65,535.
pub fn push_field(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(&bytes[..usize::from(length)]);
}
