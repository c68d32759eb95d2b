//! The reverse-time SDE by Euler–Maruyama (Song et al. 2021, "Score-based generative modeling through SDEs").

use super::{Grid, Run, Sampler, Span, count};
use crate::Result;
use crate::schedule::NoiseSchedule;
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
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        self.grid.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        run.score(t)?;
        let rate = run.score.schedule().beta(t) * (t - next);
        run.particles.noise.fill(&mut run.z);
        for ((theta, s), z) in run.particles.theta.iter_mut().zip(&run.s).zip(&run.z) {
            *theta += rate * (0.5 * *theta + s) + rate.sqrt() * z;
        }
        Ok(1)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)
    }

    fn stops_at_end(&self) -> bool {
        self.grid == Grid::LogSnr
    }
}
