//! Training of networks on single observations (paper Sec. 2.2, App. E, F).

mod anchored;
mod atoms;
mod candidates;
mod checkpoint;
mod columns;
mod data;
mod denoising;
mod density;
mod disagreement;
mod features;
mod least_squares;
mod likelihood;
mod networks;
mod noising;
mod optimizer;
mod options;
mod race;
mod residuals;
mod rows;
mod run;
mod screen;
mod selection;
mod shared;
mod standardise;
mod streams;
mod success;
mod symmetry;
mod tails;
#[cfg(test)]
pub(crate) mod tests;
mod trainer;
mod trust;

pub use checkpoint::Checkpoint;
pub use data::{RowBlock, RowSource, TrainingData, VisitBlocks, VisitRows};
pub use features::{Features, Storage};
pub use optimizer::{Algorithm, OptimizerOptions, SearchOptions};
pub use options::{
    AnchorOptions, Architecture, DensityForm, LatentKind, LikelihoodOptions, MOST_OUTPUTS, NoiseLevels, Outliers,
    TrainOptions,
};
pub use screen::screen_rows;
pub use trainer::{EpochRecord, TrainerState};

pub use crate::model::Failures;
use crate::model::trained::TrainedModel;
use crate::{InferenceError, Result};
use tallsbi_data::{Monitor, StreamKey};

/// Where checkpoints go. Called after each epoch, and with `last` before a run stops because its monitor asked it to, be it in the
/// middle of an epoch, which is then done again; `checkpoint`
/// makes what [`train_resumable`] resumes from (it copies the weights).
pub type Keep<'a> = dyn FnMut(Last, &dyn Fn() -> Checkpoint) -> std::result::Result<(), BoxError> + 'a;

/// An error of the caller's that passes through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a run stops after this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It does: this is the last chance to keep a checkpoint.
    Yes,
    /// It goes on.
    No,
}

/// How a training run is kept and gone on with.
pub struct Resumable<'a> {
    /// All that decides the result, as text.
    pub fingerprint: &'a str,
    /// A checkpoint of a run with the same fingerprint.
    pub resume: Option<Checkpoint>,
    /// Takes checkpoints.
    pub keep: Box<Keep<'a>>,
}

impl Resumable<'static> {
    /// A run from the start, without checkpoints.
    pub fn unkept() -> Self {
        Self { fingerprint: "", resume: None, keep: Box::new(|_, _| Ok(())) }
    }
}

/// Trains a model on the current thread pool. Networks that do not depend on each other are trained side by side, epoch by epoch.
///
/// The result depends on data, options and `key` only: not on the number of threads.
///
/// # Errors
/// When options are out of range, training diverges, or the monitor stops it.
pub fn train(
    data: &TrainingData,
    options: &TrainOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<TrainedModel> {
    train_resumable(data, options, key, Resumable::unkept(), monitor)
}

/// As [`train`], with checkpoints to go on from: a resumed run has the result of an uninterrupted one.
///
/// # Errors
/// As [`train`], when the checkpoint is of another run, and when checkpoints cannot be kept.
pub fn train_resumable(
    data: &TrainingData,
    options: &TrainOptions,
    key: StreamKey,
    run: Resumable<'_>,
    monitor: &dyn Monitor,
) -> Result<TrainedModel> {
    options.validate()?;
    if run.resume.as_ref().is_some_and(|checkpoint| checkpoint.fingerprint != run.fingerprint) {
        return Err(InferenceError::Option {
            option: "resume",
            message: "the checkpoint is of a run with other data, options or seed; start anew without it".into(),
        });
    }
    let run = run::Run::new(data, options, key, run, monitor);
    match options.architecture.resolve(data.dim_x, data.is_counts()) {
        Architecture::Auto | Architecture::Anchored => run.anchored(),
        Architecture::Noise => run.noise(),
        Architecture::Likelihood => run.likelihood(),
    }
}
