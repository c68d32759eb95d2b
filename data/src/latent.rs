//! Maps between simulator parameters θ and the latent space z in which scores are learned and posteriors sampled.
//!
//! Two spaces are offered (neither moves information, both are invertible):
//! * *standardized* (the paper, App. E): log-normal coordinates are logged, then every coordinate is z-scored with the
//!   training set's mean and standard deviation.
//! * *prior-gaussian* (ours): the prior becomes N(0, I): a uniform by z = Φ⁻¹((θ-a)/(b-a)), a log-normal by its
//!   standardised logarithm, a Gaussian by whitening. Then the diffused prior score is -z at every noise level, and
//!   samples respect the prior's support by construction.

use crate::prior::cholesky;
use crate::{Component, DataError, Prior, Result};
use faer::Mat;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};

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

/// Uniform quantiles are kept this far inside (0, 1): f64 cannot represent 1 - u below it, and f32 data touch the bounds.
const EDGE: f64 = 1e-12;

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
            Self::PriorGaussian { prior } => for_blocks(prior, theta, z, gaussianize),
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
            Self::PriorGaussian { prior } => for_blocks(prior, z, theta, degaussianize),
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
                        rescale(component, &mean[range.clone()], &sd[range])
                    })
                    .collect()
            }
        };
        Prior::new(components).expect("an affine image of a valid prior is valid")
    }
}

/// The component of (f(θ) - mean)/sd.
fn rescale(component: &Component, mean: &[f64], sd: &[f64]) -> Component {
    match component {
        Component::Uniform { name, low, high } => {
            Component::Uniform { name: name.clone(), low: (low - mean[0]) / sd[0], high: (high - mean[0]) / sd[0] }
        }
        Component::Normal { name, loc, scale } | Component::Lognormal { name, loc, scale } => {
            Component::Normal { name: name.clone(), loc: (loc - mean[0]) / sd[0], scale: scale / sd[0] }
        }
        Component::MultivariateNormal { names, loc, covariance } => Component::MultivariateNormal {
            names: names.clone(),
            loc: loc.iter().enumerate().map(|(i, l)| (l - mean[i]) / sd[i]).collect(),
            covariance: (0..loc.len())
                .map(|i| (0..loc.len()).map(|j| covariance[i][j] / (sd[i] * sd[j])).collect())
                .collect(),
        },
    }
}

fn for_blocks(prior: &Prior, from: &[f64], to: &mut [f64], map: fn(&Component, &[f64], &mut [f64])) {
    let mut at = 0;
    for component in prior.components() {
        let range = at..at + component.dim();
        at = range.end;
        map(component, &from[range.clone()], &mut to[range]);
    }
}

fn standard_normal() -> Normal {
    Normal::standard()
}

fn gaussianize(component: &Component, theta: &[f64], z: &mut [f64]) {
    match component {
        Component::Uniform { low, high, .. } => {
            // From the nearer bound, so that neither tail loses digits.
            let u = (theta[0] - low) / (high - low);
            let v = (high - theta[0]) / (high - low);
            z[0] = if u <= v {
                standard_normal().inverse_cdf(u.clamp(EDGE, 0.5))
            } else {
                -standard_normal().inverse_cdf(v.clamp(EDGE, 0.5))
            };
        }
        Component::Lognormal { loc, scale, .. } => z[0] = (theta[0].ln() - loc) / scale,
        Component::Normal { loc, scale, .. } => z[0] = (theta[0] - loc) / scale,
        Component::MultivariateNormal { loc, covariance, .. } => {
            let factor = lower(covariance);
            for i in 0..loc.len() {
                let known: f64 = (0..i).map(|j| factor[(i, j)] * z[j]).sum();
                z[i] = (theta[i] - loc[i] - known) / factor[(i, i)];
            }
        }
    }
}

fn degaussianize(component: &Component, z: &[f64], theta: &mut [f64]) {
    match component {
        Component::Uniform { low, high, .. } => {
            theta[0] = if z[0] <= 0.0 {
                low + (high - low) * standard_normal().cdf(z[0])
            } else {
                high - (high - low) * standard_normal().cdf(-z[0])
            };
        }
        Component::Lognormal { loc, scale, .. } => theta[0] = (loc + scale * z[0]).exp(),
        Component::Normal { loc, scale, .. } => theta[0] = loc + scale * z[0],
        Component::MultivariateNormal { loc, covariance, .. } => {
            let factor = lower(covariance);
            for i in 0..loc.len() {
                theta[i] = loc[i] + (0..=i).map(|j| factor[(i, j)] * z[j]).sum::<f64>();
            }
        }
    }
}

fn lower(covariance: &[Vec<f64>]) -> Mat<f64> {
    cholesky(covariance).expect("validated at construction").L().to_owned()
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
            Self::PriorGaussian { prior } => {
                let mut at = 0;
                let mut total = 0.0;
                for component in prior.components() {
                    total += match component {
                        Component::Uniform { low, high, .. } => (high - low).ln() + standard_normal().ln_pdf(z[at]),
                        Component::Lognormal { scale, .. } => scale.ln() + theta[at].ln(),
                        Component::Normal { scale, .. } => scale.ln(),
                        Component::MultivariateNormal { covariance, .. } => {
                            let factor = lower(covariance);
                            (0..covariance.len()).map(|i| factor[(i, i)].ln()).sum()
                        }
                    };
                    at += component.dim();
                }
                total
            }
        }
    }
}
