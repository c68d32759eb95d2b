//! The nonlinearities and their derivatives, one number at a time.
//!
//! They are written as straight-line code without calls or branches, so that the loops of [`super::layer`] around them
//! become vector code. All rest on [`Real::exponential_parts`] of a non-positive argument, so nothing overflows; each
//! is within a few units in the last place of the exact function (the tests state the bounds). NaN stays NaN, so that a
//! diverged training shows.

use crate::real::Real;

/// An activation as a type, so that loops are compiled for each.
pub(crate) trait Nonlinearity {
    /// φ(z).
    fn value<T: Real>(z: T) -> T;
    /// (φ(z), φ'(z)).
    fn value_and_derivative<T: Real>(z: T) -> (T, T);
}

pub(crate) struct Relu;
pub(crate) struct Silu;
pub(crate) struct Elu;
pub(crate) struct Gelu;
pub(crate) struct Tanh;

/// (σ(z), 1 - σ(z)), both to full relative accuracy.
#[inline(always)]
fn logistic<T: Real>(z: T) -> (T, T) {
    let (p, s) = (-z.magnitude()).exponential_parts();
    let e = p.fused_multiply_add(s, s);
    let larger = T::ONE / (T::ONE + e);
    let smaller = e * larger;
    if z < T::ZERO { (smaller, larger) } else { (larger, smaller) }
}

impl Nonlinearity for Relu {
    #[inline(always)]
    fn value<T: Real>(z: T) -> T {
        if z < T::ZERO { T::ZERO } else { z }
    }
    #[inline(always)]
    fn value_and_derivative<T: Real>(z: T) -> (T, T) {
        // The derivative at 0 is 0, as in PyTorch.
        (Self::value(z), if z > T::ZERO { T::ONE } else { T::ZERO })
    }
}

impl Nonlinearity for Silu {
    #[inline(always)]
    fn value<T: Real>(z: T) -> T {
        z * logistic(z).0
    }
    #[inline(always)]
    fn value_and_derivative<T: Real>(z: T) -> (T, T) {
        let (sigma, complement) = logistic(z);
        (z * sigma, sigma * (z * complement + T::ONE))
    }
}

impl Nonlinearity for Elu {
    #[inline(always)]
    fn value<T: Real>(z: T) -> T {
        Self::value_and_derivative(z).0
    }
    #[inline(always)]
    fn value_and_derivative<T: Real>(z: T) -> (T, T) {
        let negative = if z > T::ZERO { T::ZERO } else { z };
        let (p, s) = negative.exponential_parts();
        let minus_one = p.fused_multiply_add(s, s - T::ONE);
        if z > T::ZERO { (z, T::ONE) } else { (minus_one, p.fused_multiply_add(s, s)) }
    }
}

/// 2 √(2/π) and 0.044715 of the tanh form; ½ (1 + tanh u) = σ(2u).
const GELU_SCALE: f64 = 1.595_769_121_605_730_8;
const GELU_CUBE: f64 = 0.044_715;
/// Beyond this |z| the tanh form is z or 0 in double precision (2u > 1950), and its cube could overflow.
const GELU_LIMIT: f64 = 30.0;

/// 2u(z) and its derivative, with z limited to where σ(2u) is not yet constant.
#[inline(always)]
fn gelu_argument<T: Real>(z: T) -> (T, T) {
    let limit = T::from_f64(GELU_LIMIT);
    let z = if z > limit { limit } else { z };
    let z = if z < -limit { -limit } else { z };
    let square = z * z;
    let cube = T::from_f64(GELU_SCALE * GELU_CUBE) * square;
    let scale = T::from_f64(GELU_SCALE);
    (z * (cube + scale), T::from_f64(3.0) * cube + scale)
}

impl Nonlinearity for Gelu {
    #[inline(always)]
    fn value<T: Real>(z: T) -> T {
        z * logistic(gelu_argument(z).0).0
    }
    #[inline(always)]
    fn value_and_derivative<T: Real>(z: T) -> (T, T) {
        let (argument, slope) = gelu_argument(z);
        let (sigma, complement) = logistic(argument);
        (z * sigma, sigma * (z * complement * slope + T::ONE))
    }
}

impl Nonlinearity for Tanh {
    #[inline(always)]
    fn value<T: Real>(z: T) -> T {
        Self::value_and_derivative(z).0
    }
    #[inline(always)]
    fn value_and_derivative<T: Real>(z: T) -> (T, T) {
        let two = T::ONE + T::ONE;
        let magnitude = z.magnitude();
        let (p, s) = (-(magnitude + magnitude)).exponential_parts();
        let minus_one = p.fused_multiply_add(s, s - T::ONE);
        let e = p.fused_multiply_add(s, s);
        let inverse = T::ONE / (two + minus_one);
        let tanh = (-minus_one * inverse).with_sign_of(z);
        (tanh, (two + two) * e * inverse * inverse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments from 1e-30 to 1e30 of both signs, dense where the functions bend.
    fn arguments() -> Vec<f64> {
        let magnitudes = (-300..=300).map(|exponent| 10.0_f64.powf(f64::from(exponent) / 10.0));
        let dense = (1..40_000).map(|index| f64::from(index) * 2.5e-3);
        magnitudes.chain(dense).flat_map(|magnitude| [magnitude, -magnitude]).chain([0.0]).collect()
    }

    /// (φ, φ') from the standard library's functions.
    type Reference = fn(f64) -> (f64, f64);

    fn exact_logistic(z: f64) -> (f64, f64) {
        let e = (-z.abs()).exp();
        if z < 0.0 { (e / (1.0 + e), 1.0 / (1.0 + e)) } else { (1.0 / (1.0 + e), e / (1.0 + e)) }
    }

    fn silu(z: f64) -> (f64, f64) {
        let (sigma, complement) = exact_logistic(z);
        (z * sigma, sigma * (1.0 + z * complement))
    }

    fn elu(z: f64) -> (f64, f64) {
        if z > 0.0 { (z, 1.0) } else { (z.exp_m1(), z.exp()) }
    }

    fn gelu(z: f64) -> (f64, f64) {
        let z_cut = z.clamp(-1e3, 1e3);
        let scale = (2.0 / std::f64::consts::PI).sqrt();
        let (sigma, complement) = exact_logistic(2.0 * scale * (z_cut + 0.044_715 * z_cut.powi(3)));
        (z * sigma, sigma * (1.0 + z_cut * complement * 2.0 * scale * (1.0 + 3.0 * 0.044_715 * z_cut * z_cut)))
    }

    fn tanh(z: f64) -> (f64, f64) {
        let e = (-2.0 * z.abs()).exp();
        (z.tanh(), 4.0 * e / ((1.0 + e) * (1.0 + e)))
    }

    fn relu(z: f64) -> (f64, f64) {
        (z.max(0.0), f64::from(u8::from(z > 0.0)))
    }

    /// φ within 6 units in the last place plus what 2 units in the argument change; φ' within 8 units of 1 or so; below
    /// `floor` results may be flushed.
    fn check<N: Nonlinearity, T: Real>(reference: Reference, epsilon: f64, floor: f64) {
        for z in arguments() {
            let z = T::from_f64(z);
            let (value, slope) = reference(z.to_f64());
            let (found, found_slope) = N::value_and_derivative(z);
            assert_eq!(N::value(z), found, "{z:?}");
            let bound = epsilon * (6.0 * value.abs() + 2.0 * (z.to_f64() * slope).abs()) + floor;
            assert!((found.to_f64() - value).abs() <= bound, "φ({z:?}) = {found:?}, not {value}");
            let bound = epsilon * (8.0 + 4.0 * slope.abs());
            assert!((found_slope.to_f64() - slope).abs() <= bound, "φ'({z:?}) = {found_slope:?}, not {slope}");
        }
        let nan = T::from_f64(f64::NAN);
        assert!(N::value(nan).to_f64().is_nan());
    }

    #[test]
    fn activations_are_accurate_everywhere() {
        fn both<N: Nonlinearity>(reference: Reference) {
            check::<N, f32>(reference, f64::from(f32::EPSILON), 2e-35);
            check::<N, f64>(reference, f64::EPSILON, 1e-303);
        }
        both::<Relu>(relu);
        both::<Silu>(silu);
        both::<Elu>(elu);
        both::<Gelu>(gelu);
        both::<Tanh>(tanh);
    }

    #[test]
    fn exponential_is_accurate() {
        fn check<T: Real>(lowest: f64, bound: f64) {
            for index in 0..100_000 {
                let x = T::from_f64(lowest * f64::from(index) / 100_000.0);
                let (p, s) = x.exponential_parts();
                let exact = x.to_f64().exp();
                let error = (p.fused_multiply_add(s, s).to_f64() / exact - 1.0).abs();
                assert!(error <= bound, "exp({x:?}): relative error {error:e}");
                let minus_one = p.fused_multiply_add(s, s - T::ONE).to_f64();
                let exact = x.to_f64().exp_m1();
                assert!((minus_one - exact).abs() <= bound * exact.abs(), "expm1({x:?}) = {minus_one}");
            }
            let (p, s) = T::from_f64(lowest * 1.01).exponential_parts();
            assert_eq!(p.fused_multiply_add(s, s), T::ZERO);
        }
        check::<f32>(-87.0, 1.2e-7);
        check::<f64>(-708.0, 3e-16);
    }
}
