//! DDIM (Song, Meng & Ermon 2021; paper Sec. 2.2 and App. C; factors of α^{-1/2} corrected).

use super::{Grid, Run, Sampler, Span, count, fraction};
use crate::Result;
use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

/// Denoising diffusion implicit models: with θ̂_0 = (θ + v s)/√α,
///
/// θ_{t'} = √α' θ̂_0 + √(v' - σ²) (θ - √α θ̂_0)/√v + σ z,   σ² = η² (v'/v) (1 - α/α').
///
/// First order; η = 0 is deterministic (the probability-flow ODE), η = 1 ancestral sampling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// Steps, each one evaluation. The paper has 50, 150, 400, 1000.
    pub steps: usize,
    /// η ∈ [0, 1]; the paper pairs 0.2, 0.5, 0.8, 1 with those steps.
    pub eta: f64,
    /// Spacing of the steps.
    pub grid: Grid,
}

impl Ddim {
    /// The paper's η for the published number of steps nearest (in ratio) to `steps`: 0.2 for 50, 0.5 for 150, 0.8 for 400, 1 for 1000.
    pub fn published_eta(steps: usize) -> f64 {
        let ratio = |published: f64| (steps.max(1) as f64 / published).ln().abs();
        [(50.0, 0.2), (150.0, 0.5), (400.0, 0.8), (1000.0, 1.0)]
            .into_iter()
            .min_by(|(a, _), (b, _)| ratio(*a).total_cmp(&ratio(*b)))
            .map_or(1.0, |(_, eta)| eta)
    }
}

impl Default for Ddim {
    fn default() -> Self {
        Self { steps: 1000, eta: 1.0, grid: Grid::Time }
    }
}

/// What a step from one time to another multiplies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DdimCoefficients {
    /// Of θ.
    pub theta: f64,
    /// Of the score.
    pub score: f64,
    /// σ, of the noise.
    pub noise: f64,
}

impl DdimCoefficients {
    /// The step from `t` to the earlier `next`.
    pub fn new(schedule: &dyn NoiseSchedule, t: f64, next: f64, eta: f64) -> Self {
        let (alpha, v) = (schedule.alpha(t), schedule.variance(t));
        let (alpha_next, v_next) = (schedule.alpha(next), schedule.variance(next));
        let noise = eta * (v_next / v * (1.0 - alpha / alpha_next)).max(0.0).sqrt();
        // θ̂_0 = (θ + v s)/√α, and (θ - √α θ̂_0)/√v = -√v s.
        let ratio = (alpha_next / alpha).sqrt();
        let direction = (v_next - noise * noise).max(0.0).sqrt();
        Self { theta: ratio, score: ratio * v - direction * v.sqrt(), noise }
    }

    /// Moves the particles, whose scores and noise are there.
    pub(super) fn apply(&self, run: &mut Run<'_>) {
        for ((theta, s), z) in run.particles.theta.iter_mut().zip(&run.s).zip(&run.z) {
            *theta = self.theta * *theta + self.score * s + self.noise * z;
        }
    }
}

impl Sampler for Ddim {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        self.grid.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        run.score(t)?;
        let step = DdimCoefficients::new(run.score.schedule(), t, next, self.eta);
        if self.eta > 0.0 {
            run.particles.noise.fill(&mut run.z);
        }
        step.apply(run);
        Ok(1)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        fraction("eta", self.eta)
    }

    fn stops_at_end(&self) -> bool {
        self.grid == Grid::LogSnr
    }
}
