//! `tallsbi sample`.

use super::model;
use super::output_arguments::OutputArguments;
use super::sampling_arguments::SamplingArguments;
use super::{TableArguments, observed_by};
use crate::context::{Context, resumable, usage};
use crate::notes::{tell, words};
use anyhow::Result;
use clap::Args;
use ndarray::{Array2, ArrayView2, ArrayView3, Axis, s};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;
use tallsbi::diagnostics::Convergence;
use tallsbi::diagnostics::convergence::{FEWEST_DRAWS, LARGEST_RHAT, convergence, largest_rhat, smallest_ess};
use tallsbi::files::{Companions, Matrix, OutputFile, Posterior};
use tallsbi::inference::sample::{SampleInfo, SampleOptions};
use tallsbi::on_disk::{ModelFile, convergence_attributes, missing_attributes, mode_attributes, posterior_attributes};
use tallsbi::{Laplace, Mode, Model, Surprise};

/// Sample the posterior given many observations
///
/// Observations are a file of `tallsbi observe`, any HDF5 dataset (FILE.h5:DATASET, or FILE.h5:DATASET:INDEX for one of a
/// stack), or CSV with an observation a line; for models of signals also a recording. Models are those of `tallsbi train`. The posterior opens with
/// arviz.from_netcdf.
///
/// Example: tallsbi sample model.safetensors --observations obs.h5 --n-obs 30 -o posterior.nc
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub struct SampleArguments {
    /// Model
    pub model: PathBuf,
    #[command(flatten)]
    pub given: TableArguments,
    /// Number of samples, over all chains (rounded up to a multiple of them)
    #[arg(long, value_name = "S", default_value = "1000")]
    pub samples: NonZeroUsize,
    /// Independent runs, each a chain of the file, whose R-hat tells whether they agree
    #[arg(long, value_name = "K", default_value = "1")]
    pub chains: NonZeroUsize,
    /// Folder for covariances estimated by gauss: what another run with the same model, seed and observations left there is
    /// used, with the same result
    #[arg(long, value_name = "DIR")]
    pub covariance_cache: Option<PathBuf>,
    /// Write the log-likelihood of each observation at each sample too, for arviz.loo
    #[arg(long)]
    pub log_likelihood: bool,
    /// Find the mode and its curvature too: standard deviations of Laplace's approximation
    #[arg(long)]
    pub map: bool,
    /// Write how implausible each observation is to the fitted model (posterior predictive p-values) and name those that it finds implausible
    #[arg(long)]
    pub surprise: bool,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub sampling: SamplingArguments,
}

/// Name of the observations' probabilities in posterior files.
const LAPSE_PROBABILITY: &str = "lapse_probability";
const P_VALUE: &str = "p_value";

/// Observations that are more probably lapses than not are named, so many at most.
const LIKELY: f64 = 0.5;
const SHOWN: usize = 5;

/// Runs the command.
pub fn run(context: &Context, arguments: &SampleArguments) -> Result<()> {
    let mut file = ModelFile::load(&arguments.model)?;
    let options = arguments.sampling.options(&file, arguments.draws()?)?;
    arguments.check(&file)?;
    let output = &arguments.output.output;
    OutputFile::check(output, arguments.output.existing())?;
    let (matrix, source) = arguments.given.read(&file.model)?;
    if let Some(folder) = &arguments.covariance_cache {
        if !file.model.estimates_covariances(&options) {
            return Err(usage(
                "--covariance-cache: this model and method estimate no covariances from samples; leave it out",
            ));
        }
        file.keep_covariances(folder, &options)?;
    }
    let x = observed_by(&file.model, &arguments.given.of.source, &matrix)?;
    let examined = file.model.examine(x.view())?;
    tell(file.model.trained(), &examined);
    let started = Instant::now();
    let (drawn, info) = model::sample_chains(context, &file, x.view(), arguments.chains, &options)?;
    let seconds = started.elapsed().as_secs_f64();
    let samples = drawn.to_shape((arguments.chains.get() * options.samples, drawn.len_of(Axis(2))))?;
    let misfit = match options.lapse {
        None => file.model.misfit(x.view(), samples.view(), context.seed, &context.monitor())?,
        Some(_) => None,
    };
    if let Some(note) = &misfit {
        tell(file.model.trained(), std::slice::from_ref(note));
    }
    let thin = file.model.trained().thin_support(samples.slice(s![.., ..file.model.names().len()]));
    let notes: Vec<_> =
        examined.iter().chain(&misfit).chain(&thin).map(|note| words(file.model.trained(), note)).collect();
    let provenance =
        context.provenance(&file.model.trained().info.task).with_parent(&arguments.model)?.with_parent(&source)?;
    let mut run = posterior_attributes(&file.model, &options, &info, x.nrows(), seconds);
    run.extend(missing_attributes(&examined));
    let convergence = convergence_of(drawn.view());
    if arguments.chains.get() > 1 {
        run.insert("chains".into(), arguments.chains.get().into());
        run.extend(convergence_attributes(&convergence));
    }
    let mode = arguments.map.then(|| mode(context, &file.model, (x.view(), samples.view()), &options)).transpose()?;
    run.extend(mode.iter().flat_map(|(mode, laplace)| mode_attributes(mode, laplace.as_ref())));
    let (companions, said) = beside(context, arguments, &file.model, (x.view(), samples.view()), &options)?;
    let names = file.model.sampled_names(&options);
    let posterior = Posterior::from_chains(names, drawn.clone(), Some(conditioned(&matrix)), run, provenance)?;
    let posterior = Posterior { companions, ..posterior };
    posterior.write(output, arguments.output.existing())?;
    let first = thin.iter().map(|note| format!("{}\n", words(file.model.trained(), note))).collect::<String>();
    let told = told(arguments, &posterior, (samples.view(), &convergence), (&info, seconds), &said);
    let mode = mode.map(|(mode, laplace)| said_of_mode(&posterior.parameter_names, &mode, laplace.as_ref()));
    let text = format!("{first}{told}{}", mode.unwrap_or_default());
    context.print(text, || {
        let (mean, sd) = moments(samples.view());
        json!({ "path": output.display().to_string(), "run": posterior.run, "parameter_names": posterior.parameter_names,
            "mean": mean, "sd": sd, "notes": notes, LAPSE_PROBABILITY: said.lapses,
            P_VALUE: said.surprise.as_ref().map(|found| &found.p_values),
            "implausible": said.surprise.as_ref().map(Surprise::implausible) })
    })
}

impl SampleArguments {
    /// Samples of a chain.
    fn draws(&self) -> Result<usize> {
        let chains = self.chains.get();
        let draws = self.samples.get().div_ceil(chains);
        if chains > 1 && draws < FEWEST_DRAWS {
            return Err(usage(format!(
                "--chains: {chains} chains of {draws} samples; R-hat needs {FEWEST_DRAWS} a chain, ask for more --samples"
            )));
        }
        Ok(draws)
    }

    fn check(&self, file: &ModelFile) -> Result<()> {
        if self.log_likelihood && !file.model.is_likelihood() {
            return Err(usage("--log-likelihood: this model learned scores and has no density; leave it out"));
        }
        if self.map && !file.model.is_likelihood() {
            return Err(usage("--map: this model learned scores and has no density; leave it out"));
        }
        if self.surprise && file.model.trained().architecture() != "likelihood" {
            return Err(usage("--surprise: needs a model of the likelihood; leave it out"));
        }
        Ok(())
    }
}

/// R-hat and effective sizes of several chains (chain, draw, m), with a warning where they disagree; nothing of one, and of samples that ran away.
fn convergence_of(drawn: ArrayView3<'_, f64>) -> Vec<Convergence> {
    if drawn.len_of(Axis(0)) < 2 {
        return Vec::new();
    }
    let found = convergence(drawn).unwrap_or_default();
    let rhat = largest_rhat(&found);
    if rhat.is_nan() || rhat > LARGEST_RHAT {
        tracing::warn!("the chains do not agree: R-hat {rhat:.3}, at most {LARGEST_RHAT} wanted; use more --samples");
    }
    found
}

/// The mode, with the Gaussian around it where there is one.
fn mode(
    context: &Context,
    model: &Model,
    (x, samples): (ArrayView2<'_, f32>, ArrayView2<'_, f64>),
    options: &SampleOptions,
) -> Result<(Mode, Option<Laplace>)> {
    let bars = context.monitor();
    let mode = model.mode(x, samples, options, &bars)?;
    // The mode stands; what cannot be had is told.
    let laplace = model.laplace(x, &mode, options, &bars).inspect_err(|error| tracing::warn!("{error}")).ok();
    Ok((mode, laplace))
}

/// The mode, a line a parameter.
fn said_of_mode(names: &[String], mode: &Mode, laplace: Option<&Laplace>) -> String {
    let sd = laplace.map(Laplace::sd);
    let value = |i: usize| match &sd {
        Some(sd) => with_error(mode.theta[i], sd[i]),
        None => format!("{:.5}", mode.theta[i]),
    };
    let lines = names.iter().enumerate().map(|(i, name)| format!("\n  {name}  {}", value(i)));
    let with = if sd.is_some() { ", and standard deviations of its curvature" } else { "" };
    format!("\nlargest density{with} (networks taken for exact):{}", lines.collect::<String>())
}

/// What is said of single observations.
struct OfObservations {
    lapses: Option<Vec<f64>>,
    surprise: Option<Surprise>,
}

/// What goes into the file beside the samples (S, m) given observations (n, d).
fn beside(
    context: &Context,
    arguments: &SampleArguments,
    model: &Model,
    (x, samples): (ArrayView2<'_, f32>, ArrayView2<'_, f64>),
    options: &SampleOptions,
) -> Result<(Companions, OfObservations)> {
    let (mut companions, bars) = (Companions::default(), context.monitor());
    if model.is_likelihood() {
        companions.log_posterior = Some(model.log_posterior(x, samples, options, &bars)?);
    }
    if arguments.log_likelihood {
        let values = model.pointwise_log_likelihood(x, samples, options, &bars);
        companions.log_likelihood = Some(resumable(values, "nothing was written")?);
    }
    let lapses = model.lapse_probabilities(x, samples, options, &bars)?;
    let surprise = arguments.surprise.then(|| model.surprise(x, samples, context.seed, &bars)).transpose()?;
    let of_each =
        [(LAPSE_PROBABILITY, lapses.clone()), (P_VALUE, surprise.as_ref().map(|surprise| surprise.p_values.clone()))];
    for (name, values) in of_each {
        companions.per_observation.extend(values.map(|values| (name.to_owned(), values)));
    }
    Ok((companions, OfObservations { lapses, surprise }))
}

/// What was sampled, in words.
fn told(
    arguments: &SampleArguments,
    posterior: &Posterior,
    (samples, convergence): (ArrayView2<'_, f64>, &[Convergence]),
    (info, seconds): (&SampleInfo, f64),
    said: &OfObservations,
) -> String {
    let run = &posterior.run;
    let chains = match convergence {
        [] => String::new(),
        all => format!(
            ", {} chains, R-hat {:.4}, effective sample size {:.0}",
            arguments.chains,
            largest_rhat(all),
            smallest_ess(all)
        ),
    };
    format!(
        "{}: {} samples given {} observations, {} and {}{chains}, {} evaluations, {:.2} s\n{}{}{}",
        arguments.output.output.display(),
        samples.nrows(),
        run["n_obs"],
        run["method"].as_str().unwrap_or_default(),
        run["sampler"].as_str().unwrap_or_default(),
        info.evaluations,
        seconds,
        summary(&posterior.parameter_names, samples),
        said.lapses.as_deref().map(said_of_lapses).unwrap_or_default(),
        said.surprise.as_ref().map(said_of_surprise).unwrap_or_default()
    )
}

/// How many observations are lapses, and which.
fn said_of_lapses(probabilities: &[f64]) -> String {
    let mut likely: Vec<(usize, f64)> =
        probabilities.iter().copied().enumerate().filter(|(_, p)| *p > LIKELY).collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    let which = named(likely.iter().map(|(observation, p)| format!("{observation} ({p:.3})")));
    let expected: f64 = probabilities.iter().sum();
    format!(
        "\n  {expected:.1} of {} observations are lapses by expectation; more probably than not: {which}",
        probabilities.len()
    )
}

/// Which observations the model finds implausible.
fn said_of_surprise(surprise: &Surprise) -> String {
    let found = surprise.implausible();
    let which =
        named(found.iter().map(|&observation| format!("{observation} (p = {:.1e})", surprise.p_values[observation])));
    format!(
        "\n  {} of {} observations are implausible to the fitted model: {which}",
        found.len(),
        surprise.p_values.len()
    )
}

/// The first of a list, as text.
fn named(list: impl ExactSizeIterator<Item = String>) -> String {
    let more = if list.len() > SHOWN { ", .." } else { "" };
    match list.len() {
        0 => "none".into(),
        _ => list.take(SHOWN).collect::<Vec<_>>().join(", ") + more,
    }
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
    let line = |((name, mean), sd): ((&String, f64), f64)| format!("  {name:width$}  {}", with_error(mean, sd));
    names.iter().zip(mean).zip(sd).map(line).collect::<Vec<_>>().join("\n")
}

/// The observations as files of posteriors hold them.
fn conditioned(matrix: &Matrix) -> Array2<f32> {
    matrix.values.mapv(|value| value as f32)
}

/// Mean and standard deviation with five decimals where these show three digits of the standard deviation, else with as many as do.
fn with_error(mean: f64, sd: f64) -> String {
    let size = sd.abs();
    if !(size > 0.0 && size.is_finite()) || (1e-3..1e6).contains(&size) {
        return format!("{mean:.5} ± {sd:.5}");
    }
    // As many digits of the mean as its error leaves.
    let digits = (mean.abs() / size).max(1.0).log10().ceil() as usize + 2;
    format!("{mean:.digits$e} ± {sd:.2e}")
}

#[cfg(test)]
mod tests {
    use super::with_error;

    #[test]
    fn small_and_large_numbers_keep_their_digits() {
        assert_eq!(with_error(0.123_456_7, 0.01), "0.12346 ± 0.01000");
        assert_eq!(with_error(1.234_567e-9, 2.5e-12), "1.23457e-9 ± 2.50e-12");
        assert_eq!(with_error(-3.1e-12, 4.0e-12), "-3.10e-12 ± 4.00e-12");
    }
}
