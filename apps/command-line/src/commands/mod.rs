//! One module a command: arguments, validated options, the libraries' work, output.

pub mod compare;
pub mod diagnose;
pub mod fix;
pub mod inspect;
pub mod merge;
pub mod model;
mod observations_arguments;
pub mod observe;
mod output_arguments;
pub mod plot;
pub mod predict;
pub mod recording;
mod recording_arguments;
pub mod reference;
pub mod refine;
pub mod report;
pub mod sample;
pub mod sampling_arguments;
pub mod simulate;
pub mod study;
mod task_arguments;
pub mod tasks;
pub mod train;
mod train_arguments;

pub use observations_arguments::{
    ObservationsArguments, TableArguments, check_columns, mark_missing, observed, observed_by, wholly_taken_by,
};
pub use recording_arguments::RecordingArguments;
pub use task_arguments::{ModelTaskArguments, TaskArguments, known_value};

use crate::context::usage;
use anyhow::Result;
use tallsbi::Task;

/// Parses `a,b,..` as numbers.
pub fn parameter_values(option: &str, text: &str) -> Result<Vec<f64>> {
    text.split(',')
        .map(|part| {
            let value: f64 =
                part.trim().parse().map_err(|_| usage(format!("{option}: {part:?} is not a number; give a,b,..")))?;
            if value.is_finite() { Ok(value) } else { Err(usage(format!("{option}: {part} is not finite"))) }
        })
        .collect()
}

/// Parses θ and checks it against a prior.
pub fn parameters(option: &str, text: &str, prior: &tallsbi::data::Prior) -> Result<Vec<f64>> {
    let theta = parameter_values(option, text)?;
    if theta.len() != prior.dim() {
        return Err(usage(format!(
            "{option}: {} values for the {} parameters {}",
            theta.len(),
            prior.dim(),
            prior.names().join(", ")
        )));
    }
    for ((value, (low, high)), name) in theta.iter().zip(prior.support()).zip(prior.names()) {
        if *value < low || *value > high {
            return Err(usage(format!("{option}: {name} = {value} is outside the prior's [{low}, {high}]")));
        }
    }
    Ok(theta)
}

/// One of the simulations that failed and why, where the task knows, to be said after how many did.
pub fn example(task: &dyn Task) -> String {
    task.failure().map(|failure| format!("; for example {failure}")).unwrap_or_default()
}
