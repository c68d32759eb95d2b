//! Options of reference posteriors.

use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// How a reference posterior is sampled.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `chains` | 4 | independent chains | ≥ 2 |
/// | `draws` | 250 | draws kept of each chain | ≥ 4 |
/// | `thinning` | 5 | of so many draws one is kept | ≥ 1 |
/// | `warmup` | 300 | draws in which step size and metric adapt | ≥ 50 |
/// | `particles` | 128 | size of the tempered population a chain starts from | ≥ 16 |
/// | `target_accept` | 0.85 | acceptance the step size is adapted to | (0.5, 1) |
/// | `max_depth` | 10 | trajectories have at most 2^this steps | 1 to 15 |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceOptions {
    /// Independent chains.
    pub chains: usize,
    /// Draws kept of each chain.
    pub draws: usize,
    /// Of so many draws one is kept.
    pub thinning: usize,
    /// Draws in which step size and metric adapt; discarded.
    pub warmup: usize,
    /// Size of the tempered population a chain starts from.
    pub particles: usize,
    /// Acceptance the step size is adapted to.
    pub target_accept: f64,
    /// Trajectories have at most 2^this steps.
    pub max_depth: u64,
}

/// Most draws and particles: each is a trajectory, and more than can be waited for or kept.
const MOST_DRAWS: usize = 10_000_000;

impl Default for ReferenceOptions {
    fn default() -> Self {
        Self { chains: 4, draws: 250, thinning: 5, warmup: 300, particles: 128, target_accept: 0.85, max_depth: 10 }
    }
}

impl ReferenceOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`InferenceError::Option`] naming the first option outside its range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            (
                "chains",
                (2..=10_000).contains(&self.chains),
                "at least 2 (4 or more to be told apart from chance), and at most 10000",
            ),
            ("draws", (4..=MOST_DRAWS).contains(&self.draws), "at least 4 a chain, and at most 10000000"),
            ("thinning", (1..=MOST_DRAWS).contains(&self.thinning), "at least 1, and at most 10000000"),
            ("draws · thinning", self.draws.saturating_mul(self.thinning) <= MOST_DRAWS, "at most 10000000 a chain"),
            ("warmup", (50..=MOST_DRAWS).contains(&self.warmup), "at least 50, and at most 10000000"),
            ("particles", (16..=MOST_DRAWS).contains(&self.particles), "at least 16, and at most 10000000"),
            ("target_accept", self.target_accept > 0.5 && self.target_accept < 1.0, "between 0.5 and 1"),
            ("max_depth", (1..=15).contains(&self.max_depth), "1 to 15"),
        ];
        match ranges.into_iter().find(|(_, fits, _)| !fits) {
            None => Ok(()),
            Some((option, _, range)) => Err(InferenceError::Option { option, message: format!("must be {range}") }),
        }
    }
}
