//! Does the fitted model reproduce the observations? Data simulated at draws of the posterior, beside them.

use super::options::{LEAST_REPLICATIONS, RunOptions};
use super::results::{PredictedStatistic, PredictiveResults};
use super::steps::{file, run_task, write_json};
use super::summary::quantile;
use anyhow::{Context as _, Result};
use ndarray::{Array2, ArrayView2, ArrayView3, s};
use std::path::Path;
use tallsbi::data::{Prior, Purpose};
use tallsbi::diagnostics::predictive::{adjusted_p_values, predictive_checks};
use tallsbi::files::{Observations, Posterior};
use tallsbi::{Session, predict};

/// Simulates as many observations as the posterior was given, the first `n`, at `draws` of its samples, and compares them.
///
/// Random numbers are its own: no other step's change.
pub fn predictive_check(
    session: &Session<'_>,
    run: &RunOptions,
    (n, draws): (usize, usize),
    [posterior, observations]: [&Path; 2],
    folder: &Path,
) -> Result<()> {
    let task = run_task(run)?.context("predictions need a task")?;
    let x = Observations::read(observations)?.x.slice(s![..n, ..]).mapv(|value| value as f32);
    let conditions = task.conditions();
    let task = if conditions > 0 { task.under(x.slice(s![.., ..conditions]))? } else { task };
    let theta = spaced(task.prior(), Posterior::read(posterior)?.matrix().view(), draws);
    let seed = session.seeded(Purpose::Replication).seed;
    let predicted = predict(task.as_ref(), theta.view(), n, seed, session.monitor)?;
    let views = (x.slice(s![.., conditions..]), predicted.x.slice(s![.., .., conditions..]));
    write_json(&folder.join(file::RESULT), &compared(views, predicted.failed, conditions)?)
}

/// `count` rows of the prior's support at most, evenly spaced: samplers of scores may leave it.
fn spaced(prior: &Prior, samples: ArrayView2<'_, f64>, count: usize) -> Array2<f64> {
    let inside = |&row: &usize| prior.log_density(&samples.row(row).to_vec()).is_finite();
    let rows: Vec<usize> = (0..samples.nrows()).filter(inside).collect();
    let count = count.min(rows.len());
    let kept: Vec<usize> = (0..count).map(|index| rows[index * rows.len() / count]).collect();
    samples.select(ndarray::Axis(0), &kept)
}

/// Observations (n, d) against replications (S, n, d), both without their `first` columns.
fn compared(
    (x, replications): (ArrayView2<'_, f32>, ArrayView3<'_, f32>),
    failed: usize,
    first: usize,
) -> Result<PredictiveResults> {
    let (draws, n_obs, d) = replications.dim();
    let mut found = PredictiveResults { n_obs, draws, failed, first, checks: vec![], single: vec![], mean: vec![] };
    let finite: Vec<_> = replications.outer_iter().filter(|one| one.iter().all(|value| value.is_finite())).collect();
    if finite.len() < LEAST_REPLICATIONS {
        return Ok(found);
    }
    let adjusted = adjusted_p_values(x, replications)?;
    let checks = predictive_checks(x, replications)?.into_iter().zip(adjusted);
    found.checks = checks.map(|(check, adjusted)| PredictedStatistic { check, adjusted }).collect();
    let levels = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        [0.025, 0.5, 0.975].map(|level| quantile(&values, level))
    };
    for column in 0..d {
        let values = |one: &ArrayView2<'_, f32>| one.column(column).mapv(f64::from);
        found.single.push(levels(finite.iter().flat_map(values).collect()));
        found.mean.push(levels(finite.iter().map(|one| values(one).sum() / n_obs as f64).collect()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};

    #[test]
    fn too_few_replications_say_nothing_and_bands_hold_what_was_simulated() {
        let x = Array2::from_elem((2, 1), 1.0);
        let mut replications = Array3::from_shape_fn((41, 2, 1), |(s, k, _)| s as f32 + 100.0 * k as f32);
        let found = compared((x.view(), replications.view()), 0, 0).expect("fits");
        assert_eq!((found.checks.len(), found.draws), (4, 41));
        assert_eq!(found.mean, [[51.0, 70.0, 89.0]]);
        assert!((found.single[0][1] - 70.0).abs() < 31.0, "{:?}", found.single);
        replications.slice_mut(s![LEAST_REPLICATIONS - 1.., .., ..]).fill(f32::NAN);
        let found = compared((x.view(), replications.view()), 22, 0).expect("fits");
        assert!(found.checks.is_empty() && found.failed == 22);
    }

    #[test]
    fn samples_outside_the_prior_are_not_simulated_at() {
        let prior = Prior::uniform(&[("a", 0.0, 1.0)]).expect("a prior");
        let samples = array![[0.1], [1.5], [0.2], [f64::NAN], [0.3], [0.4]];
        assert_eq!(spaced(&prior, samples.view(), 2), array![[0.1], [0.3]]);
        assert_eq!(spaced(&prior, samples.view(), 9).nrows(), 4);
        assert_eq!(spaced(&prior, samples.slice(s![1..2, ..]), 9).nrows(), 0);
    }
}
