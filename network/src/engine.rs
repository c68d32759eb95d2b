//! A network made ready to run: packed weights, and the memory its passes need.

use std::ops::Range;

use crate::definition::{LayerLayout, Mlp, MlpSpec};
use crate::kernels::gemm::{self, Start};
use crate::kernels::layer::Norm;
use crate::kernels::packing::{Packed, Strided};
use crate::real::Real;

/// A network prepared for evaluation and training.
///
/// Holds a copy of the parameters together with their weights in the layout the matrix product reads; after the
/// parameters change, [`Engine::load`] brings it up to date without allocating. All passes take `&self` and run on the
/// calling thread; the caller splits rows into tiles (128 rows keep a 256-wide network within a 2 MiB cache) and
/// threads. The result for a row does not depend on the tile it is in.
///
/// Passes assert the lengths of their slices: a wrong one is a bug of the caller.
#[derive(Debug, Clone)]
pub struct Engine<T> {
    pub(crate) spec: MlpSpec,
    pub(crate) layout: Vec<LayerLayout>,
    pub(crate) parameters: Vec<T>,
    /// Wᵀ of each layer (depth = input), for the forward pass.
    pub(crate) forward_weights: Vec<Packed<T>>,
    /// W of each layer (depth = output), for the backward pass; empty in an engine that only evaluates.
    pub(crate) backward_weights: Vec<Packed<T>>,
}

impl<T: Real> Engine<T> {
    /// An engine that evaluates and differentiates along tangents; [`Engine::backward`] needs [`Engine::for_training`].
    pub fn new(network: &Mlp<T>) -> Self {
        Self::build(network, false)
    }

    /// An engine that can also go backward, at the price of a second packed copy of the weights.
    pub fn for_training(network: &Mlp<T>) -> Self {
        Self::build(network, true)
    }

    fn build(network: &Mlp<T>, backward: bool) -> Self {
        let layout = network.layers().to_vec();
        let weights = || layout.iter().map(|layer| weight(layer, network.parameters()));
        let forward_weights = weights().map(|weight| Packed::new(weight.transposed())).collect();
        let backward_weights = if backward { weights().map(Packed::new).collect() } else { Vec::new() };
        Self {
            spec: network.spec().clone(),
            parameters: network.parameters().to_vec(),
            layout,
            forward_weights,
            backward_weights,
        }
    }

    /// Takes new parameters (flat, as in [`Mlp::parameters`]). Large matrices are packed on the current thread pool.
    pub fn load(&mut self, parameters: &[T]) {
        self.parameters.copy_from_slice(parameters);
        for (index, layer) in self.layout.iter().enumerate() {
            let weight = weight(layer, parameters);
            self.forward_weights[index].pack_in_parallel(weight.transposed());
            // The gradient of the input, which alone needs the first weight backward, is rarely asked for, but a copy
            // that is not up to date would be a trap.
            if let Some(packed) = self.backward_weights.get_mut(index) {
                packed.pack_in_parallel(weight);
            }
        }
    }

    /// The definition.
    pub fn spec(&self) -> &MlpSpec {
        &self.spec
    }

    /// The parameters last loaded.
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// Width of the first layer's output: of the first hidden layer, or of the output of a linear map.
    pub fn first_width(&self) -> usize {
        self.layout[0].output
    }

    /// Rows of the input contribution of some columns of the first weight matrix: out = inputs W₁[:, columns]ᵀ (+ b₁).
    ///
    /// `inputs` is rows x columns.len(), `out` rows x [`Engine::first_width`]. With the blocks for x, θ and time added up
    /// (the bias in one of them), a row enters [`Engine::forward_from_first_preactivation`]: what does not change
    /// between calls is multiplied once.
    pub fn project_first_layer(&self, columns: Range<usize>, inputs: &[T], add_bias: bool, out: &mut [T]) {
        let width = self.first_width();
        let rows = out.len() / width;
        assert_eq!(out.len(), rows * width, "output is not a whole number of rows");
        assert_eq!(inputs.len(), rows * columns.len(), "inputs and output have different numbers of rows");
        // The block of the packed weight would need its own packing for every range; packing anew costs one pass over
        // the block, far below the product for the row counts this is called with.
        let block = weight(&self.layout[0], &self.parameters).column_block(columns.start, columns.len());
        let packed = Packed::new(block.transposed());
        let start = if add_bias { Start::Row(self.bias(0)) } else { Start::Zero };
        gemm::multiply(Strided::row_major(inputs, rows, columns.len()), &packed, start, out, width);
    }

    /// The chosen columns of the first weight matrix as rows: columns.len() x [`Engine::first_width`].
    ///
    /// These are the tangents of the first pre-activation along those inputs.
    pub fn first_layer_columns(&self, columns: Range<usize>) -> Vec<T> {
        let layer = &self.layout[0];
        let weight = &self.parameters[layer.weight.clone()];
        columns.flat_map(|column| (0..layer.output).map(move |row| weight[row * layer.input + column])).collect()
    }

    pub(crate) fn bias(&self, index: usize) -> &[T] {
        &self.parameters[self.layout[index].bias.clone()]
    }

    pub(crate) fn norm(&self, index: usize) -> Option<Norm<'_, T>> {
        let (gain, bias) = self.layout[index].norm.clone()?;
        Some(Norm { gain: &self.parameters[gain], bias: &self.parameters[bias] })
    }

    /// out = inputs Wᵀ + b for layer `index`.
    pub(crate) fn linear(&self, index: usize, inputs: &[T], rows: usize, out: &mut [T]) {
        let layer = &self.layout[index];
        let a = Strided::row_major(inputs, rows, layer.input);
        gemm::multiply(a, &self.forward_weights[index], Start::Row(self.bias(index)), out, layer.output);
    }
}

/// The weight of a layer, (output, input).
fn weight<'a, T>(layer: &LayerLayout, parameters: &'a [T]) -> Strided<'a, T> {
    Strided::row_major(&parameters[layer.weight.clone()], layer.output, layer.input)
}
