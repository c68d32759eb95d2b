//! Real numbers whose law depends on a category beside them, as response times do on choices: a local likelihood for each category.
//!
//! p(c, y|u) = p(c|u) p(y|c, u). The category c is a count of the likelihood itself; y has a likelihood of its own for each value of c, learned from the simulations that have
//! it, with means, variances, couplings and law of residuals of its own. Cost: that of one likelihood a category.

use super::basis::Basis;
use super::chart::Chart;
use super::column::Column;
use super::fit::{Fitted, Forms, Rows, fit};
use super::local::{LocalLikelihood, LocalScratch, Statistics};
use super::shape::shape;
use crate::{InferenceError, Result};
use ndarray::{ArrayView2, Axis};
use tallsbi_data::Monitor;

/// Categories at most: what has more values is a count, on which laws depend smoothly if at all.
const MOST_CATEGORIES: usize = 4;

/// The real numbers of an observation, by the category beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct ByCategory {
    /// The column that has the category, 0, 1, ..
    pub column: usize,
    /// The likelihood of the real numbers in each category: counts are constants in it.
    pub parts: Vec<LocalLikelihood>,
}

impl ByCategory {
    /// The category of an observation, if there is a likelihood for it.
    pub(super) fn category(&self, x: f32) -> Option<usize> {
        let known = x >= 0.0 && x.fract() == 0.0 && (x as usize) < self.parts.len();
        known.then_some(x as usize)
    }

    /// What each part needs of the observations (n, d) in its category.
    ///
    /// # Errors
    /// A category that no simulation had; those of [`LocalLikelihood::statistics`].
    pub(super) fn statistics(&self, x: ArrayView2<'_, f32>) -> Result<Vec<Option<Statistics>>> {
        let mut rows = vec![Vec::new(); self.parts.len()];
        for (row, &value) in x.column(self.column).iter().enumerate() {
            let unknown = InferenceError::CategoryNotSimulated { row, column: self.column, value };
            rows[self.category(value).ok_or(unknown)?].push(row);
        }
        let own = |(part, rows): (&LocalLikelihood, &Vec<usize>)| {
            (!rows.is_empty()).then(|| part.statistics(x.select(Axis(0), rows).view())).transpose()
        };
        self.parts.iter().zip(&rows).map(own).collect()
    }

    /// Σ log p(y|c) at the local coordinates `v`; adds gradient and metric to `scratch`.
    pub(super) fn sum(
        &self,
        statistics: &[Option<Statistics>],
        v: &[f64],
        parts: &mut Vec<LocalScratch>,
        (gradient, information): (&mut [f64], &mut [f64]),
    ) -> f64 {
        parts.resize(self.parts.len(), LocalScratch::default());
        let mut value = 0.0;
        for ((part, statistics), own) in self.parts.iter().zip(statistics).zip(parts) {
            if let Some(statistics) = statistics {
                value += part.sum_at(statistics, v, own);
                gradient.iter_mut().zip(&own.gradient).for_each(|(sum, value)| *sum += value);
                information.iter_mut().zip(&own.information).for_each(|(sum, value)| *sum += value);
            }
        }
        value
    }
}

impl LocalLikelihood {
    /// The polynomials of highest degree among its own and its parts'.
    pub(super) fn largest_basis(&self) -> &Basis {
        let parts = self.by_category.iter().flat_map(|by| &by.parts).map(|part| &part.basis);
        parts.fold(&self.basis, |largest, own| if own.len() > largest.len() { own } else { largest })
    }
}

/// `plain`, which was learned from `rows`, with its real numbers by the category beside them, for the category that serves best; none where there is no such column, or too few rows of a category.
///
/// # Errors
/// As [`fit`].
pub(super) fn by_category(
    plain: &LocalLikelihood,
    rows: &Rows,
    forms: Forms,
    monitor: &dyn Monitor,
) -> Result<Option<Fitted>> {
    if plain.gaussians().is_empty() {
        return Ok(None);
    }
    let mut best: Option<Fitted> = None;
    for column in 0..plain.columns.len() {
        let Some(categories) = categories(plain, rows, column) else { continue };
        match split(plain, rows, (column, categories), forms, monitor) {
            // A category with too few rows.
            Err(InferenceError::TrainingSet(_)) => {}
            fitted => {
                let fitted = fitted?;
                if best.as_ref().is_none_or(|best| fitted.held_out > best.held_out) {
                    best = Some(fitted);
                }
            }
        }
    }
    Ok(best)
}

/// How many categories the column `i` has, if it is one of them.
fn categories(plain: &LocalLikelihood, rows: &Rows, i: usize) -> Option<usize> {
    if !matches!(plain.columns[i], Column::Count(_)) {
        return None;
    }
    let values = rows.x.iter().skip(i).step_by(plain.columns.len());
    let highest = values.copied().fold(0.0, f32::max) as usize;
    (1..MOST_CATEGORIES).contains(&highest).then_some(highest + 1)
}

fn split(
    plain: &LocalLikelihood,
    rows: &Rows,
    (column, categories): (usize, usize),
    forms: Forms,
    monitor: &dyn Monitor,
) -> Result<Fitted> {
    let (m, d) = (plain.chart.bounded.len(), plain.columns.len());
    let chart: &Chart = &plain.chart;
    let is_real: Vec<bool> = plain.columns.iter().map(|column| matches!(column, Column::Gaussian(_))).collect();
    let of = |kept: &dyn Fn(&[f32]) -> bool, real: bool| {
        let mut out = Rows::default();
        for (u, x) in rows.u.chunks_exact(m).zip(rows.x.chunks_exact(d)).filter(|(_, x)| kept(x)) {
            out.u.extend_from_slice(u);
            out.x.extend(x.iter().zip(&is_real).map(|(&x, &own)| if own == real { x } else { 0.0 }));
        }
        out
    };
    let Fitted { mut likelihood, mut held_out } =
        fit(chart.clone(), &of(&|_| true, false), plain.log, plain.radius, forms, monitor)?;
    for (i, own) in likelihood.columns.iter_mut().enumerate().filter(|(i, _)| is_real[*i]) {
        debug_assert!(matches!(own, Column::Constant { .. }), "column {i} was left out");
        *own = Column::Given { column };
    }
    let mut parts = Vec::with_capacity(categories);
    for category in 0..categories {
        let own = of(&|x: &[f32]| x[column] == category as f32, true);
        let fitted = fit(chart.clone(), &own, plain.log, plain.radius, forms, monitor)?;
        monitor.check()?;
        let (part, gain) = shape(&fitted.likelihood, &own).unwrap_or((fitted.likelihood, 0.0));
        held_out += fitted.held_out + gain;
        parts.push(part);
    }
    likelihood.by_category = Some(ByCategory { column, parts });
    Ok(Fitted { likelihood, held_out })
}
