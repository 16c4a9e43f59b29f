//! Strings of the protocol: well-formed UTF-8 without U+0000.
//!
//! Why control characters pass: the standard lets a receiver choose, and refusing them breaks devices that work
//! elsewhere. Who wants them refused asks [`is_plain`] for every string, in all versions alike.
//!
//! Source: MQTT 5.0 section 1.5.4.

use crate::Violation;

/// Takes bytes for a string of the protocol. Source: [MQTT-1.5.4-1], [MQTT-1.5.4-2].
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Violation> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::Utf8Invalid)?;
    if bytes.contains(&0) { Err(Violation::NulCharacter) } else { Ok(text) }
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
