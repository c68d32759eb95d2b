//! Distance of a posterior to the Dirac measure at the true parameters.
//!
//! The squared maximum mean discrepancy between a sample of a coordinate and δ_{θ*}, with the linear-quadratic kernel used
//! for the paper's JRNMM study, is Var + (mean - θ*)²: how far the marginal is from having collapsed onto the truth. The
//! *scaled* form divides by the standard deviation. Variances are the unbiased ones; `mse` is the mean of (θ - θ*)².

use crate::{DiagnosticsError, Result, check};
use ndarray::ArrayView2;

/// A metric of every marginal and their mean.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DiracDistance {
    /// One value per coordinate.
    pub marginals: Vec<f64>,
    /// Mean over the coordinates.
    pub mean: f64,
}

impl DiracDistance {
    fn new(marginals: Vec<f64>) -> Self {
        let mean = marginals.iter().sum::<f64>() / marginals.len() as f64;
        Self { marginals, mean }
    }
}

/// Var + (mean - θ*)² of each coordinate of `samples` (N, m), in squared units of θ.
///
/// # Errors
/// Fewer than two rows, values that are not finite, or `theta_true` of another width.
pub fn mmd(samples: ArrayView2<'_, f64>, theta_true: &[f64]) -> Result<DiracDistance> {
    let moments = moments(samples, theta_true)?;
    Ok(DiracDistance::new(moments.iter().map(|m| m.variance + m.bias * m.bias).collect()))
}

/// (Var + (mean - θ*)²) / sd of each coordinate of `samples` (N, m), in units of θ.
///
/// # Errors
/// As [`mmd`], and for a constant column (its sd is 0).
pub fn mmd_scaled(samples: ArrayView2<'_, f64>, theta_true: &[f64]) -> Result<DiracDistance> {
    let moments = moments(samples, theta_true)?;
    check::varies(check::SAMPLES, samples)?;
    Ok(DiracDistance::new(moments.iter().map(|m| (m.variance + m.bias * m.bias) / m.variance.sqrt()).collect()))
}

/// Mean of (θ - θ*)² of each coordinate of `samples` (N, m).
///
/// # Errors
/// As [`mmd`].
pub fn mse(samples: ArrayView2<'_, f64>, theta_true: &[f64]) -> Result<DiracDistance> {
    let moments = moments(samples, theta_true)?;
    let n = samples.nrows() as f64;
    Ok(DiracDistance::new(moments.iter().map(|m| m.variance * (n - 1.0) / n + m.bias * m.bias).collect()))
}

struct Moments {
    variance: f64,
    bias: f64,
}

fn moments(samples: ArrayView2<'_, f64>, theta_true: &[f64]) -> Result<Vec<Moments>> {
    check::finite(check::SAMPLES, samples, 2)?;
    let truth = ArrayView2::from_shape((1, theta_true.len()), theta_true).expect("a slice is a row");
    check::same_width("true parameters", truth, check::SAMPLES, samples.ncols())?;
    if let Some(column) = theta_true.iter().position(|value| !value.is_finite()) {
        return Err(DiagnosticsError::NotFinite { what: "true parameters", row: 0, column, value: theta_true[column] });
    }
    let n = samples.nrows() as f64;
    Ok(samples
        .columns()
        .into_iter()
        .zip(theta_true)
        .map(|(column, truth)| {
            let mean = column.sum() / n;
            let variance = column.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
            Moments { variance, bias: mean - truth }
        })
        .collect())
}
