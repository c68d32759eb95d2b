//! Means and covariances of single factors' posteriors, which GAUSS needs: from the model if it knows them, else from samples.

use super::moment_cache::{EntryKey, Estimate, MomentCache};
use super::{Pair, PosteriorScore, ScoreCounters, ScoreModel};
use crate::prior_score::Level;
use crate::sampler::{Control, DpmSolver, ParticleStreams, Particles, SamplerOptions, Span};
use crate::schedule::NoiseSchedule;
use crate::{InferenceError, Result};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// First two moments of each factor's posterior, in latent space.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Σ̂_j, (factors, m, m).
    pub covariances: Vec<f64>,
    /// μ_j, (factors, m), if known.
    pub means: Option<Vec<f64>>,
}

/// How moments are estimated when the model does not know them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentOptions {
    /// Samples a factor; the paper uses 1000. The relative error of a covariance is about √(2/samples).
    pub samples: usize,
    /// The sampler; the paper uses DDIM with 100 steps and η = 0.5. Twenty evaluations of stochastic DPM-Solver++ leave
    /// standard deviations within 3 % where DDIM's are too narrow by tens of per cent (docs/samplers.md).
    pub sampler: SamplerOptions,
    /// Noise ratio √(v/α) at which samplers that do not go to t = 0 by themselves stop: small beside a posterior's standard
    /// deviation given one observation.
    pub end_noise: f64,
}

impl Default for MomentOptions {
    fn default() -> Self {
        Self { samples: 1000, sampler: SamplerOptions::DpmSolver(DpmSolver { steps: 20, eta: 1.0 }), end_noise: 5e-3 }
    }
}

impl MomentOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !(2..=100_000_000).contains(&self.samples) {
            let message = "must be at least 2, and at most 100000000 to fit into memory".into();
            return Err(InferenceError::Option { option: "moments.samples", message });
        }
        if !(self.end_noise > 0.0 && self.end_noise < 1.0) {
            return Err(InferenceError::Option { option: "moments.end_noise", message: "must be in (0, 1)".into() });
        }
        self.sampler.sampler().validate()
    }
}

/// The score given one factor each: the particle `p` is of factor `factors[p]`.
pub struct SingleScore<'a, M: ScoreModel> {
    model: &'a M,
    context: &'a M::Context,
    workspace: M::Workspace,
    pairs: Vec<Pair>,
    evaluated: u64,
}

impl<'a, M: ScoreModel> SingleScore<'a, M> {
    /// The score of particles of the given factors.
    pub fn new(model: &'a M, context: &'a M::Context, factors: impl IntoIterator<Item = usize>) -> Self {
        let pairs: Vec<Pair> = factors
            .into_iter()
            .enumerate()
            .map(|(particle, factor)| Pair { particle: particle as u32, factor: factor as u32 })
            .collect();
        Self { model, context, workspace: model.workspace(pairs.len()), pairs, evaluated: 0 }
    }
}

impl<M: ScoreModel> PosteriorScore for SingleScore<'_, M> {
    fn dim(&self) -> usize {
        self.model.dim_theta()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        self.model.schedule()
    }

    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()> {
        self.model.begin(theta, t, &mut self.workspace);
        self.model.scores(self.context, &self.pairs, &mut self.workspace, out);
        self.evaluated += self.pairs.len() as u64;
        Ok(())
    }

    fn counters(&self) -> ScoreCounters {
        ScoreCounters { pairs: self.evaluated, ..ScoreCounters::default() }
    }
}

/// Noise ratio to start at, unless the model or the options say otherwise, for samplers that are not bound to a grid uniform in t:
/// at 100 prior standard deviations of noise, N(0, I) misses the diffused posterior by 1 % of a standard deviation at most, and
/// at t = 1 (noise 2981 with the paper's schedule) a third of the steps would be spent on nothing.
const DEFAULT_START_NOISE: f64 = 100.0;

/// The first time of a sampler's run: where the noise ratio is `noise`; where that is not given, [`DEFAULT_START_NOISE`] or t = 1.
pub(crate) fn start_time(schedule: &dyn NoiseSchedule, sampler: &SamplerOptions, noise: Option<f64>) -> f64 {
    let default = sampler.sampler().stops_at_end().then_some(DEFAULT_START_NOISE);
    noise.or(default).map_or(1.0, |noise| schedule.time_of_half_log_snr(-noise.ln()).min(1.0))
}

/// Samples of one factor are moved in pieces of this many particles, in parallel.
const PIECE: usize = 250;

/// The factors whose moments are wanted.
pub struct Factors<'a, K> {
    /// How many, from 0.
    pub count: usize,
    /// The random stream of each.
    pub key: K,
    /// The name of each in `cache` ([`MomentCache::key`]).
    pub entry: &'a (dyn Fn(usize) -> EntryKey + Sync),
    /// Estimates of earlier runs; gets those of this one.
    pub cache: Option<&'a MomentCache>,
}

/// Moments of factors of a context: the model's own, or from samples. Factors and pieces of 250 samples of each run in parallel, so
/// that all observations together keep all cores and the network's tiles full. Returns also the number of single scores it took, be
/// it now or when a cached estimate was made.
///
/// # Errors
/// When a factor has fewer than m + 1 finite samples, when cancelled, or from the model.
pub fn moments<M: ScoreModel>(
    model: &M,
    context: &M::Context,
    factors: &Factors<'_, impl Fn(usize) -> StreamKey + Sync>,
    options: &MomentOptions,
    monitor: &dyn Monitor,
) -> Result<(Moments, u64)> {
    if let Some(covariances) = model.covariances(context) {
        return Ok((Moments { covariances, means: model.means(context) }, 0));
    }
    let m = model.dim_theta();
    let span = Span {
        start: start_time(model.schedule(), &options.sampler, model.max_noise()),
        ..Span::whole(model.schedule(), options.end_noise)
    };
    let sample = |factor: usize| -> Result<Estimate> {
        let pieces: Result<Vec<_>> = (0..options.samples.div_ceil(PIECE))
            .into_par_iter()
            .map(|piece| {
                let range = piece * PIECE..((piece + 1) * PIECE).min(options.samples);
                let mut score = SingleScore::new(model, context, range.clone().map(|_| factor));
                let control = Control { span, clip: None, monitor };
                let mut particles =
                    start_particles((factors.key)(factor), range, m, Level::new(model.schedule(), span.start));
                options.sampler.sampler().run(&mut score, &mut particles, &control)?;
                Ok((particles.theta, score.counters().pairs))
            })
            .collect();
        let pieces = pieces?;
        let pairs = pieces.iter().map(|(_, count)| count).sum();
        let (mean, covariance) = sample_moments(pieces.iter().flat_map(|(theta, _)| theta.chunks_exact(m)), m)
            .ok_or_else(|| InferenceError::Option {
                option: "covariances",
                message: format!(
                    "the samples of factor {factor}'s posterior diverged; give the sampler more steps or train the model longer"
                ),
            })?;
        Ok(Estimate { mean, covariance, pairs })
    };
    let estimate = |factor: usize| -> Result<Estimate> {
        let Some(cache) = factors.cache else { return sample(factor) };
        let key = (factors.entry)(factor);
        if let Some(known) = cache.get(&key) {
            return Ok(known);
        }
        let estimate = sample(factor)?;
        cache.insert(key, estimate.clone());
        Ok(estimate)
    };
    let all: Result<Vec<_>> = (0..factors.count).into_par_iter().map(estimate).collect();
    let all = all?;
    let pairs = all.iter().map(|estimate| estimate.pairs).sum();
    let means = all.iter().flat_map(|estimate| estimate.mean.iter().copied()).collect();
    let covariances = all.iter().flat_map(|estimate| estimate.covariance.iter().copied()).collect();
    Ok((Moments { covariances, means: Some(means) }, pairs))
}

/// Particles of a single posterior at the start: N(0, (α + v) I).
fn start_particles(key: StreamKey, rows: std::ops::Range<usize>, m: usize, level: Level) -> Particles {
    let scale = (level.alpha + level.variance).sqrt();
    let mut streams: Vec<_> = rows.map(|row| key.rng(row as u64)).collect();
    let mut theta = Vec::with_capacity(streams.len() * m);
    for rng in &mut streams {
        for _ in 0..m {
            let z: f64 = StandardNormal.sample(rng);
            theta.push(scale * z);
        }
    }
    Particles { theta, noise: Box::new(ParticleStreams(streams)) }
}

/// The key under which a group's factor is sampled.
pub(crate) fn factor_key(key: StreamKey, group: u64, factor: usize) -> StreamKey {
    key.child(Purpose::Covariance).indexed(group).indexed(factor as u64)
}

/// Mean and (unbiased) covariance of the finite rows; `None` when there are fewer than m + 1.
pub fn sample_moments<'a>(rows: impl Iterator<Item = &'a [f64]> + Clone, m: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let finite = rows.filter(|row| row.iter().all(|value| value.is_finite()));
    let mut count = 0.0;
    let mut mean = vec![0.0; m];
    for row in finite.clone() {
        count += 1.0;
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value;
        }
    }
    if count < (m + 1) as f64 {
        return None;
    }
    mean.iter_mut().for_each(|value| *value /= count);
    let mut covariance = vec![0.0; m * m];
    for row in finite {
        for i in 0..m {
            for j in 0..=i {
                covariance[i * m + j] += (row[i] - mean[i]) * (row[j] - mean[j]);
            }
        }
    }
    for i in 0..m {
        for j in 0..=i {
            covariance[i * m + j] /= count - 1.0;
            covariance[j * m + i] = covariance[i * m + j];
        }
    }
    Some((mean, covariance))
}
