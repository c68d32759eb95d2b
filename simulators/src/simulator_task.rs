//! A [`Task`] from any [`Simulator`] and a prior.

use crate::exact::gaussian_sampler;
use crate::external::ModelSource;
use crate::first_failure::{FirstFailure, named};
use crate::task::check_observations;
use crate::{
    GaussianPosterior, LogLikelihood, MixturePosterior, PosteriorSampler, Result, Rows, Simulator, SimulatorError, Task,
};
use ndarray::ArrayView2;
use tallsbi_data::{Prior, SignedPermutation, Symmetry, XTransform};

/// The Gaussian posterior of a simulator given observations (n, d); `None` if they do not fit.
pub type ExactPosterior<S> = fn(&S, ArrayView2<'_, f32>) -> Option<GaussianPosterior>;

/// The mixture posterior of a simulator given one observation (d values); `None` if it does not fit.
pub type SinglePosterior<S> = fn(&S, &[f32]) -> Option<MixturePosterior>;

/// The sampler of a simulator's posterior under the task's prior given observations (n, d).
pub type SamplerOf<S> = fn(&S, &Prior, ArrayView2<'_, f32>) -> Result<Box<dyn PosteriorSampler>>;

/// A task around a simulator of one observation.
///
/// ```
/// use rand::RngExt;
/// use rand_pcg::Pcg64;
/// use tallsbi_data::Prior;
/// use tallsbi_simulators::{Result, Simulator, SimulatorTask, Task};
///
/// struct Dice;
/// impl Simulator for Dice {
///     type Scratch = ();
///     fn scratch(&self) {}
///     fn simulate(&self, theta: &[f64], rng: &mut Pcg64, _: &mut (), x: &mut [f64]) -> Result<()> {
///         x[0] = f64::from(rng.random::<f64>() < theta[0]);
///         Ok(())
///     }
/// }
/// let prior = Prior::uniform(&[("p", 0.0, 1.0)])?;
/// let task = SimulatorTask::new("dice", prior, vec!["success".into()], Dice)?;
/// assert_eq!(task.dim_x(), 1);
/// # Ok::<(), tallsbi_simulators::SimulatorError>(())
/// ```
pub struct SimulatorTask<S> {
    name: String,
    description: String,
    prior: Prior,
    units: Vec<String>,
    observation_names: Vec<String>,
    x_transform: XTransform,
    simulator: S,
    likelihood: Option<fn(&S) -> &dyn LogLikelihood>,
    exact_posterior: Option<ExactPosterior<S>>,
    single_posterior: Option<SinglePosterior<S>>,
    symmetry: Symmetry,
    sampler: Option<SamplerOf<S>>,
    source: Option<ModelSource>,
    failure: FirstFailure,
}

impl<S: Simulator> SimulatorTask<S> {
    /// A task called `name` whose observations have the values `observation_names`.
    ///
    /// # Errors
    /// When there are no observation names.
    pub fn new(name: &str, prior: Prior, observation_names: Vec<String>, simulator: S) -> Result<Self> {
        if observation_names.is_empty() {
            return Err(SimulatorError::Option {
                task: name.into(),
                message: "an observation needs at least one value; name them".into(),
            });
        }
        Ok(Self {
            name: name.into(),
            description: String::new(),
            units: vec![String::new(); prior.dim()],
            symmetry: Symmetry::none(prior.dim()),
            prior,
            observation_names,
            x_transform: XTransform::Identity,
            simulator,
            likelihood: None,
            exact_posterior: None,
            single_posterior: None,
            sampler: None,
            source: None,
            failure: FirstFailure::default(),
        })
    }

    /// With a description for lists of tasks.
    #[must_use]
    pub fn described(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// With units of the parameters, in the prior's order.
    #[must_use]
    pub fn with_units(mut self, units: &[impl AsRef<str>]) -> Self {
        self.units = units.iter().map(|unit| unit.as_ref().into()).collect();
        self.units.resize(self.prior.dim(), String::new());
        self
    }

    /// With observations that enter networks as log x.
    #[must_use]
    pub fn with_log_observations(mut self) -> Self {
        self.x_transform = XTransform::Log;
        self
    }

    /// With the exact Gaussian posterior, if the simulator has one: a function of the observations (n, d).
    #[must_use]
    pub fn with_exact_posterior(mut self, posterior: ExactPosterior<S>) -> Self {
        self.exact_posterior = Some(posterior);
        self
    }

    /// With the exact mixture posterior given one observation.
    #[must_use]
    pub fn with_single_posterior(mut self, posterior: SinglePosterior<S>) -> Self {
        self.single_posterior = Some(posterior);
        self
    }

    /// With the maps that leave prior and likelihood as they are; the group they generate is the task's symmetry.
    ///
    /// # Errors
    /// When a generator is not a signed permutation of the parameters.
    pub fn with_symmetry(mut self, generators: &[SignedPermutation]) -> Result<Self> {
        self.symmetry = Symmetry::generated(self.prior.dim(), generators)?;
        Ok(self)
    }

    /// With a sampler of the tall posterior that is made for this simulator.
    #[must_use]
    pub fn with_posterior_sampler(mut self, sampler: SamplerOf<S>) -> Self {
        self.sampler = Some(sampler);
        self
    }

    /// With the model file that it comes from.
    #[must_use]
    pub(crate) fn with_source(mut self, source: ModelSource) -> Self {
        self.source = Some(source);
        self
    }

    /// The simulator.
    pub fn simulator(&self) -> &S {
        &self.simulator
    }
}

impl<S: Simulator + LogLikelihood> SimulatorTask<S> {
    /// With the simulator's own exact likelihood.
    #[must_use]
    pub fn with_likelihood(mut self) -> Self {
        self.likelihood = Some(|simulator| simulator);
        self
    }
}

impl<S: Simulator> Task for SimulatorTask<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        self.units.clone()
    }

    fn dim_x(&self) -> usize {
        self.observation_names.len()
    }

    fn observation_names(&self) -> Vec<String> {
        self.observation_names.clone()
    }

    fn x_transform(&self) -> XTransform {
        self.x_transform
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        rows.check(self, x, valid)?;
        let dim = self.dim_x();
        let mut scratch = self.simulator.scratch();
        let mut theta = vec![0.0; self.prior.dim()];
        let mut observation = vec![0.0; dim];
        for (i, parameters) in rows.theta.outer_iter().enumerate() {
            theta.iter_mut().zip(parameters).for_each(|(to, from)| *to = *from);
            let row = &mut x[i * rows.n_obs * dim..][..rows.n_obs * dim];
            let outcome = row.chunks_exact_mut(dim).enumerate().try_for_each(|(k, out)| {
                self.simulator.simulate(&theta, &mut rows.rng(i, k), &mut scratch, &mut observation)?;
                out.iter_mut().zip(&observation).for_each(|(to, from)| *to = *from as f32);
                let finite = out.iter().all(|value| value.is_finite());
                if finite { Ok(()) } else { Err(SimulatorError::Failed("a value is not finite".into())) }
            });
            valid[i] = outcome.is_ok().into();
            if let Err(error) = outcome {
                row.fill(f32::NAN);
                let number = rows.first_row + i as u64;
                self.failure.keep(number, || {
                    format!("row {number} ({}): {}", named(self.prior.names(), &theta), reason(error))
                });
            }
        }
        Ok(())
    }

    fn source(&self) -> Option<&ModelSource> {
        self.source.as_ref()
    }

    fn failure(&self) -> Option<String> {
        self.failure.describe()
    }

    fn log_likelihood(&self) -> Option<&dyn LogLikelihood> {
        self.likelihood.map(|likelihood| likelihood(&self.simulator))
    }

    fn exact_posterior(&self, x: ArrayView2<'_, f32>) -> Option<GaussianPosterior> {
        self.exact_posterior.and_then(|posterior| posterior(&self.simulator, x))
    }

    fn single_posterior(&self, x: &[f32]) -> Option<MixturePosterior> {
        match self.single_posterior {
            Some(posterior) => posterior(&self.simulator, x),
            None => {
                let posterior = self.exact_posterior(ArrayView2::from_shape((1, x.len()), x).ok()?)?;
                Some(MixturePosterior { weights: vec![1.0], components: vec![posterior] })
            }
        }
    }

    fn symmetry(&self) -> Symmetry {
        self.symmetry.clone()
    }

    fn posterior_sampler(&self, x: ArrayView2<'_, f32>) -> Result<Option<Box<dyn PosteriorSampler>>> {
        check_observations(self, x)?;
        match self.sampler {
            Some(sampler) => sampler(&self.simulator, &self.prior, x).map(Some),
            None => self.exact_posterior(x).map(|posterior| gaussian_sampler(&self.name, &posterior)).transpose(),
        }
    }
}

/// Why one simulation failed.
fn reason(error: SimulatorError) -> String {
    match error {
        SimulatorError::Failed(reason) => reason,
        other => other.to_string(),
    }
}
