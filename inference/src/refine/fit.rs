//! Local likelihoods in closed form from simulations, their forms chosen by held-out likelihood.
//!
//! For each value of an observation, in a row: the degree of its mean by least squares; the degree of its log-variance by a gamma regression on
//! held-out residuals; if that is not constant, the mean again by weighted least squares; couplings to the residuals of earlier values.
//! Counts have a generalised linear model of the family their variances show. Every choice compares sums of log-likelihoods of the same
//! rows, each predicted from the other folds: what is larger for one observation is larger for n.

use super::basis::Basis;
use super::chart::Chart;
use super::column::{Column, CountColumn, Family, GaussianColumn};
use super::counts::Counts;
use super::coupling;
use super::frame::Frame;
use super::local::LocalLikelihood;
use super::regression::{CrossFit, Features, SharedDesign, cross_fit, log_variance};
use crate::small_matrix::dot;
use crate::{InferenceError, Result};
use rayon::prelude::*;
use tallsbi_data::Monitor;

/// Simulations: parameters and one observation each.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Latent parameters, (N, m).
    pub u: Vec<f64>,
    /// Observations, (N, d).
    pub x: Vec<f32>,
    /// Latent parameters of simulations without a result, (F, m).
    pub failed: Vec<f64>,
}

impl Rows {
    /// The rows within `radius` of a frame.
    pub fn near(&self, frame: &Frame, radius: f64) -> Self {
        let m = frame.dim();
        let d = self.x.len() / (self.u.len() / m).max(1);
        let is_near = |u: &[f64]| {
            let mut z = u.to_vec();
            frame.to_local(&mut z);
            dot(&z, &z) <= radius * radius
        };
        let mut near = Self::default();
        for (u, x) in self.u.chunks_exact(m).zip(self.x.chunks_exact(d)).filter(|(u, _)| is_near(u)) {
            near.u.extend_from_slice(u);
            near.x.extend_from_slice(x);
        }
        near.failed = self.failed.chunks_exact(m).filter(|u| is_near(u)).flatten().copied().collect();
        near
    }
}

/// Which forms are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Forms {
    /// Highest degree of means.
    pub mean: usize,
    /// Highest degree of log-variances.
    pub variance: usize,
    /// Highest degree of couplings; none at all if there is none.
    pub coupling: Option<usize>,
    /// How many of the last parameters only move observations, so that polynomials are linear in them and have no products with them.
    pub linear: usize,
}

/// Rows a coefficient at least.
const ROWS_A_COEFFICIENT: usize = 8;

/// Polynomials at most, of degree 2 and more: those of degree 3 of ten variables are 286, whose fits, and evaluations with the errors of what was learned, take minutes.
const MOST_POLYNOMIALS: usize = 150;

/// Polynomials at most of the means that tell a count's family.
const FAMILY_POLYNOMIALS: usize = 100;

/// Held-out log-likelihood (of all rows) by which a larger model must be better.
pub(super) const MARGIN: f64 = 2.0;

/// A fitted likelihood and its held-out log-likelihood, summed over the rows.
pub struct Fitted {
    /// The likelihood.
    pub likelihood: LocalLikelihood,
    /// Σ log p(x|θ) of rows, each by a fit without it.
    pub held_out: f64,
}

/// What fits of the same rows share.
pub(super) struct Design {
    basis: Basis,
    phi: Vec<f64>,
    shared: SharedDesign,
    pub rows: usize,
}

impl Design {
    /// Polynomials of the highest degree among `forms`, or as many as the rows can carry.
    ///
    /// # Errors
    /// When they cannot carry linear ones.
    pub fn new(chart: &Chart, rows: &Rows, forms: Forms) -> Result<Self> {
        let m = chart.bounded.len();
        let polynomials = |degree| Basis::partly_linear(m, forms.linear, degree);
        let degree = forms.mean.max(forms.variance);
        let n = rows.u.len() / m;
        // The highest degree that the rows can carry.
        let degrees: Vec<usize> = (0..=degree)
            .filter(|&k| {
                let carried = |b: Basis| b.len() <= MOST_POLYNOMIALS && b.len() * ROWS_A_COEFFICIENT <= n;
                k < 2 || polynomials(k).is_ok_and(carried)
            })
            .collect();
        let basis = polynomials(degrees[degrees.len() - 1])?;
        let p = basis.len();
        if n < ROWS_A_COEFFICIENT * basis.count(1) {
            let needed = ROWS_A_COEFFICIENT * basis.count(1);
            return Err(InferenceError::TrainingSet(format!(
                "only {n} simulations succeeded where the posterior is, at least {needed} are needed; simulate more a round"
            )));
        }
        let mut phi = vec![0.0; n * p];
        phi.par_chunks_mut(p).zip(rows.u.par_chunks(m)).for_each(|(phi, u)| basis.evaluate(&chart.at(u), phi));
        let widths: Vec<usize> = (0..=basis.degree()).map(|degree| basis.count(degree)).collect();
        let shared = SharedDesign::new(Features { values: &phi, stride: p, width: p }, &widths);
        Ok(Self { basis, phi, shared, rows: n })
    }

    pub fn features(&self, degree: usize) -> Features<'_> {
        Features { values: &self.phi, stride: self.basis.len(), width: self.basis.count(degree) }
    }

    pub fn degrees(&self, most: usize) -> std::ops::RangeInclusive<usize> {
        0..=most.min(self.basis.degree())
    }

    /// Log-likelihood of held-out counts, without what does not depend on the mean, and the predictor, of the best degree.
    pub fn predictor(&self, x: &[f64], family: Family, most: usize) -> Option<(f64, Vec<f64>)> {
        let mut start = Vec::new();
        let candidates = self.degrees(most).map(|degree| {
            let fit = Counts { features: self.features(degree), x, family }.cross_fit(&start);
            start.clone_from(&fit.coefficients);
            (fit.held_out, fit.coefficients)
        });
        best(candidates)
    }

    /// Log-likelihood of held-out residuals under N(0, e^s), the fit of s, for the best degree of s.
    pub fn variance(&self, residuals: &[f64], most: usize) -> Option<(f64, CrossFit)> {
        let squares: Vec<f64> = residuals.iter().map(|e| e * e).collect();
        let fits = self.degrees(most).filter_map(|degree| {
            let fit = log_variance(&self.shared, self.features(degree), &squares)?;
            let value = squares.iter().zip(&fit.held_out).map(|(square, s)| gaussian(*square, *s)).sum();
            Some((value, fit))
        });
        best(fits)
    }
}

/// log N(e; 0, e^s) of a squared residual, without ½ log 2π.
fn gaussian(square: f64, s: f64) -> f64 {
    -0.5 * (square * (-s).exp() + s)
}

/// The first of the largest values of models in order of size, where a larger one must be better by the margin.
pub(super) fn best<T>(candidates: impl Iterator<Item = (f64, T)>) -> Option<(f64, T)> {
    let mut best: Option<(f64, T)> = None;
    let mut missed = 0;
    for next in candidates.filter(|(value, _)| value.is_finite()) {
        if best.as_ref().is_none_or(|best| next.0 > best.0 + MARGIN) {
            (best, missed) = (Some(next), 0);
        } else {
            missed += 1;
        }
        // Degrees come in order; an even or an odd function misses one.
        if missed == 2 {
            break;
        }
    }
    best
}

/// A Gaussian column before couplings.
pub(super) struct Marginal {
    center: f64,
    scale: f64,
    mean: CrossFit,
    pub variance: CrossFit,
    /// y - held-out mean.
    pub residuals: Vec<f64>,
    pub value: f64,
}

/// Fits the likelihood of `rows` in the coordinates of `chart`.
///
/// # Errors
/// Too few rows, values of x whose logarithm is not finite; when the monitor asks to stop.
pub fn fit(chart: Chart, rows: &Rows, log: bool, radius: f64, forms: Forms, monitor: &dyn Monitor) -> Result<Fitted> {
    let m = chart.bounded.len();
    let d = rows.x.len() / (rows.u.len() / m).max(1);
    let design = Design::new(&chart, rows, forms)?;
    let fits: Vec<(f64, Kind)> = (0..d)
        .into_par_iter()
        .map(|i| {
            monitor.check()?;
            let x: Vec<f64> = rows.x.iter().skip(i).step_by(d).map(|&x| f64::from(x)).collect();
            column(&design, x, log, forms)
        })
        .collect::<Result<_>>()?;
    let marginals: Vec<Option<&Marginal>> = fits
        .iter()
        .map(|(_, kind)| match kind {
            Kind::Gaussian(marginal) => Some(marginal),
            Kind::Other(_) => None,
        })
        .collect();
    let couple = |i| {
        monitor.check()?;
        Ok(coupling::couple(&design, &marginals, i, forms))
    };
    let coupled: Vec<Option<coupling::Coupled>> = (0..d).into_par_iter().map(couple).collect::<Result<_>>()?;
    let held_out = fits.iter().zip(&coupled).map(|((value, _), c)| c.as_ref().map_or(*value, |c| c.value)).sum();
    let columns: Vec<Column> = fits
        .into_iter()
        .zip(coupled)
        .map(|((_, kind), coupled)| match kind {
            Kind::Other(column) => column,
            Kind::Gaussian(marginal) => {
                let own = marginal.variance.coefficients;
                let (coupling, log_variance) = coupled.map_or((Vec::new(), own), |c| (c.coupling, c.log_variance));
                let (center, scale, mean) = (marginal.center, marginal.scale, marginal.mean.coefficients);
                Column::Gaussian(GaussianColumn { center, scale, mean, log_variance, coupling })
            }
        })
        .collect();
    let degree = columns.iter().map(|column| column.degree(&design.basis)).max().unwrap_or(0);
    let basis = Basis::partly_linear(m, forms.linear, degree)?;
    let leverage = design.shared.leverage(basis.len());
    let likelihood =
        LocalLikelihood { chart, basis, log, columns, radius, residual: None, leverage, by_category: None };
    Ok(Fitted { likelihood, held_out })
}

enum Kind {
    Other(Column),
    Gaussian(Marginal),
}

/// Standard deviations of a count from which it may be a Gaussian: there the density changes by 4 % of itself within a cell, on average.
const NARROWEST: f64 = 1.0;

impl Marginal {
    /// The smallest standard deviation at any row, in the value's own units.
    fn narrowest(&self) -> f64 {
        self.scale * (0.5 * self.variance.held_out.iter().copied().fold(f64::INFINITY, f64::min)).exp()
    }
}

/// Counts up to this are counts; larger ones have Gaussians too.
const MOST_COUNT: f64 = 1e5;

fn column(design: &Design, x: Vec<f64>, log: bool, forms: Forms) -> Result<(f64, Kind)> {
    let first = x[0];
    if x.iter().all(|&value| value == first) {
        return Ok((0.0, Kind::Other(Column::Constant { value: first })));
    }
    let counts = !log && x.iter().all(|&value| value >= 0.0 && value.fract() == 0.0 && value <= MOST_COUNT);
    let count = if counts { count_column(design, &x, forms) } else { None };
    // The density of a Gaussian stands in for a count's mass only where it hardly changes within a cell, at all parameters. No sd is beyond half the range.
    let range = x.iter().fold((first, first), |(low, high), &value| (low.min(value), high.max(value)));
    let gaussian = match counts && range.1 - range.0 <= 2.0 * NARROWEST {
        true => None,
        false => {
            gaussian_column(design, &x, log, forms)?.filter(|marginal| !counts || marginal.narrowest() > NARROWEST)
        }
    };
    match (count, gaussian) {
        (Some((value, _)), Some(gaussian)) if value < gaussian.value - MARGIN => {
            Ok((gaussian.value, Kind::Gaussian(gaussian)))
        }
        (Some((value, column)), _) => Ok((value, Kind::Other(column))),
        (None, Some(gaussian)) => Ok((gaussian.value, Kind::Gaussian(gaussian))),
        (None, None) => Err(InferenceError::TrainingSet("a value of x has no regression on the parameters".into())),
    }
}

fn count_column(design: &Design, x: &[f64], forms: Forms) -> Option<(f64, Column)> {
    let family = family(design, x, forms)?;
    let (value, predictor) = design.predictor(x, family, forms.mean)?;
    let constant = x.iter().map(|&x| family.constant(x)).sum::<f64>();
    Some((value + constant, Column::Count(CountColumn { family, predictor })))
}

/// The family, from a good fit of the means.
fn family(design: &Design, x: &[f64], forms: Forms) -> Option<Family> {
    if x.iter().all(|&value| value <= 1.0) {
        return Some(Family::Binomial { trials: 1.0 });
    }
    let moderate = |degree: &usize| design.features(*degree).width <= FAMILY_POLYNOMIALS;
    let features = design.features(design.degrees(forms.mean).rfind(moderate)?);
    let first = Counts { features, x, family: Family::Poisson }.fit();
    let means: Vec<f64> = (0..x.len()).map(|i| Family::Poisson.mean(dot(features.row(i), &first))).collect();
    Some(Family::fit(x, &means))
}

fn gaussian_column(design: &Design, x: &[f64], log: bool, forms: Forms) -> Result<Option<Marginal>> {
    let mut y: Vec<f64> = x.iter().map(|&x| if log { x.ln() } else { x }).collect();
    if let Some(row) = y.iter().position(|value| !value.is_finite()) {
        return Err(InferenceError::TrainingSet(format!(
            "simulation {row} has {} where logarithms are taken; give positive outputs or take x as it is",
            x[row]
        )));
    }
    let n = y.len() as f64;
    let center = y.iter().sum::<f64>() / n;
    let scale = (y.iter().map(|y| (y - center).powi(2)).sum::<f64>() / n).sqrt();
    if !(scale > 0.0) {
        return Ok(None);
    }
    y.iter_mut().for_each(|y| *y = (*y - center) / scale);
    let unit = -n * (scale.ln() + 0.5 * (2.0 * std::f64::consts::PI).ln());
    let residuals = |fit: &CrossFit| -> Vec<f64> { y.iter().zip(&fit.held_out).map(|(y, mean)| y - mean).collect() };
    let candidates = design.degrees(forms.mean).filter_map(|degree| {
        let fit = design.shared.fit(design.features(degree), &y)?;
        let square = residuals(&fit).iter().map(|e| e * e).sum::<f64>() / n;
        Some((-0.5 * n * (1.0 + square.ln()), fit))
    });
    let Some((_, mut mean)) = best(candidates) else { return Ok(None) };
    let Some((mut value, mut variance)) = design.variance(&residuals(&mean), forms.variance) else { return Ok(None) };
    for _ in 0..2 {
        if variance.coefficients.len() == 1 {
            break;
        }
        let weights: Vec<f64> = variance.held_out.iter().map(|s| (-s).exp()).collect();
        let candidates = design.degrees(forms.mean).filter_map(|degree| {
            let fit = cross_fit(design.features(degree), &y, Some(&weights))?;
            let value = residuals(&fit).iter().zip(&variance.held_out).map(|(e, s)| gaussian(e * e, *s)).sum();
            Some((value, fit))
        });
        let Some((_, next)) = best(candidates) else { break };
        let Some((reached, spread)) = design.variance(&residuals(&next), forms.variance) else { break };
        if reached <= value {
            break;
        }
        (value, mean, variance) = (reached, next, spread);
    }
    let residuals = residuals(&mean);
    Ok(Some(Marginal { center, scale, mean, variance, residuals, value: value + unit }))
}
