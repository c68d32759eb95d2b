//! What is wrong with rows as a whole: copies, parameters from another prior, parameters and observations that do not belong together.

use crate::model::Moved;
use crate::notes::Note;
use crate::{InferenceError, Result};
use statrs::distribution::{ContinuousCDF, Normal};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// One row of so many whose parameters, but not observations, were seen before is chance: parameters of single precision.
const CHANCE: usize = 100;

/// Rows that are remembered at most.
const REMEMBERED: usize = 1 << 22;

/// Finds rows that are copies of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The observations of each parameter vector, hashed.
    seen: HashMap<u64, u64>,
    copies: Vec<u64>,
    /// Rows with the parameters of an earlier one and other observations: there are designs that repeat parameters, and there copies may be chance.
    repeated: usize,
}

impl Copies {
    /// Takes in a row. Whole numbers, and rows that failed, may be the same by chance.
    pub fn add<'a>(&mut self, row: u64, theta: impl Iterator<Item = &'a f64>, x: impl Iterator<Item = &'a f64>) {
        let mut real = false;
        let x = hash(x.inspect(|value| real |= value.fract() != 0.0));
        if !real {
            return;
        }
        let theta = hash(theta);
        match self.seen.get(&theta) {
            Some(known) if *known == x => self.copies.push(row),
            Some(_) => self.repeated += 1,
            None if self.seen.len() < REMEMBERED => _ = self.seen.insert(theta, x),
            None => {}
        }
    }

    /// The copies.
    pub fn found(self) -> Vec<u64> {
        if self.repeated * CHANCE <= self.copies.len() { self.copies } else { Vec::new() }
    }
}

/// The same for the same numbers.
fn hash<'a>(values: impl Iterator<Item = &'a f64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.for_each(|value| hasher.write_u64(value.to_bits()));
    hasher.finish()
}

/// Standard errors beyond which moments are not those of the prior, and the least difference that is told.
const BEYOND: f64 = 6.0;
const LEAST: f64 = 0.05;

/// A note if the latent parameters of all rows, valid and failed, have other means or variances than draws from N(0, I).
pub(super) fn other_prior(valid: &[f32], failed: &[f32], m: usize) -> Option<Note> {
    let n = ((valid.len() + failed.len()) / m) as f64;
    let rows = || valid.chunks_exact(m).chain(failed.chunks_exact(m));
    let mean = |value: &dyn Fn(&[f32]) -> f64| rows().map(value).sum::<f64>() / n;
    let means: Vec<f64> = (0..m).map(|i| mean(&|row| f64::from(row[i]))).collect();
    let squares: Vec<f64> = (0..m).map(|i| mean(&|row| f64::from(row[i]).powi(2))).collect();
    let told = |difference: f64, variance: f64| {
        difference.abs() > LEAST.max(BEYOND * (variance / n).sqrt()) && difference.is_finite()
    };
    let differs = |i: usize| {
        let larger = means[i].abs().max((squares[i] - 1.0).abs() / 2.0);
        (told(means[i], 1.0) || told(squares[i] - 1.0, 2.0)).then_some((i, larger))
    };
    let (parameter, _) = (0..m).filter_map(differs).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (mean, square) = (means[parameter], squares[parameter]);
    Some(Note::OtherPrior { parameter, mean, sd: (square - mean * mean).max(0.0).sqrt() })
}

/// Rows that are needed to tell, and rows that are looked at.
const ENOUGH: usize = 1000;
const LOOKED_AT: usize = 20_000;

/// Corrected p-value above which nothing depends on anything.
const LEVEL: f64 = 0.05;

/// Values this far out enter as these.
const FAR: f32 = 3.0;

/// Corrected p-values below which observations do depend on a parameter that they should not depend on, and above which parameters are independent of each other.
const CONTRADICTED: f64 = 1e-6;
const INDEPENDENT: f64 = 1e-3;

/// A note if neither level nor spread of any column of the observations (N, d) is correlated with level or spread of any latent parameter (N, m).
pub(super) fn unrelated(latent: &[f32], (m, features): (usize, &[f32]), d: usize) -> Option<Note> {
    let rows = latent.len() / m;
    let p_value = independence(latent, (m, features), d)?;
    (p_value > LEVEL).then_some(Note::Unrelated { rows })
}

/// Refuses location parameters on which observations at their origin, standardised (N, d), depend. Only parameters that are independent of all others can be
/// told: others are taken as declared.
pub(super) fn check_locations(latent: &[f32], (moved, m): (&[Moved], usize), features: &[f32], d: usize) -> Result<()> {
    for moved in moved {
        let parameter = moved.parameter();
        let own: Vec<f32> = latent.iter().skip(parameter).step_by(m).copied().collect();
        let others: Vec<f32> =
            latent.chunks_exact(m).flat_map(|row| [&row[..parameter], &row[parameter + 1..]].concat()).collect();
        let alone = m == 1 || independence(&own, (1, &others), m - 1).is_some_and(|p| p > INDEPENDENT);
        let p_value = independence(&own, (1, features), d).filter(|p| alone && *p < CONTRADICTED);
        if let Some(p_value) = p_value {
            let message = format!(
                "declares parameter {parameter} as one that moves x and does nothing else, which the training set contradicts (p = {p_value:.1e}); leave it out"
            );
            return Err(InferenceError::Option { option: "locations", message });
        }
    }
    Ok(())
}

/// The p-value, corrected for their number, of the largest correlation between level or spread of any column of the observations (N, d) and of any latent
/// parameter (N, m); nothing where there are too few rows to tell.
fn independence(latent: &[f32], (m, features): (usize, &[f32]), d: usize) -> Option<f64> {
    let rows = latent.len() / m;
    if rows < ENOUGH {
        return None;
    }
    let stride = rows.div_ceil(LOOKED_AT);
    let width = features.len() / rows;
    let terms = |values: &[f32]| -> Vec<f64> {
        let value = |&value: &f32| f64::from(value.clamp(-FAR, FAR));
        values.iter().map(value).chain(values.iter().map(|v| value(v).powi(2))).collect()
    };
    let taken: Vec<(Vec<f64>, Vec<f64>)> = (0..rows)
        .step_by(stride)
        .map(|row| (terms(&latent[row * m..(row + 1) * m]), terms(&features[row * width..row * width + d])))
        .collect();
    let n = taken.len() as f64;
    let (theta, x) = (centred(taken.iter().map(|row| &row.0)), centred(taken.iter().map(|row| &row.1)));
    let mut largest: f64 = 0.0;
    for a in &theta {
        for b in &x {
            let sum = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            largest = largest.max(sum.abs() / n);
        }
    }
    let tests = (theta.len() * x.len()) as f64;
    Some(2.0 * tests * Normal::standard().sf(largest * n.sqrt()))
}

/// Each term over the rows, with mean 0 and variance 1; constant ones are left out.
fn centred<'a>(rows: impl Iterator<Item = &'a Vec<f64>> + Clone) -> Vec<Vec<f64>> {
    let terms = rows.clone().next().map_or(0, Vec::len);
    let term = |index: usize| {
        let mut values: Vec<f64> = rows.clone().map(|row| row[index]).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        values.iter_mut().for_each(|value| *value = (*value - mean) / sd);
        (sd > 0.0).then_some(values)
    };
    (0..terms).filter_map(term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    fn normals(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = StreamKey::root(seed).rng(0);
        (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    fn copies(rows: &[(f64, f64)]) -> Vec<u64> {
        let mut copies = Copies::default();
        rows.iter().enumerate().for_each(|(i, (theta, x))| copies.add(i as u64, [theta].into_iter(), [x].into_iter()));
        copies.found()
    }

    #[test]
    fn copies_are_found_and_designs_are_none() {
        assert_eq!(copies(&[(0.5, 1.5), (0.6, 1.5), (0.5, 1.5), (0.6, 1.5), (0.5, 1.5)]), [2, 3, 4]);
        // Replications at the same parameters, and whole numbers.
        assert_eq!(copies(&[(0.5, 1.5), (0.5, 1.6), (0.5, 1.5), (0.5, 1.5)]), [0; 0]);
        assert_eq!(copies(&[(0.5, 2.0), (0.5, 2.0), (0.5, 2.0)]), [0; 0]);
    }

    #[test]
    fn draws_of_another_prior_are_told() {
        let z = normals(8000, 1);
        assert_eq!(other_prior(&z[..6000], &z[6000..], 2), None);
        let moved: Vec<f32> = z.iter().enumerate().map(|(i, z)| if i % 2 == 1 { 0.8 + 0.5 * z } else { *z }).collect();
        let Some(Note::OtherPrior { parameter: 1, mean, sd }) = other_prior(&moved, &[], 2) else { panic!() };
        assert!((mean - 0.8).abs() < 0.03 && (sd - 0.5).abs() < 0.03);
        // Those that failed are among the draws.
        let (failed, valid): (Vec<f32>, Vec<f32>) = z.iter().partition(|z| **z > 1.0);
        assert_eq!(other_prior(&valid, &failed, 1), None);
        assert!(other_prior(&valid, &[], 1).is_some());
        let narrow: Vec<f32> = z.iter().map(|z| 0.8 * z).collect();
        assert!(other_prior(&narrow, &[], 1).is_some());
    }

    #[test]
    fn shuffled_rows_are_told_and_weak_ties_are_not() {
        let (z, noise) = (normals(8000, 2), normals(8000, 3));
        assert_eq!(unrelated(&z, (2, &noise), 2), Some(Note::Unrelated { rows: 4000 }));
        let tied = |f: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
            z.iter().zip(&noise).enumerate().map(|(i, (z, e))| if i % 2 == 1 { f(*z, *e) } else { *e }).collect()
        };
        assert_eq!(unrelated(&z, (2, &tied(&|z, e| 0.15 * z + e)), 2), None);
        assert_eq!(unrelated(&z, (2, &tied(&|z, e| (0.2 * z).exp() * e)), 2), None);
        assert_eq!(unrelated(&z[..1800], (2, &noise[..1800]), 2), None);
    }
}
