//! Checks of a model's posteriors on calibration pairs (θ, x) from the joint distribution.

use super::two_sample::named;
use crate::choice::choice;
use crate::commands::sampling_arguments::SamplingArguments;
use crate::commands::{HeaderChoice, RecordingArguments, observed, observed_by, wholly_taken_by};
use crate::context::{Context, usage};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use ndarray::{Axis, s};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tallsbi::calibration::{self, CheckOptions};
use tallsbi::data::Named;
use tallsbi::diagnostics::classifier::{ClassifierKind, ClassifierParams};
use tallsbi::diagnostics::local_c2st::{FEWEST_PAIRS, LocalC2stOptions};
use tallsbi::files::{FileKind, Matrix, MatrixSource, Posterior, kind_of, sha256_file};
use tallsbi::on_disk::{ModelFile, read_pairs};
use tallsbi::{Model, Simulations};

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

impl CalibrationArguments {
    /// The pairs, with `n_obs` observations each; refuses what the checks would refuse after samples were drawn for each.
    fn read(&self, model: &Model, n_obs: Option<usize>, fewest: usize) -> Result<Simulations> {
        let path = self.calibration.display();
        let mut pairs = read_pairs(&self.calibration, self.pairs)?;
        let digest = sha256_file(&self.calibration)?;
        if parents(model).any(|parent| parent == digest) {
            tracing::warn!(
                "{path}: is what the model was trained on: it knows these pairs, use others (another --seed)"
            );
        }
        if pairs.invalid() > 0 {
            let all = pairs.valid.len();
            tracing::warn!("{path}: {} of {all} rows are not valid and are left out", pairs.invalid());
            let kept: Vec<usize> = (0..all).filter(|&row| pairs.valid[row]).collect();
            pairs.theta = pairs.theta.select(Axis(0), &kept);
            pairs.x = pairs.x.select(Axis(0), &kept);
            pairs.valid = vec![true; kept.len()];
        }
        calibration::check_pairs(model, &pairs).map_err(|error| {
            let text = error.to_string();
            let text = text.strip_prefix("calibration pairs: ").unwrap_or(&text);
            anyhow!("{path}: {text}; simulate it with the model's task")
        })?;
        let (rows, held, _) = pairs.x.dim();
        if rows < fewest {
            bail!(
                "{path}: {rows} valid rows are used, the method needs at least {fewest}; simulate more or raise --pairs"
            );
        }
        for (name, values) in model.names().iter().zip(pairs.theta.columns()) {
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
        pairs.x = pairs.x.slice_move(s![.., ..n, ..]);
        Ok(pairs)
    }

    /// How posteriors are checked with `draws` samples of each.
    fn check(&self, file: &ModelFile, draws: usize) -> Result<CheckOptions> {
        let sampling = self.sampling.options(file, draws)?;
        Ok(CheckOptions { draws, sampling, ..CheckOptions::default() })
    }
}

/// Digests of the files that a model was made from.
fn parents(model: &Model) -> impl Iterator<Item = &str> {
    let parents = model.trained().info.provenance["parents"].as_array();
    parents.into_iter().flatten().filter_map(|parent| parent["sha256"].as_str())
}

/// Refuses a posterior that its own file says is of another model or given other observations.
fn check_posterior(source: &str, model: &Path, observed: &Matrix) -> Result<()> {
    let path = MatrixSource::parse(source).path;
    if !matches!(kind_of(&path), Ok(Some(FileKind::Posterior))) {
        return Ok(());
    }
    let posterior = Posterior::read(&path)?;
    if let Some(x) = &posterior.observations {
        let (n, given) = (observed.values.nrows(), x.nrows());
        if n != given {
            bail!("{source}: is the posterior given {given} observations, but {n} are given here; use --n-obs {given}");
        }
        let same = x.dim() == observed.values.dim()
            && x.iter().zip(&observed.values).all(|(&theirs, &ours)| theirs == ours as f32);
        if !same {
            bail!("{source}: is the posterior given other observations; give the ones that it was sampled with");
        }
    }
    let digest = sha256_file(model)?;
    let parents = &posterior.provenance.parents;
    let of_a_model = parents.iter().any(|parent| parent.path.ends_with(".safetensors"));
    if of_a_model && !parents.iter().any(|parent| parent.sha256 == digest) {
        bail!("{source}: was sampled from another model than {}; give the one it was sampled from", model.display());
    }
    Ok(())
}

/// Says where pairs and draws are too few to tell anything.
fn warn_of_power(shift: f64, pairs: usize, draws: usize) {
    if shift > 1.0 {
        tracing::warn!(
            "{pairs} pairs of {draws} draws would show a shift of the posterior by {shift:.1} of its standard deviations at the least: \
             this p-value says next to nothing; use more"
        );
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
    #[command(flatten)]
    recording: RecordingArguments,
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
    #[arg(long, value_parser = choice::<ClassifierKind>(), default_value = ClassifierKind::Mlp.name())]
    classifier: ClassifierKind,
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
    let file = ModelFile::load(&calibration.model)?;
    let taken = (wholly_taken_by(&file.model), &arguments.recording.options());
    let (matrix, _) = observed(&arguments.observations, calibration.n_obs, HeaderChoice::Auto, taken)?;
    let x = observed_by(&file.model, &arguments.observations, &matrix)?;
    check_posterior(&arguments.posterior, &calibration.model, &matrix)?;
    let posterior = MatrixSource::parse(&arguments.posterior).read()?;
    let (m, columns) = (file.model.names().len(), posterior.values.ncols());
    if columns != m {
        bail!("{}: has {columns} columns, the model {m} parameters; give samples of this model", arguments.posterior);
    }
    let pairs = calibration.read(&file.model, Some(x.nrows()), FEWEST_PAIRS)?;
    let (n_pairs, n, _) = pairs.x.dim();
    let classifier = match arguments.classifier {
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
    let sampling = calibration.sampling.options(&file, 1)?;
    let observed = (x.view(), posterior.values.view());
    let tested =
        calibration::local_c2st(&file.model, &pairs, observed, (&options, &sampling), context.seed, &context.monitor());
    let result = tested.map_err(|error| match error {
        tallsbi::Error::Diagnostics(error) => match error.matrix() {
            Some("posterior samples") => named(&arguments.posterior, error),
            Some(_) => anyhow!(error).context(calibration.calibration.display().to_string()),
            None => error.into(),
        },
        other => other.into(),
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
    let file = ModelFile::load(&calibration.model)?;
    let pairs = calibration.read(&file.model, calibration.n_obs.map(NonZeroUsize::get), FEWEST_RANKS)?;
    let options = calibration.check(&file, arguments.draws.get())?;
    let result = calibration::sbc(&file.model, &pairs, &options, context.seed, &context.monitor())?;
    warn_of_power(result.visible_shift, pairs.theta.nrows(), arguments.draws.get());
    let names = file.model.names();
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
            "visible_shift": result.visible_shift,
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
    let file = ModelFile::load(&calibration.model)?;
    let pairs = calibration.read(&file.model, calibration.n_obs.map(NonZeroUsize::get), FEWEST_RANKS)?;
    let options = calibration.check(&file, arguments.draws.get())?;
    let result = calibration::coverage(&file.model, &pairs, &options, context.seed, &context.monitor())?;
    warn_of_power(result.visible_shift, pairs.theta.nrows(), arguments.draws.get());
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
