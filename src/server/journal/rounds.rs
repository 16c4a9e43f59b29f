//! When points that are too old are looked for: rounds over all devices, in slices.
//!
//! Why paced by what a slice costs: a round over a million devices shall take minutes, and those who wait for a flush shall
//! hardly notice. While the store is busy its flushes take longer, and slices become rarer by themselves.
//!
//! Invariants:
//! - Between two slices there is a rest of several times as long as the flush took that had the first of them.
//! - Between two rounds there is a rest that grows with what a round takes.

use std::time::{Duration, Instant};

/// The rest between two slices, in times that a slice took, and its bounds.
const SLICE_RESTS: u32 = 4;
const SLICE_REST_MIN: Duration = Duration::from_millis(10);
const SLICE_REST_MAX: Duration = Duration::from_millis(250);
/// The rest between two rounds, in times that a round took, and its bounds.
const ROUND_RESTS: u32 = 4;
const ROUND_REST_MIN: Duration = Duration::from_millis(250);
const ROUND_REST_MAX: Duration = Duration::from_secs(600);

/// Paces the rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// When the round began that is under way.
    began_at: Option<Instant>,
    /// When the next slice is due; now, if nothing is said.
    next_at: Option<Instant>,
}

impl Rounds {
    /// How long there is nothing to do.
    pub fn rest(&self, now: Instant) -> Duration {
        self.next_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// A slice begins.
    pub fn begin(&mut self, now: Instant) {
        self.began_at.get_or_insert(now);
    }

    /// A slice has ended, in a flush that took so long; perhaps the round has, too.
    pub fn end(&mut self, now: Instant, took: Duration, is_round_over: bool) {
        let rest = if is_round_over {
            let round = self.began_at.take().map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            (round * ROUND_RESTS).clamp(ROUND_REST_MIN, ROUND_REST_MAX)
        } else {
            (took * SLICE_RESTS).clamp(SLICE_REST_MIN, SLICE_REST_MAX)
        };
        self.next_at = Some(now + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn slices_follow_each_other_as_fast_as_they_are_cheap() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        assert_eq!(rounds.rest(now), Duration::ZERO);
        for (took, rest) in [(MS, 10 * MS), (20 * MS, 80 * MS), (3_000 * MS, 250 * MS)] {
            rounds.begin(now);
            rounds.end(now, took, false);
            assert_eq!(rounds.rest(now), rest);
            assert_eq!(rounds.rest(now + rest), Duration::ZERO);
        }
    }

    #[test]
    fn a_round_rests_longer_than_it_took_and_not_for_ever() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        for (round, rest) in
            [(Duration::ZERO, 250 * MS), (100 * MS, 400 * MS), (3_600_000 * MS, 600_000 * MS)]
        {
            rounds.begin(now);
            rounds.end(now, MS, false);
            rounds.begin(now + round);
            rounds.end(now + round, MS, true);
            assert_eq!(rounds.rest(now + round), rest);
        }
    }
}
