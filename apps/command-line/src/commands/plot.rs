//! `tallsbi plot`.

use super::parameter_values;
use crate::context::{Context, usage};
use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use tallsbi::files::{Existing, MatrixSource, OutputFile, Posterior};
use tallsbi::on_disk::load_model;
use tallsbi_studies::file_figures::{CoverageCurve, Labelled, coverage, losses, posteriors, predictions};
use tallsbi_studies::plot::{CATEGORICAL, Figure};
use tallsbi_studies::study::results::LossCurves;

/// Draw posteriors side by side, what they predict, the losses of a model, or coverage
///
/// FILEs are posteriors (.nc: marginals over each other), one file of `tallsbi predict` (with --predictive: observed against predicted), one model (.safetensors:
/// losses), or results of `tallsbi diagnose coverage --json` (.json: curves over each other). The figure's name decides on SVG or PNG.
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
    /// Draw what a file of `tallsbi predict` predicts
    #[arg(long)]
    pub predictive: bool,
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
    let figure = match kinds[0].as_str() {
        "safetensors" | "st" => of_model(arguments)?,
        "json" => of_coverage(arguments)?,
        _ if arguments.predictive => of_predictions(arguments)?,
        _ => of_posteriors(arguments)?,
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

fn of_posteriors(arguments: &PlotArguments) -> Result<Figure> {
    let read: Vec<Posterior> = arguments.files.iter().map(|file| Posterior::read(file)).collect::<Result<_, _>>()?;
    let names = &read[0].parameter_names;
    if let Some(index) = read.iter().position(|posterior| posterior.parameter_names != *names) {
        return Err(usage(format!(
            "{}: has the parameters {}, {} has {}",
            arguments.files[index].display(),
            read[index].parameter_names.join(", "),
            arguments.files[0].display(),
            names.join(", ")
        )));
    }
    let samples: Vec<_> = read.iter().map(Posterior::matrix).collect();
    let labelled: Vec<Labelled<'_>> = samples
        .iter()
        .enumerate()
        .map(|(index, samples)| Labelled { label: arguments.label(index), samples: samples.view() })
        .collect();
    Ok(posteriors(&labelled, names, arguments.truth(names.len())?.as_deref())?)
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

/// What `diagnose coverage --json` prints.
#[derive(Deserialize)]
struct CoverageJson {
    levels: Vec<f64>,
    coverage: Vec<f64>,
    pairs: usize,
}

fn of_coverage(arguments: &PlotArguments) -> Result<Figure> {
    let one = |(index, file): (usize, &PathBuf)| -> Result<CoverageCurve> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("{shown}: cannot be read"))?;
        let found: CoverageJson = serde_json::from_str(&text)
            .with_context(|| format!("{shown}: is not what tallsbi diagnose coverage --json prints"))?;
        let CoverageJson { levels, coverage, pairs } = found;
        Ok(CoverageCurve {
            label: arguments.label(index),
            color: CATEGORICAL[index % CATEGORICAL.len()],
            levels,
            coverage,
            pairs,
        })
    };
    Ok(coverage(&arguments.files.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?)?)
}
