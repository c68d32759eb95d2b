//! Mistakes in what was asked.

/// A mistake in how the program was called or a study was written, as opposed to a failure on the way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A usage error, for `return Err(usage(..))`.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}
