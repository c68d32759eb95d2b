//! Infers the parameters of a simulator from *many* observations of the same thing, from one network trained on single observations.
//!
//! A [`Task`] simulates [`Simulations`]; [`train`] makes a [`Model`] of them; the model samples the posterior given any
//! number of observations, and [`calibration`] checks such posteriors:
//!
//! ```
//! use tallsbi::{Silent, TrainOptions, calibration, observe, simulate, task, train};
//!
//! let task = task("sir", &Default::default())?;
//! let simulations = simulate(&*task, 2_000, 1, 0, &Silent)?;
//! let mut options = TrainOptions::default();
//! options.likelihood.members = 1;
//! # options.likelihood.optimizer.epochs = 2;
//! # options.likelihood.hidden = vec![16];
//! let model = train(&simulations, &options, 0, &Silent)?;
//! let observations = observe(&*task, &[0.4, 0.125], 30, 0, &Silent)?;
//! let posterior = model.sample(observations.view(), &Default::default(), 0, &Silent)?;
//! println!("{:?}", posterior.theta.mean_axis(ndarray::Axis(0)));
//! // Are the posteriors given 30 observations calibrated over the prior?
//! let pairs = simulate(&*task, 50, 30, 1, &Silent)?;
//! let check = calibration::sbc(&model, &pairs, &Default::default(), 0, &Silent)?;
//! println!("p = {}", check.p_value);
//! # Ok::<(), tallsbi::Error>(())
//! ```
//!
//! * Nothing here prints: work tells a [`Monitor`] how far it is, and asks it whether to stop.
//! * Same seed, same bytes, for any number of threads.
//! * Recordings (EDF, BDF, BrainVision) become observations of a model of signals: [`summarise_recording`].
//! * The libraries below are of use on their own: [`simulators`], [`inference`] (networks, compositions, samplers), [`diagnostics`]
//!   (on plain arrays of draws, whoever drew them), [`data`] (priors, random streams).
//! * With the feature `files`, `on_disk` does the same with files that are resumed after an interruption. Without it, no C library is
//!   linked.

pub mod calibration;
mod compare;
mod conditional;
mod density;
mod error;
mod mean_scores;
mod mode;
mod model;
mod notes;
mod predict;
mod recording;
mod reference;
mod refine;
mod sensitivity;
mod simulate;
mod surprise;
#[cfg(test)]
mod testing;
mod train;

/// Most threads that a front end may ask for: no machine has more cores, and each takes memory for its stack.
pub const MOST_THREADS: u16 = 4096;

#[cfg(feature = "files")]
pub mod distributed;
#[cfg(feature = "files")]
pub mod on_disk;
#[cfg(feature = "files")]
mod session;

pub use compare::{Confusion, Evidence, compare, confusion};
pub use conditional::{PosteriorSbcOptions, posterior_sbc};
pub use error::{Error, Result, is_cancelled, is_usage, one_line};
pub use mode::{Conditional, Laplace, Mode};
pub use model::{Caution, Model, Posterior};
pub use notes::in_names;
pub use predict::{PosteriorPredictions, Predictions, predict, predict_posterior};
pub use recording::{RecordingOptions, WindowSummaries, summarise_recording, summarise_signal};
pub use reference::{
    ReferenceCalibration, ReferenceMethod, ReferencePosterior, Retries, calibrate_reference, sample_reference,
    task_log_posterior,
};
pub use refine::{KeepSimulations, RefineFrom, Refined, Simulated, goes_by_scores, refine};
pub use sensitivity::Sensitivity;
#[cfg(feature = "files")]
pub use session::Session;
pub use simulate::{Simulations, draw_parameters, draw_truth, observe, simulate};
pub use surprise::Surprise;
pub use tallsbi_data::{Monitor, Prior, Progress, Silent, StreamKey};
pub use tallsbi_inference::refine::RefineOptions;
pub use tallsbi_inference::sample::SampleOptions;
pub use tallsbi_inference::train::TrainOptions;
pub use tallsbi_simulators::{Task, TaskOptions, task};
pub use train::{Checkpoints, declare, train, train_resumable};

pub use tallsbi_data as data;
pub use tallsbi_diagnostics as diagnostics;
#[cfg(feature = "files")]
pub use tallsbi_files as files;
pub use tallsbi_inference as inference;
pub use tallsbi_recordings as recordings;
pub use tallsbi_simulators as simulators;
