//! Training of score networks on single observations (paper Sec. 2.2, App. E, F).

mod data;
mod denoising;
mod density;
mod noising;
mod options;
#[cfg(test)]
mod tests;
mod trainer;

pub use data::TrainingData;
pub use options::{
    AnchorOptions, Architecture, DensityForm, LatentKind, LikelihoodOptions, NoiseLevels, OptimizerOptions,
    TrainOptions, WIDEST_DENSITY,
};
pub use trainer::{EpochRecord, TrainerState};

use crate::model::anchored::{Anchors, anchor_outputs};
use crate::model::trained::{ModelInfo, Networks, TrainedModel, TrainingRecord};
use crate::model::{AnchoredSettings, ConditionalNetwork, MixtureLayout, NoiseSettings};
use crate::{InferenceError, Result};
use denoising::DenoisingObjective;
use density::{DensityObjective, Direction};
use noising::Noising;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use tallsbi_data::{Purpose, StreamKey};
use tallsbi_network::{Activation, Engine, LastLayer, Mlp, MlpSpec};
use trainer::{Fitted, Plan};

/// Where a training run stands; enough to go on to the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What the run depends on; a checkpoint of another run is refused.
    pub fingerprint: String,
    /// Weights and records of the networks trained before the current one.
    done: Vec<(Vec<f32>, TrainingRecord)>,
    /// The network being trained.
    pub current: TrainerState,
}

/// How far a training run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Network being trained: "anchor", "residual", "noise" or "likelihood, ...".
    pub network: &'a str,
    /// Epochs done.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Epochs at most of the networks still to come.
    pub epochs_to_come: usize,
    /// The last epoch's record.
    pub record: EpochRecord,
    /// Best validation loss so far and its epoch.
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

/// Trains a model; with `resume`, goes on from a checkpoint of the same run (same `fingerprint`).
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
    let run = Run { data, options, key, fingerprint, monitor, done: Vec::new() };
    match options.architecture.resolve(data.dim_x) {
        Architecture::Auto | Architecture::Anchored => run.anchored(resume),
        Architecture::Noise => run.noise(resume),
        Architecture::Likelihood => run.likelihood(resume),
    }
}

/// What a less simple form of the likelihood must gain, in nats: less is chance.
const WORTH: f64 = 0.01;

/// A network to be fitted.
struct Network<'a> {
    name: &'a str,
    /// Which of the run's streams its batches and noise come from.
    stream: u64,
    epochs_to_come: usize,
}

impl<'a> Network<'a> {
    /// The score network, which comes last.
    fn last(name: &'a str) -> Self {
        Self { name, stream: 1, epochs_to_come: 0 }
    }
}

struct Run<'a> {
    data: &'a TrainingData,
    options: &'a TrainOptions,
    key: StreamKey,
    fingerprint: &'a str,
    monitor: &'a mut dyn Monitor,
    done: Vec<(Vec<f32>, TrainingRecord)>,
}

impl Run<'_> {
    fn anchored(mut self, resume: Option<Checkpoint>) -> Result<TrainedModel> {
        let (data, options) = (self.data, self.options);
        let m = data.dim_theta;
        let spec = MlpSpec {
            input: data.dim_x,
            hidden: options.anchor.hidden.clone(),
            output: anchor_outputs(m),
            activation: Activation::Silu,
            layer_norm: true,
            residual: false,
        };
        let initialization = self.key.child(Purpose::Initialization);
        let mut anchor = Mlp::random(spec, LastLayer::Zero, &mut initialization.rng(0))?;
        let mut current = None;
        if let Some(checkpoint) = resume {
            self.done = checkpoint.done;
            current = Some(checkpoint.current);
        }
        if self.done.is_empty() {
            let optimizer = &options.anchor.optimizer;
            let mut objective = DensityObjective::new(data, &anchor, MixtureLayout::gaussian(m), Direction::Posterior);
            let initial = anchor.parameters().to_vec();
            let network = Network { name: "anchor", stream: 0, epochs_to_come: options.optimizer.epochs };
            let (fitted, record) = self.fit(&network, &mut objective, initial, optimizer, current.take())?;
            self.done.push((fitted.parameters, record));
        }
        let (parameters, anchor_record) = self.done[0].clone();
        anchor.parameters_mut().copy_from_slice(&parameters);
        let settings = AnchoredSettings::default();
        let anchors = Anchors::evaluate(&Engine::new(&anchor), &data.features, m);
        let mut rng = initialization.rng(1);
        let mut residual =
            ConditionalNetwork::random(options.network.clone(), m, data.dim_x, LastLayer::Zero, &mut rng)?;
        let noising = Noising::Anchored { settings, anchors };
        let initial = residual.flat_parameters();
        let template = residual.clone();
        let mut objective = DenoisingObjective::new(data, &template, &noising, 0.0);
        let (fitted, record) =
            self.fit(&Network::last("residual"), &mut objective, initial, &options.optimizer, current)?;
        residual.set_flat_parameters(&fitted.parameters);
        Ok(self.model(Networks::Anchored { anchor, residual, settings }, vec![anchor_record, record]))
    }

    fn noise(mut self, resume: Option<Checkpoint>) -> Result<TrainedModel> {
        let (data, options) = (self.data, self.options);
        let mut rng = self.key.child(Purpose::Initialization).rng(0);
        let mut network = ConditionalNetwork::random(
            options.network.clone(),
            data.dim_theta,
            data.dim_x,
            LastLayer::Random,
            &mut rng,
        )?;
        let settings = NoiseSettings { knows_prior: options.context_dropout > 0.0, ..NoiseSettings::default() };
        let noising = Noising::Noise { settings, levels: options.noise_levels, range: AnchoredSettings::default() };
        let initial = network.flat_parameters();
        let template = network.clone();
        let mut objective = DenoisingObjective::new(data, &template, &noising, options.context_dropout);
        let current = resume.map(|checkpoint| checkpoint.current);
        let (fitted, record) =
            self.fit(&Network::last("noise"), &mut objective, initial, &options.optimizer, current)?;
        network.set_flat_parameters(&fitted.parameters);
        Ok(self.model(Networks::Noise { network, positions: Vec::new(), settings }, vec![record]))
    }

    /// Trains a network of each form, then more of the best one.
    fn likelihood(mut self, resume: Option<Checkpoint>) -> Result<TrainedModel> {
        let options = &self.options.likelihood;
        let mut current = None;
        if let Some(checkpoint) = resume {
            self.done = checkpoint.done;
            current = Some(checkpoint.current);
        }
        let forms = &options.candidates;
        let mut candidates = Vec::with_capacity(forms.len());
        for (index, form) in forms.iter().enumerate() {
            let layout = self.layout(form);
            let name = format!("likelihood, {form}");
            let to_come = forms.len() - index + options.members - 2;
            candidates.push((layout, self.density((index, &name, to_come), layout, &mut current)?));
        }
        let loss = |index: usize| self.done[index].1.best_validation_loss;
        let best = (1..forms.len()).fold(0, |best, form| if loss(form) < loss(best) - WORTH { form } else { best });
        let (layout, first) = candidates.swap_remove(best);
        let mut members = vec![first];
        let wanted = if layout.components == 1 { options.members } else { 1 };
        for member in 1..wanted {
            let name = format!("likelihood, member {} of {wanted}", member + 1);
            let network = (forms.len() + member - 1, name.as_str(), wanted - member - 1);
            members.push(self.density(network, layout, &mut current)?);
        }
        let records = std::mem::take(&mut self.done).into_iter().map(|(_, record)| record).collect();
        Ok(self.model(Networks::Likelihood { members, layout }, records))
    }

    fn layout(&self, form: &DensityForm) -> MixtureLayout {
        MixtureLayout { components: form.components, dim: self.data.dim_x, covariance: form.covariance }
    }

    /// Trains the `index`-th density network of the run, or takes it from those done.
    fn density(
        &mut self,
        (index, name, to_come): (usize, &str, usize),
        layout: MixtureLayout,
        current: &mut Option<TrainerState>,
    ) -> Result<Mlp<f32>> {
        let (data, options) = (self.data, &self.options.likelihood);
        let spec = MlpSpec {
            input: data.dim_theta,
            hidden: options.hidden.clone(),
            output: layout.outputs(),
            activation: Activation::Silu,
            layer_norm: true,
            residual: false,
        };
        let mut rng = self.key.child(Purpose::Initialization).rng(index as u64);
        let mut network = Mlp::random(spec, LastLayer::Zero, &mut rng)?;
        let biases = network.parameters().len() - layout.outputs();
        layout.spread_means(&mut network.parameters_mut()[biases..], || StandardNormal.sample(&mut rng));
        if index == self.done.len() {
            let mut objective = DensityObjective::new(data, &network, layout, Direction::Likelihood);
            let initial = network.parameters().to_vec();
            let epochs_to_come = to_come * options.optimizer.epochs;
            let description = Network { name, stream: 1 + index as u64, epochs_to_come };
            let (fitted, record) =
                self.fit(&description, &mut objective, initial, &options.optimizer, current.take())?;
            self.done.push((fitted.parameters, record));
        }
        network.parameters_mut().copy_from_slice(&self.done[index].0);
        Ok(network)
    }

    fn fit<O: trainer::Objective>(
        &mut self,
        network: &Network<'_>,
        objective: &mut O,
        initial: Vec<f32>,
        optimizer: &OptimizerOptions,
        current: Option<TrainerState>,
    ) -> Result<(Fitted, TrainingRecord)> {
        let parameters = initial.len();
        let mut state = match current {
            Some(state) if state.parameter_count() == parameters => state,
            Some(_) => {
                return Err(InferenceError::Option {
                    option: "resume",
                    message: "the checkpoint holds another network; start anew without it".into(),
                });
            }
            None => TrainerState::new(initial, optimizer)?,
        };
        let key = self.key.indexed(network.stream);
        let data = self.data;
        let plan = Plan { training: &data.training, validation: &data.validation, options: optimizer, key };
        let Self { monitor, done, fingerprint, .. } = self;
        trainer::run(objective, &plan, &mut state, |state| {
            let progress = Progress {
                network: network.name,
                epoch: state.epoch,
                epochs: optimizer.epochs,
                epochs_to_come: network.epochs_to_come,
                record: *state.history.last().expect("called after an epoch"),
                best: (state.best_loss, state.best_epoch),
            };
            let checkpoint =
                || Checkpoint { fingerprint: (*fingerprint).to_owned(), done: done.clone(), current: state.clone() };
            monitor.epoch(&progress, &checkpoint)
        })?;
        let fitted = state.into_fitted();
        let record = TrainingRecord {
            network: network.name.to_owned(),
            best_epoch: fitted.best_epoch,
            best_validation_loss: fitted.best_loss,
            training_loss: fitted.history.iter().map(|record| record.training_loss).collect(),
            validation_loss: fitted.history.iter().map(|record| record.validation_loss).collect(),
        };
        Ok((fitted, record))
    }

    fn model(&self, networks: Networks, training: Vec<TrainingRecord>) -> TrainedModel {
        let data = self.data;
        let n_train = data.training.len() + data.validation.len();
        TrainedModel {
            networks,
            latent: data.map.clone(),
            observation_map: data.observation_map.clone(),
            info: ModelInfo { n_train, training, ..ModelInfo::default() },
        }
    }
}
