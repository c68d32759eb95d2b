//! The g-and-k distribution (Rayner & MacGillivray 2002, Statistics and Computing 12), known by its quantiles:
//!
//!   x = A + B s(z) (1 + z²)^k z, s(z) = 1 + c tanh(g z/2), z ~ N(0, 1), c = 0.8.
//!
//! A is the median, B the scale, g skews, k gives tails that are heavier than those of any power of z; with c = 0.8 all k ≥ 0 are distributions (Prangle
//! 2020, The R Journal 12). The custom is uniform priors on (0, 10) for all four (Allingham, King & Mengersen 2009, Statistics and Computing 19), with
//! the truth (3, 1, 2, ½): k = 10 then makes observations of 10¹² beside k = 0 with observations of 1. Here A keeps that prior, and
//! B ~ U(0.5, 5), g ~ U(0, 5), k ~ U(0, 1) surround the same truth.
//!
//! The density needs z, which is found from x by Newton's method; its gradient follows by differentiating Q(z; θ) = x.

use crate::{LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::Prior;

const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// c, the largest effect of g: between 1 - c and 1 + c.
const SKEW: f64 = 0.8;

/// Change of log |z| at which z is found, and the most steps to it: every step that is not Newton's halves the interval.
const CLOSE: f64 = 1e-14;
const MOST_STEPS: usize = 200;

/// The g-and-k simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct GAndK;

/// The task `g_and_k`: m = 4 (A, B, g, k), d = 1.
///
/// # Errors
/// None; the signature is that of every task.
pub fn g_and_k() -> Result<SimulatorTask<GAndK>> {
    let prior = Prior::uniform(&[("A", 0.0, 10.0), ("B", 0.5, 5.0), ("g", 0.0, 5.0), ("k", 0.0, 1.0)])?;
    Ok(SimulatorTask::new("g_and_k", prior, vec!["x".into()], GAndK)?
        .described("Numbers from the g-and-k distribution: skew, with heavy tails")
        .with_likelihood())
}

fn has_meaning([a, b, g, k]: [f64; 4]) -> bool {
    a.is_finite() && b > 0.0 && b.is_finite() && g.is_finite() && k >= 0.0 && k.is_finite()
}

impl Simulator for GAndK {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let [a, b, g, k] = [theta[0], theta[1], theta[2], theta[3]];
        if !has_meaning([a, b, g, k]) {
            return Err(SimulatorError::Failed("needs B > 0 and k >= 0".into()));
        }
        let z: f64 = StandardNormal.sample(rng);
        x[0] = a + b * Standard::at(z, g, k).value();
        Ok(())
    }
}

/// The quantile function with A = 0 and B = 1, w(z) = s (1 + z²)^k z, at z.
struct Standard {
    z: f64,
    g: f64,
    k: f64,
    tanh: f64,
    /// s.
    skew: f64,
    /// s'(z).
    slope: f64,
    /// 1 + z².
    square: f64,
}

impl Standard {
    fn at(z: f64, g: f64, k: f64) -> Self {
        let tanh = (0.5 * g * z).tanh();
        let slope = 0.5 * SKEW * g * (1.0 - tanh * tanh);
        Self { z, g, k, tanh, skew: 1.0 + SKEW * tanh, slope, square: 1.0 + z * z }
    }

    fn value(&self) -> f64 {
        self.skew * self.square.powf(self.k) * self.z
    }

    /// h = w'(z)/(1 + z²)^k.
    fn steepness(&self) -> f64 {
        self.skew + self.z * self.slope + 2.0 * self.k * self.z * self.z * self.skew / self.square
    }

    /// ∂h/∂z.
    fn bend(&self) -> f64 {
        let Self { z, g, k, skew, slope, square, .. } = *self;
        let second = -g * self.tanh * slope;
        let tail = (2.0 * z * skew + z * z * slope) / square - 2.0 * z.powi(3) * skew / (square * square);
        2.0 * slope + z * second + 2.0 * k * tail
    }

    /// ∂s/∂g and ∂h/∂g.
    fn by_g(&self) -> [f64; 2] {
        let Self { z, g, k, square, .. } = *self;
        let sech = 0.5 * SKEW * (1.0 - self.tanh * self.tanh);
        let by_skew = z * sech;
        [by_skew, by_skew + z * sech * (1.0 - g * z * self.tanh) + 2.0 * k * z * z * by_skew / square]
    }
}

/// w at the z where it is `y`. Both grow with the other and have the same sign; Newton's method on log |w| as a function of log |z|, within an interval
/// that shrinks.
fn solve(y: f64, g: f64, k: f64) -> Standard {
    if y == 0.0 {
        return Standard::at(0.0, g, k);
    }
    let (sign, wanted) = (y.signum(), y.abs().ln());
    // (1 + z²)^k lies between 1 and, for z ≤ 1, 2^k.
    let mut low = (wanted - (1.0 + SKEW).ln() - k * std::f64::consts::LN_2).min(0.0);
    let mut high = wanted - (1.0 - SKEW).ln();
    let mut log_z = 0.5 * (low + high);
    let mut found = Standard::at(sign * log_z.exp(), g, k);
    for _ in 0..MOST_STEPS {
        let excess = found.skew.ln() + k * found.square.ln() + log_z - wanted;
        if excess > 0.0 {
            high = log_z
        } else {
            low = log_z
        }
        // d log |w| / d log |z| = z w'/w.
        let newton = log_z - excess * found.skew / found.steepness();
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        let change = (next - log_z).abs();
        log_z = next;
        found = Standard::at(sign * log_z.exp(), g, k);
        if change < CLOSE * log_z.abs().max(1.0) {
            break;
        }
    }
    found
}

/// log p(x | θ) = log φ(z) - log Q'(z), log Q' = log B + k log(1 + z²) + log h.
impl LogLikelihood for GAndK {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let [a, b, g, k] = [theta[0], theta[1], theta[2], theta[3]];
        if !has_meaning([a, b, g, k]) {
            return f64::NAN;
        }
        let y = (f64::from(x[0]) - a) / b;
        if !y.is_finite() {
            return f64::NEG_INFINITY;
        }
        let found = solve(y, g, k);
        let (z, h) = (found.z, found.steepness());
        let log_square = found.square.ln();
        let power = (k * log_square).exp();
        let [skew_by_g, h_by_g] = found.by_g();
        let by_z = -z - 2.0 * k * z / found.square - found.bend() / h;
        // Of w and of log Q' with z held, by each parameter (w by A: that of A/B).
        let by_theta = [
            (1.0 / b, 0.0),
            (y / b, 1.0 / b),
            (skew_by_g * power * z, h_by_g / h),
            (y * log_square, log_square + 2.0 * z * z * found.skew / (found.square * h)),
        ];
        for (gradient, (quantile, log_slope)) in gradient.iter_mut().zip(by_theta) {
            *gradient = -by_z * quantile / (power * h) - log_slope;
        }
        -0.5 * (z * z + LN_2PI) - b.ln() - k * log_square - h.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THETA: [f64; 4] = [3.0, 1.0, 2.0, 0.5];

    /// By mpmath 1.3 with 40 digits: a root of Q(z) = x, and the numerical derivative of Q there.
    #[test]
    fn densities_are_those_of_the_inverted_quantiles() {
        let golden: [(f32, [f64; 4], f64); 6] = [
            (5.25, THETA, -2.764_326_019_975_768),
            (1.0, THETA, -5.750_696_971_846_865),
            (-20.0, THETA, -59.623_492_611_522_83),
            (700.0, [9.5, 4.5, 0.25, 1.0], -18.061_371_508_407_854),
            (2.5, [2.5, 0.5, 5.0, 0.0], -0.225_791_352_644_727_4),
            (-3.0, [1.0, 2.0, 0.0, 0.125], -3.377_967_410_863_617),
        ];
        for (x, theta, expected) in golden {
            let found = GAndK.log_likelihood_gradient(&theta, &[x], &mut [0.0; 4]);
            assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{theta:?}: {found} for {expected}");
        }
    }

    /// Quantiles that are all alike, far out and at the median, are found again.
    #[test]
    fn quantiles_are_inverted() {
        for (g, k) in [(2.0, 0.5), (0.0, 0.0), (5.0, 1.0), (-3.0, 0.2), (10.0, 10.0), (0.3, 0.0)] {
            for z in [-8.0, -3.0, -0.5, -1e-3, -1e-12, 0.0, 1e-12, 0.02, 1.0, 2.5, 8.0] {
                let found = solve(Standard::at(z, g, k).value(), g, k).z;
                assert!((found - z).abs() <= 1e-12 * z.abs(), "{g} {k}: {found} for {z}");
            }
        }
    }

    #[test]
    fn parameters_without_meaning_fail() {
        for theta in [[3.0, 0.0, 2.0, 0.5], [3.0, 1.0, 2.0, -0.1], [3.0, 1.0, f64::NAN, 0.5]] {
            assert!(GAndK.log_likelihood_gradient(&theta, &[1.0], &mut [0.0; 4]).is_nan());
        }
        assert_eq!(GAndK.log_likelihood_gradient(&THETA, &[f32::INFINITY], &mut [0.0; 4]), f64::NEG_INFINITY);
    }
}
