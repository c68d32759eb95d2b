//! Generalised linear models of counts: log-likelihoods in terms of η, and fits by Fisher scoring.

use super::column::Family;
use super::regression::{FOLDS, Features, gram, grams, solve};
use crate::small_matrix::dot;
use rayon::prelude::*;
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

/// Fisher scoring steps at most, and the smallest share of one.
const STEPS: usize = 25;
const SMALLEST_SHARE: f64 = 1e-3;

/// Nats that a further step of a fit without a fold must gain: choices between forms are of two nats over all folds.
const SETTLED: f64 = 1e-4;

/// Penalty of a coefficient's square that keeps columns with hardly a count finite.
const PENALTY: f64 = 0.1;

/// Counts to which η is fitted.
#[derive(Clone, Copy)]
pub(super) struct Counts<'a> {
    pub features: Features<'a>,
    pub x: &'a [f64],
    pub family: Family,
}

/// Coefficients of η and the log-likelihood of each row by a fit to the other folds, summed, without [`Family::constant`].
pub(super) struct CountsFit {
    pub coefficients: Vec<f64>,
    pub held_out: f64,
}

/// Coefficients on the way to the maximum, by the rows that are not of one fold.
struct Ascent<'a> {
    counts: Counts<'a>,
    left_out: Option<usize>,
    beta: Vec<f64>,
    /// η of all rows.
    eta: Vec<f64>,
    /// The penalised log-likelihood.
    value: f64,
}

impl<'a> Ascent<'a> {
    fn new(counts: Counts<'a>, left_out: Option<usize>, beta: Vec<f64>) -> Self {
        let mut ascent = Self { counts, left_out, beta, eta: Vec::new(), value: 0.0 };
        ascent.eta = counts.features.times(&ascent.beta);
        ascent.value = ascent.objective(&ascent.beta, &ascent.eta);
        ascent
    }

    fn terms(&self, eta: &[f64]) -> impl Iterator<Item = Option<CountTerm>> {
        let Counts { x, family, .. } = self.counts;
        let is_in = |i: usize| self.left_out != Some(i % FOLDS);
        eta.iter().enumerate().map(move |(i, &eta)| is_in(i).then(|| family.term(1.0, x[i], eta)))
    }

    fn objective(&self, beta: &[f64], eta: &[f64]) -> f64 {
        let likelihood: f64 = self.terms(eta).flatten().map(|term| term.value).sum();
        likelihood - 0.5 * PENALTY * dot(&beta[1..], &beta[1..])
    }

    /// Each row's information, and the gradient.
    fn gradient(&self) -> (Vec<f64>, Vec<f64>) {
        let rows = self.terms(&self.eta).map(|term| term.map_or((0.0, 0.0), |t| (t.information.max(1e-12), t.slope)));
        let (information, slopes): (Vec<f64>, Vec<f64>) = rows.unzip();
        let mut gradient = self.counts.features.transposed_times(&slopes);
        gradient[1..].iter_mut().zip(&self.beta[1..]).for_each(|(right, beta)| *right -= PENALTY * beta);
        (information, gradient)
    }

    /// Goes along `step`, as far as the objective rises; how much it rose.
    fn climb(&mut self, step: &[f64]) -> f64 {
        let mut share = 1.0;
        while share >= SMALLEST_SHARE {
            let beta: Vec<f64> = self.beta.iter().zip(step).map(|(b, s)| b + share * s).collect();
            let eta = self.counts.features.times(&beta);
            let gain = self.objective(&beta, &eta) - self.value;
            if gain >= 0.0 {
                (self.beta, self.eta, self.value) = (beta, eta, self.value + gain);
                return gain;
            }
            share *= 0.5;
        }
        0.0
    }
}

impl<'a> Counts<'a> {
    fn maximum(&self, start: &[f64]) -> Ascent<'a> {
        let Self { features, x, family } = *self;
        let mut beta = vec![0.0; features.width];
        if start.is_empty() {
            beta[0] = family.link((x.iter().sum::<f64>() + 0.5) / (x.len() as f64 + 1.0));
        } else {
            beta[..start.len()].copy_from_slice(start);
        }
        let all: Vec<usize> = (0..x.len()).collect();
        let mut ascent = Ascent::new(*self, None, beta);
        for _ in 0..STEPS {
            let (information, gradient) = ascent.gradient();
            let Some(step) = solve(&gram(features, &all, |i| information[i]), &gradient, PENALTY) else { break };
            if ascent.climb(&step) < 1e-9 * ascent.value.abs().max(1.0) {
                break;
            }
        }
        ascent
    }

    /// Coefficients by penalised maximum likelihood.
    pub fn fit(&self) -> Vec<f64> {
        self.maximum(&[]).beta
    }

    /// The same, from the coefficients of a polynomial of lower degree if any are known, with what it predicts of rows that it has not seen. Fits without a fold start from that of all rows, whose
    /// information less the fold's is theirs but for a step or two.
    pub fn cross_fit(&self, start: &[f64]) -> CountsFit {
        let maximum = self.maximum(start);
        let parts = grams(self.features, Some(&maximum.gradient().0));
        let mut sum = vec![0.0; parts[0].len()];
        parts.iter().for_each(|part| sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value));
        let held_out = |(fold, part): (usize, &Vec<f64>)| -> f64 {
            let rest: Vec<f64> = sum.iter().zip(part).map(|(all, own)| all - own).collect();
            let mut ascent = Ascent::new(*self, Some(fold), maximum.beta.clone());
            for _ in 0..STEPS {
                let Some(step) = solve(&rest, &ascent.gradient().1, PENALTY) else { break };
                if ascent.climb(&step) < SETTLED {
                    break;
                }
            }
            let rows = (fold..self.x.len()).step_by(FOLDS);
            rows.map(|i| self.family.term(1.0, self.x[i], ascent.eta[i]).value).sum()
        };
        let held_out = parts.par_iter().enumerate().map(held_out).collect::<Vec<f64>>().iter().sum();
        CountsFit { coefficients: maximum.beta, held_out }
    }
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
            let start = Counts { features: linear, x: &x, family: Family::Poisson }.fit();
            let means: Vec<f64> = phi.chunks(2).map(|row| Family::Poisson.mean(dot(row, &start))).collect();
            let family = Family::fit(&x, &means);
            let found = match family {
                Family::Binomial { trials } => ("binomial", (30.0..80.0).contains(&trials)),
                Family::Poisson => ("poisson", true),
                Family::NegativeBinomial { size } => ("negative", (2.5..3.6).contains(&size)),
            };
            assert_eq!(found, (name, true), "{family:?}");
            let family = if name == "binomial" { Family::Binomial { trials: 50.0 } } else { family };
            let beta = Counts { features: linear, x: &x, family }.fit();
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
