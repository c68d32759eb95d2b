//! Quantiles without a formula: Newton's method on the logarithm of a tail.

/// A logarithm of a tail's probability and its derivative.
pub(super) type LnTail = (f64, f64);

/// Steps after which bisection alone would have used up the digits of f64.
const STEPS: usize = 200;

/// The u in `[low, high]` where the monotone `ln_tail` is `target`, from `start`.
///
/// Tails of log-concave distributions are log-concave, so that Newton's method ends from either side; what leaves the bracket is bisected.
pub(super) fn solve(ln_tail: impl Fn(f64) -> LnTail, target: f64, start: f64, bracket: (f64, f64)) -> f64 {
    let (mut low, mut high) = bracket;
    let rising = ln_tail(high).0 > ln_tail(low).0;
    let mut u = start.clamp(low, high);
    for _ in 0..STEPS {
        let (value, slope) = ln_tail(u);
        if (value < target) == rising {
            low = u;
        } else {
            high = u;
        }
        let newton = u - (value - target) / slope;
        let next = if newton >= low && newton <= high { newton } else { 0.5 * (low + high) };
        let settled = (next - u).abs() <= 2.0 * f64::EPSILON * u.abs();
        u = next;
        if settled {
            break;
        }
    }
    u
}
