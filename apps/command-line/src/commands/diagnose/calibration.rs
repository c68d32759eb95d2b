//! Checks of a model's posteriors on calibration pairs (θ, x) from the joint distribution.

use super::two_sample::named;
use crate::choice::choice;
use crate::commands::sampling_arguments::SamplingArguments;
use crate::commands::{RecordingArguments, check_columns, observed, observed_by, wholly_taken_by};
use crate::context::{Context, usage};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use ndarray::{Axis, s};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tallsbi::calibration::{self, CheckOptions, Drawn};
use tallsbi::data::Named;
use tallsbi::diagnostics::classifier::{ClassifierKind, ClassifierParams};
use tallsbi::diagnostics::local_c2st::{FEWEST_PAIRS, LocalC2stOptions, LocalC2stResult};
use tallsbi::diagnostics::sbc::{RankOptions, RankTest, Sbc};
use tallsbi::files::{Gaps, Header, Matrix, MatrixSource};
use tallsbi::on_disk::{ModelFile, Taker, check_given, is_parent, read_calibration};
use tallsbi::{Model, Simulations};

/// Null trials below which p = 0.05 cannot be reached.
const FEWEST_TRIALS: usize = 19;

/// Pairs below which there is nothing to rank.
const FEWEST_RANKS: usize = 2;

/// Calibration pairs, and posteriors of a model, or of another tool, given each. The last of a command's arguments: what follows would be under the heading of the sampling.
#[derive(Debug, Args)]
pub struct CalibrationArguments {
    /// Model
    #[arg(required_unless_present = "posterior_draws")]
    model: Option<PathBuf>,
    /// In place of a model, draws of another tool's posterior given each row of the calibration file: FILE or FILE:DATASET (HDF5, netCDF, npy)
    /// of shape (rows, draws, parameters)
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["model", "SamplingArguments"])]
    posterior_draws: Option<String>,
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

/// Whose posteriors are checked.
enum Subject<'a> {
    /// A model's.
    Model(Box<ModelFile>),
    /// Another tool's, by their draws.
    Draws(&'a str),
}

impl Subject<'_> {
    fn model(&self) -> Option<&Model> {
        match self {
            Self::Model(file) => Some(&file.model),
            Self::Draws(_) => None,
        }
    }
}

impl CalibrationArguments {
    fn subject(&self) -> Result<Subject<'_>> {
        match (&self.model, &self.posterior_draws) {
            (_, Some(source)) => Ok(Subject::Draws(source)),
            (Some(model), None) => Ok(Subject::Model(Box::new(ModelFile::load(model)?))),
            (None, None) => Err(usage("give a model, or --posterior-draws")),
        }
    }

    /// The pairs; refuses what the checks would refuse after samples were drawn for each.
    fn read(&self, subject: &Subject<'_>, fewest: usize) -> Result<Simulations> {
        let (path, model) = (self.calibration.display(), subject.model());
        let pairs = read_calibration(&self.calibration, self.pairs, model, fewest)?;
        if model.map(|model| is_parent(&self.calibration, model)).transpose()? == Some(true) {
            tracing::warn!(
                "{path}: is what the model was trained on: it knows these pairs, use others (another --seed)"
            );
        }
        if pairs.invalid() > 0 {
            tracing::warn!("{path}: {} of {} rows are not valid and are left out", pairs.invalid(), pairs.valid.len());
        }
        Ok(pairs)
    }

    /// The pairs with their first `n` observations, or all.
    fn first(&self, mut pairs: Simulations, n: Option<usize>) -> Result<Simulations> {
        let held = pairs.x.dim().1;
        let n = n.unwrap_or(held);
        if n > held {
            let path = self.calibration.display();
            return Err(usage(format!(
                "{path}: has {held} observations a row, {n} are needed; simulate it with --n-obs {n}"
            )));
        }
        pairs.x = pairs.x.slice_move(s![.., ..n, ..]);
        Ok(pairs)
    }

    /// Names of the parameters, true ones, and `draws` samples a model's posterior given each, or the other tool's.
    fn drawn(&self, context: &Context, draws: usize) -> Result<(Vec<String>, Drawn)> {
        let subject = self.subject()?;
        let pairs = self.first(self.read(&subject, FEWEST_RANKS)?, self.n_obs.map(NonZeroUsize::get))?;
        let drawn = match &subject {
            Subject::Model(file) => {
                let sampling = self.sampling.options(file, draws)?;
                let options = CheckOptions { draws, sampling, ..CheckOptions::default() };
                Drawn::of_model(&file.model, &pairs, &options, context.seed, &context.monitor())?
            }
            Subject::Draws(source) => self.drawn_by_others(source, &pairs)?,
        };
        Ok((pairs.prior.names().to_vec(), drawn))
    }

    fn drawn_by_others(&self, source: &str, pairs: &Simulations) -> Result<Drawn> {
        let mut draws = MatrixSource::parse(source).read_array()?;
        let rows = pairs.valid.len();
        if self.pairs.is_some() && draws.ndim() > 0 && draws.len_of(Axis(0)) > rows {
            draws.slice_axis_inplace(Axis(0), (..rows).into());
        }
        let given = draws.shape().first().copied();
        Drawn::of_others(pairs, draws).map_err(|error| {
            let error = about_draws(source, error);
            match given {
                Some(given) if given < rows => anyhow!("{error}; --pairs {given} takes these rows alone"),
                _ => error,
            }
        })
    }
}

/// The library's error with the user's name of the draws.
fn about_draws(source: &str, error: tallsbi::Error) -> anyhow::Error {
    let text = error.to_string();
    match text.strip_prefix("posterior draws").or_else(|| text.strip_prefix("theta_q")) {
        Some(fault) => anyhow!("{source}{fault}"),
        None => error.into(),
    }
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
///
/// Another tool's posterior: tallsbi diagnose local-c2st --posterior-draws draws.npy --calibration cal.h5 --observations obs.h5 --posterior samples.csv
#[derive(Debug, Args)]
pub struct LocalC2stArguments {
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
    #[command(flatten)]
    calibration: CalibrationArguments,
}

impl LocalC2stArguments {
    fn options(&self) -> LocalC2stOptions {
        let classifier = match self.classifier {
            // The library's own choice depends on the dimension.
            ClassifierKind::Mlp => None,
            kind => Some(ClassifierParams::from(kind)),
        };
        LocalC2stOptions { trials: self.trials, ensemble: self.ensemble, classifier, ..LocalC2stOptions::default() }
    }

    /// The observations that `taker` takes.
    fn observed(&self, taker: Taker) -> Result<Matrix> {
        let taken = (taker, &self.recording.options());
        Ok(observed(&self.observations, self.calibration.n_obs, Header::Auto, taken)?.0)
    }

    /// Samples of the posterior given `observed`, of m parameters.
    fn posterior(&self, observed: &Matrix, m: usize) -> Result<Matrix> {
        check_given(&self.posterior, self.calibration.model.as_deref(), observed.values.view())?;
        let posterior = MatrixSource::parse(&self.posterior).read()?;
        let columns = posterior.values.ncols();
        if columns != m {
            let whose = if self.calibration.model.is_some() { "model" } else { "calibration file" };
            bail!("{}: has {columns} columns, the {whose} {m} parameters; give samples of these", self.posterior);
        }
        Ok(posterior)
    }

    /// The test of a model: its result, pairs and observations.
    fn of_model(&self, context: &Context, subject: &Subject<'_>, file: &ModelFile) -> Result<Tested> {
        let matrix = self.observed(wholly_taken_by(&file.model))?;
        let x = observed_by(&file.model, &self.observations, &matrix)?;
        let posterior = self.posterior(&matrix, file.model.names().len())?;
        let pairs = self.calibration.first(self.calibration.read(subject, FEWEST_PAIRS)?, Some(x.nrows()))?;
        let sampling = self.calibration.sampling.options(file, 1)?;
        let (at, options) = ((x.view(), posterior.values.view()), self.options());
        let (seed, monitor) = (context.seed, context.monitor());
        let result = calibration::local_c2st(&file.model, &pairs, at, (&options, &sampling), seed, &monitor);
        Ok((result.map_err(|error| self.about(error))?, pairs.valid.len() - pairs.invalid(), x.nrows()))
    }

    /// The test of draws of another tool.
    fn of_others(&self, context: &Context, subject: &Subject<'_>, source: &str) -> Result<Tested> {
        let calibration = &self.calibration;
        let pairs = calibration.read(subject, FEWEST_PAIRS)?;
        let (m, d) = (pairs.prior.dim(), pairs.x.dim().2);
        let matrix =
            self.observed(Taker { dim_x: d, window: pairs.signal_window, gaps: Gaps::Refused, comparable: false })?;
        let (n, width) = matrix.values.dim();
        if width != d {
            let path = calibration.calibration.display();
            bail!("{}: has observations of {width} values, {path} of {d}; give the same", self.observations);
        }
        check_columns(&self.observations, &matrix, &pairs.observation_names)?;
        let posterior = self.posterior(&matrix, m)?;
        let pairs = calibration.first(pairs, Some(n))?;
        let drawn = calibration.drawn_by_others(source, &pairs)?;
        let kept: Vec<usize> = (0..pairs.valid.len()).filter(|&row| pairs.valid[row]).collect();
        let x = pairs.x.select(Axis(0), &kept);
        let at = (matrix.values.view(), posterior.values.view());
        let result = drawn.local_c2st(x.view(), at, &self.options(), context.seed, &context.monitor());
        Ok((result.map_err(|error| self.about(error))?, kept.len(), n))
    }

    /// The library's error with the user's names of the files.
    fn about(&self, error: tallsbi::Error) -> anyhow::Error {
        let tallsbi::Error::Diagnostics(error) = error else { return error.into() };
        match error.matrix() {
            Some("posterior samples") => named(&self.posterior, error),
            Some("theta_q") if self.calibration.posterior_draws.is_some() => {
                about_draws(self.calibration.posterior_draws.as_deref().unwrap_or_default(), error.into())
            }
            Some(_) => anyhow!(error).context(self.calibration.calibration.display().to_string()),
            None => error.into(),
        }
    }
}

/// A result, with the pairs and the observations it is of.
type Tested = (LocalC2stResult, usize, usize);

pub fn local_c2st(context: &Context, arguments: &LocalC2stArguments) -> Result<()> {
    if arguments.trials < FEWEST_TRIALS {
        tracing::warn!(
            "p cannot fall below {:.3} with {} trials",
            1.0 / (1 + arguments.trials) as f64,
            arguments.trials
        );
    }
    let subject = arguments.calibration.subject()?;
    let (result, n_pairs, n) = match &subject {
        Subject::Model(file) => arguments.of_model(context, &subject, file)?,
        Subject::Draws(source) => arguments.of_others(context, &subject, source)?,
    };
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
///
/// Another tool's posterior: tallsbi diagnose sbc --posterior-draws draws.npy --calibration cal.h5
#[derive(Debug, Args)]
pub struct SbcArguments {
    /// Posterior samples for each pair
    #[arg(long, value_name = "L", default_value = "100", conflicts_with = "posterior_draws")]
    draws: NonZeroUsize,
    #[command(flatten)]
    calibration: CalibrationArguments,
}

pub fn sbc(context: &Context, arguments: &SbcArguments) -> Result<()> {
    let (names, drawn) = arguments.calibration.drawn(context, arguments.draws.get())?;
    let (pairs, draws, _) = drawn.draws.dim();
    let result = drawn.sbc(&RankOptions::default(), context.seed, &context.monitor())?;
    warn_of_power(result.visible_shift, pairs, draws);
    let mut text = format!("SBC p = {:.4} (smallest of {} parameters, corrected)", result.p_value, names.len());
    text += &rank_lines(&names, &result);
    context.print(text, || {
        json!({
            "metric": "sbc",
            "value": result.p_value,
            "parameter_names": names,
            "parameters": result.parameters,
            "visible_shift": result.visible_shift,
            "pairs": pairs,
            "draws": draws,
        })
    })
}

/// The tests of each parameter, a line each.
pub fn rank_lines(names: &[String], result: &Sbc) -> String {
    let line = |(name, test): (&String, &RankTest)| {
        format!("\n  {name}: p = {:.4} (ECDF), {:.4} (χ²)", test.ecdf.p_value, test.histogram.p_value)
    };
    names.iter().zip(&result.parameters).map(line).collect()
}

/// Expected coverage (TARP): do credible regions hold the truth as often as they say?
///
/// Example: tallsbi diagnose coverage model.safetensors --calibration cal.h5 --pairs 500
///
/// Another tool's posterior: tallsbi diagnose coverage --posterior-draws draws.npy --calibration cal.h5
#[derive(Debug, Args)]
pub struct CoverageArguments {
    /// Posterior samples for each pair
    #[arg(long, value_name = "L", default_value = "100", conflicts_with = "posterior_draws")]
    draws: NonZeroUsize,
    #[command(flatten)]
    calibration: CalibrationArguments,
}

pub fn coverage(context: &Context, arguments: &CoverageArguments) -> Result<()> {
    let (_, drawn) = arguments.calibration.drawn(context, arguments.draws.get())?;
    let (pairs, draws, _) = drawn.draws.dim();
    let result = drawn.coverage(&RankOptions::default(), context.seed, &context.monitor())?;
    warn_of_power(result.visible_shift, pairs, draws);
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
            "pairs": pairs,
            "draws": draws,
        })
    })
}
