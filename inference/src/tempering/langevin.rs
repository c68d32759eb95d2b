//! The Metropolis-adjusted Langevin move in a metric of the point's own (simplified manifold MALA, Girolami & Calderhead 2011).

use super::moves::{Chunk, Move, Moved, Step, Tempered};
use super::{Likelihood, Local};
use crate::small_matrix::{cholesky, cholesky_solve, dot, lower_transpose_solve};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// Steps near MALA's optimal acceptance of 0.574 (Roberts & Rosenthal 1998); for a Gaussian target √2 lands on the mode in one step.
const STEP: Step = Step { size: 1.0, target: 0.6, rate: 0.5, range: (0.02, 1.4) };

/// Proposals N(z + ½h² G⁻¹ ∇log π_β(z), h² G⁻¹), G = I + β F(z).
pub(crate) struct Langevin(Step);

impl Default for Langevin {
    fn default() -> Self {
        Self(STEP)
    }
}

impl Move for Langevin {
    fn advance<L: Likelihood>(
        &self,
        target: &Tempered<'_, L>,
        chunk: &mut Chunk,
        workspace: &mut L::Workspace,
    ) -> Moved {
        let m = target.likelihood.dim_theta();
        let at = |theta: &[f64], local: &Local, i: usize| Proposal::new(target.beta, self.0.size, theta, local, i);
        let mut proposals = vec![0.0; chunk.theta.len()];
        let mut forward = Vec::with_capacity(chunk.noise.len());
        for (i, proposal) in proposals.chunks_exact_mut(m).enumerate() {
            proposal.iter_mut().for_each(|z| *z = StandardNormal.sample(&mut chunk.noise[i]));
            let old = &chunk.theta[i * m..][..m];
            forward.push(match at(old, &chunk.local, i) {
                Some(law) => law.draw(proposal),
                None => {
                    proposal.copy_from_slice(old);
                    f64::INFINITY // never accepted
                }
            });
        }
        let mut proposed = Local::default();
        target.likelihood.evaluate(target.context, &proposals, workspace, &mut proposed);
        let mut moved = Moved { accepted: 0.0, evaluations: forward.len() as u64 };
        for (i, new) in proposals.chunks_exact(m).enumerate() {
            let old = &chunk.theta[i * m..][..m];
            let backward = at(new, &proposed, i).map_or(f64::NEG_INFINITY, |law| law.log_density(old));
            let prior = 0.5 * (dot(old, old) - dot(new, new));
            let likelihood = target.beta * (proposed.values[i] - chunk.local.values[i]);
            // Drawn in any case: the stream's place depends on the number of moves alone. NaN is refused.
            if chunk.noise[i].random::<f64>().ln() < likelihood + prior + backward - forward[i] {
                moved.accepted += 1.0;
                chunk.put(i, new, &proposed, i);
            }
        }
        moved
    }

    /// A step h relaxes for h²/2.
    fn adapt(&mut self, acceptance: f64) -> f64 {
        let step = self.0.size;
        self.0.adapt(acceptance);
        acceptance * 0.5 * step * step
    }
}

/// Where a particle may go: N(mean, h² G⁻¹).
struct Proposal {
    step: f64,
    mean: Vec<f64>,
    /// Lower Cholesky factor of G (m, m).
    factor: Vec<f64>,
}

impl Proposal {
    /// From `z`, whose likelihood is row `row` of `local`; `None` where G is not finite.
    fn new(beta: f64, step: f64, z: &[f64], local: &Local, row: usize) -> Option<Self> {
        let m = z.len();
        let gradient = &local.gradients[row * m..][..m];
        let mut factor: Vec<f64> = local.informations[row * m * m..][..m * m].iter().map(|f| beta * f).collect();
        (0..m).for_each(|i| factor[i * m + i] += 1.0);
        let mut mean: Vec<f64> = gradient.iter().zip(z).map(|(gradient, z)| beta * gradient - z).collect();
        if !cholesky(&mut factor, m) {
            return None;
        }
        cholesky_solve(&factor, &mut mean);
        mean.iter_mut().zip(z).for_each(|(mean, z)| *mean = z + 0.5 * step * step * *mean);
        Some(Self { step, mean, factor })
    }

    /// Σ log L_ii: the log density at the mean, up to constants that cancel.
    fn highest(&self) -> f64 {
        let m = self.mean.len();
        (0..m).map(|i| self.factor[i * m + i].ln()).sum()
    }

    /// Makes a proposal of standard normal numbers; returns its log density.
    fn draw(&self, z: &mut [f64]) -> f64 {
        let square = dot(z, z);
        lower_transpose_solve(&self.factor, z);
        z.iter_mut().zip(&self.mean).for_each(|(z, mean)| *z = mean + self.step * *z);
        self.highest() - 0.5 * square
    }

    /// The log density of proposing `z`, by |Lᵀ (z - mean)|² / h².
    fn log_density(&self, z: &[f64]) -> f64 {
        let m = z.len();
        let component = |k: usize| (k..m).map(|i| self.factor[i * m + k] * (z[i] - self.mean[i])).sum::<f64>().powi(2);
        self.highest() - 0.5 * (0..m).map(component).sum::<f64>() / (self.step * self.step)
    }
}
