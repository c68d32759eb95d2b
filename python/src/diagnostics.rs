//! Checks of posteriors on plain arrays, whoever drew them; results as JSON that Python makes dataclasses of.

use crate::tasks::options;
use crate::work::run;
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use serde::Serialize;
use tallsbi::StreamKey;
use tallsbi::calibration::Drawn;
use tallsbi::diagnostics::local_c2st::{LocalC2st, LocalC2stOptions};
use tallsbi::diagnostics::mmd::{Bandwidth, unbiased_mmd2};
use tallsbi::diagnostics::sbc::RankOptions;
use tallsbi::diagnostics::sliced_wasserstein as slice;
use tallsbi::diagnostics::{C2stOptions, c2st as tell_apart};

type Matrix<'py> = PyReadonlyArray2<'py, f64>;

fn json(result: &impl Serialize) -> String {
    serde_json::to_string(result).expect("numbers and strings only")
}

/// Accuracy of a classifier that tells `samples` from `reference`.
#[pyfunction]
pub fn c2st<'py>(
    py: Python<'py>,
    reference: Matrix<'py>,
    samples: Matrix<'py>,
    c2st_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: C2stOptions = options("c2st", c2st_options)?;
    let (p, q) = (reference.as_array().to_owned(), samples.as_array().to_owned());
    let key = StreamKey::root(seed);
    let result = run(py, progress, |monitor| Ok(tell_apart(p.view(), q.view(), &options, key, monitor)?))?;
    Ok(json(&result))
}

/// Unbiased MMD² and its bandwidth.
#[pyfunction]
pub fn mmd<'py>(
    py: Python<'py>,
    reference: Matrix<'py>,
    samples: Matrix<'py>,
    bandwidth: Option<f64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<(f64, f64)> {
    let (p, q) = (reference.as_array().to_owned(), samples.as_array().to_owned());
    let bandwidth = bandwidth.map_or(Bandwidth::default(), Bandwidth::Fixed);
    let result = run(py, progress, |monitor| Ok(unbiased_mmd2(p.view(), q.view(), bandwidth, monitor)?))?;
    Ok((result.squared, result.bandwidth))
}

/// Sliced Wasserstein distance.
#[pyfunction]
pub fn sliced_wasserstein<'py>(
    py: Python<'py>,
    reference: Matrix<'py>,
    samples: Matrix<'py>,
    projections: usize,
    seed: u64,
) -> PyResult<String> {
    let (p, q) = (reference.as_array().to_owned(), samples.as_array().to_owned());
    let key = StreamKey::root(seed);
    Ok(json(&run(py, None, |monitor| Ok(slice(p.view(), q.view(), projections, key, monitor)?))?))
}

/// Simulation-based calibration of draws (N, L, m) against θ (N, m).
#[pyfunction]
pub fn sbc<'py>(
    py: Python<'py>,
    theta: Matrix<'py>,
    draws: PyReadonlyArray3<'py, f64>,
    rank_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: RankOptions = options("sbc", rank_options)?;
    let drawn = Drawn { theta: theta.as_array().to_owned(), draws: draws.as_array().to_owned() };
    Ok(json(&run(py, progress, |monitor| drawn.sbc(&options, seed, monitor))?))
}

/// Expected coverage (TARP).
#[pyfunction]
pub fn coverage<'py>(
    py: Python<'py>,
    theta: Matrix<'py>,
    draws: PyReadonlyArray3<'py, f64>,
    rank_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: RankOptions = options("coverage", rank_options)?;
    let drawn = Drawn { theta: theta.as_array().to_owned(), draws: draws.as_array().to_owned() };
    Ok(json(&run(py, progress, |monitor| drawn.coverage(&options, seed, monitor))?))
}

/// ℓ-C2ST from pairs θ, θ_q (N, m), x (N, n·d) at `observation` (n·d) with `posterior` (S, m).
#[pyfunction]
#[allow(clippy::too_many_arguments)] // the test takes five arrays
pub fn local_c2st<'py>(
    py: Python<'py>,
    theta: Matrix<'py>,
    theta_q: Matrix<'py>,
    x: Matrix<'py>,
    observation: PyReadonlyArray1<'py, f64>,
    posterior: Matrix<'py>,
    local_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let options: LocalC2stOptions = options("local_c2st", local_options)?;
    let [theta, theta_q, x, posterior] = [theta, theta_q, x, posterior].map(|matrix| matrix.as_array().to_owned());
    let observation = observation.as_array().to_vec();
    let key = StreamKey::root(seed);
    let result = run(py, progress, |monitor| {
        let test = LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, key, monitor)?;
        Ok(test.evaluate(posterior.view(), &observation, monitor)?)
    })?;
    Ok(json(&result))
}
