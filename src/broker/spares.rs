//! Out buffers between two uses.
//!
//! Why a pool and not a buffer per link: most links are idle, and an idle link should own nothing. A link takes a buffer
//! when it gets something to say and loses it when that is fetched, so memory follows the traffic and not the clients.
//!
//! Invariants:
//! - The pool holds at most [`POOL_BYTES_MAX`] bytes, and no buffer above [`BUFFER_BYTES_MAX`].

/// Smallest buffer worth keeping.
const BUFFER_BYTES_MIN: usize = 64;
/// Largest buffer kept.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept in all.
const POOL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The pool.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    pool_bytes: usize,
}

impl Spares {
    /// An empty buffer, with capacity if one was at hand; the one that was used last, because it is warm.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        let spare = self.buffers.pop().unwrap_or_default();
        self.pool_bytes -= spare.capacity();
        spare
    }

    /// Keeps an empty buffer for later, if it is of a sensible size.
    #[inline]
    pub fn put(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&bytes) && self.pool_bytes + bytes <= POOL_BYTES_MAX
        {
            self.pool_bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_comes_back_with_its_capacity_unless_it_is_tiny_or_huge() {
        let mut spares = Spares::default();
        for bytes in [BUFFER_BYTES_MIN - 1, BUFFER_BYTES_MAX + 1, 100] {
            spares.put(Vec::with_capacity(bytes));
        }
        assert_eq!(spares.take().capacity(), 100);
        assert_eq!(spares.take().capacity(), 0);
    }

    #[test]
    fn the_pool_stays_below_its_limit() {
        let mut spares = Spares::default();
        for _ in 0..1000 {
            spares.put(Vec::with_capacity(BUFFER_BYTES_MAX));
        }
        assert!(spares.pool_bytes <= POOL_BYTES_MAX);
        assert!(spares.pool_bytes > POOL_BYTES_MAX - BUFFER_BYTES_MAX);
    }
}
