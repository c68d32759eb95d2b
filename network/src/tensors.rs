//! Networks as named tensors of a safetensors file.
//!
//! Layer i of a network with prefix `net` is `net.i.weight` (output, input), `net.i.bias`, and with layer norm
//! `net.i.norm_weight`, `net.i.norm_bias`.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::definition::{Activation, LayerLayout, Mlp, MlpSpec};
use crate::error::NetworkError;

/// A tensor of 32-bit numbers to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorData {
    /// A tensor of the given shape (row-major).
    ///
    /// # Panics
    /// If the shape does not multiply to the number of values.
    pub fn new(shape: Vec<usize>, values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape and number of values differ");
        Self { shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }
}

impl View for TensorData {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Shape and values of tensor `name` (F32, or F64 rounded to f32).
///
/// # Errors
/// If it is missing, of another type, or holds numbers that are not finite.
pub fn read_tensor(file: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), NetworkError> {
    let missing = |_| NetworkError::MissingTensor { name: name.to_owned() };
    let tensor = file.tensor(name).map_err(missing)?;
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Dtype::F64 => tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
        other => return Err(NetworkError::TensorType { name: name.to_owned(), found: format!("{other:?}") }),
    };
    if values.iter().any(|value| !value.is_finite()) {
        return Err(NetworkError::NotFinite { name: name.to_owned() });
    }
    Ok((tensor.shape().to_vec(), values))
}

/// Values of tensor `name`, which must have the given shape.
///
/// # Errors
/// As [`read_tensor`], and [`NetworkError::TensorShape`].
pub fn read_tensor_of_shape(file: &SafeTensors<'_>, name: &str, expected: &[usize]) -> Result<Vec<f32>, NetworkError> {
    let tensor = file.tensor(name).map_err(|_| NetworkError::MissingTensor { name: name.to_owned() })?;
    if tensor.shape() != expected {
        let found = tensor.shape().to_vec();
        return Err(NetworkError::TensorShape { name: name.to_owned(), expected: expected.to_vec(), found });
    }
    Ok(read_tensor(file, name)?.1)
}

/// The definition of the network with this prefix, from the shapes of its tensors. Activation and residuals leave no
/// trace there and have to be given.
///
/// # Errors
/// If its first weight is missing or the shapes do not chain.
pub fn infer_spec(
    file: &SafeTensors<'_>,
    prefix: &str,
    activation: Activation,
    residual: bool,
) -> Result<MlpSpec, NetworkError> {
    let mut widths = Vec::new();
    for index in 0.. {
        let name = format!("{prefix}.{index}.weight");
        let Ok(tensor) = file.tensor(&name) else {
            if index == 0 {
                return Err(NetworkError::MissingTensor { name });
            }
            break;
        };
        let found = tensor.shape().to_vec();
        let wrong =
            |expected: Vec<usize>| NetworkError::TensorShape { name: name.clone(), expected, found: found.clone() };
        let [output, input] = found[..] else { return Err(wrong(vec![0, 0])) };
        match widths.last() {
            None => widths.push(input),
            Some(&width) if width != input => return Err(wrong(vec![output, width])),
            Some(_) => {}
        }
        widths.push(output);
    }
    let layer_norm = file.tensor(&format!("{prefix}.0.norm_weight")).is_ok();
    let (input, output) = (widths[0], widths[widths.len() - 1]);
    let hidden = widths[1..widths.len() - 1].to_vec();
    let spec = MlpSpec { input, hidden, output, activation, layer_norm, residual };
    spec.validate()?;
    Ok(spec)
}

/// Reads the network with this prefix.
///
/// # Errors
/// If a tensor is missing, has another shape than `spec` asks for, another type, or is not finite.
pub fn read_mlp(file: &SafeTensors<'_>, prefix: &str, spec: MlpSpec) -> Result<Mlp<f32>, NetworkError> {
    spec.validate()?;
    // Grows with what is there: the definition may ask for more than the file holds.
    let mut parameters = Vec::new();
    for (index, layer) in spec.layout().iter().enumerate() {
        for (name, shape, _) in tensors_of(layer) {
            parameters.extend(read_tensor_of_shape(file, &format!("{prefix}.{index}.{name}"), &shape)?);
        }
    }
    Mlp::from_parameters(spec, parameters)
}

/// The network's tensors with their names, to be written with [`safetensors::serialize`].
pub fn mlp_tensors(network: &Mlp<f32>, prefix: &str) -> Vec<(String, TensorData)> {
    let mut tensors = Vec::new();
    for (index, layer) in network.layers().iter().enumerate() {
        for (name, shape, range) in tensors_of(layer) {
            let data = TensorData::new(shape, &network.parameters()[range]);
            tensors.push((format!("{prefix}.{index}.{name}"), data));
        }
    }
    tensors
}

/// Name, shape and place of a layer's tensors, in the order of the flat vector.
fn tensors_of(layer: &LayerLayout) -> Vec<(&'static str, Vec<usize>, std::ops::Range<usize>)> {
    let mut tensors = vec![
        ("weight", vec![layer.output, layer.input], layer.weight.clone()),
        ("bias", vec![layer.output], layer.bias.clone()),
    ];
    if let Some((gain, bias)) = &layer.norm {
        tensors.push(("norm_weight", vec![layer.output], gain.clone()));
        tensors.push(("norm_bias", vec![layer.output], bias.clone()));
    }
    tensors
}
