//! The law of residuals of a fit, and the means that are most likely under it.
//!
//! Least squares finds the means of any law, but a law with edges or narrow crests knows its location better: E[ψ ψᵀ] > I. So means
//! move by Fisher scoring (one-step estimators, Le Cam 1956), and the law follows.

use super::column::Column;
use super::fit::{MARGIN, Rows};
use super::local::LocalLikelihood;
use super::mixture::{Mixture, ResidualLaw};
use super::regression::solve;
use rayon::prelude::*;

/// Rounds of scoring.
const ROUNDS: usize = 3;

/// Coefficients of all means up to which they are scored together.
const MOST_COEFFICIENTS: usize = 200;

/// Rows evaluated together.
const CHUNK: usize = 512;

/// `likelihood` with a law of its residuals, if one predicts held-out rows better than N(0, I); and what it gains over all rows.
pub(super) fn shape(likelihood: &LocalLikelihood, rows: &Rows) -> Option<(LocalLikelihood, f64)> {
    let (gaussians, d) = (likelihood.gaussians(), likelihood.columns.len());
    let g = gaussians.len();
    // A mixture of narrow Gaussians on whole numbers gains without end and means nothing.
    let whole = |i: usize| rows.x.iter().skip(i).step_by(d).all(|x| x.fract() == 0.0);
    if g == 0 || gaussians.iter().any(|&(i, _)| !likelihood.log && whole(i)) {
        return None;
    }
    let residuals = residuals(likelihood, rows);
    let count = residuals.len() / g;
    let (mixture, gain) = Mixture::fit(&residuals, g, MARGIN / count as f64)?;
    let mut shaped = likelihood.clone();
    shaped.residual = Some(ResidualLaw::of(mixture, &residuals));
    for _ in 0..ROUNDS {
        let Some(next) = scored(&shaped, rows) else { break };
        shaped = next;
    }
    Some((shaped, gain * count as f64))
}

/// φ and the standardised values of the Gaussian columns, of the rows from `first` on.
fn chunk(likelihood: &LocalLikelihood, rows: &Rows, first: usize) -> Vec<(Vec<f64>, Vec<f64>)> {
    let (m, d) = (likelihood.chart.bounded.len(), likelihood.columns.len());
    let gaussians = likelihood.gaussians();
    let last = (first + CHUNK).min(rows.u.len() / m);
    (first..last)
        .map(|row| {
            let mut phi = vec![0.0; likelihood.basis.len()];
            likelihood.basis.evaluate(&likelihood.chart.at(&rows.u[row * m..(row + 1) * m]), &mut phi);
            let y = gaussians.iter().map(|&(i, c)| likelihood.standardised(c, f64::from(rows.x[row * d + i])));
            (phi, y.collect())
        })
        .collect()
}

fn chunks(likelihood: &LocalLikelihood, rows: &Rows) -> impl IndexedParallelIterator<Item = usize> {
    let count = rows.u.len() / likelihood.chart.bounded.len();
    (0..count.div_ceil(CHUNK)).into_par_iter().map(|chunk| chunk * CHUNK)
}

/// Whitened residuals of all rows, (N, g).
fn residuals(likelihood: &LocalLikelihood, rows: &Rows) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = chunks(likelihood, rows)
        .map(|first| {
            let mut out = Vec::new();
            for (phi, y) in chunk(likelihood, rows, first) {
                let mut r = vec![0.0; y.len()];
                likelihood.place(&phi).whiten(&y, &mut r);
                out.extend(r);
            }
            out
        })
        .collect();
    parts.concat()
}

/// One step of scoring of the means and the law after it, if that is more likely.
fn scored(likelihood: &LocalLikelihood, rows: &Rows) -> Option<LocalLikelihood> {
    let law = likelihood.residual.as_ref()?;
    let widths: Vec<usize> = likelihood.gaussians().iter().map(|(_, column)| column.mean.len()).collect();
    let width: usize = widths.iter().sum();
    if width > MOST_COEFFICIENTS {
        return None;
    }
    let (gradient, information) = system(likelihood, law, rows, &widths);
    let step = solve(&information, &gradient, 0.0)?;
    let mut next = likelihood.clone();
    let mut at = 0;
    for column in &mut next.columns {
        if let Column::Gaussian(gaussian) = column {
            gaussian.mean.iter_mut().zip(&step[at..]).for_each(|(c, step)| *c += step);
            at += gaussian.mean.len();
        }
    }
    let before = law.mixture.total(&residuals(likelihood, rows));
    let moved = residuals(&next, rows);
    let mixture = law.mixture.clone().improve(&moved);
    if !(mixture.total(&moved) > before) {
        return None;
    }
    next.residual = Some(ResidualLaw::of(mixture, &moved));
    Some(next)
}

/// Gradient and expected information of the log-likelihood in the coefficients of all means.
fn system(likelihood: &LocalLikelihood, law: &ResidualLaw, rows: &Rows, widths: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let (g, width): (usize, usize) = (widths.len(), widths.iter().sum());
    let parts: Vec<(Vec<f64>, Vec<f64>)> = chunks(likelihood, rows)
        .map(|first| {
            let (mut gradient, mut information) = (vec![0.0; width], vec![0.0; width * width]);
            let (mut r, mut score) = (vec![0.0; g], vec![0.0; g]);
            for (phi, y) in chunk(likelihood, rows, first) {
                let place = likelihood.place(&phi);
                place.whiten(&y, &mut r);
                law.mixture.log_density(&r, &mut score);
                let t = place.of_means();
                let along = |i: usize, j: usize| (0..g).map(|k| law.information[i * g + k] * t[k * g + j]).sum::<f64>();
                let mut offset = 0;
                for a in 0..g {
                    let pull: f64 = (0..g).map(|i| score[i] * t[i * g + a]).sum();
                    gradient[offset..].iter_mut().zip(&phi[..widths[a]]).for_each(|(sum, phi)| *sum += pull * phi);
                    let mut other = 0;
                    for b in 0..=a {
                        let metric: f64 = (0..g).map(|i| t[i * g + a] * along(i, b)).sum();
                        for k in 0..widths[a] {
                            let scaled = metric * phi[k];
                            let row = &mut information[(offset + k) * width + other..];
                            row.iter_mut().zip(&phi[..widths[b]]).for_each(|(sum, phi)| *sum += scaled * phi);
                        }
                        other += widths[b];
                    }
                    offset += widths[a];
                }
            }
            (gradient, information)
        })
        .collect();
    let (mut gradient, mut information) = (vec![0.0; width], vec![0.0; width * width]);
    for (g, i) in parts {
        gradient.iter_mut().zip(g).for_each(|(sum, value)| *sum += value);
        information.iter_mut().zip(i).for_each(|(sum, value)| *sum += value);
    }
    (gradient, information)
}
