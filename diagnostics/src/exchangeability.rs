//! Do observations change along the order they were made in? Windows of one recording are taken for independent draws at one parameter: then
//! every order is as probable as the one observed, which a permutation test can tell (Good 2005, ch. 3), exactly and whatever the columns' dependence.
//!
//! Two statistics of the ranks of each column: its correlation with the order (Spearman's ρ; the largest of all columns), which finds drifts, and the correlation
//! of neighbours, averaged over the columns, which finds states that last, and windows that overlap in what they show.

use crate::{DiagnosticsError, Result};
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Purpose, StreamKey};

/// Fewest observations of which an order can be told to be none.
pub const LEAST: usize = 8;

/// Orders that the observed one is compared with.
const PERMUTATIONS: u64 = 1999;

/// What the order of observations tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exchangeability {
    /// The column that follows the order most.
    pub column: usize,
    /// Its rank correlation with the order.
    pub trend: f64,
    /// Probability of one so large, in any column, if the order were arbitrary.
    pub trend_p_value: f64,
    /// Rank correlation of neighbours, averaged over the columns; -1/(n-1) is expected.
    pub neighbours: f64,
    /// Probability of one so large if the order were arbitrary.
    pub neighbours_p_value: f64,
}

/// Tests whether the rows of x (n, d) are exchangeable along their order; columns with missing values (NaN), or all values equal, are left out.
/// Cost: 2000 n d.
///
/// # Errors
/// [`DiagnosticsError::TooFewSamples`] with fewer than [`LEAST`] rows, or no column that can be used.
pub fn exchangeability(x: ArrayView2<'_, f64>, key: StreamKey) -> Result<Exchangeability> {
    let n = x.nrows();
    if n < LEAST {
        return Err(DiagnosticsError::TooFewSamples { what: "observations", found: n, needed: LEAST });
    }
    let usable = |column: &usize| x.column(*column).iter().all(|v| v.is_finite()) && x.column(*column).std(0.0) > 0.0;
    let columns: Vec<usize> = (0..x.ncols()).filter(usable).collect();
    if columns.is_empty() {
        return Err(DiagnosticsError::TooFewSamples { what: "complete columns", found: 0, needed: 1 });
    }
    let mut ranks = Array2::zeros((n, columns.len()));
    for (&column, mut out) in columns.iter().zip(ranks.axis_iter_mut(Axis(1))) {
        let values: Vec<f64> = x.column(column).to_vec();
        out.iter_mut().zip(normalised(midranks(&values))).for_each(|(to, rank)| *to = rank);
    }
    let time = normalised((0..n).map(|row| row as f64).collect());
    let mut order: Vec<usize> = (0..n).collect();
    let (trends, neighbours) = statistics(&ranks, &time, &order);
    let place = (0..columns.len()).max_by(|&a, &b| trends[a].abs().total_cmp(&trends[b].abs())).unwrap_or(0);
    // Sums in another order of the same numbers differ by rounding.
    let reaches = |value: f64, observed: f64| u64::from(value >= observed - 1e-12);
    let (mut larger, mut alike) = (1, 1);
    let mut rng = key.child(Purpose::Permutation).rng(0);
    for _ in 0..PERMUTATIONS {
        order.shuffle(&mut rng);
        let (permuted, near) = statistics(&ranks, &time, &order);
        larger += reaches(permuted.iter().fold(0.0, |most: f64, rho| most.max(rho.abs())), trends[place].abs());
        alike += reaches(near, neighbours);
    }
    let p_value = |count: u64| count as f64 / (PERMUTATIONS + 1) as f64;
    Ok(Exchangeability {
        column: columns[place],
        trend: trends[place],
        trend_p_value: p_value(larger),
        neighbours,
        neighbours_p_value: p_value(alike),
    })
}

/// Each column's correlation with the time of the rows in this order, and the average correlation of neighbours.
fn statistics(ranks: &Array2<f64>, time: &[f64], order: &[usize]) -> (Vec<f64>, f64) {
    let mut trends = vec![0.0; ranks.ncols()];
    let mut neighbours = 0.0;
    for (place, &row) in order.iter().enumerate() {
        let own = ranks.row(row);
        trends.iter_mut().zip(own).for_each(|(sum, rank)| *sum += time[place] * rank);
        if let Some(&next) = order.get(place + 1) {
            neighbours += own.dot(&ranks.row(next));
        }
    }
    (trends, neighbours / ranks.ncols() as f64)
}

/// Ranks from 1, equal values with the mean of theirs.
fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = first as f64 + 0.5 * (same.len() + 1) as f64;
        same.iter().for_each(|&row| ranks[row] = mean);
        first += same.len();
    }
    ranks
}

/// With mean 0 and sum of squares 1.
fn normalised(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.iter_mut().for_each(|value| *value /= norm);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};

    /// Correlated columns: a common part and a part of their own; a first-order autoregression of `memory`, and a `drift` of the first column.
    fn observations(n: usize, memory: f64, drift: f64, stream: u64) -> Array2<f64> {
        let mut rng = StreamKey::root(5).rng(stream);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let mut state = [normal(), normal(), normal()];
        let mut x = Array2::zeros((n, 3));
        for (row, mut out) in x.outer_iter_mut().enumerate() {
            let common = normal();
            for (column, value) in state.iter_mut().enumerate() {
                *value = memory * *value + (1.0 - memory * memory).sqrt() * (0.6 * common + 0.8 * normal());
                out[column] = *value + if column == 0 { drift * row as f64 / n as f64 } else { 0.0 };
            }
        }
        x
    }

    fn rejections(n: usize, memory: f64, drift: f64) -> (usize, usize) {
        let found: Vec<Exchangeability> = (0..100)
            .map(|stream| {
                exchangeability(observations(n, memory, drift, stream).view(), StreamKey::root(stream)).unwrap()
            })
            .collect();
        let count = |of: &dyn Fn(&Exchangeability) -> f64| found.iter().filter(|one| of(one) < 0.05).count();
        (count(&|one| one.trend_p_value), count(&|one| one.neighbours_p_value))
    }

    /// Of 100 sets in any order 5 are expected below 0.05, and 12 or more in one of 200 cases.
    #[test]
    fn its_size_is_right_and_drifts_and_memory_are_found() {
        let (trend, neighbours) = rejections(20, 0.0, 0.0);
        assert!(trend < 12 && neighbours < 12, "{trend} {neighbours}");
        let (trend, _) = rejections(20, 0.0, 3.0);
        assert!(trend > 85, "{trend}");
        let (_, neighbours) = rejections(20, 0.6, 0.0);
        assert!(neighbours > 70, "{neighbours}");
    }

    #[test]
    fn the_drifting_column_is_named_and_others_may_be_missing() {
        let mut x = observations(30, 0.0, 6.0, 3);
        x.column_mut(1).fill(f64::NAN);
        x.column_mut(2).fill(1.0);
        let found = exchangeability(x.view(), StreamKey::root(0)).unwrap();
        assert!(found.column == 0 && found.trend > 0.6 && found.trend_p_value == 1.0 / 2000.0, "{found:?}");
        let few = x.slice(ndarray::s![..7, ..]);
        assert!(exchangeability(few, StreamKey::root(0)).is_err());
        assert_eq!(midranks(&[3.0, 1.0, 3.0, 7.0]), [2.5, 1.0, 2.5, 4.0]);
    }
}
