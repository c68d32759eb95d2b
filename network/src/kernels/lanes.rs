//! Products for networks of tens of units: the rows of a batch lie in the vector lanes.
//!
//! With a unit's values for all rows next to each other, weights enter one number at a time, as they are: nothing is packed, no
//! register holds the padding of a narrow layer, and activations are passes over contiguous memory. What a batch costs beyond
//! arithmetic, which is most of it for such networks in the row-major layout of [`super::gemm`], is gone.
//!
//! Matrices here are (units x stride), stride a multiple of [`LANES`]; lanes past the batch's last row are finite numbers that the
//! caller keeps out of its sums by zero gradients.

use super::level::dispatch;
use pulp::{Simd, WithSimd};

/// Strides are multiples of this: the widest register's lanes.
pub(crate) const LANES: usize = 16;

/// Sizes of the register tile: rows of the left factor x registers of lanes (or of columns) that fit beside their operands.
const fn tile_size(registers: usize) -> (usize, usize) {
    if registers >= 32 { (6, 4) } else { (4, 2) }
}

/// The parts of `0..total`, as equal as can be, none longer than `most`: (start, length).
fn parts(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = total.div_ceil(most);
    (0..count).map(move |index| {
        let start = index * total / count;
        (start, (index + 1) * total / count - start)
    })
}

/// Calls `$tile` with the two lengths as constants.
macro_rules! with_lengths {
    ($rows:expr, $columns:expr, $tile:ident::<$S:ty>($($argument:expr),*)) => {
        match ($rows, $columns) {
            (1, 1) => $tile::<$S, 1, 1>($($argument),*),
            (1, 2) => $tile::<$S, 1, 2>($($argument),*),
            (1, 3) => $tile::<$S, 1, 3>($($argument),*),
            (1, _) => $tile::<$S, 1, 4>($($argument),*),
            (2, 1) => $tile::<$S, 2, 1>($($argument),*),
            (2, 2) => $tile::<$S, 2, 2>($($argument),*),
            (2, 3) => $tile::<$S, 2, 3>($($argument),*),
            (2, _) => $tile::<$S, 2, 4>($($argument),*),
            (3, 1) => $tile::<$S, 3, 1>($($argument),*),
            (3, 2) => $tile::<$S, 3, 2>($($argument),*),
            (3, 3) => $tile::<$S, 3, 3>($($argument),*),
            (3, _) => $tile::<$S, 3, 4>($($argument),*),
            (4, 1) => $tile::<$S, 4, 1>($($argument),*),
            (4, 2) => $tile::<$S, 4, 2>($($argument),*),
            (4, 3) => $tile::<$S, 4, 3>($($argument),*),
            (4, _) => $tile::<$S, 4, 4>($($argument),*),
            (5, 1) => $tile::<$S, 5, 1>($($argument),*),
            (5, 2) => $tile::<$S, 5, 2>($($argument),*),
            (5, 3) => $tile::<$S, 5, 3>($($argument),*),
            (5, _) => $tile::<$S, 5, 4>($($argument),*),
            (_, 1) => $tile::<$S, 6, 1>($($argument),*),
            (_, 2) => $tile::<$S, 6, 2>($($argument),*),
            (_, 3) => $tile::<$S, 6, 3>($($argument),*),
            (_, _) => $tile::<$S, 6, 4>($($argument),*),
        }
    };
}

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    /// Nothing.
    Leave,
    /// max(0, ·).
    Relu,
    /// 0 where the mask is not positive.
    Mask(&'a [f32]),
}

/// C = finish(start 1ᵀ + A B): A (rows x depth) of any strides, B (depth x stride), C (rows x stride).
pub(crate) struct Product<'a> {
    pub a: &'a [f32],
    pub row_stride: usize,
    pub depth_stride: usize,
    pub rows: usize,
    pub depth: usize,
    pub b: &'a [f32],
    pub stride: usize,
    /// One number a row of C; `None`: zero.
    pub start: Option<&'a [f32]>,
    pub finish: Finish<'a>,
    pub c: &'a mut [f32],
}

impl Product<'_> {
    pub fn run(self) {
        assert!(self.rows > 0 && self.depth > 0 && self.stride > 0 && self.stride.is_multiple_of(LANES));
        assert!((self.rows - 1) * self.row_stride + (self.depth - 1) * self.depth_stride < self.a.len());
        assert_eq!(self.b.len(), self.depth * self.stride);
        assert_eq!(self.c.len(), self.rows * self.stride);
        assert!(self.start.is_none_or(|start| start.len() == self.rows));
        dispatch(self);
    }
}

impl WithSimd for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let (most_rows, most_registers) = tile_size(S::REGISTER_COUNT);
        for (register, registers) in parts(self.stride / lanes, most_registers) {
            for (row, rows) in parts(self.rows, most_rows) {
                let column = register * lanes;
                let place = Place {
                    a: &self.a[row * self.row_stride..],
                    row_stride: self.row_stride,
                    depth_stride: self.depth_stride,
                    depth: self.depth,
                    b: &self.b[column..],
                    stride: self.stride,
                    start: self.start.map(|start| &start[row..row + rows]),
                    c: &mut self.c[row * self.stride + column..],
                };
                with_lengths!(rows, registers, product_tile::<S>(simd, place));
            }
        }
        match self.finish {
            Finish::Leave => {}
            Finish::Relu => self.c.iter_mut().for_each(|value| *value = if *value > 0.0 { *value } else { 0.0 }),
            Finish::Mask(mask) => {
                assert_eq!(mask.len(), self.c.len());
                for (value, &mask) in self.c.iter_mut().zip(mask) {
                    *value = if mask > 0.0 { *value } else { 0.0 };
                }
            }
        }
    }
}

/// Operands of a register tile; slices start at its first element.
struct Place<'a> {
    a: &'a [f32],
    row_stride: usize,
    depth_stride: usize,
    depth: usize,
    b: &'a [f32],
    stride: usize,
    start: Option<&'a [f32]>,
    c: &'a mut [f32],
}

/// `ROWS` rows x `REGISTERS` registers of C, held in registers over the whole depth.
#[inline(always)]
fn product_tile<S: Simd, const ROWS: usize, const REGISTERS: usize>(simd: S, place: Place<'_>) {
    let Place { a, row_stride, depth_stride, depth, b, stride, start, c } = place;
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; ROWS];
    if let Some(start) = start {
        for (sums, &start) in sums.iter_mut().zip(start) {
            *sums = [simd.splat_f32s(start); REGISTERS];
        }
    }
    assert!((ROWS - 1) * row_stride + (depth - 1) * depth_stride < a.len());
    assert!((depth - 1) * stride + REGISTERS * lanes <= b.len());
    assert!((ROWS - 1) * stride + REGISTERS * lanes <= c.len());
    // SAFETY: the assertions above bound the largest index read of A and B and written of C; indices grow with row, depth and
    // register. Registers are read and written without alignment. Rows beyond `ROWS` are never read: pointers to them are formed
    // by wrapping arithmetic only.
    unsafe {
        // Two pointers for three rows each, which the compiler must not know to be related: see `super::gemm`.
        let mut groups: [*const f32; 2] = [a.as_ptr(), std::hint::black_box(a.as_ptr().wrapping_add(3 * row_stride))];
        let mut right = b.as_ptr();
        for _ in 0..depth {
            let mut factors = [simd.splat_f32s(0.0); REGISTERS];
            for (register, factor) in factors.iter_mut().enumerate() {
                *factor = right.add(register * lanes).cast::<S::f32s>().read_unaligned();
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = simd.splat_f32s(*groups[row / 3].add(row % 3 * row_stride));
                for (sum, &factor) in sums.iter_mut().zip(&factors) {
                    *sum = simd.mul_add_e_f32s(left, factor, *sum);
                }
            }
            for group in &mut groups {
                *group = group.wrapping_add(depth_stride);
            }
            right = right.wrapping_add(stride);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (register, &sum) in sums.iter().enumerate() {
                c.as_mut_ptr().add(row * stride + register * lanes).cast::<S::f32s>().write_unaligned(sum);
            }
        }
    }
}

/// G = D Xᵀ (rows x columns, contiguous) and the row sums of D: the gradients of a layer's weight and bias, from D (rows x stride)
/// and X (columns x stride).
pub(crate) struct WeightGradient<'a> {
    pub d: &'a [f32],
    pub x: &'a [f32],
    pub stride: usize,
    pub weight: &'a mut [f32],
    pub bias: &'a mut [f32],
}

impl WeightGradient<'_> {
    pub fn run(self) {
        let (rows, columns) = (self.d.len() / self.stride, self.x.len() / self.stride);
        assert!(rows > 0 && columns > 0 && self.stride.is_multiple_of(LANES));
        assert!(self.d.len() == rows * self.stride && self.x.len() == columns * self.stride);
        assert!(self.weight.len() == rows * columns && self.bias.len() == rows);
        dispatch(self);
    }
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { d, x, stride, weight, bias } = self;
        let (rows, columns) = (d.len() / stride, x.len() / stride);
        let (most_rows, most_columns) = tile_size(S::REGISTER_COUNT);
        for (row, row_count) in parts(rows, most_rows) {
            let d = &d[row * stride..(row + row_count) * stride];
            for (column, column_count) in parts(columns, most_columns) {
                let x = &x[column * stride..(column + column_count) * stride];
                let target = &mut weight[row * columns + column..];
                with_lengths!(row_count, column_count, gradient_tile::<S>(simd, d, x, stride, target, columns));
            }
        }
        for (sum, row) in bias.iter_mut().zip(d.chunks_exact(stride)) {
            let (body, _) = S::as_simd_f32s(row);
            let mut total = simd.splat_f32s(0.0);
            for &register in body {
                total = simd.add_f32s(total, register);
            }
            *sum = simd.reduce_sum_f32s(total);
        }
    }
}

/// Inner products of `ROWS` rows of D with `COLUMNS` rows of X.
#[inline(always)]
fn gradient_tile<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    simd: S,
    d: &[f32],
    x: &[f32],
    stride: usize,
    target: &mut [f32],
    target_stride: usize,
) {
    let lanes = S::F32_LANES;
    assert!(d.len() >= ROWS * stride && x.len() >= COLUMNS * stride && stride.is_multiple_of(lanes));
    let mut sums = [[simd.splat_f32s(0.0); COLUMNS]; ROWS];
    for first in (0..stride).step_by(lanes) {
        // SAFETY: `first + lanes` ≤ `stride`, and the assertion above bounds rows times stride; read without alignment.
        unsafe {
            let mut columns = [simd.splat_f32s(0.0); COLUMNS];
            for (column, value) in columns.iter_mut().enumerate() {
                *value = x.as_ptr().add(column * stride + first).cast::<S::f32s>().read_unaligned();
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = d.as_ptr().add(row * stride + first).cast::<S::f32s>().read_unaligned();
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = simd.mul_add_e_f32s(left, column, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (column, &sum) in sums.iter().enumerate() {
            target[row * target_stride + column] = simd.reduce_sum_f32s(sum);
        }
    }
}
