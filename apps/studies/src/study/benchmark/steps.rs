//! What the steps of a benchmark do.

use super::options::{BenchmarkOptions, BenchmarkTask};
use super::reference::Reference;
use super::results::{RefinedSet, SetDistances, SetResults};
use crate::study::named_sampler::NamedSampler;
use crate::study::steps::{cpu_seconds, read_json, sampled, write_json};
use anyhow::{Context as _, Result};
use ndarray::{Array3, ArrayView2, ArrayView3, Axis, concatenate};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tallsbi::data::Quiet;
use tallsbi::diagnostics::mmd::{Bandwidth, unbiased_mmd2};
use tallsbi::diagnostics::{DEFAULT_PROJECTIONS, c2st, sliced_wasserstein};
use tallsbi::inference::sample::SampleInfo;
use tallsbi::on_disk::{ModelFile, read_pairs};
use tallsbi::{RefineFrom, RefineOptions, Session, TrainOptions};

/// Samples of all sets, HDF5 data set `samples` (sets, S, m).
pub const SAMPLES: &str = "samples.h5";
/// What a step found.
pub const RESULT: &str = "result.json";

/// What sampling took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sampled {
    /// CPU seconds.
    pub seconds: f64,
    /// Work and incidents.
    pub info: SampleInfo,
    /// Of refinements, one entry a set.
    #[serde(default)]
    pub refined: Vec<RefinedSet>,
}

/// Samples the posteriors of all sets given their first `n` observations.
pub fn posteriors(
    session: &Session<'_>,
    options: &BenchmarkOptions,
    reference: &Reference,
    (n, sampler): (usize, NamedSampler),
    model: &Path,
    folder: &Path,
) -> Result<()> {
    let model = ModelFile::load(model)?;
    model.model.check_width(&reference.path.display().to_string(), reference.dim_x()?)?;
    let x = reference.observations(n)?;
    let groups: Vec<ArrayView2<'_, f32>> = x.axis_iter(Axis(0)).collect();
    let started = cpu_seconds();
    let sampling = sampler.options(options.posterior_samples);
    let (samples, info) = sampled(session, &model, &groups, &sampling)?;
    let sampled = Sampled { seconds: cpu_seconds() - started, info, refined: Vec::new() };
    write_samples(&folder.join(SAMPLES), samples.view())?;
    write_json(&folder.join(RESULT), &sampled)
}

/// Refines at all sets given their first `n` observations, and samples there; sets that were done before an interruption are kept.
pub fn refined(
    session: &Session<'_>,
    task: &BenchmarkTask,
    (options, base, network): (&RefineOptions, Option<&(PathBuf, PathBuf)>, Option<&TrainOptions>),
    reference: &Reference,
    n: usize,
    folder: &Path,
) -> Result<()> {
    let built_in = tallsbi::simulators::task(&task.name, &task.options)?;
    let base = match base {
        Some((model, training)) => Some((ModelFile::load(model)?.model, read_pairs(training, None)?)),
        None => None,
    };
    let from = RefineFrom {
        base: base.as_ref().map(|(model, _)| model),
        simulations: base.as_ref().map(|(_, simulations)| simulations),
        network,
        kept: None,
    };
    let made = base.as_ref().map_or(0, |(_, simulations)| simulations.theta.nrows());
    let options = RefineOptions { budget: options.budget.map(|budget| budget.saturating_sub(made).max(1)), ..*options };
    let x = reference.observations(n)?;
    let mut samples = Vec::new();
    let mut refined: Vec<RefinedSet> = Vec::new();
    let mut info = SampleInfo::default();
    for (index, x) in x.axis_iter(Axis(0)).enumerate() {
        let (kept, record) =
            (folder.join(format!("set{}.h5", index + 1)), folder.join(format!("set{}.json", index + 1)));
        if !record.is_file() {
            let started = cpu_seconds();
            let seed = session.key().indexed(index as u64).seed(0);
            let monitor = &Quiet(session.monitor);
            let found = tallsbi::refine(built_in.as_ref(), x, from, &options, seed, monitor)?;
            write_samples(&kept, found.posterior.theta.view().insert_axis(Axis(0)))?;
            let not_settled = found.verdict.reason();
            let (simulations, rounds) = (made + found.simulations, found.rounds.len());
            let set = RefinedSet { simulations, rounds, seconds: cpu_seconds() - started, not_settled };
            // The record last: a set without one is done again.
            write_json(&record, &(set, found.posterior.info))?;
        }
        let (set, found): (RefinedSet, SampleInfo) = read_json(&record)?;
        info.evaluations = info.evaluations.max(found.evaluations);
        info.diverged += found.diverged;
        info.at_edge = info.at_edge.max(found.at_edge);
        refined.push(set);
        samples.push(read_samples(&kept)?);
        session.monitor.check()?;
    }
    let views: Vec<_> = samples.iter().map(Array3::view).collect();
    write_samples(&folder.join(SAMPLES), concatenate(Axis(0), &views)?.view())?;
    let seconds = refined.iter().map(|set| set.seconds).sum();
    write_json(&folder.join(RESULT), &Sampled { seconds, info, refined })
}

/// The reference samples of set `shown` given its first `n` observations, for the report: (1, S, m).
pub fn reference_samples(reference: &Reference, (n, shown): (usize, usize), folder: &Path) -> Result<()> {
    let samples = reference.posteriors(n)?.swap_remove(shown - 1);
    write_samples(&folder.join(SAMPLES), samples.view().insert_axis(Axis(0)))
}

fn write_samples(path: &Path, samples: ArrayView3<'_, f64>) -> Result<()> {
    let written = || -> hdf5::Result<()> {
        let file = hdf5::File::create(path)?;
        file.new_dataset_builder().with_data(samples).obj_track_times(false).create("samples")?;
        file.close()
    };
    Ok(written().map_err(|error| tallsbi::files::not_written(path, &error))?)
}

/// Samples (sets, S, m) that a step wrote.
pub fn read_samples(path: &Path) -> Result<Array3<f64>> {
    let read = || -> hdf5::Result<Array3<f64>> { hdf5::File::open(path)?.dataset("samples")?.read() };
    read().with_context(|| format!("{}: cannot be read; remove its folder and resume", path.display()))
}

/// Distances of the samples in `samples` to the reference posteriors.
pub fn metrics(
    session: &Session<'_>,
    options: &BenchmarkOptions,
    reference: &Reference,
    n: usize,
    samples: &Path,
    folder: &Path,
) -> Result<()> {
    let samples = read_samples(samples)?;
    let exact = reference.posteriors(n)?;
    let mut sets = Vec::new();
    for (index, (samples, exact)) in samples.axis_iter(Axis(0)).zip(&exact).enumerate() {
        session.monitor.check()?;
        let finite = samples.iter().all(|value| value.is_finite());
        let distances = finite.then(|| distances(session, options, index, samples, exact.view())).transpose()?;
        sets.push(SetResults { set: index + 1, distances, dirac: None });
    }
    write_json(&folder.join(RESULT), &sets)
}

fn distances(
    session: &Session<'_>,
    options: &BenchmarkOptions,
    index: usize,
    samples: ArrayView2<'_, f64>,
    exact: ArrayView2<'_, f64>,
) -> Result<SetDistances> {
    let key = session.key().indexed(index as u64);
    // Progress of single sets would flash by.
    let monitor = &Quiet(session.monitor);
    Ok(SetDistances {
        sliced_wasserstein: sliced_wasserstein(samples, exact, DEFAULT_PROJECTIONS, key, monitor)?.value,
        mmd: unbiased_mmd2(exact, samples, Bandwidth::MedianOfReference, monitor)?.squared,
        c2st: c2st(exact, samples, &options.c2st, key, monitor)?.accuracy,
    })
}
