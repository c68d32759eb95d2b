//! Generalised linear models of counts: log-likelihoods in terms of η, and fits by Fisher scoring.

use super::column::Family;
use super::regression::{Features, gram, solve};
use crate::small_matrix::dot;
use statrs::function::gamma::ln_gamma;

/// The log-likelihood of counts with their sum Σ and number n, up to what does not depend on η, with derivatives.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountTerm {
    pub value: f64,
    pub slope: f64,
    pub information: f64,
}

/// Predictors are kept within ± this: a mean of e^±30 is 0 or beyond any count.
const MOST_PREDICTOR: f64 = 30.0;

impl Family {
    pub(super) fn is_valid(&self) -> bool {
        match *self {
            Self::Poisson => true,
            Self::Binomial { trials: size } | Self::NegativeBinomial { size } => size > 0.0 && size.is_finite(),
        }
    }

    /// Σ_j log p(x_j|η) for n counts with the given sum, without [`constant`](Self::constant).
    pub(super) fn term(&self, n: f64, sum: f64, eta: f64) -> CountTerm {
        let eta = eta.clamp(-MOST_PREDICTOR, MOST_PREDICTOR);
        match *self {
            Self::Poisson => {
                let mean = n * eta.exp();
                CountTerm { value: sum * eta - mean, slope: sum - mean, information: mean }
            }
            Self::Binomial { trials } => {
                let p = 1.0 / (1.0 + (-eta).exp());
                let softplus = eta.max(0.0) + (-eta.abs()).exp().ln_1p();
                let all = n * trials;
                CountTerm { value: sum * eta - all * softplus, slope: sum - all * p, information: all * p * (1.0 - p) }
            }
            Self::NegativeBinomial { size } => {
                let mean = eta.exp();
                let share = mean / (size + mean);
                let value = sum * eta - (sum + n * size) * (size + mean).ln() + n * size * size.ln();
                CountTerm { value, slope: sum - (sum + n * size) * share, information: n * mean * (1.0 - share) }
            }
        }
    }

    /// What of log p(x|η) does not depend on η.
    pub(super) fn constant(&self, x: f64) -> f64 {
        match *self {
            Self::Poisson => -ln_gamma(x + 1.0),
            Self::Binomial { trials } => {
                ln_gamma(trials + 1.0) - ln_gamma(x + 1.0) - ln_gamma((trials - x).max(0.0) + 1.0)
            }
            Self::NegativeBinomial { size } => ln_gamma(x + size) - ln_gamma(size) - ln_gamma(x + 1.0),
        }
    }

    /// η of a mean.
    fn link(&self, mean: f64) -> f64 {
        match *self {
            Self::Binomial { trials } => {
                let p = (mean / trials).clamp(1e-9, 1.0 - 1e-9);
                (p / (1.0 - p)).ln()
            }
            _ => mean.max(1e-9).ln(),
        }
    }

    /// μ of η.
    pub(super) fn mean(&self, eta: f64) -> f64 {
        let eta = eta.clamp(-MOST_PREDICTOR, MOST_PREDICTOR);
        match *self {
            Self::Binomial { trials } => trials / (1.0 + (-eta).exp()),
            _ => eta.exp(),
        }
    }

    /// The family whose variance is nearest: κ = Σ μ² ((x - μ)² - μ) / Σ μ⁴, weighted by the squares' variances; then var = μ + κ μ².
    pub(super) fn fit(x: &[f64], means: &[f64]) -> Self {
        let (mut numerator, mut denominator, mut noise) = (0.0, 0.0, 0.0);
        let largest = x.iter().copied().fold(0.0, f64::max);
        for (&x, &mean) in x.iter().zip(means) {
            let mean = mean.max(1e-9);
            // Var of (x - μ)² is about 2 μ² + μ.
            let weight = 1.0 / (2.0 * mean * mean + mean);
            numerator += weight * mean * mean * ((x - mean).powi(2) - mean);
            denominator += weight * mean.powi(4);
            noise += weight * mean.powi(4);
        }
        let kappa = numerator / denominator.max(f64::MIN_POSITIVE);
        let error = noise.max(f64::MIN_POSITIVE).sqrt().recip();
        if kappa < -2.0 * error || largest <= 1.0 {
            Self::Binomial { trials: (-1.0 / kappa.min(-f64::MIN_POSITIVE)).round().min(1e9).max(largest.max(1.0)) }
        } else if kappa > 2.0 * error {
            Self::NegativeBinomial { size: 1.0 / kappa }
        } else {
            Self::Poisson
        }
    }
}

/// Fisher scoring steps at most.
const STEPS: usize = 25;

/// Penalty of a coefficient's square that keeps columns with hardly a count finite.
const PENALTY: f64 = 0.1;

/// Coefficients of η, a polynomial of the `features`, of the counts `x` at the `rows`, by penalised maximum likelihood.
pub(super) fn fit_counts(features: Features<'_>, x: &[f64], family: Family, rows: &[usize]) -> Vec<f64> {
    let width = features.width;
    let mean = (rows.iter().map(|&i| x[i]).sum::<f64>() + 0.5) / (rows.len() as f64 + 1.0);
    let mut beta = vec![0.0; width];
    beta[0] = family.link(mean);
    let objective = |beta: &[f64]| -> f64 {
        let likelihood: f64 = rows.iter().map(|&i| family.term(1.0, x[i], dot(features.row(i), beta)).value).sum();
        likelihood - 0.5 * PENALTY * dot(&beta[1..], &beta[1..])
    };
    let mut value = objective(&beta);
    let mut information = vec![0.0; x.len()];
    for _ in 0..STEPS {
        let mut right = vec![0.0; width];
        for &i in rows {
            let term = family.term(1.0, x[i], dot(features.row(i), &beta));
            information[i] = term.information.max(1e-12);
            right.iter_mut().zip(features.row(i)).for_each(|(sum, feature)| *sum += term.slope * feature);
        }
        right[1..].iter_mut().zip(&beta[1..]).for_each(|(right, beta)| *right -= PENALTY * beta);
        let gram = gram(features, rows, |i| information[i]);
        let Some(step) = solve(&gram, &right, PENALTY) else { break };
        let mut share = 1.0;
        let next = loop {
            let moved: Vec<f64> = beta.iter().zip(&step).map(|(b, s)| b + share * s).collect();
            let reached = objective(&moved);
            if reached >= value || share < 1e-3 {
                break (moved, reached);
            }
            share *= 0.5;
        };
        let gain = next.1 - value;
        if gain < 0.0 {
            break;
        }
        (beta, value) = next;
        if gain < 1e-9 * value.abs().max(1.0) {
            break;
        }
    }
    beta
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Binomial, Distribution, Gamma, Poisson};
    use tallsbi_data::StreamKey;

    fn features(n: usize) -> Vec<f64> {
        (0..n).flat_map(|i| [1.0, (i as f64 + 0.5) / n as f64 * 3.0 - 1.5]).collect()
    }

    #[test]
    fn families_are_told_apart_and_coefficients_found() {
        let n = 6000;
        let phi = features(n);
        let all: Vec<usize> = (0..n).collect();
        let linear = Features { values: &phi, stride: 2, width: 2 };
        let mut rng = StreamKey::root(3).rng(0);
        let eta = |i: usize, a: f64, b: f64| a + b * phi[2 * i + 1];
        let binomial: Vec<f64> = (0..n)
            .map(|i| {
                let p = 1.0 / (1.0 + (-eta(i, -0.5, 0.8)).exp());
                Binomial::new(50, p).unwrap().sample(&mut rng) as f64
            })
            .collect();
        let poisson: Vec<f64> =
            (0..n).map(|i| Poisson::new(eta(i, 1.0, 0.5).exp()).unwrap().sample(&mut rng)).collect();
        let negative: Vec<f64> = (0..n)
            .map(|i| {
                let rate: f64 = Gamma::new(3.0, eta(i, 1.0, 0.5).exp() / 3.0).unwrap().sample(&mut rng);
                Poisson::new(rate.max(1e-9)).unwrap().sample(&mut rng)
            })
            .collect();
        for (x, wanted, name) in
            [(binomial, [-0.5, 0.8], "binomial"), (poisson, [1.0, 0.5], "poisson"), (negative, [1.0, 0.5], "negative")]
        {
            let start = fit_counts(linear, &x, Family::Poisson, &all);
            let means: Vec<f64> = phi.chunks(2).map(|row| Family::Poisson.mean(dot(row, &start))).collect();
            let family = Family::fit(&x, &means);
            let found = match family {
                Family::Binomial { trials } => ("binomial", (30.0..80.0).contains(&trials)),
                Family::Poisson => ("poisson", true),
                Family::NegativeBinomial { size } => ("negative", (2.5..3.6).contains(&size)),
            };
            assert_eq!(found, (name, true), "{family:?}");
            let family = if name == "binomial" { Family::Binomial { trials: 50.0 } } else { family };
            let beta = fit_counts(linear, &x, family, &all);
            assert!(beta.iter().zip(wanted).all(|(b, w)| (b - w).abs() < 0.04), "{name}: {beta:?}");
        }
    }

    #[test]
    fn terms_have_their_derivatives_and_masses_sum_to_one() {
        for family in [Family::Poisson, Family::Binomial { trials: 12.0 }, Family::NegativeBinomial { size: 2.5 }] {
            let eta = 0.4;
            let mass = |x: f64| (family.term(1.0, x, eta).value + family.constant(x)).exp();
            let last = if matches!(family, Family::Binomial { .. }) { 12 } else { 200 };
            let total: f64 = (0..=last).map(|x| mass(f64::from(x))).sum();
            assert!((total - 1.0).abs() < 1e-9, "{family:?}: {total}");
            let mean: f64 = (0..=last).map(|x| f64::from(x) * mass(f64::from(x))).sum();
            assert!((mean - family.mean(eta)).abs() < 1e-7);
            let numeric = (family.term(3.0, 7.0, eta + 1e-5).value - family.term(3.0, 7.0, eta - 1e-5).value) / 2e-5;
            assert!((numeric - family.term(3.0, 7.0, eta).slope).abs() < 1e-6);
        }
    }
}
