//! MMD² in linear time, by random Fourier features.
//!
//! The Gaussian kernel is the mean of cos(ωᵀ(a-b)) over ω ~ N(0, I/σ²) (Rahimi and Recht 2007, Sec. 3). With Z_x(ω) = Σ_j exp(i ωᵀx_j)
//! over the N rows of the reference and Z_y(ω) over the M samples,
//!
//! MMD²(ω) = (|Z_x|² - N) / (N(N-1)) + (|Z_y|² - M) / (M(M-1)) - 2 Re(Z_x Z̄_y) / (NM),
//!
//! whose mean over ω is the unbiased estimate of [`unbiased_mmd2`](super::unbiased_mmd2): the diagonals, which are 1, are left out. It is averaged over D
//! frequencies; cosine and sine of each enter as a pair, which has the smaller variance (Sutherland and Schneider 2015, Prop. 2).

use super::{Bandwidth, Mmd, named_median, pooled, resolve};
use crate::{DiagnosticsError, Result, check};
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::index;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Frequencies that one task sums at a time: they share a pass over the rows.
const CHUNK: usize = 8;

/// Most frequencies: their sums are kept.
const MOST_FREQUENCIES: usize = 10_000_000;

/// Rows among which medians of distances are taken, drawn at random.
const MEDIAN_ROWS: usize = 5000;

/// An estimate of [`unbiased_mmd2`](super::unbiased_mmd2) by random features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeatureMmd {
    /// MMD² and the kernel's width.
    pub mmd: Mmd,
    /// Standard error of MMD² from the random frequencies alone, against the quadratic estimate at the same width; the noise of the two samples
    /// is not in it.
    pub standard_error: f64,
    /// D.
    pub frequencies: usize,
}

/// MMD² between `reference` (N, d) and `samples` (M, d) from `frequencies` D random frequencies.
///
/// Cost O((N+M) D d) on all threads, memory O((N+M) d + D); the same bytes for any number of threads. Medians of distances are those of
/// 5000 rows drawn at random (all, if there are fewer).
///
/// # Errors
/// As [`super::unbiased_mmd2`], and for fewer than 2 or more than 10⁷ frequencies.
pub fn random_feature_mmd2(
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    frequencies: usize,
    bandwidth: Bandwidth,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<FeatureMmd> {
    if !(2..=MOST_FREQUENCIES).contains(&frequencies) {
        return Err(DiagnosticsError::Setting {
            name: "frequencies",
            value: frequencies.to_string(),
            requirement: "must be at least 2, and at most 10000000 to fit into memory",
        });
    }
    check::two_samples(reference, samples, 2)?;
    let sigma = width(bandwidth, reference, samples, key, monitor)?;
    let centre = reference.mean_axis(Axis(0)).expect("samples were checked to have rows");
    let scaled = |rows: ArrayView2<'_, f64>| (&rows - &centre) / sigma;
    let (x, y) = (scaled(reference), scaled(samples));
    let key = key.child(Purpose::Projection);
    let stage = monitor.stage("random features", "frequencies", frequencies as u64);
    let mut values = vec![0.0; frequencies];
    values.par_chunks_mut(CHUNK).enumerate().try_for_each(|(chunk, out)| {
        let draw = |i: usize| StandardNormal.sample_iter(key.rng((chunk * CHUNK + i) as u64)).take(x.ncols()).collect();
        let omegas: Vec<Vec<f64>> = (0..out.len()).map(draw).collect();
        stage.check()?;
        let of_x = sums(&x, &omegas);
        stage.check()?;
        let of_y = sums(&y, &omegas);
        out.iter_mut().zip(of_x.iter().zip(&of_y)).for_each(|(value, (x_sum, y_sum))| {
            *value = contribution((x_sum, x.nrows() as f64), (y_sum, y.nrows() as f64));
        });
        stage.advance(out.len() as u64);
        Ok::<_, DiagnosticsError>(())
    })?;
    let count = frequencies as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
    let mmd = Mmd { squared: mean, bandwidth: sigma };
    Ok(FeatureMmd { mmd, standard_error: (variance / count).sqrt(), frequencies })
}

/// σ, with medians of distances among some of the rows.
fn width(
    bandwidth: Bandwidth,
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<f64> {
    match bandwidth {
        Bandwidth::MedianOfReference => {
            named_median(check::REFERENCE, some_rows(reference, MEDIAN_ROWS, key).view(), monitor)
        }
        Bandwidth::MedianOfPooled => named_median(
            "pooled samples",
            some_rows(pooled(reference, samples).view(), MEDIAN_ROWS, key).view(),
            monitor,
        ),
        Bandwidth::Fixed(_) => resolve(bandwidth, reference, samples, monitor),
    }
}

/// At most `most` rows of a sample, drawn at random without replacement, in their order: what a quadratic estimate can be made of where
/// there are too many.
pub fn some_rows(sample: ArrayView2<'_, f64>, most: usize, key: StreamKey) -> Array2<f64> {
    if sample.nrows() <= most {
        return sample.to_owned();
    }
    let mut rows = index::sample(&mut key.child(Purpose::Subset).rng(0), sample.nrows(), most).into_vec();
    rows.sort_unstable();
    sample.select(Axis(0), &rows)
}

/// Σ_j cos(ωᵀx_j) and Σ_j sin(ωᵀx_j) for each ω.
fn sums(rows: &Array2<f64>, omegas: &[Vec<f64>]) -> Vec<[f64; 2]> {
    let mut sums = vec![[0.0; 2]; omegas.len()];
    for row in rows.outer_iter() {
        for (sum, omega) in sums.iter_mut().zip(omegas) {
            let phase: f64 = row.iter().zip(omega).map(|(x, omega)| x * omega).sum();
            let (sin, cos) = phase.sin_cos();
            sum[0] += cos;
            sum[1] += sin;
        }
    }
    sums
}

/// MMD²(ω) from the sums of both samples, with their numbers of rows.
fn contribution((x, n): (&[f64; 2], f64), (y, m): (&[f64; 2], f64)) -> f64 {
    let within = |sum: &[f64; 2], n: f64| (sum[0] * sum[0] + sum[1] * sum[1] - n) / (n * (n - 1.0));
    within(x, n) + within(y, m) - 2.0 * (x[0] * y[0] + x[1] * y[1]) / (n * m)
}
