//! From simulator outputs to network inputs: transform, then z-score.

use crate::{InferenceError, Result};
use ndarray::{ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

/// How simulator outputs enter the network: z = (f(x) - mean)/sd per column, f the logarithm or the identity.
///
/// Columns that are constant in the training set (sd = 0) carry no information and enter as 0. Columns of counts are known as such,
/// because a density of them needs them spread out.
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
}

/// Variance of a uniform distribution over a cell of width 1.
const CELL_VARIANCE: f64 = 1.0 / 12.0;

impl ObservationMap {
    /// z = (x - mean)/sd.
    pub fn standardize(mean: Vec<f32>, sd: Vec<f32>) -> Self {
        Self { log: false, mean, sd, counts: Vec::new(), lowest: Vec::new(), highest: Vec::new() }
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

    /// Number of columns d.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Network inputs of the rows of `x` (n, d), row-major.
    ///
    /// # Errors
    /// When the width is not d, a value is not finite, or its logarithm is not.
    pub fn features(&self, x: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
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
                let value = self.transform(f64::from(value));
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

/// What [`ObservationMap::fit`] needs to know of the training outputs, block by block. However they are split, the same result.
#[derive(Debug, Clone)]
pub struct Moments {
    log: bool,
    rows: u64,
    sum: Vec<f64>,
    square: Vec<f64>,
    whole: Vec<bool>,
    lowest: Vec<f32>,
    highest: Vec<f32>,
}

impl Moments {
    /// Of no rows of `d` columns yet.
    pub fn new(d: usize, log: bool) -> Self {
        Self {
            log,
            rows: 0,
            sum: vec![0.0; d],
            square: vec![0.0; d],
            whole: vec![!log; d],
            lowest: vec![f32::INFINITY; d],
            highest: vec![f32::NEG_INFINITY; d],
        }
    }

    /// Takes in more rows, (n, K, d).
    ///
    /// # Errors
    /// When `log` was asked for and an output is not positive.
    pub fn add(&mut self, x: ArrayView3<'_, f32>) -> Result<()> {
        for row in x.rows() {
            for (i, &value) in row.iter().enumerate() {
                if self.log && value <= 0.0 {
                    return Err(InferenceError::TrainingSet(format!(
                        "x_transform is \"log\" but column {i} of x holds {value}; use \"identity\" or positive outputs"
                    )));
                }
                self.whole[i] &= value.fract() == 0.0;
                self.lowest[i] = self.lowest[i].min(value);
                self.highest[i] = self.highest[i].max(value);
                let value = if self.log { f64::from(value).ln() } else { f64::from(value) };
                self.sum[i] += value;
                self.square[i] += value * value;
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// The map that standardises what was seen.
    pub fn finish(self) -> ObservationMap {
        let rows = self.rows as f64;
        let (mean, sd) = self
            .sum
            .iter()
            .zip(&self.square)
            .zip(&self.whole)
            .map(|((sum, square), &count)| {
                let mean = sum / rows;
                // Counts as they are spread out: else a column that is nearly always 0 would have no scale.
                let square = square / rows + if count { CELL_VARIANCE } else { 0.0 };
                let variance = (square - mean * mean) * rows / (rows - 1.0).max(1.0);
                // Below the rounding of the sums the column is constant.
                let constant = variance <= 1e-12 * square.max(f64::MIN_POSITIVE);
                (mean as f32, if constant { 0.0 } else { variance.sqrt() as f32 })
            })
            .unzip();
        let (counts, lowest, highest) =
            if self.whole.contains(&true) { (self.whole, self.lowest, self.highest) } else { Default::default() };
        ObservationMap { log: self.log, mean, sd, counts, lowest, highest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
