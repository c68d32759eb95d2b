//! Have Markov chains converged? Rank-normalised split R̂ and effective sample sizes of bulk and tails.
//!
//! Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, *Rank-normalization, folding, and localization: an improved R̂*,
//! Bayesian Analysis 16(2), arXiv 1903.08008; the autocorrelation sum as in Geyer 1992. The values are those of ArviZ's
//! `rhat` and `ess`.

use crate::{DiagnosticsError, Result};
use ndarray::{ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// R̂ above this tells that chains do not agree (Vehtari et al. 2021).
pub const LARGEST_RHAT: f64 = 1.01;
/// Fewer effective samples than this are too few to trust R̂ and the posterior's summaries (Vehtari et al. 2021: 100 a chain
/// for four chains).
pub const SMALLEST_ESS: f64 = 400.0;
/// Quantiles whose effective sample size is that of the tails.
const TAILS: [f64; 2] = [0.05, 0.95];
/// Fewest draws of a chain: halves of two have a variance.
pub const FEWEST_DRAWS: usize = 4;
/// Blom's offset of normal scores: Φ⁻¹((rank - 3/8) / (S + 1/4)).
const BLOM: f64 = 0.375;

/// Convergence of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Rank-normalised split R̂: the larger of that of the draws and that of their distances from the median.
    pub rhat: f64,
    /// Effective sample size of the rank-normalised draws.
    pub ess_bulk: f64,
    /// The smaller of the effective sample sizes of the 5 % and 95 % quantiles.
    pub ess_tail: f64,
}

/// Convergence of each of m quantities from draws (chain, draw, m).
///
/// # Errors
/// No chains, fewer than four draws a chain, or draws that are not finite.
pub fn convergence(draws: ArrayView3<'_, f64>) -> Result<Vec<Convergence>> {
    let (chains, length, m) = draws.dim();
    if chains == 0 || length < FEWEST_DRAWS {
        let found = if chains == 0 { 0 } else { length };
        return Err(DiagnosticsError::TooFewSamples { what: "a chain", found, needed: FEWEST_DRAWS });
    }
    for ((chain, draw, column), &value) in draws.indexed_iter() {
        if !value.is_finite() {
            return Err(DiagnosticsError::NotFinite { what: "draws", row: chain * length + draw, column, value });
        }
    }
    Ok((0..m).into_par_iter().map(|column| of_one(draws.index_axis(Axis(2), column))).collect())
}

/// The largest R̂ of several quantities; NaN if one is, 1 of none.
pub fn largest_rhat(all: &[Convergence]) -> f64 {
    all.iter().map(|one| one.rhat).fold(1.0, |a, b| if b.is_nan() || b > a { b } else { a })
}

/// The smallest effective sample size of several quantities, of bulk and tails.
pub fn smallest_ess(all: &[Convergence]) -> f64 {
    all.iter().map(|one| one.ess_bulk.min(one.ess_tail)).fold(f64::INFINITY, f64::min)
}

fn of_one(draws: ArrayView2<'_, f64>) -> Convergence {
    let split = split(draws);
    let scores = normal_scores(&split);
    let middle = median(&split);
    let folded: Vec<Vec<f64>> =
        split.iter().map(|chain| chain.iter().map(|value| (value - middle).abs()).collect()).collect();
    let ess_tail = TAILS.map(|probability| {
        let quantile = quantile(draws, probability);
        let below: Vec<Vec<f64>> =
            split.iter().map(|chain| chain.iter().map(|value| f64::from(*value <= quantile)).collect()).collect();
        effective_size(&below)
    });
    Convergence {
        rhat: plain_rhat(&scores).max(plain_rhat(&normal_scores(&folded))),
        ess_bulk: effective_size(&scores),
        ess_tail: ess_tail[0].min(ess_tail[1]),
    }
}

/// The halves of every chain; of an odd number of draws the middle one is left out.
fn split(draws: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    let length = draws.ncols();
    let half = length / 2;
    draws
        .outer_iter()
        .flat_map(|chain| {
            let chain = chain.to_vec();
            [chain[..half].to_vec(), chain[length - half..].to_vec()]
        })
        .collect()
}

/// Normal scores of the ranks among all draws; ties share their mean rank.
fn normal_scores(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let pooled: Vec<f64> = chains.iter().flatten().copied().collect();
    let total = pooled.len();
    let mut order: Vec<usize> = (0..total).collect();
    order.sort_by(|&a, &b| pooled[a].total_cmp(&pooled[b]));
    let mut scores = vec![0.0; total];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| pooled[a] == pooled[b]) {
        // Ranks start + 1 ..= start + size.
        let rank = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        let score = Normal::standard().inverse_cdf((rank - BLOM) / (total as f64 + 1.0 - 2.0 * BLOM));
        group.iter().for_each(|&index| scores[index] = score);
        start += group.len();
    }
    scores.chunks(chains[0].len()).map(<[f64]>::to_vec).collect()
}

fn median(chains: &[Vec<f64>]) -> f64 {
    let mut pooled: Vec<f64> = chains.iter().flatten().copied().collect();
    pooled.sort_by(f64::total_cmp);
    let middle = pooled.len() / 2;
    // Halves of equal length: an even number of draws.
    0.5 * (pooled[middle - 1] + pooled[middle])
}

/// The quantile of all draws, interpolated linearly between order statistics (type 7 of Hyndman & Fan).
fn quantile(draws: ArrayView2<'_, f64>, probability: f64) -> f64 {
    let mut pooled: Vec<f64> = draws.iter().copied().collect();
    pooled.sort_by(f64::total_cmp);
    let position = probability * (pooled.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(pooled.len() - 1);
    pooled[below] + (position - below as f64) * (pooled[above] - pooled[below])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Variance with divisor n - 1.
fn variance(values: &[f64]) -> f64 {
    let center = mean(values);
    values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// √(V̂ / W) with V̂ = (N-1)/N W + B/N: eqs. (1)–(4) of Vehtari et al. Chains that are all constant agree if they are equal.
fn plain_rhat(chains: &[Vec<f64>]) -> f64 {
    let n = chains[0].len() as f64;
    let within = mean(&chains.iter().map(|chain| variance(chain)).collect::<Vec<_>>());
    let between = variance(&chains.iter().map(|chain| mean(chain)).collect::<Vec<_>>());
    if within == 0.0 {
        return if between == 0.0 { 1.0 } else { f64::INFINITY };
    }
    ((n - 1.0) / n + between / within).sqrt()
}

/// Number of independent draws with the same variance of the mean: M N / τ, τ = 1 + 2 Σ ρ_t, the sum over Geyer's initial
/// monotone sequence: eqs. (10)–(11) of Vehtari et al.
fn effective_size(chains: &[Vec<f64>]) -> f64 {
    let length = chains[0].len();
    let total = (chains.len() * length) as f64;
    let n = length as f64;
    let first = chains[0][0];
    if chains.iter().flatten().all(|value| *value == first) {
        return total;
    }
    let centered: Vec<Vec<f64>> = chains
        .iter()
        .map(|chain| {
            let center = mean(chain);
            chain.iter().map(|value| value - center).collect()
        })
        .collect();
    let autocovariance = |lag: usize| {
        let sum: f64 = centered
            .iter()
            .map(|chain| chain[..length - lag].iter().zip(&chain[lag..]).map(|(a, b)| a * b).sum::<f64>() / n)
            .sum();
        sum / chains.len() as f64
    };
    let within = autocovariance(0) * n / (n - 1.0);
    let between = variance(&chains.iter().map(|chain| mean(chain)).collect::<Vec<_>>());
    let pooled = within * (n - 1.0) / n + between;
    let correlation = |lag: usize| 1.0 - (within - autocovariance(lag)) / pooled;

    // Sums of neighbouring correlations are positive and fall for a reversible chain: from the first that is not on, it is
    // noise. The first correlation of that pair is kept, which helps antithetic chains.
    let (mut even, mut odd) = (1.0, correlation(1));
    let (mut sum, mut smallest, mut lag) = (0.0, f64::INFINITY, 1);
    while lag + 3 < length && even + odd > 0.0 {
        smallest = smallest.min(even + odd);
        sum += smallest;
        (even, odd) = (correlation(lag + 1), correlation(lag + 2));
        lag += 2;
    }
    let tau = (-1.0 + 2.0 * sum + even.max(0.0)).max(1.0 / total.log10());
    total / tau
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    /// Autoregressive chains from a 32-bit congruential generator, the same in any language.
    fn chains(coefficient: f64, shifts: &[f64], length: usize, whole_numbers: bool) -> Array3<f64> {
        let mut state = 12345u32;
        let mut draws = Array3::zeros((shifts.len(), length, 1));
        for (chain, shift) in shifts.iter().enumerate() {
            let mut x = 0.0;
            for draw in 0..length {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                x = coefficient * x + (f64::from(state) / 2f64.powi(32) - 0.5);
                draws[[chain, draw, 0]] = if whole_numbers { (4.0 * x).floor() } else { x + shift };
            }
        }
        draws
    }

    /// `arviz.rhat`, `arviz.ess(method="bulk")` and `arviz.ess(method="tail")` of ArviZ 0.23.4.
    #[test]
    fn agrees_with_arviz() {
        let same = [0.0; 4];
        let cases = [
            ("slow", chains(0.7, &same, 101, false), [1.1350063151443441, 28.923980812848928, 117.19454990702926]),
            ("antithetic", chains(-0.6, &same, 100, false), [1.017254307801285, 1040.823996531185, 269.497566308951]),
            (
                "one apart",
                chains(0.3, &[0.0, 0.0, 0.0, 0.4], 50, false),
                [1.0508663597976826, 65.47039431433221, 160.73222457863594],
            ),
            ("ties", chains(0.5, &same[..3], 60, true), [1.0823104741371594, 28.80369581463465, 69.87261580381475]),
            ("stuck", chains(0.99, &same[..2], 40, false), [2.291046799565438, 3.0848813273406424, 20.07660810989303]),
            ("short", chains(0.0, &same, 4, false), [1.9710005485860762, 19.265919722494797, 19.265919722494797]),
        ];
        for (name, draws, expected) in cases {
            let found = convergence(draws.view()).expect("finite draws")[0];
            for (value, expected) in [found.rhat, found.ess_bulk, found.ess_tail].into_iter().zip(expected) {
                assert!((value / expected - 1.0).abs() < 1e-9, "{name}: {value}, ArviZ has {expected}");
            }
        }
    }

    #[test]
    fn refuses_what_cannot_be_judged() {
        assert!(convergence(Array3::zeros((4, 3, 1)).view()).is_err());
        assert!(convergence(Array3::zeros((0, 10, 1)).view()).is_err());
        let mut draws = chains(0.0, &[0.0; 4], 10, false);
        draws[[2, 3, 0]] = f64::NAN;
        let message = convergence(draws.view()).expect_err("not finite").to_string();
        assert!(message.contains("NaN"), "{message}");
    }

    /// Constant draws: nothing moves, nothing disagrees; two constants disagree.
    #[test]
    fn constants_agree_with_themselves_only() {
        let mut draws = Array3::from_elem((2, 10, 1), 3.0);
        assert_eq!(convergence(draws.view()).expect("finite")[0].rhat, 1.0);
        draws.slice_mut(ndarray::s![1, .., ..]).fill(4.0);
        assert_eq!(convergence(draws.view()).expect("finite")[0].rhat, f64::INFINITY);
    }
}
