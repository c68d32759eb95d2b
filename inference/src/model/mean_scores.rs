//! The posterior by mean scores of networks: calibrated at given observations, whatever the networks' error.
//!
//! A network's likelihood p̂ errs by the same at each of n observations, while their posterior narrows like 1/√n. But what it says of an observation is a good summary, right or not: with c ± h B e_a two points
//! along each axis of the posterior N(c, B Bᵀ), and
//!     t_a(x) = (log p̂(x|c + h B e_a) - log p̂(x|c - h B e_a)) / 2h,
//! its score averaged over the posterior, the mean t̄ of n observations is nearly Gaussian whatever the law of one is, and
//!     t̄ | u ~ N(μ(u), Σ(u)/n)
//! is learned from simulations near the posterior, as [local likelihoods](crate::refine) are of any value: in closed form, with an error that falls with their number alone. Where p̂ is right t̄ is sufficient to first
//! order in the posterior's width; where it is wrong the posterior is as wide as t̄ makes it, and still in the right place. (Scores of an auxiliary model as summaries: Gallant & Tauchen 1996, Gleim & Pigorsch 2013; of
//! a likelihood at one point: Alsing & Wandelt 2018.) An observation's summary costs 2m densities of p̂; its networks are evaluated at the points alone, once for each condition.
//!
//! Whatever p̂ can be evaluated at it can be refined at: choices beside times, conditions, missing values, values with a probability of their own. Conditions, and which values are missing, are those of the
//! observations: simulations have them too, so that the law is that of a mean over just these.

use super::likelihood::LikelihoodModel;
use crate::refine::{FEWEST, Frame, RefinedModel, moments};
use crate::tempering::Likelihood;
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tallsbi_data::Monitor;

/// Half the distance of the two points of a difference, in standard deviations of the posterior: with √3 it is the mean of the slope over a Gaussian, exact up to degree 4 (three nodes of
/// Gauss and Hermite).
const APART: f64 = 1.732_050_807_568_877_2;

/// An observation's summary is bounded by so many standard deviations of the mean of n, so that no single one decides; and by no fewer robust standard deviations of its own.
const BOUND: f64 = 0.5;
const LEAST_BOUND: f64 = 3.0;

/// The standard deviation of a Gaussian by its median distance from 0.
const BY_MEDIAN: f64 = 1.482_602_218_505_602;

/// Rows whose densities are evaluated together.
const CHUNK: usize = 1024;

/// Summaries t of observations by differences of a network's log-likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorePoints {
    /// c + h B e_1, c - h B e_1, c + h B e_2, .., latent, (2m, m).
    points: Vec<f64>,
    /// What t is bounded by, (m): at an edge of p̂ differences are without bound.
    bounds: Vec<f64>,
}

/// The law of a network's mean scores at given observations.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanScores {
    /// t.
    pub summary: ScorePoints,
    /// p(t̄|u).
    pub law: RefinedModel,
    /// What the observations were made under, see [`design`].
    pub design: Option<String>,
}

impl ScorePoints {
    /// Around the posterior of observations x (n, d), conditions first, whose latent draws (S, m) are given, one point of each orbit.
    ///
    /// # Errors
    /// When the draws have no width in some direction, observations do not fit, or the monitor asks to stop.
    pub fn around(
        draws: &[f64],
        model: &LikelihoodModel,
        x: ArrayView2<'_, f32>,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let m = model.dim_theta();
        let (mean, covariance) = moments(draws, m, None);
        let frame = Frame::new(mean, covariance)?;
        let point = |k: usize| {
            let mut z = vec![0.0; m];
            z[k / 2] = if k.is_multiple_of(2) { APART } else { -APART };
            frame.to_latent(&z)
        };
        let without = Self { points: (0..2 * m).flat_map(point).collect(), bounds: vec![f64::INFINITY; m] };
        let t = without.of(model, x, monitor)?;
        let times = (BOUND * (x.nrows() as f64).sqrt()).max(LEAST_BOUND);
        let bounds = t.columns().into_iter().map(|t| times * BY_MEDIAN * median_size(&t)).collect();
        Ok(Self { bounds, ..without })
    }

    /// t of observations (n, d), conditions first: (n, m). 0 where p̂ is 0 at both points, and where all values are missing.
    ///
    /// # Errors
    /// When they do not fit the model, or the monitor asks to stop.
    pub fn of(&self, model: &LikelihoodModel, x: ArrayView2<'_, f32>, monitor: &dyn Monitor) -> Result<Array2<f32>> {
        let m = model.dim_theta();
        let mut found = Array2::zeros((x.nrows(), m));
        let difference = |(pair, bound): (&[f64], &f64)| {
            let slope = (pair[0] - pair[1]) / (2.0 * APART);
            if slope.is_nan() { 0.0 } else { slope.clamp(-bound, *bound) as f32 }
        };
        for (mut t, logs) in found.outer_iter_mut().zip(model.log_densities(x, &self.points, monitor)?.outer_iter()) {
            let logs = logs.to_vec();
            t.iter_mut().zip(logs.chunks_exact(2).zip(&self.bounds).map(difference)).for_each(|(to, t)| *to = t);
        }
        Ok(found)
    }

    /// Whether sizes fit and numbers are finite.
    pub(super) fn is_valid(&self, m: usize) -> bool {
        self.points.len() == 2 * m * m
            && self.points.iter().all(|value| value.is_finite())
            && self.bounds.len() == m
            && self.bounds.iter().all(|&bound| bound > 0.0)
    }
}

/// The median of |t| of those that say something; the largest number if none does.
fn median_size(t: &ArrayView1<'_, f32>) -> f64 {
    let mut sizes: Vec<f64> = t.iter().map(|t| f64::from(t.abs())).filter(|&size| size > 0.0).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or(f64::from(f32::MAX))
}

impl LikelihoodModel {
    /// log p̂ of each observation x (n, d), conditions first, alone at each of the latent `points` (K, m), up to constants: (n, K).
    ///
    /// # Errors
    /// When they do not fit the model, or the monitor asks to stop.
    fn log_densities(&self, x: ArrayView2<'_, f32>, points: &[f64], monitor: &dyn Monitor) -> Result<Array2<f64>> {
        let (m, d) = (self.dim_theta(), self.columns().0.dim());
        let count = points.len() / m;
        let features: Vec<f64> = self.maps().features(x)?.into_iter().map(f64::from).collect();
        let of_some = |condition: &[f32], rows: &[usize]| -> Result<Vec<f64>> {
            monitor.check()?;
            let mut logs = vec![0.0; rows.len() * count];
            for (k, point) in points.chunks_exact(m).enumerate() {
                self.at(point, condition, &mut |networks| {
                    for (row, logs) in rows.iter().zip(logs.chunks_exact_mut(count)) {
                        logs[k] = self.log_density(&features[row * d..(row + 1) * d], networks);
                    }
                });
            }
            Ok(logs)
        };
        let groups = self.maps().groups(x)?;
        let parts = groups.iter().flat_map(|(condition, rows)| rows.chunks(CHUNK).map(move |rows| (condition, rows)));
        let parts: Vec<_> = parts.collect();
        let logs: Vec<Vec<f64>> =
            parts.par_iter().map(|(condition, rows)| of_some(condition, rows)).collect::<Result<_>>()?;
        let mut found = Array2::zeros((x.nrows(), count));
        let rows = parts.iter().flat_map(|(_, rows)| rows.iter());
        for (&row, logs) in rows.zip(logs.iter().flat_map(|logs| logs.chunks_exact(count))) {
            found.row_mut(row).iter_mut().zip(logs).for_each(|(to, log)| *to = *log);
        }
        Ok(found)
    }
}

impl MeanScores {
    /// Whether the mean of `n` observations is taken for Gaussian; of fewer, the networks' own likelihood tells, whose error does not show yet.
    pub fn serve(&self, n: usize) -> bool {
        n as f64 >= FEWEST
    }

    /// Refuses observations (n, d), the first `conditions` values of each conditions, that were made under other conditions than those it was learned for, or of which other values are missing.
    ///
    /// # Errors
    /// [`InferenceError::OtherDesign`].
    pub fn check(&self, x: ArrayView2<'_, f32>, conditions: usize) -> Result<()> {
        if design(x, conditions) == self.design { Ok(()) } else { Err(InferenceError::OtherDesign) }
    }
}

/// The observations (n, d), the first `conditions` values of each conditions, of which not all values are missing.
pub fn seen_observations(x: ArrayView2<'_, f32>, conditions: usize) -> Array2<f32> {
    let seen = |row: &usize| x.row(*row).iter().skip(conditions).any(|value| !value.is_nan());
    x.select(Axis(0), &(0..x.nrows()).filter(seen).collect::<Vec<_>>())
}

/// What tells observations (n, d) made under the same conditions, with the same values missing, in the same shares, from others: SHA-256; none of complete observations without conditions.
pub fn design(x: ArrayView2<'_, f32>, conditions: usize) -> Option<String> {
    if conditions == 0 && !x.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut kinds: BTreeMap<Vec<u32>, u64> = BTreeMap::new();
    for row in x.axis_iter(Axis(0)) {
        let known = row.iter().take(conditions).map(|value| value.to_bits());
        let missing = row.iter().skip(conditions).map(|value| u32::from(value.is_nan()));
        *kinds.entry(known.chain(missing).collect()).or_default() += 1;
    }
    let common = kinds.values().fold(0, |common, &count| gcd(common, count));
    let mut hasher = Sha256::new();
    for (kind, count) in kinds {
        hasher.update((count / common).to_le_bytes());
        kind.iter().for_each(|value| hasher.update(value.to_le_bytes()));
    }
    Some(hex::encode(hasher.finalize()))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
