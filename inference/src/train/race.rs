//! Which of the networks that are trained side by side can still become the best: the others stop.
//!
//! A validation loss falls less and less: what a doubling of the epochs gains is no more than what the doubling before it gained, but for the noise of
//! validation and the last part of the schedule, from which all gain alike. So a network is out of the race when it would stay behind
//! the loss that the leader has *already* even if each doubling to come gained as much as the last.

use super::trainer::EpochRecord;

/// The epoch after which networks are first compared; the next times are each twice as late.
const FIRST: usize = 4;

/// Whether networks are compared after this epoch.
pub(super) fn is_due(epoch: usize) -> bool {
    epoch >= FIRST && (epoch / FIRST).is_power_of_two() && epoch.is_multiple_of(FIRST)
}

/// The validation loss that a network can still come to by epoch `epochs`, if its records so far are `history`, an even number.
pub(super) fn attainable(history: &[EpochRecord], epochs: usize) -> f64 {
    let lowest =
        |records: &[EpochRecord]| records.iter().map(|record| record.validation_loss).fold(f64::INFINITY, f64::min);
    let done = history.len();
    let (now, before) = (lowest(history), lowest(&history[..done / 2]));
    let doublings = (epochs.max(done) as f64 / done as f64).log2();
    now - (before - now) * doublings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(loss: impl Fn(f64) -> f64, epochs: usize) -> Vec<EpochRecord> {
        let record = |epoch| EpochRecord {
            training_loss: 0.0,
            validation_loss: loss(epoch as f64),
            learning_rate: 1e-3,
            gradient_norm: 1.0,
        };
        (1..=epochs).map(record).collect()
    }

    #[test]
    fn networks_are_compared_at_doublings() {
        assert_eq!((0..100).filter(|&epoch| is_due(epoch)).collect::<Vec<_>>(), [4, 8, 16, 32, 64]);
    }

    /// A loss that falls by the same each doubling is foretold exactly, one that falls more slowly not underestimated, one that rises keeps its best.
    #[test]
    fn what_is_attainable_is_not_underestimated() {
        let logarithmic = attainable(&curve(|epoch| 5.0 - epoch.log2(), 16), 128);
        assert!((logarithmic - (5.0 - 7.0)).abs() < 1e-12, "{logarithmic}");
        let power = |epoch: f64| 3.0 + 4.0 / epoch.sqrt();
        assert!(attainable(&curve(power, 16), 128) < power(128.0));
        assert_eq!(attainable(&curve(|epoch| (epoch - 3.0).abs(), 16), 128), 0.0);
        assert_eq!(attainable(&curve(power, 16), 16), power(16.0));
    }
}
