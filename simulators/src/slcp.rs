//! SLCP: simple likelihood, complex posterior (Papamakarios, Sterratt & Murray 2019; sbibm, Lueckmann et al. 2021).
//!
//! Four points in the plane, i.i.d. N(m, S) with m = (θ1, θ2), s1 = θ3², s2 = θ4², ρ = tanh θ5 and
//! S = [[s1², ρ s1 s2], [ρ s1 s2, s2²]] + ε I. The squares make four posterior modes out of one.

use crate::{LogLikelihood, Result, Simulator, SimulatorTask};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::Prior;

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
    Ok(SimulatorTask::new("slcp", prior, observation_names, Slcp)?
        .described("Simple likelihood, complex posterior: four Gaussian points in the plane, four posterior modes")
        .with_likelihood())
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

impl LogLikelihood for Slcp {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        let (s11, s12, s22) = covariance(theta);
        let determinant = s11 * s22 - s12 * s12;
        let (p11, p12, p22) = (s22 / determinant, -s12 / determinant, s11 / determinant);
        gradient.fill(0.0);
        let mut total = 0.0;
        // G = Σ ∂ log N / ∂S = ½ Σ (P r rᵀ P - P), symmetric.
        let (mut g11, mut g12, mut g22) = (0.0, 0.0, 0.0);
        for point in x.chunks_exact(2) {
            let (r1, r2) = (f64::from(point[0]) - theta[0], f64::from(point[1]) - theta[1]);
            let (w1, w2) = (p11 * r1 + p12 * r2, p12 * r1 + p22 * r2);
            total -= 0.5 * (r1 * w1 + r2 * w2 + determinant.ln()) + LN_2PI;
            gradient[0] += w1;
            gradient[1] += w2;
            g11 += 0.5 * (w1 * w1 - p11);
            g12 += 0.5 * (w1 * w2 - p12);
            g22 += 0.5 * (w2 * w2 - p22);
        }
        let (s1, s2, rho) = (theta[2] * theta[2], theta[3] * theta[3], theta[4].tanh());
        gradient[2] = 4.0 * theta[2] * (g11 * s1 + g12 * rho * s2);
        gradient[3] = 4.0 * theta[3] * (g22 * s2 + g12 * rho * s1);
        gradient[4] = 2.0 * g12 * s1 * s2 * (1.0 - rho * rho);
        total
    }
}
