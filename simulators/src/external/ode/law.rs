//! Laws of observations around a value of the solution: draws, likelihoods and their derivatives.

use crate::{Result, SimulatorError};
use rand_distr::{Binomial, ChiSquared, Distribution, Gamma, Poisson, StandardNormal};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use statrs::function::gamma::{digamma, ln_gamma};

const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// How far below zero, or above one, the solver's error may leave a mean count, or a probability.
const ROUNDING: f64 = 1e-3;

/// Most numbers that a law has beside its location.
pub(super) const NUMBERS: usize = 2;

/// What an observation x is, given the value f of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Law {
    /// x ~ N(f, scale²).
    Normal,
    /// log x ~ N(log f, scale²).
    Lognormal,
    /// (x - f) / scale ~ t(df).
    StudentT,
    /// x ~ Poisson(f).
    Poisson,
    /// x ~ negative binomial of mean f and variance f + f² / dispersion.
    NegativeBinomial,
    /// x ~ Binomial(trials, f).
    Binomial,
}

/// What a likelihood needs to know of all observations of one value.
pub(super) enum Seen {
    /// Of x, or log x: how many, mean, sum of squared deviations from it, and what does not depend on the parameters.
    Moments { n: f64, mean: f64, scatter: f64, constant: f64 },
    /// Counts: how many, their sum, and what does not depend on the parameters.
    Sum { n: f64, sum: f64, constant: f64 },
    /// All of them.
    Values(Vec<f64>),
}

impl Law {
    /// Names of its numbers, in the order in which functions take them.
    pub fn numbers(self) -> &'static [&'static str] {
        match self {
            Self::Normal | Self::Lognormal => &["scale"],
            Self::StudentT => &["df", "scale"],
            Self::Poisson => &[],
            Self::NegativeBinomial => &["dispersion"],
            Self::Binomial => &["trials"],
        }
    }

    /// The location for the value `f` of an output, kept from where the solver's error alone can have brought it.
    ///
    /// # Errors
    /// What `f` must be instead.
    pub fn location(self, f: f64) -> std::result::Result<f64, &'static str> {
        match self {
            Self::Normal | Self::StudentT if f.is_finite() => Ok(f),
            Self::Normal | Self::StudentT => Err("a finite number"),
            Self::Lognormal if f > 0.0 && f.is_finite() => Ok(f),
            Self::Lognormal => Err("positive for a log-normal law"),
            Self::Poisson | Self::NegativeBinomial if f >= -ROUNDING && f.is_finite() => Ok(f.max(f64::MIN_POSITIVE)),
            Self::Poisson | Self::NegativeBinomial => Err("at least 0 for a law of counts"),
            Self::Binomial if (-ROUNDING..=1.0 + ROUNDING).contains(&f) => {
                Ok(f.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON))
            }
            Self::Binomial => Err("a probability for a binomial law"),
        }
    }

    /// Draws x at a location and numbers that can be.
    pub fn draw(self, location: f64, [a, b]: [f64; NUMBERS], rng: &mut Pcg64) -> Result<f64> {
        let cannot = |what: &str| SimulatorError::Failed(format!("no {what} law has these numbers: {location}, {a}"));
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        Ok(match self {
            Self::Normal => location + a * normal(),
            Self::Lognormal => location * (a * normal()).exp(),
            Self::StudentT => {
                let z = normal();
                let chi: f64 = ChiSquared::new(a).map_err(|_| cannot("t"))?.sample(rng);
                location + b * z / (chi / a).sqrt()
            }
            Self::Poisson => Poisson::new(location).map_err(|_| cannot("Poisson"))?.sample(rng),
            Self::NegativeBinomial => {
                let rate: f64 = Gamma::new(a, location / a).map_err(|_| cannot("negative binomial"))?.sample(rng);
                if rate > 0.0 { Poisson::new(rate).map_err(|_| cannot("Poisson"))?.sample(rng) } else { 0.0 }
            }
            Self::Binomial => Binomial::new(a as u64, location).map_err(|_| cannot("binomial"))?.sample(rng) as f64,
        })
    }

    /// What the likelihood needs to know of observations `x`, of `trials` each for a binomial law; `None` if one of them is impossible.
    pub fn seen(self, x: impl Iterator<Item = f64>, trials: f64) -> Option<Seen> {
        let x: Vec<f64> = x.collect();
        let n = x.len() as f64;
        let counts = x.iter().all(|&x| x >= 0.0 && x.fract() == 0.0);
        Some(match self {
            Self::Normal if x.iter().all(|x| x.is_finite()) => moments(&x, 0.0),
            Self::Lognormal if x.iter().all(|&x| x > 0.0 && x.is_finite()) => {
                let logs: Vec<f64> = x.iter().map(|x| x.ln()).collect();
                moments(&logs, -logs.iter().sum::<f64>())
            }
            Self::StudentT if x.iter().all(|x| x.is_finite()) => Seen::Values(x),
            Self::Poisson if counts => {
                let constant = -x.iter().map(|x| ln_gamma(x + 1.0)).sum::<f64>();
                Seen::Sum { n, sum: x.iter().sum(), constant }
            }
            Self::NegativeBinomial if counts => Seen::Values(x),
            Self::Binomial if counts && x.iter().all(|&x| x <= trials) => {
                let ways = |x: f64| ln_gamma(trials + 1.0) - ln_gamma(x + 1.0) - ln_gamma(trials - x + 1.0);
                Seen::Sum { n, sum: x.iter().sum(), constant: x.iter().copied().map(ways).sum() }
            }
            _ => return None,
        })
    }

    /// The log-likelihood of `seen` and its derivatives by the location and the numbers.
    pub fn log_likelihood(self, seen: &Seen, location: f64, [a, b]: [f64; NUMBERS]) -> (f64, f64, [f64; NUMBERS]) {
        match (self, seen) {
            (Self::Normal, Seen::Moments { .. }) => of_moments(seen, location, a),
            (Self::Lognormal, Seen::Moments { .. }) => {
                let (value, slope, numbers) = of_moments(seen, location.ln(), a);
                (value, slope / location, numbers)
            }
            (Self::Poisson, &Seen::Sum { n, sum, constant }) => {
                (sum * location.ln() - n * location + constant, sum / location - n, [0.0; NUMBERS])
            }
            (Self::Binomial, &Seen::Sum { n, sum, constant }) => {
                let failures = n * a - sum;
                let value = sum * location.ln() + failures * (-location).ln_1p() + constant;
                (value, sum / location - failures / (1.0 - location), [0.0; NUMBERS])
            }
            (Self::StudentT, Seen::Values(x)) => total(x, |x| student_t(x, location, a, b)),
            (Self::NegativeBinomial, Seen::Values(x)) => total(x, |x| negative_binomial(x, location, a)),
            // Nothing else comes from `seen`.
            _ => (f64::NAN, 0.0, [0.0; NUMBERS]),
        }
    }
}

fn moments(x: &[f64], constant: f64) -> Seen {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    Seen::Moments { n, mean, scatter: x.iter().map(|x| (x - mean).powi(2)).sum(), constant }
}

/// n values of N(f, s²) by their moments.
fn of_moments(seen: &Seen, f: f64, s: f64) -> (f64, f64, [f64; NUMBERS]) {
    let &Seen::Moments { n, mean, scatter, constant } = seen else { return (f64::NAN, 0.0, [0.0; NUMBERS]) };
    let z = (mean - f) / s;
    let squares = scatter / (s * s) + n * z * z;
    (constant - n * (s.ln() + LN_SQRT_2PI) - 0.5 * squares, n * z / s, [(squares - n) / s, 0.0])
}

fn total(x: &[f64], one: impl Fn(f64) -> (f64, f64, [f64; NUMBERS])) -> (f64, f64, [f64; NUMBERS]) {
    x.iter().fold((0.0, 0.0, [0.0; NUMBERS]), |(value, slope, numbers), &x| {
        let (more, steeper, by) = one(x);
        (value + more, slope + steeper, [numbers[0] + by[0], numbers[1] + by[1]])
    })
}

/// The t distribution of `df` degrees of freedom around f with scale s.
fn student_t(x: f64, f: f64, df: f64, s: f64) -> (f64, f64, [f64; NUMBERS]) {
    let z = (x - f) / s;
    let spread = df + z * z;
    let (half, log) = (0.5 * (df + 1.0), (z * z / df).ln_1p());
    let value = ln_gamma(half) - ln_gamma(0.5 * df) - 0.5 * (df * std::f64::consts::PI).ln() - s.ln() - half * log;
    let slope = (df + 1.0) * z / (s * spread);
    let by_df = 0.5 * (digamma(half) - digamma(0.5 * df) - 1.0 / df - log + (df + 1.0) * z * z / (df * spread));
    (value, slope, [by_df, slope * z - 1.0 / s])
}

/// The negative binomial law of mean f and variance f + f² / k.
fn negative_binomial(x: f64, f: f64, k: f64) -> (f64, f64, [f64; NUMBERS]) {
    let all = k + f;
    let log_share = -(f / k).ln_1p();
    let value = ln_gamma(x + k) - ln_gamma(k) - ln_gamma(x + 1.0) + k * log_share + x * (f / all).ln();
    let by_k = digamma(x + k) - digamma(k) + log_share + (f - x) / all;
    (value, x / f - (x + k) / all, [by_k, 0.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallsbi_data::StreamKey;

    const LAWS: [(Law, f64, [f64; NUMBERS]); 6] = [
        (Law::Normal, -1.3, [0.7, 0.0]),
        (Law::Lognormal, 2.3, [0.4, 0.0]),
        (Law::StudentT, 0.4, [4.5, 1.3]),
        (Law::Poisson, 3.2, [0.0; 2]),
        (Law::NegativeBinomial, 3.2, [1.7, 0.0]),
        (Law::Binomial, 0.3, [12.0, 0.0]),
    ];

    fn derivative(f: impl Fn(f64) -> f64, at: f64) -> f64 {
        let h = 1e-5 * at.abs();
        (f(at + h) - f(at - h)) / (2.0 * h)
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
        for (law, location, numbers) in LAWS {
            let x = if law == Law::Lognormal { [1.0, 3.5, 2.0] } else { [1.0, 4.0, 2.0] };
            let seen = law.seen(x.into_iter(), numbers[0]).unwrap();
            let value = |location, numbers| law.log_likelihood(&seen, location, numbers).0;
            let (_, slope, by) = law.log_likelihood(&seen, location, numbers);
            let close = |found: f64, expected: f64, what: &str| {
                assert!(
                    (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                    "{law:?} {what}: {found}, {expected}"
                );
            };
            close(slope, derivative(|location| value(location, numbers), location), "location");
            for (at, name) in law.numbers().iter().enumerate().filter(|(_, name)| **name != "trials") {
                let with = |number| {
                    let mut numbers = numbers;
                    numbers[at] = number;
                    value(location, numbers)
                };
                close(by[at], derivative(with, numbers[at]), name);
            }
        }
    }

    /// Densities sum to one, and means and variances of draws are those of the densities.
    #[test]
    fn draws_follow_the_densities() {
        for (at, (law, location, numbers)) in LAWS.into_iter().enumerate() {
            let counts = matches!(law, Law::Poisson | Law::NegativeBinomial | Law::Binomial);
            let (step, most) = if counts { (1.0, 400) } else { (0.002, 1_000_000) };
            let grid = (-most..=most).map(|k| f64::from(k) * step);
            let mut moments = [0.0; 3];
            let mut below = 0.0;
            for x in grid {
                let Some(seen) = law.seen(std::iter::once(x), numbers[0]) else { continue };
                let mass = law.log_likelihood(&seen, location, numbers).0.exp() * step;
                (0..3).for_each(|power| moments[power] += mass * x.powi(power as i32));
                below += if x <= 1.0 { mass } else { 0.0 };
            }
            let [whole, mean, square] = moments;
            assert!((whole - 1.0).abs() < 1e-3, "{law:?}: {whole}");
            let n = 40_000;
            let mut rng = StreamKey::root(1).rng(at as u64);
            let draws: Vec<f64> = (0..n).map(|_| law.draw(location, numbers, &mut rng).unwrap()).collect();
            let average = draws.iter().sum::<f64>() / f64::from(n);
            let share = draws.iter().filter(|x| **x <= 1.0).count() as f64 / f64::from(n);
            let variance = square - mean * mean;
            assert!((average - mean).abs() < 4.5 * (variance / f64::from(n)).sqrt(), "{law:?}: {average}, {mean}");
            assert!((share - below).abs() < 4.5 * (0.25 / f64::from(n)).sqrt() + 2e-3, "{law:?}: {share}, {below}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Law::Lognormal.location(-1e-9).is_err() && Law::Binomial.location(1.01).is_err());
        assert!(Law::Poisson.location(-0.01).is_err() && Law::Normal.location(f64::NAN).is_err());
        assert!(Law::Poisson.location(-1e-9).unwrap() > 0.0);
        for (law, x) in
            [(Law::Poisson, 0.5), (Law::Binomial, 13.0), (Law::Lognormal, 0.0), (Law::NegativeBinomial, -1.0)]
        {
            assert!(law.seen(std::iter::once(x), 12.0).is_none(), "{law:?}");
        }
    }
}
