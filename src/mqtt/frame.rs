//! Frames: where one packet ends and the next begins.
//!
//! Why apart from decoding: the length of a packet is known before the version of its sender is, and a stream is cut
//! into frames where it was received, without a copy.
//!
//! Invariants:
//! - A refusal never waits for bytes that it does not need: a too long length is refused at its fourth byte, a too
//!   large packet at its header.
//! - A remaining length that is not minimal is refused in every version. MQTT 3.1.1 has no such rule, but the version
//!   is unknown before the first packet is whole, and no known client sends one.
//!
//! Source: MQTT 5.0 sections 1.5.5 and 2.1.

use crate::Violation;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing<'a> {
    /// The beginning of a packet; read more.
    Partial,
    /// A whole packet.
    Whole(Frame<'a>),
}

/// One packet, cut out of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// What follows the fixed header; exactly as long as the remaining length says.
    pub body: &'a [u8],
    /// The whole packet, fixed header included.
    pub bytes: &'a [u8],
}

/// Cuts the first packet off `bytes`.
///
/// `packet_bytes_max` counts the whole packet, fixed header included. Source: [MQTT-3.2.2-15], [MQTT-1.5.5-1].
///
/// # Errors
/// [`Violation::RemainingLengthTooLong`], [`Violation::RemainingLengthNotMinimal`], [`Violation::PacketTooLarge`].
#[inline]
pub fn frame(bytes: &[u8], packet_bytes_max: u32) -> Result<Framing<'_>, Violation> {
    let [first, length, ..] = *bytes else { return Ok(Framing::Partial) };
    let (header_bytes, body_bytes) = if length < 0x80 {
        (2, usize::from(length))
    } else {
        match long_length(&bytes[1..])? {
            Some((length_bytes, body_bytes)) => (1 + length_bytes, body_bytes),
            None => return Ok(Framing::Partial),
        }
    };
    let total_bytes = header_bytes + body_bytes;
    if total_bytes > usize::try_from(packet_bytes_max).unwrap_or(usize::MAX) {
        return Err(Violation::PacketTooLarge);
    }
    let Some(bytes) = bytes.get(..total_bytes) else { return Ok(Framing::Partial) };
    Ok(Framing::Whole(Frame { first, body: &bytes[header_bytes..], bytes }))
}

/// Reads a remaining length of two to four bytes: how many bytes it takes, and its value. `None` if it is cut off.
fn long_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte == 0 {
            return Err(Violation::RemainingLengthNotMinimal);
        }
        if byte < 0x80 {
            return Ok(Some((index + 1, value)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Violation::RemainingLengthTooLong) }
}
