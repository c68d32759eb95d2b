//! Models: training, posteriors, densities.

use crate::error::{Error, exception};
use crate::tasks::{options, prior};
use crate::work::run;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tallsbi::data::XTransform;
use tallsbi::inference::notes::Note;
use tallsbi::{Checkpoints, SampleOptions, Simulations, StreamKey, TrainOptions, calibration};

/// Checks that an array has a column a parameter.
pub fn check_columns(what: &str, found: usize, names: &[String]) -> PyResult<()> {
    if found == names.len() {
        return Ok(());
    }
    let message = format!("{what}: expected {} columns ({}), found {found}", names.len(), names.join(", "));
    Err(PyValueError::new_err(message))
}

/// What simulations are of, beside their rows.
#[derive(FromPyObject)]
pub struct Source {
    /// The prior as JSON.
    #[pyo3(item)]
    pub prior: String,
    /// Names of the observations; may be empty.
    #[pyo3(item)]
    pub observation_names: Vec<String>,
    /// How many of the leading values of an observation are conditions.
    #[pyo3(item)]
    pub conditions: usize,
    /// "identity" or "log".
    #[pyo3(item)]
    pub x_transform: String,
    /// A built-in task's name, or "".
    #[pyo3(item)]
    pub task: String,
    /// Its options as JSON.
    #[pyo3(item)]
    pub task_options: String,
}

impl Source {
    /// Rows of it.
    pub fn simulations(&self, theta: ArrayView2<'_, f64>, x: ArrayView3<'_, f64>) -> PyResult<Simulations> {
        let transform: XTransform =
            self.x_transform.parse().map_err(|error: tallsbi::data::DataError| exception(error.into()))?;
        let names = self.observation_names.clone();
        if !names.is_empty() && names.len() != x.dim().2 {
            let message = format!("observation_names: {} names for {} values", names.len(), x.dim().2);
            return Err(PyValueError::new_err(message));
        }
        let rows = Simulations::new(prior(&self.prior)?, theta.to_owned(), x.to_owned()).map_err(exception)?;
        let conditions = self.conditions;
        let signal_window = match self.task.as_str() {
            "" => None,
            name => crate::tasks::task(name, &self.task_options)?.signal_window(),
        };
        let task = self.task.clone();
        Ok(Simulations { conditions, observation_names: names, x_transform: transform, task, signal_window, ..rows })
    }
}

/// A mode (m), and perhaps the curvature there (m, m).
type Peak<'py> = (Bound<'py, PyArray1<f64>>, Option<Bound<'py, PyArray2<f64>>>);

/// A trained model.
#[pyclass(frozen, module = "tallsbi._tallsbi")]
pub struct Model(pub Arc<tallsbi::Model>);

/// Trains on θ (N, m) and x (N, K, d). `keep`, if given, is called with the bytes of checkpoints, and `resume` is the last one of an interrupted run.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // called by the package alone
pub fn train<'py>(
    py: Python<'py>,
    source: Source,
    theta: PyReadonlyArray2<'py, f64>,
    x: PyReadonlyArray3<'py, f64>,
    train_options: &str,
    seed: u64,
    progress: Option<&Bound<'py, PyAny>>,
    resume: Option<Vec<u8>>,
    keep: Option<Py<PyAny>>,
) -> PyResult<Model> {
    let mut options: TrainOptions = options("options", train_options)?;
    let simulations = source.simulations(theta.as_array(), x.as_array())?;
    if !source.task.is_empty() {
        let task = crate::tasks::task(&source.task, &source.task_options)?;
        options = tallsbi::declare(options, &*task, &simulations.prior);
    }
    let model = run(py, progress, |monitor| {
        let Some(keep) = keep else { return tallsbi::train(&simulations, &options, seed, monitor) };
        let keep = move |bytes: &[u8]| Ok(Python::attach(|py| keep.call1(py, (PyBytes::new(py, bytes),)).map(drop))?);
        let checkpoints = Checkpoints { resume, keep: Box::new(keep) };
        tallsbi::train_resumable(&simulations, &options, seed, checkpoints, monitor)
    })?;
    Ok(Model(Arc::new(model)))
}

impl Model {
    fn centred(&self, x: ArrayView2<'_, f64>) -> PyResult<Array2<f32>> {
        if x.nrows() == 0 {
            return Err(PyValueError::new_err("observations: there are none; give at least one row"));
        }
        self.0.centre("observations", x).map_err(exception)
    }

    fn centred_groups(&self, x: ArrayView3<'_, f64>) -> PyResult<Array3<f32>> {
        let (groups, n, d) = x.dim();
        let flat = x.to_shape((groups * n, d)).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let centred = self.centred(flat.view())?;
        Ok(centred.into_shape_with_order((groups, n, d)).expect("the same values"))
    }
}

#[pymethods]
impl Model {
    /// A model from the bytes of a safetensors file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let model = py.detach(|| tallsbi::Model::from_bytes(bytes)).map_err(exception)?;
        Ok(Self(Arc::new(model)))
    }

    /// The bytes of its safetensors file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.to_bytes()))
    }

    /// The same likelihood where each of `known` = (parameter, value) is known.
    fn with_fixed(&self, py: Python<'_>, known: Vec<(String, f64)>) -> PyResult<Self> {
        let fixed = py.detach(|| self.0.with_fixed(&known)).map_err(exception)?;
        Ok(Self(Arc::new(fixed)))
    }

    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.names().to_vec()
    }

    #[getter]
    fn architecture(&self) -> &'static str {
        self.0.trained().architecture()
    }

    #[getter]
    fn dim_x(&self) -> usize {
        self.0.trained().dim_x()
    }

    /// How many of the leading values of an observation are conditions.
    #[getter]
    fn conditions(&self) -> usize {
        self.0.trained().info.conditions
    }

    #[getter]
    fn is_likelihood(&self) -> bool {
        self.0.is_likelihood()
    }

    #[getter]
    fn prior(&self) -> String {
        self.0.trained().latent.prior().to_json()
    }

    /// The record of training as JSON.
    #[getter]
    fn info(&self) -> String {
        serde_json::to_string(&self.0.trained().info).expect("numbers and strings only")
    }

    /// (text, whether it calls results into question) of each note of training.
    #[getter]
    fn notes(&self) -> Vec<(String, bool)> {
        self.0.trained().info.notes.iter().map(|note| self.said(note)).collect()
    }

    /// The same about observations (n, d).
    fn examine<'py>(&self, x: PyReadonlyArray2<'py, f64>) -> PyResult<Vec<(String, bool)>> {
        let x = self.centred(x.as_array())?;
        Ok(self.0.examine(x.view()).map_err(exception)?.iter().map(|note| self.said(note)).collect())
    }

    /// Samples (chain, draw, m) of the posterior given x (n, d), of independent runs, and what should be told of them.
    fn sample<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        sample_options: &str,
        seed: u64,
        chains: NonZeroUsize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyArray3<f64>>, Vec<String>)> {
        let options: SampleOptions = options("options", sample_options)?;
        let x = self.centred(x.as_array())?;
        let key = StreamKey::root(seed);
        let (drawn, info) =
            run(py, progress, |monitor| self.0.sample_chains(x.view(), chains, &options, key, None, monitor))?;
        let cautions = self.0.cautions(&info, &options, chains.get() * options.samples);
        Ok((drawn.into_pyarray(py), cautions.iter().map(ToString::to_string).collect()))
    }

    /// The probability that each observation of x (n, d) is a lapse, given samples drawn with these options; None if they know of no lapses.
    fn lapse_probabilities<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        theta: PyReadonlyArray2<'py, f64>,
        sample_options: &str,
    ) -> PyResult<Option<Bound<'py, PyArray1<f64>>>> {
        let options: SampleOptions = options("options", sample_options)?;
        check_columns("theta", theta.as_array().ncols(), &self.0.sampled_names(&options))?;
        let x = self.centred(x.as_array())?;
        let theta = theta.as_array().to_owned();
        let found = run(py, None, |monitor| self.0.lapse_probabilities(x.view(), theta.view(), &options, monitor))?;
        Ok(found.map(|found| found.into_pyarray(py)))
    }

    /// The posterior predictive p-value of each observation of x (n, d), given samples of the posterior.
    fn p_values<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        theta: PyReadonlyArray2<'py, f64>,
        seed: u64,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let x = self.centred(x.as_array())?;
        let theta = theta.as_array().to_owned();
        let found = run(py, None, |monitor| self.0.surprise(x.view(), theta.view(), seed, monitor))?;
        Ok(found.p_values.into_pyarray(py))
    }

    /// `count` draws (N, count, m) of the posterior of each row of x (N, n, d), as checks draw them.
    fn draws<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray3<'py, f64>,
        count: usize,
        sample_options: &str,
        seed: u64,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let options: SampleOptions = options("options", sample_options)?;
        let x = self.centred_groups(x.as_array())?;
        let key = StreamKey::root(seed);
        let drawn = run(py, progress, |monitor| calibration::draws(&self.0, &x, count, &options, key, None, monitor))?;
        Ok(drawn.into_pyarray(py))
    }

    /// log p(x_{1:n}|θ) of each row of θ (N, m), in the simulator's units.
    fn log_likelihood<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        theta: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        self.check_density()?;
        check_columns("theta", theta.as_array().ncols(), self.0.names())?;
        let x = self.centred(x.as_array())?;
        let theta = theta.as_array().to_owned();
        let values = run(py, None, |monitor| self.0.log_likelihood(x.view(), theta.view(), monitor))?;
        Ok(values.into_pyarray(py))
    }

    /// The mode of the posterior given x (n, d), searched for from samples (S, m) of it, and, if asked for, minus the Hessian (m, m) of the log density there.
    fn mode<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        samples: PyReadonlyArray2<'py, f64>,
        hessian: bool,
    ) -> PyResult<Peak<'py>> {
        self.check_density()?;
        check_columns("samples", samples.as_array().ncols(), self.0.names())?;
        let x = self.centred(x.as_array())?;
        let samples = samples.as_array().to_owned();
        let options = SampleOptions::default();
        let (mode, laplace) = run(py, None, |monitor| {
            let mode = self.0.mode(x.view(), samples.view(), &options, monitor)?;
            let laplace = hessian.then(|| self.0.laplace(x.view(), &mode, &options, monitor)).transpose()?;
            Ok::<_, tallsbi::Error>((mode, laplace))
        })?;
        Ok((mode.theta.into_pyarray(py), laplace.map(|laplace| laplace.hessian.into_pyarray(py))))
    }

    /// p(θ_i|θ_others, x) or p(θ_i, θ_j|θ_others, x) (G_i, G_j) on lists of values, the others at `at` (m).
    fn conditional<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        at: Vec<f64>,
        free: Vec<(usize, Vec<f64>)>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.check_density()?;
        let x = self.centred(x.as_array())?;
        let options = SampleOptions::default();
        let found = run(py, None, |monitor| self.0.conditional(x.view(), &at, &free, &options, monitor))?;
        Ok(found.density.into_pyarray(py))
    }

    /// log p(x_k|θ) of each observation (N, n), given the others where they share an error of the network: what `tallsbi sample --log-likelihood` writes.
    fn pointwise_log_likelihood<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        theta: PyReadonlyArray2<'py, f64>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        self.check_density()?;
        check_columns("theta", theta.as_array().ncols(), self.0.names())?;
        let x = self.centred(x.as_array())?;
        let theta = theta.as_array().to_owned();
        let options = SampleOptions::default();
        let values =
            run(py, progress, |monitor| self.0.pointwise_log_likelihood(x.view(), theta.view(), &options, monitor))?;
        Ok(values.into_pyarray(py))
    }

    /// log ∫ λ(θ) p(x_{1:n}|θ) dθ, in the simulator's units.
    fn log_evidence<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f64>,
        sample_options: &str,
        seed: u64,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<f64> {
        self.check_density()?;
        let options: SampleOptions = options("options", sample_options)?;
        let x = self.centred(x.as_array())?;
        run(py, progress, |monitor| self.0.log_evidence(x.view(), &options, seed, monitor))
    }
}

impl Model {
    fn check_density(&self) -> PyResult<()> {
        if self.0.is_likelihood() {
            return Ok(());
        }
        let name = self.0.trained().architecture();
        Err(Error::new_err(format!(
            "a model of architecture {name} learned scores and has no density; train with architecture=\"likelihood\""
        )))
    }

    /// A note's text, and whether it calls results into question.
    fn said(&self, note: &Note) -> (String, bool) {
        (tallsbi::in_names(self.0.trained(), note), note.is_warning())
    }
}
