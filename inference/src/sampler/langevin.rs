//! Annealed Langevin dynamics, unadjusted (Song & Ermon 2019; Geffner et al. 2023; the paper's LANGEVIN).

use super::{Grid, Run, Sampler, Span, count, positive};
use crate::Result;
use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

/// At each time t of a uniform grid, `rounds` times θ ← θ + δ s(θ, t) + √(2δ) z with δ = τ (1-γ)/√γ, γ = α_t/α_{t'}, t' the next time.
///
/// Works with scores that are not those of one diffusion (F-NPSE's bridging densities), at the price of a bias from finite steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Langevin {
    /// Times T.
    pub steps: usize,
    /// L: evaluations a time.
    pub rounds: usize,
    /// τ.
    pub tau: f64,
}

impl Default for Langevin {
    fn default() -> Self {
        Self { steps: 400, rounds: 5, tau: 0.5 }
    }
}

impl Langevin {
    /// δ of the step from `t` to `next`.
    pub fn step_size(&self, schedule: &dyn NoiseSchedule, t: f64, next: f64) -> f64 {
        let gamma = schedule.alpha(t) / schedule.alpha(next);
        self.tau * (1.0 - gamma) / gamma.sqrt()
    }
}

impl Sampler for Langevin {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        Grid::Time.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        let delta = self.step_size(run.score.schedule(), t, next);
        let noise = (2.0 * delta).sqrt();
        for _ in 0..self.rounds {
            run.particles.noise.fill(&mut run.z);
            run.score(t)?;
            for ((theta, s), z) in run.particles.theta.iter_mut().zip(&run.s).zip(&run.z) {
                *theta += delta * s + noise * z;
            }
        }
        Ok(self.rounds as u64)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        count("rounds", self.rounds)?;
        positive("tau", self.tau)
    }

    fn stops_at_end(&self) -> bool {
        false
    }
}
