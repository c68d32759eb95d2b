//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

use crate::error::NetworkError;

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleShape {
    /// It stays.
    #[default]
    Constant,
    /// It follows half a cosine down to `final_fraction` (Loshchilov and Hutter 2017, without restarts).
    Cosine,
}

/// Learning rate as a function of the optimiser step: a linear rise over `warm_up_steps`, then the shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningRateSchedule {
    /// Learning rate after the warm-up, > 0. Default 1e-3.
    pub learning_rate: f64,
    /// Course after the warm-up. Default constant.
    pub shape: ScheduleShape,
    /// Steps of the linear rise: step s < `warm_up_steps` runs at learning rate · (s+1)/`warm_up_steps`. Default 0.
    pub warm_up_steps: u64,
    /// Step at which a cosine reaches its end; it stays there afterwards. Default 0, which only suits a constant rate.
    pub total_steps: u64,
    /// Fraction of the learning rate a cosine ends at, in [0, 1]. Default 0.
    pub final_fraction: f64,
}

impl Default for LearningRateSchedule {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            shape: ScheduleShape::Constant,
            warm_up_steps: 0,
            total_steps: 0,
            final_fraction: 0.0,
        }
    }
}

impl LearningRateSchedule {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] naming the first setting outside its range.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let invalid = |name, value: String, requirement| Err(NetworkError::InvalidSetting { name, value, requirement });
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return invalid("learning_rate", self.learning_rate.to_string(), "must be positive and finite");
        }
        if !(0.0..=1.0).contains(&self.final_fraction) {
            return invalid("final_fraction", self.final_fraction.to_string(), "must lie in [0, 1]");
        }
        if self.shape == ScheduleShape::Cosine && self.total_steps <= self.warm_up_steps {
            let requirement = "a cosine schedule must end after its warm-up";
            return invalid("total_steps", self.total_steps.to_string(), requirement);
        }
        Ok(())
    }

    /// Learning rate of step `step` = 0, 1, ...
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warm_up_steps {
            return self.learning_rate * (step + 1) as f64 / self.warm_up_steps as f64;
        }
        match self.shape {
            ScheduleShape::Constant => self.learning_rate,
            ScheduleShape::Cosine => {
                let length = self.total_steps.saturating_sub(self.warm_up_steps).max(1) as f64;
                let progress = ((step - self.warm_up_steps) as f64 / length).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
            }
        }
    }
}
