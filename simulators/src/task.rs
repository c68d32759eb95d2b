//! What a task is: a prior, a simulator of i.i.d. observations, and what is known in closed form.
//!
//! [`Simulator`] is the small trait a user implements for one observation; [`crate::SimulatorTask`] turns it into a
//! [`Task`], the object-safe trait over batches that everything else works with.

use crate::exact::gaussian_sampler;
use crate::external::ModelSource;
use crate::{Result, SimulatorError};
use ndarray::{Array2, ArrayView2, s};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use tallsbi_data::{Location, Prior, SignalWindow, Stage, StreamKey, Symmetry, XTransform};

/// A stochastic simulator x ~ p(x | θ) of one observation.
pub trait Simulator: Send + Sync {
    /// Buffers and whatever is worth keeping between calls; one per thread. Results must not depend on it.
    type Scratch: Send;

    /// New scratch memory.
    fn scratch(&self) -> Self::Scratch;

    /// Draws one observation at `theta` (m values, in the order of the prior) into `x` (d values).
    ///
    /// # Errors
    /// [`SimulatorError::Failed`] when there is no result for this θ: its row is marked invalid, the batch goes on. A
    /// result that is not finite counts as failed too.
    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, scratch: &mut Self::Scratch, x: &mut [f64]) -> Result<()>;
}

/// Which rows of a simulation study to simulate: the parameters and the random streams that belong to them.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Parameters, one row each, shape (N, m).
    pub theta: ArrayView2<'a, f64>,
    /// Observations per parameter, K.
    pub n_obs: usize,
    /// The study's stream. Observation k of row i uses `key.indexed(first_row + i)` at index k.
    pub key: StreamKey,
    /// Number of the first row of `theta` in the whole study.
    pub first_row: u64,
}

impl<'a> Rows<'a> {
    /// Rows `start..end` of these.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Rows<'a> {
        Rows {
            theta: self.theta.slice_move(s![start..end, ..]),
            n_obs: self.n_obs,
            key: self.key,
            first_row: self.first_row + start as u64,
        }
    }

    /// The stream of observation `k` of local row `i`, as 256 hashed bits.
    pub fn words(&self, i: usize, k: usize) -> [u64; 4] {
        self.key.indexed(self.first_row + i as u64).words(k as u64)
    }

    /// The generator of observation `k` of local row `i`.
    pub fn rng(&self, i: usize, k: usize) -> Pcg64 {
        self.key.indexed(self.first_row + i as u64).rng(k as u64)
    }

    /// Checks the shapes of a batch against `task`.
    ///
    /// # Errors
    /// [`SimulatorError::Shape`] naming the first array that does not fit.
    pub fn check(&self, task: &dyn Task, x: &[f32], valid: &[u8]) -> Result<()> {
        let n = self.theta.nrows();
        let arrays = [
            ("a row of theta", task.prior().dim(), self.theta.ncols()),
            ("x", n * self.n_obs * task.dim_x(), x.len()),
            ("valid", n, valid.len()),
        ];
        match arrays.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((what, expected, found)) => {
                Err(SimulatorError::Shape { task: task.name().to_owned(), what, expected, found })
            }
        }
    }
}

/// θ ↦ Σ_j log p(x_j | θ) for fixed observations: what Markov chains evaluate thousands of times.
pub trait TallLogLikelihood: Send + Sync {
    /// Σ_j log p(x_j | θ), writing its gradient into `gradient` (m values); -∞ and NaN as in [`LogLikelihood`].
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64;
}

/// A likelihood that runs over all observations at every θ.
struct EveryObservation<'a, L: ?Sized> {
    likelihood: &'a L,
    x: Array2<f32>,
}

impl<L: LogLikelihood + ?Sized> TallLogLikelihood for EveryObservation<'_, L> {
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        self.likelihood.tall_log_likelihood_gradient(theta, self.x.view(), gradient)
    }
}

/// log p(x | θ) with its gradient, in physical parameters and observations: what a task knows. [`LogLikelihood::given`] fixes observations.
pub trait LogLikelihood: Send + Sync {
    /// log p(x | θ) of one observation, writing ∇_θ log p(x | θ) into `gradient` (m values).
    ///
    /// -∞, with a zero gradient, where p(x | θ) = 0; NaN where it cannot be computed.
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64;

    /// Σ_j log p(x_j | θ) over i.i.d. observations (n, d), writing the gradient of the sum into `gradient`.
    ///
    /// Likelihoods that solve an equation for each θ solve it once here.
    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        let mut one = vec![0.0; gradient.len()];
        let mut total = 0.0;
        gradient.fill(0.0);
        for row in x.outer_iter() {
            let contiguous = row.as_standard_layout();
            total += self.log_likelihood_gradient(theta, contiguous.as_slice().unwrap_or(&[]), &mut one);
            gradient.iter_mut().zip(&one).for_each(|(sum, term)| *sum += term);
        }
        total
    }

    /// The likelihood of the observations `x` (n, d) as a function of θ alone.
    ///
    /// Likelihoods with sufficient statistics sum `x` once here, after which an evaluation costs the same for any n.
    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(EveryObservation { likelihood: self, x: x.to_owned() })
    }

    /// Whether NaN in an observation is a missing value that is integrated over, so that the likelihood is that of the values that were seen.
    ///
    /// Where it is not, as unless said otherwise, observations need to be complete.
    fn integrates_missing(&self) -> bool {
        false
    }
}

/// Draws of θ, one a call, each written over the m values it is given.
pub type Draw<'a> = Box<dyn FnMut(&mut [f64]) + Send + 'a>;

/// A sampler of the posterior that is made for its model and needs no gradients.
pub trait PosteriorSampler: Send + Sync {
    /// What it does, in a few words.
    fn method(&self) -> &'static str;

    /// Whether draws are independent; otherwise they are a Markov chain, whose start is to be discarded.
    fn independent(&self) -> bool {
        true
    }

    /// An endless chain of draws: each call writes the next θ (m values).
    fn chain(&self, rng: Pcg64) -> Draw<'_>;
}

/// A Gaussian over the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianPosterior {
    /// Mean, m values.
    pub mean: Vec<f64>,
    /// Covariance, row by row, m × m.
    pub covariance: Vec<Vec<f64>>,
}

/// The posterior given one observation as a mixture of Gaussians (one component where it is Gaussian).
#[derive(Debug, Clone, PartialEq)]
pub struct MixturePosterior {
    /// Weights, summing to one.
    pub weights: Vec<f64>,
    /// Components.
    pub components: Vec<GaussianPosterior>,
}

/// A task of simulation-based inference.
pub trait Task: Send + Sync {
    /// Name on the command line and in files.
    fn name(&self) -> &str;

    /// One sentence for a list of tasks.
    fn description(&self) -> &str;

    /// The prior, with the names of the parameters.
    fn prior(&self) -> &Prior;

    /// Units of the parameters, in the prior's order; empty where a parameter has none.
    fn parameter_units(&self) -> Vec<String>;

    /// Values per observation, d, conditions included.
    fn dim_x(&self) -> usize {
        self.observation_names().len()
    }

    /// Names of the values of an observation.
    fn observation_names(&self) -> Vec<String>;

    /// How many of the leading values of an observation are conditions: known quantities that the others are observed under.
    fn conditions(&self) -> usize {
        0
    }

    /// The task with observation j of all, counted over rows, under row j mod n of `conditions` (n, conditions), in place of drawn ones.
    ///
    /// # Errors
    /// When it has other conditions, or none.
    fn under(&self, _conditions: ArrayView2<'_, f32>) -> Result<Box<dyn Task>> {
        let message = "has no conditions to simulate under".into();
        Err(SimulatorError::Option { task: self.name().into(), message })
    }

    /// How observations enter a network.
    fn x_transform(&self) -> XTransform {
        XTransform::Identity
    }

    /// The window of a signal that an observation summarises; `None` where observations are something else.
    fn signal_window(&self) -> Option<SignalWindow> {
        None
    }

    /// Simulates `rows` on the calling thread: `x` (N, K, d) and `valid` (N).
    ///
    /// Every observation is a pure function of its parameters, `rows.key`, its global row number and its k: simulating
    /// rows 0..N gives the bytes of the pieces put together. A simulation that fails or is not finite leaves NaN in the
    /// whole row of `x`, but for conditions, and 0 in `valid`; all others leave 1.
    ///
    /// # Errors
    /// When the shapes do not fit, or an external program does not work at all.
    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()>;

    /// Simulations (rows × observations) that one call of [`Task::simulate_batch`] should at least get to run well.
    fn preferred_batch(&self) -> usize {
        256
    }

    /// Simulates `rows`, whose shapes fit, with all that the task has: in batches on all threads of the current rayon pool, unless it has
    /// workers of its own. Returns the number of invalid rows; `stage` counts rows.
    ///
    /// # Errors
    /// As [`simulate_parallel`].
    fn simulate_all(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8], stage: &Stage<'_>) -> Result<usize> {
        on_all_threads(self, rows, x, valid, stage)
    }

    /// The model file that it comes from; `None` where it is built in.
    fn source(&self) -> Option<&ModelSource> {
        None
    }

    /// One of the simulations that failed so far, in words; `None` where there is none, or it is not known why.
    fn failure(&self) -> Option<String> {
        None
    }

    /// The exact likelihood, where there is one.
    fn log_likelihood(&self) -> Option<&dyn LogLikelihood> {
        None
    }

    /// The exact posterior given all rows of `x` (n, d), where it is Gaussian.
    fn exact_posterior(&self, _x: ArrayView2<'_, f32>) -> Option<GaussianPosterior> {
        None
    }

    /// The exact posterior given the single observation `x` (d values), where it is a mixture of Gaussians.
    fn single_posterior(&self, x: &[f32]) -> Option<MixturePosterior> {
        let posterior = self.exact_posterior(ArrayView2::from_shape((1, x.len()), x).ok()?)?;
        Some(MixturePosterior { weights: vec![1.0], components: vec![posterior] })
    }

    /// The group of maps of the parameters under which prior and likelihood do not change.
    fn symmetry(&self) -> Symmetry {
        Symmetry::none(self.prior().dim())
    }

    /// The parameters that move observations and do nothing else.
    fn locations(&self) -> Vec<Location> {
        Vec::new()
    }

    /// A sampler of the posterior given all rows of `x` (n, d) that is made for this model, where there is one; the
    /// Gaussian where the posterior is one.
    ///
    /// # Errors
    /// When the observations do not fit the task, or are impossible under it.
    fn posterior_sampler(&self, x: ArrayView2<'_, f32>) -> Result<Option<Box<dyn PosteriorSampler>>> {
        check_observations(self, x)?;
        self.exact_posterior(x).map(|posterior| gaussian_sampler(self.name(), &posterior)).transpose()
    }
}

/// Methods of a task that are those of the task within it.
macro_rules! as_inner {
    ($($method:ident -> $type:ty,)+) => {
        $(fn $method(&self) -> $type {
            self.inner.$method()
        })+
    };
}
pub(crate) use as_inner;

/// Checks observations (n, d) of a task before they are conditioned on.
///
/// # Errors
/// [`SimulatorError::Shape`] when there are none or they have another width, [`SimulatorError::Observations`] when they
/// are not finite, but for missing values that the likelihood integrates over.
pub(crate) fn check_observations<T: Task + ?Sized>(task: &T, x: ArrayView2<'_, f32>) -> Result<()> {
    let name = || task.name().to_owned();
    if x.ncols() != task.dim_x() || x.nrows() == 0 {
        let (what, expected, found) = match x.nrows() {
            0 => ("the list of observations", 1, 0),
            _ => ("an observation", task.dim_x(), x.ncols()),
        };
        return Err(SimulatorError::Shape { task: name(), what, expected, found });
    }
    let missing = task.log_likelihood().is_some_and(LogLikelihood::integrates_missing);
    let refused = |value: &f32| value.is_infinite() || value.is_nan() && !missing;
    match x.outer_iter().position(|row| row.iter().any(refused)) {
        None => Ok(()),
        Some(row) => Err(SimulatorError::Observations {
            task: name(),
            message: format!(
                "observation {row} has {}",
                if missing {
                    "infinite values; remove it"
                } else {
                    "NaN or infinite values, and missing ones are not integrated over here; remove it"
                }
            ),
        }),
    }
}

/// Simulates `rows` on all threads of the current rayon pool, in chunks of a fixed size: the same bytes for any number of
/// threads, and of processes, where several work together. Returns the number of invalid rows.
///
/// `stage` counts rows.
///
/// # Errors
/// [`SimulatorError::Shape`] when shapes do not fit, [`SimulatorError::Cancelled`] when its monitor asked to stop,
/// [`SimulatorError::Program`] when the program of a model file does not work.
pub fn simulate_parallel(
    task: &dyn Task,
    rows: &Rows<'_>,
    x: &mut [f32],
    valid: &mut [u8],
    stage: &Stage<'_>,
) -> Result<usize> {
    rows.check(task, x, valid)?;
    if x.is_empty() {
        valid.fill(1);
        return Ok(0);
    }
    let (count, width) = (valid.len(), rows.n_obs * task.dim_x());
    if stage.monitor().sharing() == 1 {
        return task.simulate_all(rows, x, valid, stage);
    }
    let mut own = 0;
    let simulate = |part: Range<usize>| {
        own = part.len();
        let (mut x, mut valid) = (vec![0.0; own * width], vec![0; own]);
        let failed = task.simulate_all(&rows.slice(part.start, part.end), &mut x, &mut valid, stage)?;
        Ok::<_, SimulatorError>((failed as u64, x, valid))
    };
    let (mut first, mut failed) = (0, 0);
    for (part_failed, part_x, part_valid) in stage.monitor().share("simulate", count, simulate)? {
        let end = first + part_valid.len();
        x[first * width..end * width].copy_from_slice(&part_x);
        valid[first..end].copy_from_slice(&part_valid);
        (first, failed) = (end, failed + part_failed as usize);
    }
    stage.advance((count - own) as u64);
    Ok(failed)
}

/// Simulates `rows` in batches on all threads of the current rayon pool.
pub(crate) fn on_all_threads<T: Task + ?Sized>(
    task: &T,
    rows: &Rows<'_>,
    x: &mut [f32],
    valid: &mut [u8],
    stage: &Stage<'_>,
) -> Result<usize> {
    let width = rows.n_obs * task.dim_x();
    let chunk = task.preferred_batch().div_ceil(rows.n_obs).max(1);
    let invalid = AtomicUsize::new(0);
    x.par_chunks_mut(chunk * width).zip(valid.par_chunks_mut(chunk)).enumerate().try_for_each(
        |(index, (x, valid))| {
            stage.check()?;
            let start = index * chunk;
            task.simulate_batch(&rows.slice(start, start + valid.len()), x, valid)?;
            invalid.fetch_add(valid.iter().filter(|&&v| v == 0).count(), Ordering::Relaxed);
            stage.advance(valid.len() as u64);
            Ok::<_, SimulatorError>(())
        },
    )?;
    Ok(invalid.into_inner())
}
