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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_well_formed_utf8_without_nul() {
        // FR-13 [MQTT-1.5.4-1]; each also behind enough ASCII to leave the short path.
        let ill: [&[u8]; 8] = [
            b"\x80",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\x80",
            b"\xf5\x80\x80\x80",
            b"\xe2\x82",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
        ];
        for bytes in ill {
            for padding in [0, 1, 7, 8, 63, 64, 200] {
                let padded = [&vec![b'a'; padding][..], bytes].concat();
                assert_eq!(check(&padded), Err(Violation::Utf8Invalid), "{padded:?}");
                assert_eq!(validate(&padded), Err(Violation::Utf8Invalid), "{padded:?}");
            }
        }
    }

    #[test]
    fn nul_is_found_at_every_place() {
        // FR-14 [MQTT-1.5.4-2].
        for length in 1..80 {
            for place in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[place] = 0;
                assert_eq!(check(&bytes), Err(Violation::NulCharacter));
                assert_eq!(validate(&bytes), Err(Violation::NulCharacter));
            }
        }
    }

    #[test]
    fn everything_else_is_an_ordinary_character() {
        // FR-15 [MQTT-1.5.4-3], FR-18.
        for text in
            ["", "a", "\u{feff}", "\u{1}\u{7f}\u{80}", "\u{ffff}", "\u{10ffff}", "\u{e9}", "12345678\u{20ac}"]
        {
            assert_eq!(check(text.as_bytes()), Ok(text));
            assert_eq!(validate(text.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn plain_means_free_of_controls_and_non_characters() {
        for text in ["", "a b", "\u{feff}", "\u{a0}", "\u{fffd}", "\u{fdcf}\u{fdf0}", "\u{10fffd}"] {
            assert!(is_plain(text), "{text:?}");
        }
        for text in
            ["\u{1}", "a\n", "\u{1f}", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{fdef}", "\u{fffe}", "\u{1ffff}"]
        {
            assert!(!is_plain(text), "{text:?}");
        }
    }
}
