//! Slots with small stable ids, in which the broker's indexes keep their entries.
//!
//! Why not one growing vector: it copies everything it holds when it doubles, which stalls the core, and is half empty
//! afterwards, which at three nodes per wildcard filter is the larger part of the bill. Chunks never move.
//!
//! Invariants:
//! - An id names one occupied slot from `insert` until `remove`; later the slot may be given out again.
//! - Every chunk but the last has exactly `CHUNK_SLOTS` slots.
//! - Ids depend only on the sequence of inserts and removes.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use stdx::widen;

/// A growing set of values, each named by an [`Id`].
#[derive(Debug)]
pub(crate) struct Arena<V> {
    chunks: Vec<Vec<Option<V>>>,
    free: Vec<Id>,
    len: usize,
}

impl<V> Arena<V> {
    /// An arena that owns no memory yet.
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// How many slots are occupied.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts `value` into a free slot and names it.
    pub(crate) fn insert(&mut self, value: V) -> Id {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            *self.slot_mut(id) = Some(value);
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_SLOTS) {
            self.chunks.push(Vec::new());
        }
        let full = (self.chunks.len() - 1) * CHUNK_SLOTS;
        let chunk = self.chunks.last_mut().expect("a chunk was pushed if there was none");
        chunk.push(Some(value));
        Id::of(full + chunk.len() - 1)
    }

    /// Takes the value out and frees its slot.
    pub(crate) fn remove(&mut self, id: Id) -> V {
        let value = self.slot_mut(id).take().expect("an id names an occupied slot");
        self.free.push(id);
        self.len -= 1;
        value
    }

    /// All occupied slots, by rising id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        let slots = self.chunks.iter().flatten().enumerate();
        slots.filter_map(|(index, slot)| slot.as_ref().map(|value| (Id::of(index), value)))
    }

    fn slot_mut(&mut self, id: Id) -> &mut Option<V> {
        &mut self.chunks[id.index() / CHUNK_SLOTS][id.index() % CHUNK_SLOTS]
    }
}

impl<V> Index<Id> for Arena<V> {
    type Output = V;

    fn index(&self, id: Id) -> &V {
        let slot = &self.chunks[id.index() / CHUNK_SLOTS][id.index() % CHUNK_SLOTS];
        slot.as_ref().expect("an id names an occupied slot")
    }
}

impl<V> IndexMut<Id> for Arena<V> {
    fn index_mut(&mut self, id: Id) -> &mut V {
        self.slot_mut(id).as_mut().expect("an id names an occupied slot")
    }
}

/// Names one slot of one arena; four bytes, also as an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(NonZeroU32);

impl Id {
    /// The number behind the id, for hashing; never zero.
    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }

    fn of(index: usize) -> Self {
        let number = u32::try_from(index + 1).expect("limits keep every index far below 2^32 entries");
        Self(NonZeroU32::new(number).expect("one was just added"))
    }

    fn index(self) -> usize {
        widen(self.0.get() - 1)
    }
}

/// A power of two, so that finding a slot is a shift and a mask; a chunk grows to it in the ordinary way of a vector,
/// so a small arena stays small.
const CHUNK_SLOTS: usize = 1024;

const _: () = assert!(CHUNK_SLOTS.is_power_of_two());
const _: () = assert!(size_of::<Option<Id>>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_values_over_chunks_and_reuse() {
        let mut arena = Arena::new();
        let ids: Vec<Id> = (0..3 * CHUNK_SLOTS).map(|value| arena.insert(value)).collect();
        assert!(ids.iter().enumerate().all(|(value, &id)| arena[id] == value));

        assert_eq!(arena.remove(ids[5]), 5);
        assert_eq!(arena.remove(ids[2000]), 2000);
        assert_eq!(arena.len(), 3 * CHUNK_SLOTS - 2);
        assert_eq!(arena.iter().count(), arena.len());

        let again = arena.insert(7);
        assert!(again == ids[5] || again == ids[2000], "a freed slot is used before a new one");
        assert_eq!(arena[again], 7);
        arena[again] = 8;
        assert!(arena.iter().any(|(id, &value)| (id, value) == (again, 8)));
    }
}
