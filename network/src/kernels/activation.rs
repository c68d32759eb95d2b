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
