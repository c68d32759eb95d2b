//! Priors over simulator parameters.
//!
//! A [`Prior`] is a product of [`Component`]s, each over one parameter or (multivariate) a block of them. Its JSON
//! form is what files carry: a list such as
//! `[{"name":"C","dist":"uniform","low":10,"high":250}, {"name":"alpha","dist":"lognormal","loc":-0.125,"scale":0.5}]`.

mod component;
mod law;
mod univariate;

pub use component::Component;

use crate::{DataError, Result};
use law::Law;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A product of independent components, in parameter order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<Component>", into = "Vec<Component>")]
pub struct Prior {
    components: Vec<Component>,
    names: Vec<String>,
    laws: Vec<Law>,
}

/// Priors are what is written of them.
impl PartialEq for Prior {
    fn eq(&self, other: &Self) -> bool {
        self.components == other.components
    }
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
        let laws = components.iter().map(Law::new).collect();
        Ok(Self { components, names, laws })
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

    /// The laws of the components, each with the columns it holds.
    fn blocks(&self) -> impl Iterator<Item = (&Law, std::ops::Range<usize>)> {
        let mut at = 0;
        self.laws.iter().zip(&self.components).map(move |(law, component)| {
            let range = at..at + component.dim();
            at = range.end;
            (law, range)
        })
    }

    /// One value a parameter from one a component.
    fn by_parameter<T: Clone>(&self, of: impl Fn(&Law, &Component) -> T) -> Vec<T> {
        let pairs = self.laws.iter().zip(&self.components);
        pairs.flat_map(|(law, component)| std::iter::repeat_n(of(law, component), component.dim())).collect()
    }

    /// Draws θ ~ λ into `theta` (m values).
    pub fn sample(&self, rng: &mut impl Rng, theta: &mut [f64]) {
        assert_eq!(theta.len(), self.dim(), "theta has the prior's dimension");
        self.blocks().for_each(|(law, range)| law.sample(rng, &mut theta[range]));
    }

    /// log λ(θ); -∞ outside the support.
    pub fn log_density(&self, theta: &[f64]) -> f64 {
        let mut gradient = vec![0.0; theta.len()];
        self.log_density_gradient(theta, &mut gradient)
    }

    /// log λ(θ), writing ∇ log λ(θ) into `gradient`; -∞ outside the support.
    pub fn log_density_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        assert_eq!(theta.len(), self.dim(), "theta has the prior's dimension");
        let of = |(law, range): (&Law, std::ops::Range<usize>)| {
            law.log_density_gradient(&theta[range.clone()], &mut gradient[range])
        };
        self.blocks().map(of).sum()
    }

    /// z of θ, the map that makes this prior N(0, I).
    pub(crate) fn to_latent(&self, theta: &[f64], z: &mut [f64]) {
        self.blocks().for_each(|(law, range)| law.to_latent(&theta[range.clone()], &mut z[range]));
    }

    /// θ of z, the inverse of [`Prior::to_latent`].
    pub(crate) fn to_parameters(&self, z: &[f64], theta: &mut [f64]) {
        self.blocks().for_each(|(law, range)| law.to_parameters(&z[range.clone()], &mut theta[range]));
    }

    /// log |dθ/dz| at z, where θ is `theta`.
    pub(crate) fn log_jacobian(&self, z: &[f64], theta: &[f64]) -> f64 {
        self.blocks().map(|(law, range)| law.log_jacobian(&z[range.clone()], &theta[range])).sum()
    }

    /// Adds Jᵀ g to `by_z`, J = ∂θ/∂z, at z, where θ is `theta`.
    pub(crate) fn pull_back(&self, z: &[f64], theta: &[f64], by_theta: &[f64], by_z: &mut [f64]) {
        for (law, range) in self.blocks() {
            law.pull_back(&z[range.clone()], &theta[range.clone()], &by_theta[range.clone()], &mut by_z[range]);
        }
    }

    /// The interval each parameter lives in, in column order.
    pub fn support(&self) -> Vec<(f64, f64)> {
        self.by_parameter(|law, _| law.support())
    }

    /// Whether log θ_i is the natural coordinate (log-normal and log-uniform components), in column order.
    pub fn log_coordinates(&self) -> Vec<bool> {
        self.by_parameter(|_, component| {
            matches!(
                component,
                Component::Lognormal { .. } | Component::MultivariateLognormal { .. } | Component::Loguniform { .. }
            )
        })
    }

    /// Prior mean and standard deviation of each parameter, in column order; where they do not exist (Cauchy, few degrees of freedom)
    /// the median and half the width of the central 68 %.
    pub fn mean_and_sd(&self) -> Vec<(f64, f64)> {
        self.laws.iter().flat_map(Law::mean_and_sd).collect()
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
                let slack = |bound: f64| f64::from(f32::EPSILON) * bound.abs();
                if value.is_finite() && (value < low - slack(low) || value > high + slack(high)) {
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
    /// When there is no such parameter, it is the only one, or it is drawn together with others.
    pub fn without(&self, name: &str) -> Result<(Self, usize)> {
        let column =
            self.names.iter().position(|n| n == name).ok_or_else(|| {
                DataError::Prior(format!("has no parameter {name:?}; it has {}", self.names.join(", ")))
            })?;
        let mut components = self.components.clone();
        let index = components.iter().position(|c| c.names().iter().any(|n| n == name)).expect("found above");
        if components[index].dim() > 1 {
            return Err(DataError::Prior(format!("cannot fix {name:?}: it is drawn together with others")));
        }
        components.remove(index);
        Ok((Self::new(components)?, column))
    }
}
