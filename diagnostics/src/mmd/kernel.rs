//! Squared distances and Gaussian kernel values of many pairs of points at once.
//!
//! Written as plain loops over small arrays that the compiler vectorises; `pulp` compiles them once for each instruction
//! set and picks one at run time. Multiply-adds are fused on every machine (in software where the processor has none, which is slow),
//! so that all return the same bytes.

use crate::Result;
use ndarray::{Array1, ArrayView2, Axis};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::Stage;

/// Points handled at once: two AVX-512 or four AVX2 registers of f64.
pub(super) const LANES: usize = 16;

/// Rows one parallel task pairs with all others. The partial sums of tasks are added in order: the result does not depend
/// on the number of threads.
pub(super) const TILE: usize = 64;

/// Numbers in the blocks a tile is paired with before it goes on to the next ones: 24 KiB, which stay in the first cache.
const SPAN: usize = 3 << 10;

/// A sample in blocks of [`LANES`] rows, each block (d, LANES): the layout the distance loop reads front to back. Rows past
/// the last are infinitely far from everything.
pub(super) struct Blocks {
    data: Vec<f64>,
    dim: usize,
    rows: usize,
}

impl Blocks {
    pub fn new(matrix: ArrayView2<'_, f64>) -> Self {
        Self::map(matrix, |_, value| value)
    }

    fn map(matrix: ArrayView2<'_, f64>, coordinate: impl Fn(usize, f64) -> f64) -> Self {
        let (rows, dim) = matrix.dim();
        let mut data = vec![f64::INFINITY; rows.div_ceil(LANES) * LANES * dim];
        for (row, values) in matrix.outer_iter().enumerate() {
            let (block, lane) = (row / LANES, row % LANES);
            for (k, &value) in values.iter().enumerate() {
                data[(block * dim + k) * LANES + lane] = coordinate(k, value);
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

    /// Rows of tile `tile`.
    pub fn tile(&self, tile: usize) -> Range<usize> {
        tile * TILE..((tile + 1) * TILE).min(self.rows)
    }

    pub fn block_count(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// All blocks from `first` on, in runs that stay in the first cache.
    #[inline(always)]
    pub fn spans(&self, first: usize) -> impl Iterator<Item = Range<usize>> {
        let (length, end) = ((SPAN / (self.dim * LANES)).max(1), self.block_count());
        (first..end).step_by(length).map(move |start| start..(start + length).min(end))
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

    /// Squared distances between `point` and the rows of block `block`; infinite in lanes past the last row.
    #[inline(always)]
    pub fn squared_distances(&self, point: &[f64], block: usize) -> [f64; LANES] {
        let width = self.dim * LANES;
        let columns = &self.data[block * width..(block + 1) * width];
        let mut total = [0.0; LANES];
        for (column, &coordinate) in columns.chunks_exact(LANES).zip(point) {
            for (sum, &value) in total.iter_mut().zip(column) {
                let difference = value - coordinate;
                *sum = difference.mul_add(difference, *sum);
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

/// The Gaussian kernel k(a,b) = exp(-‖a-b‖²/(2σ²)), as 2 to the power -‖a'-b'‖² of scaled points.
pub(super) struct GaussianKernel {
    /// Subtracted before scaling, so that what the scaling rounds is of the size of the sample's spread.
    centre: Array1<f64>,
    /// √(log₂ e / 2) / σ.
    factor: f64,
}

/// Points scaled by a [`GaussianKernel`].
pub(super) struct Scaled(Blocks);

impl GaussianKernel {
    /// Bandwidth `sigma`, for a sample about where `sample` lies.
    pub fn new(sigma: f64, sample: ArrayView2<'_, f64>) -> Self {
        let centre = sample.mean_axis(Axis(0)).expect("samples were checked to have rows");
        Self { centre, factor: (0.5 * std::f64::consts::LOG2_E).sqrt() / sigma }
    }

    pub fn scale(&self, sample: ArrayView2<'_, f64>) -> Scaled {
        Scaled(Blocks::map(sample, |k, value| (value - self.centre[k]) * self.factor))
    }
}

impl Scaled {
    pub fn blocks(&self) -> &Blocks {
        &self.0
    }

    /// Kernel values of one scaled point with one block; about 10⁻³⁰⁸ in lanes past the last row.
    #[inline(always)]
    pub fn kernel(&self, point: &[f64], block: usize) -> [f64; LANES] {
        let mut values = self.0.squared_distances(point, block);
        for value in &mut values {
            *value = exp2_nonpositive(-*value);
        }
        values
    }

    /// Adds the kernel values of `point` with `blocks`, lane by lane.
    #[inline(always)]
    fn add(&self, point: &[f64], blocks: Range<usize>, total: &mut [f64; LANES]) {
        for block in blocks {
            for (sum, value) in total.iter_mut().zip(self.kernel(point, block)) {
                *sum += value;
            }
        }
    }
}

/// 2ˣ for x ≤ 0 to 2 units in the last place; about 10⁻³⁰⁸ where x < -1022.
///
/// x = k + f with |f| ≤ ½, 2^f = exp(f ln 2) by its Taylor polynomial of degree 13 (remainder below 2⁻⁵⁶), and 2^k by adding
/// k to the exponent bits.
#[inline(always)]
pub(super) fn exp2_nonpositive(x: f64) -> f64 {
    /// 1.5·2⁵²: adding it rounds to an integer that then sits in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// (ln 2)ⁱ / i!.
    const TAYLOR: [f64; 14] = {
        let mut coefficients = [1.0; 14];
        let mut i = 1;
        while i < coefficients.len() {
            coefficients[i] = coefficients[i - 1] * std::f64::consts::LN_2 / i as f64;
            i += 1;
        }
        coefficients
    };
    let x = if x > -1022.0 { x } else { -1022.0 };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let mut sum = TAYLOR[13];
    for &coefficient in TAYLOR[..13].iter().rev() {
        sum = sum.mul_add(f, coefficient);
    }
    f64::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 52))
}

/// Σ_{i<j} k(x_i, x_j).
pub(super) fn sum_pairs(x: &Scaled, stage: &Stage<'_>) -> Result<f64> {
    sum_tiles(x.blocks(), stage, |rows| Arch::new().dispatch(PairSum { x, rows }))
}

/// Σ_{i,j} k(x_i, y_j).
pub(super) fn sum_between(x: &Scaled, y: &Scaled, stage: &Stage<'_>) -> Result<f64> {
    sum_tiles(x.blocks(), stage, |rows| Arch::new().dispatch(BetweenSum { x, y, rows }))
}

// Types rather than closures: `pulp` compiles the whole of `with_simd` for the instruction set, where a closure's body may be left
// as a call to generic code.

struct PairSum<'a> {
    x: &'a Scaled,
    rows: Range<usize>,
}

impl WithSimd for PairSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self { x, rows } = self;
        let mut point = vec![0.0; x.0.dim()];
        // Apart from the lanes' sums: a loop over some of the lanes would keep those out of the registers.
        let mut same_block = 0.0;
        for row in rows.clone() {
            x.0.point(row, &mut point);
            let values = x.kernel(&point, row / LANES);
            same_block += values[row % LANES + 1..].iter().sum::<f64>();
        }
        let mut total = [0.0; LANES];
        for span in x.0.spans(rows.start / LANES + 1) {
            for row in rows.clone() {
                x.0.point(row, &mut point);
                x.add(&point, span.start.max(row / LANES + 1)..span.end, &mut total);
            }
        }
        same_block + total.iter().sum::<f64>()
    }
}

struct BetweenSum<'a> {
    x: &'a Scaled,
    y: &'a Scaled,
    rows: Range<usize>,
}

impl WithSimd for BetweenSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self { x, y, rows } = self;
        let mut point = vec![0.0; x.0.dim()];
        let mut total = [0.0; LANES];
        for span in y.0.spans(0) {
            for row in rows.clone() {
                x.0.point(row, &mut point);
                y.add(&point, span.clone(), &mut total);
            }
        }
        total.iter().sum()
    }
}

fn sum_tiles(x: &Blocks, stage: &Stage<'_>, sum: impl Fn(Range<usize>) -> f64 + Sync) -> Result<f64> {
    let partial = (0..x.tile_count())
        .into_par_iter()
        .map(|tile| {
            stage.check()?;
            let value = sum(x.tile(tile));
            stage.advance(1);
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
            let x = -1020.0 * (f64::from(i) / 200_000.0).powi(3);
            let (ours, std) = (exp2_nonpositive(x), x.exp2());
            assert!((ours - std).abs() <= 4.0 * f64::EPSILON * std, "2^{x}: {ours} against {std}");
        }
        assert_eq!(exp2_nonpositive(0.0), 1.0);
        assert!(exp2_nonpositive(-1e300) < 1e-300);
        assert!(exp2_nonpositive(f64::NEG_INFINITY) < 1e-300);
    }
}
