//! Writing training sets that are larger than memory and may be interrupted at any moment.

use super::{RowRange, TrainingSet, TrainingSetSpec, difference};
use crate::output::{check_target, not_written};
use crate::staging::{PARTS, Staging};
use crate::{CONDITIONS, Existing, FileKind, OutputFile, Provenance, attributes, chunk, failed};
use crate::{FileError, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Bytes of a chunk of the larger of theta and x: large enough to compress and read well, small enough to cut streams.
const CHUNK_BYTES: usize = 512 * 1024;

/// Most rows of a chunk.
const CHUNK_ROWS: usize = 16_384;

/// Writes a training set in bounded memory.
///
/// Rows are staged in `<target>.partial`, compressed, a chunk a frame with its own checksum; [`TrainingSetWriter::finish`]
/// assembles the HDF5 file from the compressed chunks and renames it into place. A run that dies at any moment loses the
/// rows since the last complete chunk (after a power cut: of the last seconds) and goes on with [`Existing::Resume`].
/// While it is assembled the set is on disk twice.
#[derive(Debug)]
pub struct TrainingSetWriter {
    target: PathBuf,
    existing: Existing,
    spec: TrainingSetSpec,
    provenance: Provenance,
    staging: Staging,
    chunk_rows: usize,
    theta: Vec<f32>,
    x: Vec<f32>,
    valid: Vec<u8>,
}

/// What [`TrainingSetWriter::open`] found.
#[derive(Debug)]
pub enum Opened {
    /// Rows are to be written, from [`TrainingSetWriter::next_row`] on.
    Writing(Box<TrainingSetWriter>),
    /// The set is there and complete; nothing is to be done.
    Complete(Summary),
}

/// What a complete training set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// Rows whose simulation failed or is not finite.
    pub invalid: u64,
}

impl TrainingSetWriter {
    /// Starts or, with [`Existing::Resume`], continues a training set.
    ///
    /// # Errors
    /// When the output or what an interrupted run left exists and may not be replaced, belongs to a different run, is being
    /// written by another process, or cannot be written.
    pub fn open(target: &Path, existing: Existing, spec: TrainingSetSpec, provenance: Provenance) -> Result<Opened> {
        check_spec(target, &spec)?;
        let partial = partial_path(target);
        let identity = spec.identity(provenance.seed, &provenance.task);
        check_target(target, existing != Existing::Refuse)?;
        let mut staging = None;
        match existing {
            Existing::Resume if target.exists() => {
                let found = TrainingSet::open(target)?;
                if let Some(difference) = difference(&identity, &found.identity()) {
                    return Err(FileError::OtherRun { path: target.to_owned(), difference });
                }
                let summary = Summary { rows: found.rows(), invalid: found.count_invalid()? };
                if partial.exists() {
                    std::fs::remove_file(&partial).map_err(|error| failed(&partial, "cannot be removed", &error))?;
                }
                return Ok(Opened::Complete(summary));
            }
            Existing::Resume if partial.exists() => {
                if let Some((found, header)) = Staging::open(&partial)? {
                    if let Some(difference) = difference(&identity, &header) {
                        return Err(FileError::OtherRun { path: partial, difference });
                    }
                    staging = Some(found);
                }
            }
            Existing::Refuse if partial.exists() => {
                return Err(FileError::Interrupted { path: partial });
            }
            _ => {}
        }
        let staging = staging.map_or_else(|| Staging::create(&partial, &identity), Ok)?;
        let chunk_rows = chunk_rows(&spec);
        Ok(Opened::Writing(Box::new(Self {
            target: target.to_owned(),
            existing,
            spec,
            provenance,
            staging,
            chunk_rows,
            theta: Vec::new(),
            x: Vec::new(),
            valid: Vec::new(),
        })))
    }

    /// The next row to append, counted from this file's first; more than 0 after resuming.
    pub fn next_row(&self) -> u64 {
        let staged = self.staging.frames().len() as u64 * self.chunk_rows as u64;
        staged.min(self.spec.rows.count) + self.valid.len() as u64
    }

    /// Rows of a chunk: appending multiples of it keeps nothing in memory that an interruption would lose.
    pub fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    /// Appends rows: theta (n·m values), x (n·K·d), valid (n; 0 marks a failed simulation). Compresses on all threads.
    ///
    /// # Errors
    /// When lengths do not fit, there are more rows than announced, or the disk is full: nothing complete is lost then.
    pub fn append(&mut self, theta: &[f32], x: &[f32], valid: &[u8]) -> Result<()> {
        let n = valid.len();
        let left = self.spec.rows.count - self.next_row();
        let (m, width) = (self.spec.prior.dim(), self.spec.x_width());
        for (what, expected, found) in [("theta", n * m, theta.len()), ("x", n * width, x.len())] {
            if expected != found {
                return Err(shape(&self.target, what, format!("{expected} values for {n} rows"), found.to_string()));
            }
        }
        if n as u64 > left {
            return Err(shape(&self.target, "rows", format!("at most {left} more rows"), n.to_string()));
        }
        self.theta.extend_from_slice(theta);
        self.x.extend_from_slice(x);
        self.valid.extend_from_slice(valid);
        let full = self.valid.len() / self.chunk_rows * self.chunk_rows;
        self.stage(full)
    }

    /// Forces all complete chunks to disk; what an interrupted run should do last.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.staging.sync()
    }

    /// Assembles the HDF5 file and gives it its name.
    ///
    /// # Errors
    /// When rows are missing or the disk is full: what is staged stays, and the run can be resumed.
    pub fn finish(mut self) -> Result<Summary> {
        let missing = self.spec.rows.count - self.next_row();
        if missing > 0 {
            return Err(shape(&self.target, "rows", self.spec.rows.count.to_string(), self.next_row().to_string()));
        }
        let rest = self.valid.len();
        self.stage(rest)?;
        self.staging.sync()?;
        let existing = if self.existing == Existing::Resume { Existing::Refuse } else { self.existing };
        let output = OutputFile::create(&self.target, existing)?;
        let path = self.target.clone();
        let stopped = |error| match not_written(&path, &error) {
            FileError::File { message, .. } => {
                // What can be done about it is the front end's to say.
                let message = message.split("; make room").next().unwrap_or_default().to_owned();
                FileError::Stopped { path: path.clone(), message, kept: partial_path(&path) }
            }
            _ => error,
        };
        self.assemble(output.path()).map_err(stopped)?;
        output.commit_sealed().map_err(stopped)?;
        let invalid = self.staging.frames().iter().map(|frame| u64::from(frame.invalid)).sum();
        self.staging.remove()?;
        Ok(Summary { rows: self.spec.rows.count, invalid })
    }

    /// Compresses and stages the first `rows` rows in memory.
    fn stage(&mut self, rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let (c, m, width) = (self.chunk_rows, self.spec.prior.dim(), self.spec.x_width());
        let encoded: Vec<std::io::Result<[Vec<u8>; PARTS]>> = self.theta[..rows * m]
            .par_chunks(c * m)
            .zip(self.x[..rows * width].par_chunks(c * width))
            .zip(self.valid[..rows].par_chunks(c))
            .map(|((theta, x), valid)| {
                let ((theta, x), valid) = rayon::join(
                    || (chunk::encode(&bytes(theta, c * m), 4), chunk::encode(&bytes(x, c * width), 4)),
                    || {
                        let mut padded = valid.to_vec();
                        padded.resize(c, 0);
                        chunk::encode(&padded, 1)
                    },
                );
                Ok([theta?, x?, valid?])
            })
            .collect();
        for (parts, valid) in encoded.into_iter().zip(self.valid[..rows].chunks(c)) {
            let parts = parts.map_err(|error| failed(&self.target, "cannot compress rows", &error))?;
            let invalid = valid.iter().filter(|&&v| v == 0).count() as u32;
            self.staging.append([&parts[0], &parts[1], &parts[2]], invalid)?;
        }
        self.theta.drain(..rows * m);
        self.x.drain(..rows * width);
        self.valid.drain(..rows);
        Ok(())
    }

    /// Writes the HDF5 file at `path` from the staged chunks.
    fn assemble(&mut self, path: &Path) -> Result<()> {
        let spec = &self.spec;
        let file = hdf5::File::create(path).map_err(|error| failed(path, "cannot be created", &error))?;
        self.provenance.write(path, &file, FileKind::TrainingSet)?;
        write_spec(path, &file, spec)?;
        let n = spec.rows.count as usize;
        let x_shape = match spec.n_obs {
            None => vec![n, spec.dim_x],
            Some(k) => vec![n, k, spec.dim_x],
        };
        let datasets = [
            chunk::create::<f32>(path, &file, "theta", &[n, spec.prior.dim()], self.chunk_rows)?,
            chunk::create::<f32>(path, &file, "x", &x_shape, self.chunk_rows)?,
            chunk::create::<u8>(path, &file, "valid", &[n], self.chunk_rows)?,
        ];
        for index in 0..self.staging.frames().len() {
            let parts = self.staging.read(index)?;
            for (dataset, part) in datasets.iter().zip(&parts) {
                chunk::write(path, dataset, (index * self.chunk_rows) as u64, part)?;
            }
        }
        drop(datasets);
        file.close().map_err(|error| failed(path, "cannot be completed", &error))
    }
}

/// `<target>.partial`, where rows are staged.
fn partial_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Rows of a chunk.
fn chunk_rows(spec: &TrainingSetSpec) -> usize {
    let row_bytes = 4 * spec.prior.dim().max(spec.x_width());
    let fitting = (CHUNK_BYTES / row_bytes).clamp(1, CHUNK_ROWS);
    let power = spec.keep.map_or(fitting, |keep| keep.clamp(1, fitting));
    let power = 1 << power.ilog2();
    // HDF5 wants chunks no larger than the data.
    power.min(usize::try_from(spec.rows.count).unwrap_or(power))
}

/// Little-endian bytes, padded with zeros to `length` values.
fn bytes(values: &[f32], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes.resize(4 * length, 0);
    bytes
}

fn check_spec(target: &Path, spec: &TrainingSetSpec) -> Result<()> {
    let RowRange { first, count, total } = spec.rows;
    if count == 0 || spec.x_width() == 0 || first + count > total {
        return Err(shape(
            target,
            "training set",
            "at least one row and one observed value, within the run".into(),
            format!("rows {first}..{} of {total} with {} values", first + count, spec.x_width()),
        ));
    }
    if spec.conditions >= spec.dim_x {
        let expected = format!("something observed beside {} conditions", spec.conditions);
        return Err(shape(target, "x", expected, format!("{} values", spec.dim_x)));
    }
    if !spec.observation_names.is_empty() && spec.observation_names.len() != spec.dim_x {
        return Err(shape(
            target,
            "observation_names",
            format!("{} names", spec.dim_x),
            spec.observation_names.len().to_string(),
        ));
    }
    Ok(())
}

fn shape(path: &Path, what: &str, expected: String, found: String) -> FileError {
    FileError::Shape { what: format!("{}: {what}", path.display()), expected, found }
}

fn write_spec(path: &Path, file: &hdf5::File, spec: &TrainingSetSpec) -> Result<()> {
    let json = |names: &[String]| serde_json::json!(names).to_string();
    attributes::write_text(path, file, "prior", &spec.prior.to_json())?;
    attributes::write_text(path, file, "parameter_names", &json(spec.prior.names()))?;
    let names = json(&spec.observation_names);
    // Optional, so left out where HDF5 could not hold it (observations of thousands of values).
    if !spec.observation_names.is_empty() && names.len() <= attributes::LONGEST_TEXT {
        attributes::write_text(path, file, "observation_names", &names)?;
    }
    if spec.conditions > 0 {
        attributes::write_number(path, file, CONDITIONS, spec.conditions as u64)?;
    }
    attributes::write_text(path, file, "x_transform", spec.x_transform.as_str())?;
    attributes::write_text(path, file, "settings", &serde_json::Value::Object(spec.settings.clone()).to_string())?;
    attributes::write_number(path, file, "first_row", spec.rows.first)?;
    attributes::write_number(path, file, "total_rows", spec.rows.total)
}
