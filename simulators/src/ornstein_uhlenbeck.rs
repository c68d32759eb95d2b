//! The Ornstein–Uhlenbeck process (Uhlenbeck & Ornstein 1930, Physical Review 36), a series that returns to its mean:
//!
//!   dX = κ (μ - X) dt + σ dW, observed at t = 0, Δ, …, 19 Δ with Δ = ½, from its stationary law on.
//!
//! Between two times that are h apart it is Gaussian (Gillespie 1996, Physical Review E 54), so neither simulator nor likelihood takes steps in between:
//!
//!   x(t + h) | x(t) ~ N(μ + ρ (x(t) - μ), s² (1 - ρ²)), ρ = e^{-κh}, and x(0) ~ N(μ, s²), s² = σ²/(2κ).
//!
//! The prior: μ ~ N(0, 1), and κ ~ LogNormal(0, 0.75), σ ~ LogNormal(0, 0.5) about one unit each: the memory 1/κ is between 0.23 and 4.3 units of time with
//! 95 %, seen every half unit over 9.5.
//!
//! Missing values are integrated over: the transition from one value that was seen to the next has the h between them.

use crate::{LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask, TallLogLikelihood};
use ndarray::{ArrayView2, Axis, aview1};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::{Component, Prior};

/// Values of a series.
const TIMES: usize = 20;
/// Δ, between two of them.
const SPACING: f64 = 0.5;
/// Standard deviation of μ under the prior, about zero.
const LEVEL: f64 = 1.0;
/// Standard deviations of log κ and log σ under the prior, about zero.
const LOG_RATE: f64 = 0.75;
const LOG_DIFFUSION: f64 = 0.5;
const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// The Ornstein–Uhlenbeck simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrnsteinUhlenbeck;

/// The task `ornstein_uhlenbeck`: m = 3 (mu, kappa, sigma), d = 20.
///
/// # Errors
/// None; the signature is that of every task.
pub fn ornstein_uhlenbeck() -> Result<SimulatorTask<OrnsteinUhlenbeck>> {
    let prior = Prior::new(vec![
        Component::Normal { name: "mu".into(), loc: 0.0, scale: LEVEL },
        Component::Lognormal { name: "kappa".into(), loc: 0.0, scale: LOG_RATE },
        Component::Lognormal { name: "sigma".into(), loc: 0.0, scale: LOG_DIFFUSION },
    ])?;
    let names = (0..TIMES).map(|k| format!("x_t{:.1}", k as f64 * SPACING)).collect();
    Ok(SimulatorTask::new("ornstein_uhlenbeck", prior, names, OrnsteinUhlenbeck)?
        .described("A series that returns to its mean, observed 20 times")
        .with_units(&["", "1/time", "1/sqrt(time)"])
        .with_likelihood())
}

/// The law of a series at θ.
#[derive(Debug, Clone, Copy)]
struct Law {
    mu: f64,
    kappa: f64,
    sigma: f64,
}

/// The law of a value given the one that was `h` before it.
#[derive(Debug, Clone, Copy)]
struct Transition {
    /// ρ = e^{-κh}.
    memory: f64,
    /// 1 - ρ².
    renewal: f64,
    /// s² (1 - ρ²).
    variance: f64,
}

impl Law {
    /// At θ; `None` where it has no meaning.
    fn new(theta: &[f64]) -> Option<Self> {
        let law = Self { mu: theta[0], kappa: theta[1], sigma: theta[2] };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        (law.mu.is_finite() && positive(law.kappa) && positive(law.sigma)).then_some(law)
    }

    /// s², the variance of any value.
    fn stationary_variance(&self) -> f64 {
        self.sigma * self.sigma / (2.0 * self.kappa)
    }

    /// Across `h`.
    fn transition(&self, h: f64) -> Transition {
        let renewal = -(-2.0 * self.kappa * h).exp_m1();
        Transition { memory: (-self.kappa * h).exp(), renewal, variance: self.stationary_variance() * renewal }
    }
}

impl Simulator for OrnsteinUhlenbeck {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let law = Law::new(theta).ok_or_else(|| SimulatorError::Failed("needs kappa > 0 and sigma > 0".into()))?;
        let step = law.transition(SPACING);
        let (memory, noise) = (step.memory, step.variance.sqrt());
        let mut deviation = 0.0;
        for (k, out) in x.iter_mut().enumerate() {
            let z: f64 = StandardNormal.sample(rng);
            deviation = if k == 0 { law.stationary_variance().sqrt() * z } else { memory * deviation + noise * z };
            *out = law.mu + deviation;
        }
        Ok(())
    }
}

/// Sums over pairs (a, b) of values, deviations from a common centre.
#[derive(Debug, Clone, Copy, Default)]
struct Pairs {
    n: f64,
    a: f64,
    b: f64,
    aa: f64,
    ab: f64,
    bb: f64,
}

impl Pairs {
    fn add(&mut self, a: f64, b: f64) {
        self.n += 1.0;
        self.a += a;
        self.b += b;
        self.aa += a * a;
        self.ab += a * b;
        self.bb += b * b;
    }
}

/// Sufficient statistics of any number of series.
struct SeriesMoments {
    /// What values are deviations from: the mean of all, so that sums of squares stay exact.
    centre: f64,
    /// By the number of Δ between a value that was seen and the one seen before it. In place 0 the first values that were seen (b alone).
    gaps: [Pairs; TIMES],
}

impl SeriesMoments {
    /// Of observations (n, 20), NaN where missing; `None` if a value is infinite.
    fn new(x: ArrayView2<'_, f32>) -> Option<Self> {
        let seen = || x.iter().map(|&value| f64::from(value)).filter(|value| !value.is_nan());
        let centre = seen().sum::<f64>() / (seen().count() as f64).max(1.0);
        if !centre.is_finite() {
            return None;
        }
        let mut moments = Self { centre, gaps: [Pairs::default(); TIMES] };
        for series in x.outer_iter() {
            let mut last: Option<(usize, f64)> = None;
            for (k, &value) in series.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                let value = f64::from(value) - centre;
                match last {
                    Some((before, earlier)) => moments.gaps[k - before].add(earlier, value),
                    None => moments.gaps[0].add(0.0, value),
                }
                last = Some((k, value));
            }
        }
        Some(moments)
    }
}

/// The log density of all transitions across `h` and its derivatives by (μ, κ, σ). With r = b - μ - ρ (a - μ) and v the variance,
/// -½ Σ (r²/v + log 2πv). The first values, which have none before them, are those with ρ = 0 and v = s²: `h` is infinite.
fn transitions(law: &Law, h: f64, pairs: &Pairs, centre: f64) -> [f64; 4] {
    let Transition { memory, renewal, variance } = law.transition(h);
    let n = pairs.n;
    let mu = law.mu - centre;
    // Sums of a - μ, b - μ and their products.
    let (a, b) = (pairs.a - n * mu, pairs.b - n * mu);
    let aa = pairs.aa - mu * (pairs.a + a);
    let bb = pairs.bb - mu * (pairs.b + b);
    let ab = pairs.ab - mu * (pairs.b + a);
    let squares = bb - 2.0 * memory * ab + memory * memory * aa;
    let by_log_variance = 0.5 * (squares / variance - n);
    // ∂ρ/∂κ = -hρ, ∂ log(1 - ρ²)/∂κ = 2hρ²/(1 - ρ²).
    let fading = if memory > 0.0 { h * memory } else { 0.0 };
    let by_kappa =
        by_log_variance * (2.0 * fading * memory / renewal - 1.0 / law.kappa) - (ab - memory * aa) * fading / variance;
    [
        -0.5 * (squares / variance + n * (LN_2PI + variance.ln())),
        (1.0 - memory) * (b - memory * a) / variance,
        by_kappa,
        by_log_variance * 2.0 / law.sigma,
    ]
}

impl TallLogLikelihood for Option<SeriesMoments> {
    /// At a cost that does not depend on the number of observations.
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let Some(law) = Law::new(theta) else { return f64::NAN };
        let Some(moments) = self else { return f64::NEG_INFINITY };
        let mut total = 0.0;
        for (gap, pairs) in moments.gaps.iter().enumerate().filter(|(_, pairs)| pairs.n > 0.0) {
            let h = if gap == 0 { f64::INFINITY } else { gap as f64 * SPACING };
            let [value, slope @ ..] = transitions(&law, h, pairs, moments.centre);
            total += value;
            gradient.iter_mut().zip(slope).for_each(|(sum, term)| *sum += term);
        }
        total
    }
}

impl LogLikelihood for OrnsteinUhlenbeck {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.tall_log_likelihood_gradient(theta, aview1(x).insert_axis(Axis(0)), gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        SeriesMoments::new(x).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(SeriesMoments::new(x))
    }

    fn integrates_missing(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THETA: [[f64; 3]; 4] = [[0.0, 1.0, 1.0], [0.5, 0.25, 0.75], [-1.5, 4.0, 2.5], [0.125, 0.02, 0.4]];

    /// Eighths between -1 and 1, exact in single precision.
    fn series() -> [f32; TIMES] {
        std::array::from_fn(|k| (((7 * k * k + 3 * k) % 17) as f32 - 8.0) / 8.0)
    }

    fn value(theta: &[f64], x: &[f32]) -> f64 {
        OrnsteinUhlenbeck.log_likelihood_gradient(theta, x, &mut [0.0; 3])
    }

    /// Of the multivariate normal with mean μ and covariance s² e^{-κ|t - t'|} at the times that were seen, by mpmath 1.3 with 40 digits (a Cholesky factor); SciPy's
    /// `multivariate_normal` agrees to 11 digits or more. Complete, with seven values missing, and of one value alone.
    #[test]
    fn densities_are_those_of_the_joint_normal() {
        let golden = [
            [-24.514_657_774_224_65, -12.052_409_698_909_71, -0.712_989_942_924_700_1],
            [-32.892_034_121_523_447, -14.059_654_604_641_104, -1.318_107_828_810_642_2],
            [-41.344_008_360_748_274, -29.576_333_865_341_08, -1.605_508_494_238_909_8],
            [-87.723_386_446_846_59, -29.583_482_119_828_794, -1.643_335_713_764_618],
        ];
        let complete = series();
        let (mut some, mut one) = (complete, [f32::NAN; TIMES]);
        [0, 1, 5, 6, 7, 12, 19].iter().for_each(|&k| some[k] = f32::NAN);
        one[4] = complete[4];
        for (theta, expected) in THETA.iter().zip(golden) {
            for (x, expected) in [complete, some, one].iter().zip(expected) {
                let found = value(theta, x);
                assert!((found - expected).abs() < 1e-12 * expected.abs(), "{theta:?}: {found} for {expected}");
            }
        }
    }

    /// Where the level is far from zero, differences of large squares would lose it.
    #[test]
    fn the_level_moves_with_the_series() {
        for theta in THETA {
            let moved = series().map(|x| x + 4096.0);
            let (near, far) = (value(&theta, &series()), value(&[theta[0] + 4096.0, theta[1], theta[2]], &moved));
            assert!((near - far).abs() < 1e-10 * near.abs(), "{near} and {far}");
        }
    }

    /// Moments of simulations: variance s², correlation e^{-κh} at every lag h.
    #[test]
    fn simulations_have_the_stationary_covariance() {
        let theta = [0.5, 0.4, 1.25];
        let law = Law::new(&theta).expect("valid");
        let mut rng = tallsbi_data::StreamKey::root(4).rng(0);
        let n = 100_000;
        let mut products = [0.0; TIMES];
        let (mut x, mut sum) = ([0.0; TIMES], 0.0);
        for _ in 0..n {
            OrnsteinUhlenbeck.simulate(&theta, &mut rng, &mut (), &mut x).expect("valid");
            sum += x[TIMES - 1] - law.mu;
            products.iter_mut().zip(x).for_each(|(sum, value)| *sum += (value - law.mu) * (x[0] - law.mu));
        }
        let variance = law.stationary_variance();
        assert!((variance - 1.25 * 1.25 / 0.8).abs() < 1e-15);
        // Products of two normal values have a standard deviation of √(1 + ρ²) s².
        let error = variance * (2.0 / f64::from(n)).sqrt();
        for (k, product) in products.into_iter().enumerate() {
            let expected = variance * (-0.4 * 0.5 * k as f64).exp();
            assert!((product / f64::from(n) - expected).abs() < 4.5 * error, "lag {k}: {product} for {expected}");
        }
        assert!((sum / f64::from(n)).abs() < 4.5 * (variance / f64::from(n)).sqrt());
    }

    #[test]
    fn parameters_without_meaning_fail() {
        for theta in [[0.0, 0.0, 1.0], [0.0, 1.0, -1.0], [f64::NAN, 1.0, 1.0], [0.0, f64::INFINITY, 1.0]] {
            assert!(value(&theta, &series()).is_nan());
        }
        let mut infinite = series();
        infinite[3] = f32::INFINITY;
        assert_eq!(value(&THETA[0], &infinite), f64::NEG_INFINITY);
    }
}
