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
        /// Smallest p-value of the tests that it does not depend on θ, corrected for their number.
        p_value: f64,
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
            Self::ConstantColumns { columns } => {
                let list: Vec<String> = columns.iter().take(10).map(ToString::to_string).collect();
                let more = if columns.len() > 10 { format!(" and {} others", columns.len() - 10) } else { String::new() };
                let (plural, hold) = if columns.len() == 1 { ("", "holds") } else { ("s", "hold") };
                write!(f, "column{plural} {}{more} of x {hold} one value only: what is observed there is not used", list.join(", "))
            }
            Self::CoarseColumn { column, mean, units, used } => {
                let how = if *used { "loses digits" } else { "is taken for a constant" };
                write!(
                    f,
                    "column {column} of x {how}: it is single precision, and its spread about {mean:e} is {units:.1} units in the last \
                     place; store it in double precision, or less an offset"
                )
            }
            Self::Marks { column, values, rows } => {
                let list: Vec<String> = values.iter().map(|value| number(*value)).collect();
                write!(f, "{rows} rows have {} in column {column} of x, far beyond all others: they are taken for failed", list.join(" or "))
            }
            Self::FarRows { column, rows, first, bounded, dropped } => {
                let list = first.iter().map(|far| {
                    format!(
                        "row {}, column {column}: {}, {} robust sd from the rest",
                        far.row,
                        number(far.value),
                        number(far.distance.round())
                    )
                });
                let list: Vec<String> = list.collect();
                let more = if *rows > first.len() { format!("; {} more", rows - first.len()) } else { String::new() };
                let what = match (dropped, bounded) {
                    (true, _) => "left out",
                    (_, true) => "taken as the most extreme of the others",
                    _ => "used as they are, being many",
                };
                write!(f, "{}{more}: {what}", list.join("; "))
            }
            Self::Failed { failed, rows, differs } => {
                write!(f, "{failed} of {rows} simulations failed")?;
                match differs {
                    Some((parameter, shift)) => {
                        let side = if *shift > 0.0 { "large" } else { "small" };
                        write!(f, ", mostly at {side} values of parameter {parameter} ({shift:+.2} sd)")
                    }
                    None => Ok(()),
                }
            }
            Self::Success { informs: true, .. } => {
                f.write_str("that an observation exists tells of the parameters: the probability of success is a factor of the likelihood")
            }
            Self::Success { informs: false, p_value } => {
                write!(f, "failures do not depend on the parameters as far as the rows tell (p = {p_value:.2})")
            }
            Self::NoNoise { column, share } => write!(
                f,
                "column {column} of x is nearly a function of the parameters, noise being at most {} of its spread: where a simulator has no noise \
                 it has no likelihood, and the posterior's width is the network's error",
                number(*share)
            ),
            Self::HeavyTails { column, beyond, rows } => write!(
                f,
                "column {column} of x has heavier tails than the likelihood: {beyond} of {rows} residuals lie beyond 4 sd; posteriors given few \
                 observations may be off"
            ),
            Self::Edges { column, kurtosis } => write!(
                f,
                "the noise of column {column} of x ends abruptly (kurtosis {kurtosis:.1}): where its edges depend on the parameters, the \
                 posterior is too wide and has mass where the likelihood is 0"
            ),
            Self::Unlike { observations, of, farthest } => {
                let list = farthest.iter().map(|out| {
                    format!(
                        "observation {}, column {}: {}, {:.1} sd beyond all simulations",
                        out.observation,
                        out.column,
                        number(out.value),
                        out.beyond
                    )
                });
                let list: Vec<String> = list.collect();
                write!(
                    f,
                    "{observations} of {of} observations are unlike the simulations ({}): the model says nothing about such data, do not trust \
                     the posterior",
                    list.join("; ")
                )
            }
            Self::ConstantDiffers { observation, column, value, constant } => write!(
                f,
                "observation {observation} has {} in column {column}, which is {} in all simulations: the model does not use it",
                number(*value),
                number(*constant)
            ),
            Self::Copies { copies, of } => {
                write!(f, "{copies} of {of} observations are copies of others: they count as independent ones, which they are not")
            }
            Self::ManyObservations { n, rows, trusted, symmetry } => {
                let what = if *symmetry { "its symmetry is" } else { "a network from them is" };
                write!(
                    f,
                    "{n} observations, but {rows} training rows: {what} known well enough for about {trusted}; with more the posterior may be too \
                     narrow and off"
                )
            }
            Self::SymmetryRefuted { p_value, rows } => {
                write!(f, "the declared symmetry is not used: {rows} rows contradict it (p = {p_value:.1e})")
            }
        }
    }
}

/// A number as people write it.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{value:.3e}");
        // 1.000e10 is 1e10.
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{exponent}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
