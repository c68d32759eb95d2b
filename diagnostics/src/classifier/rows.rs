//! Training rows that are put together where they are used, so that no copy of a large matrix is made for each classifier.

use ndarray::{Array2, ArrayView2};

/// Rows a classifier can read by index, as `f32`.
pub(crate) trait Rows: Sync {
    /// Number of columns.
    fn width(&self) -> usize;
    /// Writes row `index` (`width` values).
    fn write(&self, index: usize, out: &mut [f32]);

    /// The chosen rows as a matrix, for classifiers that want one.
    fn matrix(&self, indices: &[usize]) -> Array2<f64> {
        let mut row = vec![0.0; self.width()];
        let mut matrix = Array2::zeros((indices.len(), self.width()));
        for (mut target, &index) in matrix.outer_iter_mut().zip(indices) {
            self.write(index, &mut row);
            target.iter_mut().zip(&row).for_each(|(target, &value)| *target = f64::from(value));
        }
        matrix
    }
}

/// The rows of one or several matrices below each other.
pub(crate) struct MatrixRows {
    data: Vec<f32>,
    width: usize,
}

impl MatrixRows {
    pub fn new(matrices: &[ArrayView2<'_, f64>]) -> Self {
        let data = matrices.iter().flat_map(|matrix| matrix.iter().map(|&value| value as f32)).collect();
        Self { data, width: matrices[0].ncols() }
    }

    /// Rows of one or several matrices after (value - mean) / sd of each column.
    pub fn standardized(matrices: &[ArrayView2<'_, f64>], mean: &[f64], sd: &[f64]) -> Self {
        let width = mean.len();
        let data = matrices
            .iter()
            .flat_map(|matrix| {
                matrix
                    .outer_iter()
                    .flat_map(|row| (0..width).map(|i| ((row[i] - mean[i]) / sd[i]) as f32).collect::<Vec<_>>())
            })
            .collect();
        Self { data, width }
    }
}

impl Rows for MatrixRows {
    fn width(&self) -> usize {
        self.width
    }

    fn write(&self, index: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.data[index * self.width..(index + 1) * self.width]);
    }
}
