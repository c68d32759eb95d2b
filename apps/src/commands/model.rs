//! Models and how posteriors are sampled from them, for every command that does.

use super::covariance_file::CovarianceFile;
use super::sampling_arguments::{method_name, sampler_name};
use crate::context::Context;
use anyhow::{Context as _, Result, anyhow, bail};
use ndarray::{Array3, ArrayView2};
use std::path::{Path, PathBuf};
use tallsbi_data::{Component, StreamKey};
use tallsbi_inference::model::{PreparedModel, TrainedModel};
use tallsbi_inference::sample::{Method, SampleInfo, SampleOptions, SampleRequest, sample_posteriors};
use tallsbi_inference::tempering::sample_tempered;

/// A model that is ready to be sampled from.
pub struct Model {
    /// The trained model.
    pub trained: TrainedModel,
    prepared: PreparedModel,
    path: PathBuf,
    covariances: Option<CovarianceFile>,
}

impl Model {
    /// Reads a model file, ours or a reference network.
    pub fn load(path: &Path) -> Result<Self> {
        let trained = load_model(path)?;
        Ok(Self { prepared: trained.prepare(), trained, path: path.to_owned(), covariances: None })
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is sampled by tempering.
    pub fn is_likelihood(&self) -> bool {
        matches!(self.prepared, PreparedModel::Likelihood(_))
    }

    /// Whether sampling with these options estimates covariances from samples.
    pub fn estimates_covariances(&self, options: &SampleOptions) -> bool {
        matches!((&self.prepared, &options.method), (PreparedModel::Noise(_), Method::Gauss(_) | Method::Gaussian(_)))
    }

    /// Keeps covariances estimated with these options in a file in `folder`, and uses what is there already.
    pub fn keep_covariances(&mut self, folder: &Path, options: &SampleOptions) -> Result<()> {
        self.covariances = Some(CovarianceFile::open(folder, &self.path, self.trained.dim_theta(), &options.moments)?);
        Ok(())
    }

    /// Names of the composition and the sampler that posteriors come from.
    pub fn sampling_names(&self, options: &SampleOptions) -> (&'static str, &'static str) {
        match &self.prepared {
            PreparedModel::Likelihood(_) => ("likelihood", "tempering"),
            _ if matches!(options.method, Method::Gaussian(_)) => (method_name(&options.method), "exact"),
            _ => (method_name(&options.method), sampler_name(&options.sampler)),
        }
    }

    /// Checks that observations of `dim_x` values can be given to the model.
    pub fn check_width(&self, what: &str, dim_x: usize) -> Result<()> {
        if dim_x != self.trained.dim_x() {
            bail!(
                "{what}: observations have {dim_x} values, but {} was trained on {}",
                self.path.display(),
                self.trained.dim_x()
            );
        }
        Ok(())
    }

    /// Samples the posterior of each group of observations (n, d): parameters (G, S, m), and what it took.
    pub fn sample(
        &self,
        context: &Context,
        groups: &[ArrayView2<'_, f32>],
        key: StreamKey,
        options: &SampleOptions,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        let total = groups.len() * options.samples;
        let monitor = &context.monitor();
        let covariances = self.covariances.as_ref().map(CovarianceFile::cache);
        let request = SampleRequest { groups, first_group: 0, key, covariances };
        let prior = self.trained.latent.latent_prior();
        let samples = match &self.prepared {
            PreparedModel::Noise(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Anchored(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Likelihood(model) => {
                sample_tempered(model, &request, options.samples, &options.tempering, monitor)
                    .map(|(samples, _)| samples)
            }
        }?;
        if let Some(file) = &self.covariances {
            file.save();
        }
        let info = samples.info;
        if info.diverged > 0 {
            // Outside its box a uniform prior's score, taken 1 - n times, drives samples away.
            let uniform = prior.components().iter().any(|component| matches!(component, Component::Uniform { .. }));
            let remedy = if uniform && !options.threshold {
                "leave threshold = false out of --sampling-config, as the prior is uniform, or use --clip"
            } else {
                "use more --steps, another --sampler, or --clip"
            };
            tracing::warn!("{} of {total} samples diverged; {remedy}", info.diverged);
        }
        if info.repaired > 0 {
            tracing::warn!(
                "{} of {} precisions were not positive definite and were repaired",
                info.repaired,
                info.precisions
            );
        }
        Ok((samples.to_parameters(&self.trained.latent), info))
    }
}

/// Reads a model file without preparing it for sampling.
pub fn load_model(path: &Path) -> Result<TrainedModel> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!("{}: no such file; `tallsbi train` writes models", path.display()),
        _ => anyhow!(error).context(format!("{}: cannot be read", path.display())),
    })?;
    TrainedModel::from_bytes(&bytes).with_context(|| path.display().to_string())
}
