//! Recordings as observations, predictions, comparisons of models.

use crate::error::exception;
use crate::model::Model;
use crate::tasks::{options, task};
use crate::work::run;
use ndarray::{Array2, ArrayView2};
use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use serde_json::json;
use std::path::PathBuf;
use tallsbi::data::SignalWindow;
use tallsbi::diagnostics::predictive::predictive_checks as check;
use tallsbi::recordings::Recording;
use tallsbi::{RecordingOptions, SampleOptions};

/// What a recording holds, as JSON.
#[pyfunction]
pub fn recording(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let found = py.detach(|| Recording::open(&path)).map_err(|error| exception(error.into()))?;
    let (channels, annotations) = (&found.channels, &found.annotations);
    Ok(json!({ "format": found.format.to_string(), "channels": channels, "annotations": annotations }).to_string())
}

/// Observations (n, 33) of the windows of a recording, their starts, start and fault of those left out, and what is to be said of their order.
type Summarised<'py> = (Bound<'py, PyArray2<f64>>, Vec<f64>, Vec<(f64, String)>, Vec<String>);

/// Summarises a recording as the simulations of a model of windows of `samples` at `rate` Hz; `comparable` leaves out frequencies at which it differs from them, if no
/// others are chosen.
#[pyfunction]
pub fn summarise_recording<'py>(
    py: Python<'py>,
    path: PathBuf,
    window: (usize, f64),
    recording_options: &str,
    comparable: bool,
) -> PyResult<Summarised<'py>> {
    let options: RecordingOptions = options("recording", recording_options)?;
    let window = SignalWindow { samples: window.0, sampling_rate: window.1 };
    let mut found = run(py, None, |_| tallsbi::summarise_recording(&path, window, &options))?;
    if comparable && options.frequencies.is_none() {
        found.leave_out_incomparable();
    }
    let rejected = found.rejected.iter().map(|rejected| (rejected.start, rejected.fault.to_string())).collect();
    let order = found.warnings().into_iter().chain(found.aliasing()).collect();
    Ok((found.x.into_pyarray(py), found.starts, rejected, order))
}

/// `n` observations (S, n, d) of a built-in task at each row of θ (S, m), under `conditions` (n, c) if given; NaN where a simulation failed.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // called by the package alone
pub fn predict<'py>(
    py: Python<'py>,
    name: &str,
    settings: &str,
    theta: PyReadonlyArray2<'py, f64>,
    n: usize,
    conditions: Option<PyReadonlyArray2<'py, f64>>,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let task = match conditions {
        None => task(name, settings)?,
        Some(known) => {
            let known = known.as_array().mapv(|value| value as f32);
            task(name, settings)?.under(known.view()).map_err(|error| exception(error.into()))?
        }
    };
    let theta = theta.as_array().to_owned();
    let found = run(py, progress, |monitor| tallsbi::predict(&*task, theta.view(), n, seed, monitor))?;
    Ok(found.x.mapv(f64::from).into_pyarray(py))
}

/// Statistics of observations (n, d) against replications (S, n, d), as JSON.
#[pyfunction]
pub fn predictive_checks<'py>(
    x: PyReadonlyArray2<'py, f64>,
    replications: PyReadonlyArray3<'py, f64>,
) -> PyResult<String> {
    let (x, replications) = (x.as_array().mapv(|v| v as f32), replications.as_array().mapv(|v| v as f32));
    let found = check(x.view(), replications.view()).map_err(|error| exception(error.into()))?;
    Ok(json!(found).to_string())
}

/// Evidence, its error, and probability of each model given x (n, d), as JSON.
#[pyfunction]
pub fn compare<'py>(
    py: Python<'py>,
    models: Vec<PyRef<'py, Model>>,
    x: PyReadonlyArray2<'py, f64>,
    sample_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: SampleOptions = options("options", sample_options)?;
    let shared: Vec<_> = models.iter().map(|model| model.0.clone()).collect();
    let centred: Vec<Array2<f32>> = shared
        .iter()
        .map(|model| model.centre("observations", x.as_array()).map_err(exception))
        .collect::<PyResult<_>>()?;
    let found = run(py, progress, |monitor| {
        let models: Vec<&tallsbi::Model> = shared.iter().map(AsRef::as_ref).collect();
        let views: Vec<ArrayView2<'_, f32>> = centred.iter().map(Array2::view).collect();
        tallsbi::compare(&models, &views, &options, seed, monitor)
    })?;
    Ok(json!(found).to_string())
}
