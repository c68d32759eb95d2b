//! Checks of sample matrices before any work is done on them.

use crate::{DiagnosticsError, Result};
use ndarray::ArrayView2;

/// All values finite, at least `needed` rows and one column.
pub(crate) fn finite(what: &'static str, matrix: ArrayView2<'_, f64>, needed: usize) -> Result<()> {
    if matrix.ncols() == 0 {
        return Err(DiagnosticsError::NoColumns { what });
    }
    if matrix.nrows() < needed {
        return Err(DiagnosticsError::TooFewSamples { what, found: matrix.nrows(), needed });
    }
    match matrix.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(DiagnosticsError::NotFinite { what, row, column, value }),
        None => Ok(()),
    }
}

/// No column holds a single value only.
pub(crate) fn varies(what: &'static str, matrix: ArrayView2<'_, f64>) -> Result<()> {
    for (column, values) in matrix.columns().into_iter().enumerate() {
        let value = values[0];
        if values.iter().all(|&other| other == value) {
            return Err(DiagnosticsError::ConstantColumn { what, column, value });
        }
    }
    Ok(())
}

/// How many rows differ, bit by bit.
pub(crate) fn distinct_rows(matrix: ArrayView2<'_, f64>) -> usize {
    let bits = |row: ndarray::ArrayView1<'_, f64>| row.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    matrix.outer_iter().map(bits).collect::<std::collections::HashSet<_>>().len()
}

/// Draws of one posterior of which at least a tenth differ. Copies of whole draws are what resampling leaves; piles on a bound of the
/// prior are in single coordinates and are no fault.
pub(crate) fn not_collapsed(what: &'static str, draws: ArrayView2<'_, f64>) -> Result<()> {
    let (distinct, rows) = (distinct_rows(draws), draws.nrows());
    if rows >= FEW_DRAWS && distinct * COPIES < rows {
        return Err(DiagnosticsError::Collapsed { what, distinct, rows });
    }
    Ok(())
}

/// Below this many draws nothing is said about copies among them.
const FEW_DRAWS: usize = 20;

/// Draws of which each has more copies than this have collapsed.
const COPIES: usize = 10;

/// As many columns as another matrix.
pub(crate) fn same_width(
    what: &'static str,
    matrix: ArrayView2<'_, f64>,
    like: &'static str,
    expected: usize,
) -> Result<()> {
    if matrix.ncols() != expected {
        return Err(DiagnosticsError::Width { what, found: matrix.ncols(), expected, like });
    }
    Ok(())
}

/// As many rows as another matrix.
pub(crate) fn same_rows(what: &'static str, found: usize, like: &'static str, expected: usize) -> Result<()> {
    if found != expected {
        return Err(DiagnosticsError::Rows { what, found, expected, like });
    }
    Ok(())
}

/// The two matrices of a two-sample comparison.
pub(crate) fn two_samples(reference: ArrayView2<'_, f64>, samples: ArrayView2<'_, f64>, needed: usize) -> Result<()> {
    finite(REFERENCE, reference, needed)?;
    finite(SAMPLES, samples, needed)?;
    same_width(SAMPLES, samples, REFERENCE, reference.ncols())?;
    varies(REFERENCE, reference)?;
    varies(SAMPLES, samples)
}

/// Name of the first matrix of a two-sample comparison.
pub(crate) const REFERENCE: &str = "reference";
/// Name of the second.
pub(crate) const SAMPLES: &str = "samples";
