//! What the steps of a benchmark do.

use super::options::BenchmarkOptions;
use super::reference::Reference;
use super::results::{SetDistances, SetResults};
use crate::commands::diagnose::monitored;
use crate::commands::model::Model;
use crate::context::Context;
use crate::study::named_sampler::NamedSampler;
use crate::study::steps::{cpu_seconds, write_json};
use anyhow::{Context as _, Result};
use ndarray::{Array3, ArrayView2, Axis};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tallsbi_diagnostics::mmd::{Bandwidth, unbiased_mmd2};
use tallsbi_diagnostics::{DEFAULT_PROJECTIONS, c2st, sliced_wasserstein};
use tallsbi_inference::sample::SampleInfo;

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
    context: &Context,
    options: &BenchmarkOptions,
    reference: &Reference,
    (n, sampler): (usize, NamedSampler),
    model: &Path,
    folder: &Path,
) -> Result<()> {
    let model = Model::load(model)?;
    model.check_width(&reference.path.display().to_string(), reference.dim_x()?)?;
    let x = reference.observations(n)?;
    let groups: Vec<ArrayView2<'_, f32>> = x.axis_iter(Axis(0)).collect();
    let started = cpu_seconds();
    let (samples, info) = model.sample(context, &groups, context.key(), &sampler.options(options.posterior_samples))?;
    let sampled = Sampled { seconds: cpu_seconds() - started, info };
    let path = folder.join(SAMPLES);
    let written = || -> hdf5::Result<()> {
        let file = hdf5::File::create(&path)?;
        file.new_dataset_builder().with_data(&samples).create("samples")?;
        file.close()
    };
    written().with_context(|| format!("{}: cannot be written", path.display()))?;
    write_json(&folder.join(RESULT), &sampled)
}

/// Distances of the samples in `samples` to the reference posteriors.
pub fn metrics(
    context: &Context,
    options: &BenchmarkOptions,
    reference: &Reference,
    n: usize,
    samples: &Path,
    folder: &Path,
) -> Result<()> {
    let read = || -> hdf5::Result<Array3<f64>> { hdf5::File::open(samples)?.dataset("samples")?.read() };
    let samples =
        read().with_context(|| format!("{}: cannot be read; remove its folder and resume", samples.display()))?;
    let exact = reference.posteriors(n)?;
    let mut sets = Vec::new();
    for (index, (samples, exact)) in samples.axis_iter(Axis(0)).zip(&exact).enumerate() {
        context.check_interrupt("run the same command with --resume to go on")?;
        let finite = samples.iter().all(|value| value.is_finite());
        let distances = finite.then(|| distances(context, options, index, samples, exact.view())).transpose()?;
        sets.push(SetResults { set: index + 1, distances });
    }
    write_json(&folder.join(RESULT), &sets)
}

fn distances(
    context: &Context,
    options: &BenchmarkOptions,
    index: usize,
    samples: ArrayView2<'_, f64>,
    exact: ArrayView2<'_, f64>,
) -> Result<SetDistances> {
    let key = context.key().indexed(index as u64);
    // Bars of single sets would flash by.
    let quiet = Context { quiet: true, command: String::new(), ..*context };
    monitored(&quiet, |monitor| {
        Ok(SetDistances {
            sliced_wasserstein: sliced_wasserstein(samples, exact, DEFAULT_PROJECTIONS, key)?.value,
            mmd: unbiased_mmd2(exact, samples, Bandwidth::MedianOfReference, monitor)?.squared,
            c2st: c2st(exact, samples, &options.c2st, key, monitor)?.accuracy,
        })
    })
}
