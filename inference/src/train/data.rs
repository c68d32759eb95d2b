//! The training set as training sees it: latent parameters, standardised observations, and a split.

use super::features::{Features, Storage};
use super::options::{Architecture, LatentKind, TrainOptions};
use super::screen::{Blocks, screen};
use super::standardise::{Standardised, standardise};
use super::{atoms, rows};
use crate::model::cells::Cells;
use crate::model::{Conditioned, Moved, ObservationMap};
use crate::notes::Note;
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use rand::seq::SliceRandom;
use tallsbi_data::{LatentMap, Location, Prior, Purpose, StreamKey, XTransform};

/// Fewest rows that can be split and trained on.
const MIN_ROWS: usize = 20;

/// A training set made ready: N parameters with K observations of each.
#[derive(Debug)]
pub struct TrainingData {
    /// z, (N, m); behind it standardised conditions where the likelihood is learned: what its networks see.
    pub latent: Vec<f32>,
    /// The same of failed simulations, (F, m).
    pub failed: Vec<f32>,
    /// Standardised observations, (N, K, d), behind conditions where scores are learned.
    pub features: Features,
    /// Width of `latent`, m.
    pub dim_theta: usize,
    /// Width of `features`, d.
    pub dim_x: usize,
    /// How many of the leading values of an observation are conditions.
    pub conditions: usize,
    /// K.
    pub n_obs: usize,
    /// θ to z.
    pub map: LatentMap,
    /// x to features.
    pub observation_map: ObservationMap,
    /// Conditions and x to what networks see.
    pub whole_map: ObservationMap,
    /// Parameters trained on.
    pub training: Vec<u32>,
    /// Parameters held out.
    pub validation: Vec<u32>,
    /// Lowest and highest standardised value of each column of `features`.
    pub range: Vec<[f32; 2]>,
    /// The same of conditions and x.
    pub whole_range: Vec<[f32; 2]>,
    /// Location parameters that networks do not see: all of them are 0 in `latent` and `failed`, and `features` are what was observed there.
    pub locations: Vec<Location>,
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

/// Some rows in order, those that failed included.
#[derive(Debug, Clone, Copy)]
pub struct RowBlock<'a> {
    /// Number of the first row.
    pub first: u64,
    /// Parameters (n, m).
    pub theta: ArrayView2<'a, f64>,
    /// Observations (n, K, d).
    pub x: ArrayView3<'a, f64>,
    /// Whether each row is valid: finite and not marked as failed. Of those that are not, x may be anything.
    pub valid: &'a [bool],
}

/// Sees blocks of all rows in order.
pub type VisitBlocks<'a> = dyn FnMut(&RowBlock<'_>) -> Result<()> + 'a;

/// Simulated rows (θ, x) that can be gone through several times, block by block: those of a file that is larger than memory, for
/// example. All are valid: finite, θ within the prior's support, x positive where its logarithm is taken.
pub trait RowSource {
    /// The prior of θ.
    fn prior(&self) -> &Prior;

    /// Observations a row, K.
    fn n_obs(&self) -> usize;

    /// Values an observation, d.
    fn dim_x(&self) -> usize;

    /// How many of them, the first ones, are conditions: known quantities that the others were observed under, which say nothing of θ by themselves.
    fn conditions(&self) -> usize {
        0
    }

    /// How observations enter a network.
    fn x_transform(&self) -> XTransform;

    /// Shows all valid rows in order, the same each time; returns how many others were left out.
    ///
    /// # Errors
    /// What `visit` returns, and its own as [`InferenceError::Caller`].
    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> Result<u64>;

    /// Shows all rows in order, in double precision, those that failed as far as they are known; returns how many are not shown. What
    /// is not shown cannot tell where simulations fail. By default the valid ones of [`RowSource::for_each_block`].
    ///
    /// # Errors
    /// As there.
    fn for_each_row_block(&self, visit: &mut VisitBlocks<'_>) -> Result<u64> {
        let mut first = 0;
        self.for_each_block(&mut |theta, x| {
            let valid = vec![true; theta.nrows()];
            let (theta, x) = (theta.mapv(f64::from), x.mapv(f64::from));
            visit(&RowBlock { first, theta: theta.view(), x: x.view(), valid: &valid })?;
            first += valid.len() as u64;
            Ok(())
        })
    }
}

impl TrainingData {
    /// Prepares `theta` (N, m) and `x` (N, K, d), both in the simulator's units; rows of x that are not finite are failed simulations.
    ///
    /// # Errors
    /// When shapes do not fit, there are too few rows, a parameter is constant, or θ lies outside the prior's support.
    pub fn prepare<T: Copy + Into<f64>>(
        theta: ArrayView2<'_, T>,
        x: ArrayView3<'_, T>,
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
        let (theta, x) = (theta.mapv(Into::into), x.mapv(Into::into));
        let valid: Vec<bool> = x.outer_iter().map(|row| row.iter().all(|value: &f64| value.is_finite())).collect();
        let block = RowBlock { first: 0, theta: theta.view(), x: x.view(), valid: &valid };
        let blocks = |visit: &mut VisitBlocks<'_>| visit(&block).map(|()| 0);
        let shape = Shape { n_obs: x.dim().1, dim_x: x.dim().2, conditions: 0 };
        Self::from_blocks(&blocks, shape, prior, log_x, (options, key, &Storage::Memory))
    }

    /// Prepares the rows of a source, going through it twice (four times where values lie far out): beside the standardised observations,
    /// which lie where `storage` says, only the parameters are held in memory.
    ///
    /// # Errors
    /// As [`TrainingData::prepare`], and when the source cannot be read or the scratch file not be written.
    pub fn read(source: &dyn RowSource, options: &TrainOptions, key: StreamKey, storage: &Storage) -> Result<Self> {
        let blocks = |visit: &mut VisitBlocks<'_>| source.for_each_row_block(visit);
        let shape = Shape { n_obs: source.n_obs(), dim_x: source.dim_x(), conditions: source.conditions() };
        let log_x = source.x_transform() == XTransform::Log;
        Self::from_blocks(&blocks, shape, source.prior(), log_x, (options, key, storage))
    }

    fn from_blocks(
        blocks: &Blocks<'_>,
        shape: Shape,
        prior: &Prior,
        log_x: bool,
        (options, key, storage): (&TrainOptions, StreamKey, &Storage),
    ) -> Result<Self> {
        let Shape { n_obs, dim_x, conditions } = shape;
        shape.check(options)?;
        let m = prior.dim();
        let mut screened = screen(blocks, dim_x, log_x, options.outliers)?;
        let n = screened.rows;
        if n < MIN_ROWS {
            let message = format!("has {n} valid rows; at least {MIN_ROWS} are needed");
            return Err(InferenceError::TrainingSet(message));
        }
        let mut notes = std::mem::take(&mut screened.notes);
        let map = screened.moments.clone().finish();
        let likelihood = learns_likelihood(options, &map.columns(conditions..dim_x));
        // What networks of a likelihood do not see is standardised robustly.
        let apart = usable_locations(options, &map, conditions).is_empty();
        let (whole_map, said) = match likelihood {
            true => atoms::standardisation(&screened.moments, conditions, apart && !copied(&notes))?,
            false => (map, Vec::new()),
        };
        refuse_constant(&notes, &whole_map.columns(conditions..dim_x), conditions)?;
        notes.extend(said.into_iter().filter(|_| !copied(&notes)).collect::<Vec<_>>());
        // Where the likelihood is learned, conditions stand beside θ.
        let given = if likelihood { shape.one_condition_a_row(options)? } else { 0 };
        let locations = if likelihood { usable_locations(options, &whole_map, conditions) } else { &[] };
        let moved = Moved::all(locations, &LatentMap::prior_gaussian(prior), &whole_map)?;
        let rows = standardise(blocks, &screened, &whole_map, (n_obs, given), (&moved, storage))?;
        let Standardised { theta, failed, beside, failed_beside, features, range } = rows;
        let theta = Array2::from_shape_vec((n, m), theta).expect("whole rows of m");
        let map = match options.latent {
            LatentKind::PriorGaussian => LatentMap::prior_gaussian(prior),
            LatentKind::Standardized => standardized(theta.view(), prior)?,
        };
        let latent = to_latent(&map, theta.as_slice().expect("in order"));
        let all_failed = (failed.len() / m) as u64;
        let all_at = to_latent(&map, &failed);
        // A simulation at parameters that are not numbers tells nothing.
        let failed = finite_rows(&all_at, m);
        let invalid = screened.unseen + all_failed;
        if invalid > 0 {
            let differs = differing(&latent, &failed, m);
            notes.push(Note::Failed { failed: invalid, rows: n as u64 + invalid, differs });
        }
        // Where failed rows are not shown, the others are no draws from the prior.
        if screened.unseen == 0 && map.is_prior_gaussian() {
            notes.extend(rows::other_prior(&latent, &failed, m));
        }
        rows::check_locations(&latent, (&moved, m), &features, dim_x - given)?;
        notes.extend(moved.iter().map(|moved| Note::Location { parameter: moved.parameter(), rows: n }));
        if moved.is_empty() {
            notes.extend(rows::unrelated(&latent, (m, &features), dim_x - given));
        }
        let (latent, failed) = if given == 0 {
            (at_origin(latent, m, &moved), at_origin(failed, m, &moved))
        } else {
            let failed = side_by_side(&all_at, m, &failed_beside, given);
            (side_by_side(&latent, m, &beside, given), finite_rows(&failed, m + given))
        };
        let Split { training, validation } = split(n, options, key);
        Ok(Self {
            latent,
            failed,
            features,
            dim_theta: m + given,
            dim_x: dim_x - given,
            conditions,
            n_obs,
            map,
            observation_map: whole_map.columns(given..dim_x),
            whole_map,
            range: range[given..].to_vec(),
            whole_range: range,
            training,
            validation,
            locations: locations.to_vec(),
            invalid,
            notes,
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

    /// How likelihoods of these rows take conditions and observations.
    pub fn conditioned(&self) -> Conditioned {
        Conditioned::new(self.whole_map.clone(), self.conditions)
    }

    /// Whether all columns of an observation are whole numbers.
    pub fn is_counts(&self) -> bool {
        all_cells(&self.observation_map)
    }

    /// z of one parameter.
    pub fn latent_row(&self, row: usize) -> &[f32] {
        &self.latent[row * self.dim_theta..(row + 1) * self.dim_theta]
    }

    /// Features of all observations of one parameter, (K, d).
    pub fn feature_rows(&self, row: usize) -> &[f32] {
        let width = self.n_obs * self.dim_x;
        &self.features[row * width..(row + 1) * width]
    }

    /// Features of observation `k` of one parameter.
    pub fn feature_row(&self, row: usize, k: usize) -> &[f32] {
        let index = row * self.n_obs + k;
        &self.features[index * self.dim_x..(index + 1) * self.dim_x]
    }
}

/// Shape of rows of observations.
#[derive(Debug, Clone, Copy)]
struct Shape {
    n_obs: usize,
    dim_x: usize,
    conditions: usize,
}

impl Shape {
    fn check(self, options: &TrainOptions) -> Result<()> {
        let (n_obs, n_max) = (self.n_obs, options.network.n_max);
        if n_obs < n_max {
            let message = format!(
                "is {n_max} but the training set has {n_obs} observation(s) of each theta; simulate {n_max} of each"
            );
            return Err(InferenceError::Option { option: "n_max", message });
        }
        if self.conditions < self.dim_x {
            return Ok(());
        }
        Err(InferenceError::Shape {
            what: "training set",
            expected: format!("something observed beside its {} conditions", self.conditions),
            found: format!("{} values an observation", self.dim_x),
        })
    }
}

impl Shape {
    /// The number of conditions, if each row has one observation and so one set of them, and no symmetries are declared: maps of θ alone say nothing of
    /// networks that see conditions too.
    fn one_condition_a_row(self, options: &TrainOptions) -> Result<usize> {
        if self.conditions > 0 && options.likelihood.symmetries && !options.likelihood.declared.is_empty() {
            let message = "are not used where observations are made under conditions; declare none".into();
            return Err(InferenceError::Option { option: "symmetries", message });
        }
        if self.conditions == 0 || self.n_obs == 1 {
            return Ok(self.conditions);
        }
        let message = format!(
            "has {} observations of each theta, each with conditions of its own; give one a row, or learn scores (architecture anchored)",
            self.n_obs
        );
        Err(InferenceError::TrainingSet(message))
    }
}

/// The location parameters that are declared, where a likelihood of real numbers is learned from latent parameters that are N(0, I) a priori.
fn usable_locations<'a>(options: &'a TrainOptions, map: &ObservationMap, conditions: usize) -> &'a [Location] {
    let usable = options.latent == LatentKind::PriorGaussian && conditions == 0 && !map.counts.contains(&true);
    if usable { &options.likelihood.locations } else { &[] }
}

/// Latent parameters (n, m) with location parameters at 0.
fn at_origin(mut latent: Vec<f32>, m: usize, moved: &[Moved]) -> Vec<f32> {
    for row in latent.chunks_exact_mut(m) {
        moved.iter().for_each(|moved| row[moved.parameter()] = 0.0);
    }
    latent
}

/// Whether rows are copies of others: each value of one column is then seen with the same of any other.
fn copied(notes: &[Note]) -> bool {
    notes.iter().any(|note| matches!(note, Note::CopiedRows { .. }))
}

/// Refuses observations that say nothing; `map` is that of the columns behind the conditions.
fn refuse_constant(notes: &[Note], map: &ObservationMap, conditions: usize) -> Result<()> {
    let observed = |columns: &[usize]| columns.iter().filter(|&&column| column >= conditions).count();
    let all = |note: &Note| matches!(note, Note::ConstantColumns { columns } if observed(columns) == map.dim());
    if notes.iter().any(all) {
        let message = "x is the same in every row: it says nothing about the parameters".into();
        return Err(InferenceError::TrainingSet(message));
    }
    match notes.first().filter(|_| map.sd.iter().all(|&sd| sd == 0.0)) {
        Some(note) => Err(InferenceError::TrainingSet(note.to_string())),
        None => Ok(()),
    }
}

/// Rows held out, drawn at random, and the others.
fn split(n: usize, options: &TrainOptions, key: StreamKey) -> Split {
    let mut validation: Vec<u32> = (0..n as u32).collect();
    validation.shuffle(&mut key.child(Purpose::Split).rng(0));
    let held_out = ((n as f64 * options.validation_fraction).round() as usize).clamp(1, n - 1);
    let training = validation.split_off(held_out);
    Split { training, validation }
}

fn learns_likelihood(options: &TrainOptions, map: &ObservationMap) -> bool {
    options.architecture.resolve(map.dim(), all_cells(map)) == Architecture::Likelihood
}

/// Rows (n, a) and (n, b) as one, (n, a + b).
fn side_by_side(left: &[f32], a: usize, right: &[f32], b: usize) -> Vec<f32> {
    left.chunks_exact(a)
        .zip(right.chunks_exact(b))
        .flat_map(|(left, right)| left.iter().chain(right))
        .copied()
        .collect()
}

/// Whether all columns are whole numbers.
fn all_cells(map: &ObservationMap) -> bool {
    Cells::new(map).is_some_and(|cells| (0..map.dim()).all(|column| cells.has(column)))
}

/// z of parameters (rows, m).
fn to_latent(map: &LatentMap, theta: &[f64]) -> Vec<f32> {
    let m = map.dim();
    let mut z = vec![0.0; m];
    let row = |theta: &[f64]| {
        map.to_latent(theta, &mut z);
        z.iter().map(|&value| value as f32).collect::<Vec<f32>>()
    };
    theta.chunks_exact(m).flat_map(row).collect()
}

fn finite_rows(z: &[f32], m: usize) -> Vec<f32> {
    z.chunks_exact(m).filter(|row| row.iter().all(|value| value.is_finite())).flatten().copied().collect()
}

/// The parameter in whose mean failed rows differ most from the others, and by how many of the others' standard deviations, if that
/// is beyond chance.
fn differing(latent: &[f32], failed: &[f32], m: usize) -> Option<(usize, f64)> {
    let mean = |z: &[f32], i: usize| {
        let n = (z.len() / m) as f64;
        let values = || z.iter().skip(i).step_by(m).map(|&value| f64::from(value));
        let mean = values().sum::<f64>() / n;
        (mean, (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt(), n)
    };
    let shift = |i: usize| {
        let ((own, sd, _), (theirs, _, n)) = (mean(latent, i), mean(failed, i));
        let shift = (theirs - own) / sd;
        (shift.is_finite() && shift.abs() > 4.0 / n.sqrt()).then_some((i, shift))
    };
    (0..m).filter_map(shift).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
}

/// The paper's latent map, with mean and (unbiased) standard deviation of θ, or of log θ for log-normal priors.
fn standardized(theta: ArrayView2<'_, f64>, prior: &Prior) -> Result<LatentMap> {
    let log = prior.log_coordinates();
    let n = theta.nrows() as f64;
    let (mean, sd): (Vec<f64>, Vec<f64>) = theta
        .axis_iter(Axis(1))
        .zip(log)
        .map(|(column, log)| {
            let values = || column.iter().map(|&v| if log { v.ln() } else { v });
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

    #[test]
    fn copies_are_told_as_copies_only() {
        let options = TrainOptions { architecture: Architecture::Likelihood, ..small() };
        let normals = |stream: u64| -> Vec<f32> {
            let mut rng = StreamKey::root(3).rng(stream);
            (0..2 * 500)
                .map(|_| rand_distr::Distribution::<f32>::sample(&rand_distr::StandardNormal, &mut rng))
                .collect()
        };
        let (z, noise) = (normals(0), normals(1));
        let at = |values: &[f32], i: usize, j: usize| values[2 * (i % 500) + j];
        let theta = ndarray::Array2::from_shape_fn((5000, 2), |(i, j)| at(&z, i, j));
        let x = ndarray::Array3::from_shape_fn((5000, 1, 2), |(i, _, j)| at(&z, i, j) + at(&noise, i, j));
        let prior = Prior::from_json(
            r#"[{"name":"a","dist":"normal","loc":0,"scale":1},{"name":"b","dist":"normal","loc":0,"scale":1}]"#,
        );
        let prior = prior.unwrap();
        let data = TrainingData::prepare(theta.view(), x.view(), &prior, false, &options, StreamKey::root(0)).unwrap();
        assert_eq!(data.notes, [Note::CopiedRows { copies: 4500, rows: 5000 }]);
        assert_eq!(data.training.len() + data.validation.len(), 500);
    }
}
