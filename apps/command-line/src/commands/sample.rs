//! `tallsbi sample`.

use super::model;
use super::observed;
use super::sampling_arguments::SamplingArguments;
use crate::cli::OutputArguments;
use crate::context::{Context, usage};
use anyhow::Result;
use clap::Args;
use ndarray::{ArrayView2, Axis};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;
use tallsbi::files::{OutputFile, Posterior};
use tallsbi::on_disk::{ModelFile, posterior_attributes};

/// Sample the posterior given many observations
///
/// Observations are a file of `tallsbi observe`, any HDF5 dataset (FILE.h5:DATASET, or FILE.h5:DATASET:INDEX for one of a
/// stack), or CSV with an observation a line. Models are those of `tallsbi train`. The posterior opens with
/// arviz.from_netcdf.
///
/// Example: tallsbi sample model.safetensors --observations obs.h5 --n-obs 30 -o posterior.nc
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct SampleArguments {
    /// Model
    pub model: PathBuf,
    /// Observations: FILE, FILE.h5:DATASET or FILE.h5:DATASET:INDEX
    #[arg(long, value_name = "SOURCE")]
    pub observations: String,
    /// Condition on the first N observations [default: all]
    #[arg(long, value_name = "N")]
    pub n_obs: Option<NonZeroUsize>,
    /// Number of samples
    #[arg(long, value_name = "S", default_value = "1000")]
    pub samples: NonZeroUsize,
    /// Folder for covariances estimated by gauss: what another run with the same model, seed and observations left there is
    /// used, with the same result
    #[arg(long, value_name = "DIR")]
    pub covariance_cache: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub sampling: SamplingArguments,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &SampleArguments) -> Result<()> {
    let mut file = ModelFile::load(&arguments.model)?;
    let options = arguments.sampling.options(&file, arguments.samples.get())?;
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let (x, source) = observed(&arguments.observations, arguments.n_obs)?;
    if let Some(folder) = &arguments.covariance_cache {
        if !file.model.estimates_covariances(&options) {
            return Err(usage(
                "--covariance-cache: this model and method estimate no covariances from samples; leave it out",
            ));
        }
        file.keep_covariances(folder, &options)?;
    }
    file.model.check_width(&arguments.observations, x.ncols())?;
    let started = Instant::now();
    let (samples, info) = model::sample(context, &file, &[x.view()], context.key(), &options)?;
    let seconds = started.elapsed().as_secs_f64();
    let names = file.model.names().to_vec();
    let provenance =
        context.provenance(&file.model.trained().info.task).with_parent(&arguments.model)?.with_parent(&source)?;
    let samples = samples.index_axis_move(Axis(0), 0);
    let run = posterior_attributes(&file.model, &options, &info, x.nrows(), seconds);
    let posterior = Posterior::from_matrix(names, samples.view(), Some(x), run.clone(), provenance)?;
    posterior.write(output, arguments.output.existing())?;
    let path = output.display();
    let text = format!(
        "{path}: {} samples given {} observations, {} and {}, {} evaluations, {seconds:.2} s\n{}",
        options.samples,
        run["n_obs"],
        run["method"].as_str().unwrap_or_default(),
        run["sampler"].as_str().unwrap_or_default(),
        info.evaluations,
        summary(&posterior.parameter_names, samples.view())
    );
    context.print(text, || {
        let (mean, sd) = moments(samples.view());
        json!({ "path": path.to_string(), "run": run, "parameter_names": posterior.parameter_names, "mean": mean, "sd": sd })
    })
}

/// Mean and standard deviation of each parameter.
pub fn moments(samples: ArrayView2<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    let mean = samples.mean_axis(Axis(0)).map(|mean| mean.to_vec()).unwrap_or_default();
    (mean, samples.std_axis(Axis(0), 0.0).to_vec())
}

/// Mean and standard deviation of each parameter, a line each.
pub fn summary(names: &[String], samples: ArrayView2<'_, f64>) -> String {
    let (mean, sd) = moments(samples);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |((name, mean), sd): ((&String, f64), f64)| format!("  {name:width$}  {mean:.5} ± {sd:.5}");
    names.iter().zip(mean).zip(sd).map(line).collect::<Vec<_>>().join("\n")
}
