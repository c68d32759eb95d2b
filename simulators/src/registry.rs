//! All tasks by name.

use crate::gaussian::{DEFAULT_CORRELATION, DEFAULT_DIMENSION};
use crate::jansen_rit::{Recording, Solver, jansen_rit};
use crate::{
    FixedParameters, Result, SimulatorError, Task, bernoulli_glm, gaussian, gaussian_mixture, lotka_volterra, sir,
    slcp, two_moons,
};
use serde::{Deserialize, Serialize};

/// Name, and whether the task takes (dimension, correlation, solver and recording).
const TASKS: [(&str, [bool; 3]); 13] = [
    ("slcp", [false; 3]),
    ("sir", [false; 3]),
    ("lotka_volterra", [false; 3]),
    ("jrnmm", [false, false, true]),
    ("jrnmm_3d", [false, false, true]),
    ("gaussian_toy", [true, true, false]),
    ("gmm_toy", [true, false, false]),
    ("gaussian_linear", [false; 3]),
    ("gaussian_mixture", [false; 3]),
    ("gaussian_mixture_uniform", [false; 3]),
    ("two_moons", [false; 3]),
    ("bernoulli_glm", [false; 3]),
    ("bernoulli_glm_raw", [false; 3]),
];

/// Choices that some tasks offer. A task that does not have an option that is given refuses it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskOptions {
    /// Solver of the stochastic differential equation (jrnmm, jrnmm_3d); Euler–Maruyama unless given.
    pub solver: Option<Solver>,
    /// What is recorded of the signal (jrnmm, jrnmm_3d); the paper's recording unless given.
    pub recording: Option<Recording>,
    /// Number of parameters (gaussian_toy, gmm_toy); 10 unless given.
    pub dimension: Option<usize>,
    /// Correlation between coordinates (gaussian_toy); 0.8 unless given.
    pub correlation: Option<f64>,
    /// Parameters to fix, with their values: they leave the prior.
    pub fix: Vec<(String, f64)>,
}

/// Names of all tasks.
pub fn tasks() -> Vec<&'static str> {
    TASKS.iter().map(|(name, _)| *name).collect()
}

/// The task called `name` with `options`.
///
/// `jrnmm_3d` is `jrnmm` with its gain g fixed at 0.
///
/// # Errors
/// [`SimulatorError::UnknownTask`] for names not in [`tasks`], [`SimulatorError::Option`] for options the task does not
/// have or values it cannot take, [`SimulatorError::Prior`] for fixed parameters that do not exist.
pub fn task(name: &str, options: &TaskOptions) -> Result<Box<dyn Task>> {
    let takes = TASKS.iter().find(|(known, _)| *known == name).map(|(_, takes)| takes).ok_or_else(|| {
        SimulatorError::UnknownTask { name: name.into(), known: tasks().into_iter().map(String::from).collect() }
    })?;
    let given = [
        ("dimension", options.dimension.is_some() && !takes[0]),
        ("correlation", options.correlation.is_some() && !takes[1]),
        ("solver", options.solver.is_some() && !takes[2]),
        ("recording", options.recording.is_some() && !takes[2]),
    ];
    if let Some((option, _)) = given.iter().find(|(_, refused)| *refused) {
        return Err(SimulatorError::Option {
            task: name.into(),
            message: format!("has no option {option}; leave it out"),
        });
    }
    if let Some((parameter, value)) = options.fix.iter().find(|(_, value)| !value.is_finite()) {
        return Err(SimulatorError::Option {
            task: name.into(),
            message: format!("cannot fix {parameter} at {value}; give a finite value"),
        });
    }
    let task = build(name, options)?;
    if options.fix.is_empty() { Ok(task) } else { Ok(Box::new(FixedParameters::new(name, task, &options.fix)?)) }
}

fn build(name: &str, options: &TaskOptions) -> Result<Box<dyn Task>> {
    let dimension = options.dimension.unwrap_or(DEFAULT_DIMENSION);
    let neural_mass = || jansen_rit(options.solver.unwrap_or_default(), options.recording.clone().unwrap_or_default());
    Ok(match name {
        "slcp" => Box::new(slcp::slcp()?),
        "sir" => Box::new(sir::sir()?),
        "lotka_volterra" => Box::new(lotka_volterra::lotka_volterra()?),
        "jrnmm" => Box::new(neural_mass()?),
        "jrnmm_3d" => Box::new(FixedParameters::new(name, Box::new(neural_mass()?), &[("g".into(), 0.0)])?),
        "gaussian_toy" => {
            Box::new(gaussian::gaussian_toy(dimension, options.correlation.unwrap_or(DEFAULT_CORRELATION))?)
        }
        "gmm_toy" => Box::new(gaussian_mixture::gmm_toy(dimension)?),
        "gaussian_linear" => Box::new(gaussian::gaussian_linear()?),
        "gaussian_mixture" => Box::new(gaussian_mixture::gaussian_mixture()?),
        "gaussian_mixture_uniform" => Box::new(gaussian_mixture::gaussian_mixture_uniform()?),
        "two_moons" => Box::new(two_moons::two_moons()?),
        "bernoulli_glm" => Box::new(bernoulli_glm::bernoulli_glm()?),
        "bernoulli_glm_raw" => Box::new(bernoulli_glm::bernoulli_glm_raw()?),
        _ => {
            return Err(SimulatorError::UnknownTask {
                name: name.into(),
                known: tasks().into_iter().map(String::from).collect(),
            });
        }
    })
}
