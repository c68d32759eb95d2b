//! Training of a model on simulations.

use crate::{Model, Result, Simulations};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use tallsbi_data::{LatentMap, Monitor, Prior, SignedPermutation, StreamKey};
use tallsbi_inference::train::{BoxError, Checkpoint, Keep, Last, Resumable, Storage, TrainOptions, TrainingData};
use tallsbi_simulators::Task;

/// Checkpoints are kept at most this often: what a killed run loses.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(15);

/// Takes the bytes of a checkpoint.
type KeepBytes<'a> = dyn FnMut(&[u8]) -> std::result::Result<(), BoxError> + 'a;

/// Where the checkpoints of a run in memory are kept.
pub struct Checkpoints<'a> {
    /// What an interrupted run of the same simulations, options and seed kept last: the run goes on from there.
    pub resume: Option<Vec<u8>>,
    /// Keeps a checkpoint in place of the one before: every 15 s at most, and before an interrupted run stops.
    pub keep: Box<KeepBytes<'a>>,
}

/// Trains a model on simulations in memory: what the same rows in a file train to.
///
/// # Errors
/// When options are out of range, there are too few rows, training diverges, or the monitor asked to stop.
pub fn train(simulations: &Simulations, options: &TrainOptions, seed: u64, monitor: &dyn Monitor) -> Result<Model> {
    run(simulations, options, seed, Resumable::unkept(), monitor)
}

/// As [`train`], with checkpoints to go on from after an interruption: a resumed run has the result of an uninterrupted one.
///
/// # Errors
/// As [`train`], when the checkpoint is none or of another run, and when checkpoints cannot be kept.
pub fn train_resumable(
    simulations: &Simulations,
    options: &TrainOptions,
    seed: u64,
    checkpoints: Checkpoints<'_>,
    monitor: &dyn Monitor,
) -> Result<Model> {
    let Checkpoints { resume, mut keep } = checkpoints;
    let resume = resume.map(|bytes| Checkpoint::from_bytes(&bytes)).transpose()?;
    let fingerprint = fingerprint(&json!(digest(simulations)), None, options, seed);
    let keep = sparingly(move |checkpoint| keep(&checkpoint.to_bytes()));
    run(simulations, options, seed, Resumable { fingerprint: &fingerprint, resume, keep }, monitor)
}

fn run(
    simulations: &Simulations,
    options: &TrainOptions,
    seed: u64,
    run: Resumable<'_>,
    monitor: &dyn Monitor,
) -> Result<Model> {
    let key = StreamKey::root(seed);
    let started = Instant::now();
    let data = TrainingData::read(simulations, options, key, &Storage::Memory)?;
    let mut trained = tallsbi_inference::train::train_resumable(&data, options, key, run, monitor)?;
    trained.info.task.clone_from(&simulations.task);
    trained.info.observation_names.clone_from(&simulations.observation_names);
    trained.info.signal_window = simulations.signal_window;
    trained.info.training_seconds = seconds_since(started);
    trained.info.provenance = json!({ "seed": seed, "options": options });
    Ok(Model::new(trained))
}

/// All that decides the result: data, options, seed.
pub(crate) fn fingerprint(data: &Value, rows: Option<u64>, options: &TrainOptions, seed: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let all = json!({ "data": data, "rows": rows, "options": options, "seed": seed, "version": version });
    hex::encode(Sha256::digest(all.to_string()))
}

/// Passes checkpoints on after a while, and the last one before a run stops.
pub(crate) fn sparingly<'a>(
    mut write: impl FnMut(&Checkpoint) -> std::result::Result<(), BoxError> + 'a,
) -> Box<Keep<'a>> {
    let mut written = Instant::now();
    Box::new(move |last, checkpoint| {
        if last == Last::No && written.elapsed() <= CHECKPOINT_INTERVAL {
            return Ok(());
        }
        written = Instant::now();
        write(&checkpoint())
    })
}

/// How long a training took: 0 where the user fixed the time of creation, and wants equal bytes from equal runs.
pub(crate) fn seconds_since(started: Instant) -> f64 {
    if std::env::var_os("SOURCE_DATE_EPOCH").is_some() { 0.0 } else { started.elapsed().as_secs_f64() }
}

/// Of all that a model takes from simulations.
fn digest(simulations: &Simulations) -> String {
    let Simulations { prior, theta, x, valid, conditions, observation_names, x_transform, task, signal_window } =
        simulations;
    let about = json!({
        "prior": prior.to_json(), "theta": theta.dim(), "x": x.dim(), "conditions": conditions, "names": observation_names,
        "transform": x_transform, "task": task, "window": signal_window,
    });
    let mut hasher = Sha256::new();
    hasher.update(about.to_string());
    theta.iter().chain(x).for_each(|value| hasher.update(value.to_le_bytes()));
    valid.iter().for_each(|&valid| hasher.update([u8::from(valid)]));
    hex::encode(hasher.finalize())
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
