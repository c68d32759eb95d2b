//! What the steps of a benchmark do.

use super::options::BenchmarkOptions;
use super::reference::Reference;
use super::results::{SetDistances, SetResults};
use crate::study::named_sampler::NamedSampler;
use crate::study::steps::{cpu_seconds, sampled, write_json};
use anyhow::{Context as _, Result};
use ndarray::{Array3, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tallsbi::Session;
use tallsbi::data::Quiet;
use tallsbi::diagnostics::mmd::{Bandwidth, unbiased_mmd2};
use tallsbi::diagnostics::{DEFAULT_PROJECTIONS, c2st, sliced_wasserstein};
use tallsbi::inference::sample::SampleInfo;
use tallsbi::on_disk::ModelFile;

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
    let sampled = Sampled { seconds: cpu_seconds() - started, info };
    write_samples(&folder.join(SAMPLES), samples.view())?;
    write_json(&folder.join(RESULT), &sampled)
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
    written().with_context(|| format!("{}: cannot be written", path.display()))
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
        sliced_wasserstein: sliced_wasserstein(samples, exact, DEFAULT_PROJECTIONS, key)?.value,
        mmd: unbiased_mmd2(exact, samples, Bandwidth::MedianOfReference, monitor)?.squared,
        c2st: c2st(exact, samples, &options.c2st, key, monitor)?.accuracy,
    })
}
