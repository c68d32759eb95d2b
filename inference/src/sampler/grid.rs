//! Time grids.

use crate::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Named};

/// The diffusion times between which a sampler works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// First time, at most 1.
    pub start: f64,
    /// Last time above zero, for samplers and grids that do not go to t = 0 uniformly: what remains from there is noise that is
    /// small beside the posterior's standard deviations.
    pub end: f64,
}

impl Span {
    /// From t = 1 to the time at which the noise ratio √(v/α) is `end_noise`.
    pub fn whole(schedule: &dyn NoiseSchedule, end_noise: f64) -> Self {
        Self { start: 1.0, end: schedule.time_of_half_log_snr(-end_noise.ln()) }
    }
}

/// How times are spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// Uniform in t, down to t = 0 (the paper).
    #[default]
    Time,
    /// Uniform in λ = ½ log(α/v) from start to end, then t = 0: as much care at small noise as at large.
    LogSnr,
}

impl Named for Grid {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("time", "Uniform in t (the paper)", Self::Time),
            Choice::new("log-snr", "Uniform in the logarithm of the signal-to-noise ratio", Self::LogSnr),
        ]
    }
}

impl Grid {
    /// `steps` + 1 falling times from `span.start` to 0.
    pub fn times(self, span: Span, steps: usize, schedule: &dyn NoiseSchedule) -> Vec<f64> {
        match self {
            Self::Time => (0..=steps).map(|i| span.start * ((steps - i) as f64 / steps as f64)).collect(),
            Self::LogSnr => {
                let mut times = half_log_snr_times(span, steps.saturating_sub(1), schedule);
                times.push(0.0);
                times
            }
        }
    }
}

/// `steps` + 1 falling times from start to end, uniform in λ.
pub fn half_log_snr_times(span: Span, steps: usize, schedule: &dyn NoiseSchedule) -> Vec<f64> {
    let (first, last) = (schedule.half_log_snr(span.start), schedule.half_log_snr(span.end));
    let mut times: Vec<f64> = (0..=steps)
        .map(|i| schedule.time_of_half_log_snr(first + (last - first) * i as f64 / steps.max(1) as f64))
        .collect();
    times[0] = span.start;
    times
}

/// `steps` + 1 falling times from start to end with σ^{1/ρ} uniform, σ = √(v/α) (Karras et al. 2022, eq. 5).
pub fn karras_times(span: Span, steps: usize, rho: f64, schedule: &dyn NoiseSchedule) -> Vec<f64> {
    let root = |t: f64| (-schedule.half_log_snr(t) / rho).exp();
    let (first, last) = (root(span.start), root(span.end));
    let mut times: Vec<f64> = (0..=steps)
        .map(|i| {
            let root = first + (last - first) * i as f64 / steps.max(1) as f64;
            schedule.time_of_half_log_snr(-rho * root.ln())
        })
        .collect();
    times[0] = span.start;
    times
}
