//! Tasks that are not built in: a model file names the parameters with their priors, the observations, and what simulates, a program or differential equations.
//!
//! A program stays alive and answers rows of a seed and parameters, as lines of text or numpy arrays, or is started for each row. A row that fails in whatever way is
//! invalid; a program that dies is started again; one that always fails is an error.

mod child;
mod command;
mod health;
mod model_file;
mod npy;
mod ode;
mod pool;
mod worker;

pub use model_file::{ModelSource, is_model_file};

/// A commented model file with a program to start from: it parses and, where there is a Python, works.
pub const COMMAND_TEMPLATE: &str = include_str!("template.toml");

/// A commented model file with differential equations to start from.
pub const ODE_TEMPLATE: &str = include_str!("ode/template.toml");

use crate::first_failure::named;
use crate::{Result, Rows, SimulatorError, Task};
use health::Health;
use model_file::{Means, ModelFile, Outline};
use pool::{Job, Pool};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tallsbi_data::{Prior, Stage, XTransform};
use worker::{Answered, Batch};

/// How often it is asked whether to stop.
const ASKED: Duration = Duration::from_millis(50);

/// Seeds have this many bits: what every language takes as an integer.
const SEED_BITS: u32 = 31;

/// The task of the model file `path`, and which of its parameters are conditions. No program is started before there is something to simulate; differential equations are compiled.
///
/// # Errors
/// [`SimulatorError::ModelFile`] with the line, when the file cannot be read or says something that cannot be.
pub(crate) fn open(path: &str) -> Result<(Box<dyn Task>, Vec<String>)> {
    let ModelFile { outline, conditions, means } = ModelFile::read(Path::new(path))?;
    let task: Box<dyn Task> = match means {
        Means::Command(command) => Box::new(CommandTask::new(path, outline, command)),
        Means::Ode(equations) => Box::new(equations.task(path, outline)?),
    };
    Ok((task, conditions))
}

/// The task of a model file with a program.
struct CommandTask {
    /// The path, as it was given.
    name: String,
    model: Outline,
    command: Arc<command::Command>,
    names: Arc<[String]>,
    health: Arc<Health>,
    pool: OnceLock<Pool>,
}

impl CommandTask {
    fn new(path: &str, model: Outline, command: command::Command) -> Self {
        let (command, names) = (Arc::new(command), model.prior.names().into());
        Self { name: path.into(), model, command, names, health: Arc::default(), pool: OnceLock::new() }
    }

    fn workers(&self) -> usize {
        self.command.workers.unwrap_or_else(rayon::current_num_threads)
    }

    fn pool(&self) -> &Pool {
        self.pool.get_or_init(|| {
            Pool::start(self.workers(), &self.command, &self.names, self.model.observations.len(), &self.health)
        })
    }

    fn program_error(&self, message: &str) -> SimulatorError {
        SimulatorError::Program { task: self.name.clone(), message: message.into() }
    }

    /// What a row that failed was, in words.
    fn describe(&self, row: u64, theta: &[f64], seed: u32, reason: &str) -> String {
        format!("row {row} (seed {seed}, {}): {reason}", named(&self.names, theta))
    }
}

/// The rows of a study one observation at a time: (row, observation) `first..` in batches.
fn batch(rows: &Rows<'_>, from: usize, count: usize) -> Batch {
    let k = rows.n_obs;
    let each = || from..from + count;
    Batch {
        theta: each().flat_map(|at| rows.theta.row(at / k).to_vec()).collect(),
        seeds: each().map(|at| (rows.words(at / k, at % k)[0] >> (u64::BITS - SEED_BITS)) as u32).collect(),
    }
}

impl Task for CommandTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        if self.model.description.is_empty() { &self.model.source.name } else { &self.model.description }
    }

    fn prior(&self) -> &Prior {
        &self.model.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        self.model.units.clone()
    }

    fn observation_names(&self) -> Vec<String> {
        self.model.observations.clone()
    }

    fn x_transform(&self) -> XTransform {
        self.model.transform
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        rows.check(self, x, valid)?;
        self.simulate_all(rows, x, valid, &Stage::silent()).map(|_| ())
    }

    fn preferred_batch(&self) -> usize {
        self.command.batch
    }

    /// Hands batches to the workers, whatever the number of threads.
    fn simulate_all(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8], stage: &Stage<'_>) -> Result<usize> {
        let (k, d) = (rows.n_obs, self.dim_x());
        let total = rows.theta.nrows() * k;
        let size = self.command.batch.min(total.div_ceil(self.workers())).max(1);
        let abandoned = Arc::new(AtomicBool::new(false));
        let (reply, replies) = channel();
        let starts: Vec<usize> = (0..total).step_by(size).collect();
        for (index, &from) in starts.iter().enumerate() {
            let batch = batch(rows, from, size.min(total - from));
            self.pool().submit(Job { batch, index, abandoned: Arc::clone(&abandoned), reply: reply.clone() });
        }
        drop(reply);
        let (mut waiting, mut done) = (starts.len(), 0);
        while waiting > 0 {
            let (index, batch, answered) = match replies.recv_timeout(ASKED) {
                Ok(reply) => reply,
                Err(RecvTimeoutError::Timeout) => {
                    stage.check().inspect_err(|_| abandoned.store(true, Ordering::Relaxed))?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.program_error("its workers have ended")),
            };
            let Some(Answered { values, faults }) = answered else {
                abandoned.store(true, Ordering::Relaxed);
                return Err(self.program_error(self.health.hopeless().unwrap_or("its workers have ended")));
            };
            waiting -= 1;
            let from = starts[index];
            x[from * d..][..values.len()].iter_mut().zip(&values).for_each(|(to, from)| *to = *from as f32);
            for (at, fault) in faults {
                let row = rows.first_row + ((from + at) / k) as u64;
                let m = self.names.len();
                let theta = &batch.theta[at * m..][..m];
                self.health.example.keep(row, || self.describe(row, theta, batch.seeds[at], fault.reason()));
            }
            let before = done / k;
            done += batch.seeds.len();
            stage.advance((done / k - before) as u64);
        }
        Ok(mark(x, valid, k * d))
    }

    fn source(&self) -> Option<&ModelSource> {
        Some(&self.model.source)
    }

    fn failure(&self) -> Option<String> {
        self.health.example.describe()
    }
}

/// Marks rows with a value that is not finite invalid, NaN throughout; returns how many.
fn mark(x: &mut [f32], valid: &mut [u8], width: usize) -> usize {
    let rows = x.chunks_exact_mut(width).zip(valid);
    rows.map(|(row, valid)| {
        let whole = row.iter().all(|value| value.is_finite());
        *valid = whole.into();
        if !whole {
            row.fill(f32::NAN);
        }
        usize::from(!whole)
    })
    .sum()
}
