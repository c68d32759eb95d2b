//! Log-uniform (reciprocal): log θ is uniform.

use super::{Tail, Univariate};

/// log θ ~ U(log low, log high), low > 0.
#[derive(Debug, Clone)]
pub(in super::super) struct LogUniform {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl LogUniform {
    fn width(&self) -> f64 {
        (self.high / self.low).ln()
    }
}

impl Univariate for LogUniform {
    fn tail(&self, x: f64) -> Tail {
        // log(x/bound) by log1p, which keeps the digits of x - bound near either bound.
        let from = |bound: f64| ((x - bound) / bound).ln_1p() / self.width();
        Tail::smaller(from(self.low), -from(self.high))
    }

    fn value(&self, tail: Tail) -> f64 {
        let step = tail.p * self.width();
        let x = if tail.upper { self.high * (-step).exp() } else { self.low * step.exp() };
        x.clamp(self.low, self.high)
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        (-x.ln() - self.width().ln(), -1.0 / x)
    }

    fn support(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        let mean = (self.high - self.low) / self.width();
        let variance = mean * (0.5 * (self.high + self.low) - mean);
        Some((mean, variance.max(0.0).sqrt()))
    }
}
