//! Sampling of a posterior whose likelihood is known, by tempered sequential Monte Carlo (Del Moral, Doucet & Jasra 2006;
//! Chopin & Papaspiliopoulos 2020, ch. 17) in the prior-gaussian latent space.
//!
//! Particles start from the prior N(0, I) and follow π_β(z) ∝ N(z; 0, I) p(x_{1:n}|z)^β from β = 0 to 1. Each level is as far as
//! the effective sample size allows, resamples, and moves the particles by Metropolis-adjusted Langevin steps in the metric
//! G = I + β F(z), F the Fisher information (simplified manifold MALA, Girolami & Calderhead 2011): the metric makes a step
//! as long as the posterior is wide, whatever n and whatever the mode. Since it starts from the prior, modes keep their weights. Where a
//! cheaper likelihood is known ([`Likelihood::coarse`]), particles follow it first and are then reweighted.

mod kernel;
mod run;
mod worth;

use crate::sample::{DIVERGED, SampleInfo, SampleRequest, Samples};
use crate::{InferenceError, Result};
use ndarray::{Array3, ArrayView2};
use rayon::prelude::*;
use run::Run;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Monitor, Purpose, Symmetry};
pub use worth::Worth;

/// A likelihood of many observations as a function of latent parameters.
pub trait Likelihood: Sync {
    /// What is kept of a group's observations.
    type Context: Send + Sync;
    /// Buffers of one worker.
    type Workspace: Send;

    /// m.
    fn dim_theta(&self) -> usize;

    /// Maps of θ that leave the likelihood as it is, if any are known; the prior N(0, I) is left by all signed permutations.
    fn symmetry(&self) -> Option<&Symmetry> {
        None
    }

    /// A cheaper likelihood near this one with the same contexts, and up to how many observations' worth of it particles may follow it.
    fn coarse(&self) -> Option<(&Self, f64)> {
        None
    }

    /// Takes the observations (n, d) of one posterior.
    ///
    /// # Errors
    /// When they do not fit the model or are not finite.
    fn context(&self, x: ArrayView2<'_, f32>) -> Result<Self::Context>;

    /// Makes buffers.
    fn workspace(&self) -> Self::Workspace;

    /// Evaluates at the latent parameters `theta` (rows, m).
    fn evaluate(&self, context: &Self::Context, theta: &[f64], workspace: &mut Self::Workspace, local: &mut Local);
}

/// A likelihood at some points.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// log p(x_{1:n}|z) up to a constant, (rows).
    pub values: Vec<f64>,
    /// Its gradient, (rows, m).
    pub gradients: Vec<f64>,
    /// Fisher information or another positive semi-definite metric, (rows, m, m).
    pub informations: Vec<f64>,
}

impl Local {
    /// Makes room for `rows` points.
    pub fn resize(&mut self, rows: usize, m: usize) {
        self.values.resize(rows, 0.0);
        self.gradients.resize(rows * m, 0.0);
        self.informations.resize(rows * m * m, 0.0);
    }

    /// Adds what is at the same points.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        add(&mut self.values, &other.values);
        add(&mut self.gradients, &other.gradients);
        add(&mut self.informations, &other.informations);
    }

    fn copy_row(&mut self, to: usize, from: &Self, row: usize, m: usize) {
        self.values[to] = from.values[row];
        self.gradients[to * m..(to + 1) * m].copy_from_slice(&from.gradients[row * m..(row + 1) * m]);
        let square = m * m;
        self.informations[to * square..(to + 1) * square]
            .copy_from_slice(&from.informations[row * square..(row + 1) * square]);
    }
}

/// Options of tempering.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `min_particles` | 64 | particles a posterior, if fewer samples are asked for | 2 to 10⁸ |
/// | `effective_fraction` | 0.5 | effective sample size after reweighting, as a fraction of the particles | (0, 1) |
/// | `travel` | 1 | length of the moves of a level: sum over moves of acceptance × h²/2, in units of relaxation times | > 0 |
/// | `final_travel` | 4 | the same at β = 1 | > 0 |
/// | `max_moves` | 40 | moves of a level at most | 1 to 10⁶ |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemperingOptions {
    /// Particles a posterior at least.
    pub min_particles: usize,
    /// Target of the effective sample size.
    pub effective_fraction: f64,
    /// Moves of a level.
    pub travel: f64,
    /// Moves at β = 1.
    pub final_travel: f64,
    /// Bound on the moves of a level.
    pub max_moves: usize,
}

impl Default for TemperingOptions {
    fn default() -> Self {
        Self { min_particles: 64, effective_fraction: 0.5, travel: 1.0, final_travel: 4.0, max_moves: 40 }
    }
}

impl TemperingOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |option, message: &str| Err(InferenceError::Option { option, message: message.into() });
        if !(2..=100_000_000).contains(&self.min_particles) {
            return fail("min_particles", "must be at least 2, and at most 100000000 to fit into memory");
        }
        if !(self.effective_fraction > 0.0 && self.effective_fraction < 1.0) {
            return fail("effective_fraction", "must lie strictly between 0 and 1");
        }
        if !(self.travel > 0.0 && self.final_travel > 0.0) {
            return fail("travel", "travel and final_travel must be > 0");
        }
        if !(1..=1_000_000).contains(&self.max_moves) {
            return fail("max_moves", "must be at least 1, and at most 1000000 for a level to end");
        }
        Ok(())
    }
}

/// From the cheapest likelihood to `likelihood` itself, each with the observations' worth of it that particles follow it for.
fn ladder<L: Likelihood>(likelihood: &L) -> Vec<(&L, f64)> {
    let mut stages = vec![(likelihood, f64::INFINITY)];
    while let Some(coarser) = stages[stages.len() - 1].0.coarse() {
        stages.push(coarser);
    }
    stages.reverse();
    stages
}

/// Samples the posteriors of all groups under the prior N(0, I), in latent space; also returns the log evidence of each up to the
/// likelihood's constant.
///
/// A group's samples are a function of (likelihood, observations, options, key, group index) alone.
///
/// # Errors
/// When options are out of range, observations do not fit, or the monitor asks to stop; when the particles of a single group cannot follow
/// its posterior. Of several groups such ones are counted in [`SampleInfo::collapsed`], and their samples are not from their posteriors.
pub fn sample_tempered<L: Likelihood>(
    likelihood: &L,
    request: &SampleRequest<'_, '_>,
    samples: usize,
    options: &TemperingOptions,
    monitor: &dyn Monitor,
) -> Result<(Samples, Vec<f64>)> {
    let context = |group: usize| likelihood.context(request.groups[group].view());
    sample_contexts(likelihood, &context, request, samples, options, monitor)
}

/// The same with what is kept of each group's observations given by `context`.
pub(crate) fn sample_contexts<L: Likelihood>(
    likelihood: &L,
    context: &(dyn Fn(usize) -> Result<L::Context> + Sync),
    request: &SampleRequest<'_, '_>,
    samples: usize,
    options: &TemperingOptions,
    monitor: &dyn Monitor,
) -> Result<(Samples, Vec<f64>)> {
    options.validate()?;
    let m = likelihood.dim_theta();
    let total = request.groups.len() * samples;
    let stage = monitor.stage("sample", "samples", total as u64);
    let several = |groups: Range<usize>| {
        let of_one = |index: usize| {
            let (x, context) = (&request.groups[index], context(index)?);
            let particles = samples.max(options.min_particles);
            let key = |purpose| request.key.child(purpose).indexed(request.first_group + index as u64);
            let start = |likelihood| Run::new(likelihood, &context, particles, options, &key, monitor);
            let stages = ladder(likelihood);
            let mut run = start(stages[0].0)?;
            for (index, (_, observations)) in stages.iter().enumerate() {
                run.anneal((observations / x.nrows() as f64).min(1.0))?;
                let Some((finer, _)) = stages.get(index + 1) else { break };
                if !run.switch(finer)? {
                    let spent = run.evaluations;
                    run = start(finer)?;
                    run.evaluations += spent;
                }
            }
            run.settle()?;
            let fault = run.fault();
            run.symmetrise(&key(Purpose::Symmetry));
            stage.advance(samples as u64);
            match fault {
                Some(error) if request.groups.len() == 1 => Err(error),
                fault => Ok((run.take(samples), fault.is_some())),
            }
        };
        groups.into_par_iter().map(of_one).collect::<Result<Vec<_>>>()
    };
    let groups = monitor.share("sample tempered", request.groups.len(), several)?;
    let mut latent = Vec::with_capacity(total * m);
    let mut evidences = Vec::with_capacity(request.groups.len());
    let mut info = SampleInfo::default();
    for ((theta, evidence, evaluations), collapsed) in groups.into_iter().flatten() {
        info.collapsed += u64::from(collapsed);
        latent.extend(theta);
        evidences.push(evidence);
        info.evaluations = info.evaluations.max(evaluations);
        info.pairs += evaluations * samples.max(options.min_particles) as u64;
    }
    info.diverged =
        latent.chunks_exact(m).filter(|row| row.iter().any(|z| z.is_nan() || z.abs() > DIVERGED)).count() as u64;
    if request.groups.len() == 1 && info.diverged == samples as u64 {
        let reason = "all lie beyond 100 prior standard deviations";
        return Err(InferenceError::Collapsed { reason, distinct: samples, particles: samples });
    }
    let latent = Array3::from_shape_vec((request.groups.len(), samples, m), latent).expect("each group gives its own");
    Ok((Samples { latent, info }, evidences))
}
