//! What is fed with damaged inputs: each reader of the library, in this process.

use super::corpus::{IDENTITY, open_set};
use super::mutate::Kind::{self, Binary, Text};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tallsbi::data::{Prior, SignalWindow, parse_component, parse_toml};
use tallsbi::files::{Contents, Existing, Gaps, Header, MatrixSource, Observations, Opened, Posterior, TrainingSet};
use tallsbi::inference::model::TrainedModel;
use tallsbi::inference::score::MomentCache;
use tallsbi::inference::train::Checkpoint;
use tallsbi::on_disk::SimulationLog;
use tallsbi::recordings::Recording;
use tallsbi::{
    Model, RecordingOptions, RefineOptions, SampleOptions, TaskOptions, TrainOptions, summarise_recording, task,
};
use tallsbi_studies::options_file::parse_toml as parse_options;
use tallsbi_studies::study::{Results, Study};

/// A reader and what it is fed with.
pub struct Target {
    /// Name.
    pub name: &'static str,
    /// Good files of the corpus.
    pub seeds: &'static [&'static str],
    /// What they are.
    pub kind: Kind,
    /// What is around the damaged part.
    pub shell: Shell,
    /// Reads an input; whether it is taken.
    pub read: fn(Input<'_>) -> bool,
    /// Executions in the short run.
    pub short: u64,
}

/// What is around the damaged part of a file: what would refuse all damage is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// Nothing.
    None,
    /// The digest behind HDF5 files of ours is left out.
    Sealed,
    /// The length of a description, without its digest, and tensors that are whole.
    Description,
    /// The line with the digest.
    Checkpoint,
}

impl Shell {
    /// A good file without its digest: the part that is damaged, and the rest.
    pub fn open(self, file: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::None => (file.to_vec(), Vec::new()),
            Self::Sealed => {
                let tail = file.len().saturating_sub(200);
                let mark = file[tail..].windows(15).position(|bytes| bytes == b"tallsbi-sha256 ");
                (file[..mark.map_or(file.len(), |at| tail + at - 1)].to_vec(), Vec::new())
            }
            Self::Description => {
                let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
                let header = String::from_utf8(file[8..8 + length].to_vec()).expect("text");
                let start = header.find(r#"\"digest\":\""#).expect("a digest");
                let end = start + header[start..].find(',').expect("more");
                ((header[..start].to_owned() + &header[end + 1..]).into_bytes(), file[8 + length..].to_vec())
            }
            Self::Checkpoint => {
                let line = file.iter().position(|&byte| byte == b'\n').expect("a line");
                (file[line + 1..].to_vec(), Vec::new())
            }
        }
    }

    /// The file of a damaged part and the rest.
    pub fn close(self, damaged: Vec<u8>, rest: &[u8]) -> Vec<u8> {
        match self {
            Self::None | Self::Sealed => damaged,
            Self::Description => [&(damaged.len() as u64).to_le_bytes()[..], &damaged, rest].concat(),
            Self::Checkpoint => [hex::encode(Sha256::digest(&damaged)).as_bytes(), b"\n", &damaged].concat(),
        }
    }
}

/// A damaged input, and a folder to read it from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub bytes: &'a [u8],
    pub folder: &'a Path,
    /// Where the good files are.
    pub corpus: &'a Path,
}

impl Input<'_> {
    /// The input as a file: a new one, for HDF5 knows an open file again.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, self.bytes).expect("written");
        path
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// The path in the folder of another good file, which is copied there once.
    fn beside(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        if !path.exists() {
            std::fs::copy(self.corpus.join(name), &path).expect("copied");
        }
        path
    }
}

const fn target(name: &'static str, seeds: &'static [&'static str], kind: Kind, read: fn(Input<'_>) -> bool) -> Target {
    Target { name, seeds, kind, shell: Shell::None, read, short: 300 }
}

const fn hdf5(name: &'static str, seeds: &'static [&'static str], read: fn(Input<'_>) -> bool) -> Target {
    Target { name, seeds, kind: Binary, shell: Shell::Sealed, read, short: 100 }
}

/// All of them. Those whose files libhdf5 reads come first.
pub const TARGETS: [Target; 19] = [
    hdf5("training sets", &["train-1.h5", "train-2.h5", "train-3.h5"], training_set),
    hdf5("observations", &["obs-1.h5", "obs-2.h5"], observations),
    hdf5("posteriors", &["posterior-1.nc", "posterior-2.nc"], posterior),
    hdf5("draws in HDF5 and netCDF", &["obs-2.h5", "posterior-2.nc"], draws),
    target("partial training sets", &["out.h5.partial"], Binary, partial),
    target("draws in npy", &["array-1.npy", "array-2.npy"], Binary, npy),
    target("tables", &["table-1.csv", "table-2.csv", "table-3.csv", "table-4.csv"], Text, table),
    target("EDF and BDF", &["plain.edf", "annotated.bdf", "broken.edf"], Binary, edf),
    target("BrainVision", &["input.vhdr"], Text, brainvision),
    target("BrainVision markers", &["input.vmrk"], Text, markers),
    target(
        "priors",
        &["prior-1.json", "prior-2.json", "prior-3.json", "prior-4.json", "prior-5.json", "prior-6.json"],
        Text,
        prior,
    ),
    target("notation of priors", &["notation.txt"], Text, notation),
    target("studies", &["study-1.toml", "study-2.toml", "study-3.toml", "study-4.toml"], Text, study),
    target("options", &["train.toml", "refine.toml", "sample.toml"], Text, options),
    Target { short: 60, ..target("model files", &["command.toml", "ode.toml"], Text, model_file) },
    target("results", &["results.json"], Text, results),
    Target { shell: Shell::Description, ..target("models", MODELS, Text, model) },
    Target { shell: Shell::Checkpoint, ..target("checkpoints", CHECKPOINTS, Text, checkpoint) },
    target("kept covariances and simulations", &["covariances.safetensors", "simulations.log"], Binary, kept),
];

/// How many of them libhdf5 reads.
pub const NATIVE: usize = 4;

const MODELS: &[&str] = &["anchored.safetensors", "noise.safetensors", "likelihood.safetensors", "refined.safetensors"];
const CHECKPOINTS: &[&str] = &["anchored.checkpoint", "noise.checkpoint", "likelihood.checkpoint"];

fn training_set(input: Input<'_>) -> bool {
    let path = input.file("input.h5");
    let Ok(set) = TrainingSet::open(&path) else { return false };
    let read = (set.load(None).is_ok(), set.load_less(&[0.5], Some(10)).is_ok(), set.count_invalid().is_ok());
    read.0 && read.1 && read.2
}

fn observations(input: Input<'_>) -> bool {
    let path = input.file("input.h5");
    let whole = MatrixSource { path: path.clone(), dataset: None, index: None };
    let inner = MatrixSource { path: path.clone(), dataset: Some("deep/draws".into()), index: Some(1) };
    let packed = MatrixSource { path: path.clone(), dataset: Some("packed".into()), index: None };
    let gaps = |source: &MatrixSource| source.read_with(Header::Auto, Gaps::Allowed).is_ok();
    let read = [gaps(&whole), gaps(&inner), gaps(&packed), Contents::read(&path).is_ok()];
    Observations::read(&path).is_ok() && read[0]
}

fn posterior(input: Input<'_>) -> bool {
    Posterior::read(&input.file("input.nc")).is_ok()
}

fn draws(input: Input<'_>) -> bool {
    let path = input.file("input.h5");
    ["deep/draws", "packed", "posterior/a", "posterior_predictive/x"]
        .map(|name| MatrixSource { path: path.clone(), dataset: Some(name.into()), index: None }.read_array().is_ok())
        .contains(&true)
}

fn partial(input: Input<'_>) -> bool {
    input.file("out.h5.partial");
    let writer = open_set(&input.folder.join("out.h5"), None, Existing::Resume);
    matches!(writer, Ok(Opened::Writing(writer)) if writer.next_row() > 0)
}

fn npy(input: Input<'_>) -> bool {
    MatrixSource { path: input.file("input.npy"), dataset: None, index: None }.read_array().is_ok()
}

fn table(input: Input<'_>) -> bool {
    let source = MatrixSource { path: input.file("input.csv"), dataset: None, index: None };
    let read = |header, gaps| source.read_with(header, gaps).is_ok();
    [read(Header::Auto, Gaps::Allowed), read(Header::Yes, Gaps::Refused), read(Header::No, Gaps::Allowed)]
        .contains(&true)
}

fn edf(input: Input<'_>) -> bool {
    recording(&input.file("input.edf"))
}

fn brainvision(input: Input<'_>) -> bool {
    input.beside("input.vmrk");
    input.beside("input.eeg");
    recording(&input.file("input.vhdr"))
}

fn markers(input: Input<'_>) -> bool {
    input.beside("input.eeg");
    let header = input.beside("input.vhdr");
    input.file("input.vmrk");
    recording(&header)
}

/// The stretches that models of signals summarise.
static WINDOW: LazyLock<SignalWindow> = LazyLock::new(|| {
    let task = task("jrnmm_3d", &TaskOptions::default()).expect("built in");
    task.signal_window().expect("signals")
});

fn recording(path: &Path) -> bool {
    let Ok(recording) = Recording::open(path) else { return false };
    let channels: Vec<String> = recording.channels.iter().map(|channel| channel.label.clone()).take(2).collect();
    let read = |channel: &String| {
        let options = RecordingOptions { channel: Some(channel.clone()), ..RecordingOptions::default() };
        summarise_recording(path, *WINDOW, &options).is_ok()
    };
    channels.iter().map(read).fold(false, |any, one| any | one)
}

fn prior(input: Input<'_>) -> bool {
    let Ok(prior) = Prior::from_json(&input.text()) else { return false };
    let mut theta = vec![0.0; prior.dim()];
    prior.sample(&mut tallsbi::StreamKey::root(1).rng(0), &mut theta);
    prior.log_density(&theta);
    Prior::from_json(&prior.to_json()).expect("what was written is read") == prior
}

fn notation(input: Input<'_>) -> bool {
    input.text().lines().map(|line| parse_component(line).is_ok()).fold(false, |any, one| any | one)
}

fn study(input: Input<'_>) -> bool {
    Study::parse(&input.text(), "study.toml").is_ok()
}

fn options(input: Input<'_>) -> bool {
    let text = input.text();
    let train = parse_options::<TrainOptions>(&text, "options.toml").is_ok();
    let refine = parse_options::<RefineOptions>(&text, "options.toml").is_ok_and(|options| options.validate().is_ok());
    let sample = parse_toml::<SampleOptions>(&text).is_ok_and(|options| options.validate().is_ok());
    train || refine || sample
}

fn model_file(input: Input<'_>) -> bool {
    let path = input.file("input.toml");
    task(path.to_str().expect("text"), &TaskOptions::default()).is_ok()
}

fn results(input: Input<'_>) -> bool {
    Results::from_json(input.bytes).is_ok()
}

fn model(input: Input<'_>) -> bool {
    let contents = Contents::read(&input.file("input.safetensors")).is_ok();
    TrainedModel::from_bytes(input.bytes).map(Model::new).is_ok() && contents
}

fn checkpoint(input: Input<'_>) -> bool {
    Checkpoint::from_bytes(input.bytes).is_ok()
}

fn kept(input: Input<'_>) -> bool {
    let covariances = MomentCache::from_bytes(input.bytes, IDENTITY, 2).is_ok();
    let output = input.folder.join("refined.out");
    std::fs::write(SimulationLog::path(&output), input.bytes).expect("written");
    SimulationLog::open(&output, IDENTITY.into(), true).is_ok() && covariances
}
