//! The distribution of one value of an observation given those before it, as polynomials of local coordinates.

use super::basis::Basis;
use serde::{Deserialize, Serialize};

/// The distribution of one value x_i.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Column {
    /// Always the same; says nothing about θ.
    Constant {
        /// The value.
        value: f64,
    },
    /// A real number whose law depends on a category: see [`ByCategory`](super::ByCategory).
    Given {
        /// The category's column.
        column: usize,
    },
    /// A Gaussian.
    Gaussian(GaussianColumn),
    /// A count.
    Count(CountColumn),
}

/// y_i = (f(x_i) - centre)/scale with y_i | y_<i ~ N(a_i + Σ_j b_ij (y_j - a_j), e^{s_i}), all of a, b and s polynomials: what a Cholesky
/// factor of the precision is, column by column (Pourahmadi 1999).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianColumn {
    /// Centre.
    pub center: f64,
    /// Scale, > 0.
    pub scale: f64,
    /// Coefficients of a.
    pub mean: Vec<f64>,
    /// Coefficients of s.
    pub log_variance: Vec<f64>,
    /// Earlier Gaussian columns j with the coefficients of b_ij.
    pub coupling: Vec<(usize, Vec<f64>)>,
}

/// A count with a generalised linear model (McCullagh & Nelder 1989): the natural link of its family is a polynomial η.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountColumn {
    /// The family.
    pub family: Family,
    /// Coefficients of η.
    pub predictor: Vec<f64>,
}

/// What is counted, by how the variance depends on the mean μ: μ - μ²/K, μ, μ + μ²/r.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Family {
    /// Successes of `trials`; η = log(p/(1-p)).
    Binomial {
        /// K.
        trials: f64,
    },
    /// η = log μ.
    Poisson,
    /// η = log μ.
    NegativeBinomial {
        /// r.
        size: f64,
    },
}

impl Column {
    /// Whether its coefficients are those of polynomials of `basis`, its numbers finite, and its couplings to earlier Gaussian `columns`.
    pub(super) fn is_valid(&self, index: usize, columns: &[Self], basis: &Basis) -> bool {
        let fits = |coefficients: &[f64]| {
            basis.degree_of(coefficients.len()).is_some() && coefficients.iter().all(|value| value.is_finite())
        };
        match self {
            Self::Constant { value } => value.is_finite(),
            Self::Given { column } => columns.get(*column).is_some_and(|column| matches!(column, Self::Count(_))),
            Self::Count(count) => fits(&count.predictor) && count.family.is_valid(),
            Self::Gaussian(column) => {
                let earlier = |j: usize| j < index && matches!(columns[j], Self::Gaussian(_));
                column.scale > 0.0
                    && column.scale.is_finite()
                    && column.center.is_finite()
                    && fits(&column.mean)
                    && fits(&column.log_variance)
                    && column.coupling.iter().all(|(j, coefficients)| earlier(*j) && fits(coefficients))
            }
        }
    }

    /// tᵀ S t of a Gaussian's residual tᵀ(y - a) whose couplings do not depend on the parameters, by the scatter S (d, d); `i` is its own index.
    pub(super) fn known_square(&self, i: usize, scatter: &[f64]) -> Option<f64> {
        let Self::Gaussian(own) = self else { return None };
        let d = scatter.len().isqrt();
        let constant = |(j, b): &(usize, Vec<f64>)| match b[..] {
            [b] => Some((*j, -b)),
            _ => None,
        };
        let mut t: Vec<(usize, f64)> = own.coupling.iter().map(constant).collect::<Option<_>>()?;
        t.push((i, 1.0));
        let along = |k: usize| t.iter().map(|&(j, b)| b * scatter[k * d + j]).sum::<f64>();
        Some(t.iter().map(|&(k, b)| b * along(k)).sum())
    }

    /// In a few words, for reports.
    pub fn describe(&self, basis: &Basis) -> String {
        let degree = |coefficients: &[f64]| basis.degree_of(coefficients.len()).unwrap_or(0);
        match self {
            Self::Constant { .. } => "constant".into(),
            Self::Given { column } => format!("given column {column}"),
            Self::Count(count) => {
                let family = match count.family {
                    Family::Binomial { trials } => format!("binomial of {trials:.0}"),
                    Family::Poisson => "Poisson".into(),
                    Family::NegativeBinomial { size } => format!("negative binomial of size {size:.1}"),
                };
                format!("{family}, degree {}", degree(&count.predictor))
            }
            Self::Gaussian(column) => {
                let (mean, variance) = (degree(&column.mean), degree(&column.log_variance));
                format!("Gaussian, degree {mean}, variance {variance}, {} couplings", column.coupling.len())
            }
        }
    }

    /// The highest degree of its polynomials.
    pub(super) fn degree(&self, basis: &Basis) -> usize {
        let degree = |coefficients: &[f64]| basis.degree_of(coefficients.len()).unwrap_or(0);
        match self {
            Self::Constant { .. } | Self::Given { .. } => 0,
            Self::Count(count) => degree(&count.predictor),
            Self::Gaussian(column) => {
                let couplings = column.coupling.iter().map(|(_, coefficients)| degree(coefficients));
                couplings.chain([degree(&column.mean), degree(&column.log_variance)]).max().unwrap_or(0)
            }
        }
    }

    /// Number of coefficients of its mean or predictor.
    pub fn coefficients(&self) -> usize {
        match self {
            Self::Constant { .. } | Self::Given { .. } => 0,
            Self::Gaussian(column) => column.mean.len(),
            Self::Count(column) => column.predictor.len(),
        }
    }
}
