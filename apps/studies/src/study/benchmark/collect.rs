//! Reads back what the steps of a benchmark left.

use super::options::{BenchmarkOptions, BenchmarkTask};
use super::reference::Reference;
use super::results::{BenchmarkRun, NetworkResults, SetResults, ShownSet, TaskResults, Trained};
use super::steps::{RESULT, SAMPLES, Sampled, read_samples};
use crate::study::graph::StepId;
use crate::study::named_sampler::NamedSampler;
use crate::study::results::LossCurves;
use crate::study::steps::{read_json, units};
use crate::study::summary::distance_to_truth;
use anyhow::{Context as _, Result};
use ndarray::{Array2, ArrayView2, Axis};
use std::path::{Path, PathBuf};
use tallsbi::on_disk::load_model;

/// The networks and runs of a task.
#[derive(Default)]
pub struct TaskPlan {
    /// Models.
    pub networks: Vec<Network>,
    /// Posteriors and metrics.
    pub runs: Vec<Plan>,
    /// Folder of the reference samples that are drawn, relative to the study's.
    pub shown: String,
}

/// A model of a task: where it will be, the step that makes it or its digest, and what it was trained on.
pub struct Network {
    /// Its file.
    pub path: PathBuf,
    /// The step that trains it.
    pub step: Option<StepId>,
    /// Digest of a given model.
    pub digest: Option<String>,
    /// What it is trained on.
    pub trained: Trained,
}

/// Where the results of one run will be.
pub struct Plan {
    /// What its network is trained on.
    pub trained: Trained,
    /// The sampler.
    pub sampler: NamedSampler,
    /// n.
    pub n: usize,
    /// Folder of the samples, relative to the study's.
    pub sampled: String,
    /// Folder of the metrics.
    pub metrics: PathBuf,
}

/// True parameters, and the prior's standard deviations in which distances to them are measured.
struct Truth {
    theta: Array2<f64>,
    prior_sd: Vec<f64>,
}

impl Truth {
    fn distance(&self, set: usize, samples: ArrayView2<'_, f64>) -> Result<Option<f64>> {
        distance_to_truth(samples, &self.theta.row(set).to_vec(), &self.prior_sd)
    }
}

/// The results of a task whose steps are done in the folder `root`.
///
/// # Errors
/// When files are missing or damaged.
pub fn task(
    options: &BenchmarkOptions,
    task: &BenchmarkTask,
    reference: &Reference,
    plan: &TaskPlan,
    root: &Path,
) -> Result<TaskResults> {
    let built_in = tallsbi::simulators::task(&task.name, &task.options).ok();
    let prior = match plan.networks.first() {
        Some(first) => load_model(&first.path)?.latent.prior().clone(),
        None => built_in.as_ref().context("a refinement has a task")?.prior().clone(),
    };
    let prior_sd = prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect();
    let truth = reference.truth()?.map(|theta| Truth { theta, prior_sd });
    Ok(TaskResults {
        name: task.name.clone(),
        reference: reference.path.display().to_string(),
        ignored: reference.ignored.clone(),
        units: units(built_in.as_deref(), &prior),
        prior,
        shown: ShownSet {
            set: options.shown_set,
            reference: format!("{}/{SAMPLES}", plan.shown),
            truth: truth.as_ref().map(|truth| truth.theta.row(options.shown_set - 1).to_vec()),
        },
        reference_dirac: reference_dirac(options, reference, truth.as_ref())?,
        networks: plan.networks.iter().map(network).collect::<Result<_>>()?,
        runs: plan.runs.iter().map(|plan| run(plan, truth.as_ref(), root)).collect::<Result<_>>()?,
    })
}

/// Distance of the reference posteriors to the true parameters.
fn reference_dirac(
    options: &BenchmarkOptions,
    reference: &Reference,
    truth: Option<&Truth>,
) -> Result<Vec<(usize, Vec<f64>)>> {
    let Some(truth) = truth else { return Ok(vec![]) };
    let at = |&n: &usize| {
        let posteriors = reference.posteriors(n)?;
        let distance = |(set, samples): (usize, &Array2<f64>)| truth.distance(set, samples.view());
        let distances = posteriors.iter().enumerate().map(|set| Ok(distance(set)?.unwrap_or(f64::NAN)));
        Ok((n, distances.collect::<Result<_>>()?))
    };
    options.n_obs.iter().map(at).collect()
}

/// What the file of a model says of its training.
fn network(network: &Network) -> Result<NetworkResults> {
    let model = load_model(&network.path)?;
    Ok(NetworkResults {
        trained: network.trained,
        architecture: model.architecture().to_owned(),
        losses: LossCurves::of(&model),
    })
}

fn run(plan: &Plan, truth: Option<&Truth>, root: &Path) -> Result<BenchmarkRun> {
    let sampled: Sampled = read_json(&root.join(&plan.sampled).join(RESULT))?;
    let mut sets: Vec<SetResults> = read_json(&plan.metrics.join(RESULT))?;
    let samples = format!("{}/{SAMPLES}", plan.sampled);
    if let Some(truth) = truth {
        let held = read_samples(&root.join(&samples))?;
        for (index, (set, samples)) in sets.iter_mut().zip(held.axis_iter(Axis(0))).enumerate() {
            set.dirac = truth.distance(index, samples)?;
        }
    }
    Ok(BenchmarkRun {
        trained: plan.trained,
        sampler: plan.sampler,
        n_obs: plan.n,
        samples,
        seconds: sampled.seconds,
        evaluations: sampled.info.evaluations,
        diverged: sampled.info.diverged,
        repaired: sampled.info.repaired,
        sets,
        refined: sampled.refined,
    })
}
