//! Which task, with which of its options.

use crate::choice::choice;
use crate::context::usage;
use anyhow::Result;
use clap::Args;
use tallsbi::Model;
use tallsbi::data::parse_component;
use tallsbi::simulators::jansen_rit::{Output, Recording, Solver};
use tallsbi::simulators::{Task, TaskOptions, task};

/// A task and its options.
#[derive(Debug, Default, Args)]
#[command(allow_negative_numbers = true)]
pub struct TaskArguments {
    /// Name of the task, which `tallsbi tasks` lists, or a model file (.toml)
    pub task: String,
    /// Fix a parameter: it leaves the prior (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub fix: Vec<String>,
    /// Draw a parameter from another distribution than the task's own, such as g=uniform(-60,20) (repeatable)
    #[arg(long, value_name = "NAME=DIST(A,B)")]
    pub prior: Vec<String>,
    /// Take a parameter for a condition: a known quantity of each observation, drawn from what was its prior (repeatable)
    #[arg(long, value_name = "NAME")]
    pub condition: Vec<String>,
    /// Number of parameters (gaussian_toy, gmm_toy)
    #[arg(long, value_name = "M")]
    pub dimension: Option<usize>,
    /// Correlation between coordinates (gaussian_toy)
    #[arg(long, value_name = "RHO", allow_negative_numbers = true)]
    pub correlation: Option<f64>,
    /// Solver of the stochastic differential equation (jrnmm) [default: strang]
    #[arg(long, value_parser = choice::<Solver>())]
    pub solver: Option<Solver>,
    /// Time step, s (jrnmm) [default: 1/1024]
    #[arg(long, value_name = "SECONDS")]
    pub step: Option<f64>,
    /// Time discarded before recording, s (jrnmm) [default: 2]
    #[arg(long, value_name = "SECONDS")]
    pub burn_in: Option<f64>,
    /// Time recorded, s (jrnmm) [default: 8]
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Samples recorded per second, Hz (jrnmm) [default: 128]
    #[arg(long, value_name = "HZ")]
    pub sampling_rate: Option<f64>,
    /// What an observation is (jrnmm) [default: psd]
    #[arg(long, value_parser = choice::<Output>())]
    pub record: Option<Output>,
}

/// The task of a model: its own, or one that is named, with what was changed in it.
#[derive(Debug, Clone, Args)]
pub struct ModelTaskArguments {
    /// Task to simulate, which `tallsbi tasks` lists, or a model file (.toml) [default: the model's]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Fix a parameter of the task: it leaves the prior (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    fix: Vec<String>,
    /// Draw a parameter from another distribution than the task's own, such as g=uniform(-60,20) (repeatable)
    #[arg(long, value_name = "NAME=DIST(A,B)")]
    prior: Vec<String>,
    /// Take a parameter of the task for a condition: a known quantity of each observation (repeatable)
    #[arg(long, value_name = "NAME")]
    condition: Vec<String>,
}

impl ModelTaskArguments {
    /// The task, where none is named that of `model`.
    pub fn of(&self, model: Option<&Model>) -> Result<TaskArguments> {
        let known = model.map(|model| model.trained().info.task.clone()).filter(|task| !task.is_empty());
        let Some(task) = self.task.clone().or(known) else {
            return Err(usage("--task: the model does not know its task; name the one to simulate"));
        };
        // What the model takes for known, unless another task is named.
        let fixed = model.filter(|_| self.task.is_none()).map_or(&[][..], |model| &model.trained().info.fixed);
        Ok(TaskArguments {
            fix: fixed.iter().map(|(name, value)| format!("{name}={value}")).chain(self.fix.clone()).collect(),
            prior: self.prior.clone(),
            condition: self.condition.clone(),
            task,
            ..TaskArguments::default()
        })
    }
}

impl TaskArguments {
    /// The task's options; ones that are given at their default are left out.
    pub fn options(&self) -> Result<TaskOptions> {
        let default = Recording::default();
        let recording = Recording {
            step: self.step.unwrap_or(default.step),
            burn_in: self.burn_in.unwrap_or(default.burn_in),
            duration: self.duration.unwrap_or(default.duration),
            sampling_rate: self.sampling_rate.unwrap_or(default.sampling_rate),
            output: self.record.unwrap_or(default.output),
        };
        let times = [self.step, self.burn_in, self.duration, self.sampling_rate];
        let given = self.record.is_some() || times.iter().any(Option::is_some);
        let prior: Result<Vec<_>, _> = self.prior.iter().map(|text| parse_component(text)).collect();
        let fix = self.fix.iter().map(|text| known_value("--fix", text)).collect::<Result<Vec<_>>>()?;
        Ok(TaskOptions {
            solver: self.solver,
            recording: given.then_some(recording),
            dimension: self.dimension,
            correlation: self.correlation,
            fix,
            condition: self.condition.clone(),
            prior: prior.map_err(|error| usage(format!("--prior: {error}")))?,
        })
    }

    /// Builds the task.
    pub fn build(&self) -> Result<Box<dyn Task>> {
        Ok(task(&self.task, &self.options()?)?)
    }
}

/// Parses NAME=VALUE.
pub fn known_value(option: &str, text: &str) -> Result<(String, f64)> {
    let parsed = text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
    let (name, value) = parsed.ok_or_else(|| usage(format!("{option}: {text:?} is not NAME=VALUE, such as g=0")))?;
    Ok((name.to_owned(), value))
}
