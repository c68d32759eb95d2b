//! What failed simulations say to a likelihood.

use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Named};

/// What failed simulations say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failures {
    /// Observations are draws that succeeded, and would have failed as often as simulations do: each multiplies the likelihood by the
    /// probability of success.
    #[default]
    Inform,
    /// Nothing: the likelihood is that of observations given that they succeed.
    Condition,
}

impl Named for Failures {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("inform", "That an observation exists tells of the parameters", Self::Inform),
            Choice::new("condition", "Nothing: observations are given to succeed", Self::Condition),
        ]
    }
}
