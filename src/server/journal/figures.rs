//! What the store shows of itself: metrics, readiness, `$SYS`.
//!
//! Why atomics: whoever reads them must never wait for a flush.
//!
//! Invariants:
//! - Counters only grow; each figure is right by itself, not in relation to the others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of flush times, in microseconds.
const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// What the store thread writes on and others read.
#[derive(Debug, Default)]
pub(crate) struct Board {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    flush_ns: AtomicU64,
    flush_ns_last: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    turns: AtomicU64,
    fetches: AtomicU64,
    keeps: AtomicU64,
    expired_points: AtomicU64,
    removed_commands: AtomicU64,
    pending_bytes: AtomicU64,
    began_at: OnceLock<Instant>,
    /// When the flush that runs began, in nanoseconds since the first one, plus one; zero if none runs.
    flushing_since_ns: AtomicU64,
    full: AtomicBool,
    times_full: AtomicU64,
}

/// How long flushes took.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct FlushTimes {
    /// Upper bound in seconds and how many flushes took at most as long; the last bound is infinite.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// The sum of all, in seconds.
    pub(crate) sum_s: f64,
    /// The latest, in seconds.
    pub(crate) last_s: f64,
}

/// The store at one moment.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StoreFigures {
    /// How long flushes took.
    pub(crate) flush_times: FlushTimes,
    /// Keys written or removed.
    pub(crate) writes: u64,
    /// Bytes of those.
    pub(crate) written_bytes: u64,
    /// Turns of cores, and what was handed over beside them, of which nothing is left to be written.
    pub(crate) turns: u64,
    /// Times that queued messages were read back.
    pub(crate) fetches: u64,
    /// Times that something was handed over outside of turns.
    pub(crate) keeps: u64,
    /// Points of history that were removed because they were too old.
    pub(crate) expired_points: u64,
    /// Commands that had ended and were removed because younger ones have.
    pub(crate) removed_commands: u64,
    /// Bytes accepted and not yet durable.
    pub(crate) pending_bytes: u64,
    /// How long the flush that runs now has run, in seconds; zero if none does.
    pub(crate) flushing_s: f64,
    /// Whether nothing new is kept for want of space.
    pub(crate) is_full: bool,
    /// How often that began.
    pub(crate) times_full: u64,
}

/// One flush that has succeeded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flush {
    pub(crate) took: Duration,
    pub(crate) writes: usize,
    pub(crate) bytes: usize,
    /// Points of history among what was removed that were too old.
    pub(crate) expired: usize,
    /// Commands among it that had ended long ago.
    pub(crate) commands: usize,
}

impl Board {
    pub(crate) fn note_flush(&self, flush: Flush) {
        let us = u64::try_from(flush.took.as_micros()).unwrap_or(u64::MAX);
        let ns = span_ns(flush.took);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        add(&self.buckets[bucket], 1);
        add(&self.flush_ns, ns);
        self.flush_ns_last.store(ns, Ordering::Relaxed);
        add(&self.writes, count(flush.writes));
        add(&self.written_bytes, count(flush.bytes));
        add(&self.expired_points, count(flush.expired));
        add(&self.removed_commands, count(flush.commands));
    }

    pub(crate) fn note_flush_began(&self, at: Instant) {
        let origin = *self.began_at.get_or_init(|| at);
        // One more than the span, so that zero is none.
        self.flushing_since_ns.store(span_ns(at.duration_since(origin)) + 1, Ordering::Relaxed);
    }

    pub(crate) fn note_flush_ended(&self) {
        self.flushing_since_ns.store(0, Ordering::Relaxed);
    }

    fn flushing(&self, now: Instant) -> Duration {
        match (self.began_at.get(), read(&self.flushing_since_ns)) {
            (Some(origin), since_ns @ 1..) => {
                now.duration_since(*origin).saturating_sub(Duration::from_nanos(since_ns - 1))
            }
            (None, _) | (Some(_), 0) => Duration::ZERO,
        }
    }

    pub(crate) fn note_turns(&self, turns: usize) {
        add(&self.turns, count(turns));
    }

    pub(crate) fn note_keep(&self) {
        add(&self.keeps, 1);
    }

    pub(crate) fn note_fetch(&self) {
        add(&self.fetches, 1);
    }

    pub(crate) fn note_pending(&self, bytes: usize) {
        self.pending_bytes.store(count(bytes), Ordering::Relaxed);
    }

    /// Returns whether that is new.
    pub(crate) fn note_full(&self, full: bool) -> bool {
        let was = self.full.swap(full, Ordering::Relaxed);
        if full && !was {
            add(&self.times_full, 1);
        }
        was != full
    }

    /// Whether nothing new is kept for want of space.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn figures(&self) -> StoreFigures {
        let mut sum = 0;
        let mut cumulate = |bucket: &AtomicU64| {
            sum += read(bucket);
            sum
        };
        let seconds = |us: &u64| Duration::from_micros(*us).as_secs_f64();
        let bounds = BOUNDS_US.iter().map(seconds).chain([f64::INFINITY]);
        let buckets = bounds.zip(self.buckets.iter().map(&mut cumulate)).collect();
        let span_s = |ns| Duration::from_nanos(ns).as_secs_f64();
        StoreFigures {
            flush_times: FlushTimes {
                buckets,
                sum_s: span_s(read(&self.flush_ns)),
                last_s: span_s(read(&self.flush_ns_last)),
            },
            writes: read(&self.writes),
            written_bytes: read(&self.written_bytes),
            turns: read(&self.turns),
            fetches: read(&self.fetches),
            keeps: read(&self.keeps),
            expired_points: read(&self.expired_points),
            removed_commands: read(&self.removed_commands),
            pending_bytes: read(&self.pending_bytes),
            flushing_s: self.flushing(Instant::now()).as_secs_f64(),
            is_full: self.full.load(Ordering::Relaxed),
            times_full: read(&self.times_full),
        }
    }
}

fn add(figure: &AtomicU64, more: u64) {
    figure.fetch_add(more, Ordering::Relaxed);
}

fn span_ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a process runs less than 584 years")
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).expect("a length fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_times_are_cumulative_and_the_last_bucket_holds_all() {
        let board = Board::default();
        for us in [90, 100, 900, 7_000_000] {
            let took = Duration::from_micros(us);
            board.note_flush(Flush { took, writes: 2, bytes: 5, expired: 1, commands: 3 });
        }
        let figures = board.figures();
        let counts: Vec<u64> = figures.flush_times.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!((figures.writes, figures.written_bytes), (8, 20));
        assert_eq!((figures.expired_points, figures.removed_commands), (4, 12));
        assert!((figures.flush_times.sum_s - 7.001_09).abs() < 1e-9);
    }

    #[test]
    fn a_flush_that_does_not_end_is_seen_while_it_runs() {
        let (board, origin) = (Board::default(), Instant::now());
        board.note_flush_began(origin);
        board.note_flush_ended();
        assert_eq!(board.flushing(origin + Duration::from_secs(9)), Duration::ZERO);
        board.note_flush_began(origin + Duration::from_secs(10));
        assert_eq!(board.flushing(origin + Duration::from_secs(15)), Duration::from_secs(5));
    }

    #[test]
    fn becoming_full_counts_once_and_recovering_not() {
        let board = Board::default();
        assert!(board.note_full(true));
        assert!(!board.note_full(true));
        assert!(board.note_full(false));
        assert_eq!((board.figures().is_full, board.figures().times_full), (false, 1));
    }
}
