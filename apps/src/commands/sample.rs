//! `tallsbi sample`.

use super::model::Model;
use super::observed;
use super::sampling_arguments::SamplingArguments;
use crate::cli::OutputArguments;
use crate::context::{Context, usage};
use anyhow::Result;
use clap::Args;
use ndarray::{ArrayView2, Axis};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;
use tallsbi_files::{OutputFile, Posterior, RunAttributes};
use tallsbi_inference::sample::{SampleInfo, SampleOptions};

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
    let mut model = Model::load(&arguments.model)?;
    let options = arguments.sampling.options(&model, arguments.samples.get())?;
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let (x, source) = observed(&arguments.observations, arguments.n_obs)?;
    if let Some(folder) = &arguments.covariance_cache {
        if !model.estimates_covariances(&options) {
            return Err(usage(
                "--covariance-cache: this model and method estimate no covariances from samples; leave it out",
            ));
        }
        model.keep_covariances(folder, &options)?;
    }
    model.check_width(&arguments.observations, x.ncols())?;
    let started = Instant::now();
    let (samples, info) = model.sample(context, &[x.view()], context.key(), &options)?;
    let seconds = started.elapsed().as_secs_f64();
    let names = model.trained.latent.prior().names().to_vec();
    let provenance =
        context.provenance(&model.trained.info.task).with_parent(&arguments.model)?.with_parent(&source)?;
    let samples = samples.index_axis_move(Axis(0), 0);
    let run = attributes(&model, &options, &info, x.nrows(), seconds)?;
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

/// Settings and counters of a sampling run, for its posterior file.
pub fn attributes(
    model: &Model,
    options: &SampleOptions,
    info: &SampleInfo,
    n_obs: usize,
    seconds: f64,
) -> Result<RunAttributes> {
    let mut run = RunAttributes::new();
    let (method, sampler) = model.sampling_names(options);
    run.insert("method".into(), method.into());
    run.insert("sampler".into(), sampler.into());
    run.insert("n_obs".into(), n_obs.into());
    if let Value::Object(counters) = serde_json::to_value(info)? {
        run.extend(counters);
    }
    // As text: the nested options as they were used.
    run.insert("options".into(), serde_json::to_string(options)?.into());
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        run.insert("wall_seconds".into(), seconds.into());
    }
    Ok(run)
}

fn moments(samples: ArrayView2<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    let mean = samples.mean_axis(Axis(0)).map(|mean| mean.to_vec()).unwrap_or_default();
    (mean, samples.std_axis(Axis(0), 0.0).to_vec())
}

/// Mean and standard deviation of each parameter, a line each.
fn summary(names: &[String], samples: ArrayView2<'_, f64>) -> String {
    let (mean, sd) = moments(samples);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |((name, mean), sd): ((&String, f64), f64)| format!("  {name:width$}  {mean:.5} ± {sd:.5}");
    names.iter().zip(mean).zip(sd).map(line).collect::<Vec<_>>().join("\n")
}
