//! The samples of one channel.

use crate::units::millivolts;
use crate::{RecordingError, Result};

/// Samples without a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Seconds from the recording's start to the first sample.
    pub start: f64,
    /// Samples, in the signal's unit.
    pub values: Vec<f64>,
}

/// The samples of one channel in physical units.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Where it comes from, for errors: a file, or a file and a channel.
    pub origin: String,
    /// Unit of the values.
    pub unit: String,
    /// Samples per second, Hz.
    pub rate: f64,
    /// Smallest and largest value that could be recorded, where that is known.
    pub limits: Option<(f64, f64)>,
    /// Segments in the order of time.
    pub segments: Vec<Segment>,
}

impl Signal {
    /// A signal without gaps that starts at 0 s, such as a column of a table.
    pub fn continuous(origin: impl Into<String>, values: Vec<f64>, rate: f64, unit: impl Into<String>) -> Self {
        let segments = vec![Segment { start: 0.0, values }];
        Self { origin: origin.into(), unit: unit.into(), rate, limits: None, segments }
    }

    /// The same signal in mV; `unit` goes before what the file says.
    ///
    /// # Errors
    /// [`RecordingError::Selection`] when the unit is none of V, mV, µV, nV.
    pub fn in_millivolts(mut self, unit: Option<&str>) -> Result<Self> {
        let unit = unit.unwrap_or(&self.unit);
        let factor = millivolts(unit).ok_or_else(|| RecordingError::Selection {
            field: "unit",
            message: format!("{}: {unit:?} is no unit of voltage; give V, mV, uV or nV", self.origin),
        })?;
        self.segments.iter_mut().flat_map(|segment| &mut segment.values).for_each(|value| *value *= factor);
        self.limits = self.limits.map(|(low, high)| (low * factor, high * factor));
        self.unit = "mV".into();
        Ok(self)
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.segments.iter().map(|segment| segment.values.len()).sum()
    }
}
