//! Options of a refinement.

use super::fit::Forms;
use crate::model::Failures;
use crate::tempering::TemperingOptions;
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// How a model is refined at observations.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `per_round` | none: from `tolerance` | simulations a round, and of the first look from the prior | 1 to 10⁹ |
/// | `rounds` | none: until settled | rounds | ≥ 1 |
/// | `budget` | none | simulations in all at most | ≥ 1 |
/// | `tolerance` | 0.1 | error of the posterior's mean that simulations may leave, in its own sd | (0, 1\] |
/// | `width` | 2 | k: proposals have k² times the posterior's covariance | \[1.5, 20\] |
/// | `defensive` | 0.1 | share of a round's parameters from the proposal before | \[0, 0.9\] |
/// | `degree` | 4 | highest degree of means | 1 to 4 |
/// | `variance_degree` | 3 | highest degree of log-variances | 0 to 4 |
/// | `coupling_degree` | 2 | highest degree of couplings between values; none for diagonal covariances | 0 to 4 |
/// | `components` | 4 | local likelihoods side by side at most, for several modes | 1 to 100 |
/// | `growth` | 10 | from round to round the posterior follows so many times more observations' worth of likelihood | > 1 |
/// | `failures` | inform | what simulations without a result say: their probability counts, or observations are given to succeed | |
/// | `by` | auto | `forms`: local likelihoods of observations; `scores`: the law of a network's mean scores ([`MeanScores`](crate::model::MeanScores)), from 10 observations on | |
/// | `samples` | 1000 | draws of the posterior | ≥ 100 |
/// | `tempering` | | sampling | |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefineOptions {
    /// Simulations a round.
    pub per_round: Option<usize>,
    /// Rounds.
    pub rounds: Option<usize>,
    /// Simulations in all at most.
    pub budget: Option<usize>,
    /// Error of the posterior's mean in its own sd that is aimed at.
    pub tolerance: f64,
    /// k.
    pub width: f64,
    /// Share of a round's parameters from the proposal before.
    pub defensive: f64,
    /// Highest degree of means.
    pub degree: usize,
    /// Highest degree of log-variances.
    pub variance_degree: usize,
    /// Highest degree of couplings.
    pub coupling_degree: Option<usize>,
    /// Local likelihoods side by side at most.
    pub components: usize,
    /// Growth of the likelihood's worth a round.
    pub growth: f64,
    /// What simulations without a result say.
    pub failures: Failures,
    /// What is learned near the posterior.
    pub by: By,
    /// Draws of the posterior.
    pub samples: usize,
    /// Sampling.
    pub tempering: TemperingOptions,
}

/// What a refinement learns near the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Local likelihoods where they can be had.
    #[default]
    Auto,
    /// Local likelihoods of the observations themselves.
    Forms,
    /// The law of the mean scores of a network.
    Scores,
}

impl Default for RefineOptions {
    fn default() -> Self {
        Self {
            per_round: None,
            rounds: None,
            budget: None,
            tolerance: 0.1,
            width: 2.0,
            defensive: 0.1,
            degree: 4,
            variance_degree: 3,
            coupling_degree: Some(2),
            components: 4,
            growth: 10.0,
            failures: Failures::Inform,
            by: By::Auto,
            samples: 1000,
            tempering: TemperingOptions::default(),
        }
    }
}

/// Most simulations, rounds and draws, and most local likelihoods.
const MOST_SIMULATIONS: usize = 1_000_000_000;
const MOST_COMPONENTS: usize = 100;

impl RefineOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let most = super::basis::MOST_DEGREE;
        let counted = |value: Option<usize>| value.is_none_or(|count| (1..=MOST_SIMULATIONS).contains(&count));
        let ranges = [
            ("per_round", counted(self.per_round), "at least 1, and at most 1000000000 to fit into memory"),
            ("rounds", counted(self.rounds), "at least 1, and at most 1000000000: more never end"),
            ("budget", counted(self.budget), "at least 1, and at most 1000000000 to fit into memory"),
            ("tolerance", self.tolerance > 0.0 && self.tolerance <= 1.0, "above 0 and at most 1"),
            ("width", (1.5..=20.0).contains(&self.width), "1.5 to 20"),
            ("defensive", (0.0..=0.9).contains(&self.defensive), "0 to 0.9"),
            ("degree", (1..=most).contains(&self.degree), "1 to 4"),
            ("variance_degree", self.variance_degree <= most, "0 to 4"),
            ("coupling_degree", self.coupling_degree.is_none_or(|degree| degree <= most), "0 to 4"),
            (
                "components",
                (1..=MOST_COMPONENTS).contains(&self.components),
                "1 to 100: each is a likelihood of its own",
            ),
            ("growth", self.growth > 1.0 && self.growth.is_finite(), "above 1"),
            (
                "samples",
                (100..=MOST_SIMULATIONS).contains(&self.samples),
                "at least 100, and at most 1000000000 to fit into memory",
            ),
        ];
        match ranges.into_iter().find(|(_, fits, _)| !fits) {
            Some((option, _, range)) => Err(InferenceError::Option { option, message: format!("must be {range}") }),
            None => self.tempering.validate(),
        }
    }

    /// Of a problem whose last `linear` parameters only move observations.
    pub(super) fn forms(&self, linear: usize) -> Forms {
        Forms { mean: self.degree, variance: self.variance_degree, coupling: self.coupling_degree, linear }
    }
}
