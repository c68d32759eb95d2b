//! `tallsbi train`.

use super::model::read_toml;
use crate::cli::ResumableOutputArguments;
use crate::context::{Context, usage};
use crate::progress::Bar;
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tallsbi_data::file::{Existing, OutputFile, Provenance, TrainingSet};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::{Covariance, TrainedModel};
use tallsbi_inference::train::{
    Architecture, Checkpoint, DensityForm, LatentKind, Monitor, NoiseLevels, OptimizerOptions, Progress, SearchOptions,
    Storage, TrainOptions, TrainingData, train,
};

/// Train a score network on a training set
///
/// The training set needs /theta (N, m), /x (N, d) or (N, K, d) and the attribute prior, a JSON list such as
/// [{"name":"a","dist":"uniform","low":0,"high":1}]: what `tallsbi simulate` writes, or ten lines of h5py.
/// Less common options are set in a TOML file (--config); --show-config prints all of them to start from.
///
/// Example: tallsbi train train.h5 -o model.safetensors --epochs 200
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct TrainArguments {
    /// Training set
    pub data: PathBuf,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
    /// All options as TOML; options given on the command line go before it
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Print the options that would be used, as TOML, and stop
    #[arg(long)]
    pub show_config: bool,
    /// Train on the first N rows only
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Keep observations that take more than this in a scratch file beside the output [default: half of the machine's memory]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// What the network learns [default: likelihood where x has at most 64 values or is whole numbers only, else anchored; noise where other options need it]
    #[arg(long)]
    pub architecture: Option<ArchitectureName>,
    /// Space in which scores are learned [default: prior-gaussian]
    #[arg(long)]
    pub latent: Option<LatentName>,
    /// Hidden widths [default: 256,256,256 for scores, 128 eight times for likelihoods]
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub hidden: Option<Vec<usize>>,
    /// Gaussians of the likelihood's mixture [default: 1 or 4, whichever validates better]
    #[arg(long, value_name = "C")]
    pub components: Option<usize>,
    /// Covariances of the likelihood's Gaussians [default: whichever validates better]
    #[arg(long)]
    pub covariance: Option<CovarianceName>,
    /// Networks of the likelihood, whose outputs are averaged [default: 4]
    #[arg(long, value_name = "K")]
    pub members: Option<usize>,
    /// Passes over the data at most, of each network
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Epochs without a better validation loss before stopping
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Rows a step; of several, the one that validates best (trains every combination with --learning-rate)
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub batch_size: Vec<usize>,
    /// Learning rate of Adam; of several, the one that validates best
    #[arg(long, value_name = "RATE,..", value_delimiter = ',')]
    pub learning_rate: Vec<f64>,
    /// How noise levels are drawn [default: log-uniform]
    #[arg(long)]
    pub noise_levels: Option<NoiseLevelsName>,
    /// Probability of dropping the context, to learn the prior's score too (the paper: 0.2)
    #[arg(long, value_name = "P")]
    pub context_dropout: Option<f64>,
    /// Largest set of observations the network takes at once (partial factorisation)
    #[arg(long, value_name = "K")]
    pub n_max: Option<usize>,
    /// Fraction of the rows held out for validation
    #[arg(long, value_name = "FRACTION")]
    pub validation_fraction: Option<f64>,
}

/// What networks predict.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ArchitectureName {
    /// A Gaussian posterior, and the rest of the score
    Anchored,
    /// The noise, as published
    Noise,
    /// The likelihood of an observation, where that is simpler than the posterior
    Likelihood,
}

/// Shapes of covariances.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CovarianceName {
    /// Any
    Full,
    /// Values of x independent given the parameters
    Diagonal,
}

/// Latent spaces.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LatentName {
    /// The prior becomes N(0, I)
    PriorGaussian,
    /// Z-scores, as published
    Standardized,
}

/// Distributions of noise levels in training.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum NoiseLevelsName {
    /// Uniform in the logarithm of the noise ratio
    LogUniform,
    /// Uniform in time, as published
    UniformTime,
}

/// Checkpoints are written at most this often: what a killed run loses.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(15);

/// Runs the command.
pub fn run(context: &Context, arguments: &TrainArguments) -> Result<()> {
    let options = options(arguments)?;
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
    let checkpoint = checkpoint_path(output);
    if existing == Existing::Refuse && checkpoint.exists() {
        return Err(usage(format!(
            "{}: was left by an interrupted run: add --resume to continue it, or --force to start over",
            checkpoint.display()
        )));
    }
    let set = TrainingSet::open(data)?;
    let provenance = context.provenance(&set.provenance().task).with_parent(data)?;
    let fingerprint = fingerprint(&provenance, options, rows);
    let resume = if existing == Existing::Resume { read_checkpoint(&checkpoint)? } else { None };
    let storage = storage(&set, rows, memory, output);
    let prepared =
        TrainingData::read(&set, rows, options, context.key(), &storage).with_context(|| data.display().to_string())?;
    if prepared.invalid > 0 {
        tracing::warn!("{}: {} rows are not valid and are left out", data.display(), prepared.invalid);
    }

    let started = Instant::now();
    let mut monitor = Watch { context, checkpoint: &checkpoint, written: Instant::now(), bar: None, failure: None };
    let trained = train(&prepared, options, context.key(), &fingerprint, resume, &mut monitor);
    let failure = monitor.failure.take();
    drop(monitor);
    let mut model = match (trained, failure) {
        (_, Some(error)) => return Err(error),
        (Err(InferenceError::Interrupted), None) => {
            context.check_interrupt("run the same command with --resume to go on")?;
            return Err(InferenceError::Interrupted.into());
        }
        (trained, None) => trained?,
    };
    describe(&mut model, &set, &provenance, options, started.elapsed());
    OutputFile::write(output, refuse_model, &model.to_bytes())?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint).with_context(|| format!("{}: cannot be removed", checkpoint.display()))?;
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

/// The options: defaults, then the file, then the command line.
fn options(arguments: &TrainArguments) -> Result<TrainOptions> {
    let mut architecture = arguments.architecture.map(|name| match name {
        ArchitectureName::Anchored => Architecture::Anchored,
        ArchitectureName::Noise => Architecture::Noise,
        ArchitectureName::Likelihood => Architecture::Likelihood,
    });
    let mut options = TrainOptions::default();
    if let Some(path) = &arguments.config {
        options = read_toml(path)?;
        let written: toml::Table = read_toml(path)?;
        if written.contains_key("architecture") {
            architecture = architecture.or(Some(options.architecture));
        }
    }
    if let Some(name) = arguments.latent {
        options.latent = match name {
            LatentName::PriorGaussian => LatentKind::PriorGaussian,
            LatentName::Standardized => LatentKind::Standardized,
        };
    }
    if let Some(name) = arguments.noise_levels {
        options.noise_levels = match name {
            NoiseLevelsName::LogUniform => NoiseLevels::LogUniform,
            NoiseLevelsName::UniformTime => NoiseLevels::UniformTime,
        };
    }
    if let Some(hidden) = &arguments.hidden {
        options.network.hidden.clone_from(hidden);
        options.likelihood.hidden.clone_from(hidden);
        options.likelihood.linear = false;
    }
    options.network.n_max = arguments.n_max.unwrap_or(options.network.n_max);
    options.context_dropout = arguments.context_dropout.unwrap_or(options.context_dropout);
    options.validation_fraction = arguments.validation_fraction.unwrap_or(options.validation_fraction);
    override_forms(arguments, &mut options.likelihood.candidates);
    options.likelihood.members = arguments.members.unwrap_or(options.likelihood.members);
    for optimizer in options.optimizers() {
        override_optimizer(arguments, optimizer);
    }
    override_search(arguments, &mut options.search);
    // The published architecture can do some things that the better ones cannot.
    let needs_noise = options.latent == LatentKind::Standardized
        || options.context_dropout > 0.0
        || options.network.n_max > 1
        || options.network.theta_embedding.is_some();
    let suitable = if needs_noise { Architecture::Noise } else { Architecture::default() };
    options.architecture = architecture.unwrap_or(suitable);
    let likelihood_only = [
        ("--components", arguments.components.is_some()),
        ("--covariance", arguments.covariance.is_some()),
        ("--members", arguments.members.is_some()),
    ];
    for (option, given) in likelihood_only {
        if given && options.architecture != Architecture::Likelihood {
            return Err(usage(format!("{option} goes with --architecture likelihood only")));
        }
    }
    options.validate()?;
    Ok(options)
}

/// Narrows the likelihood's forms to what was asked for, each once.
fn override_forms(arguments: &TrainArguments, forms: &mut Vec<DensityForm>) {
    let covariance = arguments.covariance.map(|name| match name {
        CovarianceName::Full => Covariance::Full,
        CovarianceName::Diagonal => Covariance::Diagonal,
    });
    for form in std::mem::take(forms) {
        let form = DensityForm {
            components: arguments.components.unwrap_or(form.components),
            covariance: covariance.unwrap_or(form.covariance),
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
}

fn override_optimizer(arguments: &TrainArguments, optimizer: &mut OptimizerOptions) {
    optimizer.epochs = arguments.epochs.unwrap_or(optimizer.epochs);
    optimizer.patience = arguments.patience.unwrap_or(optimizer.patience);
    if let [batch_size] = arguments.batch_size[..] {
        optimizer.batch_size = batch_size;
    }
    if let [learning_rate] = arguments.learning_rate[..] {
        optimizer.learning_rate = learning_rate;
    }
}

/// Several values on the command line are to choose among; one replaces a choice in the file.
fn override_search(arguments: &TrainArguments, search: &mut SearchOptions) {
    fn several<T: Clone>(given: &[T], choice: &mut Vec<T>) {
        match given {
            [] => {}
            [_] => choice.clear(),
            several => *choice = several.to_vec(),
        }
    }
    several(&arguments.batch_size, &mut search.batch_sizes);
    several(&arguments.learning_rate, &mut search.learning_rates);
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

/// Shows progress, keeps checkpoints, and stops on Ctrl-C.
struct Watch<'a> {
    context: &'a Context,
    checkpoint: &'a Path,
    written: Instant,
    bar: Option<(String, Bar)>,
    failure: Option<anyhow::Error>,
}

impl Monitor for Watch<'_> {
    fn epoch(&mut self, progress: &Progress<'_>, checkpoint: &dyn Fn() -> Checkpoint) -> ControlFlow<()> {
        if self.bar.as_ref().is_none_or(|(stage, _)| stage != progress.stage) {
            let bar = self.context.bar(&format!("train {}", progress.stage), "epochs", progress.epochs as u64);
            // The first epoch of a resumed run is already done here.
            bar.resume_at(progress.epoch as u64 - 1);
            self.bar = Some((progress.stage.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.note(note(progress));
            bar.set(progress.epoch as u64);
        }
        let stop = self.context.interrupt.is_set();
        if stop || self.written.elapsed() > CHECKPOINT_INTERVAL {
            self.written = Instant::now();
            let written = serde_json::to_vec(&checkpoint())
                .map_err(anyhow::Error::from)
                .and_then(|bytes| Ok(OutputFile::write(self.checkpoint, Existing::Overwrite, &bytes)?));
            if let Err(error) = written {
                self.failure = Some(error);
                return ControlFlow::Break(());
            }
        }
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Losses of one network, or what several have come to.
fn note(progress: &Progress<'_>) -> String {
    if let [network] = progress.networks {
        let ((best, epoch), record) = (network.best, &network.record);
        return format!(
            "loss {:.4}, validation {:.4}, best {best:.4} in epoch {epoch}",
            record.training_loss, record.validation_loss
        );
    }
    let best: Vec<String> = progress.networks.iter().map(|network| format!("{:.4}", network.best.0)).collect();
    format!("best validation losses {}", best.join(", "))
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
