//! Rows near the posterior: checks of a fit look at these alone.

use super::fit::Rows;
use super::frame::{Frame, moments};
use crate::Result;

/// Rows are weighted as if drawn from the posterior with its standard deviations widened by this.
const WIDENED: f64 = 2.0;

/// Rows with a smaller share of the largest weight are passed over.
const NEGLIGIBLE: f64 = 1e-3;

/// Weights of rows drawn from about `frame` that make them rows around the posterior `draws` (draw, m), the largest 1; 0 where negligible.
///
/// # Errors
/// When draws have no width in some direction.
pub(super) fn weights(frame: &Frame, rows: &Rows, draws: &[f64]) -> Result<Vec<f64>> {
    let m = frame.dim();
    let (mean, covariance) = moments(draws, m, None);
    let wide = Frame::new(mean, covariance.iter().map(|c| c * WIDENED * WIDENED).collect())?;
    let mut ignored = vec![0.0; m];
    let log = |u: &[f64]| wide.log_density(u, &mut ignored) - frame.log_density(u, &mut ignored);
    let logs: Vec<f64> = rows.u.chunks_exact(m).map(log).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |log: &f64| (log - largest).exp();
    Ok(logs.iter().map(weight).map(|weight| if weight < NEGLIGIBLE { 0.0 } else { weight }).collect())
}
