//! Posterior SBC (Säilynoja, Schmitt, Bürkner & Vehtari 2025, arXiv 2502.03279): is the posterior right *at these data*?
//!
//! Simulation-based calibration averages over the prior; a posterior may be calibrated there and wrong at the data at hand. Conditional on the data y:
//! draw θ' from the posterior p(θ | y), simulate new data y' at θ'; given y the pair (θ', y') is a draw of a joint distribution whose posterior is p(θ | y, y'), so that
//! θ' ranks uniformly among draws from it, for every function of θ, if the inference is right. With tall data y and y' are just rows. Where inference errs about the
//! posterior's place or width by much of its sd, θ' comes from the wrong place and p(θ | y, y'), which has seen y', tells.
//!
//! n' new observations as many as the old ones halve the variance: an error that n observations share stays where it is while the new data
//! pull towards θ'. Fewer tell less.

use crate::sbc::{RankOptions, RankTest, rank_test, ranks};
use crate::{Result, check};
use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, StreamKey};

/// Result of posterior SBC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PosteriorSbc {
    /// One test per parameter.
    pub parameters: Vec<RankTest>,
    /// A test of the distance from the posterior's mean in its own metric: joint shifts and widths.
    pub distance: RankTest,
    /// The smallest ECDF p-value times the number of tests (Bonferroni), at most 1.
    pub p_value: f64,
}

/// Tests that each row of `theta` (R, m), drawn from the posterior given the data, ranks uniformly among its `draws` (R, L, m) from the posterior
/// given the data and new ones simulated at it. `posterior` (S, m) are draws given the data alone, for the metric of the distance.
///
/// # Errors
/// Shapes that do not fit, fewer than two rows, no draws, values that are not finite, constant parameters, options outside their range, or
/// when the monitor asks to stop.
pub fn posterior_sbc(
    theta: ArrayView2<'_, f64>,
    draws: ArrayView3<'_, f64>,
    posterior: ArrayView2<'_, f64>,
    options: &RankOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<PosteriorSbc> {
    let marginal = crate::sbc::sbc(theta, draws, options, key, monitor)?;
    check::finite("posterior", posterior, 2)?;
    check::same_width("posterior", posterior, "theta", theta.ncols())?;
    check::varies("posterior", posterior)?;
    let mean: Vec<f64> = posterior.columns().into_iter().map(|column| column.sum() / column.len() as f64).collect();
    let sd: Vec<f64> = posterior.std_axis(Axis(0), 1.0).to_vec();
    let distance = |row: &mut dyn Iterator<Item = f64>| -> f64 {
        row.zip(mean.iter().zip(&sd)).map(|(value, (mean, sd))| ((value - mean) / sd).powi(2)).sum()
    };
    let truth: Vec<f64> = theta.outer_iter().map(|row| distance(&mut row.iter().copied())).collect();
    let (pairs, count, _) = draws.dim();
    let of_draws = Array2::from_shape_fn((pairs, count), |(pair, draw)| {
        distance(&mut draws.slice(ndarray::s![pair, draw, ..]).iter().copied())
    });
    let ranks = ranks(&truth, of_draws.view(), key.indexed(theta.ncols() as u64))?;
    let distance = rank_test(ranks, count, options)?;
    let tests = marginal.parameters.len() + 1;
    let smallest = marginal.parameters.iter().chain([&distance]).map(|test| test.ecdf.p_value).fold(1.0, f64::min);
    Ok(PosteriorSbc { p_value: (smallest * tests as f64).min(1.0), parameters: marginal.parameters, distance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::Silent;

    const DRAWS: usize = 63;

    /// n observations N(θ, 1) of a parameter with a flat prior: the posterior is N(ȳ, 1/n). An inference that errs by `shift` (in sd at n, whatever n: an
    /// error of the likelihood's mean) and by `scale` in width, checked with as many new observations.
    fn p_value(shift: f64, scale: f64, repetition: u64, pairs: usize) -> f64 {
        let n = 20.0f64;
        let key = StreamKey::root(9).indexed(repetition);
        let mut rng = key.rng(0);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let bias = shift / n.sqrt();
        // Two parameters; the data's means are 0.
        let posterior = Array2::from_shape_simple_fn((400, 2), || bias + scale * normal() / n.sqrt());
        let theta = Array2::from_shape_simple_fn((pairs, 2), || bias + scale * normal() / n.sqrt());
        let mut draws = Array3::zeros((pairs, DRAWS, 2));
        for pair in 0..pairs {
            for parameter in 0..2 {
                let new = theta[[pair, parameter]] + normal() / n.sqrt();
                for draw in 0..DRAWS {
                    draws[[pair, draw, parameter]] = 0.5 * new + bias + scale * normal() / (2.0 * n).sqrt();
                }
            }
        }
        let options = RankOptions::default();
        posterior_sbc(theta.view(), draws.view(), posterior.view(), &options, key, &Silent).unwrap().p_value
    }

    fn rejected(shift: f64, scale: f64, repetitions: u64, pairs: usize) -> f64 {
        (0..repetitions).filter(|&r| p_value(shift, scale, r, pairs) <= 0.05).count() as f64 / repetitions as f64
    }

    /// Standard error 0.011 with 400 repetitions; Bonferroni over three dependent tests is conservative.
    #[test]
    fn exact_posteriors_are_rejected_at_most_as_often_as_stated() {
        let rate = rejected(0.0, 1.0, 400, 100);
        assert!((0.005..0.085).contains(&rate), "{rate}");
    }

    #[test]
    fn errors_of_place_and_width_are_found() {
        for (shift, scale) in [(0.5, 1.0), (0.0, 0.8), (0.0, 1.25)] {
            let rate = rejected(shift, scale, 40, 500);
            assert!(rate > 0.5, "shift {shift}, scale {scale}: {rate}");
        }
    }

    #[test]
    fn shapes_are_checked() {
        let (theta, draws) = (Array2::from_shape_fn((4, 2), |(i, j)| (i + j) as f64), Array3::zeros((3, 5, 2)));
        let options = RankOptions::default();
        let run = posterior_sbc(theta.view(), draws.view(), theta.view(), &options, StreamKey::root(0), &Silent);
        assert!(run.is_err());
    }
}
