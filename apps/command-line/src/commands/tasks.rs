//! `tallsbi tasks`.

use crate::context::Context;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fmt::Write;
use tallsbi::data::Component;
use tallsbi::simulators::external::{COMMAND_TEMPLATE, ODE_TEMPLATE};
use tallsbi::simulators::{Task, TaskOptions, task, tasks};

/// List the built-in tasks: dimensions, priors, what is known in closed form
///
/// Example: tallsbi tasks --template command > model.toml; tallsbi simulate model.toml -n 10000 -o train.h5
#[derive(Debug, Args)]
pub struct TasksArguments {
    /// Print a model file to start from instead: a model of your own, simulated by a program or from differential equations
    #[arg(long, value_name = "KIND")]
    pub template: Option<TemplateKind>,
}

/// What a model file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateKind {
    /// A program that stays alive, or is called for each simulation
    Command,
    /// Differential equations and noise: no program, and an exact likelihood
    Ode,
}

impl TemplateKind {
    fn text(self) -> &'static str {
        match self {
            Self::Command => COMMAND_TEMPLATE,
            Self::Ode => ODE_TEMPLATE,
        }
    }
}

/// Runs the command.
pub fn run(context: &Context, arguments: &TasksArguments) -> Result<()> {
    if let Some(kind) = arguments.template {
        let template = kind.text();
        return context.print(template.trim_end(), || json!({ "template": template }));
    }
    let all = tasks()
        .into_iter()
        .map(|name| Ok((name, task(name, &TaskOptions::default())?)))
        .collect::<Result<Vec<(&str, Box<dyn Task>)>>>()?;
    let text = all.iter().fold(String::new(), |text, (name, task)| text + &describe(name, task.as_ref()));
    context.print(text.trim_end(), || all.iter().map(|(name, task)| to_json(name, task.as_ref())).collect())
}

/// What is known of a task's posterior in closed form.
fn posterior(task: &dyn Task) -> Option<&'static str> {
    let x = vec![0.0; task.dim_x()];
    let one = ndarray::ArrayView2::from_shape((1, x.len()), &x).ok()?;
    if task.exact_posterior(one).is_some() {
        Some("exact for any number of observations")
    } else if task.single_posterior(&x).is_some() {
        Some("exact for one observation")
    } else {
        None
    }
}

/// How `tallsbi reference` samples a task's posterior; `None` where it cannot.
fn reference(task: &dyn Task) -> Option<String> {
    let x = vec![0.0; task.dim_x()];
    let one = ndarray::ArrayView2::from_shape((1, x.len()), &x).ok()?;
    let modes = task.symmetry().order();
    match (task.posterior_sampler(one), task.log_likelihood()) {
        (Ok(Some(sampler)), _) => Some(sampler.method().to_owned()),
        (_, Some(_)) if modes > 1 => Some(format!("NUTS, {modes} symmetric modes")),
        (_, Some(_)) => Some("NUTS".to_owned()),
        _ => None,
    }
}

fn describe(name: &str, task: &dyn Task) -> String {
    let mut text = format!("{name}: {}\n", task.description());
    let prior = task.prior();
    let mut known = Vec::new();
    if task.log_likelihood().is_some() {
        known.push("likelihood with gradient".to_owned());
    }
    known.extend(posterior(task).map(|p| format!("posterior {p}")));
    known.extend(reference(task).map(|how| format!("reference posterior ({how})")));
    let known = if known.is_empty() { "the simulator only".to_owned() } else { known.join(", ") };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {} parameters, {} observed values; {known}", prior.dim(), task.dim_x());
    let units = task.parameter_units();
    let mut at = 0;
    for component in prior.components() {
        let unit = units.get(at).filter(|unit| !unit.is_empty()).map(|unit| format!(" {unit}")).unwrap_or_default();
        at += component.dim();
        let _ = match component {
            Component::Lognormal { name, loc, scale } => {
                writeln!(text, "  {name} ~ lognormal({loc:.4}, {scale}){unit}")
            }
            other => writeln!(text, "  {} ~ {other}{unit}", other.names().join(", ")),
        };
    }
    text + "\n"
}

fn to_json(name: &str, task: &dyn Task) -> Value {
    json!({
        "name": name,
        "description": task.description(),
        "dim_theta": task.prior().dim(),
        "dim_x": task.dim_x(),
        "parameter_names": task.prior().names(),
        "parameter_units": task.parameter_units(),
        "observation_names": task.observation_names(),
        "x_transform": task.x_transform(),
        "prior": task.prior(),
        "likelihood": task.log_likelihood().is_some(),
        "posterior": posterior(task),
        "reference": reference(task),
    })
}
