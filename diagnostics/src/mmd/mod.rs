//! Maximum mean discrepancy with a Gaussian kernel, in memory O(n).
//!
//! MMD²(p, q) = E k(x,x') + E k(y,y') - 2 E k(x,y) (Gretton et al. 2012, eq. 1); the estimate here is the unbiased one of
//! their eq. 3, which leaves the diagonals out and may be negative. The kernel is k(a,b) = exp(-‖a-b‖²/(2σ²)) with σ the
//! median pairwise distance of the *reference* sample (the lower median where the number of pairs is even), as sbibm has it.
//!
//! No matrix of n² entries is ever formed: the kernel is summed tile by tile, the median found by counting. For samples too large for
//! n² kernel values, [`random_feature_mmd2`] takes time linear in n.

mod features;
mod kernel;
mod median;
mod permutation;

use crate::{DiagnosticsError, Result, check};
use kernel::{Blocks, GaussianKernel};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use tallsbi_data::Monitor;

pub use features::{FeatureMmd, random_feature_mmd2, some_rows};
pub use permutation::{PermutationOptions, PermutationTest, permutation_test};

/// How the kernel's width σ is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bandwidth {
    /// Median pairwise distance of the reference (sbibm).
    #[default]
    MedianOfReference,
    /// Median pairwise distance of both samples together: unchanged when rows are swapped between them, which an exact
    /// permutation test needs.
    MedianOfPooled,
    /// The given σ > 0, in the units of the data.
    Fixed(f64),
}

/// An unbiased estimate of MMD².
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mmd {
    /// MMD², between about -1/n and 2; may be negative.
    pub squared: f64,
    /// σ of the kernel.
    pub bandwidth: f64,
}

/// Unbiased MMD² between `reference` (N, d) and `samples` (M, d).
///
/// Cost O((N+M)² d) on all threads, memory O(N+M).
///
/// # Errors
/// Matrices of different widths, with fewer than two rows or values that are not finite, constant columns, a fixed bandwidth
/// that is not positive, or a median distance of 0.
pub fn unbiased_mmd2(
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    bandwidth: Bandwidth,
    monitor: &dyn Monitor,
) -> Result<Mmd> {
    check::two_samples(reference, samples, 2)?;
    let sigma = resolve(bandwidth, reference, samples, monitor)?;
    let kernel = GaussianKernel::new(sigma, reference);
    let (x, y) = (kernel.scale(reference), kernel.scale(samples));
    let stage = monitor.stage("kernel sums", "tiles", (x.blocks().tile_count() * 2 + y.blocks().tile_count()) as u64);
    let (n, m) = (reference.nrows() as f64, samples.nrows() as f64);
    let within_x = kernel::sum_pairs(&x, &stage)?;
    let within_y = kernel::sum_pairs(&y, &stage)?;
    let between = kernel::sum_between(&x, &y, &stage)?;
    let squared = 2.0 * within_x / (n * (n - 1.0)) + 2.0 * within_y / (m * (m - 1.0)) - 2.0 * between / (n * m);
    Ok(Mmd { squared, bandwidth: sigma })
}

/// Median of the N(N-1)/2 pairwise distances of the rows of `samples` (N, d), the lower one where their number is even.
///
/// Exact, in memory O(N): the median is bracketed by a sample of pairs, then every pair is counted against the bracket
/// until the few distances that remain can be sorted. Two passes over the pairs as a rule.
///
/// # Errors
/// Fewer than two rows, values that are not finite, or a median of 0.
pub fn median_bandwidth(samples: ArrayView2<'_, f64>, monitor: &dyn Monitor) -> Result<f64> {
    named_median(check::SAMPLES, samples, monitor)
}

fn named_median(what: &'static str, samples: ArrayView2<'_, f64>, monitor: &dyn Monitor) -> Result<f64> {
    check::finite(what, samples, 2)?;
    let median = median::median_distance(&Blocks::new(samples), monitor)?;
    if median > 0.0 { Ok(median) } else { Err(DiagnosticsError::ZeroBandwidth { what }) }
}

fn resolve(
    bandwidth: Bandwidth,
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    monitor: &dyn Monitor,
) -> Result<f64> {
    match bandwidth {
        Bandwidth::MedianOfReference => named_median(check::REFERENCE, reference, monitor),
        Bandwidth::MedianOfPooled => named_median("pooled samples", pooled(reference, samples).view(), monitor),
        Bandwidth::Fixed(sigma) if sigma > 0.0 && sigma.is_finite() => Ok(sigma),
        Bandwidth::Fixed(sigma) => Err(DiagnosticsError::Setting {
            name: "bandwidth",
            value: sigma.to_string(),
            requirement: "must be positive and finite",
        }),
    }
}

fn pooled(reference: ArrayView2<'_, f64>, samples: ArrayView2<'_, f64>) -> ndarray::Array2<f64> {
    ndarray::concatenate(ndarray::Axis(0), &[reference.view(), samples.view()]).expect("widths were checked to agree")
}
