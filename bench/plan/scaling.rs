//! The same load on more and more cores.
//!
//! Why capacity and not throughput: with one generator for many cores the throughput that is reached is the
//! generator's. By the utilisation law a core that spends D on a message can handle 1/D of them, so N cores can handle
//! N/D; D is measured at one utilisation per core, and work that cores make for each other shows in it. Waiting does not
//! show in it, so a broker with locks would look better than it is; the report says so.
//!
//! Invariants:
//! - All core counts carry the same load per core.
//! - Whether the generator had a processor to itself at the largest count is kept.

use serde::Serialize;

use super::broker::Source;
use super::load::{Generator, Pattern};
use super::profile::{self, Experiment};
use super::usl::{Scalability, Scaling};
use crate::failure::Failure;
use crate::progress::Progress;

/// Utilisation of each core while the broker shares processors with the generator.
const SHARED_UTILISATION: f64 = 0.3;

/// What was measured across cores, and the law.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Across {
    /// The load.
    pub(crate) pattern: Pattern,
    /// Capacity at each core count; repeats stand beside each other.
    pub(crate) points: Vec<Scaling>,
    /// The runs.
    pub(crate) runs: Vec<Experiment>,
    /// What they determine.
    pub(crate) law: Scalability,
    /// Whether broker and generator shared a processor at the largest count.
    pub(crate) is_shared: bool,
}

impl Across {
    /// The most cores that were measured.
    pub(crate) fn most(&self) -> f64 {
        self.points.iter().map(|point| point.cores).fold(1.0, f64::max)
    }

    /// Core-equivalents of a machine with `cores`: capacity over that of one core.
    pub(crate) fn equivalents(&self, cores: f64) -> Option<super::usl::Reading> {
        let one = self.law.at(1.0, self.most())?.throughput.value;
        let reading = self.law.at(cores, self.most())?;
        Some(super::usl::Reading { throughput: reading.throughput.times(1.0 / one), ..reading })
    }
}

/// Measures `pattern` on each of `counts` cores, `rounds` times in turns.
pub(crate) fn measure(
    source: &Source,
    generator: &Generator,
    pattern: &Pattern,
    plan: &Counts,
    progress: &Progress,
) -> Result<Across, Failure> {
    let (mut points, mut runs) = (vec![], vec![]);
    // What the generator can do for each core of the largest count is what every count gets: a core that is less busy
    // pays more per message, and that would look like a loss between cores.
    let most = plan.counts.iter().copied().max().unwrap_or(1);
    let wanted = SHARED_UTILISATION * count_of(most);
    let rate_per_core = profile::pilot(&source.start(most)?, generator, pattern, wanted)? / count_of(most);
    for round in 0..plan.rounds {
        for &count in &plan.counts {
            progress.show(|| format!("{count} cores: run {} of {}", round + 1, plan.rounds));
            let cores = count_of(count);
            let run = profile::run(&source.start(count)?, generator, pattern, rate_per_core * cores)?;
            points.push(Scaling { cores, throughput: cores / run.cost_ns * 1e9 });
            runs.push(run);
        }
    }
    let law = Scalability::of(&points);
    Ok(Across { pattern: *pattern, points, runs, law, is_shared: plan.is_shared })
}

fn count_of(cores: usize) -> f64 {
    crate::number::float(crate::number::wide(cores))
}

/// Core counts to measure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    /// The counts, rising.
    pub(crate) counts: Vec<usize>,
    /// Runs of each.
    pub(crate) rounds: u32,
    /// Whether the largest count leaves the generator without a processor to itself.
    pub(crate) is_shared: bool,
}

/// 1, 2, 4, ... and `most` itself.
pub(crate) fn doubling(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|&count| count < most).collect();
    counts.push(most.max(1));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::coat::Coat;
    use crate::plan::options::Receivers;

    #[test]
    fn core_counts_double_up_to_the_last() {
        assert_eq!(doubling(1), [1]);
        assert_eq!(doubling(2), [1, 2]);
        assert_eq!(doubling(6), [1, 2, 4, 6]);
    }

    #[test]
    fn a_machine_is_worth_as_many_cores_as_it_can_carry() {
        let points = [1.0, 2.0]
            .map(|cores: f64| Scaling { cores, throughput: 100.0 * cores / (1.0 + 0.1 * (cores - 1.0)) });
        let law = Scalability::of(&points);
        let pattern = Pattern {
            publishers: 1,
            fan_out: 1,
            receivers: Receivers::Devices,
            payload: 16,
            qos: 0,
            coat: Coat::Plain,
        };
        let across = Across { pattern, points: points.to_vec(), runs: vec![], law, is_shared: true };
        let two = across.equivalents(2.0).expect("bounds");
        assert!((two.throughput.value - 2.0 / 1.1).abs() < 1e-9, "{two:?}");
        assert!((across.most() - 2.0).abs() < f64::EPSILON);
    }
}
