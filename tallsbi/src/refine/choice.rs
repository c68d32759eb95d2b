//! Which of two likelihoods predicts simulations at a posterior better: the base's network or the local one.

use crate::{Model, Result};
use ndarray::{ArrayView2, Axis};

/// Standard errors by which the base must be better: where they are alike, the local one has the smaller error that all observations share.
const CLEARLY: f64 = 2.0;

/// By how many nats an observation `base` predicts `x` (N, d) better than `local` at the parameters `theta` (N, m) that each was simulated at, if it clearly does. Rows
/// at which one of them has no density do not count.
///
/// # Errors
/// When shapes do not fit, or a model has no density.
pub(super) fn gain(
    base: &Model,
    local: &Model,
    theta: ArrayView2<'_, f64>,
    x: ArrayView2<'_, f32>,
) -> Result<Option<f64>> {
    let mut gains = Vec::with_capacity(theta.nrows());
    for (theta, x) in theta.axis_chunks_iter(Axis(0), 1).zip(x.axis_chunks_iter(Axis(0), 1)) {
        let centred = base.centre("simulations", x.mapv(f64::from).view())?;
        let gain = base.log_likelihood(centred.view(), theta)?[0] - local.log_likelihood(x, theta)?[0];
        gains.extend(gain.is_finite().then_some(gain));
    }
    Ok(clear(&gains))
}

/// The mean, if it is clearly positive.
fn clear(gains: &[f64]) -> Option<f64> {
    let n = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (gains.len() > 1 && mean > CLEARLY * (variance / n).sqrt()).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_gains_count() {
        let gains = |shift: f64| (0..100).map(|i| shift + (f64::from(i) * 1.7).sin()).collect::<Vec<_>>();
        assert!(clear(&gains(0.05)).is_none() && clear(&gains(-1.0)).is_none() && clear(&[]).is_none());
        assert!((clear(&gains(0.5)).unwrap() - 0.5).abs() < 0.02);
    }
}
