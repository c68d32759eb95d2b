//! The no-U-turn sampler (Hoffman & Gelman 2014) of `nuts-rs`, started by tempered populations.
//!
//! A chain first carries a small population of its own from the prior to the posterior ([`super::population`]). It starts at one
//! of its particles, in coordinates whitened by the population's mean and covariance, where `nuts-rs` then adapts its step and
//! diagonal metric. The populations keep the starts as dispersed as independent draws from the prior, without leaving chains
//! behind in modes of negligible mass, as climbs from single prior draws do; and where two modes do matter, chains start in
//! either and R̂ tells.

use super::population::{Travel, carry};
use super::{ChainInfo, Chains, LogDensity, ReferenceOptions, in_parallel, tick};
use crate::tempering::Affine;
use crate::{InferenceError, Result};
use ndarray::Array2;
use nuts_rs::{Chain, CpuLogpFunc, CpuMath, CpuMathError, DiagNutsSettings, HasDims, LogpError, Settings};
use rand::RngExt;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tallsbi_data::{Monitor, Purpose, Stage, StreamKey};

/// Little: a population of a chain's needs no weights of modes.
const TRAVEL: Travel = Travel { level: 0.05, last: 2.3 };

/// Samples π by chains of the no-U-turn sampler.
///
/// Exact for densities whose mass one chain can reach; several modes far apart need a known symmetry, or
/// [`sample_tempered`](super::sample_tempered).
///
/// # Errors
/// [`InferenceError::Cancelled`]; options outside their range; a density that is nowhere finite.
pub fn sample_nuts(
    density: &dyn LogDensity,
    options: &ReferenceOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Chains> {
    options.validate()?;
    let key = key.child(Purpose::Reference);
    let length = options.draws * options.thinning;
    let stage = monitor.stage("sample", "draws", (options.chains * (options.warmup + length)) as u64);
    in_parallel(options.chains, |chain| run(density, options, key, chain, &stage, monitor))
}

fn run(
    density: &dyn LogDensity,
    options: &ReferenceOptions,
    key: StreamKey,
    chain: u64,
    stage: &Stage<'_>,
    monitor: &dyn Monitor,
) -> Result<(Array2<f64>, ChainInfo)> {
    let m = density.dim();
    let mut rng = key.rng(chain);
    let population = carry(density, options.particles, &TRAVEL, key.indexed(chain), monitor)?;
    let whitening = Affine::of(&population.theta, &vec![1.0; options.particles]);
    let start = rng.random_range(0..options.particles);
    let position = whitening.invert(&population.theta[start * m..][..m]);

    let gradients = AtomicU64::new(0);
    let whitened =
        Whitened { density, whitening: &whitening, gradients: &gradients, z: vec![0.0; m], by_z: vec![0.0; m] };
    let mut sampler =
        settings(options).new_chain(chain, CpuMath::new(whitened), &mut rng).map_err(|error| failed(chain, &error))?;
    sampler.set_position(&position).map_err(|error| failed(chain, &error))?;
    let length = options.draws * options.thinning;
    let mut draws = Array2::zeros((length, m));
    let mut info = ChainInfo { temperatures: population.levels as f64, ..ChainInfo::default() };
    let mut z = vec![0.0; m];
    for index in 0..options.warmup + length {
        let (w, step) = sampler.draw().map_err(|error| failed(chain, &error))?;
        tick(stage)?;
        if index + 1 == options.warmup {
            info.sampling_gradients = gradients.load(Ordering::Relaxed);
        }
        if let Some(row) = index.checked_sub(options.warmup) {
            whitening.apply(&w, &mut z);
            draws.row_mut(row).iter_mut().zip(&z).for_each(|(out, value)| *out = *value);
            info.divergences += u64::from(step.diverging);
        }
    }
    let evaluated = gradients.load(Ordering::Relaxed);
    info.sampling_gradients = evaluated - info.sampling_gradients;
    info.gradients = population.evaluations + evaluated;
    Ok((draws, info))
}

fn settings(options: &ReferenceOptions) -> DiagNutsSettings {
    let mut settings =
        DiagNutsSettings { num_tune: options.warmup as u64, maxdepth: options.max_depth, ..Default::default() };
    settings.adapt_options.step_size_settings.target_accept = options.target_accept;
    settings
}

fn failed(chain: u64, error: &dyn std::fmt::Display) -> InferenceError {
    InferenceError::Reference(format!("chain {chain} cannot go on: {error}"))
}

/// The density in whitened coordinates w, z = mean + L w.
struct Whitened<'a> {
    density: &'a dyn LogDensity,
    whitening: &'a Affine,
    gradients: &'a AtomicU64,
    z: Vec<f64>,
    by_z: Vec<f64>,
}

/// A point of zero or unknown density: the trajectory ends there, the chain goes on.
#[derive(Debug, thiserror::Error)]
#[error("the log-density is not finite")]
struct Impossible;

impl LogpError for Impossible {
    fn is_recoverable(&self) -> bool {
        true
    }
}

impl HasDims for Whitened<'_> {
    fn dim_sizes(&self) -> HashMap<String, u64> {
        HashMap::from([("unconstrained_parameter".to_owned(), self.dim() as u64)])
    }
}

impl CpuLogpFunc for Whitened<'_> {
    type LogpError = Impossible;
    type FlowParameters = ();
    type ExpandedVector = Vec<f64>;

    fn dim(&self) -> usize {
        self.density.dim()
    }

    fn logp(&mut self, position: &[f64], gradient: &mut [f64]) -> std::result::Result<f64, Impossible> {
        self.gradients.fetch_add(1, Ordering::Relaxed);
        self.whitening.apply(position, &mut self.z);
        let value = self.density.log_density_gradient(&self.z, &mut self.by_z);
        self.whitening.pull_back(&self.by_z, gradient);
        if value.is_finite() && gradient.iter().all(|g| g.is_finite()) { Ok(value) } else { Err(Impossible) }
    }

    fn expand_vector<R: rand::Rng + ?Sized>(
        &mut self,
        _rng: &mut R,
        array: &[f64],
    ) -> std::result::Result<Vec<f64>, CpuMathError> {
        Ok(array.to_vec())
    }
}
