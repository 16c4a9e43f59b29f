//! What a comparison found out, run by run.
//!
//! Why every single run is kept: a median hides a bad round, and somebody else may want another statistic.
//!
//! Invariants:
//! - Medians and ranges are computed from these figures only.

use serde::Serialize;

use super::load::Load;
use super::machine::Machine;
use super::target::Target;
use crate::options::CompareOptions;
use crate::report::RunReport;

/// A whole comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// Where.
    pub(crate) machine: Machine,
    /// Processors of the brokers.
    pub(crate) broker_cpu: Vec<usize>,
    /// Processors of the generator.
    pub(crate) load_cpu: Vec<usize>,
    /// Counted seconds of each run.
    pub(crate) duration_s: f64,
    /// Seconds of traffic before counting.
    pub(crate) warmup_s: f64,
    /// Rounds.
    pub(crate) rounds: u32,
    /// The loads.
    pub(crate) loads: Vec<LoadFacts>,
    /// The targets.
    pub(crate) targets: Vec<TargetFacts>,
    /// Targets that were not here, with advice.
    pub(crate) skipped: Vec<String>,
    /// Every run, in the order of running.
    pub(crate) measurements: Vec<Measurement>,
}

/// A load, for readers of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadFacts {
    /// What `--load` calls it.
    pub(crate) letter: String,
    /// In words.
    pub(crate) title: String,
    /// As a command.
    pub(crate) arguments: String,
    /// What the broker under test is held to.
    pub(crate) goal: Option<super::load::Goal>,
}

/// A target, for readers of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TargetFacts {
    /// Its name in the table.
    pub(crate) name: String,
    /// As a command.
    pub(crate) command: String,
    /// What it says about itself.
    pub(crate) version: String,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// The load's letter.
    pub(crate) load: String,
    /// The target's name.
    pub(crate) target: String,
    /// Counted from 1.
    pub(crate) round: u32,
    /// The report, or why there is none.
    pub(crate) outcome: Result<RunReport, String>,
}

/// The middle and the ends of some values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    /// Median; the mean of the middle two for an even count.
    pub(crate) median: f64,
    /// Least.
    pub(crate) least: f64,
    /// Most.
    pub(crate) most: f64,
}

impl Comparison {
    /// A comparison without runs.
    pub(crate) fn new(
        options: &CompareOptions,
        loads: &[Load],
        targets: &[Target],
        skipped: Vec<String>,
    ) -> Self {
        let load_facts = |load: &Load| LoadFacts {
            letter: load.letter.to_owned(),
            title: load.title.to_owned(),
            arguments: load.arguments.to_owned(),
            goal: load.goal,
        };
        let target_facts = |target: &Target| {
            let (command, version) = target.facts();
            TargetFacts { name: target.name.clone(), command, version }
        };
        Self {
            machine: Machine::read(),
            broker_cpu: options.broker_cpu.clone(),
            load_cpu: options.load_cpu.clone(),
            duration_s: options.duration,
            warmup_s: options.warmup,
            rounds: options.rounds,
            loads: loads.iter().map(load_facts).collect(),
            targets: targets.iter().map(target_facts).collect(),
            skipped,
            measurements: vec![],
        }
    }

    /// Runs without a report.
    pub(crate) fn failures(&self) -> usize {
        self.measurements.iter().filter(|measurement| measurement.outcome.is_err()).count()
    }

    /// The reports of one target under one load, by round.
    pub(crate) fn reports<'a>(
        &'a self,
        load: &'a str,
        target: &'a str,
    ) -> impl Iterator<Item = (u32, &'a RunReport)> {
        let wanted =
            move |measurement: &&Measurement| measurement.load == load && measurement.target == target;
        let report =
            |measurement: &'a Measurement| Some((measurement.round, measurement.outcome.as_ref().ok()?));
        self.measurements.iter().filter(wanted).filter_map(report)
    }

    /// The spread of one figure of one target under one load; `None` when no run has it.
    pub(crate) fn spread(
        &self,
        load: &str,
        target: &str,
        figure: fn(&RunReport) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.reports(load, target).filter_map(|(_, report)| figure(report)).collect())
    }

    /// `target`'s figure divided by `other`'s, round by round.
    pub(crate) fn ratio(
        &self,
        load: &str,
        target: &str,
        other: &str,
        figure: fn(&RunReport) -> Option<f64>,
    ) -> Option<Spread> {
        let divided = |(round, report): (u32, &RunReport)| {
            let (_, other) = self.reports(load, other).find(|(of_round, _)| *of_round == round)?;
            Some(figure(report)? / figure(other)?)
        };
        Spread::of(self.reports(load, target).filter_map(divided).filter(|ratio| ratio.is_finite()).collect())
    }
}

impl Spread {
    /// The spread of `values`; `None` for none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let (&least, &most) = (values.first()?, values.last()?);
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_least_and_most() {
        let spread = |median, least, most| Some(Spread { median, least, most });
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of(vec![]), None);
    }
}
