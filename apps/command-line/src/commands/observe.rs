//! `tallsbi observe`.

use super::output_arguments::OutputArguments;
use super::{TaskArguments, example, parameters};
use crate::context::{Context, resumable};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use ndarray::Array1;
use serde_json::json;
use std::num::NonZeroUsize;
use tallsbi::files::{MatrixSource, Observations, OutputFile};
use tallsbi::on_disk::of_task;
use tallsbi::{Task, draw_truth};

/// Simulate observations at known parameters, to test inference on
///
/// The first rows do not depend on how many follow.
///
/// Example: tallsbi observe jrnmm --theta 135,220,2000,0 -n 30 -o obs.h5
#[derive(Debug, Args)]
pub struct ObserveArguments {
    #[command(flatten)]
    pub task: TaskArguments,
    #[command(flatten)]
    pub truth: TruthArguments,
    /// Number of observations
    #[arg(short = 'n', long = "observations", value_name = "N")]
    pub n_obs: NonZeroUsize,
    /// Observe under these conditions, a row for each observation, from the first again if there are more [default: drawn]
    #[arg(long, value_name = "FILE[:DATASET]")]
    pub conditions: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// The true parameters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TruthArguments {
    /// True parameters, in the prior's order
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true)]
    pub theta: Option<String>,
    /// Draw the true parameters from the prior
    #[arg(long)]
    pub from_prior: bool,
}

/// The task under the conditions of a file.
fn under(task: &dyn Task, source: &str) -> Result<Box<dyn Task>> {
    let given = MatrixSource::parse(source).read()?.with_rows_of(task.conditions());
    let rows = given.map_err(|message| anyhow!("{source}: {message}"))?.values;
    if rows.ncols() != task.conditions() {
        bail!("{source}: has {} columns, but {} has {} conditions", rows.ncols(), task.name(), task.conditions());
    }
    Ok(task.under(rows.mapv(|value| value as f32).view())?)
}

/// Runs the command.
pub fn run(context: &Context, arguments: &ObserveArguments) -> Result<()> {
    let task = arguments.task.build()?;
    let task = match &arguments.conditions {
        Some(source) => under(task.as_ref(), source)?,
        None => task,
    };
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let theta = match &arguments.truth.theta {
        Some(text) => parameters("--theta", text, task.prior())?,
        None => draw_truth(task.prior(), context.seed),
    };
    // The stored value is the one simulated at.
    let stored: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    let n = arguments.n_obs.get();
    let x = match tallsbi::observe(task.as_ref(), &stored, n, context.seed, &context.monitor()) {
        Err(error @ tallsbi::Error::FailedObservations { .. }) => {
            bail!("{error}; choose other parameters or another --seed{}", example(task.as_ref()))
        }
        x => resumable(x, "nothing was written")?,
    };
    let observations = Observations {
        x: x.mapv(f64::from),
        theta_true: Some(Array1::from(stored.clone())),
        parameter_names: task.prior().names().to_vec(),
        observation_names: task.observation_names(),
    };
    let provenance = of_task(context.provenance(task.name()), task.as_ref())?;
    observations.write(output, arguments.output.existing(), &provenance)?;
    let path = output.display();
    let shown: Vec<String> =
        task.prior().names().iter().zip(&stored).map(|(name, value)| format!("{name}={value}")).collect();
    context.print(format!("{path}: {n} observations at {}", shown.join(", ")), || {
        json!({ "path": path.to_string(), "n_obs": n, "theta_true": stored, "parameter_names": task.prior().names() })
    })
}
