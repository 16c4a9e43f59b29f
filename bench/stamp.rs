//! The mark that a generated message carries in its payload: who sent it, which one it is, and when it was meant to go.
//!
//! Why in the payload: loss, repetition and order can only be counted per message, and the subscriber that counts may
//! sit on another thread or in another process. Sixteen bytes are what published comparisons use as the small payload.
//!
//! In JSON payloads the same sixteen bytes stand as hexadecimal digits in the first member.
//!
//! Invariants:
//! - Every generated binary payload has at least `IDENTITY_BYTES`; from `FULL_BYTES` on it also tells the intended send time.
//! - All numbers are big-endian.

/// Bytes of sequence and publisher number: the least that the ledger needs.
pub(crate) const IDENTITY_BYTES: usize = 8;
/// Bytes of a stamp with its time, the least that latency needs.
pub(crate) const FULL_BYTES: usize = 16;

/// How a JSON payload with a stamp begins; the digits follow.
pub(crate) const JSON_PREFIX: &[u8] = b"{\"mark\":\"";
/// Digits of a stamp in JSON.
pub(crate) const JSON_DIGITS: usize = 2 * FULL_BYTES;

/// One message's mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// Counts the messages of one publisher from zero; wraps after 2^32.
    pub(crate) sequence: u32,
    /// The publisher's number in this run.
    pub(crate) publisher: u32,
    /// When the message should have been sent, in nanoseconds of the monotonic clock; `None` in short payloads.
    pub(crate) intended_ns: Option<u64>,
}

impl Stamp {
    /// Writes the mark to the beginning of `payload`, the time only where there is room for it.
    pub(crate) fn write(&self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.sequence.to_be_bytes());
        payload[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        if let (Some(intended_ns), Some(room)) = (self.intended_ns, payload.get_mut(8..FULL_BYTES)) {
            room.copy_from_slice(&intended_ns.to_be_bytes());
        }
    }

    /// Writes the mark as hexadecimal digits to the beginning of `room`, which has `JSON_DIGITS` bytes of it.
    pub(crate) fn write_digits(&self, room: &mut [u8]) {
        let mut bytes = [0; FULL_BYTES];
        self.write(&mut bytes);
        for (pair, byte) in room.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
    }

    /// Reads the mark of a binary or a JSON payload, or `None` when it is not one of ours.
    #[inline]
    pub(crate) fn find(payload: &[u8]) -> Option<Self> {
        if payload.first() == Some(&JSON_PREFIX[0])
            && let Some(digits) = payload.strip_prefix(JSON_PREFIX).and_then(|rest| rest.get(..JSON_DIGITS))
        {
            return Self::read_digits(digits);
        }
        Self::read(payload)
    }

    fn read_digits(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0; FULL_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Self::read(&bytes)
    }

    /// Reads the mark back, or `None` when the payload is too short to be one of ours.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (sequence, rest) = payload.split_first_chunk::<4>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            sequence: u32::from_be_bytes(*sequence),
            publisher: u32::from_be_bytes(*publisher),
            intended_ns: rest.first_chunk::<8>().map(|time| u64::from_be_bytes(*time)),
        })
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None, // Nobody here writes any other digit.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_in_json_and_in_bytes() {
        let stamp = Stamp { sequence: 0x7b22_6d61, publisher: 9, intended_ns: Some(0xfedc_ba98_7654) };
        let mut json = b"{\"mark\":\"................................\",\"x\":1}".to_vec();
        stamp.write_digits(&mut json[JSON_PREFIX.len()..JSON_PREFIX.len() + JSON_DIGITS]);
        assert!(json.starts_with(b"{\"mark\":\"7b226d6100000009"), "{}", json.escape_ascii());
        assert_eq!(Stamp::find(&json), Some(stamp));
        let mut bytes = [0; FULL_BYTES];
        stamp.write(&mut bytes);
        assert_eq!(Stamp::find(&bytes), Some(stamp), "binary, although it begins like JSON");
        assert_eq!(Stamp::find(b"{\"mark\":\"zz..............................\"}"), None);
        assert_eq!(Stamp::find(b"hello"), None);
    }

    #[test]
    fn a_stamp_survives_the_wire_in_sixteen_bytes() {
        let stamp = Stamp { sequence: 7, publisher: 9, intended_ns: Some(1 << 50) };
        let mut payload = [0; FULL_BYTES];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
    }

    #[test]
    fn a_short_payload_keeps_the_ledger_and_gives_up_the_time() {
        let mut payload = [0; IDENTITY_BYTES];
        Stamp { sequence: 7, publisher: 9, intended_ns: Some(5) }.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(Stamp { sequence: 7, publisher: 9, intended_ns: None }));
        assert_eq!(Stamp::read(&payload[..7]), None);
    }
}
