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

impl Frame<'_> {
    /// Whether the packet is a PUBLISH.
    #[must_use]
    #[inline]
    pub const fn is_publish(&self) -> bool {
        self.first >> 4 == 3
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1 << 20;

    fn whole(bytes: &[u8]) -> Frame<'_> {
        match frame(bytes, MAX) {
            Ok(Framing::Whole(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_is_cut_off_and_the_rest_is_left_alone() {
        let frame = whole(&[0xc0, 0, 0xe0, 0]);
        assert_eq!((frame.first, frame.body, frame.bytes), (0xc0, &[][..], &[0xc0, 0][..]));
        let frame = whole(&[0x40, 2, 0, 7, 0xe0]);
        assert_eq!((frame.first, frame.body, frame.bytes), (0x40, &[0, 7][..], &[0x40, 2, 0, 7][..]));
    }

    #[test]
    fn every_size_of_remaining_length_is_read_at_its_borders() {
        // Source: section 1.5.5, table 1-1.
        let borders: [(usize, &[u8]); 6] = [
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        ];
        for (length, encoded) in borders {
            let mut bytes = vec![0x30];
            bytes.extend_from_slice(encoded);
            bytes.resize(bytes.len() + length, 0x61);
            let cut = frame(&bytes[..bytes.len() - 1], u32::MAX);
            assert_eq!(cut, Ok(Framing::Partial), "{length}");
            match frame(&bytes, u32::MAX) {
                Ok(Framing::Whole(frame)) => {
                    assert_eq!((frame.body.len(), frame.bytes.len()), (length, bytes.len()))
                }
                other => panic!("{other:?} for {length}"),
            }
        }
    }

    #[test]
    fn a_length_of_five_bytes_is_refused_at_its_fourth() {
        // FR-04 [MQTT-1.5.5-1].
        for bytes in [[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], [0x10, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(frame(&bytes[..4], u32::MAX), Ok(Framing::Partial));
            assert_eq!(frame(&bytes[..5], u32::MAX), Err(Violation::RemainingLengthTooLong));
            assert_eq!(frame(&bytes, u32::MAX), Err(Violation::RemainingLengthTooLong));
        }
    }

    #[test]
    fn a_length_that_is_not_minimal_is_refused_as_soon_as_it_shows() {
        // FR-05 [MQTT-1.5.5-1].
        for bytes in [&[0xc0, 0x80, 0x00][..], &[0xc0, 0x81, 0x80, 0x00], &[0xc0, 0x80, 0x80, 0x80, 0x00]] {
            assert_eq!(frame(&bytes[..bytes.len() - 1], MAX), Ok(Framing::Partial));
            assert_eq!(frame(bytes, MAX), Err(Violation::RemainingLengthNotMinimal));
        }
    }

    #[test]
    fn a_packet_above_the_maximum_is_refused_from_its_header_alone() {
        // FR-12, PS-03, PS-05 [MQTT-3.2.2-15]: the maximum counts the fixed header too.
        assert_eq!(frame(&[0x10, 0xff, 0xff, 0xff, 0x7f], MAX), Err(Violation::PacketTooLarge));
        assert_eq!(frame(&[0x30, 98], 100), Ok(Framing::Partial));
        assert_eq!(frame(&[0x30, 99], 100), Err(Violation::PacketTooLarge));
        let exact = [&[0x30, 98][..], &[0; 98]].concat();
        assert!(matches!(frame(&exact, 100), Ok(Framing::Whole(_))));
    }

    #[test]
    fn the_beginning_of_a_header_is_partial() {
        assert_eq!(frame(&[], MAX), Ok(Framing::Partial));
        assert_eq!(frame(&[0x30], MAX), Ok(Framing::Partial));
        assert_eq!(frame(&[0x30, 0x80], MAX), Ok(Framing::Partial));
    }
}
