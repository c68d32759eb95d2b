//! Where a file came from.

use super::{attributes, failed, file_error, links, open_hdf5};
use crate::{FileError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are hashed at once.
const BLOCK: usize = 1 << 18;

/// The kinds of HDF5 and netCDF files of ours, as in the root attribute `tallsbi_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Parameters and simulated observations.
    TrainingSet,
    /// Observations to condition on.
    Observations,
    /// Posterior samples.
    Posterior,
}

impl FileKind {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrainingSet => "training-set",
            Self::Observations => "observations",
            Self::Posterior => "posterior",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file that another one was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its path, as given by the user.
    pub path: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Where a file came from: what every file of ours says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of tallsbi.
    pub version: String,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// The command that made it.
    pub command: String,
    /// The vector instructions of the machine: with others, equal seeds give numbers that may differ in their last digits. "" where it is not known.
    #[serde(default)]
    pub instruction_set: String,
    /// The user's seed.
    pub seed: u64,
    /// The task, or "".
    pub task: String,
    /// The files it was made from.
    pub parents: Vec<Parent>,
}

/// The attributes that hold it.
pub(super) const ATTRIBUTES: [&str; 8] =
    ["tallsbi_kind", "tallsbi_version", "created", "command", "instruction_set", "task", "parents", "seed"];

impl Provenance {
    /// Provenance of a file that is being made now.
    ///
    /// The time is `SOURCE_DATE_EPOCH` (seconds since 1970) where that is set, so that files can be reproduced to the byte.
    pub fn new(command: impl Into<String>, seed: u64, task: impl Into<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            created: now(),
            command: command.into(),
            instruction_set: instruction_set().into(),
            seed,
            task: task.into(),
            parents: Vec::new(),
        }
    }

    /// Adds a file this one is made from, reading it once for its checksum.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn with_parent(mut self, path: &Path) -> Result<Self> {
        self.parents.push(Parent { path: path.display().to_string(), sha256: sha256_file(path)? });
        Ok(self)
    }

    /// The attributes, in writing order; the seed apart since it is a number.
    pub(super) fn texts(&self, kind: FileKind) -> Vec<(&'static str, String)> {
        vec![
            ("tallsbi_kind", kind.as_str().into()),
            ("tallsbi_version", self.version.clone()),
            ("created", self.created.clone()),
            ("command", fit(&self.command)),
            ("instruction_set", self.instruction_set.clone()),
            ("task", self.task.clone()),
            ("parents", parents_json(&self.parents)),
        ]
    }

    /// Writes the attributes on the root of an HDF5 file.
    pub(super) fn write(&self, path: &Path, file: &hdf5::File, kind: FileKind) -> Result<()> {
        for (name, text) in self.texts(kind) {
            attributes::write_text(path, file, name, &text)?;
        }
        attributes::write_number(path, file, "seed", self.seed)
    }

    /// Reads what a file says about itself; missing attributes (files written by users) become "", 0 and [].
    pub(super) fn read(path: &Path, file: &hdf5::File) -> Result<Self> {
        let text = |name| Ok::<_, FileError>(attributes::text(path, file, name)?.unwrap_or_default());
        let parents = text("parents")?;
        Ok(Self {
            version: text("tallsbi_version")?,
            created: text("created")?,
            command: text("command")?,
            instruction_set: text("instruction_set")?,
            seed: attributes::number(path, file, "seed").ok().flatten().unwrap_or(0),
            task: text("task")?,
            parents: if parents.is_empty() { Vec::new() } else { serde_json::from_str(&parents).unwrap_or_default() },
        })
    }
}

/// The vector instructions that kernels are dispatched to on this machine.
fn instruction_set() -> &'static str {
    match pulp::Arch::new() {
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V4(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V3(_) => "avx2",
        _ => std::env::consts::ARCH,
    }
}

/// Cuts a command line that HDF5 could not hold (thousands of file names).
fn fit(command: &str) -> String {
    let mut end = command.len().min(attributes::LONGEST_TEXT - 8);
    while !command.is_char_boundary(end) {
        end -= 1;
    }
    if end < command.len() { format!("{} …", &command[..end]) } else { command.to_owned() }
}

/// The list of parents as JSON; of a list that HDF5 could not hold, one entry with the checksum of all.
fn parents_json(parents: &[Parent]) -> String {
    let json = serde_json::to_string(parents).unwrap_or_default();
    if json.len() <= attributes::LONGEST_TEXT {
        return json;
    }
    let all = Parent {
        path: format!("{} files; the checksum is over the JSON list of their paths and checksums", parents.len()),
        sha256: hex::encode(Sha256::digest(json.as_bytes())),
    };
    serde_json::to_string(&[all]).unwrap_or_default()
}

fn now() -> String {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse::<i64>().ok());
    let time = fixed.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.unwrap_or_else(|| {
        let now = jiff::Timestamp::now();
        jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
    });
    time.to_string()
}

/// SHA-256 of a file's bytes, in hexadecimal; of an HDF5 file whose links are [followed](crate::follow_links), that of its own and of the digests of all files that it leads to.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let others = links::led_to(path)?;
    if others.is_empty() {
        return sha256_of_file(path);
    }
    let all = std::iter::once(path).chain(others.iter().map(PathBuf::as_path)).map(sha256_of_file);
    Ok(hex::encode(Sha256::digest(all.collect::<Result<Vec<_>>>()?.concat())))
}

fn sha256_of_file(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => file_error(path, "no such file"),
        _ => failed(path, "cannot be opened", &error),
    })?;
    sha256_of(file).map_err(|error| failed(path, "cannot be read", &error))
}

/// SHA-256 of all that is left to read, in hexadecimal.
pub(super) fn sha256_of(mut reader: impl Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BLOCK];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// The kind of an HDF5 or netCDF-4 file; `None` where it does not say (a file that tallsbi did not write).
///
/// # Errors
/// When it cannot be read, is neither, or says something unknown.
pub fn kind_of(path: &Path) -> Result<Option<FileKind>> {
    kind_of_open(path, &open_hdf5(path)?)
}

pub(super) fn kind_of_open(path: &Path, file: &hdf5::File) -> Result<Option<FileKind>> {
    match attributes::text(path, file, "tallsbi_kind")?.as_deref() {
        None => Ok(None),
        Some("training-set") => Ok(Some(FileKind::TrainingSet)),
        Some("observations") => Ok(Some(FileKind::Observations)),
        Some("posterior") => Ok(Some(FileKind::Posterior)),
        Some(other) => Err(file_error(
            path,
            format!("attribute tallsbi_kind is {other:?}; known are \"training-set\", \"observations\", \"posterior\""),
        )),
    }
}

/// Fails when a file says that it is of another kind.
pub(super) fn expect_kind(path: &Path, file: &hdf5::File, expected: FileKind) -> Result<()> {
    match kind_of_open(path, file)? {
        Some(found) if found != expected => {
            Err(FileError::Kind { path: path.to_owned(), expected: expected.as_str(), found: found.to_string() })
        }
        _ => Ok(()),
    }
}
