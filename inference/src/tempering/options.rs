//! Options of tempering.

use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// Options of tempered populations.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `min_particles` | 64 | particles a posterior, if fewer samples are asked for | 2 to 10⁸ |
/// | `effective_fraction` | 0.5 | effective sample size after reweighting, as a fraction of the particles | (0, 1) |
/// | `travel` | 1 | length of the moves of a level: sum over moves of acceptance × h²/2, in units of relaxation times | > 0 |
/// | `final_travel` | 4 | the same at β = 1 | > 0 |
/// | `max_moves` | 40 | moves of a level at most | 1 to 10⁶ |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemperingOptions {
    /// Particles a posterior at least.
    pub min_particles: usize,
    /// Target of the effective sample size.
    pub effective_fraction: f64,
    /// Moves of a level.
    pub travel: f64,
    /// Moves at β = 1.
    pub final_travel: f64,
    /// Bound on the moves of a level.
    pub max_moves: usize,
}

impl Default for TemperingOptions {
    fn default() -> Self {
        Self { min_particles: 64, effective_fraction: 0.5, travel: 1.0, final_travel: 4.0, max_moves: 40 }
    }
}

impl TemperingOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        if !(2..=100_000_000).contains(&self.min_particles) {
            return fail("min_particles", "must be at least 2, and at most 100000000 to fit into memory");
        }
        if !(self.effective_fraction > 0.0 && self.effective_fraction < 1.0) {
            return fail("effective_fraction", "must lie strictly between 0 and 1");
        }
        for (option, travel) in [("travel", self.travel), ("final_travel", self.final_travel)] {
            if !(travel > 0.0 && travel.is_finite()) {
                return fail(option, "must be > 0 and finite");
            }
        }
        if !(1..=1_000_000).contains(&self.max_moves) {
            return fail("max_moves", "must be at least 1, and at most 1000000 for a level to end");
        }
        Ok(())
    }
}
