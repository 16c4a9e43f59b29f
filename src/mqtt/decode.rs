//! Decoding what a client sends after CONNECT.
//!
//! Why PUBLISH first: it is the packet that there are millions of. Its path is straight: no allocation, no look at
//! properties when there are none, and no look into the topic, which the router mostly knows already.
//!
//! Invariants:
//! - The first byte is judged as a whole: a type with flags that it must not have is not that type.
//! - Every byte of a packet is accounted for; surplus is a violation.
//!
//! Source: MQTT 5.0 sections 2.1 and 3.3 to 3.15.

use crate::cursor::Cursor;
use crate::properties::{self, Place, Property, Value};
use crate::{
    Ack, Auth, Disconnect, Frame, Packet, Publish, QoS, ReasonCode, Subscribe, Unsubscribe, Version,
    Violation, text,
};

/// Decodes a packet that came after CONNECT.
///
/// A further CONNECT is [`Packet::Connect`], unread. MQTT 3.1 allows DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE.
///
/// # Errors
/// The statement that the packet breaks. Source: sections 2.1 and 3.3 to 3.15.
#[inline]
pub fn decode(frame: Frame<'_>, version: Version) -> Result<Packet<'_>, Violation> {
    if frame.is_publish() {
        return decode_publish(frame, version).map(Packet::Publish);
    }
    decode_other(frame, version)
}

#[inline(never)]
fn decode_other(frame: Frame<'_>, version: Version) -> Result<Packet<'_>, Violation> {
    let cursor = Cursor::new(frame.body);
    match frame.first {
        0x10 => Ok(Packet::Connect),
        0x40 => Ok(Packet::PubAck(ack(cursor, version, &PUBACK)?)),
        0x50 => Ok(Packet::PubRec(ack(cursor, version, &PUBREC)?)),
        0x62 => Ok(Packet::PubRel(ack(cursor, version, &PUBREL)?)),
        0x6a if version == Version::V31 => Ok(Packet::PubRel(ack(cursor, version, &PUBREL)?)),
        0x70 => Ok(Packet::PubComp(ack(cursor, version, &PUBCOMP)?)),
        0x82 => Ok(Packet::Subscribe(Subscribe::decode(cursor, version)?)),
        0x8a if version == Version::V31 => Ok(Packet::Subscribe(Subscribe::decode(cursor, version)?)),
        0xa2 => Ok(Packet::Unsubscribe(Unsubscribe::decode(cursor, version)?)),
        0xaa if version == Version::V31 => Ok(Packet::Unsubscribe(Unsubscribe::decode(cursor, version)?)),
        0xc0 => cursor.end().map(|()| Packet::PingReq),
        0xe0 => Ok(Packet::Disconnect(disconnect(cursor, version)?)),
        0xf0 if version == Version::V5 => Ok(Packet::Auth(auth(cursor)?)),
        first => Err(refuse(first, version)),
    }
}

/// Why a first byte is none that a client may send.
fn refuse(first: u8, version: Version) -> Violation {
    match first >> 4 {
        0 => Violation::PacketTypeReserved,
        15 if version < Version::V5 => Violation::PacketTypeReserved,
        2 | 9 | 11 | 13 => Violation::ServerOnlyPacket,
        // A type that a client may send, with other flags than it must have.
        _ => Violation::FlagsReserved,
    }
}

/// Decodes a frame that is a PUBLISH, see [`Frame::is_publish`]: for those who would rather not have it wrapped.
///
/// # Errors
/// As [`decode`].
#[inline]
pub fn decode_publish(frame: Frame<'_>, version: Version) -> Result<Publish<'_>, Violation> {
    debug_assert!(frame.is_publish());
    let qos = QoS::from_bits(frame.first >> 1 & 3).ok_or(Violation::QoSInvalid)?;
    let dup = frame.first & 8 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(Violation::DupWithQoS0);
    }
    let mut cursor = Cursor::new(frame.body);
    let topic = cursor.binary()?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(cursor.packet_id()?) };
    let raw = if version == Version::V5 { cursor.properties()? } else { &[] };
    let found = if raw.is_empty() { PublishProperties::default() } else { publish_properties(raw)? };
    if topic.is_empty() && found.topic_alias.is_none() {
        return Err(Violation::TopicEmpty);
    }
    Ok(Publish {
        dup,
        qos,
        retain: frame.first & 1 != 0,
        topic,
        packet_id,
        topic_alias: found.topic_alias,
        expiry_s: found.expiry_s,
        payload_is_utf8: found.payload_is_utf8,
        raw,
        raw_is_forwardable: found.topic_alias.is_none() && found.expiry_s.is_none(),
        payload: cursor.rest(),
        packet: frame.bytes,
    })
}

/// The properties of a PUBLISH that do not travel on as bytes alone.
#[derive(Clone, Copy, Default)]
struct PublishProperties {
    topic_alias: Option<u16>,
    expiry_s: Option<u32>,
    payload_is_utf8: bool,
}

// Out of line: the path without properties stays in registers.
#[inline(never)]
fn publish_properties(raw: &[u8]) -> Result<PublishProperties, Violation> {
    let mut found = PublishProperties::default();
    properties::walk(raw, Place::PUBLISH, |property, value| {
        match (property, value) {
            (Property::PayloadFormat, Value::Number(format)) => found.payload_is_utf8 = format == 1,
            (Property::MessageExpiry, Value::Number(expiry_s)) => found.expiry_s = Some(expiry_s),
            (Property::TopicAlias, Value::Number(alias)) => found.topic_alias = u16::try_from(alias).ok(),
            (Property::SubscriptionId, _) => return Err(Violation::SubscriptionIdFromClient),
            // The others travel on as bytes.
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// What tells one acknowledgement from another.
struct AckRules {
    place: Place,
    violation: Violation,
    is_lawful: fn(ReasonCode) -> bool,
}

const PUBACK: AckRules =
    AckRules { place: Place::PUBACK, violation: Violation::PubAckReasonInvalid, is_lawful: is_receipt };
const PUBREC: AckRules =
    AckRules { place: Place::PUBREC, violation: Violation::PubRecReasonInvalid, is_lawful: is_receipt };
const PUBREL: AckRules =
    AckRules { place: Place::PUBREL, violation: Violation::PubRelReasonInvalid, is_lawful: is_release };
const PUBCOMP: AckRules =
    AckRules { place: Place::PUBCOMP, violation: Violation::PubCompReasonInvalid, is_lawful: is_release };

/// Whether PUBACK and PUBREC have the code. Source: [MQTT-3.4.2-1], [MQTT-3.5.2-1].
fn is_receipt(reason: ReasonCode) -> bool {
    matches!(reason.byte(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
}

/// Whether PUBREL and PUBCOMP have the code. Source: [MQTT-3.6.2-1], [MQTT-3.7.2-1].
fn is_release(reason: ReasonCode) -> bool {
    matches!(reason.byte(), 0x00 | 0x92)
}

fn ack(mut cursor: Cursor<'_>, version: Version, rules: &AckRules) -> Result<Ack, Violation> {
    let packet_id = cursor.packet_id()?;
    if version < Version::V5 {
        cursor.end()?;
    }
    if cursor.is_empty() {
        return Ok(Ack { packet_id, reason: ReasonCode::Success });
    }
    let reason = ReasonCode::from_byte(cursor.byte()?).filter(|&reason| (rules.is_lawful)(reason));
    let reason = reason.ok_or(rules.violation)?;
    if !cursor.is_empty() {
        properties::walk(cursor.properties()?, rules.place, |_, _| Ok(()))?;
    }
    cursor.end()?;
    Ok(Ack { packet_id, reason })
}

/// Whether a client may send the code in a DISCONNECT. Source: [MQTT-3.14.2-1], table 3-10.
fn is_farewell(reason: ReasonCode) -> bool {
    matches!(reason.byte(), 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
}

fn disconnect(mut cursor: Cursor<'_>, version: Version) -> Result<Disconnect<'_>, Violation> {
    let mut disconnect =
        Disconnect { reason: ReasonCode::Success, session_expiry_s: None, reason_string: None };
    if version < Version::V5 {
        cursor.end()?;
    }
    if cursor.is_empty() {
        return Ok(disconnect);
    }
    let reason = ReasonCode::from_byte(cursor.byte()?).filter(|&reason| is_farewell(reason));
    disconnect.reason = reason.ok_or(Violation::DisconnectReasonInvalid)?;
    if !cursor.is_empty() {
        properties::walk(cursor.properties()?, Place::DISCONNECT, |property, value| {
            match (property, value) {
                (Property::SessionExpiry, Value::Number(expiry_s)) => {
                    disconnect.session_expiry_s = Some(expiry_s)
                }
                (Property::ReasonString, Value::Bytes(why)) => {
                    disconnect.reason_string = Some(text::check(why)?)
                }
                // User properties and a server reference say nothing that a broker acts on.
                _ => {}
            }
            Ok(())
        })?;
    }
    cursor.end()?;
    Ok(disconnect)
}

fn auth(mut cursor: Cursor<'_>) -> Result<Auth<'_>, Violation> {
    // The short form means success, which only a server says.
    let reason = if cursor.is_empty() { ReasonCode::Success.byte() } else { cursor.byte()? };
    let reason = ReasonCode::from_byte(reason)
        .filter(|reason| matches!(reason, ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate))
        .ok_or(Violation::AuthReasonInvalid)?;
    let mut auth = Auth { reason, method: None, data: None };
    properties::walk(cursor.properties()?, Place::AUTH, |property, value| {
        match (property, value) {
            (Property::AuthenticationMethod, Value::Bytes(method)) => {
                auth.method = Some(text::check(method)?)
            }
            (Property::AuthenticationData, Value::Bytes(data)) => auth.data = Some(data),
            // Reason string and user properties carry nothing for the exchange.
            _ => {}
        }
        Ok(())
    })?;
    cursor.end()?;
    if auth.method.is_none() {
        return Err(Violation::AuthWithoutMethod);
    }
    Ok(auth)
}
