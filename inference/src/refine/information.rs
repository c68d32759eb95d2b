//! Does one observation tell as much as the fitted likelihood says? If not, n of them make the posterior too narrow, or too wide.
//!
//! A likelihood's scores s = ∇ log p̂(x|u) at the parameters that x came from have the covariance J under the simulator and, if x came from p̂ itself, the Fisher information F; for the true
//! likelihood J = F. A misfit that hardly shows in any one value (skewed residuals, couplings that vary) adds up over many: J exceeds F, and the mean of n observations tells less by
//!     λ = tr(F⁻¹ J)/m.
//! The likelihood to the power 1/λ then has the right width on average over directions (magnitude adjustment of composite likelihoods: Pauli, Racugno & Ventura 2011, Ribatet, Cooley & Davison 2012). Both
//! covariances are measured at the same parameters, F with draws of p̂ itself.

use super::column::{Column, Family};
use super::fit::Rows;
use super::frame::{Frame, moments};
use super::local::{LocalLikelihood, LocalScratch};
use super::near::weights;
use crate::Result;
use crate::small_matrix::{cholesky, dot, lower_solve};
use ndarray::ArrayView2;
use rand::Rng;
use rand_distr::{Binomial, Distribution, Gamma, Poisson, StandardNormal};
use rayon::prelude::*;
use tallsbi_data::StreamKey;

/// Rows that are looked at, at most.
const MOST_ROWS: usize = 4000;

/// Standard errors by which the factor must exceed one, and how far beyond one it matters.
const ERRORS: f64 = 3.0;
const MATTERS: f64 = 0.05;

/// How much more scores vary than the likelihood says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScoreVariance {
    /// λ.
    pub factor: f64,
    /// Its standard error for Gaussian scores.
    pub error: f64,
}

impl ScoreVariance {
    /// λ where it is beyond chance and matters, else 1.
    pub fn significant(&self) -> f64 {
        let sure = self.factor - ERRORS * self.error > 1.0 && self.factor > 1.0 + MATTERS;
        if sure { self.factor } else { 1.0 }
    }
}

/// Σ w s sᵀ and what it is made of.
#[derive(Clone)]
struct Sums {
    simulated: Vec<f64>,
    drawn: Vec<f64>,
    total: f64,
    squares: f64,
}

impl Sums {
    fn none(m: usize) -> Self {
        Self { simulated: vec![0.0; m * m], drawn: vec![0.0; m * m], total: 0.0, squares: 0.0 }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.simulated.iter_mut().zip(&other.simulated).for_each(|(sum, value)| *sum += value);
        self.drawn.iter_mut().zip(&other.drawn).for_each(|(sum, value)| *sum += value);
        self.total += other.total;
        self.squares += other.squares;
        self
    }
}

/// λ of `likelihood`, which has no law of residuals of its own, at the posterior `draws` (draw, m), from rows that were drawn from about `frame`.
///
/// # Errors
/// When draws have no width in some direction.
pub(super) fn score_variance(
    likelihood: &LocalLikelihood,
    frame: &Frame,
    rows: &Rows,
    draws: &[f64],
    key: StreamKey,
) -> Result<ScoreVariance> {
    let (m, d) = (frame.dim(), likelihood.columns.len());
    let (mean, covariance) = moments(draws, m, None);
    let directions = Frame::new(mean, covariance)?.factor;
    let weights = weights(frame, rows, draws)?;
    let near: Vec<usize> = (0..weights.len()).filter(|&row| weights[row] > 0.0).collect();
    let every = near.len().div_ceil(MOST_ROWS).max(1);
    let one = |row: usize| -> Sums {
        let (u, x) = (&rows.u[row * m..(row + 1) * m], &rows.x[row * d..(row + 1) * d]);
        let mut sums = Sums::none(m);
        let Some(drawn) = likelihood.draw(u, &mut key.rng(row as u64)) else { return sums };
        let score = |x: &[f32]| {
            let (mut gradient, mut information) = (vec![0.0; m], vec![0.0; m * m]);
            let x = ArrayView2::from_shape((1, d), x).expect("one row");
            let statistics = likelihood.statistics(x).ok()?;
            let buffers = (&mut gradient[..], &mut information[..]);
            likelihood
                .evaluate(&statistics, u, &directions, &mut LocalScratch::default(), buffers)
                .is_finite()
                .then_some(gradient)
        };
        let (Some(simulated), Some(own)) = (score(x), score(&drawn)) else { return sums };
        let weight = weights[row];
        for a in 0..m {
            for b in 0..m {
                sums.simulated[a * m + b] = weight * simulated[a] * simulated[b];
                sums.drawn[a * m + b] = weight * own[a] * own[b];
            }
        }
        (sums.total, sums.squares) = (weight, weight * weight);
        sums
    };
    let chosen: Vec<usize> = near.into_iter().step_by(every).collect();
    // In order, so that any number of threads gives the same sum.
    let parts: Vec<Sums> = chosen.into_par_iter().map(one).collect();
    let sums = parts.iter().fold(Sums::none(m), Sums::plus);
    let mut factor = sums.drawn.clone();
    if !(sums.total > 0.0) || !cholesky(&mut factor, m) {
        return Ok(ScoreVariance { factor: 1.0, error: f64::INFINITY });
    }
    // tr(L⁻¹ J L⁻ᵀ): J = Σ of columns, L⁻¹ from the left twice.
    let mut trace = 0.0;
    let mut half = vec![0.0; m * m];
    for b in 0..m {
        let mut column: Vec<f64> = (0..m).map(|a| sums.simulated[a * m + b]).collect();
        lower_solve(&factor, &mut column);
        (0..m).for_each(|a| half[a * m + b] = column[a]);
    }
    for a in 0..m {
        let mut row = half[a * m..(a + 1) * m].to_vec();
        lower_solve(&factor, &mut row);
        trace += row[a];
    }
    // Each of the m variances has 2/N of itself as its error, and there are two.
    let error = (4.0 * sums.squares / m as f64).sqrt() / sums.total;
    Ok(ScoreVariance { factor: trace / m as f64, error })
}

impl LocalLikelihood {
    /// An observation (d) at `u`, if its polynomials hold there; without a law of residuals of its own.
    fn draw(&self, u: &[f64], rng: &mut impl Rng) -> Option<Vec<f32>> {
        let v = self.chart.at(u);
        if !(dot(&v, &v) <= self.radius * self.radius) {
            return None;
        }
        let mut scratch = LocalScratch::default();
        self.look(&v, &mut scratch);
        let mut residuals = vec![0.0; self.columns.len()];
        let mut x = Vec::with_capacity(self.columns.len());
        for (i, column) in self.columns.iter().enumerate() {
            x.push(match column {
                Column::Constant { value } => *value,
                Column::Given { .. } => return None,
                Column::Count(count) => count.family.draw(scratch.value(&count.predictor), rng)?,
                Column::Gaussian(own) => {
                    let coupled: f64 = own.coupling.iter().map(|(j, b)| scratch.value(b) * residuals[*j]).sum();
                    let noise: f64 = StandardNormal.sample(rng);
                    residuals[i] = coupled + (0.5 * scratch.value(&own.log_variance)).exp() * noise;
                    let y = own.center + own.scale * (scratch.value(&own.mean) + residuals[i]);
                    if self.log { y.exp() } else { y }
                }
            } as f32);
        }
        Some(x)
    }
}

impl Family {
    /// A count.
    fn draw(self, eta: f64, rng: &mut impl Rng) -> Option<f64> {
        let mean = self.mean(eta);
        match self {
            Self::Poisson => Poisson::new(mean).ok().map(|law| law.sample(rng)),
            Self::Binomial { trials } => {
                Binomial::new(trials as u64, (mean / trials).clamp(0.0, 1.0)).ok().map(|law| law.sample(rng) as f64)
            }
            // A Poisson with the mean of a gamma.
            Self::NegativeBinomial { size } => {
                let mean = Gamma::new(size, mean / size).ok()?.sample(rng);
                Poisson::new(mean.max(f64::MIN_POSITIVE)).ok().map(|law| law.sample(rng))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, fit};
    use super::super::local::tests::example;
    use super::*;
    use rand::RngExt;
    use tallsbi_data::Silent;

    /// The variance of Laplace noise: scores of a Gaussian form vary as (κ - 1)/4 = 5/4, with κ = 6, where it says 1/2.
    #[test]
    fn a_wrong_form_has_scores_that_vary_more() {
        let found = |laplace: bool| {
            let mut rng = StreamKey::root(8).rng(0);
            let mut noise = move || -> f64 {
                let u: f64 = rng.random_range(-0.5..0.5);
                let normal: f64 = StandardNormal.sample(&mut rng);
                if laplace { -u.signum() * (-2.0 * u.abs()).ln_1p() / 2f64.sqrt() } else { normal }
            };
            let u: Vec<f64> = (0..20_000).map(|i| 0.9 * (f64::from(i) / 10_000.0 - 1.0)).collect();
            let x = u.iter().map(|u| ((0.5 * u).exp() * noise()) as f32).collect();
            let (rows, frame) = (Rows { u, x, ..Rows::default() }, Frame::standard(1, 0.5));
            let forms = Forms { mean: 2, variance: 2, ..Forms::default() };
            let chart = Chart { bounded: vec![false], frame: frame.clone() };
            let likelihood = fit(chart, &rows, false, 10.0, forms, &Silent).unwrap().likelihood;
            let draws: Vec<f64> = (0..100).map(|i| 0.2 * (1.7 * f64::from(i)).sin()).collect();
            score_variance(&likelihood, &frame, &rows, &draws, StreamKey::root(9)).unwrap()
        };
        let (right, wrong) = (found(false), found(true));
        assert!(right.significant() == 1.0 && (right.factor - 1.0).abs() < 3.0 * right.error, "{right:?}");
        assert!((wrong.significant() - 2.5).abs() < 0.4, "{wrong:?}");
    }

    /// Draws have the moments that the form says: coupled Gaussians and binomial counts.
    #[test]
    fn draws_have_the_law_of_the_form() {
        let likelihood = example();
        let (u, mut rng) = ([0.4, -0.3], StreamKey::root(3).rng(0));
        let mut scratch = LocalScratch::default();
        likelihood.look(&likelihood.chart.at(&u), &mut scratch);
        let rows: Vec<f64> = (0..40_000).flat_map(|_| likelihood.draw(&u, &mut rng).unwrap()).map(f64::from).collect();
        let (mean, covariance) = moments(&rows, 4, None);
        let Column::Gaussian(first) = &likelihood.columns[0] else { panic!("a Gaussian") };
        let Column::Gaussian(third) = &likelihood.columns[2] else { panic!("a Gaussian") };
        let Column::Count(count) = &likelihood.columns[1] else { panic!("a count") };
        let p = 1.0 / (1.0 + (-scratch.value(&count.predictor)).exp());
        let variance = first.scale.powi(2) * scratch.value(&first.log_variance).exp();
        let coupling = scratch.value(&third.coupling[0].1);
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.03, "{found} {expected}");
        near(mean[0], first.center + first.scale * scratch.value(&first.mean));
        near(mean[1], 20.0 * p);
        near(covariance[0], variance);
        near(covariance[5], 20.0 * p * (1.0 - p));
        near(covariance[2], variance * coupling);
        near(
            covariance[10],
            third.scale.powi(2) * scratch.value(&third.log_variance).exp() + variance * coupling * coupling,
        );
        assert!((mean[3], covariance[15]) == (3.0, 0.0));
    }
}
