//! The second pass over the rows: parameters as they are, conditions and observations standardised.

use super::features::{Features, Storage};
use super::screen::{Blocks, Screened};
use crate::Result;
use crate::model::atoms::SeenAtoms;
use crate::model::{Moved, ObservationMap};
use ndarray::{Array2, ArrayView2};

/// Rows that are used, and those that failed.
pub(super) struct Standardised {
    /// θ, (N, m).
    pub theta: Vec<f64>,
    /// θ of failed rows, (F, m).
    pub failed: Vec<f64>,
    /// Standardised conditions that stand beside θ, (N, given).
    pub beside: Vec<f32>,
    /// The same of failed rows, (F, given); NaN where they are not known.
    pub failed_beside: Vec<f32>,
    /// What is left of the observations, standardised.
    pub features: Features,
    /// Lowest and highest standardised value of each column of conditions and x that is no atom.
    pub range: Vec<[f32; 2]>,
}

/// Standardises the rows that are used by `map`, and takes them back to the origin of location parameters; the first `given` columns stand beside θ.
///
/// # Errors
/// When rows cannot be read or the scratch file not be written.
pub(super) fn standardise(
    blocks: &Blocks<'_>,
    screened: &Screened,
    map: &ObservationMap,
    (n_obs, given): (usize, usize),
    (moved, storage): (&[Moved], &Storage),
) -> Result<Standardised> {
    let dim_x = map.dim();
    let mut features = storage.writer(screened.rows * n_obs * (dim_x - given))?;
    let mut range = vec![[f32::INFINITY, f32::NEG_INFINITY]; dim_x];
    let (mut theta, mut failed, mut beside, mut failed_beside) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let offset = |column: usize| map.offset.get(column).copied().unwrap_or(0.0);
    let atoms = SeenAtoms::new(map);
    let apart = |column: usize, z: f32| atoms.as_ref().is_some_and(|atoms| atoms.at(column, z.into()) > 0);
    blocks(&mut |block| {
        let mut x = Vec::new();
        let first = theta.len();
        for (index, (parameters, rows)) in block.theta.outer_iter().zip(block.x.outer_iter()).enumerate() {
            if screened.uses(block, index) {
                theta.extend(parameters);
                let value = |(at, &value): (usize, &f64)| screened.bound(at % dim_x, value) - offset(at % dim_x);
                x.extend(rows.iter().enumerate().map(value));
            } else if !block.valid[index] || screened.marked.contains(&(block.first + index as u64)) {
                failed.extend(parameters);
                failed_beside.extend(conditions(map, rows, given));
            }
        }
        let x = ArrayView2::from_shape((x.len() / dim_x, dim_x), &x).expect("whole rows of d");
        let mut standardised = map.features(x)?;
        for row in standardised.chunks_exact(dim_x) {
            let there = row.iter().enumerate().zip(&mut range).filter(|((column, z), _)| !apart(*column, **z));
            there.for_each(|((_, &z), [low, high])| (*low, *high) = (low.min(z), high.max(z)));
        }
        let m = block.theta.ncols();
        for (theta, row) in theta[first..].chunks_exact(m).zip(standardised.chunks_exact_mut(n_obs * dim_x)) {
            moved.iter().for_each(|moved| moved.take_back(theta, row));
        }
        if given == 0 {
            return features.write(&standardised);
        }
        let rows = standardised.chunks_exact(dim_x);
        beside.extend(rows.clone().flat_map(|row| &row[..given]));
        features.write(&rows.flat_map(|row| row[given..].iter().copied()).collect::<Vec<f32>>())
    })?;
    Ok(Standardised { theta, failed, beside, failed_beside, features: features.finish()?, range })
}

/// Standardised conditions of a row; NaN where they are none.
fn conditions(map: &ObservationMap, rows: ArrayView2<'_, f64>, given: usize) -> Vec<f32> {
    let nothing = vec![f32::NAN; given];
    if given == 0 || rows.nrows() == 0 {
        return nothing;
    }
    let offset = |column: usize| map.offset.get(column).copied().unwrap_or(0.0);
    let values = Array2::from_shape_fn((1, given), |(_, column)| rows[[0, column]] - offset(column));
    map.columns(0..given).features_or_missing(values.view()).unwrap_or(nothing)
}
