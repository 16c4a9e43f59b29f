//! What a message of the ledger carries: its stream, its number, and a hash over both and its filling.
//!
//! Why a hash: a store that mixes up bytes must not pass for one that keeps them.
//!
//! Invariants:
//! - A payload that reads back was written by this run for this stream and number.

/// Bytes of a payload without filling.
const HEAD_BYTES: usize = 20;

/// Writes the payload of message `counter` of `stream`, `bytes` long, at least 20.
pub fn write(out: &mut Vec<u8>, run: u64, stream: u32, counter: u64, bytes: usize) {
    out.clear();
    out.extend(stream.to_le_bytes());
    out.extend(counter.to_le_bytes());
    out.extend(mark(run, stream, counter).to_le_bytes());
    for index in HEAD_BYTES..bytes {
        out.push(filling(counter, index));
    }
}

/// Stream and number of a payload; none if it was not written by [`write`] in this run.
#[must_use]
pub fn read(run: u64, payload: &[u8]) -> Option<(u32, u64)> {
    let (head, rest) = payload.split_at_checked(HEAD_BYTES)?;
    let stream = u32::from_le_bytes(head[..4].try_into().ok()?);
    let counter = u64::from_le_bytes(head[4..12].try_into().ok()?);
    let hash = u64::from_le_bytes(head[12..].try_into().ok()?);
    let is_whole = rest.iter().enumerate().all(|(index, byte)| *byte == filling(counter, HEAD_BYTES + index));
    (hash == mark(run, stream, counter) && is_whole).then_some((stream, counter))
}

fn filling(counter: u64, index: usize) -> u8 {
    let low = counter.to_le_bytes()[0];
    low.wrapping_add(index.to_le_bytes()[0])
}

fn mark(run: u64, stream: u32, counter: u64) -> u64 {
    let mut x = run ^ u64::from(stream).rotate_left(40) ^ counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_payload_does_not_read_back() {
        let mut payload = Vec::new();
        write(&mut payload, 7, 3, 1_000_000, 64);
        assert_eq!(payload.len(), 64);
        assert_eq!(read(7, &payload), Some((3, 1_000_000)));
        assert_eq!(read(8, &payload), None);
        for index in 0..payload.len() {
            payload[index] ^= 1;
            assert_eq!(read(7, &payload), None, "byte {index}");
            payload[index] ^= 1;
        }
    }
}
