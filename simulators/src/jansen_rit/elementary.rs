//! Elementary functions in single precision, without branches so that loops over lanes vectorise.
//!
//! Polynomial coefficients are weighted minimax fits (Lawson's iteration) to the remainders named beside them. All
//! operations are IEEE-exact (fused multiply-add, no reciprocal estimates): a result depends on neither the instruction
//! set nor the lane.

/// Bound on the argument of [`exp`]: e^±80 is far from overflow, and beyond it a sigmoid is 0 or 1 to all digits.
const EXP_BOUND: f32 = 80.0;
/// 1.5 · 2²³: adding it rounds a small number to an integer, which the low bits of the sum then hold.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few enough bits to be multiplied by |n| ≤ 128 exactly.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// (eʳ - 1 - r)/r² on |r| ≤ ½ ln 2; error 3·10⁻⁹ relative to eʳ.
const EXP: [f32; 5] = [4.999_999_3e-1, 1.666_652_1e-1, 4.166_839e-2, 8.368_715e-3, 1.381_460_1e-3];
/// (log(1+f) - f + f²/2)/f³ on [√½ - 1, √2 - 1]; error 6·10⁻⁹ relative to log(1+f).
const LOG: [f32; 8] = [
    3.333_333e-1,
    -2.500_082e-1,
    2.000_122_7e-1,
    -1.662_335_7e-1,
    1.420_176e-1,
    -1.316_018_9e-1,
    1.276_156_2e-1,
    -7.634_46e-2,
];
/// (sin y - y)/y³ in y² on |y| ≤ π/4; error 4·10⁻⁹.
const SIN: [f32; 3] = [-1.666_665_5e-1, 8.332_178e-3, -1.951_73e-4];
/// (cos y - 1 + y²/2)/y⁴ in y² on |y| ≤ π/4; error 10⁻¹⁰.
const COS: [f32; 3] = [4.166_664_7e-2, -1.388_736_8e-3, 2.443_845e-5];
/// 2π / 2³²: radians per unit of a 32-bit angle.
const RADIANS: f32 = 1.462_918_1e-9;

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    for k in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[k]);
    }
    sum
}

/// eˣ for |x| ≤ 80, e^±80 beyond; relative error below 1.2·10⁻⁷.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x < EXP_BOUND { x } else { EXP_BOUND };
    let x = if x > -EXP_BOUND { x } else { -EXP_BOUND };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDING);
    let n = shifted - ROUNDING;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let value = (r * r).mul_add(polynomial(&EXP, r), r) + 1.0;
    // The low bits of `shifted` are n: moved into the exponent they multiply by 2ⁿ.
    f32::from_bits(value.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// √(-2 log u) with u = (bits | 1)/2³¹ from the upper 31 bits: the radius of the Box–Muller transform, at most 6.56;
/// absolute error below 10⁻⁶ (one and a half units in the last place).
#[inline(always)]
pub(super) fn box_muller_radius(bits: u32) -> f32 {
    /// Bits of √½: numbers from here to √2 have the exponent 0 after the shift.
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let u = ((bits >> 1) | 1) as i32 as f32;
    let offset = u.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = (offset as i32 >> 23) - 31;
    let f = f32::from_bits((offset & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let f2 = f * f;
    let log1p = (f2 * f).mul_add(polynomial(&LOG, f), f2.mul_add(-0.5, f));
    let n = exponent as f32;
    let log = n.mul_add(LN_2_HIGH, n.mul_add(LN_2_LOW, log1p));
    // At u = 1 the logarithm is exactly zero; the bound keeps rounding from making the root's argument negative.
    let square = -2.0 * log;
    (if square > 0.0 { square } else { 0.0 }).sqrt()
}

/// (cos, sin) of 2π · angle / 2³²; absolute error below 1.5·10⁻⁷.
#[inline(always)]
pub(super) fn cos_sin(angle: u32) -> (f32, f32) {
    // Nearest quarter turn, and the exact remainder in [-⅛, ⅛) turn.
    let quarter = angle.wrapping_add(1 << 29) >> 30;
    let y = angle.wrapping_sub(quarter << 30) as i32 as f32 * RADIANS;
    let y2 = y * y;
    let sin = (y2 * y).mul_add(polynomial(&SIN, y2), y);
    let cos = (y2 * y2).mul_add(polynomial(&COS, y2), y2.mul_add(-0.5, 1.0));
    let swap = quarter & 1 == 1;
    let (c, s) = if swap { (sin, cos) } else { (cos, sin) };
    // cos is negative in quarters 1 and 2, sin in 2 and 3.
    let cos_sign = (quarter.wrapping_add(1) & 2) << 30;
    let sin_sign = (quarter & 2) << 30;
    (f32::from_bits(c.to_bits() ^ cos_sign), f32::from_bits(s.to_bits() ^ sin_sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> impl Iterator<Item = u32> {
        (0..2_000_000u32).map(|i| i.wrapping_mul(2_654_435_769)).chain([0, 1, 2, 3, u32::MAX, u32::MAX - 1, 1 << 31])
    }

    #[test]
    fn exp_is_accurate() {
        let worst = scan()
            .map(|bits| (f64::from(bits) / 2f64.powi(32) * 160.0 - 80.0) as f32)
            .map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1.2e-7, "relative error {worst:e}");
        assert!(exp(1e9).is_finite() && exp(-1e9) > 0.0 && exp(-1e9) < 1e-30);
    }

    #[test]
    fn radius_is_accurate() {
        let worst = scan()
            .map(|bits| {
                let u = f64::from((bits >> 1) | 1) / 2f64.powi(31);
                (f64::from(box_muller_radius(bits)) - (-2.0 * u.ln()).sqrt(), u)
            })
            // Near u = 1 the conversion to single precision moves u by up to 2⁻²⁵.
            .map(|(error, u)| if u > 0.999 { error.abs() * 1e-3 } else { error.abs() })
            .fold(0.0, f64::max);
        assert!(worst < 1e-6, "absolute error {worst:e}");
    }

    #[test]
    fn cos_sin_are_accurate() {
        let worst = scan()
            .map(|bits| {
                let angle = f64::from(bits) / 2f64.powi(32) * std::f64::consts::TAU;
                let (c, s) = cos_sin(bits);
                (f64::from(c) - angle.cos()).abs().max((f64::from(s) - angle.sin()).abs())
            })
            .fold(0.0, f64::max);
        assert!(worst < 1.5e-7, "absolute error {worst:e}");
    }
}
