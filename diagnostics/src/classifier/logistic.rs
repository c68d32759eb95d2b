//! Logistic regression, by linfa.

use super::Rows;
use crate::{DiagnosticsError, Result};
use linfa::Dataset;
use linfa::traits::Fit;
use linfa_logistic::LogisticRegression;
use ndarray::Array1;
use serde::{Deserialize, Serialize};

/// Settings of the logistic regression.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `l2_penalty` | 1 | α: adds α/2 ‖w‖² to the summed loss | ≥ 0 |
/// | `max_iterations` | 100 | most steps of L-BFGS | ≥ 1 |
/// | `gradient_tolerance` | 0.0001 | gradient norm at which the solver stops | > 0 |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticParams {
    /// L2 penalty.
    pub l2_penalty: f64,
    /// Most steps of the solver.
    pub max_iterations: u64,
    /// Gradient norm at which it stops.
    pub gradient_tolerance: f64,
}

impl Default for LogisticParams {
    fn default() -> Self {
        Self { l2_penalty: 1.0, max_iterations: 100, gradient_tolerance: 1e-4 }
    }
}

impl LogisticParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |name, value: String, requirement| Err(DiagnosticsError::Setting { name, value, requirement });
        if !(self.l2_penalty >= 0.0 && self.l2_penalty.is_finite()) {
            return bad("l2_penalty", self.l2_penalty.to_string(), "must be finite and not negative");
        }
        if !(1..=1_000_000_000).contains(&self.max_iterations) {
            return bad(
                "max_iterations",
                self.max_iterations.to_string(),
                "must be at least 1, and at most 1000000000",
            );
        }
        if !(self.gradient_tolerance > 0.0 && self.gradient_tolerance.is_finite()) {
            return bad("gradient_tolerance", self.gradient_tolerance.to_string(), "must be positive and finite");
        }
        Ok(())
    }

    pub(super) fn fit_rows(
        &self,
        rows: &impl Rows,
        indices: &[usize],
        label: &impl Fn(usize) -> bool,
    ) -> Result<FittedLogistic> {
        let targets: Array1<bool> = indices.iter().map(|&index| label(index)).collect();
        let fitted = LogisticRegression::default()
            .alpha(self.l2_penalty)
            .max_iterations(self.max_iterations)
            .gradient_tolerance(self.gradient_tolerance)
            .fit(&Dataset::new(rows.matrix(indices), targets))
            .map_err(|error| DiagnosticsError::Classifier { classifier: "logistic", message: error.to_string() })?;
        // linfa calls either label its positive class.
        let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
        Ok(FittedLogistic {
            intercept: sign * fitted.intercept(),
            weights: fitted.params().iter().map(|weight| sign * weight).collect(),
        })
    }
}

/// A fitted logistic regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedLogistic {
    intercept: f64,
    weights: Vec<f64>,
}

impl FittedLogistic {
    /// Number of columns it was fitted on.
    pub fn width(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn probabilities(&self, rows: &impl Rows, indices: &[usize]) -> Vec<f64> {
        let mut row = vec![0.0; self.weights.len()];
        indices
            .iter()
            .map(|&index| {
                rows.write(index, &mut row);
                let products = row.iter().zip(&self.weights).map(|(&value, weight)| f64::from(value) * weight);
                1.0 / (1.0 + (-(self.intercept + products.sum::<f64>())).exp())
            })
            .collect()
    }
}
