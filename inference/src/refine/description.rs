//! Refined models in files: plain numbers as JSON, which keeps every bit of an f64.

use super::leverage::Leverage;
use super::mixture::ResidualLaw;
use super::{
    Basis, ByCategory, Chart, Column, Component, Frame, LocalLikelihood, LocalSuccess, RefinedModel, ScoreSummary,
    Scores,
};
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
    /// Whether observations are summaries whose mean alone counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    means: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentDescription {
    weight: f64,
    frame: Frame,
    chart: Chart,
    degree: usize,
    #[serde(default, rename = "linear_parameters", skip_serializing_if = "is_none")]
    linear: usize,
    log: bool,
    radius: f64,
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    success: Option<SuccessDescription>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residual: Option<ResidualLaw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leverage: Option<Leverage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by_category: Option<ByCategoryDescription>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<ScoresDescription>,
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    share: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

fn whole() -> f64 {
    1.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_whole(share: &f64) -> bool {
    *share == whole()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessDescription {
    chart: Chart,
    predictor: Vec<f64>,
}

/// The law of scores: chart and radius are those of the likelihood whose scores they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoresDescription {
    summary: ScoreSummary,
    degree: usize,
    columns: Vec<Column>,
    leverage: Option<Leverage>,
}

/// Laws of real numbers by the category in a column; chart, radius and logarithm are those of the likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByCategoryDescription {
    column: usize,
    parts: Vec<PartDescription>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartDescription {
    degree: usize,
    columns: Vec<Column>,
    residual: Option<ResidualLaw>,
    leverage: Option<Leverage>,
}

impl ByCategoryDescription {
    fn new(by: &ByCategory) -> Self {
        let part = |part: &LocalLikelihood| PartDescription {
            degree: part.basis.degree(),
            columns: part.columns.clone(),
            residual: part.residual.clone(),
            leverage: part.leverage.clone(),
        };
        Self { column: by.column, parts: by.parts.iter().map(part).collect() }
    }

    /// The laws of observations of `d` values, as `likelihood` says where they hold.
    fn of(self, likelihood: &LocalLikelihood, d: usize) -> Result<ByCategory> {
        let part = |PartDescription { degree, columns, residual, leverage }| {
            let basis = Basis::partly_linear(likelihood.basis.dim(), likelihood.basis.linear(), degree);
            let basis = checked(basis, (&columns, d), leverage.as_ref())?;
            let part = LocalLikelihood { basis, columns, residual, leverage, by_category: None, ..likelihood.clone() };
            let g = part.gaussians().len();
            match part.residual.as_ref().is_some_and(|law| !law.is_valid(g)) {
                true => Err(damaged("law of residuals")),
                false => Ok(part),
            }
        };
        let parts: Vec<LocalLikelihood> = self.parts.into_iter().map(part).collect::<Result<_>>()?;
        let is_given = |own: &Column| matches!(own, Column::Given { column } if *column == self.column);
        if parts.is_empty() || !likelihood.columns.iter().any(is_given) {
            return Err(damaged("laws by category"));
        }
        Ok(ByCategory { column: self.column, parts })
    }
}

impl RefinedModel {
    /// What a file holds of it.
    pub fn describe(&self) -> RefinedDescription {
        let components = self.components.iter().map(|component| {
            let LocalLikelihood { chart, basis, log, columns, radius, residual, leverage, by_category } =
                &component.likelihood;
            ComponentDescription {
                weight: component.weight,
                frame: component.frame.clone(),
                chart: chart.clone(),
                degree: basis.degree(),
                linear: basis.linear(),
                log: *log,
                radius: *radius,
                columns: columns.clone(),
                success: component
                    .success
                    .as_ref()
                    .map(|LocalSuccess { chart, predictor, .. }| (chart.clone(), predictor.clone()))
                    .map(|(chart, predictor)| SuccessDescription { chart, predictor }),
                residual: residual.clone(),
                leverage: leverage.clone(),
                by_category: by_category.as_ref().map(ByCategoryDescription::new),
                scores: component.scores.as_ref().map(|scores| ScoresDescription {
                    summary: scores.summary.clone(),
                    degree: scores.likelihood.basis.degree(),
                    columns: scores.likelihood.columns.clone(),
                    leverage: scores.likelihood.leverage.clone(),
                }),
                share: component.share,
            }
        });
        let symmetries = self.symmetry.elements()[1..].to_vec();
        RefinedDescription { n_obs: self.n_obs, symmetries, components: components.collect(), means: self.means }
    }
}

impl RefinedDescription {
    /// The model of `m` parameters and `d` values an observation.
    ///
    /// # Errors
    /// [`InferenceError::Model`] when numbers are missing, not finite or do not fit each other.
    pub fn model(self, m: usize, d: usize) -> Result<RefinedModel> {
        let symmetry = Symmetry::generated(m, &self.symmetries)?;
        let total: f64 = self.components.iter().map(|component| component.weight).sum();
        if self.components.is_empty() || !((total - 1.0).abs() < 1e-6) || self.n_obs == 0 {
            return Err(damaged("weights of its components"));
        }
        let component = |described: ComponentDescription| {
            let ComponentDescription {
                weight,
                frame,
                chart,
                degree,
                linear,
                log,
                radius,
                columns,
                success,
                residual,
                leverage,
                by_category,
                scores,
                share,
            } = described;
            let frames = frame.is_valid(m) && chart.frame.is_valid(m) && chart.bounded.len() == m;
            if !(frames && weight > 0.0 && radius > 0.0 && radius.is_finite()) {
                return Err(damaged("local coordinates"));
            }
            let basis = Basis::partly_linear(m, linear, degree);
            let basis = checked(basis, (&columns, d), leverage.as_ref())?;
            let mut likelihood =
                LocalLikelihood { chart, basis, log, columns, radius, residual, leverage, by_category: None };
            let g = likelihood.gaussians().len();
            if likelihood.residual.as_ref().is_some_and(|law| !law.is_valid(g)) {
                return Err(damaged("law of residuals"));
            }
            likelihood.by_category = by_category.map(|by| by.of(&likelihood, d)).transpose()?;
            if likelihood.by_category.is_none()
                && likelihood.columns.iter().any(|column| matches!(column, Column::Given { .. }))
            {
                return Err(damaged("laws by category"));
            }
            let scores = scores.map(|scores| scores.of(&likelihood, m, d)).transpose()?;
            if !(share > 0.0 && share <= 1.0) {
                return Err(damaged("share that counts"));
            }
            let damaged_success = || damaged("probability of success");
            let read = |success: SuccessDescription| {
                let whole = LocalSuccess::new(success.chart, success.predictor);
                whole.filter(|success| success.chart.bounded.len() == m).ok_or_else(damaged_success)
            };
            let success = success.map(read).transpose()?;
            Ok(Component { weight, frame, likelihood, success, scores, share })
        };
        let components = self.components.into_iter().map(component).collect::<Result<_>>()?;
        Ok(RefinedModel { components, symmetry, n_obs: self.n_obs, means: self.means })
    }
}

fn damaged(what: &str) -> InferenceError {
    InferenceError::Model(format!("its refinement is damaged ({what}); refine again"))
}

/// The polynomials of `d` columns, if these and their variances fit them.
fn checked(basis: Result<Basis>, (columns, d): (&[Column], usize), leverage: Option<&Leverage>) -> Result<Basis> {
    let basis = basis.map_err(|_| damaged("degree"))?;
    if columns.len() != d || !(0..d).all(|i| columns[i].is_valid(i, columns, &basis)) {
        return Err(damaged("coefficients"));
    }
    if leverage.is_some_and(|leverage| !leverage.is_valid(basis.len())) {
        return Err(damaged("variances of its means"));
    }
    Ok(basis)
}

impl ScoresDescription {
    /// The law of scores of `likelihood`.
    fn of(self, likelihood: &LocalLikelihood, m: usize, d: usize) -> Result<Scores> {
        let Self { summary, degree, columns, leverage } = self;
        let basis = checked(Basis::new(m, degree), (&columns, m), leverage.as_ref())?;
        if !summary.is_valid(m, d) || likelihood.residual.is_some() {
            return Err(damaged("scores"));
        }
        let (chart, radius) = (likelihood.chart.clone(), likelihood.radius);
        let likelihood =
            LocalLikelihood { chart, basis, log: false, columns, radius, residual: None, leverage, by_category: None };
        Ok(Scores { summary, likelihood })
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::GaussianColumn;
    use super::super::local::tests::{example, with_law};
    use super::*;

    #[test]
    fn every_bit_comes_back_and_damage_is_found() {
        let frame = Frame::standard(2, 0.1);
        let chart = Chart { bounded: vec![false; 2], frame: Frame::standard(2, 1.3) };
        let success = LocalSuccess::new(chart, vec![0.7, -0.1, 0.6]);
        assert!(success.is_some());
        let component = |likelihood, scores| {
            let (frame, success) = (frame.clone(), success.clone());
            Component { weight: 0.5, frame, likelihood, success, scores, share: 0.5 }
        };
        let column =
            GaussianColumn { center: 0.0, scale: 1.0, mean: vec![0.1; 3], log_variance: vec![0.2], coupling: vec![] };
        let draws = [0.1, 0.2, 0.3, 0.1, 0.0, 0.2, 0.15, 0.4];
        let of_scores = LocalLikelihood {
            basis: Basis::new(2, 1).unwrap(),
            columns: vec![Column::Gaussian(column); 2],
            ..example()
        };
        let summary = ScoreSummary::new(&example(), &draws, 2).unwrap();
        let components =
            vec![component(with_law(), None), component(example(), Some(Scores { summary, likelihood: of_scores }))];
        let symmetry = Symmetry::generated(2, &[SignedPermutation::flip(2, &[1])]).unwrap();
        let model = RefinedModel { components, symmetry, n_obs: 7, means: true };
        let json = serde_json::to_string(&model.describe()).unwrap();
        let read = |json: &str| serde_json::from_str::<RefinedDescription>(json).map(|d| d.model(2, 4));
        assert_eq!(read(&json).unwrap().unwrap(), model);
        for (from, to) in [
            ("\"weight\":0.5", "\"weight\":0.7"),
            ("\"radius\":5.0", "\"radius\":-5.0"),
            ("\"degree\":2", "\"degree\":1"),
            ("\"trials\":20.0", "\"trials\":0.0"),
            ("\"scale\":1.7", "\"scale\":0.0"),
            ("\"n_obs\":7", "\"n_obs\":0"),
            ("\"information\":[", "\"information\":[1.0,"),
            ("\"linear\":[", "\"linear\":[1.0,"),
            ("\"quadratic\":[", "\"quadratic\":[1.0,"),
            ("\"share\":0.5", "\"share\":1.5"),
            ("\"predictor\":[0.7,", "\"predictor\":["),
            ("\"scale\":1.0", "\"scale\":-1.0"),
        ] {
            assert!(json.contains(from), "{json}");
            assert!(read(&json.replace(from, to)).unwrap().is_err(), "{from}");
        }
        assert!(read(&json.replace("\"log\"", "\"other\":1,\"log\"")).is_err());
    }
}
