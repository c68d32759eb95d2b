//! Expected coverage with random reference points: TARP (Lemos, Coogan, Hezaveh & Perreault-Levasseur 2023).
//!
//! For each calibration pair a reference point θ_r is drawn. The share f of posterior draws closer to θ_r than the true parameter
//! is the credibility of the ball around θ_r that the truth lies on; if the posterior is right, f is uniform whatever the
//! references (their Theorem 3). The expected coverage at credibility α is the share of pairs with f < α. Unlike the ranks of
//! single coordinates this sees the joint posterior. References that do not depend on x cannot tell the posterior from the prior;
//! use [`tarp_with_references`] with ones that do.

use crate::sbc::{RankOptions, RankTest, check_pairs, rank_test};
use crate::{Result, check};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView3};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Credibility levels of the coverage curve.
const LEVELS: usize = 101;

/// Result of TARP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tarp {
    /// Credibility levels α from 0 to 1.
    pub levels: Vec<f64>,
    /// Expected coverage at each: the diagonal if the posterior is right, above it if it is too wide, below if too narrow.
    pub coverage: Vec<f64>,
    /// Area between curve and diagonal over α > ½: positive if too wide, negative if too narrow (sbi's `atc`).
    pub area_to_curve: f64,
    /// The largest |coverage - α|.
    pub largest_deviation: f64,
    /// Number of draws closer than the truth, its histogram, and the exact ECDF test.
    pub rank_test: RankTest,
    /// The ECDF test's p-value.
    pub p_value: f64,
    /// [`crate::sbc::visible_shift`] of so many pairs and draws; TARP sees shifts of single parameters later than that.
    pub visible_shift: f64,
}

/// TARP with references uniform in the box of the true parameters.
///
/// `theta` (N, m), `draws` (N, L, m). Distances are Euclidean after scaling every parameter to that box.
///
/// # Errors
/// As [`crate::sbc::sbc`].
pub fn tarp(
    theta: ArrayView2<'_, f64>,
    draws: ArrayView3<'_, f64>,
    options: &RankOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Tarp> {
    check_pairs(theta, draws)?;
    let bounds = bounds(theta);
    let points = key.child(Purpose::ReferencePoint);
    let mut references = Array2::zeros(theta.dim());
    for (pair, mut row) in references.outer_iter_mut().enumerate() {
        let mut rng = points.rng(pair as u64);
        row.iter_mut().zip(&bounds).for_each(|(value, (low, high))| *value = low + (high - low) * rng.random::<f64>());
    }
    tarp_with_references(theta, draws, references.view(), options, key, monitor)
}

/// TARP with the given reference points (N, m); each may depend on its x, not on θ or the draws.
///
/// # Errors
/// As [`tarp`], and for references of another shape.
pub fn tarp_with_references(
    theta: ArrayView2<'_, f64>,
    draws: ArrayView3<'_, f64>,
    references: ArrayView2<'_, f64>,
    options: &RankOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Tarp> {
    check_pairs(theta, draws)?;
    check::finite("references", references, 1)?;
    check::same_rows("references", references.nrows(), "theta", theta.nrows())?;
    check::same_width("references", references, "theta", theta.ncols())?;
    let widths: Vec<f64> = bounds(theta).iter().map(|(low, high)| high - low).collect();
    let count = draws.dim().1;
    let distances = |row: usize| {
        monitor.check()?;
        let (reference, own) = (references.row(row), draws.index_axis(ndarray::Axis(0), row));
        Ok(own.outer_iter().map(|draw| squared_distance(draw, reference, &widths)).collect::<Vec<f64>>())
    };
    let flat: Result<Vec<Vec<f64>>> = (0..theta.nrows()).into_par_iter().map(distances).collect();
    let flat = Array2::from_shape_vec((theta.nrows(), count), flat?.concat()).expect("one row of draws for each pair");
    let truth: Vec<f64> =
        (0..theta.nrows()).map(|row| squared_distance(theta.row(row), references.row(row), &widths)).collect();
    let ranks = crate::sbc::ranks(&truth, flat.view(), key.child(Purpose::ReferencePoint))?;
    let levels: Vec<f64> = (0..LEVELS).map(|level| level as f64 / (LEVELS - 1) as f64).collect();
    // A rank k stands for the credibilities k/(L+1) to (k+1)/(L+1), of which this is the share below α.
    let below = |rank: usize, level: f64| (level * (count + 1) as f64 - rank as f64).clamp(0.0, 1.0);
    let pairs = ranks.len() as f64;
    let coverage: Vec<f64> =
        levels.iter().map(|&level| ranks.iter().map(|&rank| below(rank, level)).sum::<f64>() / pairs).collect();
    let upper = levels.iter().zip(&coverage).filter(|(level, _)| **level > 0.5);
    let area_to_curve = upper.map(|(level, covered)| covered - level).sum::<f64>() / (LEVELS - 1) as f64;
    let largest_deviation =
        levels.iter().zip(&coverage).map(|(level, covered)| (covered - level).abs()).fold(0.0, f64::max);
    let rank_test = rank_test(ranks, count, options)?;
    let visible_shift = crate::sbc::visible_shift(theta.nrows(), count);
    let p_value = rank_test.ecdf.p_value;
    Ok(Tarp { levels, coverage, area_to_curve, largest_deviation, p_value, rank_test, visible_shift })
}

/// Smallest and largest value of every parameter.
fn bounds(theta: ArrayView2<'_, f64>) -> Vec<(f64, f64)> {
    theta
        .columns()
        .into_iter()
        .map(|column| {
            column.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
        })
        .collect()
}

fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>, widths: &[f64]) -> f64 {
    a.iter().zip(b).zip(widths).map(|((a, b), width)| ((a - b) / width).powi(2)).sum()
}
