//! Distributions of one parameter that are mapped to N(0, 1) by their distribution function.
//!
//! θ(z) solves F(θ) = Φ(z). Probabilities pass as the smaller of the two tails ([`Tail`]), so that neither end loses digits.

mod beta;
mod cauchy;
mod exponential;
mod gamma;
mod log_uniform;
pub(crate) mod normal;
mod solve;
mod student_t;
mod truncated_normal;

pub(super) use beta::Beta;
pub(super) use cauchy::{Cauchy, HalfCauchy};
pub(super) use exponential::Exponential;
pub(super) use gamma::{Gamma, InverseGamma};
pub(super) use log_uniform::LogUniform;
pub(super) use student_t::StudentT;
pub(super) use truncated_normal::TruncatedNormal;

/// A probability as that of the smaller tail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// Probability, within (0, 1/2] or about.
    pub p: f64,
    /// Whether it is that of larger values.
    pub upper: bool,
}

impl Tail {
    /// The smaller of P(X ≤ x) and P(X ≥ x).
    pub fn smaller(lower: f64, upper: f64) -> Self {
        if lower <= upper { Self { p: lower, upper: false } } else { Self { p: upper, upper: true } }
    }

    /// The other tail's probability under the same name: that of -X, or of 1/X.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { upper: !self.upper, ..self }
    }
}

/// A continuous distribution of one parameter.
pub(super) trait Univariate: std::fmt::Debug + Send + Sync {
    /// The tail that `x`, within the support, cuts off.
    fn tail(&self, x: f64) -> Tail;

    /// The value that cuts off `tail`.
    fn value(&self, tail: Tail) -> f64;

    /// log density at `x` within the support, and its derivative.
    fn ln_density(&self, x: f64) -> (f64, f64);

    /// The interval that carries all mass.
    fn support(&self) -> (f64, f64);

    /// Mean and standard deviation; `None` where one of them does not exist.
    fn moments(&self) -> Option<(f64, f64)>;

    /// log f(x) at the value that cuts off `tail`, which is `x`.
    fn ln_density_at(&self, _tail: Tail, x: f64) -> f64 {
        self.ln_density(x).0
    }
}

/// A value at its support's bound, as single precision makes them, is taken for the middle of what rounds to it.
fn inside(law: &dyn Univariate, x: f64) -> f64 {
    /// A quarter of f32's spacing below one.
    const QUARTER_SPACING: f64 = 0.25 * (f32::EPSILON / 2.0) as f64;
    /// Half of the smallest f32 above zero.
    const SMALLEST: f64 = 7e-46;
    let (low, high) = law.support();
    let room = |bound: f64| (bound.abs() * QUARTER_SPACING).max(SMALLEST);
    if x <= low {
        low + room(low)
    } else if x >= high {
        high - room(high)
    } else {
        x
    }
}

/// z of θ.
pub(super) fn to_latent(law: &dyn Univariate, theta: f64) -> f64 {
    if theta.is_nan() {
        return f64::NAN;
    }
    let Tail { p, upper } = law.tail(inside(law, theta));
    let z = normal::lower_quantile(p.clamp(f64::MIN_POSITIVE, 0.5));
    if upper { -z } else { z }
}

/// The tail that z cuts off N(0, 1).
fn tail_of(z: f64) -> Tail {
    Tail { p: normal::upper(z.abs().min(normal::FARTHEST)), upper: z > 0.0 }
}

/// θ of z.
pub(super) fn to_parameter(law: &dyn Univariate, z: f64) -> f64 {
    if z.is_nan() { f64::NAN } else { law.value(tail_of(z)) }
}

/// log dθ/dz at z, where θ is `theta`.
pub(super) fn ln_slope(law: &dyn Univariate, z: f64, theta: f64) -> f64 {
    normal::ln_pdf(z) - law.ln_density_at(tail_of(z), inside(law, theta))
}

/// log density and its derivative at `theta`; -∞ and 0 outside the support.
pub(super) fn ln_density(law: &dyn Univariate, theta: f64) -> (f64, f64) {
    let (low, high) = law.support();
    if theta >= low && theta <= high { law.ln_density(inside(law, theta)) } else { (f64::NEG_INFINITY, 0.0) }
}

/// Mean and standard deviation; median and half the width of the central 68 % where they do not exist.
pub(super) fn mean_and_sd(law: &dyn Univariate) -> (f64, f64) {
    let quantiles = || (to_parameter(law, 0.0), 0.5 * (to_parameter(law, 1.0) - to_parameter(law, -1.0)));
    law.moments().unwrap_or_else(quantiles)
}
