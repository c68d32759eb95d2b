//! Errors of this crate.

/// What can go wrong in training and sampling. Each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// An option with a value it cannot have.
    #[error("{option}: {message}")]
    Option {
        /// The option or field.
        option: &'static str,
        /// What is wrong with it and what it may be.
        message: String,
    },
    /// Arrays that do not fit each other or the model.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The array.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Observations with missing values, for what needs complete ones.
    #[error(
        "observation {row} has missing values (NaN), and only models that learned the likelihood do without them; train such a one, or remove it"
    )]
    ObservationMissing {
        /// Row of the observation.
        row: usize,
    },
    /// Observations whose conditions are missing.
    #[error("observation {row} misses a condition (NaN); remove it, or find out what it was made under")]
    ConditionMissing {
        /// Row of the observation.
        row: usize,
    },
    /// Observations with different values missing, under a model whose error they share.
    #[error(
        "the observations miss different values, and this model, trained on several observations of each parameter, takes only sets of which all miss the same; leave out the others, or the columns, or train \
         with shared_error = false"
    )]
    MissingUnlike,
    /// Observations of another kind than those a network's mean scores were learned for.
    #[error(
        "the observations were made under other conditions, or miss other values, than those that the model was refined at; refine it at these, or give the model it was refined from"
    )]
    OtherDesign,
    /// Observations of which nothing is known.
    #[error("all values of all {rows} observations are missing; give some that are not")]
    NothingObserved {
        /// How many there are.
        rows: usize,
    },
    /// Observations that are not finite.
    #[error("observation {row} has infinite values, or some that have no logarithm where it is taken; remove it")]
    ObservationNotFinite {
        /// Row of the observation.
        row: usize,
    },
    /// Observations with fractions where the training set had whole numbers only.
    #[error(
        "observation {row}, column {column}: {value}, but the training set has whole numbers there; give counts as they are"
    )]
    ObservationNotWhole {
        /// Row of the observation.
        row: usize,
        /// Its column.
        column: usize,
        /// What it holds.
        value: f32,
    },
    /// A category that a refined model knows nothing of.
    #[error(
        "observation {row}, column {column}: {value}, a category that no simulation near the posterior had; refine at these observations"
    )]
    CategoryNotSimulated {
        /// Row of the observation.
        row: usize,
        /// Its column.
        column: usize,
        /// What it holds.
        value: f32,
    },
    /// A model file that is not one of ours or a reference network, or is damaged.
    #[error("model: {0}")]
    Model(String),
    /// A checkpoint that cannot be gone on from.
    #[error("checkpoint: {0}; remove it to start over")]
    Checkpoint(String),
    /// The training set cannot be trained on.
    #[error("training set: {0}")]
    TrainingSet(String),
    /// Training diverged.
    #[error("training diverged in epoch {epoch}: {message}")]
    Diverged {
        /// Epoch.
        epoch: usize,
        /// What was seen and what to try.
        message: String,
    },
    /// A matrix that must be positive definite is not, and the repair was switched off.
    #[error("the precision of the tall posterior is not positive definite at t = {t}; {remedy}")]
    NotPositiveDefinite {
        /// Diffusion time.
        t: f64,
        /// What to do.
        remedy: &'static str,
    },
    /// Particles that a sampler could not move to the posterior.
    #[error(
        "the posterior cannot be sampled: {reason} ({distinct} of {particles} particles differ); the observations may be unlike all that the model can produce"
    )]
    Collapsed {
        /// What was seen.
        reason: &'static str,
        /// Particles that differ.
        distinct: usize,
        /// All particles.
        particles: usize,
    },
    /// Draws of a posterior that lie in a plane.
    #[error("the posterior has no width in some direction; give other observations or more samples")]
    NoWidth,
    /// Tempering that does not arrive.
    #[error(
        "tempering stands at {beta:.1e} of the likelihood after {levels} levels: log-likelihoods differ by more than can be weighed; \
         look at the model's validation loss, and for outliers among the observations"
    )]
    Tempering {
        /// Levels taken.
        levels: u64,
        /// Power of the likelihood that was reached.
        beta: f64,
    },
    /// A reference posterior that cannot be sampled.
    #[error("reference posterior: {0}")]
    Reference(String),
    /// A file of covariances that cannot be used.
    #[error("covariances: {0}")]
    Covariances(String),
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] tallsbi_data::Cancelled),
    /// The caller could not read rows or keep a checkpoint.
    #[error(transparent)]
    Caller(Box<dyn std::error::Error + Send + Sync>),
    /// From priors, latent maps and files.
    #[error(transparent)]
    Data(#[from] tallsbi_data::DataError),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, InferenceError>;

impl From<tallsbi_network::NetworkError> for InferenceError {
    fn from(error: tallsbi_network::NetworkError) -> Self {
        Self::Model(error.to_string())
    }
}
