//! The experiments of one QoS, in rounds.
//!
//! Why in rounds, each with a fresh broker and an order of its own: the same load costs a tenth more or less from start to
//! start and from minute to minute. What is measured in turns meets the same weather, with and without TLS, fitted and
//! held out; several brokers average out what belongs to one of them. Why one rate of events for all: a broker pays more
//! per event the fewer there are, and where the generator could not make the rate for one pattern, that pattern alone
//! would look dear.
//!
//! Invariants:
//! - All experiments of a campaign have the same rate of events, publishes and deliveries together.
//! - The order of a round follows from its number.

use super::broker::{Broker, Source};
use super::load::{Generator, Pattern};
use super::profile::{self, Experiment, GENERATOR_MAX, PAYLOADS};
use crate::failure::Failure;
use crate::progress::Progress;

/// What the experiments aim at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Aim {
    /// Publishes and deliveries per second.
    pub(crate) events_per_s: f64,
    /// Runs of each experiment.
    pub(crate) rounds: u32,
}

/// Measures `patterns` as often as `aim` says.
pub(crate) fn measure(
    source: &Source,
    generator: &Generator,
    patterns: &[Pattern],
    aim: &Aim,
    progress: &Progress,
) -> Result<Vec<Experiment>, Failure> {
    let events_per_s = possible(&source.start(1)?, generator, patterns, aim.events_per_s, progress)?;
    let mut experiments = vec![];
    for round in 0..aim.rounds {
        let broker = source.start(1)?;
        for pattern in in_turn(patterns, round) {
            progress.show(|| format!("cost of {}: round {} of {}", pattern.words(), round + 1, aim.rounds));
            let rate = rate_of(&pattern, events_per_s);
            experiments.push(profile::run(&broker, generator, &pattern, rate)?);
        }
    }
    Ok(experiments)
}

/// The most events per second, up to `wanted`, that the generator can make with each of `patterns`.
fn possible(
    broker: &Broker,
    generator: &Generator,
    patterns: &[Pattern],
    wanted: f64,
    progress: &Progress,
) -> Result<f64, Failure> {
    let short = Generator { duration_s: (generator.duration_s / 2.0).max(0.2), ..generator.clone() };
    let mut least = wanted;
    // What is hard for the generator is as hard with the largest payload.
    for pattern in patterns.iter().filter(|pattern| pattern.payload >= PAYLOADS[1]) {
        progress.show(|| format!("what the generator can do: {}", pattern.words()));
        let one = profile::run(broker, &short, pattern, rate_of(pattern, wanted))?;
        least = least.min(reachable(&one));
    }
    Ok(least)
}

/// Events per second at which the generator would not be at its end, as far as one run says.
fn reachable(one: &Experiment) -> f64 {
    one.events_per_s() * (GENERATOR_MAX / one.generator_cores.max(0.01)).min(1.0)
}

/// Messages per second that make so many events.
fn rate_of(pattern: &Pattern, events_per_s: f64) -> f64 {
    events_per_s / (1.0 + pattern.deliveries())
}

/// `patterns` in an order of the round's own.
fn in_turn(patterns: &[Pattern], round: u32) -> Vec<Pattern> {
    let mut patterns = patterns.to_vec();
    fastrand::Rng::with_seed(u64::from(round)).shuffle(&mut patterns);
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::coat::Coat;
    use crate::plan::limits::tests::experiment;

    #[test]
    fn every_round_has_all_patterns_in_another_order() {
        let patterns = profile::design(1, 100, Coat::Plain);
        let [first, again, second] = [0, 0, 1].map(|round| in_turn(&patterns, round));
        assert_eq!(first, again, "a round can be repeated");
        assert_ne!(first, second);
        assert!(patterns.iter().all(|pattern| first.contains(pattern) && second.contains(pattern)));
    }

    #[test]
    fn a_tired_generator_lowers_the_rate_for_everybody() {
        let one = |generator_cores| {
            let whole = experiment(profile::design(0, 100, Coat::Plain)[0]);
            reachable(&Experiment { rate: 1e4, generator_cores, ..whole })
        };
        assert!((one(0.5) - 2e4).abs() < 1e-6, "one delivery each: {}", one(0.5));
        assert!((one(1.0) - 1.7e4).abs() < 1e-6, "{}", one(1.0));
    }
}
