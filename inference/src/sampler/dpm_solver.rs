//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, Alg. 2; not in the paper).

use super::grid::log_snr_times;
use super::{Control, Particles, Sampler, SamplerInfo, at_least_one_step};
use crate::Result;
use crate::score::PosteriorScore;
use serde::{Deserialize, Serialize};

/// Second-order multistep solver of the probability-flow ODE in the denoised mean θ̂_0 = (θ + v s)/√α, uniform in λ = ½ log(α/v):
///
/// θ_i = √(v_i/v_{i-1}) θ_{i-1} - √α_i (e^{-h_i} - 1) D,   D = (1 + 1/(2r)) θ̂_0^{(i-1)} - 1/(2r) θ̂_0^{(i-2)},
///
/// h_i = λ_i - λ_{i-1}, r = h_{i-1}/h_i. Its first step is first order. Deterministic, one evaluation a step: 20 to 30 do where
/// DDIM takes a thousand.
///
/// The last evaluation, at the span's end, carries the samples to t = 0 with the score held constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmSolver {
    /// Evaluations.
    pub steps: usize,
}

impl Default for DpmSolver {
    fn default() -> Self {
        Self { steps: 30 }
    }
}

impl Sampler for DpmSolver {
    fn run(
        &self,
        score: &mut dyn PosteriorScore,
        particles: &mut Particles,
        control: &Control<'_>,
    ) -> Result<SamplerInfo> {
        let times = log_snr_times(control.span, self.steps - 1, score.schedule());
        let mut denoised = vec![0.0; particles.theta.len()];
        let mut previous = vec![0.0; particles.theta.len()];
        let mut previous_h = None;
        for pair in times.windows(2) {
            control.check()?;
            let (t, next) = (pair[0], pair[1]);
            score.score(&particles.theta, t, &mut denoised)?;
            let (signal, v) = (score.schedule().signal_scale(t), score.schedule().variance(t));
            let (signal_next, v_next) = (score.schedule().signal_scale(next), score.schedule().variance(next));
            let h = score.schedule().log_snr(next) - score.schedule().log_snr(t);
            let extrapolation = previous_h.map_or(0.0, |before: f64| h / (2.0 * before));
            let keep = (v_next / v).sqrt();
            let gain = -signal_next * (-h).exp_m1();
            for ((theta, denoised), previous) in particles.theta.iter_mut().zip(&mut denoised).zip(&previous) {
                *denoised = (*theta + v * *denoised) / signal;
                let d = (1.0 + extrapolation) * *denoised - extrapolation * previous;
                *theta = keep * *theta + gain * d;
            }
            control.clip(&mut particles.theta);
            std::mem::swap(&mut denoised, &mut previous);
            previous_h = Some(h);
        }
        control.check()?;
        finish(score, &mut particles.theta, times[times.len() - 1], &mut denoised)?;
        control.clip(&mut particles.theta);
        Ok(SamplerInfo { evaluations: self.steps as u64 })
    }

    fn validate(&self) -> Result<()> {
        at_least_one_step(self.steps)
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
