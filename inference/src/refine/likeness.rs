//! Are the observations like simulations at the posterior? A posterior in the wrong place can have settled, on a likelihood that is right there.
//!
//! Bias and form compare a fit with simulations near the posterior; neither looks at the observations. But where these came from, the mean log-likelihood of n
//! of them is that of simulations there, within its standard deviation σ/√n: the posterior's draws have it m/2n lower than the best
//! parameters, which fit them m/2n better than the true ones do, so that no correction is due. Elsewhere they are less likely than what is simulated.

use super::fit::Rows;
use super::frame::Frame;
use super::local::{LocalLikelihood, LocalScratch};
use super::near::weights;
use crate::Result;
use ndarray::ArrayView2;

/// Draws at which the observations' likelihood is evaluated.
const DRAWS: usize = 200;

/// The observations' mean log-likelihood over the posterior `draws` (draw, m), less that of rows near the posterior, each at its own parameters, in standard deviations
/// of a mean of n: strongly negative where the observations `x` (n, d) are unlike simulations there.
///
/// # Errors
/// When draws have no width in some direction, or observations do not fit.
pub(super) fn likeness(
    likelihood: &LocalLikelihood,
    frame: &Frame,
    rows: &Rows,
    draws: &[f64],
    x: ArrayView2<'_, f32>,
) -> Result<f64> {
    let (m, d) = (frame.dim(), likelihood.columns.len());
    let mut scratch = LocalScratch::default();
    let (mut gradient, mut information) = (vec![0.0; m], vec![0.0; m * m]);
    let mut log = |statistics: &_, u: &[f64]| {
        likelihood.evaluate(statistics, u, &frame.factor, &mut scratch, (&mut gradient, &mut information))
    };
    let (mut total, mut sum, mut square) = (0.0, 0.0, 0.0);
    let weights = weights(frame, rows, draws)?;
    for ((u, x), &weight) in rows.u.chunks_exact(m).zip(rows.x.chunks_exact(d)).zip(&weights) {
        if weight > 0.0 {
            let one = ArrayView2::from_shape((1, d), x).expect("one row");
            let value = likelihood.statistics(one).map_or(f64::NEG_INFINITY, |statistics| log(&statistics, u));
            if value.is_finite() {
                total += weight;
                sum += weight * value;
                square += weight * value * value;
            }
        }
    }
    let statistics = likelihood.statistics(x)?;
    let every = (draws.len() / m).div_ceil(DRAWS).max(1);
    let observed: Vec<f64> = draws.chunks_exact(m).step_by(every).map(|u| log(&statistics, u)).collect();
    let n = x.nrows() as f64;
    let observed = observed.iter().sum::<f64>() / (observed.len() as f64 * n);
    let mean = sum / total;
    let sd = (square / total - mean * mean).max(0.0).sqrt();
    Ok((observed - mean) / (sd / n.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, fit};
    use super::*;
    use ndarray::Array2;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::{Silent, StreamKey};

    /// x = (u, u²) + noise, learned around u = 1: observations from there are like simulations, those from u = -1, to which a posterior could have been led by the first
    /// value's noise alone, are not.
    #[test]
    fn observations_from_elsewhere_are_unlike_the_simulations() {
        let mut rng = StreamKey::root(6).rng(0);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let u: Vec<f64> = (0..8000).map(|_| 1.0 + 0.4 * normal()).collect();
        let mut see = |u: f64| [(u + normal()) as f32, (u * u + 0.5 * normal()) as f32];
        let x: Vec<f32> = u.iter().flat_map(|&u| see(u)).collect();
        let frame = Frame::new(vec![1.0], vec![0.16]).unwrap();
        let rows = Rows { u, x, ..Rows::default() };
        let forms = Forms { mean: 2, ..Forms::default() };
        let chart = Chart { bounded: vec![false], frame: frame.clone() };
        let fitted = fit(chart, &rows, false, 10.0, forms, &Silent).unwrap();
        let draws: Vec<f64> = (0..400).map(|i| 1.0 + 0.04 * f64::from(i % 7 - 3)).collect();
        let mut found = |u: f64| {
            let x: Vec<f32> = (0..30).flat_map(|_| see(u)).collect();
            let x = Array2::from_shape_vec((30, 2), x).unwrap();
            likeness(&fitted.likelihood, &frame, &rows, &draws, x.view()).unwrap()
        };
        let z: Vec<f64> = (0..20).map(|_| found(1.0)).collect();
        let mean = z.iter().sum::<f64>() / 20.0;
        assert!(mean.abs() < 1.0 && z.iter().all(|z| z.abs() < 4.0), "{z:?}");
        assert!(found(-1.0) < -8.0, "{}", found(-1.0));
    }
}
