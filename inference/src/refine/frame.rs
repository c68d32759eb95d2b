//! Local coordinates: u = c + C z, C lower triangular, in which what is around c looks like N(0, I).

use crate::small_matrix::{cholesky, dot, lower_solve, lower_transpose_solve};
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A centre and a scale of each direction around it; as a distribution, N(c, C Cᵀ).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// c, (m).
    pub center: Vec<f64>,
    /// C, (m, m), lower triangular.
    pub factor: Vec<f64>,
}

impl Frame {
    /// The frame of N(`center`, `covariance`).
    ///
    /// # Errors
    /// When the covariance (m, m) is not positive definite.
    pub fn new(center: Vec<f64>, mut covariance: Vec<f64>) -> Result<Self> {
        let m = center.len();
        if !cholesky(&mut covariance, m) {
            return Err(InferenceError::NoWidth);
        }
        for i in 0..m {
            covariance[i * m + i + 1..(i + 1) * m].fill(0.0);
        }
        Ok(Self { center, factor: covariance })
    }

    /// The frame of N(0, `scale`² I).
    pub fn standard(m: usize, scale: f64) -> Self {
        let factor = (0..m * m).map(|i| if i % (m + 1) == 0 { scale } else { 0.0 }).collect();
        Self { center: vec![0.0; m], factor }
    }

    /// m.
    pub fn dim(&self) -> usize {
        self.center.len()
    }

    /// z of `u`, in place.
    pub fn to_local(&self, u: &mut [f64]) {
        u.iter_mut().zip(&self.center).for_each(|(u, c)| *u -= c);
        lower_solve(&self.factor, u);
    }

    /// c + C z.
    pub fn to_latent(&self, z: &[f64]) -> Vec<f64> {
        let m = self.dim();
        (0..m).map(|i| self.center[i] + dot(&self.factor[i * m..i * m + i + 1], &z[..i + 1])).collect()
    }

    /// log |det C|.
    pub fn log_determinant(&self) -> f64 {
        let m = self.dim();
        (0..m).map(|i| self.factor[i * m + i].ln()).sum()
    }

    /// log N(u; c, C Cᵀ), and its gradient with respect to u into `gradient`.
    pub fn log_density(&self, u: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.copy_from_slice(u);
        self.to_local(gradient);
        let square = dot(gradient, gradient);
        lower_transpose_solve(&self.factor, gradient);
        gradient.iter_mut().for_each(|g| *g = -*g);
        -0.5 * (square + self.dim() as f64 * (2.0 * PI).ln()) - self.log_determinant()
    }

    /// Whether sizes fit and numbers are finite.
    pub fn is_valid(&self, m: usize) -> bool {
        self.center.len() == m
            && self.factor.len() == m * m
            && self.center.iter().chain(&self.factor).all(|value| value.is_finite())
            && (0..m).all(|i| self.factor[i * m + i] > 0.0)
    }
}

/// Mean (m) and covariance (m, m) of points (rows, m) with weights; all equal if there are none.
pub fn moments(points: &[f64], m: usize, weights: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
    let (mut mean, mut covariance, mut total) = (vec![0.0; m], vec![0.0; m * m], 0.0);
    for (i, point) in points.chunks_exact(m).enumerate() {
        total += weight(i);
        mean.iter_mut().zip(point).for_each(|(sum, value)| *sum += weight(i) * value);
    }
    mean.iter_mut().for_each(|sum| *sum /= total);
    for (i, point) in points.chunks_exact(m).enumerate() {
        for a in 0..m {
            for b in 0..m {
                covariance[a * m + b] += weight(i) * (point[a] - mean[a]) * (point[b] - mean[b]) / total;
            }
        }
    }
    (mean, covariance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_the_density_has_its_gradient() {
        let frame = Frame::new(vec![1.0, -2.0], vec![2.0, 0.6, 0.6, 0.5]).unwrap();
        let z = [0.3, -1.1];
        let u = frame.to_latent(&z);
        let mut back = u.clone();
        frame.to_local(&mut back);
        assert!(back.iter().zip(z).all(|(a, b)| (a - b).abs() < 1e-14));
        let (mut gradient, mut ignored) = ([0.0; 2], [0.0; 2]);
        frame.log_density(&u, &mut gradient);
        for i in 0..2 {
            let at = |shift: f64, ignored: &mut [f64]| {
                let mut moved = u.clone();
                moved[i] += shift;
                frame.log_density(&moved, ignored)
            };
            let numeric = (at(1e-5, &mut ignored) - at(-1e-5, &mut ignored)) / 2e-5;
            assert!((numeric - gradient[i]).abs() < 1e-8);
        }
        // At the centre: 1/(2π √det).
        let peak = frame.log_density(&frame.center.clone(), &mut ignored);
        assert!((peak + (2.0 * PI).ln() + 0.5 * (2.0f64 * 0.5 - 0.36).ln()).abs() < 1e-12);
        assert!(Frame::new(vec![0.0; 2], vec![1.0, 2.0, 2.0, 1.0]).is_err());
    }
}
