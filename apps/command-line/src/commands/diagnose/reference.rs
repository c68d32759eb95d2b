//! Calibration of `tallsbi reference` itself.

use super::calibration::rank_lines;
use crate::commands::TaskArguments;
use crate::commands::reference::ChainArguments;
use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::num::NonZeroUsize;
use tallsbi::calibrate_reference;

/// Simulation-based calibration of a task's reference posterior: ranks of true parameters drawn from the prior
///
/// Each pair draws parameters from the prior, simulates observations, and samples the reference posterior given them. If it is
/// exact, the ranks of the true parameters among the samples are uniform.
///
/// Example: tallsbi diagnose reference sir --pairs 200 --n-obs 8
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct ReferenceCalibrationArguments {
    #[command(flatten)]
    task: TaskArguments,
    /// Parameters drawn from the prior
    #[arg(long, value_name = "N", default_value = "200")]
    pairs: NonZeroUsize,
    /// Observations of each
    #[arg(long, value_name = "N", default_value = "1")]
    n_obs: NonZeroUsize,
    /// Posterior samples of each
    #[arg(long, value_name = "L", default_value = "100")]
    draws: NonZeroUsize,
    #[command(flatten)]
    chains: ChainArguments,
}

pub fn reference(context: &Context, arguments: &ReferenceCalibrationArguments) -> Result<()> {
    let task = arguments.task.build()?;
    let task = task.as_ref();
    let options = arguments.chains.options(arguments.draws.get())?;
    let (method, retries) = (arguments.chains.method.unwrap_or_default(), arguments.chains.retries());
    let (pairs, n_obs, m) = (arguments.pairs.get(), arguments.n_obs.get(), task.prior().dim());
    let (key, monitor) = (context.key(), context.monitor());
    let found = calibrate_reference(task, (pairs, n_obs), method, &options, retries, key, &monitor)?;
    let (result, largest) = (&found.sbc, found.rhat.iter().copied().fold(1.0, f64::max));
    let names = task.prior().names();
    let mut text = format!(
        "SBC p = {:.4} (smallest of {m} parameters, corrected) over {pairs} posteriors of {n_obs} observations, largest R-hat {largest:.3}",
        result.p_value
    );
    text += &rank_lines(names, result);
    context.print(text, || {
        json!({
            "metric": "sbc",
            "value": result.p_value,
            "task": arguments.task.task,
            "n_obs": n_obs,
            "parameter_names": names,
            "parameters": result.parameters,
            "rhat": found.rhat,
            "pairs": pairs,
        })
    })
}
