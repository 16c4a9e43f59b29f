//! Least squares with honest intervals.
//!
//! Why relative errors: a run that costs 20 us per message and one that costs 0.3 us are both off by a few per cent, so
//! each observation counts by its share, not by its size. Why the share of what the fit says and not of the observation: one
//! that came out low by chance would count for more than one that came out high, and every fit would lie too low.
//!
//! Invariants:
//! - Coefficients are amounts of something and never below zero.
//! - What the observations cannot tell apart is said to be unknown, never guessed.
//! - An interval without a single observation to spare does not exist; it is not zero.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Share of cases in which an interval shall hold the truth.
pub(crate) const CONFIDENCE: f64 = 0.9;

/// How often the shares are taken anew; they change little after the second time.
const REWEIGHTED: u32 = 4;

/// Singular values below this share of the largest one mean that a direction was not observed.
const RANK_SHARE: f64 = 1e-7;

/// A figure and how far it may be off, at [`CONFIDENCE`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// The figure.
    pub(crate) value: f64,
    /// Lower end; not above the figure.
    pub(crate) low: f64,
    /// Upper end; not below the figure.
    pub(crate) high: f64,
}

impl Estimate {
    /// A figure without an interval.
    pub(crate) fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// The same in another unit, or of so many.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }

    /// The sum of two independent figures.
    pub(crate) fn plus(self, other: Self) -> Self {
        let value = self.value + other.value;
        Self {
            value,
            low: value - (self.value - self.low).hypot(other.value - other.low),
            high: value + (self.high - self.value).hypot(other.high - other.value),
        }
    }

    /// What is left of `value`, at least nothing, when this cannot be negative.
    pub(crate) fn at_least(self, floor: f64) -> Self {
        Self { value: self.value.max(floor), low: self.low.max(floor), high: self.high.max(floor) }
    }

    /// Median and the ends of the middle [`CONFIDENCE`] of `values`; `None` for none.
    pub(crate) fn of_samples(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let [low, value, high] = [tail, 0.5, 1.0 - tail].map(|share| quantile(&values, share));
        Some(Self { value: value?, low: low?, high: high? })
    }

    /// The mean of repeated measurements and the interval of the mean; `None` for none.
    pub(crate) fn of_repeats(values: &[f64]) -> Option<Self> {
        let count = float(values.len());
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < 2 {
            return values.first().map(|&value| Self::exact(value));
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let half = t_quantile(count - 1.0) * (squares / (count - 1.0) / count).sqrt();
        Some(Self { value: mean, low: mean - half, high: mean + half })
    }
}

/// The value below which `share` of the sorted `values` lie, between neighbours in proportion.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let at = share * float(last);
    let below = values.iter().enumerate().rev().find(|(place, _)| float(*place) <= at)?;
    let above = values.get(below.0 + 1).unwrap_or(below.1);
    Some(below.1 + (above - below.1) * (at - float(below.0)))
}

/// One observation: what there was of everything, and what it cost together.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Observation {
    /// The amounts, one for each coefficient.
    pub(crate) amounts: Vec<f64>,
    /// The cost; above zero.
    pub(crate) cost: f64,
}

/// What the observations say about the cost of one of each.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fit {
    coefficients: DVector<f64>,
    /// Covariance of the coefficients; `None` without an observation to spare.
    covariance: Option<DMatrix<f64>>,
    freedom: f64,
    /// Share of the variance in relative cost that the fit explains.
    pub(crate) explained: f64,
    /// Typical relative distance between an observation and the fit.
    pub(crate) residual: f64,
}

/// Why there is no fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// Fewer observations than coefficients.
    #[error("there are fewer observations than unknowns")]
    TooFew,
    /// The amounts never changed independently of each other.
    #[error("the amounts never changed independently of each other")]
    Confounded,
    /// Some cost or amount is not a positive number.
    #[error("an observation is not a positive number")]
    Nonsense,
}

impl Fit {
    /// Fits non-negative coefficients to `observations`, all of one length.
    pub(crate) fn of(observations: &[Observation]) -> Result<Self, Unknown> {
        let width = observations.first().map_or(0, |observation| observation.amounts.len());
        if width == 0 || observations.len() < width {
            return Err(Unknown::TooFew);
        }
        let sound = |value: &f64| value.is_finite() && *value >= 0.0;
        if observations
            .iter()
            .any(|one| one.cost <= 0.0 || !one.cost.is_finite() || !one.amounts.iter().all(sound))
        {
            return Err(Unknown::Nonsense);
        }
        let rows = observations.len();
        let amounts = DMatrix::from_fn(rows, width, |row, column| observations[row].amounts[column]);
        let costs = DVector::from_fn(rows, |row, _| observations[row].cost);
        let mut scales = costs.clone();
        let shares = |scales: &DVector<f64>| {
            let design = DMatrix::from_fn(rows, width, |row, column| amounts[(row, column)] / scales[row]);
            (design, costs.component_div(scales))
        };
        if !is_of_full_rank(&shares(&scales).0) {
            return Err(Unknown::Confounded);
        }
        for _ in 0..REWEIGHTED {
            let (design, target) = shares(&scales);
            let fitted = &amounts * non_negative(&design, &target).0;
            // Where the fit says nothing, the observation is the only measure.
            scales =
                DVector::from_fn(rows, |row, _| if fitted[row] > 0.0 { fitted[row] } else { costs[row] });
        }
        let (design, target) = shares(&scales);
        let (coefficients, active) = non_negative(&design, &target);
        let residuals = target - &design * &coefficients;
        let squares = residuals.norm_squared();
        let freedom = float(rows) - float(active.len());
        let covariance = (freedom > 0.0).then(|| {
            let normal = design.transpose() * &design;
            normal.try_inverse().map(|inverse| inverse * (squares / freedom))
        });
        let mean = observations.iter().map(|one| one.cost).sum::<f64>() / float(rows);
        let spread: f64 =
            costs.iter().zip(&scales).map(|(cost, scale)| ((cost - mean) / scale).powi(2)).sum();
        Ok(Self {
            coefficients,
            covariance: covariance.flatten(),
            freedom,
            explained: if spread > 0.0 { 1.0 - squares / spread } else { 1.0 },
            residual: (squares / float(rows)).sqrt(),
        })
    }

    /// The cost of `amounts` together, with the interval of the fitted mean; without observations to spare the
    /// interval is the figure itself, and [`Fit::has_interval`] is false.
    pub(crate) fn predict(&self, amounts: &[f64]) -> Estimate {
        let amounts = DVector::from_column_slice(amounts);
        let value = amounts.dot(&self.coefficients);
        let variance =
            self.covariance.as_ref().map_or(0.0, |covariance| (covariance * &amounts).dot(&amounts));
        let half = if variance > 0.0 { t_quantile(self.freedom) * variance.sqrt() } else { 0.0 };
        Estimate { value, low: (value - half).max(0.0), high: value + half }
    }

    /// The coefficient at `place`.
    pub(crate) fn coefficient(&self, place: usize) -> Estimate {
        let mut amounts = vec![0.0; self.coefficients.len()];
        amounts[place] = 1.0;
        self.predict(&amounts)
    }

    /// Whether there were observations to spare.
    pub(crate) fn has_interval(&self) -> bool {
        self.covariance.is_some()
    }
}

/// A straight line: what one more costs, and what none cost.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Slope {
    /// Per one more.
    pub(crate) slope: Estimate,
    /// With none.
    pub(crate) intercept: f64,
    /// Share of the variance that the line explains.
    pub(crate) explained: f64,
}

impl Slope {
    /// The line through `points` by ordinary least squares; amounts of memory are off by pages, not by shares.
    pub(crate) fn of(points: &[(f64, f64)]) -> Result<Self, Unknown> {
        let count = float(points.len());
        if points.len() < 2 {
            return Err(Unknown::TooFew);
        }
        let mean = |part: fn(&(f64, f64)) -> f64| points.iter().map(part).sum::<f64>() / count;
        let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
        let x_squares: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
        let y_squares: f64 = points.iter().map(|(_, y)| (y - y_mean).powi(2)).sum();
        if x_squares <= 0.0 {
            return Err(Unknown::Confounded);
        }
        let product: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = product / x_squares;
        let intercept = y_mean - slope * x_mean;
        let squares: f64 = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
        let half = if points.len() > 2 {
            t_quantile(count - 2.0) * (squares / (count - 2.0) / x_squares).sqrt()
        } else {
            0.0
        };
        Ok(Self {
            slope: Estimate { value: slope, low: slope - half, high: slope + half },
            intercept,
            explained: if y_squares > 0.0 { 1.0 - squares / y_squares } else { 1.0 },
        })
    }
}

/// The least squares solution of `design * x = target` with no negative `x`, and the places where `x` may be positive.
///
/// Tries all sets of places: there are at most six coefficients, so at most 64 small systems.
fn non_negative(design: &DMatrix<f64>, target: &DVector<f64>) -> (DVector<f64>, Vec<usize>) {
    let width = design.ncols();
    let mut best: Option<(f64, DVector<f64>, Vec<usize>)> = None;
    for set in 1_u32..1 << width {
        let active: Vec<usize> = (0..width).filter(|place| set >> place & 1 == 1).collect();
        let part = design.select_columns(&active);
        let Ok(solution) = part.clone().svd(true, true).solve(target, 1e-12) else { continue };
        if solution.iter().any(|coefficient| *coefficient < 0.0) {
            continue;
        }
        let squares = (target - part * &solution).norm_squared();
        if best.as_ref().is_none_or(|(least, ..)| squares < *least) {
            let mut all = DVector::zeros(width);
            active.iter().zip(solution.iter()).for_each(|(&place, &coefficient)| all[place] = coefficient);
            best = Some((squares, all, active));
        }
    }
    let (_, solution, active) = best.unwrap_or_else(|| (0.0, DVector::zeros(width), vec![]));
    (solution, active)
}

fn is_of_full_rank(design: &DMatrix<f64>) -> bool {
    // Columns of equal length first, or a coefficient of bytes would look like none beside one of messages.
    let mut scaled = design.clone();
    for mut column in scaled.column_iter_mut() {
        let length = column.norm();
        if length <= 0.0 {
            return false;
        }
        column /= length;
    }
    let values = scaled.singular_values();
    values.min() > RANK_SHARE * values.max()
}

/// The factor on a standard error for a two-sided interval at [`CONFIDENCE`].
fn t_quantile(freedom: f64) -> f64 {
    let distribution = StudentsT::new(0.0, 1.0, freedom);
    distribution.map_or(f64::INFINITY, |distribution| distribution.inverse_cdf((1.0 + CONFIDENCE) / 2.0))
}

fn float(count: usize) -> f64 {
    crate::number::float(crate::number::wide(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(truth: &[f64], noise: f64, random: &mut fastrand::Rng) -> Vec<Observation> {
        let designs = [[1.0, 1.0, 64.0], [1.0, 8.0, 64.0], [1.0, 1.0, 1_024.0], [1.0, 8.0, 1_024.0]];
        let one = |amounts: [f64; 3], factor: f64| Observation {
            cost: amounts.iter().zip(truth).map(|(amount, cost)| amount * cost).sum::<f64>() * factor,
            amounts: amounts.to_vec(),
        };
        let repeated = designs.into_iter().cycle().take(12);
        repeated.map(|amounts| one(amounts, 1.0 + noise * (random.f64() * 2.0 - 1.0))).collect()
    }

    #[test]
    fn a_fit_without_noise_finds_the_costs() {
        let fit = Fit::of(&observe(&[800.0, 150.0, 0.5], 0.0, &mut fastrand::Rng::with_seed(1)));
        let fit = fit.expect("the design tells the costs apart");
        for (place, truth) in [800.0, 150.0, 0.5].into_iter().enumerate() {
            assert!((fit.coefficient(place).value / truth - 1.0).abs() < 1e-9, "{fit:?}");
        }
        assert!(fit.explained > 0.999_999);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(7);
        let held = (0..400).filter(|_| {
            let fit = Fit::of(&observe(&[800.0, 150.0, 0.5], 0.1, &mut random)).expect("a lawful design");
            let cost = fit.predict(&[1.0, 4.0, 256.0]);
            cost.low <= 1_528.0 && 1_528.0 <= cost.high
        });
        let held = held.count();
        assert!((330..=390).contains(&held), "{held} of 400 intervals at 90 % held the truth");
    }

    #[test]
    fn what_came_out_low_by_chance_counts_for_no_more_than_what_came_out_high() {
        let of = |cost| Observation { amounts: vec![1.0], cost };
        let fit = Fit::of(&[of(7.0), of(13.0), of(7.0), of(13.0)]).expect("one unknown");
        assert!((fit.coefficient(0).value - 10.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.residual - 0.3).abs() < 1e-6, "a share of the fit: {fit:?}");
    }

    #[test]
    fn costs_are_never_negative() {
        let observation = |amounts: [f64; 2], cost| Observation { amounts: amounts.to_vec(), cost };
        let fit = Fit::of(&[
            observation([1.0, 1.0], 10.0),
            observation([1.0, 4.0], 9.5),
            observation([1.0, 8.0], 9.0),
        ])
        .expect("a lawful design");
        assert!(fit.coefficient(1).value.abs() < 1e-12, "{fit:?}");
        assert!(fit.coefficient(0).value > 9.0);
    }

    #[test]
    fn what_never_changed_independently_is_unknown() {
        let observation = |amounts: [f64; 2], cost| Observation { amounts: amounts.to_vec(), cost };
        let same = [observation([1.0, 2.0], 3.0), observation([2.0, 4.0], 6.0), observation([3.0, 6.0], 9.0)];
        assert_eq!(Fit::of(&same).err(), Some(Unknown::Confounded));
        assert_eq!(Fit::of(&same[..1]).err(), Some(Unknown::TooFew));
        assert_eq!(Fit::of(&[]).err(), Some(Unknown::TooFew));
        let nonsense = [observation([1.0, 2.0], 0.0), observation([2.0, 1.0], 6.0)];
        assert_eq!(Fit::of(&nonsense).err(), Some(Unknown::Nonsense));
    }

    #[test]
    fn an_exact_fit_of_as_many_unknowns_has_no_interval() {
        let observation = |amounts: [f64; 2], cost| Observation { amounts: amounts.to_vec(), cost };
        let fit =
            Fit::of(&[observation([1.0, 1.0], 10.0), observation([1.0, 8.0], 24.0)]).expect("two unknowns");
        assert!(!fit.has_interval());
        let cost = fit.predict(&[1.0, 4.0]);
        assert!((cost.value - 16.0).abs() < 1e-9 && (cost.high - cost.low).abs() < 1e-9);
    }

    #[test]
    fn a_slope_is_what_one_more_costs() {
        let line: Vec<_> = [0.0, 1_000.0, 2_000.0, 3_000.0].map(|x| (x, 5e6 + 640.0 * x)).to_vec();
        let slope = Slope::of(&line).expect("four points");
        assert!(
            (slope.slope.value - 640.0).abs() < 1e-6 && (slope.intercept - 5e6).abs() < 1e-3,
            "{slope:?}"
        );
        let pages: Vec<_> =
            line.iter().zip([4_096.0, -4_096.0, 4_096.0, 0.0]).map(|(&(x, y), page)| (x, y + page)).collect();
        let rough = Slope::of(&pages).expect("four points").slope;
        assert!(rough.low < 640.0 && 640.0 < rough.high, "{rough:?}");
        assert_eq!(Slope::of(&line[..1]).err(), Some(Unknown::TooFew));
        assert_eq!(Slope::of(&[(1.0, 2.0), (1.0, 3.0)]).err(), Some(Unknown::Confounded));
    }

    #[test]
    fn independent_doubts_add_like_the_sides_of_a_triangle() {
        let one = Estimate { value: 10.0, low: 7.0, high: 13.0 };
        let other = Estimate { value: 20.0, low: 16.0, high: 24.0 };
        assert_eq!(one.plus(other), Estimate { value: 30.0, low: 25.0, high: 35.0 });
        assert_eq!(one.times(2.0), Estimate { value: 20.0, low: 14.0, high: 26.0 });
    }

    #[test]
    fn repeats_and_samples_become_intervals() {
        let repeats = Estimate::of_repeats(&[9.0, 10.0, 11.0]).expect("three values");
        // t(0.95, 2) = 2.919986, standard error 1/sqrt(3).
        assert!((repeats.high - 10.0 - 2.919_986 / 3_f64.sqrt()).abs() < 1e-4, "{repeats:?}");
        assert_eq!(Estimate::of_repeats(&[3.0]), Some(Estimate::exact(3.0)));
        assert_eq!(Estimate::of_repeats(&[]), None);
        let samples = Estimate::of_samples((0..=100).map(f64::from).collect()).expect("some values");
        assert!((samples.value - 50.0).abs() < 1e-9 && (samples.low - 5.0).abs() < 1e-9, "{samples:?}");
    }
}
