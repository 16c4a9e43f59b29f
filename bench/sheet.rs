//! One page of findings, before it becomes text on a terminal or charts in a browser.
//!
//! Why between reports and their looks: every workload has figures of its own, and neither the terminal nor the page
//! in a browser should have to know them. Both show the same sheet, so neither can tell more than the other.
//!
//! Invariants:
//! - Rows are whole sentences' worth of text with their units; numbers that a program may want stand in the report.
//! - `series` is in rising order of time.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::number::float;

/// What a reader sees of a report.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Sheet {
    /// The load in words.
    pub(crate) title: String,
    /// Whether the run was ended by a signal, so that its figures concern a shorter time than was asked for.
    pub(crate) interrupted: bool,
    /// Figures by name, in reading order.
    pub(crate) rows: Vec<Row>,
    /// Percentiles by name, in reading order.
    pub(crate) times: Vec<(&'static str, Percentiles)>,
    /// The whole distribution of the first of `times`; empty when there is none.
    pub(crate) distribution: Vec<Point>,
    /// What happened second by second.
    pub(crate) series: Vec<Second>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// One figure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    /// What it is about, in one word.
    pub(crate) name: &'static str,
    /// The figure with its unit.
    pub(crate) text: String,
}

/// Percentiles of a time, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Values recorded.
    pub(crate) count: u64,
    /// Median.
    pub(crate) p50_us: f64,
    /// 90th percentile.
    pub(crate) p90_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile.
    pub(crate) p999_us: f64,
    /// Largest value.
    pub(crate) max_us: f64,
}

/// One point of a distribution.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Share of values that are not larger, from 0 to 1.
    pub(crate) quantile: f64,
    /// The value, in microseconds.
    pub(crate) at_us: f64,
}

/// One second of a run; rates are per second also when the interval was a little longer or shorter.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// End of the interval, in seconds since counting began.
    pub(crate) t_s: f64,
    /// Messages published.
    pub(crate) sent_per_s: f64,
    /// Messages delivered.
    pub(crate) received_per_s: f64,
    /// Clients that were welcomed.
    pub(crate) connects_per_s: f64,
    /// Median latency of what arrived in this interval.
    pub(crate) p50_us: f64,
    /// Its 99th percentile.
    pub(crate) p99_us: f64,
    /// Its 99.9th percentile.
    pub(crate) p999_us: f64,
    /// The broker's processor time over elapsed time, 1.0 for one whole core; `None` when it is not watched.
    pub(crate) broker_cores: Option<f64>,
    /// The broker's resident memory; `None` when it is not watched.
    pub(crate) broker_resident_bytes: Option<u64>,
    /// Processor time over elapsed time of the generator's busiest thread.
    pub(crate) generator_cores: f64,
}

impl Percentiles {
    /// Reads them off a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1e3;
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: float(histogram.max()) / 1e3,
        }
    }
}

/// The distribution of a histogram of nanoseconds, closer together towards its end; empty when it is.
pub(crate) fn distribution(histogram: &Histogram<u64>) -> Vec<Point> {
    if histogram.is_empty() {
        return vec![];
    }
    let point = |value: hdrhistogram::iterators::IterationValue<u64>| Point {
        quantile: value.quantile_iterated_to(),
        at_us: float(value.value_iterated_to()) / 1e3,
    };
    histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE).map(point).collect()
}

const TICKS_PER_HALF_DISTANCE: u32 = 5;

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p90_us, p99_us, p999_us, max_us, .. } = self;
        write!(
            f,
            "p50 {p50_us:.0} us, p90 {p90_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us, max {max_us:.0} us"
        )
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interrupted {
            writeln!(f, "INTERRUPTED: these are the figures up to the signal")?;
        }
        writeln!(f, "{:<12} {}", "load", self.title)?;
        for Row { name, text } in &self.rows {
            writeln!(f, "{name:<12} {text}")?;
        }
        if !self.times.is_empty() {
            writeln!(
                f,
                "{:<12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
                "time (us)", "p50", "p90", "p99", "p99.9", "max", "count"
            )?;
        }
        for (name, Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us }) in &self.times {
            writeln!(
                f,
                "{name:<12} {p50_us:>10.0} {p90_us:>10.0} {p99_us:>10.0} {p999_us:>10.0} {max_us:>10.0} {count:>12}"
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{:<12} {note}", "note"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_its_rows_then_its_times_then_its_notes() {
        let sheet = Sheet {
            title: "two pairs".into(),
            rows: vec![Row { name: "sent", text: "5 messages/s".into() }],
            times: vec![("latency", Percentiles { count: 3, p50_us: 7.0, ..Percentiles::default() })],
            notes: vec!["mind the gap".into()],
            ..Sheet::default()
        };
        let text = sheet.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["load         two pairs", "sent         5 messages/s"]);
        assert!(lines[2].starts_with("time (us)"));
        assert!(lines[3].starts_with("latency               7"));
        assert_eq!(lines[4..], ["note         mind the gap"]);
        assert!(Sheet { interrupted: true, ..sheet }.to_string().starts_with("INTERRUPTED"));
    }

    #[test]
    fn a_distribution_rises_to_the_largest_value() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 40, 3).expect("lawful bounds");
        assert_eq!(distribution(&histogram), []);
        (1..=1_000).for_each(|us| histogram.saturating_record(us * 1_000));
        let points = distribution(&histogram);
        assert!(points.is_sorted_by(|a, b| a.quantile <= b.quantile && a.at_us <= b.at_us), "{points:?}");
        assert!(points.last().is_some_and(|last| (last.at_us - 1_000.0).abs() < 1.0), "{points:?}");
    }
}
