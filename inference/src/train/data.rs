//! The training set as training sees it: latent parameters, standardised observations, and a split.

use super::options::{LatentKind, TrainOptions};
use crate::model::ObservationMap;
use crate::{InferenceError, Result};
use ndarray::{ArrayView2, ArrayView3, Axis};
use rand::seq::SliceRandom;
use tallsbi_data::{LatentMap, Prior, Purpose, StreamKey};

/// Fewest rows that can be split and trained on.
const MIN_ROWS: usize = 20;

/// A training set in memory: N parameters with K observations of each.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// z, (N, m).
    pub latent: Vec<f32>,
    /// Standardised observations, (N, K, d).
    pub features: Vec<f32>,
    /// m.
    pub dim_theta: usize,
    /// d.
    pub dim_x: usize,
    /// K.
    pub n_obs: usize,
    /// θ to z.
    pub map: LatentMap,
    /// x to features.
    pub observation_map: ObservationMap,
    /// Parameters trained on.
    pub training: Vec<u32>,
    /// Parameters held out.
    pub validation: Vec<u32>,
}

impl TrainingData {
    /// Prepares `theta` (N, m) and `x` (N, K, d), both in the simulator's units and finite.
    ///
    /// # Errors
    /// When shapes do not fit, there are too few rows, a parameter is constant, or θ lies outside the prior's support.
    pub fn prepare(
        theta: ArrayView2<'_, f32>,
        x: ArrayView3<'_, f32>,
        prior: &Prior,
        log_x: bool,
        options: &TrainOptions,
        key: StreamKey,
    ) -> Result<Self> {
        let (n, m) = theta.dim();
        let (rows, n_obs, dim_x) = x.dim();
        if rows != n || m != prior.dim() {
            return Err(InferenceError::Shape {
                what: "training set",
                expected: format!("theta ({n}, {}) and x ({n}, ..)", prior.dim()),
                found: format!("theta ({n}, {m}) and x ({rows}, ..)"),
            });
        }
        if n < MIN_ROWS {
            let message = format!("has {n} valid rows; at least {MIN_ROWS} are needed");
            return Err(InferenceError::TrainingSet(message));
        }
        if n_obs < options.network.n_max {
            return Err(InferenceError::Option {
                option: "n_max",
                message: format!(
                    "is {} but the training set has {n_obs} observation(s) of each theta; simulate with --n-obs {}",
                    options.network.n_max, options.network.n_max
                ),
            });
        }
        prior.check_support("training set, theta", theta)?;
        let observation_map = ObservationMap::fit(x, log_x)?;
        let flat = x.to_shape((n * n_obs, dim_x)).map_err(|error| InferenceError::TrainingSet(error.to_string()))?;
        let features = observation_map.features(flat.view())?;
        let map = match options.latent {
            LatentKind::PriorGaussian => LatentMap::prior_gaussian(prior),
            LatentKind::Standardized => standardized(theta, prior)?,
        };
        let mut latent = vec![0.0f32; n * m];
        let (mut physical, mut z) = (vec![0.0; m], vec![0.0; m]);
        for (row, out) in theta.axis_iter(Axis(0)).zip(latent.chunks_exact_mut(m)) {
            physical.iter_mut().zip(row).for_each(|(p, &value)| *p = f64::from(value));
            map.to_latent(&physical, &mut z);
            out.iter_mut().zip(&z).for_each(|(o, &value)| *o = value as f32);
        }
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.shuffle(&mut key.child(Purpose::Split).rng(0));
        let held_out = ((n as f64 * options.validation_fraction).round() as usize).clamp(1, n - 1);
        let training = order.split_off(held_out);
        Ok(Self { latent, features, dim_theta: m, dim_x, n_obs, map, observation_map, training, validation: order })
    }

    /// z of one parameter.
    pub fn latent_row(&self, row: usize) -> &[f32] {
        &self.latent[row * self.dim_theta..(row + 1) * self.dim_theta]
    }

    /// Features of observation `k` of one parameter.
    pub fn feature_row(&self, row: usize, k: usize) -> &[f32] {
        let index = row * self.n_obs + k;
        &self.features[index * self.dim_x..(index + 1) * self.dim_x]
    }
}

/// The paper's latent map, with mean and (unbiased) standard deviation of θ, or of log θ for log-normal priors.
fn standardized(theta: ArrayView2<'_, f32>, prior: &Prior) -> Result<LatentMap> {
    let log = prior.log_coordinates();
    let n = theta.nrows() as f64;
    let (mean, sd): (Vec<f64>, Vec<f64>) = theta
        .axis_iter(Axis(1))
        .zip(log)
        .map(|(column, log)| {
            let values = || column.iter().map(|&v| if log { f64::from(v).ln() } else { f64::from(v) });
            let mean = values().sum::<f64>() / n;
            (mean, (values().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
        })
        .unzip();
    Ok(LatentMap::standardized(prior, mean, sd)?)
}
