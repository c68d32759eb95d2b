//! A first look from the prior: the simulations whose outcome is most like the observations.
//!
//! Polynomials of the whole prior miss more than the noise, wherever a simulator is not nearly linear, and lead astray. Rejection needs no regression (approximate
//! Bayesian computation, Pritchard et al. 1999): of each observation the nearest simulations are about draws of the posterior given that one observation, too wide
//! but around the truth; together they are the average of single posteriors.

use super::fit::Rows;
use rayon::prelude::*;

/// Observations that are looked at, at most, evenly spaced.
const MOST_OBSERVATIONS: usize = 100;

/// Draws that are kept, a parameter.
const DRAWS_A_PARAMETER: usize = 20;

/// Standard normal quantile at which half the width of a Gaussian is one sd.
const ONE_SD: f64 = 0.841_344_746;

/// Latent parameters (rows, m) of the simulations nearest each of the observations `x` (row-major, of as many values as rows have); log takes distances of log x.
pub(super) fn nearest(rows: &Rows, m: usize, x: &[f32], log: bool) -> Vec<f64> {
    let n = rows.u.len() / m;
    let d = rows.x.len() / n.max(1);
    let value = |x: f32| if log { f64::from(x).ln() } else { f64::from(x) };
    let scales: Vec<f64> =
        (0..d).map(|i| spread(rows.x.iter().skip(i).step_by(d).map(|&x| value(x)).collect())).collect();
    let scaled =
        |x: &[f32]| -> Vec<f64> { x.iter().zip(scales.iter().cycle()).map(|(&x, scale)| value(x) / scale).collect() };
    let (table, seen) = (scaled(&rows.x), scaled(x));
    let observations = seen.len() / d.max(1);
    let step = observations.div_ceil(MOST_OBSERVATIONS).max(1);
    let looked_at: Vec<&[f64]> = seen.chunks_exact(d).step_by(step).collect();
    let kept = (DRAWS_A_PARAMETER * m).min(n);
    let votes = looked_at.par_iter().map(|x| nearest_of(&table, x, kept)).reduce(
        || vec![0; n],
        |mut votes, more| {
            votes.iter_mut().zip(more).for_each(|(votes, more)| *votes += more);
            votes
        },
    );
    // Each row with probability votes/observations, so that none comes twice: evenly spaced among all votes.
    let (mut draws, mut counted) = (Vec::with_capacity(kept * m), looked_at.len() / 2);
    for (votes, u) in votes.iter().zip(rows.u.chunks_exact(m)) {
        counted += votes;
        if counted >= looked_at.len() {
            counted -= looked_at.len();
            draws.extend_from_slice(u);
        }
    }
    draws
}

/// 1 for the `kept` rows of `table` nearest to `x`, else 0.
fn nearest_of(table: &[f64], x: &[f64], kept: usize) -> Vec<usize> {
    let square = |row: &[f64]| row.iter().zip(x).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let mut order: Vec<(f64, usize)> = table.chunks_exact(x.len()).map(square).zip(0..).collect();
    let mut votes = vec![0; order.len()];
    if kept < order.len() {
        order.select_nth_unstable_by(kept, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
    order[..kept].iter().for_each(|(_, row)| votes[*row] = 1);
    votes
}

/// Half the width of the middle 68 % of finite values, or all of their range where that is none; 1 for constants.
fn spread(mut values: Vec<f64>) -> f64 {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 1.0 };
    let at = |share: f64| values[(share * last as f64).round() as usize];
    let (middle, range) = (0.5 * (at(ONE_SD) - at(1.0 - ONE_SD)), values[last] - values[0]);
    [middle, range].into_iter().find(|width| *width > 0.0).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    /// 3000 rows of u ~ N(0, I₂) and x = (1000 f(u₁) + noise, u₂ + noise), noise a tenth.
    fn rows(f: impl Fn(f64) -> f64) -> Rows {
        let mut rng = StreamKey::root(4).rng(0);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let mut rows = Rows::default();
        for _ in 0..3000 {
            let u = [normal(), normal()];
            rows.u.extend(u);
            rows.x.extend([(1000.0 * (f(u[0]) + 0.1 * normal())) as f32, (u[1] + 0.1 * normal()) as f32]);
        }
        rows
    }

    #[test]
    fn simulations_like_the_observations_lie_around_their_parameters_and_none_comes_twice() {
        let draws = nearest(&rows(|u| u), 2, &[900.0, -0.4, 1100.0, -0.6, 1000.0, -0.5], false);
        let (mean, covariance) = super::super::frame::moments(&draws, 2, None);
        assert!((mean[0] - 1.0).abs() < 0.1 && (mean[1] + 0.5).abs() < 0.1, "{mean:?}");
        assert!(covariance[0].sqrt() < 0.35 && covariance[3].sqrt() < 0.35, "{covariance:?}");
        let mut distinct: Vec<u64> = draws.chunks_exact(2).map(|u| u[0].to_bits()).collect();
        let count = distinct.len();
        assert!((count as i64 - 2 * DRAWS_A_PARAMETER as i64).abs() <= 1, "{count}");
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), count);
    }

    #[test]
    fn both_sides_of_what_observations_do_not_tell_apart_are_kept_and_logarithms_need_no_scale() {
        let draws = nearest(&rows(|u| u * u), 2, &[1000.0, 0.0], false);
        let above = draws.chunks_exact(2).filter(|u| u[0] > 0.0).count() as f64 / (draws.len() / 2) as f64;
        assert!((0.2..=0.8).contains(&above), "{above}");
        assert!(draws.chunks_exact(2).all(|u| (u[0].abs() - 1.0).abs() < 0.6));
        let mut rows = rows(|u| u);
        rows.x.iter_mut().for_each(|x| *x = (if x.abs() > 50.0 { *x / 100.0 } else { 5.0 * *x }).exp());
        let draws = nearest(&rows, 2, &[10f32.exp(), 1.0], true);
        let mean = super::super::frame::moments(&draws, 2, None).0;
        assert!((mean[0] - 1.0).abs() < 0.15 && mean[1].abs() < 0.15, "{mean:?}");
    }

    #[test]
    fn values_that_do_not_differ_and_few_rows_do_no_harm() {
        let few = Rows { u: vec![0.1, -0.2, 0.3], x: vec![1.0, 2.0, 1.0, 3.0, 1.0, f32::INFINITY], ..Rows::default() };
        assert_eq!(nearest(&few, 1, &[1.0, 2.5], false), few.u);
    }
}
