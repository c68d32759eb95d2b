//! Settings of ℓ-C2ST.

use crate::classifier::{ClassifierParams, MlpClassifierParams};
use crate::{DiagnosticsError, Result};
use serde::{Deserialize, Serialize};

/// Options of [`LocalC2st::train`](super::LocalC2st::train). The defaults are sbi's, but for the standardised inputs.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `trials` | 100 | classifiers trained under the null hypothesis | ≥ 1 |
/// | `ensemble` | 1 | networks whose probabilities are averaged to one classifier | ≥ 1 |
/// | `folds` | none | cross-validation: a classifier for each fold left out, statistics averaged | ≥ 2 |
/// | `standardize` | true | z-score the inputs with the calibration set's mean and deviation | |
/// | `classifier` | none: [`MlpClassifierParams::local_c2st`] of the parameters' dimension | what tells the classes apart | |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalC2stOptions {
    /// Number of null trials.
    pub trials: usize,
    /// Size of each ensemble.
    pub ensemble: usize,
    /// Parts of the cross-validation.
    pub folds: Option<usize>,
    /// Whether inputs are z-scored.
    pub standardize: bool,
    /// The classifier.
    pub classifier: Option<ClassifierParams>,
}

impl Default for LocalC2stOptions {
    fn default() -> Self {
        Self { trials: 100, ensemble: 1, folds: None, standardize: true, classifier: None }
    }
}

impl LocalC2stOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first option outside its range.
    pub fn validate(&self) -> Result<()> {
        for (name, value, least, requirement) in [
            ("trials", self.trials, 1, "must be at least 1, and at most 100000: each trains a classifier"),
            ("ensemble", self.ensemble, 1, "must be at least 1, and at most 100000: each trains a classifier"),
            ("folds", self.folds.unwrap_or(2), 2, "must be at least 2, and at most 100000: each trains a classifier"),
        ] {
            if value < least || value > 100_000 {
                return Err(DiagnosticsError::Setting { name, value: value.to_string(), requirement });
            }
        }
        self.classifier.as_ref().map_or(Ok(()), ClassifierParams::validate)
    }

    pub(super) fn classifier(&self, dim_theta: usize) -> ClassifierParams {
        self.classifier.clone().unwrap_or_else(|| ClassifierParams::Mlp(MlpClassifierParams::local_c2st(dim_theta)))
    }

    /// Classifiers of one trial: ensemble members of each fold.
    pub(super) fn members(&self) -> usize {
        self.ensemble * self.folds.unwrap_or(1)
    }
}
