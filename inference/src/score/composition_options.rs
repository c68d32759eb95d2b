//! Options of second-order compositions.

use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// What to do when Λ is not positive definite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Repair {
    /// Raise the eigenvalues of Λ relative to P_λ (those μ with Λ u = μ P_λ u) that are below `relative` to it. 1, the default,
    /// says that observations never make a parameter less certain than the prior. With a prior score learned along with JAC, where
    /// P_λ is no more reliable than Λ, relative to the noise's own precision (α/v) I.
    EigenvalueFloor {
        /// Smallest relative eigenvalue, > 0.
        relative: f64,
    },
    /// Stop with an error.
    Error,
    /// Solve the indefinite, possibly unsymmetric system as it stands, as published code does.
    Off,
}

impl Default for Repair {
    fn default() -> Self {
        Self::EigenvalueFloor { relative: 1.0 }
    }
}

/// Sums over observations from a random subset at each evaluation (Arruda et al. 2025, arXiv 2505.14429).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniBatch {
    /// M: factors a particle and evaluation, one from each of M strata of consecutive factors; the stratum's size is its weight.
    pub size: usize,
    /// d_1 of the damping d(t) = d_1^t that multiplies the score; 1 is none.
    #[serde(default = "one")]
    pub damping: f64,
    /// Draw only what the factors' Gaussian approximations leave of the scores, and sum the rest exactly (GAUSS with known
    /// means): Σ_j P_j s_j for Gaussian s_j is linear in θ with coefficients that do not depend on t.
    #[serde(default = "yes")]
    pub control_variate: bool,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// Options of second-order compositions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompositionOptions {
    /// Λ not positive definite.
    pub repair: Repair,
    /// Where √α is at most this, use F alone (F-NPSE's score) if the prior is not Gaussian. Published code has 0.5.
    pub second_order_only_above_signal_scale: Option<f64>,
    /// Sums over random subsets.
    pub mini_batch: Option<MiniBatch>,
}

/// Most observations of a subset.
const MOST_FACTORS: usize = 1_000_000_000;

impl CompositionOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        if let Repair::EigenvalueFloor { relative } = self.repair
            && !(relative > 0.0 && relative.is_finite())
        {
            return fail("repair.relative", "must be > 0");
        }
        if self.second_order_only_above_signal_scale.is_some_and(|scale| !(0.0..=1.0).contains(&scale)) {
            return fail("second_order_only_above_signal_scale", "must be in [0, 1]: √α is");
        }
        match self.mini_batch {
            Some(batch) if !(1..=MOST_FACTORS).contains(&batch.size) => fail(
                "mini_batch.size",
                "must be at least 1, and at most 1000000000: more observations fit into no memory",
            ),
            Some(batch) if !(batch.damping > 0.0 && batch.damping <= 1.0) => {
                fail("mini_batch.damping", "must be in (0, 1]")
            }
            _ => Ok(()),
        }
    }
}
