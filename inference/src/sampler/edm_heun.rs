//! Heun's method on Karras et al.'s grid (2022, arXiv 2206.00364, Alg. 1; not in the paper).

use super::grid::karras_times;
use super::{Run, Sampler, Span, count, positive};
use crate::Result;
use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

/// The probability-flow ODE in θ̃ = θ/√α and σ = √(v/α), dθ̃/dσ = (θ̃ - θ̂_0)/σ, by Heun's second-order method on
/// σ_i = (σ_max^{1/ρ} + (i/(N-1)) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ; two evaluations a step. Deterministic.
///
/// The last evaluation carries samples from σ_min to 0 with the score held constant, as in [`DpmSolver`](super::DpmSolver).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmHeun {
    /// Noise levels N: 2N - 1 evaluations.
    pub steps: usize,
    /// ρ of the grid; larger values put more levels at small noise. Karras et al. find 7 best.
    pub rho: f64,
}

impl Default for EdmHeun {
    fn default() -> Self {
        Self { steps: 25, rho: 7.0 }
    }
}

impl Sampler for EdmHeun {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        karras_times(span, self.steps - 1, self.rho, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        run.score(t)?;
        let Run { score, particles, s: first, z: second, other: trial, .. } = run;
        let [(signal, slope, noise), (signal_next, slope_next, noise_next)] = [t, next].map(|t| {
            let (signal, v) = (score.schedule().signal_scale(t), score.schedule().variance(t));
            // dθ̃/dσ = -σ √α s = -√v s.
            (signal, -v.sqrt(), v.sqrt() / signal)
        });
        let step = noise_next - noise;
        for ((trial, theta), s) in trial.iter_mut().zip(&particles.theta).zip(&*first) {
            *trial = signal_next * (theta / signal + step * slope * s);
        }
        score.score(trial, next, second)?;
        for ((theta, s), s_next) in particles.theta.iter_mut().zip(&*first).zip(&*second) {
            *theta = signal_next * (*theta / signal + 0.5 * step * (slope * s + slope_next * s_next));
        }
        Ok(2)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        positive("rho", self.rho)
    }

    fn stops_at_end(&self) -> bool {
        true
    }
}
