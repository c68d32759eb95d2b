//! Probabilities of whole numbers, for likelihoods of counts and categories: P(k) = Φ((e_k⁺ - μ)/σ) - Φ((e_k⁻ - μ)/σ), the mass that a
//! Gaussian on a transformed scale puts on the cell k ± ½.
//!
//! The scale is the power ⅔ of the cell's edge, on which Poisson and binomial counts are Gaussian from a mean of a few tenths on (Wilson & Hilferty
//! 1931; Anscombe 1953). The lowest and the highest number of the training set own all beyond them, so that two categories have any probability.
//! A density of counts that are spread over their cells (dequantisation, Theis et al. 2016, arXiv 1511.01844) bounds the mass
//! from below; the two compare by their validation losses.

use super::density::{Block, MixtureScratch};
use super::observation_map::ObservationMap;
use super::{Covariance, MixtureLayout};
use crate::{InferenceError, Result};
use errorfunctions::RealErrorFunctions;
use ndarray::ArrayView2;
use std::f64::consts::{PI, SQRT_2};

/// Power of the counts' scale.
const POWER: f64 = 2.0 / 3.0;

/// Columns with more whole numbers than this are real numbers for all purposes, and f32 could no longer tell their cells apart.
const MOST_CELLS: f32 = 1e6;

/// Cells narrower than this, in σ, have their density times their width as mass: the difference of Φ would lose its digits, and the error
/// is of the order of the width's square.
const NARROW: f64 = 1e-4;

/// The information of a cell is summed over this many σ to either side, if that takes at most so many cells; of more it is the Gaussian's.
const RELEVANT: f64 = 5.0;
const FEW_CELLS: f64 = 24.0;

/// What an observation tells of a column: a number, where both ends are equal, or the cell it lies in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// Nothing: the value is missing.
    pub const ANY: Self = Self { lower: f64::NEG_INFINITY, upper: f64::INFINITY };

    /// A number.
    pub fn point(value: f64) -> Self {
        Self { lower: value, upper: value }
    }
}

/// log N(y; μ, τ⁻²) + ½ log 2π of a number y, or the logarithm of a cell's mass, with its derivatives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Term {
    /// The logarithm.
    pub value: f64,
    /// ∂/∂μ.
    pub mean: f64,
    /// ∂/∂ log τ.
    pub log_precision: f64,
}

/// The scale of a column of whole numbers.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Zero of the power, 0 for counts.
    base: f64,
    lowest: f64,
    highest: f64,
    centre: f64,
    spread: f64,
}

impl Scale {
    fn new(mean: f64, sd: f64, (lowest, highest): (f64, f64)) -> Self {
        let base = lowest.min(0.0);
        let power = |value: f64| (value - base).max(0.0).powf(POWER);
        Self { base, lowest, highest, centre: power(mean), spread: power(mean + sd) - power(mean) }
    }

    /// The point `value` on the scale.
    fn at(&self, value: f64) -> f64 {
        ((value - self.base).max(0.0).powf(POWER) - self.centre) / self.spread
    }

    /// The inverse of [`at`](Self::at), not below the base.
    fn inverse(&self, point: f64) -> f64 {
        (point * self.spread + self.centre).max(0.0).powf(1.0 / POWER) + self.base
    }

    fn cell(&self, k: f64) -> Interval {
        Interval {
            lower: if k <= self.lowest { f64::NEG_INFINITY } else { self.at(k - 0.5) },
            upper: if k >= self.highest { f64::INFINITY } else { self.at(k + 0.5) },
        }
    }
}

/// The columns of whole numbers of an observation.
#[derive(Debug, Clone)]
pub struct Cells {
    columns: Vec<Option<Scale>>,
    mean: Vec<f64>,
    sd: Vec<f64>,
    constant: f64,
}

impl Cells {
    /// The columns that `map` knows as counts; none if there are none.
    pub fn new(map: &ObservationMap) -> Option<Self> {
        let column = |i: usize| {
            let (lowest, highest) = (*map.lowest.get(i)?, *map.highest.get(i)?);
            let cells = map.counts[i] && map.sd[i] > 0.0 && highest - lowest < MOST_CELLS;
            let range = (f64::from(lowest), f64::from(highest));
            cells.then(|| Scale::new(f64::from(map.mean[i]), f64::from(map.sd[i]), range))
        };
        let columns: Vec<Option<Scale>> = (0..map.dim()).map(column).collect();
        // Masses in units of the density of the standardised, spread counts, without its ½ log 2π: so the losses compare.
        let unit = |sd: f32| f64::from(sd).ln() + 0.5 * (2.0 * PI).ln();
        let constant = columns.iter().zip(&map.sd).filter(|(scale, _)| scale.is_some()).map(|(_, &sd)| unit(sd)).sum();
        let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        let any = columns.iter().any(Option::is_some);
        any.then(|| Self { columns, mean: widen(&map.mean), sd: widen(&map.sd), constant })
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.columns.len()
    }

    /// Whether a column has cells.
    pub fn has(&self, column: usize) -> bool {
        self.columns[column].is_some()
    }

    /// The whole number whose cell has a point of a column's scale in it, if the column has cells.
    pub fn nearest(&self, column: usize, point: f64) -> Option<f64> {
        self.columns[column].map(|scale| scale.inverse(point).round().clamp(scale.lowest, scale.highest))
    }

    /// What makes the logarithm of an observation's masses comparable with that of the density of its standardised values.
    pub fn constant(&self) -> f64 {
        self.constant
    }

    /// What the standardised value of a column tells; nothing where it is NaN.
    pub fn interval(&self, column: usize, feature: f64) -> Interval {
        if feature.is_nan() {
            return Interval::ANY;
        }
        match &self.columns[column] {
            None => Interval::point(feature),
            Some(scale) => scale.cell((feature * self.sd[column] + self.mean[column]).round()),
        }
    }

    /// Checks that the columns with cells hold whole numbers in the observations `x` (n, d).
    ///
    /// # Errors
    /// Naming the first that does not.
    pub fn check(&self, x: ArrayView2<'_, f32>) -> Result<()> {
        let fault =
            x.indexed_iter().find(|&((_, column), value)| self.has(column) && !value.is_nan() && value.fract() != 0.0);
        let Some(((row, column), &value)) = fault else { return Ok(()) };
        Err(InferenceError::ObservationNotWhole { row, column, value })
    }

    /// Lower-triangular root R of the Fisher information R Rᵀ of (μ, log τ) in a column, in units of (1/τ, 1): R_11, R_21, R_22.
    pub fn information_root(&self, column: usize, mean: f64, precision: f64) -> [f64; 3] {
        let [mean, both, log] = self.information(column, mean, precision);
        let first = mean.sqrt();
        let second = if first > 0.0 { both / first } else { 0.0 };
        [first, second, (log - second * second).max(0.0).sqrt()]
    }

    /// Fisher information of (μ, log τ) in units of (1/τ, 1): its entries (μ, μ), (μ, log τ) and (log τ, log τ).
    fn information(&self, column: usize, mean: f64, precision: f64) -> [f64; 3] {
        let gaussian = [1.0, 0.0, 2.0];
        let Some(scale) = &self.columns[column] else { return gaussian };
        let reach = RELEVANT / precision;
        let first = scale.inverse(mean - reach).round().clamp(scale.lowest, scale.highest);
        let last = scale.inverse(mean + reach).round().clamp(scale.lowest, scale.highest);
        if last - first > FEW_CELLS {
            return gaussian;
        }
        let mut sum = [0.0; 3];
        for step in 0..=(last - first) as usize {
            let term = term(scale.cell(first + step as f64), mean, precision);
            let mass = term.value.exp();
            let slope = term.mean / precision;
            sum[0] += mass * slope * slope;
            sum[1] += mass * slope * term.log_precision;
            sum[2] += mass * term.log_precision * term.log_precision;
        }
        sum
    }
}

/// The logarithm of the density or mass of `interval` under N(`mean`, `precision`⁻²); see [`Term`].
pub fn term(interval: Interval, mean: f64, precision: f64) -> Term {
    let (a, b) = ((interval.lower - mean) * precision, (interval.upper - mean) * precision);
    if interval.lower == interval.upper {
        return Term { value: precision.ln() - 0.5 * a * a, mean: precision * a, log_precision: 1.0 - a * a };
    }
    let centre = 0.5 * (a + b);
    if b - a < NARROW {
        let value = (b - a).ln() - 0.5 * centre * centre - 0.5 * (2.0 * PI).ln();
        return Term { value, mean: precision * centre, log_precision: 1.0 - centre * centre };
    }
    // In the lower tail, where Φ keeps its digits.
    let value = if centre <= 0.0 { log_difference(a, b) } else { log_difference(-b, -a) };
    let density = |z: f64| (-0.5 * z * z - 0.5 * (2.0 * PI).ln() - value).exp();
    let moment = |z: f64| if z.is_finite() { z * density(z) } else { 0.0 };
    Term { value, mean: -precision * (density(b) - density(a)), log_precision: moment(b) - moment(a) }
}

/// log(Φ(b) - Φ(a)), a < b.
fn log_difference(a: f64, b: f64) -> f64 {
    let (low, high) = (log_normal_cdf(a), log_normal_cdf(b));
    high + (-(low - high).exp_m1()).ln()
}

/// log Φ(z).
fn log_normal_cdf(z: f64) -> f64 {
    if z == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if z < 0.0 {
        (0.5 * RealErrorFunctions::erfcx(-z / SQRT_2)).ln() - 0.5 * z * z
    } else {
        (-0.5 * RealErrorFunctions::erfc(z / SQRT_2)).ln_1p()
    }
}

impl MixtureLayout {
    /// log Σ_c w_c Π_i of the terms of a row of intervals under the expanded row, for diagonal covariances; adds `weight` times its gradient with
    /// respect to the outputs.
    pub fn accumulate_intervals(
        &self,
        row: &[Interval],
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        debug_assert_eq!(self.covariance, Covariance::Diagonal);
        let d = self.dim;
        let MixtureScratch { components, terms, .. } = scratch;
        terms.clear();
        for component in components.iter() {
            let parameters = component.mean.iter().zip(&component.factor);
            terms.extend(row.iter().zip(parameters).map(|(&interval, (&mean, &factor))| term(interval, mean, factor)));
        }
        let terms = std::mem::take(terms);
        let log = |c: usize, _: &mut MixtureScratch| terms[c * d..(c + 1) * d].iter().map(|term| term.value).sum();
        let slope = |c: usize, weight: f64, _: &mut MixtureScratch, gradient: &mut [f64]| {
            let (means, factors) = gradient[self.mean_offset(c)..].split_at_mut(d);
            for ((term, mean), factor) in terms[c * d..(c + 1) * d].iter().zip(means).zip(factors) {
                *mean += weight * term.mean;
                *factor += weight * term.log_precision;
            }
        };
        let value = self.mix(Block::range(0..self.components), weight, scratch, gradient, (log, slope));
        scratch.terms = terms;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use statrs::distribution::{Discrete, Poisson};

    /// Columns: counts up to 40; -1, 0, 1; real numbers; always 3.
    fn cells() -> Cells {
        let x = Array3::from_shape_fn((400, 1, 4), |(i, _, column)| match column {
            0 => (i % 41) as f32,
            1 => (i % 3) as f32 - 1.0,
            2 => i as f32 - 0.5,
            _ => 3.0,
        });
        Cells::new(&ObservationMap::fit(x.view(), false).unwrap()).unwrap()
    }

    fn feature(cells: &Cells, column: usize, k: f64) -> f64 {
        (k - cells.mean[column]) / cells.sd[column]
    }

    #[test]
    fn masses_of_a_column_sum_to_one() {
        let cells = cells();
        assert_eq!([0, 1, 2, 3].map(|column| cells.has(column)), [true, true, false, true]);
        for (column, range) in [(0, 0..=40), (1, -1..=1), (3, 3..=3)] {
            for (mean, precision) in [(0.0, 1.0), (-1.3, 4.0), (2.5, 0.3), (-4.0, 30.0)] {
                let mass =
                    |k: i32| term(cells.interval(column, feature(&cells, column, f64::from(k))), mean, precision).value;
                let sum: f64 = range.clone().map(|k| mass(k).exp()).sum();
                assert!((sum - 1.0).abs() < 1e-12, "column {column}: {sum}");
            }
        }
    }

    #[test]
    fn poisson_counts_are_nearly_gaussian_on_the_scale() {
        let cells = cells();
        for rate in [0.3, 1.0, 3.0, 10.0] {
            let poisson = Poisson::new(rate).unwrap();
            let divergence = |mean: f64, precision: f64| -> f64 {
                let row = |k: u64| {
                    let p = poisson.pmf(k);
                    p * (p.ln() - term(cells.interval(0, feature(&cells, 0, k as f64)), mean, precision).value)
                };
                (0..=40).map(row).sum()
            };
            let best = (-400..100)
                .flat_map(|i| (0..200).map(move |j| (0.01 * f64::from(i), 1.02f64.powi(j))))
                .map(|(mean, precision)| divergence(mean, precision))
                .fold(f64::INFINITY, f64::min);
            assert!(best < 2e-3, "rate {rate}: {best} nats");
        }
    }

    #[test]
    fn terms_have_their_derivatives_far_out_too() {
        let ends = [(-0.5, 0.25), (3.0, 3.5), (-40.0, -39.0), (f64::NEG_INFINITY, -30.0), (2.0, f64::INFINITY)];
        let narrow = [(1.0, 1.0 + 1e-5), (-0.7, -0.7)];
        for (lower, upper) in ends.into_iter().chain(narrow) {
            let (mean, log) = (0.2f64, 0.4f64);
            let at = |mean: f64, log: f64| term(Interval { lower, upper }, mean, log.exp());
            let exact = at(mean, log);
            let h = 1e-5;
            let numeric = (at(mean + h, log).value - at(mean - h, log).value) / (2.0 * h);
            assert!((numeric - exact.mean).abs() < 1e-6 * exact.mean.abs().max(1.0), "{lower}: {numeric} {exact:?}");
            let numeric = (at(mean, log + h).value - at(mean, log - h).value) / (2.0 * h);
            let error = (numeric - exact.log_precision).abs();
            assert!(error < 1e-6 * exact.log_precision.abs().max(1.0), "{lower}: {numeric} {exact:?}");
        }
        // The rule for narrow cells joins the one for wide ones.
        let value = |width: f64| term(Interval { lower: 1.0, upper: 1.0 + width }, 0.2, 1.0).value - width.ln();
        assert!((value(1.01 * NARROW) - value(0.99 * NARROW)).abs() < 1e-5);
        assert!((log_normal_cdf(-40.0) - -804.608_442_013_754).abs() < 1e-9);
    }

    #[test]
    fn narrow_cells_have_the_gaussians_information() {
        let cells = cells();
        // 25 cells within reach are too many, 24 are not: the two rules agree there.
        let summed = |precision: f64| cells.information(0, 0.3, precision);
        let gaussian = [1.0, 0.0, 2.0];
        let border = (1..400).map(|i| 0.5 * 1.01f64.powi(i)).find(|&p| summed(p) != gaussian).unwrap();
        let found = summed(border);
        for (found, wanted) in found.iter().zip(gaussian) {
            assert!((found - wanted).abs() < 0.1, "{border}: {found:?} {wanted:?}");
        }
        // Where one cell has nearly all mass, hardly anything is learned.
        assert!(cells.information(0, -3.0, 10.0).iter().all(|entry| entry.abs() < 1e-3));
    }
}
