//! Messages that may come to any of several receivers, and in any order: those of a shared subscription, and retained
//! ones.
//!
//! Why a bitmap here and gaps elsewhere: where every receiver sees only some of the messages, gaps are the rule, and one
//! bit per message is less than any list of them.
//!
//! Invariants:
//! - A bit is set once: what comes again is a duplicate, on whichever receiver of the row.

use crate::ledger::Arrival;
use crate::number::{place, wide};

/// Rows of receivers, each with a record per publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    publishers: u32,
    seen: Vec<Seen>,
}

/// Which messages of one publisher have come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    words: Vec<u64>,
    count: u64,
    next: u64,
}

impl Pool {
    /// Records for `rows` groups of receivers that hear `publishers` each.
    pub(crate) fn new(rows: u32, publishers: u32) -> Self {
        let cells = place(u64::from(rows) * u64::from(publishers));
        Self { publishers, seen: vec![Seen::default(); cells] }
    }

    /// Enters one arrival at `row`; a new message is `Newest` with its own number only.
    #[inline]
    pub(crate) fn note(&mut self, row: u32, publisher: u32, sequence: u32, sent: u64) -> Arrival {
        let at = place(u64::from(row) * u64::from(self.publishers) + u64::from(publisher));
        self.seen[at].note(sequence, sent)
    }

    /// All records, as row, publisher and record.
    pub(crate) fn into_records(self) -> impl Iterator<Item = (u32, u32, Seen)> {
        let publishers = self.publishers.max(1);
        (0_u32..).zip(self.seen).map(move |(at, seen)| (at / publishers, at % publishers, seen))
    }
}

impl Seen {
    /// Enters one arrival; a new message is `Newest` with its own number only.
    #[inline]
    pub(crate) fn note(&mut self, sequence: u32, sent: u64) -> Arrival {
        let expected = u32::try_from(self.next & 0xffff_ffff).expect("32 bits after the mask");
        let ahead = sequence.wrapping_sub(expected).cast_signed();
        let Some(number) = self.next.checked_add_signed(i64::from(ahead)) else { return Arrival::Foreign };
        if number >= sent {
            return Arrival::Foreign;
        }
        let (word, bit) = (place(number / 64), 1 << (number % 64));
        if word >= self.words.len() {
            // Doubling keeps the average cost of growth to one word per message.
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        if self.words[word] & bit != 0 {
            return Arrival::Duplicate;
        }
        self.words[word] |= bit;
        self.count += 1;
        self.next = self.next.max(number + 1);
        Arrival::Newest { first: number, last: number }
    }

    /// Whether message `number` has come.
    pub(crate) fn has(&self, number: u64) -> bool {
        let word = self.words.get(place(number / 64)).copied().unwrap_or(0);
        word & (1 << (number % 64)) != 0
    }

    /// Takes in what another thread has seen of the same row and publisher; the messages that both have seen.
    pub(crate) fn merge(&mut self, other: &Self) -> u64 {
        self.words.resize(self.words.len().max(other.words.len()), 0);
        let mut both = 0;
        for (ours, theirs) in self.words.iter_mut().zip(&other.words) {
            both += u64::from((*ours & theirs).count_ones());
            *ours |= theirs;
        }
        self.count += other.count - both;
        self.next = self.next.max(other.next);
        both
    }

    /// Messages that never came, given how many the publisher sent in all.
    pub(crate) fn lost(&self, sent: u64) -> u64 {
        debug_assert!(self.count <= wide(self.words.len()) * 64, "a bit per counted message");
        sent.saturating_sub(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: fn(u64) -> Arrival = |number| Arrival::Newest { first: number, last: number };

    #[test]
    fn any_order_is_complete_and_what_comes_again_is_a_duplicate() {
        let mut pool = Pool::new(2, 3);
        for number in [5_u32, 0, 3, 1, 4, 2] {
            assert_eq!(pool.note(1, 2, number, 6), NEW(u64::from(number)));
        }
        assert_eq!(pool.note(1, 2, 3, 6), Arrival::Duplicate);
        assert_eq!(pool.note(0, 2, 3, 6), NEW(3), "another row has books of its own");
        assert_eq!(pool.note(1, 2, 6, 6), Arrival::Foreign);
        let lost: Vec<_> =
            pool.into_records().map(|(row, publisher, seen)| (row, publisher, seen.lost(6))).collect();
        assert_eq!(lost, [(0, 0, 6), (0, 1, 6), (0, 2, 5), (1, 0, 6), (1, 1, 6), (1, 2, 0)]);
    }

    #[test]
    fn what_two_threads_saw_of_one_group_is_added_up_and_what_both_saw_is_told() {
        let (mut one, mut other) = (Seen::default(), Seen::default());
        for number in [0, 1, 200] {
            one.note(number, 300);
        }
        for number in [2, 1, 64] {
            other.note(number, 300);
        }
        assert_eq!(one.merge(&other), 1);
        assert_eq!(one.lost(300), 295);
    }
}
