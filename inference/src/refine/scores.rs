//! The posterior by mean scores: what n observations say when the form of one is not exactly right.
//!
//! A fitted likelihood p̂ that misses something (skewed residuals, a coupling that varies) takes n times too much or too little from each observation, and posteriors come out too narrow by
//! what it misses. But its score is a good summary for any law of x: with
//!     t(x) = E_u\[Bᵀ ∇ log p̂(x|u)\],
//! averaged over the present posterior, u ~ N(c, B Bᵀ), the mean t̄ of n observations is nearly Gaussian, whatever one observation's law is, and
//!     t̄ | u ~ N(μ(u), Σ(u)/n),
//! where μ and Σ are learned from simulations as any value's are. No more is assumed of p̂ than that it is a fair guide to where x informs: where it is right, t̄ is sufficient to
//! first order in the posterior's width; where it is wrong, the posterior widens to what t̄ tells. (Scores of an auxiliary model as summaries: Gallant & Tauchen 1996, Gleim & Pigorsch 2013; Gaussian means of
//! summaries: Wood 2010, Price, Drovandi, Lee & Nott 2018.)
//!
//! Of Gaussian columns and counts the score is a polynomial of degree 2 in x, so that t costs d² m operations an observation.

use super::column::{Column, CountColumn};
use super::fit::{Forms, Rows, fit};
use super::frame::{Frame, moments};
use super::local::{LocalLikelihood, LocalScratch, Statistics};
use crate::Result;
use crate::small_matrix::{dot, multiply};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::Monitor;

/// Observations, and observations' worth of likelihood, from which means are taken for Gaussian.
pub const FEWEST: f64 = 10.0;

/// Draws of the posterior over which the score is averaged at most.
const DRAWS: usize = 100;

/// t(x) = L y + (yᵀ Q_a y)_a of an observation's values y: standardised ones of Gaussian columns, counts as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSummary {
    /// L, (m, d).
    linear: Vec<f64>,
    /// Q, (m, d, d), symmetric.
    quadratic: Vec<f64>,
}

/// The law of mean scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// t.
    pub summary: ScoreSummary,
    /// p(t|u): its columns are those of t, (m).
    pub likelihood: LocalLikelihood,
}

/// ∂ of one column's log-likelihood along m directions at one place, as it depends on the values.
struct Terms<'a> {
    linear: &'a mut [f64],
    quadratic: &'a mut [f64],
    m: usize,
    weight: f64,
}

impl ScoreSummary {
    /// The score of `likelihood`, which has no law of residuals of its own, averaged over the `draws` (draw, m).
    ///
    /// # Errors
    /// When draws have no width in some direction.
    pub(super) fn new(likelihood: &LocalLikelihood, draws: &[f64], m: usize) -> Result<Self> {
        let d = likelihood.columns.len();
        let (mean, covariance) = moments(draws, m, None);
        let directions = Frame::new(mean, covariance)?.factor;
        let mut summary = Self { linear: vec![0.0; m * d], quadratic: vec![0.0; m * d * d] };
        let every = (draws.len() / m).div_ceil(DRAWS).max(1);
        let chosen: Vec<&[f64]> = draws.chunks_exact(m).step_by(every).collect();
        let mut scratch = LocalScratch::default();
        for u in &chosen {
            likelihood.look(&likelihood.chart.at(u), &mut scratch);
            let jacobian = likelihood.chart.jacobian(u, &directions);
            let mut terms = Terms {
                linear: &mut summary.linear,
                quadratic: &mut summary.quadratic,
                m,
                weight: 1.0 / chosen.len() as f64,
            };
            for (i, column) in likelihood.columns.iter().enumerate() {
                match column {
                    Column::Constant { .. } | Column::Given { .. } => {}
                    Column::Count(count) => terms.add_count(i, count, &scratch, &jacobian),
                    Column::Gaussian(_) => terms.add_gaussian(i, &likelihood.columns, &scratch, &jacobian),
                }
            }
        }
        Ok(summary)
    }

    /// t of observations (n, d): (n, m).
    ///
    /// # Errors
    /// When they do not fit the likelihood whose score it is.
    pub fn of(&self, likelihood: &LocalLikelihood, x: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        likelihood.statistics(x)?;
        let (n, d) = x.dim();
        let m = self.linear.len() / d;
        let mut t = Array2::zeros((n, m));
        t.as_slice_mut().expect("rows in order").par_chunks_mut(m).zip(x.outer_iter()).for_each(|(t, x)| {
            let value = |(x, column): (&f32, &Column)| match column {
                Column::Constant { .. } | Column::Given { .. } => 0.0,
                Column::Count(_) => f64::from(*x),
                Column::Gaussian(gaussian) => likelihood.standardised(gaussian, f64::from(*x)),
            };
            let y: Vec<f64> = x.iter().zip(&likelihood.columns).map(value).collect();
            let mut product = vec![0.0; d];
            for (a, t) in t.iter_mut().enumerate() {
                multiply(&self.quadratic[a * d * d..(a + 1) * d * d], &y, &mut product);
                *t = (dot(&self.linear[a * d..(a + 1) * d], &y) + dot(&product, &y)) as f32;
            }
        });
        Ok(t)
    }

    /// Whether sizes fit and numbers are finite.
    pub(super) fn is_valid(&self, m: usize, d: usize) -> bool {
        self.linear.len() == m * d
            && self.quadratic.len() == m * d * d
            && self.linear.iter().chain(&self.quadratic).all(|value| value.is_finite())
    }
}

impl Terms<'_> {
    /// Scores of exponential families are linear in the count.
    fn add_count(&mut self, i: usize, count: &CountColumn, scratch: &LocalScratch, jacobian: &[f64]) {
        let (m, d) = (self.m, self.linear.len() / self.m);
        let eta = scratch.value(&count.predictor);
        let slope = along(&scratch.slope(&count.predictor, m), jacobian);
        let by_one = count.family.term(1.0, 1.0, eta).slope - count.family.term(1.0, 0.0, eta).slope;
        (0..m).for_each(|a| self.linear[a * d + i] += self.weight * by_one * slope[a]);
    }

    /// -½ e^{-s} ρ² - ½ s with ρ = tᵀ(y - a): along a direction, ½ e^{-s} ρ² ∂s - e^{-s} ρ ∂ρ, with ∂ρ = wᵀ(y - a) - tᵀ ∂a, w = ∂t.
    fn add_gaussian(&mut self, i: usize, columns: &[Column], scratch: &LocalScratch, jacobian: &[f64]) {
        let (m, d) = (self.m, columns.len());
        let Column::Gaussian(own) = &columns[i] else { return };
        let mean = |j: usize| match &columns[j] {
            Column::Gaussian(column) => (scratch.value(&column.mean), along(&scratch.slope(&column.mean, m), jacobian)),
            _ => (0.0, vec![0.0; m]),
        };
        let precision = (-scratch.value(&own.log_variance)).exp();
        let of_log_variance = along(&scratch.slope(&own.log_variance, m), jacobian);
        // (j, t_j, ∂t_j, a_j, ∂a_j).
        let mut entries = vec![(i, 1.0, vec![0.0; m], mean(i))];
        for (j, b) in &own.coupling {
            let slope = along(&scratch.slope(b, m), jacobian).into_iter().map(|b| -b).collect();
            entries.push((*j, -scratch.value(b), slope, mean(*j)));
        }
        // ρ = tᵀ y + at_zero; ∂_a ρ = w_aᵀ y + of_zero.
        let at_zero: f64 = -entries.iter().map(|(_, t, _, (a, _))| t * a).sum::<f64>();
        for a in 0..m {
            let of_zero: f64 = -entries.iter().map(|(_, t, w, (mean, slope))| w[a] * mean + t * slope[a]).sum::<f64>();
            let by = self.weight * precision;
            for (j, t, w, _) in &entries {
                self.linear[a * d + j] += by * (of_log_variance[a] * at_zero * t - at_zero * w[a] - of_zero * t);
                for (k, other, other_w, _) in &entries {
                    self.quadratic[(a * d + j) * d + k] +=
                        by * 0.5 * (of_log_variance[a] * t * other - t * other_w[a] - other * w[a]);
                }
            }
        }
    }
}

/// ∂/∂z of a slope ∂/∂v.
fn along(slope: &[f64], jacobian: &[f64]) -> Vec<f64> {
    let m = slope.len();
    (0..m).map(|a| (0..m).map(|i| slope[i] * jacobian[i * m + a]).sum()).collect()
}

impl Scores {
    /// Learns the law of scores of `likelihood`, averaged over the posterior `draws` (draw, m), from the `rows` that it was learned from itself.
    ///
    /// # Errors
    /// Draws without width, too few rows.
    pub(super) fn learn(
        likelihood: &LocalLikelihood,
        rows: &Rows,
        draws: &[f64],
        forms: Forms,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let m = likelihood.chart.bounded.len();
        let summary = ScoreSummary::new(likelihood, draws, m)?;
        let own = summary.rows(likelihood, rows)?;
        // Scores are no observations: nothing only moves them.
        let forms = Forms { linear: 0, ..forms };
        let fitted = fit(likelihood.chart.clone(), &own, false, likelihood.radius, forms, monitor)?;
        Ok(Self { summary, likelihood: fitted.likelihood })
    }

    /// What the posterior needs of n observations.
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn statistics(&self, likelihood: &LocalLikelihood, x: ArrayView2<'_, f32>) -> Result<Statistics> {
        Ok(self.likelihood.statistics(self.summary.of(likelihood, x)?.view())?.pooled())
    }
}

impl ScoreSummary {
    /// Rows with t in place of x.
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn rows(&self, likelihood: &LocalLikelihood, rows: &Rows) -> Result<Rows> {
        let d = likelihood.columns.len();
        let x = ArrayView2::from_shape((rows.x.len() / d, d), &rows.x).expect("d values a row");
        Ok(Rows { u: rows.u.clone(), x: self.of(likelihood, x)?.into_raw_vec_and_offset().0, failed: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::tests::{example, observations};
    use super::*;

    /// t is the gradient that an evaluation gives, averaged, but for what does not depend on x.
    #[test]
    fn summaries_are_mean_scores() {
        let (likelihood, x) = (example(), observations(2));
        let draws: Vec<f64> = (0..40).map(|i| 0.3 + 0.2 * (1.7 * f64::from(i)).sin()).collect();
        let (mean, covariance) = moments(&draws, 2, None);
        let directions = Frame::new(mean, covariance).unwrap().factor;
        let average = |row: usize| {
            let statistics = likelihood.statistics(x.slice(ndarray::s![row..=row, ..])).unwrap();
            let mut sum = [0.0; 2];
            for u in draws.chunks_exact(2) {
                let (mut gradient, mut information) = ([0.0; 2], [0.0; 4]);
                let buffers = (&mut gradient[..], &mut information[..]);
                likelihood.evaluate(&statistics, u, &directions, &mut LocalScratch::default(), buffers);
                (0..2).for_each(|a| sum[a] += gradient[a] / 20.0);
            }
            sum
        };
        let t = ScoreSummary::new(&likelihood, &draws, 2).unwrap().of(&likelihood, x.view()).unwrap();
        let (first, second) = (average(0), average(1));
        for a in 0..2 {
            let (expected, found) = (first[a] - second[a], f64::from(t[[0, a]] - t[[1, a]]));
            assert!(expected.abs() > 0.05 && (expected - found).abs() < 1e-5, "{expected} {found}");
        }
    }
}
