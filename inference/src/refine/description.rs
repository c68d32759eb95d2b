//! Refined models in files: plain numbers as JSON, which keeps every bit of an f64.

use super::leverage::Leverage;
use super::mixture::ResidualLaw;
use super::{Basis, Chart, Column, Component, Frame, LocalLikelihood, MOST_DEGREE, RefinedModel};
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use tallsbi_data::{SignedPermutation, Symmetry};

/// What a file holds of a [`RefinedModel`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefinedDescription {
    /// Observations it was refined for.
    n_obs: usize,
    /// Elements but the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    symmetries: Vec<SignedPermutation>,
    components: Vec<ComponentDescription>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentDescription {
    weight: f64,
    frame: Frame,
    chart: Chart,
    degree: usize,
    log: bool,
    radius: f64,
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residual: Option<ResidualLaw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leverage: Option<Leverage>,
}

impl RefinedModel {
    /// What a file holds of it.
    pub fn describe(&self) -> RefinedDescription {
        let components = self.components.iter().map(|component| {
            let LocalLikelihood { chart, basis, log, columns, radius, residual, leverage } = &component.likelihood;
            ComponentDescription {
                weight: component.weight,
                frame: component.frame.clone(),
                chart: chart.clone(),
                degree: basis.degree(),
                log: *log,
                radius: *radius,
                columns: columns.clone(),
                residual: residual.clone(),
                leverage: leverage.clone(),
            }
        });
        let symmetries = self.symmetry.elements()[1..].to_vec();
        RefinedDescription { n_obs: self.n_obs, symmetries, components: components.collect() }
    }
}

impl RefinedDescription {
    /// The model of `m` parameters and `d` values an observation.
    ///
    /// # Errors
    /// [`InferenceError::Model`] when numbers are missing, not finite or do not fit each other.
    pub fn model(self, m: usize, d: usize) -> Result<RefinedModel> {
        let damaged = |what: &str| InferenceError::Model(format!("its refinement is damaged ({what}); refine again"));
        let symmetry = Symmetry::generated(m, &self.symmetries)?;
        let total: f64 = self.components.iter().map(|component| component.weight).sum();
        if self.components.is_empty() || !((total - 1.0).abs() < 1e-6) || self.n_obs == 0 {
            return Err(damaged("weights of its components"));
        }
        let component = |described: ComponentDescription| {
            let ComponentDescription { weight, frame, chart, degree, log, radius, columns, residual, leverage } =
                described;
            if degree > MOST_DEGREE {
                return Err(damaged("degree"));
            }
            let basis = Basis::new(m, degree)?;
            let frames = frame.is_valid(m) && chart.frame.is_valid(m) && chart.bounded.len() == m;
            if !(frames && weight > 0.0 && radius > 0.0 && radius.is_finite()) {
                return Err(damaged("local coordinates"));
            }
            let valid = |i: usize| columns[i].is_valid(i, &columns, &basis);
            if columns.len() != d || !(0..d).all(valid) {
                return Err(damaged("coefficients"));
            }
            let likelihood = LocalLikelihood { chart, basis, log, columns, radius, residual, leverage };
            let g = likelihood.gaussians().len();
            if likelihood.residual.as_ref().is_some_and(|law| !law.is_valid(g)) {
                return Err(damaged("law of residuals"));
            }
            let p = likelihood.basis.len();
            if likelihood.leverage.as_ref().is_some_and(|leverage| !leverage.is_valid(p)) {
                return Err(damaged("variances of its means"));
            }
            Ok(Component { weight, frame, likelihood })
        };
        let components = self.components.into_iter().map(component).collect::<Result<_>>()?;
        Ok(RefinedModel { components, symmetry, n_obs: self.n_obs })
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::tests::with_law;
    use super::*;

    #[test]
    fn every_bit_comes_back_and_damage_is_found() {
        let frame = Frame::standard(2, 0.1);
        let component = Component { weight: 1.0, frame, likelihood: with_law() };
        let symmetry = Symmetry::generated(2, &[SignedPermutation::flip(2, &[1])]).unwrap();
        let model = RefinedModel { components: vec![component], symmetry, n_obs: 7 };
        let json = serde_json::to_string(&model.describe()).unwrap();
        let read = |json: &str| serde_json::from_str::<RefinedDescription>(json).map(|d| d.model(2, 4));
        assert_eq!(read(&json).unwrap().unwrap(), model);
        for (from, to) in [
            ("\"weight\":1.0", "\"weight\":0.5"),
            ("\"radius\":5.0", "\"radius\":-5.0"),
            ("\"degree\":2", "\"degree\":1"),
            ("\"trials\":20.0", "\"trials\":0.0"),
            ("\"scale\":1.7", "\"scale\":0.0"),
            ("\"n_obs\":7", "\"n_obs\":0"),
            ("\"information\":[", "\"information\":[1.0,"),
        ] {
            assert!(json.contains(from), "{json}");
            assert!(read(&json.replace(from, to)).unwrap().is_err(), "{from}");
        }
        assert!(read(&json.replace("\"log\"", "\"other\":1,\"log\"")).is_err());
    }
}
