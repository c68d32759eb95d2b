//! `tallsbi observe`.

use super::{TaskArguments, parameters};
use crate::cli::OutputArguments;
use crate::context::{Context, Interrupted};
use anyhow::{Result, bail};
use clap::Args;
use ndarray::{Array1, Array2};
use serde_json::json;
use std::num::NonZeroUsize;
use tallsbi_data::{Monitor, Purpose};
use tallsbi_files::{Observations, OutputFile};
use tallsbi_simulators::{Rows, Task, simulate_parallel};

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

/// Runs the command.
pub fn run(context: &Context, arguments: &ObserveArguments) -> Result<()> {
    let task = arguments.task.build()?;
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let theta = match &arguments.truth.theta {
        Some(text) => parameters("--theta", text, task.prior())?,
        None => {
            let mut theta = vec![0.0; task.prior().dim()];
            let key = context.key().child(Purpose::Observation).child(Purpose::Prior);
            task.prior().sample(&mut key.rng(0), &mut theta);
            theta
        }
    };
    // The stored value is the one simulated at.
    let stored: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    let n = arguments.n_obs.get();
    let x = simulate(context, task.as_ref(), &stored, n)?;
    let observations = Observations {
        x,
        theta_true: Some(Array1::from(stored.clone())),
        parameter_names: task.prior().names().to_vec(),
        observation_names: task.observation_names(),
    };
    observations.write(output, arguments.output.existing(), &context.provenance(&arguments.task.task))?;
    let path = output.display();
    let shown: Vec<String> =
        task.prior().names().iter().zip(&stored).map(|(name, value)| format!("{name}={value}")).collect();
    context.print(format!("{path}: {n} observations at {}", shown.join(", ")), || {
        json!({ "path": path.to_string(), "n_obs": n, "theta_true": stored, "parameter_names": task.prior().names() })
    })
}

/// Simulates `n` observations (n, d) at `theta`; the first ones do not depend on n.
pub fn simulate(context: &Context, task: &dyn Task, theta: &[f32], n: usize) -> Result<Array2<f32>> {
    let monitor = context.monitor();
    let stage = (&monitor as &dyn Monitor).stage("observe", "observations", n as u64);
    // One row an observation, so that they run in parallel.
    let repeated = Array2::from_shape_fn((n, theta.len()), |(_, i)| f64::from(theta[i]));
    let rows = Rows { theta: repeated.view(), n_obs: 1, key: context.key().child(Purpose::Observation), first_row: 0 };
    let mut x = vec![0.0; n * task.dim_x()];
    let mut valid = vec![0; n];
    let invalid = match simulate_parallel(task, &rows, &mut x, &mut valid, &stage) {
        Err(_) if context.interrupt.is_set() => return Err(Interrupted("nothing was written".into()).into()),
        other => other?,
    };
    if invalid > 0 {
        bail!(
            "{invalid} of {n} simulations at these parameters failed or are not finite; choose other parameters or another --seed"
        );
    }
    Ok(Array2::from_shape_vec((n, task.dim_x()), x)?)
}
