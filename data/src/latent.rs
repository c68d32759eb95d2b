//! Maps between simulator parameters θ and the latent space z in which scores are learned and posteriors sampled.
//!
//! Two spaces are offered (neither moves information, both are invertible):
//! * *standardized* (the paper, App. E): log-normal coordinates are logged, then every coordinate is z-scored with the
//!   training set's mean and standard deviation.
//! * *prior-gaussian* (ours): the prior becomes N(0, I): a uniform by z = Φ⁻¹((θ-a)/(b-a)), a log-normal by its
//!   standardised logarithm, a Gaussian by whitening. Then the diffused prior score is -z at every noise level, and
//!   samples respect the prior's support by construction.

use crate::{Component, DataError, Prior, Result};
use serde::{Deserialize, Serialize};

/// An invertible map from parameters to latent space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "latent", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LatentMap {
    /// z = (f(θ) - mean) / sd with f = log where `log` is set, else the identity.
    Standardized {
        /// Which coordinates are logged first.
        log: Vec<bool>,
        /// Mean of f(θ).
        mean: Vec<f64>,
        /// Standard deviation of f(θ).
        sd: Vec<f64>,
        /// The prior of θ.
        prior: Prior,
    },
    /// The prior becomes N(0, I).
    PriorGaussian {
        /// The prior of θ.
        prior: Prior,
    },
}

impl LatentMap {
    /// The map that makes `prior` standard normal.
    pub fn prior_gaussian(prior: &Prior) -> Self {
        Self::PriorGaussian { prior: prior.clone() }
    }

    /// The paper's map: log where the prior is log-normal, then z-scores with the given mean and standard deviation
    /// (of the logged values).
    ///
    /// # Errors
    /// When the lengths differ from the prior's dimension or a standard deviation is not positive.
    pub fn standardized(prior: &Prior, mean: Vec<f64>, sd: Vec<f64>) -> Result<Self> {
        let m = prior.dim();
        if mean.len() != m || sd.len() != m {
            return Err(DataError::Shape {
                what: "standardisation of theta".into(),
                expected: format!("{m} means and standard deviations"),
                found: format!("{} and {}", mean.len(), sd.len()),
            });
        }
        let open = |component: &&Component| !has_rescaled_form(component);
        if let Some(component) = prior.components().iter().find(open) {
            return Err(DataError::Prior(format!(
                "{:?} has no standardized latent space; take the prior-gaussian one, which serves every prior",
                component.names()[0]
            )));
        }
        if let Some(i) = sd.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(DataError::Prior(format!(
                "parameter {:?} is constant in the training set; remove it or fix it in the simulator",
                prior.names()[i]
            )));
        }
        Ok(Self::Standardized { log: prior.log_coordinates(), mean, sd, prior: prior.clone() })
    }

    /// Checks a map that was read from elsewhere.
    ///
    /// # Errors
    /// As [`LatentMap::standardized`], and when a mean is not finite or other coordinates are logged than the prior says.
    pub fn validate(&self) -> Result<()> {
        let Self::Standardized { log, mean, sd, prior } = self else { return Ok(()) };
        let made = Self::standardized(prior, mean.clone(), sd.clone())?;
        if log == &prior.log_coordinates() && mean.iter().all(|mean| mean.is_finite()) && made == *self {
            return Ok(());
        }
        Err(DataError::Shape {
            what: "standardisation of theta".into(),
            expected: "finite means, and logarithms where the prior is log-normal".into(),
            found: format!("means {mean:?} and logarithms {log:?}"),
        })
    }

    /// The prior of θ.
    pub fn prior(&self) -> &Prior {
        match self {
            Self::Standardized { prior, .. } | Self::PriorGaussian { prior } => prior,
        }
    }

    /// Number of parameters m.
    pub fn dim(&self) -> usize {
        self.prior().dim()
    }

    /// Whether the prior of z is N(0, I).
    pub fn is_prior_gaussian(&self) -> bool {
        matches!(self, Self::PriorGaussian { .. })
    }

    /// z from θ.
    pub fn to_latent(&self, theta: &[f64], z: &mut [f64]) {
        match self {
            Self::Standardized { log, mean, sd, .. } => {
                for i in 0..theta.len() {
                    let value = if log[i] { theta[i].ln() } else { theta[i] };
                    z[i] = (value - mean[i]) / sd[i];
                }
            }
            Self::PriorGaussian { prior } => prior.to_latent(theta, z),
        }
    }

    /// θ from z.
    pub fn to_parameters(&self, z: &[f64], theta: &mut [f64]) {
        match self {
            Self::Standardized { log, mean, sd, .. } => {
                for i in 0..z.len() {
                    let value = mean[i] + sd[i] * z[i];
                    theta[i] = if log[i] { value.exp() } else { value };
                }
            }
            Self::PriorGaussian { prior } => prior.to_parameters(z, theta),
        }
    }

    /// The prior of z: uniform boxes and Gaussians stay what they are up to scale, log-normals become Gaussian.
    pub fn latent_prior(&self) -> Prior {
        let components = match self {
            Self::PriorGaussian { prior } => prior
                .names()
                .iter()
                .map(|name| Component::Normal { name: name.clone(), loc: 0.0, scale: 1.0 })
                .collect(),
            Self::Standardized { mean, sd, prior, .. } => {
                let mut at = 0;
                prior
                    .components()
                    .iter()
                    .map(|component| {
                        let range = at..at + component.dim();
                        at = range.end;
                        rescale(component, &mean[range.clone()], &sd[range]).expect("checked at construction")
                    })
                    .collect()
            }
        };
        Prior::new(components).expect("an affine image of a valid prior is valid")
    }
}

/// Whether the diffused prior of the component's z-scores is known.
fn has_rescaled_form(component: &Component) -> bool {
    rescale(component, &vec![0.0; component.dim()], &vec![1.0; component.dim()]).is_some()
}

/// The component of (f(θ) - mean)/sd, f as in [`Prior::log_coordinates`], where it is uniform or Gaussian.
fn rescale(component: &Component, mean: &[f64], sd: &[f64]) -> Option<Component> {
    match component {
        Component::Uniform { name, low, high } => Some(Component::Uniform {
            name: name.clone(),
            low: (low - mean[0]) / sd[0],
            high: (high - mean[0]) / sd[0],
        }),
        Component::Loguniform { name, low, high } => Some(Component::Uniform {
            name: name.clone(),
            low: (low.ln() - mean[0]) / sd[0],
            high: (high.ln() - mean[0]) / sd[0],
        }),
        Component::Normal { name, loc, scale } | Component::Lognormal { name, loc, scale } => {
            Some(Component::Normal { name: name.clone(), loc: (loc - mean[0]) / sd[0], scale: scale / sd[0] })
        }
        Component::MultivariateNormal { names, loc, covariance }
        | Component::MultivariateLognormal { names, loc, covariance } => Some(Component::MultivariateNormal {
            names: names.clone(),
            loc: loc.iter().enumerate().map(|(i, l)| (l - mean[i]) / sd[i]).collect(),
            covariance: (0..loc.len())
                .map(|i| (0..loc.len()).map(|j| covariance[i][j] / (sd[i] * sd[j])).collect())
                .collect(),
        }),
        Component::TruncatedNormal { .. }
        | Component::HalfNormal { .. }
        | Component::Beta { .. }
        | Component::Gamma { .. }
        | Component::InverseGamma { .. }
        | Component::Exponential { .. }
        | Component::StudentT { .. }
        | Component::Cauchy { .. }
        | Component::HalfCauchy { .. } => None,
    }
}

impl LatentMap {
    /// log |dθ/dz| at z, for densities of θ in latent coordinates.
    pub fn log_jacobian(&self, z: &[f64]) -> f64 {
        let mut theta = vec![0.0; z.len()];
        self.to_parameters(z, &mut theta);
        match self {
            Self::Standardized { log, sd, .. } => {
                (0..z.len()).map(|i| sd[i].ln() + if log[i] { theta[i].ln() } else { 0.0 }).sum()
            }
            Self::PriorGaussian { prior } => prior.log_jacobian(z, &theta),
        }
    }

    /// Adds Jᵀ g to `by_z`, J = ∂θ/∂z at z, where θ is `theta`: the gradient by z from the one by θ, `by_theta`.
    pub fn pull_back(&self, z: &[f64], theta: &[f64], by_theta: &[f64], by_z: &mut [f64]) {
        match self {
            Self::Standardized { log, sd, .. } => {
                for i in 0..z.len() {
                    by_z[i] += by_theta[i] * sd[i] * if log[i] { theta[i] } else { 1.0 };
                }
            }
            Self::PriorGaussian { prior } => prior.pull_back(z, theta, by_theta, by_z),
        }
    }
}
