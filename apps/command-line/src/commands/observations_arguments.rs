//! Which observations, and how they are read.

use super::RecordingArguments;
use crate::choice::choice;
use crate::context::usage;
use anyhow::Result;
use clap::Args;
use ndarray::{Array2, s};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::data::Named;
use tallsbi::files::{Gaps, Header, Matrix};
use tallsbi::on_disk::{Taker, read_observations};
use tallsbi::{Model, RecordingOptions, WindowSummaries};

/// Observations to condition on.
#[derive(Debug, Args)]
pub struct ObservationsArguments {
    /// Observations: FILE, FILE.h5:DATASET or FILE.h5:DATASET:INDEX
    #[arg(long = "observations", value_name = "SOURCE")]
    pub source: String,
    /// Condition on the first N observations [default: all]
    #[arg(long, value_name = "N")]
    pub n_obs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub recording: RecordingArguments,
}

impl ObservationsArguments {
    /// The observations for `taker`, and their file.
    pub fn read(&self, taker: Taker) -> Result<(Matrix, PathBuf)> {
        observed(&self.source, self.n_obs, Header::Auto, (taker, &self.recording.options()))
    }
}

/// Observations to condition on, of which values may be missing.
#[derive(Debug, Args)]
pub struct TableArguments {
    #[command(flatten)]
    pub of: ObservationsArguments,
    /// Whether the first line of a table of observations names its columns
    #[arg(long, value_parser = choice::<Header>(), default_value = Header::Auto.name())]
    pub header: Header,
    /// A number that stands for a missing value, beside NaN and empty cells
    #[arg(long, value_name = "VALUE")]
    pub missing: Option<f64>,
}

impl TableArguments {
    /// The observations for `model`, NaN where a value is missing, and their file.
    pub fn read(&self, model: &Model) -> Result<(Matrix, PathBuf)> {
        let taken = (taken_by(model), &self.of.recording.options());
        let (mut matrix, file) = observed(&self.of.source, self.of.n_obs, self.header, taken)?;
        mark_missing(&mut matrix, self.missing);
        Ok((matrix, file))
    }
}

/// The first `n_obs` observations (all by default) of a source for `taker`, and its file. What a model takes of them is [`observed_by`].
pub fn observed(
    source: &str,
    n_obs: Option<NonZeroUsize>,
    header: Header,
    (taker, recording): (Taker, &RecordingOptions),
) -> Result<(Matrix, PathBuf)> {
    let read = read_observations(source, header, taker, recording).map_err(|error| {
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
