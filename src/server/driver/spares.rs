//! Out buffers between two uses.
//!
//! Why a pool: a connection that sends again should not have to grow a new buffer byte by byte. Why two sizes: the mind
//! keeps what it was given until the connection has something to say, and a connection that has last said little should
//! not sit on the buffer of one that said much.
//!
//! Invariants:
//! - The pool holds at most [`POOL_BYTES_MAX`] bytes; a buffer above [`LARGE_BYTES_MAX`] is never kept.
//! - A buffer above [`SMALL_BYTES_MAX`] is given only to a connection whose last send was larger than that.

/// Largest buffer of the small kind.
const SMALL_BYTES_MAX: usize = 1024;
/// Largest buffer kept.
const LARGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept in all.
const POOL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The pool.
#[derive(Default)]
pub(super) struct Spares {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    pool_bytes: usize,
}

impl Spares {
    /// An empty buffer for a connection whose last send had `last_bytes`, with capacity if one was at hand.
    pub(super) fn take(&mut self, last_bytes: usize) -> Vec<u8> {
        let buffers = if last_bytes > SMALL_BYTES_MAX { &mut self.large } else { &mut self.small };
        let spare = buffers.pop().unwrap_or_default();
        self.pool_bytes -= spare.capacity();
        spare
    }

    /// Keeps a buffer for later, if it is of a sensible size.
    pub(super) fn put(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > LARGE_BYTES_MAX || self.pool_bytes + bytes > POOL_BYTES_MAX {
            return;
        }
        buffer.clear();
        self.pool_bytes += bytes;
        let buffers = if bytes > SMALL_BYTES_MAX { &mut self.large } else { &mut self.small };
        buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_comes_back_empty_and_with_its_capacity() {
        let mut spares = Spares::default();
        let mut buffer = Vec::with_capacity(100);
        buffer.extend_from_slice(b"bytes");
        spares.put(buffer);
        let again = spares.take(0);
        assert!(again.is_empty());
        assert!(again.capacity() >= 100);
        assert_eq!(spares.take(0).capacity(), 0);
    }

    #[test]
    fn who_says_little_does_not_get_a_large_buffer() {
        let mut spares = Spares::default();
        spares.put(Vec::with_capacity(SMALL_BYTES_MAX + 1));
        assert_eq!(spares.take(SMALL_BYTES_MAX).capacity(), 0);
        assert!(spares.take(SMALL_BYTES_MAX + 1).capacity() > SMALL_BYTES_MAX);
    }

    #[test]
    fn the_pool_stays_below_its_limit() {
        let mut spares = Spares::default();
        spares.put(Vec::with_capacity(LARGE_BYTES_MAX + 1));
        assert_eq!(spares.take(LARGE_BYTES_MAX).capacity(), 0);
        for _ in 0..1000 {
            spares.put(Vec::with_capacity(LARGE_BYTES_MAX));
        }
        assert!(spares.pool_bytes <= POOL_BYTES_MAX);
        assert!(spares.pool_bytes > POOL_BYTES_MAX - LARGE_BYTES_MAX);
    }
}
