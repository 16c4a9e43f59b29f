//! The Universal Scalability Law across cores, and what so few cores can say about it.
//!
//! X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)): `lambda` is what one core does alone, `sigma` the share of
//! work that queues behind others, `kappa` the work that every pair of cores makes for each other.
//!
//! Why no search: N / X is linear in 1/lambda, sigma/lambda and kappa/lambda, so non-negative least squares finds the
//! best curve exactly. Why so much about ignorance: two core counts cannot tell sigma from kappa, and at 64 cores the
//! two differ by a factor of twenty. What is not determined is carried along as the two ends of what it could be.
//!
//! Invariants:
//! - No figure for more cores than measured comes without an interval, and beyond twice as many none comes without the
//!   word extrapolation.
//! - Measurements that the law cannot describe are refused, not smoothed.
//!
//! Source: N. J. Gunther, Guerrilla Capacity Planning, chapters 4 to 6.

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, Fit, Observation, Unknown};

/// Below this share of explained variance the curve is not a description of the measurements.
const EXPLAINED_MIN: f64 = 0.9;
/// Beyond this multiple of the most cores measured, a figure is an extrapolation, not a reading of the curve.
const REACH: f64 = 2.0;
const RESAMPLES: usize = 400;
const SEED: u64 = 64;

/// Throughput with so many cores.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Scaling {
    /// Cores.
    pub(crate) cores: f64,
    /// Messages per second, or anything proportional to it.
    pub(crate) throughput: f64,
}

/// The law with its parameters.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Law {
    /// Throughput of one core.
    pub(crate) lambda: f64,
    /// Contention, as a share.
    pub(crate) sigma: f64,
    /// Coherency, per pair of cores.
    pub(crate) kappa: f64,
}

/// What the measurements determine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "known")]
pub(crate) enum Scalability {
    /// All three parameters.
    Fitted {
        /// The best law.
        law: Law,
        /// Contention.
        sigma: Estimate,
        /// Coherency.
        kappa: Estimate,
        /// Throughput of one core.
        lambda: Estimate,
        /// Share of the variance that it explains.
        explained: f64,
        /// Laws that the measurements would have given with other luck.
        #[serde(skip)]
        resamples: Vec<Law>,
    },
    /// Two core counts: lambda, and one number that sigma and kappa share.
    Bounded {
        /// All of the loss is contention: the slower end for few cores, the faster for many.
        contention: Law,
        /// All of the loss is coherency.
        coherency: Law,
    },
    /// One core count: lambda alone.
    Linear {
        /// Throughput of one core, if every core is like the ones measured.
        lambda: f64,
    },
    /// The law does not describe the measurements.
    Refused {
        /// Why.
        why: String,
    },
}

/// Throughput at a number of cores.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// With its interval, which may be a whole range of laws.
    pub(crate) throughput: Estimate,
    /// How far the reading is from what was measured.
    pub(crate) basis: Basis,
}

impl Basis {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Computed => "computed",
            Self::Model => "read off the model",
            Self::Extrapolated => "EXTRAPOLATED",
        }
    }
}

/// What a figure rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Basis {
    /// Within what was measured.
    Measured,
    /// Follows from sizes alone.
    Computed,
    /// A little beyond: read off the curve.
    Model,
    /// Far beyond, or along an axis that was not measured at all.
    Extrapolated,
}

impl Law {
    /// Throughput with `cores`.
    pub(crate) fn at(&self, cores: f64) -> f64 {
        let loss = self.sigma * (cores - 1.0) + self.kappa * cores * (cores - 1.0);
        self.lambda * cores / (1.0 + loss)
    }

    /// The number of cores with the most throughput; infinite without coherency loss.
    pub(crate) fn peak(&self) -> f64 {
        if self.kappa > 0.0 {
            ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0)
        } else {
            f64::INFINITY
        }
    }

    fn of(points: &[Scaling]) -> Result<(Self, f64), Unknown> {
        let observe = |point: &Scaling| Observation {
            amounts: vec![1.0, point.cores - 1.0, point.cores * (point.cores - 1.0)],
            cost: point.cores / point.throughput,
        };
        let fit = Fit::of(&points.iter().map(observe).collect::<Vec<_>>())?;
        let [one, contention, coherency] = [0, 1, 2].map(|place| fit.coefficient(place).value);
        if one <= 0.0 {
            return Err(Unknown::Confounded);
        }
        Ok((Self { lambda: 1.0 / one, sigma: contention / one, kappa: coherency / one }, one))
    }
}

impl Scalability {
    /// What `points` determine; several points of one core count are repeats.
    pub(crate) fn of(points: &[Scaling]) -> Self {
        if points.iter().any(|point| point.cores < 1.0 || point.throughput <= 0.0) {
            return Self::Refused { why: "a measurement is not a positive number".into() };
        }
        let means = means(points);
        match means[..] {
            [] => Self::Refused { why: "nothing was measured".into() },
            [one] => Self::Linear { lambda: one.throughput / one.cores },
            [few, many] => bounded(few, many),
            _ => fitted(points, &means),
        }
    }

    /// Throughput with `cores`; `None` when the law was refused.
    pub(crate) fn at(&self, cores: f64, measured_max: f64) -> Option<Reading> {
        let basis = match cores {
            _ if cores <= measured_max => Basis::Measured,
            _ if cores <= measured_max * REACH && matches!(self, Self::Fitted { .. }) => Basis::Model,
            _ => Basis::Extrapolated, // So far away the interval itself is a guess of the model.
        };
        let throughput = match self {
            Self::Fitted { law, resamples, .. } => {
                let spread = Estimate::of_samples(resamples.iter().map(|law| law.at(cores)).collect())?;
                let value = law.at(cores);
                Estimate { value, low: spread.low.min(value), high: spread.high.max(value) }
            }
            Self::Bounded { contention, coherency } => {
                let (one, other) = (contention.at(cores), coherency.at(cores));
                Estimate { value: f64::midpoint(one, other), low: one.min(other), high: one.max(other) }
            }
            // Nothing is known about loss, so everything from no gain at all to a full core more is possible.
            Self::Linear { lambda } => Estimate {
                value: lambda * cores,
                low: lambda * cores.min(measured_max),
                high: lambda * cores,
            },
            Self::Refused { .. } => return None,
        };
        Some(Reading { throughput, basis })
    }

    /// In words, for people.
    pub(crate) fn verdict(&self) -> String {
        match self {
            Self::Fitted { sigma, kappa, explained, law, .. } => {
                let peak = law.peak();
                let peak =
                    if peak.is_finite() { format!("most at {peak:.0} cores") } else { "no peak".to_owned() };
                format!(
                    "sigma {:.4} ({:.4} to {:.4}), kappa {:.6} ({:.6} to {:.6}), {peak}; R2 {explained:.3}",
                    sigma.value, sigma.low, sigma.high, kappa.value, kappa.low, kappa.high
                )
            }
            Self::Bounded { contention, coherency } => format!(
                "two core counts determine only the sum of both losses: sigma is 0 to {:.4}, kappa 0 to {:.4}, and \
                 which of them cannot be known without a third core count",
                contention.sigma, coherency.kappa
            ),
            Self::Linear { .. } => {
                "one core count says nothing about sigma and kappa: they are unknown".to_owned()
            }
            Self::Refused { why } => format!("no law: {why}"),
        }
    }
}

/// The mean of the repeats of each core count, in rising order.
fn means(points: &[Scaling]) -> Vec<Scaling> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|one, other| one.cores.total_cmp(&other.cores));
    let groups = sorted.chunk_by(|one, other| (one.cores - other.cores).abs() < 1e-9);
    let mean = |group: &[Scaling]| {
        let sum: f64 = group.iter().map(|point| point.throughput).sum();
        Scaling {
            cores: group[0].cores,
            throughput: sum / crate::number::float(crate::number::wide(group.len())),
        }
    };
    groups.map(mean).collect()
}

fn bounded(few: Scaling, many: Scaling) -> Scalability {
    // With both ends taken as exact, each loss alone explains what the other cores did not add.
    let alone = |weight: fn(f64) -> f64| {
        let (a, b) = (few.cores / few.throughput, many.cores / many.throughput);
        let (from, to) = (weight(few.cores), weight(many.cores));
        let step = ((b - a) / (to - from)).max(0.0);
        let one = (a - step * from).max(f64::MIN_POSITIVE);
        (1.0 / one, step / one)
    };
    let (lambda, sigma) = alone(|cores| cores - 1.0);
    let contention = Law { lambda, sigma, kappa: 0.0 };
    let (lambda, kappa) = alone(|cores| cores * (cores - 1.0));
    Scalability::Bounded { contention, coherency: Law { lambda, sigma: 0.0, kappa } }
}

fn fitted(points: &[Scaling], means: &[Scaling]) -> Scalability {
    let law = match Law::of(points) {
        Ok((law, _)) => law,
        Err(unknown) => return Scalability::Refused { why: unknown.to_string() },
    };
    let explained = explained(&law, points);
    if explained < EXPLAINED_MIN {
        let why = format!(
            "it explains {:.0} % of the variance, less than {:.0} %",
            explained * 100.0,
            EXPLAINED_MIN * 100.0
        );
        return Scalability::Refused { why };
    }
    if turns(means) > 1 {
        return Scalability::Refused { why: "throughput falls and rises again with more cores".into() };
    }
    let resamples = resample(&law, points);
    let of = |part: fn(&Law) -> f64| {
        let spread = Estimate::of_samples(resamples.iter().map(part).collect());
        let value = part(&law);
        spread.map_or(Estimate::exact(value), |spread| Estimate {
            value,
            low: spread.low.min(value),
            high: spread.high.max(value),
        })
    };
    Scalability::Fitted {
        sigma: of(|law| law.sigma),
        kappa: of(|law| law.kappa),
        lambda: of(|law| law.lambda),
        law,
        explained,
        resamples,
    }
}

fn explained(law: &Law, points: &[Scaling]) -> f64 {
    let count = crate::number::float(crate::number::wide(points.len()));
    let mean = points.iter().map(|point| point.throughput).sum::<f64>() / count;
    let left: f64 = points.iter().map(|point| (point.throughput - law.at(point.cores)).powi(2)).sum();
    let all: f64 = points.iter().map(|point| (point.throughput - mean).powi(2)).sum();
    if all > 0.0 { 1.0 - left / all } else { 1.0 }
}

/// How often throughput changes from rising to falling or back by more than a tenth; the law does so once.
fn turns(means: &[Scaling]) -> usize {
    let steps = means.windows(2).map(|pair| pair[1].throughput / pair[0].throughput);
    let directions: Vec<bool> =
        steps.filter(|step| !(0.9..=1.1).contains(step)).map(|step| step > 1.0).collect();
    directions.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Laws fitted to the curve with its own residuals dealt out again at random, always from the same seed.
fn resample(law: &Law, points: &[Scaling]) -> Vec<Law> {
    let count = crate::number::float(crate::number::wide(points.len()));
    // Residuals of a fit are too small by the freedom that the three parameters took.
    let widen = if count > 3.0 { (count / (count - 3.0)).sqrt() } else { 1.0 };
    let residuals: Vec<f64> =
        points.iter().map(|point| (point.throughput / law.at(point.cores) - 1.0) * widen).collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let deal = |_| {
        let again = points.iter().map(|point| {
            let residual = residuals[random.usize(..residuals.len())];
            Scaling { cores: point.cores, throughput: law.at(point.cores) * (1.0 + residual).max(0.01) }
        });
        Law::of(&again.collect::<Vec<_>>()).ok().map(|(law, _)| law)
    };
    (0..RESAMPLES).filter_map(deal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Law = Law { lambda: 294_000.0, sigma: 0.02, kappa: 5e-4 };

    fn measure(law: &Law, cores: &[f64], noise: f64, random: &mut fastrand::Rng) -> Vec<Scaling> {
        let one = |&cores: &f64| {
            let factor = 1.0 + noise * (random.f64() * 2.0 - 1.0);
            Scaling { cores, throughput: law.at(cores) * factor }
        };
        cores.iter().map(one).collect()
    }

    #[test]
    fn known_parameters_are_recovered() {
        let points = measure(&TRUTH, &[1.0, 2.0, 4.0, 8.0, 16.0], 0.0, &mut fastrand::Rng::with_seed(1));
        let Scalability::Fitted { law, explained, .. } = Scalability::of(&points) else {
            panic!("a lawful curve")
        };
        assert!((law.lambda / TRUTH.lambda - 1.0).abs() < 1e-6, "{law:?}");
        assert!(
            (law.sigma / TRUTH.sigma - 1.0).abs() < 1e-6 && (law.kappa / TRUTH.kappa - 1.0).abs() < 1e-6,
            "{law:?}"
        );
        assert!(explained > 0.999_999);
        assert!((law.peak() - (0.98_f64 / 5e-4).sqrt()).abs() < 1e-3);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(11);
        let held = (0..100).filter(|_| {
            let points = measure(&TRUTH, &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0], 0.04, &mut random);
            let reading = Scalability::of(&points).at(16.0, 8.0).expect("a lawful curve");
            assert_eq!(reading.basis, Basis::Model);
            (reading.throughput.low..=reading.throughput.high).contains(&TRUTH.at(16.0))
        });
        let held = held.count();
        assert!((78..=100).contains(&held), "{held} of 100 intervals at 90 % held the truth");
    }

    #[test]
    fn two_core_counts_bound_both_parameters_and_determine_neither() {
        let points = measure(&TRUTH, &[1.0, 2.0], 0.0, &mut fastrand::Rng::with_seed(1));
        let bounded = Scalability::of(&points);
        let Scalability::Bounded { contention, coherency } = &bounded else { panic!("{bounded:?}") };
        // Either loss alone explains both points.
        for law in [contention, coherency] {
            assert!((law.at(2.0) / TRUTH.at(2.0) - 1.0).abs() < 1e-9, "{law:?}");
        }
        assert!((contention.sigma - 0.021).abs() < 1e-9 && (coherency.kappa - 0.0105).abs() < 1e-9);
        let reading = bounded.at(64.0, 2.0).expect("bounds");
        assert_eq!(reading.basis, Basis::Extrapolated);
        assert!((reading.throughput.low..=reading.throughput.high).contains(&TRUTH.at(64.0)));
        assert!(reading.throughput.high / reading.throughput.low > 5.0, "64 from 2 is next to nothing");
        assert!(bounded.verdict().contains("cannot be known"));
    }

    #[test]
    fn one_core_count_knows_no_loss_and_reaches_nowhere() {
        let linear = Scalability::of(&[
            Scaling { cores: 1.0, throughput: 100.0 },
            Scaling { cores: 1.0, throughput: 120.0 },
        ]);
        assert_eq!(linear, Scalability::Linear { lambda: 110.0 });
        let reading = linear.at(4.0, 1.0).expect("a bound");
        assert_eq!((reading.throughput.low, reading.throughput.high), (110.0, 440.0));
        assert_eq!(reading.basis, Basis::Extrapolated);
        assert_eq!(linear.at(1.0, 1.0).map(|reading| reading.basis), Some(Basis::Measured));
        assert!(linear.verdict().contains("unknown"));
    }

    #[test]
    fn curves_that_no_law_describes_are_refused() {
        // Throughput of a cache with one lock, over 2 to 20 cores: a peak, a trough, and another rise.
        let stock = [(2.0, 321.0), (4.0, 560.0), (8.0, 741.0), (14.0, 440.0), (20.0, 1_130.0)];
        let points = stock.map(|(cores, throughput)| Scaling { cores, throughput });
        let refused = Scalability::of(&points);
        assert!(matches!(refused, Scalability::Refused { .. }), "{refused:?}");
        assert_eq!(refused.at(4.0, 20.0), None);
        assert!(matches!(Scalability::of(&[]), Scalability::Refused { .. }));
        let nonsense = [Scaling { cores: 1.0, throughput: 0.0 }];
        assert!(matches!(Scalability::of(&nonsense), Scalability::Refused { .. }));
    }

    #[test]
    fn more_than_linear_is_no_gain_in_the_bounds() {
        let points = [Scaling { cores: 1.0, throughput: 100.0 }, Scaling { cores: 2.0, throughput: 210.0 }];
        let Scalability::Bounded { contention, coherency } = Scalability::of(&points) else {
            panic!("two counts")
        };
        assert!(contention.sigma.abs() < 1e-12 && coherency.kappa.abs() < 1e-12);
    }
}
