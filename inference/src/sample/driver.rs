//! From a request to samples: contexts, covariances, start and end of the noise, chunks of particles.

use super::{CHUNK, Method, SampleInfo, SampleOptions, SampleRequest, merge};
use crate::prior_score::{DiffusedPrior, Level, PriorScore};
use crate::sampler::{Control, ParticleStreams, Particles, Span};
use crate::score::covariance::{Factors, Moments, factor_key, moments, start_time};
use crate::score::{
    FactorizedScore, GaussInformation, GaussRule, JacRule, MomentCache, PosteriorScore, PriorTerm, ScoreContext,
    ScoreCounters, ScoreModel, TallGaussian, TallScore, WithinSupport,
};
use crate::{InferenceError, Result};
use ndarray::s;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::{Monitor, Prior, Purpose, Stage};

/// Noise ratio to stop at when nothing is known of the posterior's width.
const DEFAULT_END_NOISE: f64 = 1e-3;

/// Share of the smallest standard deviation at which to stop: the last step then errs by at most 0.1⁴/8 of it.
const END_SHARE: f64 = 0.1;

/// What all units share.
pub(super) struct Driver<'a, 'r, 'x, M: ScoreModel> {
    model: &'a M,
    prior: DiffusedPrior,
    /// The prior that bounds denoised means, if they are to be bounded.
    support: Option<&'a Prior>,
    null: Option<M::Context>,
    null_moments: Option<Moments>,
    request: &'a SampleRequest<'r, 'x>,
    options: &'a SampleOptions,
    monitor: &'a dyn Monitor,
    stage: Stage<'a>,
    start: f64,
    pub info: SampleInfo,
}

/// What the chunks of a unit share.
struct Unit<'u, M: ScoreModel> {
    context: &'u M::Context,
    information: Option<&'u GaussInformation>,
    gaussians: &'u [Option<TallGaussian>],
    first: usize,
}

impl<'a, 'r, 'x, M: ScoreModel> Driver<'a, 'r, 'x, M> {
    pub fn new(
        model: &'a M,
        prior: &'a Prior,
        request: &'a SampleRequest<'r, 'x>,
        options: &'a SampleOptions,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let mut info = SampleInfo::default();
        let null = if options.learned_prior { model.null_context() } else { None };
        if options.learned_prior && null.is_none() {
            return Err(InferenceError::Option {
                option: "learned_prior",
                message: "this model was trained without dropped contexts; use the analytic prior score".into(),
            });
        }
        let null_moments = match (&null, &options.method) {
            (Some(null), Method::Gauss(_) | Method::Gaussian(_)) => {
                // A group index of its own, beyond any real group.
                let key = factor_key(request.key, u64::MAX, 0);
                let entry = |_| MomentCache::key(None, key);
                let factors = Factors { count: 1, key: |_| key, entry: &entry, cache: request.covariances };
                let (estimate, pairs) = moments(model, null, &factors, &options.moments, monitor)?;
                info.moment_pairs = pairs;
                Some(estimate)
            }
            _ => None,
        };
        let noise = options.start_noise.or_else(|| model.max_noise());
        let start = start_time(model.schedule(), &options.sampler, noise);
        let level = Level::new(model.schedule(), start);
        info.start_noise = (level.variance / level.alpha).sqrt();
        let support = options.thresholds().then_some(prior);
        let prior = DiffusedPrior::new(prior, options.prior)?;
        let support = support.filter(|_| !prior.is_gaussian());
        let stage = monitor.stage("sample", "samples", (request.groups.len() * options.samples) as u64);
        Ok(Self { model, prior, support, null, null_moments, request, options, monitor, stage, start, info })
    }

    /// Samples a range of groups, in order.
    pub fn unit(&self, groups: Range<usize>) -> Result<(Vec<f64>, SampleInfo)> {
        let mut info = SampleInfo::default();
        let context = self.model.context(&self.request.groups[groups.clone()])?;
        let information = self.information(&context, groups.start, &mut info)?;
        let gaussians: Vec<_> = (0..groups.len())
            .map(|group| information.as_ref().and_then(|known| known.tall_gaussian(&context, group, &self.prior)))
            .collect();
        let unit =
            Unit { context: &context, information: information.as_ref(), gaussians: &gaussians, first: groups.start };
        let particles = groups.len() * self.options.samples;
        let chunk = |chunk: usize| self.chunk(&unit, chunk * CHUNK..((chunk + 1) * CHUNK).min(particles));
        let several = |chunks: Range<usize>| chunks.into_par_iter().map(chunk).collect::<Result<Vec<_>>>();
        let chunks = self.monitor.share("sample particles", particles.div_ceil(CHUNK), several)?;
        let mut samples = Vec::with_capacity(particles * self.model.dim_theta());
        for (theta, part) in chunks.into_iter().flatten() {
            samples.extend(theta);
            merge(&mut info, &part);
        }
        Ok((samples, info))
    }

    /// GAUSS's information, if the method needs it or the model has it for free (then it helps to choose start and end).
    fn information(
        &self,
        context: &M::Context,
        first: usize,
        info: &mut SampleInfo,
    ) -> Result<Option<GaussInformation>> {
        let wanted = self.options.covariances().is_some();
        let options = self.options.covariances().unwrap_or_default();
        let count = (0..context.groups()).map(|group| context.factors(group).end).max().unwrap_or(0);
        let estimate = if wanted {
            let owner: Vec<(usize, usize)> = (0..context.groups())
                .flat_map(|group| context.factors(group).enumerate().map(move |(j, _)| (group, j)))
                .collect();
            let key = |factor: usize| {
                let (group, j) = owner[factor];
                factor_key(self.request.key, self.request.first_group + (first + group) as u64, j)
            };
            let entry = |factor: usize| {
                let (group, j) = owner[factor];
                let x = self.request.groups[first + group];
                // A set of several is known by its group's observations and its place among them, which its stream has.
                let single = context.factors(group).len() == x.nrows();
                let x = if single { x.slice_move(s![j..=j, ..]) } else { x };
                MomentCache::key(Some(x), key(factor))
            };
            let factors = Factors { count, key, entry: &entry, cache: self.request.covariances };
            let (estimate, pairs) = moments(self.model, context, &factors, &self.options.moments, self.monitor)?;
            info.moment_pairs += pairs;
            estimate
        } else {
            match self.model.covariances(context) {
                Some(covariances) => Moments { covariances, means: self.model.means(context) },
                None => return Ok(None),
            }
        };
        let learned = self.null_moments.as_ref().map(|moments| moments.covariances.as_slice());
        let information = GaussInformation::new(context, &estimate, &self.prior, learned, &options)?;
        info.clamped += if wanted { information.clamped } else { 0 };
        Ok(Some(information))
    }

    /// Runs the particles of a chunk, those with the same end together.
    fn chunk(&self, unit: &Unit<'_, M>, range: Range<usize>) -> Result<(Vec<f64>, SampleInfo)> {
        let m = self.model.dim_theta();
        let samples = self.options.samples;
        let mut theta = vec![0.0; range.len() * m];
        let mut info = SampleInfo::default();
        let mut ends: Vec<f64> = range.clone().map(|p| self.end_noise(unit, p / samples)).collect();
        let of_particle = ends.clone();
        ends.sort_by(f64::total_cmp);
        ends.dedup();
        for end in ends {
            let members: Vec<usize> = range.clone().filter(|p| of_particle[p - range.start] == end).collect();
            let (moved, part) = self.run(unit, &members, end)?;
            for (row, p) in moved.chunks_exact(m).zip(&members) {
                theta[(p - range.start) * m..][..m].copy_from_slice(row);
            }
            merge(&mut info, &part);
        }
        self.stage.advance(range.len() as u64);
        Ok((theta, info))
    }

    fn end_noise(&self, unit: &Unit<'_, M>, group: usize) -> f64 {
        let known = unit.gaussians[group].as_ref().map(|gaussian| END_SHARE * gaussian.smallest_sd);
        // Rounded to a power of two, so that similar groups can run together without depending on each other.
        let chosen = known.filter(|noise| *noise > 0.0).map(|noise| noise.log2().floor().exp2());
        let noise = self.options.end_noise.or(chosen).unwrap_or(DEFAULT_END_NOISE);
        // Always some way to go, whatever was asked for.
        noise.min(0.5 * self.info.start_noise)
    }

    fn run(&self, unit: &Unit<'_, M>, members: &[usize], end_noise: f64) -> Result<(Vec<f64>, SampleInfo)> {
        let groups: Vec<u32> = members.iter().map(|p| (p / self.options.samples) as u32).collect();
        let streams = |purpose: Purpose| {
            members.iter().map(move |p| {
                let group = self.request.first_group + (unit.first + p / self.options.samples) as u64;
                self.request.key.child(purpose).indexed(group).rng((p % self.options.samples) as u64)
            })
        };
        let subsets = match self.options.composition().mini_batch {
            Some(_) => streams(Purpose::Subset).collect(),
            None => Vec::new(),
        };
        let mut theta = Vec::with_capacity(members.len() * self.model.dim_theta());
        if matches!(self.options.method, Method::Gaussian(_)) {
            for (mut rng, group) in streams(Purpose::SamplerStart).zip(&groups) {
                self.product(unit.gaussians[*group as usize].as_ref(), &mut rng, &mut theta)?;
            }
            return Ok((theta, SampleInfo::default()));
        }
        for (mut rng, group) in streams(Purpose::SamplerStart).zip(&groups) {
            self.start_point(unit.gaussians[*group as usize].as_ref(), &mut rng, &mut theta);
        }
        let mut particles =
            Particles { theta, noise: Box::new(ParticleStreams(streams(Purpose::SamplerNoise).collect())) };
        let mut score = self.score(unit, groups, subsets);
        let span = Span { start: self.start, ..Span::whole(self.model.schedule(), end_noise) };
        let control = Control { span, clip: self.options.clip, monitor: self.monitor };
        let sampler = self.options.sampler.sampler();
        let run = sampler.run(score.as_mut(), &mut particles, &control)?;
        let ScoreCounters { pairs, precisions, repaired, thresholded } = score.counters();
        let end_noise = if sampler.stops_at_end() { end_noise } else { 0.0 };
        let info = SampleInfo {
            pairs,
            precisions,
            repaired,
            thresholded,
            evaluations: run.evaluations,
            end_noise,
            ..SampleInfo::default()
        };
        Ok((particles.theta, info))
    }

    /// A draw from the product of Gaussians.
    fn product(&self, gaussian: Option<&TallGaussian>, rng: &mut rand_pcg::Pcg64, theta: &mut Vec<f64>) -> Result<()> {
        let known = gaussian.and_then(|gaussian| Some((gaussian.mean.as_ref()?, &gaussian.covariance)));
        let Some((mean, covariance)) = known.filter(|_| self.prior.is_gaussian()) else {
            return Err(InferenceError::Option {
                option: "method",
                message: "gaussian needs a prior-gaussian latent space and single posteriors that overlap; use gauss"
                    .into(),
            });
        };
        let m = mean.len();
        let mut l = covariance.clone();
        if !crate::small_matrix::cholesky(&mut l, m) {
            return Err(InferenceError::Option {
                option: "method",
                message: "the product of Gaussians has no density; use gauss".into(),
            });
        }
        let z: Vec<f64> = (0..m).map(|_| StandardNormal.sample(rng)).collect();
        theta.extend((0..m).map(|i| mean[i] + crate::small_matrix::dot(&l[i * m..=i * m + i], &z[..=i])));
        Ok(())
    }

    /// N(√α μ_G, α Σ_G + v I) where the start is not yet pure noise and the Gaussian approximation is known, else N(0, I).
    fn start_point(&self, gaussian: Option<&TallGaussian>, rng: &mut rand_pcg::Pcg64, theta: &mut Vec<f64>) {
        let m = self.model.dim_theta();
        let z: Vec<f64> = (0..m).map(|_| StandardNormal.sample(rng)).collect();
        let level = Level::new(self.model.schedule(), self.start);
        let known = gaussian.and_then(|gaussian| Some((gaussian.mean.as_ref()?, &gaussian.covariance)));
        let Some((mean, covariance)) = known.filter(|_| self.start < 1.0 && self.prior.is_gaussian()) else {
            theta.extend(z);
            return;
        };
        let mut l: Vec<f64> = covariance.iter().map(|value| level.alpha * value).collect();
        for i in 0..m {
            l[i * m + i] += level.variance;
        }
        if !crate::small_matrix::cholesky(&mut l, m) {
            theta.extend(z);
            return;
        }
        let row = |i: usize| crate::small_matrix::dot(&l[i * m..=i * m + i], &z[..=i]);
        theta.extend((0..m).map(|i| level.alpha.sqrt() * mean[i] + row(i)));
    }

    fn score<'u>(
        &'u self,
        unit: &Unit<'u, M>,
        groups: Vec<u32>,
        subsets: Vec<rand_pcg::Pcg64>,
    ) -> Box<dyn PosteriorScore + 'u> {
        let prior = match &self.null {
            Some(null) => PriorTerm::Learned(null),
            None => PriorTerm::Analytic(&self.prior),
        };
        let composition = self.options.composition();
        let score: Box<dyn PosteriorScore + 'u> = match &self.options.method {
            Method::Gauss(_) => {
                let information = unit.information.expect("made for this method");
                let rule = GaussRule::new(information, &composition);
                Box::new(TallScore::new(self.model, unit.context, prior, rule, composition, groups, subsets))
            }
            Method::Jac(options) => {
                let rule = JacRule::new(self.model.dim_theta(), options).with_prior(&self.prior);
                Box::new(TallScore::new(self.model, unit.context, prior, rule, composition, groups, subsets))
            }
            Method::Gaussian(_) => unreachable!("drawn without scores"),
            Method::Fnpe(options) => Box::new(FactorizedScore::new(
                self.model,
                unit.context,
                prior,
                options.bridge,
                options.mini_batch,
                groups,
                subsets,
            )),
        };
        match self.support {
            Some(prior) => Box::new(WithinSupport::new(score, prior)),
            None => score,
        }
    }
}
