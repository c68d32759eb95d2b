//! What a network is: its layers and its parameters, apart from the engine that runs it.

use std::ops::Range;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::real::Real;

/// Elementwise nonlinearity of the hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(z, 0).
    Relu,
    /// z σ(z), σ the logistic function (Elfwing et al. 2018; also called swish).
    Silu,
    /// z for z ≥ 0, e^z - 1 below (Clevert et al. 2016, their α = 1).
    Elu,
    /// ½ z (1 + tanh(√(2/π) (z + 0.044715 z³))): the tanh form of Hendrycks and Gimpel (2016), PyTorch's
    /// `approximate="tanh"`; it differs from the erf form by up to 5e-4.
    Gelu,
    /// tanh z.
    Tanh,
}

/// Widest layer: sums over more numbers are of no use in f32.
pub const MAX_WIDTH: usize = 1 << 24;

/// Most parameters of a network: 16 GiB in f32.
pub const MAX_PARAMETERS: usize = 1 << 32;

/// Definition of a multi-layer perceptron.
///
/// A hidden layer is a ↦ φ(N(W a + b)) with the activation φ and, with `layer_norm`, N(u) = g ⊙ (u - mean u)/√(var u + ε) + c
/// (Ba et al. 2016; var the biased variance, ε = 1e-5 as in PyTorch, g and c learned); with `residual`, a itself is added
/// when the layer's input and output widths agree. The first layer maps out of the input space and never has a residual.
/// The last layer is linear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// Width of the input, ≥ 1.
    pub input: usize,
    /// Widths of the hidden layers, each ≥ 1; empty for a linear map.
    pub hidden: Vec<usize>,
    /// Width of the output, ≥ 1.
    pub output: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Layer normalisation before each activation.
    #[serde(default)]
    pub layer_norm: bool,
    /// Residual connections around hidden layers of equal input and output width.
    #[serde(default)]
    pub residual: bool,
}

impl MlpSpec {
    /// A network without layer normalisation and residual connections.
    pub fn plain(input: usize, hidden: impl Into<Vec<usize>>, output: usize, activation: Activation) -> Self {
        Self { input, hidden: hidden.into(), output, activation, layer_norm: false, residual: false }
    }

    /// Checks that all widths are positive, at most [`MAX_WIDTH`], and that there are at most [`MAX_PARAMETERS`] parameters.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] naming the first width that is not, or the number of parameters.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let widths = [("input", self.input), ("output", self.output)].into_iter();
        for (name, width) in widths.chain(self.hidden.iter().map(|&width| ("hidden", width))) {
            if !(1..=MAX_WIDTH).contains(&width) {
                return Err(NetworkError::InvalidSetting {
                    name,
                    value: width.to_string(),
                    requirement: "widths must be at least 1 and at most 2^24",
                });
            }
        }
        let outputs = || self.hidden.iter().copied().chain([self.output]);
        let inputs = [self.input].into_iter().chain(self.hidden.iter().copied());
        // Each product is below 2⁴⁹.
        let count = inputs.zip(outputs()).fold(0, |count: usize, (a, b)| count.saturating_add((a + 3) * b));
        if count > MAX_PARAMETERS {
            return Err(NetworkError::InvalidSetting {
                name: "parameters",
                value: count.to_string(),
                requirement: "a network has at most 2^32 parameters (16 GiB)",
            });
        }
        Ok(())
    }

    /// Where each layer's parameters lie in the flat vector.
    pub fn layout(&self) -> Vec<LayerLayout> {
        let mut offset = 0;
        let mut take = |length: usize| {
            let range = offset..offset + length;
            offset += length;
            range
        };
        let mut input = self.input;
        let widths = self.hidden.iter().copied().chain([self.output]);
        widths
            .enumerate()
            .map(|(index, output)| {
                let hidden = index < self.hidden.len();
                let layer = LayerLayout {
                    input,
                    output,
                    weight: take(input * output),
                    bias: take(output),
                    norm: (hidden && self.layer_norm).then(|| (take(output), take(output))),
                    hidden,
                    residual: hidden && self.residual && index > 0 && input == output,
                };
                input = output;
                layer
            })
            .collect()
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.layout().last().map_or(0, |layer| layer.bias.end)
    }

    /// Where the layers' weights are among the parameters, first to last.
    pub fn matrices(&self) -> Vec<MatrixPlace> {
        let place = |layer: LayerLayout| MatrixPlace { place: layer.weight, rows: layer.output, columns: layer.input };
        self.layout().into_iter().map(place).collect()
    }

    /// The widest hidden layer, 0 without one.
    pub fn widest_hidden(&self) -> usize {
        self.hidden.iter().copied().max().unwrap_or(0)
    }
}

/// Where a matrix lies among flat parameters, row-major.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixPlace {
    /// Its parameters.
    pub place: Range<usize>,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// Shape of one layer and the places of its parameters in the flat vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerLayout {
    /// Input width.
    pub input: usize,
    /// Output width.
    pub output: usize,
    /// Weight, (output, input) row-major.
    pub weight: Range<usize>,
    /// Bias, (output).
    pub bias: Range<usize>,
    /// Gain and bias of the layer norm, (output) each.
    pub norm: Option<(Range<usize>, Range<usize>)>,
    /// Whether normalisation and activation follow (all layers but the last).
    pub hidden: bool,
    /// Whether the layer's input is added to its output.
    pub residual: bool,
}

/// How the last layer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastLayer {
    /// Random like all others.
    #[default]
    Random,
    /// Weight and bias zero: the network starts as the zero function.
    Zero,
}

/// A multi-layer perceptron: definition and parameters, the latter in one flat vector.
///
/// Layer by layer the vector holds weight (output, input) row-major, bias, and with layer norm gain and bias. Gradients,
/// optimiser state and averages are vectors of the same layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp<T> {
    spec: MlpSpec,
    layout: Vec<LayerLayout>,
    parameters: Vec<T>,
}

impl<T: Real> Mlp<T> {
    /// A network with PyTorch's default initialisation: weights and biases from U(±1/√input) (Kaiming uniform with a = √5),
    /// layer-norm gains 1 and biases 0. Numbers are drawn in the order of the flat vector.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] when the definition is invalid.
    pub fn random<R: Rng + ?Sized>(spec: MlpSpec, last: LastLayer, rng: &mut R) -> Result<Self, NetworkError> {
        spec.validate()?;
        let layout = spec.layout();
        let mut parameters = vec![T::ZERO; spec.parameter_count()];
        for layer in &layout {
            if let Some((gain, _)) = &layer.norm {
                parameters[gain.clone()].fill(T::ONE);
            }
            if !layer.hidden && last == LastLayer::Zero {
                continue;
            }
            let bound = 1.0 / (layer.input as f64).sqrt();
            for parameter in &mut parameters[layer.weight.start..layer.bias.end] {
                *parameter = T::from_f64(bound * (2.0 * rng.random::<f64>() - 1.0));
            }
        }
        Ok(Self { spec, layout, parameters })
    }

    /// A network with the given flat parameter vector.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] for an invalid definition, [`NetworkError::ParameterCount`] for a vector of
    /// another length.
    pub fn from_parameters(spec: MlpSpec, parameters: Vec<T>) -> Result<Self, NetworkError> {
        spec.validate()?;
        let expected = spec.parameter_count();
        if parameters.len() != expected {
            return Err(NetworkError::ParameterCount { expected, found: parameters.len() });
        }
        Ok(Self { layout: spec.layout(), spec, parameters })
    }

    /// The definition.
    pub fn spec(&self) -> &MlpSpec {
        &self.spec
    }

    /// Shapes and parameter places of the layers, first to last.
    pub fn layers(&self) -> &[LayerLayout] {
        &self.layout
    }

    /// All parameters.
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// All parameters, to be changed in place.
    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.parameters
    }

    /// Weight of layer `index`, (output, input) row-major.
    pub fn weight(&self, index: usize) -> &[T] {
        &self.parameters[self.layout[index].weight.clone()]
    }

    /// Bias of layer `index`.
    pub fn bias(&self, index: usize) -> &[T] {
        &self.parameters[self.layout[index].bias.clone()]
    }

    /// Gain and bias of the layer norm of layer `index`, if it has one.
    pub fn norm(&self, index: usize) -> Option<(&[T], &[T])> {
        let (gain, bias) = self.layout[index].norm.clone()?;
        Some((&self.parameters[gain], &self.parameters[bias]))
    }

    /// The same network in another number type (each parameter rounded to nearest).
    pub fn cast<U: Real>(&self) -> Mlp<U> {
        Mlp {
            spec: self.spec.clone(),
            layout: self.layout.clone(),
            parameters: self.parameters.iter().map(|&value| U::from_f64(value.to_f64())).collect(),
        }
    }
}
