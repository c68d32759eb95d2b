//! Training of small ReLU networks with one output, such as classifiers.

use crate::definition::{Activation, LayerLayout, MlpSpec};
use crate::error::NetworkError;
use crate::kernels::lanes::{Finish, LANES, Product, WeightGradient};

/// Forward and backward passes of a batch through a ReLU network with one output, units by rows.
///
/// For layers of up to about a hundred units and batches of up to a few hundred rows this takes less than half the time of
/// [`crate::Engine`], whose row-major passes and packed weights pay off for wide layers. Parameters are read where they are, in
/// the flat layout of [`crate::Mlp`]. Never allocates after construction; runs on the calling thread.
///
/// Passes assert the lengths of their slices: a wrong one is a bug of the caller.
#[derive(Debug, Clone)]
pub struct SmallNetwork {
    layout: Vec<LayerLayout>,
    parameters: usize,
    max_rows: usize,
    rows: usize,
    /// Input and outputs of the hidden layers, (units, stride) each.
    values: Vec<Vec<f32>>,
    logits: Vec<f32>,
    delta: Vec<f32>,
    next_delta: Vec<f32>,
}

impl SmallNetwork {
    /// For batches of up to `max_rows` rows.
    ///
    /// # Errors
    /// [`NetworkError::InvalidSetting`] when the network is not a plain ReLU network with one output and a hidden layer.
    pub fn new(spec: &MlpSpec, max_rows: usize) -> Result<Self, NetworkError> {
        spec.validate()?;
        let refuse = |name, value: String, requirement| Err(NetworkError::InvalidSetting { name, value, requirement });
        if spec.output != 1 {
            return refuse("output", spec.output.to_string(), "must be 1 for a small network");
        }
        if spec.activation != Activation::Relu || spec.layer_norm || spec.residual || spec.hidden.is_empty() {
            let value = format!("{:?}", spec.activation);
            return refuse("activation", value, "must be ReLU, without layer norm or residuals, in a hidden layer");
        }
        let stride = max_rows.max(1).next_multiple_of(LANES);
        let widths = std::iter::once(&spec.input).chain(&spec.hidden);
        let widest = spec.widest_hidden();
        Ok(Self {
            layout: spec.layout(),
            parameters: spec.parameter_count(),
            max_rows,
            rows: 0,
            values: widths.map(|width| vec![0.0; width * stride]).collect(),
            logits: vec![0.0; stride],
            delta: vec![0.0; widest * stride],
            next_delta: vec![0.0; widest * stride],
        })
    }

    /// The largest batch it serves.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Takes a batch: `write(row, values)` gives the values of each of `rows` rows.
    pub fn load(&mut self, rows: usize, row: &mut [f32], mut write: impl FnMut(usize, &mut [f32])) {
        assert!(rows <= self.max_rows, "{rows} rows exceed what the network was made for");
        assert_eq!(row.len(), self.layout[0].input, "a row has another width than the network");
        let stride = rows.next_multiple_of(LANES);
        self.rows = rows;
        let input = &mut self.values[0][..row.len() * stride];
        for index in 0..rows {
            write(index, row);
            for (unit, &value) in row.iter().enumerate() {
                input[unit * stride + index] = value;
            }
        }
        // Finite numbers in the lanes to spare: gradients are zero there, and zero times anything finite is zero.
        for unit in input.chunks_exact_mut(stride.max(1)) {
            unit[rows..].fill(0.0);
        }
    }

    /// Outputs for the rows of the batch.
    pub fn forward(&mut self, parameters: &[f32]) -> &[f32] {
        assert_eq!(parameters.len(), self.parameters, "parameters of another network");
        let stride = self.rows.next_multiple_of(LANES);
        if stride == 0 {
            return &[];
        }
        for (index, layer) in self.layout.iter().enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let (finish, target) = match after.first_mut() {
                Some(target) => (Finish::Relu, target),
                None => (Finish::Leave, &mut self.logits),
            };
            Product {
                a: &parameters[layer.weight.clone()],
                row_stride: layer.input,
                depth_stride: 1,
                rows: layer.output,
                depth: layer.input,
                b: &before[index][..layer.input * stride],
                stride,
                start: Some(&parameters[layer.bias.clone()]),
                finish,
                c: &mut target[..layer.output * stride],
            }
            .run();
        }
        &self.logits[..self.rows]
    }

    /// ∂L/∂parameters into `gradient`, from ∂L/∂output of each row of the batch last passed forward, with the same parameters.
    pub fn backward(&mut self, parameters: &[f32], output_gradient: &[f32], gradient: &mut [f32]) {
        assert_eq!(parameters.len(), self.parameters, "parameters of another network");
        assert_eq!(gradient.len(), self.parameters, "gradient of another network");
        assert_eq!(output_gradient.len(), self.rows, "output gradient has another number of rows");
        let stride = self.rows.next_multiple_of(LANES);
        if stride == 0 {
            return gradient.fill(0.0);
        }
        self.delta[..self.rows].copy_from_slice(output_gradient);
        self.delta[self.rows..stride].fill(0.0);
        for (index, layer) in self.layout.iter().enumerate().rev() {
            let delta = &self.delta[..layer.output * stride];
            let input = &self.values[index][..layer.input * stride];
            let (weight, bias) = gradient[layer.weight.start..layer.bias.end].split_at_mut(layer.weight.len());
            WeightGradient { d: delta, x: input, stride, weight, bias }.run();
            if index == 0 {
                break;
            }
            Product {
                a: &parameters[layer.weight.clone()],
                row_stride: 1,
                depth_stride: layer.input,
                rows: layer.input,
                depth: layer.output,
                b: delta,
                stride,
                start: None,
                finish: Finish::Mask(input),
                c: &mut self.next_delta[..layer.input * stride],
            }
            .run();
            std::mem::swap(&mut self.delta, &mut self.next_delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Mlp, Trace};

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The same outputs and gradients as the engine for wide networks, whose derivatives are tested against differences.
    #[test]
    fn agrees_with_the_engine() {
        for (input, hidden, batch) in [
            (5, vec![50, 50], 200),
            (1, vec![1], 1),
            (37, vec![40, 40], 57),
            (3, vec![7, 19, 4], 33),
            (10, vec![101], 16),
        ] {
            let spec =
                MlpSpec { input, hidden, output: 1, activation: Activation::Relu, layer_norm: false, residual: false };
            let parameters = numbers(spec.parameter_count(), 1);
            let network = Mlp::from_parameters(spec.clone(), parameters.clone()).unwrap();
            let (engine, mut trace) = (Engine::for_training(&network), Trace::new(&spec, batch));
            let mut small = SmallNetwork::new(&spec, 200).unwrap();
            // A full batch first: what it leaves in the lanes to spare must not count.
            for rows in [200, batch] {
                let inputs = numbers(rows * input, rows as u64);
                let write = |index: usize, row: &mut [f32]| row.copy_from_slice(&inputs[index * input..][..input]);
                small.load(rows, &mut vec![0.0; input], write);
                small.forward(&parameters);
            }
            let (inputs, output_gradient) = (numbers(batch * input, batch as u64), numbers(batch, 7));
            let mut expected = vec![0.0; batch];
            engine.forward_traced(&inputs, &mut trace, &mut expected);
            for (found, expected) in small.forward(&parameters).iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{found} against {expected}");
            }
            let (mut found, mut expected) = (vec![f32::NAN; parameters.len()], vec![0.0; parameters.len()]);
            small.backward(&parameters, &output_gradient, &mut found);
            engine.backward(&inputs, &mut trace, &output_gradient, &mut expected, None);
            let scale = expected.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() < 2e-5 * scale, "parameter {index}: {found} against {expected}");
            }
        }
    }

    #[test]
    fn other_networks_are_refused() {
        let spec = MlpSpec::plain(2, vec![3], 1, Activation::Relu);
        for (other, name) in [
            (MlpSpec { output: 2, ..spec.clone() }, "output"),
            (MlpSpec { activation: Activation::Silu, ..spec.clone() }, "activation"),
            (MlpSpec { layer_norm: true, ..spec.clone() }, "activation"),
            (MlpSpec { hidden: vec![], ..spec.clone() }, "activation"),
        ] {
            let error = SmallNetwork::new(&other, 10).unwrap_err();
            assert!(matches!(error, NetworkError::InvalidSetting { name: found, .. } if found == name), "{error}");
        }
    }
}
