//! What a component does: draws, densities, its map to N(0, I) and back; with what that needs computed once.

use super::Component;
use super::univariate::{
    self, Beta, Cauchy, Exponential, Gamma, HalfCauchy, InverseGamma, LogUniform, StudentT, TruncatedNormal,
    Univariate, normal::LN_SQRT_2PI,
};
use faer::{Mat, Side, linalg::solvers::Llt, prelude::Solve};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use std::sync::Arc;

/// Uniform quantiles are kept this far inside (0, 1): f64 cannot represent 1 - u below it, and f32 data touch the bounds.
const EDGE: f64 = 1e-12;

/// Lower Cholesky factor of a covariance given row by row; `None` where it is not positive definite.
pub(super) fn cholesky(covariance: &[Vec<f64>]) -> Option<Llt<f64>> {
    let m = covariance.len();
    let matrix = Mat::from_fn(m, m, |i, j| covariance[i][j]);
    Llt::new(matrix.as_ref(), Side::Lower).ok()
}

/// The law of a component's parameters.
#[derive(Debug, Clone)]
pub(super) enum Law {
    Uniform {
        low: f64,
        high: f64,
    },
    Lognormal {
        loc: f64,
        scale: f64,
    },
    Normal {
        loc: f64,
        scale: f64,
    },
    /// N(loc, L Lᵀ), or its exponential.
    Multivariate {
        loc: Vec<f64>,
        variances: Vec<f64>,
        factor: Arc<Llt<f64>>,
        exponential: bool,
    },
    Quantile(Arc<dyn Univariate>),
}

impl Law {
    /// The law of a component that has been validated.
    pub fn new(component: &Component) -> Self {
        let multivariate = |loc: &[f64], covariance: &[Vec<f64>], exponential| Self::Multivariate {
            loc: loc.to_vec(),
            variances: (0..loc.len()).map(|i| covariance[i][i]).collect(),
            factor: Arc::new(cholesky(covariance).expect("validated at construction")),
            exponential,
        };
        match *component {
            Component::Uniform { low, high, .. } => Self::Uniform { low, high },
            Component::Lognormal { loc, scale, .. } => Self::Lognormal { loc, scale },
            Component::Normal { loc, scale, .. } => Self::Normal { loc, scale },
            Component::MultivariateNormal { ref loc, ref covariance, .. } => multivariate(loc, covariance, false),
            Component::MultivariateLognormal { ref loc, ref covariance, .. } => multivariate(loc, covariance, true),
            Component::TruncatedNormal { loc, scale, low, high, .. } => quantile(TruncatedNormal {
                loc,
                scale,
                low: low.unwrap_or(f64::NEG_INFINITY),
                high: high.unwrap_or(f64::INFINITY),
            }),
            Component::HalfNormal { scale, .. } => {
                quantile(TruncatedNormal { loc: 0.0, scale, low: 0.0, high: f64::INFINITY })
            }
            Component::Loguniform { low, high, .. } => quantile(LogUniform { low, high }),
            Component::Beta { alpha, beta, .. } => quantile(Beta { alpha, beta }),
            Component::Gamma { shape, rate, .. } => quantile(Gamma { shape, rate }),
            Component::InverseGamma { shape, scale, .. } => {
                quantile(InverseGamma { inverse: Gamma { shape, rate: scale } })
            }
            Component::Exponential { rate, .. } => quantile(Exponential { rate }),
            Component::StudentT { df, loc, scale, .. } => quantile(StudentT { df, loc, scale }),
            Component::Cauchy { loc, scale, .. } => quantile(Cauchy { loc, scale }),
            Component::HalfCauchy { scale, .. } => quantile(HalfCauchy { scale }),
        }
    }

    /// Draws θ.
    pub fn sample(&self, rng: &mut impl Rng, theta: &mut [f64]) {
        match self {
            Self::Uniform { low, high } => {
                let u: f64 = StandardUniform.sample(rng);
                theta[0] = low + (high - low) * u;
            }
            _ => {
                let z: Vec<f64> = theta.iter().map(|_| StandardNormal.sample(rng)).collect();
                self.to_parameters(&z, theta);
            }
        }
    }

    /// log density, writing its gradient; -∞ outside the support.
    pub fn log_density_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        match self {
            Self::Uniform { low, high } => {
                gradient[0] = 0.0;
                if (*low..=*high).contains(&theta[0]) { -(high - low).ln() } else { f64::NEG_INFINITY }
            }
            Self::Lognormal { loc, scale } => {
                if theta[0] <= 0.0 {
                    gradient[0] = 0.0;
                    return f64::NEG_INFINITY;
                }
                let z = (theta[0].ln() - loc) / scale;
                gradient[0] = -(1.0 + z / scale) / theta[0];
                -0.5 * z * z - LN_SQRT_2PI - scale.ln() - theta[0].ln()
            }
            Self::Normal { loc, scale } => {
                let z = (theta[0] - loc) / scale;
                gradient[0] = -z / scale;
                -0.5 * z * z - LN_SQRT_2PI - scale.ln()
            }
            Self::Multivariate { loc, factor, exponential: false, .. } => gaussian(loc, factor, theta, gradient),
            Self::Multivariate { loc, factor, exponential: true, .. } => {
                if theta.iter().any(|&value| value <= 0.0) {
                    gradient.fill(0.0);
                    return f64::NEG_INFINITY;
                }
                let log: Vec<f64> = theta.iter().map(|value| value.ln()).collect();
                let value = gaussian(loc, factor, &log, gradient);
                gradient.iter_mut().zip(theta).for_each(|(g, theta)| *g = (*g - 1.0) / theta);
                value - log.iter().sum::<f64>()
            }
            Self::Quantile(law) => {
                let (value, slope) = univariate::ln_density(law.as_ref(), theta[0]);
                gradient[0] = slope;
                value
            }
        }
    }

    /// The interval that each parameter lives in.
    pub fn support(&self) -> (f64, f64) {
        match self {
            Self::Uniform { low, high } => (*low, *high),
            Self::Lognormal { .. } | Self::Multivariate { exponential: true, .. } => (0.0, f64::INFINITY),
            Self::Normal { .. } | Self::Multivariate { .. } => (f64::NEG_INFINITY, f64::INFINITY),
            Self::Quantile(law) => law.support(),
        }
    }

    /// Mean and standard deviation of each parameter (see [`super::Prior::mean_and_sd`]).
    pub fn mean_and_sd(&self) -> Vec<(f64, f64)> {
        let lognormal = |loc: f64, variance: f64| {
            let mean = (loc + variance / 2.0).exp();
            (mean, mean * variance.exp_m1().sqrt())
        };
        match self {
            Self::Uniform { low, high } => vec![((low + high) / 2.0, (high - low) / 12f64.sqrt())],
            Self::Lognormal { loc, scale } => vec![lognormal(*loc, scale * scale)],
            Self::Normal { loc, scale } => vec![(*loc, *scale)],
            Self::Multivariate { loc, variances, exponential, .. } => {
                let one = |(&loc, &variance): (&f64, &f64)| {
                    if *exponential { lognormal(loc, variance) } else { (loc, variance.sqrt()) }
                };
                loc.iter().zip(variances).map(one).collect()
            }
            Self::Quantile(law) => vec![univariate::mean_and_sd(law.as_ref())],
        }
    }

    /// z of θ.
    pub fn to_latent(&self, theta: &[f64], z: &mut [f64]) {
        match self {
            Self::Uniform { low, high } => {
                // From the nearer bound, so that neither tail loses digits.
                let u = (theta[0] - low) / (high - low);
                let v = (high - theta[0]) / (high - low);
                z[0] = if u <= v {
                    Normal::standard().inverse_cdf(u.clamp(EDGE, 0.5))
                } else {
                    -Normal::standard().inverse_cdf(v.clamp(EDGE, 0.5))
                };
            }
            Self::Lognormal { loc, scale } => z[0] = (theta[0].ln() - loc) / scale,
            Self::Normal { loc, scale } => z[0] = (theta[0] - loc) / scale,
            Self::Multivariate { loc, factor, exponential, .. } => {
                let factor = factor.L();
                for i in 0..loc.len() {
                    let known: f64 = (0..i).map(|j| factor[(i, j)] * z[j]).sum();
                    let value = if *exponential { theta[i].ln() } else { theta[i] };
                    z[i] = (value - loc[i] - known) / factor[(i, i)];
                }
            }
            Self::Quantile(law) => z[0] = univariate::to_latent(law.as_ref(), theta[0]),
        }
    }

    /// θ of z.
    pub fn to_parameters(&self, z: &[f64], theta: &mut [f64]) {
        match self {
            Self::Uniform { low, high } => {
                theta[0] = if z[0] <= 0.0 {
                    low + (high - low) * Normal::standard().cdf(z[0])
                } else {
                    high - (high - low) * Normal::standard().cdf(-z[0])
                };
            }
            Self::Lognormal { loc, scale } => theta[0] = (loc + scale * z[0]).exp(),
            Self::Normal { loc, scale } => theta[0] = loc + scale * z[0],
            Self::Multivariate { loc, factor, exponential, .. } => {
                for i in 0..loc.len() {
                    let value = loc[i] + (0..=i).map(|j| factor.L()[(i, j)] * z[j]).sum::<f64>();
                    theta[i] = if *exponential { value.exp() } else { value };
                }
            }
            Self::Quantile(law) => theta[0] = univariate::to_parameter(law.as_ref(), z[0]),
        }
    }

    /// log |dθ/dz| at z, where θ is `theta`.
    pub fn log_jacobian(&self, z: &[f64], theta: &[f64]) -> f64 {
        match self {
            Self::Uniform { low, high } => (high - low).ln() + Normal::standard().ln_pdf(z[0]),
            Self::Lognormal { scale, .. } => scale.ln() + theta[0].ln(),
            Self::Normal { scale, .. } => scale.ln(),
            Self::Multivariate { loc, factor, exponential, .. } => {
                let log_det = (0..loc.len()).map(|i| factor.L()[(i, i)].ln()).sum::<f64>();
                log_det + if *exponential { theta.iter().map(|value| value.ln()).sum() } else { 0.0 }
            }
            Self::Quantile(law) => univariate::ln_slope(law.as_ref(), z[0], theta[0]),
        }
    }

    /// Adds Jᵀ g to `by_z`, J = ∂θ/∂z, at z, where θ is `theta`.
    pub fn pull_back(&self, z: &[f64], theta: &[f64], by_theta: &[f64], by_z: &mut [f64]) {
        match self {
            Self::Multivariate { factor, exponential, .. } => {
                for (i, (g, theta)) in by_theta.iter().zip(theta).enumerate() {
                    let g = if *exponential { g * theta } else { *g };
                    (0..=i).for_each(|j| by_z[j] += factor.L()[(i, j)] * g);
                }
            }
            _ => by_z[0] += by_theta[0] * self.log_jacobian(z, theta).exp(),
        }
    }
}

fn quantile(law: impl Univariate + 'static) -> Law {
    Law::Quantile(Arc::new(law))
}

fn gaussian(loc: &[f64], factor: &Llt<f64>, theta: &[f64], gradient: &mut [f64]) -> f64 {
    let m = loc.len();
    let residual = Mat::from_fn(m, 1, |i, _| theta[i] - loc[i]);
    let solved = factor.solve(&residual);
    let mut quadratic = 0.0;
    let mut log_det = 0.0;
    for i in 0..m {
        gradient[i] = -solved[(i, 0)];
        quadratic += residual[(i, 0)] * solved[(i, 0)];
        log_det += factor.L()[(i, i)].ln();
    }
    -0.5 * quadratic - log_det - LN_SQRT_2PI * m as f64
}
