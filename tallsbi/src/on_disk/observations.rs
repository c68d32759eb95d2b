//! Observations from wherever users keep them: matrices, recordings, signals in tables.

use crate::{Error, RecordingOptions, Result, WindowSummaries, summarise_recording, summarise_signal};
use std::path::PathBuf;
use tallsbi_data::SignalWindow;
use tallsbi_files::{Gaps, Header, Matrix, MatrixSource};
use tallsbi_recordings::{Recording, Signal};

/// What observations are for: what a model or a task takes.
#[derive(Debug, Clone, Copy)]
pub struct Taker {
    /// Values of one observation.
    pub dim_x: usize,
    /// The stretch of a signal that an observation summarises, if it does.
    pub window: Option<SignalWindow>,
    /// Whether values may be missing.
    pub gaps: Gaps,
    /// Whether frequencies at which recordings and simulations differ are left out as missing values, if no others are chosen.
    pub comparable: bool,
}

/// Observations, and how they came about.
#[derive(Debug, Clone)]
pub struct ReadObservations {
    /// The observations.
    pub matrix: Matrix,
    /// Their file.
    pub path: PathBuf,
    /// What was made of a signal, if they were one.
    pub windows: Option<WindowSummaries>,
}

/// Reads observations: a matrix (see [`MatrixSource`]) as it is, where `taker` summarises signals also a recording, or a single column
/// (or row) of a table that is as long as a window. Frequencies at which recordings and simulations differ are left
/// out if `taker` says so and no others are chosen. One dimension of n values is n observations of one value, or one observation of n.
///
/// # Errors
/// When the file cannot be read, is a recording and `taker` takes no signals, or has the wrong number of values.
pub fn read_observations(
    source: &str,
    header: Header,
    taker: Taker,
    options: &RecordingOptions,
) -> Result<ReadObservations> {
    let place = MatrixSource::parse(source);
    if options.frequencies.is_some() && taker.gaps == Gaps::Refused {
        let message =
            "leaves out values of the summary, and all are needed here; models of the likelihood sample without".into();
        return Err(Error::Input { origin: "frequencies".into(), message });
    }
    if place.dataset.is_none() && Recording::is_one(&place.path) {
        let message = "is a recording, and this model is not one of signals; give its observations";
        let window = taker.window.ok_or_else(|| refused(source, message.into()))?;
        let windows = summarise_recording(&place.path, window, options)?;
        return Ok(summaries(place.path, windows, (taker, options)));
    }
    let matrix = place.read_with(header, taker.gaps)?;
    let (rows, columns) = matrix.values.dim();
    let Some(window) = taker.window.filter(|_| columns != taker.dim_x) else {
        let matrix = matrix.with_rows_of(taker.dim_x).map_err(|message| refused(source, message))?;
        return Ok(ReadObservations { matrix, path: place.path, windows: None });
    };
    if rows.min(columns) != 1 {
        let message = format!(
            "has {columns} columns; give observations of {} values, or a signal as a single column (of a recording with several channels \
             or times, choose one)",
            taker.dim_x
        );
        return Err(refused(source, message));
    }
    let rate = options.rate.unwrap_or(window.sampling_rate);
    let signal = Signal::continuous(source, matrix.values.iter().copied().collect(), rate, "mV");
    let windows = summarise_signal(signal, &[], window, options)?;
    Ok(summaries(place.path, windows, (taker, options)))
}

fn refused(source: &str, message: String) -> Error {
    Error::Input { origin: source.into(), message }
}

fn summaries(
    path: PathBuf,
    mut windows: WindowSummaries,
    (taker, options): (Taker, &RecordingOptions),
) -> ReadObservations {
    if taker.comparable && options.frequencies.is_none() {
        windows.leave_out_incomparable();
    }
    let matrix = Matrix { values: windows.x.clone(), names: Vec::new(), theta_true: None, flat: false };
    ReadObservations { matrix, path, windows: Some(windows) }
}
