//! How one network is optimised, and among which ways is chosen.

use crate::{InferenceError, Result};
use serde::{Deserialize, Deserializer, Serialize};
use tallsbi_network::ScheduleShape;

/// How gradients become steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Adam (Kingma and Ba 2015), each parameter by itself.
    #[default]
    Adam,
    /// Adam in the eigenbases of each weight matrix's gradients (SOAP, Vyas et al. 2024): a step costs more, and far fewer are needed.
    Soap,
}

/// Rows of the smallest batches that [`OptimizerOptions::min_batches`] makes: half as many take as long.
const SMALLEST_BATCH: usize = 32;

/// Most epochs, and most rows of a batch.
const MAX_EPOCHS: usize = 10_000_000;
const MAX_BATCH: usize = 1_000_000_000;

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Optimisation of one network.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `algorithm` | adam | how gradients become steps: adam or soap | |
/// | `epochs` | 300 | passes over the training rows, at most | ≥ 1 |
/// | `min_steps` | 0 | more epochs where that many steps take more | ≥ 0 |
/// | `patience` | 100 | epochs without a better validation loss before stopping early | ≥ 1 |
/// | `batch_size` | 256 | rows a step | ≥ 1 |
/// | `min_batches` | 0 | smaller batches, of 32 rows at least, where an epoch has fewer steps than that | ≥ 0 |
/// | `learning_rate` | 1e-3 | after warm-up | > 0 |
/// | `schedule` | cosine | course of the learning rate | |
/// | `warm_up_epochs` | 1 | linear rise of the learning rate | |
/// | `weight_decay` | 0 | decoupled (AdamW) | ≥ 0 |
/// | `max_gradient_norm` | 5 | the gradient is scaled down to this norm | > 0 |
/// | `ema_decay` | 0.999 | exponential moving average of the weights, which is what is validated and kept | \[0, 1) |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerOptions {
    /// How gradients become steps.
    pub algorithm: Algorithm,
    /// Largest number of epochs.
    pub epochs: usize,
    /// Where so many epochs have fewer steps than this, as few rows have, there are as many as it takes.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_steps: usize,
    /// Epochs without improvement before stopping.
    pub patience: usize,
    /// Rows a step.
    pub batch_size: usize,
    /// Where an epoch has fewer steps than this, as with few rows, batches are smaller, but of 32 rows at least.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_batches: usize,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub schedule: ScheduleShape,
    /// Epochs of linear rise.
    pub warm_up_epochs: usize,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradient norm above which it is scaled down.
    pub max_gradient_norm: f64,
    /// Decay of the weights' moving average.
    pub ema_decay: f64,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Adam,
            epochs: 300,
            min_steps: 0,
            patience: 100,
            batch_size: 256,
            min_batches: 0,
            learning_rate: 1e-3,
            schedule: ScheduleShape::Cosine,
            warm_up_epochs: 1,
            weight_decay: 0.0,
            max_gradient_norm: 5.0,
            ema_decay: 0.999,
        }
    }
}

/// What a file gives of an optimisation: what it leaves out is what that network has by default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    algorithm: Option<Algorithm>,
    epochs: Option<usize>,
    min_steps: Option<usize>,
    patience: Option<usize>,
    batch_size: Option<usize>,
    min_batches: Option<usize>,
    learning_rate: Option<f64>,
    schedule: Option<ScheduleShape>,
    warm_up_epochs: Option<usize>,
    weight_decay: Option<f64>,
    max_gradient_norm: Option<f64>,
    ema_decay: Option<f64>,
}

impl OptimizerOptions {
    /// This many epochs, neither more nor fewer where rows are few.
    pub fn set_epochs(&mut self, epochs: usize) {
        (self.epochs, self.min_steps) = (epochs, 0);
    }

    /// Batches of this many rows, however few there are.
    pub fn set_batch_size(&mut self, batch_size: usize) {
        (self.batch_size, self.min_batches) = (batch_size, 0);
    }

    /// Reads what is given in place of `self`.
    pub(super) fn overridden<'de, D: Deserializer<'de>>(
        mut self,
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        let given = Given::deserialize(deserializer)?;
        if let Some(epochs) = given.epochs {
            self.set_epochs(epochs);
        }
        if let Some(batch_size) = given.batch_size {
            self.set_batch_size(batch_size);
        }
        Ok(Self {
            epochs: self.epochs,
            algorithm: given.algorithm.unwrap_or(self.algorithm),
            min_steps: given.min_steps.unwrap_or(self.min_steps),
            patience: given.patience.unwrap_or(self.patience),
            batch_size: self.batch_size,
            min_batches: given.min_batches.unwrap_or(self.min_batches),
            learning_rate: given.learning_rate.unwrap_or(self.learning_rate),
            schedule: given.schedule.unwrap_or(self.schedule),
            warm_up_epochs: given.warm_up_epochs.unwrap_or(self.warm_up_epochs),
            weight_decay: given.weight_decay.unwrap_or(self.weight_decay),
            max_gradient_norm: given.max_gradient_norm.unwrap_or(self.max_gradient_norm),
            ema_decay: given.ema_decay.unwrap_or(self.ema_decay),
        })
    }

    /// Rows of a batch of `rows` rows.
    pub(super) fn batch_of(&self, rows: usize) -> usize {
        let most = rows.checked_div(self.min_batches).unwrap_or(rows).max(SMALLEST_BATCH);
        self.batch_size.min(most).min(rows).max(1)
    }

    /// Epochs over `rows` rows.
    pub(super) fn epochs_of(&self, rows: usize) -> usize {
        let steps = rows / self.batch_of(rows);
        self.epochs.max(self.min_steps.div_ceil(steps.max(1)))
    }

    pub(super) fn validate(&self) -> Result<()> {
        let at_least_one = [("epochs", self.epochs), ("patience", self.patience), ("batch_size", self.batch_size)];
        for (option, value) in at_least_one {
            if value == 0 {
                return Err(InferenceError::Option { option, message: "must be at least 1".into() });
            }
        }
        for (option, value) in [
            ("epochs", self.epochs),
            ("patience", self.patience),
            ("min_steps", self.min_steps),
            ("min_batches", self.min_batches),
            ("warm_up_epochs", self.warm_up_epochs),
        ] {
            if value > MAX_EPOCHS {
                let message = format!("must be at most {MAX_EPOCHS}: more never end, got {value}");
                return Err(InferenceError::Option { option, message });
            }
        }
        if self.batch_size > MAX_BATCH {
            let message = format!("must be at most {MAX_BATCH} to fit into memory, got {}", self.batch_size);
            return Err(InferenceError::Option { option: "batch_size", message });
        }
        let positive = [("learning_rate", self.learning_rate), ("max_gradient_norm", self.max_gradient_norm)];
        for (option, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                let message = format!("must be positive and finite, got {value}");
                return Err(InferenceError::Option { option, message });
            }
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            let message = format!("must lie in [0, 1), got {}", self.ema_decay);
            return Err(InferenceError::Option { option: "ema_decay", message });
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            let message = format!("must not be negative, got {}", self.weight_decay);
            return Err(InferenceError::Option { option: "weight_decay", message });
        }
        Ok(())
    }
}

/// Learning rates and batch sizes to choose among by validation loss (paper App. F trains several models and keeps the best).
///
/// An empty list stands for the optimiser's own value. Every combination trains a network from the same initial weights; the cost
/// is their number, on as many threads. Members of a likelihood beyond the first are trained with the chosen combination.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchOptions {
    /// Learning rates, each > 0.
    pub learning_rates: Vec<f64>,
    /// Rows a step, each ≥ 1.
    pub batch_sizes: Vec<usize>,
}

impl SearchOptions {
    /// Every combination as an optimiser, and what it adds to a network's name: nothing where there is no choice.
    pub fn variants<'a>(
        &'a self,
        optimizer: &'a OptimizerOptions,
    ) -> impl Iterator<Item = (String, OptimizerOptions)> + 'a {
        let or_own = |count: usize| 0..count.max(1);
        or_own(self.learning_rates.len()).flat_map(move |rate| {
            or_own(self.batch_sizes.len()).map(move |batch| {
                let mut variant = optimizer.clone();
                let mut name = String::new();
                if let Some(&rate) = self.learning_rates.get(rate) {
                    variant.learning_rate = rate;
                    name += &format!(", learning rate {rate}");
                }
                if let Some(&batch) = self.batch_sizes.get(batch) {
                    variant.set_batch_size(batch);
                    name += &format!(", batches of {batch}");
                }
                (name, variant)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrainOptions;

    #[test]
    fn files_change_what_they_name() {
        let read = |text: &str| serde_json::from_str::<TrainOptions>(text).map_err(|error| error.to_string());
        let usual = TrainOptions::default();
        let given =
            read(r#"{"likelihood":{"optimizer":{"learning_rate":0.01}},"anchor":{"optimizer":{"patience":7}}}"#)
                .unwrap();
        let mut expected = usual.clone();
        expected.likelihood.optimizer.learning_rate = 0.01;
        expected.anchor.optimizer.patience = 7;
        assert_eq!(given, expected);
        // Epochs that are asked for are neither more nor fewer.
        let given = read(r#"{"likelihood":{"optimizer":{"epochs":3}}}"#).unwrap().likelihood.optimizer;
        assert!(usual.likelihood.optimizer.epochs_of(640) > 100 && given.epochs_of(640) == 3, "{given:?}");
        assert_eq!(usual.likelihood.optimizer.epochs_of(27_000), 40);
        // Batches that are asked for are neither larger nor smaller.
        assert_eq!([27_000, 2700, 600].map(|rows| usual.likelihood.optimizer.batch_of(rows)), [128, 42, 32]);
        let given = read(r#"{"likelihood":{"optimizer":{"batch_size":100}}}"#).unwrap().likelihood.optimizer;
        assert_eq!([27_000, 2700, 60].map(|rows| given.batch_of(rows)), [100, 100, 60]);
        let error = read(r#"{"likelihood":{"optimizer":{"epoch":3}}}"#).unwrap_err();
        assert!(error.contains("epoch"), "{error}");
        let written = serde_json::to_string(&usual).unwrap();
        assert_eq!(read(&written).unwrap(), usual);
    }
}
