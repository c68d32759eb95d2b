//! Covariances that GAUSS estimates, kept in a folder between runs.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tallsbi_files::{Existing, OutputFile, sha256_file};
use tallsbi_inference::score::MomentCache;
use tallsbi_inference::score::covariance::MomentOptions;

/// Changes to how covariances are estimated are counted here: old estimates are not taken for new ones.
const REVISION: u32 = 1;

/// Hexadecimal digits of the identity in a file's name.
const NAME_DIGITS: usize = 16;

/// The file of one model and one set of options, and what is known of it in memory.
pub struct CovarianceFile {
    path: PathBuf,
    identity: String,
    dim: usize,
    cache: MomentCache,
}

impl CovarianceFile {
    /// The file in `folder` (made if it is missing) for a model of m = `dim` parameters. One that is damaged or not ours is told and
    /// replaced.
    ///
    /// # Errors
    /// When the folder cannot be made or the model cannot be read.
    pub fn open(folder: &Path, model: &Path, dim: usize, options: &MomentOptions) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::Input {
            origin: folder.display().to_string(),
            message: format!("cannot be created: {error}"),
        })?;
        let mut hasher = Sha256::new();
        for part in
            [&sha256_file(model)?, &serde_json::to_string(options).unwrap_or_default(), env!("CARGO_PKG_VERSION")]
        {
            hasher.update(part);
            hasher.update([0]);
        }
        hasher.update(REVISION.to_le_bytes());
        let identity = hex::encode(hasher.finalize());
        let path = folder.join(format!("covariances-{}.safetensors", &identity[..NAME_DIGITS]));
        let cache = read(&path, &identity, dim).unwrap_or_else(|| MomentCache::new(dim));
        Ok(Self { path, identity, dim, cache })
    }

    /// What is known.
    pub fn cache(&self) -> &MomentCache {
        &self.cache
    }

    /// Writes new estimates, together with what other processes have written meanwhile. A cache that cannot be written costs time,
    /// not results: a warning.
    pub fn save(&self) {
        let (found, added) = self.cache.counts();
        tracing::info!("{}: {found} covariances found, {added} added", self.path.display());
        if added == 0 {
            return;
        }
        // What cannot be used was told when it was opened.
        let theirs = std::fs::read(&self.path).ok();
        if let Some(theirs) = theirs.and_then(|bytes| MomentCache::from_bytes(&bytes, &self.identity, self.dim).ok()) {
            self.cache.absorb(theirs);
        }
        let bytes = self.cache.to_bytes(&self.identity);
        if let Err(error) = OutputFile::write(&self.path, Existing::Overwrite, &bytes) {
            tracing::warn!("covariances are not kept: {error}");
        }
    }
}

fn read(path: &Path, identity: &str, dim: usize) -> Option<MomentCache> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("{}: cannot be read ({error}); covariances are estimated anew", path.display());
            return None;
        }
    };
    let cache = MomentCache::from_bytes(&bytes, identity, dim);
    cache.inspect_err(|error| tracing::warn!("{}: {error}; they are estimated anew", path.display())).ok()
}
