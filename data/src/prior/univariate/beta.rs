//! Beta.

use super::solve::solve;
use super::{Tail, Univariate};
use statrs::function::beta::{beta_reg, ln_beta};

/// The beta distribution: density ∝ x^(alpha - 1) (1 - x)^(beta - 1) on (0, 1).
#[derive(Debug, Clone)]
pub(in super::super) struct Beta {
    /// Exponent at 0, plus one.
    pub alpha: f64,
    /// Exponent at 1, plus one.
    pub beta: f64,
}

/// Smallest logit that is sought; e^-700 is about 1e-304.
const SMALLEST_LOGIT: f64 = -700.0;

/// log(1 + e^u).
fn softplus(u: f64) -> f64 {
    if u > 0.0 { u + (-u).exp().ln_1p() } else { u.exp().ln_1p() }
}

/// P(X ≤ x) where 1 - x is `rest`, from the side where the continued fraction has no cancellation.
fn lower(a: f64, b: f64, x: f64, rest: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) { 1.0 - beta_reg(b, a, rest) } else { beta_reg(a, b, x) }
}

/// The logit of the value below which a beta distribution of (a, b) has the mass p: its density is log-concave for all a and b.
fn lower_logit(a: f64, b: f64, p: f64) -> f64 {
    let ln_tail = |u: f64| {
        let (x, rest) = ((-softplus(-u)).exp(), (-softplus(u)).exp());
        let ln_p = lower(a, b, x, rest).ln();
        (ln_p, (-a * softplus(-u) - b * softplus(u) - ln_beta(a, b) - ln_p).exp())
    };
    // The leading term x^a/(a B(a, b)) of the lower tail.
    let start = (p.ln() + a.ln() + ln_beta(a, b)) / a;
    if start <= SMALLEST_LOGIT {
        return SMALLEST_LOGIT;
    }
    solve(ln_tail, p.ln(), start.min(0.0), (SMALLEST_LOGIT, -SMALLEST_LOGIT))
}

impl Beta {
    fn logit(&self, tail: Tail) -> f64 {
        if tail.upper {
            -lower_logit(self.beta, self.alpha, tail.p)
        } else {
            lower_logit(self.alpha, self.beta, tail.p)
        }
    }
}

impl Univariate for Beta {
    fn tail(&self, x: f64) -> Tail {
        let rest = 1.0 - x;
        Tail::smaller(lower(self.alpha, self.beta, x, rest), lower(self.beta, self.alpha, rest, x))
    }

    fn value(&self, tail: Tail) -> f64 {
        (-softplus(-self.logit(tail))).exp()
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let (a, b) = (self.alpha - 1.0, self.beta - 1.0);
        (a * x.ln() + b * (-x).ln_1p() - ln_beta(self.alpha, self.beta), a / x - b / (1.0 - x))
    }

    fn support(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        let sum = self.alpha + self.beta;
        Some((self.alpha / sum, (self.alpha * self.beta / (sum + 1.0)).sqrt() / sum))
    }

    /// By the logit: near one, `x` has lost the digits of 1 - x.
    fn ln_density_at(&self, tail: Tail, _x: f64) -> f64 {
        let u = self.logit(tail);
        -(self.alpha - 1.0) * softplus(-u) - (self.beta - 1.0) * softplus(u) - ln_beta(self.alpha, self.beta)
    }
}
