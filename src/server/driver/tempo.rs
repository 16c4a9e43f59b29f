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
//! Why it is judged again and again: who waits for an answer before speaking again is slowed by every wait, and the core cannot
//! see who does. So after each term of gathering it is watched how much arrives without, and where that is clearly more, nothing
//! gathers for a while.
//!
//! Invariants:
//! - A core that was idle for longer than [`WINDOW`] does not gather.
//! - Nothing gathers for longer than the limit.
//! - Packets that come together anyway are not left to gather.

use stdx::{Instant, Span};

/// The wait is as long as it may be at so many times the receives from which on there is one; it is shorter in proportion below.
const FULL: u64 = 8;
/// How long receives are counted before the tempo is judged anew.
const WINDOW: Span = Span::from_ms(2);
/// Windows that pass before watching begins: what had gathered arrives in them.
const SETTLING: u32 = 2;
/// Windows that are watched without gathering before it begins, and when it is judged.
const WATCHED: u32 = 8;
/// Windows of gathering until it is judged for the first time, and later, when it has done no harm.
const TRIAL: u32 = 16;
const TERM: u32 = 256;
/// Windows in which nothing gathers because it did harm: four seconds.
const REST: u32 = 2_048;
/// Packets per receive, in sixteenths, from which on they share its cost anyway.
const TOGETHER_MIN: u64 = 4 * 16;

/// The tempo of one core.
#[derive(Debug)]
pub(super) struct Tempo {
    gather_us_max: u32,
    /// Receives per second from which waiting is worth it.
    brisk_per_s: u64,
    since: Instant,
    receives: u64,
    /// Packets read when the window began, by the mind's count.
    packets_before: u64,
    /// Packets per receive when nothing gathered, in sixteenths.
    natural: u64,
    gather_us: u32,
    stage: Stage,
    tally: Tally,
    /// Windows until gathering is judged.
    term: u32,
    /// Packets per second in the last term of gathering, if it is to be judged.
    gathered_per_s: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing gathers, to see what arrives so.
    Watching,
    Gathering,
    /// Nothing gathers, because it did harm.
    Resting,
}

/// Windows of one stage.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    windows: u32,
    receives: u64,
    packets: u64,
    ns: u64,
}

impl Tally {
    fn add(&mut self, window: Self) {
        self.windows += window.windows;
        self.receives += window.receives;
        self.packets += window.packets;
        self.ns += window.ns;
    }

    fn per_s(count: u64, ns: u64) -> u64 {
        count.saturating_mul(1_000_000_000) / ns.max(1)
    }
}

impl Tempo {
    /// A tempo that lets nothing gather for longer than that, at zero nothing ever, and nothing below so many receives per
    /// second.
    pub(super) fn new(now: Instant, gather_us_max: u32, brisk_per_s: u32) -> Self {
        Self {
            gather_us_max,
            brisk_per_s: u64::from(brisk_per_s.max(1)),
            since: now,
            receives: 0,
            packets_before: 0,
            natural: 16,
            gather_us: 0,
            stage: Stage::Watching,
            tally: Tally::default(),
            term: TRIAL,
            gathered_per_s: None,
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
            let (receives, packets_now) = (self.receives, packets - self.packets_before);
            self.judge(Tally { windows: 1, receives, packets: packets_now, ns: span.ns() });
            (self.since, self.receives, self.packets_before) = (now, 0, packets);
        }
        self.gather_us
    }

    fn judge(&mut self, window: Tally) {
        self.gather_us = 0;
        match self.stage {
            Stage::Watching if self.tally.windows < SETTLING => self.tally.windows += 1,
            Stage::Watching => {
                self.tally.add(window);
                if self.tally.windows == SETTLING + WATCHED {
                    self.begin(self.tally);
                }
            }
            Stage::Gathering => {
                self.tally.add(window);
                self.gather_us = self.wait_for(window);
                if self.gather_us == 0 {
                    (self.term, self.gathered_per_s) = (TRIAL, None);
                    self.enter(Stage::Watching);
                } else if self.tally.windows >= self.term {
                    self.gathered_per_s = Some(Tally::per_s(self.tally.packets, self.tally.ns));
                    self.enter(Stage::Watching);
                }
            }
            Stage::Resting => {
                self.tally.add(window);
                if self.tally.windows >= REST {
                    self.enter(Stage::Watching);
                }
            }
        }
    }

    fn enter(&mut self, stage: Stage) {
        (self.stage, self.tally) = (stage, Tally::default());
        if stage != Stage::Gathering {
            self.gather_us = 0;
        }
    }

    /// After what was watched without gathering: whether it begins.
    fn begin(&mut self, watched: Tally) {
        self.natural = (16 * watched.packets / watched.receives.max(1)).max(16);
        let plain_per_s = Tally::per_s(watched.packets, watched.ns);
        let judged = self.gathered_per_s.take();
        let did_harm = judged.is_some_and(|gathered_per_s| plain_per_s > gathered_per_s + gathered_per_s / 4);
        self.term = if judged.is_some() && !did_harm { TERM } else { TRIAL };
        let gather_us = self.wait_for(watched);
        if did_harm {
            self.enter(Stage::Resting);
        } else if gather_us > 0 && self.natural < TOGETHER_MIN {
            self.enter(Stage::Gathering);
            self.gather_us = gather_us;
        } else {
            self.enter(Stage::Watching);
        }
    }

    /// Microseconds for which a core may wait that received so much; 0 if it is not brisk.
    fn wait_for(&self, Tally { receives, packets, ns, .. }: Tally) -> u32 {
        let per_s = Tally::per_s(receives.max(16 * packets / self.natural), ns);
        let full_per_s = FULL * self.brisk_per_s;
        let share = per_s.min(full_per_s) * u64::from(self.gather_us_max) / full_per_s;
        if per_s < self.brisk_per_s { 0 } else { u32::try_from(share).unwrap_or(self.gather_us_max) }
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
            Self { tempo: Tempo::new(Instant::START, 800, 50_000), now: Instant::START, packets: 0 }
        }

        /// Receives so often for a window, so many packets each time, and asks at its end.
        fn hears(&mut self, per_s: u64, packets_each: u64) -> u32 {
            let receives = WINDOW.ns() * per_s / 1_000_000_000;
            (0..receives).for_each(|_| self.tempo.note_receive());
            self.packets += receives * packets_each;
            self.now = self.now + WINDOW;
            self.tempo.gather_us(self.now, self.packets)
        }

        /// The same for as many windows as it is watched; what it says at the end.
        fn is_watched(&mut self, per_s: u64, packets_each: u64) -> u32 {
            let waits: Vec<u32> = (0..SETTLING + WATCHED).map(|_| self.hears(per_s, packets_each)).collect();
            let (last, before) = waits.split_last().unwrap();
            assert!(before.iter().all(|wait| *wait == 0), "{waits:?}");
            *last
        }
    }

    #[test]
    fn the_more_arrives_the_longer_it_may_gather() {
        for (per_s, gather_us) in
            [(0, 0), (49_000, 0), (50_000, 100), (100_000, 200), (400_000, 800), (900_000, 800)]
        {
            assert_eq!(Core::new().is_watched(per_s, 1), gather_us, "{per_s}");
        }
    }

    #[test]
    fn what_has_gathered_counts_as_what_it_would_have_been() {
        let mut core = Core::new();
        assert_eq!(core.is_watched(100_000, 1), 200);
        assert_eq!(core.hears(20_000, 5), 200, "the same packets in fewer receives");
        assert_eq!(core.hears(20_000, 2), 0);
        assert_eq!(core.is_watched(20_000, 3), 0, "who sends three at once is not brisk by that");
        let mut core = Core::new();
        assert_eq!(core.is_watched(50_000, 3), 100);
        assert_eq!(core.hears(50_000, 3), 100);
    }

    #[test]
    fn what_comes_together_is_not_left_to_gather() {
        let mut core = Core::new();
        for _ in 0..10 {
            assert_eq!(core.is_watched(100_000, 4), 0);
        }
        assert_eq!(core.is_watched(100_000, 3), 200);
    }

    #[test]
    fn who_waits_for_answers_is_left_alone_for_a_while() {
        let mut core = Core::new();
        assert_eq!(core.is_watched(400_000, 1), 800);
        for _ in 1..TRIAL {
            assert!(core.hears(100_000, 1) > 0, "it speaks less often, for it is kept waiting");
        }
        assert_eq!(core.hears(100_000, 1), 0, "the trial is over");
        assert_eq!(core.is_watched(400_000, 1), 0, "without waiting far more arrives");
        for _ in 0..REST {
            assert_eq!(core.hears(400_000, 1), 0);
        }
        assert_eq!(core.is_watched(400_000, 1), 800, "and then it is tried again");
    }

    #[test]
    fn who_speaks_as_often_whether_there_is_gathering_or_not_is_gathered_for_longer() {
        let mut core = Core::new();
        assert_eq!(core.is_watched(100_000, 1), 200);
        for term in [TRIAL, TERM, TERM] {
            for _ in 1..term {
                assert_eq!(core.hears(20_000, 5), 200);
            }
            assert_eq!(core.hears(20_000, 5), 0, "the term is over");
            assert_eq!(core.is_watched(100_000, 1), 200);
        }
    }

    #[test]
    fn a_burst_after_a_pause_is_not_waited_for() {
        let mut core = Core::new();
        assert_eq!(core.is_watched(200_000, 1), 400);
        core.now = core.now + Span::from_s(60);
        assert_eq!(core.hears(200_000, 1), 0);
        assert_eq!(core.is_watched(200_000, 1), 400, "once it has been watched again");
    }

    #[test]
    fn nothing_gathers_where_that_is_not_wanted() {
        let mut core = Core { tempo: Tempo::new(Instant::START, 0, 50_000), ..Core::new() };
        for _ in 0..100 {
            assert_eq!(core.hears(900_000, 1), 0);
        }
    }
}
