//! The standard normal between two bounds.

use rand::RngExt;
use rand_pcg::Pcg64;
use statrs::distribution::{ContinuousCDF, Normal};

/// The bounds, mirrored if need be so that probabilities are those of the lower tail, which keep their digits.
fn lower_tail(low: f64, high: f64) -> (f64, f64, bool) {
    if low > 0.0 { (-high, -low, true) } else { (low, high, false) }
}

/// log P(low < Z < high), Z ~ N(0, 1); -∞ where it is below the smallest double.
pub(super) fn log_probability(low: f64, high: f64) -> f64 {
    let (low, high, _) = lower_tail(low, high);
    (Normal::standard().cdf(high) - Normal::standard().cdf(low)).ln()
}

/// Z ~ N(0, 1) given low < Z < high, by inversion; the bound nearer to zero where the probability is below the smallest double.
pub(super) fn sample_truncated(low: f64, high: f64, rng: &mut Pcg64) -> f64 {
    let (low, high, mirrored) = lower_tail(low, high);
    let (from, to) = (Normal::standard().cdf(low), Normal::standard().cdf(high));
    let u = from + (to - from) * rng.random::<f64>();
    let z = if u > 0.0 && u < 1.0 { Normal::standard().inverse_cdf(u).clamp(low, high) } else { high };
    if mirrored { -z } else { z }
}
