//! From all rounds' rows to local likelihoods around the parts of a proposal.

use super::by_category::by_category;
use super::chart::Chart;
use super::fit::{Fitted, Forms, MARGIN, Rows, fit};
use super::model::{Component, RefinedModel};
use super::proposal::Proposal;
use super::shape::shape;
use super::success::LocalSuccess;
use crate::Result;
use crate::model::Failures;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use tallsbi_data::{Monitor, Prior, Symmetry};

/// Share of a proposal's mass that lies within a component's radius.
const WITHIN: f64 = 0.9995;

/// The radius within which a component of a proposal in `m` dimensions has nearly all its mass.
pub fn radius(m: usize) -> f64 {
    ChiSquared::new(m as f64).map_or(10.0, |law| law.inverse_cdf(WITHIN).sqrt())
}

/// A model and what it was learned from.
pub(super) struct Learned {
    pub model: RefinedModel,
    /// The rows of each component.
    pub rows: Vec<Rows>,
    /// Held-out log-likelihood a row.
    pub held_out: f64,
}

impl Learned {
    /// Number of rows of each component.
    pub fn counts(&self) -> Vec<usize> {
        let m = self.model.components[0].frame.dim();
        self.rows.iter().map(|rows| rows.u.len() / m).collect()
    }
}

/// Local likelihoods of all `rows` within each part of the proposal, in latent coordinates or in those of uniform parameters, whichever
/// predict held-out rows better. Where only `means` of n observations count, their law is that of one with Gaussian residuals.
pub(super) fn learn(
    (prior, symmetry, n_obs, means): (&Prior, &Symmetry, usize, bool),
    proposal: &Proposal,
    rows: &Rows,
    log: bool,
    (forms, failures): (Forms, Failures),
    monitor: &dyn Monitor,
) -> Result<Learned> {
    let m = prior.dim();
    let radius = radius(m);
    let uniform = Chart::uniform(prior);
    let mut components = Vec::with_capacity(proposal.parts.len());
    let (mut used, mut held_out, mut total) = (Vec::new(), 0.0, 0);
    for (weight, frame) in &proposal.parts {
        let near = rows.near(frame, radius);
        let latent = Chart { bounded: vec![false; m], frame: frame.clone() };
        let mut best: Fitted = fit(latent, &near, log, radius, forms, monitor)?;
        if uniform.contains(&true) {
            let native = Chart::fit(uniform.clone(), &near.u)?;
            let square = |u| native.at(u).iter().map(|v| v * v).sum::<f64>();
            // Its region is that of the rows.
            let reach = near.u.chunks_exact(m).map(square).fold(0.0, f64::max).sqrt();
            let other = fit(native, &near, log, reach, forms, monitor)?;
            if other.held_out > best.held_out {
                best = other;
            }
        }
        monitor.check()?;
        let plain = best.likelihood.clone();
        if !means && let Some((likelihood, gain)) = shape(&best.likelihood, &near) {
            best = Fitted { likelihood, held_out: best.held_out + gain };
        }
        if !means
            && let Some(split) = by_category(&plain, &near, forms, monitor)?
            && split.held_out > best.held_out + MARGIN
        {
            best = split;
        }
        let success = match failures {
            Failures::Inform => LocalSuccess::learn(&best.likelihood.chart, &near, forms.mean)?,
            Failures::Condition => None,
        };
        total += near.u.len() / m;
        held_out += best.held_out;
        used.push(near);
        components.push(Component {
            weight: *weight,
            frame: frame.clone(),
            likelihood: best.likelihood,
            success,
            scores: None,
            share: 1.0,
        });
    }
    let model = RefinedModel { components, symmetry: symmetry.clone(), n_obs, means };
    Ok(Learned { model, rows: used, held_out: held_out / total as f64 })
}
