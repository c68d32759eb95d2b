//! Priors, built-in tasks, and a Python simulator as a task.

use crate::error::{exception, invalid};
use crate::work::run;
use ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyReadonlyArray2, ToPyArray};
use pyo3::prelude::*;
use tallsbi::inference::reference::ReferenceOptions;
use tallsbi::simulators::{Rows, SimulatorError, tasks as task_names};
use tallsbi::{Prior, ReferenceMethod, Retries, StreamKey, Task, TaskOptions};

/// A prior from its JSON form.
pub fn prior(json: &str) -> PyResult<Prior> {
    Prior::from_json(json).map_err(|error| exception(error.into()))
}

/// Options from JSON; `what` names them.
pub fn options<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> PyResult<T> {
    serde_json::from_str(json).map_err(|error| invalid(what, &error))
}

/// The built-in task `name`, or the task of a model file.
pub fn task(name: &str, settings: &str) -> PyResult<Box<dyn Task>> {
    tallsbi::task(name, &options::<TaskOptions>("task_options", settings)?).map_err(|error| exception(error.into()))
}

/// (names, JSON as the library writes it) of a prior.
#[pyfunction]
pub fn prior_check(json: &str) -> PyResult<(Vec<String>, String)> {
    let prior = prior(json)?;
    Ok((prior.names().to_vec(), prior.to_json()))
}

/// θ (n, m) of rows 0 to n of a run.
#[pyfunction]
pub fn prior_sample<'py>(py: Python<'py>, json: &str, n: usize, seed: u64) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let prior = prior(json)?;
    let theta = py.detach(|| tallsbi::draw_parameters(&prior, StreamKey::root(seed), 0, n));
    let rows = Array2::from_shape_fn((n, prior.dim()), |(i, j)| f64::from(theta[i * prior.dim() + j]));
    Ok(rows.into_pyarray(py))
}

/// log λ(θ) of each row of θ (N, m).
#[pyfunction]
pub fn prior_log_prob<'py>(
    py: Python<'py>,
    json: &str,
    theta: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let prior = prior(json)?;
    let theta = theta.as_array();
    crate::model::check_columns("theta", theta.ncols(), prior.names())?;
    let values: Vec<f64> = theta.outer_iter().map(|row| prior.log_density(&row.to_vec())).collect();
    Ok(values.into_pyarray(py))
}

/// Names of the built-in tasks.
#[pyfunction]
pub fn tasks() -> Vec<&'static str> {
    task_names()
}

/// (prior as JSON, names of the observations, transform) of a built-in task.
#[pyfunction]
pub fn task_info(name: &str, settings: &str) -> PyResult<(String, Vec<String>, String, usize)> {
    let task = task(name, settings)?;
    let transform = task.x_transform().as_str().to_owned();
    Ok((task.prior().to_json(), task.observation_names(), transform, task.conditions()))
}

/// θ (N, m), x (N, K, d), and why a simulation failed.
type Simulated<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray3<f64>>, Option<String>);

/// θ (N, m) and x (N, K, d) of a built-in task or a model file; rows that failed are NaN. With a row that failed, in words, where that is known.
#[pyfunction]
pub fn simulate_task<'py>(
    py: Python<'py>,
    name: &str,
    settings: &str,
    rows: usize,
    n_obs: usize,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Simulated<'py>> {
    let task = task(name, settings)?;
    let simulations = run(py, progress, |monitor| tallsbi::simulate(&*task, rows, n_obs, seed, monitor))?;
    Ok((simulations.theta.into_pyarray(py), simulations.x.into_pyarray(py), task.failure()))
}

/// Observations (n, d) of a built-in task at `theta`, or at a draw from the prior; with the θ.
#[pyfunction]
pub fn observe<'py>(
    py: Python<'py>,
    name: &str,
    settings: &str,
    theta: Option<Vec<f64>>,
    n: usize,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Vec<f64>, Bound<'py, PyArray2<f64>>)> {
    let task = task(name, settings)?;
    let theta = theta.unwrap_or_else(|| tallsbi::draw_truth(task.prior(), seed));
    let rounded: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    let x = run(py, progress, |monitor| tallsbi::observe(&*task, &rounded, n, seed, monitor))?;
    Ok((rounded.into_iter().map(f64::from).collect(), x.mapv(f64::from).into_pyarray(py)))
}

/// Draws (chain, draw, m) of the reference posterior of a built-in task, its method, R-hat and effective size, and an objection if any.
#[pyfunction]
#[allow(clippy::type_complexity)] // one tuple, taken apart in Python
pub fn reference<'py>(
    py: Python<'py>,
    name: &str,
    settings: &str,
    x: PyReadonlyArray2<'py, f64>,
    reference_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyArray3<f64>>, String, f64, f64, Option<String>)> {
    let task = task(name, settings)?;
    let options: ReferenceOptions = options("reference", reference_options)?;
    let x = x.as_array().mapv(|value| value as f32);
    let drawn = run(py, progress, |monitor| {
        let (method, key) = (ReferenceMethod::Auto, StreamKey::root(seed));
        tallsbi::sample_reference(&*task, x.view(), method, &options, Retries::default(), key, monitor)
    })?;
    let objection = drawn.objection(task.prior().names());
    let (rhat, ess) = (drawn.rhat(), drawn.ess());
    Ok((drawn.samples.into_pyarray(py), drawn.method, rhat, ess, objection))
}

/// A Python simulator as a task: `call(theta (b, m), seeds (b)) -> x (b, d)`, NaN where it failed.
pub struct PythonTask {
    prior: Prior,
    names: Vec<String>,
    batch: usize,
    call: Py<PyAny>,
}

impl PythonTask {
    /// One that gives the observations `names`, `batch` rows a call.
    pub fn new(prior: Prior, names: Vec<String>, batch: usize, call: Py<PyAny>) -> Self {
        Self { prior, names, batch, call }
    }
}

impl Task for PythonTask {
    fn name(&self) -> &str {
        "python"
    }

    fn description(&self) -> &str {
        "A Python function"
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        vec![String::new(); self.prior.dim()]
    }

    fn observation_names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn preferred_batch(&self) -> usize {
        self.batch
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<(), SimulatorError> {
        rows.check(self, x, valid)?;
        let (n, k, d) = (rows.theta.nrows(), rows.n_obs, self.names.len());
        let theta = Array2::from_shape_fn((n * k, self.prior.dim()), |(i, j)| rows.theta[[i / k, j]]);
        let seeds: Vec<u64> = (0..n * k).map(|i| rows.words(i / k, i % k)[0]).collect();
        let drawn = Python::attach(|py| -> PyResult<Vec<f64>> {
            let out = self.call.bind(py).call1((theta.to_pyarray(py), seeds.to_pyarray(py)))?;
            let out: PyReadonlyArray2<'_, f64> = out.extract()?;
            Ok(out.as_array().iter().copied().collect())
        })
        .map_err(|error| SimulatorError::Failed(error.to_string()))?;
        if drawn.len() != n * k * d {
            let message = format!("the simulator gave {} values for {} rows of {d}", drawn.len(), n * k);
            return Err(SimulatorError::Failed(message));
        }
        for ((values, out), valid) in drawn.chunks(k * d).zip(x.chunks_mut(k * d)).zip(valid) {
            let finite = values.iter().all(|&value| (value as f32).is_finite());
            *valid = u8::from(finite);
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = if finite { value as f32 } else { f32::NAN });
        }
        Ok(())
    }
}
