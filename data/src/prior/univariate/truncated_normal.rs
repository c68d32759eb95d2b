//! Normal between two bounds, either of which may be infinite; half-normal by a bound at its mean.

use super::normal::{FARTHEST, LN_SQRT_2PI, lower_quantile, mills, upper};
use super::solve::solve;
use super::{Tail, Univariate};

/// N(loc, scale²) given low < θ < high.
#[derive(Debug, Clone)]
pub(in super::super) struct TruncatedNormal {
    /// Mean before truncation.
    pub loc: f64,
    /// Standard deviation before truncation.
    pub scale: f64,
    /// Lower bound or -∞.
    pub low: f64,
    /// Upper bound or ∞.
    pub high: f64,
}

/// Nodes and weights of the Gauss–Legendre rule of eight points on [-1, 1] (Abramowitz & Stegun, Table 25.4), one half.
const RULE: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_3),
];

/// Widths (times the density's logarithmic slope) below which the rule of eight points is exact to rounding.
const NARROW: f64 = 0.5;

/// log of ∫ φ over [s, t], -∞ ≤ s < t ≤ ∞, to relative precision wherever the two lie.
fn ln_mass(s: f64, t: f64) -> f64 {
    if s + t < 0.0 {
        return ln_mass(-t, -s);
    }
    if s >= t {
        return f64::NEG_INFINITY;
    }
    let width = t - s;
    if width * s.abs().max(t.abs()).max(1.0) < NARROW {
        let middle = 0.5 * (s + t);
        let at = |node: f64| {
            let u = 0.5 * width * node;
            (-u * (middle + 0.5 * u)).exp()
        };
        let sum: f64 = RULE.iter().map(|(node, weight)| weight * (at(*node) + at(-node))).sum();
        return -0.5 * middle * middle - LN_SQRT_2PI + (0.5 * width * sum).ln();
    }
    if s <= 0.0 {
        // Around zero: the two halves have no cancellation.
        return (-upper(-s) - upper(t)).ln_1p();
    }
    let decay = if t.is_finite() { (-0.5 * (t - s) * (t + s)).exp() * mills(t) } else { 0.0 };
    -0.5 * s * s - LN_SQRT_2PI + (mills(s) - decay).ln()
}

impl TruncatedNormal {
    fn standard(&self, x: f64) -> f64 {
        (x - self.loc) / self.scale
    }

    fn bounds(&self) -> (f64, f64) {
        (self.standard(self.low), self.standard(self.high))
    }

    /// Mean and variance of the standard variable between the bounds, by the densities at them.
    fn standard_moments(&self) -> (f64, f64) {
        let (a, b) = self.bounds();
        let mass = ln_mass(a, b);
        let density = |x: f64| if x.is_finite() { (-0.5 * x * x - LN_SQRT_2PI - mass).exp() } else { 0.0 };
        let weighted = |x: f64| if x.is_finite() { x * density(x) } else { 0.0 };
        let mean = density(a) - density(b);
        (mean, 1.0 + weighted(a) - weighted(b) - mean * mean)
    }
}

/// The x in [a, b] below which a standard normal truncated to it has the mass p.
fn lower_value(a: f64, b: f64, p: f64) -> f64 {
    let whole = ln_mass(a, b);
    let target = p.ln();
    let ln_tail = |x: f64| {
        let ln_p = ln_mass(a, x) - whole;
        (ln_p, (-0.5 * x * x - LN_SQRT_2PI - whole - ln_p).exp())
    };
    // Where the mass below `a` counts for nothing the quantile is the normal's; near `a` the density is constant.
    let below = if a.is_finite() { upper(-a) } else { 0.0 };
    let q = below + (target + whole).exp();
    let from_normal = if q < 0.5 {
        lower_quantile(q.max(f64::MIN_POSITIVE))
    } else {
        -lower_quantile((1.0 - q).max(f64::MIN_POSITIVE))
    };
    let from_bound = a + (target + whole + 0.5 * a * a + LN_SQRT_2PI).exp();
    let near = a.is_finite() && (from_bound - a) * a.abs().max(1.0) < NARROW;
    let start = if near { from_bound } else { from_normal };
    let low = if a.is_finite() { a } else { -FARTHEST - 3.0 + b.min(0.0) };
    let high = if b.is_finite() { b } else { FARTHEST + 3.0 + a.max(0.0) };
    solve(ln_tail, target, start, (low, high)).clamp(low, high)
}

impl Univariate for TruncatedNormal {
    fn tail(&self, x: f64) -> Tail {
        let ((a, b), x) = (self.bounds(), self.standard(x));
        let whole = ln_mass(a, b);
        Tail::smaller((ln_mass(a, x) - whole).exp(), (ln_mass(x, b) - whole).exp())
    }

    fn value(&self, tail: Tail) -> f64 {
        let (a, b) = self.bounds();
        let x = if tail.upper { -lower_value(-b, -a, tail.p) } else { lower_value(a, b, tail.p) };
        (self.loc + self.scale * x).clamp(self.low, self.high)
    }

    fn ln_density(&self, x: f64) -> (f64, f64) {
        let ((a, b), x) = (self.bounds(), self.standard(x));
        (-0.5 * x * x - LN_SQRT_2PI - self.scale.ln() - ln_mass(a, b), -x / self.scale)
    }

    fn support(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    fn moments(&self) -> Option<(f64, f64)> {
        let (mean, variance) = self.standard_moments();
        // Far out the formula cancels; quantiles do not.
        (variance > 1e-6).then(|| (self.loc + self.scale * mean, self.scale * variance.sqrt()))
    }
}
