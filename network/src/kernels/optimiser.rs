//! Vectorised passes over flat parameter vectors.

use pulp::{Simd, WithSimd};

use super::level::dispatch;
use crate::real::Real;

/// One Adam update of a range of parameters; see [`crate::Adam`] for the equations.
pub(crate) struct AdamUpdate<'a, T> {
    pub parameters: &'a mut [T],
    pub gradient: &'a [T],
    pub first: &'a mut [T],
    pub second: &'a mut [T],
    pub beta1: T,
    pub beta2: T,
    /// Learning rate over the bias correction of the first moment.
    pub step_size: T,
    /// 1/√(bias correction of the second moment).
    pub second_scale: T,
    pub epsilon: T,
    /// 1 - learning rate x weight decay.
    pub shrink: T,
    pub l2_penalty: T,
}

impl<T: Real> AdamUpdate<'_, T> {
    pub fn run(self) {
        dispatch(self);
    }
}

impl<T: Real> WithSimd for AdamUpdate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let (new1, new2) = (T::ONE - self.beta1, T::ONE - self.beta2);
        let state = self.first.iter_mut().zip(self.second.iter_mut());
        for ((parameter, &gradient), (first, second)) in self.parameters.iter_mut().zip(self.gradient).zip(state) {
            let gradient = self.l2_penalty.fused_multiply_add(*parameter, gradient);
            *first = self.beta1.fused_multiply_add(*first, new1 * gradient);
            *second = self.beta2.fused_multiply_add(*second, new2 * gradient * gradient);
            let deviation = second.square_root().fused_multiply_add(self.second_scale, self.epsilon);
            *parameter = *parameter * self.shrink - self.step_size * *first / deviation;
        }
    }
}

/// average += weight (values - average).
pub(crate) struct MoveTowards<'a, T> {
    pub average: &'a mut [T],
    pub values: &'a [T],
    pub weight: T,
}

impl<T: Real> WithSimd for MoveTowards<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (average, &value) in self.average.iter_mut().zip(self.values) {
            *average = self.weight.fused_multiply_add(value - *average, *average);
        }
    }
}

/// values *= factor.
pub(crate) struct Scale<'a, T> {
    pub values: &'a mut [T],
    pub factor: T,
}

impl<T: Real> WithSimd for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for value in self.values {
            *value *= self.factor;
        }
    }
}

/// Σ values², in double precision and a fixed order.
pub(crate) struct SumOfSquares<'a, T>(pub &'a [T]);

impl<T: Real> WithSimd for SumOfSquares<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let mut lanes = [0.0_f64; 16];
        let chunks = self.0.chunks_exact(lanes.len());
        let rest: f64 = chunks.remainder().iter().map(|value| value.to_f64() * value.to_f64()).sum();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value.to_f64() * value.to_f64();
            }
        }
        lanes.iter().sum::<f64>() + rest
    }
}

/// target = Σ sources, added in the order given, element by element.
pub(crate) struct SumInOrder<'a, 'b, T> {
    pub target: &'a mut [T],
    pub sources: &'b [&'a [T]],
}

impl<T: Real> WithSimd for SumInOrder<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Some((first, rest)) = self.sources.split_first() else { return };
        self.target.copy_from_slice(first);
        for source in rest {
            for (target, &value) in self.target.iter_mut().zip(*source) {
                *target += value;
            }
        }
    }
}
