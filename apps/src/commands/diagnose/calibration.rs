//! Checks of a model's posteriors on calibration pairs (θ, x) from the joint distribution.

use super::two_sample::{ClassifierName, named};
use crate::commands::model::Model;
use crate::commands::observed;
use crate::commands::sampling_arguments::SamplingArguments;
use crate::context::{Context, usage};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi_data::Purpose;
use tallsbi_diagnostics::classifier::{ClassifierKind, ClassifierParams};
use tallsbi_diagnostics::local_c2st::{FEWEST_PAIRS, LocalC2st, LocalC2stOptions};
use tallsbi_diagnostics::sbc::RankOptions;
use tallsbi_diagnostics::{sbc as ranks, tarp};
use tallsbi_files::{MatrixSource, TrainingSet};

/// Null trials below which p = 0.05 cannot be reached.
const FEWEST_TRIALS: usize = 19;

/// Pairs below which there is nothing to rank.
const FEWEST_RANKS: usize = 2;

/// A model and calibration pairs.
#[derive(Debug, Args)]
pub struct CalibrationArguments {
    /// Model
    model: PathBuf,
    /// Calibration pairs: a training set the model was not trained on (another --seed), with n observations a row
    /// (`tallsbi simulate --n-obs`)
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    /// Use the first N observations of each row [default: all]
    #[arg(long, value_name = "N")]
    n_obs: Option<NonZeroUsize>,
    /// Use the first N rows [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pairs: Option<u64>,
    #[command(flatten)]
    sampling: SamplingArguments,
}

/// θ (N, m) and x (N, n, d).
struct Pairs {
    theta: Array2<f64>,
    x: Array3<f32>,
}

impl CalibrationArguments {
    /// The pairs, with `n_obs` observations each; refuses what the checks would refuse after samples were drawn for each.
    fn read(&self, model: &Model, n_obs: Option<usize>, fewest: usize) -> Result<Pairs> {
        let set = TrainingSet::open(&self.calibration)?;
        let path = self.calibration.display();
        let (known, found) = (model.trained.latent.prior().names(), set.prior().names());
        if known != found {
            let (found, known) = (found.join(", "), known.join(", "));
            bail!("{path}: has the parameters {found}, the model {known}; simulate it with the model's task");
        }
        model.check_width(&path.to_string(), set.spec().dim_x)?;
        let rows = set.load(self.pairs)?;
        let (pairs, held, _) = rows.x.dim();
        if pairs < fewest {
            bail!(
                "{path}: {pairs} valid rows are used, the method needs at least {fewest}; simulate more or raise --pairs"
            );
        }
        for (name, values) in known.iter().zip(rows.theta.columns()) {
            if values.iter().all(|&value| value == values[0]) {
                bail!("{path}: {name} is {} in every row; draw the parameters from the prior", values[0]);
            }
        }
        let n = n_obs.unwrap_or(held);
        if n > held {
            return Err(usage(format!(
                "{path}: has {held} observations a row, {n} are needed; simulate it with --n-obs {n}"
            )));
        }
        Ok(Pairs { theta: rows.theta.mapv(f64::from), x: rows.x.slice_move(s![.., ..n, ..]) })
    }

    /// `draws` samples of the model's posterior for each pair, (N, draws, m).
    fn draw(&self, context: &Context, model: &Model, pairs: &Pairs, draws: usize) -> Result<Array3<f64>> {
        let options = self.sampling.options(model, draws)?;
        let groups: Vec<ArrayView2<'_, f32>> = pairs.x.axis_iter(Axis(0)).collect();
        Ok(model.sample(context, &groups, context.key().child(Purpose::Calibration), &options)?.0)
    }
}

/// Local classifier two-sample test: is the posterior right at these observations?
///
/// Trains classifiers on the calibration pairs and evaluates them at the observations. p < 0.05 rejects the posterior.
///
/// Example: tallsbi diagnose local-c2st model.safetensors --calibration cal.h5 --observations obs.h5 --posterior posterior.nc
#[derive(Debug, Args)]
pub struct LocalC2stArguments {
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Observations the posterior is given
    #[arg(long, value_name = "SOURCE")]
    observations: String,
    /// Samples of the posterior at these observations
    #[arg(long, value_name = "SOURCE")]
    posterior: String,
    /// Classifiers trained under the null hypothesis
    #[arg(long, value_name = "N", default_value_t = LocalC2stOptions::default().trials)]
    trials: usize,
    /// Networks averaged to one classifier
    #[arg(long, value_name = "N", default_value_t = LocalC2stOptions::default().ensemble)]
    ensemble: usize,
    /// What tells joint and model apart
    #[arg(long, value_enum, default_value_t)]
    classifier: ClassifierName,
}

pub fn local_c2st(context: &Context, arguments: &LocalC2stArguments) -> Result<()> {
    let calibration = &arguments.calibration;
    if arguments.trials < FEWEST_TRIALS {
        tracing::warn!(
            "p cannot fall below {:.3} with {} trials",
            1.0 / (1 + arguments.trials) as f64,
            arguments.trials
        );
    }
    let model = Model::load(&calibration.model)?;
    let (x, _) = observed(&arguments.observations, calibration.n_obs)?;
    model.check_width(&arguments.observations, x.ncols())?;
    let posterior = MatrixSource::parse(&arguments.posterior).read()?;
    let (m, columns) = (model.trained.latent.dim(), posterior.values.ncols());
    if columns != m {
        bail!("{}: has {columns} columns, the model {m} parameters; give samples of this model", arguments.posterior);
    }
    let pairs = calibration.read(&model, Some(x.nrows()), FEWEST_PAIRS)?;
    let theta_q = calibration.draw(context, &model, &pairs, 1)?.index_axis_move(Axis(1), 0);
    let (n_pairs, n, d) = pairs.x.dim();
    let flat = pairs.x.mapv(f64::from).into_shape_with_order((n_pairs, n * d))?;
    let observation: Vec<f64> = x.iter().map(|&value| value.into()).collect();
    let classifier = match arguments.classifier.kind() {
        // The library's own choice depends on the dimension.
        ClassifierKind::Mlp => None,
        kind => Some(ClassifierParams::from(kind)),
    };
    let options = LocalC2stOptions {
        trials: arguments.trials,
        ensemble: arguments.ensemble,
        classifier,
        ..LocalC2stOptions::default()
    };
    let result = (|| {
        let monitor = &context.monitor();
        let test = LocalC2st::train(pairs.theta.view(), theta_q.view(), flat.view(), &options, context.key(), monitor)?;
        test.evaluate(posterior.values.view(), &observation, monitor)
    })()
    .map_err(|error| match error.matrix() {
        Some("posterior samples") => named(&arguments.posterior, error),
        Some(_) => anyhow!(error).context(calibration.calibration.display().to_string()),
        None => error.into(),
    })?;
    let verdict = if result.p_value < 0.05 { "rejected" } else { "not rejected" };
    let text = format!(
        "local C2ST statistic {:.6}, p = {:.4} ({} null trials, {n_pairs} pairs, n = {n}): the posterior is {verdict} at 0.05",
        result.statistic, result.p_value, arguments.trials
    );
    context.print(text, || {
        json!({
            "metric": "local-c2st",
            "value": result.statistic,
            "p_value": result.p_value,
            "null_statistics": result.null_statistics,
            "pairs": n_pairs,
            "n_obs": n,
        })
    })
}

/// Simulation-based calibration: are the ranks of the true parameters among posterior samples uniform?
///
/// Example: tallsbi diagnose sbc model.safetensors --calibration cal.h5 --pairs 500
#[derive(Debug, Args)]
pub struct SbcArguments {
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Posterior samples for each pair
    #[arg(long, value_name = "L", default_value = "100")]
    draws: NonZeroUsize,
}

pub fn sbc(context: &Context, arguments: &SbcArguments) -> Result<()> {
    let calibration = &arguments.calibration;
    let model = Model::load(&calibration.model)?;
    let pairs = calibration.read(&model, calibration.n_obs.map(NonZeroUsize::get), FEWEST_RANKS)?;
    let draws = calibration.draw(context, &model, &pairs, arguments.draws.get())?;
    let key = context.key().child(Purpose::Calibration);
    let result = ranks::sbc(pairs.theta.view(), draws.view(), &RankOptions::default(), key, &context.monitor())?;
    let names = model.trained.latent.prior().names();
    let mut text = format!("SBC p = {:.4} (smallest of {} parameters, corrected)", result.p_value, names.len());
    for (name, test) in names.iter().zip(&result.parameters) {
        text += &format!("\n  {name}: p = {:.4} (ECDF), {:.4} (χ²)", test.ecdf.p_value, test.histogram.p_value);
    }
    context.print(text, || {
        json!({
            "metric": "sbc",
            "value": result.p_value,
            "parameter_names": names,
            "parameters": result.parameters,
            "pairs": pairs.theta.nrows(),
            "draws": arguments.draws,
        })
    })
}

/// Expected coverage (TARP): do credible regions hold the truth as often as they say?
///
/// Example: tallsbi diagnose coverage model.safetensors --calibration cal.h5 --pairs 500
#[derive(Debug, Args)]
pub struct CoverageArguments {
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Posterior samples for each pair
    #[arg(long, value_name = "L", default_value = "100")]
    draws: NonZeroUsize,
}

pub fn coverage(context: &Context, arguments: &CoverageArguments) -> Result<()> {
    let calibration = &arguments.calibration;
    let model = Model::load(&calibration.model)?;
    let pairs = calibration.read(&model, calibration.n_obs.map(NonZeroUsize::get), FEWEST_RANKS)?;
    let draws = calibration.draw(context, &model, &pairs, arguments.draws.get())?;
    let key = context.key().child(Purpose::Calibration);
    let result = tarp::tarp(pairs.theta.view(), draws.view(), &RankOptions::default(), key, &context.monitor())?;
    let side = if result.area_to_curve > 0.0 { "wide" } else { "narrow" };
    let text = format!(
        "expected coverage: p = {:.4}, largest deviation {:.4}, area {:+.4} (on the {side} side)",
        result.p_value, result.largest_deviation, result.area_to_curve
    );
    context.print(text, || {
        json!({
            "metric": "coverage",
            "value": result.largest_deviation,
            "p_value": result.p_value,
            "area_to_curve": result.area_to_curve,
            "levels": result.levels,
            "coverage": result.coverage,
            "pairs": pairs.theta.nrows(),
            "draws": arguments.draws,
        })
    })
}
