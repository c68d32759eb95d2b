//! Log-densities with gradients, in a space where the prior is N(0, I).

use crate::small_matrix::dot;
use ndarray::{Array3, ArrayView3, Axis};
use tallsbi_data::{LatentMap, Prior};

/// A log-density with its gradient, up to a constant, over ℝᵐ; its scale is that of N(0, I) or smaller.
///
/// Implement it for any density to sample from; posteriors are made with [`LatentPosterior`]. It is one point's density alone, where a
/// [`Likelihood`](crate::tempering::Likelihood) of a network is evaluated at many points at once, has a metric, and takes any observations.
pub trait LogDensity: Sync {
    /// m.
    fn dim(&self) -> usize;

    /// log π(z) + constant, writing ∇ log π(z) into `gradient`; -∞ where π(z) = 0, NaN where it cannot be computed (such
    /// points are never visited).
    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64;
}

/// The posterior of z where θ(z) has the given prior and z ~ N(0, I): log π(z) = -½‖z‖² + log p(x_{1:n} | θ(z)).
///
/// θ(z) is that of [`LatentMap::prior_gaussian`]; the likelihood is a function (θ, g) ↦ log p(x_{1:n} | θ) that writes its gradient by θ
/// into g.
pub struct LatentPosterior<L> {
    map: LatentMap,
    likelihood: L,
}

impl<L: Fn(&[f64], &mut [f64]) -> f64 + Sync> LatentPosterior<L> {
    /// The posterior under `prior` with the log-likelihood `likelihood`, both in the simulator's parameters.
    pub fn new(prior: &Prior, likelihood: L) -> Self {
        Self { map: LatentMap::prior_gaussian(prior), likelihood }
    }

    /// Parameters of latent points, both (chain, draw, m).
    pub fn to_parameters(&self, z: ArrayView3<'_, f64>) -> Array3<f64> {
        let mut theta = z.to_owned();
        let mut out = vec![0.0; self.map.dim()];
        for mut lane in theta.lanes_mut(Axis(2)) {
            self.map.to_parameters(&lane.to_vec(), &mut out);
            lane.iter_mut().zip(&out).for_each(|(to, from)| *to = *from);
        }
        theta
    }
}

impl<L: Fn(&[f64], &mut [f64]) -> f64 + Sync> LogDensity for LatentPosterior<L> {
    fn dim(&self) -> usize {
        self.map.dim()
    }

    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        let m = z.len();
        let (mut theta, mut by_theta) = (vec![0.0; m], vec![0.0; m]);
        self.map.to_parameters(z, &mut theta);
        let log_likelihood = (self.likelihood)(&theta, &mut by_theta);
        gradient.iter_mut().zip(z).for_each(|(out, z)| *out = -z);
        self.map.pull_back(z, &theta, &by_theta, gradient);
        log_likelihood - 0.5 * dot(z, z)
    }
}
