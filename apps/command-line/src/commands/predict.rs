//! `tallsbi predict`.

use super::output_arguments::OutputArguments;
use super::{TaskArguments, example};
use crate::choice::choice;
use crate::context::{Context, resumable, usage};
use anyhow::Result;
use clap::Args;
use ndarray::{Array2, ArrayView2, s};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::diagnostics::predictive::PredictiveCheck;
use tallsbi::files::{Companions, OutputFile, Posterior};
use tallsbi::inference::model::lapse::LAPSE;
use tallsbi::on_disk::of_task;
use tallsbi::simulators::Task;
use tallsbi::simulators::jansen_rit::Output;
use tallsbi::{Predictions, predict_posterior};

/// Simulate what a fitted model predicts, and compare it with the observations
///
/// At draws of the posterior as many observations are simulated as it was given. Of each value, the mean, standard deviation, smallest and largest over the
/// observations are compared with their predicted ones: p-values near 0 or 1 are what the model does not reproduce. The file holds ArviZ's
/// groups posterior, posterior_predictive, observed_data, and with --prior prior and prior_predictive.
///
/// Example: tallsbi predict posterior.nc --task sir -o predictive.nc
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct PredictArguments {
    /// Posterior, with the observations it was given
    pub posterior: PathBuf,
    /// Task to simulate, which `tallsbi tasks` lists, or a model file (.toml) [default: the posterior's]
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// Fix a parameter of the task: it leaves the prior (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub fix: Vec<String>,
    /// Take a parameter of the task for a condition: a known quantity of each observation (repeatable)
    #[arg(long, value_name = "NAME")]
    pub condition: Vec<String>,
    /// What an observation is (jrnmm): predictions of signals are not compared with observed spectra [default: psd]
    #[arg(long, value_parser = choice::<Output>())]
    pub record: Option<Output>,
    /// Draws of the posterior to simulate at, evenly spaced
    #[arg(long, value_name = "S", default_value = "400")]
    pub draws: NonZeroUsize,
    /// Observations to simulate at each [default: as many as the posterior was given]
    #[arg(short = 'n', long, value_name = "N")]
    pub n_obs: Option<NonZeroUsize>,
    /// Simulate at as many draws of the prior too
    #[arg(long)]
    pub prior: bool,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Values of an observation that are shown one by one: those that are farthest off.
const SHOWN: usize = 5;

/// Below this two-sided p-value a prediction is off.
const LEVEL: f64 = 0.05;

/// Runs the command.
pub fn run(context: &Context, arguments: &PredictArguments) -> Result<()> {
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let mut posterior = Posterior::read(&arguments.posterior)?;
    let task = arguments.task(&posterior)?.build()?;
    leave_out_lapses(&mut posterior, task.as_ref());
    check_names(&posterior, task.as_ref(), arguments)?;
    let observed = posterior.observations.as_ref();
    let Some(n) = arguments.n_obs.map(NonZeroUsize::get).or(observed.map(Array2::nrows)) else {
        return Err(usage("--n-obs: the posterior's file holds no observations; say how many to simulate"));
    };
    let (samples, x) = (posterior.matrix(), observed.map(|x| x.view()));
    let (draws, monitor) = (arguments.draws.get(), context.monitor());
    let task = task.as_ref();
    let found = predict_posterior(task, (samples.view(), x), (draws, n), arguments.prior, context.seed, &monitor);
    let mut found = resumable(found, "nothing was written")?;
    let (prior, prior_predictive) = found.prior.take().map(|prior| (prior.theta, prior.x)).unzip();
    let posterior_predictive = Some(found.posterior.x.clone());
    let companions = Companions { posterior_predictive, prior, prior_predictive, ..Companions::default() };
    write(context, arguments, &posterior, (found.posterior.theta.view(), companions), task)?;
    report(context, arguments, task, &found.posterior, found.checks.as_deref())
}

impl PredictArguments {
    fn task(&self, posterior: &Posterior) -> Result<TaskArguments> {
        let known = Some(posterior.provenance.task.clone()).filter(|task| !task.is_empty());
        let Some(task) = self.task.clone().or(known) else {
            return Err(usage("--task: the posterior does not know its task; name the one to simulate"));
        };
        let (fix, condition) = (self.fix.clone(), self.condition.clone());
        Ok(TaskArguments { task, fix, condition, record: self.record, ..TaskArguments::default() })
    }
}

/// Leaves out an inferred rate of lapses: the simulator has no such parameter, and makes none.
fn leave_out_lapses(posterior: &mut Posterior, task: &dyn Task) {
    let at = posterior.parameter_names.len().saturating_sub(1);
    let inferred = posterior.parameter_names.last().is_some_and(|name| name == LAPSE);
    if inferred && !task.prior().names().iter().any(|name| name == LAPSE) {
        posterior.parameter_names.pop();
        posterior.samples = posterior.samples.slice(s![.., .., ..at]).to_owned();
    }
}

fn check_names(posterior: &Posterior, task: &dyn Task, arguments: &PredictArguments) -> Result<()> {
    let (found, wanted) = (&posterior.parameter_names, task.prior().names());
    if found.as_slice() == wanted {
        return Ok(());
    }
    Err(usage(format!(
        "{}: has the parameters {}, the task {} has {}; name its task with --task, and with --fix what is fixed",
        arguments.posterior.display(),
        found.join(", "),
        task.name(),
        wanted.join(", ")
    )))
}

fn write(
    context: &Context,
    arguments: &PredictArguments,
    posterior: &Posterior,
    (theta, companions): (ArrayView2<'_, f64>, Companions),
    task: &dyn Task,
) -> Result<()> {
    let provenance = of_task(context.provenance(task.name()), task)?.with_parent(&arguments.posterior)?;
    let names = posterior.parameter_names.clone();
    let observations = posterior.observations.clone();
    let mut file = Posterior::from_matrix(names, theta, observations, posterior.run.clone(), provenance)?;
    file.companions = companions;
    Ok(file.write(&arguments.output.output, arguments.output.existing())?)
}

fn report(
    context: &Context,
    arguments: &PredictArguments,
    task: &dyn Task,
    predicted: &Predictions,
    checks: Option<&[PredictiveCheck]>,
) -> Result<()> {
    let path = arguments.output.output.display();
    let (draws, n, _) = predicted.x.dim();
    if predicted.failed > 0 {
        let (failed, example) = (predicted.failed, example(task));
        tracing::warn!("{path}: simulations failed at {failed} of {draws} draws; they are NaN in the file{example}");
    }
    let names = task.observation_names();
    let name = |column: usize| names.get(column).cloned().unwrap_or_else(|| format!("x[{column}]"));
    let mut lines = vec![format!("{path}: {n} observations at each of {draws} draws")];
    if let Some(checks) = checks {
        let mut off: Vec<&PredictiveCheck> = checks.iter().filter(|check| check.two_sided() < LEVEL).collect();
        off.sort_by(|a, b| a.two_sided().total_cmp(&b.two_sided()).then(deviation(b).total_cmp(&deviation(a))));
        lines.push(match off.len() {
            0 => format!("the model reproduces all {} statistics of the observations", checks.len()),
            count => format!(
                "{count} of {} statistics of the observations are not reproduced (two-sided p < {LEVEL}; about {:.0} are by chance at most):",
                checks.len(),
                LEVEL * checks.len() as f64
            ),
        });
        lines.extend(off.iter().take(SHOWN).map(|check| {
            format!(
                "  {} {}: {:.5} observed, {:.5} ± {:.5} predicted, p = {:.3}",
                check.statistic,
                name(check.column),
                check.observed,
                check.predicted,
                check.sd,
                check.two_sided()
            )
        }));
    } else {
        lines.push(
            "not compared with the observations: they are of another kind or number, or values of all columns are missing".into(),
        );
    }
    context.print(lines.join("\n"), || {
        json!({
            "path": path.to_string(), "draws": draws, "n_obs": n, "failed": predicted.failed,
            "observation_names": names, "checks": checks,
        })
    })
}

/// How far the observed is from the predicted, in standard deviations.
fn deviation(check: &PredictiveCheck) -> f64 {
    if check.sd > 0.0 { (check.observed - check.predicted).abs() / check.sd } else { f64::INFINITY }
}
