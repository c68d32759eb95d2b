//! How posteriors are sampled, on the command line.

use super::model::Model;
use crate::context::{read_toml, usage};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use tallsbi_inference::sample::{FactorizedOptions, GaussianOptions, Method, SampleOptions};
use tallsbi_inference::sampler::{
    Ddim, DpmSolver, EdmHeun, Geffner, Grid, Langevin, PredictorCorrector, ProbabilityFlow, ReverseSde, SamplerOptions,
    TamedLangevin,
};
use tallsbi_inference::score::{Bridge, GaussOptions, JacOptions, MiniBatch};

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
    /// The options for `samples` samples a posterior of `model`.
    pub fn options(&self, model: &Model, samples: usize) -> Result<SampleOptions> {
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
    fn check_model(&self, model: &Model) -> Result<()> {
        if !model.is_likelihood() {
            return Ok(());
        }
        let for_scores = [
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
        match for_scores.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(usage(format!(
                "{option} is for score models, but {} is a likelihood: it is sampled by tempering (options: --sampling-config)",
                model.path().display()
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
