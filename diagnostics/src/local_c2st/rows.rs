//! The joint rows (θ̃_i, x_i) and (θ_i, x_i), put together where they are read: x, the large part, is held once.

use crate::c2st::mean_and_sd;
use crate::classifier::Rows;
use crate::{DiagnosticsError, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// What is subtracted from inputs and what they are divided by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaling {
    theta_mean: Vec<f64>,
    theta_sd: Vec<f64>,
    x_mean: Vec<f64>,
    x_sd: Vec<f64>,
}

impl Scaling {
    /// Moments of the calibration set. Those of θ are taken over both classes: exchanging θ_i and θ̃_i leaves them as they are,
    /// which the null distribution relies on.
    pub fn new(theta: ArrayView2<'_, f64>, theta_q: ArrayView2<'_, f64>, x: ArrayView2<'_, f64>) -> Result<Self> {
        let (a_mean, a_sd) = mean_and_sd(theta);
        let (b_mean, b_sd) = mean_and_sd(theta_q);
        let theta_mean: Vec<f64> = a_mean.iter().zip(&b_mean).map(|(a, b)| 0.5 * (a + b)).collect();
        let theta_sd: Vec<f64> = (0..theta_mean.len())
            .map(|i| {
                let between = 0.5 * (a_mean[i] - b_mean[i]);
                (0.5 * (a_sd[i] * a_sd[i] + b_sd[i] * b_sd[i]) + between * between).sqrt()
            })
            .collect();
        let (x_mean, x_sd) = mean_and_sd(x);
        for (what, mean, sd) in [("theta", &theta_mean, &theta_sd), ("x", &x_mean, &x_sd)] {
            if let Some(column) = sd.iter().position(|&sd| sd <= 0.0) {
                return Err(DiagnosticsError::ConstantColumn { what, column, value: mean[column] });
            }
        }
        Ok(Self { theta_mean, theta_sd, x_mean, x_sd })
    }

    /// Leaves inputs as they are.
    pub fn identity(dim_theta: usize, dim_x: usize) -> Self {
        Self {
            theta_mean: vec![0.0; dim_theta],
            theta_sd: vec![1.0; dim_theta],
            x_mean: vec![0.0; dim_x],
            x_sd: vec![1.0; dim_x],
        }
    }

    pub fn dim_theta(&self) -> usize {
        self.theta_mean.len()
    }

    pub fn dim_x(&self) -> usize {
        self.x_mean.len()
    }

    fn theta(&self, theta: ArrayView2<'_, f64>) -> Vec<f32> {
        scaled(theta, &self.theta_mean, &self.theta_sd)
    }

    fn x(&self, x: ArrayView2<'_, f64>) -> Vec<f32> {
        scaled(x, &self.x_mean, &self.x_sd)
    }
}

fn scaled(matrix: ArrayView2<'_, f64>, mean: &[f64], sd: &[f64]) -> Vec<f32> {
    let mut values = Vec::with_capacity(matrix.len());
    for row in matrix.outer_iter() {
        values.extend(row.iter().zip(mean.iter().zip(sd)).map(|(value, (mean, sd))| ((value - mean) / sd) as f32));
    }
    values
}

/// Rows 0..N are (θ_i, x_i), rows N..2N are (θ̃_i, x_i).
pub(super) struct JointRows {
    theta: Vec<f32>,
    x: Vec<f32>,
    dim_theta: usize,
    dim_x: usize,
    pairs: usize,
}

impl JointRows {
    pub fn calibration(
        scaling: &Scaling,
        theta: ArrayView2<'_, f64>,
        theta_q: ArrayView2<'_, f64>,
        x: ArrayView2<'_, f64>,
    ) -> Self {
        let mut both = scaling.theta(theta);
        both.extend(scaling.theta(theta_q));
        Self { theta: both, x: scaling.x(x), dim_theta: theta.ncols(), dim_x: x.ncols(), pairs: theta.nrows() }
    }

    /// Posterior samples, all with the one observation.
    pub fn at(scaling: &Scaling, samples: ArrayView2<'_, f64>, x: ArrayView2<'_, f64>) -> Self {
        Self { theta: scaling.theta(samples), x: scaling.x(x), dim_theta: samples.ncols(), dim_x: x.ncols(), pairs: 1 }
    }
}

impl Rows for JointRows {
    fn width(&self) -> usize {
        self.dim_theta + self.dim_x
    }

    fn write(&self, index: usize, out: &mut [f32]) {
        let (theta, x) = out.split_at_mut(self.dim_theta);
        theta.copy_from_slice(&self.theta[index * self.dim_theta..(index + 1) * self.dim_theta]);
        let pair = index % self.pairs;
        x.copy_from_slice(&self.x[pair * self.dim_x..(pair + 1) * self.dim_x]);
    }
}
