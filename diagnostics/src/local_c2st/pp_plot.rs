//! PP-plot of ℓ-C2ST: the distribution of the predicted probabilities against that of the null trials.

use crate::{DiagnosticsError, Result};
use serde::{Deserialize, Serialize};

/// Points of the probability axis.
const POINTS: usize = 101;

/// Distribution functions of P(class 0 | θ, x_o), θ ~ q(·|x_o), on a grid of probabilities.
///
/// A classifier that cannot tell the classes apart gives a step at ½; the null trials show how far from it chance leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PpPlot {
    /// The grid: 101 values from 0 to 1.
    pub probabilities: Vec<f64>,
    /// Share of samples whose probability is at most the grid's.
    pub observed: Vec<f64>,
    /// The same for each null trial.
    pub null: Vec<Vec<f64>>,
}

/// Pointwise band of the null trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PpBand {
    /// Lower edge at each point of the grid.
    pub low: Vec<f64>,
    /// Upper edge.
    pub high: Vec<f64>,
}

impl PpPlot {
    pub(super) fn new(observed: Vec<f64>, null: Vec<Vec<f64>>) -> Self {
        Self { probabilities: (0..POINTS).map(grid).collect(), observed, null }
    }

    /// The band that holds the central share `confidence` of the null trials at each point.
    ///
    /// # Errors
    /// When `confidence` is outside (0, 1).
    pub fn band(&self, confidence: f64) -> Result<PpBand> {
        if !(confidence > 0.0 && confidence < 1.0) {
            return Err(DiagnosticsError::Setting {
                name: "confidence",
                value: confidence.to_string(),
                requirement: "must lie in (0, 1)",
            });
        }
        let tail = 0.5 * (1.0 - confidence);
        let quantile = |level: f64| {
            (0..self.probabilities.len())
                .map(|point| {
                    let mut values: Vec<f64> = self.null.iter().map(|curve| curve[point]).collect();
                    values.sort_unstable_by(f64::total_cmp);
                    let position = level * (values.len() - 1) as f64;
                    let (below, share) = (position.floor() as usize, position.fract());
                    values[below] + share * (values[position.ceil() as usize] - values[below])
                })
                .collect()
        };
        Ok(PpBand { low: quantile(tail), high: quantile(1.0 - tail) })
    }
}

fn grid(point: usize) -> f64 {
    point as f64 / (POINTS - 1) as f64
}

/// Share of values at most each grid point.
pub(super) fn distribution(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (0..POINTS)
        .map(|point| sorted.partition_point(|&value| value <= grid(point)) as f64 / sorted.len() as f64)
        .collect()
}
