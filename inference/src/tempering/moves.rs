//! What a move of particles is, whichever its kind.

use super::{Likelihood, Local};
use rand_pcg::Pcg64;

/// The density π_β(z) ∝ N(z; 0, I) p(x_{1:n}|z)^β.
pub(crate) struct Tempered<'a, L: Likelihood> {
    pub likelihood: &'a L,
    pub context: &'a L::Context,
    pub beta: f64,
}

/// A Markov kernel that leaves π_β as it is, with what it adapts.
pub(crate) trait Move: Sync {
    /// Looks at the population (particle, m) and its weights, before they are resampled and moved.
    fn look(&mut self, _theta: impl Iterator<Item = f64>, _weights: &[f64]) {}

    /// Moves each particle once, by random numbers of its own stream.
    fn advance<L: Likelihood>(
        &self,
        target: &Tempered<'_, L>,
        chunk: &mut Chunk,
        workspace: &mut L::Workspace,
    ) -> Moved;

    /// Learns the acceptance of a move of the whole population; returns how far it went, acceptance × relaxation times.
    fn adapt(&mut self, acceptance: f64) -> f64;
}

/// What came of a move.
#[derive(Default)]
pub(crate) struct Moved {
    /// Sum of the particles' acceptance, each 0 or 1 or a probability.
    pub accepted: f64,
    /// Points at which the likelihood was evaluated.
    pub evaluations: u64,
}

/// Particles that move together: positions (particle, m), the likelihood there, and a stream of random numbers each.
#[derive(Clone)]
pub(crate) struct Chunk {
    pub theta: Vec<f64>,
    pub local: Local,
    pub noise: Vec<Pcg64>,
}

impl Chunk {
    /// Puts particle `i` at `theta`, whose likelihood is row `row` of `local`.
    pub fn put(&mut self, i: usize, theta: &[f64], local: &Local, row: usize) {
        let m = theta.len();
        self.theta[i * m..][..m].copy_from_slice(theta);
        self.local.put(i, local, row, m);
    }
}

/// A step size whose logarithm follows the acceptance of moves.
pub(super) struct Step {
    pub size: f64,
    /// Acceptance it aims at.
    pub target: f64,
    pub rate: f64,
    pub range: (f64, f64),
}

impl Step {
    pub fn adapt(&mut self, acceptance: f64) {
        let adapted = self.size * (self.rate * (acceptance - self.target)).exp();
        self.size = adapted.clamp(self.range.0, self.range.1);
    }
}
