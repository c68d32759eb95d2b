//! Whether a refinement has settled, and what it would take.
//!
//! A mean learned from N rows with leverage h (the sum of squared orthonormal polynomials, about their number) errs by σ√(h/N), along every parameter
//! √(n h/N) of the posterior's standard deviation: so constant accuracy takes N to grow like n.

use super::form::{Departure, Misfit};
use super::frame::moments;
use super::model::RefinedModel;
use crate::small_matrix::{cholesky, dot, lower_solve};
use serde::{Deserialize, Serialize};

/// What one round did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Simulations made.
    pub simulations: usize,
    /// Of these, without a result.
    pub failed: usize,
    /// Rows, of this round and earlier ones, that the likelihood was learned from.
    pub rows: usize,
    /// Observations' worth of likelihood that the posterior follows.
    pub worth: f64,
    /// Number of local likelihoods.
    pub components: usize,
    /// Held-out log-likelihood a row.
    pub held_out: f64,
    /// How far the posterior's mean moved, in its own sd: root mean square over directions.
    pub moved: f64,
    /// Largest ratio of an sd to that before, or its inverse.
    pub widened: f64,
    /// Predicted error of the posterior's mean in its own sd, a direction.
    pub predicted_error: f64,
    /// Bias of the likelihood's fit where the posterior is, in the posterior's sd.
    pub bias: f64,
    /// What chance alone gives of it.
    pub bias_error: f64,
    /// Departures of simulations there from the fitted form.
    pub misfit: Misfit,
    /// Log-likelihood of the observations against that of simulations at the posterior, in standard deviations; 0 if as likely.
    #[serde(default)]
    pub likeness: f64,
    /// Whether the round was the one that spends what is needed, after scouting.
    pub last: bool,
    /// Share of the posterior's draws at the edge of what was simulated.
    pub at_edge: f64,
    /// By how much the fitted form alone would make the posterior too narrow, which is mended; 1 if it does not.
    #[serde(default = "one")]
    pub narrow: f64,
    /// How far the posterior by mean scores, which is the one that counts if there is one, is from that by the form of single observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_scores: Option<Shift>,
}

fn one() -> f64 {
    1.0
}

/// A difference of two posteriors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Of their means, in the second's sd: root mean square over directions.
    pub moved: f64,
    /// Largest ratio of standard deviations, or its inverse.
    pub widened: f64,
}

/// The outcome of a refinement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The posterior stopped moving within its error.
    Settled,
    /// The base model predicts simulations at the posterior better than the local likelihood does: its own posterior is kept.
    BaseKept {
        /// By so many nats an observation.
        gain: f64,
    },
    /// A network that was trained on all of its simulations predicts others at both posteriors better: its posterior is kept.
    NetworkKept {
        /// By so many nats an observation.
        gain: f64,
        /// Mean score of simulations at its posterior, times n, in the posterior's standard deviations: what its mean is off by, to first order.
        bias: f64,
        /// What chance makes of that.
        bias_error: f64,
        /// Why the local likelihood had not settled, if it had not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It did not; what is off, with its number, and what to do.
    NotSettled {
        /// In words.
        reason: String,
    },
}

impl Verdict {
    /// Why it is not settled, if it is not.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Settled => None,
            Self::NotSettled { reason } => Some(reason.clone()),
            Self::NetworkKept { gain, bias, bias_error, reason } => {
                let off = if biased(*bias, *bias_error) {
                    format!("; where its posterior is, it is off by {bias:.2} of its sd itself: allow more simulations")
                } else {
                    String::new()
                };
                let why = reason.as_ref().map_or("which had settled", |reason| reason);
                Some(format!(
                    "a network trained on all simulations is kept: it predicts others at the posterior better than local forms, by {gain:.3} nats an observation ({why}){off}"
                ))
            }
            Self::BaseKept { gain } => Some(format!(
                "the base model is kept: it predicts simulations at the posterior better, by {gain:.3} nats an observation"
            )),
        }
    }

    /// Whether it is settled.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Settled)
    }
}

/// Share of draws at the edge up to which a posterior lies where simulations are.
const MOST_AT_EDGE: f64 = 0.02;

/// How far a settled posterior may move beyond what its errors explain.
const MOVED: f64 = 0.2;

/// Bias of a fit beyond what chance explains.
const BIASED: f64 = 0.25;

/// Change of the log posterior by departures from the form, nats: a C2ST of about 0.56.
const MISFIT: f64 = 0.3;

/// Standard deviations by which observations may be less likely than simulations at the posterior.
const UNLIKE: f64 = 4.0;

/// The same for ratios of standard deviations.
const WIDENED: f64 = 1.25;

/// Whether a bias is beyond what chance explains.
fn biased(bias: f64, error: f64) -> bool {
    !(bias <= BIASED + 2.0 * error)
}

impl RoundRecord {
    /// Judges this round against its predecessor's error.
    pub(super) fn verdict(&self, before: Option<&Self>, n: usize, tolerance: f64) -> Verdict {
        let not = |reason: String| Verdict::NotSettled { reason };
        let Some(before) = before else { return not("one round alone shows no movement; run at least two".into()) };
        let noise = self.predicted_error.hypot(before.predicted_error);
        // First: where they are unlike anything that was simulated, more rounds lead nowhere.
        if !(self.likeness >= -UNLIKE) {
            let by = match self.likeness.is_finite() {
                true => format!(", by {:.1} standard deviations", -self.likeness),
                false => String::new(),
            };
            return not(format!(
                "the observations are less likely than simulations at the posterior{by}: they are unlike what was simulated (their units?), \
                 come from elsewhere (more simulations, another seed, a base model), or the simulator lacks something that they have"
            ));
        }
        if self.worth < n as f64 {
            return not(format!("the last round followed {:.0} of {n} observations; run more rounds", self.worth));
        }
        if !(self.at_edge <= MOST_AT_EDGE) {
            let share = 100.0 * self.at_edge;
            return not(format!(
                "{share:.0} % of the posterior lie at the edge of what was simulated; run more rounds"
            ));
        }
        if !(self.moved <= MOVED + 2.0 * noise) {
            return not(format!(
                "the posterior moved by {:.2} of its sd in the last round; run more rounds",
                self.moved
            ));
        }
        if !(self.widened <= WIDENED + noise) {
            return not(format!("an sd changed by a factor of {:.2} in the last round; run more rounds", self.widened));
        }
        if biased(self.bias, self.bias_error) {
            return not(format!(
                "where the posterior is, the likelihood is off by {:.2} of its sd; run more rounds or narrower ones",
                self.bias
            ));
        }
        if self.misfit.effect == f64::INFINITY {
            return not("hardly a simulation is where the posterior is; run more rounds".into());
        }
        if !(self.misfit.effect <= MISFIT) {
            return not(format!(
                "{}, which would change the posterior by {:.2} nats; no form here serves: `train` a network, or take other summaries",
                self.misfit.worst.as_ref().map_or_else(String::new, Departure::describe),
                self.misfit.effect
            ));
        }
        if !self.last {
            return not("only scouting rounds were made; allow more simulations".into());
        }
        if self.predicted_error > 1.5 * tolerance {
            let factor = (self.predicted_error / tolerance).powi(2);
            return not(format!(
                "its mean may err by {:.2} of its sd, {tolerance} was aimed at; simulate {factor:.1} times as much",
                self.predicted_error
            ));
        }
        Verdict::Settled
    }
}

/// Movement from draws `before` to `after` (rows, m): root mean square of the mean's shift in sd, the largest ratio of sds, and the shift.
pub(super) fn movement(before: &[f64], after: &[f64], m: usize) -> (f64, f64, Vec<f64>) {
    let ((old, old_covariance), (new, covariance)) = (moments(before, m, None), moments(after, m, None));
    let shift: Vec<f64> = new.iter().zip(&old).map(|(new, old)| new - old).collect();
    let ratio = (0..m)
        .map(|i| (covariance[i * m + i] / old_covariance[i * m + i]).sqrt())
        .map(|ratio| ratio.max(1.0 / ratio))
        .fold(1.0, f64::max);
    let mut factor = covariance;
    let mut whitened = shift.clone();
    if !cholesky(&mut factor, m) {
        return (f64::INFINITY, ratio, shift);
    }
    lower_solve(&factor, &mut whitened);
    ((dot(&whitened, &whitened) / m as f64).sqrt(), ratio, shift)
}

/// √(n h/N) for the posterior `draws` (rows, m), with `rows` rows in each component.
pub(super) fn predicted_error(model: &RefinedModel, draws: &[f64], m: usize, n: f64, rows: &[usize]) -> f64 {
    let mut total = 0.0;
    let mut count = 0.0f64;
    for u in draws.chunks_exact(m) {
        let (_, image) = model.symmetry.canonical(u);
        // The component in which the draw is closest to the centre.
        let nearest = model.components.iter().zip(rows).map(|(component, rows)| {
            let v = component.likelihood.chart.at(&image);
            (dot(&v, &v), component, *rows as f64, v)
        });
        let Some((_, component, rows, v)) = nearest.min_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
        let likelihood = component.scores.as_ref().map_or(&component.likelihood, |scores| &scores.likelihood);
        let basis = likelihood.largest_basis();
        let mut phi = vec![0.0; basis.len()];
        basis.evaluate(&v, &mut phi);
        let parts = likelihood.by_category.iter().flat_map(|by| &by.parts).flat_map(|part| &part.columns);
        let informative = likelihood.columns.iter().chain(parts).map(super::Column::coefficients).filter(|&p| p > 1);
        let (sum, columns) = informative
            .fold((0.0, 0.0), |(sum, columns), width| (sum + dot(&phi[..width], &phi[..width]), columns + 1.0));
        total += sum / f64::max(columns, 1.0) / rows;
        count += 1.0;
    }
    (n * total / count.max(1.0)).sqrt()
}

/// Leverage of polynomials of degree 2 of `m` variables, averaged over a posterior 1/k as wide as the rows: what a budget is made with
/// before anything is known.
pub fn expected_leverage(m: usize, k: f64) -> f64 {
    let (m, square) = (m as f64, 1.0 / (k * k));
    let second = 0.5 * (3.0 * square * square - 2.0 * square + 1.0);
    1.0 + m * square + m * second + 0.5 * m * (m - 1.0) * square * square
}

/// Rows it takes for an error of `tolerance` sd at n observations: n h/ε².
pub fn rows_needed(n: usize, m: usize, k: f64, tolerance: f64) -> usize {
    (n as f64 * expected_leverage(m, k) / (tolerance * tolerance)).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RoundRecord {
        RoundRecord {
            simulations: 1000,
            failed: 0,
            rows: 1000,
            worth: 30.0,
            components: 1,
            held_out: 0.0,
            moved: 0.1,
            widened: 1.05,
            predicted_error: 0.08,
            bias: 0.1,
            bias_error: 0.08,
            misfit: Misfit { effect: 0.1, ..Misfit::default() },
            likeness: -1.0,
            last: true,
            at_edge: 0.0,
            narrow: 1.0,
            by_scores: None,
        }
    }

    #[test]
    fn a_verdict_names_the_number_that_is_off() {
        let (good, before) = (record(), record());
        assert!(good.verdict(Some(&before), 30, 0.1).is_settled());
        let departure = Departure { column: 2, given: Some(1), varies: false, z: 9.0 };
        for (record, word) in [
            (RoundRecord { moved: 0.6, ..record() }, "moved by 0.60"),
            (RoundRecord { widened: 1.9, ..record() }, "factor of 1.90"),
            (RoundRecord { at_edge: 0.3, ..record() }, "30 %"),
            (RoundRecord { at_edge: f64::NAN, ..record() }, "edge"),
            (RoundRecord { predicted_error: 0.4, ..record() }, "16.0 times"),
            (RoundRecord { bias: 0.7, ..record() }, "off by 0.70"),
            (RoundRecord { likeness: -9.0, ..record() }, "by 9.0 standard deviations"),
            (RoundRecord { likeness: f64::NAN, ..record() }, "less likely"),
            (
                RoundRecord { misfit: Misfit { effect: 1.3, worst: Some(departure), ..Misfit::default() }, ..record() },
                "1.30 nats",
            ),
            (RoundRecord { last: false, ..record() }, "scouting"),
            (RoundRecord { worth: 3.0, ..record() }, "3 of 30"),
        ] {
            let Verdict::NotSettled { reason } = record.verdict(Some(&before), 30, 0.1) else { panic!("{record:?}") };
            assert!(reason.contains(word), "{reason}");
        }
        assert!(!good.verdict(None, 30, 0.1).is_settled());
    }

    #[test]
    fn a_network_that_is_kept_says_whether_it_is_biased() {
        let kept = |bias| Verdict::NetworkKept { gain: 0.3, bias, bias_error: 0.1, reason: Some("moved".into()) };
        assert!(!kept(0.1).is_settled() && !kept(0.4).reason().unwrap().contains("off by"));
        assert!(kept(0.5).reason().unwrap().contains("(moved); where its posterior is, it is off by 0.50"));
    }

    #[test]
    fn movement_is_in_the_newer_sd() {
        let draws =
            |c: f64, s: f64| (0..1000).map(|i| c + s * (2f64.sqrt() * (f64::from(i) * 1.7).sin())).collect::<Vec<_>>();
        let (moved, widened, shift) = movement(&draws(0.0, 1.0), &draws(1.0, 2.0), 1);
        assert!((moved - 0.5).abs() < 0.01 && (widened - 2.0).abs() < 0.01 && (shift[0] - 1.0).abs() < 0.01);
    }
}
