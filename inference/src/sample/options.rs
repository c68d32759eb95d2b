//! What a sampling run is asked to do.

use crate::model::Lapse;
use crate::prior_score::PriorOptions;
use crate::sampler::SamplerOptions;
#[cfg(doc)]
use crate::score::WithinSupport;
use crate::score::covariance::MomentOptions;
use crate::score::{Bridge, CompositionOptions, GaussOptions, JacOptions, MiniBatch};
use crate::tempering::TemperingOptions;
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Named};

/// How scores of single observations become the score given all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Method {
    /// Second order with constant covariances: the default.
    Gauss(GaussOptions),
    /// Second order with the scores' Jacobians.
    Jac(JacOptions),
    /// F-NPSE: sums of scores.
    Fnpe(FactorizedOptions),
    /// No scores: the product of the single posteriors' Gaussian approximations, in closed form. The baseline.
    Gaussian(GaussianOptions),
}

impl Named for Method {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("gauss", "Second order, constant covariances (GAUSS)", Self::Gauss(GaussOptions::default())),
            Choice::new("jac", "Second order, Jacobians of the score (JAC)", Self::Jac(JacOptions::default())),
            Choice::new("fnpe", "Sum of scores (F-NPSE, Geffner et al.)", Self::Fnpe(FactorizedOptions::default())),
            Choice::new(
                "gaussian",
                "Product of the single posteriors' Gaussian approximations, drawn exactly: the baseline",
                Self::Gaussian(GaussianOptions::default()),
            ),
        ]
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::Gauss(GaussOptions::default())
    }
}

/// Options of the product of Gaussians: N(μ, Σ) with Σ⁻¹ = Σ_j Σ̂_j⁻¹ + (1-n) Σ_λ⁻¹ and Σ⁻¹μ = Σ_j Σ̂_j⁻¹μ̂_j + (1-n) Σ_λ⁻¹μ_λ, of which
/// samples are drawn exactly, whatever n. Needs a Gaussian latent prior and the single posteriors' means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianOptions {
    /// As [`GaussOptions::clamp_covariance`].
    pub clamp_covariance: bool,
    /// As [`GaussOptions::shrinkage`].
    pub shrinkage: f64,
}

impl Default for GaussianOptions {
    fn default() -> Self {
        let GaussOptions { clamp_covariance, shrinkage, .. } = GaussOptions::default();
        Self { clamp_covariance, shrinkage }
    }
}

impl GaussianOptions {
    fn covariances(self) -> GaussOptions {
        let Self { clamp_covariance, shrinkage } = self;
        GaussOptions { clamp_covariance, shrinkage, ..GaussOptions::default() }
    }
}

/// Options of F-NPSE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FactorizedOptions {
    /// The prior's part.
    pub bridge: Bridge,
    /// Sums over random subsets.
    pub mini_batch: Option<MiniBatch>,
}

/// Options of [`sample_posteriors`](super::sample_posteriors).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleOptions {
    /// S: samples a posterior.
    pub samples: usize,
    /// The composition.
    pub method: Method,
    /// The sampler.
    pub sampler: SamplerOptions,
    /// Take the prior's score from the model (trained with dropped contexts) in place of the exact one.
    pub learned_prior: bool,
    /// Published deviations of the prior's score.
    pub prior: PriorOptions,
    /// Noise ratio √(v/α) to start at. By default the largest the model was trained at; if it does not say, 100 for samplers with
    /// a grid of their own (DPM-Solver++, Heun, ODE, grids uniform in log-SNR) and t = 1 for grids uniform in t.
    pub start_noise: Option<f64>,
    /// Noise ratio to stop at, for samplers and grids that do not go to t = 0 by themselves. By default a tenth of the smallest
    /// standard deviation of the Gaussian approximation of the posterior, rounded down to a power of two; where that is
    /// unknown, 1e-3.
    pub end_noise: Option<f64>,
    /// With GAUSS and JAC, move denoised means that lie outside a uniform prior's box to its edge ([`WithinSupport`]).
    pub threshold: bool,
    /// Keep latent coordinates within ± this after each step (the paper's "-clip" variants have 3).
    pub clip: Option<f64>,
    /// Estimation of single posteriors' covariances, for models that do not know them.
    pub moments: MomentOptions,
    /// Sampling of likelihood models, which nothing else here but `samples` concerns.
    pub tempering: TemperingOptions,
    /// Lapses among the observations, for models that learned the likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapse: Option<Lapse>,
    /// Whether posteriors of likelihood models are as wide as the networks' own error makes them.
    #[serde(skip_serializing_if = "ErrorOfNetworks::is_default")]
    pub network_error: ErrorOfNetworks,
}

/// What becomes of the error that all observations share, since it is the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorOfNetworks {
    /// It widens the posterior where held-out rows told how large it is ([`Believed`](crate::model::Believed)).
    #[default]
    Include,
    /// The networks are taken for exact.
    Ignore,
}

impl ErrorOfNetworks {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Named for ErrorOfNetworks {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("include", "Posteriors are as wide as the network's error makes them", Self::Include),
            Choice::new("ignore", "The network is taken for exact, whatever n", Self::Ignore),
        ]
    }
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            samples: 1000,
            method: Method::default(),
            sampler: SamplerOptions::default(),
            learned_prior: false,
            prior: PriorOptions::default(),
            start_noise: None,
            end_noise: None,
            threshold: true,
            clip: None,
            moments: MomentOptions::default(),
            tempering: TemperingOptions::default(),
            lapse: None,
            network_error: ErrorOfNetworks::default(),
        }
    }
}

impl SampleOptions {
    /// Whether denoised means are kept within the prior's box: asked for, and the method's scores have such means.
    pub(super) fn thresholds(&self) -> bool {
        self.threshold && matches!(self.method, Method::Gauss(_) | Method::Jac(_))
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        if !(1..=1_000_000_000).contains(&self.samples) {
            return fail("samples", "must be at least 1, and at most 1000000000 to fit into memory");
        }
        for (option, value) in [("start_noise", self.start_noise), ("end_noise", self.end_noise), ("clip", self.clip)] {
            if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
                return fail(option, "must be > 0");
            }
        }
        if let (Some(start), Some(end)) = (self.start_noise, self.end_noise)
            && start <= end
        {
            return fail("start_noise", "must be larger than end_noise");
        }
        let sampler = self.sampler.sampler();
        sampler.validate()?;
        if sampler.needs_parts() && !matches!(self.method, Method::Fnpe(_)) {
            return fail("sampler", "Geffner's sampler composes scores itself: use it with method fnpe");
        }
        self.moments.validate()?;
        self.tempering.validate()?;
        self.lapse.map(Lapse::validated).transpose()?;
        match &self.method {
            Method::Gauss(options) => options.validate(),
            Method::Jac(options) => options.validate(),
            Method::Gaussian(options) => options.covariances().validate(),
            Method::Fnpe(options) => {
                CompositionOptions { mini_batch: options.mini_batch, ..CompositionOptions::default() }.validate()
            }
        }
    }

    /// How single posteriors' covariances are used, if the method needs them.
    pub(super) fn covariances(&self) -> Option<GaussOptions> {
        match &self.method {
            Method::Gauss(options) => Some(*options),
            Method::Gaussian(options) => Some(options.covariances()),
            Method::Jac(_) | Method::Fnpe(_) => None,
        }
    }

    pub(super) fn composition(&self) -> CompositionOptions {
        match &self.method {
            Method::Gauss(options) => options.composition,
            Method::Jac(options) => options.composition,
            Method::Gaussian(_) => CompositionOptions::default(),
            Method::Fnpe(options) => {
                CompositionOptions { mini_batch: options.mini_batch, ..CompositionOptions::default() }
            }
        }
    }
}
