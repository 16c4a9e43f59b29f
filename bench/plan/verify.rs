//! Points that no cost was fitted to: predicted first, then measured.
//!
//! Why other payloads and other fan-outs at once: a model that was shown a point can always repeat
//! it, and a plan asks for points that nobody was shown.
//!
//! Why in the same rounds as the experiments: a later broker on a machine that has drifted would be charged to the model.
//!
//! Invariants:
//! - A prediction rests on the designed experiments alone; no cost is fitted to a held-out point.

use serde::{Deserialize, Serialize};

use super::broker::Source;
use super::coat::Coat;
use super::load::{Generator, Held, Pattern};
use super::memory::Memory;
use super::options::{Effort, Receivers};
use super::profile::{Experiment, Profile};
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
    /// The mean of the measurements.
    pub(crate) measured: Estimate,
}

impl Check {
    /// Predicted over measured, less one.
    pub(crate) fn error(&self) -> f64 {
        self.predicted.value / self.measured.value - 1.0
    }

    /// Whether it is within the goal.
    pub(crate) fn is_good(&self) -> bool {
        self.error().abs() <= GOAL
    }
}

/// Patterns that the design does not have.
pub(crate) fn held_out(qos: u8, publishers: u32, coat: Coat) -> Vec<Pattern> {
    let pattern =
        |fan_out, receivers, payload| Pattern { publishers, fan_out, receivers, payload, qos, coat };
    let mut patterns = vec![pattern(3, Receivers::Consumers, 200), pattern(1, Receivers::Devices, 300)];
    if coat == Coat::Plain {
        patterns.insert(1, pattern(5, Receivers::Consumers, 600));
    }
    patterns
}

/// What `profiles` predict for those of `experiments` that are held out, beside what was measured.
pub(crate) fn costs(profiles: &[Profile], experiments: &[Experiment]) -> Vec<Check> {
    let of_profile = |profile: &Profile| {
        let publishers = profile.experiments.first().map_or(0, |one| one.pattern.publishers);
        held_out(profile.qos, publishers, profile.coat)
            .into_iter()
            .filter_map(|pattern| {
                let predicted =
                    profile.cost_ns(pattern.deliveries(), pattern.receivers, f64::from(pattern.payload))?;
                let runs = experiments.iter().filter(|one| one.pattern == pattern);
                let costs: Vec<f64> = runs.map(|one| one.cost_ns / 1e3).collect();
                Some(Check {
                    what: format!("CPU per message, {}", pattern.words()),
                    unit: "us".into(),
                    predicted: predicted.times(1e-3),
                    measured: Estimate::of_repeats(&costs)?,
                })
            })
            .collect::<Vec<_>>()
    };
    profiles.iter().flat_map(of_profile).collect()
}

/// The memory of a number of connections that no line was drawn through, beside what the lines predict.
pub(crate) fn connections(
    source: &Source,
    generator: &Generator,
    memory: &Memory,
    effort: &Effort,
    progress: &Progress,
) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![];
    let kinds = [(Some(&memory.subscriber), Coat::Plain), (memory.sealed.as_ref(), Coat::Tls)];
    for (kept, coat) in kinds {
        let Some(line) = kept.and_then(|kept| kept.line).filter(|_| source.is_program()) else { continue };
        let count = effort.connections / 4 * 3;
        progress.show(|| format!("verify: {count} connections{}", coat.words()));
        let broker = source.start(1)?;
        let settle_s = effort.settle_s;
        let held = Held { count, is_subscribed: true, coat, keep_alive_s: 0, settle_s, duration_s: 0.1 };
        let report = generator.hold(&broker, &held)?;
        let mebibyte = 1.0 / 1_048_576.0;
        let predicted = line.slope.times(f64::from(count)).plus(Estimate::exact(line.intercept));
        checks.extend(report.broker.map(|found| Check {
            what: format!("memory of {count} subscribed connections{}", coat.words()),
            unit: "MiB".into(),
            predicted: predicted.times(mebibyte),
            measured: Estimate::exact(float(found.resident_bytes[2]) * mebibyte),
        }));
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::limits::tests::experiment;
    use crate::plan::profile::design;

    #[test]
    fn held_out_points_are_not_in_the_design() {
        for (qos, coat) in [0, 1, 2].into_iter().flat_map(|qos| [(qos, Coat::Plain), (qos, Coat::Tls)]) {
            let design = design(qos, 100, coat);
            let held_out = held_out(qos, 100, coat);
            assert!(held_out.iter().all(|pattern| !design.contains(pattern) && pattern.coat == coat));
            assert!(held_out.len() >= 2);
        }
    }

    #[test]
    fn a_prediction_is_made_from_the_profile_of_its_own_coat() {
        let dearer = |coat, factor: f64| {
            let run =
                |pattern| Experiment { cost_ns: experiment(pattern).cost_ns * factor, ..experiment(pattern) };
            let all = design(1, 100, coat).into_iter().chain(held_out(1, 100, coat)).map(run);
            let (fitted, held): (Vec<_>, Vec<_>) =
                all.partition(|one| design(1, 100, coat).contains(&one.pattern));
            (Profile::of(1, coat, fitted), held)
        };
        let ((plain, open), (sealed, wrapped)) = (dearer(Coat::Plain, 1.0), dearer(Coat::Tls, 2.0));
        let checks = costs(&[plain, sealed], &[open, wrapped].concat());
        assert_eq!(checks.len(), 5, "{checks:?}");
        assert!(checks.iter().all(|check| check.error().abs() < 1e-6), "{checks:?}");
        assert!(
            (checks[0].measured.value - 4.0).abs() < 1e-6 && (checks[3].measured.value - 8.0).abs() < 1e-6
        );
        assert!(checks[3].what.ends_with(", over TLS"), "{checks:?}");
    }

    #[test]
    fn a_prediction_is_good_within_a_tenth() {
        let check = |value| Check {
            what: String::new(),
            unit: String::new(),
            predicted: Estimate::exact(value),
            measured: Estimate::exact(10.0),
        };
        assert!(
            check(10.9).is_good() && check(9.1).is_good() && !check(11.2).is_good() && !check(8.8).is_good()
        );
        assert!((check(12.0).error() - 0.2).abs() < 1e-12);
    }
}
