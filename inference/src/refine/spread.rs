//! How likely n observations' scatter is under a variance that was learned from N rows.
//!
//! A log-variance s learned by gamma regression errs with the variance 2 h, h = φᵀ(ΦᵀΦ)⁻¹φ its [leverage](super::leverage): as if it were the mean square of ν = 1/h residuals. Under
//! Jeffreys' prior n values with the sum of squares Q then have Student's law with ν degrees of freedom (exactly, where s is a constant; Geisser 1965),
//!     log Γ((ν + n)/2) - log Γ(ν/2) - (n/2) log(ν/2) - n s/2 - ((ν + n)/2) log(1 + Q e^{-s}/ν),
//! in place of -½ (n s + Q e^{-s}), its limit for h → 0.

use statrs::function::gamma::{digamma, ln_gamma};

/// n h below which a variance is known: Student's law then differs from the Gaussian by less than that.
const KNOWN: f64 = 1e-7;

/// The logarithm of that law, up to constants, and its derivatives.
pub(super) struct Spread {
    pub value: f64,
    /// -2 ∂/∂Q: e^{-s} where s is known.
    pub precision: f64,
    /// ∂/∂s.
    pub slope: f64,
    /// Expected information about s, 1/(2/n + 2 h).
    pub information: f64,
    /// ∂/∂h.
    pub uncertainty_slope: f64,
}

impl Spread {
    /// Of n values with the sum of squares `q`, log-variance `s` with leverage `h`.
    pub fn new(n: f64, q: f64, s: f64, h: f64) -> Self {
        let w = q * (-s).exp();
        let information = 0.5 * n / (1.0 + n * h);
        if n * h < KNOWN {
            let (value, slope) = (-0.5 * (w + n * s), 0.5 * (w - n));
            return Self { value, precision: (-s).exp(), slope, information, uncertainty_slope: 0.0 };
        }
        let half = 0.5 / h;
        let log = (0.5 * w / half).ln_1p();
        // e^{-s} times this: the precision after n more values.
        let ratio = (half + 0.5 * n) / (half + 0.5 * w);
        let value = ln_gamma(half + 0.5 * n) - ln_gamma(half) - 0.5 * n * (half.ln() + s) - (half + 0.5 * n) * log;
        let of_half = digamma(half + 0.5 * n) - digamma(half) - 0.5 * n / half - log + ratio * 0.5 * w / half;
        Self {
            value,
            precision: (-s).exp() * ratio,
            slope: 0.5 * (ratio * w - n),
            information,
            uncertainty_slope: -2.0 * half * half * of_half,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Continuous, StudentsT};

    /// One value's law is Student's t with 1/h degrees of freedom and scale e^{s/2}.
    #[test]
    fn one_value_has_students_law() {
        for (e, s, h) in [(0.7, 0.3, 0.1), (-3.0, -1.0, 0.02), (5.0, 0.0, 0.5)] {
            let expected = StudentsT::new(0.0, f64::exp(0.5 * s), 1.0 / h).unwrap().ln_pdf(e);
            let value = Spread::new(1.0, e * e, s, h).value - 0.5 * (2.0 * std::f64::consts::PI).ln();
            assert!((value - expected).abs() < 1e-11, "{value} {expected}");
        }
    }

    #[test]
    fn derivatives_are_those_of_the_value() {
        let (n, q, s, h) = (30.0, 41.0, 0.2, 0.01);
        let value = |dq: f64, ds: f64, dh: f64| Spread::new(n, q + dq, s + ds, h + dh).value;
        let spread = Spread::new(n, q, s, h);
        let by = |step: f64, at: &dyn Fn(f64) -> f64| (at(step) - at(-step)) / (2.0 * step);
        assert!((by(1e-4, &|d| value(d, 0.0, 0.0)) + 0.5 * spread.precision).abs() < 1e-7);
        assert!((by(1e-5, &|d| value(0.0, d, 0.0)) - spread.slope).abs() < 1e-6);
        assert!(
            (by(1e-5, &|d| value(0.0, 0.0, d)) - spread.uncertainty_slope).abs()
                < 1e-3 * spread.uncertainty_slope.abs()
        );
    }

    #[test]
    fn what_is_known_is_the_limit() {
        let [known, nearly] = [0.0, 2.0 * KNOWN / 30.0].map(|h| Spread::new(30.0, 41.0, 0.2, h));
        assert!((known.value - nearly.value).abs() < 1e-4 && (known.slope - nearly.slope).abs() < 1e-4);
        assert!((known.precision - nearly.precision).abs() < 1e-5);
    }
}
