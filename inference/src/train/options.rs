//! Hyper-parameters of training.

use super::optimizer::{Algorithm, OptimizerOptions, SearchOptions};
use crate::model::density::{Covariance, MAX_COMPONENTS, MixtureLayout};
use crate::model::{ConditionalSpec, Failures};
use crate::{InferenceError, Result};
use serde::{Deserialize, Deserializer, Serialize};
use tallsbi_data::{Choice, Location, Named, SignedPermutation};
use tallsbi_network::Activation;

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// [`Likelihood`](Self::Likelihood) where a Gaussian of the observation has at most [`MOST_OUTPUTS`] parameters, which is up to 64
    /// values, or 1072 whole numbers (they are taken as independent given θ); [`Anchored`](Self::Anchored) beyond.
    #[default]
    Auto,
    /// A Gaussian posterior and the rest of the score (see [`crate::model::anchored`]).
    Anchored,
    /// The noise, as published (see [`crate::model::noise`]).
    Noise,
    /// The likelihood p(x|θ) (see [`crate::model::likelihood`]).
    Likelihood,
}

impl Named for Architecture {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new(
                "auto",
                "likelihood where x has at most 64 values or is whole numbers only, else anchored",
                Self::Auto,
            ),
            Choice::new("anchored", "A Gaussian posterior, and the rest of the score", Self::Anchored),
            Choice::new("noise", "The noise, as published", Self::Noise),
            Choice::new(
                "likelihood",
                "The likelihood of an observation, where that is simpler than the posterior",
                Self::Likelihood,
            ),
        ]
    }
}

/// Most parameters of a Gaussian that are learned unless asked for: those of 64 values with a full covariance.
pub const MOST_OUTPUTS: usize = 2144;

impl Architecture {
    /// What `Auto` means for observations of `dim_x` values, all `counts` or not.
    #[must_use]
    pub fn resolve(self, dim_x: usize, counts: bool) -> Self {
        let covariance = if counts { Covariance::Diagonal } else { Covariance::Full };
        let layout = MixtureLayout { covariance, cells: counts, ..MixtureLayout::gaussian(dim_x) };
        match self {
            Self::Auto if layout.outputs() <= MOST_OUTPUTS => Self::Likelihood,
            Self::Auto => Self::Anchored,
            chosen => chosen,
        }
    }
}

/// The space scores are learned in (see [`tallsbi_data::LatentMap`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentKind {
    /// The prior becomes N(0, I).
    #[default]
    PriorGaussian,
    /// Z-scores of θ (of log θ for log-normal priors), as published.
    Standardized,
}

impl Named for LatentKind {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("prior-gaussian", "The prior becomes N(0, I)", Self::PriorGaussian),
            Choice::new("standardized", "Z-scores, as published", Self::Standardized),
        ]
    }
}

/// How noise levels are drawn in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseLevels {
    /// log √(v/α) uniform between the anchored score's smallest and largest noise ratio.
    #[default]
    LogUniform,
    /// t uniform in \[0, 1\], as published.
    UniformTime,
}

impl Named for NoiseLevels {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("log-uniform", "Uniform in the logarithm of the noise ratio", Self::LogUniform),
            Choice::new("uniform-time", "Uniform in time, as published", Self::UniformTime),
        ]
    }
}

/// What is done about single rows whose values lie far from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outliers {
    /// Such values enter as the most extreme of the others; rows with marks of failure such as -9999 count as failed.
    #[default]
    Bound,
    /// Such rows are left out.
    Drop,
    /// Nothing: they are used as they are.
    Keep,
}

impl Named for Outliers {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("bound", "Single far values enter as the most extreme of the others", Self::Bound),
            Choice::new("drop", "Rows that have one are left out", Self::Drop),
            Choice::new("keep", "They are used as they are, marks such as -9999 too", Self::Keep),
        ]
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Most hidden layers of a network, and their largest width.
const MAX_LAYERS: usize = 100;
const MAX_HIDDEN: usize = 65_536;

/// Most networks that one option asks for.
const MAX_TRIED: usize = 100;

/// The Gaussian anchor's network and its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorOptions {
    /// Hidden widths.
    pub hidden: Vec<usize>,
    /// Whether a linear regression is tried too, in closed form: it is used unless the network validates better, beyond chance or by 0.01 nats.
    pub linear: bool,
    /// Its optimisation: 200 epochs, else the usual.
    #[serde(deserialize_with = "anchor_optimizer")]
    pub optimizer: OptimizerOptions,
}

impl Default for AnchorOptions {
    fn default() -> Self {
        let optimizer = OptimizerOptions { epochs: 200, ..OptimizerOptions::default() };
        Self { hidden: vec![256; 3], linear: true, optimizer }
    }
}

fn anchor_optimizer<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<OptimizerOptions, D::Error> {
    AnchorOptions::default().optimizer.overridden(deserializer)
}

/// The form of a conditional density.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DensityForm {
    /// Gaussians of the mixture, at most [`MAX_COMPONENTS`].
    pub components: usize,
    /// Their covariances.
    pub covariance: Covariance,
}

impl std::fmt::Display for DensityForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let covariance = match self.covariance {
            Covariance::Full => "full",
            Covariance::Diagonal => "diagonal",
        };
        match self.components {
            1 => write!(f, "one {covariance} Gaussian"),
            several => write!(f, "{several} {covariance} Gaussians"),
        }
    }
}

/// The likelihood's network and its training.
///
/// Depth is what a likelihood needs (θ enters simulators through chains of products and powers): twelve narrow residual layers are
/// more accurate than three wide ones at half the cost. [`Algorithm::Soap`] trains them in a tenth of Adam's steps, and at one learning rate, where
/// Adam's differs between data (`docs/lab/likelihood.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodOptions {
    /// Hidden widths.
    pub hidden: Vec<usize>,
    /// Activation of hidden layers.
    pub activation: Activation,
    /// Whether hidden layers normalise.
    pub layer_norm: bool,
    /// Whether hidden layers as wide as their input add it to their output.
    pub residual: bool,
    /// Forms of the density that are tried, simple ones first: one is preferred to those before it if its validation loss is
    /// lower by more than 0.01 nats. Mixtures start from a single Gaussian's network; where single ones are among the forms and the
    /// largest mixture is the best, one four times as large is tried next.
    pub candidates: Vec<DensityForm>,
    /// Whether single Gaussians are tried with a linear network too, before all others. Where one full Gaussian is among the forms and the
    /// rows cannot be told from a linear simulator with Gaussian noise, least squares are used and nothing else is trained.
    pub linear: bool,
    /// Whether to look for maps of θ (changes of sign, exchanges of two parameters) that leave the likelihood as it is, and to use
    /// them if the rows cannot be told from symmetric ones and no network validates better without them, by more than 0.01 nats: modes
    /// that they exchange get their exact weights.
    pub symmetries: bool,
    /// Maps of the latent θ that are known to leave the likelihood as it is; no others are looked for then. They are used unless the rows
    /// contradict them beyond any doubt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<SignedPermutation>,
    /// Parameters that are known to move x and do nothing else: the networks do not see them, which they would have to learn. Used for
    /// observations of real numbers without conditions, if the latent parameters are N(0, I) a priori; refused if the rows contradict them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Location>,
    /// Whether one Gaussian of real numbers tells an error that all observations of a parameter share from noise, where the training set has
    /// several of each ([`crate::model::shared`]): posteriors then stop narrowing where the network no longer knows better.
    pub shared_error: bool,
    /// Networks whose outputs are averaged if the form is one Gaussian: what they do not agree on is error. Each holds other rows out.
    pub members: usize,
    /// Multiples of the optimiser's learning rate, each > 0, that are tried too, with the form that was best: the network is replaced if one
    /// validates better by more than 0.01 nats, and further members learn as it did. Not used where [`SearchOptions::learning_rates`] are
    /// given.
    pub learning_rate_factors: Vec<f64>,
    /// Its optimisation: SOAP at a learning rate of 0.01, 40 epochs of batches of 128, smaller where an epoch has fewer than 64 of them, and
    /// at least 2500 steps; a patience of 40 epochs, a weight decay of 0.01 and gradients up to a norm of 100, else the usual.
    #[serde(deserialize_with = "likelihood_optimizer")]
    pub optimizer: OptimizerOptions,
}

fn likelihood_optimizer<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<OptimizerOptions, D::Error> {
    LikelihoodOptions::default().optimizer.overridden(deserializer)
}

impl Default for LikelihoodOptions {
    fn default() -> Self {
        let form = |components, covariance| DensityForm { components, covariance };
        Self {
            hidden: vec![96; 12],
            activation: Activation::Gelu,
            layer_norm: true,
            residual: true,
            symmetries: true,
            shared_error: true,
            declared: Vec::new(),
            locations: Vec::new(),
            linear: true,
            candidates: vec![form(1, Covariance::Diagonal), form(1, Covariance::Full), form(4, Covariance::Full)],
            members: 4,
            learning_rate_factors: Vec::new(),
            optimizer: OptimizerOptions {
                algorithm: Algorithm::Soap,
                epochs: 40,
                min_steps: 2500,
                patience: 40,
                batch_size: 128,
                min_batches: 64,
                learning_rate: 0.01,
                weight_decay: 0.01,
                max_gradient_norm: 100.0,
                ..OptimizerOptions::default()
            },
        }
    }
}

/// Everything that training depends on beside the data and the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// What the network predicts.
    pub architecture: Architecture,
    /// The space scores are learned in; the anchored architecture needs prior-gaussian.
    pub latent: LatentKind,
    /// Layers of the score network (of the residual network when anchored).
    pub network: ConditionalSpec,
    /// The Gaussian anchor.
    pub anchor: AnchorOptions,
    /// The likelihood.
    pub likelihood: LikelihoodOptions,
    /// Optimisation of the score network.
    pub optimizer: OptimizerOptions,
    /// Learning rates and batch sizes to choose among, for every network.
    pub search: SearchOptions,
    /// How noise levels are drawn.
    pub noise_levels: NoiseLevels,
    /// Probability of dropping the context, so that the network also learns the prior's score (classifier-free guidance,
    /// paper App. L.1). Noise architecture only.
    pub context_dropout: f64,
    /// Fraction of the parameters held out to validate on.
    pub validation_fraction: f64,
    /// What is done about values far from all others.
    #[serde(skip_serializing_if = "is_default")]
    pub outliers: Outliers,
    /// What failed simulations say of θ; for likelihoods.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: Failures,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            architecture: Architecture::default(),
            latent: LatentKind::default(),
            network: ConditionalSpec::default(),
            anchor: AnchorOptions::default(),
            likelihood: LikelihoodOptions::default(),
            optimizer: OptimizerOptions::default(),
            search: SearchOptions::default(),
            noise_levels: NoiseLevels::default(),
            context_dropout: 0.0,
            validation_fraction: 0.1,
            outliers: Outliers::default(),
            failures: Failures::default(),
        }
    }
}

impl TrainOptions {
    /// The optimisations of all networks.
    pub fn optimizers(&mut self) -> [&mut OptimizerOptions; 3] {
        [&mut self.anchor.optimizer, &mut self.optimizer, &mut self.likelihood.optimizer]
    }

    /// About how many epochs all networks are trained together, on observations of `dim_x` real numbers.
    pub fn epochs(&self, dim_x: usize) -> usize {
        let variants = self.search.variants(&self.optimizer).count();
        match self.architecture.resolve(dim_x, false) {
            Architecture::Auto | Architecture::Anchored => {
                variants * (self.anchor.optimizer.epochs + self.optimizer.epochs)
            }
            Architecture::Noise => variants * self.optimizer.epochs,
            Architecture::Likelihood => {
                let faster = self.likelihood_rate_factors().len();
                let networks = variants * self.likelihood.candidates.len() + faster + self.likelihood.members - 1;
                networks * self.likelihood.optimizer.epochs
            }
        }
    }

    /// Checks that what is tried is not more than can be trained.
    fn validate_lists(&self) -> Result<()> {
        let (search, likelihood) = (&self.search, &self.likelihood);
        for (option, count) in [
            ("search.learning_rates", search.learning_rates.len()),
            ("search.batch_sizes", search.batch_sizes.len()),
            ("likelihood.candidates", likelihood.candidates.len()),
            ("likelihood.learning_rate_factors", likelihood.learning_rate_factors.len()),
        ] {
            if count > MAX_TRIED {
                let message = format!("must be at most {MAX_TRIED}: each is a training of its own, got {count}");
                return Err(InferenceError::Option { option, message });
            }
        }
        if let Some(rate) = search.learning_rates.iter().find(|&&rate| !(rate > 0.0 && rate.is_finite())) {
            let message = format!("must be positive and finite, got {rate}");
            return Err(InferenceError::Option { option: "search.learning_rates", message });
        }
        Ok(())
    }

    /// Multiples of its learning rate that the likelihood's best form is tried with.
    pub(super) fn likelihood_rate_factors(&self) -> &[f64] {
        if self.search.learning_rates.is_empty() { &self.likelihood.learning_rate_factors } else { &[] }
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// Naming the first option that is out of range or does not go with another.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        self.validate_lists()?;
        if !(self.validation_fraction > 0.0 && self.validation_fraction < 1.0) {
            return fail("validation_fraction", "must lie strictly between 0 and 1");
        }
        if !(0.0..1.0).contains(&self.context_dropout) {
            return fail("context_dropout", "must lie in [0, 1)");
        }
        self.network.validate()?;
        for optimizer in [&self.optimizer, &self.anchor.optimizer, &self.likelihood.optimizer] {
            for (_, variant) in self.search.variants(optimizer) {
                variant.validate()?;
            }
        }
        let all = [
            ("network.hidden", &self.network.hidden),
            ("anchor.hidden", &self.anchor.hidden),
            ("likelihood.hidden", &self.likelihood.hidden),
        ];
        for (option, widths) in all {
            if widths.contains(&0) {
                return fail(option, "layers must be at least 1 wide");
            }
            if widths.len() > MAX_LAYERS || widths.iter().any(|&width| width > MAX_HIDDEN) {
                let message = format!(
                    "must be at most {MAX_LAYERS} layers of at most {MAX_HIDDEN}: larger ones do not fit into memory"
                );
                return Err(InferenceError::Option { option, message });
            }
        }
        let forms = &self.likelihood.candidates;
        if forms.is_empty() || forms.iter().any(|form| !(1..=MAX_COMPONENTS).contains(&form.components)) {
            let message = format!("must be at least one form of 1 to {MAX_COMPONENTS} components");
            return Err(InferenceError::Option { option: "likelihood.candidates", message });
        }
        if let Some(factor) = self.likelihood.learning_rate_factors.iter().find(|&&f| !(f > 0.0 && f.is_finite())) {
            let message = format!("must be positive and finite, got {factor}");
            return Err(InferenceError::Option { option: "likelihood.learning_rate_factors", message });
        }
        if !(1..=MAX_TRIED).contains(&self.likelihood.members) {
            return fail(
                "likelihood.members",
                "must be at least 1, and at most 100: each is trained and kept in memory",
            );
        }
        let name = match self.architecture {
            Architecture::Auto => "auto",
            Architecture::Anchored => "anchored",
            Architecture::Likelihood => "likelihood",
            Architecture::Noise => return Ok(()),
        };
        let noise_only = [
            ("latent", self.latent == LatentKind::Standardized, "the space standardized"),
            ("context_dropout", self.context_dropout > 0.0, "dropped contexts"),
            ("n_max", self.network.n_max > 1, "sets of observations"),
            ("theta_embedding", self.network.theta_embedding.is_some(), "an embedding of theta"),
        ];
        for (option, asked, what) in noise_only {
            if asked {
                let message = format!("{what} is not for the architecture {name}; use architecture noise");
                return Err(InferenceError::Option { option, message });
            }
        }
        Ok(())
    }
}
