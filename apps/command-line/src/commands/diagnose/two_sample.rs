//! Distances between a sample and a reference, or the truth.

use crate::choice::choice;
use crate::commands::parameter_values;
use crate::context::{Context, usage};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use tallsbi::data::Named;
use tallsbi::diagnostics::classifier::{ClassifierKind, ClassifierParams};
use tallsbi::diagnostics::{C2stOptions, DEFAULT_PROJECTIONS, DiagnosticsError, RowCount, dirac};
use tallsbi::files::{Matrix, MatrixSource};

/// A sample and its reference.
#[derive(Debug, Args)]
pub struct PairArguments {
    /// Samples: posterior file, FILE.h5:DATASET, FILE.h5:DATASET:INDEX or CSV
    pub samples: String,
    /// Reference samples, likewise
    #[arg(long, value_name = "SOURCE")]
    pub reference: String,
}

impl PairArguments {
    /// Samples and reference.
    pub(super) fn read(&self) -> Result<(Matrix, Matrix)> {
        let samples = read_samples(&self.samples)?;
        let reference = read_samples(&self.reference)?;
        let (m, expected) = (samples.values.ncols(), reference.values.ncols());
        if m != expected {
            bail!(
                "{} has {m} columns, the reference {} has {expected}; compare samples of the same parameters",
                self.samples,
                self.reference
            );
        }
        let both_named = !samples.names.is_empty() && !reference.names.is_empty();
        if both_named && samples.names != reference.names {
            bail!(
                "{} has the columns {}, the reference {} has {}; bring them into the same order",
                self.samples,
                samples.names.join(", "),
                self.reference,
                reference.names.join(", ")
            );
        }
        Ok((samples, reference))
    }

    /// The library's error with the user's name of the matrix it is about.
    pub(super) fn name(&self, error: DiagnosticsError) -> anyhow::Error {
        match error.matrix() {
            Some("samples") => named(&self.samples, error),
            Some("reference") => named(&self.reference, error),
            _ => error.into(),
        }
    }
}

/// Samples, a row each: one dimension is samples of one parameter.
fn read_samples(source: &str) -> Result<Matrix> {
    let matrix = MatrixSource::parse(source).read()?;
    let width = if matrix.flat { 1 } else { matrix.values.ncols() };
    matrix.with_rows_of(width).map_err(|message| anyhow!("{source}: {message}"))
}

/// The library's error about a matrix, with the user's name of it.
pub fn named(source: &str, error: DiagnosticsError) -> anyhow::Error {
    let text = error.to_string();
    match error.matrix().and_then(|matrix| text.strip_prefix(matrix)) {
        Some(fault) => anyhow!("{source}{fault}"),
        None => error.into(),
    }
}

/// Sliced Wasserstein distance (W2 over random directions)
///
/// Example: tallsbi diagnose sliced-wasserstein posterior.nc --reference reference.nc
#[derive(Debug, Args)]
pub struct SlicedWassersteinArguments {
    #[command(flatten)]
    pair: PairArguments,
    /// Random directions
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PROJECTIONS)]
    projections: usize,
}

pub fn sliced_wasserstein(context: &Context, arguments: &SlicedWassersteinArguments) -> Result<()> {
    let (samples, reference) = arguments.pair.read()?;
    let bars = context.monitor();
    let result = tallsbi::diagnostics::sliced_wasserstein(
        reference.values.view(),
        samples.values.view(),
        arguments.projections,
        context.key(),
        &bars,
    )
    .map_err(|error| arguments.pair.name(error))?;
    let error = result.standard_error.map(|error| format!(" ± {error:.2e} (directions)")).unwrap_or_default();
    context.print(format!("sliced Wasserstein distance {:.6}{error}", result.value), || {
        json!({
            "metric": "sliced-wasserstein",
            "value": result.value,
            "standard_error": result.standard_error,
            "projections": result.projections,
        })
    })
}

/// Classifier two-sample test: accuracy of telling samples from reference, 0.5 where they are the same
///
/// Example: tallsbi diagnose c2st posterior.nc --reference shared/reference/slcp.h5:posterior/n30:3
#[derive(Debug, Args)]
pub struct C2stArguments {
    #[command(flatten)]
    pair: PairArguments,
    /// What tells the samples apart
    #[arg(long, value_parser = choice::<ClassifierKind>(), default_value = ClassifierKind::Mlp.name())]
    classifier: ClassifierKind,
    /// Parts of the cross-validation
    #[arg(long, value_name = "K", default_value_t = C2stOptions::default().folds)]
    folds: usize,
    /// Independent cross-validations to average
    #[arg(long, value_name = "N", default_value_t = C2stOptions::default().seeds)]
    repeats: usize,
}

pub fn c2st(context: &Context, arguments: &C2stArguments) -> Result<()> {
    let (samples, reference) = arguments.pair.read()?;
    let options = C2stOptions {
        folds: arguments.folds,
        seeds: arguments.repeats,
        classifier: ClassifierParams::from(arguments.classifier),
    };
    let result = tallsbi::diagnostics::c2st(
        reference.values.view(),
        samples.values.view(),
        &options,
        context.key(),
        &context.monitor(),
    )
    .map_err(|error| arguments.pair.name(error))?;
    let mut text = format!("C2ST accuracy {:.4} ± {:.4}", result.accuracy, result.standard_error);
    if result.reference.rows != result.samples.rows {
        text += &format!(" ({} rows of each, drawn from the larger sample)", result.rows);
    }
    let sources = [(&arguments.pair.samples, result.samples), (&arguments.pair.reference, result.reference)];
    for (source, RowCount { rows, distinct }) in sources.into_iter().filter(|(_, count)| count.distinct < count.rows) {
        tracing::warn!(
            "{source}: {} of {rows} rows are copies of others; a classifier tells copies apart, and the accuracy is too high",
            rows - distinct
        );
    }
    context.print(text, || {
        json!({
            "metric": "c2st",
            "value": result.accuracy,
            "standard_error": result.standard_error,
            "seed_deviation": result.seed_deviation,
            "rows": result.rows,
            "samples": result.samples,
            "reference": result.reference,
            "folds": options.folds,
            "repeats": options.seeds,
            "classifier": arguments.classifier.name(),
        })
    })
}

/// Distance of each marginal to the true parameters
///
/// Example: tallsbi diagnose dirac posterior.nc --theta 135,220,2000
#[derive(Debug, Args)]
pub struct DiracArguments {
    /// Samples: posterior file, FILE.h5:DATASET, FILE.h5:DATASET:INDEX or CSV
    samples: String,
    #[command(flatten)]
    truth: TruthArguments,
}

/// The true parameters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TruthArguments {
    /// True parameters, in the order of the columns
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true)]
    theta: Option<String>,
    /// Observations file that holds the true parameters
    #[arg(long, value_name = "SOURCE")]
    observations: Option<String>,
}

pub fn dirac(context: &Context, arguments: &DiracArguments) -> Result<()> {
    let samples = read_samples(&arguments.samples)?;
    let theta = match (&arguments.truth.theta, &arguments.truth.observations) {
        (Some(text), _) => parameter_values("--theta", text)?,
        (None, Some(source)) => MatrixSource::parse(source)
            .read()?
            .theta_true
            .with_context(|| format!("{source}: holds no theta_true; give --theta"))?
            .to_vec(),
        (None, None) => return Err(usage("give --theta or --observations")),
    };
    let m = samples.values.ncols();
    if theta.len() != m {
        return Err(usage(format!("{} true values for {m} columns of {}", theta.len(), arguments.samples)));
    }
    let view = samples.values.view();
    let marginals = || Ok((dirac::mmd(view, &theta)?, dirac::mmd_scaled(view, &theta)?, dirac::mse(view, &theta)?));
    let (mmd, scaled, mse) = marginals().map_err(|error: DiagnosticsError| match error.matrix() {
        Some("samples") => named(&arguments.samples, error),
        _ => error.into(),
    })?;
    let names: Vec<String> = match samples.names.is_empty() {
        true => (1..=m).map(|i| format!("theta_{i}")).collect(),
        false => samples.names.clone(),
    };
    let mut text = format!("MMD² to the true parameters {:.6} (mean over marginals)", mmd.mean);
    for (i, name) in names.iter().enumerate() {
        text += &format!(
            "\n  {name}: MMD² {:.6}, in standard deviations {:.6}, MSE {:.6}",
            mmd.marginals[i], scaled.marginals[i], mse.marginals[i]
        );
    }
    context.print(text, || {
        json!({
            "metric": "dirac",
            "value": mmd.mean,
            "parameter_names": names,
            "theta_true": theta,
            "mmd": mmd,
            "mmd_scaled": scaled,
            "mse": mse,
        })
    })
}
