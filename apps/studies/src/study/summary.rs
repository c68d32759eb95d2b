//! Numbers that sum up posterior samples: marginals, correlations, and the directions that the data fix.

use super::results::{Direction, Marginal};
use anyhow::{Context as _, Result};
use faer::{Mat, Side};
use ndarray::ArrayView2;

/// Mean, spread, quantiles and contraction of each parameter. `prior_sd` has one value a parameter.
pub fn marginals(samples: ArrayView2<'_, f64>, prior_sd: &[f64], truth: Option<&[f64]>) -> Result<Vec<Marginal>> {
    let distances = match truth {
        Some(truth) => tallsbi::diagnostics::dirac::mmd(samples, truth)?.marginals.into_iter().map(Some).collect(),
        None => vec![None; samples.ncols()],
    };
    let marginal = |((column, prior_sd), dirac_mmd): ((ndarray::ArrayView1<'_, f64>, &f64), Option<f64>)| {
        let mut sorted = column.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mean = column.sum() / column.len() as f64;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (column.len() as f64 - 1.0);
        let sd = variance.sqrt();
        Marginal {
            mean,
            sd,
            lower: quantile(&sorted, 0.025),
            median: quantile(&sorted, 0.5),
            upper: quantile(&sorted, 0.975),
            contraction: sd / prior_sd,
            dirac_mmd,
        }
    };
    Ok(samples.columns().into_iter().zip(prior_sd).zip(distances).map(marginal).collect())
}

/// Distance of samples from the true parameters: √ of the mean over parameters of MMD² to the Dirac measure there, each divided by the
/// prior's variance. `None` where samples are not finite.
pub fn distance_to_truth(samples: ArrayView2<'_, f64>, truth: &[f64], prior_sd: &[f64]) -> Result<Option<f64>> {
    if samples.iter().any(|value| !value.is_finite()) {
        return Ok(None);
    }
    let marginals = tallsbi::diagnostics::dirac::mmd(samples, truth)?.marginals;
    let scaled = marginals.iter().zip(prior_sd).map(|(mmd, sd)| mmd / (sd * sd));
    Ok(Some((scaled.sum::<f64>() / prior_sd.len() as f64).sqrt()))
}

/// Quantile of sorted values, interpolated linearly between order statistics; NaN where there are none.
pub fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = probability.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let weight = position - below as f64;
    sorted[below] + weight * (sorted[(below + 1).min(last)] - sorted[below])
}

/// Covariance of rows, unbiased.
pub fn covariance(samples: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    let (n, m) = samples.dim();
    let mean: Vec<f64> = samples.columns().into_iter().map(|column| column.sum() / n as f64).collect();
    let entry = |i: usize, j: usize| {
        let product = |row: ndarray::ArrayView1<'_, f64>| (row[i] - mean[i]) * (row[j] - mean[j]);
        samples.outer_iter().map(product).sum::<f64>() / (n as f64 - 1.0)
    };
    (0..m).map(|i| (0..m).map(|j| entry(i, j)).collect()).collect()
}

/// Correlations; 0 beside a parameter that does not vary.
pub fn correlation(covariance: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sd: Vec<f64> = (0..covariance.len()).map(|i| covariance[i][i].sqrt()).collect();
    let entry = |i: usize, j: usize| match sd[i] * sd[j] {
        _ if i == j => 1.0,
        product if product > 0.0 => covariance[i][j] / product,
        _ => 0.0,
    };
    (0..sd.len()).map(|i| (0..sd.len()).map(|j| entry(i, j)).collect()).collect()
}

/// Eigen-directions of a covariance in units of the prior's standard deviations, best determined first.
///
/// With S = diag(prior sd), S⁻¹ Cov S⁻¹ = V Λ Vᵀ: along column k of V the posterior keeps the share √λ_k of the prior's spread.
pub fn directions(covariance: &[Vec<f64>], prior_sd: &[f64]) -> Result<Vec<Direction>> {
    let m = prior_sd.len();
    let scaled = Mat::from_fn(m, m, |i, j| covariance[i][j] / (prior_sd[i] * prior_sd[j]));
    let eigen = scaled
        .self_adjoint_eigen(Side::Lower)
        .map_err(|error| anyhow::anyhow!("{error:?}"))
        .context("the covariance of the posterior samples has no eigen-decomposition")?;
    let direction = |k: usize| {
        let weights: Vec<f64> = (0..m).map(|i| eigen.U()[(i, k)]).collect();
        let largest = weights.iter().copied().fold(0.0, |best: f64, w| if w.abs() > best.abs() { w } else { best });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        Direction {
            spread: eigen.S()[k].max(0.0).sqrt(),
            weights: weights.into_iter().map(|weight| sign * weight).collect(),
        }
    };
    Ok((0..m).map(direction).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (p, expected) in [(0.0, 1.0), (0.5, 3.0), (0.25, 1.75), (1.0, 8.0)] {
            assert!((quantile(&sorted, p) - expected).abs() < 1e-12);
        }
        assert!(quantile(&[], 0.5).is_nan());
    }

    /// θ₁ + θ₂ is known ten times better than θ₁ - θ₂: the first direction is their sum.
    #[test]
    fn directions_find_the_combination_that_is_fixed() {
        let (narrow, wide) = (0.01f64, 0.1f64);
        let (a, b) = (0.5 * (narrow.powi(2) + wide.powi(2)), 0.5 * (narrow.powi(2) - wide.powi(2)));
        // In units of the prior (sd 2 and 3).
        let covariance = vec![vec![4.0 * a, 6.0 * b], vec![6.0 * b, 9.0 * a]];
        let directions = directions(&covariance, &[2.0, 3.0]).expect("symmetric");
        assert!((directions[0].spread - narrow).abs() < 1e-12 && (directions[1].spread - wide).abs() < 1e-12);
        let root = 0.5f64.sqrt();
        assert!(directions[0].weights.iter().all(|w| (w - root).abs() < 1e-9), "{:?}", directions[0]);
    }

    #[test]
    fn marginals_know_mean_spread_and_contraction() {
        let samples = Array2::from_shape_vec((4, 1), vec![1.0, 3.0, 5.0, 7.0]).expect("shape");
        let marginal = &marginals(samples.view(), &[10.0], Some(&[3.0])).expect("finite")[0];
        assert_eq!((marginal.mean, marginal.median), (4.0, 4.0));
        assert!((marginal.sd.powi(2) - 20.0 / 3.0).abs() < 1e-12);
        assert!((marginal.contraction - marginal.sd / 10.0).abs() < 1e-15);
        assert!((marginal.dirac_mmd.expect("known truth") - (20.0 / 3.0 + 1.0)).abs() < 1e-12);
    }

    /// The mean over parameters of (Var + bias²) / prior variance; nothing where a sample diverged.
    #[test]
    fn the_distance_to_the_truth_is_in_prior_spreads() {
        let mut samples = Array2::from_shape_vec((2, 2), vec![1.0, 10.0, 3.0, 30.0]).expect("shape");
        let found = distance_to_truth(samples.view(), &[2.0, 50.0], &[2.0, 100.0]).expect("finite").expect("known");
        let expected = (0.5 * (2.0 / 4.0 + (200.0 + 900.0) / 10_000.0f64)).sqrt();
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        samples[[0, 0]] = f64::NAN;
        assert_eq!(distance_to_truth(samples.view(), &[2.0, 50.0], &[2.0, 100.0]).expect("no error"), None);
    }
}
