//! Reference posteriors: exact tall posteriors by Markov chain Monte Carlo, to judge approximate ones by.
//!
//! A density is given as [`LogDensity`]: its logarithm and gradient in a space where the prior is N(0, I).
//! [`LatentPosterior`] makes one of a [`tallsbi_data::Prior`] and a log-likelihood with gradient in the simulator's own
//! parameters. Then
//! * [`sample_nuts`] runs chains of the no-U-turn sampler, each started by a tempered population of its own: the way to go
//!   for posteriors of one mode, or of modes that a known symmetry exchanges;
//! * [`sample_tempered`] runs independent adaptive tempered populations (sequential Monte Carlo), whose samples have the
//!   right weights for any modes: the way to go where nothing is known;
//! * [`sample_chains`] runs any sampler that draws one θ after another.
//!
//! Chains are independent of each other from their first random number on, and functions of (key, chain): the same for any
//! number of threads. Whether they agree is for the caller to check (R̂, effective sample sizes) before calling anything a
//! reference.
//!
//! ```
//! use tallsbi_data::{Prior, Silent, StreamKey};
//! use tallsbi_inference::reference::{LatentPosterior, ReferenceOptions, sample_nuts};
//!
//! // x ~ N(θ, 1), θ ~ U(-5, 5), given x = 1.
//! let prior = Prior::uniform(&[("theta", -5.0, 5.0)])?;
//! let posterior = LatentPosterior::new(&prior, |theta: &[f64], gradient: &mut [f64]| {
//!     gradient[0] = 1.0 - theta[0];
//!     -0.5 * (1.0 - theta[0]).powi(2)
//! });
//! let chains = sample_nuts(&posterior, &ReferenceOptions::default(), StreamKey::root(0), &Silent)?;
//! let theta = posterior.to_parameters(chains.draws.view());
//! assert!((theta.mean().unwrap_or(0.0) - 1.0).abs() < 0.2);
//! # Ok::<(), tallsbi_inference::InferenceError>(())
//! ```

mod density;
mod nuts;
mod options;
mod population;
mod tempered;

pub use density::{LatentPosterior, LogDensity};
pub use nuts::sample_nuts;
pub use options::ReferenceOptions;
pub use tempered::sample_tempered;

use crate::{InferenceError, Result};
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Stage};

/// Draws of several chains, and the work behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Chains {
    /// All draws after warm-up (chain, draw, m), before thinning.
    pub draws: Array3<f64>,
    /// Work and incidents.
    pub info: ChainInfo,
}

impl Chains {
    /// Every `thinning`-th draw.
    pub fn thinned(&self, thinning: usize) -> Array3<f64> {
        self.draws.slice(ndarray::s![.., thinning.max(1) - 1..;thinning.max(1), ..]).to_owned()
    }
}

/// Work and incidents of a run; goes into the attributes of posterior files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainInfo {
    /// Evaluations of the log-density and its gradient, warm-up included.
    pub gradients: u64,
    /// Evaluations after warm-up.
    pub sampling_gradients: u64,
    /// Transitions after warm-up whose energy error was too large to go on: a sign of regions that are not explored.
    pub divergences: u64,
    /// Mean number of temperatures from the prior to the posterior.
    pub temperatures: f64,
}

impl ChainInfo {
    fn merge(parts: &[Self]) -> Self {
        let mut sum = Self::default();
        for part in parts {
            sum.gradients += part.gradients;
            sum.sampling_gradients += part.sampling_gradients;
            sum.divergences += part.divergences;
            sum.temperatures += part.temperatures / parts.len() as f64;
        }
        sum
    }
}

/// One more draw; stops where the caller wants it.
fn tick(stage: &Stage<'_>) -> Result<()> {
    stage.check()?;
    stage.advance(1);
    Ok(())
}

/// Runs `chain` for each chain in parallel and stacks their draws (draw, m).
fn in_parallel(chains: usize, chain: impl Fn(u64) -> Result<(Array2<f64>, ChainInfo)> + Send + Sync) -> Result<Chains> {
    let parts = (0..chains as u64).into_par_iter().map(chain).collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = parts.iter().map(|(draws, _)| draws.view()).collect();
    let draws = ndarray::stack(Axis(0), &views).map_err(|_| InferenceError::Shape {
        what: "chains",
        expected: "equal numbers of draws".into(),
        found: "different ones".into(),
    })?;
    let infos: Vec<ChainInfo> = parts.iter().map(|(_, info)| *info).collect();
    Ok(Chains { draws, info: ChainInfo::merge(&infos) })
}

/// Draws of θ, one a call, each written over the m values it is given.
pub type Draw<'a> = Box<dyn FnMut(&mut [f64]) + Send + 'a>;

/// Runs a sampler that draws one point after another: `start` makes the sampler of a chain, each of whose calls writes the
/// next draw (`dim` values). The first `warmup` draws of a chain are discarded (0 where draws are independent).
///
/// # Errors
/// [`InferenceError::Cancelled`] when the monitor asked to stop; options outside their range.
pub fn sample_chains<'a>(
    dim: usize,
    start: &(dyn Fn(u64) -> Draw<'a> + Sync),
    warmup: usize,
    options: &ReferenceOptions,
    monitor: &dyn Monitor,
) -> Result<Chains> {
    options.validate()?;
    let length = options.draws * options.thinning;
    let stage = monitor.stage("sample", "draws", (options.chains * (warmup + length)) as u64);
    in_parallel(options.chains, |chain| {
        let mut next = start(chain);
        let mut draws = Array2::zeros((length, dim));
        let mut theta = vec![0.0; dim];
        for index in 0..warmup + length {
            next(&mut theta);
            tick(&stage)?;
            if let Some(row) = index.checked_sub(warmup) {
                draws.row_mut(row).iter_mut().zip(&theta).for_each(|(out, value)| *out = *value);
            }
        }
        Ok((draws, ChainInfo::default()))
    })
}
