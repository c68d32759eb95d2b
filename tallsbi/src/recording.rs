//! Observations from recordings: one summary a window, as the simulator makes it.

use crate::{Error, Result};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tallsbi_data::{SignalWindow, StreamKey};
use tallsbi_diagnostics::exchangeability::{Exchangeability, exchangeability};
use tallsbi_recordings::{Annotation, Cutting, Recording, Rejected, Signal, Windows};
use tallsbi_simulators::jansen_rit::{BINS, PowerSpectrum, SEGMENT};

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
/// | `frequencies` | all; [0, 30] Hz of a recording where values may be missing | lowest and highest frequency of the summary that is used, Hz: the power at others counts as missing |
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
    /// Lowest and highest frequency that is used, Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequencies: Option<[f64; 2]>,
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
            frequencies: None,
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
    /// log10 of the averaged periodogram of each window, (n, 33), in mV² as the neural mass model's; NaN at frequencies that are not used.
    pub x: Array2<f64>,
    /// Start of each window, s.
    pub starts: Vec<f64>,
    /// Windows that are left out, and why.
    pub rejected: Vec<Rejected>,
    /// Where the signal comes from: the file and its channel.
    pub origin: String,
    /// Robust standard deviation of the signal, mV.
    pub sd: f64,
    /// Whether the windows change along the recording; nothing where there are too few to tell.
    pub order: Option<Exchangeability>,
    /// Hz from one value of a window's summary to the next.
    pub bin_hz: f64,
    /// Highest frequency at which a recording's power is the simulator's, Hz; `None` where the signal came at the model's rate.
    pub comparable: Option<f64>,
}

/// Share of the model's sampling rate up to which the power of its signal is that of a resampled one: 30 of 128 Hz. The simulator takes samples of its signal, and the
/// power beyond half of their rate is folded down onto the rest, as an anti-alias filter does not let it: to 0.01 in log10 power at 30 Hz, 0.04 at 45 Hz, 0.2 at 63 Hz, where
/// one window's standard deviation is 0.09.
const COMPARABLE: f64 = 30.0 / 128.0;

/// Below this p-value the order of windows matters.
const ORDER_LEVEL: f64 = 0.01;

impl WindowSummaries {
    /// What is to be said of the order of the windows, which the posterior takes for independent draws at one parameter: that they drift, that neighbours are alike.
    pub fn warnings(&self) -> Vec<String> {
        let Some(order) = &self.order else { return Vec::new() };
        order_warnings(order, self.starts.len(), self.bin_hz)
    }

    /// Whether a value is the power at a frequency where recordings and simulations differ.
    fn is_incomparable(&self, column: usize) -> bool {
        self.comparable.is_some_and(|highest| column as f64 * self.bin_hz > highest)
    }

    /// Takes the power at frequencies where recordings and simulations differ for missing.
    pub fn leave_out_incomparable(&mut self) {
        for column in (0..self.x.ncols()).filter(|&column| self.is_incomparable(column)).collect::<Vec<_>>() {
            self.x.column_mut(column).fill(f64::NAN);
        }
    }

    /// What is to be said of power at frequencies where recordings and simulations differ, if any is used.
    pub fn aliasing(&self) -> Option<String> {
        let used = |column: usize| self.x.column(column).iter().any(|value| !value.is_nan());
        let highest = self.comparable?;
        (0..self.x.ncols()).any(|column| self.is_incomparable(column) && used(column)).then(|| {
            format!(
                "above {highest:.0} Hz the power is lower than the simulations', whose signal is sampled without an anti-alias filter: the posterior is off where it is used"
            )
        })
    }
}

/// The same of `n` windows with summaries in steps of `bin_hz` Hz.
pub fn order_warnings(order: &Exchangeability, n: usize, bin_hz: f64) -> Vec<String> {
    let mut said = Vec::new();
    if order.trend_p_value < ORDER_LEVEL {
        let way = if order.trend > 0.0 { "rises" } else { "falls" };
        said.push(format!(
            "the windows change along the recording: power at {:.0} Hz {way} (rank correlation with time {:.2}, p = {:.4}); they are not draws at one parameter, \
             parts of it may be",
            order.column as f64 * bin_hz,
            order.trend,
            order.trend_p_value
        ));
    }
    let alike = order.neighbours.clamp(0.0, 1.0);
    if order.neighbours_p_value < ORDER_LEVEL && alike > 0.0 {
        said.push(format!(
            "neighbouring windows are alike (rank correlation {alike:.2}, p = {:.4}): {n} of them tell about as much as {:.0} independent ones, the posterior is too narrow",
            order.neighbours_p_value,
            (n as f64 * (1.0 - alike) / (1.0 + alike)).max(1.0)
        ));
    }
    said
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
    let comparable = (signal.rate != window.sampling_rate).then_some(COMPARABLE * window.sampling_rate);
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
    let bin_hz = window.sampling_rate / SEGMENT as f64;
    if let Some(used) = options.frequencies {
        leave_out(&mut x, used, bin_hz)?;
    }
    let order = exchangeability(x.view(), StreamKey::root(0)).ok();
    Ok(WindowSummaries { x, starts, rejected, origin, sd, order, bin_hz, comparable })
}

/// Takes the power at frequencies outside of these for missing.
fn leave_out(x: &mut Array2<f64>, [low, high]: [f64; 2], bin_hz: f64) -> Result<()> {
    let used = |column: usize| (low..=high).contains(&(column as f64 * bin_hz));
    if !(0..x.ncols()).any(used) {
        let most = (x.ncols() - 1) as f64 * bin_hz;
        let message = format!(
            "between {low} and {high} Hz there is none of the summary's, 0 to {most:.1} Hz in steps of {bin_hz:.2} Hz"
        );
        return Err(Error::Input { origin: "frequencies".into(), message });
    }
    let unused = x.axis_iter_mut(Axis(1)).enumerate().filter(|(column, _)| !used(*column));
    unused.for_each(|(_, mut values)| values.fill(f64::NAN));
    Ok(())
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
    /// A tone with noise whose amplitude is a function of time in windows, 24 of them.
    fn tone(amplitude: impl Fn(f64) -> f64) -> Signal {
        let normal =
            tallsbi_data::Prior::from_json(r#"[{"name":"z","dist":"normal","loc":0,"scale":1}]"#).expect("one");
        let mut rng = StreamKey::root(6).rng(0);
        let value = |i: i32| {
            let mut noise = [0.0];
            normal.sample(&mut rng, &mut noise);
            amplitude(f64::from(i) / 1024.0) * ((2.0 * PI * 10.0 * f64::from(i) / 128.0).sin() + noise[0])
        };
        Signal::continuous("made", (0..24 * 1024).map(value).collect(), 128.0, "mV")
    }

    #[test]
    fn windows_that_change_are_told() {
        let window = SignalWindow { samples: 1024, sampling_rate: 128.0 };
        let said =
            |signal| summarise_signal(signal, &[], window, &RecordingOptions::default()).expect("used").warnings();
        assert_eq!(said(tone(|_| 1.0)), Vec::<String>::new());
        let drift = said(tone(|window| 1.0 + 0.05 * window));
        assert!(drift[0].starts_with("the windows change along the recording: power at") && drift[0].contains("rises"));
        // Two states in turn, four windows each: no drift.
        let states = said(tone(|window| if ((window / 4.0) as u32).is_multiple_of(2) { 1.0 } else { 1.5 }));
        assert!(states.len() == 1 && states[0].starts_with("neighbouring windows are alike"), "{states:?}");
    }

    /// A signal of another rate has been through an anti-alias filter, which the simulator has not.
    #[test]
    fn frequencies_where_recordings_differ_are_told_and_left_out() {
        let window = SignalWindow { samples: 1024, sampling_rate: 128.0 };
        let with = |signal, frequencies| {
            let options = RecordingOptions { frequencies, ..RecordingOptions::default() };
            summarise_signal(signal, &[], window, &options).expect("finite")
        };
        assert_eq!(with(tone(|_| 1.0), None).aliasing(), None, "the model's rate");
        let faster = || Signal { rate: 250.0, ..tone(|_| 1.0) };
        let mut found = with(faster(), None);
        assert!(found.aliasing().is_some_and(|said| said.starts_with("above 30 Hz the power is lower")));
        let complete = found.x.clone();
        found.leave_out_incomparable();
        // 15 bins of 1.97 Hz are 29.5 Hz.
        let used: Vec<usize> = (0..BINS).filter(|&bin| !found.x[[0, bin]].is_nan()).collect();
        assert_eq!((used, found.aliasing()), ((0..=15).collect(), None));
        assert_eq!(found.x[[1, 15]], complete[[1, 15]]);
        assert_eq!(with(faster(), Some([3.0, 29.0])).aliasing(), None);
        assert!(with(faster(), Some([3.0, 32.0])).aliasing().is_some(), "asked for, and told");
    }

    #[test]
    fn a_part_of_the_frequencies_can_be_used() {
        let window = SignalWindow { samples: 1024, sampling_rate: 128.0 };
        let with = |frequencies| {
            let options = RecordingOptions { frequencies: Some(frequencies), ..RecordingOptions::default() };
            summarise_signal(tone(|_| 1.0), &[], window, &options)
        };
        // Bins at 0, 1.97, 3.94, .. Hz.
        let used: Vec<usize> =
            (0..BINS).filter(|&bin| !with([3.0, 10.0]).expect("some").x[[0, bin]].is_nan()).collect();
        assert_eq!(used, [2, 3, 4, 5]);
        let error = with([2.5, 3.5]).unwrap_err().to_string();
        assert!(error.contains("0 to 63.0 Hz in steps of 1.97 Hz"), "{error}");
    }
}
