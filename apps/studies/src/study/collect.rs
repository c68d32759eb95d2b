//! From what the steps of a study left to its results.

use super::options::{RunOptions, StudyOptions};
use super::results::{LossCurves, ObservationResults, PosteriorResults, RefinedResults, RunResults, TrainingResults};
use super::steps::{self, file, read_json, run_task};
use super::summary;
use anyhow::Result;
use ndarray::{Array2, ArrayView2, s};
use std::path::{Path, PathBuf};
use tallsbi::data::Prior;
use tallsbi::files::{Observations, Posterior, TrainingSet};
use tallsbi::inference::model::TrainedModel;
use tallsbi::on_disk::load_model;
use tallsbi::simulators::jansen_rit::SEGMENT;
use tallsbi::{Model, Sensitivity, Silent};

/// Folders of the steps of one run.
pub(super) struct Plan {
    pub training: PathBuf,
    pub model: PathBuf,
    pub observations: PathBuf,
    pub posteriors: Vec<PosteriorPlan>,
    pub refined: Option<RefinedPlan>,
    pub predictive: Option<PathBuf>,
}

pub(super) struct PosteriorPlan {
    pub n: usize,
    pub folder: String,
    pub local_c2st: Option<PathBuf>,
    pub coverage: Option<PathBuf>,
}

pub(super) struct RefinedPlan {
    pub n: usize,
    pub folder: String,
    pub check: Option<PathBuf>,
}

/// Reads back what the steps of a run left.
pub(super) fn collect(options: &StudyOptions, run: &RunOptions, plan: &Plan, root: &Path) -> Result<RunResults> {
    let set = TrainingSet::open(&plan.training)?;
    let observations = Observations::read(&plan.observations.join(file::OBSERVATIONS))?;
    let truth: Option<Vec<f64>> = observations.theta_true.map(|theta| theta.iter().map(|&v| v.into()).collect());
    let model = load_model(&plan.model)?;
    let prior = model.latent.prior().clone();
    let posteriors = plan.posteriors.iter().map(|plan| posterior(plan, &prior, truth.as_deref(), root));
    let posteriors = posteriors.collect::<Result<Vec<_>>>()?;
    let worth = posteriors.last().and_then(|last| last.worth);
    let sensitivity = sensitivity(plan, (&observations.x, worth), &model, root)?;
    Ok(RunResults {
        name: run.name.clone(),
        label: if run.label.is_empty() { run.name.clone() } else { run.label.clone() },
        task: run.task.clone(),
        units: steps::units(run_task(run)?.as_deref(), &prior),
        training: TrainingResults {
            simulations: set.rows(),
            invalid: set.count_invalid()?,
            n_obs: set.spec().n_obs.unwrap_or(1),
            members: model.members(),
            architecture: model.architecture().to_owned(),
            fixed: model.info.fixed.clone(),
            networks: LossCurves::of(&model),
        },
        observations: ObservationResults {
            source: options.observations.clone().unwrap_or_else(|| "simulated".into()),
            count: observations.x.nrows(),
            names: observations.observation_names,
            bin_hz: steps::signal_window(run)?.map(|window| window.sampling_rate / SEGMENT as f64),
            support: read_json(&plan.observations.join(file::SUPPORT))?,
            windows: match plan.observations.join(file::WINDOWS) {
                path if path.exists() => Some(read_json(&path)?),
                _ => None,
            },
        },
        posteriors,
        refined: plan.refined.as_ref().map(|plan| refined(plan, &prior, truth.as_deref(), root)).transpose()?,
        sensitivity,
        predictive: plan.predictive.as_deref().map(read_json).transpose()?,
        prior,
        truth,
    })
}

/// What the observations tell at the posterior given most of them.
fn sensitivity(
    plan: &Plan,
    (observations, worth): (&Array2<f64>, Option<f64>),
    model: &TrainedModel,
    root: &Path,
) -> Result<Option<Sensitivity>> {
    let Some(last) = plan.posteriors.last() else { return Ok(None) };
    let samples = Posterior::read(&root.join(&last.folder).join(file::POSTERIOR))?.matrix();
    let model = Model::new(model.clone());
    let x = model.centre("observations", observations.slice(s![..last.n, ..]))?;
    let samples = finite_rows(samples.view());
    if samples.is_empty() {
        return Ok(None);
    }
    Ok(model.sensitivity(x.view(), samples.view(), worth, &Silent)?)
}

fn refined(plan: &RefinedPlan, prior: &Prior, truth: Option<&[f64]>, root: &Path) -> Result<RefinedResults> {
    let file = format!("{}/{}", plan.folder, file::POSTERIOR);
    let samples = Posterior::read(&root.join(&file))?.matrix();
    let prior_sd: Vec<f64> = prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect();
    Ok(RefinedResults {
        n_obs: plan.n,
        file,
        samples: samples.nrows(),
        work: read_json(&root.join(&plan.folder).join(file::RESULT))?,
        marginals: summary::marginals(finite_rows(samples.view()).view(), &prior_sd, truth)?,
        check: plan.check.as_deref().map(read_json).transpose()?,
    })
}

fn posterior(plan: &PosteriorPlan, prior: &Prior, truth: Option<&[f64]>, root: &Path) -> Result<PosteriorResults> {
    let path = format!("{}/{}", plan.folder, file::POSTERIOR);
    let held = Posterior::read(&root.join(&path))?;
    let samples = held.matrix();
    let finite = finite_rows(samples.view());
    let prior_sd: Vec<f64> = prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect();
    let covariance = summary::covariance(finite.view());
    let counter = |name: &str| held.run.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    Ok(PosteriorResults {
        n_obs: plan.n,
        file: path,
        samples: samples.nrows(),
        diverged: counter("diverged"),
        repaired: counter("repaired"),
        worth: held.run.get("worth").and_then(serde_json::Value::as_f64),
        marginals: summary::marginals(finite.view(), &prior_sd, truth)?,
        correlation: summary::correlation(&covariance),
        directions: summary::directions(&covariance, &prior_sd)?,
        local_c2st: plan.local_c2st.as_deref().map(read_json).transpose()?,
        coverage: plan.coverage.as_deref().map(read_json).transpose()?,
    })
}

/// Samples without those that diverged to infinity, which are counted apart.
fn finite_rows(samples: ArrayView2<'_, f64>) -> ndarray::Array2<f64> {
    let kept: Vec<usize> = (0..samples.nrows()).filter(|&i| samples.row(i).iter().all(|v| v.is_finite())).collect();
    samples.select(ndarray::Axis(0), &kept)
}
