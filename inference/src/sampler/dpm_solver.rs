//! DPM-Solver++(2M), deterministic and stochastic (Lu et al. 2022, arXiv 2211.01095, Alg. 2 and App. on SDE solvers; not in the paper).

use super::grid::half_log_snr_times;
use super::{Run, Sampler, Span, count, fraction};
use crate::Result;
use crate::schedule::NoiseSchedule;
use crate::score::PosteriorScore;
use serde::{Deserialize, Serialize};

/// Second-order multistep solver in the denoised mean θ̂_0 = (θ + v s)/√α, uniform in λ = ½ log(α/v):
///
/// θ_i = √(v_i/v_{i-1}) e^{-ηh_i} θ_{i-1} + √α_i (1 - e^{-(1+η)h_i}) D + √(v_i (1 - e^{-2ηh_i})) z,
/// D = (1 + 1/(2r)) θ̂_0^{(i-1)} - 1/(2r) θ̂_0^{(i-2)},   h_i = λ_i - λ_{i-1},   r = h_{i-1}/h_i.
///
/// η = 0 follows the probability-flow ODE, η = 1 the reverse SDE. One evaluation a step, the first step first order: 20 to 30 do
/// where DDIM takes a thousand. With exact scores both give the same distribution, and the ODE needs fewer steps. With those of a
/// network they differ: errors of the score accumulate along the ODE, while the SDE's noise pulls samples back to where the score at
/// later times wants them, as in DDIM with η = 1.
///
/// The last evaluation, at the span's end, carries the samples to t = 0 with the score held constant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmSolver {
    /// Evaluations.
    pub steps: usize,
    /// η ∈ [0, 1]: 0 is deterministic, 1 the reverse SDE.
    pub eta: f64,
}

impl Default for DpmSolver {
    fn default() -> Self {
        Self { steps: 30, eta: 1.0 }
    }
}

/// What a step multiplies.
struct Coefficients {
    /// Of θ.
    keep: f64,
    /// Of D.
    gain: f64,
    /// Of z.
    noise: f64,
    /// 1/(2r).
    extrapolation: f64,
    /// h, for the next step's r.
    h: f64,
}

impl Coefficients {
    fn new(schedule: &dyn NoiseSchedule, (t, next): (f64, f64), eta: f64, previous_h: Option<f64>) -> Self {
        let h = schedule.half_log_snr(next) - schedule.half_log_snr(t);
        let v_next = schedule.variance(next);
        Self {
            keep: (v_next / schedule.variance(t)).sqrt() * (-eta * h).exp(),
            gain: -schedule.signal_scale(next) * (-(1.0 + eta) * h).exp_m1(),
            noise: (-v_next * (-2.0 * eta * h).exp_m1()).sqrt(),
            extrapolation: previous_h.map_or(0.0, |before| h / (2.0 * before)),
            h,
        }
    }
}

impl Sampler for DpmSolver {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        half_log_snr_times(span, self.steps - 1, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        run.score(t)?;
        let Run { score, particles, s: denoised, other: previous, z, .. } = run;
        let (signal, v) = (score.schedule().signal_scale(t), score.schedule().variance(t));
        let step = Coefficients::new(score.schedule(), (t, next), self.eta, run.previous_h);
        if self.eta > 0.0 {
            particles.noise.fill(z);
        }
        let numbers = denoised.iter_mut().zip(&*previous).zip(&*z);
        for (theta, ((denoised, previous), z)) in particles.theta.iter_mut().zip(numbers) {
            *denoised = (*theta + v * *denoised) / signal;
            let d = (1.0 + step.extrapolation) * *denoised - step.extrapolation * previous;
            *theta = step.keep * *theta + step.gain * d + step.noise * z;
        }
        std::mem::swap(denoised, previous);
        run.previous_h = Some(step.h);
        Ok(1)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        fraction("eta", self.eta)
    }

    fn stops_at_end(&self) -> bool {
        true
    }
}

/// From a small t to 0 along the probability-flow ODE with the score held constant, one evaluation: in θ̃ = θ/√α and
/// σ = √(v/α) the ODE is dθ̃/dσ = -σ ∇ log p̃, so θ_0 = (θ + (v/2) s)/√α.
///
/// Posterior scores are smooth at scales below the posterior's width, so they vary little from σ to 0; the usual last step to the
/// denoised mean, (θ + v s)/√α, goes twice as far and takes variance away: of a Gaussian with standard deviation S it leaves a relative
/// error of (σ/S)²/2 in the standard deviation, this step (σ/S)⁴/8.
pub(crate) fn finish(score: &mut dyn PosteriorScore, theta: &mut [f64], t: f64, s: &mut [f64]) -> Result<()> {
    score.score(theta, t, s)?;
    let (signal, v) = (score.schedule().signal_scale(t), score.schedule().variance(t));
    for (theta, s) in theta.iter_mut().zip(s.iter()) {
        *theta = (*theta + 0.5 * v * s) / signal;
    }
    Ok(())
}
