//! Matrix product C = A B (+ bias or + C) on row-major C, with B packed into column panels.
//!
//! The blocking is the classical one (Goto and van de Geijn 2008) reduced to what small networks need: B is a weight
//! matrix, packed once and used for many tiles; the depth is at most a few hundred, so a panel of two vectors' width
//! stays in the first-level cache while the rows of A stream past it. C is held in registers, `ROWS` x two vectors, over
//! a whole depth block, and may start from the bias, which saves a pass.
//!
//! The order of additions for an element of C depends only on the depth, never on the number of rows, so splitting a
//! batch into tiles does not change results.

use pulp::{Simd, WithSimd};

use super::level::dispatch;
use super::packing::{Packed, Strided};
use super::vector::{load_pair, store_pair};
use crate::real::Real;

/// Depth over which C stays in registers: a panel of 256 x 2 AVX-512 vectors is 32 KiB, which the 48 KiB first-level
/// cache of current processors holds beside the rows of A.
const DEPTH_BLOCK: usize = 256;

/// What C holds before the product is added.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a, T> {
    /// Nothing: C = A B.
    Zero,
    /// The same row everywhere: C = 1 bᵀ + A B.
    Row(&'a [T]),
    /// Its own content: C += A B.
    Content,
}

/// C (a.rows x b.columns, row-major, rows `stride` apart) = start + A B.
pub(crate) fn multiply<T: Real>(a: Strided<'_, T>, b: &Packed<T>, start: Start<'_, T>, c: &mut [T], stride: usize) {
    a.assert_in_bounds();
    assert_eq!(a.columns, b.depth, "inner dimensions of a product differ");
    assert!(a.row_stride == 1 || a.column_stride == 1, "neither rows nor columns of the left factor are contiguous");
    assert!(stride >= b.columns, "rows of the result overlap");
    assert!(b.data.len() >= b.depth * b.columns.next_multiple_of(b.panel_width), "packed matrix is incomplete");
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    assert!(c.len() >= (a.rows - 1) * stride + b.columns, "result does not fit its slice");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), b.columns, "starting row has another width than the result");
    }
    if a.columns == 0 {
        for row in 0..a.rows {
            let target = &mut c[row * stride..row * stride + b.columns];
            match start {
                Start::Zero => target.fill(T::ZERO),
                Start::Row(source) => target.copy_from_slice(source),
                Start::Content => {}
            }
        }
        return;
    }
    dispatch(Multiply { a, b, start, c, stride });
}

struct Multiply<'a, T> {
    a: Strided<'a, T>,
    b: &'a Packed<T>,
    start: Start<'a, T>,
    c: &'a mut [T],
    stride: usize,
}

impl<T: Real> WithSimd for Multiply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, start, c, stride } = self;
        let width = 2 * T::lane_count::<S>();
        assert_eq!(width, b.panel_width, "matrix was packed for another instruction set");
        for (panel_index, panel) in
            b.data[..b.depth * b.columns.next_multiple_of(width)].chunks_exact(b.depth * width).enumerate()
        {
            let column = panel_index * width;
            let count = width.min(b.columns - column);
            for (block_index, block) in panel.chunks(DEPTH_BLOCK * width).enumerate() {
                let first_depth = block_index * DEPTH_BLOCK;
                let block_start = if block_index == 0 { start } else { Start::Content };
                let a = Strided { data: &a.data[first_depth * a.column_stride..], columns: block.len() / width, ..a };
                let place = Place { block, start: block_start, stride, column, count };
                match (a.column_stride == 1, count <= width / 2) {
                    (true, false) => all_rows::<T, S, true, false>(simd, a, place, c),
                    (true, true) => all_rows::<T, S, true, true>(simd, a, place, c),
                    (false, _) => all_rows::<T, S, false, false>(simd, a, place, c),
                }
            }
        }
    }
}

/// A depth block of one panel and where its product goes.
#[derive(Clone, Copy)]
struct Place<'a, T> {
    block: &'a [T],
    start: Start<'a, T>,
    stride: usize,
    column: usize,
    count: usize,
}

/// Every row of A times one panel's depth block. `BY_ROWS`: rows of A are contiguous, otherwise its columns. `NARROW`: the panel
/// uses no more than one register's columns, as the last layer of most networks does; the other is left out.
#[inline(always)]
fn all_rows<T: Real, S: Simd, const BY_ROWS: bool, const NARROW: bool>(
    simd: S,
    a: Strided<'_, T>,
    place: Place<'_, T>,
    c: &mut [T],
) {
    let mut row = 0;
    // 24 accumulators of the 32 registers of AVX-512, 12 of the 16 of AVX2.
    if S::REGISTER_COUNT >= 32 {
        while row + 12 <= a.rows {
            tile::<T, S, 12, BY_ROWS, NARROW>(simd, a, row, place, c);
            row += 12;
        }
        if row + 8 <= a.rows {
            tile::<T, S, 8, BY_ROWS, NARROW>(simd, a, row, place, c);
            row += 8;
        }
    } else {
        while row + 6 <= a.rows {
            tile::<T, S, 6, BY_ROWS, NARROW>(simd, a, row, place, c);
            row += 6;
        }
    }
    if row + 4 <= a.rows {
        tile::<T, S, 4, BY_ROWS, NARROW>(simd, a, row, place, c);
        row += 4;
    }
    if row + 2 <= a.rows {
        tile::<T, S, 2, BY_ROWS, NARROW>(simd, a, row, place, c);
        row += 2;
    }
    if row < a.rows {
        tile::<T, S, 1, BY_ROWS, NARROW>(simd, a, row, place, c);
    }
}

/// `ROWS` rows of C in one panel's columns, from the depths of `block`.
#[inline(always)]
fn tile<T: Real, S: Simd, const ROWS: usize, const BY_ROWS: bool, const NARROW: bool>(
    simd: S,
    a: Strided<'_, T>,
    row: usize,
    place: Place<'_, T>,
    c: &mut [T],
) {
    let Place { block, start, stride, column, count } = place;
    let lanes = T::lane_count::<S>();
    let zero = T::splat(simd, T::ZERO);
    let mut sums = [[zero; 2]; ROWS];
    let c = &mut c[row * stride + column..];
    match start {
        Start::Zero => {}
        Start::Row(bias) => sums = [load_pair(simd, &bias[column..column + count]); ROWS],
        Start::Content => {
            for (index, sum) in sums.iter_mut().enumerate() {
                *sum = load_pair(simd, &c[index * stride..index * stride + count]);
            }
        }
    }
    assert!((row + ROWS - 1) * a.row_stride + (a.columns - 1) * a.column_stride < a.data.len());
    assert_eq!(block.len(), a.columns * 2 * lanes);
    assert_eq!(if BY_ROWS { a.column_stride } else { a.row_stride }, 1);
    let (row_stride, column_stride) = if BY_ROWS { (a.row_stride, 1) } else { (1, a.column_stride) };
    // SAFETY: the assertions above bound every read: rows `row..row + ROWS` and depths `0..a.columns` of A lie in its
    // slice (the index is largest at the last of both, and the stride not taken from A is 1), and
    // the block holds `a.columns` pairs of vectors, read without alignment. Rows beyond `ROWS` are never read: pointers
    // to them are formed by wrapping arithmetic only.
    unsafe {
        let left = a.data.as_ptr().add(row * a.row_stride);
        // One pointer for three rows: the two others are one and two strides away, which an address can express. The
        // compiler must not know how the pointers are related, or it forms each row's address from the one before: a
        // chain of additions in every step that takes as long as the arithmetic.
        let mut groups: [*const T; 4] =
            std::array::from_fn(|group| std::hint::black_box(left.wrapping_add(3 * group * row_stride)));
        let mut right = block.as_ptr();
        for _ in 0..a.columns {
            let first = right.cast::<T::Lanes<S>>().read_unaligned();
            let second = right.add(lanes).cast::<T::Lanes<S>>().read_unaligned();
            for (index, sum) in sums.iter_mut().enumerate() {
                let factor = T::splat(simd, *groups[index / 3].add(index % 3 * row_stride));
                sum[0] = T::multiply_add(simd, factor, first, sum[0]);
                if !NARROW {
                    sum[1] = T::multiply_add(simd, factor, second, sum[1]);
                }
            }
            for group in &mut groups {
                *group = group.wrapping_add(column_stride);
            }
            right = right.add(2 * lanes);
        }
    }
    for (index, &sum) in sums.iter().enumerate() {
        store_pair(simd, &mut c[index * stride..index * stride + count], sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::packing::PackPanel;
    use crate::kernels::vector::VectorReal;

    fn number(index: usize) -> f64 {
        ((index * 7919) % 1000) as f64 / 500.0 - 1.0
    }

    fn numbers<T: Real>(count: usize) -> Vec<T> {
        (0..count).map(|index| T::from_f64(number(index))).collect()
    }

    fn check<T: Real>(rows: usize, depth: usize, columns: usize, tolerance: f64) {
        let (a, b): (Vec<T>, Vec<T>) = (numbers(rows * depth), numbers(depth * columns + 3));
        let b = &b[3..];
        let bias: Vec<T> = numbers(columns);
        let stride = columns + 2;
        let expected = |i: usize, j: usize| -> f64 {
            (0..depth).map(|k| a[i * depth + k].to_f64() * b[k * columns + j].to_f64()).sum()
        };
        let transposed = |data: &[T], rows: usize, columns: usize| -> Vec<T> {
            (0..rows * columns).map(|index| data[(index % rows) * columns + index / rows]).collect()
        };
        let (a_columns, b_columns) = (transposed(&a, rows, depth), transposed(b, depth, columns));
        let left = [Strided::row_major(&a, rows, depth), Strided::row_major(&a_columns, depth, rows).transposed()];
        let right =
            [Strided::row_major(b, depth, columns), Strided::row_major(&b_columns, columns, depth).transposed()];
        for (left, right) in left.into_iter().zip(right) {
            let mut packed = Packed::with_capacity(1, 1);
            packed.pack_in_parallel(right);
            for (start, offset) in [(Start::Zero, 0.0), (Start::Row(&bias[..]), 1.0), (Start::Content, 2.0)] {
                let mut c = vec![T::from_f64(0.25); rows * stride];
                multiply(left, &packed, start, &mut c, stride);
                for i in 0..rows {
                    for j in 0..columns {
                        let initial = [0.0, bias[j].to_f64(), 0.25][offset as usize];
                        let error = (c[i * stride + j].to_f64() - initial - expected(i, j)).abs();
                        assert!(error <= tolerance * (1.0 + depth as f64), "{rows}x{depth}x{columns}: {error:e}");
                    }
                    assert!(c[i * stride + columns..(i + 1) * stride].iter().all(|&gap| gap == T::from_f64(0.25)));
                }
            }
        }
    }

    /// Against the plain triple loop: every remainder of the row blocking, panels full and partial, several depth blocks.
    #[test]
    fn product_equals_plain_loops() {
        for rows in 1..=25 {
            for columns in [1, 5, 16, 31, 32, 33, 70] {
                check::<f32>(rows, 19, columns, 1e-7);
                check::<f64>(rows, 19, columns, 1e-16);
            }
        }
        check::<f32>(13, 2 * DEPTH_BLOCK + 7, 40, 1e-7);
        check::<f64>(13, 2 * DEPTH_BLOCK + 7, 40, 1e-16);
        check::<f64>(3, 300, 300, 1e-16);
        check::<f64>(3, 1, 4, 1e-16);
    }

    /// The portable instructions give the same numbers as the best ones (fused in both).
    #[test]
    fn scalar_and_vector_products_agree() {
        let (a, b): (Vec<f64>, Vec<f64>) = (numbers(7 * 40), numbers(40 * 9));
        let source = Strided::row_major(&b, 40, 9);
        let mut best = vec![0.0; 63];
        multiply(Strided::row_major(&a, 7, 40), &Packed::new(source), Start::Zero, &mut best, 9);
        let width = 2 * <f64 as VectorReal>::lane_count::<pulp::Scalar>();
        let mut data = vec![0.0; 40 * 9_usize.next_multiple_of(width)];
        for (panel, target) in data.chunks_exact_mut(40 * width).enumerate() {
            PackPanel { source, panel, target }.with_simd(pulp::Scalar::new());
        }
        let packed = Packed { depth: 40, columns: 9, panel_width: width, data };
        let mut plain = vec![0.0; 63];
        let (a, c) = (Strided::row_major(&a, 7, 40), &mut plain[..]);
        Multiply { a, b: &packed, start: Start::Zero, c, stride: 9 }.with_simd(pulp::Scalar::new());
        for (best, plain) in best.iter().zip(&plain) {
            assert!((best - plain).abs() < 1e-14);
        }
    }
}
