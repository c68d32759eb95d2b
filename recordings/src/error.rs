//! Errors of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong with a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A file that cannot be read, or is not what it says.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A channel that is not there, or of whose name there are several.
    #[error("{}: {message}; it has {}", path.display(), known.join(", "))]
    Channel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// Labels of the channels.
        known: Vec<String>,
    },
    /// Something about the part of a recording that was asked for.
    #[error("{field}: {message}")]
    Selection {
        /// What was given.
        field: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, RecordingError>;

pub(crate) fn file_error(path: &Path, message: impl Into<String>) -> RecordingError {
    RecordingError::File { path: path.to_owned(), message: message.into() }
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> RecordingError {
    file_error(path, format!("cannot be read: {error}"))
}

pub(crate) fn selection(field: &'static str, message: impl Into<String>) -> RecordingError {
    RecordingError::Selection { field, message: message.into() }
}
