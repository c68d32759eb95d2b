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
        let at = error.span().map_or(0, |span| span.start);
        let said = error.message().replace('\n', " ");
        // A value that cannot be is told with its key.
        let key = key_at(text, at).filter(|_| said.starts_with("invalid "));
        let said = said.replace("expected usize", WHOLE).replace("expected u64", WHOLE);
        TomlError { line: line_at(text, at), message: key.map_or(said.clone(), |key| format!("{key}: {said}")) }
    })
}

/// Unsigned integers, in words.
const WHOLE: &str = "expected a whole number from 0 on";

/// The key, or the table, that the line of the byte `offset` begins with.
fn key_at(text: &str, offset: usize) -> Option<&str> {
    let line = text.lines().nth(line_at(text, offset) - 1)?.trim_start();
    let key = match line.strip_prefix('[') {
        Some(table) => table.split(']').next()?.trim_start_matches('['),
        None => line.split_once('=')?.0,
    };
    let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    Some(key.trim()).filter(|key| !key.is_empty() && key.chars().all(plain))
}

/// The line of `text`, from 1, that the byte `offset` is in.
pub fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}
