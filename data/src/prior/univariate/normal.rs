//! The standard normal distribution, in either tail to its relative precision.

use errorfunctions::RealErrorFunctions;
use statrs::distribution::{ContinuousCDF, Normal};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Logarithm of √(2π).
pub(crate) const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// Latent values are held within ±this, beyond which Φ leaves the normal numbers of f64 (Φ(-37) = 5.7e-300).
pub(crate) const FARTHEST: f64 = 37.0;

/// log φ(z).
pub(crate) fn ln_pdf(z: f64) -> f64 {
    -0.5 * z * z - LN_SQRT_2PI
}

/// Φ(-z).
pub(crate) fn upper(z: f64) -> f64 {
    0.5 * RealErrorFunctions::erfc(z * FRAC_1_SQRT_2)
}

/// Φ(-z)/φ(z), Mills' ratio.
pub(crate) fn mills(z: f64) -> f64 {
    (PI / 2.0).sqrt() * RealErrorFunctions::erfcx(z * FRAC_1_SQRT_2)
}

/// The z ≤ 0 with Φ(z) = p, 0 < p ≤ 1/2.
pub(crate) fn lower_quantile(p: f64) -> f64 {
    let mut z = Normal::standard().inverse_cdf(p).clamp(-FARTHEST - 2.0, 0.0);
    // Newton's method on log Φ, which is concave: two rounds bring the start's digits (ten or more) to all.
    for _ in 0..2 {
        let log = mills(-z).ln() + ln_pdf(z);
        z -= (log - p.ln()) * mills(-z);
    }
    z.clamp(-FARTHEST, 0.0)
}
