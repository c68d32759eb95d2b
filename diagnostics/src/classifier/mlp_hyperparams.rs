//! Settings of the multi-layer perceptron.

use crate::{DiagnosticsError, Result};
use linfa::ParamGuard;
use serde::{Deserialize, Serialize};

/// Checked settings of the multi-layer perceptron; see [`MlpClassifierParams`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpClassifierValidParams {
    hidden: Option<Vec<usize>>,
    learning_rate: f64,
    batch_size: usize,
    l2_penalty: f64,
    max_epochs: usize,
    tolerance: f64,
    patience: usize,
    validation_fraction: f64,
    seed: u64,
}

impl Default for MlpClassifierValidParams {
    fn default() -> Self {
        Self {
            hidden: None,
            learning_rate: 1e-3,
            batch_size: 200,
            l2_penalty: 1e-4,
            max_epochs: 10_000,
            tolerance: 1e-4,
            patience: 10,
            validation_fraction: 0.0,
            seed: 0,
        }
    }
}

/// Most rows of a batch and passes over the data.
const MOST: usize = 1_000_000_000;

impl MlpClassifierValidParams {
    /// Widths of the hidden layers for inputs of `width` columns.
    pub fn hidden(&self, width: usize) -> Vec<usize> {
        self.hidden.clone().unwrap_or_else(|| vec![10 * width; 2])
    }

    /// Learning rate of Adam.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Rows a gradient step sees.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// L2 penalty α: α/(2 batch) ‖W‖² is added to the mean loss.
    pub fn l2_penalty(&self) -> f64 {
        self.l2_penalty
    }

    /// Most passes over the data.
    pub fn max_epochs(&self) -> usize {
        self.max_epochs
    }

    /// Improvement that counts.
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Passes without improvement before training ends.
    pub fn patience(&self) -> usize {
        self.patience
    }

    /// Share of the rows held out for early stopping.
    pub fn validation_fraction(&self) -> f64 {
        self.validation_fraction
    }

    /// Seed of `Fit::fit`.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn validate(&self) -> Result<()> {
        let bad = |name, value: String, requirement| Err(DiagnosticsError::Setting { name, value, requirement });
        let fits = |widths: &Vec<usize>| widths.len() <= 100 && widths.iter().all(|width| (1..=65_536).contains(width));
        if !self.hidden.as_ref().is_none_or(fits) {
            let requirement = "must be at most 100 layers of 1 to 65536: larger ones do not fit into memory";
            return bad("hidden", format!("{:?}", self.hidden), requirement);
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return bad("learning_rate", self.learning_rate.to_string(), "must be positive and finite");
        }
        for (name, value) in
            [("batch_size", self.batch_size), ("max_epochs", self.max_epochs), ("patience", self.patience)]
        {
            if !(1..=MOST).contains(&value) {
                return bad(name, value.to_string(), "must be at least 1, and at most 1000000000");
            }
        }
        if !(self.l2_penalty >= 0.0 && self.l2_penalty.is_finite()) {
            return bad("l2_penalty", self.l2_penalty.to_string(), "must be finite and not negative");
        }
        if !self.tolerance.is_finite() {
            return bad("tolerance", self.tolerance.to_string(), "must be finite");
        }
        if !(0.0..1.0).contains(&self.validation_fraction) {
            return bad("validation_fraction", self.validation_fraction.to_string(), "must lie in [0, 1)");
        }
        Ok(())
    }
}

/// Settings of the multi-layer perceptron: ReLU hidden layers, logistic output, cross-entropy loss, Adam. The defaults are those
/// of scikit-learn's `MLPClassifier` as sbibm's C2ST uses it.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `hidden` | two layers of 10 × input width | widths of the hidden layers | each ≥ 1 |
/// | `learning_rate` | 0.001 | Adam's step | > 0 |
/// | `batch_size` | 200 | rows a gradient step sees (all, if fewer) | ≥ 1 |
/// | `l2_penalty` | 0.0001 | α: adds α/(2 batch) ‖W‖² to the mean loss | ≥ 0 |
/// | `max_epochs` | 10000 | most passes over the data | ≥ 1 |
/// | `tolerance` | 0.0001 | improvement of the loss (or the held-out accuracy) that counts | finite |
/// | `patience` | 10 | passes without one before training ends | ≥ 1 |
/// | `validation_fraction` | 0 | share held out of each class; if > 0, its accuracy decides when to stop and which weights are kept | [0, 1) |
/// | `seed` | 0 | random numbers of `Fit::fit` | any |
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MlpClassifierParams(MlpClassifierValidParams);

impl From<MlpClassifierValidParams> for MlpClassifierParams {
    fn from(params: MlpClassifierValidParams) -> Self {
        Self(params)
    }
}

impl MlpClassifierParams {
    /// sbi's settings for ℓ-C2ST: two hidden layers of 10 × `dim_theta`, at most 1000 epochs, early stopping on the accuracy of
    /// 10 % held-out rows with patience 50.
    pub fn local_c2st(dim_theta: usize) -> Self {
        Self::default().hidden(vec![10 * dim_theta; 2]).max_epochs(1000).validation_fraction(0.1).patience(50)
    }

    /// Widths of the hidden layers.
    #[must_use]
    pub fn hidden(mut self, widths: Vec<usize>) -> Self {
        self.0.hidden = Some(widths);
        self
    }

    /// Learning rate of Adam.
    #[must_use]
    pub fn learning_rate(mut self, learning_rate: f64) -> Self {
        self.0.learning_rate = learning_rate;
        self
    }

    /// Rows a gradient step sees.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.0.batch_size = batch_size;
        self
    }

    /// L2 penalty.
    #[must_use]
    pub fn l2_penalty(mut self, l2_penalty: f64) -> Self {
        self.0.l2_penalty = l2_penalty;
        self
    }

    /// Most passes over the data.
    #[must_use]
    pub fn max_epochs(mut self, max_epochs: usize) -> Self {
        self.0.max_epochs = max_epochs;
        self
    }

    /// Improvement that counts.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.0.tolerance = tolerance;
        self
    }

    /// Passes without improvement before training ends.
    #[must_use]
    pub fn patience(mut self, patience: usize) -> Self {
        self.0.patience = patience;
        self
    }

    /// Share of the rows held out for early stopping.
    #[must_use]
    pub fn validation_fraction(mut self, fraction: f64) -> Self {
        self.0.validation_fraction = fraction;
        self
    }

    /// Seed of `Fit::fit`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl ParamGuard for MlpClassifierParams {
    type Checked = MlpClassifierValidParams;
    type Error = DiagnosticsError;

    fn check_ref(&self) -> Result<&Self::Checked> {
        self.0.validate()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked> {
        self.0.validate()?;
        Ok(self.0)
    }
}
