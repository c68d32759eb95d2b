//! Rows (θ, x) of a task: parameters from the prior, observations from the simulator.

use crate::error::check_counts;
use crate::{Error, Model, Result};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, concatenate};
use rayon::prelude::*;
use tallsbi_data::{Monitor, Prior, Purpose, SignalWindow, Stage, StreamKey, XTransform};
use tallsbi_inference::InferenceError;
use tallsbi_inference::train::{RowBlock, RowSource, VisitBlocks, VisitRows};
use tallsbi_simulators::{Rows, Task, simulate_parallel};

/// Rows of θ drawn by one thread at a time.
const PRIOR_CHUNK: usize = 1024;

/// A training set in memory, or calibration pairs: parameters and observations of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulations {
    /// The prior θ is drawn from.
    pub prior: Prior,
    /// Parameters (N, m).
    pub theta: Array2<f64>,
    /// Observations (N, K, d), K of each θ; anything where a row is not valid.
    pub x: Array3<f64>,
    /// Whether each row is valid; the others are simulations that failed.
    pub valid: Vec<bool>,
    /// How many of the d values, the first ones, are conditions: known quantities that the others were observed under.
    pub conditions: usize,
    /// Names of the d values; may be empty.
    pub observation_names: Vec<String>,
    /// How observations enter a network.
    pub x_transform: XTransform,
    /// The task they are from, or "".
    pub task: String,
    /// The stretch of a signal that an observation summarises, if it does.
    pub signal_window: Option<SignalWindow>,
}

impl Simulations {
    /// Rows that some simulator of the caller's made: θ (N, m) drawn from `prior`, x (N, K, d). Rows of x that are not finite are
    /// simulations that failed.
    ///
    /// # Errors
    /// When shapes do not fit, or θ lies outside the prior's support.
    pub fn new(prior: Prior, theta: Array2<f64>, x: Array3<f64>) -> Result<Self> {
        let (n, m) = theta.dim();
        if m != prior.dim() || x.dim().0 != n {
            return Err(Error::Shape {
                what: "simulations".into(),
                expected: format!("theta (N, {}) and x (N, K, d)", prior.dim()),
                found: format!("theta ({n}, {m}) and x {:?}", x.dim()),
            });
        }
        prior.check_support("theta", theta.view())?;
        let valid = x.outer_iter().map(|row| row.iter().all(|value| value.is_finite())).collect();
        let (observation_names, x_transform, task) = (Vec::new(), XTransform::Identity, String::new());
        Ok(Self { prior, theta, x, valid, conditions: 0, observation_names, x_transform, task, signal_window: None })
    }

    /// The same observations, each made under conditions (N, K, c), which are put before them.
    ///
    /// # Errors
    /// When there is not one row of them for each observation.
    pub fn under(self, conditions: ArrayView3<'_, f64>) -> Result<Self> {
        let (n, k, _) = self.x.dim();
        let found = conditions.dim();
        if (found.0, found.1) != (n, k) {
            let expected = format!("({n}, {k}, c), one row for each observation");
            return Err(Error::Shape { what: "conditions".into(), expected, found: format!("{found:?}") });
        }
        let known = conditions.outer_iter().map(|row| row.iter().all(|value| value.is_finite()));
        let valid = self.valid.iter().zip(known).map(|(&valid, known)| valid && known).collect();
        let x = concatenate![Axis(2), conditions, self.x];
        Ok(Self { x, valid, conditions: self.conditions + found.2, ..self })
    }

    /// Rows whose simulation failed.
    pub fn invalid(&self) -> usize {
        self.valid.iter().filter(|&&valid| !valid).count()
    }

    /// Parameters (V, m) and observations (V, K, d) of the V valid rows.
    pub fn valid_rows(&self) -> (Array2<f64>, Array3<f32>) {
        self.valid_rows_less(&[])
    }

    /// The same with the observations as `model` takes them.
    pub fn valid_rows_for(&self, model: &Model) -> (Array2<f64>, Array3<f32>) {
        self.valid_rows_less(&model.trained().observation_map.offset)
    }

    /// The same, `offset` (d or nothing) subtracted in double precision.
    fn valid_rows_less(&self, offset: &[f64]) -> (Array2<f64>, Array3<f32>) {
        let kept: Vec<usize> = (0..self.valid.len()).filter(|&row| self.valid[row]).collect();
        let (_, n_obs, d) = self.x.dim();
        let less = |(row, k, i): (usize, usize, usize)| {
            (self.x[[kept[row], k, i]] - offset.get(i).copied().unwrap_or(0.0)) as f32
        };
        (self.theta.select(Axis(0), &kept), Array3::from_shape_fn((kept.len(), n_obs, d), less))
    }
}

impl RowSource for Simulations {
    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn n_obs(&self) -> usize {
        self.x.dim().1
    }

    fn dim_x(&self) -> usize {
        self.x.dim().2
    }

    fn conditions(&self) -> usize {
        self.conditions
    }

    fn x_transform(&self) -> XTransform {
        self.x_transform
    }

    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> std::result::Result<u64, InferenceError> {
        let (theta, x) = self.valid_rows();
        visit(theta.mapv(|value| value as f32).view(), x.view())?;
        Ok(self.invalid() as u64)
    }

    fn for_each_row_block(&self, visit: &mut VisitBlocks<'_>) -> std::result::Result<u64, InferenceError> {
        visit(&RowBlock { first: 0, theta: self.theta.view(), x: self.x.view(), valid: &self.valid })?;
        Ok(0)
    }
}

/// Simulates `rows` parameters of the prior with `n_obs` observations of each; the rows that a file of the same seed holds.
///
/// # Errors
/// When the task does not fit itself, or the monitor asked to stop.
pub fn simulate(task: &dyn Task, rows: usize, n_obs: usize, seed: u64, monitor: &dyn Monitor) -> Result<Simulations> {
    let key = StreamKey::root(seed);
    check_counts(&[("rows", rows), ("n_obs", n_obs), ("observations", rows.saturating_mul(n_obs))])?;
    let theta = draw_parameters(task.prior(), key, 0, rows);
    let (mut x, mut valid) = (vec![0.0; rows * n_obs * task.dim_x()], vec![0; rows]);
    let name = format!("simulate {}", task.name());
    let stage = monitor.stage(&name, "rows", rows as u64);
    simulate_rows(task, n_obs, key, 0, &theta, (&mut x, &mut valid), &stage)?;
    let theta = array(theta, (rows, task.prior().dim()))?.mapv(f64::from);
    let x = Array3::from_shape_vec((rows, n_obs, task.dim_x()), x).map_err(|error| shape("x", &error))?;
    Ok(Simulations {
        conditions: task.conditions(),
        observation_names: task.observation_names(),
        x_transform: task.x_transform(),
        task: task.name().to_owned(),
        signal_window: task.signal_window(),
        ..Simulations::new(task.prior().clone(), theta, x.mapv(f64::from))?
    })
}

/// Simulates `n` observations (n, d) at `theta` (m values); the first ones do not depend on n.
///
/// # Errors
/// When a simulation fails, or the monitor asked to stop.
pub fn observe(task: &dyn Task, theta: &[f32], n: usize, seed: u64, monitor: &dyn Monitor) -> Result<Array2<f32>> {
    if theta.len() != task.prior().dim() {
        return Err(Error::Shape {
            what: "theta".into(),
            expected: format!("the parameters {}", task.prior().names().join(", ")),
            found: format!("{} values", theta.len()),
        });
    }
    check_counts(&[("n", n)])?;
    let stage = monitor.stage("observe", "observations", n as u64);
    // One row an observation, so that they run in parallel.
    let repeated = Array2::from_shape_fn((n, theta.len()), |(_, i)| f64::from(theta[i]));
    let key = StreamKey::root(seed).child(Purpose::Observation);
    let rows = Rows { theta: repeated.view(), n_obs: 1, key, first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
    let failed = simulate_parallel(task, &rows, &mut x, &mut valid, &stage)?;
    if failed > 0 {
        return Err(Error::FailedObservations { failed, total: n });
    }
    array(x, (n, task.dim_x()))
}

/// True parameters to observe at, drawn from the prior.
pub fn draw_truth(prior: &Prior, seed: u64) -> Vec<f64> {
    let mut theta = vec![0.0; prior.dim()];
    let key = StreamKey::root(seed).child(Purpose::Observation).child(Purpose::Prior);
    prior.sample(&mut key.rng(0), &mut theta);
    theta
}

/// θ of rows `first..first + count` of a run (count × m values), rounded to the single precision of files: observations belong to the
/// stored values.
pub fn draw_parameters(prior: &Prior, key: StreamKey, first: u64, count: usize) -> Vec<f32> {
    let key = key.child(Purpose::Prior);
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

/// Simulates the rows from number `first` on at the given θ on all threads of this process; returns how many failed.
pub(crate) fn simulate_rows(
    task: &dyn Task,
    n_obs: usize,
    key: StreamKey,
    first: u64,
    theta: &[f32],
    (x, valid): (&mut [f32], &mut [u8]),
    stage: &Stage<'_>,
) -> Result<usize> {
    let m = task.prior().dim();
    let exact: Vec<f64> = theta.iter().map(|&value| value.into()).collect();
    let theta = ArrayView2::from_shape((theta.len() / m, m), &exact).map_err(|error| shape("theta", &error))?;
    let rows = Rows { theta, n_obs, key: key.child(Purpose::Simulator), first_row: first };
    Ok(simulate_parallel(task, &rows, x, valid, stage)?)
}

fn array(values: Vec<f32>, dim: (usize, usize)) -> Result<Array2<f32>> {
    Array2::from_shape_vec(dim, values).map_err(|error| shape("rows", &error))
}

fn shape(what: &str, error: &ndarray::ShapeError) -> Error {
    Error::Shape { what: what.into(), expected: "whole rows".into(), found: error.to_string() }
}
