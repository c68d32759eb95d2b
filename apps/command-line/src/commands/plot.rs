//! `tallsbi plot`.

use super::parameter_values;
use crate::context::{Context, usage};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi::files::{Existing, MatrixSource, OutputFile};
use tallsbi_studies::plot_files::{Drawn, PlotFiles, ending};

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
    let svg = match ending(output).as_str() {
        "svg" => true,
        "png" => false,
        _ => return Err(usage(format!("--output: {} is neither .svg nor .png", output.display()))),
    };
    let (files, labels) = (&arguments.files, &arguments.labels);
    if !labels.is_empty() && labels.len() != files.len() {
        return Err(usage(format!("--labels: {} for {} files", labels.len(), files.len())));
    }
    let (truth, drawn) = (arguments.truth()?, arguments.drawn()?);
    let figure = PlotFiles { files, labels, truth, prior: arguments.prior, drawn }.figure()?;
    let bytes = if svg { figure.svg().into_bytes() } else { figure.png()? };
    OutputFile::write(output, existing, &bytes)?;
    let path = output.display().to_string();
    context
        .print(format!("{path}: {}", figure.alternative), || json!({ "path": path, "description": figure.alternative }))
}

impl PlotArguments {
    fn truth(&self) -> Result<Option<(&'static str, Vec<f64>)>> {
        Ok(match (&self.theta, &self.truth_of) {
            (Some(text), _) => Some(("--theta", parameter_values("--theta", text)?)),
            (None, Some(source)) => {
                let theta = MatrixSource::parse(source).read()?.theta_true;
                Some(("--truth-of", theta.with_context(|| format!("{source}: holds no true parameters"))?.to_vec()))
            }
            (None, None) => None,
        })
    }

    fn drawn(&self) -> Result<Drawn> {
        Ok(match &self.conditional {
            _ if self.predictive => Drawn::Predictions,
            _ if self.contraction => Drawn::Contraction,
            _ if self.marginals => Drawn::Marginals,
            Some(model) => {
                let at = self.at.as_deref().map(|text| parameter_values("--at", text)).transpose()?;
                Drawn::Conditionals { model: model.clone(), at }
            }
            None => Drawn::Pairs,
        })
    }
}
