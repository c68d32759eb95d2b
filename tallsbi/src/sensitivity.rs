//! Which values of an observation tell of which parameters, and what more observations would bring: the Fisher information of the learned likelihood at the
//! posterior.
//!
//! In latent coordinates, in which the prior is N(0, I), one observation has the information F(z), and n of them leave about (I + n F)⁻¹ of the prior's
//! covariance (van der Vaart 1998, ch. 10). Where a network's error bounds what n observations tell, they are worth less: n/(1 + n e²), or what the likelihood of n that share an error says. The information of a single value is that of its marginal likelihood: all other values missing.

use crate::{Error, Model, Result};
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::Monitor;
use tallsbi_inference::model::{LikelihoodModel, PreparedModel};
use tallsbi_inference::small_matrix::{cholesky, cholesky_solve};
use tallsbi_inference::tempering::{Likelihood, Local};

/// Draws of the posterior that are averaged over.
const DRAWS: usize = 100;

/// Observations that are looked at: where the information depends on what is observed, its average over so many is enough.
const OBSERVATIONS: usize = 100;

/// Most values of an observation that are looked at one by one.
const VALUES: usize = 256;

/// What observations tell, at a posterior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Fisher information of each value of an observation alone about each parameter, in latent coordinates: one over the squared standard deviation that one such
    /// value would leave, all other parameters known, in prior standard deviations. (d, m), conditions left out; empty if there are too many.
    pub values: Vec<Vec<f64>>,
    /// The standard deviation of each parameter that is expected with more observations, over the present one: number of observations, (m).
    pub expected: Vec<(usize, Vec<f64>)>,
}

/// How many times as many observations are asked for.
const TIMES: [usize; 2] = [2, 4];

impl Model {
    /// What the observations (n, d), [centred](Model::centre), tell at samples (S, m) of their posterior, which counts for `worth` of them
    /// ([`SampleInfo::worth`](tallsbi_inference::sample::SampleInfo); all of them if none is given); nothing for models that learned scores, and refined ones.
    ///
    /// # Errors
    /// When shapes do not fit, or the monitor asked to stop.
    pub fn sensitivity(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        worth: Option<f64>,
        monitor: &dyn Monitor,
    ) -> Result<Option<Sensitivity>> {
        self.check_width("observations", observations.ncols())?;
        let PreparedModel::Likelihood(model) = self.prepared() else { return Ok(None) };
        let map = &self.trained().latent;
        let (rows, m) = (theta.nrows(), map.dim());
        if theta.ncols() != m || rows == 0 {
            let expected = format!("samples of the parameters {}", self.names().join(", "));
            return Err(Error::Shape { what: "theta".into(), expected, found: format!("{:?}", theta.dim()) });
        }
        let count = rows.min(DRAWS);
        let mut latent = vec![0.0; count * m];
        for (draw, out) in latent.chunks_exact_mut(m).enumerate() {
            map.to_latent(&theta.row(draw * rows / count).to_vec(), out);
        }
        let n = observations.nrows();
        let seen = observations.slice(s![..n.min(OBSERVATIONS), ..]);
        let deviations = |count: usize| -> Result<Vec<f64>> {
            // Observations that share an error tell less the more there are.
            let rows = if model.shares_error() { count } else { seen.nrows() };
            let rows: Vec<usize> = (0..rows).map(|row| row % seen.nrows()).collect();
            let each = informations(model, seen.select(Axis(0), &rows).view(), &latent)?;
            let error = worth.map_or(0.0, |worth| 1.0 / worth - 1.0 / n as f64);
            Ok(left(&each, m, count as f64 / (1.0 + count as f64 * error)))
        };
        let now = deviations(n)?;
        let ratio = |&times: &usize| -> Result<(usize, Vec<f64>)> {
            let later = deviations(times * n)?;
            Ok((times * n, later.iter().zip(&now).map(|(later, now)| later / now).collect()))
        };
        let expected = TIMES.iter().map(ratio).collect::<Result<_>>()?;
        let conditions = self.trained().info.conditions;
        let measured = observations.ncols() - conditions;
        if measured > VALUES {
            return Ok(Some(Sensitivity { values: Vec::new(), expected }));
        }
        let alone = |value: usize| -> Result<Vec<f64>> {
            monitor.check()?;
            let only = |(row, column): (usize, usize)| {
                let kept = column < conditions || column == conditions + value;
                if kept { seen[[row, column]] } else { f32::NAN }
            };
            // Of one for itself, where they share an error.
            let rows = if model.shares_error() { 1 } else { seen.nrows() };
            let x = Array2::from_shape_fn((rows, seen.ncols()), only);
            let known = x.column(conditions + value).iter().any(|value| !value.is_nan());
            if !known {
                return Ok(vec![0.0; m]);
            }
            let found = informations(model, x.view(), &latent)?;
            let mean = |a: usize| found.iter().map(|f| f[a * m + a]).sum::<f64>() / found.len() as f64;
            Ok((0..m).map(mean).collect())
        };
        let values = (0..measured).into_par_iter().map(alone).collect::<Result<_>>()?;
        Ok(Some(Sensitivity { values, expected }))
    }
}

/// The information of one of the observations x on average, (m, m), at each latent point.
fn informations(model: &LikelihoodModel, x: ArrayView2<'_, f32>, latent: &[f64]) -> Result<Vec<Vec<f64>>> {
    let m = model.dim_theta();
    let context = model.context(x)?;
    let mut local = Local::default();
    model.evaluate(&context, latent, &mut model.workspace(), &mut local);
    let n = x.nrows() as f64;
    Ok(local.informations.chunks_exact(m * m).map(|f| f.iter().map(|value| value / n).collect()).collect())
}

/// Prior standard deviations of each parameter that n observations leave: roots of the mean variances.
fn left(informations: &[Vec<f64>], m: usize, n: f64) -> Vec<f64> {
    let mut variances = vec![0.0; m];
    for information in informations {
        let mut precision: Vec<f64> = information.iter().map(|value| n * value).collect();
        (0..m).for_each(|a| precision[a * m + a] += 1.0);
        // At least the prior's.
        if !cholesky(&mut precision, m) {
            continue;
        }
        for (a, variance) in variances.iter_mut().enumerate() {
            let mut unit = vec![0.0; m];
            unit[a] = 1.0;
            cholesky_solve(&precision, &mut unit);
            *variance += unit[a] / informations.len() as f64;
        }
    }
    variances.into_iter().map(f64::sqrt).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::gaussian_linear;
    use crate::{SampleOptions, Silent, observe};

    /// x_i = θ_i + noise, each coordinate with a variance of its own: value i tells of parameter i alone, and posteriors are known.
    #[test]
    fn each_value_tells_of_its_own_parameter() {
        let (task, model) = gaussian_linear();
        let x = observe(&*task, &[0.1; 10], 5, 0, &Silent).unwrap();
        let samples =
            model.sample(x.view(), &SampleOptions { samples: 200, ..Default::default() }, 0, &Silent).unwrap();
        let of =
            |worth| model.sensitivity(x.view(), samples.theta.view(), worth, &Silent).unwrap().expect("a likelihood");
        let (found, bounded) = (of(None), of(Some(4.0)));
        let exact = task.exact_posterior(x.view()).unwrap();
        let prior = task.prior().mean_and_sd();
        for (i, row) in found.values.iter().enumerate() {
            // In units of the prior: 1/σ² - 1 = n F.
            let information = (prior[i].1.powi(2) / exact.covariance[i][i] - 1.0) / 5.0;
            assert!((row[i] / information - 1.0).abs() < 0.15, "{i}: {row:?} for {information}");
            let others = row.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, f)| *f).fold(0.0, f64::max);
            assert!(others < 0.05 * information, "{i}: {row:?}");
            // Four times as many: variances 1/(1 + 20 F) in place of 1/(1 + 5 F).
            let expected = ((1.0 + 5.0 * information) / (1.0 + 20.0 * information)).sqrt();
            assert!((found.expected[1].1[i] / expected - 1.0).abs() < 0.05 && found.expected[1].0 == 20);
            // With an error of 1/4 - 1/5: 20 of them are worth 10.
            let expected = ((1.0 + 4.0 * information) / (1.0 + 10.0 * information)).sqrt();
            assert!((bounded.expected[1].1[i] / expected - 1.0).abs() < 0.05);
        }
    }
}
