//! Permutation test of p = q with the unbiased MMD² as statistic.

use super::kernel::{GaussianKernel, LANES, Scaled};
use super::{Bandwidth, Mmd, pooled, resolve};
use crate::{DiagnosticsError, Result, check};
use faer::{Accum, Mat, MatRef, Par};
use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Monitor, Purpose, Stage, StreamKey};

/// Rows and columns of the kernel tiles that are multiplied with the label vectors: 0.5 MiB, which stays in the cache.
const TILE: usize = 256;

/// Options of [`permutation_test`].
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `permutations` | 1000 | random relabellings | ≥ 1 |
/// | `bandwidth` | median of the pooled sample | kernel width | any [`Bandwidth`] |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermutationOptions {
    /// Number of random relabellings.
    pub permutations: usize,
    /// Kernel width; with [`Bandwidth::MedianOfReference`] the test is only approximately exact.
    pub bandwidth: Bandwidth,
}

impl Default for PermutationOptions {
    fn default() -> Self {
        Self { permutations: 1000, bandwidth: Bandwidth::MedianOfPooled }
    }
}

impl PermutationOptions {
    /// # Errors
    /// When there are no permutations, or more than fit into memory.
    pub fn validate(&self) -> Result<()> {
        if !(1..=100_000_000).contains(&self.permutations) {
            return Err(DiagnosticsError::Setting {
                name: "permutations",
                value: self.permutations.to_string(),
                requirement: "must be at least 1, and at most 100000000 to fit into memory",
            });
        }
        Ok(())
    }
}

/// Result of a permutation test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermutationTest {
    /// MMD² of the samples as given.
    pub mmd: Mmd,
    /// MMD² of each relabelling.
    pub null_statistics: Vec<f64>,
    /// (1 + #{null ≥ observed}) / (1 + permutations).
    pub p_value: f64,
}

/// Tests whether `reference` (N, d) and `samples` (M, d) come from one distribution (Gretton et al. 2012, Sec. 8): rows are
/// exchanged between them at random.
///
/// Every kernel value is computed once and used for all relabellings: with labels a ∈ {0,1} the three kernel means follow
/// from aᵀKa and aᵀK1. Cost O((N+M)² (d + permutations)), memory O((N+M) permutations).
///
/// # Errors
/// As [`super::unbiased_mmd2`], and for 0 permutations.
pub fn permutation_test(
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    options: &PermutationOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<PermutationTest> {
    options.validate()?;
    check::two_samples(reference, samples, 2)?;
    let sigma = resolve(options.bandwidth, reference, samples, monitor)?;
    let (n, m) = (reference.nrows(), samples.nrows());
    let pooled = pooled(reference, samples);
    let points = GaussianKernel::new(sigma, pooled.view()).scale(pooled.view());
    let labels = labels(n, n + m, options.permutations, key);
    let stage = monitor.stage("kernel tiles", "tiles", ((n + m).div_ceil(TILE)) as u64);
    let forms = quadratic_forms(&points, labels.as_ref(), &stage)?;
    let statistics: Vec<f64> = (0..=options.permutations).map(|p| forms.mmd2(p, n as f64, m as f64)).collect();
    let null_statistics = statistics[1..].to_vec();
    let above = null_statistics.iter().filter(|&&null| null >= statistics[0]).count();
    Ok(PermutationTest {
        mmd: Mmd { squared: statistics[0], bandwidth: sigma },
        p_value: (1 + above) as f64 / (1 + options.permutations) as f64,
        null_statistics,
    })
}

/// Columns of 0 and 1: the labels as given, one relabelling each, and last a column of ones.
fn labels(n: usize, total: usize, permutations: usize, key: StreamKey) -> Mat<f64> {
    let key = key.child(Purpose::Permutation);
    let mut labels = Mat::zeros(total, permutations + 2);
    for column in 0..permutations + 2 {
        let mut order: Vec<usize> = (0..total).collect();
        if (1..=permutations).contains(&column) {
            order.shuffle(&mut key.rng(column as u64));
        }
        let ones = if column > permutations { total } else { n };
        order[..ones].iter().for_each(|&row| labels[(row, column)] = 1.0);
    }
    labels
}

/// aᵀKa and aᵀK1 of each label column, K without its diagonal.
struct Forms {
    within: Vec<f64>,
    rows: Vec<f64>,
}

impl Forms {
    fn mmd2(&self, p: usize, n: f64, m: f64) -> f64 {
        let total = self.rows[self.rows.len() - 1];
        let (within, row) = (self.within[p], self.rows[p]);
        let between = row - within;
        let other = total - within - 2.0 * between;
        within / (n * (n - 1.0)) + other / (m * (m - 1.0)) - 2.0 * between / (n * m)
    }
}

fn quadratic_forms(x: &Scaled, labels: MatRef<'_, f64>, stage: &Stage<'_>) -> Result<Forms> {
    let columns = labels.ncols();
    let tiles = x.blocks().rows().div_ceil(TILE);
    let parts = (0..tiles)
        .into_par_iter()
        .map(|first| {
            stage.check()?;
            let mut forms = Forms { within: vec![0.0; columns], rows: vec![0.0; columns] };
            let mut kernel = Mat::zeros(TILE, TILE);
            let mut product = Mat::zeros(TILE, columns);
            let left = span(x, first);
            let a = labels.subrows(left.start, left.len());
            // Tiles right of the diagonal stand for their mirror image too.
            for second in first..tiles {
                let right = span(x, second);
                let b = labels.subrows(right.start, right.len());
                Arch::new().dispatch(Fill { x, left: left.clone(), right: right.clone(), kernel: &mut kernel });
                let mut product = product.as_mut().subrows_mut(0, left.len());
                let tile = kernel.as_ref().submatrix(0, 0, left.len(), right.len());
                faer::linalg::matmul::matmul(product.as_mut(), Accum::Replace, tile, b, 1.0, Par::Seq);
                let ones = product.as_ref().col(columns - 1);
                for column in 0..columns {
                    let (labels, product) = (a.col(column), product.as_ref().col(column));
                    let within = dot(labels, product);
                    let (row, mirrored) = (dot(labels, ones), product.iter().sum::<f64>());
                    if first == second {
                        forms.within[column] += within;
                        forms.rows[column] += row;
                    } else {
                        forms.within[column] += 2.0 * within;
                        forms.rows[column] += row + mirrored;
                    }
                }
            }
            stage.advance(1);
            Ok(forms)
        })
        .collect::<Result<Vec<Forms>>>()?;
    let mut total = Forms { within: vec![0.0; columns], rows: vec![0.0; columns] };
    for part in parts {
        total.within.iter_mut().zip(part.within).for_each(|(sum, value)| *sum += value);
        total.rows.iter_mut().zip(part.rows).for_each(|(sum, value)| *sum += value);
    }
    Ok(total)
}

fn span(x: &Scaled, tile: usize) -> Range<usize> {
    tile * TILE..((tile + 1) * TILE).min(x.blocks().rows())
}

fn dot(a: faer::ColRef<'_, f64>, b: faer::ColRef<'_, f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

/// Fills a tile with the kernel values of two ranges of rows; those of a row with itself are left out.
struct Fill<'a> {
    x: &'a Scaled,
    left: Range<usize>,
    right: Range<usize>,
    kernel: &'a mut Mat<f64>,
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { x, left, right, kernel } = self;
        let mut point = vec![0.0; x.blocks().dim()];
        for (column, row) in right.enumerate() {
            x.blocks().point(row, &mut point);
            let out = kernel.col_as_slice_mut(column);
            for block in left.start / LANES..left.end.div_ceil(LANES) {
                let at = block * LANES - left.start;
                let lanes = x.blocks().lanes(block);
                out[at..at + lanes].copy_from_slice(&x.kernel(&point, block)[..lanes]);
            }
            if left.contains(&row) {
                out[row - left.start] = 0.0;
            }
        }
    }
}
