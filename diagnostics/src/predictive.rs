//! Posterior predictive checks (Rubin 1984; Gelman, Meng & Stern 1996): do data that the fitted model simulates look like the data it was fitted to?

use crate::{DiagnosticsError, Result};
use ndarray::{ArrayView1, ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

/// What is compared of a column of observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// Mean over the observations; of a single one its value.
    Mean,
    /// Standard deviation over the observations.
    Sd,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mean, Self::Sd, Self::Minimum, Self::Maximum];

    fn of(self, values: ArrayView1<'_, f32>) -> f64 {
        let wide = values.iter().map(|&value| f64::from(value));
        match self {
            Self::Mean => wide.sum::<f64>() / values.len() as f64,
            Self::Sd => values.mapv(f64::from).std(0.0),
            Self::Minimum => wide.fold(f64::INFINITY, f64::min),
            Self::Maximum => wide.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl std::fmt::Display for Statistic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Sd => "sd",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
        })
    }
}

/// One statistic of one column, observed and predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictiveCheck {
    /// The column, from 0.
    pub column: usize,
    /// What is compared.
    pub statistic: Statistic,
    /// Its value in the observations.
    pub observed: f64,
    /// Mean over the replications.
    pub predicted: f64,
    /// Standard deviation over the replications.
    pub sd: f64,
    /// Share of the replications that are larger, half of those that are equal: near 0 or 1 the model does not produce the observed.
    pub p_value: f64,
}

impl PredictiveCheck {
    /// Two-sided: twice the smaller tail.
    pub fn two_sided(&self) -> f64 {
        2.0 * self.p_value.min(1.0 - self.p_value)
    }
}

/// Compares observations (n, d) with replications (S, n, d), each of as many observations simulated at one draw of the posterior: mean, standard
/// deviation, smallest and largest of each column (of a single observation its value only). Columns in which an observation misses its value (NaN), and
/// replications with values that are not finite are left out.
///
/// These p-values are not uniform if the model is right: the data were used to fit it, so they concentrate at 1/2 and tests by them are conservative
/// (Robins, van der Vaart & Ventura 2000).
///
/// # Errors
/// When shapes do not fit, or not two replications are finite.
pub fn predictive_checks(
    observations: ArrayView2<'_, f32>,
    replications: ArrayView3<'_, f32>,
) -> Result<Vec<PredictiveCheck>> {
    Ok(compared(observations, replications)?.into_iter().map(|one| one.check()).collect())
}

/// p-values of the checks of [`predictive_checks`], in their order, that hold for all of them together: at most 5 % of right models have any below 0.05.
/// They are those of the largest deviation (single-step maxT, Westfall & Young 1993, Sec. 2.6),
///
/// p_j = (1 + #{s ≤ S: max_k |z_sk| ≥ |z_0j|}) / (S + 1), z_sj = (T_sj − mean_j) / sd_j,
///
/// where T_0j is the statistic j of the observations, T_sj of the replication s, and mean and sd are over all S + 1 of them, so that observations
/// which are one more replication have any rank among them equally often: how statistics depend on each other does not matter.
/// Observations fit their own posterior better than that: tests are conservative.
///
/// # Errors
/// As [`predictive_checks`].
pub fn adjusted_p_values(observations: ArrayView2<'_, f32>, replications: ArrayView3<'_, f32>) -> Result<Vec<f64>> {
    let compared = compared(observations, replications)?;
    let count = compared.first().map_or(0, |one| one.replicated.len());
    let mut largest = vec![0.0f64; count];
    let mut own = Vec::with_capacity(compared.len());
    for one in &compared {
        let all = || one.replicated.iter().chain([&one.observed]);
        let mean = all().sum::<f64>() / (count + 1) as f64;
        let sd = (all().map(|value| (value - mean).powi(2)).sum::<f64>() / (count + 1) as f64).sqrt();
        // Rounding of a constant is no deviation.
        let scale = if sd > f64::from(f32::EPSILON) * mean.abs() { sd } else { f64::INFINITY };
        let deviation = |value: f64| (value - mean).abs() / scale;
        largest.iter_mut().zip(&one.replicated).for_each(|(most, value)| *most = most.max(deviation(*value)));
        own.push(deviation(one.observed));
    }
    largest.sort_unstable_by(f64::total_cmp);
    let p_value = |own: f64| (1 + count - largest.partition_point(|most| *most < own)) as f64 / (count + 1) as f64;
    Ok(own.into_iter().map(p_value).collect())
}

/// A statistic of a column: of the observations, and of each replication.
struct Compared {
    column: usize,
    statistic: Statistic,
    observed: f64,
    replicated: Vec<f64>,
}

impl Compared {
    fn check(self) -> PredictiveCheck {
        let Self { column, statistic, observed, replicated: values } = self;
        let count = values.len() as f64;
        let larger: f64 = values
            .iter()
            .map(|value| if *value > observed { 1.0 } else { f64::from(u8::from(*value == observed)) / 2.0 })
            .sum();
        let predicted = values.iter().sum::<f64>() / count;
        let sd = (values.iter().map(|value| (value - predicted).powi(2)).sum::<f64>() / count).sqrt();
        PredictiveCheck { column, statistic, observed, predicted, sd, p_value: larger / count }
    }
}

/// All statistics of all columns, column by column.
fn compared(observations: ArrayView2<'_, f32>, replications: ArrayView3<'_, f32>) -> Result<Vec<Compared>> {
    let (_, n, d) = replications.dim();
    if (n, d) != observations.dim() || n == 0 {
        return Err(DiagnosticsError::ReplicationShape { replications: (n, d), observations: observations.dim() });
    }
    let finite: Vec<ArrayView2<'_, f32>> =
        replications.outer_iter().filter(|one| one.iter().all(|value| value.is_finite())).collect();
    if finite.len() < 2 {
        return Err(DiagnosticsError::TooFewSamples { what: "finite replications", found: finite.len(), needed: 2 });
    }
    let statistics = if n == 1 { &Statistic::ALL[..1] } else { &Statistic::ALL[..] };
    let one = |column: usize, statistic: Statistic| Compared {
        column,
        statistic,
        observed: statistic.of(observations.column(column)),
        replicated: finite.iter().map(|one| statistic.of(one.column(column))).collect(),
    };
    Ok((0..d)
        .filter(|&column| !observations.column(column).iter().any(|value| value.is_nan()))
        .flat_map(|column| statistics.iter().map(move |&statistic| (column, statistic)))
        .map(|(c, s)| one(c, s))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3};
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    /// x ~ N(μ, 1) in column 0, N(0, 4) in column 1; the model's second column has sd 1.
    #[test]
    fn a_wrong_spread_is_seen_and_a_right_mean_is_not() {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let x = Array2::from_shape_fn((40, 2), |(_, j)| normal() * [1.0, 2.0][j]);
        let mean = x.column(0).mean().expect("some");
        let replications = Array3::from_shape_fn((500, 40, 2), |_| normal());
        let shifted =
            Array3::from_shape_fn((500, 40, 2), |(s, i, j)| replications[[s, i, j]] + if j == 0 { mean } else { 0.0 });
        let checks = predictive_checks(x.view(), shifted.view()).expect("fits");
        assert_eq!(checks.len(), 8);
        let find = |column, statistic| {
            checks.iter().find(|check| check.column == column && check.statistic == statistic).expect("there").clone()
        };
        let right = find(0, Statistic::Mean);
        assert!((right.p_value - 0.5).abs() < 0.1, "{right:?}");
        // A mean of 40 unit normals has sd 0.158, known to 0.005 from 500.
        assert!((right.sd - 40f64.sqrt().recip()).abs() < 0.02, "{right:?}");
        assert!(find(0, Statistic::Sd).two_sided() > 0.05);
        assert_eq!(find(1, Statistic::Sd).p_value, 0.0);
        assert_eq!(find(1, Statistic::Sd).two_sided(), 0.0);
        // A column with a missing value is not compared, others are as before.
        let mut incomplete = x;
        incomplete[[3, 0]] = f32::NAN;
        assert_eq!(predictive_checks(incomplete.view(), shifted.view()).expect("fits"), checks[4..]);
    }

    #[test]
    fn single_observations_have_a_value_and_ties_count_half() {
        let x = Array2::from_elem((1, 1), 2.0);
        let replications = Array3::from_shape_vec((4, 1, 1), vec![1.0, 2.0, 3.0, f32::NAN]).expect("fits");
        let checks = predictive_checks(x.view(), replications.view()).expect("fits");
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].p_value, 0.5);
        assert!(predictive_checks(x.view(), replications.slice(ndarray::s![3.., .., ..])).is_err());
        assert!(predictive_checks(Array2::zeros((2, 1)).view(), replications.view()).is_err());
    }

    /// Observations that are one more replication: any of 40 dependent checks is below 0.05 as often as that, each alone far more often.
    #[test]
    fn adjusted_p_values_hold_for_all_checks_together() {
        let mut rng = Pcg64::seed_from_u64(2);
        let (trials, mut rejected, mut alone) = (400, 0, 0);
        for _ in 0..trials {
            let mut shared = 0.0f32;
            // Exponential values are skewed, neighbours depend on each other, one column is constant.
            let all = Array3::from_shape_fn((100, 8, 10), |(_, _, j)| {
                let fresh = -(1.0 - rand::RngExt::random::<f32>(&mut rng)).ln();
                shared = if j == 0 { fresh } else { 0.5 * (shared + fresh) };
                if j == 3 { 0.1 } else { shared }
            });
            let (x, replications) = (all.index_axis(ndarray::Axis(0), 0), all.slice(ndarray::s![1.., .., ..]));
            let adjusted = adjusted_p_values(x, replications).expect("fits");
            let checks = predictive_checks(x, replications).expect("fits");
            assert_eq!(adjusted.len(), checks.len());
            assert!(adjusted.iter().zip(&checks).all(|(p, check)| check.column != 3 || *p == 1.0), "{adjusted:?}");
            rejected += usize::from(adjusted.iter().any(|&p| p <= 0.05));
            alone += usize::from(checks.iter().any(|check| check.two_sided() <= 0.05));
        }
        // 20 are expected, with a standard deviation of 4.4.
        assert!((7..=33).contains(&rejected), "{rejected} of {trials}");
        assert!(alone > trials / 2, "{alone} of {trials}");
    }

    #[test]
    fn adjusted_p_values_name_what_is_off_and_nothing_else() {
        let mut rng = Pcg64::seed_from_u64(3);
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        // The spread of column 4 is three times what is predicted, its mean is as predicted.
        let x = Array2::from_shape_fn(
            (20, 6),
            |(i, j)| if j == 4 { if i % 2 == 0 { 3.0 } else { -3.0 } } else { normal() },
        );
        let replications = Array3::from_shape_fn((199, 20, 6), |_| normal());
        let adjusted = adjusted_p_values(x.view(), replications.view()).expect("fits");
        let checks = predictive_checks(x.view(), replications.view()).expect("fits");
        let off: Vec<_> =
            checks.iter().zip(&adjusted).filter(|(_, p)| **p < 0.05).map(|(c, _)| (c.column, c.statistic)).collect();
        assert_eq!(off, [(4, Statistic::Sd)]);
        assert_eq!(adjusted[4 * 4 + 1], 1.0 / 200.0);
    }
}
