//! The two number types that networks run in: `f32` for use, `f64` for tests.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernels::vector::VectorReal;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A real number type of the engine: `f32` or `f64` (sealed).
pub trait Real:
    sealed::Sealed
    + VectorReal
    + Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Serialize
    + DeserializeOwned
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number in double precision.
    fn to_f64(self) -> f64;
    /// `self * factor + term`, rounded once.
    fn fused_multiply_add(self, factor: Self, term: Self) -> Self;
    /// Square root.
    fn square_root(self) -> Self;
    /// Absolute value.
    fn magnitude(self) -> Self;
    /// `self` with the sign of `sign`.
    fn with_sign_of(self, sign: Self) -> Self;
    /// Whether the number is neither infinite nor NaN.
    fn is_finite_number(self) -> bool;

    /// `(p, s)` with e^x = s (1 + p), for x ≤ 0: s a power of two, p = e^r - 1 for the reduced argument |r| ≤ ln 2 / 2.
    ///
    /// Keeping p apart gives both e^x = s p + s and e^x - 1 = s p + (s - 1) to a few units in the last place. Below the
    /// smallest normal result (x < -87 in f32, x < -708 in f64) s is 0, so e^x is flushed to 0. NaN stays NaN.
    fn exponential_parts(self) -> (Self, Self);
}

/// 1/k! for k = 2..=13: Taylor coefficients of e^r - 1 - r, exact to the last bit of f64.
const INVERSE_FACTORIALS: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

macro_rules! implement_real {
    ($real:ty, $bits:ty, mantissa = $mantissa:expr, exponent_bias = $bias:expr, lowest = $lowest:expr,
     ln2 = ($ln2_high:expr, $ln2_low:expr), terms = $terms:expr) => {
        impl Real for $real {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $real
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn fused_multiply_add(self, factor: Self, term: Self) -> Self {
                self.mul_add(factor, term)
            }
            #[inline(always)]
            fn square_root(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn with_sign_of(self, sign: Self) -> Self {
                self.copysign(sign)
            }
            #[inline(always)]
            fn is_finite_number(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            fn exponential_parts(self) -> (Self, Self) {
                // Adding 1.5 * 2^mantissa rounds to an integer, which then sits in the low bits of the sum.
                const ROUNDER: $real = 1.5 * (1_u64 << $mantissa) as $real;
                // `x < lowest` is false for NaN, which therefore passes through the clamp.
                let x = if self < $lowest { $lowest } else { self };
                let shifted = x.mul_add(std::f64::consts::LOG2_E as $real, ROUNDER);
                let exponent = shifted - ROUNDER;
                let r = exponent.mul_add(-$ln2_low, exponent.mul_add(-$ln2_high, x));
                let mut series = INVERSE_FACTORIALS[$terms - 1] as $real;
                let mut term = $terms - 1;
                while term > 0 {
                    term -= 1;
                    series = series.mul_add(r, INVERSE_FACTORIALS[term] as $real);
                }
                let p = (series * r).mul_add(r, r);
                let power = <$real>::from_bits((shifted.to_bits() << $mantissa).wrapping_add($bias << $mantissa));
                (p, if self < $lowest { 0.0 } else { power })
            }
        }
    };
}

// Truncation of the series at |r| = ln 2 / 2: 5e-9 after 6 terms (r^7/7!), 4e-18 after 12 (r^13/13!); the split of ln 2
// (Cody and Waite) leaves `exponent * ln2_high` exact.
implement_real!(
    f32,
    u32,
    mantissa = 23,
    exponent_bias = 127_u32,
    lowest = -87.0,
    ln2 = (0.693_359_4_f32, -2.121_944_4e-4_f32),
    terms = 6
);
implement_real!(
    f64,
    u64,
    mantissa = 52,
    exponent_bias = 1023_u64,
    lowest = -708.0,
    ln2 = (6.931_471_803_691_238e-1_f64, 1.908_214_929_270_587_7e-10_f64),
    terms = 12
);
