//! Standardised observations in memory or, where they do not fit, in a scratch file mapped into it.

use crate::{InferenceError, Result};
use memmap2::Mmap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Where standardised observations are kept during training. The trained network is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory.
    Memory,
    /// In a nameless file in this folder, of four bytes a value, which is gone when training ends, however it ends. The operating
    /// system keeps in memory what fits.
    Scratch(PathBuf),
}

impl Storage {
    /// A place for `values` numbers.
    pub(super) fn writer(&self, values: usize) -> Result<Writer> {
        Ok(match self {
            Self::Memory => Writer::Memory(Vec::with_capacity(values)),
            Self::Scratch(folder) => {
                let file = tempfile::tempfile_in(folder).map_err(|error| failed(folder, &error))?;
                Writer::Scratch(BufWriter::new(file), folder.clone())
            }
        })
    }
}

fn failed(folder: &Path, error: &std::io::Error) -> InferenceError {
    InferenceError::TrainingSet(format!(
        "{}: a scratch file for the observations cannot be written ({error}); free space there or allow more memory",
        folder.display()
    ))
}

/// Takes the observations in order.
pub(super) enum Writer {
    Memory(Vec<f32>),
    Scratch(BufWriter<File>, PathBuf),
}

impl Writer {
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        match self {
            Self::Memory(held) => held.extend_from_slice(values),
            Self::Scratch(file, folder) => {
                file.write_all(bytemuck::cast_slice(values)).map_err(|error| failed(folder, &error))?;
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Features> {
        match self {
            Self::Memory(values) => Ok(Features::Memory(values)),
            Self::Scratch(file, folder) => {
                let file = file.into_inner().map_err(|error| failed(&folder, error.error()))?;
                // SAFETY: the file has no name, so that no other process can change or shorten it while it is mapped.
                let map = unsafe { Mmap::map(&file) }.map_err(|error| failed(&folder, &error))?;
                Ok(Features::Scratch(map))
            }
        }
    }
}

/// Standardised observations, row-major.
#[derive(Debug)]
pub enum Features {
    /// In memory.
    Memory(Vec<f32>),
    /// The bytes of a scratch file.
    Scratch(Mmap),
}

impl Deref for Features {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Memory(values) => values,
            // Maps begin at a page, so that the numbers are aligned.
            Self::Scratch(map) => bytemuck::cast_slice(map),
        }
    }
}
