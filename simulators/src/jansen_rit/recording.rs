//! What is recorded of a simulated signal, and the solver that simulates it.

use crate::{Result, SimulatorError};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Named};

/// Solver of the stochastic differential equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Euler–Maruyama, weak order 1: at h = 1/1024 s its log10 power is visibly off, see [`crate::jansen_rit`].
    EulerMaruyama,
    /// Strang splitting (Buckwar et al. 2019), weak order 2: what the published JRNMM observations were simulated with.
    #[default]
    Strang,
}

impl Named for Solver {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("euler-maruyama", "Weak order 1", Self::EulerMaruyama),
            Choice::new("strang", "Strang splitting, weak order 2", Self::Strang),
        ]
    }
}

/// What an observation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// log10 of the averaged periodogram, 33 bins.
    #[default]
    Psd,
    /// The signal itself, mean removed.
    Signal,
}

impl Named for Output {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("psd", "log10 of the power spectral density, 33 bins", Self::Psd),
            Choice::new("signal", "The signal itself", Self::Signal),
        ]
    }
}

/// How a signal is simulated and recorded. The default is the paper's: 2 s burn-in, 8 s recorded at 128 Hz.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `step` | 1/1024 s | time step | > 0; the sampling interval is a multiple of it; Euler–Maruyama needs ≤ 0.01 s |
/// | `burn_in` | 2 s | time discarded first | ≥ 0 |
/// | `duration` | 8 s | time recorded | at least one sample; 65 samples for `psd` |
/// | `sampling_rate` | 128 Hz | recorded samples per second | > 0 |
/// | `output` | `psd` | what an observation is | `psd`, `signal` |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// Time step h, s.
    pub step: f64,
    /// Time discarded before recording, s.
    pub burn_in: f64,
    /// Time recorded, s.
    pub duration: f64,
    /// Recorded samples per second, Hz.
    pub sampling_rate: f64,
    /// What an observation is.
    pub output: Output,
}

impl Default for Recording {
    fn default() -> Self {
        Self { step: 1.0 / 1024.0, burn_in: 2.0, duration: 8.0, sampling_rate: 128.0, output: Output::Psd }
    }
}

/// A recording in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Steps before the first sample.
    pub burn_in: usize,
    /// Steps from one sample to the next.
    pub stride: usize,
    /// Samples recorded.
    pub samples: usize,
}

/// Steps beyond which a recording is surely a mistake: a thousand times the paper's.
const MAX_STEPS: f64 = 1e7;
/// Largest a h at which Euler–Maruyama is stable (|1 - a h| < 1, with a factor 2 to spare for accuracy).
const MAX_EULER_STEP: f64 = 1.0 / super::model::RATE_A;

impl Recording {
    /// Checks the recording for `solver`.
    ///
    /// # Errors
    /// [`SimulatorError::Option`] naming the first field that cannot be.
    pub fn validate(&self, solver: Solver) -> Result<()> {
        self.schedule(solver).map(|_| ())
    }

    pub(super) fn schedule(&self, solver: Solver) -> Result<Schedule> {
        let fail = |message: String| Err(SimulatorError::Option { task: "jrnmm".into(), message });
        let Self { step, burn_in, duration, sampling_rate, output } = *self;
        for (name, value) in [("step", step), ("duration", duration), ("sampling_rate", sampling_rate)] {
            if !(value.is_finite() && value > 0.0) {
                return fail(format!("{name} must be a positive number, got {value}"));
            }
        }
        if !(burn_in.is_finite() && burn_in >= 0.0) {
            return fail(format!("burn_in must not be negative, got {burn_in}"));
        }
        if solver == Solver::EulerMaruyama && step > MAX_EULER_STEP {
            return fail(format!(
                "step {step} s makes euler-maruyama unstable; give at most {MAX_EULER_STEP} s or use strang"
            ));
        }
        if (burn_in + duration) / step > MAX_STEPS {
            return fail(format!("{burn_in} s + {duration} s in steps of {step} s are more than {MAX_STEPS:e} steps"));
        }
        let stride = 1.0 / (sampling_rate * step);
        if stride < 0.5 || (stride - stride.round()).abs() > 1e-6 * stride {
            return fail(format!(
                "the sampling interval 1/{sampling_rate} s must be a multiple of the step {step} s, it is {stride} steps"
            ));
        }
        let samples = (duration * sampling_rate).round() as usize;
        let needed = if output == Output::Psd { super::spectrum::SEGMENT } else { 1 };
        if samples < needed {
            return fail(format!(
                "duration {duration} s at {sampling_rate} Hz are {samples} samples, {needed} are needed"
            ));
        }
        Ok(Schedule { burn_in: (burn_in / step).round() as usize, stride: stride.round() as usize, samples })
    }
}
