//! Log-densities with gradients, in a space where the prior is N(0, I).

use ndarray::{Array3, ArrayView3, Axis};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use tallsbi_data::{Component, LatentMap, Prior};

/// A log-density with its gradient, up to a constant, over ℝᵐ; its scale is that of N(0, I) or smaller.
///
/// Implement it for any density to sample from; posteriors are made with [`LatentPosterior`].
pub trait LogDensity: Sync {
    /// m.
    fn dim(&self) -> usize;

    /// log π(z) + constant, writing ∇ log π(z) into `gradient`; -∞ where π(z) = 0, NaN where it cannot be computed (such
    /// points are never visited).
    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64;
}

/// θ ↦ log p(x_{1:n} | θ), writing its gradient into the second argument.
pub trait LogLikelihoodGradient: Fn(&[f64], &mut [f64]) -> f64 + Sync {}

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> LogLikelihoodGradient for F {}

/// One factor of the map from z to θ, with what it needs computed once.
enum Block {
    /// low + width Φ(z)
    Uniform { low: f64, width: f64 },
    /// exp(loc + scale z)
    LogNormal { loc: f64, scale: f64 },
    /// loc + L z, L lower triangular.
    Normal { loc: Vec<f64>, factor: Vec<Vec<f64>> },
    /// As the latent map has it.
    Mapped(LatentMap),
}

impl Block {
    fn new(component: &Component) -> Self {
        match component {
            Component::Uniform { low, high, .. } => Self::Uniform { low: *low, width: high - low },
            Component::Lognormal { loc, scale, .. } => Self::LogNormal { loc: *loc, scale: *scale },
            Component::Normal { loc, scale, .. } => Self::Normal { loc: vec![*loc], factor: vec![vec![*scale]] },
            Component::MultivariateNormal { loc, covariance, .. } => {
                Self::Normal { loc: loc.clone(), factor: super::population::cholesky(covariance) }
            }
            other => {
                let prior = Prior::new(vec![other.clone()]).expect("a component of a prior is one");
                Self::Mapped(LatentMap::prior_gaussian(&prior))
            }
        }
    }

    fn dim(&self) -> usize {
        match self {
            Self::Uniform { .. } | Self::LogNormal { .. } => 1,
            Self::Normal { loc, .. } => loc.len(),
            Self::Mapped(map) => map.dim(),
        }
    }

    fn to_parameters(&self, z: &[f64], theta: &mut [f64]) {
        match self {
            // From the nearer bound, so that neither tail loses digits.
            Self::Uniform { low, width } if z[0] <= 0.0 => theta[0] = low + width * Normal::standard().cdf(z[0]),
            Self::Uniform { low, width } => theta[0] = low + width - width * Normal::standard().cdf(-z[0]),
            Self::LogNormal { loc, scale } => theta[0] = (loc + scale * z[0]).exp(),
            Self::Normal { loc, factor } => {
                for ((out, loc), row) in theta.iter_mut().zip(loc).zip(factor) {
                    *out = loc + row.iter().zip(z).map(|(l, z)| l * z).sum::<f64>();
                }
            }
            Self::Mapped(map) => map.to_parameters(z, theta),
        }
    }

    /// Adds Jᵀ g, J = ∂θ/∂z.
    fn pull_back(&self, z: &[f64], theta: &[f64], by_theta: &[f64], by_z: &mut [f64]) {
        match self {
            Self::Uniform { width, .. } => by_z[0] += by_theta[0] * width * Normal::standard().pdf(z[0]),
            Self::LogNormal { scale, .. } => by_z[0] += by_theta[0] * scale * theta[0],
            Self::Normal { factor, .. } => {
                for (row, g) in factor.iter().zip(by_theta) {
                    by_z.iter_mut().zip(row).for_each(|(out, l)| *out += l * g);
                }
            }
            Self::Mapped(map) => map.pull_back(z, theta, by_theta, by_z),
        }
    }
}

/// The posterior of z where θ(z) has the given prior and z ~ N(0, I): log π(z) = -½‖z‖² + log p(x_{1:n} | θ(z)).
///
/// θ(z) is that of [`LatentMap::prior_gaussian`].
pub struct LatentPosterior<L> {
    blocks: Vec<Block>,
    map: LatentMap,
    likelihood: L,
}

impl<L: LogLikelihoodGradient> LatentPosterior<L> {
    /// The posterior under `prior` with the log-likelihood `likelihood`, both in the simulator's parameters.
    pub fn new(prior: &Prior, likelihood: L) -> Self {
        let blocks = prior.components().iter().map(Block::new).collect();
        Self { blocks, map: LatentMap::prior_gaussian(prior), likelihood }
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

impl<L: LogLikelihoodGradient> LogDensity for LatentPosterior<L> {
    fn dim(&self) -> usize {
        self.map.dim()
    }

    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        let m = z.len();
        let (mut theta, mut by_theta) = (vec![0.0; m], vec![0.0; m]);
        let mut at = 0;
        for block in &self.blocks {
            let range = at..at + block.dim();
            at = range.end;
            block.to_parameters(&z[range.clone()], &mut theta[range]);
        }
        let log_likelihood = (self.likelihood)(&theta, &mut by_theta);
        let mut square = 0.0;
        for (out, z) in gradient.iter_mut().zip(z) {
            *out = -z;
            square += z * z;
        }
        at = 0;
        for block in &self.blocks {
            let range = at..at + block.dim();
            at = range.end;
            block.pull_back(&z[range.clone()], &theta[range.clone()], &by_theta[range.clone()], &mut gradient[range]);
        }
        log_likelihood - 0.5 * square
    }
}
