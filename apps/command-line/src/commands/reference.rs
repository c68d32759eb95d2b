//! `tallsbi reference`.

use super::output_arguments::OutputArguments;
use super::{TaskArguments, mark_missing, observed};
use crate::choice::choice;
use crate::context::{Context, resumable};
use anyhow::{Result, bail};
use clap::Args;
use ndarray::Axis;
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Instant;
use tallsbi::RecordingOptions;
use tallsbi::files::{Companions, Gaps, Header, OutputFile, Posterior};
use tallsbi::inference::notes::Note;
use tallsbi::inference::reference::ReferenceOptions;
use tallsbi::on_disk::{Taker, missing_attributes, reference_attributes};
use tallsbi::{ReferenceMethod, ReferencePosterior, Retries, sample_reference, task_log_posterior};

/// Sample the exact posterior of a task with a known likelihood, to judge approximate ones by
///
/// Exact draws where the task has them, otherwise Markov chains (NUTS) from dispersed starts. Modes that a symmetry of the
/// task exchanges get exactly equal weights. The file keeps the chains and opens with arviz.from_netcdf. It is written only
/// if R-hat is at most 1.01 and the effective sample size at least 400 for every parameter.
///
/// Example: tallsbi reference slcp --observations obs.h5 --n-obs 30 -o reference.nc
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct ReferenceArguments {
    #[command(flatten)]
    pub task: TaskArguments,
    /// Observations: FILE, FILE.h5:DATASET or FILE.h5:DATASET:INDEX
    #[arg(long, value_name = "SOURCE")]
    pub observations: String,
    /// Condition on the first N observations [default: all]
    #[arg(long, value_name = "N")]
    pub n_obs: Option<NonZeroUsize>,
    /// A number that stands for a missing value, beside NaN and empty cells
    #[arg(long, value_name = "VALUE")]
    pub missing: Option<f64>,
    /// Number of samples, over all chains (rounded up to a multiple of them)
    #[arg(long, value_name = "S", default_value = "1000")]
    pub samples: NonZeroUsize,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub chains: ChainArguments,
}

/// How the chains run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chains")]
pub struct ChainArguments {
    /// How to sample [default: auto]
    #[arg(long, value_parser = choice::<ReferenceMethod>())]
    pub method: Option<ReferenceMethod>,
    /// Independent chains [default: 4]
    #[arg(long, value_name = "C")]
    pub chains: Option<usize>,
    /// Draws discarded at the start of each chain while it adapts [default: 300, more where chains need it]
    #[arg(long, value_name = "DRAWS")]
    pub warmup: Option<usize>,
    /// Keep one of so many draws [default: 5, more where chains need it]
    #[arg(long, value_name = "K")]
    pub thinning: Option<usize>,
    /// Size of the tempered population each chain starts from [default: 128]
    #[arg(long, value_name = "N")]
    pub particles: Option<usize>,
    /// Acceptance the step size is adapted to [default: 0.85]
    #[arg(long, value_name = "P")]
    pub target_accept: Option<f64>,
    /// Write the file even if the chains have not converged, marked so
    #[arg(long)]
    pub allow_unconverged: bool,
}

impl ChainArguments {
    /// Chains are made longer until they converge, unless their length was given.
    pub fn retries(&self) -> Retries {
        if self.warmup.is_some() || self.thinning.is_some() { Retries(0) } else { Retries::default() }
    }

    /// The options for `samples` samples.
    pub fn options(&self, samples: usize) -> Result<ReferenceOptions> {
        let default = ReferenceOptions::default();
        let chains = self.chains.unwrap_or(default.chains);
        let options = ReferenceOptions {
            chains,
            draws: samples.div_ceil(chains.max(1)),
            thinning: self.thinning.unwrap_or(default.thinning),
            warmup: self.warmup.unwrap_or(default.warmup),
            particles: self.particles.unwrap_or(default.particles),
            target_accept: self.target_accept.unwrap_or(default.target_accept),
            ..default
        };
        options.validate()?;
        Ok(options)
    }
}

/// Runs the command.
pub fn run(context: &Context, arguments: &ReferenceArguments) -> Result<()> {
    let task = arguments.task.build()?;
    let options = arguments.chains.options(arguments.samples.get())?;
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let gaps = match task.log_likelihood() {
        Some(likelihood) if likelihood.integrates_missing() => Gaps::Allowed,
        _ => Gaps::Refused,
    };
    let (mut matrix, source) = observed(
        &arguments.observations,
        arguments.n_obs,
        Header::Auto,
        (Taker { dim_x: task.dim_x(), window: None, gaps, comparable: false }, &RecordingOptions::default()),
    )?;
    mark_missing(&mut matrix, arguments.missing);
    let x = matrix.values.mapv(|value| value as f32);
    let missing = Note::missing(x.view());
    if let Some(note) = &missing {
        tracing::info!("{note}");
    }
    let started = Instant::now();
    let monitor = &context.monitor();
    let (method, retries) = (arguments.chains.method.unwrap_or_default(), arguments.chains.retries());
    let reference = sample_reference(task.as_ref(), x.view(), method, &options, retries, context.key(), monitor);
    let reference = resumable(reference, "nothing was written")?;
    let seconds = started.elapsed().as_secs_f64();
    let names = task.prior().names().to_vec();
    let objection = reference.objection(&names);
    match &objection {
        Some(objection) if !arguments.chains.allow_unconverged => {
            bail!("not a reference: {objection}; --allow-unconverged writes it all the same, marked")
        }
        Some(objection) => tracing::warn!("not a reference: {objection}"),
        None => {}
    }
    let mut run = reference_attributes(&reference, task.prior(), x.nrows(), seconds, objection.is_none());
    run.extend(missing_attributes(&missing));
    let theta = reference.samples.to_shape((reference.samples.len() / names.len(), names.len()))?;
    let log_posterior = task_log_posterior(task.as_ref(), x.view(), theta.view());
    let posterior = Posterior {
        companions: Companions { log_posterior, ..Companions::default() },
        parameter_names: names,
        samples: reference.samples.clone(),
        observations: Some(x),
        run: run.clone(),
        provenance: context.provenance(&arguments.task.task).with_parent(&source)?,
    };
    posterior.write(output, arguments.output.existing())?;
    let (chains, draws, _) = reference.samples.dim();
    let path = output.display();
    let text = format!(
        "{path}: {} samples given {} observations, {}, {chains} chains, R-hat {:.4}, effective sample size {:.0}, {seconds:.2} s{}\n{}",
        chains * draws,
        run["n_obs"],
        reference.method,
        reference.rhat(),
        reference.ess(),
        if objection.is_some() { ", NOT CONVERGED" } else { "" },
        table(&posterior.parameter_names, &reference)
    );
    context
        .print(text, || json!({ "path": path.to_string(), "run": run, "parameter_names": posterior.parameter_names }))
}

/// Mean, standard deviation and convergence of each parameter, a line each.
fn table(names: &[String], reference: &ReferencePosterior) -> String {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(i, name): (usize, &String)| {
        let column = reference.samples.index_axis(Axis(2), i);
        let convergence = reference.convergence[i];
        format!(
            "  {name:width$}  {:.5} ± {:.5}  R-hat {:.4}  ESS bulk {:.0}, tail {:.0}",
            column.mean().unwrap_or(f64::NAN),
            column.std(0.0),
            convergence.rhat,
            convergence.ess_bulk,
            convergence.ess_tail
        )
    };
    names.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}
