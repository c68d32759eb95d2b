//! `tallsbi simulate`.

use super::TaskArguments;
use crate::cli::ResumableOutputArguments;
use crate::context::{Context, Interrupted, usage};
use crate::distributed::{Block, Team};
use crate::progress::Bars;
use anyhow::Result;
use clap::Args;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Instant;
use tallsbi_data::{Monitor, Prior, Progress, Purpose, Stage};
use tallsbi_files::{Existing, Opened, RowRange, Summary, TrainingSetSpec, TrainingSetWriter};
use tallsbi_simulators::{Rows, Task, simulate_parallel};

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
    #[arg(short = 'n', long = "rows", value_name = "N")]
    pub rows: NonZeroU64,
    /// Observations per parameter: x has shape (N, K, d)
    #[arg(long, value_name = "K")]
    pub n_obs: Option<usize>,
    /// Simulate only part I of N of the rows
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
}

/// Bytes of rows that are simulated before they are written.
const BLOCK_BYTES: usize = 32 << 20;

/// A block should take about this long, s: what an interruption loses, and how soon Ctrl-C is obeyed.
const BLOCK_SECONDS: f64 = 1.0;

/// Rows of θ drawn by one thread at a time.
const PRIOR_CHUNK: usize = 1024;

/// Runs the command.
pub fn run(context: &Context, arguments: &SimulateArguments) -> Result<()> {
    let team = Team::join()?;
    let task = arguments.task.build();
    if team.is_worker() {
        return work(context, arguments, team, task);
    }
    let task = task?;
    let spec = spec(arguments, task.as_ref())?;
    let output = &arguments.output.output;
    let (summary, rate) = write(context, &team, task.as_ref(), spec, output, arguments.output.existing())?;
    report(context, arguments, summary, rate)
}

/// What a process does that works for another.
fn work(context: &Context, arguments: &SimulateArguments, team: Team, task: Result<Box<dyn Task>>) -> Result<()> {
    let task = match task {
        Ok(task) => task,
        Err(error) => return team.serve(context, 0, Err(error)),
    };
    let n_obs = arguments.n_obs.unwrap_or(1);
    let simulate = |block: Block, x: &mut [f32], valid: &mut [u8]| {
        let theta = draw_parameters(context, task.prior(), block);
        simulate_rows(context, task.as_ref(), n_obs, block, &theta, (x, valid), &Stage::silent())
    };
    team.serve(context, n_obs * task.dim_x(), Ok(&simulate))
}

/// Simulates a training set into `output`, or continues what an interrupted run left there. Returns what it holds, and rows
/// a second if there was anything to do. All processes of `team` simulate, this one writes.
pub fn write(
    context: &Context,
    team: &Team,
    task: &dyn Task,
    spec: TrainingSetSpec,
    output: &Path,
    existing: Existing,
) -> Result<(Summary, Option<f64>)> {
    let (rows, n_obs) = (spec.rows, spec.n_obs.unwrap_or(1));
    match TrainingSetWriter::open(output, existing, spec, context.provenance(task.name()))? {
        Opened::Complete(summary) => {
            tracing::info!("{} is complete already", output.display());
            Ok((summary, None))
        }
        Opened::Writing(mut writer) => {
            let monitor = Steady(context.monitor());
            let name = format!("simulate {}", task.name());
            let stage = (&monitor as &dyn Monitor).stage(&name, "rows", rows.count);
            let (first, started) = (writer.next_row(), Instant::now());
            if first > 0 {
                tracing::info!("continuing at row {} of {}", writer.next_row(), rows.count);
                stage.advance(writer.next_row());
            }
            simulate(context, team, task, &mut writer, rows, n_obs, &stage)?;
            let rate = (rows.count - first) as f64 / started.elapsed().as_secs_f64().max(1e-9);
            Ok((writer.finish()?, Some(rate)))
        }
    }
}

/// Shows progress but lets a block come to its end: what was simulated is kept, and Ctrl-C is seen between blocks.
struct Steady<'a>(Bars<'a>);

impl Monitor for Steady<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        self.0.progress(progress);
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn spec(arguments: &SimulateArguments, task: &dyn Task) -> Result<TrainingSetSpec> {
    if arguments.n_obs == Some(0) {
        return Err(usage("--n-obs: at least 1 observation per parameter"));
    }
    let total = arguments.rows.get();
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
    Ok(training_set(task, rows, arguments.n_obs, arguments.task.settings()?))
}

/// What a training set of `task` holds, `n_obs` observations a row; `settings` are the task's options where they are not its own.
pub fn training_set(
    task: &dyn Task,
    rows: RowRange,
    n_obs: Option<usize>,
    settings: Map<String, Value>,
) -> TrainingSetSpec {
    TrainingSetSpec {
        prior: task.prior().clone(),
        dim_x: task.dim_x(),
        n_obs: n_obs.filter(|&k| k > 1),
        observation_names: task.observation_names(),
        x_transform: task.x_transform(),
        rows,
        settings,
    }
}

fn simulate(
    context: &Context,
    team: &Team,
    task: &dyn Task,
    writer: &mut TrainingSetWriter,
    rows: RowRange,
    n_obs: usize,
    stage: &Stage<'_>,
) -> Result<()> {
    let width = n_obs * task.dim_x();
    let m = task.prior().dim();
    let chunk = writer.chunk_rows();
    let most = (BLOCK_BYTES / (4 * (width + m)) / chunk).max(1) * chunk;
    let mut size = chunk;
    let (mut invalid, mut interrupted) = (0, false);
    if team.size() > 1 {
        tracing::info!("simulating on {} processes", team.size());
    }
    let advance = |rows: usize| stage.advance(rows as u64);
    while writer.next_row() < rows.count {
        if interrupted || context.interrupt.is_set() {
            writer.checkpoint()?;
            let done = writer.next_row();
            return Err(Interrupted(format!(
                "{done} of {} rows are kept, run the same command with --resume to go on",
                rows.count
            ))
            .into());
        }
        let started = Instant::now();
        let next = writer.next_row();
        let block = Block { first: rows.first + next, count: (rows.count - next).min(size as u64) as usize };
        let theta = draw_parameters(context, task.prior(), block);
        let mut x = vec![0.0; block.count * width];
        let mut valid = vec![0; block.count];
        let part = |part: Block, x: &mut [f32], valid: &mut [u8]| {
            let start = (part.first - block.first) as usize;
            let theta = &theta[start * m..(start + part.count) * m];
            simulate_rows(context, task, n_obs, part, theta, (x, valid), stage)
        };
        let simulated = team.simulate(block, &mut x, &mut valid, &advance, &part)?;
        interrupted = simulated.interrupted;
        invalid += simulated.invalid;
        if invalid > 0 {
            stage.advance_noting(0, &format!("{invalid} failed"));
        }
        writer.append(&theta, &x, &valid)?;
        let wanted = block.count as f64 * BLOCK_SECONDS / started.elapsed().as_secs_f64().max(1e-6);
        size = ((wanted as usize / chunk).max(1) * chunk).min(most);
    }
    Ok(())
}

/// Simulates rows at the given θ on all threads of this process; returns how many failed.
fn simulate_rows(
    context: &Context,
    task: &dyn Task,
    n_obs: usize,
    block: Block,
    theta: &[f32],
    (x, valid): (&mut [f32], &mut [u8]),
    stage: &Stage<'_>,
) -> Result<usize> {
    let exact: Vec<f64> = theta.iter().map(|&value| value.into()).collect();
    let rows = Rows {
        theta: ArrayView2::from_shape((block.count, task.prior().dim()), &exact)?,
        n_obs,
        key: context.key().child(Purpose::Simulator),
        first_row: block.first,
    };
    Ok(simulate_parallel(task, &rows, x, valid, stage)?)
}

/// θ of a block's rows, rounded to the single precision of files: observations belong to the stored values.
fn draw_parameters(context: &Context, prior: &Prior, Block { first, count }: Block) -> Vec<f32> {
    let key = context.key().child(Purpose::Prior);
    let m = prior.dim();
    let mut theta = vec![0.0; count * m];
    theta.par_chunks_mut(PRIOR_CHUNK * m).enumerate().for_each(|(chunk, rows)| {
        let mut one = vec![0.0; m];
        for (i, row) in rows.chunks_exact_mut(m).enumerate() {
            prior.sample(&mut key.rng(first + (chunk * PRIOR_CHUNK + i) as u64), &mut one);
            row.iter_mut().zip(&one).for_each(|(out, &value)| *out = value as f32);
        }
    });
    theta
}

fn report(context: &Context, arguments: &SimulateArguments, summary: Summary, rate: Option<f64>) -> Result<()> {
    let Summary { rows, invalid } = summary;
    if invalid > 0 {
        tracing::warn!("{invalid} of {rows} simulations failed or are not finite; training leaves them out");
    }
    let path = arguments.output.output.display();
    let speed = rate.map(|rate| format!(", {rate:.0} rows/s")).unwrap_or_default();
    context.print(
        format!("{path}: {rows} rows, {invalid} invalid{speed}"),
        || json!({ "path": path.to_string(), "rows": rows, "invalid": invalid, "rows_per_second": rate }),
    )
}
