//! What a denoising network sees and should answer: a state, a time variable and a target, for one row and noise level.

use super::options::NoiseLevels;
use crate::model::anchored::{Anchor, AnchoredSettings, Anchors};
use crate::model::noise::NoiseSettings;
use crate::schedule::NoiseSchedule;

/// How a row is noised.
#[derive(Debug)]
pub enum Noising {
    /// State θ_t = √α θ_0 + √v z, time t, target z (paper (49), its typo corrected).
    Noise {
        /// Schedule.
        settings: NoiseSettings,
        /// Distribution of t.
        levels: NoiseLevels,
        /// Range of noise ratios for log-uniform levels.
        range: AnchoredSettings,
    },
    /// State r = C^{-1/2}(θ_t - √α μ), time log √(v/α), target (C/v)^{1/2}(u_0 - û_G); see [`crate::model::anchored`].
    Anchored {
        /// Schedule and noise range.
        settings: AnchoredSettings,
        /// The Gaussians of all observations of the training set.
        anchors: Anchors,
    },
}

impl Noising {
    /// Writes state and target for θ_0 = `latent`, its observation number `observation` (among all), a noise level in
    /// \[0, 1) and the noise `z`; returns the time variable.
    pub fn example(
        &self,
        latent: &[f32],
        observation: usize,
        (level, z): (f64, &[f64]),
        scratch: &mut Scratch,
        state: &mut [f32],
        target: &mut [f32],
    ) -> f64 {
        match self {
            Self::Noise { settings, levels, range } => {
                let t = match levels {
                    NoiseLevels::UniformTime => level,
                    NoiseLevels::LogUniform => settings.schedule.time_of_half_log_snr(-log_noise_ratio(range, level)),
                };
                let (signal, noise) = (settings.schedule.signal_scale(t), settings.schedule.noise_scale(t));
                for i in 0..z.len() {
                    state[i] = (signal * f64::from(latent[i]) + noise * z[i]) as f32;
                    target[i] = z[i] as f32;
                }
                t
            }
            Self::Anchored { settings, anchors } => {
                let log_ratio = log_noise_ratio(settings, level);
                let anchor = anchors.get(observation, z.len());
                anchored_example(anchor, log_ratio, (latent, z), scratch, state, target);
                settings.time_variable(log_ratio.exp())
            }
        }
    }
}

/// log √(v/α) at `level` ∈ \[0, 1) of the range.
fn log_noise_ratio(range: &AnchoredSettings, level: f64) -> f64 {
    let low = range.min_noise.ln();
    low + level * (range.max_noise.ln() - low)
}

/// With ratio q = √(v/α) everything depends on λ and q only: in the eigenbasis, with w = Vᵀ(θ_0 - μ) and ζ = Vᵀ z,
/// r = (w + qζ)/√(λ+q²) and the target is √((λ+q²)/q²)(w/√λ - √λ (w + qζ)/(λ+q²)) = (q w/√λ - √λ ζ)/√(λ+q²).
fn anchored_example(
    anchor: Anchor<'_>,
    log_ratio: f64,
    (latent, z): (&[f32], &[f64]),
    scratch: &mut Scratch,
    state: &mut [f32],
    target: &mut [f32],
) {
    let m = z.len();
    let q = log_ratio.exp();
    let [y, w, zeta] = scratch.buffers(m);
    for i in 0..m {
        y[i] = f64::from(latent[i]) - anchor.mean[i];
    }
    anchor.rotate(y, w);
    anchor.rotate(z, zeta);
    for i in 0..m {
        let lambda = anchor.eigenvalues[i];
        let scale = 1.0 / (lambda + q * q).sqrt();
        let residual = (w[i] + q * zeta[i]) * scale;
        zeta[i] = (q * w[i] / lambda.sqrt() - lambda.sqrt() * zeta[i]) * scale;
        w[i] = residual;
    }
    anchor.rotate_back(w, y);
    state.iter_mut().zip(&*y).for_each(|(out, &value)| *out = value as f32);
    anchor.rotate_back(zeta, y);
    target.iter_mut().zip(&*y).for_each(|(out, &value)| *out = value as f32);
}

/// Three vectors of m numbers, kept between rows.
#[derive(Debug, Default)]
pub struct Scratch([Vec<f64>; 3]);

impl Scratch {
    fn buffers(&mut self, m: usize) -> [&mut [f64]; 3] {
        self.0.each_mut().map(|buffer| {
            buffer.resize(m, 0.0);
            buffer.as_mut_slice()
        })
    }
}
