//! Cauchy, and its half above zero.

use super::{Tail, Univariate};
use std::f64::consts::PI;

/// The Cauchy distribution: Student's with one degree of freedom.
#[derive(Debug, Clone)]
pub(in super::super) struct Cauchy {
    /// Median.
    pub loc: f64,
    /// Half the width between the quartiles.
    pub scale: f64,
}

impl Univariate for Cauchy {
    fn tail(&self, x: f64) -> Tail {
        let y = (x - self.loc) / self.scale;
        // P(X ≥ x) = atan(1/y)/π for y > 0, without the cancellation of 1/2 - atan(y)/π.
        Tail { p: f64::atan2(1.0, y.abs()) / PI, upper: y > 0.0 }
    }

    fn value(&self, tail: Tail) -> f64 {
        let distance = self.scale / (PI * tail.p).tan();
        if tail.upper { self.loc + distance } else { self.loc - distance }
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let y = (x - self.loc) / self.scale;
        // 1 + y² as a square of hypot: y² may overflow where the density's logarithm does not.
        (-(PI * self.scale).ln() - 2.0 * y.hypot(1.0).ln(), -2.0 / (self.scale * (y + 1.0 / y)))
    }

    fn support(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        None
    }
}

/// |X| of a Cauchy distribution around zero.
#[derive(Debug, Clone)]
pub(in super::super) struct HalfCauchy {
    /// Median.
    pub scale: f64,
}

impl HalfCauchy {
    fn whole(&self) -> Cauchy {
        Cauchy { loc: 0.0, scale: self.scale }
    }
}

impl Univariate for HalfCauchy {
    fn tail(&self, x: f64) -> Tail {
        let y = x / self.scale;
        Tail::smaller(f64::atan2(y, 1.0) * 2.0 / PI, f64::atan2(1.0, y) * 2.0 / PI)
    }

    fn value(&self, tail: Tail) -> f64 {
        let slope = (0.5 * PI * tail.p).tan();
        if tail.upper { self.scale / slope } else { self.scale * slope }
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let (value, slope) = self.whole().ln_density(x);
        (value + std::f64::consts::LN_2, slope)
    }

    fn support(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        None
    }
}
