//! Training of a model on simulations.

use crate::{Model, Result, Simulations};
use std::time::Instant;
use tallsbi_data::{Monitor, StreamKey};
use tallsbi_inference::train::{Storage, TrainOptions, TrainingData};

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
    trained.info.training_seconds = started.elapsed().as_secs_f64();
    trained.info.provenance = serde_json::json!({ "seed": seed, "options": options });
    Ok(Model::new(trained))
}
