//! Finds entries by name: a keyed hash table of ids over an arena of entries that carry their own names.
//!
//! Why not a hash map: the name is stored once, inside the entry, and other indexes can point at an entry by four bytes.
//!
//! Invariants:
//! - Every entry has exactly one seat, under the hash of its name.
//! - The name of an entry does not change while it is in the directory.

use std::ops::{Index, IndexMut};

use ahash::RandomState;
use stdx::Prng;

use crate::arena::{Arena, Id};
use crate::seats::Seats;

/// An entry that knows its name.
pub(crate) trait Named {
    /// The name that [`Directory::find`] looks for.
    fn name(&self) -> &[u8];
}

/// Entries by name and by id.
#[derive(Debug)]
pub(crate) struct Directory<V> {
    hasher: RandomState,
    seats: Seats,
    entries: Arena<V>,
}

impl<V: Named> Directory<V> {
    /// An empty directory that hashes names with `hasher`.
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { hasher, seats: Seats::new(), entries: Arena::new() }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Id> {
        self.seats.find(self.hasher.hash_one(name), |id| self.entries[id].name() == name)
    }

    /// Adds an entry whose name is not in the directory yet.
    pub(crate) fn insert(&mut self, entry: V) -> Id {
        debug_assert!(self.find(entry.name()).is_none());
        let hash = self.hasher.hash_one(entry.name());
        let id = self.entries.insert(entry);
        self.seats.insert(hash, id);
        id
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: Id) -> V {
        let entry = self.entries.remove(id);
        self.seats.remove(self.hasher.hash_one(entry.name()), id);
        entry
    }

    /// All entries, by rising id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, entry)| entry)
    }
}

impl<V> Index<Id> for Directory<V> {
    type Output = V;

    fn index(&self, id: Id) -> &V {
        &self.entries[id]
    }
}

impl<V> IndexMut<Id> for Directory<V> {
    fn index_mut(&mut self, id: Id) -> &mut V {
        &mut self.entries[id]
    }
}

/// The keyed hash of this process: clients choose names, so only a secret `seed` keeps them from choosing collisions.
pub(crate) fn hasher_of(seed: u64) -> RandomState {
    let mut prng = Prng::new(seed);
    RandomState::with_seeds(prng.next_u64(), prng.next_u64(), prng.next_u64(), prng.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for String {
        fn name(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn entries_are_found_by_name_until_they_are_removed() {
        let mut directory = Directory::new(hasher_of(1));
        let ids: Vec<Id> = (0..5000).map(|n| directory.insert(format!("meter-{n}"))).collect();
        for n in (0..5000).step_by(2) {
            assert_eq!(directory.remove(ids[n]), format!("meter-{n}"));
        }
        assert_eq!(directory.len(), 2500);
        for (n, &id) in ids.iter().enumerate() {
            let expected = (n % 2 == 1).then_some(id);
            assert_eq!(directory.find(format!("meter-{n}").as_bytes()), expected);
        }
        assert_eq!(directory.find(b"meter-"), None);
    }
}
