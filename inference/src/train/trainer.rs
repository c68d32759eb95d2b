//! The optimisation loop: epochs over shuffled rows, validation of the averaged weights, early stopping, checkpoints.
//!
//! Unlike the published code, the validation noise is fixed, the *averaged* weights are validated, and the best ones are
//! copied, not aliased.

use super::optimizer::{Algorithm, OptimizerOptions};
use crate::{InferenceError, Result};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Monitor, Purpose, StreamKey};
use tallsbi_network::{
    AdamSettings, Ema, EmaSettings, GradientAccumulator, LearningRateSchedule, MatrixPlace, Soap, clip_global_norm,
};

/// Rows whose gradient one worker computes at a time, at most: fixed, so that sums do not depend on the number of threads.
pub const CHUNK_ROWS: usize = 64;

/// Rows of a worker's share of a batch: small batches are two workers' too.
fn chunk_rows(batch_size: usize) -> usize {
    batch_size.div_ceil(2).min(CHUNK_ROWS)
}

/// SOAP's own averages (Vyas et al. 2024): short ones of squares serve losses whose gradients' sizes vary (`docs/lab/likelihood.md`).
const SOAP: AdamSettings = AdamSettings { beta1: 0.95, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0, l2_penalty: 0.0 };

/// Validation loss, relative to that of the initial weights, beyond which training counts as exploded. Far out, because the
/// negative log-likelihood of one outlier can be thousands for some epochs of a training that ends well.
const EXPLOSION: f64 = 1e6;

/// Some rows and the random numbers that go with them.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Rows of the training set.
    pub rows: &'a [u32],
    /// Streams of the noise, one a position in the batch.
    pub noise: StreamKey,
    /// Offset of the low-discrepancy noise levels, in \[0, 1).
    pub level_offset: f64,
    /// Whether the noise is the fixed one of the validation rows.
    pub validation: bool,
}

/// A loss over rows of the training set, of flat parameters.
pub trait Objective: Sync {
    /// Buffers of one worker for [`CHUNK_ROWS`] rows.
    type Workspace: Send;

    /// Makes them.
    fn workspace(&self) -> Self::Workspace;

    /// Where the weights of layers are among the parameters.
    fn matrices(&self) -> Vec<MatrixPlace>;

    /// Takes parameters.
    fn load(&mut self, parameters: &[f32]);

    /// The loss summed over the batch's `positions` (at most [`CHUNK_ROWS`]); with `gradient`, adds that of the *mean* over
    /// the batch.
    fn loss(
        &self,
        batch: &Batch<'_>,
        positions: Range<usize>,
        workspace: &mut Self::Workspace,
        gradient: Option<&mut [f32]>,
    ) -> f64;
}

/// What one epoch gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Mean training loss over the epoch's steps.
    pub training_loss: f64,
    /// Loss of the averaged weights on the fixed validation set.
    pub validation_loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// Why a run ended before its last epoch, other than that nothing became better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Training diverged.
    Diverged,
    /// Others were too far ahead.
    Behind,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Diverged => "diverged",
            Self::Behind => "stopped, too far behind",
        })
    }
}

/// The state of a training run: what a checkpoint holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainerState {
    parameters: Vec<f32>,
    optimizer: Soap,
    ema: Ema<f32>,
    best: Vec<f32>,
    /// Validation loss before the first step.
    initial_loss: Option<f64>,
    /// Epochs done.
    pub epoch: usize,
    /// Epoch of the best weights (counted from 1; 0 before the first).
    pub best_epoch: usize,
    /// Validation loss of the best weights; infinite before the first epoch, which JSON has as null.
    #[serde(deserialize_with = "infinite_if_null")]
    pub best_loss: f64,
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

/// A trained network's weights and how they came about.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// Averaged weights of the best epoch.
    pub parameters: Vec<f32>,
    /// Its number, from 1.
    pub best_epoch: usize,
    /// Its validation loss.
    pub best_loss: f64,
    /// Why there was none after its last, if it was ended.
    pub ended: Option<Ended>,
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
}

impl TrainerState {
    /// The state before the first step of parameters with these weight matrices among them.
    ///
    /// # Errors
    /// When optimiser settings are out of range.
    pub fn new(parameters: Vec<f32>, mut matrices: Vec<MatrixPlace>, options: &OptimizerOptions) -> Result<Self> {
        let (settings, matrices) = match options.algorithm {
            Algorithm::Adam => (AdamSettings::default(), Vec::new()),
            Algorithm::Soap => {
                // The last layer's steps stay Adam's: in eigenbases it over-fits (`docs/lab/likelihood.md`).
                matrices.pop();
                (SOAP, matrices)
            }
        };
        let settings = AdamSettings { weight_decay: options.weight_decay, ..settings };
        let ema = EmaSettings { decay: options.ema_decay, warm_up: true };
        Ok(Self {
            optimizer: Soap::new(settings, parameters.len(), matrices)?,
            ema: Ema::new(ema, &parameters)?,
            best: parameters.clone(),
            parameters,
            initial_loss: None,
            epoch: 0,
            best_epoch: 0,
            best_loss: f64::INFINITY,
            history: Vec::new(),
            ended: None,
        })
    }

    /// Number of parameters of the network.
    pub fn parameter_count(&self) -> usize {
        self.parameters.len()
    }

    /// Whether all arrays are of the same network.
    pub(super) fn is_consistent(&self) -> bool {
        let n = self.parameter_count();
        let lengths = [self.optimizer.parameter_count(), self.ema.average().len(), self.best.len()];
        lengths == [n; 3] && self.history.len() == self.epoch && self.best_epoch <= self.epoch
    }
}

/// Rows to train and validate on, and where random numbers come from.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Training rows.
    pub training: &'a [u32],
    /// Validation rows.
    pub validation: &'a [u32],
    /// How to optimise.
    pub options: &'a OptimizerOptions,
    /// Root of this network's streams.
    pub key: StreamKey,
}

/// A training run of one network, an epoch at a time.
pub struct Trainer<'a, O: Objective> {
    objective: O,
    plan: Plan<'a>,
    state: TrainerState,
    schedule: LearningRateSchedule,
    batch_size: usize,
    epochs: usize,
    accumulator: GradientAccumulator<f32, O::Workspace>,
    gradient: Vec<f32>,
}

impl<'a, O: Objective> Trainer<'a, O> {
    /// Goes on from `state`.
    ///
    /// # Errors
    /// When the learning-rate schedule is out of range.
    pub fn new(objective: O, plan: Plan<'a>, state: TrainerState) -> Result<Self> {
        let options = plan.options;
        let batch_size = options.batch_of(plan.training.len());
        let steps = plan.training.len() / batch_size;
        let epochs = options.epochs_of(plan.training.len());
        let schedule = LearningRateSchedule {
            learning_rate: options.learning_rate,
            shape: options.schedule,
            warm_up_steps: (options.warm_up_epochs.min(epochs - 1) * steps) as u64,
            total_steps: (epochs * steps) as u64,
            final_fraction: 0.0,
        };
        schedule.validate()?;
        let parameters = state.parameters.len();
        let accumulator =
            GradientAccumulator::new(parameters, batch_size, chunk_rows(batch_size), || objective.workspace());
        Ok(Self { objective, plan, state, schedule, batch_size, epochs, accumulator, gradient: vec![0.0; parameters] })
    }

    /// Where the run stands.
    pub fn state(&self) -> &TrainerState {
        &self.state
    }

    /// Goes on from the state that the same network has come to elsewhere.
    pub fn take(&mut self, state: TrainerState) {
        self.state = state;
    }

    /// Epochs at most.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// Whether the run is over: all epochs done, no improvement for `patience` of them, or ended.
    pub fn is_finished(&self) -> bool {
        let TrainerState { epoch, best_epoch, ended, .. } = self.state;
        ended.is_some() || epoch >= self.epochs || epoch >= best_epoch + self.plan.options.patience
    }

    /// Ends the run, with its best weights so far.
    pub fn end(&mut self, why: Ended) {
        let state = &mut self.state;
        state.ended = Some(why);
        if state.best_epoch == 0 {
            state.best_loss = state.initial_loss.unwrap_or(f64::INFINITY);
        }
    }

    /// The result.
    pub fn into_fitted(self) -> Fitted {
        let TrainerState { best, best_epoch, best_loss, history, ended, .. } = self.state;
        Fitted { parameters: best, best_epoch, best_loss, ended, history }
    }

    /// One pass over the training rows, then the averaged weights' loss on the validation rows.
    ///
    /// # Errors
    /// [`InferenceError::Diverged`] when a loss is not finite or explodes; [`InferenceError::Cancelled`], with the state that was
    /// before the epoch, when the monitor cancels it.
    pub fn epoch(&mut self, monitor: &dyn Monitor) -> Result<()> {
        let before = self.state.clone();
        let outcome = self.try_epoch(monitor);
        if matches!(outcome, Err(InferenceError::Cancelled(_))) {
            self.state = before;
        }
        outcome
    }

    fn try_epoch(&mut self, monitor: &dyn Monitor) -> Result<()> {
        if self.state.initial_loss.is_none() {
            self.objective.load(&self.state.parameters);
            self.state.initial_loss = Some(validate(&self.objective, &self.plan, monitor)?);
        }
        let (training_loss, gradient_norm, learning_rate) = self.pass(monitor)?;
        let state = &mut self.state;
        self.objective.load(state.ema.average());
        let validation_loss = validate(&self.objective, &self.plan, monitor)?;
        let record = EpochRecord { training_loss, validation_loss, learning_rate, gradient_norm };
        check(&record, state)?;
        state.history.push(record);
        state.epoch += 1;
        if validation_loss < state.best_loss {
            state.best_loss = validation_loss;
            state.best_epoch = state.epoch;
            state.best.copy_from_slice(state.ema.average());
        }
        Ok(())
    }

    /// The steps of an epoch; mean loss, mean norm of the gradient, last learning rate.
    fn pass(&mut self, monitor: &dyn Monitor) -> Result<(f64, f64, f64)> {
        let Self { objective, plan, state, schedule, accumulator, gradient, .. } = self;
        let epoch = state.epoch as u64;
        let mut order = plan.training.to_vec();
        order.shuffle(&mut plan.key.child(Purpose::Shuffle).rng(epoch));
        let noise = plan.key.child(Purpose::TrainingNoise).indexed(epoch);
        let (mut loss_sum, mut norm_sum, mut rate) = (0.0, 0.0, 0.0);
        let batches = order.chunks_exact(self.batch_size);
        let steps = batches.len() as f64;
        for (step, rows) in batches.enumerate() {
            let level_offset = (noise.seed(step as u64) >> 11) as f64 / (1u64 << 53) as f64;
            let batch = Batch { rows, noise: noise.indexed(step as u64), level_offset, validation: false };
            objective.load(&state.parameters);
            let shared = &*objective;
            loss_sum += accumulator.compute(rows.len(), gradient, |positions, gradient, workspace| {
                if monitor.cancelled() { 0.0 } else { shared.loss(&batch, positions, workspace, Some(gradient)) }
            }) / rows.len() as f64;
            monitor.check()?;
            norm_sum += clip_global_norm(gradient, plan.options.max_gradient_norm);
            rate = schedule.at(state.optimizer.step());
            state.optimizer.update(&mut state.parameters, gradient, rate);
            state.ema.update(&state.parameters);
        }
        Ok((loss_sum / steps, norm_sum / steps, rate))
    }
}

/// The mean loss over the validation rows with their fixed noise.
///
/// # Errors
/// [`InferenceError::Cancelled`].
pub fn validate<O: Objective>(objective: &O, plan: &Plan<'_>, monitor: &dyn Monitor) -> Result<f64> {
    let rows = plan.validation;
    let noise = plan.key.child(Purpose::ValidationNoise);
    let batch = Batch { rows, noise, level_offset: 0.0, validation: true };
    let losses: Vec<f64> = (0..rows.len().div_ceil(CHUNK_ROWS))
        .into_par_iter()
        .map_init(
            || objective.workspace(),
            |workspace, chunk| {
                let start = chunk * CHUNK_ROWS;
                if monitor.cancelled() {
                    return 0.0;
                }
                objective.loss(&batch, start..(start + CHUNK_ROWS).min(rows.len()), workspace, None)
            },
        )
        .collect();
    monitor.check()?;
    Ok(losses.iter().sum::<f64>() / rows.len() as f64)
}

fn infinite_if_null<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::INFINITY))
}

fn check(record: &EpochRecord, state: &TrainerState) -> Result<()> {
    let remedy = "lower learning_rate, or look for outliers in the training set";
    let epoch = state.epoch + 1;
    if !(record.training_loss.is_finite() && record.validation_loss.is_finite()) {
        let message = format!("the loss is not finite; {remedy}");
        return Err(InferenceError::Diverged { epoch, message });
    }
    let initial = state.initial_loss.unwrap_or(f64::INFINITY);
    if record.validation_loss > EXPLOSION * initial.abs().max(1.0) {
        let message = format!("the validation loss rose from {initial:.4} to {:.4e}; {remedy}", record.validation_loss);
        return Err(InferenceError::Diverged { epoch, message });
    }
    Ok(())
}
