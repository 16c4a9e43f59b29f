//! Out buffers on their way back from the kernel to the mind.
//!
//! Why kept here for a while: a buffer comes back with the completion of its send, and the mind takes it the next time
//! it hands one out. The mind keeps buffers only for those who speak, so one kind is enough.
//!
//! Invariants:
//! - The pool holds at most [`POOL_BYTES_MAX`] bytes; a buffer above [`BUFFER_BYTES_MAX`] is never kept.

/// Largest buffer kept.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept in all.
const POOL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The pool.
#[derive(Default)]
pub(super) struct Spares {
    buffers: Vec<Vec<u8>>,
    pool_bytes: usize,
}

impl Spares {
    /// An empty buffer, with capacity if one was at hand.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let spare = self.buffers.pop().unwrap_or_default();
        self.pool_bytes -= spare.capacity();
        spare
    }

    /// Keeps a buffer for later, if it is of a sensible size.
    pub(super) fn put(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > BUFFER_BYTES_MAX || self.pool_bytes + bytes > POOL_BYTES_MAX {
            return;
        }
        buffer.clear();
        self.pool_bytes += bytes;
        self.buffers.push(buffer);
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
        let again = spares.take();
        assert!(again.is_empty());
        assert!(again.capacity() >= 100);
        assert_eq!(spares.take().capacity(), 0);
    }

    #[test]
    fn the_pool_stays_below_its_limit() {
        let mut spares = Spares::default();
        spares.put(Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        assert_eq!(spares.take().capacity(), 0);
        for _ in 0..1000 {
            spares.put(Vec::with_capacity(BUFFER_BYTES_MAX));
        }
        assert!(spares.pool_bytes <= POOL_BYTES_MAX);
        assert!(spares.pool_bytes > POOL_BYTES_MAX - BUFFER_BYTES_MAX);
    }
}
