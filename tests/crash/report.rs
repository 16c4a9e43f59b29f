//! What a campaign has found, in figures.
//!
//! Invariants:
//! - Zero broken rules is the only good report; everything else says which, how often, and where first.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::book::{Book, Rule, Sums};
use crate::campaign::Plan;
use crate::clock::now_ms;

/// How often progress is shown where nobody looks, in milliseconds.
const SHOW_MS: u64 = 20_000;

/// Figures of a campaign.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What a fall is called.
    pub word: &'static str,
    /// Randomness.
    pub seed: u64,
    /// The durability asked for; empty is the broker's default.
    pub durability: String,
    /// Seconds from the first start to the last end.
    pub seconds: u64,
    /// Times the broker fell.
    pub falls: u64,
    /// Falls before it was ready.
    pub falls_in_recovery: u64,
    /// Ends with SIGTERM.
    pub stops: u64,
    /// Drains, in each of which everything owed had to arrive.
    pub drains: u64,
    /// Messages acknowledged and gone, counted once per subscriber that was owed them.
    pub lost: u64,
    /// QoS 2 messages delivered twice to one session.
    pub duplicates: u64,
    /// From start to ready line: median, 99 of 100, longest, in milliseconds.
    pub recovery_ms: [u64; 3],
    /// Sums.
    pub sums: Sums,
    /// How often each rule was broken.
    pub broken: BTreeMap<Rule, u64>,
    /// The first broken rules in full.
    pub described: Vec<String>,
    #[serde(skip)]
    starts_us: Vec<u64>,
    #[serde(skip)]
    opened_ms: u64,
    #[serde(skip)]
    shown_ms: u64,
}

impl Report {
    /// A report of a campaign that begins.
    #[must_use]
    pub fn open(plan: &Plan, word: &'static str) -> Self {
        Self {
            word,
            seed: plan.seed,
            durability: plan.durability.clone().unwrap_or_default(),
            seconds: 0,
            falls: 0,
            falls_in_recovery: 0,
            stops: 0,
            drains: 0,
            lost: 0,
            duplicates: 0,
            recovery_ms: [0; 3],
            sums: Sums::default(),
            broken: BTreeMap::new(),
            described: Vec::new(),
            starts_us: Vec::new(),
            opened_ms: now_ms(),
            shown_ms: now_ms(),
        }
    }

    /// A broker was ready after so long.
    pub fn started(&mut self, start_us: u64) {
        self.starts_us.push(start_us);
    }

    /// The typical start, in milliseconds.
    #[must_use]
    pub fn start_ms_p50(&self) -> u64 {
        quantile(&self.starts_us, 50) / 1000
    }

    /// Takes everything over from the book.
    #[must_use]
    pub fn close(mut self, book: &Book) -> Self {
        self.seconds = (now_ms() - self.opened_ms) / 1000;
        self.recovery_ms = [50, 99, 100].map(|percent| quantile(&self.starts_us, percent) / 1000);
        self.lost = book.broken(Rule::Lost) + book.broken(Rule::RetainedLost) + book.broken(Rule::WillLost);
        self.duplicates = book.broken(Rule::Duplicated);
        self.sums = book.sums.clone();
        self.broken.clone_from(&book.broken);
        self.described.clone_from(&book.described);
        self
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// Shows progress, one line over another on a terminal.
    pub fn show(&mut self, book: &Book) {
        let is_terminal = std::io::stderr().is_terminal();
        let pause_ms = if is_terminal { 250 } else { SHOW_MS };
        if now_ms() < self.shown_ms + pause_ms {
            return;
        }
        self.shown_ms = now_ms();
        let line = format!(
            "{} {}, {} acknowledged, {} received, {} rules broken",
            self.falls,
            self.word,
            book.sums.acked,
            book.sums.received,
            book.broken_in_all()
        );
        let end = if is_terminal { '\r' } else { '\n' };
        let _ = write!(std::io::stderr(), "{line}{end}");
    }
}

fn quantile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { falls, falls_in_recovery, stops, drains, seconds, word, sums, recovery_ms, .. } = self;
        writeln!(
            f,
            "{falls} {word} ({falls_in_recovery} in recovery), {stops} stops, {drains} drains, {seconds} s"
        )?;
        writeln!(
            f,
            "acknowledged {} of {} sent ({} refused); received {}, repeated at QoS 1 {}",
            sums.acked, sums.sent, sums.refused, sums.received, sums.repeated
        )?;
        writeln!(
            f,
            "sessions resumed {}, ended {}; subscriptions changed {}; retained values seen {}; wills read {}",
            sums.resumed, sums.ended, sums.subscriptions, sums.retained_seen, sums.wills
        )?;
        let [p50, p99, max] = recovery_ms;
        writeln!(f, "recovery p50 {p50} ms, p99 {p99} ms, longest {max} ms")?;
        writeln!(f, "lost {}, QoS 2 duplicates {}", self.lost, self.duplicates)?;
        for (rule, times) in &self.broken {
            writeln!(f, "broken: {rule}: {times}")?;
        }
        for line in self.described.iter().take(20) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!([0, 50, 100].map(|percent| quantile(&[5, 1, 9], percent)), [1, 5, 9]);
        assert_eq!(quantile(&[], 50), 0);
    }
}
