//! Observations from recordings: one summary a window, as the simulator makes it.

use crate::Result;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tallsbi_data::SignalWindow;
use tallsbi_recordings::{Annotation, Cutting, Recording, Rejected, Signal, Windows};
use tallsbi_simulators::jansen_rit::{BINS, PowerSpectrum};

/// Which part of a recording is observed.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `channel` | the only one | label of the channel |
/// | `rate` | the model's | samples per second of a signal in a table, which does not say; a recording does |
/// | `unit` | the file's; of a table mV | V, mV, uV or nV |
/// | `start`, `end` | all | seconds from the recording's start |
/// | `annotation` | all | only where annotations of this text last |
/// | `notch` | none | frequency of the mains to take out, Hz |
/// | `largest` | 20 | windows with a sample so many robust sd from the median are left out |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingOptions {
    /// Label of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Samples per second of a signal in a table, Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Unit of the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Where to start, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// Where to end, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// Text of the annotations to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// Frequency of the mains, Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notch: Option<f64>,
    /// Largest distance from the median, robust sd.
    pub largest: f64,
}

impl Default for RecordingOptions {
    fn default() -> Self {
        Self {
            channel: None,
            rate: None,
            unit: None,
            start: None,
            end: None,
            annotation: None,
            notch: None,
            largest: Cutting::new(1.0, 1).largest,
        }
    }
}

impl RecordingOptions {
    fn cutting(&self, window: SignalWindow) -> Cutting {
        Cutting {
            start: self.start,
            end: self.end,
            annotation: self.annotation.clone(),
            unit: self.unit.clone(),
            notch: self.notch,
            largest: self.largest,
            ..Cutting::new(window.sampling_rate, window.samples)
        }
    }
}

/// Observations made of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSummaries {
    /// log10 of the averaged periodogram of each window, (n, 33), in mV² as the neural mass model's.
    pub x: Array2<f64>,
    /// Start of each window, s.
    pub starts: Vec<f64>,
    /// Windows that are left out, and why.
    pub rejected: Vec<Rejected>,
    /// Where the signal comes from: the file and its channel.
    pub origin: String,
    /// Robust standard deviation of the signal, mV.
    pub sd: f64,
}

/// Summarises the windows of one channel of a recording (EDF, BDF, BrainVision) as the simulator does its signals: converted to mV, the mains taken
/// out if asked for, resampled, cut into windows next to each other; each loses its mean.
///
/// # Errors
/// [`Error::Recording`](crate::Error::Recording) when the file cannot be read, or there is no such channel, part, unit or frequency, or not one
/// window is left.
pub fn summarise_recording(path: &Path, window: SignalWindow, options: &RecordingOptions) -> Result<WindowSummaries> {
    let recording = Recording::open(path)?;
    let signal = recording.signal(recording.find(options.channel.as_deref())?)?;
    summarise_signal(signal, &recording.annotations, window, options)
}

/// The same of a signal.
///
/// # Errors
/// As [`summarise_recording`].
pub fn summarise_signal(
    signal: Signal,
    annotations: &[Annotation],
    window: SignalWindow,
    options: &RecordingOptions,
) -> Result<WindowSummaries> {
    let origin = signal.origin.clone();
    let Windows { values, starts, rejected, sd } = options.cutting(window).apply(signal, annotations)?;
    let mut spectrum = PowerSpectrum::new();
    let mut x = Array2::zeros((values.len(), BINS));
    let mut log_power = [0.0; BINS];
    for (window, mut row) in values.into_iter().zip(x.outer_iter_mut()) {
        let mean = window.iter().sum::<f64>() / window.len() as f64;
        let centred: Vec<f64> = window.iter().map(|value| value - mean).collect();
        spectrum.log10_power(&centred, &mut log_power)?;
        row.iter_mut().zip(&log_power).for_each(|(to, from)| *to = *from);
    }
    Ok(WindowSummaries { x, starts, rejected, origin, sd })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// Windows of a signal are summarised as the simulator does it, and an incomplete one is left out.
    #[test]
    fn signals_become_windows() {
        let signal: Vec<f64> =
            (0..2 * 1024 + 100).map(|i| 3.0 + (2.0 * PI * 10.0 * f64::from(i) / 128.0).sin()).collect();
        let window = SignalWindow { samples: 1024, sampling_rate: 128.0 };
        let signal = Signal::continuous("made", signal, 128.0, "mV");
        let found = summarise_signal(signal.clone(), &[], window, &RecordingOptions::default()).expect("finite");
        assert_eq!((found.x.dim(), found.starts), ((2, BINS), vec![0.0, 8.0]));
        let row = found.x.row(0);
        let peak = (0..BINS).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("bins");
        // 65 samples at 128 Hz: bins 1.97 Hz apart.
        assert_eq!(peak, 5, "10 Hz");
        // A thousandth of the voltage is a millionth of the power.
        let options = RecordingOptions { unit: Some("uV".into()), ..RecordingOptions::default() };
        let small = summarise_signal(signal, &[], window, &options).expect("finite");
        assert!((small.x[[0, 5]] - (row[5] - 6.0)).abs() < 1e-9);
    }
}
