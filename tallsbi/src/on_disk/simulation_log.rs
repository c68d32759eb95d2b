//! Simulations of a refinement as they are made, so that an interrupted one repeats none of them.
//!
//! A refinement is a function of its problem, options and seed: run again, it asks for the same rows, and finds those that were kept by the digest of their parameters.
//! Blocks are appended one after the other, each with a digest: what an interruption left of one, or was damaged, is not read, nor what follows it.

use crate::refine::{KeepSimulations, Simulated};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// A file of simulated blocks: digest of (salt, first row, θ), number of rows and values, x, which have a result, digest of all this.
#[derive(Debug)]
pub struct SimulationLog {
    path: PathBuf,
    salt: String,
    known: HashMap<[u8; DIGEST], Simulated>,
    file: Mutex<File>,
}

impl SimulationLog {
    /// The log beside `output`.
    pub fn path(output: &Path) -> PathBuf {
        let name = output.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        output.with_file_name(format!(".{name}.simulations"))
    }

    /// Opens the log of `output` and reads what an earlier run left, or starts an empty one. `salt` says what is simulated, beside the parameters.
    ///
    /// # Errors
    /// When the file cannot be read or written, or another run holds it.
    pub fn open(output: &Path, salt: String, resume: bool) -> Result<Self> {
        let path = Self::path(output);
        let failed = |error: std::io::Error| failed(&path, &error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        // Some network file systems have no locks; work there unprotected.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let message = "is being written by another run; wait for it or stop it".into();
            return Err(Error::Input { origin: path.display().to_string(), message });
        }
        let mut bytes = Vec::new();
        if resume {
            file.read_to_end(&mut bytes).map_err(failed)?;
        }
        let (known, whole) = read(&bytes);
        // Without what an interruption left of a block; in place, so that being killed here loses nothing.
        file.set_len(whole as u64).map_err(failed)?;
        Ok(Self { path: path.clone(), salt, known, file: Mutex::new(file) })
    }

    /// Removes the log, once its refinement is written.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|error| failed(&self.path, &error))
    }

    fn digest(&self, first_row: u64, theta: ArrayView2<'_, f64>) -> [u8; DIGEST] {
        let mut hasher = Sha256::new();
        hasher.update(self.salt.as_bytes());
        hasher.update(first_row.to_le_bytes());
        theta.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        hasher.finalize().into()
    }
}

impl KeepSimulations for SimulationLog {
    fn recall(&self, first_row: u64, theta: ArrayView2<'_, f64>) -> Option<Simulated> {
        self.known.get(&self.digest(first_row, theta)).cloned()
    }

    fn keep(&self, first_row: u64, theta: ArrayView2<'_, f64>, (x, valid): (&Array2<f32>, &[bool])) -> Result<()> {
        let mut block = self.digest(first_row, theta).to_vec();
        block.extend((x.nrows() as u32).to_le_bytes());
        block.extend((x.ncols() as u32).to_le_bytes());
        x.iter().for_each(|value| block.extend(value.to_le_bytes()));
        block.extend(valid.iter().map(|&valid| u8::from(valid)));
        block.extend(Sha256::digest(&block));
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&block).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Input { origin: path.display().to_string(), message: format!("simulations cannot be kept: {error}") }
}

/// Whole blocks, and the number of bytes that they take.
fn read(bytes: &[u8]) -> (HashMap<[u8; DIGEST], Simulated>, usize) {
    let (mut known, mut at) = (HashMap::new(), 0);
    while let Some((digest, block, length)) = block(&bytes[at..]) {
        known.insert(digest, block);
        at += length;
    }
    (known, at)
}

fn block(bytes: &[u8]) -> Option<([u8; DIGEST], Simulated, usize)> {
    let digest = bytes.get(..DIGEST)?.try_into().ok()?;
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let (rows, columns) = (number(DIGEST)?, number(DIGEST + 4)?);
    let start = DIGEST + 8;
    let end = start.checked_add(rows.checked_mul(columns)?.checked_mul(4)?)?;
    let values = bytes
        .get(start..end)?
        .chunks_exact(4)
        .map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
    let flags = bytes.get(end..end.checked_add(rows)?)?;
    let last = end + rows + DIGEST;
    if bytes.get(end + rows..last)? != Sha256::digest(&bytes[..end + rows]).as_slice() {
        return None;
    }
    let x = Array2::from_shape_vec((rows, columns), values.collect()).ok()?;
    Some((digest, (x, flags.iter().map(|&byte| byte != 0).collect()), last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn what_was_kept_is_recalled_and_half_a_block_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("refined.safetensors");
        let open = |salt: &str, resume| SimulationLog::open(&output, salt.into(), resume).unwrap();
        let (theta, x, valid) = (arr2(&[[0.5, 1.0], [2.0, 3.0]]), arr2(&[[1.0f32], [f32::NAN]]), [true, false]);
        let log = open("a", false);
        log.keep(0, theta.view(), (&x, &valid)).unwrap();
        log.keep(2, theta.view(), (&x, &valid)).unwrap();
        assert!(log.recall(0, theta.view()).is_none(), "a run that goes on asks for a row once");
        drop(log);
        let whole = std::fs::read(SimulationLog::path(&output)).unwrap();
        std::fs::write(SimulationLog::path(&output), &whole[..whole.len() - 1]).unwrap();
        let log = open("a", true);
        let (found, flags) = log.recall(0, theta.view()).unwrap();
        assert!(found[[0, 0]] == 1.0 && found[[1, 0]].is_nan() && flags == valid);
        assert!(log.recall(2, theta.view()).is_none() && log.recall(1, theta.view()).is_none());
        // What is appended after half a block is whole.
        log.keep(2, theta.view(), (&x, &valid)).unwrap();
        let message = SimulationLog::open(&output, "a".into(), true).unwrap_err().to_string();
        assert!(message.contains("another run"), "{message}");
        drop(log);
        assert!(open("a", true).recall(2, theta.view()).is_some());
        assert!(open("b", true).recall(0, theta.view()).is_none());
        open("a", false);
        assert!(open("a", true).recall(0, theta.view()).is_none());
        open("a", true).remove().unwrap();
        assert!(!SimulationLog::path(&output).exists());
    }

    /// No flipped bit of a block brings back another one: it is simulated again, as what follows.
    #[test]
    fn damaged_blocks_are_not_recalled() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("refined.safetensors");
        let open = |resume| SimulationLog::open(&output, "a".into(), resume).unwrap();
        let (theta, x, valid) = (arr2(&[[0.5], [2.0]]), arr2(&[[1.0f32], [7.0]]), [true, false]);
        let log = open(false);
        log.keep(0, theta.view(), (&x, &valid)).unwrap();
        log.keep(2, theta.view(), (&x, &valid)).unwrap();
        drop(log);
        let whole = std::fs::read(SimulationLog::path(&output)).unwrap();
        for bit in 0..8 * whole.len() / 2 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(SimulationLog::path(&output), &flipped).unwrap();
            let log = open(true);
            assert!(log.recall(0, theta.view()).is_none() && log.recall(2, theta.view()).is_none(), "bit {bit}");
        }
    }
}
