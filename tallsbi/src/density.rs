//! Densities of models that know the likelihood: log p(x_{1:n}|θ), and the evidence of the observations.

use crate::{Error, Model, Result};
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use tallsbi_data::{LatentMap, Monitor, StreamKey};
use tallsbi_inference::model::cells::Cells;
use tallsbi_inference::model::density::{HALF_LN_2PI, log_sum_exp};
use tallsbi_inference::model::mixed::Categories;
use tallsbi_inference::model::{Lapsing, Networks, PreparedModel};
use tallsbi_inference::refine::{Column, RefinedModel, sample_refined};
use tallsbi_inference::sample::{SampleOptions, SampleRequest};
use tallsbi_inference::tempering::{Likelihood, Local, sample_tempered};

impl Model {
    /// log p(x_{1:n}|θ) of each row of θ (N, m) for the observations (n, d), [centred](Model::centre): in the simulator's units, masses of
    /// columns of whole numbers, densities of others, of what is not missing (NaN). -∞ where θ is outside the prior's support. One call serves all n at the cost of one.
    /// Of a model refined by [mean scores](tallsbi_inference::model::MeanScores) it is the density of these instead, up to a constant, where there are enough observations.
    ///
    /// # Errors
    /// When the model learned scores and has no density, shapes do not fit, or the monitor asked to stop.
    pub fn log_likelihood(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        self.density(observations, theta, None, monitor)
    }

    /// log λ(θ) + log p(x_{1:n}|θ) of each row of θ (N, m): the log density of the posterior but for the evidence, with the lapses that `options` ask for, of networks taken for exact. Where
    /// [their own error](tallsbi_inference::model::Believed) widens the posterior, samples are drawn with the likelihood to the power worth/n. `theta` is as [sampled](Model::sampled_names)
    /// with these options; units as in [`Model::log_likelihood`].
    ///
    /// # Errors
    /// As [`Model::log_likelihood`].
    pub fn log_posterior(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        let lapsing = self.lapsing(options)?;
        let values = self.density(observations, theta, lapsing.as_ref(), monitor)?;
        let prior = lapsing.as_ref().map_or(&self.trained().latent, |(_, map)| map).prior();
        Ok(values.iter().zip(theta.outer_iter()).map(|(value, row)| value + prior.log_density(&row.to_vec())).collect())
    }

    /// The likelihood with lapses.
    fn density(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        lapsing: Option<&(Lapsing<'_>, LatentMap)>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        self.check_width("observations", observations.ncols())?;
        let map = lapsing.map_or(&self.trained().latent, |(_, map)| map);
        let m = map.dim();
        if theta.ncols() != m {
            let expected = format!("the parameters {}", map.prior().names().join(", "));
            return Err(Error::Shape { what: "theta".into(), expected, found: format!("{} values", theta.ncols()) });
        }
        let inside: Vec<bool> =
            theta.outer_iter().map(|row| map.prior().log_density(&row.to_vec()).is_finite()).collect();
        let mut latent = vec![0.0; theta.len()];
        for ((row, out), _) in theta.outer_iter().zip(latent.chunks_exact_mut(m)).zip(&inside).filter(|(_, i)| **i) {
            map.to_latent(&row.to_vec(), out);
        }
        if let Some(summarised) = self.summarised(&[observations], monitor)? {
            let values = refined(summarised.law, summarised.summaries[0].view(), &latent, monitor)?;
            return Ok(values
                .iter()
                .zip(inside)
                .map(|(value, i)| if i { *value } else { f64::NEG_INFINITY })
                .collect());
        }
        let units = self.units(observations)?;
        let values = match (lapsing, self.prepared()) {
            (Some((lapsing, _)), _) => evaluate(lapsing, observations, &latent, monitor)?,
            (None, PreparedModel::Likelihood(model)) => evaluate(model, observations, &latent, monitor)?,
            (None, PreparedModel::Refined(model)) => refined(&model.by_form(), observations, &latent, monitor)?,
            (None, PreparedModel::Noise(_) | PreparedModel::Anchored(_)) => return Err(self.no_density()),
        };
        Ok(values.iter().zip(inside).map(|(value, i)| if i { value + units } else { f64::NEG_INFINITY }).collect())
    }

    /// log p(x_k|θ) of each observation k on its own, (N, n), with the lapses that `options` ask for: what leave-one-out cross-validation and WAIC are made
    /// of. `theta` is as [sampled](Model::sampled_names) with these options. Units as in [`Model::log_likelihood`]; 0 of observations of which all values are missing.
    ///
    /// # Errors
    /// As [`Model::log_likelihood`].
    ///
    /// Of observations that share an [error of the network](tallsbi_inference::model::shared) it is log p(x_k|θ, the others), their joint density less that of the others (Bürkner, Gabry & Vehtari 2021).
    pub fn pointwise_log_likelihood(
        &self,
        observations: ArrayView2<'_, f32>,
        theta: ArrayView2<'_, f64>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Array2<f64>> {
        let n = observations.nrows();
        let lapsing = self.lapsing(options)?;
        let conditions = self.trained().info.conditions;
        let known: Vec<bool> =
            observations.outer_iter().map(|row| row.iter().skip(conditions).any(|value| !value.is_nan())).collect();
        let several = known.iter().filter(|known| **known).count() > 1;
        let all = match self.prepared() {
            PreparedModel::Likelihood(model)
                if model.shares_error() && several && self.trained().mean_scores().is_none() =>
            {
                Some(self.density(observations, theta, None, monitor)?)
            }
            _ => None,
        };
        let of_one = |k: usize| -> Result<Vec<f64>> {
            if !known[k] {
                return Ok(vec![0.0; theta.nrows()]);
            }
            let Some(all) = &all else {
                return self.density(observations.slice(s![k..=k, ..]), theta, lapsing.as_ref(), monitor);
            };
            let others: Vec<usize> = (0..n).filter(|&other| other != k).collect();
            let others = self.density(observations.select(Axis(0), &others).view(), theta, None, monitor)?;
            Ok(all.iter().zip(&others).map(|(all, others)| all - others).collect())
        };
        let stage = monitor.stage("log-likelihood", "observations", n as u64);
        let columns: Vec<Vec<f64>> = (0..n)
            .into_par_iter()
            .map(|k| {
                monitor.check()?;
                let values = of_one(k)?;
                stage.advance(1);
                Ok(values)
            })
            .collect::<Result<_>>()?;
        Ok(Array2::from_shape_fn((theta.nrows(), n), |(row, k)| columns[k][row]))
    }

    /// log ∫ λ(θ) p(x_{1:n}|θ) dθ by tempering with as many particles as `options` asks samples; units as in [`Model::log_likelihood`].
    ///
    /// # Errors
    /// As [`Model::sample`], and when the model learned scores and has no density.
    pub fn log_evidence(
        &self,
        observations: ArrayView2<'_, f32>,
        options: &SampleOptions,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<f64> {
        Ok(self.log_evidences(&[observations], options, StreamKey::root(seed), monitor)?[0])
    }

    /// The same of each group of observations (n, d).
    pub(crate) fn log_evidences(
        &self,
        groups: &[ArrayView2<'_, f32>],
        options: &SampleOptions,
        key: StreamKey,
        monitor: &dyn Monitor,
    ) -> Result<Vec<f64>> {
        options.validate()?;
        groups.iter().try_for_each(|group| self.check_width("observations", group.ncols()))?;
        if self.trained().mean_scores().is_some() {
            let message = "was refined by mean scores, which are no density of the observations; give the model that it was refined from";
            return Err(Error::Input { origin: "the model".into(), message: message.into() });
        }
        let request = SampleRequest { groups, first_group: 0, key, covariances: None };
        let (samples, tempering) = (options.samples, &options.tempering);
        let evidences: Vec<f64> = match self.prepared() {
            _ if options.lapse.is_some() => {
                let lapsing = self.lapsing(options)?.map(|(lapsing, _)| lapsing).expect("asked for");
                sample_tempered(&lapsing, &request, samples, tempering, monitor)?.1
            }
            PreparedModel::Likelihood(model) => sample_tempered(model, &request, samples, tempering, monitor)?.1,
            PreparedModel::Refined(model) => {
                sample_refined(&model.by_form(), &request, samples, None, tempering, monitor)?
                    .1
                    .iter()
                    .map(|origin| origin.log_evidence)
                    .collect()
            }
            PreparedModel::Noise(_) | PreparedModel::Anchored(_) => return Err(self.no_density()),
        };
        evidences.iter().zip(groups).map(|(evidence, group)| Ok(evidence + self.units(*group)?)).collect()
    }

    fn no_density(&self) -> Error {
        let message = format!("of architecture {} learned scores and has no density", self.trained().architecture());
        Error::Input { origin: "the model".into(), message }
    }

    /// What makes log densities of standardised observations those of the simulator's: the networks leave out ½ log 2π, work on z =
    /// (f(x) - mean)/sd, and know masses of cells and of atoms as they are.
    fn units(&self, observations: ArrayView2<'_, f32>) -> Result<f64> {
        let map = &self.trained().measured_map();
        let observed = observations.slice(s![.., self.trained().info.conditions..]);
        let cells = match &self.trained().networks {
            Networks::Likelihood { layout, .. } if layout.cells => Cells::new(map),
            _ => None,
        };
        let categories = match &self.trained().networks {
            Networks::Likelihood { layout, .. } => layout.mixed.and_then(|_| Categories::new(map)),
            _ => None,
        };
        let mut observed = observed.to_owned();
        if let Some(categories) = &categories {
            let features: Vec<f64> = map.features_or_missing(observed.view())?.into_iter().map(f64::from).collect();
            for (mut row, features) in observed.outer_iter_mut().zip(features.chunks_exact(map.dim())) {
                let (dense, _) = categories.apart(features);
                row.iter_mut().zip(dense).filter(|(_, dense)| dense.is_nan()).for_each(|(x, _)| *x = f32::NAN);
            }
        }
        let mut units = 0.0;
        for (column, values) in observed.axis_iter(Axis(1)).enumerate() {
            let n = values.iter().filter(|value| !value.is_nan()).count() as f64;
            let density = match self.prepared() {
                // It standardises by itself.
                PreparedModel::Refined(model) => {
                    matches!(model.components[0].likelihood.columns[column], Column::Gaussian(_) | Column::Given { .. })
                }
                _ => {
                    let mass = cells.as_ref().is_some_and(|cells| cells.has(column))
                        || categories.as_ref().is_some_and(|categories| categories.has(column));
                    let density = !mass;
                    let sd = f64::from(map.sd[column]);
                    // A constant column is one whatever its unit.
                    units -= if density { n * (HALF_LN_2PI + if sd > 0.0 { sd.ln() } else { 0.0 }) } else { 0.0 };
                    density
                }
            };
            if density && map.log {
                units -= values.iter().filter(|x| !x.is_nan()).map(|&x| f64::from(x).ln()).sum::<f64>();
            }
        }
        Ok(units)
    }
}

/// Rows of parameters that are evaluated together, a multiple of what networks take at a time: between them the monitor may stop.
const ROWS_TOGETHER: usize = 256;

/// Values at latent parameters (N, m).
fn evaluate<L: Likelihood>(
    likelihood: &L,
    x: ArrayView2<'_, f32>,
    latent: &[f64],
    monitor: &dyn Monitor,
) -> Result<Vec<f64>> {
    let context = likelihood.context(x)?;
    let of_some = |latent: &[f64]| -> Result<Vec<f64>> {
        monitor.check()?;
        let mut local = Local::default();
        likelihood.evaluate(&context, latent, &mut likelihood.workspace(), &mut local);
        Ok(local.values)
    };
    let values: Vec<Vec<f64>> =
        latent.par_chunks(ROWS_TOGETHER * likelihood.dim_theta()).map(of_some).collect::<Result<_>>()?;
    Ok(values.concat())
}

/// The likelihood of a refined model: its components' local ones, each with the share that its proposal has of all at u,
/// Σ_c w_c N_c(u)/q(u) p_c(x|u); so its evidence is what tempering of the components gives.
fn refined(model: &RefinedModel, x: ArrayView2<'_, f32>, latent: &[f64], monitor: &dyn Monitor) -> Result<Vec<f64>> {
    let m = model.components[0].frame.dim();
    let rows = latent.len() / m;
    let mut logs = vec![Vec::with_capacity(model.components.len()); rows];
    for (index, component) in model.components.iter().enumerate() {
        let frame = &component.frame;
        let mut local = latent.to_vec();
        local.chunks_exact_mut(m).for_each(|u| frame.to_local(u));
        // log p_c + log N(u; 0, I) - log q(u).
        let values = evaluate(&model.part(index, None), x, &local, monitor)?;
        let (mut image, mut slope) = (vec![0.0; m], vec![0.0; m]);
        for (row, u) in latent.chunks_exact(m).enumerate() {
            let elements = model.symmetry.elements();
            let shares: Vec<f64> = elements
                .iter()
                .map(|element| {
                    element.apply(u, &mut image);
                    frame.log_density(&image, &mut slope) + (component.weight / elements.len() as f64).ln()
                })
                .collect();
            let prior = -0.5 * u.iter().map(|u| u * u).sum::<f64>() - m as f64 * HALF_LN_2PI;
            logs[row].push(log_sum_exp(&shares) + values[row] - prior);
        }
    }
    Ok(logs.iter().map(|logs| log_sum_exp(logs)).collect())
}

#[cfg(test)]
mod tests {
    use crate::testing::gaussian_linear;
    use crate::{SampleOptions, Silent, observe};
    use ndarray::Array2;
    use std::f64::consts::TAU;

    /// Posterior densities are the exact Gaussian's, and the evidence is what Bayes' rule makes of prior, likelihood and posterior.
    #[test]
    fn densities_are_those_of_the_exact_posterior() {
        let (task, model) = gaussian_linear();
        let x = observe(&*task, &[0.1; 10], 5, 0, &Silent).unwrap();
        let exact = task.exact_posterior(x.view()).unwrap();
        let theta = Array2::from_shape_fn((3, 10), |(row, i)| exact.mean[i] + 0.05 * (row as f64 - 1.0));
        let values = model.log_likelihood(x.view(), theta.view(), &Silent).unwrap();
        let posteriors = model.log_posterior(x.view(), theta.view(), &SampleOptions::default(), &Silent).unwrap();
        let evidence = model.log_evidence(x.view(), &SampleOptions::default(), 0, &Silent).unwrap();
        for ((row, value), density) in theta.outer_iter().zip(values).zip(posteriors) {
            // Coordinates are independent, each with a variance of its own.
            let (mut posterior, mut likelihood) = (0.0, 0.0);
            for (i, (&t, prior)) in row.iter().zip(task.prior().mean_and_sd()).enumerate() {
                let normal = |e: f64, variance: f64| -0.5 * e * e / variance - 0.5 * (TAU * variance).ln();
                let variance = exact.covariance[i][i];
                posterior += normal(t - exact.mean[i], variance);
                // x = θ + noise, whose variance the posterior's and the prior's tell; in the simulator's units.
                let noise = 5.0 / (1.0 / variance - prior.1.powi(-2));
                likelihood += x.column(i).iter().map(|&x| normal(f64::from(x) - t, noise)).sum::<f64>();
            }
            let found = density - evidence;
            assert!((found - posterior).abs() < 0.5, "{found} for {posterior}");
            // A unit forgotten would be some 40 off.
            assert!((value - likelihood).abs() < 1.0, "{value} for {likelihood}");
        }
        let outside = model.log_likelihood(x.view(), Array2::zeros((1, 3)).view(), &Silent);
        assert!(outside.is_err());
    }
}
