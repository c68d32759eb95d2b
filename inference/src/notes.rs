//! What a user should know of data, a model or a run although it is no error: values, not text, so that a front end can add what to do.

use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// A declared symmetry that the training rows contradict; it is not used.
    SymmetryRefuted {
        /// The tests' p-value.
        p_value: f64,
        /// Training rows that it was tested on.
        rows: usize,
    },
}

/// Squared z of a test that sees an asymmetry in nine of ten training sets: corrected for some ten tests it needs 3.5 and gets 4.8.
const SEEN: f64 = 4.8 * 4.8;

/// The least asymmetry, in nats an observation, that `rows` rows would show: the mean D of log p(x|θ) - log p(x|gθ) has a variance of
/// 2 D a row where D is small, and its best test z² = D·rows/2.
pub fn visible_asymmetry(rows: usize) -> f64 {
    2.0 * SEEN / rows.max(1) as f64
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symmetry { order, ground: SymmetryGround::Declared, rows, .. } => write!(
                f,
                "the likelihood is symmetric under {order} maps of the parameters: declared, and not contradicted by {rows} rows"
            ),
            Self::Symmetry { order, ground: SymmetryGround::Tested, rows, p_value } => write!(
                f,
                "the likelihood is taken as symmetric under {order} maps of the parameters: {rows} rows do not tell it from an exact symmetry \
                 (p = {p_value:.2}; they would show {:.1e} nats an observation)",
                visible_asymmetry(*rows)
            ),
            Self::SymmetryRefuted { p_value, rows } => {
                write!(f, "the declared symmetry is not used: {rows} rows contradict it (p = {p_value:.1e})")
            }
        }
    }
}
