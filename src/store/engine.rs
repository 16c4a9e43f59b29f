//! The engine: a sorted map of byte keys that takes atomic batches. Everything about MQTT lies above it.
//!
//! Why so little: what a crash may take away is decided by two calls, `commit` and `sync`. A model in memory can have a
//! crash between any two of them, and the record logic that is proven on the model runs on the disk unchanged.
//!
//! Invariants:
//! - A batch is there whole or not at all, also after a crash.
//! - If a batch survives a crash, all batches committed before it do.
//! - Everything committed before a `sync` that succeeded survives every crash.

use std::ops::{ControlFlow, Range};

use crate::fault::Fault;

/// One write of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// The key has this value now.
    Put {
        /// At most 65,535 bytes, at least one.
        key: &'a [u8],
        /// At most 4 GiB.
        value: &'a [u8],
    },
    /// The key has no value any more.
    Remove {
        /// At most 65,535 bytes, at least one.
        key: &'a [u8],
    },
}

impl<'a> Op<'a> {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// Writes that belong together, in one piece of memory. A key occurs at most once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    puts: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    key: Range<usize>,
    /// Where the value ends, which begins where the key ends; none for a removal.
    value_end: Option<usize>,
}

impl Batch {
    /// Adds a value, which `write` appends to what it is given.
    pub fn put(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.push_key(key);
        write(&mut self.bytes);
        self.pieces.push(Piece { key, value_end: Some(self.bytes.len()) });
        self.puts += 1;
    }

    /// Adds a removal.
    pub fn remove(&mut self, key: &[u8]) {
        let key = self.push_key(key);
        self.pieces.push(Piece { key, value_end: None });
    }

    fn push_key(&mut self, key: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        start..self.bytes.len()
    }

    /// The writes, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        self.pieces.iter().map(|piece| {
            let key = &self.bytes[piece.key.clone()];
            match piece.value_end {
                Some(end) => Op::Put { key, value: &self.bytes[piece.key.end..end] },
                None => Op::Remove { key },
            }
        })
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether it only takes away, which must be possible even when there is no space.
    #[must_use]
    pub fn only_removes(&self) -> bool {
        self.puts == 0
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes it empty and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.puts = 0;
    }
}

/// Calls for each key and value; `Break` ends a scan early.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Fault> + 'a;

/// A sorted map of byte keys with atomic batches.
pub trait Engine {
    /// Writes a batch. It is seen by the calls below at once; a crash may take it away until the next `sync`.
    ///
    /// # Errors
    /// `Full`: nothing was written, try again later. Any other kind: give up.
    fn commit(&mut self, batch: &Batch) -> Result<(), Fault>;

    /// Everything committed survives from here on.
    ///
    /// # Errors
    /// `Full`: what was committed since the last sync may be there or not; commit and sync it again later. Any other
    /// kind: give up.
    fn sync(&mut self) -> Result<(), Fault>;

    /// The value of a key.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// Visits keys from `range.start` up to and without `range.end`, in order.
    ///
    /// # Errors
    /// `Damaged` or `Io`, or what `visit` returned.
    fn scan(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault>;

    /// Visits the same keys in the opposite order.
    ///
    /// # Errors
    /// As [`Engine::scan`].
    fn scan_back(&self, range: Range<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault>;

    /// How many keys there are, or more if keys were removed lately. Cheap.
    fn records_about(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_its_writes_in_order() {
        let mut batch = Batch::default();
        batch.put(b"a", |value| value.extend_from_slice(b"one"));
        assert!(!batch.only_removes());
        batch.remove(b"bc");
        batch.put(b"d", |_empty| {});
        let expected = [
            Op::Put { key: b"a", value: b"one" },
            Op::Remove { key: b"bc" },
            Op::Put { key: b"d", value: b"" },
        ];
        assert_eq!(batch.iter().collect::<Vec<_>>(), expected);
        assert_eq!((batch.len(), batch.bytes()), (3, 7));
        batch.clear();
        batch.remove(b"x");
        assert!(batch.only_removes());
    }
}
