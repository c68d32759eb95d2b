//! SLCP: simple likelihood, complex posterior (Papamakarios, Sterratt & Murray 2019; sbibm, Lueckmann et al. 2021).
//!
//! Four points in the plane, i.i.d. N(m, S) with m = (θ1, θ2), s1 = θ3², s2 = θ4², ρ = tanh θ5 and
//! S = [[s1², ρ s1 s2], [ρ s1 s2, s2²]] + ε I. The squares make four posterior modes out of one.

use crate::{LogLikelihood, Result, Simulator, SimulatorTask, TallLogLikelihood};
use ndarray::ArrayView2;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::{Prior, SignedPermutation};

/// Points per observation.
const POINTS: usize = 4;
/// ε on the diagonal of S, as in sbibm: keeps S positive definite where θ3 or θ4 is near zero.
const DIAGONAL_FLOOR: f64 = 1e-6;
/// The prior is U(-3, 3) for each of the five parameters.
const PRIOR_BOUND: f64 = 3.0;
const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// The SLCP simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slcp;

/// The task `slcp`: m = 5, d = 8 (four points, coordinates interleaved).
///
/// # Errors
/// None; the signature is that of every task.
pub fn slcp() -> Result<SimulatorTask<Slcp>> {
    let names = ["theta_1", "theta_2", "theta_3", "theta_4", "theta_5"];
    let prior = Prior::uniform(&names.map(|name| (name, -PRIOR_BOUND, PRIOR_BOUND)))?;
    let observation_names = (1..=POINTS).flat_map(|point| ["x", "y"].map(|axis| format!("{axis}_{point}"))).collect();
    // S depends on θ3 and θ4 through their squares.
    let signs = [2, 3].map(|coordinate| SignedPermutation::flip(names.len(), &[coordinate]));
    SimulatorTask::new("slcp", prior, observation_names, Slcp)?
        .described("Simple likelihood, complex posterior: four Gaussian points in the plane, four posterior modes")
        .with_likelihood()
        .with_symmetry(&signs)
}

/// S11, S12, S22 at θ.
fn covariance(theta: &[f64]) -> (f64, f64, f64) {
    let (s1, s2, rho) = (theta[2] * theta[2], theta[3] * theta[3], theta[4].tanh());
    (s1 * s1 + DIAGONAL_FLOOR, rho * s1 * s2, s2 * s2 + DIAGONAL_FLOOR)
}

impl Simulator for Slcp {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let (s11, s12, s22) = covariance(theta);
        let l11 = s11.sqrt();
        let l21 = s12 / l11;
        let l22 = (s22 - l21 * l21).sqrt();
        for point in x.chunks_exact_mut(2) {
            let z1: f64 = StandardNormal.sample(rng);
            let z2: f64 = StandardNormal.sample(rng);
            point[0] = theta[0] + l11 * z1;
            point[1] = theta[1] + l21 * z1 + l22 * z2;
        }
        Ok(())
    }
}

/// Sufficient statistics of points in the plane.
struct PlaneMoments {
    /// Points.
    n: f64,
    mean: [f64; 2],
    /// Σ (x - mean)(x - mean)ᵀ: its elements 11, 12, 22.
    scatter: [f64; 3],
}

impl PlaneMoments {
    /// Of points whose coordinates alternate.
    fn new(coordinates: impl Iterator<Item = f64> + Clone) -> Self {
        let points = || {
            let xs = coordinates.clone().step_by(2);
            xs.zip(coordinates.clone().skip(1).step_by(2))
        };
        let (mut n, mut mean, mut scatter) = (0.0, [0.0; 2], [0.0; 3]);
        for (x, y) in points() {
            n += 1.0;
            mean[0] += x;
            mean[1] += y;
        }
        mean = mean.map(|sum| sum / n);
        for (x, y) in points() {
            let (dx, dy) = (x - mean[0], y - mean[1]);
            scatter[0] += dx * dx;
            scatter[1] += dx * dy;
            scatter[2] += dy * dy;
        }
        Self { n, mean, scatter }
    }
}

impl TallLogLikelihood for PlaneMoments {
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        let (s11, s12, s22) = covariance(theta);
        let determinant = s11 * s22 - s12 * s12;
        let (p11, p12, p22) = (s22 / determinant, -s12 / determinant, s11 / determinant);
        let (r1, r2) = (self.mean[0] - theta[0], self.mean[1] - theta[1]);
        // A = Σ r rᵀ, r = x - (θ1, θ2).
        let [a11, a12, a22] = [
            self.scatter[0] + self.n * r1 * r1,
            self.scatter[1] + self.n * r1 * r2,
            self.scatter[2] + self.n * r2 * r2,
        ];
        gradient[0] = self.n * (p11 * r1 + p12 * r2);
        gradient[1] = self.n * (p12 * r1 + p22 * r2);
        // G = ∂ log-likelihood / ∂S = ½ (P A P - n P), symmetric.
        let (q11, q12) = (p11 * a11 + p12 * a12, p11 * a12 + p12 * a22);
        let (q21, q22) = (p12 * a11 + p22 * a12, p12 * a12 + p22 * a22);
        let g11 = 0.5 * (q11 * p11 + q12 * p12 - self.n * p11);
        let g12 = 0.5 * (q11 * p12 + q12 * p22 - self.n * p12);
        let g22 = 0.5 * (q21 * p12 + q22 * p22 - self.n * p22);
        let (s1, s2, rho) = (theta[2] * theta[2], theta[3] * theta[3], theta[4].tanh());
        gradient[2] = 4.0 * theta[2] * (g11 * s1 + g12 * rho * s2);
        gradient[3] = 4.0 * theta[3] * (g22 * s2 + g12 * rho * s1);
        gradient[4] = 2.0 * g12 * s1 * s2 * (1.0 - rho * rho);
        -0.5 * (p11 * a11 + 2.0 * p12 * a12 + p22 * a22 + self.n * determinant.ln()) - self.n * LN_2PI
    }
}

impl LogLikelihood for Slcp {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        PlaneMoments::new(x.iter().map(|&value| f64::from(value))).log_likelihood_gradient(theta, gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        PlaneMoments::new(x.iter().map(|&value| f64::from(value))).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(PlaneMoments::new(x.iter().map(|&value| f64::from(value))))
    }
}
