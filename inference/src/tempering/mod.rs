//! Sampling of a posterior whose likelihood is known, by tempered sequential Monte Carlo (Del Moral, Doucet & Jasra 2006;
//! Chopin & Papaspiliopoulos 2020, ch. 17) in the prior-gaussian latent space.
//!
//! Particles start from the prior N(0, I) and follow π_β(z) ∝ N(z; 0, I) p(x_{1:n}|z)^β from β = 0 to 1. Each level is as far as
//! the effective sample size allows, resamples, and moves the particles (`moves.rs`): by Langevin steps in the
//! metric G = I + β F(z), F the Fisher information, which makes a step as long as the posterior is wide, whatever n and whatever the mode;
//! or, where there is a gradient alone, by Hamiltonian trajectories that are preconditioned by the population. Since it
//! starts from the prior, modes keep their weights. Where a cheaper likelihood is known ([`Likelihood::coarse`]), particles follow it
//! first and are then reweighted.

mod affine;
mod course;
mod hamiltonian;
mod langevin;
mod moves;
mod options;
mod population;
mod weights;
mod worth;

pub(crate) use affine::Affine;
pub(crate) use hamiltonian::Hamiltonian;
pub use options::TemperingOptions;
pub(crate) use population::{Arrived, Population};
pub use worth::Worth;

use crate::sample::{DIVERGED, SampleInfo, SampleRequest, Samples};
use crate::{InferenceError, Result};
use course::Course;
use langevin::Langevin;
use ndarray::{Array3, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::{Monitor, Purpose, StreamKey, Symmetry};

/// A likelihood of many observations as a function of latent parameters, with what particles need: values, gradients and a metric at many points
/// at once.
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

    /// Puts what row `row` of `from` has into row `i`, of m parameters.
    fn put(&mut self, i: usize, from: &Self, row: usize, m: usize) {
        let square = m * m;
        self.values[i] = from.values[row];
        self.gradients[i * m..][..m].copy_from_slice(&from.gradients[row * m..][..m]);
        self.informations[i * square..][..square].copy_from_slice(&from.informations[row * square..][..square]);
    }

    /// Adds what is at the same points.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        add(&mut self.values, &other.values);
        add(&mut self.gradients, &other.gradients);
        add(&mut self.informations, &other.informations);
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

/// One posterior's particles, from the prior down the [`ladder`] to `likelihood` itself.
fn follow<L: Likelihood>(
    (likelihood, context): (&L, &L::Context),
    observations: usize,
    particles: usize,
    options: &TemperingOptions,
    key: &dyn Fn(Purpose) -> StreamKey,
    (monitor, course): (&dyn Monitor, Option<&Course<'_>>),
) -> Result<Arrived> {
    let start = |likelihood| {
        let moves = Langevin::default();
        let population = Population::new((likelihood, context), moves, particles, options, key, monitor)?;
        Ok::<_, InferenceError>(population.telling(course))
    };
    let stages = ladder(likelihood);
    let mut population = start(stages[0].0)?;
    let mut spent = 0;
    for (index, (_, worth)) in stages.iter().enumerate() {
        population.anneal((worth / observations as f64).min(1.0))?;
        let Some((finer, _)) = stages.get(index + 1) else { break };
        if !population.switch(finer)? {
            spent += population.evaluations;
            population = start(finer)?;
        }
    }
    population.settle()?;
    let mut arrived = population.arrive();
    arrived.evaluations += spent;
    // Modes that a symmetry exchanges get their exact weights, which resampling has let drift.
    if let Some(symmetry) = likelihood.symmetry().filter(|symmetry| symmetry.order() > 1) {
        let key = key(Purpose::Symmetry);
        for (p, theta) in arrived.theta.chunks_exact_mut(likelihood.dim_theta()).enumerate() {
            symmetry.randomise(&mut key.rng(p as u64), theta);
        }
    }
    Ok(arrived)
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
    let particles = samples.max(options.min_particles);
    let stage = monitor.stage("sample", "samples", total as u64);
    let several = |groups: Range<usize>| {
        let of_one = |index: usize| {
            let (x, context) = (&request.groups[index], context(index)?);
            let key = |purpose| request.key.child(purpose).indexed(request.first_group + index as u64);
            // Of several, each counts when it is done.
            let course = Course::new(&stage, samples, options.final_travel / options.travel);
            let told = (monitor, (request.groups.len() == 1).then_some(&course));
            let mut arrived = follow((likelihood, &context), x.nrows(), particles, options, &key, told)?;
            stage.advance(course.rest());
            let arrived = arrived.fault.take_if(|_| request.groups.len() == 1).map_or(Ok(arrived), Err)?;
            // Evenly spaced particles: resampling leaves relatives side by side.
            let theta: Vec<f64> =
                (0..samples).flat_map(|s| &arrived.theta[s * particles / samples * m..][..m]).copied().collect();
            Ok(((theta, arrived.log_evidence, arrived.evaluations), arrived.fault.is_some()))
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
        info.evaluations = info.evaluations.max(evaluations / particles as u64);
        info.pairs += evaluations;
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
