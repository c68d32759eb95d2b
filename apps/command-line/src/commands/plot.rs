//! `tallsbi plot`.

use super::parameter_values;
use crate::context::{Context, usage};
use anyhow::{Context as _, Result};
use clap::Args;
use ndarray::{Array2, Axis};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tallsbi::SampleOptions;
use tallsbi::data::Prior;
use tallsbi::diagnostics::sbc::RankTest;
use tallsbi::files::{Existing, MatrixSource, OutputFile, Posterior};
use tallsbi::on_disk::{ModelFile, load_model, told_prior};
use tallsbi_studies::file_figures::{
    CoverageCurve, Labelled, Parameters, RankCurves, conditionals, contraction, coverage, losses, marginals,
    posteriors, predictions, ranks,
};
use tallsbi_studies::plot::{CATEGORICAL, Figure};
use tallsbi_studies::study::results::LossCurves;

/// Draw posteriors side by side, what they predict, the losses of a model, coverage or ranks
///
/// FILEs are posteriors (.nc: one- and two-dimensional marginals over each other; --marginals, --contraction and --conditional draw others), one file of `tallsbi predict` (with --predictive:
/// observed against predicted), one model (.safetensors: losses), or results of `tallsbi diagnose coverage --json` or `diagnose sbc --json` (.json: curves over each other). The figure's
/// name decides on SVG or PNG.
///
/// Example: tallsbi plot posterior.nc refined.nc reference.nc --labels network,refined,exact -o posteriors.png
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct PlotArguments {
    /// Files of one kind
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Figure to write: NAME.svg or NAME.png
    #[arg(short, long, value_name = "FIGURE")]
    pub output: PathBuf,
    /// Replace the figure
    #[arg(long)]
    pub force: bool,
    /// Names in the legend [default: the files']
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// True parameters to mark, in the posteriors' order
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true, conflicts_with = "truth_of")]
    pub theta: Option<String>,
    /// Mark the true parameters that this file of observations holds
    #[arg(long, value_name = "SOURCE")]
    pub truth_of: Option<String>,
    /// Draw the prior of posteriors too
    #[arg(long)]
    pub prior: bool,
    /// Draw what a file of `tallsbi predict` predicts
    #[arg(long, group = "drawn")]
    pub predictive: bool,
    /// Draw the densities of single parameters alone
    #[arg(long, group = "drawn")]
    pub marginals: bool,
    /// Draw how posteriors of different numbers of observations contract
    #[arg(long, group = "drawn")]
    pub contraction: bool,
    /// Draw the densities of one and two parameters given all others, which this model knows that the posterior is from
    #[arg(long, group = "drawn", value_name = "MODEL")]
    pub conditional: Option<PathBuf>,
    /// Values that the other parameters have there, in the posterior's order [default: where the density is largest]
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true, requires = "conditional")]
    pub at: Option<String>,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &PlotArguments) -> Result<()> {
    let existing = if arguments.force { Existing::Overwrite } else { Existing::Refuse };
    let output = &arguments.output;
    OutputFile::check(output, existing)?;
    let ending = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let svg = match ending(output).as_str() {
        "svg" => true,
        "png" => false,
        _ => return Err(usage(format!("--output: {} is neither .svg nor .png", output.display()))),
    };
    if !arguments.labels.is_empty() && arguments.labels.len() != arguments.files.len() {
        return Err(usage(format!("--labels: {} for {} files", arguments.labels.len(), arguments.files.len())));
    }
    let kinds: Vec<String> = arguments.files.iter().map(|file| ending(file)).collect();
    if kinds.iter().any(|kind| *kind != kinds[0]) {
        return Err(usage("the files are of several kinds; draw posteriors, models or checks for themselves"));
    }
    let posteriors = !["safetensors", "st", "json"].contains(&kinds[0].as_str());
    if !posteriors && arguments.of_posteriors() {
        return Err(usage(
            "--prior, --predictive, --marginals, --contraction and --conditional are of posteriors; leave them out",
        ));
    }
    let figure = match kinds[0].as_str() {
        "safetensors" | "st" => of_model(arguments)?,
        "json" => of_checks(arguments)?,
        _ if arguments.predictive => of_predictions(arguments)?,
        _ if arguments.contraction => of_contraction(arguments)?,
        _ => match &arguments.conditional {
            Some(model) => of_conditionals(arguments, model)?,
            None => of_posteriors(arguments)?,
        },
    };
    let bytes = if svg { figure.svg().into_bytes() } else { figure.png()? };
    OutputFile::write(output, existing, &bytes)?;
    let path = output.display().to_string();
    context
        .print(format!("{path}: {}", figure.alternative), || json!({ "path": path, "description": figure.alternative }))
}

impl PlotArguments {
    fn label(&self, index: usize) -> String {
        let stem = || self.files[index].file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.labels.get(index).cloned().unwrap_or_else(stem)
    }

    /// The only file.
    fn single(&self, what: &str) -> Result<&Path> {
        match &self.files[..] {
            [file] => Ok(file),
            files => Err(usage(format!("{} files given; {what} are drawn of one", files.len()))),
        }
    }

    fn of_posteriors(&self) -> bool {
        self.prior || self.predictive || self.marginals || self.contraction || self.conditional.is_some()
    }

    /// The files as posteriors of the same parameters.
    fn read(&self) -> Result<Vec<Posterior>> {
        let read: Vec<Posterior> = self.files.iter().map(|file| Posterior::read(file)).collect::<Result<_, _>>()?;
        let names = &read[0].parameter_names;
        if let Some(index) = read.iter().position(|posterior| posterior.parameter_names != *names) {
            return Err(usage(format!(
                "{}: has the parameters {}, {} has {}",
                self.files[index].display(),
                read[index].parameter_names.join(", "),
                self.files[0].display(),
                names.join(", ")
            )));
        }
        Ok(read)
    }

    /// The prior that is to be drawn.
    fn prior(&self, posteriors: &[Posterior]) -> Result<Option<Prior>> {
        if !self.prior {
            return Ok(None);
        }
        let Some(prior) = known_prior(posteriors)? else {
            let first = self.files[0].display();
            return Err(usage(format!("--prior: {first} does not tell its prior; sample it again, or leave it out")));
        };
        Ok(Some(prior))
    }

    fn truth(&self, m: usize) -> Result<Option<Vec<f64>>> {
        let (option, truth) = match (&self.theta, &self.truth_of) {
            (Some(text), _) => ("--theta", parameter_values("--theta", text)?),
            (None, Some(source)) => {
                let theta = MatrixSource::parse(source).read()?.theta_true;
                ("--truth-of", theta.with_context(|| format!("{source}: holds no true parameters"))?.to_vec())
            }
            (None, None) => return Ok(None),
        };
        if truth.len() != m {
            return Err(usage(format!("{option}: {} values for {m} parameters", truth.len())));
        }
        Ok(Some(truth))
    }
}

/// The prior that the first of the files that do tells.
fn known_prior(posteriors: &[Posterior]) -> Result<Option<Prior>> {
    let told = posteriors.iter().map(|posterior| told_prior(&posterior.run));
    Ok(told.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
}

fn of_posteriors(arguments: &PlotArguments) -> Result<Figure> {
    let read = arguments.read()?;
    let names = &read[0].parameter_names;
    let (truth, prior) = (arguments.truth(names.len())?, arguments.prior(&read)?);
    let parameters = Parameters { names, truth: truth.as_deref(), prior: prior.as_ref() };
    let samples: Vec<_> = read.iter().map(Posterior::matrix).collect();
    let labelled: Vec<Labelled<'_>> = samples
        .iter()
        .enumerate()
        .map(|(index, samples)| Labelled { label: arguments.label(index), samples: samples.view() })
        .collect();
    Ok(if arguments.marginals { marginals(&labelled, &parameters)? } else { posteriors(&labelled, &parameters)? })
}

fn of_contraction(arguments: &PlotArguments) -> Result<Figure> {
    let read = arguments.read()?;
    let mut posteriors = Vec::with_capacity(read.len());
    for (file, posterior) in arguments.files.iter().zip(&read) {
        let told = posterior.run.get("n_obs").and_then(Value::as_u64).map(|n| n as usize);
        let Some(n) = told.or(posterior.observations.as_ref().map(Array2::nrows)) else {
            let file = file.display();
            return Err(usage(format!("{file}: does not tell how many observations it was given; leave it out")));
        };
        posteriors.push((n, posterior.matrix().std_axis(Axis(0), 0.0).to_vec()));
    }
    let different: HashSet<usize> = posteriors.iter().map(|(n, _)| *n).collect();
    if different.len() < posteriors.len().max(2) {
        return Err(usage("--contraction: give two posteriors or more, each of another number of observations"));
    }
    let names = &read[0].parameter_names;
    let prior = known_prior(&read)?.filter(|prior| prior.names() == names.as_slice());
    let sd: Option<Vec<f64>> = prior.map(|prior| prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect());
    let sd = sd.filter(|sd| sd.iter().all(|sd| sd.is_finite() && *sd > 0.0));
    Ok(contraction(&posteriors, names, sd.as_deref())?)
}

fn of_conditionals(arguments: &PlotArguments, model: &Path) -> Result<Figure> {
    let path = arguments.single("conditional densities")?;
    let read = arguments.read()?;
    let (file, model) = (&read[0], ModelFile::load(model)?.model);
    let (names, options) = (&file.parameter_names, SampleOptions::default());
    if names.as_slice() != model.names() {
        let (found, known) = (names.join(", "), model.names().join(", "));
        return Err(usage(format!("{}: has the parameters {found}, the model has {known}", path.display())));
    }
    if !model.is_likelihood() {
        return Err(usage("--conditional: this model learned scores and has no density; leave it out"));
    }
    let Some(observed) = &file.observations else {
        return Err(usage(format!("{}: holds no observations, of which its density is", path.display())));
    };
    let x = model.centre(&path.display().to_string(), observed.mapv(f64::from).view())?;
    let samples = file.matrix();
    let at = match &arguments.at {
        Some(text) => parameter_values("--at", text)?,
        None => model.mode(x.view(), samples.view(), &options)?.theta,
    };
    if at.len() != names.len() {
        return Err(usage(format!("--at: {} values for {} parameters", at.len(), names.len())));
    }
    let (truth, prior) = (arguments.truth(names.len())?, arguments.prior(&read)?);
    let parameters = Parameters { names, truth: truth.as_deref(), prior: prior.as_ref() };
    let set = Labelled { label: arguments.label(0), samples: samples.view() };
    conditionals(&set, &parameters, &at, |free| {
        Ok(model.conditional(x.view(), &at, free, &options)?.density.into_iter().collect())
    })
}

fn of_predictions(arguments: &PlotArguments) -> Result<Figure> {
    let path = arguments.single("predictions")?;
    let file = Posterior::read(path)?;
    let Some(predicted) = &file.companions.posterior_predictive else {
        return Err(usage(format!("{}: holds no predictions; make them with tallsbi predict", path.display())));
    };
    Ok(predictions(predicted.view(), file.observations.as_ref().map(|x| x.view()))?)
}

fn of_model(arguments: &PlotArguments) -> Result<Figure> {
    let path = arguments.single("losses")?;
    let networks = LossCurves::of(&load_model(path)?);
    if networks.is_empty() {
        return Err(usage(format!("{}: holds no record of its training", path.display())));
    }
    Ok(losses(&networks)?)
}

/// What `diagnose coverage --json` and `diagnose sbc --json` print.
#[derive(Deserialize)]
#[serde(tag = "metric", rename_all = "kebab-case")]
enum CheckJson {
    Coverage { levels: Vec<f64>, coverage: Vec<f64>, pairs: usize },
    Sbc { parameter_names: Vec<String>, parameters: Vec<RankTest> },
}

fn of_checks(arguments: &PlotArguments) -> Result<Figure> {
    let (mut curves, mut tests, mut named) = (Vec::new(), Vec::new(), Vec::<String>::new());
    for (index, file) in arguments.files.iter().enumerate() {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("{shown}: cannot be read"))?;
        let label = arguments.label(index);
        let found: CheckJson = serde_json::from_str(&text).with_context(|| {
            format!("{shown}: is not what tallsbi diagnose coverage --json or diagnose sbc --json prints")
        })?;
        match found {
            CheckJson::Coverage { levels, coverage, pairs } => {
                let color = CATEGORICAL[index % CATEGORICAL.len()];
                curves.push(CoverageCurve { label, color, levels, coverage, pairs });
            }
            CheckJson::Sbc { parameter_names, parameters } => {
                if parameters.len() != parameter_names.len() || !named.is_empty() && named != parameter_names {
                    return Err(usage(format!("{shown}: has other parameters than the files before")));
                }
                named = parameter_names;
                tests.push(RankCurves { label, tests: parameters.into_iter().map(|test| test.ecdf).collect() });
            }
        }
    }
    match (curves.is_empty(), tests.is_empty()) {
        (false, true) => Ok(coverage(&curves)?),
        (true, false) => Ok(ranks(&tests, &named)?),
        _ => Err(usage("the files are of several checks; draw coverage and ranks for themselves")),
    }
}
