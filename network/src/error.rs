//! What can go wrong when a network is defined, read or written.

use thiserror::Error;

/// Errors of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A hyper-parameter is outside its range.
    #[error("{name} = {value} is invalid: {requirement}")]
    InvalidSetting {
        /// Name of the hyper-parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to satisfy.
        requirement: &'static str,
    },
    /// A flat parameter vector has the wrong length.
    #[error("the network has {expected} parameters, but {found} were given")]
    ParameterCount {
        /// Parameters of the definition.
        expected: usize,
        /// Length of the vector.
        found: usize,
    },
    /// A tensor is not in the file.
    #[error("tensor '{name}' is missing; the file does not hold this network")]
    MissingTensor {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the definition asks for.
    #[error("tensor '{name}' has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// Name of the tensor.
        name: String,
        /// Shape in the definition.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor does not hold 32-bit or 64-bit floating-point numbers.
    #[error("tensor '{name}' has element type {found}, expected F32 or F64")]
    TensorType {
        /// Name of the tensor.
        name: String,
        /// Element type in the file.
        found: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor '{name}' holds numbers that are not finite; the file is damaged or its training diverged")]
    NotFinite {
        /// Name of the tensor.
        name: String,
    },
}
