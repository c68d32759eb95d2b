//! Whether the simulations cover a user's own observations.

use super::results::SupportCheck;
use super::summary::{covariance, quantile};
use anyhow::{Context as _, Result, bail};
use faer::linalg::solvers::Llt;
use faer::prelude::Solve;
use faer::{Mat, Side};
use ndarray::{ArrayView2, Axis};

/// Share of the average variance added to the variance of each value before distances are computed, so that values that
/// (nearly) follow from others do not decide them.
const RIDGE: f64 = 1e-6;

/// Compares observations (n, d) with simulations (N, d): distances in the simulations' own metric, and quantiles.
///
/// # Errors
/// When there are fewer than two simulations.
pub fn support(simulated: ArrayView2<'_, f64>, observed: ArrayView2<'_, f64>) -> Result<SupportCheck> {
    if simulated.nrows() < 2 {
        bail!("at least two simulations are needed to compare observations with");
    }
    let d = simulated.ncols();
    let cov = covariance(simulated);
    let ridge = RIDGE * (0..d).map(|i| cov[i][i]).sum::<f64>() / d as f64 + f64::MIN_POSITIVE;
    let matrix = Mat::from_fn(d, d, |i, j| cov[i][j] + if i == j { ridge } else { 0.0 });
    let factor = Llt::new(matrix.as_ref(), Side::Lower)
        .map_err(|_| anyhow::anyhow!("the simulated observations do not vary; nothing can be inferred from them"))?;
    let mean = simulated.mean_axis(Axis(0)).context("there are no simulations")?;
    let distances = |rows: ArrayView2<'_, f64>| -> Vec<f64> {
        let centred = Mat::from_fn(d, rows.nrows(), |i, j| rows[[j, i]] - mean[i]);
        let solved = factor.solve(&centred);
        (0..rows.nrows()).map(|j| (0..d).map(|i| centred[(i, j)] * solved[(i, j)]).sum()).collect()
    };
    let mut reference = distances(simulated);
    reference.sort_unstable_by(f64::total_cmp);
    let found = distances(observed);
    let tail: Vec<f64> = found
        .iter()
        .map(|distance| {
            let below = reference.partition_point(|known| known < distance);
            (reference.len() - below) as f64 / reference.len() as f64
        })
        .collect();
    let sorted = |rows: ArrayView2<'_, f64>, i: usize| {
        let mut column = rows.column(i).to_vec();
        column.sort_unstable_by(f64::total_cmp);
        column
    };
    let at = |column: Vec<f64>, levels: [f64; 3]| levels.map(|level| quantile(&column, level));
    Ok(SupportCheck {
        outside: tail.iter().filter(|&&tail| tail < 0.01).count(),
        distances: found,
        tail,
        quantiles: (0..d).map(|i| at(sorted(simulated, i), [0.005, 0.5, 0.995])).collect(),
        observed: (0..d).map(|i| at(sorted(observed, i), [0.0, 0.5, 1.0])).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
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
}
