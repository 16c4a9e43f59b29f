//! What happened, second by second.
//!
//! Why the threads are asked and not read: a histogram that one thread writes cannot be read by another at the same
//! time; handing it in costs each thread some microseconds per second.
//!
//! Invariants:
//! - An interval is at least a second long; a thread that answers late is counted in the next one.

use std::sync::atomic::Ordering::Relaxed;

use hdrhistogram::Histogram;

use super::board::Board;
use super::crew::histogram;
use crate::number::{float, ratio};
use crate::procfs;
use crate::sheet::Second;

const SECOND_NS: u64 = 1_000_000_000;

/// Takes the series of one run.
#[derive(Debug)]
pub(crate) struct Recorder {
    pid: Option<u32>,
    origin_ns: u64,
    before: Mark,
    is_asked: bool,
    recent: Histogram<u64>,
    series: Vec<Second>,
}

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
struct Mark {
    at_ns: u64,
    sent: u64,
    received: u64,
    ready: u64,
    broker_ns: Option<u64>,
    threads_ns: Vec<u64>,
}

impl Recorder {
    /// Begins at `now_ns`; times in the series count from `origin_ns`.
    pub(crate) fn new(board: &Board, pid: Option<u32>, origin_ns: u64, now_ns: u64) -> Self {
        let before = mark(board, pid, now_ns);
        Self { pid, origin_ns, before, is_asked: false, recent: histogram(), series: vec![] }
    }

    /// Looks whether a second has ended; tells what it was like when the threads have answered.
    pub(crate) fn tick(&mut self, board: &Board, now_ns: u64) -> Option<&Second> {
        if now_ns < self.before.at_ns + SECOND_NS {
            return None;
        }
        if !std::mem::replace(&mut self.is_asked, true) {
            board.end_second();
            return None;
        }
        self.is_asked = false;
        self.recent.reset();
        board.collect(&mut self.recent);
        let after = mark(board, self.pid, now_ns);
        let second = self.second(&after);
        self.series.push(second);
        self.before = after;
        self.series.last()
    }

    /// What was recorded.
    pub(crate) fn into_series(self) -> Vec<Second> {
        self.series
    }

    fn second(&self, after: &Mark) -> Second {
        let before = &self.before;
        let elapsed_ns = after.at_ns - before.at_ns;
        let per_s = |later: u64, earlier: u64| ratio(later.saturating_sub(earlier), elapsed_ns) * 1e9;
        let at_us = |quantile| float(self.recent.value_at_quantile(quantile)) / 1e3;
        let busy = after.threads_ns.iter().zip(&before.threads_ns);
        let broker = after.broker_ns.zip(before.broker_ns);
        Second {
            t_s: ratio(after.at_ns.saturating_sub(self.origin_ns), SECOND_NS),
            sent_per_s: per_s(after.sent, before.sent),
            received_per_s: per_s(after.received, before.received),
            connects_per_s: per_s(after.ready, before.ready),
            p50_us: at_us(0.5),
            p99_us: at_us(0.99),
            p999_us: at_us(0.999),
            broker_cores: broker.map(|(later, earlier)| ratio(later.saturating_sub(earlier), elapsed_ns)),
            broker_resident_bytes: self.pid.and_then(|pid| procfs::resident_bytes_roughly(pid).ok()),
            generator_cores: busy
                .map(|(later, earlier)| ratio(later.saturating_sub(*earlier), elapsed_ns))
                .fold(0.0, f64::max),
        }
    }
}

fn mark(board: &Board, pid: Option<u32>, at_ns: u64) -> Mark {
    let thread =
        |counters: &super::board::Counters| procfs::thread_usage(counters.thread_id.load(Relaxed)).cpu_ns;
    Mark {
        at_ns,
        sent: board.total(|counters| &counters.sent),
        received: board.total(|counters| &counters.received),
        ready: board.total(|counters| &counters.ready),
        // A broker that has died ends the run by other signs than a missing figure.
        broker_ns: pid.and_then(|pid| procfs::process_usage(pid).ok()).map(|usage| usage.cpu_ns),
        threads_ns: board.counters.iter().map(thread).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::tests::plan;
    use crate::engine::topology::Shape;

    #[test]
    fn a_second_has_its_own_rates_and_latencies() {
        let board = Board::new(&plan(Shape::Pairs, [1, 1])).expect("a doorbell can be made");
        let mut recorder = Recorder::new(&board, Some(std::process::id()), 0, 1_000_000_000);
        board.counters[0].received.store(3_000, Relaxed);
        assert_eq!(recorder.tick(&board, 1_999_999_999), None, "the second is not over");
        assert_eq!(recorder.tick(&board, 2_000_000_000), None, "the threads have been asked");
        assert_eq!(board.second(), 1);
        let mut latencies = histogram();
        latencies.saturating_record(5_000);
        board.hand_in(0, &latencies);
        let second = *recorder.tick(&board, 2_500_000_000).expect("the threads have answered");
        assert!((second.received_per_s - 2_000.0).abs() < 1e-6, "{second:?}");
        assert!((second.t_s - 2.5).abs() < 1e-9 && (second.p99_us - 5.0).abs() < 0.1, "{second:?}");
        assert!(second.broker_resident_bytes > Some(100_000), "{second:?}");
        assert_eq!(recorder.tick(&board, 3_500_000_000), None);
        let next = *recorder.tick(&board, 3_500_000_001).expect("the threads have answered");
        assert!(next.received_per_s.abs() < 1e-9 && next.p99_us.abs() < 1e-9, "{next:?}");
        assert_eq!(recorder.into_series().len(), 2);
    }
}
