//! Stretches of signals.

use serde::{Deserialize, Serialize};

/// A stretch of a signal that one observation summarises as the log10 of its power spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignalWindow {
    /// Its samples.
    pub samples: usize,
    /// Samples per second, Hz.
    pub sampling_rate: f64,
}
