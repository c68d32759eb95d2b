//! Elementwise passes of a hidden layer over rows: layer norm, activation and residual, forward, backward and tangent.
//!
//! Each pass reads a row while it is in the first-level cache. Elementwise loops are plain code that the compiler turns
//! into vector instructions; sums over a row, which it may not reorder, are written with vector registers.

use pulp::{Simd, WithSimd};

use super::activation::{Elu, Gelu, Nonlinearity, Relu, Silu, Tanh};
use super::level::dispatch;
use crate::definition::Activation;
use crate::real::Real;

/// ε of the layer norm, PyTorch's default.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

/// Sums run in this many registers at a time: enough to cover the latency of an addition.
const ACCUMULATORS: usize = 4;

/// Folds whole registers of a row into [`ACCUMULATORS`] registers by `step(accumulator, index of the register)` and adds
/// up their lanes. The order is fixed for a length and an instruction set.
#[inline(always)]
fn accumulate<T: Real, S: Simd>(simd: S, registers: usize, step: impl Fn(T::Lanes<S>, usize) -> T::Lanes<S>) -> T {
    let mut totals = [T::splat(simd, T::ZERO); ACCUMULATORS];
    let whole = registers - registers % ACCUMULATORS;
    let mut first = 0;
    while first < whole {
        for (offset, total) in totals.iter_mut().enumerate() {
            *total = step(*total, first + offset);
        }
        first += ACCUMULATORS;
    }
    for (offset, total) in totals.iter_mut().enumerate() {
        if first + offset < registers {
            *total = step(*total, first + offset);
        }
    }
    let [a, b, c, d] = totals;
    T::reduce_sum(simd, T::add_lanes(simd, T::add_lanes(simd, a, b), T::add_lanes(simd, c, d)))
}

/// Σ row.
#[inline(always)]
fn sum<T: Real, S: Simd>(simd: S, row: &[T]) -> T {
    let (body, tail) = T::registers::<S>(row);
    let whole = accumulate::<T, S>(
        simd,
        body.len(),
        #[inline(always)]
        |total, index| T::add_lanes(simd, total, body[index]),
    );
    whole + tail.iter().copied().sum()
}

/// Σ (row - shift)².
#[inline(always)]
fn sum_of_squares<T: Real, S: Simd>(simd: S, row: &[T], shift: T) -> T {
    let (body, tail) = T::registers::<S>(row);
    let shifts = T::splat(simd, shift);
    let whole = accumulate::<T, S>(
        simd,
        body.len(),
        #[inline(always)]
        |total, index| {
            let centred = T::subtract_lanes(simd, body[index], shifts);
            T::multiply_add(simd, centred, centred, total)
        },
    );
    whole + tail.iter().map(|&value| (value - shift) * (value - shift)).sum()
}

/// Σ a ⊙ b of two rows of the same length.
#[inline(always)]
fn dot<T: Real, S: Simd>(simd: S, a: &[T], b: &[T]) -> T {
    let ((a, a_tail), (b, b_tail)) = (T::registers::<S>(a), T::registers::<S>(b));
    let b = &b[..a.len()];
    let whole = accumulate::<T, S>(
        simd,
        a.len(),
        #[inline(always)]
        |total, index| T::multiply_add(simd, a[index], b[index], total),
    );
    whole + a_tail.iter().zip(b_tail).map(|(&a, &b)| a * b).sum()
}

/// Gain and bias of a layer norm.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a, T> {
    pub gain: &'a [T],
    pub bias: &'a [T],
}

/// What the backward and tangent passes need to know of a hidden layer.
pub(crate) struct Record<'a, T> {
    /// φ'(z), rows x width.
    pub derivative: &'a mut [T],
    /// Normalised pre-activations, rows x width (empty without layer norm).
    pub normalised: &'a mut [T],
    /// 1/√(var + ε) of each row (empty without layer norm).
    pub inverse_deviation: &'a mut [T],
}

/// Mean and 1/√(var + ε) of `row`.
#[inline(always)]
fn moments<T: Real, S: Simd>(simd: S, row: &[T]) -> (T, T) {
    let width = T::ONE / T::from_f64(row.len() as f64);
    let mean = sum(simd, row) * width;
    let variance = sum_of_squares(simd, row, mean) * width;
    (mean, T::ONE / (variance + T::from_f64(NORM_EPSILON)).square_root())
}

/// Forward pass of a hidden layer in place: `values` (rows x width) holds W a + b and becomes φ(N(W a + b)) [+ residual].
pub(crate) struct Forward<'a, T> {
    pub values: &'a mut [T],
    pub width: usize,
    pub norm: Option<Norm<'a, T>>,
    pub activation: Activation,
    pub residual: Option<&'a [T]>,
    pub record: Option<Record<'a, T>>,
}

impl<T: Real> Forward<'_, T> {
    pub fn run(self) {
        assert_eq!(self.values.len() % self.width, 0);
        dispatch(self);
    }

    #[inline(always)]
    fn run_with<A: Nonlinearity, S: Simd>(self, simd: S) {
        let Self { values, width, norm, residual, record, .. } = self;
        let mut record = record;
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let span = index * width..(index + 1) * width;
            if let Some(norm) = norm {
                let (mean, inverse) = moments(simd, row);
                if let Some(record) = &mut record {
                    record.inverse_deviation[index] = inverse;
                    for (target, &value) in record.normalised[span.clone()].iter_mut().zip(&*row) {
                        *target = (value - mean) * inverse;
                    }
                }
                scale_shift(row, mean, inverse, norm);
            }
            match &mut record {
                Some(record) => {
                    for (value, derivative) in row.iter_mut().zip(&mut record.derivative[span.clone()]) {
                        (*value, *derivative) = A::value_and_derivative(*value);
                    }
                }
                None => {
                    for value in row.iter_mut() {
                        *value = A::value(*value);
                    }
                }
            }
            if let Some(residual) = residual {
                for (value, &input) in row.iter_mut().zip(&residual[span]) {
                    *value += input;
                }
            }
        }
    }
}

/// row ↦ gain ⊙ (row - mean) · inverse + bias.
#[inline(always)]
fn scale_shift<T: Real>(row: &mut [T], mean: T, inverse: T, norm: Norm<'_, T>) {
    for ((value, &gain), &bias) in row.iter_mut().zip(norm.gain).zip(norm.bias) {
        *value = ((*value - mean) * inverse).fused_multiply_add(gain, bias);
    }
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.activation {
            Activation::Relu => self.run_with::<Relu, S>(simd),
            Activation::Silu => self.run_with::<Silu, S>(simd),
            Activation::Elu => self.run_with::<Elu, S>(simd),
            Activation::Gelu => self.run_with::<Gelu, S>(simd),
            Activation::Tanh => self.run_with::<Tanh, S>(simd),
        }
    }
}

/// Gradients of a layer norm's parameters.
pub(crate) struct NormGradient<'a, T> {
    pub gain: &'a mut [T],
    pub bias: &'a mut [T],
}

/// Backward pass of a hidden layer in place: `values` (rows x width) holds ∂L/∂(output without residual) and becomes
/// ∂L/∂(W a + b); parameter gradients are added to.
///
/// With x̂ the normalised pre-activation, δ = φ' ⊙ ∂L/∂output and h = gain ⊙ δ:
/// ∂L/∂u = (h - mean h - x̂ mean(x̂ ⊙ h)) / √(var + ε).
pub(crate) struct Backward<'a, T> {
    pub values: &'a mut [T],
    pub width: usize,
    pub gain: Option<&'a [T]>,
    pub derivative: &'a [T],
    pub normalised: &'a [T],
    pub inverse_deviation: &'a [T],
    pub norm_gradient: Option<NormGradient<'a, T>>,
    pub bias_gradient: &'a mut [T],
}

impl<T: Real> Backward<'_, T> {
    pub fn run(self) {
        assert_eq!(self.values.len() % self.width, 0);
        assert_eq!(self.gain.is_some(), self.norm_gradient.is_some());
        dispatch(self);
    }
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, width, gain, derivative, normalised, inverse_deviation, mut norm_gradient, bias_gradient } =
            self;
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let span = index * width..(index + 1) * width;
            for (value, &slope) in row.iter_mut().zip(&derivative[span.clone()]) {
                *value *= slope;
            }
            if let (Some(gain), Some(gradient)) = (gain, &mut norm_gradient) {
                let normalised = &normalised[span];
                let gains = gradient.gain[..width].iter_mut().zip(&mut gradient.bias[..width]);
                for ((value, &unit), (gain, bias)) in row.iter().zip(normalised).zip(gains) {
                    *gain = value.fused_multiply_add(unit, *gain);
                    *bias += *value;
                }
                for (value, &gain) in row.iter_mut().zip(gain) {
                    *value *= gain;
                }
                project_out(simd, row, normalised, inverse_deviation[index]);
            }
            for (total, &value) in bias_gradient.iter_mut().zip(&*row) {
                *total += value;
            }
        }
    }
}

/// h ↦ (h - mean h - x̂ mean(x̂ ⊙ h)) · inverse: the (symmetric) Jacobian of u ↦ x̂ applied to h.
#[inline(always)]
fn project_out<T: Real, S: Simd>(simd: S, row: &mut [T], normalised: &[T], inverse: T) {
    let length = row.len();
    let normalised = &normalised[..length];
    let width = T::ONE / T::from_f64(length as f64);
    let (mean, correlation) = (sum(simd, row) * width, dot(simd, row, normalised) * width);
    for (value, &unit) in row.iter_mut().zip(normalised) {
        *value = (*value - mean - unit * correlation) * inverse;
    }
}

/// Tangent pass of a hidden layer in place: `values` (rows x count x width) holds the tangents of W a + b and becomes
/// those of the layer's output, with the tangents of a added for a residual.
pub(crate) struct Tangent<'a, T> {
    pub values: &'a mut [T],
    pub width: usize,
    pub count: usize,
    pub gain: Option<&'a [T]>,
    pub derivative: &'a [T],
    pub normalised: &'a [T],
    pub inverse_deviation: &'a [T],
    pub residual: Option<&'a [T]>,
}

impl<T: Real> Tangent<'_, T> {
    pub fn run(self) {
        assert_eq!(self.values.len() % (self.width * self.count), 0);
        dispatch(self);
    }
}

impl<T: Real> WithSimd for Tangent<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, width, count, gain, derivative, normalised, inverse_deviation, residual } = self;
        for (line, row) in values.chunks_exact_mut(width).enumerate() {
            let index = line / count;
            let span = index * width..(index + 1) * width;
            if let Some(gain) = gain {
                project_out(simd, row, &normalised[span.clone()], inverse_deviation[index]);
                for (value, &gain) in row.iter_mut().zip(gain) {
                    *value *= gain;
                }
            }
            for (value, &slope) in row.iter_mut().zip(&derivative[span]) {
                *value *= slope;
            }
            if let Some(residual) = residual {
                for (value, &input) in row.iter_mut().zip(&residual[line * width..(line + 1) * width]) {
                    *value += input;
                }
            }
        }
    }
}

/// totals += Σ over rows of `values` (rows x totals.len()): the bias gradient of a linear layer.
pub(crate) fn add_column_sums<T: Real>(values: &[T], totals: &mut [T]) {
    struct ColumnSums<'a, T> {
        values: &'a [T],
        totals: &'a mut [T],
    }
    impl<T: Real> WithSimd for ColumnSums<'_, T> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) {
            for row in self.values.chunks_exact(self.totals.len()) {
                for (total, &value) in self.totals.iter_mut().zip(row) {
                    *total += value;
                }
            }
        }
    }
    dispatch(ColumnSums { values, totals });
}
