//! TOML with errors that name the line.

use serde::de::DeserializeOwned;

/// What is wrong with a TOML text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// A value from TOML.
///
/// # Errors
/// Unknown or missing keys, wrong types, text that is no TOML; with the line.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        TomlError { line, message: error.message().replace('\n', " ") }
    })
}

/// The line of `text`, from 1, that the byte `offset` is in.
pub fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}
