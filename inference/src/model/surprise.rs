//! How implausible single observations are: posterior predictive p-values by the likelihood itself.
//!
//! Replications x' are drawn from the learned likelihood at draws of the posterior; the p-value of an observation x is the share of pairs (θ, x') with
//! p(x'|θ) ≤ p(x|θ), ties counting half (Gelman, Meng & Stern 1996, with the density as discrepancy). Where values are missing, they are left out of the replications as well.
//! As x was used to fit, its p-value is somewhat larger than that of a new observation.

use super::cells::Cells;
use super::density::{MixtureLayout, MixtureScratch};
use super::likelihood::{LikelihoodModel, RowScratch};
use super::observation_map::ObservationMap;
use super::observed::Asked;
use crate::tempering::{Likelihood, Local};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::collections::BTreeMap;
use tallsbi_data::{Monitor, StreamKey};

/// Replications at least, and for each observation: the smallest p-value is then 1/200 of n times smaller than 1/2.
const LEAST: usize = 10_000;
const EACH: usize = 100;

/// Of an observation: which pattern of missing values it has, as a place among all.
type Patterns = BTreeMap<Vec<usize>, Vec<(usize, Vec<f64>)>>;

impl LikelihoodModel {
    /// The p-value of each observation x (n, d) given latent draws of the posterior (S, m); NaN of those of which nothing is known.
    ///
    /// # Errors
    /// When observations do not fit the model.
    pub fn p_values(
        &self,
        x: ArrayView2<'_, f32>,
        theta: &[f64],
        key: StreamKey,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        // With all checks.
        self.context(x)?;
        let d = self.columns().0.dim();
        let features: Vec<f64> = self.maps().features(x)?.into_iter().map(f64::from).collect();
        let patterns = |rows: Vec<usize>| {
            let mut patterns = Patterns::new();
            for row in rows {
                let features = &features[row * d..(row + 1) * d];
                let hidden: Vec<usize> = (0..d).filter(|&i| features[i].is_nan()).collect();
                if hidden.len() < d {
                    patterns.entry(hidden).or_default().push((row, features.to_vec()));
                }
            }
            patterns
        };
        let groups = self.maps().groups(x)?.into_iter();
        let groups: Vec<(Vec<f32>, Patterns)> = groups.map(|(condition, rows)| (condition, patterns(rows))).collect();
        let m = self.dim_theta();
        let draws = theta.len() / m;
        let each = LEAST.max(EACH * x.nrows()).div_ceil(draws);
        // Twice the number of replications that are no more probable, ties once.
        let sum = |a: Vec<u64>, b: Vec<u64>| a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<u64>>();
        let counts: Vec<u64> = (0..draws)
            .into_par_iter()
            .map(|draw| {
                monitor.check()?;
                let (theta, mut rng) = (&theta[draw * m..(draw + 1) * m], key.rng(draw as u64));
                let mut counts = vec![0; x.nrows()];
                for (condition, patterns) in &groups {
                    self.count(patterns, condition, (theta, each), &mut rng, &mut counts);
                }
                Ok::<_, InferenceError>(counts)
            })
            .try_reduce(|| vec![0; x.nrows()], |a, b| Ok(sum(a, b)))?;
        let total = (draws * each) as f64;
        let mut found = vec![f64::NAN; x.nrows()];
        for &(row, _) in groups.iter().flat_map(|(_, patterns)| patterns.values().flatten()) {
            found[row] = (0.5 * counts[row] as f64 + 0.5) / (total + 1.0);
        }
        Ok(found)
    }

    /// For each of the observations under a condition, twice the number of `each` replications at θ that are less probable, and the number of those that are
    /// as probable.
    fn count(
        &self,
        patterns: &Patterns,
        condition: &[f32],
        (theta, each): (&[f64], usize),
        rng: &mut impl Rng,
        counts: &mut [u64],
    ) {
        self.at(theta, condition, &mut |row| {
            let replications: Vec<Vec<f64>> = (0..each).map(|_| self.draw_features(row, rng)).collect();
            for (hidden, observations) in patterns {
                let mut logs: Vec<f64> = replications
                    .iter()
                    .map(|features| {
                        let mut features = features.clone();
                        hidden.iter().for_each(|&i| features[i] = f64::NAN);
                        self.log_density(&features, row)
                    })
                    .collect();
                logs.sort_unstable_by(f64::total_cmp);
                for (observation, features) in observations {
                    let log = self.log_density(features, row);
                    let (less, not_more) = (logs.partition_point(|l| *l < log), logs.partition_point(|l| *l <= log));
                    counts[*observation] = (less + not_more) as u64;
                }
            }
        });
    }

    /// `count` observations drawn at the latent parameters θ (m), under a condition if the model has some, standardised, (count, d).
    pub fn draws(&self, theta: &[f64], condition: &[f32], count: usize, rng: &mut impl Rng) -> Vec<f64> {
        let mut drawn = Vec::new();
        self.at(theta, condition, &mut |row| drawn = (0..count).flat_map(|_| self.draw_features(row, rng)).collect());
        drawn
    }

    /// Calls `with` what the networks say at θ (m) under a condition.
    pub(super) fn at(&self, theta: &[f64], condition: &[f32], with: &mut dyn FnMut(&mut RowScratch)) {
        let value = &mut |_: usize, row: &mut RowScratch| {
            with(row);
            // Of no observations.
            row.slope.fill(0.0);
            row.counts.clear();
            row.each.clear();
            0.0
        };
        let nothing = Asked { condition, n: 0.0, patterns: &[] };
        self.evaluate_rows(nothing, theta, &mut self.workspace(), &mut Local::default(), value);
    }

    pub(super) fn log_density(&self, features: &[f64], row: &mut RowScratch) -> f64 {
        self.log_likelihood_of(&self.alone(features), row)
    }

    fn draw_features(&self, row: &RowScratch, rng: &mut impl Rng) -> Vec<f64> {
        let (map, cells, categories) = self.columns();
        let layout = self.layout();
        let (component, mut values) = layout.draw(&row.mixture, rng);
        if let Some(categories) = categories {
            layout.undo_edges(&row.mixture, &mut values);
            values = categories.complete(component / layout.block(), &values);
        }
        observe(map, cells, &mut values);
        values
    }
}

/// Standardised values as an observation has them: whole numbers where the training set has some, and constants.
fn observe(map: &ObservationMap, cells: Option<&Cells>, features: &mut [f64]) {
    for (i, value) in features.iter_mut().enumerate() {
        let (mean, sd) = (f64::from(map.mean[i]), f64::from(map.sd[i]));
        if let Some(whole) = cells.and_then(|cells| cells.nearest(i, *value)) {
            *value = (whole - mean) / sd;
        } else if sd == 0.0 {
            *value = 0.0;
        } else if map.counts.get(i).copied().unwrap_or(false) {
            *value = ((*value * sd + mean).round() - mean) / sd;
        }
    }
}

impl MixtureLayout {
    /// A component of an expanded row, and a draw (d) from it.
    fn draw(&self, scratch: &MixtureScratch, rng: &mut impl Rng) -> (usize, Vec<f64>) {
        let mut left: f64 = rng.random();
        let weight = |c: usize| self.log_weight(scratch, c).exp();
        let component = (0..self.components - 1).find(|&c| {
            left -= weight(c);
            left < 0.0
        });
        let component = component.unwrap_or(self.components - 1);
        let mean = &scratch.components[component].mean;
        let factor = &scratch.components[component].factor;
        let mut noise: Vec<f64> = (0..self.dim).map(|_| StandardNormal.sample(rng)).collect();
        self.spread_shared(&scratch.components[component], &mut noise, rng);
        // Lᵀ r = ξ, backwards: what row i of L adds to the equations before is taken off them.
        for i in (0..self.dim).rev() {
            let columns = self.columns(i);
            let entries = &factor[self.row_offset(i)..][..columns.len()];
            noise[i] /= entries[columns.len() - 1];
            for (k, entry) in columns.zip(entries).filter(|(k, _)| *k < i) {
                noise[k] -= entry * noise[i];
            }
        }
        self.spread_tails(&scratch.components[component].tails, &mut noise, rng);
        noise.iter_mut().zip(mean).for_each(|(value, mean)| *value += mean);
        (component, noise)
    }
}
