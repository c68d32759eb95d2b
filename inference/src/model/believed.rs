//! Posteriors as wide as the network's own error makes them.
//!
//! A network's mean score errs by g(θ), and n observations share it: it moves their posterior by F⁻¹ g whatever n, F the Fisher information of one. With g ~ N(0, e² F) the posterior's covariance is
//! F⁻¹/n + e² F⁻¹, which is that of w = n/(1 + n e²) observations: p(x_{1:n}|θ)^{w/n}. It stops narrowing at 1/e² observations' worth. How e² is found: `train/disagreement.rs`.

use super::committee::Committee;
use super::likelihood::LikelihoodModel;
use crate::Result;
use crate::sample::{SampleRequest, Samples};
use crate::tempering::{Likelihood, TemperingOptions, Worth, sample_contexts, sample_tempered};
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, Quiet};

/// n e² up to which a posterior is left as it is: a twentieth of its width is less than what samples of it tell.
const NEGLIGIBLE: f64 = 0.1;

/// n e², with the prior's mean of e², from which on it is looked at where the posterior is.
const LOOK: f64 = 0.05;

/// Draws of a posterior at which the networks' spread is looked at.
const LOOKED_AT: usize = 32;

/// The error of a likelihood's mean score: E|F^{-1/2} g|² a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkError {
    /// e², the mean over the prior, or what it is at most where held-out rows tell no more.
    pub squared: f64,
    /// e²(θ) is this times the squared difference of several networks' mean scores at θ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_spread: Option<f64>,
}

/// A likelihood with its error.
#[derive(Debug, Clone, Copy)]
pub struct Believed<'a> {
    model: &'a LikelihoodModel,
    error: NetworkError,
}

impl<'a> Believed<'a> {
    /// `model` with the error that held-out rows told.
    pub fn new(model: &'a LikelihoodModel, error: NetworkError) -> Self {
        Self { model, error }
    }

    /// As [`sample_tempered`] of `likelihood`, which is the model or one with further parameters, but each posterior for as many observations' worth as the error leaves ([`SampleInfo::worth`](crate::sample::SampleInfo)).
    ///
    /// # Errors
    /// Those of [`sample_tempered`].
    pub fn sample<L: Likelihood>(
        &self,
        likelihood: &L,
        request: &SampleRequest<'_, '_>,
        samples: usize,
        options: &TemperingOptions,
        monitor: &dyn Monitor,
    ) -> Result<Samples> {
        let many = |n: f64| n * self.error.squared > LOOK;
        let counts: Vec<f64> = request.groups.iter().map(|group| group.nrows() as f64).collect();
        if !counts.iter().any(|&n| many(n)) {
            return Ok(sample_tempered(likelihood, request, samples, options, monitor)?.0);
        }
        let errors = match self.error.by_spread {
            Some(ratio) => self.errors(ratio, request, options, monitor)?,
            None => vec![self.error.squared; counts.len()],
        };
        let worth = |(&n, e): (&f64, &f64)| if many(n) && n * e > NEGLIGIBLE { n / (1.0 + n * e) } else { n };
        let worths: Vec<f64> = counts.iter().zip(&errors).map(worth).collect();
        let all = Worth::new(likelihood, f64::INFINITY);
        let context = |group: usize| all.context_worth(request.groups[group], worths[group]);
        let (mut drawn, _) = sample_contexts(&all, &context, request, samples, options, monitor)?;
        let widened = worths.iter().zip(&counts).filter(|(worth, n)| worth < n).map(|(worth, _)| *worth);
        drawn.info.worth = widened.reduce(f64::min).unwrap_or(0.0);
        Ok(drawn)
    }

    /// e² where each posterior is, as far as it may be believed.
    fn errors(
        &self,
        ratio: f64,
        request: &SampleRequest<'_, '_>,
        options: &TemperingOptions,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        let (key, committee) = (request.key.child(Purpose::Replication), Committee::of(self.model));
        let first = Worth::new(self.model, 1.0 / self.error.squared);
        let pilot = SampleRequest { key, covariances: None, ..*request };
        let (pilot, _) = sample_tempered(&first, &pilot, LOOKED_AT, options, &Quiet(monitor))?;
        let of_one = |(group, draws): (usize, ArrayView2<'_, f64>)| -> Result<f64> {
            monitor.check()?;
            let conditions = self.model.maps().groups(request.groups[group])?;
            let key = key.indexed(request.first_group + group as u64);
            let look = |(index, z): (usize, ndarray::ArrayView1<'_, f64>)| {
                let condition = &conditions[index % conditions.len()].0;
                committee.spread(index % committee.len(), &z.to_vec(), condition, &mut key.rng(index as u64))
            };
            let found: Vec<f64> = draws.outer_iter().enumerate().filter_map(look).collect();
            let mean = found.iter().sum::<f64>() / found.len() as f64;
            Ok(if found.is_empty() { self.error.squared } else { (ratio * mean).max(0.0) })
        };
        let draws: Vec<ArrayView2<'_, f64>> = pilot.latent.axis_iter(Axis(0)).collect();
        draws.into_par_iter().enumerate().map(of_one).collect()
    }
}
