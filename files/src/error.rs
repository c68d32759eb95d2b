//! Errors of this crate.

use std::path::PathBuf;
use tallsbi_data::DataError;

/// What can go wrong with files. Each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file could not be opened, read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened and what to do.
        message: String,
    },
    /// A file of ours, but not of the kind that was asked for.
    #[error("{}: is a file of kind {found}, expected kind {expected}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The kind that was expected.
        expected: &'static str,
        /// The kind the file says it is.
        found: String,
    },
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
    /// Numbers that are not finite where they must be.
    #[error(
        "{what}: NaN or infinite values: {count} (first in row {row}, counted from 0); remove or repair these rows"
    )]
    NotFinite {
        /// The array.
        what: String,
        /// How many values.
        count: usize,
        /// First row with one, from 0.
        row: usize,
    },
    /// An output that is there already and may not be replaced.
    #[error("{}: exists already", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// What an interrupted run left, where a new one was asked for.
    #[error("{}: was left by an interrupted run", path.display())]
    Interrupted {
        /// What it left.
        path: PathBuf,
    },
    /// What an interrupted or finished run left, where other options are given now.
    #[error("{}: belongs to another run: {difference}", path.display())]
    OtherRun {
        /// What it left.
        path: PathBuf,
        /// In what they differ.
        difference: String,
    },
    /// Work that could not go on; what is complete is kept, and can be continued.
    #[error("{}: {message}; what is complete is kept in {}", path.display(), kept.display())]
    Stopped {
        /// The file that was being written.
        path: PathBuf,
        /// What happened.
        message: String,
        /// Where the complete rows are.
        kept: PathBuf,
    },
    /// From priors and what else files hold.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, FileError>;
