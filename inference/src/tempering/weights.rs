//! Weights of particles: how many they are worth, how far the temperature may rise, and who is resampled.

/// The largest finite value; -∞ if there is none.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max)
}

/// Weights exp(increment (ℓ - max ℓ)); 0 where ℓ is not finite.
pub(super) fn weights(values: &[f64], increment: f64) -> Vec<f64> {
    let best = largest(values);
    values.iter().map(|value| if value.is_finite() { (increment * (value - best)).exp() } else { 0.0 }).collect()
}

/// (Σ w)²/Σ w² of these weights: as many equal ones would be worth as much.
pub(super) fn effective_size(values: &[f64], increment: f64) -> f64 {
    let weights = weights(values, increment);
    let sum: f64 = weights.iter().sum();
    sum * sum / weights.iter().map(|w| w * w).sum::<f64>()
}

/// The largest increment up to `rest` whose weights have the effective size `wanted`.
pub(super) fn increment(values: &[f64], rest: f64, wanted: f64) -> f64 {
    if effective_size(values, rest) >= wanted {
        return rest;
    }
    // A thousandth of the logarithm is enough; the smallest increment still makes progress.
    let (mut low, mut high) = ((f64::EPSILON).ln(), rest.ln());
    while high - low > 1e-3 {
        let middle = 0.5 * (low + high);
        if effective_size(values, middle.exp()) >= wanted { low = middle } else { high = middle }
    }
    low.exp()
}

/// Systematic resampling: the parent of each particle, in order. `offset` is uniform on [0, 1).
pub(super) fn parents(weights: &[f64], offset: f64) -> Vec<usize> {
    let n = weights.len();
    let sum: f64 = weights.iter().sum();
    let (mut parent, mut cumulative) = (0, weights[0]);
    let of_slot = |slot: usize| {
        let point = (slot as f64 + offset) / n as f64 * sum;
        while cumulative < point && parent + 1 < n {
            parent += 1;
            cumulative += weights[parent];
        }
        parent
    };
    (0..n).map(of_slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Children differ from n w by less than one, whatever the offset, and keep their parents' order.
    #[test]
    fn resampling_is_systematic() {
        let weights = [0.1, 0.0, 2.3, 0.7, 0.9, 1.0];
        let sum: f64 = weights.iter().sum();
        for offset in [0.0, 0.3, 0.999] {
            let parents = parents(&weights, offset);
            assert!(parents.is_sorted());
            for (parent, weight) in weights.iter().enumerate() {
                let children = parents.iter().filter(|&&other| other == parent).count() as f64;
                assert!((children - 6.0 * weight / sum).abs() < 1.0, "{offset}: {children} of {weight}");
            }
        }
    }

    /// The increment is the one whose weights are worth what is wanted, or all that is left; impossible particles are worth nothing.
    #[test]
    fn increments_keep_the_effective_size() {
        let values: Vec<f64> = (0..100).map(|i| -f64::from(i)).chain([f64::NAN, f64::NEG_INFINITY]).collect();
        let raised = increment(&values, 1.0, 50.0);
        assert!((effective_size(&values, raised) - 50.0).abs() < 0.1, "{raised}");
        assert_eq!(increment(&values, 1e-3, 50.0), 1e-3);
        assert_eq!(effective_size(&values, 0.0), 100.0);
        assert_eq!(weights(&values, 0.5)[100..], [0.0, 0.0]);
    }
}
