//! Calibration of `tallsbi reference` itself.

use crate::commands::TaskArguments;
use crate::commands::reference::ChainArguments;
use crate::context::Context;
use anyhow::Result;
use clap::Args;
use ndarray::{Array2, Array3};
use rayon::prelude::*;
use serde_json::json;
use std::num::NonZeroUsize;
use std::ops::Range;
use tallsbi::data::{Monitor, Purpose, Quiet, Silent};
use tallsbi::diagnostics::sbc::{RankOptions, sbc};
use tallsbi::sample_reference;
use tallsbi::simulators::Rows;

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
    let key = context.key().child(Purpose::Calibration);
    let mut theta = Array2::zeros((pairs, m));
    for (pair, mut row) in theta.outer_iter_mut().enumerate() {
        let mut drawn = vec![0.0; m];
        task.prior().sample(&mut key.child(Purpose::Prior).rng(pair as u64), &mut drawn);
        row.iter_mut().zip(&drawn).for_each(|(out, value)| *out = *value);
    }
    let bar = context.bar("calibrate", "posteriors", pairs as u64);
    let bars = context.monitor();
    let monitor = Quiet(&bars);
    let of_pair = |pair: usize| -> Result<(Vec<f64>, f64)> {
        let rows = Rows {
            theta: theta.slice(ndarray::s![pair..=pair, ..]),
            n_obs,
            key: key.child(Purpose::Simulator),
            first_row: pair as u64,
        };
        let mut x = vec![0.0; n_obs * task.dim_x()];
        task.simulate_batch(&rows, &mut x, &mut [0])?;
        let x = Array2::from_shape_vec((n_obs, task.dim_x()), x)?;
        let posterior =
            sample_reference(task, x.view(), method, &options, retries, key.indexed(pair as u64), &monitor)?;
        bar.advance(1);
        let rhat = posterior.rhat();
        Ok((posterior.samples.into_iter().collect(), rhat))
    };
    let several = |pairs: Range<usize>| pairs.into_par_iter().map(of_pair).collect::<Result<Vec<_>>>();
    let results: Vec<(Vec<f64>, f64)> =
        (&bars as &dyn Monitor).share("reference posteriors", pairs, several)?.into_iter().flatten().collect();
    bar.finish();
    let all: Vec<f64> = results.iter().flat_map(|(samples, _)| samples.iter().copied()).collect();
    let draws = Array3::from_shape_vec((pairs, all.len() / (pairs * m), m), all)?;
    let rhats: Vec<f64> = results.iter().map(|(_, rhat)| *rhat).collect();
    let largest = rhats.iter().copied().fold(1.0, f64::max);
    let result = sbc(theta.view(), draws.view(), &RankOptions::default(), key, &Silent)?;
    let names = task.prior().names();
    let mut text = format!(
        "SBC p = {:.4} (smallest of {m} parameters, corrected) over {pairs} posteriors of {n_obs} observations, largest R-hat {largest:.3}",
        result.p_value
    );
    for (name, test) in names.iter().zip(&result.parameters) {
        text += &format!("\n  {name}: p = {:.4} (ECDF), {:.4} (χ²)", test.ecdf.p_value, test.histogram.p_value);
    }
    context.print(text, || {
        json!({
            "metric": "sbc",
            "value": result.p_value,
            "task": arguments.task.task,
            "n_obs": n_obs,
            "parameter_names": names,
            "parameters": result.parameters,
            "rhat": rhats,
            "pairs": pairs,
        })
    })
}
