//! Annealed tamed unadjusted Langevin (Brosse et al. 2019, "The tamed unadjusted Langevin algorithm"): steps that cannot overshoot
//! where scores are large.

use super::{Control, Grid, Particles, Sampler, SamplerInfo, at_least_one_step, positive};
use crate::Result;
use crate::score::PosteriorScore;
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
    fn run(
        &self,
        score: &mut dyn PosteriorScore,
        particles: &mut Particles,
        control: &Control<'_>,
    ) -> Result<SamplerInfo> {
        let times = Grid::Time.times(control.span, self.steps, score.schedule());
        let mut s = vec![0.0; particles.theta.len()];
        let mut z = vec![0.0; particles.theta.len()];
        let mut info = SamplerInfo::default();
        for &t in &times[1..] {
            info.evaluations += tamed_rounds(score, particles, control, t, self.rounds, self.ratio, (&mut s, &mut z))?;
            control.clip(&mut particles.theta);
        }
        Ok(info)
    }

    fn validate(&self) -> Result<()> {
        at_least_one_step(self.steps)?;
        at_least_one_step(self.rounds)?;
        positive("ratio", self.ratio)
    }

    fn stops_at_end(&self) -> bool {
        false
    }
}

/// `rounds` tamed steps at time `t`; the number of evaluations.
pub(super) fn tamed_rounds(
    score: &mut dyn PosteriorScore,
    particles: &mut Particles,
    control: &Control<'_>,
    t: f64,
    rounds: usize,
    ratio: f64,
    (s, z): (&mut [f64], &mut [f64]),
) -> Result<u64> {
    let m = score.dim();
    let epsilon = ratio * score.schedule().signal_scale(t) * score.schedule().variance(t);
    if epsilon <= 0.0 {
        return Ok(0);
    }
    let noise = (2.0 * epsilon).sqrt();
    for _ in 0..rounds {
        control.check()?;
        particles.noise.fill(z);
        score.score(&particles.theta, t, s)?;
        let rows = particles.theta.chunks_exact_mut(m).zip(s.chunks_exact(m)).zip(z.chunks_exact(m));
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
