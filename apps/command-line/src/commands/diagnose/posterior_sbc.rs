//! `tallsbi diagnose posterior-sbc`.

use crate::commands::sampling_arguments::SamplingArguments;
use crate::commands::{ModelTaskArguments, ObservationsArguments, observed_by, wholly_taken_by};
use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::PosteriorSbcOptions;
use tallsbi::on_disk::ModelFile;

/// Posterior SBC: is the posterior right at these observations?
///
/// Draws parameters from the posterior, simulates new observations at each, and asks whether the parameters rank uniformly in the
/// posterior given both. p < 0.05 rejects the posterior.
///
/// Example: tallsbi diagnose posterior-sbc refined.safetensors --observations obs.h5
#[derive(Debug, Args)]
pub struct PosteriorSbcArguments {
    /// Model
    model: PathBuf,
    #[command(flatten)]
    given: ObservationsArguments,
    #[command(flatten)]
    task: ModelTaskArguments,
    /// Parameters drawn from the posterior
    #[arg(long, value_name = "N", default_value = "200")]
    pairs: NonZeroUsize,
    /// New observations at each of them [default: as many as there are]
    #[arg(long, value_name = "N")]
    new: Option<NonZeroUsize>,
    /// Samples of the posterior given both
    #[arg(long, value_name = "L", default_value = "100")]
    draws: NonZeroUsize,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// Runs the command.
pub fn posterior_sbc(context: &Context, arguments: &PosteriorSbcArguments) -> Result<()> {
    let file = ModelFile::load(&arguments.model)?;
    let task = arguments.task.of(Some(&file.model))?.build()?;
    let (matrix, _) = arguments.given.read(wholly_taken_by(&file.model))?;
    let x = observed_by(&file.model, &arguments.given.source, &matrix)?;
    let draws = arguments.draws.get();
    let options = PosteriorSbcOptions {
        pairs: arguments.pairs.get(),
        new: arguments.new.map(NonZeroUsize::get),
        draws,
        sampling: arguments.sampling.options(&file, draws)?,
        ..PosteriorSbcOptions::default()
    };
    let (seed, monitor) = (context.seed, context.monitor());
    let result = tallsbi::posterior_sbc(&file.model, task.as_ref(), x.view(), &options, seed, &monitor)?;
    let tests = file.model.names().iter().map(String::as_str).zip(&result.parameters);
    let tests: Vec<_> = tests.chain([("distance", &result.distance)]).collect();
    let mut text = format!("posterior SBC p = {:.4} (smallest of {} tests, corrected)", result.p_value, tests.len());
    for (name, test) in &tests {
        text += &format!("\n  {name}  p = {:.4}", test.ecdf.p_value);
    }
    context.print(text, || {
        let (name, worst) = tests
            .iter()
            .min_by(|a, b| a.1.ecdf.p_value.total_cmp(&b.1.ecdf.p_value))
            .map_or(("", 1.0), |(name, test)| (*name, test.ecdf.p_value));
        json!({
            "metric": "posterior-sbc",
            "p_value": result.p_value,
            "statistic": worst,
            "worst": name,
            "n_obs": x.nrows(),
            "pairs": options.pairs,
            "draws": draws,
            "ranks": tests.iter().map(|(name, test)| json!({ "name": name, "p_value": test.ecdf.p_value, "ranks": test.ranks })).collect::<Vec<_>>(),
        })
    })
}
