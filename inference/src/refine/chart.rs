//! The variables of local polynomials: v = F⁻¹ (g(u) - f), with g the identity or, for uniform and log-uniform parameters, g = Φ.
//!
//! Latent coordinates make every prior N(0, I), simulators were written in others: near the bounds of a uniform prior a mean that is linear
//! in θ is far from it in Φ⁻¹. Which of the two serves is a matter of held-out likelihood.

use super::frame::{Frame, moments};
use crate::Result;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use tallsbi_data::{Component, Prior};

/// Coordinates of local polynomials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Which coordinates enter as Φ(u), (m).
    pub bounded: Vec<bool>,
    /// f and F.
    pub frame: Frame,
}

impl Chart {
    /// Which coordinates of `prior` are uniform, or their logarithms are.
    pub fn uniform(prior: &Prior) -> Vec<bool> {
        let bounded =
            |component: &Component| matches!(component, Component::Uniform { .. } | Component::Loguniform { .. });
        let flags = |component: &Component| vec![bounded(component); component.dim()];
        prior.components().iter().flat_map(flags).collect()
    }

    /// The chart in which the points `u` (rows, m) have mean 0 and covariance I.
    ///
    /// # Errors
    /// When they have no width in some direction.
    pub fn fit(bounded: Vec<bool>, u: &[f64]) -> Result<Self> {
        let m = bounded.len();
        let g: Vec<f64> = u.iter().enumerate().map(|(i, &u)| native(bounded[i % m], u)).collect();
        let (center, covariance) = moments(&g, m, None);
        Ok(Self { bounded, frame: Frame::new(center, covariance)? })
    }

    /// v of `u`.
    pub fn at(&self, u: &[f64]) -> Vec<f64> {
        let mut v: Vec<f64> = u.iter().zip(&self.bounded).map(|(&u, &bounded)| native(bounded, u)).collect();
        self.frame.to_local(&mut v);
        v
    }

    /// ∂v/∂u · B for B (m, m), whose columns are directions of u.
    pub fn jacobian(&self, u: &[f64], directions: &[f64]) -> Vec<f64> {
        let m = u.len();
        let mut out = vec![0.0; m * m];
        let mut column = vec![0.0; m];
        for j in 0..m {
            for i in 0..m {
                let slope = if self.bounded[i] { Normal::standard().pdf(u[i]) } else { 1.0 };
                column[i] = slope * directions[i * m + j];
            }
            crate::small_matrix::lower_solve(&self.frame.factor, &mut column);
            (0..m).for_each(|i| out[i * m + j] = column[i]);
        }
        out
    }
}

fn native(bounded: bool, u: f64) -> f64 {
    if bounded { Normal::standard().cdf(u) } else { u }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jacobian_is_the_finite_difference() {
        let points: Vec<f64> = (0..60).map(|i| 1.5 * (1.7 * f64::from(i)).sin()).collect();
        let chart = Chart::fit(vec![true, false], &points).unwrap();
        let u = [0.8, -0.4];
        let directions = [0.3, 0.1, -0.2, 0.7];
        let jacobian = chart.jacobian(&u, &directions);
        for j in 0..2 {
            let moved = |h: f64| chart.at(&[u[0] + h * directions[j], u[1] + h * directions[2 + j]]);
            let (up, down) = (moved(1e-5), moved(-1e-5));
            for i in 0..2 {
                assert!(((up[i] - down[i]) / 2e-5 - jacobian[i * 2 + j]).abs() < 1e-8);
            }
        }
    }
}
