//! Priors over simulator parameters.
//!
//! A [`Prior`] is a product of [`Component`]s, each over one parameter or (multivariate normal) a block of them. Its JSON
//! form is what files carry: a list such as
//! `[{"name":"C","dist":"uniform","low":10,"high":250}, {"name":"alpha","dist":"lognormal","loc":-0.125,"scale":0.5}]`.

use crate::{DataError, Result};
use faer::{Mat, Side, linalg::solvers::Llt, prelude::Solve};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Logarithm of √(2π).
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// An independent factor of a prior. Closed on purpose: a new kind without a latent map or a diffused score does not compile.
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
}

impl Component {
    /// Names of the parameters of this component.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Uniform { name, .. } | Self::Lognormal { name, .. } | Self::Normal { name, .. } => {
                std::slice::from_ref(name)
            }
            Self::MultivariateNormal { names, .. } => names,
        }
    }

    /// Number of parameters.
    pub fn dim(&self) -> usize {
        self.names().len()
    }

    fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(DataError::Prior(message));
        match self {
            Self::Uniform { name, low, high } if !(low.is_finite() && high.is_finite() && low < high) => {
                fail(format!("uniform {name:?} needs finite low < high, got low={low}, high={high}"))
            }
            Self::Lognormal { name, loc, scale } | Self::Normal { name, loc, scale }
                if !(loc.is_finite() && scale.is_finite() && *scale > 0.0) =>
            {
                fail(format!("{name:?} needs a finite loc and a scale > 0, got loc={loc}, scale={scale}"))
            }
            Self::MultivariateNormal { names, loc, covariance } => {
                let m = names.len();
                if m == 0 || loc.len() != m || covariance.len() != m || covariance.iter().any(|row| row.len() != m) {
                    return fail(format!(
                        "multivariate_normal {names:?} needs {m} values in loc and {m}x{m} in covariance"
                    ));
                }
                let symmetric = (0..m).all(|i| {
                    (0..i).all(|j| {
                        (covariance[i][j] - covariance[j][i]).abs()
                            <= 1e-10 * (covariance[i][i] * covariance[j][j]).abs().sqrt()
                    })
                });
                if !symmetric || !loc.iter().all(|v| v.is_finite()) {
                    return fail(format!(
                        "multivariate_normal {names:?} needs a finite loc and a symmetric covariance"
                    ));
                }
                cholesky(covariance).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// Lower Cholesky factor of a covariance given row by row.
pub(crate) fn cholesky(covariance: &[Vec<f64>]) -> Result<Llt<f64>> {
    let m = covariance.len();
    let matrix = Mat::from_fn(m, m, |i, j| covariance[i][j]);
    Llt::new(matrix.as_ref(), Side::Lower)
        .map_err(|_| DataError::Prior("the covariance of multivariate_normal is not positive definite".into()))
}

/// A product of independent components, in parameter order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Component>", into = "Vec<Component>")]
pub struct Prior {
    components: Vec<Component>,
    names: Vec<String>,
}

impl TryFrom<Vec<Component>> for Prior {
    type Error = DataError;
    fn try_from(components: Vec<Component>) -> Result<Self> {
        Self::new(components)
    }
}

impl From<Prior> for Vec<Component> {
    fn from(prior: Prior) -> Self {
        prior.components
    }
}

impl Prior {
    /// A prior from its components.
    ///
    /// # Errors
    /// When there are none, when a name is empty or used twice, or a component is not a proper distribution.
    pub fn new(components: Vec<Component>) -> Result<Self> {
        let names: Vec<String> = components.iter().flat_map(|c| c.names().iter().cloned()).collect();
        if names.is_empty() {
            return Err(DataError::Prior("has no parameters".into()));
        }
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
            return Err(DataError::Prior(format!("parameter names must be unique and not empty, got {name:?}")));
        }
        components.iter().try_for_each(Component::validate)?;
        Ok(Self { components, names })
    }

    /// A uniform prior over a box; one `(name, low, high)` a parameter.
    ///
    /// # Errors
    /// As [`Prior::new`].
    pub fn uniform(bounds: &[(&str, f64, f64)]) -> Result<Self> {
        Self::new(bounds.iter().map(|&(name, low, high)| Component::Uniform { name: name.into(), low, high }).collect())
    }

    /// A log-normal prior; one `(name, loc, scale)` of log θ a parameter.
    ///
    /// # Errors
    /// As [`Prior::new`].
    pub fn log_normal(parameters: &[(&str, f64, f64)]) -> Result<Self> {
        Self::new(
            parameters
                .iter()
                .map(|&(name, loc, scale)| Component::Lognormal { name: name.into(), loc, scale })
                .collect(),
        )
    }

    /// The prior from its JSON form.
    ///
    /// # Errors
    /// When the text is not a JSON list of components, or as [`Prior::new`].
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            DataError::Prior(text.strip_prefix("prior: ").unwrap_or(&text).to_owned())
        })
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.components).expect("components hold numbers and strings only")
    }

    /// The independent factors.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Parameter names, in column order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of parameters m.
    pub fn dim(&self) -> usize {
        self.names.len()
    }

    /// Draws θ ~ λ into `theta` (m values).
    pub fn sample(&self, rng: &mut impl Rng, theta: &mut [f64]) {
        assert_eq!(theta.len(), self.dim(), "theta has the prior's dimension");
        let mut at = 0;
        for component in &self.components {
            let out = &mut theta[at..at + component.dim()];
            at += component.dim();
            match component {
                Component::Uniform { low, high, .. } => {
                    let u: f64 = StandardUniform.sample(rng);
                    out[0] = low + (high - low) * u;
                }
                Component::Lognormal { loc, scale, .. } => out[0] = (loc + scale * normal(rng)).exp(),
                Component::Normal { loc, scale, .. } => out[0] = loc + scale * normal(rng),
                Component::MultivariateNormal { loc, covariance, .. } => {
                    let factor = cholesky(covariance).expect("validated at construction");
                    let z: Vec<f64> = loc.iter().map(|_| normal(rng)).collect();
                    for i in 0..loc.len() {
                        out[i] = loc[i] + (0..=i).map(|j| factor.L()[(i, j)] * z[j]).sum::<f64>();
                    }
                }
            }
        }
    }

    /// log λ(θ); -∞ outside the support.
    pub fn log_density(&self, theta: &[f64]) -> f64 {
        let mut gradient = vec![0.0; theta.len()];
        self.log_density_gradient(theta, &mut gradient)
    }

    /// log λ(θ), writing ∇ log λ(θ) into `gradient`; -∞ outside the support.
    pub fn log_density_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        assert_eq!(theta.len(), self.dim(), "theta has the prior's dimension");
        let mut total = 0.0;
        let mut at = 0;
        for component in &self.components {
            let range = at..at + component.dim();
            at = range.end;
            total += log_density_gradient(component, &theta[range.clone()], &mut gradient[range]);
        }
        total
    }

    /// The interval each parameter lives in, in column order.
    pub fn support(&self) -> Vec<(f64, f64)> {
        self.components
            .iter()
            .flat_map(|component| {
                let interval = match component {
                    Component::Uniform { low, high, .. } => (*low, *high),
                    Component::Lognormal { .. } => (0.0, f64::INFINITY),
                    Component::Normal { .. } | Component::MultivariateNormal { .. } => {
                        (f64::NEG_INFINITY, f64::INFINITY)
                    }
                };
                std::iter::repeat_n(interval, component.dim())
            })
            .collect()
    }

    /// Whether log θ_i is the natural coordinate (log-normal components), in column order.
    pub fn log_coordinates(&self) -> Vec<bool> {
        self.components
            .iter()
            .flat_map(|c| std::iter::repeat_n(matches!(c, Component::Lognormal { .. }), c.dim()))
            .collect()
    }

    /// Prior mean and standard deviation of each parameter, in column order.
    pub fn mean_and_sd(&self) -> Vec<(f64, f64)> {
        self.components
            .iter()
            .flat_map(|component| match component {
                Component::Uniform { low, high, .. } => vec![((low + high) / 2.0, (high - low) / 12f64.sqrt())],
                Component::Lognormal { loc, scale, .. } => {
                    let mean = (loc + scale * scale / 2.0).exp();
                    vec![(mean, mean * (scale * scale).exp_m1().sqrt())]
                }
                Component::Normal { loc, scale, .. } => vec![(*loc, *scale)],
                Component::MultivariateNormal { loc, covariance, .. } => {
                    loc.iter().enumerate().map(|(i, mean)| (*mean, covariance[i][i].sqrt())).collect()
                }
            })
            .collect()
    }

    /// Checks that every row of `theta` (N, m) lies in the support.
    ///
    /// # Errors
    /// [`DataError::Support`] naming `what`, the first offending row and parameter.
    pub fn check_support<T: Copy + Into<f64>>(&self, what: &str, theta: ndarray::ArrayView2<'_, T>) -> Result<()> {
        let support = self.support();
        for (row, values) in theta.outer_iter().enumerate() {
            for (i, &value) in values.iter().enumerate() {
                let (low, high) = support[i];
                let value: f64 = value.into();
                // Files hold f32: a bound may be missed by its rounding.
                let slack = f64::from(f32::EPSILON) * low.abs().max(high.abs()).min(f64::MAX).max(value.abs());
                if value.is_finite() && (value < low - slack || value > high + slack) {
                    return Err(DataError::Support {
                        what: what.into(),
                        message: format!(
                            "row {row} has {} = {value}, outside the prior's [{low}, {high}]; give the prior the parameters were drawn from",
                            self.names[i]
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// The prior without parameter `name`, as when a study fixes it; with its column.
    ///
    /// # Errors
    /// When there is no such parameter, it is the only one, or it belongs to a multivariate normal.
    pub fn without(&self, name: &str) -> Result<(Self, usize)> {
        let column =
            self.names.iter().position(|n| n == name).ok_or_else(|| {
                DataError::Prior(format!("has no parameter {name:?}; it has {}", self.names.join(", ")))
            })?;
        let mut components = self.components.clone();
        let index = components.iter().position(|c| c.names().iter().any(|n| n == name)).expect("found above");
        if components[index].dim() > 1 {
            return Err(DataError::Prior(format!("cannot fix {name:?}: it is part of a multivariate normal")));
        }
        components.remove(index);
        Ok((Self::new(components)?, column))
    }
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn log_density_gradient(component: &Component, theta: &[f64], gradient: &mut [f64]) -> f64 {
    match component {
        Component::Uniform { low, high, .. } => {
            gradient[0] = 0.0;
            if (*low..=*high).contains(&theta[0]) { -(high - low).ln() } else { f64::NEG_INFINITY }
        }
        Component::Lognormal { loc, scale, .. } => {
            if theta[0] <= 0.0 {
                gradient[0] = 0.0;
                return f64::NEG_INFINITY;
            }
            let z = (theta[0].ln() - loc) / scale;
            gradient[0] = -(1.0 + z / scale) / theta[0];
            -0.5 * z * z - LN_SQRT_2PI - scale.ln() - theta[0].ln()
        }
        Component::Normal { loc, scale, .. } => {
            let z = (theta[0] - loc) / scale;
            gradient[0] = -z / scale;
            -0.5 * z * z - LN_SQRT_2PI - scale.ln()
        }
        Component::MultivariateNormal { loc, covariance, .. } => {
            let factor = cholesky(covariance).expect("validated at construction");
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
    }
}
