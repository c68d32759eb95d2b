//! Student's t.

use super::solve::solve;
use super::{Tail, Univariate};
use statrs::function::beta::{beta_reg, ln_beta};

/// Student's t distribution.
#[derive(Debug, Clone)]
pub(in super::super) struct StudentT {
    /// Degrees of freedom.
    pub df: f64,
    /// Median.
    pub loc: f64,
    /// Scale.
    pub scale: f64,
}

/// Largest |u| that is sought; sinh(700) is about 5e303.
const FARTHEST: f64 = 700.0;

impl StudentT {
    /// P(T ≥ √df sinh u), u ≥ 0: half of I(1/cosh² u; df/2, 1/2).
    fn upper(&self, u: f64) -> f64 {
        let cosh = u.cosh();
        0.5 * beta_reg(0.5 * self.df, 0.5, 1.0 / (cosh * cosh))
    }

    /// log density of the standard distribution at √df sinh u, u ≥ 0.
    fn ln_standard(&self, u: f64) -> f64 {
        -(self.df + 1.0) * u.cosh().ln() - 0.5 * self.df.ln() - ln_beta(0.5 * self.df, 0.5)
    }

    fn u(&self, x: f64) -> f64 {
        ((x - self.loc) / (self.scale * self.df.sqrt())).asinh()
    }
}

impl Univariate for StudentT {
    fn tail(&self, x: f64) -> Tail {
        let u = self.u(x);
        Tail { p: self.upper(u.abs()), upper: u > 0.0 }
    }

    /// In u = asinh(t/√df), whose density ∝ cosh(u)^(-df) is log-concave.
    fn value(&self, tail: Tail) -> f64 {
        let ln_tail = |u: f64| {
            let ln_p = self.upper(u).ln();
            let ln_density = self.ln_standard(u) + u.cosh().ln() + 0.5 * self.df.ln();
            (ln_p, -(ln_density - ln_p).exp())
        };
        let u = if tail.p >= 0.5 { 0.0 } else { solve(ln_tail, tail.p.ln(), 0.0, (0.0, FARTHEST)) };
        let distance = self.scale * self.df.sqrt() * u.sinh();
        if tail.upper { self.loc + distance } else { self.loc - distance }
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let u = self.u(x);
        let by_u = -(self.df + 1.0) * u.tanh();
        (self.ln_standard(u) - self.scale.ln(), by_u / (self.scale * self.df.sqrt() * u.cosh()))
    }

    fn support(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        (self.df > 2.0).then(|| (self.loc, self.scale * (self.df / (self.df - 2.0)).sqrt()))
    }
}
