//! A user's own observations: as they are, or a signal of any length cut into windows and summarised like the simulations;
//! and whether the simulations cover them.

use super::results::SupportCheck;
use super::summary::{covariance, quantile};
use crate::error::usage;
use anyhow::{Context as _, Result, bail};
use faer::linalg::solvers::Llt;
use faer::prelude::Solve;
use faer::{Mat, Side};
use ndarray::{Array2, ArrayView2, Axis};
use tallsbi::files::MatrixSource;
use tallsbi::simulators::SignalWindow;
use tallsbi::simulators::jansen_rit::{BINS, PowerSpectrum};

/// Share of the average variance added to the variance of each value before distances are computed, so that values that
/// (nearly) follow from others do not decide them.
const RIDGE: f64 = 1e-6;

/// Reads observations of `dim_x` values. Where the task summarises windows of a signal, a single column (or row) of at least one window is
/// a signal at its sampling rate, and becomes one observation a window; what does not fill the last window is left out.
///
/// # Errors
/// When the file cannot be read, or is neither observations nor such a signal.
pub fn read(source: &str, dim_x: usize, window: Option<SignalWindow>) -> Result<Array2<f32>> {
    let values = MatrixSource::parse(source).read()?.values;
    if values.ncols() == dim_x {
        return Ok(values.mapv(|value| value as f32));
    }
    let single = values.ncols() == 1 || values.nrows() == 1;
    let Some(window) = window.filter(|_| single && dim_x == BINS) else {
        let hint = window.map_or_else(String::new, |window| {
            format!(", or a signal at {} Hz as a single column", window.sampling_rate)
        });
        return Err(usage(format!(
            "{source}: observations have {} values, the model was trained on {dim_x}; give (n, {dim_x}){hint}",
            values.ncols()
        )));
    };
    let signal: Vec<f64> = values.iter().copied().collect();
    if signal.len() < window.samples {
        return Err(usage(format!(
            "{source}: a signal of {} samples is shorter than one window of {} ({} s at {} Hz)",
            signal.len(),
            window.samples,
            window.samples as f64 / window.sampling_rate,
            window.sampling_rate
        )));
    }
    windows(&signal, window.samples).with_context(|| source.to_owned())
}

/// One summary a window of `samples` samples, each window with its mean removed.
fn windows(signal: &[f64], samples: usize) -> Result<Array2<f32>> {
    let mut spectrum = PowerSpectrum::new();
    let mut log_power = [0.0; BINS];
    let mut summaries = Vec::new();
    for window in signal.chunks_exact(samples) {
        let mean = window.iter().sum::<f64>() / samples as f64;
        let centred: Vec<f64> = window.iter().map(|value| value - mean).collect();
        spectrum.log10_power(&centred, &mut log_power)?;
        summaries.extend(log_power.iter().map(|&value| value as f32));
    }
    Ok(Array2::from_shape_vec((summaries.len() / BINS, BINS), summaries)?)
}

/// Compares observations (n, d) with simulations (N, d): distances in the simulations' own metric, and quantiles.
///
/// # Errors
/// When there are fewer than two simulations.
pub fn support(simulations: ArrayView2<'_, f32>, observations: ArrayView2<'_, f32>) -> Result<SupportCheck> {
    if simulations.nrows() < 2 {
        bail!("at least two simulations are needed to compare observations with");
    }
    let simulated = simulations.mapv(f64::from);
    let observed = observations.mapv(f64::from);
    let d = simulated.ncols();
    let cov = covariance(simulated.view());
    let ridge = RIDGE * (0..d).map(|i| cov[i][i]).sum::<f64>() / d as f64 + f64::MIN_POSITIVE;
    let matrix = Mat::from_fn(d, d, |i, j| cov[i][j] + if i == j { ridge } else { 0.0 });
    let factor = Llt::new(matrix.as_ref(), Side::Lower)
        .map_err(|_| anyhow::anyhow!("the simulated observations do not vary; nothing can be inferred from them"))?;
    let mean = simulated.mean_axis(Axis(0)).context("there are no simulations")?;
    let distances = |rows: &Array2<f64>| -> Vec<f64> {
        let centred = Mat::from_fn(d, rows.nrows(), |i, j| rows[[j, i]] - mean[i]);
        let solved = factor.solve(&centred);
        (0..rows.nrows()).map(|j| (0..d).map(|i| centred[(i, j)] * solved[(i, j)]).sum()).collect()
    };
    let mut reference = distances(&simulated);
    reference.sort_unstable_by(f64::total_cmp);
    let found = distances(&observed);
    let tail: Vec<f64> = found
        .iter()
        .map(|distance| {
            let below = reference.partition_point(|known| known < distance);
            (reference.len() - below) as f64 / reference.len() as f64
        })
        .collect();
    let sorted = |rows: &Array2<f64>, i: usize| {
        let mut column = rows.column(i).to_vec();
        column.sort_unstable_by(f64::total_cmp);
        column
    };
    let at = |column: Vec<f64>, levels: [f64; 3]| levels.map(|level| quantile(&column, level));
    Ok(SupportCheck {
        outside: tail.iter().filter(|&&tail| tail < 0.01).count(),
        distances: found,
        tail,
        quantiles: (0..d).map(|i| at(sorted(&simulated, i), [0.005, 0.5, 0.995])).collect(),
        observed: (0..d).map(|i| at(sorted(&observed, i), [0.0, 0.5, 1.0])).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        Array2::from_shape_fn((rows, columns), |_| {
            let z: f64 = StandardNormal.sample(&mut rng);
            z as f32
        })
    }

    #[test]
    fn observations_like_the_simulations_pass_and_others_do_not() {
        let simulations = normals(4000, 5, 1);
        let inside = support(simulations.view(), normals(30, 5, 2).view()).expect("works");
        assert!(!inside.is_suspicious(), "{inside:?}");
        let mean = inside.distances.iter().sum::<f64>() / 30.0;
        assert!((mean - 5.0).abs() < 2.5, "a Mahalanobis distance² has mean d, got {mean}");
        let shifted = normals(30, 5, 3).mapv(|value| value + 4.0);
        let outside = support(simulations.view(), shifted.view()).expect("works");
        assert!(outside.is_suspicious() && outside.outside >= 28);
    }

    /// Windows of a signal are summarised as the simulator does it, and an incomplete one is left out.
    #[test]
    fn signals_become_windows() {
        let signal: Vec<f64> =
            (0..2 * 1024 + 100).map(|i| 3.0 + (2.0 * std::f64::consts::PI * 10.0 * i as f64 / 128.0).sin()).collect();
        let summaries = windows(&signal, 1024).expect("finite");
        assert_eq!(summaries.dim(), (2, BINS));
        let row = summaries.row(0);
        let peak = (0..BINS).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("bins");
        // 65 samples at 128 Hz: bins 1.97 Hz apart.
        assert_eq!(peak, 5, "10 Hz");
    }
}
