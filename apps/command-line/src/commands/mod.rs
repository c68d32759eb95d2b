//! One module a command: arguments, validated options, the libraries' work, output.

pub mod diagnose;
pub mod inspect;
pub mod merge;
pub mod model;
pub mod observe;
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
use ndarray::{Array2, s};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::files::MatrixSource;

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

/// The first `n_obs` observations (all by default) of a source, and its file.
pub fn observed(source: &str, n_obs: Option<NonZeroUsize>) -> Result<(Array2<f32>, PathBuf)> {
    let source_file = MatrixSource::parse(source);
    let values = source_file.read()?.values;
    let n = n_obs.map_or(values.nrows(), NonZeroUsize::get);
    if n > values.nrows() {
        return Err(usage(format!("--n-obs: {n} observations wanted, {source} has {}", values.nrows())));
    }
    Ok((values.slice(s![..n, ..]).mapv(|value| value as f32), source_file.path))
}
