//! Encoding PUBLISH: once per receiver, or once per fan-out and then patched.
//!
//! Why lengths first: the fixed header comes before what it measures, and one reservation is cheaper than many.
//!
//! Invariants:
//! - [`publish_len`] is exactly what [`publish`] appends.
//! - The forwarded properties are the last ones, so a template differs from its copies only in what [`publish_patch`]
//!   writes.
//!
//! Source: MQTT 5.0 section 3.3.

use super::fields::{
    REMAINING_BYTES_MAX, put_four_property, put_two_property, put_varint, two, varint, varint_len,
};
use crate::properties::Property;
use crate::{PacketId, PublishOut, QoS, Version};

/// DUP in the first byte.
const DUP: u8 = 0x08;

/// How long the parts of a packet are, in bytes.
#[derive(Clone, Copy)]
struct Lengths {
    properties: usize,
    remaining: usize,
}

impl Lengths {
    #[inline]
    fn of(version: Version, publish: &PublishOut<'_>) -> Self {
        let mut remaining = 2 + publish.topic.len() + publish.payload.len();
        if publish.packet_id.is_some() {
            remaining += 2;
        }
        if version < Version::V5 {
            return Self { properties: 0, remaining };
        }
        let mut properties = publish.forward.len();
        if publish.topic_alias.is_some() {
            properties += 3;
        }
        if publish.expiry_s.is_some() {
            properties += 5;
        }
        for &id in publish.subscription_ids {
            properties += 1 + varint_len(id_value(id));
        }
        Self { properties, remaining: remaining + varint_len(properties) + properties }
    }
}

/// A subscription identifier as a variable byte integer's value; at most 268,435,455 by its decoder.
fn id_value(id: u32) -> usize {
    usize::try_from(id).unwrap_or(REMAINING_BYTES_MAX)
}

/// The length of the whole packet in bytes, to be held against the receiver's maximum packet size.
/// Source: [MQTT-3.1.2-24].
#[must_use]
#[inline]
pub fn publish_len(version: Version, publish: &PublishOut<'_>) -> usize {
    let lengths = Lengths::of(version, publish);
    1 + varint_len(lengths.remaining) + lengths.remaining
}

/// Appends a PUBLISH. Below 5.0 alias, expiry, identifiers and forwarded properties are left out.
///
/// The caller keeps it within the receiver's maximum packet size and the topic within 65,535 bytes.
#[inline]
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) {
    debug_assert!((publish.qos == QoS::AtMostOnce) == publish.packet_id.is_none());
    debug_assert!(version == Version::V5 || !publish.topic.is_empty());
    let lengths = Lengths::of(version, publish);
    debug_assert!(lengths.remaining <= REMAINING_BYTES_MAX);
    out.reserve(HEADER_BYTES_MAX + lengths.remaining);
    put_head(out, first(publish), lengths.remaining, publish.topic.len());
    out.extend_from_slice(publish.topic);
    if let Some(id) = publish.packet_id {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
    if version == Version::V5 {
        if lengths.properties == 0 {
            out.push(0);
        } else {
            put_properties(out, publish, lengths.properties);
        }
    }
    out.extend_from_slice(publish.payload);
}

#[inline]
const fn first(publish: &PublishOut<'_>) -> u8 {
    let mut first = 0x30 | publish.qos.bits() << 1;
    if publish.dup {
        first |= DUP;
    }
    if publish.retain {
        first |= 1;
    }
    first
}

/// As many bytes as the fixed header can take. Source: section 2.1.
const HEADER_BYTES_MAX: usize = 5;

/// Writes the first byte, the remaining length and the topic's length, each size of it in one piece: a copy whose
/// length is known to the compiler is a store and not a call.
#[inline]
fn put_head(out: &mut Vec<u8>, first: u8, remaining: usize, topic_bytes: usize) {
    let [high, low] = two(topic_bytes);
    match varint(remaining) {
        ([a, ..], 1) => out.extend_from_slice(&[first, a, high, low]),
        ([a, b, ..], 2) => out.extend_from_slice(&[first, a, b, high, low]),
        ([a, b, c, _], 3) => out.extend_from_slice(&[first, a, b, c, high, low]),
        // Four bytes are the most that the standard has.
        ([a, b, c, d], _) => out.extend_from_slice(&[first, a, b, c, d, high, low]),
    }
}

#[inline(never)]
fn put_properties(out: &mut Vec<u8>, publish: &PublishOut<'_>, length: usize) {
    put_varint(out, length);
    if let Some(alias) = publish.topic_alias {
        put_two_property(out, Property::TopicAlias, alias);
    }
    if let Some(expiry_s) = publish.expiry_s {
        put_four_property(out, Property::MessageExpiry, expiry_s);
    }
    for &id in publish.subscription_ids {
        out.push(Property::SubscriptionId.byte());
        put_varint(out, id_value(id));
    }
    out.extend_from_slice(publish.forward);
}

/// Where the packet identifier stands in the encoded packet, counted from its first byte; `None` for QoS 0.
#[must_use]
pub fn publish_packet_id_offset(version: Version, publish: &PublishOut<'_>) -> Option<usize> {
    publish.packet_id?;
    Some(1 + varint_len(Lengths::of(version, publish).remaining) + 2 + publish.topic.len())
}

/// Makes a copied template another receiver's packet: sets its packet identifier and DUP.
///
/// `frame` is one encoded PUBLISH of QoS 1 or 2; the offset is that of [`publish_packet_id_offset`].
///
/// # Panics
/// If the offset is not within `frame`.
#[inline]
pub fn publish_patch(frame: &mut [u8], packet_id_offset: usize, id: PacketId, dup: bool) {
    debug_assert!(frame[0] & 0xf6 > 0x30);
    frame[packet_id_offset..packet_id_offset + 2].copy_from_slice(&id.get().to_be_bytes());
    frame[0] = if dup { frame[0] | DUP } else { frame[0] & !DUP };
}
