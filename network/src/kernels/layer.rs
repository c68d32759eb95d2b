//! Elementwise passes of a hidden layer over rows: layer norm, activation and residual, forward, backward and tangent.
//!
//! Each pass reads a row while it is in the first-level cache. Sums over a row run in [`LANES`] interleaved partial sums,
//! a fixed order that vectorises.

use pulp::{Arch, Simd, WithSimd};

use super::activation::{Elu, Gelu, Nonlinearity, Relu, Silu, Tanh};
use crate::definition::Activation;
use crate::real::Real;

/// ε of the layer norm, PyTorch's default.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

/// Partial sums of a row: two AVX-512 registers of f32.
const LANES: usize = 32;

/// Adds the partial sums pairwise.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = lanes[lane + half];
            lanes[lane] += other;
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ row.
#[inline(always)]
fn sum<T: Real>(row: &[T]) -> T {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [T::ZERO; LANES];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    fold(lanes)
}

/// Σ (row - shift)².
#[inline(always)]
fn sum_of_squares<T: Real>(row: &[T], shift: T) -> T {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [T::ZERO; LANES];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            let centred = value - shift;
            *lane = centred.fused_multiply_add(centred, *lane);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        let centred = value - shift;
        *lane = centred.fused_multiply_add(centred, *lane);
    }
    fold(lanes)
}

/// (Σ row, Σ row ⊙ other).
#[inline(always)]
fn sum_and_dot<T: Real>(row: &[T], other: &[T]) -> (T, T) {
    let ((blocks, rest), (other_blocks, other_rest)) = (row.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [T::ZERO; LANES];
    let mut dots = [T::ZERO; LANES];
    for (block, other) in blocks.iter().zip(other_blocks) {
        for lane in 0..LANES {
            sums[lane] += block[lane];
            dots[lane] = block[lane].fused_multiply_add(other[lane], dots[lane]);
        }
    }
    for (((sum, dot), &value), &other) in sums.iter_mut().zip(&mut dots).zip(rest).zip(other_rest) {
        *sum += value;
        *dot = value.fused_multiply_add(other, *dot);
    }
    (fold(sums), fold(dots))
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
fn moments<T: Real>(row: &[T]) -> (T, T) {
    let width = T::ONE / T::from_f64(row.len() as f64);
    let mean = sum(row) * width;
    let variance = sum_of_squares(row, mean) * width;
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
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn run_with<A: Nonlinearity>(self) {
        let Self { values, width, norm, residual, record, .. } = self;
        let mut record = record;
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let span = index * width..(index + 1) * width;
            if let Some(norm) = norm {
                let (mean, inverse) = moments(row);
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
    fn with_simd<S: Simd>(self, _simd: S) {
        match self.activation {
            Activation::Relu => self.run_with::<Relu>(),
            Activation::Silu => self.run_with::<Silu>(),
            Activation::Elu => self.run_with::<Elu>(),
            Activation::Gelu => self.run_with::<Gelu>(),
            Activation::Tanh => self.run_with::<Tanh>(),
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
        Arch::new().dispatch(self);
    }
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
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
                project_out(row, normalised, inverse_deviation[index]);
            }
            for (total, &value) in bias_gradient.iter_mut().zip(&*row) {
                *total += value;
            }
        }
    }
}

/// h ↦ (h - mean h - x̂ mean(x̂ ⊙ h)) · inverse: the (symmetric) Jacobian of u ↦ x̂ applied to h.
#[inline(always)]
fn project_out<T: Real>(row: &mut [T], normalised: &[T], inverse: T) {
    let length = row.len();
    let normalised = &normalised[..length];
    let width = T::ONE / T::from_f64(length as f64);
    let (total, dot) = sum_and_dot(row, normalised);
    let (mean, correlation) = (total * width, dot * width);
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
        Arch::new().dispatch(self);
    }
}

impl<T: Real> WithSimd for Tangent<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { values, width, count, gain, derivative, normalised, inverse_deviation, residual } = self;
        for (line, row) in values.chunks_exact_mut(width).enumerate() {
            let index = line / count;
            let span = index * width..(index + 1) * width;
            if let Some(gain) = gain {
                project_out(row, &normalised[span.clone()], inverse_deviation[index]);
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
    Arch::new().dispatch(ColumnSums { values, totals });
}
