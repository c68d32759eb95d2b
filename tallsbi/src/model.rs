//! A trained model, and the posteriors it gives.

use crate::{Error, Result};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use std::num::NonZeroUsize;
use tallsbi_data::{Component, LatentMap, Monitor, Named, StreamKey};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::lapse::LAPSE;
use tallsbi_inference::model::{Believed, Lapse, Lapsing, LikelihoodModel, PreparedModel, Region, TrainedModel};
use tallsbi_inference::notes::Note;
use tallsbi_inference::refine::{Reach, sample_refined};
use tallsbi_inference::sample::{
    ErrorOfNetworks, Method, SampleInfo, SampleOptions, SampleRequest, Samples, sample_posteriors,
};
use tallsbi_inference::score::MomentCache;
use tallsbi_inference::tempering::{Likelihood, sample_tempered};

/// A trained model, ready to be sampled from.
pub struct Model {
    trained: TrainedModel,
    prepared: PreparedModel,
}

/// Samples of the posterior given n observations.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Names of the parameters, in the order of the columns; the last is the rate of lapses where it is [inferred](SampleOptions::lapse).
    pub names: Vec<String>,
    /// Samples (S, m).
    pub theta: Array2<f64>,
    /// The probability that each observation is a lapse, where there may be some.
    pub lapses: Option<Vec<f64>>,
    /// n.
    pub n_obs: usize,
    /// Work and incidents.
    pub info: SampleInfo,
}

/// What should be told of samples before they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caution {
    /// Samples that ran away.
    Diverged {
        /// How many.
        samples: u64,
        /// Of how many.
        total: u64,
        /// Whether it may come from a uniform prior whose box denoised means are not kept in.
        unbounded: bool,
    },
    /// The posterior leads out of the region in which a refined model was simulated: its samples are no answer.
    Elsewhere {
        /// Percent of the samples at the edge of that region.
        percent: u64,
    },
    /// Posteriors, among several, that the sampler could not follow: their samples are not from them.
    Collapsed {
        /// How many.
        posteriors: u64,
        /// Of how many.
        total: u64,
    },
    /// Posteriors that the networks' own error widens.
    Widened {
        /// Observations' worth that they count, the fewest of all.
        worth: u64,
    },
    /// Precisions that were not positive definite.
    Repaired {
        /// How many.
        precisions: u64,
        /// Of how many.
        total: u64,
    },
}

impl std::fmt::Display for Caution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Diverged { samples, total, .. } => write!(f, "{samples} of {total} samples diverged"),
            Self::Elsewhere { percent } => {
                write!(f, "{percent} % of the samples lie at the edge of what the refined model knows")
            }
            Self::Collapsed { posteriors, total } => {
                write!(
                    f,
                    "{posteriors} of {total} posteriors could not be sampled: their observations may be unlike all that the model can produce"
                )
            }
            Self::Widened { worth } => write!(
                f,
                "the posterior includes the network's own error, which all observations share: it is as wide as one of about {worth} observations"
            ),
            Self::Repaired { precisions, total } => {
                write!(f, "{precisions} of {total} precisions were not positive definite and were repaired")
            }
        }
    }
}

impl Model {
    /// Prepares a trained model for sampling.
    pub fn new(trained: TrainedModel) -> Self {
        Self { prepared: trained.prepare(), trained }
    }

    /// A model from the bytes of a safetensors file, ours or a published network's.
    ///
    /// # Errors
    /// When they are neither, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self::new(TrainedModel::from_bytes(bytes)?))
    }

    /// The same likelihood where each of `known` = (parameter, value) is known and leaves the prior: what the data tell of the others then. It needs no training and is exactly
    /// this model's p(x | θ) there.
    ///
    /// # Errors
    /// As [`TrainedModel::with_fixed`].
    pub fn with_fixed(&self, known: &[(String, f64)]) -> Result<Self> {
        Ok(Self::new(self.trained.with_fixed(known)?))
    }

    /// The bytes of its safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.trained.to_bytes()
    }

    /// Networks, maps and the record of training.
    pub fn trained(&self) -> &TrainedModel {
        &self.trained
    }

    /// The networks as they are evaluated.
    pub fn prepared(&self) -> &PreparedModel {
        &self.prepared
    }

    /// Names of the parameters.
    pub fn names(&self) -> &[String] {
        self.trained.latent.prior().names()
    }

    /// Names of what is sampled with these options: the parameters, and the rate of lapses if it is inferred.
    pub fn sampled_names(&self, options: &SampleOptions) -> Vec<String> {
        let rate = (options.lapse == Some(Lapse::Infer)).then(|| LAPSE.to_owned());
        self.names().iter().cloned().chain(rate).collect()
    }

    /// Whether it learned the likelihood, which is sampled by tempering; otherwise scores, which are composed.
    pub fn is_likelihood(&self) -> bool {
        matches!(self.prepared, PreparedModel::Likelihood(_) | PreparedModel::Refined(_))
    }

    /// Whether sampling with these options estimates covariances from samples.
    pub fn estimates_covariances(&self, options: &SampleOptions) -> bool {
        matches!((&self.prepared, &options.method), (PreparedModel::Noise(_), Method::Gauss(_) | Method::Gaussian(_)))
    }

    /// Names of the composition and the sampler that posteriors come from.
    pub fn sampling_names(&self, options: &SampleOptions) -> (&'static str, &'static str) {
        match &self.prepared {
            PreparedModel::Likelihood(_) if self.trained.mean_scores().is_some() => ("mean-scores", "tempering"),
            PreparedModel::Likelihood(_) => ("likelihood", "tempering"),
            PreparedModel::Refined(_) => ("refined", "tempering"),
            _ if matches!(options.method, Method::Gaussian(_)) => (options.method.name(), "exact"),
            _ => (options.method.name(), options.sampler.name()),
        }
    }

    /// Observations (n, d) as the model takes them: less the offsets it was trained with, which single precision could not hold.
    ///
    /// # Errors
    /// As [`Model::check_width`].
    pub fn centre(&self, origin: &str, observations: ArrayView2<'_, f64>) -> Result<Array2<f32>> {
        self.check_shape(origin, observations.dim())?;
        Ok(self.trained.observation_map.centre(observations))
    }

    /// What is to be said about observations (n, d), [centred](Model::centre), before their posterior is believed: those unlike all
    /// simulations, and more.
    ///
    /// # Errors
    /// When they do not fit the model or are not finite.
    pub fn examine(&self, observations: ArrayView2<'_, f32>) -> Result<Vec<Note>> {
        Ok(self.trained.examine(observations)?)
    }

    /// Checks that observations of `dim_x` values can be given to the model; `origin` names them.
    ///
    /// # Errors
    /// [`Error::Shape`] when they have another width than those it was trained on.
    pub fn check_width(&self, origin: &str, dim_x: usize) -> Result<()> {
        if dim_x == self.trained.dim_x() {
            return Ok(());
        }
        Err(self.other_width(origin, format!("{dim_x} values")))
    }

    /// The same of an array of observations (n, d), with a hint where it seems to lie on its side.
    fn check_shape(&self, origin: &str, (n, dim_x): (usize, usize)) -> Result<()> {
        if n != self.trained.dim_x() {
            return self.check_width(origin, dim_x);
        }
        if dim_x == n {
            return Ok(());
        }
        Err(self.other_width(origin, format!("{dim_x} values, {n} times; transpose them, an observation is a row")))
    }

    fn other_width(&self, origin: &str, found: String) -> Error {
        let known = match self.trained.info.conditions {
            0 => String::new(),
            count => format!(", the first {count} of them conditions"),
        };
        let expected =
            format!("observations of {} values{known}, which the model was trained on", self.trained.dim_x());
        Error::Shape { what: origin.into(), expected, found }
    }

    /// Samples the posterior given the observations (n, d), [centred](Model::centre) where the model has offsets.
    ///
    /// # Errors
    /// When options are out of range, observations do not fit the model, or the monitor asked to stop.
    pub fn sample(
        &self,
        observations: ArrayView2<'_, f32>,
        options: &SampleOptions,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<Posterior> {
        let n_obs = observations.nrows();
        let (one, key) = (NonZeroUsize::MIN, StreamKey::root(seed));
        let (samples, info) = self.sample_chains(observations, one, options, key, None, monitor)?;
        let theta = samples.index_axis_move(Axis(0), 0);
        let lapses = self.lapse_probabilities(observations, theta.view(), options, monitor)?;
        Ok(Posterior { names: self.sampled_names(options), theta, lapses, n_obs, info })
    }

    /// `chains` independent runs of the sampler given the same observations (n, d), [centred](Model::centre), each of `options.samples` samples: (chain, draw, m), and what
    /// all took. The first is what [`Model::sample`] draws with this key's seed. Each has random numbers, a population and a look at the [network's own error](Believed) of its own, so
    /// that R̂ between them compares posteriors, and not parts of one.
    ///
    /// # Errors
    /// As [`Model::sample`]; when a chain of several cannot follow the posterior.
    pub fn sample_chains(
        &self,
        observations: ArrayView2<'_, f32>,
        chains: NonZeroUsize,
        options: &SampleOptions,
        key: StreamKey,
        covariances: Option<&MomentCache>,
        monitor: &dyn Monitor,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        self.check_width("observations", observations.ncols())?;
        let groups = vec![observations; chains.get()];
        let (samples, info) = self.sample_groups(&groups, key, options, covariances, monitor)?;
        if info.collapsed > 0 {
            return Err(Error::Chains { collapsed: info.collapsed, chains: chains.get() });
        }
        Ok((samples, info))
    }

    /// The probability that each observation (n, d) is a lapse, given samples (S, m) that were drawn with these options; nothing where they know of no lapses.
    ///
    /// # Errors
    /// As [`Model::sample`].
    pub fn lapse_probabilities(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Vec<f64>>> {
        let Some((lapsing, map)) = self.lapsing(options)? else { return Ok(None) };
        let latent = latent(&map, theta)?;
        Ok(Some(lapsing.probabilities(observations, &latent, monitor)?))
    }

    /// The likelihood with the lapses that options ask for, and the map of its latent parameters.
    pub(crate) fn lapsing(&self, options: &SampleOptions) -> Result<Option<(Lapsing<'_>, LatentMap)>> {
        let Some(lapse) = options.lapse else { return Ok(None) };
        if self.trained.mean_scores().is_some() {
            let message = "the model was refined for observations without lapses; give the one it was refined from, or leave it out";
            return Err(InferenceError::Option { option: LAPSE, message: message.into() }.into());
        }
        let PreparedModel::Likelihood(model) = &self.prepared else {
            let architecture = self.trained.architecture();
            let message = format!(
                "a model of architecture {architecture} does not take lapses; train one of the likelihood, or leave it out"
            );
            return Err(InferenceError::Option { option: LAPSE, message }.into());
        };
        let lapsing = Lapsing::new(model, lapse)?;
        let map = lapsing.latent_map(&self.trained.latent)?;
        Ok(Some((lapsing, map)))
    }

    /// Samples the posterior of each group of observations (n, d): [what is sampled](Self::sampled_names) (G, S, m), and what it took. Covariances that are
    /// estimated are looked up and kept in `covariances`; results are the same without.
    ///
    /// # Errors
    /// As [`Model::sample`].
    pub fn sample_groups(
        &self,
        groups: &[ArrayView2<'_, f32>],
        key: StreamKey,
        options: &SampleOptions,
        covariances: Option<&MomentCache>,
        monitor: &dyn Monitor,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        let request = SampleRequest { groups, first_group: 0, key, covariances };
        if let Some((lapsing, map)) = self.lapsing(options)? {
            let samples = self.sample_likelihood(&lapsing, &request, options, monitor)?;
            return Ok((samples.to_parameters(&map), samples.info));
        }
        if let Some(summarised) = self.summarised(groups, monitor)? {
            let samples = summarised.sample(&request, options, monitor)?;
            return Ok((samples.to_parameters(&self.trained.latent), samples.info));
        }
        let prior = self.trained.latent.latent_prior();
        let samples = match &self.prepared {
            PreparedModel::Noise(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Anchored(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Likelihood(model) => {
                self.sample_network(model, &request, options, monitor).map(|mut samples| {
                    let m = samples.latent.dim().2;
                    let edge = |region: &Region| {
                        let of = |u: ArrayView2<'_, f64>| region.at_edge(&u.iter().copied().collect::<Vec<_>>(), m);
                        samples.latent.outer_iter().map(of).fold(0.0, f64::max)
                    };
                    samples.info.at_edge = model.region().map_or(0.0, edge);
                    samples
                })
            }
            PreparedModel::Refined(model) => {
                sample_refined(model, &request, options.samples, None, &options.tempering, monitor)
                    .map(|(samples, _)| samples)
            }
        }?;
        Ok((samples.to_parameters(&self.trained.latent), samples.info))
    }

    /// Samples `model`, which is this one's: where it has a location parameter that can be integrated out, particles follow the others.
    fn sample_network(
        &self,
        model: &LikelihoodModel,
        request: &SampleRequest<'_, '_>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> tallsbi_inference::Result<Samples> {
        // A likelihood that counts for fewer observations than there are would count so within the integral.
        let whole = self.trained.info.error.is_none() || options.network_error == ErrorOfNetworks::Ignore;
        if let Some(collapsed) = model.collapsed().filter(|_| whole) {
            let takes: tallsbi_inference::Result<Vec<bool>> =
                request.groups.iter().map(|group| collapsed.takes(*group)).collect();
            if takes?.into_iter().all(|takes| takes) {
                self.check_error_option(options)?;
                return collapsed.sample(request, options.samples, &options.tempering, monitor);
            }
        }
        self.sample_likelihood(model, request, options, monitor)
    }

    /// Refuses to leave out an error that is a part of the likelihood.
    fn check_error_option(&self, options: &SampleOptions) -> tallsbi_inference::Result<()> {
        if !(self.trained.shares_error() && options.network_error == ErrorOfNetworks::Ignore) {
            return Ok(());
        }
        let message = "the error is a part of this model's likelihood; train with shared_error = false to take networks for exact";
        Err(InferenceError::Option { option: "network_error", message: message.into() })
    }

    /// Samples `likelihood`, which is that of the model or one with further parameters, with the networks' error unless options leave it out.
    fn sample_likelihood<L: Likelihood>(
        &self,
        likelihood: &L,
        request: &SampleRequest<'_, '_>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> tallsbi_inference::Result<Samples> {
        let (samples, tempering) = (options.samples, &options.tempering);
        self.check_error_option(options)?;
        let error = self.trained.info.error.filter(|_| options.network_error == ErrorOfNetworks::Include);
        match (&self.prepared, error) {
            (PreparedModel::Likelihood(model), Some(error)) => {
                Believed::new(model, error).sample(likelihood, request, samples, tempering, monitor)
            }
            _ => Ok(sample_tempered(likelihood, request, samples, tempering, monitor)?.0),
        }
    }

    /// What should be told of `total` samples drawn with these options.
    pub fn cautions(&self, info: &SampleInfo, options: &SampleOptions, total: usize) -> Vec<Caution> {
        let mut cautions = Vec::new();
        if info.diverged > 0 {
            // Outside its box a uniform prior's score, taken 1 - n times, drives samples away.
            let prior = self.trained.latent.latent_prior();
            let uniform = prior.components().iter().any(|component| matches!(component, Component::Uniform { .. }));
            let unbounded = uniform && !options.threshold;
            cautions.push(Caution::Diverged { samples: info.diverged, total: total as u64, unbounded });
        }
        if Reach::leads_elsewhere(info.at_edge) {
            cautions.push(Caution::Elsewhere { percent: (100.0 * info.at_edge).round() as u64 });
        }
        if info.collapsed > 0 {
            let total = (total / options.samples.max(1)) as u64;
            cautions.push(Caution::Collapsed { posteriors: info.collapsed, total });
        }
        if info.worth > 0.0 {
            cautions.push(Caution::Widened { worth: info.worth.round() as u64 });
        }
        if info.repaired > 0 {
            cautions.push(Caution::Repaired { precisions: info.repaired, total: info.precisions });
        }
        cautions
    }
}

/// Latent coordinates of parameters (S, m), row by row.
fn latent(map: &LatentMap, theta: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
    let m = map.dim();
    if theta.ncols() != m {
        let expected = format!("the parameters {}", map.prior().names().join(", "));
        return Err(Error::Shape { what: "theta".into(), expected, found: format!("{} values", theta.ncols()) });
    }
    let mut latent = vec![0.0; theta.len()];
    for (row, out) in theta.outer_iter().zip(latent.chunks_exact_mut(m)) {
        map.to_latent(&row.to_vec(), out);
    }
    Ok(latent)
}
