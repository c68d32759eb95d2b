//! Refinement at observations and its check there, of built-in tasks and of Python functions.

use crate::error::exception;
use crate::model::{Model, Source};
use crate::tasks::{PythonTask, options, task};
use crate::work::run;
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use std::sync::Arc;

use tallsbi::{PosteriorSbcOptions, RefineFrom, RefineOptions, Task, TrainOptions};

/// A refined model, draws of its posterior, why it has not settled, rounds as JSON, simulations made.
type Refined<'py> = (Model, Bound<'py, PyArray2<f64>>, Option<String>, String, usize);

/// A Python simulator: its function `call(theta, seeds)`, the names of its observations, rows a call.
#[derive(FromPyObject)]
pub struct Simulator {
    #[pyo3(item)]
    call: Py<PyAny>,
    #[pyo3(item)]
    names: Vec<String>,
    #[pyo3(item)]
    batch: usize,
}

/// The task that `simulator` is under the prior of `source`, or the built-in one that `source` names.
fn simulated(source: &Source, simulator: Option<Simulator>) -> PyResult<Box<dyn Task>> {
    match simulator {
        Some(Simulator { call, names, batch }) => {
            Ok(Box::new(PythonTask::new(crate::tasks::prior(&source.prior)?, names, batch, call)))
        }
        None => task(&source.task, &source.task_options),
    }
}

/// Refines at x (n, d): `simulator` is a Python one, or `source` names a built-in task. θ (N, m) and xs (N, K, d) are earlier rows. Where local forms do not settle, a network is
/// trained with `network_options`, if there are any.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // what a refinement may start from
pub fn refine<'py>(
    py: Python<'py>,
    source: Source,
    simulator: Option<Simulator>,
    x: PyReadonlyArray2<'py, f64>,
    base: Option<&Bound<'py, Model>>,
    earlier: Option<(PyReadonlyArray2<'py, f64>, PyReadonlyArray3<'py, f64>)>,
    refine_options: &str,
    network_options: Option<&str>,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Refined<'py>> {
    let options: RefineOptions = options("refine", refine_options)?;
    let training = network_options.map(|json| crate::tasks::options::<TrainOptions>("network", json)).transpose()?;
    let task = simulated(&source, simulator)?;
    let base = base.map(|model| Arc::clone(&model.get().0));
    let earlier = earlier.map(|(theta, x)| source.simulations(theta.as_array(), x.as_array())).transpose()?;
    let x = match &base {
        Some(base) => base.centre("observations", x.as_array()).map_err(exception)?,
        None => x.as_array().mapv(|value| value as f32),
    };
    let refined = run(py, progress, |monitor| {
        let from =
            RefineFrom { base: base.as_deref(), simulations: earlier.as_ref(), network: training.as_ref(), kept: None };
        tallsbi::refine(&*task, x.view(), from, &options, seed, monitor)
    })?;
    let reason = refined.verdict.reason();
    let rounds = serde_json::to_string(&refined.rounds).expect("numbers only");
    let draws = refined.posterior.theta.into_pyarray(py);
    Ok((Model(Arc::new(refined.model)), draws, reason, rounds, refined.simulations))
}

/// Posterior SBC of the model's posterior given x (n, d), as JSON; `simulator` and `source` as for [`refine`].
#[pyfunction]
#[allow(clippy::too_many_arguments)] // what a refinement is checked with
pub fn posterior_sbc<'py>(
    py: Python<'py>,
    model: &Bound<'py, Model>,
    source: Source,
    simulator: Option<Simulator>,
    x: PyReadonlyArray2<'py, f64>,
    check_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: PosteriorSbcOptions = options("posterior_sbc", check_options)?;
    let task = simulated(&source, simulator)?;
    let model = Arc::clone(&model.get().0);
    let x = model.centre("observations", x.as_array()).map_err(exception)?;
    let found = run(py, progress, |monitor| tallsbi::posterior_sbc(&model, &*task, x.view(), &options, seed, monitor))?;
    Ok(serde_json::to_string(&found).expect("numbers only"))
}
