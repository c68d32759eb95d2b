//! Training of the multi-layer perceptron, after scikit-learn's `MLPClassifier`.
//!
//! What is as there: Glorot-uniform weights and biases, mini-batches of a fresh shuffle every epoch, Adam, the L2 penalty divided
//! by the batch size, and both stopping rules. What differs: single precision, and the random numbers.

use super::{MlpClassifierValidParams, Rows};
use crate::{DiagnosticsError, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, StreamKey};
use tallsbi_network::{Activation, Adam, AdamSettings, Mlp, MlpSpec, SmallNetwork};

/// Rows evaluated at once: small networks stay in the first-level cache.
const TILE: usize = 128;

/// Factors up to 2 multiplied before a logarithm is taken: far from overflow.
const FACTORS: usize = 512;

/// A trained multi-layer perceptron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredMlp", into = "StoredMlp")]
pub struct FittedMlp {
    network: Mlp<f32>,
    epochs: usize,
}

/// What is written to a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMlp {
    spec: MlpSpec,
    parameters: Vec<f32>,
    epochs: usize,
}

impl From<FittedMlp> for StoredMlp {
    fn from(fitted: FittedMlp) -> Self {
        Self {
            spec: fitted.network.spec().clone(),
            parameters: fitted.network.parameters().to_vec(),
            epochs: fitted.epochs,
        }
    }
}

impl TryFrom<StoredMlp> for FittedMlp {
    type Error = DiagnosticsError;

    fn try_from(stored: StoredMlp) -> Result<Self> {
        Self::from_parameters(stored.spec, stored.parameters, stored.epochs)
    }
}

impl FittedMlp {
    /// A classifier with given weights: one output, the logit of class `true`.
    ///
    /// # Errors
    /// When the definition is not of a ReLU network with one output, or the number of parameters does not fit it.
    pub fn from_parameters(spec: MlpSpec, parameters: Vec<f32>, epochs: usize) -> Result<Self> {
        SmallNetwork::new(&spec, 1).map_err(|error| failure(error.to_string()))?;
        let network = Mlp::from_parameters(spec, parameters).map_err(|error| failure(error.to_string()))?;
        Ok(Self { network, epochs })
    }

    /// Number of columns it was fitted on.
    pub fn width(&self) -> usize {
        self.network.spec().input
    }

    /// The network; its output is the logit of class `true`.
    pub fn network(&self) -> &Mlp<f32> {
        &self.network
    }

    /// Passes over the data that training took.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    pub(super) fn probabilities(&self, rows: &impl Rows, indices: &[usize]) -> Vec<f64> {
        let probability = |&logit: &f32| 1.0 / (1.0 + f64::from(-logit).exp());
        let mut evaluation = Evaluation::new(self.network.spec(), TILE).expect("checked when it was made");
        indices
            .chunks(TILE)
            .flat_map(|tile| {
                let logits = evaluation.logits(self.network.parameters(), rows, tile);
                logits.iter().map(probability).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn failure(message: String) -> DiagnosticsError {
    DiagnosticsError::Classifier { classifier: "mlp", message }
}

/// Memory to evaluate rows.
struct Evaluation {
    network: SmallNetwork,
    row: Vec<f32>,
}

impl Evaluation {
    fn new(spec: &MlpSpec, max_rows: usize) -> Result<Self> {
        let network = SmallNetwork::new(spec, max_rows).map_err(|error| failure(error.to_string()))?;
        Ok(Self { network, row: vec![0.0; spec.input] })
    }

    /// Logits of up to as many rows as it was made for.
    fn logits(&mut self, parameters: &[f32], rows: &impl Rows, indices: &[usize]) -> &[f32] {
        self.network.load(indices.len(), &mut self.row, |index, row| rows.write(indices[index], row));
        self.network.forward(parameters)
    }
}

/// Trains on the rows `indices` with labels `label(index)`.
pub(super) fn train(
    params: &MlpClassifierValidParams,
    rows: &impl Rows,
    indices: &[usize],
    label: &impl Fn(usize) -> bool,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<FittedMlp> {
    let (mut training, held_out) = split(params.validation_fraction(), indices, label, key)?;
    let mut trainer = Trainer::new(params, rows.width(), training.len(), key)?;
    let mut stopping = Stopping::new(params, trainer.parameters.len());
    let mut epochs = 0;
    while epochs < params.max_epochs() {
        monitor.check()?;
        training.shuffle(&mut key.child(Purpose::Shuffle).rng(epochs as u64));
        epochs += 1;
        let loss = trainer.epoch(rows, &training, label);
        if !loss.is_finite() {
            return Err(failure("training diverged; lower the learning rate or standardise the inputs".into()));
        }
        let score = if held_out.is_empty() { -loss } else { trainer.accuracy(rows, &held_out, label) };
        if stopping.is_over(score, &trainer.parameters) {
            break;
        }
    }
    let parameters = if held_out.is_empty() { trainer.parameters } else { stopping.best_parameters };
    FittedMlp::from_parameters(trainer.spec, parameters, epochs)
}

/// Training and held-out rows; of each class the same share is held out, at least one row.
fn split(
    fraction: f64,
    indices: &[usize],
    label: &impl Fn(usize) -> bool,
    key: StreamKey,
) -> Result<(Vec<usize>, Vec<usize>)> {
    if fraction == 0.0 {
        return Ok((indices.to_vec(), Vec::new()));
    }
    let mut rng = key.child(Purpose::Split).rng(0);
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for class in [false, true] {
        let mut members: Vec<usize> = indices.iter().copied().filter(|&index| label(index) == class).collect();
        let count = ((members.len() as f64 * fraction).round() as usize).max(1);
        if members.len() <= count {
            return Err(DiagnosticsError::TooFewSamples {
                what: "training rows of a class",
                found: members.len(),
                needed: count + 1,
            });
        }
        members.shuffle(&mut rng);
        held_out.extend_from_slice(&members[..count]);
        training.extend_from_slice(&members[count..]);
    }
    Ok((training, held_out))
}

/// When training ends, and the best weights seen.
struct Stopping {
    best: f64,
    waited: usize,
    patience: usize,
    tolerance: f64,
    keep: bool,
    best_parameters: Vec<f32>,
}

impl Stopping {
    fn new(params: &MlpClassifierValidParams, parameters: usize) -> Self {
        Self {
            best: f64::NEG_INFINITY,
            waited: 0,
            patience: params.patience(),
            tolerance: params.tolerance(),
            keep: params.validation_fraction() > 0.0,
            best_parameters: vec![0.0; if params.validation_fraction() > 0.0 { parameters } else { 0 }],
        }
    }

    /// scikit-learn's rule: over when more than `patience` epochs in a row stayed below the best score plus the tolerance.
    fn is_over(&mut self, score: f64, parameters: &[f32]) -> bool {
        self.waited = if score < self.best + self.tolerance { self.waited + 1 } else { 0 };
        if score > self.best {
            self.best = score;
            if self.keep {
                self.best_parameters.copy_from_slice(parameters);
            }
        }
        self.waited > self.patience
    }
}

/// The network in training, with all memory it needs.
struct Trainer {
    spec: MlpSpec,
    parameters: Vec<f32>,
    weights: Vec<std::ops::Range<usize>>,
    adam: Adam<f32>,
    evaluation: Evaluation,
    logit_gradient: Vec<f32>,
    gradient: Vec<f32>,
    batch_size: usize,
    learning_rate: f64,
    l2_penalty: f64,
}

impl Trainer {
    fn new(params: &MlpClassifierValidParams, width: usize, rows: usize, key: StreamKey) -> Result<Self> {
        let spec = MlpSpec::plain(width, params.hidden(width), 1, Activation::Relu);
        let layout = spec.layout();
        let mut parameters = vec![0.0; spec.parameter_count()];
        let mut rng = key.child(Purpose::Initialization).rng(0);
        for layer in &layout {
            let bound = (6.0 / (layer.input + layer.output) as f64).sqrt();
            for parameter in &mut parameters[layer.weight.start..layer.bias.end] {
                *parameter = (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32;
            }
        }
        let invalid = |error: tallsbi_network::NetworkError| failure(error.to_string());
        let batch_size = params.batch_size().min(rows);
        Ok(Self {
            weights: layout.into_iter().map(|layer| layer.weight).collect(),
            adam: Adam::new(AdamSettings::default(), parameters.len()).map_err(invalid)?,
            evaluation: Evaluation::new(&spec, batch_size)?,
            logit_gradient: vec![0.0; batch_size],
            gradient: vec![0.0; parameters.len()],
            learning_rate: params.learning_rate(),
            l2_penalty: params.l2_penalty(),
            batch_size,
            parameters,
            spec,
        })
    }

    /// One pass over the rows in the given order; returns the mean cross-entropy plus the penalty of the last weights.
    fn epoch(&mut self, rows: &impl Rows, order: &[usize], label: &impl Fn(usize) -> bool) -> f64 {
        let mut loss = 0.0;
        for batch in order.chunks(self.batch_size) {
            loss += self.step(rows, batch, label);
        }
        let squares: f64 = self
            .weights
            .iter()
            .flat_map(|range| &self.parameters[range.clone()])
            .map(|&weight| f64::from(weight) * f64::from(weight))
            .sum();
        loss / order.len() as f64 + 0.5 * self.l2_penalty * squares / self.batch_size as f64
    }

    /// One gradient step; returns the summed cross-entropy of the batch before it.
    fn step(&mut self, rows: &impl Rows, batch: &[usize], label: &impl Fn(usize) -> bool) -> f64 {
        let logits = self.evaluation.logits(&self.parameters, rows, batch);
        let logit_gradient = &mut self.logit_gradient[..batch.len()];
        let scale = 1.0 / batch.len() as f32;
        // Σ log(1 + e^-margin) with margins signed so that larger is better: the linear parts are added up, of the factors
        // 1 + e^-|margin| in [1, 2] the product is taken, and one logarithm of it every so often.
        let mut loss = 0.0;
        let mut product = 1.0f64;
        for (count, ((&index, &logit), gradient)) in batch.iter().zip(logits).zip(&mut *logit_gradient).enumerate() {
            let sign = if label(index) { 1.0 } else { -1.0 };
            let margin = sign * logit;
            let small = (-margin.abs()).exp();
            product *= 1.0 + f64::from(small);
            loss += f64::from((-margin).max(0.0));
            if count % FACTORS == FACTORS - 1 {
                loss += product.ln();
                product = 1.0;
            }
            let wrong = if margin >= 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
            *gradient = -sign * wrong * scale;
        }
        loss += product.ln();
        self.evaluation.network.backward(&self.parameters, logit_gradient, &mut self.gradient);
        let penalty = self.l2_penalty as f32 * scale;
        for range in &self.weights {
            let gradient = &mut self.gradient[range.clone()];
            for (gradient, &weight) in gradient.iter_mut().zip(&self.parameters[range.clone()]) {
                *gradient += penalty * weight;
            }
        }
        self.adam.update(&mut self.parameters, &self.gradient, self.learning_rate);
        loss
    }

    fn accuracy(&mut self, rows: &impl Rows, indices: &[usize], label: &impl Fn(usize) -> bool) -> f64 {
        let mut right = 0;
        for tile in indices.chunks(self.batch_size) {
            let logits = self.evaluation.logits(&self.parameters, rows, tile);
            right += tile.iter().zip(logits).filter(|&(&index, &logit)| (logit > 0.0) == label(index)).count();
        }
        right as f64 / indices.len() as f64
    }
}
