//! Predictor–corrector sampling (Song et al. 2021): a step along the diffusion, then Langevin steps at the time it led to.

use super::ddim::DdimCoefficients;
use super::tamed_langevin::tamed_rounds;
use super::{Grid, Run, Sampler, Span, count, fraction, positive};
use crate::Result;
use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

/// The step along the diffusion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Predictor {
    /// A DDIM step.
    Ddim {
        /// η ∈ [0, 1].
        eta: f64,
    },
    /// None: annealed (tamed) Langevin.
    Identity,
}

/// A predictor and a tamed-Langevin corrector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictorCorrector {
    /// Times T.
    pub steps: usize,
    /// Corrections after each step.
    pub rounds: usize,
    /// r of the corrections' step size ε = r √α v.
    pub ratio: f64,
    /// The step along the diffusion.
    pub predictor: Predictor,
    /// Spacing of the times.
    pub grid: Grid,
}

impl Default for PredictorCorrector {
    fn default() -> Self {
        Self { steps: 200, rounds: 1, ratio: 0.5, predictor: Predictor::Ddim { eta: 1.0 }, grid: Grid::Time }
    }
}

impl Sampler for PredictorCorrector {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        self.grid.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        let mut evaluations = 0;
        if let Predictor::Ddim { eta } = self.predictor {
            run.score(t)?;
            let step = DdimCoefficients::new(run.score.schedule(), t, next, eta);
            run.particles.noise.fill(&mut run.z);
            step.apply(run);
            evaluations += 1;
        }
        Ok(evaluations + tamed_rounds(run, next, self.rounds, self.ratio)?)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        count("rounds", self.rounds)?;
        if let Predictor::Ddim { eta } = self.predictor {
            fraction("eta", eta)?;
        }
        positive("ratio", self.ratio)
    }

    fn stops_at_end(&self) -> bool {
        self.grid == Grid::LogSnr
    }
}
