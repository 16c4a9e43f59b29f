//! One publisher's messages as one subscriber sees them.
//!
//! Why gaps and not a bitmap: a correct broker leaves no gap, so the usual cost is one comparison per message, and a
//! bad one is described by a short list.
//!
//! Invariants:
//! - `gaps` is sorted, its ranges are disjoint, not empty, and end at or below `next`.
//! - A forgotten gap stays lost: memory is bounded, and the error is on the side of reporting loss.

const GAPS_MAX: usize = 4_096;

/// What one arrival means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// The newest message so far; everything from `first` up to it is now behind us, whether it came or not.
    Newest {
        /// The first message that this arrival leaves behind.
        first: u64,
        /// The message itself.
        last: u64,
    },
    /// A message that a later one had overtaken.
    Late,
    /// A message seen before.
    Duplicate,
    /// A number that its publisher has not reached.
    Foreign,
}

/// The record of one publisher at one subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    next: u64,
    gaps: Vec<(u64, u64)>,
    forgotten: u64,
}

impl Track {
    /// Enters one arrival; `sequence` is the wrapped number from its stamp, `sent` what the publisher has sent so far.
    #[inline]
    pub(crate) fn note(&mut self, sequence: u32, sent: u64) -> Arrival {
        let expected = u32::try_from(self.next & 0xffff_ffff).expect("32 bits after the mask");
        let ahead = sequence.wrapping_sub(expected).cast_signed();
        let Some(number) = self.next.checked_add_signed(i64::from(ahead)) else { return Arrival::Foreign };
        if number >= sent {
            return Arrival::Foreign;
        }
        if number < self.next {
            return self.fill(number);
        }
        let first = self.next;
        if number > first {
            self.open_gap(first, number);
        }
        self.next = number + 1;
        Arrival::Newest { first, last: number }
    }

    /// Messages that never came, given how many the publisher sent in all.
    pub(crate) fn lost(&self, sent: u64) -> u64 {
        let missing: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        self.forgotten + missing + sent.saturating_sub(self.next)
    }

    fn open_gap(&mut self, start: u64, end: u64) {
        if self.gaps.len() == GAPS_MAX {
            let (oldest_start, oldest_end) = self.gaps.remove(0);
            self.forgotten += oldest_end - oldest_start;
        }
        self.gaps.push((start, end));
    }

    fn fill(&mut self, number: u64) -> Arrival {
        let at = self.gaps.partition_point(|&(_, end)| end <= number);
        let Some(&(start, end)) = self.gaps.get(at).filter(|&&(start, _)| start <= number) else {
            return Arrival::Duplicate;
        };
        let rest = [(start, number), (number + 1, end)];
        self.gaps.splice(at..=at, rest.into_iter().filter(|(start, end)| start < end));
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 1 << 40;

    fn note_all(track: &mut Track, sequence: &[u32]) -> Vec<Arrival> {
        sequence.iter().map(|&number| track.note(number, MANY)).collect()
    }

    #[test]
    fn messages_in_order_leave_nothing_missing() {
        let mut track = Track::default();
        let arrivals = note_all(&mut track, &[0, 1, 2]);
        assert_eq!(arrivals[2], Arrival::Newest { first: 2, last: 2 });
        assert_eq!(track.lost(3), 0);
    }

    #[test]
    fn a_skipped_message_is_lost_and_so_is_a_missing_tail() {
        let mut track = Track::default();
        let arrivals = note_all(&mut track, &[0, 3, 4]);
        assert_eq!(arrivals[1], Arrival::Newest { first: 1, last: 3 });
        assert_eq!(track.lost(5), 2);
        assert_eq!(track.lost(9), 6);
    }

    #[test]
    fn an_overtaken_message_is_late_and_no_longer_lost() {
        let mut track = Track::default();
        assert_eq!(note_all(&mut track, &[0, 5, 2, 1, 4, 3])[2..], [Arrival::Late; 4]);
        assert_eq!(track.lost(6), 0);
    }

    #[test]
    fn a_repeated_message_is_a_duplicate_also_when_it_was_late() {
        let mut track = Track::default();
        let arrivals = note_all(&mut track, &[0, 0, 2, 1, 1, 2]);
        assert_eq!(arrivals[1], Arrival::Duplicate);
        assert_eq!(arrivals[3], Arrival::Late);
        assert_eq!(arrivals[4..], [Arrival::Duplicate; 2]);
        assert_eq!(track.lost(3), 0);
    }

    #[test]
    fn numbers_that_were_never_sent_are_foreign_and_change_nothing() {
        let mut track = Track::default();
        assert_eq!(track.note(7, 5), Arrival::Foreign);
        assert_eq!(track.note(u32::MAX, 5), Arrival::Foreign);
        assert_eq!(track.note(0, 5), Arrival::Newest { first: 0, last: 0 });
        assert_eq!(track.lost(5), 4);
    }

    #[test]
    fn the_numbers_on_the_wire_may_wrap() {
        let mut track = Track { next: 0xffff_fffe, ..Track::default() };
        let arrivals = note_all(&mut track, &[0xffff_fffe, 0, 0xffff_ffff]);
        assert_eq!(arrivals[1], Arrival::Newest { first: 0xffff_ffff, last: 1 << 32 });
        assert_eq!(arrivals[2], Arrival::Late);
        assert_eq!(track.lost((1 << 32) + 1), 0);
    }

    #[test]
    fn a_broker_that_drops_every_second_message_costs_bounded_memory_and_full_loss() {
        let mut track = Track::default();
        let kept = 3 * u32::try_from(GAPS_MAX).expect("a small number");
        (0..kept).for_each(|n| {
            track.note(2 * n + 1, MANY);
        });
        assert_eq!(track.gaps.len(), GAPS_MAX);
        assert_eq!(track.lost(2 * u64::from(kept)), u64::from(kept));
    }
}
