//! A population of particles carried from the prior to the posterior through tempered densities.
//!
//! Adaptive sequential Monte Carlo (Del Moral, Doucet & Jasra 2006, arXiv cond-mat/0212648; adaptive temperatures as in Jasra
//! et al. 2011): π_τ(z) ∝ N(z; 0, I) L(z)^τ for τ from 0 to 1, where L = π / N(0, I) is the likelihood. Each step raises τ
//! until the weights' effective size falls to a given share of the particles, resamples, and moves every particle by
//! Hamiltonian Monte Carlo that is preconditioned by the population's covariance. The shares of the particles in the modes are
//! the modes' weights, up to the noise of resampling.

use super::LogDensity;
use crate::{InferenceError, Result};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::Stage;

/// The next temperature is where the weights' effective size is this share of the particles.
const EFFECTIVE_SHARE: f64 = 0.5;
/// Acceptance the step of the moves is adapted to.
const TARGET_ACCEPT: f64 = 0.8;
/// Length of a move's trajectory, in units of the population's standard deviation: a quarter period, after which a Gaussian
/// population has forgotten where it was.
const TRAJECTORY: f64 = std::f64::consts::FRAC_PI_2;
/// A move has at most this many steps.
const MOST_STEPS: usize = 10;
/// Relative range of the random step of each move: no trajectory length is resonant.
const STEP_JITTER: f64 = 0.2;
/// Bisections to find a temperature: beyond double precision.
const BISECTIONS: usize = 60;
/// Temperatures after which a population has not made it.
const MOST_TEMPERATURES: usize = 1000;

/// A point with what is known of it.
#[derive(Clone)]
struct Particle {
    z: Vec<f64>,
    /// log L(z) = log π(z) + ½‖z‖².
    log_likelihood: f64,
    /// ∇ log L(z).
    gradient: Vec<f64>,
}

impl Particle {
    fn new(density: &dyn LogDensity, z: Vec<f64>) -> Self {
        let mut gradient = vec![0.0; z.len()];
        let value = density.log_density_gradient(&z, &mut gradient);
        gradient.iter_mut().zip(&z).for_each(|(g, z)| *g += z);
        let log_likelihood = value + 0.5 * dot(&z, &z);
        let possible = log_likelihood.is_finite() && gradient.iter().all(|g| g.is_finite());
        Self { z, log_likelihood: if possible { log_likelihood } else { f64::NEG_INFINITY }, gradient }
    }

    /// log π_τ.
    fn tempered(&self, temperature: f64) -> f64 {
        temperature * self.log_likelihood - 0.5 * dot(&self.z, &self.z)
    }

    /// Component i of ∇ log π_τ.
    fn tempered_gradient(&self, temperature: f64, i: usize) -> f64 {
        temperature * self.gradient[i] - self.z[i]
    }
}

/// Mean and spread of a population, as an affine map from a standard normal.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    /// Mean.
    pub mean: Vec<f64>,
    /// Lower Cholesky factor of the covariance, rows of full length.
    pub factor: Vec<Vec<f64>>,
}

impl Affine {
    /// mean + L w.
    pub fn apply(&self, w: &[f64], z: &mut [f64]) {
        for (i, out) in z.iter_mut().enumerate() {
            *out = self.mean[i] + dot(&self.factor[i][..=i], &w[..=i]);
        }
    }

    /// L⁻¹ (z - mean).
    pub fn solve(&self, z: &[f64], w: &mut [f64]) {
        for i in 0..z.len() {
            let known = dot(&self.factor[i][..i], &w[..i]);
            w[i] = (z[i] - self.mean[i] - known) / self.factor[i][i];
        }
    }

    /// Lᵀ g.
    pub fn pull_back(&self, by_z: &[f64], by_w: &mut [f64]) {
        by_w.fill(0.0);
        for (row, g) in self.factor.iter().zip(by_z) {
            by_w.iter_mut().zip(row).for_each(|(out, l)| *out += l * g);
        }
    }
}

/// Particles at a temperature.
pub(super) struct Population<'a> {
    density: &'a dyn LogDensity,
    particles: Vec<Particle>,
    temperature: f64,
    step: f64,
    /// Evaluations of the density.
    pub gradients: u64,
    /// Temperatures passed.
    pub temperatures: usize,
}

impl<'a> Population<'a> {
    /// `size` draws from the prior.
    ///
    /// # Errors
    /// When the density is zero or not finite at all of them.
    pub fn from_prior(density: &'a dyn LogDensity, size: usize, rng: &mut impl Rng) -> Result<Self> {
        let draw = |rng: &mut _| (0..density.dim()).map(|_| StandardNormal.sample(rng)).collect();
        let particles: Vec<_> = (0..size).map(|_| Particle::new(density, draw(rng))).collect();
        if particles.iter().all(|particle| particle.log_likelihood == f64::NEG_INFINITY) {
            return Err(InferenceError::Reference(format!(
                "the log-density is not finite at any of {size} draws from the prior; check the observations, or give more particles"
            )));
        }
        Ok(Self { density, particles, temperature: 0.0, step: 1.0, gradients: size as u64, temperatures: 0 })
    }

    /// Carries the population to temperature 1 and moves it there `last_moves` times.
    ///
    /// # Errors
    /// [`InferenceError::Cancelled`]; [`InferenceError::Reference`] when it does not arrive.
    pub fn anneal(&mut self, last_moves: usize, rng: &mut impl Rng, stage: &Stage<'_>) -> Result<()> {
        while self.temperature < 1.0 {
            stage.check()?;
            let next = self.next_temperature();
            let weights = self.weights(next - self.temperature);
            let whitening = self.moments(&weights);
            self.resample(&weights, rng);
            self.temperature = next;
            self.temperatures += 1;
            if self.temperatures > MOST_TEMPERATURES {
                return Err(InferenceError::Reference(format!(
                    "the population reached temperature {next:.1e} of 1 only; give more particles"
                )));
            }
            self.move_all(&whitening, rng);
        }
        for _ in 0..last_moves {
            stage.check()?;
            let whitening = self.affine();
            self.move_all(&whitening, rng);
        }
        Ok(())
    }

    /// Normalised weights L^increment.
    fn weights(&self, increment: f64) -> Vec<f64> {
        let highest = self.particles.iter().map(|p| p.log_likelihood).fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> =
            self.particles.iter().map(|p| (increment * (p.log_likelihood - highest)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        weights
    }

    fn next_temperature(&self) -> f64 {
        let enough = |next: f64| {
            let effective = 1.0 / self.weights(next - self.temperature).iter().map(|w| w * w).sum::<f64>();
            effective >= EFFECTIVE_SHARE * self.particles.len() as f64
        };
        if enough(1.0) {
            return 1.0;
        }
        let (mut low, mut high) = (self.temperature, 1.0);
        for _ in 0..BISECTIONS {
            // Geometric, since first temperatures may be tiny.
            let middle = if low == 0.0 { high * 0.5 } else { 0.5 * (low + high) };
            if enough(middle) { low = middle } else { high = middle }
        }
        // Where impossible particles alone break the limit, `high` has come down to the temperature itself.
        high.max(self.temperature * (1.0 + 1e-9))
    }

    /// Systematic resampling.
    fn resample(&mut self, weights: &[f64], rng: &mut impl Rng) {
        let n = self.particles.len();
        let offset: f64 = rng.random();
        let (mut index, mut cumulative) = (0, weights[0]);
        let chosen = (0..n).map(|k| {
            let position = (k as f64 + offset) / n as f64;
            while cumulative < position && index + 1 < n {
                index += 1;
                cumulative += weights[index];
            }
            self.particles[index].clone()
        });
        self.particles = chosen.collect();
    }

    /// Mean and spread of the particles.
    pub fn affine(&self) -> Affine {
        self.moments(&vec![1.0 / self.particles.len() as f64; self.particles.len()])
    }

    fn moments(&self, weights: &[f64]) -> Affine {
        let m = self.density.dim();
        let mut mean = vec![0.0; m];
        for (particle, w) in self.particles.iter().zip(weights) {
            mean.iter_mut().zip(&particle.z).for_each(|(out, z)| *out += w * z);
        }
        // Correlations shrink as if m + 1 uncorrelated particles were there too: few particles give no singular covariance.
        let effective = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
        let shrink = effective / (effective + m as f64 + 1.0);
        let mut covariance = vec![vec![0.0; m]; m];
        for (particle, w) in self.particles.iter().zip(weights) {
            for i in 0..m {
                for j in 0..=i {
                    covariance[i][j] += w * (particle.z[i] - mean[i]) * (particle.z[j] - mean[j]);
                }
            }
        }
        for (i, row) in covariance.iter_mut().enumerate() {
            // A population that collapsed onto one point still has a direction to move in.
            row[i] = row[i].max(f64::EPSILON);
            row[..i].iter_mut().for_each(|value| *value *= shrink);
        }
        Affine { mean, factor: cholesky(&covariance) }
    }

    /// One Hamiltonian move of every particle; adapts the step.
    fn move_all(&mut self, whitening: &Affine, rng: &mut impl Rng) {
        let mut accepted = 0.0;
        for index in 0..self.particles.len() {
            let (moved, probability) = self.trajectory(&self.particles[index], whitening, rng);
            self.gradients += moved.1;
            accepted += probability;
            if rng.random::<f64>() < probability {
                self.particles[index] = moved.0;
            }
        }
        self.step *= (accepted / self.particles.len() as f64 - TARGET_ACCEPT).exp();
        self.step = self.step.min(TRAJECTORY);
    }

    /// The end of a trajectory from `start`, the number of evaluations, and the probability to accept it.
    fn trajectory(&self, start: &Particle, whitening: &Affine, rng: &mut impl Rng) -> ((Particle, u64), f64) {
        let m = start.z.len();
        let step = self.step * (1.0 + STEP_JITTER * (2.0 * rng.random::<f64>() - 1.0));
        let steps = ((TRAJECTORY / self.step).round() as usize).clamp(1, MOST_STEPS);
        let mut momentum: Vec<f64> = (0..m).map(|_| StandardNormal.sample(rng)).collect();
        let initial = start.tempered(self.temperature) - 0.5 * dot(&momentum, &momentum);
        let (mut by_z, mut by_w) = (vec![0.0; m], vec![0.0; m]);
        let mut w = vec![0.0; m];
        whitening.solve(&start.z, &mut w);
        let mut now = start.clone();
        for taken in 1..=steps {
            let mut kick = |momentum: &mut [f64], now: &Particle| {
                by_z.iter_mut().enumerate().for_each(|(i, g)| *g = now.tempered_gradient(self.temperature, i));
                whitening.pull_back(&by_z, &mut by_w);
                momentum.iter_mut().zip(&by_w).for_each(|(p, g)| *p += 0.5 * step * g);
            };
            kick(&mut momentum, &now);
            w.iter_mut().zip(&momentum).for_each(|(w, p)| *w += step * p);
            let mut z = vec![0.0; m];
            whitening.apply(&w, &mut z);
            now = Particle::new(self.density, z);
            if now.log_likelihood == f64::NEG_INFINITY {
                return ((now, taken as u64), 0.0);
            }
            kick(&mut momentum, &now);
        }
        let last = now.tempered(self.temperature) - 0.5 * dot(&momentum, &momentum);
        let probability = (last - initial).exp().min(1.0);
        ((now, steps as u64), if probability.is_nan() { 0.0 } else { probability })
    }

    /// The particles' positions.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.particles.iter().map(|particle| particle.z.as_slice())
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Lower Cholesky factor of a symmetric matrix given by its lower triangle; pivots that rounding made negative become tiny.
pub(super) fn cholesky(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let m = matrix.len();
    let mut factor = vec![vec![0.0; m]; m];
    for i in 0..m {
        for j in 0..=i {
            let rest = matrix[i][j] - dot(&factor[i][..j], &factor[j][..j]);
            factor[i][j] = if i == j { rest.max(f64::EPSILON * matrix[i][i]).sqrt() } else { rest / factor[j][j] };
        }
    }
    factor
}
