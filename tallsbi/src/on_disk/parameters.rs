//! Parameters to simulate at: drawn from the prior, or the user's.

use crate::simulate::draw_parameters;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tallsbi_data::{Prior, StreamKey};
use tallsbi_files::MatrixSource;

/// Where the parameters of a run's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameters {
    /// Drawn from the prior.
    Prior,
    /// Given.
    Given {
        /// Their file.
        path: PathBuf,
        /// Values (N, m), row by row, in single precision as training sets hold them.
        theta: Vec<f32>,
    },
}

impl Parameters {
    /// Reads the parameters of each row from a matrix (see [`MatrixSource`]).
    ///
    /// # Errors
    /// When it cannot be read, its columns are not the prior's parameters, or a row is outside of the prior's support.
    pub fn read(source: &str, prior: &Prior) -> Result<Self> {
        let place = MatrixSource::parse(source);
        let about = |message| Error::Input { origin: source.into(), message };
        let matrix = place.read()?.with_rows_of(prior.dim()).map_err(about)?;
        let (wanted, found) = (prior.names(), matrix.values.ncols());
        let refused = |found: String| {
            let names = wanted.join(", ");
            about(format!("has {found}, the parameters are {names}; give a column of each, in that order"))
        };
        if found != wanted.len() {
            return Err(refused(format!("{found} columns")));
        }
        if !matrix.names.is_empty() && matrix.names != wanted {
            return Err(refused(format!("the columns {}", matrix.names.join(", "))));
        }
        prior.check_support(source, matrix.values.view())?;
        Ok(Self::Given { path: place.path, theta: matrix.values.iter().map(|&value| value as f32).collect() })
    }

    /// What identifies those that are given: SHA-256 of their values, in hexadecimal.
    pub fn digest(&self) -> Option<String> {
        let Self::Given { theta, .. } = self else { return None };
        let mut hasher = Sha256::new();
        theta.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        Some(hex::encode(hasher.finalize()))
    }

    /// θ (count, m) of rows `first..first + count`, which there must be.
    pub(super) fn rows(&self, prior: &Prior, key: StreamKey, first: u64, count: usize) -> Vec<f32> {
        match self {
            Self::Prior => draw_parameters(prior, key, first, count),
            Self::Given { theta, .. } => theta[first as usize * prior.dim()..][..count * prior.dim()].to_vec(),
        }
    }
}
