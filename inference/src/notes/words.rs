//! Notes in words. Columns, parameters and observations are numbers here; who knows their names replaces them.

use super::{Note, SymmetryGround, visible_asymmetry};
use std::fmt;

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of_rows(f)
    }
}

impl Note {
    /// Whether it calls results into question; the others say what was learned.
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::Symmetry { .. }
                | Self::Location { .. }
                | Self::Success { .. }
                | Self::Atom { .. }
                | Self::Trusted { .. }
                | Self::Missing { .. }
        )
    }

    /// What was found in the rows of a training set.
    fn of_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
                let (have, they) = if *rows == 1 { ("row has", "it is") } else { ("rows have", "they are") };
                write!(
                    f,
                    "{rows} {have} {} in column {column} of x, far beyond all others: {they} taken for failed",
                    list.join(" or ")
                )
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
                f.write_str("failures do not depend on the parameters as far as the rows tell")?;
                p_value.map_or(Ok(()), |p| write!(f, " (p = {p:.2})"))
            }
            _ => self.of_kind(f),
        }
    }

    /// What kind of rows and columns they are.
    fn of_kind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopiedRows { copies, rows } => {
                write!(
                    f,
                    "{copies} of {rows} rows are copies of others, parameters and observations: each is used once"
                )
            }
            Self::OtherPrior { parameter, mean, sd } => write!(
                f,
                "the rows are not drawn from the stated prior: parameter {parameter} lies {mean:+.2} of its sd off and varies {sd:.2} times as \
                 much. Likelihoods are learned where the rows are and multiplied by the stated prior, scores are those of the rows' own; does \
                 the prior list the parameters in the order of theta, in its units?"
            ),
            Self::Unrelated { rows } => write!(
                f,
                "nothing in x follows any parameter, as far as level and spread of {rows} rows tell: do the rows of theta and x belong together?"
            ),
            Self::Atom { column, value, share } => write!(
                f,
                "column {column} of x is exactly {} in {:.0} % of the rows: its probability is learned apart from the density of the rest",
                number(*value),
                (100.0 * share).max(1.0)
            ),
            Self::SharedValue { column, value, share } => write!(
                f,
                "{:.0} % of the rows have {} in column {column} of x, whose other values differ: a density has no such value, and the posterior \
                 may be far off. If it marks failures, make it NaN; if it is a limit, a zero or does not apply, say so in a column of 0 and 1 \
                 beside it and draw the value itself at random there, in simulations and observations",
                (100.0 * share).max(1.0),
                number(*value)
            ),
            Self::Stepped { column, step, first, values } => write!(
                f,
                "column {column} of x has {values} different values only, {} and multiples of {} beside: give them as whole numbers (less the \
                 first, by the step), which have probabilities in place of densities",
                number(*first),
                number(*step)
            ),
            Self::ManyDecades { column, decades } => write!(
                f,
                "column {column} of x spans {decades:.1} decades: learn its logarithm (the attribute x_transform = \"log\" of the training set \
                 where all columns are positive)"
            ),
            Self::Wrapped { column, period } => write!(
                f,
                "column {column} of x looks like an angle that starts again after {}: values at its two ends, which are neighbours, are far apart \
                 for a network; turn it so that it starts where no values lie",
                number(*period)
            ),
            Self::FunctionOf { column, of } => write!(
                f,
                "column {column} of x is a function of column {of}: it says nothing more, and a density of it has no end of precision; leave it \
                 out of simulations and observations"
            ),
            Self::Misfit { mean, of } => {
                let (how, than) = if *mean > 0.5 { ("more", "too much alike") } else { ("less", "unlike it") };
                write!(
                    f,
                    "the {of} observations are {how} plausible to the fitted model than its own (mean p-value {mean:.2} in place of 0.5): they are \
                     {than}; are they in the simulations' units, and does the simulator have their noise?"
                )
            }
            Self::Alike { column, of, rest } => write!(
                f,
                "column {column} of x differs from a multiple of column {of} by {} of its spread only: what that rest tells is hard to learn; give \
                 the rest in place of the column",
                number(*rest)
            ),
            _ => self.of_fit(f),
        }
    }

    /// What was found in training.
    fn of_fit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symmetry { order, ground: SymmetryGround::Declared, rows, .. } => write!(
                f,
                "the likelihood is symmetric under {order} maps of the parameters: declared, and not contradicted by {rows} rows"
            ),
            Self::Location { parameter, rows } => write!(
                f,
                "parameter {parameter} moves x and does nothing else: declared, and not contradicted by {rows} rows; the networks do not see it"
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
            Self::Trusted { n, at_least: false, rows } => write!(
                f,
                "with more than about {n} observations the network's error exceeds half a posterior standard deviation ({rows} held-out rows)"
            ),
            Self::Trusted { n, at_least: true, rows } => write!(
                f,
                "up to about {n} observations the network's error is below half a posterior standard deviation; {rows} held-out rows do not tell beyond"
            ),
            _ => self.of_observations(f),
        }
    }

    /// What is to be said of observations.
    fn of_observations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::Missing { values, incomplete, left_out, of } => {
                write!(
                    f,
                    "{values} values of {of} observations are missing: {incomplete} observations enter by their other values"
                )?;
                if *left_out > 0 { write!(f, ", {left_out} are wholly missing and left out") } else { Ok(()) }
            }
            Self::ConstantDiffers { observation, column, value, constant } => write!(
                f,
                "observation {observation} has {} in column {column}, which is {} in all simulations: the model does not use it",
                number(*value),
                number(*constant)
            ),
            Self::Copies { copies, of } => {
                write!(
                    f,
                    "{copies} of {of} observations are copies of others: they count as independent ones, which they are not"
                )
            }
            Self::ManyObservations { n, rows, trusted, symmetry } => {
                let what = if *symmetry { "its symmetry is" } else { "a network from them is" };
                write!(
                    f,
                    "{n} observations, but {rows} training rows: {what} known well enough for about {trusted}; with more the posterior may be too \
                     narrow and off"
                )
            }
            Self::ThinSupport { expected, rows } => write!(
                f,
                "the posterior leads where hardly anything was simulated (of {rows} training rows {} are to be expected there): the network \
                 extrapolates, do not trust it",
                number(*expected)
            ),
            Self::BeyondTrust { n, trusted, included } => beyond_trust(f, *n, *trusted, *included),
            Self::ConstantColumns { .. }
            | Self::CoarseColumn { .. }
            | Self::Marks { .. }
            | Self::FarRows { .. }
            | Self::Failed { .. }
            | Self::Success { .. }
            | Self::CopiedRows { .. }
            | Self::OtherPrior { .. }
            | Self::Unrelated { .. }
            | Self::Atom { .. }
            | Self::SharedValue { .. }
            | Self::Stepped { .. }
            | Self::ManyDecades { .. }
            | Self::FunctionOf { .. }
            | Self::Wrapped { .. }
            | Self::Alike { .. }
            | Self::Misfit { .. }
            | Self::Symmetry { .. }
            | Self::Location { .. }
            | Self::SymmetryRefuted { .. }
            | Self::NoNoise { .. }
            | Self::HeavyTails { .. }
            | Self::Edges { .. }
            | Self::Trusted { .. } => unreachable!("said above"),
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
/// That n observations ask more of a network than it knows.
fn beyond_trust(f: &mut fmt::Formatter<'_>, n: usize, trusted: usize, included: bool) -> fmt::Result {
    let what = if included {
        "unless it is left out it widens the posterior, which narrows hardly any further"
    } else {
        "the posterior may be off and too narrow"
    };
    let error = "the network's error exceeds half a posterior standard deviation beyond about";
    write!(f, "{n} observations, but {error} {trusted}: {what}")
}
