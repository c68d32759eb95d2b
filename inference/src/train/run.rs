//! What networks each architecture trains, side by side where they do not depend on each other.

use super::data::Split;
use super::denoising::DenoisingObjective;
use super::networks::NetworkIds;
use super::noising::Noising;
use super::optimizer::OptimizerOptions;
use super::options::TrainOptions;
use super::trainer::{Ended, Fitted, Objective, Plan, Trainer, TrainerState};
use super::{Checkpoint, Keep, Last, Resumable, TrainingData, race};
use crate::model::trained::{ModelInfo, Networks, TrainedModel, TrainingRecord};
use crate::model::{AnchoredSettings, ConditionalNetwork, NoiseSettings};
use crate::notes::Note;
use crate::{InferenceError, Result};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::{Cancelled, InJson, Monitor, Progress, Purpose, StreamKey};
use tallsbi_network::{LastLayer, Mlp};

/// A network to be fitted.
pub(super) struct Job<O> {
    pub(super) name: String,
    /// Which of the run's streams its batches and noise come from.
    pub(super) stream: u64,
    /// Which rows are held out, see [`TrainingData::fold`].
    pub(super) fold: usize,
    /// Whether the run goes on without it if it diverges.
    pub(super) optional: bool,
    /// The validation loss that it has to beat, and that of all others of its stage which have one: it is stopped when it no longer can.
    pub(super) rival: Option<f64>,
    pub(super) optimizer: OptimizerOptions,
    pub(super) objective: O,
    pub(super) initial: Vec<f32>,
}

/// A training run.
pub struct Run<'a> {
    pub(super) data: &'a TrainingData,
    pub(super) options: &'a TrainOptions,
    pub(super) key: StreamKey,
    fingerprint: &'a str,
    checkpoints: Box<Keep<'a>>,
    pub(super) monitor: &'a dyn Monitor,
    /// Weights and records of the networks of finished stages.
    pub(super) done: Vec<(Vec<f32>, TrainingRecord)>,
    /// States of the stage that an interrupted run was in.
    pub(super) interrupted: Vec<TrainerState>,
    /// Networks of the stages before the next one.
    pub(super) before: usize,
    /// What the model's users should know.
    pub(super) notes: Vec<Note>,
}

impl<'a> Run<'a> {
    /// A run, or the rest of one.
    pub fn new(
        data: &'a TrainingData,
        options: &'a TrainOptions,
        key: StreamKey,
        run: Resumable<'a>,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let Resumable { fingerprint, resume, keep } = run;
        let (done, interrupted) =
            resume.map_or_else(Default::default, |checkpoint| (checkpoint.done, checkpoint.current));
        let notes = data.notes.clone();
        Self { data, options, key, fingerprint, checkpoints: keep, monitor, done, interrupted, before: 0, notes }
    }

    /// The published network.
    pub fn noise(mut self) -> Result<TrainedModel> {
        let (data, options) = (self.data, self.options);
        let mut rng = self.key.child(Purpose::Initialization).rng(0);
        let (m, d) = (data.dim_theta, data.dim_x);
        let network = ConditionalNetwork::random(options.network.clone(), m, d, LastLayer::Random, &mut rng)?;
        let settings = NoiseSettings { knows_prior: options.context_dropout > 0.0, ..NoiseSettings::default() };
        let noising = Noising::Noise { settings, levels: options.noise_levels, range: AnchoredSettings::default() };
        let network = self.denoiser("noise", network, &noising, options.context_dropout)?;
        Ok(self.model(Networks::Noise { network, positions: Vec::new(), settings }))
    }

    /// Trains the score network, which comes last.
    pub(super) fn denoiser(
        &mut self,
        name: &str,
        mut network: ConditionalNetwork,
        noising: &Noising,
        context_dropout: f64,
    ) -> Result<ConditionalNetwork> {
        let template = network.clone();
        let (data, options) = (self.data, self.options);
        let job = |(variant, optimizer): (String, OptimizerOptions)| Job {
            name: format!("{name}{variant}"),
            stream: 1,
            fold: 0,
            optional: false,
            rival: None,
            optimizer,
            objective: DenoisingObjective::new(data, &template, noising, context_dropout),
            initial: template.flat_parameters(),
        };
        let jobs = options.search.variants(&options.optimizer).map(job).collect();
        let networks = self.fit(name, jobs)?;
        let best = self.best(&networks);
        self.keep(networks, best);
        network.set_flat_parameters(self.weights(best));
        Ok(network)
    }

    /// Notes a network that was fitted in closed form, to all of its rows at once, before all others.
    pub(super) fn take_fitted(&mut self, name: &str, network: &Mlp<f32>, rows: usize, loss: f64) {
        let record = TrainingRecord {
            network: name.into(),
            learning_rate: 0.0,
            batch_size: rows,
            kept: true,
            best_epoch: 1,
            best_validation_loss: loss,
            training_loss: vec![loss],
            validation_loss: vec![loss],
        };
        // A resumed run has it already.
        if self.done.len() == self.before {
            self.done.push((network.parameters().to_vec(), record));
        }
        self.before += 1;
    }

    /// Trains the networks of a stage side by side, or takes them from those done; returns which they are.
    pub(super) fn fit<O: Objective + Send>(&mut self, stage: &str, jobs: Vec<Job<O>>) -> Result<NetworkIds> {
        let splits = jobs.iter().map(|job| self.data.fold(job.fold)).collect();
        self.fit_split(stage, jobs, splits)
    }

    /// The same with rows of the objectives' own.
    pub(super) fn fit_split<O: Objective + Send>(
        &mut self,
        stage: &str,
        jobs: Vec<Job<O>>,
        splits: Vec<Split>,
    ) -> Result<NetworkIds> {
        let first = self.next_network();
        self.before += jobs.len();
        let networks = self.since(first);
        if self.done.len() >= self.before {
            let lengths = networks.iter().map(|network| self.weights(network).len());
            let fit = lengths.eq(jobs.iter().map(|job| job.initial.len()));
            return if fit { Ok(networks) } else { Err(other_networks()) };
        }
        let states = std::mem::take(&mut self.interrupted);
        if !states.is_empty() && states.len() != jobs.len() {
            return Err(other_networks());
        }
        let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
        let optimizers: Vec<OptimizerOptions> = jobs.iter().map(|job| job.optimizer.clone()).collect();
        let optional: Vec<bool> = jobs.iter().map(|job| job.optional).collect();
        let rivals: Vec<Option<f64>> = jobs.iter().map(|job| job.rival).collect();
        let key = self.key;
        let mut states = states.into_iter();
        let mut trainers = Vec::with_capacity(jobs.len());
        for ((job, options), split) in jobs.into_iter().zip(&optimizers).zip(&splits) {
            let state = match states.next() {
                Some(state) if state.parameter_count() == job.initial.len() => state,
                Some(_) => return Err(other_networks()),
                None => TrainerState::new(job.initial, job.objective.matrices(), options)?,
            };
            let key = key.indexed(job.stream);
            let plan = Plan { training: &split.training, validation: &split.validation, options, key };
            trainers.push(Trainer::new(job.objective, plan, state)?);
        }
        self.say(stage, &trainers);
        while trainers.iter().any(|trainer| !trainer.is_finished()) {
            // An epoch of each, first of those that were cancelled in it, so that all are compared after the same. A thread that has none helps with the
            // batches of the others.
            let going = trainers.iter().filter(|trainer| !trainer.is_finished());
            let next = going.map(|trainer| trainer.state().epoch).min();
            let mut active: Vec<_> = trainers
                .iter_mut()
                .zip(optional.iter().copied())
                .filter(|(trainer, _)| !trainer.is_finished() && Some(trainer.state().epoch) == next)
                .collect();
            match shared_epoch(stage, &mut active, self.monitor) {
                Err(InferenceError::Cancelled(_)) => {
                    return Err(self.stopped(&|| trainers.iter().map(|trainer| trainer.state().clone()).collect()));
                }
                other => other?,
            }
            drop_out(&mut trainers, &rivals);
            self.tell(stage, &trainers)?;
        }
        for (((trainer, name), options), split) in trainers.into_iter().zip(names).zip(&optimizers).zip(&splits) {
            let Fitted { parameters, best_epoch, best_loss, ended, history } = trainer.into_fitted();
            let record = TrainingRecord {
                network: ended.map_or_else(|| name.clone(), |why| format!("{name}, {why}")),
                learning_rate: options.learning_rate,
                batch_size: options.batch_of(split.training.len()),
                best_epoch,
                best_validation_loss: best_loss,
                kept: true,
                training_loss: history.iter().map(|record| record.training_loss).collect(),
                validation_loss: history.iter().map(|record| record.validation_loss).collect(),
            };
            self.done.push((parameters, record));
        }
        Ok(networks)
    }

    /// Keeps a checkpoint of a run that was cancelled between the ends of epochs; the error to return.
    pub(super) fn stopped(&mut self, current: &dyn Fn() -> Vec<TrainerState>) -> InferenceError {
        let Self { checkpoints, done, fingerprint, .. } = self;
        let checkpoint =
            || Checkpoint { fingerprint: (*fingerprint).to_owned(), done: done.clone(), current: current() };
        match checkpoints(Last::Yes, &checkpoint) {
            Ok(()) => Cancelled.into(),
            Err(error) => InferenceError::Caller(error),
        }
    }

    /// Tells the monitor how far the stage is.
    fn say<O: Objective>(&self, stage: &str, trainers: &[Trainer<'_, O>]) {
        let states = || trainers.iter().map(Trainer::state);
        self.monitor.progress(&Progress {
            stage: &format!("train {stage}"),
            unit: "epochs",
            done: states().map(|state| state.epoch).max().unwrap_or(0) as u64,
            total: trainers.iter().map(Trainer::epochs).max().unwrap_or(0) as u64,
            note: &losses(&states().collect::<Vec<_>>()),
        });
    }

    /// Tells the monitor how far the stage is, and keeps a checkpoint.
    fn tell<O: Objective>(&mut self, stage: &str, trainers: &[Trainer<'_, O>]) -> Result<()> {
        self.say(stage, trainers);
        let states = || trainers.iter().map(Trainer::state);
        let stop = self.monitor.check();
        let Self { checkpoints, done, fingerprint, .. } = self;
        let checkpoint = || Checkpoint {
            fingerprint: (*fingerprint).to_owned(),
            done: done.clone(),
            current: states().cloned().collect(),
        };
        checkpoints(if stop.is_err() { Last::Yes } else { Last::No }, &checkpoint).map_err(InferenceError::Caller)?;
        Ok(stop?)
    }

    pub(super) fn model(self, networks: Networks) -> TrainedModel {
        let data = self.data;
        TrainedModel {
            networks,
            latent: data.map.clone(),
            observation_map: data.whole_map.clone(),
            info: ModelInfo {
                conditions: data.conditions,
                n_train: data.training.len() + data.validation.len(),
                training: self.done.into_iter().map(|(_, record)| record).collect(),
                range: data.whole_range.clone(),
                notes: self.notes,
                ..ModelInfo::default()
            },
        }
    }
}

/// A network in training, and whether the run goes on without it if it diverges.
type Active<'t, 'a, O> = (&'t mut Trainer<'a, O>, bool);

/// An epoch of each network. Where several processes work together, each trains a part of them and takes the states of the others.
fn shared_epoch<O: Objective + Send>(
    stage: &str,
    active: &mut [Active<'_, '_, O>],
    monitor: &dyn Monitor,
) -> Result<()> {
    if monitor.sharing() == 1 || active.len() == 1 {
        return epoch(active, monitor);
    }
    let count = active.len();
    let part = |part: Range<usize>| -> Result<_> {
        let own = &mut active[part];
        epoch(own, monitor)?;
        Ok(InJson(own.iter().map(|(trainer, _)| trainer.state().clone()).collect::<Vec<_>>()))
    };
    let label = format!("train {stage}");
    let states = monitor.share(&label, count, part)?;
    let states = states.into_iter().flat_map(|InJson(states)| states);
    active.iter_mut().zip(states).for_each(|((trainer, _), state)| trainer.take(state));
    Ok(())
}

/// An epoch of each network on the threads of this process: of errors, that it was cancelled comes first.
fn epoch<O: Objective + Send>(active: &mut [Active<'_, '_, O>], monitor: &dyn Monitor) -> Result<()> {
    let one = |(trainer, optional): &mut Active<'_, '_, O>| match trainer.epoch(monitor) {
        Err(InferenceError::Diverged { .. }) if *optional => {
            trainer.end(Ended::Diverged);
            Ok(())
        }
        other => other,
    };
    let outcomes: Vec<Result<()>> = active.par_iter_mut().with_max_len(1).map(one).collect();
    if outcomes.iter().any(|outcome| matches!(outcome, Err(InferenceError::Cancelled(_)))) {
        return Err(Cancelled.into());
    }
    outcomes.into_iter().collect()
}

/// Ends the networks that can no longer beat their rivals: the loss given for each, and the best of those that have one.
fn drop_out<O: Objective>(trainers: &mut [Trainer<'_, O>], rivals: &[Option<f64>]) {
    let racing =
        || trainers.iter().zip(rivals).filter_map(|(trainer, &rival)| Some((trainer.state().best_loss, rival?)));
    let leader = racing().map(|(loss, rival)| loss.min(rival)).fold(f64::INFINITY, f64::min);
    for (trainer, _) in trainers.iter_mut().zip(rivals).filter(|(_, rival)| rival.is_some()) {
        let state = trainer.state();
        if !trainer.is_finished()
            && race::is_due(state.epoch)
            && race::attainable(&state.history, trainer.epochs()) > leader
        {
            trainer.end(Ended::Behind);
        }
    }
}

/// Losses of one network, or what several have come to.
fn losses(states: &[&TrainerState]) -> String {
    if let [state] = states
        && let Some(record) = state.history.last()
    {
        return format!(
            "loss {:.4}, validation {:.4}, best {:.4} in epoch {}",
            record.training_loss, record.validation_loss, state.best_loss, state.best_epoch
        );
    }
    if states.iter().all(|state| state.history.is_empty()) {
        return String::new();
    }
    let best: Vec<String> = states.iter().map(|state| format!("{:.4}", state.best_loss)).collect();
    format!("best validation losses {}", best.join(", "))
}

fn other_networks() -> InferenceError {
    InferenceError::Option {
        option: "resume",
        message: "the checkpoint holds other networks; start anew without it".into(),
    }
}
