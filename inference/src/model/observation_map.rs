//! From simulator outputs to network inputs: transform, then z-score.

use super::atoms::Atoms;
use super::moments::{FEW_UNITS, Moments};
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How simulator outputs enter the network: z = (f(x) - mean)/sd per column, f the logarithm or the identity.
///
/// Columns that are constant in the training set (sd = 0) carry no information and enter as 0. Columns of counts are known as such,
/// because a density of them needs them spread out.
///
/// Where values are large beside their spread (times in seconds since 1970, pressures), an offset is subtracted in double precision
/// first, by [`ObservationMap::centre`]; everything else here, `mean`, `lowest` and `highest` included, is about what is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationMap {
    /// Whether f is the natural logarithm (positive outputs spanning orders of magnitude).
    pub log: bool,
    /// Mean of f(x) over the training set, (d).
    pub mean: Vec<f32>,
    /// Standard deviation of f(x) over the training set, (d).
    pub sd: Vec<f32>,
    /// Which columns are counts, (d); empty if none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<bool>,
    /// Lowest value over the training set, (d), where there are counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowest: Vec<f32>,
    /// Highest value over the training set, (d), where there are counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub highest: Vec<f32>,
    /// What is subtracted from x before it becomes single precision, (d); empty if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offset: Vec<f64>,
    /// Values that many rows share exactly and whose probability is learned apart from the density of the others.
    #[serde(default, skip_serializing_if = "Atoms::is_empty")]
    pub atoms: Atoms,
}

impl ObservationMap {
    /// z = (x - mean)/sd.
    pub fn standardize(mean: Vec<f32>, sd: Vec<f32>) -> Self {
        Self {
            log: false,
            mean,
            sd,
            counts: Vec::new(),
            lowest: Vec::new(),
            highest: Vec::new(),
            offset: Vec::new(),
            atoms: Atoms::default(),
        }
    }

    /// Fits mean and standard deviation on the training outputs `x` (N, K, d): K observations of each of N parameters. Without
    /// `log`, columns of whole numbers are taken for counts.
    ///
    /// # Errors
    /// When `log` is asked for outputs that are not positive.
    pub fn fit(x: ArrayView3<'_, f32>, log: bool) -> Result<Self> {
        let mut moments = Moments::new(x.dim().2, log);
        moments.add(x)?;
        Ok(moments.finish())
    }

    fn is_count(&self, column: usize) -> bool {
        self.counts.get(column).copied().unwrap_or(false)
    }

    fn transform(&self, value: f64) -> f64 {
        if self.log { value.ln() } else { value }
    }

    /// Spreads the counts among `features` (d) uniformly over x ± ½ with the numbers in \[0, 1) that `uniform` draws: a density has
    /// no mass at points. Columns that have `cells` stay as they are.
    pub fn dequantize(&self, features: &mut [f64], cells: impl Fn(usize) -> bool, mut uniform: impl FnMut() -> f64) {
        for (column, feature) in features.iter_mut().enumerate() {
            let sd = f64::from(self.sd[column]);
            if sd == 0.0 {
                // A constant has no density either: any will do that does not depend on θ.
                *feature += uniform() - 0.5;
            } else if self.is_count(column) && !cells(column) {
                *feature += (uniform() - 0.5) / sd;
            }
        }
    }

    /// Observations `x` (n, d) less the offsets, in single precision: what everything that takes observations of this map's model is to
    /// be given. Other widths are left to the checks there.
    pub fn centre(&self, x: ArrayView2<'_, f64>) -> Array2<f32> {
        Array2::from_shape_fn(x.dim(), |(row, column)| {
            (x[[row, column]] - self.offset.get(column).copied().unwrap_or(0.0)) as f32
        })
    }

    /// The first column that single precision cannot hold in the simulator's units: its spread is a few units in the last place.
    pub fn beyond_single_precision(&self) -> Option<usize> {
        let unit = |offset: f64| f64::from(f32::EPSILON) * offset.abs();
        let mut columns = self.offset.iter().zip(&self.sd);
        columns.position(|(&offset, &sd)| f64::from(sd) < FEW_UNITS * unit(offset))
    }

    /// The map of some of the columns.
    #[must_use]
    pub fn columns(&self, range: Range<usize>) -> Self {
        fn part<T: Clone>(values: &[T], range: &Range<usize>) -> Vec<T> {
            if values.is_empty() { Vec::new() } else { values[range.clone()].to_vec() }
        }
        let counts = part(&self.counts, &range);
        // Known where there are counts only.
        let bounds = |values: &[f32]| if counts.contains(&true) { part(values, &range) } else { Vec::new() };
        Self {
            log: self.log,
            mean: part(&self.mean, &range),
            sd: part(&self.sd, &range),
            lowest: bounds(&self.lowest),
            highest: bounds(&self.highest),
            offset: part(&self.offset, &range),
            atoms: self.atoms.columns(&range),
            counts: if counts.contains(&true) { counts } else { Vec::new() },
        }
    }

    /// Number of columns d.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Network inputs of the rows of `x` (n, d), row-major; the offsets are already subtracted from them.
    ///
    /// # Errors
    /// When the width is not d, a value is missing or not finite, or its logarithm is not.
    pub fn features<T: Copy + Into<f64>>(&self, x: ArrayView2<'_, T>) -> Result<Vec<f32>> {
        let missing = |row: ArrayView1<'_, T>| row.iter().any(|&value| value.into().is_nan());
        match x.outer_iter().position(missing) {
            Some(row) if x.ncols() == self.dim() => Err(InferenceError::ObservationMissing { row }),
            _ => self.features_or_missing(x),
        }
    }

    /// The same of observations with missing values, NaN, which stay so.
    ///
    /// # Errors
    /// When the width is not d, a value is infinite, or its logarithm is not finite.
    pub fn features_or_missing<T: Copy + Into<f64>>(&self, x: ArrayView2<'_, T>) -> Result<Vec<f32>> {
        if x.ncols() != self.dim() {
            return Err(InferenceError::Shape {
                what: "observations",
                expected: format!("{} columns, as the model was trained on", self.dim()),
                found: format!("{} columns", x.ncols()),
            });
        }
        let mut features = Vec::with_capacity(x.len());
        for (row, values) in x.outer_iter().enumerate() {
            for (i, &value) in values.iter().enumerate() {
                let value: f64 = value.into();
                if value.is_nan() {
                    features.push(f32::NAN);
                    continue;
                }
                let value = self.transform(value);
                if !value.is_finite() {
                    return Err(InferenceError::ObservationNotFinite { row });
                }
                let centred = value - f64::from(self.mean[i]);
                features.push(if self.sd[i] > 0.0 { (centred / f64::from(self.sd[i])) as f32 } else { 0.0 });
            }
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Note;
    use ndarray::Array3;

    /// Columns: counts, nearly always 0; counts; categories; real numbers; a constant.
    fn map() -> ObservationMap {
        let x = Array3::from_shape_fn((400, 1, 5), |(i, _, column)| match column {
            0 => {
                if i == 7 {
                    12.0
                } else {
                    0.0
                }
            }
            1 => (i % 200) as f32,
            2 => (i % 3) as f32,
            3 => i as f32 - 0.5,
            _ => 0.3,
        });
        ObservationMap::fit(x.view(), false).unwrap()
    }

    #[test]
    fn counts_are_found_and_spread_within_their_cells() {
        let map = map();
        assert_eq!(map.counts, [true, true, true, false, false]);
        assert_eq!((map.lowest[..3].to_vec(), map.highest[..3].to_vec()), (vec![0.0; 3], vec![12.0, 199.0, 2.0]));
        assert!(map.sd[0] > 0.2, "{}", map.sd[0]);
        let x = ndarray::arr2(&[[0.0f32, 50.0, 2.0, 1.5, 0.3]]);
        let plain: Vec<f64> = map.features(x.view()).unwrap().into_iter().map(f64::from).collect();
        let count = |features: &[f64], column: usize| {
            features[column] * f64::from(map.sd[column]) + f64::from(map.mean[column])
        };
        for u in [0.0, 0.5, 0.999] {
            let mut spread = plain.clone();
            map.dequantize(&mut spread, |column| column == 2, || u);
            assert!((count(&spread, 0) - (u - 0.5)).abs() < 1e-5 && (count(&spread, 1) - (49.5 + u)).abs() < 1e-4);
            assert_eq!((spread[2], spread[3], spread[4]), (plain[2], plain[3], plain[4] + u - 0.5));
        }
    }

    /// A day in seconds since 1970, in double precision; the same in single precision, where it is nearly a constant.
    #[test]
    fn large_offsets_keep_their_digits() {
        let exact = |i: usize| 1.7e9 + (i as f64 * 0.7).sin();
        let mut moments = Moments::new(2, false);
        moments.add(Array3::from_shape_fn((400, 1, 2), |(i, _, j)| exact(i) + [0.0, 0.25][j]).view()).unwrap();
        assert!(moments.notes().is_empty());
        let map = moments.finish();
        let x = ndarray::arr2(&[[exact(3), exact(3) + 0.25]]);
        for feature in map.features(map.centre(x.view()).view()).unwrap() {
            assert!((f64::from(feature) - (2.1f64).sin() / 0.5f64.sqrt()).abs() < 0.02, "{feature}");
        }
        let mut moments = Moments::new(1, false);
        moments.add(Array3::from_shape_fn((400, 1, 1), |(i, _, _)| 1e5f32 + 0.02 * (i as f32).sin()).view()).unwrap();
        assert!(matches!(moments.notes()[..], [Note::CoarseColumn { column: 0, used: false, .. }]));
        assert_eq!(moments.finish().sd, [0.0]);
    }

    /// Quantiles of a Cauchy distribution; of a Gaussian one with a broad second mode; of a uniform one.
    #[test]
    fn heavy_tails_are_standardised_by_quartiles() {
        let mut moments = Moments::new(3, false);
        let value = |i: usize, j: usize| {
            let p = (i as f64 + 0.5) / 4000.0;
            let cauchy = (std::f64::consts::PI * (p - 0.5)).tan();
            [5.0 + cauchy, if i.is_multiple_of(5) { 1000.0 * p } else { p }, p][j]
        };
        moments.add(Array3::from_shape_fn((4000, 1, 3), |(i, _, j)| value(i, j)).view()).unwrap();
        let (usual, robust) = (moments.clone().finish(), moments.finish_robust());
        assert!((robust.mean[0] - 5.0).abs() < 0.01 && (robust.sd[0] - 2.0 / 1.349).abs() < 0.01, "{robust:?}");
        assert!(usual.sd[0] > 20.0);
        assert_eq!((&robust.mean[1..], &robust.sd[1..]), (&usual.mean[1..], &usual.sd[1..]));
    }

    #[test]
    fn blocks_give_what_the_whole_gives() {
        let x = Array3::from_shape_fn((50, 2, 3), |(i, k, j)| ((i * 7 + k * 3 + j) % 11) as f32 * [1.0, 0.3, 2.5][j]);
        for log in [false, true] {
            let x = &x + 1.0;
            let mut moments = Moments::new(3, log);
            for block in x.axis_chunks_iter(ndarray::Axis(0), 7) {
                moments.add(block).unwrap();
            }
            assert_eq!(moments.finish(), ObservationMap::fit(x.view(), log).unwrap());
        }
    }

    #[test]
    fn logarithms_know_no_counts() {
        let x = Array3::from_shape_fn((40, 1, 1), |(i, _, _)| 1.0 + i as f32);
        assert!(ObservationMap::fit(x.view(), true).unwrap().counts.is_empty());
    }
}
