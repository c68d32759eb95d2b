//! Training from a file into a file, with a checkpoint beside it.

use super::simulate::task_of;
use crate::train::{fingerprint, seconds_since, sparingly};
use crate::{Error, Result, Session};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tallsbi_data::{InJson, Prior, XTransform};
use tallsbi_files::{Existing, FileError, OutputFile, Provenance, TrainingSet};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::TrainedModel;
use tallsbi_inference::train::{
    BoxError, Checkpoint, Resumable, RowBlock, RowSource, Storage, TrainOptions, TrainingData, VisitBlocks, VisitRows,
    train_resumable,
};

/// How much of a training set is used, and of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Train on the first rows only; all if `None`.
    pub rows: Option<u64>,
    /// Bytes of observations that are held in memory, half of the machine's if `None`; more go to a scratch file beside the output.
    pub memory: Option<u64>,
}

/// Trains a model on a training set into `output`, or continues from the checkpoint that an interrupted run left beside it.
///
/// # Errors
/// When files cannot be read or written, an interrupted run is in the way, options are out of range, training diverges, or the monitor
/// asked to stop: a checkpoint is kept then.
pub fn train_file(
    session: &Session<'_>,
    data: &Path,
    limits: Limits,
    options: &TrainOptions,
    output: &Path,
    existing: Existing,
) -> Result<TrainedModel> {
    let refuse_model = if existing == Existing::Overwrite { existing } else { Existing::Refuse };
    OutputFile::check(output, refuse_model)?;
    let _lock = Lock::on(output)?;
    let path = checkpoint_path(output);
    if existing == Existing::Refuse && path.exists() {
        return Err(FileError::Interrupted { path }.into());
    }
    let set = TrainingSet::open(data)?;
    refuse_same(data, output)?;
    let options = &with_declared(options, &set);
    let provenance = session.provenance(&set.provenance().task).with_parent(data)?;
    let parents: Vec<&str> = provenance.parents.iter().map(|parent| parent.sha256.as_str()).collect();
    let fingerprint = fingerprint(&json!(parents), limits.rows, options, session.seed);
    // That of the process that writes, where several train together.
    let left = || if existing == Existing::Resume { read_checkpoint(&path) } else { Ok(None) };
    let resume = session.monitor.lead("checkpoint", || Ok::<_, Error>(left()?.map(InJson)))?;
    let resume = resume.map(|InJson(checkpoint)| checkpoint);
    let storage = storage(&set, limits, output);
    let rows = FileRows { set: &set, limit: limits.rows };
    let prepared = TrainingData::read(&rows, options, session.key(), &storage)
        .map_err(|error| Error::from(error).about(data.display()))?;
    let started = Instant::now();
    let keep = sparingly(|checkpoint| Ok(OutputFile::write(&path, Existing::Overwrite, &checkpoint.to_bytes())?));
    let run = Resumable { fingerprint: &fingerprint, resume, keep };
    let mut model = train_resumable(&prepared, options, session.key(), run, session.monitor)?;
    describe(&mut model, &set, &provenance, options, seconds_since(started));
    OutputFile::write(output, refuse_model, &model.to_bytes())?;
    if path.exists() {
        std::fs::remove_file(&path).map_err(|error| trouble(&path, "cannot be removed", &error))?;
    }
    Ok(model)
}

/// Memory for observations, or a scratch file beside the output where they need more than `memory` bytes.
fn storage(set: &TrainingSet, Limits { rows, memory }: Limits, output: &Path) -> Storage {
    let needed = rows.unwrap_or(u64::MAX).min(set.rows()) * set.spec().x_width() as u64 * size_of::<f32>() as u64;
    if needed <= memory.unwrap_or_else(default_memory) {
        return Storage::Memory;
    }
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    tracing::info!("{} MiB of observations are kept in a scratch file in {}", needed >> 20, folder.display());
    Storage::Scratch(folder)
}

/// Half of the machine's memory.
fn default_memory() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram as u64 * u64::from(system.mem_unit.max(1)) / 2
}

/// That no other run trains into an output: `<output>.lock`, held as long as this lives.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn on(output: &Path) -> Result<Self> {
        let mut name = output.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = File::create(&path).map_err(|error| trouble(&path, "cannot be written", &error))?;
        if file.try_lock().is_err() {
            let message = "another run is training into it; wait for it, or choose another output".into();
            return Err(Error::Input { origin: output.display().to_string(), message });
        }
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Held until it is gone; one that stays is free for the next run.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `<output>.checkpoint`.
fn checkpoint_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

fn read_checkpoint(path: &Path) -> Result<Option<Checkpoint>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|error| trouble(path, "cannot be read", &error))?;
    Checkpoint::from_bytes(&bytes).map(Some).map_err(|error| Error::from(error).about(path.display()))
}

fn trouble(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Input { origin: path.display().to_string(), message: format!("{what}: {error}") }
}

/// The rows of a training set, at most the first `limit`.
struct FileRows<'a> {
    set: &'a TrainingSet,
    limit: Option<u64>,
}

impl RowSource for FileRows<'_> {
    fn prior(&self) -> &Prior {
        self.set.prior()
    }

    fn n_obs(&self) -> usize {
        self.set.spec().n_obs.unwrap_or(1)
    }

    fn dim_x(&self) -> usize {
        self.set.spec().dim_x
    }

    fn conditions(&self) -> usize {
        self.set.spec().conditions
    }

    fn x_transform(&self) -> XTransform {
        self.set.spec().x_transform
    }

    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> std::result::Result<u64, InferenceError> {
        // The visitor's own errors pass through as they are.
        let mut stopped = None;
        let visited = self.set.for_each_valid_block(self.limit, |theta, x| {
            visit(theta, x).map_err(|error| {
                stopped = Some(error);
                BoxError::from("stopped")
            })
        });
        match (visited, stopped) {
            (_, Some(error)) => Err(error),
            (visited, None) => visited.map_err(InferenceError::Caller),
        }
    }

    fn for_each_row_block(&self, visit: &mut VisitBlocks<'_>) -> std::result::Result<u64, InferenceError> {
        let mut stopped = None;
        let visited = self.set.for_each_raw_block(self.limit, |rows| {
            let block = RowBlock { first: rows.first, theta: rows.theta.view(), x: rows.x.view(), valid: &rows.valid };
            visit(&block).map_err(|error| {
                stopped = Some(error);
                BoxError::from("stopped")
            })
        });
        match (visited, stopped) {
            (_, Some(error)) => Err(error),
            (visited, None) => visited.map(|()| 0).map_err(InferenceError::Caller),
        }
    }
}

/// Refuses to write the model over its training set.
fn refuse_same(data: &Path, output: &Path) -> Result<()> {
    let same = data.canonicalize().ok().zip(output.canonicalize().ok()).is_some_and(|(data, output)| data == output);
    if same {
        let message = "is the training set; give the model another name".into();
        return Err(Error::Input { origin: output.display().to_string(), message });
    }
    Ok(())
}

/// The options with what the training set's task declares.
fn with_declared(options: &TrainOptions, set: &TrainingSet) -> TrainOptions {
    match task_of(set) {
        Some(task) => crate::declare(options.clone(), &*task, set.prior()),
        None => options.clone(),
    }
}

/// Writes into the model what it is and where it came from.
fn describe(
    model: &mut TrainedModel,
    set: &TrainingSet,
    provenance: &Provenance,
    options: &TrainOptions,
    seconds: f64,
) {
    model.info.task.clone_from(&provenance.task);
    model.info.observation_names.clone_from(&set.spec().observation_names);
    model.info.signal_window = task_of(set).and_then(|task| task.signal_window());
    model.info.training_seconds = seconds;
    let mut value = json!(provenance);
    value["options"] = json!(options);
    model.info.provenance = value;
}
