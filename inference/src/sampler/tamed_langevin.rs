//! Annealed tamed unadjusted Langevin (Brosse et al. 2019, "The tamed unadjusted Langevin algorithm"): steps that cannot overshoot
//! where scores are large.

use super::{Grid, Run, Sampler, Span, count, positive};
use crate::Result;
use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

/// At each time t' of a uniform grid without its first point, `rounds` times
/// θ ← θ + ε s/(1 + ε ‖s‖) + √(2ε) z with ε = r √α v. Rounds at t' = 0, where ε = 0, are left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TamedLangevin {
    /// Times T.
    pub steps: usize,
    /// L: evaluations a time.
    pub rounds: usize,
    /// r.
    pub ratio: f64,
}

impl Default for TamedLangevin {
    fn default() -> Self {
        Self { steps: 400, rounds: 5, ratio: 0.5 }
    }
}

impl Sampler for TamedLangevin {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        Grid::Time.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, _t: f64, next: f64) -> Result<u64> {
        tamed_rounds(run, next, self.rounds, self.ratio)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)?;
        count("rounds", self.rounds)?;
        positive("ratio", self.ratio)
    }

    fn stops_at_end(&self) -> bool {
        false
    }
}

/// `rounds` tamed steps at time `t`; the number of evaluations.
pub(super) fn tamed_rounds(run: &mut Run<'_>, t: f64, rounds: usize, ratio: f64) -> Result<u64> {
    let m = run.score.dim();
    let epsilon = ratio * run.score.schedule().signal_scale(t) * run.score.schedule().variance(t);
    if epsilon <= 0.0 {
        return Ok(0);
    }
    let noise = (2.0 * epsilon).sqrt();
    for _ in 0..rounds {
        run.particles.noise.fill(&mut run.z);
        run.score(t)?;
        let rows = run.particles.theta.chunks_exact_mut(m).zip(run.s.chunks_exact(m)).zip(run.z.chunks_exact(m));
        for ((theta, s), z) in rows {
            let norm = s.iter().map(|value| value * value).sum::<f64>().sqrt();
            let step = epsilon / (1.0 + epsilon * norm);
            for i in 0..m {
                theta[i] += step * s[i] + noise * z[i];
            }
        }
    }
    Ok(rounds as u64)
}
