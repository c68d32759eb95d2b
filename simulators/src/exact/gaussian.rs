//! Independent draws from a Gaussian posterior.

use crate::{GaussianPosterior, PosteriorSampler, Result, SimulatorError};
use faer::linalg::solvers::Llt;
use faer::{Mat, Side};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

struct GaussianSampler {
    mean: Vec<f64>,
    /// Lower Cholesky factor of the covariance.
    factor: Mat<f64>,
}

/// Independent draws from `posterior`.
///
/// # Errors
/// When its covariance is not positive definite in double precision.
pub(crate) fn gaussian_sampler(task: &str, posterior: &GaussianPosterior) -> Result<Box<dyn PosteriorSampler>> {
    let m = posterior.mean.len();
    let covariance = Mat::from_fn(m, m, |i, j| posterior.covariance[i][j]);
    let cholesky = Llt::new(covariance.as_ref(), Side::Lower).map_err(|_| SimulatorError::Observations {
        task: task.into(),
        message: "the posterior's covariance is singular in double precision; use fewer observations".into(),
    })?;
    Ok(Box::new(GaussianSampler { mean: posterior.mean.clone(), factor: cholesky.L().to_owned() }))
}

impl PosteriorSampler for GaussianSampler {
    fn method(&self) -> &'static str {
        "exact Gaussian"
    }

    fn chain(&self, mut rng: Pcg64) -> crate::task::Draw<'_> {
        let mut z = vec![0.0; self.mean.len()];
        Box::new(move |theta| {
            z.iter_mut().for_each(|value| *value = StandardNormal.sample(&mut rng));
            for (i, out) in theta.iter_mut().enumerate() {
                *out = self.mean[i] + (0..=i).map(|j| self.factor[(i, j)] * z[j]).sum::<f64>();
            }
        })
    }
}
