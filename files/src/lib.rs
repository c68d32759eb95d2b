//! The files that pass between the parts: training sets, observations (HDF5) and posteriors (netCDF-4), with provenance.
//!
//! The only crate that links C libraries (HDF5, netCDF); the feature `static` builds them in.
//!
//! Every file of ours carries on its root `tallsbi_kind`, `tallsbi_version`, `created`, `command`, `seed`, `task` and
//! `parents` ([`Provenance`]). Outputs appear under their name only when complete ([`OutputFile`]); training sets, which
//! take long to make, are staged in a log that survives being killed ([`TrainingSetWriter`]).

mod array;
mod attributes;
mod chunk;
mod contents;
mod error;
mod guard;
mod links;
mod matrix;
mod observations;
mod output;
mod packing;
mod posterior;
mod provenance;
mod seal;
mod staging;
mod table;
mod training_set;

pub use contents::{ArrayEntry, Contents, Format};
pub use error::{FileError, Result};
pub use links::follow_links;
pub use matrix::{Gaps, Matrix, MatrixSource};
pub use observations::Observations;
pub use output::{Existing, OutputFile, not_written};
pub use posterior::{Companions, Posterior, RunAttributes};
pub use provenance::{FileKind, Parent, Provenance, kind_of, sha256_file};
pub use table::Header;
pub use training_set::{
    Opened, RawRows, RowRange, Summary, TrainingRows, TrainingSet, TrainingSetSpec, TrainingSetWriter, merge,
};

use std::path::Path;

/// Attribute of our training sets with the number of leading values of an observation that are conditions; dataset of others' with the conditions themselves.
pub(crate) const CONDITIONS: &str = "conditions";

/// An error about a file.
pub(crate) fn file_error(path: &Path, message: impl Into<String>) -> FileError {
    FileError::File { path: path.to_owned(), message: message.into() }
}

/// Turns the error of a library that failed on a file into ours, on one line.
pub(crate) fn failed(path: &Path, doing: &str, error: &dyn std::fmt::Display) -> FileError {
    let text = error.to_string();
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    file_error(path, format!("{doing}: {line}"))
}

/// Opens an HDF5 file for reading, telling missing, unreadable and foreign files apart, and looks for what must not be read.
pub(crate) fn open_hdf5(path: &Path) -> Result<hdf5::File> {
    let length = guard::check_hdf5(path)?;
    seal::verify(path, length)?;
    let file = hdf5::File::open(path).map_err(|error| {
        let text = error.to_string();
        if text.contains("truncated") {
            file_error(path, "is truncated: it was cut short while being written or copied; make or copy it again")
        } else if text.contains("unable to lock file") {
            file_error(path, "is open for writing in another program; close it there")
        } else {
            failed(path, "cannot be read as HDF5", &error)
        }
    })?;
    guard::datasets(path, &file)?;
    Ok(file)
}
