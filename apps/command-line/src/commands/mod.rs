//! One module a command: arguments, validated options, the libraries' work, output.

pub mod compare;
pub mod diagnose;
pub mod inspect;
pub mod merge;
pub mod model;
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

pub use recording_arguments::RecordingArguments;
pub use task_arguments::{ModelTaskArguments, TaskArguments};

use crate::context::usage;
use anyhow::Result;
use clap::ValueEnum;
use ndarray::{Array2, s};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::files::{Gaps, Header, Matrix};
use tallsbi::on_disk::{Taker, read_observations};
use tallsbi::{Model, RecordingOptions, Task, WindowSummaries};

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

/// The first `n_obs` observations (all by default) of a source for `taker`, and its file. What a model takes of them is [`observed_by`].
pub fn observed(
    source: &str,
    n_obs: Option<NonZeroUsize>,
    header: HeaderChoice,
    (taker, recording): (Taker, &RecordingOptions),
) -> Result<(Matrix, PathBuf)> {
    let read = read_observations(source, header.header(), taker, recording).map_err(|error| {
        let text = error.to_string();
        if text.contains("is that a header") {
            return usage(text.replace("Say which", "Say which (--header yes or no)"));
        }
        error.into()
    })?;
    if let Some(windows) = &read.windows {
        tell_windows(windows);
    } else if *recording != RecordingOptions::default() {
        return Err(usage(format!("{source}: is no recording; leave out the options of recordings")));
    }
    let mut matrix = read.matrix;
    let values = &matrix.values;
    let n = n_obs.map_or(values.nrows(), NonZeroUsize::get);
    if n > values.nrows() {
        return Err(usage(format!("--n-obs: {n} observations wanted, {source} has {}", values.nrows())));
    }
    matrix.values = values.slice(s![..n, ..]).to_owned();
    Ok((matrix, read.path))
}

/// What observations `model` takes.
pub fn taken_by(model: &Model) -> Taker {
    let window = model.trained().info.signal_window;
    let comparable = model.trained().architecture() == "likelihood";
    Taker { dim_x: model.trained().observation_map.mean.len(), window, gaps: Gaps::Allowed, comparable }
}

/// The same where no value may be missing.
pub fn wholly_taken_by(model: &Model) -> Taker {
    Taker { gaps: Gaps::Refused, comparable: false, ..taken_by(model) }
}

/// Takes `sentinel` for a missing value; numbers of single precision are compared in it.
pub fn mark_missing(matrix: &mut Matrix, sentinel: Option<f64>) {
    let Some(sentinel) = sentinel else { return };
    let is = |value: f64| value == sentinel || value as f32 == sentinel as f32;
    matrix.values.mapv_inplace(|value| if is(value) { f64::NAN } else { value });
}

/// Windows shown one by one.
const SHOWN: usize = 3;

/// Says what a recording was cut into.
fn tell_windows(windows: &WindowSummaries) {
    let (used, rejected) = (windows.starts.len(), &windows.rejected);
    let origin = &windows.origin;
    for warning in windows.warnings() {
        tracing::warn!("{origin}: {warning}; --start and --end take a part of it");
    }
    if let Some(warning) = windows.aliasing() {
        tracing::warn!("{origin}: {warning}; `tallsbi sample` with a model of the likelihood leaves it out by default");
    }
    if let Some(highest) = windows.comparable.filter(|_| windows.x.iter().any(|value| value.is_nan())) {
        tracing::info!(
            "{origin}: power to {highest:.0} Hz is used at most, unless --frequencies says otherwise: above, recordings and simulations differ"
        );
    }
    if rejected.is_empty() {
        tracing::info!("{origin}: {used} windows");
        return;
    }
    let shown: Vec<String> =
        rejected.iter().take(SHOWN).map(|rejected| format!("at {:.3} s: {}", rejected.start, rejected.fault)).collect();
    let more = if rejected.len() > SHOWN { ", .." } else { "" };
    tracing::warn!("{origin}: {used} windows; {} left out ({}{more})", rejected.len(), shown.join(", "));
}

/// Observations as `model` takes them; `source` names them. Refuses columns with other names, or in another order, than it was trained on.
pub fn observed_by(model: &Model, source: &str, matrix: &Matrix) -> Result<Array2<f32>> {
    let x = model.centre(source, matrix.values.view())?;
    check_columns(source, matrix, &model.trained().info.observation_names)?;
    Ok(x)
}

/// Refuses columns with other names, or in another order, than `names`, where both are known.
pub fn check_columns(source: &str, matrix: &Matrix, names: &[String]) -> Result<()> {
    if !names.is_empty() && !matrix.names.is_empty() && names != matrix.names {
        anyhow::bail!(
            "{source}: has the columns {}, but the simulations have {}; bring them into that order",
            matrix.names.join(", "),
            names.join(", ")
        );
    }
    Ok(())
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
