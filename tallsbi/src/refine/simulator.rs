//! Simulations of a refinement: found again after an interruption, and screened as training sets are.

use crate::Result;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tallsbi_data::{Monitor, Quiet, StreamKey, XTransform};
use tallsbi_inference::InferenceError;
use tallsbi_inference::notes::Note;
use tallsbi_inference::refine::Simulate;
use tallsbi_inference::train::{Outliers, screen_rows};
use tallsbi_simulators::{Rows, SimulatorError, Task, simulate_parallel};

/// x (rows, d), and whether each row has a result.
pub type Simulated = (Array2<f32>, Vec<bool>);

/// Keeps blocks of simulations: parameters θ (rows, m) from `first_row` on, with x (rows, d) and whether each has a result.
pub trait KeepSimulations: Sync {
    /// The block that an earlier run kept.
    fn recall(&self, first_row: u64, theta: ArrayView2<'_, f64>) -> Option<Simulated>;

    /// Keeps a block.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self, first_row: u64, theta: ArrayView2<'_, f64>, block: (&Array2<f32>, &[bool])) -> Result<()>;
}

/// Rows of a block that is kept.
const BLOCK: usize = 1000;

/// Simulates a task for a refinement.
pub(super) struct Simulator<'a> {
    task: &'a dyn Task,
    kept: Option<&'a dyn KeepSimulations>,
    monitor: &'a dyn Monitor,
    found: Mutex<Found>,
}

/// What is to be told of the simulations.
#[derive(Default)]
struct Found {
    rows: u64,
    failed: u64,
    notes: Vec<Note>,
    /// All of them: θ, x and whether each has a result.
    made: Vec<(Array2<f64>, Array2<f32>, Vec<bool>)>,
    /// Columns that something is told of.
    told: HashSet<(std::mem::Discriminant<Note>, usize)>,
}

impl<'a> Simulator<'a> {
    pub fn new(task: &'a dyn Task, kept: Option<&'a dyn KeepSimulations>, monitor: &'a dyn Monitor) -> Self {
        Self { task, kept, monitor, found: Mutex::default() }
    }

    /// How many failed, and what was found among the values: of each kind and column what came first.
    pub fn notes(&self) -> Vec<Note> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = Note::Failed { failed: found.failed, rows: found.rows, differs: None };
        (found.failed > 0).then_some(failed).into_iter().chain(found.notes.iter().cloned()).collect()
    }

    /// All simulations so far: θ (N, m), x (N, d) and whether each has a result.
    pub fn made(&self) -> (Array2<f64>, Array2<f64>, Vec<bool>) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let theta: Vec<_> = found.made.iter().map(|(theta, ..)| theta.view()).collect();
        let x: Vec<_> = found.made.iter().map(|(_, x, _)| x.mapv(f64::from)).collect();
        let x: Vec<_> = x.iter().map(Array2::view).collect();
        let whole = "rows of one width";
        (
            concatenate(Axis(0), &theta).expect(whole),
            concatenate(Axis(0), &x).expect(whole),
            found.made.iter().flat_map(|(_, _, valid)| valid.iter().copied()).collect(),
        )
    }

    fn run(&self, theta: ArrayView2<'_, f64>, first_row: u64, key: StreamKey) -> tallsbi_inference::Result<Simulated> {
        let rows = Rows { theta, n_obs: 1, key, first_row };
        let (n, d) = (theta.nrows(), self.task.dim_x());
        let (mut x, mut valid) = (vec![0.0; n * d], vec![0; n]);
        let quiet = Quiet(self.monitor);
        let stage = (&quiet as &dyn Monitor).stage("simulate", "rows", n as u64);
        simulate_parallel(self.task, &rows, &mut x, &mut valid, &stage).map_err(|error| match error {
            SimulatorError::Cancelled(cancelled) => InferenceError::Cancelled(cancelled),
            program @ SimulatorError::Program { .. } => InferenceError::Caller(Box::new(program)),
            other => InferenceError::TrainingSet(other.to_string()),
        })?;
        let x = Array2::from_shape_vec((n, d), x).expect("one value a column");
        Ok((x, valid.into_iter().map(|valid| valid != 0).collect()))
    }

    /// Block by block: what was kept is recalled, what was not is kept.
    fn in_blocks(
        &self,
        log: &dyn KeepSimulations,
        theta: ArrayView2<'_, f64>,
        first_row: u64,
        key: StreamKey,
    ) -> tallsbi_inference::Result<Simulated> {
        let (mut x, mut valid) = (Vec::new(), Vec::new());
        for (index, theta) in theta.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
            let first = first_row + (index * BLOCK) as u64;
            // Where several processes simulate together, the first remembers.
            let known = || {
                let block = log.recall(first, theta);
                Ok::<_, InferenceError>(block.map(|(x, valid)| (x.into_iter().collect::<Vec<f32>>(), valid)))
            };
            let d = self.task.dim_x();
            let shaped =
                |(x, valid): (Vec<f32>, Vec<bool>)| Some((Array2::from_shape_vec((valid.len(), d), x).ok()?, valid));
            let (values, flags) = match self.monitor.lead("simulations kept", known)?.and_then(shaped) {
                Some(block) => block,
                None => {
                    let (values, flags) = self.run(theta, first, key)?;
                    let kept = log.keep(first, theta, (&values, &flags));
                    kept.map_err(|error| InferenceError::Caller(Box::new(error)))?;
                    (values, flags)
                }
            };
            x.extend(values);
            valid.extend(flags);
        }
        Ok((Array2::from_shape_vec((valid.len(), self.task.dim_x()), x).expect("whole rows"), valid))
    }
}

impl Simulate for Simulator<'_> {
    fn simulate(
        &self,
        theta: ArrayView2<'_, f64>,
        first_row: u64,
        key: StreamKey,
    ) -> tallsbi_inference::Result<Simulated> {
        let (mut x, mut valid) = match self.kept {
            Some(log) => self.in_blocks(log, theta, first_row, key)?,
            None => self.run(theta, first_row, key)?,
        };
        let log = self.task.x_transform() == XTransform::Log;
        let notes = screen_rows(x.view_mut(), &mut valid, log, Outliers::Bound)?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.rows += valid.len() as u64;
        found.failed += valid.iter().filter(|&&valid| !valid).count() as u64;
        for note in notes {
            let (Note::Marks { column, .. } | Note::FarRows { column, .. }) = note else { continue };
            if found.told.insert((std::mem::discriminant(&note), column)) {
                found.notes.push(note);
            }
        }
        found.made.push((theta.to_owned(), x.clone(), valid.clone()));
        Ok((x, valid))
    }
}
