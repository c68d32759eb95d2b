//! The Gaussian toy: p(x | θ) = N(x; θ, C), prior N(μ_0, S_0); everything about its tall posterior is known (paper App. D.1).

use super::MixtureModel;
use crate::Result;
use crate::schedule::LinearSchedule;
use crate::small_matrix::{add_multiply, add_scaled, cholesky, cholesky_inverse, identity};
use ndarray::ArrayView2;
use tallsbi_data::{Component, Prior};

/// The Gaussian toy.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianToy {
    /// μ_0 (m).
    pub prior_mean: Vec<f64>,
    /// S_0 (m, m).
    pub prior_covariance: Vec<f64>,
    /// C (m, m).
    pub noise: Vec<f64>,
}

impl GaussianToy {
    /// The paper's: prior N(0, I), C = (1-ρ) I + ρ 11ᵀ with ρ = 0.8.
    pub fn paper(m: usize) -> Self {
        const RHO: f64 = 0.8;
        let mut noise = vec![RHO; m * m];
        for i in 0..m {
            noise[i * m + i] = 1.0;
        }
        Self { prior_mean: vec![0.0; m], prior_covariance: identity(m), noise }
    }

    /// m.
    pub fn dim(&self) -> usize {
        self.prior_mean.len()
    }

    /// The prior.
    ///
    /// # Errors
    /// When S_0 is not positive definite.
    pub fn prior(&self) -> Result<Prior> {
        let m = self.dim();
        Ok(Prior::new(vec![Component::MultivariateNormal {
            names: (1..=m).map(|i| format!("theta_{i}")).collect(),
            loc: self.prior_mean.clone(),
            covariance: self.prior_covariance.chunks_exact(m).map(<[f64]>::to_vec).collect(),
        }])?)
    }

    /// Exact scores; with `knows_moments` also exact covariances and means of single posteriors.
    ///
    /// # Errors
    /// When a covariance is not positive definite.
    pub fn model(&self, schedule: LinearSchedule, knows_moments: bool) -> Result<MixtureModel> {
        MixtureModel::new(
            &[(1.0, self.noise.clone())],
            &self.prior_mean,
            &self.prior_covariance,
            schedule,
            knows_moments,
        )
    }

    /// Mean and covariance of the posterior given observations (n, m): precision S_0⁻¹ + n C⁻¹.
    ///
    /// # Panics
    /// When a covariance is not positive definite, which [`model`](Self::model) reports as an error.
    pub fn posterior(&self, observations: ArrayView2<'_, f32>) -> (Vec<f64>, Vec<f64>) {
        let m = self.dim();
        let inverse = |a: &[f64]| {
            let (mut l, mut out) = (a.to_vec(), vec![0.0; m * m]);
            assert!(cholesky(&mut l, m), "covariances are positive definite");
            cholesky_inverse(&l, m, &mut out);
            out
        };
        let (mut precision, noise_precision) = (inverse(&self.prior_covariance), inverse(&self.noise));
        let sum: Vec<f64> = observations.columns().into_iter().map(|x| x.iter().map(|&x| f64::from(x)).sum()).collect();
        let mut information = vec![0.0; m];
        add_multiply(1.0, &precision, &self.prior_mean, &mut information);
        add_multiply(1.0, &noise_precision, &sum, &mut information);
        add_scaled(observations.nrows() as f64, &noise_precision, &mut precision);
        let covariance = inverse(&precision);
        let mut mean = vec![0.0; m];
        add_multiply(1.0, &covariance, &information, &mut mean);
        (mean, covariance)
    }
}
