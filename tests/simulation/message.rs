//! How a message carries its number: the first bytes of its payload.
//!
//! Invariants:
//! - Two messages have different payloads, unless both are empty.

use std::rc::Rc;

/// The payload of message `number`, `bytes` long or as long as its number needs.
#[must_use]
pub fn payload(number: usize, is_will: bool, bytes: usize) -> Rc<[u8]> {
    let letter = if is_will { 'w' } else { 'm' };
    let mut payload = format!("{letter}{number}.").into_bytes();
    let filler = number.to_le_bytes()[0];
    payload.resize(bytes.max(payload.len()), filler);
    payload.into()
}

/// The number that a payload carries; nothing if it is empty or no simulated client wrote it.
#[must_use]
pub fn number(payload: &[u8]) -> Option<usize> {
    let rest = payload.strip_prefix(b"m").or_else(|| payload.strip_prefix(b"w"))?;
    let end = rest.iter().position(|byte| *byte == b'.')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Whether a payload is that of a will.
#[must_use]
pub fn is_will(payload: &[u8]) -> bool {
    payload.first() == Some(&b'w')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_back_its_number() {
        assert_eq!(number(&payload(17, false, 100)), Some(17));
        assert_eq!(payload(17, false, 100).len(), 100);
        assert_eq!(number(&payload(123_456, true, 0)), Some(123_456));
        assert!(is_will(&payload(1, true, 0)) && !is_will(&payload(1, false, 0)));
        assert_eq!(number(b""), None);
    }
}
