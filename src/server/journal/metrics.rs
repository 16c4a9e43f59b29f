//! The store in Prometheus' text format, and what readiness says of it.
//!
//! Invariants:
//! - Counters end in `_total`, spans are in seconds, sizes in bytes.
//!
//! Source: Prometheus exposition format, version 0.0.4.

use std::fmt::Write;

use super::figures::StoreFigures;

/// A flush that runs longer makes the broker not ready.
const STALL_S: f64 = 5.0;

impl StoreFigures {
    /// Why the broker is not ready to keep anything, if it is not.
    #[must_use]
    pub(crate) fn ailment(&self) -> Option<String> {
        if self.is_full {
            return Some("the disk of the store is full: nothing new is kept".to_owned());
        }
        let stalls = self.flushing_s >= STALL_S;
        stalls.then(|| format!("the disk stalls: a flush has been running for {:.0} s", self.flushing_s))
    }

    /// All figures, one family after the other.
    #[must_use]
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        let flushes = self.flush_times.buckets.last().map_or(0, |(_, count)| *count);
        line(&mut text, "# TYPE ringmq_store_flush_seconds histogram".to_owned());
        for (bound, count) in &self.flush_times.buckets {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            line(&mut text, format!("ringmq_store_flush_seconds_bucket{{le=\"{bound}\"}} {count}"));
        }
        line(&mut text, format!("ringmq_store_flush_seconds_sum {}", self.flush_times.sum_s));
        line(&mut text, format!("ringmq_store_flush_seconds_count {flushes}"));
        let gauges = [
            ("flush_last_seconds", self.flush_times.last_s.to_string()),
            ("flushing_seconds", self.flushing_s.to_string()),
            ("pending_bytes", self.pending_bytes.to_string()),
            ("full", u8::from(self.is_full).to_string()),
        ];
        for (name, value) in gauges {
            line(&mut text, format!("# TYPE ringmq_store_{name} gauge\nringmq_store_{name} {value}"));
        }
        let counters = [
            ("turns", self.turns),
            ("writes", self.writes),
            ("written_bytes", self.written_bytes),
            ("fetches", self.fetches),
            ("keeps", self.keeps),
            ("expired_points", self.expired_points),
            ("removed_commands", self.removed_commands),
            ("times_full", self.times_full),
        ];
        for (name, value) in counters {
            let name = format!("ringmq_store_{name}_total");
            line(&mut text, format!("# TYPE {name} counter\n{name} {value}"));
        }
        text
    }
}

fn line(text: &mut String, content: String) {
    let _writing_to_a_string_cannot_fail = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    use super::super::figures::FlushTimes;
    use super::*;

    fn figures() -> StoreFigures {
        let buckets = vec![(0.000_1, 2), (5.0, 3), (f64::INFINITY, 4)];
        StoreFigures {
            flush_times: FlushTimes { buckets, sum_s: 6.5, last_s: 0.25 },
            writes: 7,
            written_bytes: 8,
            turns: 9,
            fetches: 10,
            keeps: 12,
            expired_points: 13,
            removed_commands: 14,
            pending_bytes: 11,
            flushing_s: 0.0,
            is_full: false,
            times_full: 1,
        }
    }

    #[test]
    fn flush_times_are_a_histogram_as_prometheus_wants_it() {
        let text = figures().metrics();
        let expected = "# TYPE ringmq_store_flush_seconds histogram\n\
            ringmq_store_flush_seconds_bucket{le=\"0.0001\"} 2\n\
            ringmq_store_flush_seconds_bucket{le=\"5\"} 3\n\
            ringmq_store_flush_seconds_bucket{le=\"+Inf\"} 4\n\
            ringmq_store_flush_seconds_sum 6.5\n\
            ringmq_store_flush_seconds_count 4\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("# TYPE ringmq_store_full gauge\nringmq_store_full 0\n"), "{text}");
        assert!(
            text.contains("# TYPE ringmq_store_turns_total counter\nringmq_store_turns_total 9\n"),
            "{text}"
        );
    }

    #[test]
    fn a_full_disk_and_one_that_stalls_are_ailments() {
        assert_eq!(figures().ailment(), None);
        let told = StoreFigures { is_full: true, ..figures() }.ailment();
        assert_eq!(told.as_deref(), Some("the disk of the store is full: nothing new is kept"));
        let told = StoreFigures { flushing_s: 6.2, ..figures() }.ailment();
        assert_eq!(told.as_deref(), Some("the disk stalls: a flush has been running for 6 s"));
        assert_eq!(StoreFigures { flushing_s: 4.9, ..figures() }.ailment(), None);
    }
}
