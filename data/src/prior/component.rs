//! The factors of a prior as they are written in files.

use super::law::cholesky;
use crate::{DataError, Result};
use serde::{Deserialize, Serialize};

/// An independent factor of a prior. Closed on purpose: a new kind without a law, and with it a latent map, does not compile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "dist", rename_all = "snake_case", deny_unknown_fields)]
pub enum Component {
    /// U(low, high).
    Uniform {
        /// Parameter name.
        name: String,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// log θ ~ N(loc, scale²).
    Lognormal {
        /// Parameter name.
        name: String,
        /// Mean of log θ.
        loc: f64,
        /// Standard deviation of log θ.
        scale: f64,
    },
    /// N(loc, scale²).
    Normal {
        /// Parameter name.
        name: String,
        /// Mean.
        loc: f64,
        /// Standard deviation.
        scale: f64,
    },
    /// N(loc, covariance) over several parameters.
    MultivariateNormal {
        /// Parameter names.
        names: Vec<String>,
        /// Mean.
        loc: Vec<f64>,
        /// Covariance, row by row; symmetric positive definite.
        covariance: Vec<Vec<f64>>,
    },
    /// log θ ~ N(loc, covariance) over several parameters.
    MultivariateLognormal {
        /// Parameter names.
        names: Vec<String>,
        /// Mean of log θ.
        loc: Vec<f64>,
        /// Covariance of log θ, row by row; symmetric positive definite.
        covariance: Vec<Vec<f64>>,
    },
    /// N(loc, scale²) given low < θ < high.
    TruncatedNormal {
        /// Parameter name.
        name: String,
        /// Mean before truncation.
        loc: f64,
        /// Standard deviation before truncation.
        scale: f64,
        /// Lower bound; none unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low: Option<f64>,
        /// Upper bound; none unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high: Option<f64>,
    },
    /// |θ| of N(0, scale²).
    HalfNormal {
        /// Parameter name.
        name: String,
        /// Standard deviation before folding.
        scale: f64,
    },
    /// log θ ~ U(log low, log high).
    Loguniform {
        /// Parameter name.
        name: String,
        /// Lower bound, above zero.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Density ∝ θ^(alpha - 1) (1 - θ)^(beta - 1) on (0, 1).
    Beta {
        /// Parameter name.
        name: String,
        /// Exponent at 0, plus one.
        alpha: f64,
        /// Exponent at 1, plus one.
        beta: f64,
    },
    /// Density ∝ θ^(shape - 1) exp(-rate θ), θ > 0.
    Gamma {
        /// Parameter name.
        name: String,
        /// Shape.
        shape: f64,
        /// Rate, 1 / scale.
        rate: f64,
    },
    /// Density ∝ θ^(-shape - 1) exp(-scale/θ), θ > 0.
    InverseGamma {
        /// Parameter name.
        name: String,
        /// Shape.
        shape: f64,
        /// Scale.
        scale: f64,
    },
    /// Density ∝ exp(-rate θ), θ > 0.
    Exponential {
        /// Parameter name.
        name: String,
        /// Rate, 1 / mean.
        rate: f64,
    },
    /// Student's t with df degrees of freedom.
    StudentT {
        /// Parameter name.
        name: String,
        /// Degrees of freedom.
        df: f64,
        /// Median.
        loc: f64,
        /// Scale.
        scale: f64,
    },
    /// Cauchy.
    Cauchy {
        /// Parameter name.
        name: String,
        /// Median.
        loc: f64,
        /// Half the width between the quartiles.
        scale: f64,
    },
    /// |θ| of a Cauchy distribution around zero.
    HalfCauchy {
        /// Parameter name.
        name: String,
        /// Median.
        scale: f64,
    },
}

/// Shapes, exponents and degrees of freedom within these have distribution functions to full precision; beyond them a normal serves.
const SHAPES: (f64, f64) = (0.01, 10_000.0);

impl Component {
    /// Names of the parameters of this component.
    pub fn names(&self) -> &[String] {
        match self {
            Self::MultivariateNormal { names, .. } | Self::MultivariateLognormal { names, .. } => names,
            Self::Uniform { name, .. }
            | Self::Lognormal { name, .. }
            | Self::Normal { name, .. }
            | Self::TruncatedNormal { name, .. }
            | Self::HalfNormal { name, .. }
            | Self::Loguniform { name, .. }
            | Self::Beta { name, .. }
            | Self::Gamma { name, .. }
            | Self::InverseGamma { name, .. }
            | Self::Exponential { name, .. }
            | Self::StudentT { name, .. }
            | Self::Cauchy { name, .. }
            | Self::HalfCauchy { name, .. } => std::slice::from_ref(name),
        }
    }

    /// Number of parameters.
    pub fn dim(&self) -> usize {
        self.names().len()
    }

    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Uniform { name, low, high } if !(low.is_finite() && high.is_finite() && low < high) => {
                Err(DataError::Prior(format!("uniform {name:?} needs finite low < high, got low={low}, high={high}")))
            }
            Self::Loguniform { name, low, high } if !(*low > 0.0 && high.is_finite() && low < high) => {
                Err(DataError::Prior(format!("loguniform {name:?} needs 0 < low < high, got low={low}, high={high}")))
            }
            Self::Uniform { .. } | Self::Loguniform { .. } => Ok(()),
            Self::Lognormal { name, loc, scale }
            | Self::Normal { name, loc, scale }
            | Self::Cauchy { name, loc, scale } => check_location(name, *loc, *scale),
            Self::StudentT { name, df, loc, scale } => {
                check_shape(name, "df", *df)?;
                check_location(name, *loc, *scale)
            }
            Self::TruncatedNormal { name, loc, scale, low, high } => {
                check_location(name, *loc, *scale)?;
                check_truncation(name, *loc, *scale, *low, *high)
            }
            Self::HalfNormal { name, scale } | Self::HalfCauchy { name, scale } => {
                check_positive(name, "scale", *scale)
            }
            Self::Exponential { name, rate } => check_positive(name, "rate", *rate),
            Self::Gamma { name, shape, rate } => {
                check_shape(name, "shape", *shape)?;
                check_positive(name, "rate", *rate)
            }
            Self::InverseGamma { name, shape, scale } => {
                check_shape(name, "shape", *shape)?;
                check_positive(name, "scale", *scale)
            }
            Self::Beta { name, alpha, beta } => {
                check_shape(name, "alpha", *alpha)?;
                check_shape(name, "beta", *beta)
            }
            Self::MultivariateNormal { names, loc, covariance } => {
                check_covariance("multivariate_normal", names, loc, covariance)
            }
            Self::MultivariateLognormal { names, loc, covariance } => {
                check_covariance("multivariate_lognormal", names, loc, covariance)
            }
        }
    }
}

fn check_location(name: &str, loc: f64, scale: f64) -> Result<()> {
    if loc.is_finite() && scale.is_finite() && scale > 0.0 {
        return Ok(());
    }
    Err(DataError::Prior(format!("{name:?} needs a finite loc and a scale > 0, got loc={loc}, scale={scale}")))
}

fn check_positive(name: &str, field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(DataError::Prior(format!("{name:?} needs a {field} > 0, got {field}={value}")))
}

fn check_shape(name: &str, field: &str, value: f64) -> Result<()> {
    let (low, high) = SHAPES;
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(DataError::Prior(format!("{name:?} needs {field} between {low} and {high}, got {field}={value}")))
}

fn check_truncation(name: &str, loc: f64, scale: f64, low: Option<f64>, high: Option<f64>) -> Result<()> {
    /// Farther out a truncated normal is an exponential to all digits, and its bounds have lost theirs.
    const FARTHEST: f64 = 1e4;
    let standard = |bound: Option<f64>, none: f64| bound.map_or(none, |bound| (bound - loc) / scale);
    let (a, b) = (standard(low, f64::NEG_INFINITY), standard(high, f64::INFINITY));
    let shown = |bound: Option<f64>| bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
    let got = format!("got low={}, high={}", shown(low), shown(high));
    if low.is_some_and(|v| !v.is_finite()) || high.is_some_and(|v| !v.is_finite()) || a >= b || a.is_nan() || b.is_nan()
    {
        return Err(DataError::Prior(format!(
            "truncated_normal {name:?} needs finite low < high, either of which may be left out, {got}"
        )));
    }
    if a > FARTHEST || b < -FARTHEST {
        return Err(DataError::Prior(format!(
            "truncated_normal {name:?} has its bounds more than {FARTHEST} scales from loc, {got}"
        )));
    }
    Ok(())
}

fn check_covariance(dist: &str, names: &[String], loc: &[f64], covariance: &[Vec<f64>]) -> Result<()> {
    let m = names.len();
    if m == 0 || loc.len() != m || covariance.len() != m || covariance.iter().any(|row| row.len() != m) {
        return Err(DataError::Prior(format!("{dist} {names:?} needs {m} values in loc and {m}x{m} in covariance")));
    }
    let symmetric = (0..m).all(|i| {
        (0..i).all(|j| {
            (covariance[i][j] - covariance[j][i]).abs() <= 1e-10 * (covariance[i][i] * covariance[j][j]).abs().sqrt()
        })
    });
    if !symmetric || !loc.iter().all(|v| v.is_finite()) {
        return Err(DataError::Prior(format!("{dist} {names:?} needs a finite loc and a symmetric covariance")));
    }
    match cholesky(covariance) {
        Some(_) => Ok(()),
        None => Err(DataError::Prior(format!("the covariance of {dist} is not positive definite"))),
    }
}
