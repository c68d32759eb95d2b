//! Simulation-based calibration (Talts et al. 2018): the rank of the true parameter among posterior samples is uniform.
//!
//! For pairs (θ_i, x_i) from the joint and draws θ_i1..θ_iL from the posterior under test at x_i (one observation or tall data alike),
//! the rank of f(θ_i) among f(θ_i1)..f(θ_iL) is uniform on 0..=L for every function f if the posterior is right. Here f is each
//! coordinate; other quantities go through [`ranks`] and [`rank_test`].

use crate::ecdf::{EcdfTest, ecdf_test};
use crate::{DiagnosticsError, Result, check};
use ndarray::{ArrayView2, ArrayView3};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Options of [`sbc`] and [`rank_test`].
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `bins` | 20 | bins of the rank histogram (at most L+1) | ≥ 2 |
/// | `confidence` | 0.95 | simultaneous probability of the band | (0, 1) |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankOptions {
    /// Bins of the rank histogram.
    pub bins: usize,
    /// Simultaneous probability of the band.
    pub confidence: f64,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self { bins: 20, confidence: 0.95 }
    }
}

/// Histogram of ranks with Pearson's χ² test of uniformity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankHistogram {
    /// Ranks in each bin.
    pub counts: Vec<usize>,
    /// Expected numbers if ranks are uniform: equal up to the ranks a bin holds.
    pub expected: Vec<f64>,
    /// Σ (count - expected)² / expected.
    pub chi_squared: f64,
    /// Its tail probability with bins - 1 degrees of freedom.
    pub p_value: f64,
}

/// Test of uniform ranks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankTest {
    /// The ranks, each in 0..=`draws`.
    pub ranks: Vec<usize>,
    /// Number of posterior samples L.
    pub draws: usize,
    /// Histogram and χ² test.
    pub histogram: RankHistogram,
    /// Distribution function, band and the test on it: the more powerful one for shifts and wrong widths.
    pub ecdf: EcdfTest,
}

/// Result of simulation-based calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sbc {
    /// One test per parameter.
    pub parameters: Vec<RankTest>,
    /// The smallest ECDF p-value times the number of parameters (Bonferroni), at most 1.
    pub p_value: f64,
    /// A shift of the posterior that so many pairs and draws would show, in its standard deviations: [`visible_shift`].
    pub visible_shift: f64,
}

/// A shift of a parameter's posterior that ranks of `pairs` true values among `draws` draws would show in about nine of ten tests at 5 %, in
/// posterior standard deviations: 3 √(1 + 2/L) / √N.
///
/// 3/√N is read off the measured power (docs/diagnostics.md: of 500 pairs, 0.1 is seen in 56 %, 0.2 in all); the variance of a rank's
/// share k/L is 1/12 + 1/(6L). Beyond 1 the test says next to nothing, whatever its p-value.
pub fn visible_shift(pairs: usize, draws: usize) -> f64 {
    3.0 * (1.0 + 2.0 / draws.max(1) as f64).sqrt() / (pairs.max(1) as f64).sqrt()
}

/// Ranks every coordinate of `theta` (N, m) among `draws` (N, L, m) from the posterior under test and tests that they are uniform.
///
/// # Errors
/// Shapes that do not fit, fewer than two pairs, no draws, values that are not finite, constant parameters, or options outside
/// their range.
pub fn sbc(
    theta: ArrayView2<'_, f64>,
    draws: ArrayView3<'_, f64>,
    options: &RankOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Sbc> {
    check_pairs(theta, draws)?;
    let stage = monitor.stage("parameters", "parameters", (theta.ncols()) as u64);
    let parameters = (0..theta.ncols())
        .into_par_iter()
        .map(|column| {
            monitor.check()?;
            let truth = theta.column(column).to_vec();
            let ranks = ranks(&truth, draws.index_axis(ndarray::Axis(2), column), key.indexed(column as u64))?;
            let test = rank_test(ranks, draws.dim().1, options)?;
            stage.advance(1);
            Ok(test)
        })
        .collect::<Result<Vec<_>>>()?;
    let smallest = parameters.iter().map(|test| test.ecdf.p_value).fold(1.0, f64::min);
    let visible_shift = visible_shift(theta.nrows(), draws.dim().1);
    Ok(Sbc { p_value: (smallest * parameters.len() as f64).min(1.0), parameters, visible_shift })
}

/// Checks shapes and values of true parameters (N, m) with posterior draws (N, L, m) of each.
///
/// # Errors
/// Shapes that do not fit, fewer than two pairs, no draws, values that are not finite, constant parameters, or posteriors of which most have
/// collapsed.
pub fn check_pairs(theta: ArrayView2<'_, f64>, draws: ArrayView3<'_, f64>) -> Result<()> {
    check::finite("theta", theta, 2)?;
    check::varies("theta", theta)?;
    let (pairs, count, width) = draws.dim();
    check::same_rows("posterior draws", pairs, "theta", theta.nrows())?;
    if count == 0 {
        return Err(DiagnosticsError::TooFewSamples { what: "posterior draws of a pair", found: 0, needed: 1 });
    }
    if width != theta.ncols() {
        return Err(DiagnosticsError::Width {
            what: "posterior draws",
            found: width,
            expected: theta.ncols(),
            like: "theta",
        });
    }
    let mut collapsed = None;
    let mut sound = 0;
    for pair in draws.outer_iter() {
        check::finite("posterior draws", pair, 1)?;
        match check::not_collapsed("posterior draws", pair) {
            Ok(()) => sound += 1,
            Err(error) => collapsed = Some(error),
        }
    }
    if let Some(error) = collapsed.filter(|_| 2 * sound < pairs) {
        return Err(error);
    }
    // One pair's draws may pile up on a bound of the prior (ties are ranked at random); all pairs' may not.
    let rows = draws.to_shape((pairs * count, width)).expect("the same number of values");
    check::varies("posterior draws", rows.view())?;
    Ok(())
}

/// Rank of each `truth` among its row of `draws` (N, L): the number of draws below, ties broken at random.
///
/// # Errors
/// Another number of rows than of truths, no draws, or values that are not finite.
pub fn ranks(truth: &[f64], draws: ArrayView2<'_, f64>, key: StreamKey) -> Result<Vec<usize>> {
    check::finite("draws", draws, 1)?;
    check::same_rows("truths", truth.len(), "the draws", draws.nrows())?;
    if let Some(row) = truth.iter().position(|value| !value.is_finite()) {
        return Err(DiagnosticsError::NotFinite { what: "truths", row, column: 0, value: truth[row] });
    }
    let key = key.child(Purpose::Calibration);
    Ok(truth
        .iter()
        .zip(draws.outer_iter())
        .enumerate()
        .map(|(pair, (truth, draws))| {
            let below = draws.iter().filter(|draw| *draw < truth).count();
            let equal = draws.iter().filter(|draw| *draw == truth).count();
            below + if equal > 0 { key.rng(pair as u64).random_range(0..=equal) } else { 0 }
        })
        .collect())
}

/// Tests that `ranks`, each in 0..=`draws`, are uniform.
///
/// # Errors
/// Fewer than two ranks, one above `draws`, no draws, or options outside their range.
pub fn rank_test(ranks: Vec<usize>, draws: usize, options: &RankOptions) -> Result<RankTest> {
    if ranks.len() < 2 {
        return Err(DiagnosticsError::TooFewSamples { what: "ranks", found: ranks.len(), needed: 2 });
    }
    if let Some(rank) = ranks.iter().find(|&&rank| rank > draws) {
        return Err(DiagnosticsError::Setting {
            name: "ranks",
            value: rank.to_string(),
            requirement: "must be at most the number of draws",
        });
    }
    if draws == 0 || options.bins < 2 {
        let (name, value) = if draws == 0 { ("draws", draws) } else { ("bins", options.bins) };
        let requirement = if draws == 0 { "must be at least 1" } else { "must be at least 2" };
        return Err(DiagnosticsError::Setting { name, value: value.to_string(), requirement });
    }
    let histogram = histogram(&ranks, draws, options.bins.min(draws + 1))?;
    let ecdf = ecdf_test(&ranks, draws, options.confidence)?;
    Ok(RankTest { ranks, draws, histogram, ecdf })
}

fn histogram(ranks: &[usize], draws: usize, bins: usize) -> Result<RankHistogram> {
    let bin = |rank: usize| rank * bins / (draws + 1);
    let mut counts = vec![0; bins];
    ranks.iter().for_each(|&rank| counts[bin(rank)] += 1);
    let mut expected = vec![0.0; bins];
    (0..=draws).for_each(|rank| expected[bin(rank)] += ranks.len() as f64 / (draws + 1) as f64);
    let chi_squared =
        counts.iter().zip(&expected).map(|(&count, expected)| (count as f64 - expected).powi(2) / expected).sum();
    let distribution = ChiSquared::new((bins - 1) as f64).map_err(|error| DiagnosticsError::Setting {
        name: "bins",
        value: error.to_string(),
        requirement: "must be at least 2",
    })?;
    Ok(RankHistogram { counts, expected, chi_squared, p_value: distribution.sf(chi_squared) })
}
