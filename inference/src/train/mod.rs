//! Training of networks on single observations (paper Sec. 2.2, App. E, F).

mod data;
mod denoising;
mod density;
mod features;
mod likelihood;
mod noising;
mod options;
mod run;
#[cfg(test)]
mod tests;
mod trainer;

pub use data::TrainingData;
pub use features::{Features, Storage};
pub use options::{
    AnchorOptions, Architecture, DensityForm, LatentKind, LikelihoodOptions, MOST_OUTPUTS, NoiseLevels,
    OptimizerOptions, SearchOptions, TrainOptions,
};
pub use trainer::{EpochRecord, TrainerState};

use crate::model::trained::{TrainedModel, TrainingRecord};
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use tallsbi_data::StreamKey;

/// Where a training run stands; enough to go on to the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What the run depends on; a checkpoint of another run is refused.
    pub fingerprint: String,
    /// Weights and records of the networks trained before the current ones.
    done: Vec<(Vec<f32>, TrainingRecord)>,
    /// The networks being trained.
    pub current: Vec<TrainerState>,
}

/// How far a training run is. Networks that do not depend on each other are trained side by side, epoch by epoch.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is being trained: "anchor", "residual", "noise", "likelihood, 3 forms", ...
    pub stage: &'a str,
    /// Epochs done.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Epochs at most of the stages still to come.
    pub epochs_to_come: usize,
    /// The networks of this stage, those that stopped early included.
    pub networks: &'a [NetworkProgress<'a>],
}

/// How far one network is.
#[derive(Debug, Clone, Copy)]
pub struct NetworkProgress<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its last epoch's record.
    pub record: EpochRecord,
    /// Its best validation loss so far and the epoch of it.
    pub best: (f64, usize),
}

/// Sees every epoch of a training run and decides whether it goes on.
pub trait Monitor {
    /// Called after each epoch; `checkpoint` makes what [`train`] needs to resume from here (it copies the weights).
    fn epoch(&mut self, progress: &Progress<'_>, checkpoint: &dyn Fn() -> Checkpoint) -> ControlFlow<()>;
}

/// A monitor that lets training run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmonitored;

impl Monitor for Unmonitored {
    fn epoch(&mut self, _: &Progress<'_>, _: &dyn Fn() -> Checkpoint) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Trains a model on the current thread pool; with `resume`, goes on from a checkpoint of the same run (same `fingerprint`).
///
/// The result depends on data, options and `key` only: not on the number of threads, nor on interruptions.
///
/// # Errors
/// When options are out of range, the checkpoint is of another run, training diverges, or the monitor stops it.
pub fn train(
    data: &TrainingData,
    options: &TrainOptions,
    key: StreamKey,
    fingerprint: &str,
    resume: Option<Checkpoint>,
    monitor: &mut dyn Monitor,
) -> Result<TrainedModel> {
    options.validate()?;
    if resume.as_ref().is_some_and(|checkpoint| checkpoint.fingerprint != fingerprint) {
        return Err(InferenceError::Option {
            option: "resume",
            message: "the checkpoint is of a run with other data, options or seed; start anew without it".into(),
        });
    }
    let run = run::Run::new(data, options, key, fingerprint, monitor, resume);
    match options.architecture.resolve(data.dim_x, data.is_counts()) {
        Architecture::Auto | Architecture::Anchored => run.anchored(),
        Architecture::Noise => run.noise(),
        Architecture::Likelihood => run.likelihood(),
    }
}
