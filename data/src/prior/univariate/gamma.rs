//! Gamma and inverse gamma.

use super::solve::solve;
use super::{Tail, Univariate};
use statrs::function::gamma::{gamma_lr, gamma_ur, ln_gamma};

/// The gamma distribution: density ∝ x^(shape - 1) exp(-rate x).
#[derive(Debug, Clone)]
pub(in super::super) struct Gamma {
    /// Shape.
    pub shape: f64,
    /// 1 / scale.
    pub rate: f64,
}

/// Smallest log x that is sought: smaller ones are no normal numbers.
const SMALLEST_LN: f64 = -708.0;
/// A shape-free bound of x beyond the shape's own: the tail at 37 standard normal deviations lies below shape + 40 √shape + this.
const FARTHEST: f64 = 1500.0;

impl Gamma {
    /// log density of log y, y = rate x, at log y.
    fn ln_density_of_log(&self, u: f64) -> f64 {
        self.shape * u - u.exp() - ln_gamma(self.shape)
    }
}

impl Univariate for Gamma {
    fn tail(&self, x: f64) -> Tail {
        let y = self.rate * x;
        // Outside of these, one tail is all there is.
        if y <= 0.0 || !y.is_finite() {
            return Tail { p: 0.0, upper: y > 0.0 };
        }
        Tail::smaller(gamma_lr(self.shape, y), gamma_ur(self.shape, y))
    }

    /// In u = log(rate x), whose density is log-concave for every shape.
    fn value(&self, tail: Tail) -> f64 {
        let ln_tail = |u: f64| {
            let y = u.exp();
            let p = if tail.upper { gamma_ur(self.shape, y) } else { gamma_lr(self.shape, y) };
            let slope = (self.ln_density_of_log(u) - p.ln()).exp();
            (p.ln(), if tail.upper { -slope } else { slope })
        };
        let target = tail.p.ln();
        // P(shape, y) ≤ y^shape/Γ(shape + 1): a start from the left, where Newton's method is monotone.
        let left = (target + ln_gamma(self.shape + 1.0)) / self.shape;
        let start = if tail.upper { left.max(self.shape.ln()) } else { left };
        if start <= SMALLEST_LN {
            return SMALLEST_LN.exp() / self.rate;
        }
        let high = (self.shape + 40.0 * self.shape.sqrt() + FARTHEST).ln();
        solve(ln_tail, target, start, (SMALLEST_LN, high)).exp() / self.rate
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let u = (self.rate * x).ln();
        (self.ln_density_of_log(u) - x.ln(), (self.shape - 1.0) / x - self.rate)
    }

    fn support(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        Some((self.shape / self.rate, self.shape.sqrt() / self.rate))
    }
}

/// 1/X with X of a gamma distribution: density ∝ x^(-shape - 1) exp(-scale/x).
#[derive(Debug, Clone)]
pub(in super::super) struct InverseGamma {
    /// The distribution of 1/X, whose rate is this one's scale.
    pub inverse: Gamma,
}

impl Univariate for InverseGamma {
    fn tail(&self, x: f64) -> Tail {
        self.inverse.tail(1.0 / x).mirrored()
    }

    fn value(&self, tail: Tail) -> f64 {
        1.0 / self.inverse.value(tail.mirrored())
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let Gamma { shape, rate } = self.inverse;
        (self.inverse.ln_density(1.0 / x).0 - 2.0 * x.ln(), (rate / x - shape - 1.0) / x)
    }

    fn support(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        let Gamma { shape, rate } = self.inverse;
        (shape > 2.0).then(|| (rate / (shape - 1.0), rate / ((shape - 1.0) * (shape - 2.0).sqrt())))
    }
}
