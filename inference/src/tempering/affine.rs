//! Mean and spread of a population, as an affine map from a standard normal.

use crate::small_matrix::{add_scaled, cholesky, dot, lower_solve};

/// z = mean + L w.
#[derive(Debug, Clone)]
pub(crate) struct Affine {
    mean: Vec<f64>,
    /// Lower Cholesky factor of the covariance (m, m), zero above the diagonal.
    factor: Vec<f64>,
}

impl Affine {
    /// Mean and covariance of points (rows, m) with weights (rows). Correlations shrink as if m + 1 uncorrelated points were there too:
    /// few give no singular covariance.
    pub fn of(points: &[f64], weights: &[f64]) -> Self {
        let m = points.len() / weights.len();
        let sum: f64 = weights.iter().sum();
        let mut mean = vec![0.0; m];
        points.chunks_exact(m).zip(weights).for_each(|(z, w)| add_scaled(w / sum, z, &mut mean));
        let mut factor = vec![0.0; m * m];
        for (z, w) in points.chunks_exact(m).zip(weights) {
            let residual: Vec<f64> = z.iter().zip(&mean).map(|(z, mean)| z - mean).collect();
            (0..m).for_each(|i| add_scaled(w / sum * residual[i], &residual[..=i], &mut factor[i * m..=i * m + i]));
        }
        let effective = sum * sum / dot(weights, weights);
        let shrink = effective / (effective + m as f64 + 1.0);
        for i in 0..m {
            factor[i * m..i * m + i].iter_mut().for_each(|value| *value *= shrink);
            // Points that collapsed onto one still have a direction to move in.
            factor[i * m + i] = factor[i * m + i].max(f64::EPSILON);
        }
        let definite = cholesky(&mut factor, m);
        debug_assert!(definite, "shrunk covariances are positive definite");
        Self { mean, factor }
    }

    /// m.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// mean + L w.
    pub fn apply(&self, w: &[f64], z: &mut [f64]) {
        for (i, row) in self.factor.chunks_exact(w.len()).enumerate() {
            z[i] = self.mean[i] + dot(&row[..=i], &w[..=i]);
        }
    }

    /// L⁻¹ (z - mean).
    pub fn invert(&self, z: &[f64]) -> Vec<f64> {
        let mut w: Vec<f64> = z.iter().zip(&self.mean).map(|(z, mean)| z - mean).collect();
        lower_solve(&self.factor, &mut w);
        w
    }

    /// The gradient Lᵀ g by w of what has the gradient g by z.
    pub fn pull_back(&self, by_z: &[f64], by_w: &mut [f64]) {
        by_w.fill(0.0);
        for (i, row) in self.factor.chunks_exact(by_z.len()).enumerate() {
            add_scaled(by_z[i], &row[..=i], by_w);
        }
    }
}
