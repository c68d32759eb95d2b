//! Adam, gradient clipping and the exponential moving average, on flat parameter vectors.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::kernels::level::dispatch;
use crate::kernels::optimiser::{AdamUpdate, MoveTowards, Scale, SumOfSquares};
use crate::real::Real;

/// Parameters a thread handles at a time: 64 KiB of f32 a vector, well above the cost of handing out a task. Networks
/// that fit in one such range never touch the thread pool.
pub(crate) const RANGE: usize = 16_384;

/// Hyper-parameters of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSettings {
    /// Decay of the mean gradient, in [0, 1). Default 0.9.
    pub beta1: f64,
    /// Decay of the mean squared gradient, in [0, 1). Default 0.999.
    pub beta2: f64,
    /// Added to the root of the mean square, > 0. Default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay w (AdamW), ≥ 0: every step multiplies parameters by 1 - learning rate · w. Default 0.
    pub weight_decay: f64,
    /// L2 penalty c, ≥ 0: c · parameters is added to the gradient. Default 0.
    pub l2_penalty: f64,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, l2_penalty: 0.0 }
    }
}

impl AdamSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] naming the first setting outside its range.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let unit = |value: f64| (0.0..1.0).contains(&value);
        let nonnegative = |value: f64| value >= 0.0 && value.is_finite();
        for (name, value, valid, requirement) in [
            ("beta1", self.beta1, unit(self.beta1), "must lie in [0, 1)"),
            ("beta2", self.beta2, unit(self.beta2), "must lie in [0, 1)"),
            ("epsilon", self.epsilon, self.epsilon > 0.0 && self.epsilon.is_finite(), "must be positive"),
            ("weight_decay", self.weight_decay, nonnegative(self.weight_decay), "must be finite and not negative"),
            ("l2_penalty", self.l2_penalty, nonnegative(self.l2_penalty), "must be finite and not negative"),
        ] {
            if !valid {
                return Err(NetworkError::InvalidSetting { name, value: value.to_string(), requirement });
            }
        }
        Ok(())
    }
}

/// Adam (Kingma and Ba 2015) with optional decoupled weight decay (Loshchilov and Hutter 2019).
///
/// With gradient g (plus the L2 penalty's): m ← β₁ m + (1-β₁) g, v ← β₂ v + (1-β₂) g²,
/// θ ← (1 - η w) θ - η m̂ / (√v̂ + ε), where m̂ = m/(1-β₁ˢ), v̂ = v/(1-β₂ˢ) at step s. Serialises to a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Real")]
pub struct Adam<T> {
    settings: AdamSettings,
    step: u64,
    first: Vec<T>,
    second: Vec<T>,
}

impl<T: Real> Adam<T> {
    /// A fresh state for `parameters` parameters.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] when a setting is outside its range.
    pub fn new(settings: AdamSettings, parameters: usize) -> Result<Self, NetworkError> {
        settings.validate()?;
        Ok(Self { settings, step: 0, first: vec![T::ZERO; parameters], second: vec![T::ZERO; parameters] })
    }

    /// Number of parameters it was made for: 0, which no network has, where its moments are of different lengths.
    pub fn parameter_count(&self) -> usize {
        if self.first.len() == self.second.len() { self.first.len() } else { 0 }
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Moves `parameters` one step along `gradient` with the given learning rate.
    pub fn update(&mut self, parameters: &mut [T], gradient: &[T], learning_rate: f64) {
        assert_eq!(parameters.len(), self.first.len(), "the optimiser was made for another network");
        assert_eq!(parameters.len(), gradient.len(), "gradient has another length than the parameters");
        self.step += 1;
        let step = AdamStep { settings: &self.settings, step: self.step, learning_rate };
        let update = |(((parameters, gradient), first), second): Ranges<'_, T>| {
            step.apply(parameters, gradient, first, second);
        };
        if parameters.len() <= RANGE {
            update((((parameters, gradient), &mut self.first), &mut self.second));
        } else {
            parameters
                .par_chunks_mut(RANGE)
                .zip(gradient.par_chunks(RANGE))
                .zip(self.first.par_chunks_mut(RANGE))
                .zip(self.second.par_chunks_mut(RANGE))
                .for_each(update);
        }
    }
}

/// What all parameters of a step share.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep<'a> {
    pub(crate) settings: &'a AdamSettings,
    /// Its number, from 1.
    pub(crate) step: u64,
    pub(crate) learning_rate: f64,
}

impl AdamStep<'_> {
    /// Moves a range of parameters with their moments.
    pub(crate) fn apply<T: Real>(self, parameters: &mut [T], gradient: &[T], first: &mut [T], second: &mut [T]) {
        let AdamSettings { beta1, beta2, epsilon, weight_decay, l2_penalty } = *self.settings;
        let steps = self.step as f64;
        AdamUpdate {
            parameters,
            gradient,
            first,
            second,
            beta1: T::from_f64(beta1),
            beta2: T::from_f64(beta2),
            step_size: T::from_f64(self.learning_rate / (1.0 - beta1.powf(steps))),
            second_scale: T::from_f64(1.0 / (1.0 - beta2.powf(steps)).sqrt()),
            epsilon: T::from_f64(epsilon),
            shrink: T::from_f64(1.0 - self.learning_rate * weight_decay),
            l2_penalty: T::from_f64(l2_penalty),
        }
        .run();
    }
}

type Ranges<'a, T> = (((&'a mut [T], &'a [T]), &'a mut [T]), &'a mut [T]);

/// Scales `gradient` down to Euclidean norm `max_norm` if it is longer; returns the norm before.
///
/// A norm that is not finite is returned and the gradient left alone: the caller should stop. The sum runs in double
/// precision over fixed ranges, so the result does not depend on the number of threads.
pub fn clip_global_norm<T: Real>(gradient: &mut [T], max_norm: f64) -> f64 {
    let norm = if gradient.len() <= RANGE {
        dispatch(SumOfSquares(gradient))
    } else {
        let parts: Vec<f64> = gradient.par_chunks(RANGE).map(|range| dispatch(SumOfSquares(range))).collect();
        parts.iter().sum()
    }
    .sqrt();
    if norm.is_finite() && norm > max_norm {
        let factor = T::from_f64(max_norm / norm);
        if gradient.len() <= RANGE {
            dispatch(Scale { values: gradient, factor });
        } else {
            gradient.par_chunks_mut(RANGE).for_each(|values| dispatch(Scale { values, factor }));
        }
    }
    norm
}

/// Hyper-parameters of [`Ema`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaSettings {
    /// Weight of the past, in [0, 1). Default 0.999.
    pub decay: f64,
    /// Limit the decay at update s = 0, 1, .. to (1+s)/(10+s), so that the start is forgotten sooner. Default false.
    pub warm_up: bool,
}

impl Default for EmaSettings {
    fn default() -> Self {
        Self { decay: 0.999, warm_up: false }
    }
}

/// Exponential moving average of the parameters: a ← d a + (1-d) θ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Real")]
pub struct Ema<T> {
    settings: EmaSettings,
    step: u64,
    average: Vec<T>,
}

impl<T: Real> Ema<T> {
    /// An average that starts at `parameters`.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] when the decay is outside [0, 1).
    pub fn new(settings: EmaSettings, parameters: &[T]) -> Result<Self, NetworkError> {
        if !(0.0..1.0).contains(&settings.decay) {
            return Err(NetworkError::InvalidSetting {
                name: "decay",
                value: settings.decay.to_string(),
                requirement: "must lie in [0, 1)",
            });
        }
        Ok(Self { settings, step: 0, average: parameters.to_vec() })
    }

    /// Takes in the parameters after an optimiser step.
    pub fn update(&mut self, parameters: &[T]) {
        assert_eq!(parameters.len(), self.average.len(), "the average was made for another network");
        let step = self.step as f64;
        let warm = if self.settings.warm_up { (1.0 + step) / (10.0 + step) } else { 1.0 };
        let weight = T::from_f64(1.0 - self.settings.decay.min(warm));
        self.step += 1;
        if parameters.len() <= RANGE {
            dispatch(MoveTowards { average: &mut self.average, values: parameters, weight });
        } else {
            self.average
                .par_chunks_mut(RANGE)
                .zip(parameters.par_chunks(RANGE))
                .for_each(|(average, values)| dispatch(MoveTowards { average, values, weight }));
        }
    }

    /// The averaged parameters.
    pub fn average(&self) -> &[T] {
        &self.average
    }
}
