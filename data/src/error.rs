//! Errors of this crate.

/// What can go wrong with priors, latent maps and symmetries. Each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A prior that is not a proper distribution.
    #[error("prior: {0}")]
    Prior(String),
    /// A symmetry that cannot be.
    #[error("{0}")]
    Symmetry(String),
    /// A transform of observations that there is not.
    #[error("x_transform is {0:?}, expected \"identity\" or \"log\"")]
    XTransform(String),
    /// An array of the wrong shape.
    #[error("{what}: expected shape {expected}, found {found}")]
    Shape {
        /// The array, with its file if it came from one.
        what: String,
        /// The shape that was expected.
        expected: String,
        /// The shape that was found.
        found: String,
    },
    /// Parameters outside the support of their prior.
    #[error("{what}: {message}")]
    Support {
        /// The array and row.
        what: String,
        /// Which bound is violated.
        message: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, DataError>;
