//! A hash table of ids, for indexes whose entries lie elsewhere.
//!
//! Why not one table of ids: a table that grows moves everything it holds while the core stands still. So it is cut
//! into segments that grow one at a time; and a seat carries as much of the hash as is needed to move the seat, so
//! that no entry has to be fetched and hashed again.
//!
//! Invariants:
//! - An id has one seat, under the hash with which it was inserted.
//! - The table is never iterated; no order comes from a hash.

use hashbrown::HashTable;
use stdx::widen;

use crate::arena::Id;

/// Finds ids by hashes that the caller computes and by a comparison that the caller makes.
#[derive(Debug)]
pub(crate) struct Seats {
    segments: Box<[HashTable<Seat>]>,
}

impl Seats {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| HashTable::new()).collect() }
    }

    /// The id under `hash` for which `is_it` holds; `is_it` is asked about few others.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(Id) -> bool) -> Option<Id> {
        let fingerprint = fingerprint_of(hash);
        let segment = &self.segments[segment_of(fingerprint)];
        let seat =
            segment.find(spread(fingerprint), |seat| seat.fingerprint == fingerprint && is_it(seat.id));
        seat.map(|seat| seat.id)
    }

    /// Seats an id that has no seat yet.
    pub(crate) fn insert(&mut self, hash: u64, id: Id) {
        let fingerprint = fingerprint_of(hash);
        let segment = &mut self.segments[segment_of(fingerprint)];
        segment.insert_unique(spread(fingerprint), Seat { fingerprint, id }, |seat| spread(seat.fingerprint));
    }

    /// Takes the seat of an id away.
    pub(crate) fn remove(&mut self, hash: u64, id: Id) {
        let fingerprint = fingerprint_of(hash);
        let segment = &mut self.segments[segment_of(fingerprint)];
        let seat = segment.find_entry(spread(fingerprint), |seat| seat.id == id);
        seat.unwrap_or_else(|_| unreachable!("an id keeps its seat until it is removed")).remove();
    }

    /// How many ids are seated.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.segments.iter().map(HashTable::len).sum()
    }
}

#[derive(Debug)]
struct Seat {
    fingerprint: u32,
    id: Id,
}

fn fingerprint_of(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("32 of 64 bits are left")
}

/// The segment comes from the high bits, so that the low ones, which make the position in it, still differ there.
fn segment_of(fingerprint: u32) -> usize {
    widen(fingerprint / (u32::MAX / SEGMENTS + 1))
}

/// Makes the table's own hash of a fingerprint. The table takes positions from the low and tags from the high bits; the
/// product is mixed at both ends.
fn spread(fingerprint: u32) -> u64 {
    u64::from(fingerprint).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Two kilobytes of empty segments per table, for standstills 64 times as short.
const SEGMENTS: u32 = 64;

const _: () = assert!(SEGMENTS.is_power_of_two());

#[cfg(test)]
mod tests {
    use crate::arena::Arena;

    use super::*;

    #[test]
    fn ids_with_equal_hashes_are_told_apart_and_survive_growth() {
        let mut arena = Arena::new();
        let mut seats = Seats::new();
        let hash = |number: u64| (number % 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..3000 {
            seats.insert(hash(number), arena.insert(number));
        }
        let find = |seats: &Seats, number| seats.find(hash(number), |id| arena[id] == number);
        assert!((0..3000).all(|number| find(&seats, number).is_some_and(|id| arena[id] == number)));
        assert_eq!(find(&seats, 3000), None);

        let gone = find(&seats, 1500).unwrap();
        seats.remove(hash(1500), gone);
        assert_eq!(find(&seats, 1500), None);
        assert_eq!(find(&seats, 500).map(|id| arena[id]), Some(500));
        assert_eq!(seats.len(), 2999);
    }
}
