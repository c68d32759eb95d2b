//! Models and calibration pairs in files.

use super::CovarianceFile;
use super::simulate::task_of;
use crate::{Error, Model, Result, Simulations};
use ndarray::{Array2, Array3, ArrayView2};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tallsbi_data::{Monitor, StreamKey};
use tallsbi_files::TrainingSet;
use tallsbi_inference::model::TrainedModel;
use tallsbi_inference::sample::{SampleInfo, SampleOptions};
use tallsbi_inference::score::MomentCache;

/// A model with the file it was read from, and perhaps a file of covariances beside it.
pub struct ModelFile {
    /// The model.
    pub model: Model,
    path: PathBuf,
    covariances: Option<CovarianceFile>,
}

impl ModelFile {
    /// Reads a model file, ours or a published network's.
    ///
    /// # Errors
    /// As [`load_model`].
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self { model: Model::new(load_model(path)?), path: path.to_owned(), covariances: None })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps covariances estimated with these options in a file in `folder`, and uses what is there already.
    ///
    /// # Errors
    /// When the folder cannot be made or the model's file not be read.
    pub fn keep_covariances(&mut self, folder: &Path, options: &SampleOptions) -> Result<()> {
        let dim = self.model.trained().dim_theta();
        self.covariances = Some(CovarianceFile::open(folder, &self.path, dim, &options.moments)?);
        Ok(())
    }

    /// Samples the posterior of each group of observations (n, d): parameters (G, S, m), and what it took.
    ///
    /// # Errors
    /// As [`Model::sample`].
    pub fn sample(
        &self,
        groups: &[ArrayView2<'_, f32>],
        key: StreamKey,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        self.with_covariances(|cache| self.model.sample_groups(groups, key, options, cache, monitor))
    }

    /// Several independent runs given the same observations (n, d): parameters (chain, draw, m), and what they took.
    ///
    /// # Errors
    /// As [`Model::sample_chains`].
    pub fn sample_chains(
        &self,
        observations: ArrayView2<'_, f32>,
        chains: NonZeroUsize,
        key: StreamKey,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        self.with_covariances(|cache| self.model.sample_chains(observations, chains, options, key, cache, monitor))
    }

    /// Samples with what is known of covariances, and keeps what becomes known.
    fn with_covariances<T>(&self, sample: impl FnOnce(Option<&MomentCache>) -> Result<T>) -> Result<T> {
        let samples = sample(self.covariances.as_ref().map(CovarianceFile::cache))?;
        if let Some(file) = &self.covariances {
            file.save();
        }
        Ok(samples)
    }
}

/// Reads a model file, ours or a published network's; [`Model::new`](crate::Model::new) prepares it for sampling.
///
/// # Errors
/// When it is missing, cannot be read, is damaged or something else.
pub fn load_model(path: &Path) -> Result<TrainedModel> {
    let input = |message: String| Error::Input { origin: path.display().to_string(), message };
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => input("no such file; training writes models".into()),
        _ => input(format!("cannot be read: {error}")),
    })?;
    TrainedModel::from_bytes(&bytes).map_err(|error| Error::from(error).about(path.display()))
}

/// The rows of a training set, at most the first `limit` of the file.
///
/// # Errors
/// When it cannot be read, or θ lies outside its prior's support.
pub fn read_pairs(path: &Path, limit: Option<u64>) -> Result<Simulations> {
    let set = TrainingSet::open(path)?;
    let spec = set.spec();
    let (mut theta, mut x, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    set.for_each_raw_block::<Error>(limit, |rows| {
        theta.extend(&rows.theta);
        x.extend(&rows.x);
        valid.extend(&rows.valid);
        Ok(())
    })?;
    let shape =
        |error: ndarray::ShapeError| Error::Input { origin: path.display().to_string(), message: error.to_string() };
    Ok(Simulations {
        prior: set.prior().clone(),
        theta: Array2::from_shape_vec((valid.len(), spec.prior.dim()), theta).map_err(shape)?,
        x: Array3::from_shape_vec((valid.len(), spec.n_obs.unwrap_or(1), spec.dim_x), x).map_err(shape)?,
        valid,
        conditions: set.spec().conditions,
        observation_names: set.spec().observation_names.clone(),
        x_transform: set.spec().x_transform,
        task: set.provenance().task.clone(),
        signal_window: task_of(&set).and_then(|task| task.signal_window()),
    })
}
