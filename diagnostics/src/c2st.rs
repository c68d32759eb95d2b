//! Classifier two-sample test (Friedman 2003; Lopez-Paz & Oquab 2017): how well a classifier tells two samples apart.
//!
//! As sbibm's `c2st`: both samples are z-scored with the reference's mean and (unbiased) standard deviation, and the statistic is
//! the mean accuracy of a classifier over the folds of a shuffled cross-validation. 0.5 means indistinguishable, 1 disjoint.
//!
//! Of samples of unequal size, as many rows of the larger one are drawn as the smaller has: sbibm counts the hits over all rows, so that a
//! classifier that always names the larger sample has 0.95 with 100 rows against 2000.

use crate::classifier::{ClassifierParams, MatrixRows, MlpClassifierParams};
use crate::{DiagnosticsError, Result, check};
use ndarray::ArrayView2;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Options of [`c2st`].
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `folds` | 5 | parts of the cross-validation | ≥ 2 |
/// | `seeds` | 1 | independent cross-validations that are averaged | ≥ 1 |
/// | `classifier` | MLP of scikit-learn's defaults | what tells the samples apart | |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C2stOptions {
    /// Parts of the cross-validation.
    pub folds: usize,
    /// Independent cross-validations.
    pub seeds: usize,
    /// The classifier.
    pub classifier: ClassifierParams,
}

impl Default for C2stOptions {
    fn default() -> Self {
        Self { folds: 5, seeds: 1, classifier: ClassifierParams::Mlp(MlpClassifierParams::default()) }
    }
}

impl C2stOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first option outside its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |name, value: usize, requirement| {
            Err(DiagnosticsError::Setting { name, value: value.to_string(), requirement })
        };
        if !(2..=10_000).contains(&self.folds) {
            return bad("folds", self.folds, "must be at least 2, and at most 10000: each trains a classifier");
        }
        if !(1..=10_000).contains(&self.seeds) {
            return bad("seeds", self.seeds, "must be at least 1, and at most 10000: each trains classifiers");
        }
        self.classifier.validate()
    }
}

/// Result of a classifier two-sample test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct C2st {
    /// Mean accuracy over folds and seeds.
    pub accuracy: f64,
    /// Standard error over the folds: the standard deviation of the accuracies of one seed's folds divided by √folds, averaged
    /// over the seeds. It holds the noise of the finite samples, which more seeds do not remove.
    pub standard_error: f64,
    /// Standard deviation of the accuracy between seeds, if there are several: the noise of splits and training alone.
    pub seed_deviation: Option<f64>,
    /// Accuracy of each fold, seed by seed.
    pub fold_accuracies: Vec<Vec<f64>>,
    /// Rows of each sample that were used, drawn from the larger one if they are of unequal size.
    pub rows: usize,
    /// Rows of the reference, and how many of them differ: copies lie in training and test rows at once and are told apart.
    pub reference: RowCount,
    /// The same of the samples.
    pub samples: RowCount,
}

/// Rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    /// All of them.
    pub rows: usize,
    /// Those that differ.
    pub distinct: usize,
}

impl RowCount {
    fn of(matrix: ArrayView2<'_, f64>) -> Self {
        Self { rows: matrix.nrows(), distinct: check::distinct_rows(matrix) }
    }
}

/// Accuracy of a classifier that tells `samples` (M, d) from `reference` (N, d).
///
/// Folds and seeds run in parallel; the result is the same for any number of threads.
///
/// # Errors
/// Matrices of different widths, with fewer rows than folds or values that are not finite, constant columns, options outside their
/// range, a classifier that fails, or cancellation.
pub fn c2st(
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    options: &C2stOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<C2st> {
    options.validate()?;
    check::two_samples(reference, samples, options.folds.max(2))?;
    let (mean, sd) = mean_and_sd(reference);
    let counts = (RowCount::of(reference), RowCount::of(samples));
    let rows = MatrixRows::standardized(&[reference.view(), samples.view()], &mean, &sd);
    let n = reference.nrows();
    let size = n.min(samples.nrows());
    let label = |row: usize| row >= n;
    let stage = monitor.stage("folds", "folds", (options.folds * options.seeds) as u64);
    let tasks = |tasks: Range<usize>| {
        let one = |task: usize| {
            let (seed, fold) = (task / options.folds, task % options.folds);
            let key = key.indexed(seed as u64);
            let (mut training, mut testing) = fold_rows(2 * size, options.folds, fold, key);
            if n != samples.nrows() {
                let chosen = balanced(n, samples.nrows(), key);
                training.iter_mut().chain(&mut testing).for_each(|row| *row = chosen[*row]);
            }
            let key = key.child(Purpose::Classifier).indexed(fold as u64);
            let fitted = options.classifier.fit_rows(&rows, &training, &label, key, monitor)?;
            let right = fitted
                .probabilities_of(&rows, &testing)
                .into_iter()
                .zip(&testing)
                .filter(|(probability, row)| (*probability > 0.5) == label(**row))
                .count();
            stage.advance(1);
            Ok(right as f64 / testing.len() as f64)
        };
        tasks.into_par_iter().with_max_len(1).map(one).collect::<Result<Vec<f64>>>()
    };
    let accuracies = monitor.share("c2st", options.folds * options.seeds, tasks)?.concat();
    Ok(summarize(accuracies.chunks(options.folds).map(<[f64]>::to_vec).collect(), size, counts))
}

/// As many rows of two samples of `n` and `other` rows: all of the smaller, some of the larger, in their order in both together.
fn balanced(n: usize, other: usize, key: StreamKey) -> Vec<usize> {
    let mut rng = key.child(Purpose::Subset).rng(0);
    let mut part = |range: std::ops::Range<usize>| {
        let mut rows: Vec<usize> = range.collect();
        if rows.len() > n.min(other) {
            rows.shuffle(&mut rng);
            rows.truncate(n.min(other));
            rows.sort_unstable();
        }
        rows
    };
    [part(0..n), part(n..n + other)].concat()
}

fn summarize(fold_accuracies: Vec<Vec<f64>>, rows: usize, (reference, samples): (RowCount, RowCount)) -> C2st {
    let means: Vec<f64> = fold_accuracies.iter().map(|folds| mean(folds)).collect();
    let errors: Vec<f64> = fold_accuracies.iter().map(|folds| deviation(folds) / (folds.len() as f64).sqrt()).collect();
    C2st {
        accuracy: mean(&means),
        standard_error: mean(&errors),
        seed_deviation: (means.len() > 1).then(|| deviation(&means)),
        fold_accuracies,
        rows,
        reference,
        samples,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    (values.iter().map(|v| (v - centre) * (v - centre)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// Training and test rows of a fold: consecutive parts, as equal as can be, of one shuffle of all rows.
pub(crate) fn fold_rows(total: usize, folds: usize, fold: usize, key: StreamKey) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..total).collect();
    order.shuffle(&mut key.child(Purpose::Folds).rng(0));
    let testing = order[fold * total / folds..(fold + 1) * total / folds].to_vec();
    order.drain(fold * total / folds..(fold + 1) * total / folds);
    (order, testing)
}

/// Mean and unbiased standard deviation of each column.
pub(crate) fn mean_and_sd(matrix: ArrayView2<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    let n = matrix.nrows() as f64;
    matrix
        .columns()
        .into_iter()
        .map(|column| {
            let mean = column.sum() / n;
            let variance = column.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
            (mean, variance.sqrt())
        })
        .unzip()
}
