//! Summary of a signal by its power spectral density: log10 of the averaged periodogram.
//!
//! |rfft|² averaged over segments of 65 samples (no taper, no normalisation) that start every 32 samples: 33 bins from 0 to
//! half the sampling rate (the summary of the paper's App. J). The signal's mean is removed before.

use crate::SimulatorError;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Samples per segment.
pub const SEGMENT: usize = 65;
/// Samples from the start of one segment to the start of the next.
pub const HOP: usize = SEGMENT / 2;
/// Frequency bins.
pub const BINS: usize = SEGMENT / 2 + 1;

/// Computes spectra; cheap to clone, with buffers of its own.
#[derive(Clone)]
pub struct PowerSpectrum {
    transform: Arc<dyn RealToComplex<f64>>,
    segment: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

impl Default for PowerSpectrum {
    fn default() -> Self {
        Self::new()
    }
}

impl PowerSpectrum {
    /// Plans the transform.
    pub fn new() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(SEGMENT);
        Self {
            segment: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
        }
    }

    /// log10 of the averaged periodogram of `signal` into `log_power` ([`BINS`] values, 0 Hz first).
    ///
    /// # Errors
    /// [`SimulatorError::Shape`] when the signal is shorter than a segment or `log_power` is not [`BINS`] long.
    pub fn log10_power(&mut self, signal: &[f64], log_power: &mut [f64]) -> Result<(), SimulatorError> {
        let shape = |what, expected, found| Err(SimulatorError::Shape { task: "jrnmm".into(), what, expected, found });
        if signal.len() < SEGMENT {
            return shape("a signal", SEGMENT, signal.len());
        }
        if log_power.len() != BINS {
            return shape("a power spectrum", BINS, log_power.len());
        }
        log_power.fill(0.0);
        let mut segments = 0;
        for start in (0..=signal.len() - SEGMENT).step_by(HOP) {
            self.segment.copy_from_slice(&signal[start..start + SEGMENT]);
            self.transform
                .process_with_scratch(&mut self.segment, &mut self.spectrum, &mut self.scratch)
                .map_err(|error| SimulatorError::Failed(error.to_string()))?;
            log_power.iter_mut().zip(&self.spectrum).for_each(|(sum, value)| *sum += value.norm_sqr());
            segments += 1;
        }
        log_power.iter_mut().for_each(|sum| *sum = (*sum / f64::from(segments)).log10());
        Ok(())
    }
}
