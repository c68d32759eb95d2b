//! What a user should know of data, a model or a run although it is no error: values, not text, so that a front end can add what to do.

mod words;

use serde::{Deserialize, Serialize};

/// Why a model takes some maps of θ for exact symmetries of its likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymmetryGround {
    /// The task or the user says so, and the training rows do not contradict it.
    Declared,
    /// The training rows cannot be told from symmetric ones.
    Tested,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Note {
    /// The likelihood is symmetric under a group of maps of θ.
    Symmetry {
        /// Elements of the group, the identity among them.
        order: usize,
        /// Why.
        ground: SymmetryGround,
        /// Training rows that it was tested on.
        rows: usize,
        /// Smallest p-value of the maps' tests, corrected for their number.
        p_value: f64,
    },
    /// A parameter that moves x and does nothing else, which the networks do not see.
    Location {
        /// From 0.
        parameter: usize,
        /// Training rows that do not contradict it.
        rows: usize,
    },
    /// Columns of the training set that hold one value only: they say nothing, whatever is observed there.
    ConstantColumns {
        /// From 0.
        columns: Vec<usize>,
    },
    /// A column of single-precision values whose spread is a few units in the last place.
    CoarseColumn {
        /// From 0.
        column: usize,
        /// Its mean.
        mean: f64,
        /// Its standard deviation in units in the last place of the mean.
        units: f64,
        /// Whether it is used nevertheless; else it counts as constant.
        used: bool,
    },
    /// Rows with a value such as -9999 that lies far beyond all others; they count as failed simulations.
    Marks {
        /// From 0.
        column: usize,
        /// The marks.
        values: Vec<f64>,
        /// Rows that have one.
        rows: usize,
    },
    /// Rows with a value far from all others.
    FarRows {
        /// From 0.
        column: usize,
        /// How many.
        rows: usize,
        /// The first of them.
        first: Vec<FarValue>,
        /// Whether their values enter as the most extreme of the others; else they are used as they are, being too many.
        bounded: bool,
        /// Whether these rows are left out.
        dropped: bool,
    },
    /// Rows that are copies of others, parameters and observations: each is used once.
    CopiedRows {
        /// How many.
        copies: usize,
        /// Of how many.
        rows: usize,
    },
    /// Training parameters that are not drawn from the prior.
    OtherPrior {
        /// The parameter that shows it most.
        parameter: usize,
        /// Its mean in latent space, where the prior's is 0.
        mean: f64,
        /// Its standard deviation there, where the prior's is 1.
        sd: f64,
    },
    /// Observations that do not depend on the parameters, as far as correlations of levels and spreads tell.
    Unrelated {
        /// Of so many rows.
        rows: usize,
    },
    /// A column of real numbers in which many rows have one and the same value, whose probability is learned.
    Atom {
        /// From 0.
        column: usize,
        /// The value.
        value: f64,
        /// The share of rows that have it.
        share: f64,
    },
    /// The same where it is not.
    SharedValue {
        /// From 0.
        column: usize,
        /// The value.
        value: f64,
        /// The share of rows that have it.
        share: f64,
    },
    /// A column with a few values only, all multiples of a step that is not 1.
    Stepped {
        /// From 0.
        column: usize,
        /// The step.
        step: f64,
        /// The lowest value.
        first: f64,
        /// How many different ones were seen.
        values: usize,
    },
    /// A column of positive numbers over many decades.
    ManyDecades {
        /// From 0.
        column: usize,
        /// Between its 5 % and its 95 % quantile.
        decades: f64,
    },
    /// A column of angles that start again after a turn.
    Wrapped {
        /// From 0.
        column: usize,
        /// The turn.
        period: f64,
    },
    /// A column that is a function of another one.
    FunctionOf {
        /// From 0.
        column: usize,
        /// Of this one.
        of: usize,
    },
    /// A column that nearly is a linear function of an earlier one: what their difference tells is hard to learn.
    Alike {
        /// From 0.
        column: usize,
        /// The earlier one.
        of: usize,
        /// Standard deviation of the rest, as a share of the column's.
        rest: f64,
    },
    /// Observations that the fitted model finds too plausible, or not plausible enough.
    Misfit {
        /// Mean of their posterior predictive p-values, which is ½ for observations of the model.
        mean: f64,
        /// Of so many observations.
        of: usize,
    },
    /// Simulations that failed.
    Failed {
        /// How many.
        failed: u64,
        /// Of how many.
        rows: u64,
        /// The parameter in which they differ most from the others, and by how many of its standard deviations.
        differs: Option<(usize, f64)>,
    },
    /// What the likelihood has learned of failures.
    Success {
        /// Whether the probability of success depends on θ, and is a factor of the likelihood.
        informs: bool,
        /// Smallest p-value of the tests that it does not depend on θ, corrected for their number; none where held-out simulations decided.
        p_value: Option<f64>,
    },
    /// A column that is a function of the parameters, but for a negligible rest: a density of it has no end of precision.
    NoNoise {
        /// From 0.
        column: usize,
        /// Standard deviation of the rest, as a share of the column's.
        share: f64,
    },
    /// A column whose noise has heavier tails than the Gaussian that is fitted to it.
    HeavyTails {
        /// From 0.
        column: usize,
        /// Held-out rows with a residual beyond four standard deviations.
        beyond: usize,
        /// Of so many.
        rows: usize,
    },
    /// A column whose noise ends abruptly: where its edges depend on the parameters, they tell more than a Gaussian can.
    Edges {
        /// From 0.
        column: usize,
        /// Mean fourth power of its standardised residuals: 3 for a Gaussian, 1.8 for a uniform distribution.
        kurtosis: f64,
    },
    /// The number of observations up to which a network's error, as held-out rows show it, is below half a posterior standard deviation.
    Trusted {
        /// About so many.
        n: usize,
        /// Whether the rows would show errors beyond it only.
        at_least: bool,
        /// Held-out rows.
        rows: usize,
    },
    /// More observations than a network's error, as held-out rows show it, allows.
    BeyondTrust {
        /// n.
        n: usize,
        /// Up to which the error is below half a posterior standard deviation.
        trusted: usize,
        /// Whether the error is known and widens the posterior.
        included: bool,
    },
    /// A posterior with hardly a training row near it.
    ThinSupport {
        /// Rows that are to be expected there.
        expected: f64,
        /// Training rows.
        rows: usize,
    },
    /// Observations with missing values, which the likelihood is integrated over.
    Missing {
        /// Values that are missing, those of whole observations included.
        values: usize,
        /// Observations of which some are.
        incomplete: usize,
        /// Observations of which all are: they are left out.
        left_out: usize,
        /// Of how many observations.
        of: usize,
    },
    /// Observations that lie outside the range of the simulations.
    Unlike {
        /// How many.
        observations: usize,
        /// Of how many.
        of: usize,
        /// The farthest of them.
        farthest: Vec<Outside>,
    },
    /// A column that is constant in the training set and has another value in an observation: the model does not use it.
    ConstantDiffers {
        /// The observation, from 0.
        observation: usize,
        /// From 0.
        column: usize,
        /// What is observed.
        value: f64,
        /// The training set's constant.
        constant: f64,
    },
    /// Observations of real numbers that are copies of others: they are not independent.
    Copies {
        /// How many.
        copies: usize,
        /// Of how many.
        of: usize,
    },
    /// More observations than a model from so many rows can be trusted with.
    ManyObservations {
        /// n.
        n: usize,
        /// Rows it was trained on.
        rows: usize,
        /// What n it can be trusted to, about.
        trusted: usize,
        /// Whether it is a symmetry that the rows do not show to hold beyond.
        symmetry: bool,
    },
    /// A declared symmetry that the training rows contradict; it is not used.
    SymmetryRefuted {
        /// The tests' p-value.
        p_value: f64,
        /// Training rows that it was tested on.
        rows: usize,
    },
}

/// A value that lies far from the others of its column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FarValue {
    /// Its row, from 0.
    pub row: u64,
    /// The value.
    pub value: f64,
    /// Its distance from the median in robust standard deviations.
    pub distance: f64,
}

/// A value outside the range of the simulations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// The observation, from 0.
    pub observation: usize,
    /// Its column, from 0.
    pub column: usize,
    /// The value.
    pub value: f64,
    /// How far beyond the simulations' range, in standard deviations of the simulations.
    pub beyond: f64,
}

/// Squared z of a test that sees an asymmetry in nine of ten training sets: corrected for some ten tests it needs 3.5 and gets 4.8.
const SEEN: f64 = 4.8 * 4.8;

/// The least asymmetry, in nats an observation, that `rows` rows would show: the mean D of log p(x|θ) - log p(x|gθ) has a variance of
/// 2 D a row where D is small, and its best test z² = D·rows/2.
pub fn visible_asymmetry(rows: usize) -> f64 {
    2.0 * SEEN / rows.max(1) as f64
}
