//! Vector registers of the two number types, for any instruction set.

use pulp::Simd;

use crate::real::Real;

/// Vector operations of a number type, for any instruction set.
pub trait VectorReal: Sized {
    /// A vector register.
    type Lanes<S: Simd>: Copy;

    /// Numbers in a vector register.
    fn lane_count<S: Simd>() -> usize;
    /// All lanes equal to `value`.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S>;
    /// Lanewise a b + c, rounded once where the instruction set can.
    fn multiply_add<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>, c: Self::Lanes<S>) -> Self::Lanes<S>;
    /// Lanewise a + b.
    fn add_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// Lanewise a - b.
    fn subtract_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// Sum of all lanes.
    fn reduce_sum<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self;
    /// Whole registers of a slice, and what is left.
    fn registers<S: Simd>(slice: &[Self]) -> (&[Self::Lanes<S>], &[Self]);
    /// The first lanes from `slice`, which may be shorter than a register (the rest is 0).
    fn load_part<S: Simd>(simd: S, slice: &[Self]) -> Self::Lanes<S>;
    /// Stores the first `slice.len()` lanes.
    fn store_part<S: Simd>(simd: S, slice: &mut [Self], value: Self::Lanes<S>);
}

macro_rules! implement_vector_real {
    ($real:ty, $lanes:ident, $count:ident, $splat:ident, $fma:ident, $add:ident, $subtract:ident, $reduce:ident,
     $registers:ident, $load:ident, $store:ident) => {
        impl VectorReal for $real {
            type Lanes<S: Simd> = S::$lanes;

            #[inline(always)]
            fn lane_count<S: Simd>() -> usize {
                S::$count
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S> {
                simd.$splat(value)
            }
            #[inline(always)]
            fn multiply_add<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes, c: S::$lanes) -> S::$lanes {
                simd.$fma(a, b, c)
            }
            #[inline(always)]
            fn add_lanes<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn subtract_lanes<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                simd.$subtract(a, b)
            }
            #[inline(always)]
            fn reduce_sum<S: Simd>(simd: S, a: S::$lanes) -> Self {
                simd.$reduce(a)
            }
            #[inline(always)]
            fn registers<S: Simd>(slice: &[Self]) -> (&[S::$lanes], &[Self]) {
                S::$registers(slice)
            }
            #[inline(always)]
            fn load_part<S: Simd>(simd: S, slice: &[Self]) -> Self::Lanes<S> {
                simd.$load(slice)
            }
            #[inline(always)]
            fn store_part<S: Simd>(simd: S, slice: &mut [Self], value: Self::Lanes<S>) {
                simd.$store(slice, value);
            }
        }
    };
}

implement_vector_real!(
    f32,
    f32s,
    F32_LANES,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    sub_f32s,
    reduce_sum_f32s,
    as_simd_f32s,
    partial_load_f32s,
    partial_store_f32s
);
implement_vector_real!(
    f64,
    f64s,
    F64_LANES,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    sub_f64s,
    reduce_sum_f64s,
    as_simd_f64s,
    partial_load_f64s,
    partial_store_f64s
);

/// Two registers from up to two registers' worth of numbers.
#[inline(always)]
pub(crate) fn load_pair<T: Real, S: Simd>(simd: S, source: &[T]) -> [T::Lanes<S>; 2] {
    let lanes = T::lane_count::<S>();
    if source.len() == 2 * lanes {
        // SAFETY: the slice holds exactly two registers' worth of numbers; the read needs no alignment.
        return unsafe { source.as_ptr().cast::<[T::Lanes<S>; 2]>().read_unaligned() };
    }
    let (first, second) = source.split_at(source.len().min(lanes));
    [T::load_part(simd, first), T::load_part(simd, second)]
}

/// Stores the first `target.len()` of two registers' lanes.
#[inline(always)]
pub(crate) fn store_pair<T: Real, S: Simd>(simd: S, target: &mut [T], value: [T::Lanes<S>; 2]) {
    let lanes = T::lane_count::<S>();
    if target.len() == 2 * lanes {
        // SAFETY: the slice holds exactly two registers' worth of numbers; the write needs no alignment.
        unsafe { target.as_mut_ptr().cast::<[T::Lanes<S>; 2]>().write_unaligned(value) };
        return;
    }
    let (first, second) = target.split_at_mut(target.len().min(lanes));
    T::store_part(simd, first, value[0]);
    T::store_part(simd, second, value[1]);
}
