//! What networks each architecture trains, side by side where they do not depend on each other.

use super::denoising::DenoisingObjective;
use super::density::{DensityObjective, Direction, Input};
use super::noising::Noising;
use super::options::{DensityForm, OptimizerOptions, TrainOptions};
use super::trainer::{Fitted, Objective, Plan, Trainer, TrainerState, validate};
use super::{Checkpoint, Monitor, NetworkProgress, Progress, TrainingData};
use crate::model::anchored::{Anchors, anchor_outputs};
use crate::model::cells::Cells;
use crate::model::trained::{ModelInfo, Networks, TrainedModel, TrainingRecord};
use crate::model::{AnchoredSettings, ConditionalNetwork, Covariance, MixtureLayout, NoiseSettings};
use crate::{InferenceError, Result};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::{Purpose, StreamKey};
use tallsbi_data::{SignedPermutation, Symmetry};
use tallsbi_network::{Activation, Engine, LastLayer, Mlp, MlpSpec};

/// What a less simple form of the likelihood must gain, in nats: less is chance.
const WORTH: f64 = 0.01;

/// What a map of θ may cost a network that was trained without it, in nats: more than its errors on the two sides of a true symmetry,
/// less than what a false one costs. Whether the symmetry is used is decided by a network trained with it.
const SYMMETRIC: f64 = 0.1;

/// Largest group that is tried: all changes of sign of five parameters. A larger one means that the network ignores θ.
const MAX_SYMMETRIES: usize = 32;

/// A network to be fitted.
struct Job<O> {
    name: String,
    /// Which of the run's streams its batches and noise come from.
    stream: u64,
    optimizer: OptimizerOptions,
    objective: O,
    initial: Vec<f32>,
}

/// A training run.
pub struct Run<'a> {
    data: &'a TrainingData,
    options: &'a TrainOptions,
    key: StreamKey,
    fingerprint: &'a str,
    monitor: &'a mut dyn Monitor,
    /// Weights and records of the networks of finished stages.
    done: Vec<(Vec<f32>, TrainingRecord)>,
    /// States of the stage that an interrupted run was in.
    interrupted: Vec<TrainerState>,
    /// Networks of the stages before the next one.
    before: usize,
}

impl<'a> Run<'a> {
    /// A run, or the rest of one.
    pub fn new(
        data: &'a TrainingData,
        options: &'a TrainOptions,
        key: StreamKey,
        fingerprint: &'a str,
        monitor: &'a mut dyn Monitor,
        resume: Option<Checkpoint>,
    ) -> Self {
        let (done, interrupted) =
            resume.map_or_else(Default::default, |checkpoint| (checkpoint.done, checkpoint.current));
        Self { data, options, key, fingerprint, monitor, done, interrupted, before: 0 }
    }

    /// The Gaussian anchor, then the residual.
    pub fn anchored(mut self) -> Result<TrainedModel> {
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
        let job = |(variant, optimizer): (String, OptimizerOptions)| Job {
            name: format!("anchor{variant}"),
            stream: 0,
            optimizer,
            objective: DensityObjective::new(data, &anchor, MixtureLayout::gaussian(m), Direction::Posterior),
            initial: anchor.parameters().to_vec(),
        };
        let jobs = options.search.variants(&options.anchor.optimizer).map(job).collect();
        let anchors = self.fit("anchor", jobs, options.optimizer.epochs)?;
        let best = self.best(anchors.clone());
        self.keep(anchors, best);
        anchor.parameters_mut().copy_from_slice(&self.done[best].0);

        let settings = AnchoredSettings::default();
        let anchors = Anchors::evaluate(&Engine::new(&anchor), &data.features, m);
        let mut rng = initialization.rng(1);
        let residual = ConditionalNetwork::random(options.network.clone(), m, data.dim_x, LastLayer::Zero, &mut rng)?;
        let residual = self.denoiser("residual", residual, &Noising::Anchored { settings, anchors }, 0.0)?;
        Ok(self.model(Networks::Anchored { anchor, residual, settings }))
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
    fn denoiser(
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
            optimizer,
            objective: DenoisingObjective::new(data, &template, noising, context_dropout),
            initial: template.flat_parameters(),
        };
        let jobs = options.search.variants(&options.optimizer).map(job).collect();
        let networks = self.fit(name, jobs, 0)?;
        let best = self.best(networks.clone());
        self.keep(networks, best);
        network.set_flat_parameters(&self.done[best].0);
        Ok(network)
    }

    /// Networks of each form, one with the symmetries that the best of them shows, then more of the best.
    pub fn likelihood(mut self) -> Result<TrainedModel> {
        let options = &self.options.likelihood;
        let variants: Vec<(String, OptimizerOptions)> = self.options.search.variants(&options.optimizer).collect();
        let tried = self.forms(&variants)?;
        let best_of_form = |form: usize| {
            let start = tried.start + form * variants.len();
            self.best(start..start + variants.len())
        };
        let loss = |form: usize| self.done[best_of_form(form)].1.best_validation_loss;
        let forms = options.candidates.len();
        let form = (1..forms).fold(0, |best, form| if loss(form) < loss(best) - WORTH { form } else { best });
        let mut first = best_of_form(form);
        let optimizer = &variants[(first - tried.start) % variants.len()].1;
        let layout = self.layout(&options.candidates[form]);
        let mut seen = tried;
        let symmetry = if options.symmetries { self.symmetries(form, first, layout)? } else { self.no_symmetry() };
        let mut input = Input::Plain;
        if symmetry.order() > 1 {
            input = Input::Canonical(symmetry.clone());
            let network = self.density(forms, layout)?;
            let form = self.describe(&options.candidates[form]);
            let name = format!("likelihood, {form}, with {} symmetries", symmetry.order());
            let job = self.density_job((name, forms), (&network, input.clone()), layout, optimizer);
            let symmetric = self.fit("likelihood, symmetric", vec![job], self.members_to_come())?.start;
            seen.end = symmetric + 1;
            if self.done[symmetric].1.best_validation_loss < self.done[first].1.best_validation_loss {
                first = symmetric;
            } else {
                input = Input::Plain;
            }
        }
        self.keep(seen, first);

        let mut kept = vec![first];
        if layout.components == 1 && options.members > 1 {
            let mut jobs = Vec::new();
            for member in 1..options.members {
                let index = forms + member;
                let name = format!("likelihood, member {} of {}", member + 1, options.members);
                let network = self.density(index, layout)?;
                jobs.push(self.density_job((name, index), (&network, input.clone()), layout, optimizer));
            }
            kept.extend(self.fit("likelihood, more members", jobs, 0)?);
        }
        let template = self.density(form, layout)?;
        let member = |index: usize| {
            let mut network = template.clone();
            network.parameters_mut().copy_from_slice(&self.done[index].0);
            network
        };
        let members = kept.into_iter().map(member).collect();
        let symmetry = if let Input::Canonical(symmetry) = input { symmetry } else { self.no_symmetry() };
        Ok(self.model(Networks::Likelihood { members, layout, symmetry }))
    }

    /// Trains networks of each form with each of the optimisers.
    fn forms(&mut self, variants: &[(String, OptimizerOptions)]) -> Result<Range<usize>> {
        let mut jobs = Vec::new();
        for (index, form) in self.options.likelihood.candidates.iter().enumerate() {
            let network = self.density(index, self.layout(form))?;
            for (variant, optimizer) in variants {
                let name = format!("likelihood, {}{variant}", self.describe(form));
                jobs.push(self.density_job((name, index), (&network, Input::Plain), self.layout(form), optimizer));
            }
        }
        let stage = format!("likelihood, {} networks", jobs.len());
        self.fit(&stage, jobs, self.members_to_come())
    }

    /// Epochs of the likelihood's last stage.
    fn members_to_come(&self) -> usize {
        let options = &self.options.likelihood;
        usize::from(options.members > 1) * options.optimizer.epochs
    }

    fn layout(&self, form: &DensityForm) -> MixtureLayout {
        let DensityForm { components, covariance } = *form;
        // Columns depend on each other through full covariances; a cell's mass would then be an integral of as many dimensions.
        let cells = covariance == Covariance::Diagonal && Cells::new(&self.data.observation_map).is_some();
        MixtureLayout { components, dim: self.data.dim_x, covariance, cells }
    }

    fn describe(&self, form: &DensityForm) -> String {
        format!("{form}{}", if self.layout(form).cells { " of counts' cells" } else { "" })
    }

    fn no_symmetry(&self) -> Symmetry {
        Symmetry::none(self.data.dim_theta)
    }

    /// The group of the signed permutations of latent parameters that hardly change the validation loss of a trained network.
    fn symmetries(&self, form: usize, trained: usize, layout: MixtureLayout) -> Result<Symmetry> {
        let data = self.data;
        let mut network = self.density(form, layout)?;
        network.parameters_mut().copy_from_slice(&self.done[trained].0);
        let plan = Plan {
            training: &data.training,
            validation: &data.validation,
            options: &self.options.likelihood.optimizer,
            key: self.key.indexed(1 + form as u64),
        };
        let loss = |input: Input| {
            validate(&DensityObjective::new(data, &network, layout, Direction::Likelihood).with_input(input), &plan)
        };
        let own = loss(Input::Plain);
        let m = data.dim_theta;
        let flips = (0..m).map(|i| SignedPermutation::flip(m, &[i]));
        let pairs = (0..m).flat_map(|i| (0..i).map(move |j| (j, i)));
        let exchanges = pairs.flat_map(|pair| [false, true].map(|negate| SignedPermutation::exchange(m, pair, negate)));
        let harmless = |map: &SignedPermutation| loss(Input::Image(map.clone())) - own < SYMMETRIC;
        let maps: Vec<SignedPermutation> = flips.chain(exchanges).filter(harmless).collect();
        let group = Symmetry::generated(m, &maps)?;
        Ok(if group.order() <= MAX_SYMMETRIES { group } else { self.no_symmetry() })
    }

    /// The `index`-th density network of the run, untrained.
    fn density(&self, index: usize, layout: MixtureLayout) -> Result<Mlp<f32>> {
        let spec = MlpSpec {
            input: self.data.dim_theta,
            hidden: self.options.likelihood.hidden.clone(),
            output: layout.outputs(),
            activation: self.options.likelihood.activation,
            layer_norm: self.options.likelihood.layer_norm,
            residual: self.options.likelihood.residual,
        };
        let mut rng = self.key.child(Purpose::Initialization).rng(index as u64);
        let mut network = Mlp::random(spec, LastLayer::Zero, &mut rng)?;
        let biases = network.parameters().len() - layout.outputs();
        layout.spread_means(&mut network.parameters_mut()[biases..], || StandardNormal.sample(&mut rng));
        Ok(network)
    }

    fn density_job(
        &self,
        (name, index): (String, usize),
        (network, input): (&Mlp<f32>, Input),
        layout: MixtureLayout,
        optimizer: &OptimizerOptions,
    ) -> Job<DensityObjective<'a>> {
        Job {
            name,
            stream: 1 + index as u64,
            optimizer: optimizer.clone(),
            objective: DensityObjective::new(self.data, network, layout, Direction::Likelihood).with_input(input),
            initial: network.parameters().to_vec(),
        }
    }

    /// Which of these networks has the lowest validation loss; the first of equal ones.
    fn best(&self, networks: Range<usize>) -> usize {
        let loss = |index: usize| self.done[index].1.best_validation_loss;
        networks.clone().fold(networks.start, |best, index| if loss(index) < loss(best) { index } else { best })
    }

    /// Notes that of these networks only `kept` is used.
    fn keep(&mut self, networks: Range<usize>, kept: usize) {
        for index in networks {
            self.done[index].1.kept = index == kept;
        }
    }

    /// Trains the networks of a stage side by side, or takes them from those done; returns where in `done` they are.
    fn fit<O: Objective + Send>(
        &mut self,
        stage: &str,
        jobs: Vec<Job<O>>,
        epochs_to_come: usize,
    ) -> Result<Range<usize>> {
        let range = self.before..self.before + jobs.len();
        self.before = range.end;
        if self.done.len() >= range.end {
            return Ok(range);
        }
        let states = std::mem::take(&mut self.interrupted);
        if !states.is_empty() && states.len() != jobs.len() {
            return Err(other_networks());
        }
        let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
        let optimizers: Vec<OptimizerOptions> = jobs.iter().map(|job| job.optimizer.clone()).collect();
        let (data, key) = (self.data, self.key);
        let mut states = states.into_iter();
        let mut trainers = Vec::with_capacity(jobs.len());
        for (job, options) in jobs.into_iter().zip(&optimizers) {
            let state = match states.next() {
                Some(state) if state.parameter_count() == job.initial.len() => state,
                Some(_) => return Err(other_networks()),
                None => TrainerState::new(job.initial, options)?,
            };
            let key = key.indexed(job.stream);
            let plan = Plan { training: &data.training, validation: &data.validation, options, key };
            trainers.push(Trainer::new(job.objective, plan, state)?);
        }
        while trainers.iter().any(|trainer| !trainer.is_finished()) {
            // An epoch of each. A thread that has none helps with the batches of the others.
            let active = trainers.par_iter_mut().with_max_len(1).filter(|trainer| !trainer.is_finished());
            active.map(Trainer::epoch).collect::<Vec<_>>().into_iter().collect::<Result<()>>()?;
            self.tell((stage, epochs_to_come), &names, &trainers)?;
        }
        for ((trainer, name), options) in trainers.into_iter().zip(names).zip(&optimizers) {
            let Fitted { parameters, best_epoch, best_loss, history } = trainer.into_fitted();
            let record = TrainingRecord {
                network: name,
                learning_rate: options.learning_rate,
                batch_size: options.batch_size,
                best_epoch,
                best_validation_loss: best_loss,
                kept: true,
                training_loss: history.iter().map(|record| record.training_loss).collect(),
                validation_loss: history.iter().map(|record| record.validation_loss).collect(),
            };
            self.done.push((parameters, record));
        }
        Ok(range)
    }

    /// Tells the monitor how far the stage is.
    fn tell<O: Objective>(
        &mut self,
        (stage, epochs_to_come): (&str, usize),
        names: &[String],
        trainers: &[Trainer<'_, O>],
    ) -> Result<()> {
        let states = || trainers.iter().map(Trainer::state);
        let networks: Vec<NetworkProgress<'_>> = names
            .iter()
            .zip(states())
            .filter_map(|(name, state)| {
                let record = *state.history.last()?;
                Some(NetworkProgress { name, record, best: (state.best_loss, state.best_epoch) })
            })
            .collect();
        let progress = Progress {
            stage,
            epoch: states().map(|state| state.epoch).max().unwrap_or(0),
            epochs: trainers.iter().map(Trainer::epochs).max().unwrap_or(0),
            epochs_to_come,
            networks: &networks,
        };
        let Self { monitor, done, fingerprint, .. } = self;
        let checkpoint = || Checkpoint {
            fingerprint: (*fingerprint).to_owned(),
            done: done.clone(),
            current: states().cloned().collect(),
        };
        if monitor.epoch(&progress, &checkpoint).is_break() {
            return Err(InferenceError::Interrupted);
        }
        Ok(())
    }

    fn model(self, networks: Networks) -> TrainedModel {
        let data = self.data;
        TrainedModel {
            networks,
            latent: data.map.clone(),
            observation_map: data.observation_map.clone(),
            info: ModelInfo {
                n_train: data.training.len() + data.validation.len(),
                training: self.done.into_iter().map(|(_, record)| record).collect(),
                ..ModelInfo::default()
            },
        }
    }
}

fn other_networks() -> InferenceError {
    InferenceError::Option {
        option: "resume",
        message: "the checkpoint holds other networks; start anew without it".into(),
    }
}
