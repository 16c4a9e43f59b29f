//! The primitives of the standard, as they are written.
//!
//! Why lengths as `usize`: they are slice lengths; their big-endian bytes are cut, so no cast can lose a bit unseen.
//!
//! Invariants:
//! - A variable byte integer is written in as few bytes as it needs. Source: [MQTT-1.5.5-1].
//!
//! Source: MQTT 5.0 section 1.5.

use crate::properties::Property;

/// The longest string or binary field, in bytes. Source: sections 1.5.4 and 1.5.6.
pub(super) const FIELD_BYTES_MAX: usize = 65_535;

/// The largest remaining length. Source: section 1.5.5.
pub(super) const REMAINING_BYTES_MAX: usize = 268_435_455;

/// What became of a packet with a size limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Fit {
    /// Written with all that it was to say.
    Whole,
    /// Written without its reason string, which did not fit.
    Trimmed,
    /// Not written: it cannot be said within the receiver's maximum packet size or in its version. Close bare.
    Nothing,
}

/// How many bytes a variable byte integer takes.
#[inline]
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        // Four bytes are the most that the standard has.
        _ => 4,
    }
}

/// The low byte of a length.
#[inline]
const fn low_byte(value: usize) -> u8 {
    let [.., low] = value.to_be_bytes();
    low
}

/// The bytes of a variable byte integer, and how many of them count.
#[inline]
pub(super) const fn varint(value: usize) -> ([u8; 4], usize) {
    debug_assert!(value <= REMAINING_BYTES_MAX);
    let (a, b, c, d) = (low_byte(value & 0x7f), value >> 7, value >> 14, value >> 21);
    if b == 0 {
        return ([a, 0, 0, 0], 1);
    }
    let (a, b) = (a | 0x80, low_byte(b & 0x7f));
    if c == 0 {
        return ([a, b, 0, 0], 2);
    }
    let (b, c) = (b | 0x80, low_byte(c & 0x7f));
    if d == 0 {
        return ([a, b, c, 0], 3);
    }
    ([a, b, c | 0x80, low_byte(d & 0x7f)], 4)
}

/// The two bytes of a field's length.
#[inline]
pub(super) const fn two(length: usize) -> [u8; 2] {
    debug_assert!(length <= FIELD_BYTES_MAX);
    let [.., high, low] = length.to_be_bytes();
    [high, low]
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: usize) {
    let (bytes, count) = varint(value);
    out.extend_from_slice(&bytes[..count]);
}

/// Writes a string or binary field of at most 65,535 bytes.
pub(super) fn put_field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&two(bytes.len()));
    out.extend_from_slice(bytes);
}

pub(super) fn put_byte_property(out: &mut Vec<u8>, property: Property, value: u8) {
    out.extend_from_slice(&[property.byte(), value]);
}

pub(super) fn put_two_property(out: &mut Vec<u8>, property: Property, value: u16) {
    let [high, low] = value.to_be_bytes();
    out.extend_from_slice(&[property.byte(), high, low]);
}

pub(super) fn put_four_property(out: &mut Vec<u8>, property: Property, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    out.extend_from_slice(&[property.byte(), a, b, c, d]);
}

pub(super) fn put_field_property(out: &mut Vec<u8>, property: Property, bytes: &[u8]) {
    out.push(property.byte());
    put_field(out, bytes);
}

/// Cuts a text for people to what a string field holds, at the border of a character.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(FIELD_BYTES_MAX)]
}

/// Whether a packet of `length` bytes is within the receiver's maximum packet size. Source: [MQTT-3.1.2-24].
pub(super) fn fits(length: usize, packet_bytes_max: u32) -> bool {
    u32::try_from(length).is_ok_and(|length| length <= packet_bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_byte_integer_takes_as_few_bytes_as_it_needs() {
        // Section 1.5.5, table 1-1.
        let rows: [(usize, &[u8]); 9] = [
            (0, &[0x00]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (321, &[0xc1, 0x02]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ];
        for (value, expected) in rows {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, expected);
            assert_eq!(varint_len(value), expected.len());
        }
    }

    #[test]
    fn a_text_for_people_is_cut_between_characters() {
        // PS-06.
        let text = format!("{}\u{20ac}", "a".repeat(FIELD_BYTES_MAX - 2));
        assert_eq!(cut(&text), "a".repeat(FIELD_BYTES_MAX - 2));
        assert_eq!(cut("short"), "short");
    }
}
