//! Encoding the answers: PUBACK and its kin, SUBACK, UNSUBACK, PINGRESP.
//!
//! Why hardly any reason strings: an acknowledgement per message is no place for prose; the code says it, the log says the
//! rest. Only a client whose messages are interpreted is told why one was not taken. Source: [MQTT-3.4.2-2] and its kin.
//!
//! Invariants:
//! - An acknowledgement without words takes at most five bytes, as many as the smallest 5.0 CONNACK: who took that one takes
//!   these.
//! - A reason string is dropped rather than the packet.
//!
//! Source: MQTT 5.0 sections 3.4 to 3.7, 3.9, 3.11 and 3.13.

use super::fields::{cut, fits, put_field_property, put_varint, varint_len};
use crate::properties::Property;
use crate::{PacketId, ReasonCode, Version};

/// The four acknowledgements that share one form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl AckKind {
    /// The first byte. Source: [MQTT-2.1.3-1], [MQTT-3.6.1-1].
    const fn first(self) -> u8 {
        match self {
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
        }
    }
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP: four bytes for success and below 5.0, else five.
#[inline]
pub fn ack(out: &mut Vec<u8>, version: Version, kind: AckKind, id: PacketId, reason: ReasonCode) {
    let [high, low] = id.get().to_be_bytes();
    if version < Version::V5 || reason == ReasonCode::Success {
        out.extend_from_slice(&[kind.first(), 2, high, low]);
    } else {
        out.extend_from_slice(&[kind.first(), 3, high, low, reason.byte()]);
    }
}

/// Appends an acknowledgement of 5.0 that says why in words, or without them if it would be larger than the receiver takes.
/// Only for a client that wants to be told. Source: [MQTT-3.1.2-29], [MQTT-3.4.2-2].
pub fn ack_because(
    out: &mut Vec<u8>,
    kind: AckKind,
    id: PacketId,
    reason: ReasonCode,
    why: &str,
    packet_bytes_max: u32,
) {
    let text = cut(why);
    let properties = 3 + text.len();
    let remaining = 3 + varint_len(properties) + properties;
    // No string of MQTT has a zero in it. Source: [MQTT-1.5.4-2].
    if text.contains('\0') || !fits(1 + varint_len(remaining) + remaining, packet_bytes_max) {
        return ack(out, Version::V5, kind, id, reason);
    }
    out.push(kind.first());
    put_varint(out, remaining);
    out.extend_from_slice(&id.get().to_be_bytes());
    out.push(reason.byte());
    put_varint(out, properties);
    put_field_property(out, Property::ReasonString, text.as_bytes());
}

/// Appends a SUBACK with one code per topic request, in their order. Source: [MQTT-3.8.4-6], [MQTT-3.9.3-1].
///
/// 3.1.1 knows one failure code, 0x80; 3.1 knows none, so there a refused filter reads as granted with QoS 0.
pub fn suback(out: &mut Vec<u8>, version: Version, id: PacketId, reasons: &[ReasonCode]) {
    put_head(out, 0x90, suback_remaining(version, reasons.len()), id);
    match version {
        Version::V31 => {
            out.extend(reasons.iter().map(|reason| if reason.is_failure() { 0 } else { reason.byte() }))
        }
        Version::V311 => {
            out.extend(reasons.iter().map(|reason| if reason.is_failure() { 0x80 } else { reason.byte() }));
        }
        Version::V5 => {
            out.push(0);
            out.extend(reasons.iter().map(|reason| reason.byte()));
        }
    }
}

/// Appends an UNSUBACK; 5.0 has one code per filter, below it has none. Source: [MQTT-3.11.3-1], [MQTT-3.11.3-2].
pub fn unsuback(out: &mut Vec<u8>, version: Version, id: PacketId, reasons: &[ReasonCode]) {
    put_head(out, 0xb0, unsuback_remaining(version, reasons.len()), id);
    if version == Version::V5 {
        out.push(0);
        out.extend(reasons.iter().map(|reason| reason.byte()));
    }
}

/// The length in bytes of a SUBACK with `count` codes, to be held against the receiver's maximum packet size.
#[must_use]
pub const fn suback_len(version: Version, count: usize) -> usize {
    let remaining = suback_remaining(version, count);
    1 + varint_len(remaining) + remaining
}

/// The length in bytes of an UNSUBACK for `count` filters.
#[must_use]
pub const fn unsuback_len(version: Version, count: usize) -> usize {
    let remaining = unsuback_remaining(version, count);
    1 + varint_len(remaining) + remaining
}

const fn suback_remaining(version: Version, count: usize) -> usize {
    match version {
        Version::V31 | Version::V311 => 2 + count,
        Version::V5 => 3 + count,
    }
}

const fn unsuback_remaining(version: Version, count: usize) -> usize {
    match version {
        Version::V31 | Version::V311 => 2,
        Version::V5 => 3 + count,
    }
}

fn put_head(out: &mut Vec<u8>, first: u8, remaining: usize, id: PacketId) {
    out.reserve(5 + remaining);
    out.push(first);
    put_varint(out, remaining);
    out.extend_from_slice(&id.get().to_be_bytes());
}

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}
