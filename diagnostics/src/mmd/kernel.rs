//! Squared distances and Gaussian kernel values of many pairs of points at once.
//!
//! Written as plain loops over small arrays that the compiler vectorises; `pulp` compiles them once for each instruction
//! set and picks one at run time. No fused multiply-add is used, so that every machine returns the same bytes.

use crate::Result;
use crate::monitor::Stage;
use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Points handled at once: two AVX-512 or four AVX2 registers of f64.
pub(super) const LANES: usize = 16;

/// Rows one parallel task pairs with all others. The partial sums of tasks are added in order: the result does not depend
/// on the number of threads.
pub(super) const TILE: usize = 64;

/// A sample in blocks of [`LANES`] rows, each block (d, LANES): the layout the distance loop reads front to back.
pub(super) struct Blocks {
    data: Vec<f64>,
    dim: usize,
    rows: usize,
}

impl Blocks {
    pub fn new(matrix: ArrayView2<'_, f64>) -> Self {
        let (rows, dim) = matrix.dim();
        let mut data = vec![0.0; rows.div_ceil(LANES) * LANES * dim];
        for (row, values) in matrix.outer_iter().enumerate() {
            let (block, lane) = (row / LANES, row % LANES);
            for (k, &value) in values.iter().enumerate() {
                data[(block * dim + k) * LANES + lane] = value;
            }
        }
        Self { data, dim, rows }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn tile_count(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub fn block_count(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Writes the coordinates of `row` into `point`.
    #[inline(always)]
    pub fn point(&self, row: usize, point: &mut [f64]) {
        for (k, value) in point.iter_mut().enumerate() {
            *value = self.data[((row / LANES) * self.dim + k) * LANES + row % LANES];
        }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Squared distances between `point` and the rows of block `block`; lanes past the last row hold rubbish.
    #[inline(always)]
    pub fn squared_distances(&self, point: &[f64], block: usize) -> [f64; LANES] {
        let width = self.dim * LANES;
        let columns = &self.data[block * width..(block + 1) * width];
        let mut total = [0.0; LANES];
        for (column, &coordinate) in columns.chunks_exact(LANES).zip(point) {
            for (sum, &value) in total.iter_mut().zip(column) {
                let difference = value - coordinate;
                *sum += difference * difference;
            }
        }
        total
    }

    /// Rows in block `block`.
    #[inline(always)]
    pub fn lanes(&self, block: usize) -> usize {
        (self.rows - block * LANES).min(LANES)
    }
}

/// exp(x) for x ≤ 0 to 2 units in the last place; about 1e-308 where x < -708.
///
/// x = k ln 2 + r with |r| ≤ ln 2 / 2, exp(r) by its Taylor polynomial of degree 13 (remainder below 2⁻⁵⁶), and 2^k by adding
/// k to the exponent bits.
#[inline(always)]
pub(super) fn exp_nonpositive(x: f64) -> f64 {
    /// 1.5·2⁵²: adding it rounds to an integer that then sits in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts, the first with enough trailing zeros for k times it to be exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// 1/13!, 1/12!, .., 1/2!, 1, 1.
    const TAYLOR: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x > -708.0 { x } else { -708.0 };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut sum = TAYLOR[0];
    for &coefficient in &TAYLOR[1..] {
        sum = sum * r + coefficient;
    }
    f64::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 52))
}

/// Gaussian kernel values exp(-γ‖a-b‖²) of one point with one block.
#[inline(always)]
pub(super) fn kernel_block(blocks: &Blocks, point: &[f64], block: usize, gamma: f64) -> [f64; LANES] {
    let mut values = blocks.squared_distances(point, block);
    for value in &mut values {
        *value = exp_nonpositive(-gamma * *value);
    }
    values
}

/// Σ_{i<j} k(x_i, x_j).
pub(super) fn sum_pairs(x: &Blocks, gamma: f64, stage: &Stage<'_>) -> Result<f64> {
    sum_tiles(x, stage, |rows| Arch::new().dispatch(PairSum { x, rows, gamma }))
}

/// Σ_{i,j} k(x_i, y_j).
pub(super) fn sum_between(x: &Blocks, y: &Blocks, gamma: f64, stage: &Stage<'_>) -> Result<f64> {
    sum_tiles(x, stage, |rows| Arch::new().dispatch(BetweenSum { x, y, rows, gamma }))
}

// Types rather than closures: `pulp` compiles the whole of `with_simd` for the instruction set, where a closure's body may be left
// as a call to generic code.

struct PairSum<'a> {
    x: &'a Blocks,
    rows: Range<usize>,
    gamma: f64,
}

impl WithSimd for PairSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self { x, rows, gamma } = self;
        let mut point = vec![0.0; x.dim()];
        let mut total = [0.0; LANES];
        for row in rows {
            x.point(row, &mut point);
            let first = row / LANES;
            let values = kernel_block(x, &point, first, gamma);
            for lane in row % LANES + 1..x.lanes(first) {
                total[lane] += values[lane];
            }
            add_blocks(x, &point, first + 1, gamma, &mut total);
        }
        total.iter().sum()
    }
}

struct BetweenSum<'a> {
    x: &'a Blocks,
    y: &'a Blocks,
    rows: Range<usize>,
    gamma: f64,
}

impl WithSimd for BetweenSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self { x, y, rows, gamma } = self;
        let mut point = vec![0.0; x.dim()];
        let mut total = [0.0; LANES];
        for row in rows {
            x.point(row, &mut point);
            add_blocks(y, &point, 0, gamma, &mut total);
        }
        total.iter().sum()
    }
}

/// Adds the kernel values of `point` with all blocks from `first` on, lane by lane.
#[inline(always)]
fn add_blocks(blocks: &Blocks, point: &[f64], first: usize, gamma: f64, total: &mut [f64; LANES]) {
    let whole = blocks.rows() / LANES;
    for block in first..whole {
        let values = kernel_block(blocks, point, block, gamma);
        for (sum, value) in total.iter_mut().zip(values) {
            *sum += value;
        }
    }
    if whole < blocks.block_count() && first <= whole {
        let values = kernel_block(blocks, point, whole, gamma);
        for lane in 0..blocks.lanes(whole) {
            total[lane] += values[lane];
        }
    }
}

fn sum_tiles(x: &Blocks, stage: &Stage<'_>, sum: impl Fn(Range<usize>) -> f64 + Sync) -> Result<f64> {
    let partial = (0..x.tile_count())
        .into_par_iter()
        .map(|tile| {
            stage.monitor.check()?;
            let value = sum(tile * TILE..((tile + 1) * TILE).min(x.rows()));
            stage.finish_one();
            Ok(value)
        })
        .collect::<Result<Vec<f64>>>()?;
    Ok(partial.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_agrees_with_the_standard_library() {
        for i in 0..=200_000 {
            let x = -700.0 * (f64::from(i) / 200_000.0).powi(3);
            let (ours, std) = (exp_nonpositive(x), x.exp());
            assert!((ours - std).abs() <= 4.0 * f64::EPSILON * std, "exp({x}): {ours} against {std}");
        }
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert!(exp_nonpositive(-1e300) < 1e-300);
        assert!(exp_nonpositive(f64::NEG_INFINITY) < 1e-300);
    }
}
