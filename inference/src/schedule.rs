//! The forward (noising) process: q(θ_t | θ_0) = N(√α_t θ_0, v_t I), v_t = 1 - α_t (variance preserving, paper Sec. 2.1).
//!
//! Naming: [`alpha`](NoiseSchedule::alpha) is the *squared* signal scale. √α and √v are
//! [`signal_scale`](NoiseSchedule::signal_scale) and [`noise_scale`](NoiseSchedule::noise_scale).

use serde::{Deserialize, Serialize};

/// A variance-preserving noise schedule on t ∈ [0, 1]; 0 is data, 1 is noise.
pub trait NoiseSchedule: Send + Sync {
    /// α_t, the squared signal scale.
    fn alpha(&self, t: f64) -> f64;

    /// v_t = 1 - α_t, without cancellation near t = 0.
    fn variance(&self, t: f64) -> f64;

    /// β(t) = -d log α / dt.
    fn beta(&self, t: f64) -> f64;

    /// The time at which ½ log(α/v) equals `half_log_snr`.
    fn time_of_half_log_snr(&self, half_log_snr: f64) -> f64;

    /// √α_t.
    fn signal_scale(&self, t: f64) -> f64 {
        self.alpha(t).sqrt()
    }

    /// √v_t.
    fn noise_scale(&self, t: f64) -> f64 {
        self.variance(t).sqrt()
    }

    /// λ_t = ½ log(α_t/v_t), half the log signal-to-noise ratio.
    fn half_log_snr(&self, t: f64) -> f64 {
        0.5 * (self.alpha(t) / self.variance(t)).ln()
    }
}

/// β(t) = `slope`·t, hence α_t = exp(-slope t²/2): the schedule of the paper's experiments with slope 32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearSchedule {
    /// dβ/dt.
    pub slope: f64,
}

impl Default for LinearSchedule {
    fn default() -> Self {
        Self { slope: 32.0 }
    }
}

impl NoiseSchedule for LinearSchedule {
    fn alpha(&self, t: f64) -> f64 {
        (-0.5 * self.slope * t * t).exp()
    }

    fn variance(&self, t: f64) -> f64 {
        -(-0.5 * self.slope * t * t).exp_m1()
    }

    fn beta(&self, t: f64) -> f64 {
        self.slope * t
    }

    fn time_of_half_log_snr(&self, half_log_snr: f64) -> f64 {
        // α = 1/(1 + e^{-2λ}), so -log α = log(1 + e^{-2λ}).
        let minus_log_alpha = if half_log_snr < 0.0 {
            -2.0 * half_log_snr + (2.0 * half_log_snr).exp().ln_1p()
        } else {
            (-2.0 * half_log_snr).exp().ln_1p()
        };
        (2.0 * minus_log_alpha / self.slope).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_inverts_half_log_snr() {
        let schedule = LinearSchedule::default();
        for t in [1e-5, 1e-3, 0.05, 0.3, 0.9, 1.0] {
            let back = schedule.time_of_half_log_snr(schedule.half_log_snr(t));
            assert!((back / t - 1.0).abs() < 1e-9, "{t} {back}");
            let h = 1e-4 * t;
            // log α = log(1 - v) keeps its digits near t = 0.
            let log_alpha = |t: f64| (-schedule.variance(t)).ln_1p();
            let slope = (log_alpha(t + h) - log_alpha(t - h)) / (2.0 * h);
            assert!((schedule.beta(t) + slope).abs() < 1e-6 * schedule.beta(t), "{t}");
        }
    }
}
