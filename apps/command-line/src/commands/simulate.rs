//! `tallsbi simulate`.

use super::output_arguments::ResumableOutputArguments;
use super::{TaskArguments, example};
use crate::context::{Context, RESUME, resumable, usage};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::num::NonZeroU64;
use tallsbi::Task;
use tallsbi::files::{RowRange, Summary, TrainingSetSpec};
use tallsbi::on_disk::{Parameters, simulate_file, training_set_spec};

/// Simulate a training set: parameters from the prior, observations from the simulator
///
/// Rows are streamed to disk in bounded memory. A run that is interrupted or killed continues with --resume; shards
/// (--shard 1/4 .. 4/4, on any machines) are put together by `tallsbi merge`; built with MPI (cargo feature mpi),
/// `mpirun -n 4 tallsbi simulate ..` uses four processes. None of these change a byte of the data.
///
/// Example: tallsbi simulate jrnmm --fix g=0 -n 50000 -o train.h5
#[derive(Debug, Args)]
pub struct SimulateArguments {
    #[command(flatten)]
    pub task: TaskArguments,
    /// Number of simulations (rows) of the whole run
    #[arg(short = 'n', long = "rows", value_name = "N", required_unless_present = "theta")]
    pub rows: Option<NonZeroU64>,
    /// Simulate at these parameters, a row each, instead of draws from the prior: FILE, FILE.h5:DATASET or FILE.h5:DATASET:INDEX
    #[arg(long, value_name = "SOURCE")]
    pub theta: Option<String>,
    /// Observations per parameter: x has shape (N, K, d)
    #[arg(long, value_name = "K")]
    pub n_obs: Option<usize>,
    /// Simulate only part I of N of the rows
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &SimulateArguments) -> Result<()> {
    let bars = context.monitor();
    let session = context.session(&bars);
    let (task, parameters) = arguments.work()?;
    let spec = spec(arguments, task.as_ref(), &parameters)?;
    let (output, existing) = (&arguments.output.output, arguments.output.existing());
    let written = simulate_file(&session, (task.as_ref(), &parameters), spec, output, existing);
    let (summary, rate) = resumable(written, &format!("what was simulated is kept, {RESUME}"))?;
    report(context, arguments, task.as_ref(), (summary, rate))
}

impl SimulateArguments {
    /// The task, and where to simulate it.
    fn work(&self) -> Result<(Box<dyn Task>, Parameters)> {
        let task = self.task.build()?;
        let parameters = match &self.theta {
            None => Parameters::Prior,
            Some(source) => Parameters::read(source, task.prior())?,
        };
        Ok((task, parameters))
    }

    /// Rows of the whole run.
    fn total(&self, parameters: &Parameters, m: usize) -> Result<u64> {
        let asked = self.rows.map(NonZeroU64::get);
        let Parameters::Given { path, theta } = parameters else { return Ok(asked.unwrap_or_default()) };
        let given = (theta.len() / m) as u64;
        match asked {
            Some(asked) if asked > given => {
                Err(usage(format!("--rows: {asked} rows wanted, {} has {given}", path.display())))
            }
            asked => Ok(asked.unwrap_or(given)),
        }
    }
}

fn spec(arguments: &SimulateArguments, task: &dyn Task, parameters: &Parameters) -> Result<TrainingSetSpec> {
    if arguments.n_obs == Some(0) {
        return Err(usage("--n-obs: at least 1 observation per parameter"));
    }
    let total = arguments.total(parameters, task.prior().dim())?;
    let rows = match &arguments.shard {
        None => RowRange::whole(total),
        Some(text) => {
            let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
            let range = parsed.and_then(|(index, shards)| RowRange::shard(total, index, shards));
            let range =
                range.ok_or_else(|| usage(format!("--shard: {text:?} is not I/N with I from 1 to N, such as 1/4")))?;
            if range.count == 0 {
                return Err(usage(format!("--shard: {text} of {total} rows is empty; use at most {total} shards")));
            }
            range
        }
    };
    Ok(training_set_spec(task, rows, arguments.n_obs, parameters, &arguments.task.options()?))
}

fn report(
    context: &Context,
    arguments: &SimulateArguments,
    task: &dyn Task,
    (Summary { rows, invalid }, rate): (Summary, Option<f64>),
) -> Result<()> {
    if invalid > 0 {
        tracing::warn!(
            "{invalid} of {rows} simulations failed or are not finite; training leaves them out{}",
            example(task)
        );
    }
    let path = arguments.output.output.display();
    let speed = rate.map(|rate| format!(", {rate:.0} rows/s")).unwrap_or_default();
    context.print(
        format!("{path}: {rows} rows, {invalid} invalid{speed}"),
        || json!({ "path": path.to_string(), "rows": rows, "invalid": invalid, "rows_per_second": rate }),
    )
}
