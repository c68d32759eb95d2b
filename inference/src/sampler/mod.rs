//! Samplers: from noise to posterior samples along the diffusion, one algorithm a file.
//!
//! A [`Sampler`] moves a set of [`Particles`] from a start time to an end time with a [`PosteriorScore`]; it knows nothing of observations.
//! Samples that diverge are left as they are (never replaced) and counted by the driver.

pub mod ddim;
pub mod dpm_solver;
pub mod edm_heun;
pub mod geffner;
pub mod grid;
pub mod langevin;
pub mod predictor_corrector;
pub mod probability_flow;
pub mod reverse_sde;
pub mod tamed_langevin;

use crate::schedule::NoiseSchedule;
use crate::score::PosteriorScore;
use crate::{InferenceError, Result};
use dpm_solver::finish;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Monitor, Named};

pub use grid::{Grid, Span};
pub use predictor_corrector::Predictor;

/// Standard normal numbers for the particles.
pub trait NoiseSource: Send {
    /// Fills `out` (P, m) with the next numbers.
    fn fill(&mut self, out: &mut [f64]);
}

/// One random stream a particle: what a particle does depends on no other.
pub struct ParticleStreams(pub Vec<Pcg64>);

impl NoiseSource for ParticleStreams {
    fn fill(&mut self, out: &mut [f64]) {
        let m = out.len() / self.0.len().max(1);
        for (rng, row) in self.0.iter_mut().zip(out.chunks_exact_mut(m.max(1))) {
            for value in row {
                *value = StandardNormal.sample(rng);
            }
        }
    }
}

/// A set of particles and their noise.
pub struct Particles {
    /// Positions (P, m), row-major.
    pub theta: Vec<f64>,
    /// Where injected noise comes from.
    pub noise: Box<dyn NoiseSource>,
}

/// What a run shares with its caller.
pub struct Control<'a> {
    /// Times to go from and to.
    pub span: Span,
    /// Keep every coordinate within ±`clip` after each step (the paper's "-clip" variants).
    pub clip: Option<f64>,
    /// Asked before every evaluation; true stops the run with [`InferenceError::Cancelled`].
    pub monitor: &'a dyn Monitor,
}

impl Control<'_> {
    fn check(&self) -> Result<()> {
        Ok(self.monitor.check()?)
    }

    fn clip(&self, theta: &mut [f64]) {
        if let Some(bound) = self.clip {
            for value in theta {
                // NaN stays NaN: a diverged sample must not be hidden.
                *value = value.clamp(-bound, bound);
            }
        }
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SamplerInfo {
    /// Evaluations of the posterior score (each of all particles).
    pub evaluations: u64,
}

/// A run of a sampler under way: what a step works on, and what it leaves for the next one.
pub struct Run<'a> {
    /// The score to follow.
    pub score: &'a mut dyn PosteriorScore,
    /// The particles (P, m).
    pub particles: &'a mut Particles,
    /// What the caller wants.
    pub control: &'a Control<'a>,
    /// Scores (P, m).
    pub s: Vec<f64>,
    /// Noise (P, m).
    pub z: Vec<f64>,
    /// As many numbers more.
    pub other: Vec<f64>,
    /// Length of the step before, in λ = ½ log(α/v), for samplers of several steps.
    pub previous_h: Option<f64>,
}

impl Run<'_> {
    /// Evaluates the score of the particles at time `t` into `s`.
    ///
    /// # Errors
    /// When cancelled, or from the score.
    pub fn score(&mut self, t: f64) -> Result<()> {
        self.control.check()?;
        self.score.score(&self.particles.theta, t, &mut self.s)
    }
}

/// An algorithm that moves particles from noise to data.
pub trait Sampler: Send + Sync {
    /// The falling times that it goes through, from the span's start on.
    fn times(&self, span: Span, schedule: &dyn NoiseSchedule) -> Vec<f64>;

    /// Moves the particles from time `t` to the earlier `next`; returns the number of evaluations of the score.
    ///
    /// # Errors
    /// When cancelled, or from the score.
    fn step(&self, run: &mut Run<'_>, t: f64, next: f64) -> Result<u64>;

    /// Moves `particles` from `control.span.start` to data: step by step and, where the times stop above 0, with the score held constant from there on.
    ///
    /// # Errors
    /// When cancelled, or from the score.
    fn run(
        &self,
        score: &mut dyn PosteriorScore,
        particles: &mut Particles,
        control: &Control<'_>,
    ) -> Result<SamplerInfo> {
        let times = self.times(control.span, score.schedule());
        let [s, z, other] = std::array::from_fn(|_| vec![0.0; particles.theta.len()]);
        let mut run = Run { score, particles, control, s, z, other, previous_h: None };
        let mut evaluations = 0;
        for pair in times.windows(2) {
            evaluations += self.step(&mut run, pair[0], pair[1])?;
            control.clip(&mut run.particles.theta);
        }
        if let Some(&last) = times.last().filter(|last| **last > 0.0) {
            control.check()?;
            finish(run.score, &mut run.particles.theta, last, &mut run.s)?;
            control.clip(&mut run.particles.theta);
            evaluations += 1;
        }
        Ok(SamplerInfo { evaluations })
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    fn validate(&self) -> Result<()>;

    /// Whether the algorithm needs [`PosteriorScore::parts`], which only F-NPSE's composition has.
    fn needs_parts(&self) -> bool {
        false
    }

    /// Whether it stops at the span's end (and hence needs a good one) rather than going to t = 0 by itself.
    fn stops_at_end(&self) -> bool;
}

/// Makes the option of all samplers: a new one is its file, `pub mod`, and a line here.
macro_rules! samplers {
    ($($module:ident::$sampler:ident $name:literal $about:literal;)+) => {
        $(pub use $module::$sampler;)+

        /// All samplers, as an option.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "sampler", rename_all = "kebab-case")]
        pub enum SamplerOptions {
            $(#[doc = concat!("[`", stringify!($sampler), "`].")] $sampler($sampler),)+
        }

        impl Named for SamplerOptions {
            fn choices() -> Vec<Choice<Self>> {
                vec![$(Choice::new($name, $about, Self::$sampler($sampler::default())),)+]
            }
        }

        impl SamplerOptions {
            /// The algorithm.
            pub fn sampler(&self) -> &dyn Sampler {
                match self {
                    $(Self::$sampler(sampler) => sampler,)+
                }
            }
        }
    };
}

samplers! {
    ddim::Ddim "ddim" "Denoising diffusion implicit models (1000 steps)";
    dpm_solver::DpmSolver "dpm-solver" "DPM-Solver++(2M) (30 steps)";
    edm_heun::EdmHeun "edm-heun" "Heun's method on Karras' grid (25 steps)";
    langevin::Langevin "langevin" "Annealed Langevin dynamics (400 steps of 5 rounds)";
    tamed_langevin::TamedLangevin "tamed-langevin" "Tamed Langevin dynamics (400 steps of 5 rounds)";
    geffner::Geffner "geffner" "Geffner's deterministic Gaussian (1000 steps; fnpe only)";
    reverse_sde::ReverseSde "reverse-sde" "Reverse stochastic differential equation (1000 steps)";
    predictor_corrector::PredictorCorrector "predictor-corrector" "Predictor and corrector (200 steps)";
    probability_flow::ProbabilityFlow "probability-flow" "Probability-flow ODE, adaptive";
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self::DpmSolver(DpmSolver::default())
    }
}

/// Most steps and rounds.
const MOST_STEPS: usize = 10_000_000;

/// Checks a number of steps or rounds.
fn count(option: &'static str, value: usize) -> Result<()> {
    if !(1..=MOST_STEPS).contains(&value) {
        let message = format!("must be at least 1, and at most {MOST_STEPS}: more never end, got {value}");
        return Err(InferenceError::Option { option, message });
    }
    Ok(())
}

fn positive(option: &'static str, value: f64) -> Result<()> {
    if !(value > 0.0 && value.is_finite()) {
        return Err(InferenceError::Option { option, message: "must be > 0".into() });
    }
    Ok(())
}

fn fraction(option: &'static str, value: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&value) {
        return Err(InferenceError::Option { option, message: "must be in [0, 1]".into() });
    }
    Ok(())
}
