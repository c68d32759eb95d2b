//! Models and how posteriors are sampled from them, for every command that does.

use super::covariance_file::CovarianceFile;
use crate::context::{Context, parse_toml, usage};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use ndarray::{Array3, ArrayView2};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tallsbi_data::{Component, StreamKey};
use tallsbi_inference::model::{PreparedModel, TrainedModel};
use tallsbi_inference::sample::{
    FactorizedOptions, GaussianOptions, Method, SampleInfo, SampleOptions, SampleRequest, sample_posteriors,
};
use tallsbi_inference::sampler::{
    Ddim, DpmSolver, EdmHeun, Geffner, Grid, Langevin, PredictorCorrector, ProbabilityFlow, ReverseSde, SamplerOptions,
    TamedLangevin,
};
use tallsbi_inference::score::{Bridge, GaussOptions, JacOptions, MiniBatch};
use tallsbi_inference::tempering::sample_tempered;

/// How posteriors are sampled.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true, next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// How the scores of single observations become the score of all [default: gauss]
    #[arg(long)]
    pub method: Option<MethodName>,
    /// Algorithm that follows the score [default: dpm-solver]
    #[arg(long)]
    pub sampler: Option<SamplerName>,
    /// Steps of the sampler [default: the sampler's own]
    #[arg(long, value_name = "T")]
    pub steps: Option<usize>,
    /// Noise of ddim and dpm-solver, 0 (deterministic) to 1 [default: dpm-solver 1; ddim the paper's for its number of steps: 0.2
    /// for 50, 0.5 for 150, 0.8 for 400, 1 for 1000]
    #[arg(long)]
    pub eta: Option<f64>,
    /// Spacing of the times of ddim, reverse-sde and predictor-corrector [default: time]
    #[arg(long)]
    pub grid: Option<GridName>,
    /// Relative step size of langevin [default: 0.5]
    #[arg(long)]
    pub tau: Option<f64>,
    /// Rounds a noise level of langevin, tamed-langevin (5) and predictor-corrector (1)
    #[arg(long, value_name = "L")]
    pub rounds: Option<usize>,
    /// Prior's part in fnpe [default: diffused]
    #[arg(long)]
    pub bridge: Option<BridgeName>,
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
    /// Sampling options as TOML; options given here go before it
    #[arg(long = "sampling-config", value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// Compositions of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// Second order, constant covariances (paper Alg. 2)
    Gauss,
    /// Second order, Jacobians of the score (paper Alg. 1)
    Jac,
    /// Sum of scores (F-NPSE, Geffner et al.)
    Fnpe,
    /// Product of the single posteriors' Gaussian approximations, drawn exactly: the baseline
    Gaussian,
}

/// Samplers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SamplerName {
    /// Denoising diffusion implicit models (1000 steps)
    Ddim,
    /// DPM-Solver++(2M) (30 steps)
    DpmSolver,
    /// Heun's method on Karras' grid (25 steps)
    EdmHeun,
    /// Annealed Langevin dynamics (400 steps of 5 rounds)
    Langevin,
    /// Tamed Langevin dynamics (400 steps of 5 rounds)
    TamedLangevin,
    /// Geffner's deterministic Gaussian (1000 steps; fnpe only)
    Geffner,
    /// Reverse stochastic differential equation (1000 steps)
    ReverseSde,
    /// Predictor and corrector (200 steps)
    PredictorCorrector,
    /// Probability-flow ODE, adaptive
    ProbabilityFlow,
}

/// Spacings of times.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GridName {
    /// Uniform in t (the paper)
    Time,
    /// Uniform in the logarithm of the signal-to-noise ratio
    LogSnr,
}

/// The prior's part of F-NPSE's bridging densities.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BridgeName {
    /// The diffused prior, as the authors' code has it
    Diffused,
    /// The undiffused prior, as the paper prints it
    Clean,
}

impl SamplingArguments {
    /// The options for `samples` samples a posterior.
    pub fn options(&self, samples: usize) -> Result<SampleOptions> {
        let mut options: SampleOptions = match &self.config {
            Some(path) => read_toml(path)?,
            None => SampleOptions::default(),
        };
        options.samples = samples;
        self.method_into(&mut options.method)?;
        self.sampler_into(&mut options.sampler)?;
        options.clip = self.clip.or(options.clip);
        options.learned_prior |= self.learned_prior;
        options.validate()?;
        Ok(options)
    }

    fn method_into(&self, method: &mut Method) -> Result<()> {
        match self.method {
            Some(MethodName::Gauss) => *method = Method::Gauss(GaussOptions::default()),
            Some(MethodName::Jac) => *method = Method::Jac(JacOptions::default()),
            Some(MethodName::Fnpe) => *method = Method::Fnpe(FactorizedOptions::default()),
            Some(MethodName::Gaussian) => *method = Method::Gaussian(GaussianOptions::default()),
            None => {}
        }
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
        let bridge = self.bridge.map(|name| match name {
            BridgeName::Diffused => Bridge::Diffused,
            BridgeName::Clean => Bridge::Clean,
        });
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

    /// The product of Gaussians is drawn without scores.
    fn refuse_for_gaussian(&self) -> Result<()> {
        let of_scores = [
            ("--sampler", self.sampler.is_some()),
            ("--steps", self.steps.is_some()),
            ("--grid", self.grid.is_some()),
            ("--bridge", self.bridge.is_some()),
            ("--clip", self.clip.is_some()),
            ("--mini-batch", self.mini_batch.is_some()),
            ("--damping", self.damping.is_some()),
        ];
        match of_scores.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                Err(usage(format!("{option} is for compositions of scores; --method gaussian is drawn exactly")))
            }
            None => Ok(()),
        }
    }

    fn sampler_into(&self, sampler: &mut SamplerOptions) -> Result<()> {
        if let Some(name) = self.sampler {
            *sampler = default_sampler(name);
        }
        let (mut steps, mut rounds, mut eta, mut tau) = (self.steps, self.rounds, self.eta, self.tau);
        let mut grid = self.grid.map(|name| match name {
            GridName::Time => Grid::Time,
            GridName::LogSnr => Grid::LogSnr,
        });
        fn set<T: Copy>(slot: &mut T, given: &mut Option<T>) {
            *slot = given.take().unwrap_or(*slot);
        }
        match sampler {
            SamplerOptions::Ddim(ddim) => {
                if let (Some(steps), None) = (steps, eta) {
                    ddim.eta = published_eta(steps);
                }
                set(&mut ddim.steps, &mut steps);
                set(&mut ddim.eta, &mut eta);
                set(&mut ddim.grid, &mut grid);
            }
            SamplerOptions::DpmSolver(solver) => {
                set(&mut solver.steps, &mut steps);
                set(&mut solver.eta, &mut eta);
            }
            SamplerOptions::EdmHeun(solver) => set(&mut solver.steps, &mut steps),
            SamplerOptions::Geffner(sampler) => set(&mut sampler.steps, &mut steps),
            SamplerOptions::ReverseSde(solver) => {
                set(&mut solver.steps, &mut steps);
                set(&mut solver.grid, &mut grid);
            }
            SamplerOptions::Langevin(langevin) => {
                set(&mut langevin.steps, &mut steps);
                set(&mut langevin.rounds, &mut rounds);
                set(&mut langevin.tau, &mut tau);
            }
            SamplerOptions::TamedLangevin(langevin) => {
                set(&mut langevin.steps, &mut steps);
                set(&mut langevin.rounds, &mut rounds);
            }
            SamplerOptions::PredictorCorrector(sampler) => {
                set(&mut sampler.steps, &mut steps);
                set(&mut sampler.rounds, &mut rounds);
                set(&mut sampler.grid, &mut grid);
            }
            SamplerOptions::ProbabilityFlow(_) => {}
        }
        // What the sampler has taken is gone; what is left it does not have.
        let left = [
            ("--steps", steps.is_some()),
            ("--rounds", rounds.is_some()),
            ("--eta", eta.is_some()),
            ("--tau", tau.is_some()),
            ("--grid", grid.is_some()),
        ];
        match left.iter().find(|(_, left)| *left) {
            Some((option, _)) => {
                Err(usage(format!("{option}: the sampler {} has no such option", sampler_name(sampler))))
            }
            None => Ok(()),
        }
    }
}

impl SamplingArguments {
    /// Refuses options that are for scores when the model is a likelihood.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        if !matches!(model.prepared, PreparedModel::Likelihood(_)) {
            return Ok(());
        }
        let for_scores = [
            ("--method", self.method.is_some()),
            ("--sampler", self.sampler.is_some()),
            ("--steps", self.steps.is_some()),
            ("--clip", self.clip.is_some()),
            ("--learned-prior", self.learned_prior),
            ("--mini-batch", self.mini_batch.is_some()),
            ("--damping", self.damping.is_some()),
            ("--shrinkage", self.shrinkage.is_some()),
        ];
        match for_scores.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(usage(format!(
                "{option} is for score models, but {} is a likelihood: it is sampled by tempering (options: --sampling-config)",
                model.path.display()
            ))),
            None => Ok(()),
        }
    }
}

fn default_sampler(name: SamplerName) -> SamplerOptions {
    match name {
        SamplerName::Ddim => SamplerOptions::Ddim(Ddim::default()),
        SamplerName::DpmSolver => SamplerOptions::DpmSolver(DpmSolver::default()),
        SamplerName::EdmHeun => SamplerOptions::EdmHeun(EdmHeun::default()),
        SamplerName::Langevin => SamplerOptions::Langevin(Langevin::default()),
        SamplerName::TamedLangevin => SamplerOptions::TamedLangevin(TamedLangevin::default()),
        SamplerName::Geffner => SamplerOptions::Geffner(Geffner::default()),
        SamplerName::ReverseSde => SamplerOptions::ReverseSde(ReverseSde::default()),
        SamplerName::PredictorCorrector => SamplerOptions::PredictorCorrector(PredictorCorrector::default()),
        SamplerName::ProbabilityFlow => SamplerOptions::ProbabilityFlow(ProbabilityFlow::default()),
    }
}

/// The paper's η for the number of DDIM steps nearest (in ratio) to `steps`.
pub fn published_eta(steps: usize) -> f64 {
    let ratio = |published: f64| (steps.max(1) as f64 / published).ln().abs();
    [(50.0, 0.2), (150.0, 0.5), (400.0, 0.8), (1000.0, 1.0)]
        .into_iter()
        .min_by(|(a, _), (b, _)| ratio(*a).total_cmp(&ratio(*b)))
        .map_or(1.0, |(_, eta)| eta)
}

/// The method's name, as on the command line.
pub fn method_name(method: &Method) -> &'static str {
    match method {
        Method::Gauss(_) => "gauss",
        Method::Jac(_) => "jac",
        Method::Fnpe(_) => "fnpe",
        Method::Gaussian(_) => "gaussian",
    }
}

/// The sampler's name, as on the command line.
pub fn sampler_name(sampler: &SamplerOptions) -> &'static str {
    match sampler {
        SamplerOptions::Ddim(_) => "ddim",
        SamplerOptions::DpmSolver(_) => "dpm-solver",
        SamplerOptions::EdmHeun(_) => "edm-heun",
        SamplerOptions::Langevin(_) => "langevin",
        SamplerOptions::TamedLangevin(_) => "tamed-langevin",
        SamplerOptions::Geffner(_) => "geffner",
        SamplerOptions::ReverseSde(_) => "reverse-sde",
        SamplerOptions::PredictorCorrector(_) => "predictor-corrector",
        SamplerOptions::ProbabilityFlow(_) => "probability-flow",
    }
}

/// Options from a TOML file.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    parse_toml(&text, &path.display().to_string())
}

/// A model that is ready to be sampled from.
pub struct Model {
    /// The trained model.
    pub trained: TrainedModel,
    prepared: PreparedModel,
    path: PathBuf,
    covariances: Option<CovarianceFile>,
}

impl Model {
    /// Reads a model file, ours or a reference network.
    pub fn load(path: &Path) -> Result<Self> {
        let trained = load_model(path)?;
        Ok(Self { prepared: trained.prepare(), trained, path: path.to_owned(), covariances: None })
    }

    /// Whether sampling with these options estimates covariances from samples.
    pub fn estimates_covariances(&self, options: &SampleOptions) -> bool {
        matches!((&self.prepared, &options.method), (PreparedModel::Noise(_), Method::Gauss(_) | Method::Gaussian(_)))
    }

    /// Keeps covariances estimated with these options in a file in `folder`, and uses what is there already.
    pub fn keep_covariances(&mut self, folder: &Path, options: &SampleOptions) -> Result<()> {
        self.covariances = Some(CovarianceFile::open(folder, &self.path, self.trained.dim_theta(), &options.moments)?);
        Ok(())
    }

    /// Names of the composition and the sampler that posteriors come from.
    pub fn sampling_names(&self, options: &SampleOptions) -> (&'static str, &'static str) {
        match &self.prepared {
            PreparedModel::Likelihood(_) => ("likelihood", "tempering"),
            _ if matches!(options.method, Method::Gaussian(_)) => (method_name(&options.method), "exact"),
            _ => (method_name(&options.method), sampler_name(&options.sampler)),
        }
    }

    /// Checks that observations of `dim_x` values can be given to the model.
    pub fn check_width(&self, what: &str, dim_x: usize) -> Result<()> {
        if dim_x != self.trained.dim_x() {
            bail!(
                "{what}: observations have {dim_x} values, but {} was trained on {}",
                self.path.display(),
                self.trained.dim_x()
            );
        }
        Ok(())
    }

    /// Samples the posterior of each group of observations (n, d): parameters (G, S, m), and what it took.
    pub fn sample(
        &self,
        context: &Context,
        groups: &[ArrayView2<'_, f32>],
        key: StreamKey,
        options: &SampleOptions,
    ) -> Result<(Array3<f64>, SampleInfo)> {
        let total = groups.len() * options.samples;
        let bar = context.bar("sample", "samples", total as u64);
        let progress = |done: usize, _: usize| bar.set(done as u64);
        let cancelled = || context.interrupt.is_set();
        let monitor = tallsbi_inference::sample::Monitor { progress: &progress, cancelled: &cancelled };
        let covariances = self.covariances.as_ref().map(CovarianceFile::cache);
        let request = SampleRequest { groups, first_group: 0, key, covariances };
        let prior = self.trained.latent.latent_prior();
        let samples = match &self.prepared {
            PreparedModel::Noise(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Anchored(model) => sample_posteriors(model, &prior, &request, options, monitor),
            PreparedModel::Likelihood(model) => {
                sample_tempered(model, &request, options.samples, &options.tempering, monitor)
                    .map(|(samples, _)| samples)
            }
        }?;
        bar.finish();
        if let Some(file) = &self.covariances {
            file.save();
        }
        let info = samples.info;
        if info.diverged > 0 {
            // Outside its box a uniform prior's score, taken 1 - n times, drives samples away.
            let uniform = prior.components().iter().any(|component| matches!(component, Component::Uniform { .. }));
            let remedy = if uniform && !options.threshold {
                "leave threshold = false out of --sampling-config, as the prior is uniform, or use --clip"
            } else {
                "use more --steps, another --sampler, or --clip"
            };
            tracing::warn!("{} of {total} samples diverged; {remedy}", info.diverged);
        }
        if info.repaired > 0 {
            tracing::warn!(
                "{} of {} precisions were not positive definite and were repaired",
                info.repaired,
                info.precisions
            );
        }
        Ok((samples.to_parameters(&self.trained.latent), info))
    }
}

/// Reads a model file without preparing it for sampling.
pub fn load_model(path: &Path) -> Result<TrainedModel> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!("{}: no such file; `tallsbi train` writes models", path.display()),
        _ => anyhow!(error).context(format!("{}: cannot be read", path.display())),
    })?;
    TrainedModel::from_bytes(&bytes).with_context(|| path.display().to_string())
}
