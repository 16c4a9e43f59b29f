//! Strings of the protocol: well-formed UTF-8 without U+0000.
//!
//! Why control characters pass: the standard lets a receiver choose, and refusing them breaks devices that work
//! elsewhere. Who wants them refused asks [`is_plain`] for every string, in all versions alike.
//!
//! Invariants:
//! - The rule is the same for every string of every version. Source: [MQTT-3.1.3-4], [MQTT-3.3.2-1] and their kin.
//!
//! Source: MQTT 5.0 section 1.5.4.

use crate::Violation;

/// Takes bytes for a string of the protocol. Source: [MQTT-1.5.4-1], [MQTT-1.5.4-2].
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Violation> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::Utf8Invalid)?;
    if bytes.contains(&0) { Err(Violation::NulCharacter) } else { Ok(text) }
}

/// Checks that bytes are a string of the protocol, for those who pass them on and never look at them as text.
#[inline]
pub(crate) fn validate(bytes: &[u8]) -> Result<(), Violation> {
    if is_ascii_without_nul(bytes) { Ok(()) } else { check(bytes).map(drop) }
}

/// Whether all bytes lie within 0x01 to 0x7F; eight at a time, since most strings are short and ASCII.
#[inline]
fn is_ascii_without_nul(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = bytes.as_chunks::<8>();
    // Taking one from each byte sets a high bit where a byte is zero; a borrow starts nowhere else.
    words.iter().all(|&word| {
        let word = u64::from_be_bytes(word);
        (word | word.wrapping_sub(ONES)) & HIGHS == 0
    }) && tail.iter().all(|byte| (0x01..=0x7f).contains(byte))
}

/// Whether a string is free of what the standard advises against: control characters (U+0001 to U+001F, U+007F to
/// U+009F) and the non-characters of Unicode. Cost: one pass.
///
/// Nothing in this crate asks it; a listener that wants strictness answers with [`Violation::ControlCharacter`].
/// Source: section 1.5.4.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(|character| {
        let code = u32::from(character);
        character.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
    })
}
