//! How posteriors are sampled, on the command line.

use crate::choice::choice;
use crate::context::{read_toml, usage};
use anyhow::Result;
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;
use tallsbi::data::Named;
use tallsbi::inference::model::Lapse;
use tallsbi::inference::sample::{ErrorOfNetworks, Method, SampleOptions};
use tallsbi::inference::sampler::{Ddim, Grid, SamplerOptions};
use tallsbi::inference::score::{Bridge, MiniBatch};
use tallsbi::on_disk::ModelFile;

/// How posteriors are sampled.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// How the scores of single observations become the score of all [default: gauss]
    #[arg(long, value_parser = choice::<Method>())]
    pub method: Option<Method>,
    /// Algorithm that follows the score [default: dpm-solver]
    #[arg(long, value_parser = choice::<SamplerOptions>())]
    pub sampler: Option<SamplerOptions>,
    /// Steps of the sampler [default: the sampler's own]
    #[arg(long, value_name = "T")]
    pub steps: Option<usize>,
    /// Noise of ddim and dpm-solver, 0 (deterministic) to 1 [default: dpm-solver 1; ddim the paper's for its number of steps: 0.2
    /// for 50, 0.5 for 150, 0.8 for 400, 1 for 1000]
    #[arg(long)]
    pub eta: Option<f64>,
    /// Spacing of the times of ddim, reverse-sde and predictor-corrector [default: time]
    #[arg(long, value_parser = choice::<Grid>())]
    pub grid: Option<Grid>,
    /// Relative step size of langevin [default: 0.5]
    #[arg(long)]
    pub tau: Option<f64>,
    /// Rounds a noise level of langevin, tamed-langevin (5) and predictor-corrector (1)
    #[arg(long, value_name = "L")]
    pub rounds: Option<usize>,
    /// Prior's part in fnpe [default: diffused]
    #[arg(long, value_parser = choice::<Bridge>())]
    pub bridge: Option<Bridge>,
    /// Keep latent coordinates within ± this (the paper's "-clip": 3)
    #[arg(long, value_name = "BOUND", num_args = 0..=1, default_missing_value = "3")]
    pub clip: Option<f64>,
    /// Take the prior's score from a model trained with --context-dropout
    #[arg(long)]
    pub learned_prior: bool,
    /// Sum over a random subset of M observations at each evaluation (thousands of observations)
    #[arg(long, value_name = "M")]
    pub mini_batch: Option<usize>,
    /// d of the damping d^t of scores in mini-batches, at most 1 [default: 1, none]
    #[arg(long, value_name = "D")]
    pub damping: Option<f64>,
    /// Weight, below 1, of the diagonal in place of each estimated covariance of gauss [default: 0]
    #[arg(long, value_name = "WEIGHT")]
    pub shrinkage: Option<f64>,
    /// Outliers: each observation is, with this probability, none of the simulator's; "infer" learns it as one more parameter, "lapse" (likelihood models)
    #[arg(long, value_name = "RATE")]
    pub lapse: Option<Lapse>,
    /// The networks' error, which n observations share: it widens the posterior where held-out rows told how large it is (likelihood models) [default: include]
    #[arg(long, value_parser = choice::<ErrorOfNetworks>())]
    pub network_error: Option<ErrorOfNetworks>,
    /// Sampling options as TOML; options given here go before it
    #[arg(long = "sampling-config", value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// Those of the options for scores that say how these are composed and followed.
const OF_COMPOSITIONS: [&str; 7] =
    ["--sampler", "--steps", "--grid", "--bridge", "--clip", "--mini-batch", "--damping"];

impl SamplingArguments {
    /// The options for `samples` samples a posterior of `model`.
    pub fn options(&self, model: &ModelFile, samples: usize) -> Result<SampleOptions> {
        self.check_model(model)?;
        let mut options: SampleOptions = match &self.config {
            Some(path) => read_toml(path)?,
            None => SampleOptions::default(),
        };
        options.samples = samples;
        self.method_into(&mut options.method)?;
        self.sampler_into(&mut options.sampler)?;
        options.clip = self.clip.or(options.clip);
        options.learned_prior |= self.learned_prior;
        options.lapse = self.lapse.or(options.lapse);
        options.network_error = self.network_error.unwrap_or(options.network_error);
        options.validate()?;
        Ok(options)
    }

    fn method_into(&self, method: &mut Method) -> Result<()> {
        *method = self.method.unwrap_or(*method);
        match (&mut *method, self.shrinkage) {
            (Method::Gauss(options), Some(weight)) => options.shrinkage = weight,
            (Method::Gaussian(options), Some(weight)) => options.shrinkage = weight,
            (_, Some(_)) => return Err(usage("--shrinkage goes with --method gauss or gaussian only")),
            _ => {}
        }
        self.composition_into(method)
    }

    fn composition_into(&self, method: &mut Method) -> Result<()> {
        let batch = self.mini_batch.map(|size| MiniBatch { size, damping: 1.0, control_variate: true });
        let bridge = self.bridge;
        let slot = match method {
            Method::Gaussian(_) => return self.refuse_for_gaussian(),
            Method::Gauss(options) => &mut options.composition.mini_batch,
            Method::Jac(options) => &mut options.composition.mini_batch,
            Method::Fnpe(options) => {
                options.bridge = bridge.unwrap_or(options.bridge);
                &mut options.mini_batch
            }
        };
        *slot = batch.or(*slot);
        match (slot, self.damping) {
            (Some(batch), Some(damping)) => batch.damping = damping,
            (None, Some(_)) => return Err(usage("--damping goes with --mini-batch only")),
            _ => {}
        }
        match (bridge, method) {
            (Some(_), Method::Gauss(_) | Method::Jac(_) | Method::Gaussian(_)) => {
                Err(usage("--bridge goes with --method fnpe only"))
            }
            _ => Ok(()),
        }
    }

    /// The options that were given and that models of scores alone have.
    fn given_for_scores(&self) -> Vec<&'static str> {
        let options = [
            ("--method", self.method.is_some()),
            ("--sampler", self.sampler.is_some()),
            ("--steps", self.steps.is_some()),
            ("--eta", self.eta.is_some()),
            ("--grid", self.grid.is_some()),
            ("--tau", self.tau.is_some()),
            ("--rounds", self.rounds.is_some()),
            ("--bridge", self.bridge.is_some()),
            ("--clip", self.clip.is_some()),
            ("--learned-prior", self.learned_prior),
            ("--mini-batch", self.mini_batch.is_some()),
            ("--damping", self.damping.is_some()),
            ("--shrinkage", self.shrinkage.is_some()),
        ];
        options.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect()
    }

    /// The product of Gaussians is drawn without scores.
    fn refuse_for_gaussian(&self) -> Result<()> {
        let given = |option: &&str| OF_COMPOSITIONS.contains(option);
        match self.given_for_scores().into_iter().find(given) {
            Some(option) => {
                Err(usage(format!("{option} is for compositions of scores; --method gaussian is drawn exactly")))
            }
            None => Ok(()),
        }
    }

    /// The sampler that was chosen, with those of its options that were given: by their names, whichever sampler has them.
    fn sampler_into(&self, sampler: &mut SamplerOptions) -> Result<()> {
        if let Some(chosen) = &self.sampler {
            sampler.clone_from(chosen);
        }
        // The paper's η belongs to its numbers of steps, unless the file has chosen one.
        if let (SamplerOptions::Ddim(ddim), Some(steps), None) = (&mut *sampler, self.steps, self.eta)
            && (self.config.is_none() || self.sampler.is_some())
        {
            ddim.eta = Ddim::published_eta(steps);
        }
        let given = [
            ("steps", self.steps.map(Value::from)),
            ("rounds", self.rounds.map(Value::from)),
            ("eta", self.eta.map(Value::from)),
            ("tau", self.tau.map(Value::from)),
            ("grid", self.grid.map(|grid| grid.name().into())),
        ];
        let mut options = serde_json::to_value(&*sampler)?;
        for (option, value) in given {
            let Some(value) = value else { continue };
            match options.get_mut(option) {
                Some(slot) => *slot = value,
                None => return Err(usage(format!("--{option}: the sampler {} has no such option", sampler.name()))),
            }
        }
        *sampler = serde_json::from_value(options)?;
        Ok(())
    }
}

impl SamplingArguments {
    /// Refuses options that are for scores when the model is a likelihood.
    fn check_model(&self, model: &ModelFile) -> Result<()> {
        let (trained, path) = (model.model.trained(), model.path().display());
        if self.network_error.is_some() && trained.architecture() != "likelihood" {
            return Err(usage(format!(
                "--network-error is for likelihood models, {path} is {}",
                trained.architecture()
            )));
        }
        if self.network_error == Some(ErrorOfNetworks::Include)
            && trained.info.error.is_none()
            && !trained.shares_error()
        {
            return Err(usage(format!(
                "--network-error include: held-out rows did not tell the error of {path} in training; leave it out"
            )));
        }
        if !model.model.is_likelihood() {
            return Ok(());
        }
        match self.given_for_scores().into_iter().next() {
            Some(option) => Err(usage(format!(
                "{option} is for score models, but {path} is a likelihood: it is sampled by tempering (options: --sampling-config)"
            ))),
            None => Ok(()),
        }
    }
}
