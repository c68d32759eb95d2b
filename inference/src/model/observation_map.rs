//! From simulator outputs to network inputs: transform, then z-score.

use crate::{InferenceError, Result};
use ndarray::{ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

/// How simulator outputs enter the network: z = (f(x) - mean)/sd per column, f the logarithm or the identity.
///
/// Columns that are constant in the training set (sd = 0) carry no information and enter as 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationMap {
    /// Whether f is the natural logarithm (positive outputs spanning orders of magnitude).
    pub log: bool,
    /// Mean of f(x) over the training set, (d).
    pub mean: Vec<f32>,
    /// Standard deviation of f(x) over the training set, (d).
    pub sd: Vec<f32>,
    /// Distance of neighbouring values of z in columns of whole numbers, 0 elsewhere; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lattice: Vec<f32>,
}

impl ObservationMap {
    /// Fits mean and standard deviation on the training outputs `x` (N, K, d): K observations of each of N parameters.
    ///
    /// # Errors
    /// When `log` is asked for outputs that are not positive.
    pub fn fit(x: ArrayView3<'_, f32>, log: bool) -> Result<Self> {
        let (n, k, d) = x.dim();
        let rows = (n * k) as f64;
        let mut mean = vec![0.0f64; d];
        let mut square = vec![0.0f64; d];
        let mut whole = vec![!log; d];
        for row in x.rows() {
            for (i, &value) in row.iter().enumerate() {
                if log && value <= 0.0 {
                    return Err(InferenceError::TrainingSet(format!(
                        "x_transform is \"log\" but column {i} of x holds {value}; use \"identity\" or positive outputs"
                    )));
                }
                whole[i] &= value.fract() == 0.0;
                let value = transform(f64::from(value), log);
                mean[i] += value;
                square[i] += value * value;
            }
        }
        let sd: Vec<f32> = (0..d)
            .map(|i| {
                mean[i] /= rows;
                let variance = (square[i] / rows - mean[i] * mean[i]) * rows / (rows - 1.0).max(1.0);
                // Below the rounding of the sums the column is constant.
                let noise = 1e-12 * (square[i] / rows).max(f64::MIN_POSITIVE);
                if variance > noise { variance.sqrt() as f32 } else { 0.0 }
            })
            .collect();
        let lattice = match whole.contains(&true) {
            true => sd.iter().zip(whole).map(|(&sd, whole)| if whole && sd > 0.0 { 1.0 / sd } else { 0.0 }).collect(),
            false => Vec::new(),
        };
        Ok(Self { log, mean: mean.into_iter().map(|v| v as f32).collect(), sd, lattice })
    }

    /// Whether some columns are counts.
    pub fn has_lattice(&self) -> bool {
        !self.lattice.is_empty()
    }

    /// Number of columns d.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Network inputs of the rows of `x` (n, d), row-major.
    ///
    /// # Errors
    /// When the width is not d, a value is not finite, or its logarithm is not.
    pub fn features(&self, x: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
        if x.ncols() != self.dim() {
            return Err(InferenceError::Shape {
                what: "observations",
                expected: format!("{} columns, as the model was trained on", self.dim()),
                found: format!("{} columns", x.ncols()),
            });
        }
        let mut features = Vec::with_capacity(x.len());
        for (row, values) in x.outer_iter().enumerate() {
            for (i, &value) in values.iter().enumerate() {
                let value = transform(f64::from(value), self.log);
                if !value.is_finite() {
                    return Err(InferenceError::ObservationNotFinite { row });
                }
                let centred = value - f64::from(self.mean[i]);
                features.push(if self.sd[i] > 0.0 { (centred / f64::from(self.sd[i])) as f32 } else { 0.0 });
            }
        }
        Ok(features)
    }
}

fn transform(value: f64, log: bool) -> f64 {
    if log { value.ln() } else { value }
}
