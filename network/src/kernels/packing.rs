//! Matrices packed into column panels, the layout the product reads its right factor in.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::level::dispatch;
use super::vector::{load_pair, store_pair};
use crate::real::Real;

/// A matrix seen through strides: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> Strided<'a, T> {
    /// Contiguous rows.
    pub fn row_major(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed matrix.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// The matrix of `count` columns from `first` on.
    pub fn column_block(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns, "column block outside the matrix");
        let data = if count == 0 { &self.data[..0] } else { &self.data[first * self.column_stride..] };
        Self { data, columns: count, ..self }
    }

    pub fn assert_in_bounds(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "matrix of {} x {} does not fit its slice", self.rows, self.columns);
        }
    }
}

/// B packed for the product: column panels of two vectors, each depth-major, the last padded with zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed<T> {
    pub depth: usize,
    pub columns: usize,
    pub panel_width: usize,
    pub data: Vec<T>,
}

impl<T: Real> Packed<T> {
    /// Room for matrices of up to `depth` x `columns`.
    pub fn with_capacity(depth: usize, columns: usize) -> Self {
        let panel_width = panel_width::<T>();
        let data = vec![T::ZERO; depth * columns.next_multiple_of(panel_width)];
        Self { depth: 0, columns: 0, panel_width, data }
    }

    /// A packed copy of `source` (depth x columns).
    pub fn new(source: Strided<'_, T>) -> Self {
        let mut packed = Self::with_capacity(source.rows, source.columns);
        packed.pack(source);
        packed
    }

    /// Replaces the content; allocates only when `source` is larger than anything before.
    pub fn pack(&mut self, source: Strided<'_, T>) {
        let (used, length) = self.prepare(source);
        for (panel, target) in self.data[..used].chunks_exact_mut(length).enumerate() {
            dispatch(PackPanel { source, panel, target });
        }
    }

    /// As [`Packed::pack`], the panels of a large matrix spread over the current thread pool.
    pub fn pack_in_parallel(&mut self, source: Strided<'_, T>) {
        if source.rows * source.columns <= SERIAL_PACKING {
            return self.pack(source);
        }
        let (used, length) = self.prepare(source);
        self.data[..used]
            .par_chunks_exact_mut(length)
            .enumerate()
            .for_each(|(panel, target)| dispatch(PackPanel { source, panel, target }));
    }

    /// Takes the shape of `source`; returns the length in use and that of a panel (at least 1).
    fn prepare(&mut self, source: Strided<'_, T>) -> (usize, usize) {
        source.assert_in_bounds();
        (self.depth, self.columns) = (source.rows, source.columns);
        let used = self.depth * self.columns.next_multiple_of(self.panel_width);
        if self.data.len() < used {
            self.data.resize(used, T::ZERO);
        }
        (used, (self.depth * self.panel_width).max(1))
    }
}

/// Matrices of up to this many numbers are packed by one thread: handing out tasks costs as much as copying them.
const SERIAL_PACKING: usize = 16_384;

/// Copies the columns of one panel, depth-major, padded with zeros.
pub(crate) struct PackPanel<'a, T> {
    pub source: Strided<'a, T>,
    pub panel: usize,
    pub target: &'a mut [T],
}

impl<T: Real> WithSimd for PackPanel<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { source, panel, target } = self;
        let width = 2 * T::lane_count::<S>();
        let first = panel * width;
        let count = width.min(source.columns - first);
        if source.column_stride == 1 {
            for (depth, row) in target.chunks_exact_mut(width).enumerate() {
                let start = depth * source.row_stride + first;
                store_pair(simd, row, load_pair(simd, &source.data[start..start + count]));
            }
            return;
        }
        if count < width {
            target.fill(T::ZERO);
        }
        // Blocks of 16 depths keep both the lines read (one per column) and those written in the first-level cache.
        for (block, rows) in target.chunks_mut(16 * width).enumerate() {
            let depths = rows.len() / width;
            for column in 0..count {
                let start = (first + column) * source.column_stride + block * 16 * source.row_stride;
                for depth in 0..depths {
                    rows[depth * width + column] = source.data[start + depth * source.row_stride];
                }
            }
        }
    }
}

struct PanelWidth<T>(std::marker::PhantomData<T>);

impl<T: Real> WithSimd for PanelWidth<T> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        2 * T::lane_count::<S>()
    }
}

/// Columns of a panel: two vector registers.
fn panel_width<T: Real>() -> usize {
    dispatch(PanelWidth::<T>(std::marker::PhantomData))
}
