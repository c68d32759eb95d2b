//! Missing values of Gaussians, integrated out exactly and without retraining.
//!
//! With P = L Lᵀ and values M missing of y, r_M = -P_MM⁻¹ P_MO r_O is the most probable residual there, and
//!
//!   log N(y_O) = Σ log L_ii - ½|Lᵀ r|² - ½ log det P_MM.
//!
//! The first two terms are those of a complete observation, and so are their gradients, because r_M is at the maximum; of the last one
//! ∂(-½ log det P_MM)/∂L_ik = -(P_MM⁻¹ L_M)_ik in rows i of M, and 0 in others.

use super::density::MixtureLayout;
use crate::small_matrix::{cholesky, dot, lower_solve, lower_transpose_solve};
use std::ops::Range;

/// Which values of an observation are missing, and what a component's precision says of them.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    /// M, in order.
    columns: Vec<usize>,
    /// L_M, rows of the factor with all d columns, (M, d).
    rows: Vec<f64>,
    /// The Cholesky factor of P_MM.
    factor: Vec<f64>,
    right: Vec<f64>,
}

impl Hidden {
    /// Those of `columns`.
    pub fn new(columns: Vec<usize>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Takes down which of `y` are NaN.
    pub fn find(&mut self, y: &[f64]) {
        self.columns.clear();
        self.columns.extend(y.iter().enumerate().filter(|(_, y)| y.is_nan()).map(|(i, _)| i));
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// How many of a range of columns are not missing.
    pub fn seen(&self, columns: &Range<usize>) -> usize {
        columns.len() - self.columns.iter().filter(|i| columns.contains(i)).count()
    }

    /// M.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Takes the precision's factor L of a component, packed as in `layout`.
    pub fn condition(&mut self, layout: MixtureLayout, factor: &[f64]) {
        let (d, hidden) = (layout.dim, self.columns.len());
        self.rows.clear();
        self.rows.resize(hidden * d, 0.0);
        for (row, &i) in self.rows.chunks_exact_mut(d).zip(&self.columns) {
            let columns = layout.columns(i);
            let start = layout.row_offset(i);
            row[columns.clone()].copy_from_slice(&factor[start..start + columns.len()]);
        }
        self.factor.clear();
        self.factor.resize(hidden * hidden, 0.0);
        for (a, row) in self.rows.chunks_exact(d).enumerate() {
            for (b, other) in self.rows.chunks_exact(d).enumerate() {
                self.factor[a * hidden + b] = dot(row, other);
            }
        }
        if !cholesky(&mut self.factor, hidden) {
            // Of a factor whose diagonal spans all digits: no density, and no panic.
            self.factor.fill(f64::NAN);
        }
    }

    /// ½ log det P_MM.
    pub fn log_determinant(&self) -> f64 {
        let hidden = self.columns.len();
        (0..hidden).map(|a| self.factor[a * hidden + a].ln()).sum()
    }

    /// Puts -P_MM⁻¹ P_MO v_O in the places M of `v` (d).
    pub fn complete(&mut self, layout: MixtureLayout, factor: &[f64], v: &mut [f64]) {
        let d = layout.dim;
        self.columns.iter().for_each(|&i| v[i] = 0.0);
        // P_M v = L_M Lᵀ v, v being 0 in M.
        self.right.clear();
        self.right.resize(d, 0.0);
        layout.whiten(factor, v, &mut self.right);
        let mut right: Vec<f64> = self.rows.chunks_exact(d).map(|row| -dot(row, &self.right)).collect();
        self.solve(&mut right);
        self.columns.iter().zip(&right).for_each(|(&i, &value)| v[i] = value);
    }

    /// Adds `weight` times the gradient of -½ log det P_MM with respect to the packed factor, its diagonal as logarithms.
    pub fn slope(&self, layout: MixtureLayout, factor: &[f64], weight: f64, gradient: &mut [f64]) {
        let d = layout.dim;
        for k in 0..d {
            let mut column: Vec<f64> = self.rows.chunks_exact(d).map(|row| row[k]).collect();
            self.solve(&mut column);
            for (&i, value) in self.columns.iter().zip(&column) {
                let columns = layout.columns(i);
                if columns.contains(&k) {
                    let entry = layout.row_offset(i) + k - columns.start;
                    gradient[entry] -= weight * if k < i { *value } else { value * factor[entry] };
                }
            }
        }
    }

    /// P_MM⁻¹ of a vector, in place.
    fn solve(&self, vector: &mut [f64]) {
        lower_solve(&self.factor, vector);
        lower_transpose_solve(&self.factor, vector);
    }
}
