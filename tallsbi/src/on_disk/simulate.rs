//! Simulation into a training set that survives interruptions.

use super::Parameters;
use crate::distributed::{Block, Team};
use crate::simulate::simulate_rows;
use crate::{Result, Session};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;
use tallsbi_data::{Cancelled, Monitor, Progress, Stage};
use tallsbi_files::{Existing, Opened, Provenance, RowRange, Summary, TrainingSet, TrainingSetSpec, TrainingSetWriter};
use tallsbi_simulators::Task;
use tallsbi_simulators::external::ModelSource;

/// Bytes of rows that are simulated before they are written.
const BLOCK_BYTES: usize = 32 << 20;

/// Name of the digest of given parameters among a training set's settings.
const GIVEN: &str = "theta";

/// A block should take about this long, s: what an interruption loses, and how soon it is obeyed.
const BLOCK_SECONDS: f64 = 1.0;

/// What a training set of `task` at `parameters` holds, `n_obs` observations a row; `settings` are the task's options where they are not its own.
pub fn training_set_spec(
    task: &dyn Task,
    rows: RowRange,
    n_obs: Option<usize>,
    parameters: &Parameters,
    mut settings: Map<String, Value>,
) -> TrainingSetSpec {
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
/// a second if there was anything to do. All processes of `team` simulate, this one writes.
///
/// # Errors
/// When the file cannot be written or is of another run, or the monitor asked to stop: what was simulated is kept then.
pub fn simulate_file(
    session: &Session<'_>,
    team: &Team,
    (task, parameters): (&dyn Task, &Parameters),
    spec: TrainingSetSpec,
    output: &Path,
    existing: Existing,
) -> Result<(Summary, Option<f64>)> {
    let (rows, n_obs) = (spec.rows, spec.n_obs.unwrap_or(1));
    let mut provenance = of_task(session.provenance(task.name()), task)?;
    if let Parameters::Given { path, .. } = parameters {
        provenance = provenance.with_parent(path)?;
    }
    match TrainingSetWriter::open(output, existing, spec, provenance)? {
        Opened::Complete(summary) => {
            tracing::info!("{} is complete already", output.display());
            Ok((summary, None))
        }
        Opened::Writing(mut writer) => {
            let (first, started) = (writer.next_row(), Instant::now());
            if first > 0 {
                tracing::info!("continuing at row {first} of {}", rows.count);
            }
            Blocks { session, team, task, parameters, rows, n_obs }.simulate(&mut writer)?;
            let rate = (rows.count - first) as f64 / started.elapsed().as_secs_f64().max(1e-9);
            Ok((writer.finish()?, Some(rate)))
        }
    }
}

/// What a process does that works for another: simulates its part of each block, or says why it cannot.
///
/// # Errors
/// Of communication.
pub fn serve(
    session: &Session<'_>,
    team: Team,
    work: std::result::Result<(Box<dyn Task>, Parameters), String>,
    n_obs: usize,
) -> Result<()> {
    let (task, parameters) = match work {
        Ok(work) => work,
        Err(error) => return team.serve(session, 0, Err(error)),
    };
    let simulate = |block: Block, x: &mut [f32], valid: &mut [u8]| {
        let theta = parameters.rows(task.prior(), session.key(), block.first, block.count);
        simulate_rows(task.as_ref(), n_obs, session.key(), block.first, &theta, (x, valid), &Stage::silent())
    };
    team.serve(session, n_obs * task.dim_x(), Ok(&simulate))
}

/// A run, block by block.
struct Blocks<'a> {
    session: &'a Session<'a>,
    team: &'a Team,
    task: &'a dyn Task,
    parameters: &'a Parameters,
    rows: RowRange,
    n_obs: usize,
}

impl Blocks<'_> {
    fn simulate(&self, writer: &mut TrainingSetWriter) -> Result<()> {
        let Self { session, team, task, parameters, rows, n_obs } = self;
        let (width, m) = (n_obs * task.dim_x(), task.prior().dim());
        let chunk = writer.chunk_rows();
        let most = (BLOCK_BYTES / (4 * (width + m)) / chunk).max(1) * chunk;
        let mut size = chunk;
        let (mut invalid, mut interrupted) = (0, false);
        if team.size() > 1 {
            tracing::info!("simulating on {} processes", team.size());
        }
        let (steady, name) = (Steady(session.monitor), format!("simulate {}", task.name()));
        // Blocks of a program of the user's may take long; those of several processes end together.
        let long = task.source().is_some_and(|source| source.keep.is_some()) && team.size() == 1;
        let monitor = if long { session.monitor } else { &steady as &dyn Monitor };
        let stage = monitor.stage(&name, "rows", rows.count);
        stage.advance(writer.next_row());
        while writer.next_row() < rows.count {
            if interrupted || session.monitor.cancelled() {
                writer.checkpoint()?;
                return Err(Cancelled.into());
            }
            let started = Instant::now();
            let next = writer.next_row();
            let block = Block { first: rows.first + next, count: (rows.count - next).min(size as u64) as usize };
            let theta = parameters.rows(task.prior(), session.key(), block.first, block.count);
            let mut x = vec![0.0; block.count * width];
            let mut valid = vec![0; block.count];
            let part = |part: Block, x: &mut [f32], valid: &mut [u8]| {
                let start = (part.first - block.first) as usize;
                let theta = &theta[start * m..(start + part.count) * m];
                simulate_rows(*task, *n_obs, session.key(), part.first, theta, (x, valid), &stage)
            };
            let received = |rows: usize| stage.advance(rows as u64);
            let simulated = match team.simulate(block, &mut x, &mut valid, &received, &part) {
                Ok(simulated) => simulated,
                Err(error) => {
                    writer.checkpoint()?;
                    return Err(error);
                }
            };
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
}

/// Tells progress but lets a block come to its end: what was simulated is kept, and the monitor is asked between blocks.
struct Steady<'a>(&'a dyn Monitor);

impl Monitor for Steady<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        self.0.progress(progress);
    }

    fn cancelled(&self) -> bool {
        false
    }
}
