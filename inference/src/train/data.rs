//! The training set as training sees it: latent parameters, standardised observations, and a split.

use super::features::{Features, Storage};
use super::options::{LatentKind, TrainOptions};
use crate::model::ObservationMap;
use crate::model::cells::Cells;
use crate::model::observation_map::Moments;
use crate::notes::Note;
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use rand::seq::SliceRandom;
use tallsbi_data::{LatentMap, Prior, Purpose, StreamKey, XTransform};

/// Fewest rows that can be split and trained on.
const MIN_ROWS: usize = 20;

/// A training set made ready: N parameters with K observations of each.
#[derive(Debug)]
pub struct TrainingData {
    /// z, (N, m).
    pub latent: Vec<f32>,
    /// Standardised observations, (N, K, d).
    pub features: Features,
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
    /// Rows of a file that were left out because they are not valid.
    pub invalid: u64,
    /// What was noticed in the rows.
    pub notes: Vec<Note>,
}

/// Rows to train on and rows held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Parameters trained on.
    pub training: Vec<u32>,
    /// Parameters held out.
    pub validation: Vec<u32>,
}

/// Sees blocks of parameters (n, m) and observations (n, K, d) in order.
pub type VisitRows<'a> = dyn FnMut(ArrayView2<'_, f32>, ArrayView3<'_, f32>) -> Result<()> + 'a;

/// Simulated rows (θ, x) that can be gone through several times, block by block: those of a file that is larger than memory, for
/// example. All are valid: finite, θ within the prior's support, x positive where its logarithm is taken.
pub trait RowSource {
    /// The prior of θ.
    fn prior(&self) -> &Prior;

    /// Observations a row, K.
    fn n_obs(&self) -> usize;

    /// Values an observation, d.
    fn dim_x(&self) -> usize;

    /// How observations enter a network.
    fn x_transform(&self) -> XTransform;

    /// Shows all valid rows in order, the same each time; returns how many others were left out.
    ///
    /// # Errors
    /// What `visit` returns, and its own as [`InferenceError::Caller`].
    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> Result<u64>;
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
        if x.dim().0 != n || m != prior.dim() {
            return Err(InferenceError::Shape {
                what: "training set",
                expected: format!("theta ({n}, {}) and x ({n}, ..)", prior.dim()),
                found: format!("theta ({n}, {m}) and x ({}, ..)", x.dim().0),
            });
        }
        prior.check_support("training set, theta", theta)?;
        let rows = |visit: &mut VisitRows<'_>| visit(theta, x).map(|()| 0);
        Self::from_blocks(&rows, (x.dim().1, x.dim().2), prior, log_x, (options, key, &Storage::Memory))
    }

    /// Prepares the rows of a source, going through it twice: beside the standardised observations, which lie where `storage` says,
    /// only the parameters are held in memory.
    ///
    /// # Errors
    /// As [`TrainingData::prepare`], and when the source cannot be read or the scratch file not be written.
    pub fn read(source: &dyn RowSource, options: &TrainOptions, key: StreamKey, storage: &Storage) -> Result<Self> {
        let rows = |visit: &mut VisitRows<'_>| source.for_each_block(visit);
        let shape = (source.n_obs(), source.dim_x());
        let log_x = source.x_transform() == XTransform::Log;
        Self::from_blocks(&rows, shape, source.prior(), log_x, (options, key, storage))
    }

    fn from_blocks(
        rows: &dyn Fn(&mut VisitRows<'_>) -> Result<u64>,
        (n_obs, dim_x): (usize, usize),
        prior: &Prior,
        log_x: bool,
        (options, key, storage): (&TrainOptions, StreamKey, &Storage),
    ) -> Result<Self> {
        if n_obs < options.network.n_max {
            return Err(InferenceError::Option {
                option: "n_max",
                message: format!(
                    "is {} but the training set has {n_obs} observation(s) of each theta; simulate with --n-obs {}",
                    options.network.n_max, options.network.n_max
                ),
            });
        }
        let m = prior.dim();
        let mut theta = Vec::new();
        let mut moments = Moments::new(dim_x, log_x);
        let invalid = rows(&mut |block, x| {
            theta.extend(block);
            moments.add(x)
        })?;
        let n = theta.len() / m;
        if n < MIN_ROWS {
            let message = format!("has {n} valid rows; at least {MIN_ROWS} are needed");
            return Err(InferenceError::TrainingSet(message));
        }
        let observation_map = moments.finish();
        let mut features = storage.writer(n * n_obs * dim_x)?;
        rows(&mut |_, x| {
            let flat = x.to_shape((x.dim().0 * n_obs, dim_x));
            let flat = flat.map_err(|error| InferenceError::TrainingSet(error.to_string()))?;
            features.write(&observation_map.features(flat.view())?)
        })?;
        let theta = Array2::from_shape_vec((n, m), theta).expect("whole rows of m");
        let map = match options.latent {
            LatentKind::PriorGaussian => LatentMap::prior_gaussian(prior),
            LatentKind::Standardized => standardized(theta.view(), prior)?,
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
        Ok(Self {
            latent,
            features: features.finish()?,
            dim_theta: m,
            dim_x,
            n_obs,
            map,
            observation_map,
            training,
            validation: order,
            invalid,
            notes: Vec::new(),
        })
    }

    /// Another split of the same sizes: fold 0 is [`Self::training`] and [`Self::validation`], the next ones hold other rows out, all
    /// of which differ until every row was held out once.
    pub fn fold(&self, index: usize) -> Split {
        let mut training = [&self.validation[..], &self.training[..]].concat();
        let held_out = self.validation.len();
        let start = index % (training.len() / held_out) * held_out;
        let validation = training.drain(start..start + held_out).collect();
        Split { training, validation }
    }

    /// Whether all columns of an observation are whole numbers.
    pub fn is_counts(&self) -> bool {
        Cells::new(&self.observation_map).is_some_and(|cells| (0..self.dim_x).all(|column| cells.has(column)))
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

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy};
    use super::*;

    #[test]
    fn every_row_is_held_out_once_before_any_is_again() {
        // Of 205 rows, 21 at a time: nine folds, 16 rows left over.
        let data = toy(205, 1, &TrainOptions { validation_fraction: 0.1, ..small() });
        assert_eq!(data.fold(0), Split { training: data.training.clone(), validation: data.validation.clone() });
        assert_eq!(data.fold(9), data.fold(0));
        let mut held_out = Vec::new();
        for fold in 0..9 {
            let Split { training, validation } = data.fold(fold);
            let mut all = [&training[..], &validation[..]].concat();
            all.sort_unstable();
            assert_eq!(all, (0..205).collect::<Vec<u32>>());
            assert_eq!(validation.len(), 21);
            held_out.extend(validation);
        }
        held_out.sort_unstable();
        held_out.dedup();
        assert_eq!(held_out.len(), 9 * 21);
    }
}
