//! How much is arriving: whether a core that runs out of work should let more of it gather before it looks again, and for how
//! long.
//!
//! Why: a message that is handled alone costs a wake, a receive and a send; those that have come together share them. At the
//! rates of most fleets nobody would notice the sharing, and everybody the waiting, so a core waits on purpose only while it
//! receives so often that many share the wait, as network cards do with their interrupts.
//!
//! Why packets count: what has gathered arrives in few receives, so the number of receives says little about the tempo once
//! gathering has begun. How many packets a receive brought before says how many it would have been.
//!
//! Invariants:
//! - A core that was idle for longer than [`WINDOW`] does not gather.
//! - Nothing gathers for longer than the limit.

use stdx::{Instant, Span};

/// Receives per second from which waiting is worth it.
const BRISK_PER_S: u64 = 50_000;
/// Receives per second at which the wait is as long as it may be; it is shorter in proportion below.
const FULL_PER_S: u64 = 400_000;
/// How long receives are counted before the tempo is judged anew.
const WINDOW: Span = Span::from_ms(2);
/// Windows of gathering after which one passes without, because who sends, and how much at once, may have changed.
const GATHERING_MAX: u32 = 256;

/// The tempo of one core.
#[derive(Debug)]
pub(super) struct Tempo {
    gather_us_max: u32,
    since: Instant,
    receives: u64,
    /// Packets read when the window began, by the mind's count.
    packets_before: u64,
    /// Packets per receive when nothing gathered, in sixteenths.
    natural: u64,
    gather_us: u32,
    /// Windows since nothing gathered.
    gathering: u32,
}

impl Tempo {
    /// A tempo that lets nothing gather for longer than that; at zero, nothing ever.
    pub(super) fn new(now: Instant, gather_us_max: u32) -> Self {
        Self {
            gather_us_max,
            since: now,
            receives: 0,
            packets_before: 0,
            natural: 16,
            gather_us: 0,
            gathering: 0,
        }
    }

    /// Something was received.
    pub(super) fn note_receive(&mut self) {
        self.receives += 1;
    }

    /// For how many microseconds what arrives should be left to gather; `packets` were read so far.
    pub(super) fn gather_us(&mut self, now: Instant, packets: u64) -> u32 {
        let span = now.since(self.since);
        if span >= WINDOW {
            self.judge(span, packets - self.packets_before);
            (self.since, self.receives, self.packets_before) = (now, 0, packets);
        }
        self.gather_us
    }

    fn judge(&mut self, span: Span, packets: u64) {
        if self.gather_us == 0 {
            self.natural = (16 * packets / self.receives.max(1)).max(16);
        }
        let receives = self.receives.max(16 * packets / self.natural);
        let per_s = receives.saturating_mul(1_000_000_000) / span.ns();
        let share = per_s.min(FULL_PER_S) * u64::from(self.gather_us_max) / FULL_PER_S;
        let is_brisk = per_s >= BRISK_PER_S;
        self.gathering += 1;
        self.gather_us = if is_brisk { u32::try_from(share).unwrap_or(self.gather_us_max) } else { 0 };
        if self.gather_us == 0 || self.gathering > GATHERING_MAX {
            (self.gather_us, self.gathering) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core in its first windows.
    struct Core {
        tempo: Tempo,
        now: Instant,
        packets: u64,
    }

    impl Core {
        fn new() -> Self {
            Self { tempo: Tempo::new(Instant::START, 800), now: Instant::START, packets: 0 }
        }

        /// Receives so often for a time, so many packets each time, and asks at its end.
        fn hears(&mut self, per_s: u64, packets_each: u64, span: Span) -> u32 {
            let receives = span.ns() * per_s / 1_000_000_000;
            (0..receives).for_each(|_| self.tempo.note_receive());
            self.packets += receives * packets_each;
            self.now = self.now + span;
            self.tempo.gather_us(self.now, self.packets)
        }
    }

    #[test]
    fn the_more_arrives_the_longer_it_may_gather() {
        for (per_s, gather_us) in
            [(0, 0), (49_000, 0), (50_000, 100), (100_000, 200), (400_000, 800), (900_000, 800)]
        {
            assert_eq!(Core::new().hears(per_s, 1, WINDOW), gather_us, "{per_s}");
        }
    }

    #[test]
    fn what_has_gathered_counts_as_what_it_would_have_been() {
        let mut core = Core::new();
        assert_eq!(core.hears(100_000, 1, WINDOW), 200);
        assert_eq!(core.hears(20_000, 5, WINDOW), 200, "the same packets in fewer receives");
        assert_eq!(core.hears(20_000, 2, WINDOW), 0);
        assert_eq!(core.hears(20_000, 5, WINDOW), 0, "who sends five at once is not brisk by that");
        let mut core = Core::new();
        assert_eq!(core.hears(50_000, 16, WINDOW), 100);
        assert_eq!(core.hears(50_000, 16, WINDOW), 100);
    }

    #[test]
    fn one_who_sends_much_at_once_is_known_for_it_in_the_end() {
        let mut core = Core::new();
        assert_eq!(core.hears(100_000, 1, WINDOW), 200);
        let waits: Vec<u32> = (0..300).map(|_| core.hears(1_000, 100, WINDOW)).collect();
        assert_eq!(waits[0], 200, "it could be many that have gathered");
        assert_eq!(waits[299], 0);
    }

    #[test]
    fn a_burst_after_a_pause_is_not_waited_for() {
        let mut core = Core::new();
        assert_eq!(core.hears(200_000, 1, WINDOW), 400);
        core.now = core.now + Span::from_s(60);
        assert_eq!(core.hears(200_000, 1, WINDOW), 0);
        assert_eq!(core.tempo.gather_us(core.now, core.packets), 0, "until the next window has passed");
    }
}
