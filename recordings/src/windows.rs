//! From a signal to windows, and what is wrong with those that are left out.

use crate::error::selection;
use crate::filter::ratio;
use crate::{Annotation, Result, Signal, notch, resample};

/// Samples at the limits of the recorder in one window from which on it is clipped; single ones occur by chance.
const CLIPPED: usize = 3;
/// Share of a window in one value on end from which on it is flat.
const FLAT: f64 = 0.25;
/// The sd of a normal distribution in median absolute deviations.
const ROBUST_SD: f64 = 1.4826;

/// Which part of a signal, and how it is cut.
///
/// | field | default | purpose |
/// |---|---|---|
/// | `rate` | | samples per second of the windows, Hz |
/// | `samples` | | samples of a window |
/// | `start`, `end` | all | seconds from the recording's start |
/// | `annotation` | all | only where an annotation of this text lasts |
/// | `unit` | the file's | unit of the signal's values |
/// | `notch` | none | frequency taken out, Hz |
/// | `largest` | 20 | a window with a sample so many robust sd from the signal's median is left out |
#[derive(Debug, Clone, PartialEq)]
pub struct Cutting {
    /// Samples per second of the windows, Hz.
    pub rate: f64,
    /// Samples of a window.
    pub samples: usize,
    /// Where to start, s.
    pub start: Option<f64>,
    /// Where to end, s.
    pub end: Option<f64>,
    /// Text of the annotations to use.
    pub annotation: Option<String>,
    /// Unit of the values, in place of what the file says.
    pub unit: Option<String>,
    /// Frequency of the mains to take out, Hz.
    pub notch: Option<f64>,
    /// Largest distance of a sample from the median, in robust sd (1.4826 × median absolute deviation).
    pub largest: f64,
}

/// Why a window is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// A quarter of it or more on end in one value.
    Flat,
    /// Samples at the limits of the recorder.
    Clipped {
        /// How many.
        samples: usize,
    },
    /// A sample far from all others.
    Huge {
        /// Its distance from the median, in robust sd.
        deviations: f64,
    },
    /// Samples that are no numbers.
    NotFinite,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flat => write!(f, "flat"),
            Self::Clipped { samples } => write!(f, "clipped: {samples} samples at the recorder's limits"),
            Self::Huge { deviations } => write!(f, "a sample {deviations:.0} robust sd from the median"),
            Self::NotFinite => write!(f, "samples that are no numbers"),
        }
    }
}

/// A window that is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rejected {
    /// Seconds from the recording's start.
    pub start: f64,
    /// Why.
    pub fault: Fault,
}

/// The windows of a signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Samples of each, mV.
    pub values: Vec<Vec<f64>>,
    /// Seconds from the recording's start to the first sample of each.
    pub starts: Vec<f64>,
    /// Those that are left out.
    pub rejected: Vec<Rejected>,
    /// Robust standard deviation of the signal, mV.
    pub sd: f64,
}

/// A stretch of time, s.
#[derive(Clone, Copy)]
struct Stretch {
    start: f64,
    end: f64,
}

impl Cutting {
    /// Everything, at `rate` Hz in windows of `samples`.
    pub fn new(rate: f64, samples: usize) -> Self {
        let (start, end, annotation, unit, notch) = (None, None, None, None, None);
        Self { rate, samples, start, end, annotation, unit, notch, largest: 20.0 }
    }

    /// Cuts a signal into windows next to each other, none across a gap: what does not fill one is left out, as is a window that is flat,
    /// clipped or huge in the samples as recorded.
    ///
    /// # Errors
    /// [`crate::RecordingError::Selection`] naming what cannot be done, or that not one window is left and why.
    pub fn apply(&self, signal: Signal, annotations: &[Annotation]) -> Result<Windows> {
        let mut recorded = signal.in_millivolts(self.unit.as_deref())?;
        if recorded.segments.iter().flat_map(|segment| &segment.values).any(|value| value.is_finite()) {
            self.check(&recorded)?;
        } else {
            return Err(selection("signal", format!("{} has no numbers", recorded.origin)));
        }
        // Before windows are counted: of a sample a century there would be 10¹¹.
        ratio(&recorded, self.rate)?;
        let scale = Scale::of(&recorded);
        let faults = |recorded: &Signal, window: Stretch| self.fault(recorded, window, scale);
        let found: Vec<(usize, Stretch)> = self.places(&recorded, &self.stretches(&recorded, annotations)?);
        let judged: Vec<Option<Fault>> = found.iter().map(|&(_, window)| faults(&recorded, window)).collect();
        // A value that is no number would spread over the filters' length.
        recorded
            .segments
            .iter_mut()
            .flat_map(|segment| &mut segment.values)
            .filter(|value| !value.is_finite())
            .for_each(|value| *value = scale.median);
        if let Some(frequency) = self.notch {
            notch(&mut recorded, frequency)?;
        }
        let resampled = resample(&recorded, self.rate)?;
        let mut windows = Windows { values: Vec::new(), starts: Vec::new(), rejected: Vec::new(), sd: scale.sd };
        for ((segment, window), fault) in found.into_iter().zip(judged) {
            if let Some(fault) = fault {
                windows.rejected.push(Rejected { start: window.start, fault });
                continue;
            }
            let segment = &resampled.segments[segment];
            let first = ((window.start - segment.start) * self.rate).round() as usize;
            if let Some(values) = segment.values.get(first..first + self.samples) {
                windows.values.push(values.to_vec());
                windows.starts.push(window.start);
            }
        }
        if windows.values.is_empty() {
            return Err(selection("signal", self.nothing_left(&recorded, &windows.rejected)));
        }
        Ok(windows)
    }

    fn check(&self, signal: &Signal) -> Result<()> {
        if self.samples == 0 {
            return Err(selection("samples", "a window needs at least one"));
        }
        if self.largest.is_nan() || self.largest <= 0.0 {
            return Err(selection("largest", format!("must be positive, got {}", self.largest)));
        }
        let end = signal.segments.iter().map(|s| s.start + s.values.len() as f64 / signal.rate).fold(0.0, f64::max);
        let (start, stop) = (self.start.unwrap_or(0.0), self.end.unwrap_or(end));
        if !(start >= 0.0 && start < stop) || start >= end {
            return Err(selection(
                "start",
                format!("{start} s to {stop} s is no part of {}, which has {end:.3} s", signal.origin),
            ));
        }
        Ok(())
    }

    /// The stretches of time that are asked for.
    fn stretches(&self, signal: &Signal, annotations: &[Annotation]) -> Result<Vec<Stretch>> {
        let (start, end) = (self.start.unwrap_or(f64::NEG_INFINITY), self.end.unwrap_or(f64::INFINITY));
        let Some(wanted) = &self.annotation else { return Ok(vec![Stretch { start, end }]) };
        let found: Vec<&Annotation> = annotations.iter().filter(|annotation| annotation.text == *wanted).collect();
        let fail = |message: String| Err(selection("annotation", message));
        if found.is_empty() {
            let mut texts: Vec<&str> = annotations.iter().map(|annotation| annotation.text.as_str()).collect();
            texts.sort_unstable();
            texts.dedup();
            let known = if texts.is_empty() { "no annotations".into() } else { texts.join(", ") };
            return fail(format!("{} has none {wanted:?}; it has {known}", signal.origin));
        }
        let lasting = found.iter().filter_map(|annotation| {
            Some(Stretch { start: annotation.onset, end: annotation.onset + annotation.duration? })
        });
        let stretches: Vec<Stretch> = lasting
            .map(|stretch| Stretch { start: stretch.start.max(start), end: stretch.end.min(end) })
            .filter(|stretch| stretch.start < stretch.end)
            .collect();
        if stretches.is_empty() {
            return fail(format!(
                "{wanted:?} marks moments, or none between start and end; give start and end in place of it"
            ));
        }
        Ok(stretches)
    }

    /// Segment and time of each window.
    fn places(&self, signal: &Signal, stretches: &[Stretch]) -> Vec<(usize, Stretch)> {
        let seconds = self.samples as f64 / self.rate;
        let mut places = Vec::new();
        for stretch in stretches {
            for (index, segment) in signal.segments.iter().enumerate() {
                let start = stretch.start.max(segment.start);
                let end = stretch.end.min(segment.start + segment.values.len() as f64 / signal.rate);
                // Times are decimal numbers: a window that ends with the signal does.
                let count = ((end - start) / seconds + 1e-9).floor().max(0.0) as usize;
                places.extend((0..count).map(|k| {
                    let start = start + k as f64 * seconds;
                    (index, Stretch { start, end: start + seconds })
                }));
            }
        }
        places
    }

    /// What is wrong with a window, as recorded.
    fn fault(&self, signal: &Signal, window: Stretch, scale: Scale) -> Option<Fault> {
        let segment = signal.segments.iter().rev().find(|segment| segment.start <= window.start)?;
        let index = |time: f64| (((time - segment.start) * signal.rate).round() as usize).min(segment.values.len());
        let values = &segment.values[index(window.start)..index(window.end)];
        if values.iter().any(|value| !value.is_finite()) {
            return Some(Fault::NotFinite);
        }
        let run = values.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0);
        if run as f64 >= FLAT * values.len() as f64 {
            return Some(Fault::Flat);
        }
        if let Some((low, high)) = signal.limits {
            let step = 1e-9 * (high - low);
            let samples = values.iter().filter(|&&value| value <= low + step || value >= high - step).count();
            if samples >= CLIPPED {
                return Some(Fault::Clipped { samples });
            }
        }
        let deviations = values.iter().map(|value| (value - scale.median).abs()).fold(0.0, f64::max) / scale.sd;
        (deviations > self.largest).then_some(Fault::Huge { deviations })
    }

    fn nothing_left(&self, signal: &Signal, rejected: &[Rejected]) -> String {
        match rejected.first() {
            Some(first) => format!(
                "{}: none of {} windows can be used; the first, at {} s, is {}",
                signal.origin,
                rejected.len(),
                first.start,
                first.fault
            ),
            None => format!(
                "{}: no stretch of it is as long as one window of {:.3} s ({} samples at {} Hz)",
                signal.origin,
                self.samples as f64 / self.rate,
                self.samples,
                self.rate
            ),
        }
    }
}

/// Robust location and scale of a whole signal.
#[derive(Clone, Copy)]
struct Scale {
    median: f64,
    sd: f64,
}

impl Scale {
    fn of(signal: &Signal) -> Self {
        let values = signal.segments.iter().flat_map(|segment| segment.values.iter().copied());
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let median = middle(finite.clone());
        Self { median, sd: ROBUST_SD * middle(finite.iter().map(|value| (value - median).abs()).collect()) }
    }
}

/// The median (the upper one of two); 0 of nothing.
fn middle(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let place = values.len() / 2;
    *values.select_nth_unstable_by(place, f64::total_cmp).1
}
