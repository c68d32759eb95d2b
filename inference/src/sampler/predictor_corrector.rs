//! Predictor–corrector sampling (Song et al. 2021): a step along the diffusion, then Langevin steps at the time it led to.

use super::ddim::DdimCoefficients;
use super::tamed_langevin::tamed_rounds;
use super::{Control, Grid, Particles, Sampler, SamplerInfo, at_least_one_step, positive};
use crate::score::PosteriorScore;
use crate::{InferenceError, Result};
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
    fn run(
        &self,
        score: &mut dyn PosteriorScore,
        particles: &mut Particles,
        control: &Control<'_>,
    ) -> Result<SamplerInfo> {
        let times = self.grid.times(control.span, self.steps, score.schedule());
        let mut s = vec![0.0; particles.theta.len()];
        let mut z = vec![0.0; particles.theta.len()];
        let mut info = SamplerInfo::default();
        for pair in times.windows(2) {
            if let Predictor::Ddim { eta } = self.predictor {
                control.check()?;
                let step = DdimCoefficients::new(score.schedule(), pair[0], pair[1], eta);
                score.score(&particles.theta, pair[0], &mut s)?;
                particles.noise.fill(&mut z);
                for ((theta, s), z) in particles.theta.iter_mut().zip(&s).zip(&z) {
                    *theta = step.theta * *theta + step.score * s + step.noise * z;
                }
                info.evaluations += 1;
            }
            info.evaluations +=
                tamed_rounds(score, particles, control, pair[1], self.rounds, self.ratio, (&mut s, &mut z))?;
            control.clip(&mut particles.theta);
        }
        Ok(info)
    }

    fn validate(&self) -> Result<()> {
        at_least_one_step(self.steps)?;
        at_least_one_step(self.rounds)?;
        if let Predictor::Ddim { eta } = self.predictor
            && !(0.0..=1.0).contains(&eta)
        {
            return Err(InferenceError::Option { option: "eta", message: "must be in [0, 1]".into() });
        }
        positive("ratio", self.ratio)
    }

    fn stops_at_end(&self) -> bool {
        self.grid == Grid::LogSnr
    }
}
