//! Sampling from a model on the command line, with what should be told of the samples.

use crate::context::Context;
use anyhow::Result;
use ndarray::{Array3, ArrayView2};
use tallsbi::data::StreamKey;
use tallsbi::inference::sample::{SampleInfo, SampleOptions};
use tallsbi::on_disk::ModelFile;
use tallsbi::{Caution, Model};

/// Samples the posterior of each group of observations (n, d): parameters (G, S, m), and what it took.
pub fn sample(
    context: &Context,
    model: &ModelFile,
    groups: &[ArrayView2<'_, f32>],
    key: StreamKey,
    options: &SampleOptions,
) -> Result<(Array3<f64>, SampleInfo)> {
    let (samples, info) = model.sample(groups, key, options, &context.monitor())?;
    warn(&model.model, &info, options, groups.len() * options.samples);
    Ok((samples, info))
}

/// Says what should be known of `total` samples before they are believed.
fn warn(model: &Model, info: &SampleInfo, options: &SampleOptions, total: usize) {
    for caution in model.cautions(info, options, total) {
        match caution {
            Caution::Diverged { unbounded: true, .. } => {
                tracing::warn!(
                    "{caution}; leave threshold = false out of --sampling-config, as the prior is uniform, or use --clip"
                );
            }
            Caution::Diverged { .. } => tracing::warn!("{caution}; use more --steps, another --sampler, or --clip"),
            Caution::Elsewhere { .. } => tracing::warn!("{caution}; refine at these observations"),
            other => tracing::warn!("{other}"),
        }
    }
}
