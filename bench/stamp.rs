//! The mark that a generated message carries in its payload: who sent it, which one it is, and when it was meant to go.
//!
//! Why in the payload: loss, repetition and order can only be counted per message, and the subscriber that counts may
//! sit on another thread or in another process. Sixteen bytes are what published comparisons use as the small payload.
//!
//! Invariants:
//! - Every generated payload has at least `IDENTITY_BYTES`; from `FULL_BYTES` on it also tells the intended send time.
//! - All numbers are big-endian.

/// Bytes of sequence and publisher number: the least that the ledger needs.
pub(crate) const IDENTITY_BYTES: usize = 8;
/// Bytes of a stamp with its time, the least that latency needs.
pub(crate) const FULL_BYTES: usize = 16;

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

#[cfg(test)]
mod tests {
    use super::*;

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
