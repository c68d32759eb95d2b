//! Simultaneous bands and an exact test of uniform ranks (Säilynoja, Bürkner & Vehtari 2022).
//!
//! If N ranks are uniform on 0..=L, the number of ranks below k is Binomial(N, k/(L+1)). A band that holds each of these counts with
//! pointwise probability 1-γ holds all of them with a smaller, *simultaneous* probability; γ is adjusted until that is the wanted
//! one. The simultaneous probability is computed, not simulated (their Algorithm 1, here by Poissonisation: counts of a Poisson
//! process given its total are those of uniform ranks, and its increments are independent).

use crate::{DiagnosticsError, Result};
use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// Most points at which the distribution function is looked at: more add cost and hardly any power.
const MOST_POINTS: usize = 100;

/// Tails this close, relatively, are equal: those of mirrored counts are so but for rounding.
const ROUNDING: f64 = 1e-9;

/// Bisection steps for γ: to 10⁻¹² of it.
const BISECTIONS: usize = 40;

/// Empirical distribution function of ranks, its simultaneous band and the test that goes with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EcdfTest {
    /// Points in (0, 1).
    pub points: Vec<f64>,
    /// Share of ranks below each point.
    pub observed: Vec<f64>,
    /// Lower edge of the band.
    pub low: Vec<f64>,
    /// Upper edge of the band.
    pub high: Vec<f64>,
    /// Probability that the whole curve stays within the band if ranks are uniform.
    pub confidence: f64,
    /// The smallest pointwise two-sided tail probability along the curve.
    pub statistic: f64,
    /// Probability of such a small statistic if ranks are uniform: exact but for rounding.
    pub p_value: f64,
}

/// Tests that `ranks`, each in 0..=`draws`, are uniform.
pub(crate) fn ecdf_test(ranks: &[usize], draws: usize, confidence: f64) -> Result<EcdfTest> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(DiagnosticsError::Setting {
            name: "confidence",
            value: confidence.to_string(),
            requirement: "must lie in (0, 1)",
        });
    }
    let grid = Grid::new(ranks.len(), draws);
    let counts: Vec<usize> = grid.below.iter().map(|&k| ranks.iter().filter(|&&rank| rank < k).count()).collect();
    let tail = grid
        .tails
        .iter()
        .zip(&counts)
        .map(|(tails, &count)| tails.lower[count].min(tails.upper[count]))
        .fold(f64::INFINITY, f64::min);
    let band = grid.band(grid.adjusted_tail(confidence));
    let share = |count: usize| count as f64 / ranks.len() as f64;
    Ok(EcdfTest {
        points: grid.points.clone(),
        observed: counts.into_iter().map(share).collect(),
        low: band.iter().map(|&(low, _)| share(low)).collect(),
        high: band.iter().map(|&(_, high)| share(high)).collect(),
        confidence,
        statistic: (2.0 * tail).min(1.0),
        p_value: (1.0 - grid.coverage(&grid.band(tail))).clamp(0.0, 1.0),
    })
}

/// Tail probabilities of one count: P(X ≤ c) and P(X ≥ c) for every c.
struct Tails {
    lower: Vec<f64>,
    upper: Vec<f64>,
}

struct Grid {
    total: usize,
    /// The counts are of ranks below these.
    below: Vec<usize>,
    points: Vec<f64>,
    tails: Vec<Tails>,
    log_factorials: Vec<f64>,
}

impl Grid {
    fn new(total: usize, draws: usize) -> Self {
        let count = draws.min(MOST_POINTS);
        // Equally spaced whole ranks, the first 1 and the last L at the finest.
        let below: Vec<usize> = (1..=count).map(|i| i * (draws + 1) / (count + 1)).collect();
        let points: Vec<f64> = below.iter().map(|&k| k as f64 / (draws + 1) as f64).collect();
        let log_factorials: Vec<f64> = (0..=total).map(|count| ln_gamma(count as f64 + 1.0)).collect();
        let tails = points.iter().map(|&point| binomial_tails(&log_factorials, point)).collect();
        Self { total, below, points, tails, log_factorials }
    }

    /// Counts whose tails both exceed `tail`, at each point.
    fn band(&self, tail: f64) -> Vec<(usize, usize)> {
        let tail = tail * (1.0 + ROUNDING);
        self.tails
            .iter()
            .map(|tails| {
                let low = tails.lower.partition_point(|&p| p <= tail);
                let high = tails.upper.partition_point(|&p| p > tail);
                (low, high.saturating_sub(1))
            })
            .collect()
    }

    /// Largest pointwise tail whose band has at least the simultaneous probability `confidence`.
    fn adjusted_tail(&self, confidence: f64) -> f64 {
        let (mut low, mut high) = (0.0, 0.5 * (1.0 - confidence));
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if self.coverage(&self.band(middle)) >= confidence { low = middle } else { high = middle }
        }
        low
    }

    /// Probability that the counts of uniform ranks stay within `band` at all points.
    fn coverage(&self, band: &[(usize, usize)]) -> f64 {
        let rate = self.total as f64;
        let mut state = vec![1.0];
        let (mut first, mut at) = (0, 0.0);
        for (&(low, high), &point) in band.iter().zip(&self.points) {
            if low > high {
                return 0.0;
            }
            state = self.advance(&state, first, low, high, rate * (point - at));
            (first, at) = (low, point);
        }
        let end = self.advance(&state, first, self.total, self.total, rate * (1.0 - at));
        end[0] / self.poisson(self.total, rate)
    }

    /// Distribution of a Poisson process after an increment of mean `rate`, for counts low..=high; `state` starts at count `first`.
    fn advance(&self, state: &[f64], first: usize, low: usize, high: usize, rate: f64) -> Vec<f64> {
        let most = high.saturating_sub(first);
        let jumps: Vec<f64> = (0..=most).map(|jump| self.poisson(jump, rate)).collect();
        (low..=high)
            .map(|count| {
                let sources = state.iter().enumerate().take_while(|(offset, _)| first + offset <= count);
                sources.map(|(offset, weight)| weight * jumps[count - first - offset]).sum()
            })
            .collect()
    }

    fn poisson(&self, count: usize, rate: f64) -> f64 {
        (count as f64 * rate.ln() - rate - self.log_factorials[count]).exp()
    }
}

fn binomial_tails(log_factorials: &[f64], p: f64) -> Tails {
    let total = log_factorials.len() - 1;
    let mass: Vec<f64> = (0..=total)
        .map(|count| {
            let ways = log_factorials[total] - log_factorials[count] - log_factorials[total - count];
            (ways + count as f64 * p.ln() + (total - count) as f64 * (-p).ln_1p()).exp()
        })
        .collect();
    let running = |sum: &mut f64, mass: &f64| {
        *sum += mass;
        Some(*sum)
    };
    let lower = mass.iter().scan(0.0, running).collect();
    let mut upper: Vec<f64> = mass.iter().rev().scan(0.0, running).collect();
    upper.reverse();
    Tails { lower, upper }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use tallsbi_data::StreamKey;

    /// With two points the simultaneous probability can be summed by hand over the trinomial counts.
    #[test]
    fn coverage_agrees_with_enumeration() {
        let (total, grid) = (7, Grid::new(7, 2));
        assert_eq!(grid.below, [1, 2]);
        let band = [(1, 4), (3, 6)];
        let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
        let mut exact = 0.0;
        for a in 0..=total {
            for b in a..=total {
                if (1..=4).contains(&a) && (3..=6).contains(&b) {
                    exact += factorial(total) / (factorial(a) * factorial(b - a) * factorial(total - b));
                }
            }
        }
        exact /= 3f64.powi(7);
        assert!((grid.coverage(&band) - exact).abs() < 1e-12, "{} against {exact}", grid.coverage(&band));
    }

    /// Uniform ranks give uniform p-values (conservative where counts are coarse), and leave the band as often as stated.
    #[test]
    fn uniform_ranks_are_rejected_at_the_stated_rate() {
        let repetitions = 600;
        let (mut rejected, mut outside) = (0u32, 0u32);
        for repetition in 0..repetitions {
            let mut rng = StreamKey::root(4).rng(repetition);
            let ranks: Vec<usize> = (0..150).map(|_| rng.random_range(0..=63)).collect();
            let test = ecdf_test(&ranks, 63, 0.9).unwrap();
            rejected += u32::from(test.p_value <= 0.1);
            let leaves =
                (0..test.points.len()).any(|i| test.observed[i] < test.low[i] || test.observed[i] > test.high[i]);
            outside += u32::from(leaves);
        }
        // Standard error 0.012.
        let rate = f64::from(rejected) / repetitions as f64;
        assert!((0.06..0.14).contains(&rate), "rejected {rate}");
        assert!(outside.abs_diff(rejected) <= 1, "outside the band {outside}, rejected {rejected}");
    }
}
