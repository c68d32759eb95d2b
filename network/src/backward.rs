//! Reverse mode: gradients of a loss with respect to parameters and inputs.

use crate::definition::MlpSpec;
use crate::engine::Engine;
use crate::kernels::gemm::{self, Start};
use crate::kernels::layer::{self, Backward, Forward, NormGradient, Record};
use crate::kernels::packing::{Packed, Strided};
use crate::real::Real;

/// What a forward pass leaves for the backward pass of the same rows, and the memory of both.
#[derive(Debug, Clone)]
pub struct Trace<T> {
    max_rows: usize,
    rows: usize,
    layers: Vec<LayerTrace<T>>,
    delta: Vec<T>,
    next_delta: Vec<T>,
    /// The layer's input as right factor of the weight gradient.
    packed_input: Packed<T>,
}

#[derive(Debug, Clone)]
struct LayerTrace<T> {
    output: Vec<T>,
    derivative: Vec<T>,
    normalised: Vec<T>,
    inverse_deviation: Vec<T>,
}

impl<T: Real> Trace<T> {
    /// For up to `max_rows` rows at a time.
    pub fn new(spec: &MlpSpec, max_rows: usize) -> Self {
        let zeros = |length: usize| vec![T::ZERO; length];
        let norm = |length: usize| if spec.layer_norm { zeros(length) } else { Vec::new() };
        let layers = spec
            .hidden
            .iter()
            .map(|width| LayerTrace {
                output: zeros(max_rows * width),
                derivative: zeros(max_rows * width),
                normalised: norm(max_rows * width),
                inverse_deviation: norm(max_rows),
            })
            .collect();
        let widest = spec.widest_hidden().max(spec.output);
        Self {
            max_rows,
            rows: 0,
            layers,
            delta: zeros(max_rows * widest),
            next_delta: zeros(max_rows * widest),
            packed_input: Packed::with_capacity(max_rows, spec.widest_hidden().max(spec.input)),
        }
    }

    /// The largest number of rows it serves.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }
}

impl<T: Real> Engine<T> {
    /// As [`Engine::forward`], keeping what [`Engine::backward`] needs.
    pub fn forward_traced(&self, input: &[T], trace: &mut Trace<T>, out: &mut [T]) {
        let rows = self.assert_rows(input.len(), out.len(), self.spec.input, trace.max_rows);
        trace.rows = rows;
        for (index, layer) in self.layout.iter().enumerate() {
            let (before, after) = trace.layers.split_at_mut(index);
            let layer_input = before.last().map_or(input, |previous| &previous.output[..rows * layer.input]);
            if !layer.hidden {
                self.linear(index, layer_input, rows, out);
                return;
            }
            let current = &mut after[0];
            let values = &mut current.output[..rows * layer.output];
            self.linear(index, layer_input, rows, values);
            Forward {
                values,
                width: layer.output,
                norm: self.norm(index),
                activation: self.spec.activation,
                residual: layer.residual.then_some(layer_input),
                record: Some(Record {
                    derivative: &mut current.derivative,
                    normalised: &mut current.normalised,
                    inverse_deviation: &mut current.inverse_deviation,
                }),
            }
            .run();
        }
    }

    /// Adds ∂L/∂parameters to `gradient` (flat, as the parameters), given ∂L/∂out of the rows last passed to
    /// [`Engine::forward_traced`] with this `trace` and the same `input`; writes ∂L/∂input to `input_gradient` if given.
    ///
    /// Cost: twice the forward pass. Needs an engine made by [`Engine::for_training`].
    pub fn backward(
        &self,
        input: &[T],
        trace: &mut Trace<T>,
        out_gradient: &[T],
        gradient: &mut [T],
        mut input_gradient: Option<&mut [T]>,
    ) {
        let rows = trace.rows;
        assert_eq!(self.backward_weights.len(), self.layout.len(), "the engine was made for evaluation only");
        assert_eq!(out_gradient.len(), rows * self.spec.output, "output gradient has another number of rows");
        assert_eq!(input.len(), rows * self.spec.input, "input has another number of rows than the trace");
        assert_eq!(gradient.len(), self.parameters.len(), "gradient has another length than the parameters");
        trace.delta[..out_gradient.len()].copy_from_slice(out_gradient);
        for (index, layer) in self.layout.iter().enumerate().rev() {
            let Trace { layers, delta, next_delta, packed_input, .. } = trace;
            let delta = &mut delta[..rows * layer.output];
            // ∂L/∂(layer input), starting from the residual path's share.
            let mut target = match (index, &mut input_gradient) {
                (0, None) => None,
                (0, Some(target)) => Some(&mut **target),
                _ => Some(&mut next_delta[..rows * layer.input]),
            };
            let mut start = Start::Zero;
            if let (true, Some(target)) = (layer.residual, &mut target) {
                target.copy_from_slice(delta);
                start = Start::Content;
            }
            let (weight_gradient, bias_gradient) = if layer.hidden {
                self.hidden_backward(index, rows, &layers[index], delta, gradient)
            } else {
                let (weight, bias) = gradient[layer.weight.start..layer.bias.end].split_at_mut(layer.weight.len());
                layer::add_column_sums(delta, bias);
                (weight, bias)
            };
            debug_assert_eq!(bias_gradient.len(), layer.output);
            let layer_input = if index == 0 { input } else { &layers[index - 1].output[..rows * layer.input] };
            packed_input.pack(Strided::row_major(layer_input, rows, layer.input));
            let delta = Strided::row_major(delta, rows, layer.output);
            gemm::multiply(delta.transposed(), packed_input, Start::Content, weight_gradient, layer.input);
            if let Some(target) = target {
                gemm::multiply(delta, &self.backward_weights[index], start, target, layer.input);
            }
            std::mem::swap(&mut trace.delta, &mut trace.next_delta);
        }
    }

    /// Takes `delta` from the output of hidden layer `index` to its pre-activation; returns the weight and bias gradients.
    fn hidden_backward<'a>(
        &self,
        index: usize,
        rows: usize,
        trace: &LayerTrace<T>,
        delta: &mut [T],
        gradient: &'a mut [T],
    ) -> (&'a mut [T], &'a mut [T]) {
        let layer = &self.layout[index];
        let width = layer.output;
        let end = layer.norm.as_ref().map_or(layer.bias.end, |(_, bias)| bias.end);
        let (weight, rest) = gradient[layer.weight.start..end].split_at_mut(layer.weight.len());
        let (bias, norm) = rest.split_at_mut(width);
        let norm_gradient = layer.norm.is_some().then(|| {
            let (gain, bias) = norm.split_at_mut(width);
            NormGradient { gain, bias }
        });
        Backward {
            values: delta,
            width,
            gain: self.norm(index).map(|norm| norm.gain),
            derivative: &trace.derivative[..rows * width],
            normalised: &trace.normalised,
            inverse_deviation: &trace.inverse_deviation,
            norm_gradient,
            bias_gradient: bias,
        }
        .run();
        (weight, bias)
    }
}
