//! Training of a model on simulations.

use crate::{Model, Result, Simulations};
use std::time::Instant;
use tallsbi_data::{LatentMap, Monitor, Prior, SignedPermutation, StreamKey};
use tallsbi_inference::train::{Storage, TrainOptions, TrainingData};
use tallsbi_simulators::Task;

/// Trains a model on simulations in memory: what the same rows in a file train to.
///
/// # Errors
/// When options are out of range, there are too few rows, training diverges, or the monitor asked to stop.
pub fn train(simulations: &Simulations, options: &TrainOptions, seed: u64, monitor: &dyn Monitor) -> Result<Model> {
    let key = StreamKey::root(seed);
    let started = Instant::now();
    let data = TrainingData::read(simulations, options, key, &Storage::Memory)?;
    let mut trained = tallsbi_inference::train::train(&data, options, key, monitor)?;
    trained.info.task.clone_from(&simulations.task);
    trained.info.observation_names.clone_from(&simulations.observation_names);
    trained.info.signal_window = simulations.signal_window;
    trained.info.training_seconds = started.elapsed().as_secs_f64();
    trained.info.provenance = serde_json::json!({ "seed": seed, "options": options });
    Ok(Model::new(trained))
}

/// `options` with the symmetries and location parameters that `task` declares, for simulations with `prior`, unless others are given or, by `symmetries = false`, none
/// are wanted.
#[must_use]
pub fn declare(mut options: TrainOptions, task: &dyn Task, prior: &Prior) -> TrainOptions {
    let likelihood = &mut options.likelihood;
    if !likelihood.symmetries {
        return options;
    }
    if likelihood.declared.is_empty() {
        likelihood.declared = declared_maps(task, prior);
    }
    if likelihood.locations.is_empty() && task.prior().names() == prior.names() {
        likelihood.locations = task.locations();
    }
    options
}

/// Maps under which a task's prior and likelihood do not change, if they are the same maps of latent parameters. None where `prior` is not the task's.
fn declared_maps(task: &dyn Task, prior: &Prior) -> Vec<SignedPermutation> {
    if task.prior() != prior {
        return Vec::new();
    }
    let latent = LatentMap::prior_gaussian(prior);
    let m = latent.dim();
    let z: Vec<f64> = (0..m).map(|i| (1.3 * i as f64 + 0.4).sin()).collect();
    let (mut theta, mut image, mut back, mut expected) = (vec![0.0; m], vec![0.0; m], vec![0.0; m], vec![0.0; m]);
    latent.to_parameters(&z, &mut theta);
    let same = |map: &&SignedPermutation| {
        map.apply(&theta, &mut image);
        latent.to_latent(&image, &mut back);
        map.apply(&z, &mut expected);
        back.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6)
    };
    task.symmetry().elements()[1..].iter().filter(same).cloned().collect()
}
