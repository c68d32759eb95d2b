//! Files of a refined model and its posterior.

use super::posterior::posterior_attributes;
use crate::refine::Refined;
use crate::{Error, RefineOptions, Result, SampleOptions};
use ndarray::ArrayView2;
use serde_json::json;
use std::path::Path;
use tallsbi_data::Silent;
use tallsbi_files::{Existing, OutputFile, Posterior, Provenance};

/// Writes the model to `output`, with the options, rounds and verdict of its refinement.
///
/// # Errors
/// When the file is there and shall not be written over, or cannot be written.
pub fn write_refined(
    output: &Path,
    existing: Existing,
    refined: &Refined,
    options: &RefineOptions,
    provenance: &Provenance,
) -> Result<()> {
    let mut trained = refined.model.trained().clone();
    trained.info.provenance = json!({
        "command": provenance.command,
        "seed": provenance.seed,
        "parents": provenance.parents,
        "options": options,
        "rounds": refined.rounds,
        "verdict": refined.verdict,
    });
    Ok(OutputFile::write(output, existing, &trained.to_bytes())?)
}

/// The posterior of a refinement at the observations `x` (n, d) that took `seconds`, as a file has it.
///
/// # Errors
/// When samples or observations do not fit the model.
pub fn refined_posterior(
    refined: &Refined,
    x: ArrayView2<'_, f32>,
    options: &RefineOptions,
    seconds: f64,
    provenance: Provenance,
) -> Result<Posterior> {
    let posterior = &refined.posterior;
    let sampling = SampleOptions { samples: options.samples, ..SampleOptions::default() };
    let mut run = posterior_attributes(&refined.model, &sampling, &posterior.info, x.nrows(), seconds);
    run.insert("simulations".into(), refined.simulations.into());
    run.insert("settled".into(), if refined.verdict.is_settled() { "yes" } else { "no" }.into());
    let (names, theta) = (posterior.names.clone(), posterior.theta.view());
    let mut file = Posterior::from_matrix(names, theta, Some(x.to_owned()), run, provenance).map_err(Error::from)?;
    file.companions.log_posterior = Some(refined.model.log_posterior(x, theta, &sampling, &Silent)?);
    Ok(file)
}
