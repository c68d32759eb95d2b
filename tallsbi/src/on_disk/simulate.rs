//! Simulation into a training set that survives interruptions.

use super::Parameters;
use crate::error::check_counts;
use crate::simulate::simulate_rows;
use crate::{Error, Result, Session};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;
use tallsbi_data::{Cancelled, Monitor, Progress, Stage, Team};
use tallsbi_files::{Existing, Opened, Provenance, RowRange, Summary, TrainingSet, TrainingSetSpec, TrainingSetWriter};
use tallsbi_simulators::external::ModelSource;
use tallsbi_simulators::jansen_rit::{Recording, Solver};
use tallsbi_simulators::{Task, TaskOptions};

/// Bytes of rows that are simulated before they are written.
const BLOCK_BYTES: usize = 32 << 20;

/// Name of the digest of given parameters among a training set's settings.
const GIVEN: &str = "theta";

/// A block should take about this long, s: what an interruption loses, and how soon it is obeyed.
const BLOCK_SECONDS: f64 = 1.0;

/// What a training set of `task` at `parameters` holds, `n_obs` observations a row; it keeps the options of the task that are not its own.
pub fn training_set_spec(
    task: &dyn Task,
    rows: RowRange,
    n_obs: Option<usize>,
    parameters: &Parameters,
    options: &TaskOptions,
) -> TrainingSetSpec {
    let mut settings = settings(options);
    settings.extend(parameters.digest().map(|digest| (GIVEN.to_owned(), digest.into())));
    let source = task.source();
    if let Some(ModelSource { name, digest, keep, .. }) = source {
        let mut model = json!({ "name": name, "sha256": digest });
        if let Some(keep) = keep {
            model["keep"] = (*keep).into();
        }
        settings.insert("model".into(), model);
    }
    TrainingSetSpec {
        prior: task.prior().clone(),
        dim_x: task.dim_x(),
        conditions: task.conditions(),
        n_obs: n_obs.filter(|&k| k > 1),
        observation_names: task.observation_names(),
        x_transform: task.x_transform(),
        rows,
        keep: source.and_then(|source| source.keep),
        settings,
    }
}

/// The options that are given and differ from the task's own.
fn settings(options: &TaskOptions) -> Map<String, Value> {
    let mut options = options.clone();
    options.solver = options.solver.filter(|solver| *solver != Solver::default());
    options.recording = options.recording.filter(|recording| *recording != Recording::default());
    let Ok(Value::Object(mut settings)) = serde_json::to_value(options) else { return Map::new() };
    settings.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    settings
}

/// `provenance` with the model file of `task` as a parent, where it is of one.
///
/// # Errors
/// When the file cannot be read any more.
pub fn of_task(provenance: Provenance, task: &dyn Task) -> Result<Provenance> {
    match task.source() {
        None => Ok(provenance),
        Some(source) => Ok(provenance.with_parent(&source.path)?),
    }
}

/// The built-in task that a training set says it is from, with its options; `None` if it is from something else.
pub(super) fn task_of(set: &TrainingSet) -> Option<Box<dyn Task>> {
    let mut settings = set.spec().settings.clone();
    settings.remove(GIVEN);
    let settings = serde_json::from_value(Value::Object(settings)).ok()?;
    tallsbi_simulators::task(&set.provenance().task, &settings).ok()
}

/// Simulates a training set into `output`, or continues what an interrupted run left there. Returns what it holds, and rows
/// a second if there was anything to do. Where several processes work together all simulate, and the first writes and says what it wrote.
///
/// # Errors
/// When the file cannot be written or is of another run, or the monitor asked to stop: what was simulated is kept then.
pub fn simulate_file(
    session: &Session<'_>,
    (task, parameters): (&dyn Task, &Parameters),
    spec: TrainingSetSpec,
    output: &Path,
    existing: Existing,
) -> Result<(Summary, Option<f64>)> {
    let (rows, n_obs) = (spec.rows, spec.n_obs.unwrap_or(1));
    check_counts(&[("n_obs", n_obs)])?;
    if !session.monitor.leads() {
        let blocks = Blocks { session, task, parameters, rows, n_obs };
        return Ok((blocks.follow()?, None));
    }
    let mut provenance = of_task(session.provenance(task.name()), task)?;
    if let Parameters::Given { path, .. } = parameters {
        provenance = provenance.with_parent(path)?;
    }
    match TrainingSetWriter::open(output, existing, spec, provenance)? {
        Opened::Complete(summary) => {
            tracing::info!("{} is complete already", output.display());
            say(session.monitor, Next::Complete(summary))?;
            Ok((summary, None))
        }
        Opened::Writing(mut writer) => {
            let (first, started) = (writer.next_row(), Instant::now());
            if first > 0 {
                tracing::info!("continuing at row {first} of {}", rows.count);
            }
            Blocks { session, task, parameters, rows, n_obs }.simulate(&mut writer)?;
            let rate = (rows.count - first) as f64 / started.elapsed().as_secs_f64().max(1e-9);
            let summary = writer.finish()?;
            say(session.monitor, Next::Complete(summary))?;
            Ok((summary, Some(rate)))
        }
    }
}

/// A run, block by block.
struct Blocks<'a> {
    session: &'a Session<'a>,
    task: &'a dyn Task,
    parameters: &'a Parameters,
    rows: RowRange,
    n_obs: usize,
}

impl Blocks<'_> {
    fn simulate(&self, writer: &mut TrainingSetWriter) -> Result<()> {
        let Self { session, task, rows, n_obs, .. } = self;
        let processes = session.monitor.sharing();
        let (width, m) = (n_obs * task.dim_x(), task.prior().dim());
        let chunk = writer.chunk_rows();
        let most = (BLOCK_BYTES / (4 * (width + m)) / chunk).max(1) * chunk;
        let mut size = chunk;
        let mut invalid = 0;
        if processes > 1 {
            tracing::info!("simulating on {processes} processes");
        }
        let (steady, name) = (Steady(session.monitor), format!("simulate {}", task.name()));
        // Blocks of a program of the user's may take long; those of several processes end together.
        let long = task.source().is_some_and(|source| source.keep.is_some()) && processes == 1;
        let monitor = if long { session.monitor } else { &steady as &dyn Monitor };
        let stage = monitor.stage_from(writer.next_row(), &name, "rows", rows.count);
        while writer.next_row() < rows.count {
            if session.monitor.cancelled() {
                writer.checkpoint()?;
                return Err(Cancelled.into());
            }
            let started = Instant::now();
            let next = writer.next_row();
            let count = (rows.count - next).min(size as u64) as usize;
            let block = say(session.monitor, Next::Block { first: rows.first + next, count });
            let block = match block.and_then(|()| self.block(rows.first + next, count, &stage)) {
                Ok(simulated) => simulated,
                Err(error) => {
                    writer.checkpoint()?;
                    return Err(error);
                }
            };
            invalid += block.failed;
            if invalid > 0 {
                stage.advance_noting(0, &format!("{invalid} failed"));
            }
            writer.append(&block.theta, &block.x, &block.valid)?;
            let wanted = count as f64 * BLOCK_SECONDS / started.elapsed().as_secs_f64().max(1e-6);
            size = ((wanted as usize / chunk).max(1) * chunk).min(most);
        }
        Ok(())
    }

    /// The rows from number `first` on.
    fn block(&self, first: u64, count: usize, stage: &Stage<'_>) -> Result<Block> {
        let Self { session, task, parameters, n_obs, .. } = self;
        let theta = parameters.rows(task.prior(), session.key(), first, count);
        let (mut x, mut valid) = (vec![0.0; count * n_obs * task.dim_x()], vec![0; count]);
        let failed = simulate_rows(*task, *n_obs, session.key(), first, &theta, (&mut x, &mut valid), stage)?;
        Ok(Block { theta, x, valid, failed })
    }

    /// What a process does that does not write: its part of each block, until the first says what was written.
    fn follow(&self) -> Result<Summary> {
        let steady = Steady(self.session.monitor);
        let stage = (&steady as &dyn Monitor).stage("", "rows", self.rows.count);
        loop {
            self.session.monitor.check()?;
            match heard(self.session.monitor)? {
                Next::Block { first, count } => self.block(first, count, &stage).map(|_| ())?,
                Next::Complete(summary) => return Ok(summary),
            }
        }
    }
}

/// Rows: θ, x, which are valid, and how many are not.
struct Block {
    theta: Vec<f32>,
    x: Vec<f32>,
    valid: Vec<u8>,
    failed: usize,
}

/// What the process that writes does next.
#[derive(Clone, Copy)]
enum Next {
    Block { first: u64, count: usize },
    Complete(Summary),
}

/// Tells the other processes what comes next.
fn say(monitor: &dyn Monitor, next: Next) -> Result<()> {
    monitor.lead(NEXT, || {
        Ok::<_, Error>(match next {
            Next::Block { first, count } => (true, first, count as u64),
            Next::Complete(Summary { rows, invalid }) => (false, rows, invalid),
        })
    })?;
    Ok(())
}

/// Hears it.
fn heard(monitor: &dyn Monitor) -> Result<Next> {
    let (goes_on, a, b): (bool, u64, u64) = monitor.lead(NEXT, || Err(Error::from(Cancelled)))?;
    Ok(if goes_on {
        Next::Block { first: a, count: b as usize }
    } else {
        Next::Complete(Summary { rows: a, invalid: b })
    })
}

/// What processes call this exchange.
const NEXT: &str = "what to simulate";

/// Tells progress but lets a block come to its end: what was simulated is kept, and the monitor is asked between blocks.
struct Steady<'a>(&'a dyn Monitor);

impl Monitor for Steady<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        self.0.progress(progress);
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn team(&self) -> &dyn Team {
        self.0.team()
    }
}
