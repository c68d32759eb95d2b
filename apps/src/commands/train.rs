//! `tallsbi train`.

pub use super::train_arguments::TrainArguments;
use crate::context::{Context, usage};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tallsbi_data::{Prior, XTransform};
use tallsbi_files::{Existing, OutputFile, Provenance, TrainingSet};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::TrainedModel;
use tallsbi_inference::train::{
    BoxError, Checkpoint, Last, Resumable, RowSource, Storage, TrainOptions, TrainingData, VisitRows, train_resumable,
};

/// Checkpoints are written at most this often: what a killed run loses.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(15);

/// Runs the command.
pub fn run(context: &Context, arguments: &TrainArguments) -> Result<()> {
    let options = arguments.options()?;
    if arguments.show_config {
        return context.print(toml::to_string(&options)?.trim_end(), || json!(options));
    }
    let output = &arguments.output.output;
    let limits = (arguments.rows, arguments.memory.map(|mebibytes| mebibytes << 20));
    let model = write(context, &arguments.data, limits, &options, output, arguments.output.existing())?;
    report(context, output, &model)
}

/// Trains a model on the first `rows` rows of a training set (all by default) into `output`, holding at most `memory` bytes of
/// observations in memory (half of the machine's by default), or continues from the checkpoint
/// that an interrupted run left beside it.
pub fn write(
    context: &Context,
    data: &Path,
    (rows, memory): (Option<u64>, Option<u64>),
    options: &TrainOptions,
    output: &Path,
    existing: Existing,
) -> Result<TrainedModel> {
    let refuse_model = if existing == Existing::Overwrite { existing } else { Existing::Refuse };
    OutputFile::check(output, refuse_model)?;
    let checkpoint_file = checkpoint_path(output);
    if existing == Existing::Refuse && checkpoint_file.exists() {
        return Err(usage(format!(
            "{}: was left by an interrupted run: add --resume to continue it, or --force to start over",
            checkpoint_file.display()
        )));
    }
    let set = TrainingSet::open(data)?;
    let provenance = context.provenance(&set.provenance().task).with_parent(data)?;
    let fingerprint = fingerprint(&provenance, options, rows);
    let resume = if existing == Existing::Resume { read_checkpoint(&checkpoint_file)? } else { None };
    let storage = storage(&set, rows, memory, output);
    let prepared = TrainingData::read(&FileRows { set: &set, limit: rows }, options, context.key(), &storage)
        .with_context(|| data.display().to_string())?;
    if prepared.invalid > 0 {
        tracing::warn!("{}: {} rows are not valid and are left out", data.display(), prepared.invalid);
    }

    let started = Instant::now();
    let mut written = Instant::now();
    let keep = |last, checkpoint: &dyn Fn() -> Checkpoint| {
        if last == Last::No && written.elapsed() <= CHECKPOINT_INTERVAL {
            return Ok(());
        }
        written = Instant::now();
        let bytes = serde_json::to_vec(&checkpoint())?;
        Ok(OutputFile::write(&checkpoint_file, Existing::Overwrite, &bytes)?)
    };
    let run = Resumable { fingerprint: &fingerprint, resume, keep: Box::new(keep) };
    let mut model = match train_resumable(&prepared, options, context.key(), run, &context.monitor()) {
        Err(error @ InferenceError::Cancelled(_)) => {
            context.check_interrupt("run the same command with --resume to go on")?;
            return Err(error.into());
        }
        trained => trained?,
    };
    describe(&mut model, &set, &provenance, options, started.elapsed());
    OutputFile::write(output, refuse_model, &model.to_bytes())?;
    if checkpoint_file.exists() {
        std::fs::remove_file(&checkpoint_file)
            .with_context(|| format!("{}: cannot be removed", checkpoint_file.display()))?;
    }
    Ok(model)
}

/// Memory for observations, or a scratch file beside the output where they need more than `memory` bytes.
fn storage(set: &TrainingSet, rows: Option<u64>, memory: Option<u64>, output: &Path) -> Storage {
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

/// All that decides the result: data, options, seed.
fn fingerprint(provenance: &Provenance, options: &TrainOptions, rows: Option<u64>) -> String {
    let data: Vec<&str> = provenance.parents.iter().map(|parent| parent.sha256.as_str()).collect();
    let all = json!({
        "data": data, "rows": rows, "options": options, "seed": provenance.seed, "version": provenance.version,
    });
    Sha256::digest(all.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
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
    let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let checkpoint = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is not a checkpoint; remove it to start over", path.display()))?;
    Ok(Some(checkpoint))
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

    fn x_transform(&self) -> XTransform {
        self.set.spec().x_transform
    }

    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> Result<u64, InferenceError> {
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
}

/// Writes into the model what it is and where it came from.
fn describe(
    model: &mut TrainedModel,
    set: &TrainingSet,
    provenance: &Provenance,
    options: &TrainOptions,
    elapsed: Duration,
) {
    model.info.task.clone_from(&provenance.task);
    model.info.observation_names.clone_from(&set.spec().observation_names);
    // With a fixed time of creation the user wants equal bytes from equal runs.
    let fixed = std::env::var_os("SOURCE_DATE_EPOCH").is_some();
    model.info.training_seconds = if fixed { 0.0 } else { elapsed.as_secs_f64() };
    let mut value = json!(provenance);
    value["options"] = json!(options);
    model.info.provenance = value;
}

fn report(context: &Context, output: &Path, model: &TrainedModel) -> Result<()> {
    let path = output.display();
    let lines: Vec<String> = model
        .info
        .training
        .iter()
        .map(|record| {
            format!(
                "  {}: validation loss {:.5} in epoch {} of {}{}",
                record.network,
                record.best_validation_loss,
                record.best_epoch,
                record.validation_loss.len(),
                if record.kept { "" } else { " (not kept: another validates better or is simpler)" }
            )
        })
        .collect();
    let text = format!(
        "{path}: {} model of {} parameters from {} values, {} rows, {:.1} s\n{}",
        model.architecture(),
        model.dim_theta(),
        model.dim_x(),
        model.info.n_train,
        model.info.training_seconds,
        lines.join("\n")
    );
    context.print(text, || {
        let training: Vec<Value> = model
            .info
            .training
            .iter()
            .map(|r| {
                json!({
                    "network": r.network,
                    "best_epoch": r.best_epoch,
                    "epochs": r.validation_loss.len(),
                    "best_validation_loss": r.best_validation_loss,
                    "learning_rate": r.learning_rate,
                    "batch_size": r.batch_size,
                    "kept": r.kept,
                })
            })
            .collect();
        json!({
            "path": path.to_string(),
            "architecture": model.architecture(),
            "dim_theta": model.dim_theta(),
            "dim_x": model.dim_x(),
            "rows": model.info.n_train,
            "seconds": model.info.training_seconds,
            "training": training,
        })
    })
}
