//! Keeps denoised means within a bounded prior ("static thresholding", Saharia et al. 2022, arXiv 2205.11487, Sec. 2.3).

use super::{PosteriorScore, ScoreCounters};
use crate::Result;
use crate::prior_score::Level;
use crate::schedule::NoiseSchedule;
use tallsbi_data::{Component, Prior};

/// The score of another composition, with its denoised mean E[θ_0|θ_t] = (θ + v s)/√α moved to the nearest point of the prior's box
/// wherever it lies outside.
///
/// The mean of any distribution on the box lies in it, so exact scores stay as they are. Composed ones do not obey: outside
/// the box s_λ grows like 1/v and is taken 1 - n times, so that a small error of the sum drives samples away from it. For
/// scores of diffused posteriors (GAUSS, JAC); those of F-NPSE's bridging densities have no such mean.
///
/// Costs O(m) a particle.
pub struct WithinSupport<'a> {
    inner: Box<dyn PosteriorScore + 'a>,
    /// Coordinates with bounds.
    bounds: Vec<(usize, f64, f64)>,
    moved: u64,
}

impl<'a> WithinSupport<'a> {
    /// `inner` with the bounds of `prior`, the prior of latent parameters.
    pub fn new(inner: Box<dyn PosteriorScore + 'a>, prior: &Prior) -> Self {
        let mut bounds = Vec::new();
        let mut at = 0;
        for component in prior.components() {
            if let Component::Uniform { low, high, .. } = component {
                bounds.push((at, *low, *high));
            }
            at += component.dim();
        }
        Self { inner, bounds, moved: 0 }
    }
}

impl PosteriorScore for WithinSupport<'_> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        self.inner.schedule()
    }

    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()> {
        self.inner.score(theta, t, out)?;
        let Level { alpha, variance, .. } = Level::new(self.inner.schedule(), t);
        // Without noise θ is its own mean, and a score cannot move it.
        if variance == 0.0 {
            return Ok(());
        }
        let signal = alpha.sqrt();
        for (theta, score) in theta.chunks_exact(self.inner.dim()).zip(out.chunks_exact_mut(self.inner.dim())) {
            let mut inside = true;
            for &(i, low, high) in &self.bounds {
                // Compared in the noisy space: no division by a signal that may be nothing.
                let denoised = theta[i] + variance * score[i];
                // NaN stays NaN: a diverged sample must not be hidden.
                if denoised < signal * low || denoised > signal * high {
                    score[i] = (denoised.clamp(signal * low, signal * high) - theta[i]) / variance;
                    inside = false;
                }
            }
            self.moved += u64::from(!inside);
        }
        Ok(())
    }

    fn counters(&self) -> ScoreCounters {
        ScoreCounters { thresholded: self.moved, ..self.inner.counters() }
    }
}
