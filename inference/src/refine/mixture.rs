//! The law of whitened residuals where it is no Gaussian: a mixture of Gaussians, by expectation–maximisation (Dempster, Laird & Rubin 1977).
//!
//! Grown by splitting all components in two as long as held-out residuals gain; nothing is random.

use super::frame::Frame;
use crate::model::density::log_sum_exp;
use crate::small_matrix::{dot, lower_transpose_solve, symmetric_eigen};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::f64::consts::PI;

/// Weights, summing to one, and Gaussians.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mixture {
    /// (w_k, N(c_k, C_k C_kᵀ)).
    pub parts: Vec<(f64, Frame)>,
}

/// A law of residuals with what sampling needs of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualLaw {
    /// The law.
    pub mixture: Mixture,
    /// E[ψ ψᵀ], (g, g), ψ its score: the information that residuals have of their location.
    pub information: Vec<f64>,
}

impl ResidualLaw {
    /// A law and its information.
    pub fn new(mixture: Mixture, information: Vec<f64>) -> Self {
        Self { mixture, information }
    }

    /// The law `mixture` of residuals (N, g), over which its information is the mean.
    pub fn of(mixture: Mixture, residuals: &[f64]) -> Self {
        let information = mixture.information(residuals);
        Self { mixture, information }
    }

    /// Whether sizes fit and numbers are finite.
    pub(super) fn is_valid(&self, g: usize) -> bool {
        let finite = self.information.iter().all(|value| value.is_finite());
        self.mixture.is_valid(g) && self.information.len() == g * g && finite
    }
}

/// A mixture with buffers.
pub struct Scorer<'a> {
    mixture: &'a Mixture,
    constants: Vec<f64>,
    whitened: Vec<f64>,
    logs: Vec<f64>,
}

impl Scorer<'_> {
    /// log f(r), and its gradient into `score`.
    pub fn log_density(&mut self, r: &[f64], score: &mut [f64]) -> f64 {
        let parts = &self.mixture.parts;
        let components = parts.iter().zip(self.whitened.chunks_exact_mut(r.len())).zip(&mut self.logs);
        for ((((_, frame), z), log), constant) in components.zip(&self.constants) {
            z.copy_from_slice(r);
            frame.to_local(z);
            *log = constant - 0.5 * dot(z, z);
        }
        let highest = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        score.fill(0.0);
        let mut total = 0.0;
        for (((_, frame), z), log) in parts.iter().zip(self.whitened.chunks_exact_mut(r.len())).zip(&self.logs) {
            if *log > highest - NEGLIGIBLE {
                let share = (log - highest).exp();
                total += share;
                lower_transpose_solve(&frame.factor, z);
                score.iter_mut().zip(z).for_each(|(sum, z)| *sum -= share * *z);
            }
        }
        score.iter_mut().for_each(|value| *value /= total);
        highest + total.ln()
    }
}

/// Components at most.
const MOST: usize = 32;

/// Steps of expectation–maximisation after a split, at most.
const STEPS: usize = 60;

/// Gain of log-likelihood a row below which they end.
const CONVERGED: f64 = 1e-4;

/// Rows a free number of a mixture at least.
const ROWS_A_NUMBER: usize = 5;

/// A component's variances are at least this share of the residuals', which are 1: below it follows single rows.
const LEAST_VARIANCE: f64 = 1e-5;

/// Rows of the first, cheap trial with two components.
const TRIAL: usize = 2000;

/// Every so many-th row is held out.
const HELD_OUT: usize = 4;

/// Shares of a row below this are none.
const NO_SHARE: f64 = 1e-12;

/// A component so many nats below another adds nothing that double precision holds.
const NEGLIGIBLE: f64 = 37.0;

/// Rows evaluated together.
const CHUNK: usize = 512;

impl Mixture {
    /// N(0, I).
    pub fn standard(g: usize) -> Self {
        Self { parts: vec![(1.0, Frame::standard(g, 1.0))] }
    }

    /// Number of values.
    pub fn dim(&self) -> usize {
        self.parts[0].1.dim()
    }

    /// Whether sizes fit and numbers are finite.
    pub(super) fn is_valid(&self, g: usize) -> bool {
        let total: f64 = self.parts.iter().map(|(weight, _)| weight).sum();
        (total - 1.0).abs() < 1e-6 && self.parts.iter().all(|(weight, frame)| *weight > 0.0 && frame.is_valid(g))
    }

    /// To evaluate log f at many points.
    pub fn scorer(&self) -> Scorer<'_> {
        let (k, g) = (self.parts.len(), self.dim());
        Scorer { mixture: self, constants: self.constants(), whitened: vec![0.0; k * g], logs: vec![0.0; k] }
    }

    /// F(r_i | r_<i) for each i: uniform and independent if r has this law.
    pub fn transforms(&self, r: &[f64], out: &mut [f64]) {
        let normal = Normal::standard();
        let whitened: Vec<(f64, Vec<f64>)> = self
            .parts
            .iter()
            .map(|(weight, frame)| {
                let mut z = r.to_vec();
                frame.to_local(&mut z);
                (weight.ln(), z)
            })
            .collect();
        let mut logs: Vec<f64> = whitened.iter().map(|(log, _)| *log).collect();
        for (i, out) in out.iter_mut().enumerate() {
            let total = log_sum_exp(&logs);
            *out = logs.iter().zip(&whitened).map(|(log, (_, z))| (log - total).exp() * normal.cdf(z[i])).sum();
            for ((log, (_, z)), (_, frame)) in logs.iter_mut().zip(&whitened).zip(&self.parts) {
                *log -= 0.5 * z[i] * z[i] + frame.factor[i * r.len() + i].ln();
            }
        }
    }

    /// E[ψ ψᵀ] over the rows (N, g), ψ the score: the information that a value has of its location.
    fn information(&self, rows: &[f64]) -> Vec<f64> {
        let g = self.dim();
        let mut score = vec![0.0; g];
        let mut sum = vec![0.0; g * g];
        let count = rows.len() / g;
        let mut scorer = self.scorer();
        for r in rows.chunks_exact(g) {
            scorer.log_density(r, &mut score);
            for a in 0..g {
                (0..g).for_each(|b| sum[a * g + b] += score[a] * score[b] / count as f64);
            }
        }
        sum
    }

    /// log w_k - log |det C_k| - g/2 log 2π.
    fn constants(&self) -> Vec<f64> {
        let normal = 0.5 * self.dim() as f64 * (2.0 * PI).ln();
        self.parts.iter().map(|(weight, frame)| weight.ln() - frame.log_determinant() - normal).collect()
    }

    /// log w_k N(r; k) of each component into `logs`; returns the logarithm of their sum.
    fn logs(&self, constants: &[f64], r: &[f64], z: &mut [f64], logs: &mut [f64]) -> f64 {
        for ((log, constant), (_, frame)) in logs.iter_mut().zip(constants).zip(&self.parts) {
            z.copy_from_slice(r);
            frame.to_local(z);
            *log = constant - 0.5 * dot(z, z);
        }
        log_sum_exp(logs)
    }

    /// Σ log f over rows (N, g).
    pub fn total(&self, rows: &[f64]) -> f64 {
        let g = self.dim();
        let constants = self.constants();
        let sums: Vec<f64> = rows
            .par_chunks(CHUNK * g)
            .map(|rows| {
                let (mut z, mut logs) = (vec![0.0; g], vec![0.0; self.parts.len()]);
                rows.chunks_exact(g).map(|r| self.logs(&constants, r, &mut z, &mut logs)).sum::<f64>()
            })
            .collect();
        sums.iter().sum()
    }

    /// Expectation–maximisation on rows (N, g), from here.
    #[must_use]
    pub fn improve(mut self, rows: &[f64]) -> Self {
        let count = (rows.len() / self.dim()) as f64;
        let mut before = f64::NEG_INFINITY;
        for _ in 0..STEPS {
            let (value, next) = self.step(rows);
            if !(value - before > CONVERGED * count) {
                break;
            }
            (before, self) = (value, next);
        }
        self
    }

    fn step(&self, rows: &[f64]) -> (f64, Self) {
        let (g, k) = (self.dim(), self.parts.len());
        // Of each component: sum of shares, Σ share r, Σ share r rᵀ; and the log-likelihood.
        let width = 1 + g + g * g;
        let constants = self.constants();
        let sums: Vec<(f64, Vec<f64>)> = rows
            .par_chunks(CHUNK * g)
            .map(|rows| {
                let (mut value, mut sums) = (0.0, vec![0.0; k * width]);
                let (mut z, mut logs) = (vec![0.0; g], vec![0.0; k]);
                for r in rows.chunks_exact(g) {
                    let total = self.logs(&constants, r, &mut z, &mut logs);
                    value += total;
                    for (log, sums) in logs.iter().zip(sums.chunks_exact_mut(width)) {
                        let share = (log - total).exp();
                        if share < NO_SHARE {
                            continue;
                        }
                        sums[0] += share;
                        for a in 0..g {
                            sums[1 + a] += share * r[a];
                            (0..=a).for_each(|b| sums[1 + g + a * g + b] += share * r[a] * r[b]);
                        }
                    }
                }
                (value, sums)
            })
            .collect();
        let (mut value, mut total) = (0.0, vec![0.0; k * width]);
        for (part, sums) in sums {
            value += part;
            total.iter_mut().zip(sums).for_each(|(sum, value)| *sum += value);
        }
        let count = (rows.len() / g) as f64;
        let parts: Vec<(f64, Frame)> = total.chunks_exact(width).filter_map(|sums| part(sums, g, count)).collect();
        let weights: f64 = parts.iter().map(|(weight, _)| weight).sum();
        let parts: Vec<_> = parts.into_iter().map(|(weight, frame)| (weight / weights, frame)).collect();
        if parts.is_empty() { (value, self.clone()) } else { (value, Self { parts }) }
    }

    /// Each component as two, apart along its longest axis, or of two widths if it is the only one and that serves better.
    fn split(&self, rows: &[f64]) -> Self {
        let g = self.dim();
        let apart = Self { parts: self.parts.iter().flat_map(|(weight, frame)| halves(*weight, frame)).collect() };
        let apart = apart.improve(rows);
        if self.parts.len() > 1 {
            return apart;
        }
        let (weight, frame) = &self.parts[0];
        let scaled = |scale: f64| {
            let factor = frame.factor.iter().map(|value| value * scale).collect();
            (0.5 * weight, Frame { center: frame.center.clone(), factor })
        };
        let nested = Self { parts: vec![scaled(0.5), scaled(1.5)] }.improve(rows);
        debug_assert_eq!(g, nested.dim());
        if nested.total(rows) > apart.total(rows) { nested } else { apart }
    }

    /// Free numbers.
    fn numbers(&self) -> usize {
        let g = self.dim();
        self.parts.len() * (1 + g + g * (g + 1) / 2)
    }

    /// The mixture that describes rows (N, g) of about unit covariance better than N(0, I), if one does by `margin` nats a row of the held-out
    /// ones; and its gain over N(0, I) there, nats a row.
    pub fn fit(rows: &[f64], g: usize, margin: f64) -> Option<(Self, f64)> {
        let standard = Self::standard(g);
        let trial = &rows[..rows.len().min(TRIAL * g)];
        let (training, held_out) = divide(trial, g);
        let first = standard.split(&training);
        if !(gain(&first, &standard, &held_out) > 0.0) || first.numbers() * ROWS_A_NUMBER > training.len() / g {
            return None;
        }
        let (training, held_out) = divide(rows, g);
        let mut best: Option<(Self, f64)> = None;
        let mut current = standard.clone();
        loop {
            current = current.split(&training);
            if current.parts.len() > MOST || current.numbers() * ROWS_A_NUMBER > training.len() / g {
                break;
            }
            let reached = gain(&current, &standard, &held_out);
            if !(reached > best.as_ref().map_or(0.0, |(_, gain)| *gain) + margin) {
                break;
            }
            best = Some((current.clone(), reached));
        }
        best.map(|(mixture, gain)| (mixture.improve(rows), gain))
    }
}

/// Mean gain of the log-density a row.
fn gain(of: &Mixture, over: &Mixture, rows: &[f64]) -> f64 {
    (of.total(rows) - over.total(rows)) / (rows.len() / of.dim()) as f64
}

/// Rows to learn from, and rows to judge by.
fn divide(rows: &[f64], g: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for (i, r) in rows.chunks_exact(g).enumerate() {
        if i % HELD_OUT == 0 { held_out.extend_from_slice(r) } else { training.extend_from_slice(r) }
    }
    (training, held_out)
}

/// The component of weighted sums; none of too few rows.
fn part(sums: &[f64], g: usize, count: f64) -> Option<(f64, Frame)> {
    let share = sums[0];
    if !(share > (ROWS_A_NUMBER * (g + 1)) as f64) {
        return None;
    }
    let center: Vec<f64> = sums[1..1 + g].iter().map(|sum| sum / share).collect();
    let mut covariance = vec![0.0; g * g];
    for a in 0..g {
        for b in 0..=a {
            let value = sums[1 + g + a * g + b] / share - center[a] * center[b];
            (covariance[a * g + b], covariance[b * g + a]) = (value, value);
        }
        covariance[a * g + a] += LEAST_VARIANCE;
    }
    Some((share / count, Frame::new(center, covariance).ok()?))
}

/// Two halves of a component along its longest axis.
fn halves(weight: f64, frame: &Frame) -> [(f64, Frame); 2] {
    let g = frame.dim();
    let row = |i: usize| &frame.factor[i * g..(i + 1) * g];
    let covariance: Vec<f64> = (0..g * g).map(|ij| dot(row(ij / g), row(ij % g))).collect();
    let (mut values, mut vectors) = (covariance.clone(), vec![0.0; g * g]);
    symmetric_eigen(&mut values, g, &mut vectors);
    let widest = (0..g).max_by(|&a, &b| values[a * g + a].total_cmp(&values[b * g + b])).unwrap_or(0);
    let (axis, sd) = (&vectors[widest * g..(widest + 1) * g], values[widest * g + widest].max(0.0).sqrt());
    // The halves of a Gaussian: means ± √(2/π) sd, and what is left of the variance.
    let (shift, lost) = ((2.0 / PI).sqrt() * sd, 2.0 / PI * sd * sd);
    [1.0, -1.0].map(|sign| {
        let center = frame.center.iter().zip(axis).map(|(c, a)| c + sign * shift * a).collect();
        let narrowed = (0..g * g).map(|ij| covariance[ij] - lost * axis[ij / g] * axis[ij % g]).collect();
        (0.5 * weight, Frame::new(center, narrowed).unwrap_or_else(|_| frame.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    fn draws(rows: usize, law: impl Fn(f64, f64, f64) -> [f64; 2]) -> Vec<f64> {
        let mut rng = StreamKey::root(4).rng(0);
        (0..rows)
            .flat_map(|_| law(rng.random(), StandardNormal.sample(&mut rng), StandardNormal.sample(&mut rng)))
            .collect()
    }

    #[test]
    fn a_crescent_is_found_and_a_gaussian_is_left_alone() {
        let gaussian = draws(8000, |_, a, b| [a, b]);
        assert!(Mixture::fit(&gaussian, 2, 1e-3).is_none());
        // r = 1 + z/10 at uniform angles of a half circle: entropy log(π·1) + ½ log(2πe/100) up to the mean of log r.
        let crescent = draws(8000, |t, a, _| {
            let (radius, angle) = (1.0 + 0.1 * a, PI * (t - 0.5));
            [radius * angle.cos(), radius * angle.sin()]
        });
        let (law, gain) = Mixture::fit(&crescent, 2, 1e-3).unwrap();
        let entropy = PI.ln() + 0.5 * (2.0 * PI * std::f64::consts::E * 0.01).ln();
        let reached = law.total(&draws(8000, |t, a, b| {
            let (radius, angle) = (1.0 + 0.1 * a, PI * (t - 0.5) + 0.0 * b);
            [radius * angle.cos(), radius * angle.sin()]
        })) / 8000.0;
        assert!((reached + entropy).abs() < 0.05 && gain > 0.5, "{reached} against {}: {}", -entropy, law.parts.len());
        // Its transforms are uniform and independent.
        let mut t = [0.0; 2];
        let mut sums = [0.0; 3];
        for r in crescent.chunks(2) {
            law.transforms(r, &mut t);
            sums[0] += (t[0] - 0.5) / 8000.0;
            sums[1] += (t[1] - 0.5).powi(2) / 8000.0;
            sums[2] += (t[0] - 0.5) * (t[1] - 0.5) / 8000.0;
        }
        assert!(sums[0].abs() < 0.01 && (sums[1] - 1.0 / 12.0).abs() < 0.005 && sums[2].abs() < 0.005, "{sums:?}");
        assert!(law.is_valid(2));
    }

    #[test]
    fn the_score_is_the_gradient() {
        let law = Mixture {
            parts: vec![
                (0.3, Frame::new(vec![1.0, 0.0], vec![0.5, 0.1, 0.1, 0.3]).unwrap()),
                (0.7, Frame::standard(2, 0.8)),
            ],
        };
        let (r, mut score, mut ignored) = ([0.4, -0.2], [0.0; 2], [0.0; 2]);
        law.scorer().log_density(&r, &mut score);
        for i in 0..2 {
            let at = |h: f64, ignored: &mut [f64]| {
                let mut moved = r;
                moved[i] += h;
                law.scorer().log_density(&moved, ignored)
            };
            let numeric = (at(1e-5, &mut ignored) - at(-1e-5, &mut ignored)) / 2e-5;
            assert!((numeric - score[i]).abs() < 1e-8);
        }
    }
}
