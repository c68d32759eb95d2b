//! One module a command: arguments, validated options, the libraries' work, output.

pub mod diagnose;
pub mod inspect;
pub mod merge;
pub mod model;
pub mod observe;
mod output_arguments;
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

pub use task_arguments::TaskArguments;

use crate::context::usage;
use anyhow::Result;
use clap::ValueEnum;
use ndarray::{Array2, s};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::Model;
use tallsbi::files::{Header, Matrix, MatrixSource};

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

/// The first `n_obs` observations (all by default) of a source, and its file. What a model takes of them is [`observed_by`].
pub fn observed(source: &str, n_obs: Option<NonZeroUsize>, header: HeaderChoice) -> Result<(Matrix, PathBuf)> {
    let source_file = MatrixSource::parse(source);
    let mut matrix = source_file.read_with(header.header()).map_err(|error| {
        let text = error.to_string();
        if text.contains("is that a header") {
            return usage(text.replace("Say which", "Say which (--header yes or no)"));
        }
        error.into()
    })?;
    let values = &matrix.values;
    let n = n_obs.map_or(values.nrows(), NonZeroUsize::get);
    if n > values.nrows() {
        return Err(usage(format!("--n-obs: {n} observations wanted, {source} has {}", values.nrows())));
    }
    matrix.values = values.slice(s![..n, ..]).to_owned();
    Ok((matrix, source_file.path))
}

/// Observations as `model` takes them; `source` names them. Refuses columns with other names, or in another order, than it was trained on.
pub fn observed_by(model: &Model, source: &str, matrix: &Matrix) -> Result<Array2<f32>> {
    let x = model.centre(source, matrix.values.view())?;
    let names = &model.trained().info.observation_names;
    if !names.is_empty() && !matrix.names.is_empty() && *names != matrix.names {
        anyhow::bail!(
            "{source}: has the columns {}, but the model was trained on {}; bring them into that order",
            matrix.names.join(", "),
            names.join(", ")
        );
    }
    Ok(x)
}

/// Whether the first line of a table names its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum HeaderChoice {
    /// If no cell of it is a number
    #[default]
    Auto,
    /// It does
    Yes,
    /// It does not
    No,
}

impl HeaderChoice {
    fn header(self) -> Header {
        match self {
            Self::Auto => Header::Auto,
            Self::Yes => Header::Yes,
            Self::No => Header::No,
        }
    }
}
