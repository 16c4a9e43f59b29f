//! The highest rate that still meets the service level.
//!
//! Why doubling first and halving the gap then: the answer may lie anywhere between a hundred and ten million, and each
//! step costs seconds. Why a second chance: one late wake-up of a busy machine must not end the search, so a rate
//! fails only if it fails twice.
//!
//! Invariants:
//! - Every step is kept: a reader can see how the level was lost.
//! - A rate that the generator could not make is never held against the broker; the finding then is a lower bound.

use serde::{Deserialize, Serialize};

use super::slo::Verdict;

/// The gap between a rate that passes and one that does not, at the end.
const RESOLUTION: f64 = 1.04;
/// Below this many messages per second there is nothing to plan.
const RATE_MIN: f64 = 1.0;

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Messages per second that were offered.
    pub(crate) rate: f64,
    /// What became of them.
    pub(crate) verdict: Verdict,
    /// Median latency, in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile.
    pub(crate) p999_us: f64,
    /// Processor time of the broker over elapsed time.
    pub(crate) cores: f64,
}

/// What the search found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The highest rate that met the level, in messages per second; 0 if none did.
    pub(crate) rate: f64,
    /// The lowest rate above it that did not; `None` if none was found.
    pub(crate) missed: Option<f64>,
    /// Processor time of the broker at `rate`, in cores.
    pub(crate) cores: f64,
    /// Whether the generator gave up before the broker did.
    pub(crate) is_lower_bound: bool,
    /// All steps in order.
    pub(crate) trials: Vec<Trial>,
}

impl Finding {
    /// The rate at which the broker uses so many cores, between the steps that met the level; the highest of them if none
    /// used more. `None` if no step met it.
    pub(crate) fn rate_at(&self, cores: f64) -> Option<f64> {
        let mut met: Vec<&Trial> = self.trials.iter().filter(|trial| trial.verdict == Verdict::Met).collect();
        met.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let above = met.iter().position(|trial| trial.cores > cores);
        match above {
            None => met.last().map(|trial| trial.rate),
            Some(0) => met.first().map(|trial| trial.rate * cores / trial.cores),
            Some(place) => {
                let (low, high) = (met[place - 1], met[place]);
                let share = (cores - low.cores) / (high.cores - low.cores);
                Some((low.rate.ln() + share * (high.rate / low.rate).ln()).exp())
            }
        }
    }
}

/// Searches from `start` in at most about `steps` steps; `probe` runs one.
pub(crate) fn search<E>(
    start: f64,
    steps: u32,
    mut probe: impl FnMut(f64) -> Result<Trial, E>,
) -> Result<Finding, E> {
    let mut trials: Vec<Trial> = vec![];
    let mut met: Option<f64> = None;
    let mut missed: Option<f64> = None;
    let mut is_lower_bound = false;
    let mut rate = start.max(RATE_MIN);
    let mut left = steps;
    while left > 0 {
        left -= 1;
        let mut trial = probe(rate)?;
        if !matches!(trial.verdict, Verdict::Met) {
            trials.push(trial);
            trial = probe(rate)?;
        }
        match trial.verdict {
            Verdict::Met => met = Some(met.map_or(rate, |met| met.max(rate))),
            Verdict::Missed(_) => {
                missed = Some(rate);
                is_lower_bound = false;
            }
            Verdict::Unmade(_) => {
                missed = Some(rate);
                is_lower_bound = true;
            }
        }
        trials.push(trial);
        rate = match (met, missed) {
            (Some(met), Some(missed)) if missed / met < RESOLUTION => break,
            (Some(met), Some(missed)) => (met * missed).sqrt(),
            (Some(met), None) => met * 2.0,
            (None, Some(missed)) if missed / 4.0 < RATE_MIN => break,
            (None, _) => rate / 4.0, // Nothing passed yet.
        };
    }
    let rate = met.unwrap_or(0.0);
    let at = |trial: &&Trial| matches!(trial.verdict, Verdict::Met) && trial.rate >= rate;
    let cores = trials.iter().rev().find(at).map_or(0.0, |trial| trial.cores);
    Ok(Finding { rate, missed, cores, is_lower_bound: is_lower_bound || missed.is_none(), trials })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with one queue: latency grows without bound as the rate nears `capacity`.
    fn queue(capacity: f64, limit_us: f64, rate: f64) -> Trial {
        let p99_us = if rate < capacity { 50.0 / (1.0 - rate / capacity) } else { 1e9 };
        let verdict = if p99_us <= limit_us { Verdict::Met } else { Verdict::Missed("late".into()) };
        Trial {
            rate,
            verdict,
            p50_us: p99_us / 4.6,
            p99_us,
            p999_us: p99_us * 1.5,
            cores: (rate / capacity).min(1.0),
        }
    }

    fn found(start: f64, capacity: f64) -> Finding {
        let probe = |rate| Ok::<_, ()>(queue(capacity, 1_000.0, rate));
        search(start, 40, probe).expect("nothing fails")
    }

    #[test]
    fn the_rate_of_a_planned_utilisation_lies_between_the_steps_that_met_the_level() {
        let trial = |rate, cores| Trial { cores, ..queue(1e6, 1_000.0, rate) };
        let missed = Trial { verdict: Verdict::Missed("late".into()), ..trial(8_000.0, 0.45) };
        let trials = vec![trial(1_000.0, 0.2), missed, trial(4_000.0, 0.6), trial(2_000.0, 0.3)];
        let finding = Finding { trials, ..found(100.0, 100_000.0) };
        let near = |rate: Option<f64>, wanted: f64| (rate.expect("some met it") / wanted - 1.0).abs() < 1e-6;
        assert!(near(finding.rate_at(0.3), 2_000.0));
        assert!(near(finding.rate_at(0.45), 2_000.0 * 2_f64.sqrt()));
        assert!(near(finding.rate_at(0.1), 500.0), "below the first step in proportion");
        assert!(near(finding.rate_at(0.9), 4_000.0), "never above what met the level");
        assert_eq!(Finding { trials: vec![], ..finding }.rate_at(0.5), None);
    }

    #[test]
    fn the_search_finds_the_knee_from_below_and_from_above() {
        // 50 us / (1 - u) reaches 1,000 us at u = 0.95.
        for start in [100.0, 90_000.0, 5_000_000.0] {
            let finding = found(start, 100_000.0);
            assert!((95_000.0 / RESOLUTION..=95_000.0).contains(&finding.rate), "from {start}: {finding:?}");
            assert!(finding.missed.is_some_and(|missed| missed > 95_000.0) && !finding.is_lower_bound);
            assert!(
                (finding.cores - finding.rate / 100_000.0).abs() < 1e-9,
                "cores belong to the rate found"
            );
        }
    }

    #[test]
    fn one_bad_moment_does_not_end_the_search() {
        let mut probes = 0;
        let finding = search(1_000.0, 40, |rate| {
            probes += 1;
            let mut trial = queue(100_000.0, 1_000.0, rate);
            if probes % 3 == 1 {
                trial.verdict = Verdict::Missed("a late wake-up".into());
            }
            Ok::<_, ()>(trial)
        });
        assert!(finding.is_ok_and(|finding| finding.rate > 90_000.0));
    }

    #[test]
    fn a_generator_at_its_end_makes_a_lower_bound() {
        let finding = search(1_000.0, 40, |rate| {
            let trial = queue(1e9, 1_000.0, rate);
            let verdict = if rate > 50_000.0 { Verdict::Unmade("busy".into()) } else { Verdict::Met };
            Ok::<_, ()>(Trial { verdict, ..trial })
        })
        .expect("nothing fails");
        assert!(finding.is_lower_bound && finding.rate > 48_000.0, "{finding:?}");
    }

    #[test]
    fn nothing_passes_where_nothing_can_and_the_steps_are_counted() {
        let finding = found(100.0, 1e-6);
        assert!(finding.rate.abs() < f64::EPSILON && finding.missed.is_some(), "{finding:?}");
        let short = search(1.0, 3, |rate| Ok::<_, ()>(queue(1e9, 1_000.0, rate))).expect("nothing fails");
        assert_eq!(short.trials.iter().map(|trial| trial.rate).collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
        assert!(short.is_lower_bound, "the end was not reached");
    }
}
