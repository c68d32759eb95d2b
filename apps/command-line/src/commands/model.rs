//! Sampling from a model on the command line, with what should be told of the samples.

use crate::context::Context;
use anyhow::Result;
use ndarray::{Array3, ArrayView2};
use std::num::NonZeroUsize;
use tallsbi::inference::sample::{SampleInfo, SampleOptions};
use tallsbi::on_disk::ModelFile;
use tallsbi::{Caution, Model};

/// Several independent runs given the same observations (n, d): parameters (chain, draw, m), and what they took.
pub fn sample_chains(
    context: &Context,
    model: &ModelFile,
    observations: ArrayView2<'_, f32>,
    chains: NonZeroUsize,
    options: &SampleOptions,
) -> Result<(Array3<f64>, SampleInfo)> {
    let (samples, info) = model.sample_chains(observations, chains, context.key(), options, &context.monitor())?;
    warn(&model.model, &info, options, chains.get() * options.samples);
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
