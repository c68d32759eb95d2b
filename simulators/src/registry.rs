//! All tasks by name.

use crate::conditioned::ConditionedTask;
use crate::external::{self, is_model_file};
use crate::gaussian::{DEFAULT_CORRELATION, DEFAULT_DIMENSION};
use crate::jansen_rit::{JansenRit, Recording, Solver, jansen_rit};
use crate::with_prior::WithPrior;
use crate::{
    FixedParameters, Result, SimulatorError, Task, bernoulli_glm, drift_diffusion, g_and_k, gaussian, gaussian_mixture,
    lotka_volterra, ornstein_uhlenbeck, sir, slcp, two_moons,
};
use serde::{Deserialize, Serialize};
use tallsbi_data::Component;

/// Options beside fixed parameters that a task may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Dimension,
    DimensionAndCorrelation,
    Recording,
}

/// A task by its name, and how it is made.
struct Entry {
    name: &'static str,
    takes: Takes,
    /// Parameters that are conditions.
    conditions: &'static [&'static str],
    build: fn(&TaskOptions) -> Result<Box<dyn Task>>,
}

/// A task without options of its own.
const fn plain(name: &'static str, build: fn(&TaskOptions) -> Result<Box<dyn Task>>) -> Entry {
    Entry { name, takes: Takes::Nothing, conditions: &[], build }
}

const TASKS: &[Entry] = &[
    plain("slcp", |_| Ok(Box::new(slcp::slcp()?))),
    plain("sir", |_| Ok(Box::new(sir::sir()?))),
    plain("lotka_volterra", |_| Ok(Box::new(lotka_volterra::lotka_volterra()?))),
    Entry {
        name: "jrnmm",
        takes: Takes::Recording,
        conditions: &[],
        build: |options| Ok(Box::new(neural_mass(options)?)),
    },
    Entry {
        name: "jrnmm_3d",
        takes: Takes::Recording,
        conditions: &[],
        build: |options| {
            let fixed = [("g".into(), 0.0)];
            Ok(Box::new(FixedParameters::new("jrnmm_3d", Box::new(neural_mass(options)?), &fixed)?))
        },
    },
    Entry {
        name: "gaussian_toy",
        takes: Takes::DimensionAndCorrelation,
        conditions: &[],
        build: |options| {
            let correlation = options.correlation.unwrap_or(DEFAULT_CORRELATION);
            Ok(Box::new(gaussian::gaussian_toy(dimension("gaussian_toy", options)?, correlation)?))
        },
    },
    Entry {
        name: "gmm_toy",
        takes: Takes::Dimension,
        conditions: &[],
        build: |options| Ok(Box::new(gaussian_mixture::gmm_toy(dimension("gmm_toy", options)?)?)),
    },
    plain("gaussian_linear", |_| Ok(Box::new(gaussian::gaussian_linear()?))),
    plain("gaussian_mixture", |_| Ok(Box::new(gaussian_mixture::gaussian_mixture()?))),
    plain("gaussian_mixture_uniform", |_| Ok(Box::new(gaussian_mixture::gaussian_mixture_uniform()?))),
    plain("two_moons", |_| Ok(Box::new(two_moons::two_moons()?))),
    plain("bernoulli_glm", |_| Ok(Box::new(bernoulli_glm::bernoulli_glm()?))),
    plain("bernoulli_glm_raw", |_| Ok(Box::new(bernoulli_glm::bernoulli_glm_raw()?))),
    plain("drift_diffusion", |_| Ok(Box::new(drift_diffusion::drift_diffusion()?))),
    Entry {
        conditions: &["stimulus"],
        ..plain("drift_diffusion_stimulus", |_| Ok(Box::new(drift_diffusion::drift_diffusion_stimulus()?)))
    },
    plain("g_and_k", |_| Ok(Box::new(g_and_k::g_and_k()?))),
    plain("ornstein_uhlenbeck", |_| Ok(Box::new(ornstein_uhlenbeck::ornstein_uhlenbeck()?))),
];

/// Choices that some tasks offer. A task that does not have an option that is given refuses it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskOptions {
    /// Solver of the stochastic differential equation (jrnmm, jrnmm_3d); Strang splitting unless given.
    pub solver: Option<Solver>,
    /// What is recorded of the signal (jrnmm, jrnmm_3d); the paper's recording unless given.
    pub recording: Option<Recording>,
    /// Number of parameters (gaussian_toy, gmm_toy); 10 unless given.
    pub dimension: Option<usize>,
    /// Correlation between coordinates (gaussian_toy); 0.8 unless given.
    pub correlation: Option<f64>,
    /// Parameters to fix, with their values: they leave the prior.
    pub fix: Vec<(String, f64)>,
    /// Priors of parameters in place of the task's own.
    pub prior: Vec<Component>,
    /// Parameters that are conditions, known quantities of each observation, beside those of which the task says so: they leave the prior.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub condition: Vec<String>,
}

/// Makes a task, and says which of its parameters are conditions.
type Build<'a> = dyn Fn() -> Result<(Box<dyn Task>, Vec<String>)> + 'a;

/// Names of all tasks.
pub fn tasks() -> Vec<&'static str> {
    TASKS.iter().map(|entry| entry.name).collect()
}

/// The task called `name` with `options`; of the model file `name` where it ends in `.toml`.
///
/// `jrnmm_3d` is `jrnmm` with its gain g fixed at 0.
///
/// # Errors
/// [`SimulatorError::UnknownTask`] for names not in [`tasks`], [`SimulatorError::Option`] for options the task does not
/// have or values it cannot take, [`SimulatorError::ModelFile`] for model files that cannot be, [`SimulatorError::Prior`] for fixed parameters that do not exist.
pub fn task(name: &str, options: &TaskOptions) -> Result<Box<dyn Task>> {
    let build: Box<Build<'_>>;
    let takes = if is_model_file(name) {
        build = Box::new(|| external::open(name));
        Takes::Nothing
    } else {
        let entry = TASKS.iter().find(|entry| entry.name == name).ok_or_else(|| SimulatorError::UnknownTask {
            name: name.into(),
            known: tasks().into_iter().map(String::from).collect(),
        })?;
        let conditions = || entry.conditions.iter().map(ToString::to_string).collect();
        build = Box::new(move || Ok(((entry.build)(options)?, conditions())));
        entry.takes
    };
    let dimension = matches!(takes, Takes::Dimension | Takes::DimensionAndCorrelation);
    let given = [
        ("dimension", options.dimension.is_some() && !dimension),
        ("correlation", options.correlation.is_some() && takes != Takes::DimensionAndCorrelation),
        ("solver", options.solver.is_some() && takes != Takes::Recording),
        ("recording", options.recording.is_some() && takes != Takes::Recording),
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
    let (task, mut conditions) = build()?;
    let task: Box<dyn Task> =
        if options.fix.is_empty() { task } else { Box::new(FixedParameters::new(name, task, &options.fix)?) };
    let task: Box<dyn Task> =
        if options.prior.is_empty() { task } else { Box::new(WithPrior::new(task, &options.prior)?) };
    conditions.retain(|condition| !options.fix.iter().any(|(fixed, _)| fixed == condition));
    conditions.extend(options.condition.iter().cloned());
    if conditions.is_empty() { Ok(task) } else { Ok(Box::new(ConditionedTask::new(task, &conditions)?)) }
}

/// Most parameters of a task: covariances of more do not fit into memory.
const MOST_DIMENSIONS: usize = 4096;

fn dimension(task: &str, options: &TaskOptions) -> Result<usize> {
    let dimension = options.dimension.unwrap_or(DEFAULT_DIMENSION);
    if (1..=MOST_DIMENSIONS).contains(&dimension) {
        return Ok(dimension);
    }
    let message = format!(
        "dimension must be at least 1, and at most {MOST_DIMENSIONS} for covariances to fit into memory, got {dimension}"
    );
    Err(SimulatorError::Option { task: task.into(), message })
}

fn neural_mass(options: &TaskOptions) -> Result<JansenRit> {
    jansen_rit(options.solver.unwrap_or_default(), options.recording.clone().unwrap_or_default())
}
