//! The reverse-time SDE by Euler–Maruyama (Song et al. 2021, "Score-based generative modeling through SDEs").

use super::{Control, Grid, Particles, Sampler, SamplerInfo, at_least_one_step};
use crate::Result;
use crate::score::PosteriorScore;
use serde::{Deserialize, Serialize};

/// θ ← θ + β (½ θ + s) Δt + √(β Δt) z. Weak order one; larger errors than DDIM at the same number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReverseSde {
    /// Steps, each one evaluation.
    pub steps: usize,
    /// Spacing of the steps.
    pub grid: Grid,
}

impl Default for ReverseSde {
    fn default() -> Self {
        Self { steps: 1000, grid: Grid::Time }
    }
}

impl Sampler for ReverseSde {
    fn run(
        &self,
        score: &mut dyn PosteriorScore,
        particles: &mut Particles,
        control: &Control<'_>,
    ) -> Result<SamplerInfo> {
        let times = self.grid.times(control.span, self.steps, score.schedule());
        let mut s = vec![0.0; particles.theta.len()];
        let mut z = vec![0.0; particles.theta.len()];
        for pair in times.windows(2) {
            control.check()?;
            let rate = score.schedule().beta(pair[0]) * (pair[0] - pair[1]);
            score.score(&particles.theta, pair[0], &mut s)?;
            particles.noise.fill(&mut z);
            for ((theta, s), z) in particles.theta.iter_mut().zip(&s).zip(&z) {
                *theta += rate * (0.5 * *theta + s) + rate.sqrt() * z;
            }
            control.clip(&mut particles.theta);
        }
        Ok(SamplerInfo { evaluations: self.steps as u64 })
    }

    fn validate(&self) -> Result<()> {
        at_least_one_step(self.steps)
    }

    fn stops_at_end(&self) -> bool {
        self.grid == Grid::LogSnr
    }
}
