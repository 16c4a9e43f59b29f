//! What a comparison found out, run by run.
//!
//! Why every single run is kept: a median hides a bad round, and somebody else may want another statistic.
//!
//! Invariants:
//! - Medians and ranges are computed from these figures only.
//! - Names and units of the figures are those of the generator's JSON, of which they are a part.

use serde::{Deserialize, Serialize};

use super::floors::Finding;
use super::load::Load;
use super::machine::Machine;
use super::options::CompareOptions;
use super::target::Target;
use crate::sheet::Percentiles;

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
    /// What the broker under test is held to; filled in at the end.
    pub(crate) floors: Vec<Finding>,
    /// Every run, in the order of running.
    pub(crate) measurements: Vec<Measurement>,
    /// What the kernel counted, in a round of its own.
    pub(crate) countings: Vec<Counting>,
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
    /// Where it keeps what it must not lose.
    pub(crate) durability: String,
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
    /// The figures, or why there are none.
    pub(crate) outcome: Result<Figures, String>,
}

/// Counted system calls and instructions of one target under one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Counting {
    /// The load's letter.
    pub(crate) load: String,
    /// The target's name.
    pub(crate) target: String,
    /// Per delivered message, or why there is nothing.
    pub(crate) outcome: Result<PerMessage, String>,
}

/// What the kernel counted, divided by delivered messages.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct PerMessage {
    /// Messages between the two readings.
    pub(crate) messages: u64,
    /// System calls of the broker.
    pub(crate) system_calls: Option<f64>,
    /// Instructions of the broker in user mode.
    pub(crate) user_instructions: Option<f64>,
}

/// The figures of a run.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figures {
    /// With messages.
    Traffic(Traffic),
    /// Without.
    Idle(Idle),
}

/// Figures of a run with messages.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Messages delivered per second.
    pub(crate) received_per_s: f64,
    /// Deliveries that the whole run should have led to.
    pub(crate) expected: u64,
    /// Never delivered.
    pub(crate) lost: u64,
    /// Delivered again.
    pub(crate) duplicated: u64,
    /// Delivered after a later one.
    pub(crate) reordered: u64,
    /// Send to arrival.
    pub(crate) latency: Percentiles,
    /// The broker's process, when it could be watched.
    pub(crate) broker: Option<BrokerUse>,
    /// The generator's threads.
    pub(crate) generator: Vec<ThreadUse>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// The broker's process over the counted time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BrokerUse {
    /// User and system time per delivered message, in nanoseconds.
    pub(crate) cpu_ns_per_message: f64,
    /// Processor time over elapsed time.
    pub(crate) cores: f64,
    /// Time ready but without a core, over elapsed time.
    pub(crate) cores_waited_for: f64,
    /// Resident memory at the end, in bytes.
    pub(crate) resident_bytes: u64,
}

/// One generator thread over the counted time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ThreadUse {
    /// Processor time over elapsed time.
    pub(crate) cores: f64,
    /// Time ready but without a core, over elapsed time.
    pub(crate) cores_waited_for: f64,
}

/// Figures of connections that do nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Connections that were ready.
    pub(crate) ready: u64,
    /// Connections lost while they were held.
    pub(crate) departed: u64,
    /// Connects per second.
    pub(crate) connects_per_s: f64,
    /// Dialling to ready.
    pub(crate) connect: Percentiles,
    /// The broker, when it could be watched.
    pub(crate) broker: Option<IdleBroker>,
    /// What a reader must know before believing the figures.
    pub(crate) notes: Vec<String>,
}

/// The broker under connections that do nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct IdleBroker {
    /// Resident memory before the first connection, with half of them, and with all, in bytes.
    pub(crate) resident_bytes: [u64; 3],
    /// User memory per connection, from none to all.
    pub(crate) bytes_per_connection: f64,
    /// User memory per connection, from half to all.
    pub(crate) bytes_per_further_connection: f64,
    /// Processor time per connect, in nanoseconds.
    pub(crate) cpu_ns_per_connect: f64,
    /// Processor time over elapsed time while nothing happened.
    pub(crate) cores_idle: f64,
}

/// A figure that can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Figure {
    /// CPU time per delivered message, in microseconds.
    CpuUs,
    /// Messages delivered per second.
    Rate,
    /// Latency: median, 99th, 99.9th percentile and largest, in microseconds.
    P50,
    P99,
    P999,
    Max,
    /// Resident memory at the end, in bytes.
    Resident,
    /// Share of a core that the broker used.
    BrokerCores,
    /// Share of a core that the busiest generator thread used.
    GeneratorCores,
    /// Share of the time that the broker waited for a core.
    BrokerWaited,
    /// Share of the time that the generator waited for a core.
    GeneratorWaited,
    /// User memory per idle connection, in bytes.
    ConnectionBytes,
    /// The same for connections after the first half.
    FurtherBytes,
    /// CPU time per connect, in microseconds.
    ConnectUs,
    /// Connects per second.
    ConnectRate,
    /// Connects that one whole core of the broker does in a second.
    ConnectsPerCore,
    /// Share of a core that the broker used while nothing happened.
    IdleCores,
}

impl Figures {
    /// The value of `figure`, if this kind of run has it.
    pub(crate) fn value(&self, figure: Figure) -> Option<f64> {
        match self {
            Self::Traffic(traffic) => traffic.value(figure),
            Self::Idle(idle) => idle.value(figure),
        }
    }

    /// What a reader must know.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Traffic(Traffic { notes, .. }) | Self::Idle(Idle { notes, .. }) => notes,
        }
    }
}

impl Traffic {
    fn value(&self, figure: Figure) -> Option<f64> {
        let most = |of: fn(&ThreadUse) -> f64| self.generator.iter().map(of).reduce(f64::max);
        match figure {
            Figure::Rate => Some(self.received_per_s),
            Figure::P50 => Some(self.latency.p50_us),
            Figure::P99 => Some(self.latency.p99_us),
            Figure::P999 => Some(self.latency.p999_us),
            Figure::Max => Some(self.latency.max_us),
            Figure::CpuUs => Some(self.broker?.cpu_ns_per_message / 1e3),
            Figure::Resident => Some(crate::number::float(self.broker?.resident_bytes)),
            Figure::BrokerCores => Some(self.broker?.cores),
            Figure::BrokerWaited => Some(self.broker?.cores_waited_for),
            Figure::GeneratorCores => most(|thread| thread.cores),
            Figure::GeneratorWaited => most(|thread| thread.cores_waited_for),
            Figure::ConnectionBytes
            | Figure::FurtherBytes
            | Figure::ConnectUs
            | Figure::ConnectRate
            | Figure::ConnectsPerCore
            | Figure::IdleCores => None,
        }
    }
}

impl Idle {
    fn value(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::P50 => Some(self.connect.p50_us),
            Figure::P99 => Some(self.connect.p99_us),
            Figure::P999 => Some(self.connect.p999_us),
            Figure::Max => Some(self.connect.max_us),
            Figure::ConnectRate => Some(self.connects_per_s),
            Figure::ConnectionBytes => Some(self.broker?.bytes_per_connection),
            Figure::FurtherBytes => Some(self.broker?.bytes_per_further_connection),
            Figure::ConnectUs => Some(self.broker?.cpu_ns_per_connect / 1e3),
            Figure::ConnectsPerCore => Some(1e9 / self.broker?.cpu_ns_per_connect.max(1.0)),
            Figure::IdleCores => Some(self.broker?.cores_idle),
            Figure::Resident => Some(crate::number::float(self.broker?.resident_bytes[2])),
            Figure::CpuUs
            | Figure::Rate
            | Figure::BrokerCores
            | Figure::GeneratorCores
            | Figure::BrokerWaited
            | Figure::GeneratorWaited => None,
        }
    }
}

/// The middle and the ends of some values.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
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
            title: load.title(),
            arguments: load.arguments(),
        };
        Self {
            machine: Machine::read(),
            broker_cpu: options.broker_cpu.clone(),
            load_cpu: options.load_cpu.clone(),
            duration_s: options.duration,
            warmup_s: options.warmup,
            rounds: options.rounds,
            loads: loads.iter().map(load_facts).collect(),
            targets: targets.iter().map(Target::facts).collect(),
            skipped,
            floors: vec![],
            measurements: vec![],
            countings: vec![],
        }
    }

    /// Runs without figures.
    pub(crate) fn failures(&self) -> usize {
        self.measurements.iter().filter(|measurement| measurement.outcome.is_err()).count()
    }

    /// The runs of one target under one load.
    pub(crate) fn runs<'a>(
        &'a self,
        load: &'a str,
        target: &'a str,
    ) -> impl Iterator<Item = &'a Measurement> + Clone {
        self.measurements.iter().filter(move |run| run.load == load && run.target == target)
    }

    /// The figures of one target under one load, by round.
    pub(crate) fn figures<'a>(
        &'a self,
        load: &'a str,
        target: &'a str,
    ) -> impl Iterator<Item = (u32, &'a Figures)> {
        self.runs(load, target).filter_map(|run| Some((run.round, run.outcome.as_ref().ok()?)))
    }

    /// What was counted for one target under one load.
    pub(crate) fn counted(&self, load: &str, target: &str) -> Option<PerMessage> {
        let counting = self.countings.iter().find(|of| of.load == load && of.target == target)?;
        counting.outcome.as_ref().ok().copied()
    }

    /// The spread of one figure of one target under one load; `None` when no run has it.
    pub(crate) fn spread(&self, load: &str, target: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.figures(load, target).filter_map(|(_, figures)| figures.value(figure)).collect())
    }

    /// `target`'s figure divided by `other`'s, round by round.
    pub(crate) fn ratio(&self, load: &str, target: &str, other: &str, figure: Figure) -> Option<Spread> {
        let divided = |(round, figures): (u32, &Figures)| {
            let (_, other) = self.figures(load, other).find(|(of_round, _)| *of_round == round)?;
            Some(figures.value(figure)? / other.value(figure)?)
        };
        Spread::of(self.figures(load, target).filter_map(divided).filter(|ratio| ratio.is_finite()).collect())
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

    /// Median, and the ends in parentheses.
    pub(crate) fn show(&self, decimals: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
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
        assert_eq!(Spread::of(vec![1.0, 2.0]).map(|spread| spread.show(1)), Some("1.5 (1.0 to 2.0)".into()));
    }

    #[test]
    fn figures_are_read_from_the_generators_own_reports() {
        let report = crate::report::RunReport { received_per_s: 7.0, lost: 3, ..Default::default() };
        let json = serde_json::to_string(&report).expect("a report is numbers and texts");
        let traffic: Traffic = serde_json::from_str(&json).expect("the names are the same");
        assert_eq!((traffic.received_per_s.to_bits(), traffic.lost), (7_f64.to_bits(), 3));
    }
}
