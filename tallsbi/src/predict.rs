//! What a fitted model predicts: new observations at draws of a posterior.

use crate::error::check_counts;
use crate::simulate::{draw_parameters, simulate_rows};
use crate::{Error, Result};
use ndarray::{Array2, Array3, ArrayView1, ArrayView2, s};
use tallsbi_data::{Monitor, Purpose, StreamKey};
use tallsbi_diagnostics::predictive::{PredictiveCheck, predictive_checks};
use tallsbi_simulators::Task;

/// Observations simulated at parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Parameters (S, m), as simulated at: in single precision.
    pub theta: Array2<f64>,
    /// Observations (S, n, d); NaN where a simulation failed.
    pub x: Array3<f32>,
    /// Rows of which a simulation failed.
    pub failed: usize,
}

/// Simulates `n` observations at each row of θ (S, m): draws of a posterior give posterior predictive ones, of the prior prior predictive ones.
///
/// # Errors
/// When θ does not fit the task or lies outside its prior's support, or the monitor asked to stop.
pub fn predict(
    task: &dyn Task,
    theta: ArrayView2<'_, f64>,
    n: usize,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Predictions> {
    let (rows, m) = theta.dim();
    if m != task.prior().dim() {
        return Err(Error::Shape {
            what: "theta".into(),
            expected: format!("the parameters {} of {}", task.prior().names().join(", "), task.name()),
            found: format!("{m} values"),
        });
    }
    task.prior().check_support("theta", theta)?;
    check_counts(&[("n_obs", n), ("observations", rows.saturating_mul(n))])?;
    let stored: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    let (mut x, mut valid) = (vec![0.0; rows * n * task.dim_x()], vec![0; rows]);
    let key = StreamKey::root(seed).child(Purpose::Observation);
    let stage = monitor.stage("predict", "draws", rows as u64);
    let failed = simulate_rows(task, n, key, 0, &stored, (&mut x, &mut valid), &stage)?;
    let shape = |error: ndarray::ShapeError| Error::Input { origin: "predictions".into(), message: error.to_string() };
    let theta = Array2::from_shape_vec((rows, m), stored.iter().map(|&value| value.into()).collect()).map_err(shape)?;
    Ok(Predictions { theta, x: Array3::from_shape_vec((rows, n, task.dim_x()), x).map_err(shape)?, failed })
}

/// What a fitted model predicts at its posterior, beside what was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct PosteriorPredictions {
    /// Predictions at draws of the posterior.
    pub posterior: Predictions,
    /// Predictions at as many draws of the prior, if asked for.
    pub prior: Option<Predictions>,
    /// Statistics of the observations against those predicted; `None` where these are of another kind or number, or values of all columns are missing.
    pub checks: Option<Vec<PredictiveCheck>>,
}

/// Simulates `n` observations at `draws` of the samples (S, m) of a posterior at most, evenly spaced, and at as many of the prior if `with_prior`, and compares them with
/// the observations (n, d) it was given, under whose conditions they are made.
///
/// # Errors
/// As [`predict`].
pub fn predict_posterior(
    task: &dyn Task,
    (samples, observed): (ArrayView2<'_, f64>, Option<ArrayView2<'_, f32>>),
    (draws, n): (usize, usize),
    with_prior: bool,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<PosteriorPredictions> {
    let (conditions, d) = (task.conditions(), task.dim_x());
    let known = observed.filter(|x| conditions > 0 && x.ncols() == d);
    let under = known.map(|x| task.under(x.slice_move(s![.., ..conditions]))).transpose()?;
    let task = under.as_deref().unwrap_or(task);
    let draws = draws.min(samples.nrows());
    let theta = Array2::from_shape_fn((draws, samples.ncols()), |(row, i)| samples[[row * samples.nrows() / draws, i]]);
    let posterior = predict(task, theta.view(), n, seed, monitor)?;
    let prior = with_prior.then(|| {
        let key = StreamKey::root(seed).child(Purpose::Prior);
        let drawn = draw_parameters(task.prior(), key, 0, draws);
        let drawn = Array2::from_shape_fn(theta.dim(), |(row, i)| f64::from(drawn[row * theta.ncols() + i]));
        predict(task, drawn.view(), n, key.seed(0), monitor)
    });
    let complete = |column: ArrayView1<'_, f32>| !column.iter().any(|value| value.is_nan());
    let comparable = observed.filter(|x| x.dim() == (n, d) && x.columns().into_iter().any(complete));
    let checks = comparable.map(|x| {
        let (x, predicted) = (x.slice_move(s![.., conditions..]), posterior.x.slice(s![.., .., conditions..]));
        let mut checks = predictive_checks(x, predicted)?;
        checks.iter_mut().for_each(|check| check.column += conditions);
        Ok::<_, Error>(checks)
    });
    Ok(PosteriorPredictions { prior: prior.transpose()?, checks: checks.transpose()?, posterior })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;
    use tallsbi_data::Silent;

    /// x ~ N(θ, diag(0.6, …, 1.4)): predictions have the posterior's and the noise's variance.
    #[test]
    fn predictions_have_the_variance_of_parameters_and_of_noise() {
        let task = task("gaussian_linear", &Default::default()).unwrap();
        let theta = Array2::from_shape_fn((2000, 10), |(row, _)| if row % 2 == 0 { 1.0 } else { -1.0 });
        let found = predict(&*task, theta.view(), 3, 1, &Silent).unwrap();
        assert_eq!((found.x.dim(), found.failed), ((2000, 3, 10), 0));
        let variance = found.x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / found.x.len() as f64;
        // 60 000 values of variance 1 + 1 on average, known to 0.013.
        assert!((variance - 2.0).abs() < 0.05, "{variance}");
        assert!(predict(&*task, theta.view().slice(ndarray::s![.., ..3]), 3, 1, &Silent).is_err());
    }
}
