//! Samples of the exact tall posterior of a location mixture, to compare samplers with (the paper runs MALA, App. E).
//!
//! Given which component c(j) each observation came from, the posterior is Gaussian: precision P = S_0⁻¹ + Σ_j C_{c(j)}⁻¹,
//! mean P⁻¹ h with h = S_0⁻¹ μ_0 + Σ_j C_{c(j)}⁻¹ x_j. So
//! * for few observations all assignments are listed with their evidence, and samples are independent and exact;
//! * for many, Gibbs sampling alternates between assignments given θ and θ given assignments. With many observations θ is known
//!   well enough for chains from the prior to find the same mode in a few sweeps; with few they would get stuck.

use super::MixtureModel;
use crate::small_matrix::{add_multiply, add_scaled, cholesky, dot, lower_solve, lower_transpose_solve};
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use tallsbi_data::{Purpose, StreamKey};

/// Up to this many assignments are listed.
const LISTED: usize = 4096;

/// Sweeps of each Gibbs chain, of which the last gives the sample: enough for chains from the prior to agree with the list where both
/// can be had (n = 12).
const SWEEPS: usize = 100;

/// What the posterior given an assignment is made from: P and h.
#[derive(Clone)]
struct Information {
    precision: Vec<f64>,
    mean: Vec<f64>,
}

impl MixtureModel {
    /// `samples` independent samples (S, m) of the exact posterior given all of `observations` (n, m).
    ///
    /// Cost O(samples · n · components · m²) for each of 100 Gibbs sweeps, or O(components^n · m³) once where that is little.
    ///
    /// # Errors
    /// When the observations have another width or are not finite.
    pub fn tall_samples(
        &self,
        observations: ArrayView2<'_, f32>,
        samples: usize,
        key: StreamKey,
    ) -> Result<Array2<f64>> {
        let (n, m) = (observations.nrows(), self.dim);
        if observations.ncols() != m {
            return Err(InferenceError::Shape {
                what: "observations",
                expected: format!("{m} columns"),
                found: observations.ncols().to_string(),
            });
        }
        if let Some(row) = observations.outer_iter().position(|x| x.iter().any(|value| !value.is_finite())) {
            return Err(InferenceError::ObservationNotFinite { row });
        }
        let x: Vec<f64> = observations.iter().map(|&value| f64::from(value)).collect();
        let exponent = u32::try_from(n).unwrap_or(u32::MAX);
        let listed = self.components.len().checked_pow(exponent).filter(|&count| count <= LISTED);
        let key = key.child(Purpose::Calibration);
        let mut out = vec![0.0; samples * m];
        match listed {
            Some(count) => self.listed(&x, count, key, &mut out),
            None => out
                .par_chunks_mut(m)
                .enumerate()
                .for_each(|(index, theta)| self.gibbs(&x, SWEEPS, &mut key.rng(index as u64), theta)),
        }
        Ok(Array2::from_shape_vec((samples, m), out).expect("sizes agree"))
    }

    fn prior_information(&self) -> Information {
        Information { precision: self.prior_precision.clone(), mean: self.prior_information_mean.clone() }
    }

    /// Adds one observation from component `c`.
    fn add(&self, information: &mut Information, x: &[f64], c: usize) {
        let noise = &self.components[c].noise_precision;
        add_scaled(1.0, noise, &mut information.precision);
        add_multiply(1.0, noise, x, &mut information.mean);
    }

    /// log of w_c |C_c|^{-1/2} exp(-½ (x - θ)ᵀ C_c⁻¹ (x - θ)).
    fn log_likelihood(&self, x: &[f64], theta: &[f64], c: usize, work: &mut [f64]) -> f64 {
        let component = &self.components[c];
        let (residual, product) = work.split_at_mut(self.dim);
        for ((r, x), theta) in residual.iter_mut().zip(x).zip(theta) {
            *r = x - theta;
        }
        product.fill(0.0);
        add_multiply(1.0, &component.noise_precision, residual, product);
        component.log_weight - component.half_log_noise - 0.5 * dot(residual, product)
    }

    /// Draws from every assignment in proportion to its evidence.
    fn listed(&self, x: &[f64], count: usize, key: StreamKey, out: &mut [f64]) {
        let (m, components) = (self.dim, self.components.len());
        let zero = vec![0.0; m];
        let assigned = |index: usize| {
            let mut information = self.prior_information();
            let (mut rest, mut evidence, mut work) = (index, 0.0, vec![0.0; 2 * m]);
            for x in x.chunks_exact(m) {
                let c = rest % components;
                rest /= components;
                self.add(&mut information, x, c);
                evidence += self.log_likelihood(x, &zero, c, &mut work);
            }
            factor(&mut information.precision, m);
            // ½ hᵀP⁻¹h - ½ log|P|; what the prior adds is the same for all.
            let mut h = information.mean.clone();
            lower_solve(&information.precision, &mut h);
            let half_log_det: f64 = (0..m).map(|i| information.precision[i * m + i].ln()).sum();
            (evidence + 0.5 * dot(&h, &h) - half_log_det, information)
        };
        let all: Vec<(f64, Information)> = (0..count).into_par_iter().map(assigned).collect();
        let largest = all.iter().map(|(evidence, _)| *evidence).fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        let cumulative: Vec<f64> = all
            .iter()
            .map(|(evidence, _)| {
                total += (evidence - largest).exp();
                total
            })
            .collect();
        out.par_chunks_mut(m).enumerate().for_each(|(index, theta)| {
            let mut rng = key.rng(index as u64);
            let at = rng.random::<f64>() * total;
            let chosen = cumulative.partition_point(|&sum| sum <= at).min(count - 1);
            draw(&all[chosen].1, &mut rng, theta);
        });
    }

    /// A chain of `sweeps` sweeps from the prior.
    fn gibbs(&self, x: &[f64], sweeps: usize, rng: &mut Pcg64, theta: &mut [f64]) {
        let (m, components) = (self.dim, self.components.len());
        let mut log_weights = vec![0.0; components];
        let mut work = vec![0.0; 2 * m];
        let mut information = self.prior_information();
        factor(&mut information.precision, m);
        draw(&information, rng, theta);
        for _ in 0..sweeps {
            information = self.prior_information();
            for x in x.chunks_exact(m) {
                for (c, weight) in log_weights.iter_mut().enumerate() {
                    *weight = self.log_likelihood(x, theta, c, &mut work);
                }
                self.add(&mut information, x, choose(&log_weights, rng.random()));
            }
            factor(&mut information.precision, m);
            draw(&information, rng, theta);
        }
    }
}

/// The index that the uniform number `u` falls on, in proportion to exp(`log_weights`).
fn choose(log_weights: &[f64], u: f64) -> usize {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = log_weights.iter().map(|weight| (weight - largest).exp()).sum();
    let mut left = u * total;
    for (c, weight) in log_weights.iter().enumerate() {
        left -= (weight - largest).exp();
        if left < 0.0 {
            return c;
        }
    }
    log_weights.len() - 1
}

/// P becomes its Cholesky factor.
fn factor(precision: &mut [f64], m: usize) {
    let definite = cholesky(precision, m);
    debug_assert!(definite, "a sum of precisions is positive definite");
}

/// θ ~ N(P⁻¹h, P⁻¹), given the Cholesky factor L of P: L⁻ᵀ (L⁻¹ h + z).
fn draw(information: &Information, rng: &mut Pcg64, theta: &mut [f64]) {
    theta.copy_from_slice(&information.mean);
    lower_solve(&information.precision, theta);
    for value in theta.iter_mut() {
        let z: f64 = StandardNormal.sample(rng);
        *value += z;
    }
    lower_transpose_solve(&information.precision, theta);
}

#[cfg(test)]
mod tests {
    use super::super::ToyProblem;
    use super::*;
    use crate::schedule::LinearSchedule;
    use crate::score::ScoreModel;
    use crate::score::covariance::sample_moments;

    /// Observations of the mixture around θ = (0.3, .., 0.3), by turns from its narrow and its wide component.
    fn observations(n: usize, m: usize) -> Array2<f32> {
        let spread = |j: usize| if j.is_multiple_of(2) { 0.33 } else { 1.5 };
        // Sines of large arguments have mean 0 and variance ½.
        Array2::from_shape_fn((n, m), |(j, i)| 0.3 + spread(j) * 2f32.sqrt() * ((j * m + i) as f32 * 1.7).sin())
    }

    /// Mean and covariance of one observation's posterior are those the model states (a mixture's total covariance).
    #[test]
    fn one_observation_has_the_stated_moments() {
        let m = 2;
        let model = ToyProblem::Mixture.model(m, LinearSchedule::default(), true).expect("a model");
        let x = observations(1, m);
        let samples = model.tall_samples(x.view(), 40_000, StreamKey::root(1)).expect("finite");
        let (mean, covariance) =
            sample_moments(samples.as_slice().expect("standard").chunks_exact(m), m).expect("many");
        let context = model.context(&[x.view()]).expect("finite");
        let expected = (model.means(&context).expect("known"), model.covariances(&context).expect("known"));
        for (found, expected) in mean.iter().zip(&expected.0).chain(covariance.iter().zip(&expected.1)) {
            assert!((found - expected).abs() < 0.015, "{found} {expected}");
        }
    }

    /// The Gaussian toy's closed form.
    #[test]
    fn one_component_is_the_exact_gaussian() {
        let m = 3;
        let toy = super::super::GaussianToy::paper(m);
        let model = toy.model(LinearSchedule::default(), true).expect("a model");
        let x = observations(20, m);
        let samples = model.tall_samples(x.view(), 40_000, StreamKey::root(2)).expect("finite");
        let found = sample_moments(samples.as_slice().expect("standard").chunks_exact(m), m).expect("many");
        let (mean, covariance) = toy.posterior(x.view());
        for i in 0..m {
            assert!((found.0[i] - mean[i]).abs() < 5.0 * (covariance[i * m + i] / 40_000.0).sqrt());
            for j in 0..m {
                assert!((found.1[i * m + j] - covariance[i * m + j]).abs() < 0.03 * covariance[0]);
            }
        }
    }

    /// Where both can be had, chains give what the list gives.
    #[test]
    fn gibbs_agrees_with_the_list() {
        for m in [2, 10] {
            let model = ToyProblem::Mixture.model(m, LinearSchedule::default(), true).expect("a model");
            let held = observations(12, m);
            let x: Vec<f64> = held.iter().map(|&value| f64::from(value)).collect();
            let count = 20_000;
            let exact = model.tall_samples(held.view(), count, StreamKey::root(3)).expect("finite");
            let mut chains = vec![0.0; count * m];
            let key = StreamKey::root(4);
            chains
                .par_chunks_mut(m)
                .enumerate()
                .for_each(|(i, theta)| model.gibbs(&x, SWEEPS, &mut key.rng(i as u64), theta));
            let found = sample_moments(chains.chunks_exact(m), m).expect("many");
            let expected = sample_moments(exact.as_slice().expect("standard").chunks_exact(m), m).expect("many");
            for i in 0..m {
                let (variance, sd) = (expected.1[i * m + i], expected.1[i * m + i].sqrt());
                assert!((found.0[i] - expected.0[i]).abs() < 0.05 * sd, "{found:?} {expected:?}");
                assert!((found.1[i * m + i] / variance - 1.0).abs() < 0.06, "{found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn observations_that_do_not_fit_are_named() {
        let model = ToyProblem::Mixture.model(2, LinearSchedule::default(), true).expect("a model");
        assert!(model.tall_samples(observations(2, 3).view(), 1, StreamKey::root(0)).is_err());
        let mut x = observations(2, 2);
        x[[1, 0]] = f32::NAN;
        let error = model.tall_samples(x.view(), 1, StreamKey::root(0)).expect_err("NaN");
        assert!(matches!(error, InferenceError::ObservationNotFinite { row: 1 }));
    }
}
