//! The checks of a fit where the posterior is: its mean score and its form.

use super::bias::{Bias, bias};
use super::column::Column;
use super::form::{Misfit, misfit};
use super::frame::moments;
use super::learn::Learned;
use super::likeness::likeness;
use super::local::LocalLikelihood;
use crate::Result;
use crate::small_matrix::dot;
use ndarray::ArrayView2;

/// Share of the posterior from which a component counts.
const MUCH: f64 = 0.1;

/// What checks of the fit found where the posterior is.
pub(super) struct Checked {
    pub bias: Bias,
    pub misfit: Misfit,
    /// See [`likeness`].
    pub likeness: f64,
}

/// The same with the spread that it has at `u` everywhere: its score is that of a mean of many, which the slope of the spread, as often as there are observations, is no part of.
fn of_means(likelihood: &LocalLikelihood, u: &[f64]) -> LocalLikelihood {
    let mut phi = vec![0.0; likelihood.basis.len()];
    likelihood.basis.evaluate(&likelihood.chart.at(u), &mut phi);
    let constant = |coefficients: &mut Vec<f64>| *coefficients = vec![dot(coefficients, &phi[..coefficients.len()])];
    let mut at = likelihood.clone();
    for column in &mut at.columns {
        if let Column::Gaussian(gaussian) = column {
            constant(&mut gaussian.log_variance);
            gaussian.coupling.iter_mut().for_each(|(_, b)| constant(b));
        }
    }
    at
}

/// Bias and misfit of the components that hold much of the posterior, each at the draws that are nearest to it; the worst of them.
///
/// # Errors
/// When draws have no width in some direction.
pub(super) fn check(learned: &Learned, draws: &[f64], x: ArrayView2<'_, f32>, worth: f64) -> Result<Checked> {
    let components = &learned.model.components;
    let m = components[0].frame.dim();
    let values: Vec<f32> = x.iter().copied().collect();
    let power = worth * components[0].likelihood.columns.len() as f64 / values.len() as f64;
    let nearest = |u: &[f64]| {
        let log = |c: usize| components[c].frame.log_density(u, &mut vec![0.0; m]);
        (0..components.len()).max_by(|&a, &b| log(a).total_cmp(&log(b))).unwrap_or(0)
    };
    let mut worst = Checked { bias: Bias { size: 0.0, error: 0.0 }, misfit: Misfit::default(), likeness: 0.0 };
    for (index, (component, rows)) in components.iter().zip(&learned.rows).enumerate() {
        let own: Vec<f64> = draws.chunks_exact(m).filter(|u| nearest(u) == index).flatten().copied().collect();
        if own.len() as f64 >= MUCH * draws.len() as f64 && own.len() > 10 * m * m {
            let share = component.share;
            let mut found = match &component.scores {
                Some(scores) => {
                    let rows = scores.summary.rows(&component.likelihood, rows)?;
                    bias(&scores.likelihood, &component.frame, &rows, &own, worth)?
                }
                None if learned.model.means => {
                    let (center, _) = moments(&own, m, None);
                    bias(&of_means(&component.likelihood, &center), &component.frame, rows, &own, worth * share)?
                }
                None => bias(&component.likelihood, &component.frame, rows, &own, worth * share)?,
            };
            // Scores vary more by 1/share than those that chance is reckoned with.
            found.error /= share.sqrt();
            // What exceeds chance most.
            if !(found.size - found.error <= worst.bias.size - worst.bias.error) || worst.bias.error == 0.0 {
                worst.bias = found;
            }
            // A mean of scores is Gaussian whatever the form of one observation is.
            if component.scores.is_none() && !learned.model.means {
                let found = misfit(&component.likelihood, &component.frame, rows, &own, &values, power * share)?;
                if !(found.effect <= worst.misfit.effect) || worst.misfit.features == 0 {
                    worst.misfit = found;
                }
            }
            let found = likeness(&component.likelihood, &component.frame, rows, &own, x)?;
            if !(found >= worst.likeness) {
                worst.likeness = found;
            }
        }
    }
    Ok(worst)
}
