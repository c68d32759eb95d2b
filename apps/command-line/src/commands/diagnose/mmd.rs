//! The maximum mean discrepancy, and what it costs.

use super::two_sample::PairArguments;
use crate::context::Context;
use anyhow::Result;
use clap::Args;
use indicatif::HumanDuration;
use ndarray::{ArrayView2, s};
use serde_json::json;
use std::time::{Duration, Instant};
use tallsbi::data::{Monitor, Silent};
use tallsbi::diagnostics::DiagnosticsError;
use tallsbi::diagnostics::mmd::{
    Bandwidth, PermutationOptions, permutation_test, random_feature_mmd2, some_rows, unbiased_mmd2,
};

/// Maximum mean discrepancy (unbiased MMD², Gaussian kernel, median width)
///
/// Example: tallsbi diagnose mmd posterior.nc --reference reference.nc --permutations 1000
#[derive(Debug, Args)]
pub struct MmdArguments {
    #[command(flatten)]
    pair: PairArguments,
    /// Also test, with this many random relabellings
    #[arg(long, value_name = "N")]
    permutations: Option<usize>,
    /// Compare at most this many rows of each, drawn at random: the cost grows with their square
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    subsample: Option<u64>,
    /// Estimate MMD² from this many random frequencies (1000 is common): the cost grows with the rows, not with their square
    #[arg(long, value_name = "D", conflicts_with = "permutations")]
    random_features: Option<usize>,
}

pub fn mmd(context: &Context, arguments: &MmdArguments) -> Result<()> {
    let (samples, reference) = arguments.pair.read()?;
    let most = arguments.subsample.map_or(usize::MAX, |most| most as usize);
    // Independent subsets of files that may hold the same rows.
    let samples = some_rows(samples.values.view(), most, context.key().indexed(1));
    let reference = some_rows(reference.values.view(), most, context.key());
    let (reference, samples) = (reference.view(), samples.view());
    let monitor = &context.monitor();
    let named = |error| arguments.pair.name(error);
    let rows = [samples.nrows(), reference.nrows()];
    let of_rows = arguments.subsample.map(|_| format!("; {} and {} rows", rows[0], rows[1])).unwrap_or_default();
    if let Some(frequencies) = arguments.random_features {
        let bandwidth = Bandwidth::default();
        let found = random_feature_mmd2(reference, samples, frequencies, bandwidth, context.key(), monitor);
        let found = found.map_err(named)?;
        let (mmd, error) = (found.mmd, found.standard_error);
        let of = format!("kernel width {:.4}; {frequencies} random frequencies{of_rows}", mmd.bandwidth);
        return context.print(format!("MMD² {:.6} ± {error:.1e} ({of})", mmd.squared), || {
            json!({
                "metric": "mmd", "value": mmd.squared, "standard_error": error, "bandwidth": mmd.bandwidth,
                "random_features": frequencies, "rows": rows, "p_value": null,
            })
        });
    }
    tell_cost((reference, samples), arguments.permutations);
    let mmd = unbiased_mmd2(reference, samples, Bandwidth::default(), monitor).map_err(named)?;
    let test = arguments.permutations.map(|permutations| permuted(reference, samples, permutations, context, monitor));
    let p_value = test.transpose().map_err(named)?;
    let tested = p_value.map(|p| format!(", p = {p:.4}")).unwrap_or_default();
    context.print(format!("MMD² {:.6} (kernel width {:.4}{of_rows}){tested}", mmd.squared, mmd.bandwidth), || {
        json!({
            "metric": "mmd", "value": mmd.squared, "bandwidth": mmd.bandwidth, "rows": rows, "p_value": p_value,
        })
    })
}

fn permuted(
    reference: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    permutations: usize,
    context: &Context,
    monitor: &dyn Monitor,
) -> std::result::Result<f64, DiagnosticsError> {
    let options = PermutationOptions { permutations, ..PermutationOptions::default() };
    Ok(permutation_test(reference, samples, &options, context.key(), monitor)?.p_value)
}

/// Rows of each sample that the cost is measured on.
const MEASURED: usize = 2000;

/// What takes less is not told, s.
const SHORT: f64 = 20.0;

/// Distances between so many pairs of points take less than that on any machine.
const FEW: f64 = 1e9;

/// Says beforehand what many rows will take, measured on a few.
fn tell_cost((reference, samples): (ArrayView2<'_, f64>, ArrayView2<'_, f64>), permutations: Option<usize>) {
    let all = pairs(reference.nrows(), samples.nrows());
    let relabelled = permutations.map_or(1.0, |permutations| permutations as f64);
    if all * relabelled < FEW {
        return;
    }
    let part = |rows: ArrayView2<'_, f64>| rows.slice(s![..rows.nrows().min(MEASURED), ..]).to_owned();
    let (x, y) = (part(reference), part(samples));
    let started = Instant::now();
    let _ = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), &Silent);
    if let Some(permutations) = permutations {
        let options = PermutationOptions { permutations, ..PermutationOptions::default() };
        let _ = permutation_test(x.view(), y.view(), &options, tallsbi::StreamKey::root(0), &Silent);
    }
    let seconds = started.elapsed().as_secs_f64() * all / pairs(x.nrows(), y.nrows());
    if seconds > SHORT {
        let time = HumanDuration(Duration::from_secs_f64(seconds.min(1e9)));
        let cheaper = if permutations.is_some() { "" } else { ", --random-features 1000 needs no pairs" };
        tracing::warn!(
            "this takes about {time}: distances between {all:.1e} pairs of rows; --subsample N compares N rows of each{cheaper}"
        );
    }
}

/// Pairs of rows whose distances are summed.
fn pairs(n: usize, m: usize) -> f64 {
    let all = (n + m) as f64;
    0.5 * all * (all - 1.0)
}
