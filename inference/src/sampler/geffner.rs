//! The deterministic-Gaussian sampler of Geffner et al. (2023), their App. D: a Gaussian step for the product of the factors' own
//! reverse kernels.

use super::{Grid, Run, Sampler, Span, count};
use crate::schedule::NoiseSchedule;
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// With γ = α_t/α_{t'} and q = n - γ(n-1),
///
/// θ' = [(nθ + (1-γ) Σ_j s_j)/√γ - (n-1) √γ θ]/q + ((1-γ)/q) (1-n) s_λ + √((1-γ)/q) z.
///
/// Needs Σ_j s_j and s_λ apart, hence method F-NPSE with the diffused bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Geffner {
    /// Steps, each one evaluation.
    pub steps: usize,
}

impl Default for Geffner {
    fn default() -> Self {
        Self { steps: 1000 }
    }
}

impl Sampler for Geffner {
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        Grid::Time.times(span, self.steps, schedule)
    }

    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64> {
        run.control.check()?;
        let m = run.score.dim();
        let Run { score, particles, s: sums, other: prior, z, .. } = run;
        let gamma = score.schedule().alpha(t) / score.schedule().alpha(next);
        let root = gamma.sqrt();
        let mut counts = vec![0.0; particles.theta.len() / m];
        if !score.parts(&particles.theta, t, sums, prior, &mut counts)? {
            return Err(InferenceError::Option {
                option: "sampler",
                message: "Geffner's sampler composes scores itself: use it with method fnpe".into(),
            });
        }
        particles.noise.fill(z);
        for (k, theta) in particles.theta.iter_mut().enumerate() {
            let n = counts[k / m];
            let q = n - gamma * (n - 1.0);
            let mean = ((n * *theta + (1.0 - gamma) * sums[k]) / root - (n - 1.0) * root * *theta) / q;
            let correction = (1.0 - gamma) / q * (1.0 - n) * prior[k];
            *theta = mean + correction + ((1.0 - gamma) / q).sqrt() * z[k];
        }
        Ok(1)
    }

    fn validate(&self) -> Result<()> {
        count("steps", self.steps)
    }

    fn needs_parts(&self) -> bool {
        true
    }

    fn stops_at_end(&self) -> bool {
        false
    }
}
