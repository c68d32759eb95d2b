//! Sliced and max-sliced Wasserstein distances of order 2.
//!
//! SW₂² = E_u W₂²(uᵀX, uᵀY) over directions u uniform on the unit sphere (Bonneel et al. 2015, eq. 3); in one dimension
//! W₂² = ∫₀¹ (F_X⁻¹(q) - F_Y⁻¹(q))² dq, so that each direction costs two sorts. Definitions are those of POT's
//! `sliced_wasserstein_distance` and `max_sliced_wasserstein_distance` with p = 2: the root of the mean, or of the maximum,
//! of the one-dimensional squared distances. The "sW" of the paper's toy tables is the max-sliced one.

use crate::{DiagnosticsError, Result, check};
use ndarray::{Array2, ArrayView2};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Number of directions POT users and the paper take.
pub const DEFAULT_PROJECTIONS: usize = 1000;

/// Directions one task works on: enough to amortise the buffers, few enough to balance threads.
const CHUNK: usize = 4;

/// A sliced Wasserstein distance.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SlicedWasserstein {
    /// Root of the mean (sliced) or maximum (max-sliced) over directions of W₂².
    pub value: f64,
    /// Standard error of `value` from the random directions alone, by the delta method; 0 for one direction. The noise of
    /// the two samples is not in it. For the max-sliced distance, which has no such formula, `None`.
    pub standard_error: Option<f64>,
    /// Number of directions.
    pub projections: usize,
}

/// Most directions: they are kept, and so are the distances along them.
const MOST_PROJECTIONS: usize = 10_000_000;

/// Sliced Wasserstein distance between the rows of `x` (N, d) and `y` (M, d) over `projections` random directions.
///
/// Cost O(projections (N log N + M log M + (N+M) d)), memory O(N + M) a thread; the same bytes for any number of threads.
///
/// # Errors
/// Matrices of different widths, without rows or with values that are not finite, constant columns, or 0 projections; when the monitor asked to stop.
pub fn sliced_wasserstein(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    projections: usize,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<SlicedWasserstein> {
    check::two_samples(x, y, 2)?;
    check_projections(projections)?;
    sliced_wasserstein_along(x, y, random_directions(x.ncols(), projections, key).view(), monitor)
}

/// Sliced Wasserstein distance over given directions, the columns of `directions` (d, projections); each must have length 1.
///
/// # Errors
/// As [`sliced_wasserstein`], and when the directions have another height.
pub fn sliced_wasserstein_along(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    directions: ArrayView2<'_, f64>,
    monitor: &dyn Monitor,
) -> Result<SlicedWasserstein> {
    Ok(mean_of(&squared_distances(x, y, directions, monitor)?))
}

fn mean_of(squared: &[f64]) -> SlicedWasserstein {
    let count = squared.len() as f64;
    let mean = squared.iter().sum::<f64>() / count;
    let value = mean.sqrt();
    let standard_error = if squared.len() < 2 || value == 0.0 {
        0.0
    } else {
        let variance = squared.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / (count - 1.0);
        (variance / count).sqrt() / (2.0 * value)
    };
    SlicedWasserstein { value, standard_error: Some(standard_error), projections: squared.len() }
}

/// Max-sliced Wasserstein distance over `projections` random directions: a lower bound of the supremum over all
/// directions that grows with their number.
///
/// # Errors
/// As [`sliced_wasserstein`].
pub fn max_sliced_wasserstein(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    projections: usize,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<SlicedWasserstein> {
    Ok(sliced_and_max_sliced_wasserstein(x, y, projections, key, monitor)?.1)
}

/// [`sliced_wasserstein`] and [`max_sliced_wasserstein`] over the same directions, for the price of one.
///
/// # Errors
/// As [`sliced_wasserstein`].
pub fn sliced_and_max_sliced_wasserstein(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    projections: usize,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<(SlicedWasserstein, SlicedWasserstein)> {
    check::two_samples(x, y, 2)?;
    check_projections(projections)?;
    let squared = squared_distances(x, y, random_directions(x.ncols(), projections, key).view(), monitor)?;
    let largest = squared.iter().copied().fold(0.0, f64::max);
    Ok((mean_of(&squared), SlicedWasserstein { value: largest.sqrt(), standard_error: None, projections }))
}

fn check_projections(projections: usize) -> Result<()> {
    if projections <= MOST_PROJECTIONS {
        return Ok(());
    }
    Err(DiagnosticsError::Setting {
        name: "projections",
        value: projections.to_string(),
        requirement: "must be at most 10000000 to fit into memory",
    })
}

/// Directions uniform on the unit sphere of R^d, as columns (d, projections): normalised Gaussian vectors.
pub fn random_directions(dim: usize, projections: usize, key: StreamKey) -> Array2<f64> {
    let key = key.child(Purpose::Projection);
    let mut directions = Array2::zeros((dim, projections));
    for (index, mut column) in directions.columns_mut().into_iter().enumerate() {
        let mut rng = key.rng(index as u64);
        let mut norm = 0.0;
        // A Gaussian vector of length 0 has probability 0 but would divide by it.
        while norm == 0.0 {
            column.iter_mut().for_each(|value| *value = StandardNormal.sample(&mut rng));
            norm = column.iter().map(|value: &f64| value * value).sum::<f64>().sqrt();
        }
        column /= norm;
    }
    directions
}

fn squared_distances(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    directions: ArrayView2<'_, f64>,
    monitor: &dyn Monitor,
) -> Result<Vec<f64>> {
    check::two_samples(x, y, 2)?;
    if directions.nrows() != x.ncols() {
        return Err(DiagnosticsError::Rows {
            what: "directions",
            found: directions.nrows(),
            expected: x.ncols(),
            like: "the columns of the reference",
        });
    }
    if directions.ncols() == 0 {
        return Err(DiagnosticsError::Setting {
            name: "projections",
            value: "0".into(),
            requirement: "must be at least 1",
        });
    }
    // Column-major copies: projecting is then a few long, vectorised additions of columns.
    let (x, y) = (columns(x), columns(y));
    let mut squared = vec![0.0; directions.ncols()];
    let stage = monitor.stage("sliced Wasserstein", "directions", directions.ncols() as u64);
    squared.par_chunks_mut(CHUNK).enumerate().try_for_each(|(chunk, out)| {
        stage.check()?;
        let (mut u, mut v) = (Vec::new(), Vec::new());
        for (offset, value) in out.iter_mut().enumerate() {
            let direction = directions.column(chunk * CHUNK + offset);
            project_sorted(&x, direction, &mut u);
            project_sorted(&y, direction, &mut v);
            *value = squared_wasserstein_sorted(&u, &v);
        }
        stage.advance(out.len() as u64);
        Ok::<_, DiagnosticsError>(())
    })?;
    Ok(squared)
}

fn columns(matrix: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    matrix.columns().into_iter().map(|column| column.to_vec()).collect()
}

/// The projections of all rows on one direction, in ascending order, as order-preserving integers.
fn project_sorted(columns: &[Vec<f64>], direction: ndarray::ArrayView1<'_, f64>, out: &mut Vec<i64>) {
    let mut values = vec![0.0; columns[0].len()];
    for (column, &weight) in columns.iter().zip(direction) {
        for (value, &entry) in values.iter_mut().zip(column) {
            *value += weight * entry;
        }
    }
    out.clear();
    out.extend(values.iter().map(|value| ordered(value.to_bits() as i64)));
    // Integers sort about twice as fast as floats, whose order needs a comparison function.
    out.sort_unstable();
}

/// Maps the bits of a float to an integer with the same order, and back: it is its own inverse.
#[inline(always)]
fn ordered(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[inline(always)]
fn value(key: i64) -> f64 {
    f64::from_bits(ordered(key) as u64)
}

/// ∫₀¹ (F_u⁻¹ - F_v⁻¹)² for sorted samples. With different sizes the quantile functions are step functions on the grids
/// i/N and j/M, walked together in units of 1/(NM) so that no rounding decides which step comes first.
fn squared_wasserstein_sorted(u: &[i64], v: &[i64]) -> f64 {
    let difference = |i: usize, j: usize| {
        let d = value(u[i]) - value(v[j]);
        d * d
    };
    let (n, m) = (u.len() as u64, v.len() as u64);
    if n == m {
        return (0..u.len()).map(|i| difference(i, i)).sum::<f64>() / n as f64;
    }
    let (mut i, mut j, mut at) = (0, 0, 0);
    let mut total = 0.0;
    while i < u.len() && j < v.len() {
        let (end_u, end_v) = ((i as u64 + 1) * m, (j as u64 + 1) * n);
        let end = end_u.min(end_v);
        total += (end - at) as f64 * difference(i, j);
        at = end;
        i += usize::from(end == end_u);
        j += usize::from(end == end_v);
    }
    total / (n as f64 * m as f64)
}
