//! Exponential: F(x) = 1 - exp(-rate x).

use super::{Tail, Univariate};

/// The exponential distribution of a rate.
#[derive(Debug, Clone)]
pub(in super::super) struct Exponential {
    /// 1 / mean.
    pub rate: f64,
}

impl Univariate for Exponential {
    fn tail(&self, x: f64) -> Tail {
        let y = self.rate * x;
        Tail::smaller(-(-y).exp_m1(), (-y).exp())
    }

    fn value(&self, tail: Tail) -> f64 {
        (if tail.upper { -tail.p.ln() } else { -(-tail.p).ln_1p() }) / self.rate
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        (self.rate.ln() - self.rate * x, -self.rate)
    }

    fn support(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        Some((1.0 / self.rate, 1.0 / self.rate))
    }
}
