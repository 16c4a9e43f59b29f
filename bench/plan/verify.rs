//! Points that no cost was fitted to: predicted first, then measured.
//!
//! Why other payloads and other fan-outs at once: a model that was shown a point can always repeat
//! it, and a plan asks for points that nobody was shown.
//!
//! Invariants:
//! - The prediction is made before the measurement and never adjusted.

use serde::{Deserialize, Serialize};

use super::broker::Source;
use super::load::{Generator, Held, Pattern};
use super::memory::Memory;
use super::options::{Effort, Receivers};
use super::profile::{self, Profile};
use super::statistics::Estimate;
use crate::failure::Failure;
use crate::number::float;
use crate::progress::Progress;

/// How far a prediction may be off.
pub(crate) const GOAL: f64 = 0.1;

/// One prediction and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Check {
    /// What was predicted.
    pub(crate) what: String,
    /// Its unit.
    pub(crate) unit: String,
    /// The prediction.
    pub(crate) predicted: Estimate,
    /// The median of the measurements.
    pub(crate) measured: f64,
}

impl Check {
    /// Predicted over measured, less one.
    pub(crate) fn error(&self) -> f64 {
        self.predicted.value / self.measured - 1.0
    }

    /// Whether it is within the goal.
    pub(crate) fn is_good(&self) -> bool {
        self.error().abs() <= GOAL
    }
}

/// Patterns that the design does not have.
pub(crate) fn held_out(qos: u8, publishers: u32) -> [Pattern; 3] {
    let pattern = |fan_out, receivers, payload| Pattern { publishers, fan_out, receivers, payload, qos };
    [
        pattern(3, Receivers::Consumers, 200),
        pattern(5, Receivers::Consumers, 600),
        pattern(1, Receivers::Devices, 300),
    ]
}

/// Measures the held-out points beside their predictions.
pub(crate) fn measure(
    source: &Source,
    generator: &Generator,
    profile: &Profile,
    memory: &Memory,
    aim: &Aim,
    progress: &Progress,
) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![];
    let broker = source.start(1)?;
    for pattern in held_out(profile.qos, aim.effort.clients) {
        let predicted = profile.cost_ns(pattern.deliveries(), pattern.receivers, f64::from(pattern.payload));
        let Some(predicted) = predicted else { continue };
        let mut costs = vec![];
        let rate = profile::possible(&broker, generator, &pattern, aim.events_per_s)?;
        for round in 0..aim.effort.rounds {
            progress.show(|| format!("verify {}: run {}", pattern.words(), round + 1));
            costs.push(profile::run(&broker, generator, &pattern, rate)?.cost_ns / 1e3);
        }
        checks.extend(Estimate::of_samples(costs).map(|measured| Check {
            what: format!("CPU per message, {}", pattern.words()),
            unit: "us".into(),
            predicted: predicted.times(1e-3),
            measured: measured.value,
        }));
    }
    drop(broker);
    checks.extend(connections(source, generator, memory, &aim.effort, progress)?);
    Ok(checks)
}

/// What verification aims at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Aim {
    /// How long and how often.
    pub(crate) effort: Effort,
    /// Publishes and deliveries per second.
    pub(crate) events_per_s: f64,
}

/// The memory of a number of connections that the line was not drawn through.
fn connections(
    source: &Source,
    generator: &Generator,
    memory: &Memory,
    effort: &Effort,
    progress: &Progress,
) -> Result<Option<Check>, Failure> {
    let count = effort.connections / 4 * 3;
    progress.show(|| format!("verify: {count} connections"));
    let Some(line) = memory.subscriber.line.filter(|_| source.is_program()) else { return Ok(None) };
    let broker = source.start(1)?;
    let held =
        Held { count, is_subscribed: true, keep_alive_s: 0, settle_s: effort.settle_s, duration_s: 0.1 };
    let report = generator.hold(&broker, &held)?;
    let mebibyte = 1.0 / 1_048_576.0;
    let predicted = line.slope.times(f64::from(count)).plus(Estimate::exact(line.intercept));
    Ok(report.broker.map(|found| Check {
        what: format!("memory of {count} subscribed connections"),
        unit: "MiB".into(),
        predicted: predicted.times(mebibyte),
        measured: float(found.resident_bytes[2]) * mebibyte,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_points_are_not_in_the_design() {
        for qos in [0, 1, 2] {
            let design = profile::design(qos, 100);
            assert!(held_out(qos, 100).iter().all(|pattern| !design.contains(pattern)));
        }
    }

    #[test]
    fn a_prediction_is_good_within_a_tenth() {
        let check = |value| Check {
            what: String::new(),
            unit: String::new(),
            predicted: Estimate::exact(value),
            measured: 10.0,
        };
        assert!(
            check(10.9).is_good() && check(9.1).is_good() && !check(11.2).is_good() && !check(8.8).is_good()
        );
        assert!((check(12.0).error() - 0.2).abs() < 1e-12);
    }
}
