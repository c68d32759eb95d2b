//! Samplers by short names: a method, its number of steps, where the prior's score comes from, and whether it clips.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use tallsbi::inference::sample::{FactorizedOptions, Method, SampleOptions};
use tallsbi::inference::sampler::{Ddim, DpmSolver, Langevin, SamplerOptions, TamedLangevin};
use tallsbi::inference::score::{GaussOptions, JacOptions};

/// A composition with a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamedMethod {
    /// GAUSS with DDIM, the paper's η.
    Gauss,
    /// JAC with DDIM, the paper's η.
    Jac,
    /// F-NPSE with annealed Langevin dynamics: the paper's baseline.
    Langevin,
    /// GAUSS with DPM-Solver++.
    GaussDpm,
    /// JAC with DPM-Solver++.
    JacDpm,
    /// F-NPSE with tamed Langevin dynamics.
    TamedLangevin,
    /// A likelihood in place of scores, sampled by tempering; has no number of steps.
    Likelihood,
    /// A likelihood refined at each observation set, from nothing but prior and simulator; has no number of steps.
    Refined,
}

impl NamedMethod {
    /// All that compose scores, in the order of tables and legends.
    pub const ALL: [Self; 6] =
        [Self::Gauss, Self::Jac, Self::Langevin, Self::GaussDpm, Self::JacDpm, Self::TamedLangevin];

    /// Name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauss => "gauss",
            Self::Jac => "jac",
            Self::Langevin => "langevin",
            Self::GaussDpm => "gauss-dpm",
            Self::JacDpm => "jac-dpm",
            Self::TamedLangevin => "tamed-langevin",
            Self::Likelihood => "likelihood",
            Self::Refined => "refined",
        }
    }

    /// Name in the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Gauss => "GAUSS",
            Self::Jac => "JAC",
            Self::Langevin => "LANGEVIN",
            Self::GaussDpm => "GAUSS, DPM-Solver++",
            Self::JacDpm => "JAC, DPM-Solver++",
            Self::TamedLangevin => "tamed LANGEVIN",
            Self::Likelihood => "likelihood, tempering",
            Self::Refined => "refined at each set",
        }
    }
}

/// Evaluations of a likelihood that tempering takes, about.
const LIKELIHOOD_EVALUATIONS: f64 = 60.0;

/// Endings of names.
const LEARNED: &str = "-learned";
const CLIPPED: &str = "-clip";

/// The paper's "-clip" variants keep latent coordinates within this bound.
const CLIP: f64 = 3.0;

/// A method and its steps T: `gauss-1000`, `gauss-1000-learned`, `jac-400-clip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamedSampler {
    /// The method.
    pub method: NamedMethod,
    /// T.
    pub steps: usize,
    /// Whether the prior's score is the model's own (trained with dropped contexts) in place of the exact one.
    pub learned_prior: bool,
    /// Whether latent coordinates are kept within ±3 after each step.
    pub clip: bool,
}

impl fmt::Display for NamedSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.composes() {
            return f.write_str(self.method.name());
        }
        let learned = if self.learned_prior { LEARNED } else { "" };
        write!(f, "{}-{}{learned}{}", self.method.name(), self.steps, if self.clip { CLIPPED } else { "" })
    }
}

impl From<NamedSampler> for String {
    fn from(sampler: NamedSampler) -> Self {
        sampler.to_string()
    }
}

impl TryFrom<String> for NamedSampler {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Most steps.
const MOST_STEPS: usize = 10_000_000;

impl FromStr for NamedSampler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(plain) = [Self::LIKELIHOOD, Self::REFINED].into_iter().find(|plain| plain.method.name() == text) {
            return Ok(plain);
        }
        let (rest, clip) = text.strip_suffix(CLIPPED).map_or((text, false), |rest| (rest, true));
        let (rest, learned_prior) = rest.strip_suffix(LEARNED).map_or((rest, false), |rest| (rest, true));
        let parsed = rest.rsplit_once('-').and_then(|(name, steps)| {
            let method = NamedMethod::ALL.into_iter().find(|method| method.name() == name)?;
            let steps = steps.parse().ok().filter(|steps| (1..=MOST_STEPS).contains(steps))?;
            Some(Self { method, steps, learned_prior, clip })
        });
        parsed.ok_or_else(|| {
            let names = NamedMethod::ALL.map(NamedMethod::name).join(", ");
            format!("{text:?} is not a sampler; give METHOD-STEPS, such as gauss-1000, and -learned (prior score) or -clip at its end, with 1 to {MOST_STEPS} steps and one of the methods {names}, or likelihood, or refined")
        })
    }
}

impl NamedSampler {
    /// A method with the exact prior's score, not clipped.
    pub const fn new(method: NamedMethod, steps: usize) -> Self {
        Self { method, steps, learned_prior: false, clip: false }
    }

    /// A likelihood model's sampler.
    pub const LIKELIHOOD: Self = Self::new(NamedMethod::Likelihood, 1);

    /// A refinement at each observation set.
    pub const REFINED: Self = Self::new(NamedMethod::Refined, 1);

    /// Whether it composes scores.
    pub fn composes(self) -> bool {
        !matches!(self.method, NamedMethod::Likelihood | NamedMethod::Refined)
    }

    /// Options for so many samples; everything not said here is the program's default.
    pub fn options(self, samples: usize) -> SampleOptions {
        let steps = self.steps;
        let ddim = || SamplerOptions::Ddim(Ddim { steps, eta: Ddim::published_eta(steps), ..Ddim::default() });
        let dpm = || SamplerOptions::DpmSolver(DpmSolver { steps, ..DpmSolver::default() });
        let gauss = Method::Gauss(GaussOptions::default());
        let jac = Method::Jac(JacOptions::default());
        let sum = Method::Fnpe(FactorizedOptions::default());
        let (method, sampler) = match self.method {
            NamedMethod::Gauss => (gauss, ddim()),
            NamedMethod::Jac => (jac, ddim()),
            NamedMethod::GaussDpm => (gauss, dpm()),
            NamedMethod::JacDpm => (jac, dpm()),
            NamedMethod::Langevin => (sum, SamplerOptions::Langevin(Langevin { steps, ..Langevin::default() })),
            NamedMethod::TamedLangevin => {
                (sum, SamplerOptions::TamedLangevin(TamedLangevin { steps, ..TamedLangevin::default() }))
            }
            NamedMethod::Likelihood | NamedMethod::Refined => (gauss, SamplerOptions::default()),
        };
        let clip = self.clip.then_some(CLIP);
        SampleOptions { samples, method, sampler, clip, learned_prior: self.learned_prior, ..SampleOptions::default() }
    }

    /// Name in the report: method, T, and whether it clips.
    pub fn label(self) -> String {
        if !self.composes() {
            return self.method.label().into();
        }
        let learned = if self.learned_prior { ", learned prior" } else { "" };
        format!("{} {}{learned}{}", self.method.label(), self.steps, if self.clip { ", clipped" } else { "" })
    }

    /// Rough cost in evaluations of a single score.
    pub fn evaluations(self) -> f64 {
        let each = match self.method {
            NamedMethod::Gauss | NamedMethod::GaussDpm => 1.0,
            NamedMethod::Jac | NamedMethod::JacDpm => 6.0,
            NamedMethod::Langevin | NamedMethod::TamedLangevin => 5.0,
            NamedMethod::Likelihood | NamedMethod::Refined => LIKELIHOOD_EVALUATIONS,
        };
        each * self.steps as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for method in NamedMethod::ALL {
            for (learned_prior, clip) in [(false, false), (false, true), (true, false), (true, true)] {
                let sampler = NamedSampler { learned_prior, clip, ..NamedSampler::new(method, 50) };
                assert_eq!(sampler.to_string().parse::<NamedSampler>(), Ok(sampler));
                let options = sampler.options(10);
                assert!(
                    options.validate().is_ok()
                        && options.clip.is_some() == clip
                        && options.learned_prior == learned_prior
                );
            }
        }
        for plain in [NamedSampler::LIKELIHOOD, NamedSampler::REFINED] {
            assert_eq!(plain.to_string().parse::<NamedSampler>(), Ok(plain));
        }
        for wrong in ["gauss", "gauss-clip", "gauss-", "gauss-0", "gaus-50", "-50", ""] {
            let message = wrong.parse::<NamedSampler>().expect_err("not a sampler");
            assert!(message.contains("gauss-1000"), "{message}");
        }
    }
}
