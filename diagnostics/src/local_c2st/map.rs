//! Where in parameter space the posterior is wrong: predicted probabilities averaged over bins of each marginal.

use crate::{DiagnosticsError, Result, check};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// Mean P(class 0 | θ, x_o) in bins of every one- and two-dimensional marginal: what colours a pair plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityMap {
    /// One entry per parameter.
    pub marginals: Vec<MarginalMap>,
    /// One entry per pair of parameters, first < second, in lexicographic order.
    pub pairs: Vec<PairMap>,
}

/// Bins of one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarginalMap {
    /// Bin edges (bins + 1), from the smallest to the largest sample.
    pub edges: Vec<f64>,
    /// Samples in each bin.
    pub counts: Vec<usize>,
    /// Their mean probability; none in an empty bin.
    pub probabilities: Vec<Option<f64>>,
}

/// Bins of two parameters; the edges are those of the marginals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairMap {
    /// Column of the first parameter.
    pub first: usize,
    /// Column of the second.
    pub second: usize,
    /// Samples in each bin (bins of the first, bins of the second).
    pub counts: Vec<Vec<usize>>,
    /// Their mean probability; none in an empty bin.
    pub probabilities: Vec<Vec<Option<f64>>>,
}

/// Averages `probabilities` (one per row of `samples` (S, m)) in `bins` bins of equal width of each marginal.
///
/// # Errors
/// Values that are not finite, constant columns, another number of probabilities than samples, or 0 bins.
pub fn probability_map(samples: ArrayView2<'_, f64>, probabilities: &[f64], bins: usize) -> Result<ProbabilityMap> {
    check::finite("posterior samples", samples, 2)?;
    check::varies("posterior samples", samples)?;
    check::same_rows("probabilities", probabilities.len(), "the posterior samples", samples.nrows())?;
    if bins == 0 {
        return Err(DiagnosticsError::Setting { name: "bins", value: "0".into(), requirement: "must be at least 1" });
    }
    let m = samples.ncols();
    let mut marginals = Vec::with_capacity(m);
    let mut index = Array2::zeros((samples.nrows(), m));
    for (column, values) in samples.columns().into_iter().enumerate() {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let width = (high - low) / bins as f64;
        for (target, value) in index.column_mut(column).iter_mut().zip(values) {
            *target = (((value - low) / width) as usize).min(bins - 1);
        }
        let (counts, means) = average(bins, index.column(column).iter().copied(), probabilities);
        let edges = (0..=bins).map(|edge| low + width * edge as f64).collect();
        marginals.push(MarginalMap { edges, counts, probabilities: means });
    }
    let mut pairs = Vec::with_capacity(m * (m - 1) / 2);
    for first in 0..m {
        for second in first + 1..m {
            let cells = index.outer_iter().map(|row| row[first] * bins + row[second]);
            let (counts, means) = average(bins * bins, cells, probabilities);
            pairs.push(PairMap {
                first,
                second,
                counts: counts.chunks(bins).map(<[usize]>::to_vec).collect(),
                probabilities: means.chunks(bins).map(<[Option<f64>]>::to_vec).collect(),
            });
        }
    }
    Ok(ProbabilityMap { marginals, pairs })
}

fn average(cells: usize, index: impl Iterator<Item = usize>, probabilities: &[f64]) -> (Vec<usize>, Vec<Option<f64>>) {
    let mut counts = vec![0; cells];
    let mut sums = vec![0.0; cells];
    for (cell, probability) in index.zip(probabilities) {
        counts[cell] += 1;
        sums[cell] += probability;
    }
    let means = counts.iter().zip(sums).map(|(&count, sum)| (count > 0).then(|| sum / count as f64)).collect();
    (counts, means)
}
