//! Samples of posteriors given many observations: composes a model's scores, starts particles, runs a sampler, in parallel.
//!
//! One call serves one posterior with many samples as well as thousands of posteriors with one sample each (calibration). Work is
//! cut into *units* of whole groups, whose context is built once and dropped with the unit, and units into *chunks* of
//! particles, each of which runs the whole sampler with its own buffers: no synchronisation a step, memory bounded by
//! threads × (unit's context + chunk). A sample is a function of (model, its group's observations, options, key, group index, sample
//! index) alone.

mod driver;
mod options;

pub use options::{ErrorOfNetworks, FactorizedOptions, GaussianOptions, Method, SampleOptions};

use crate::score::{MomentCache, ScoreModel};
use crate::{InferenceError, Result};
use driver::Driver;
use ndarray::{Array3, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{LatentMap, Monitor, Parcel, Prior, StreamKey};

/// Which posteriors to sample.
pub struct SampleRequest<'a, 'x> {
    /// Observations of each posterior, (n_g, d) in the simulator's units.
    pub groups: &'a [ArrayView2<'x, f32>],
    /// Index of the first group among all groups of a larger run that this is a part of (else 0): keeps its random numbers.
    pub first_group: u64,
    /// Root of the random streams.
    pub key: StreamKey,
    /// Where estimated covariances are looked up and kept; results are the same without.
    pub covariances: Option<&'a MomentCache>,
}

/// Work and incidents of a run; goes into the attributes of posterior files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleInfo {
    /// Scores of single factors evaluated while sampling.
    pub pairs: u64,
    /// The same, to estimate covariances, be it in this run or in the one whose estimates it found.
    pub moment_pairs: u64,
    /// Evaluations of the tall score a sample.
    pub evaluations: u64,
    /// Precisions Λ checked.
    pub precisions: u64,
    /// Of these, not positive definite and repaired.
    pub repaired: u64,
    /// Scores changed because the denoised mean was outside the prior's box.
    #[serde(default)]
    pub thresholded: u64,
    /// Covariances Σ̂_j whose eigenvalues were clamped to the prior's.
    pub clamped: u64,
    /// Samples that are not finite or beyond ±[`DIVERGED`] in latent space; they are in the output as they are.
    pub diverged: u64,
    /// Posteriors among several whose samples are not from them, because particles could not follow ([`crate::tempering`]).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub collapsed: u64,
    /// Noise ratio at the start.
    pub start_noise: f64,
    /// Smallest noise ratio at which a group's sampler stopped; 0 when it went to t = 0 by itself.
    pub end_noise: f64,
    /// From refined models: share of samples at the edge of the region in which simulations were made, the largest of all posteriors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_edge: f64,
    /// From likelihoods with an error of their own: observations' worth that the posterior counts, the fewest of all posteriors; 0 where it counts all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worth: f64,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Parcel for SampleInfo {
    fn pack(&self, to: &mut Vec<u8>) {
        let Self { pairs, moment_pairs, evaluations, precisions, repaired, thresholded, .. } = *self;
        let Self { clamped, diverged, collapsed, start_noise, end_noise, at_edge, worth, .. } = *self;
        let counts =
            [pairs, moment_pairs, evaluations, precisions, repaired, thresholded, clamped, diverged, collapsed];
        counts.iter().for_each(|count| count.pack(to));
        [start_noise, end_noise, at_edge, worth].iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut &[u8]) -> Option<Self> {
        let mut count = || u64::unpack(from);
        let counts = Self {
            pairs: count()?,
            moment_pairs: count()?,
            evaluations: count()?,
            precisions: count()?,
            repaired: count()?,
            thresholded: count()?,
            clamped: count()?,
            diverged: count()?,
            collapsed: count()?,
            ..Self::default()
        };
        let mut value = || f64::unpack(from);
        Some(Self { start_noise: value()?, end_noise: value()?, at_edge: value()?, worth: value()?, ..counts })
    }
}

/// Latent coordinates beyond this many prior standard deviations (about) count as diverged.
pub const DIVERGED: f64 = 100.0;

/// Samples in latent space.
#[derive(Debug, Clone)]
pub struct Samples {
    /// (G, S, m).
    pub latent: Array3<f64>,
    /// Work and incidents.
    pub info: SampleInfo,
}

impl Samples {
    /// The samples as parameters of the simulator, (G, S, m).
    pub fn to_parameters(&self, map: &LatentMap) -> Array3<f64> {
        let (groups, samples, m) = self.latent.dim();
        let mut out = vec![0.0; groups * samples * m];
        let latent = self.latent.as_standard_layout();
        let flat = latent.as_slice().expect("standard layout");
        out.par_chunks_mut(m).zip(flat.par_chunks(m)).for_each(|(theta, z)| map.to_parameters(z, theta));
        Array3::from_shape_vec((groups, samples, m), out).expect("sizes agree")
    }
}

/// Particles that run through a sampler together.
const CHUNK: usize = 64;

/// Samples the posteriors of all groups, in latent space.
///
/// `prior` is the prior of latent parameters ([`LatentMap::latent_prior`]).
///
/// # Errors
/// For options out of range, observations that do not fit the model, covariances that cannot be estimated, or when
/// cancelled.
pub fn sample_posteriors<M: ScoreModel>(
    model: &M,
    prior: &Prior,
    request: &SampleRequest<'_, '_>,
    options: &SampleOptions,
    monitor: &dyn Monitor,
) -> Result<Samples> {
    options.validate()?;
    let m = model.dim_theta();
    if prior.dim() != m {
        return Err(InferenceError::Shape {
            what: "prior",
            expected: format!("{m} parameters"),
            found: prior.dim().to_string(),
        });
    }
    let driver = Driver::new(model, prior, request, options, monitor)?;
    let groups = request.groups.len();
    // Whole groups, so that a context is built once; enough of them to fill a chunk.
    let width = CHUNK.div_ceil(options.samples);
    let unit = |unit: usize| driver.unit(unit * width..((unit + 1) * width).min(groups));
    let several = |units: Range<usize>| units.into_par_iter().map(unit).collect::<Result<Vec<_>>>();
    let count = groups.div_ceil(width);
    let units = if count < monitor.sharing() {
        // Too few for all processes: they share the particles of each.
        vec![(0..count).map(unit).collect::<Result<Vec<_>>>()?]
    } else {
        monitor.share("sample posteriors", count, several)?
    };
    let mut latent = Vec::with_capacity(groups * options.samples * m);
    let mut info = driver.info;
    for (samples, part) in units.into_iter().flatten() {
        latent.extend(samples);
        merge(&mut info, &part);
    }
    info.diverged =
        latent.chunks_exact(m).filter(|row| row.iter().any(|z| z.is_nan() || z.abs() > DIVERGED)).count() as u64;
    let latent = Array3::from_shape_vec((groups, options.samples, m), latent).expect("each unit gives its samples");
    Ok(Samples { latent, info })
}

fn merge(info: &mut SampleInfo, part: &SampleInfo) {
    info.pairs += part.pairs;
    info.moment_pairs += part.moment_pairs;
    info.precisions += part.precisions;
    info.repaired += part.repaired;
    info.thresholded += part.thresholded;
    info.clamped += part.clamped;
    info.evaluations = info.evaluations.max(part.evaluations);
    info.end_noise = if info.end_noise == 0.0 { part.end_noise } else { info.end_noise.min(part.end_noise) };
}
