//! Sampling of a posterior whose likelihood is known, by tempered sequential Monte Carlo (Del Moral, Doucet & Jasra 2006;
//! Chopin & Papaspiliopoulos 2020, ch. 17) in the prior-gaussian latent space.
//!
//! Particles start from the prior N(0, I) and follow π_β(z) ∝ N(z; 0, I) p(x_{1:n}|z)^β from β = 0 to 1. Each level is as far as
//! the effective sample size allows, resamples, and moves the particles by Metropolis-adjusted Langevin steps in the metric
//! G = I + β F(z), F the Fisher information (simplified manifold MALA, Girolami & Calderhead 2011): the metric makes a step
//! as long as the posterior is wide, whatever n and whatever the mode. Since it starts from the prior, modes keep their weights.

use crate::precision::{cholesky, cholesky_solve, dot, lower_transpose_solve};
use crate::sample::{DIVERGED, Monitor, SampleInfo, SampleRequest, Samples};
use crate::{InferenceError, Result};
use ndarray::{Array3, ArrayView2};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use tallsbi_data::Symmetry;
use tallsbi_data::{Purpose, StreamKey};

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
/// | `min_particles` | 64 | particles a posterior, if fewer samples are asked for | ≥ 2 |
/// | `effective_fraction` | 0.5 | effective sample size after reweighting, as a fraction of the particles | (0, 1) |
/// | `travel` | 1 | length of the moves of a level: sum over moves of acceptance × h²/2, in units of relaxation times | > 0 |
/// | `final_travel` | 4 | the same at β = 1 | > 0 |
/// | `max_moves` | 40 | moves of a level at most | ≥ 1 |
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
        if self.min_particles < 2 {
            return fail("min_particles", "must be at least 2");
        }
        if !(self.effective_fraction > 0.0 && self.effective_fraction < 1.0) {
            return fail("effective_fraction", "must lie strictly between 0 and 1");
        }
        if !(self.travel > 0.0 && self.final_travel > 0.0) {
            return fail("travel", "travel and final_travel must be > 0");
        }
        if self.max_moves == 0 {
            return fail("max_moves", "must be at least 1");
        }
        Ok(())
    }
}

/// Particles that move together: fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 64;

/// Acceptance that step sizes aim at, near MALA's optimum of 0.574 (Roberts & Rosenthal 1998).
const TARGET_ACCEPTANCE: f64 = 0.6;

/// Rate at which the logarithm of the step size follows the acceptance.
const ADAPTATION: f64 = 0.5;

/// Bounds of the step size; for a Gaussian target √2 lands on the mode in one step.
const STEP_RANGE: (f64, f64) = (0.02, 1.4);

/// Samples the posteriors of all groups under the prior N(0, I), in latent space; also returns the log evidence of each up to the
/// likelihood's constant.
///
/// A group's samples are a function of (likelihood, observations, options, key, group index) alone.
///
/// # Errors
/// When options are out of range, observations do not fit, or the monitor asks to stop.
pub fn sample_tempered<L: Likelihood>(
    likelihood: &L,
    request: &SampleRequest<'_, '_>,
    samples: usize,
    options: &TemperingOptions,
    monitor: Monitor<'_>,
) -> Result<(Samples, Vec<f64>)> {
    options.validate()?;
    let m = likelihood.dim_theta();
    let done = AtomicUsize::new(0);
    let total = request.groups.len() * samples;
    let groups: Result<Vec<_>> = request
        .groups
        .par_iter()
        .enumerate()
        .map(|(index, x)| {
            let context = likelihood.context(x.view())?;
            let particles = samples.max(options.min_particles);
            let key = |purpose| request.key.child(purpose).indexed(request.first_group + index as u64);
            let mut run = Run::new(likelihood, &context, particles, options, &key);
            run.anneal(monitor.cancelled)?;
            run.symmetrise(&key(Purpose::Symmetry));
            (monitor.progress)(done.fetch_add(samples, Ordering::Relaxed) + samples, total);
            Ok(run.take(samples))
        })
        .collect();
    let mut latent = Vec::with_capacity(total * m);
    let mut evidences = Vec::with_capacity(request.groups.len());
    let mut info = SampleInfo::default();
    for (theta, evidence, evaluations) in groups? {
        latent.extend(theta);
        evidences.push(evidence);
        info.evaluations = info.evaluations.max(evaluations);
        info.pairs += evaluations * samples.max(options.min_particles) as u64;
    }
    info.diverged =
        latent.chunks_exact(m).filter(|row| row.iter().any(|z| z.is_nan() || z.abs() > DIVERGED)).count() as u64;
    let latent = Array3::from_shape_vec((request.groups.len(), samples, m), latent).expect("each group gives its own");
    Ok((Samples { latent, info }, evidences))
}

/// The particles of one posterior.
struct Run<'a, L: Likelihood> {
    likelihood: &'a L,
    context: &'a L::Context,
    options: &'a TemperingOptions,
    theta: Vec<f64>,
    local: Local,
    noise: Vec<Pcg64>,
    resampling: StreamKey,
    beta: f64,
    step: f64,
    level: u64,
    log_evidence: f64,
    evaluations: u64,
}

impl<'a, L: Likelihood> Run<'a, L> {
    fn new(
        likelihood: &'a L,
        context: &'a L::Context,
        particles: usize,
        options: &'a TemperingOptions,
        key: &dyn Fn(Purpose) -> StreamKey,
    ) -> Self {
        let m = likelihood.dim_theta();
        let start = key(Purpose::SamplerStart);
        let theta: Vec<f64> = (0..particles as u64)
            .flat_map(|p| {
                let mut rng = start.rng(p);
                (0..m).map(move |_| StandardNormal.sample(&mut rng)).collect::<Vec<f64>>()
            })
            .collect();
        let mut local = Local::default();
        local.resize(particles, m);
        let noise = key(Purpose::SamplerNoise);
        let mut run = Self {
            likelihood,
            context,
            options,
            theta,
            local,
            noise: (0..particles as u64).map(|p| noise.rng(p)).collect(),
            resampling: key(Purpose::Subset),
            beta: 0.0,
            step: 1.0,
            level: 0,
            log_evidence: 0.0,
            evaluations: 1,
        };
        run.evaluate();
        run
    }

    fn particles(&self) -> usize {
        self.noise.len()
    }

    /// Evaluates the likelihood at all particles.
    fn evaluate(&mut self) {
        let (likelihood, context) = (self.likelihood, self.context);
        let m = likelihood.dim_theta();
        let parts: Vec<Local> = self
            .theta
            .par_chunks(CHUNK * m)
            .map_init(
                || likelihood.workspace(),
                |workspace, theta| {
                    let mut local = Local::default();
                    likelihood.evaluate(context, theta, workspace, &mut local);
                    local
                },
            )
            .collect();
        self.local = parts.into_iter().fold(Local::default(), |mut all, part| {
            all.values.extend(part.values);
            all.gradients.extend(part.gradients);
            all.informations.extend(part.informations);
            all
        });
    }

    fn anneal(&mut self, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        while self.beta < 1.0 {
            let increment = self.increment();
            self.reweight(increment);
            self.beta = if increment >= 1.0 - self.beta { 1.0 } else { self.beta + increment };
            let mut travelled = 0.0;
            let budget = if self.beta < 1.0 { self.options.travel } else { self.options.final_travel };
            for _ in 0..self.options.max_moves {
                if cancelled() {
                    return Err(InferenceError::Interrupted);
                }
                let step = self.step;
                travelled += self.advance() * 0.5 * step * step;
                if travelled >= budget {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The largest increment of β that leaves the wanted effective sample size.
    fn increment(&self) -> f64 {
        let rest = 1.0 - self.beta;
        let target = self.options.effective_fraction * self.particles() as f64;
        if effective_size(&self.local.values, rest) >= target {
            return rest;
        }
        // A thousandth of the logarithm is enough; the smallest increment still makes progress.
        let (mut low, mut high) = ((f64::EPSILON).ln(), rest.ln());
        while high - low > 1e-3 {
            let middle = 0.5 * (low + high);
            if effective_size(&self.local.values, middle.exp()) >= target { low = middle } else { high = middle }
        }
        low.exp()
    }

    /// Systematic resampling with the weights p(x|z)^increment.
    fn reweight(&mut self, increment: f64) {
        let weights = weights(&self.local.values, increment);
        let sum: f64 = weights.iter().sum();
        let n = self.particles();
        let best = self.local.values.iter().copied().filter(|v| v.is_finite()).fold(f64::NEG_INFINITY, f64::max);
        self.log_evidence += (sum / n as f64).ln() + increment * best;
        let offset: f64 = self.resampling.rng(self.level).random();
        self.level += 1;
        let m = self.likelihood.dim_theta();
        let (theta, local) = (self.theta.clone(), self.local.clone());
        let (mut ancestor, mut cumulative) = (0, weights[0]);
        for slot in 0..n {
            let point = (slot as f64 + offset) / n as f64 * sum;
            while cumulative < point && ancestor + 1 < n {
                ancestor += 1;
                cumulative += weights[ancestor];
            }
            self.theta[slot * m..(slot + 1) * m].copy_from_slice(&theta[ancestor * m..(ancestor + 1) * m]);
            self.local.copy_row(slot, &local, ancestor, m);
        }
    }

    /// One Metropolis-adjusted Langevin step of all particles; returns and adapts to its acceptance.
    fn advance(&mut self) -> f64 {
        let (likelihood, context) = (self.likelihood, self.context);
        let m = likelihood.dim_theta();
        let kernel = Kernel { beta: self.beta, step: self.step, m };
        let Local { values, gradients, informations } = &mut self.local;
        let accepted: usize = self
            .theta
            .par_chunks_mut(CHUNK * m)
            .zip(values.par_chunks_mut(CHUNK))
            .zip(gradients.par_chunks_mut(CHUNK * m))
            .zip(informations.par_chunks_mut(CHUNK * m * m))
            .zip(self.noise.par_chunks_mut(CHUNK))
            .map_init(
                || (likelihood.workspace(), Local::default()),
                |(workspace, proposed), ((((theta, values), gradients), informations), noise)| {
                    let mut proposals = vec![0.0; theta.len()];
                    let mut forward = vec![0.0; values.len()];
                    let mut buffer = Buffers::new(m);
                    for i in 0..values.len() {
                        let own = i * m..(i + 1) * m;
                        buffer.noise.iter_mut().for_each(|z| *z = StandardNormal.sample(&mut noise[i]));
                        let at = (&theta[own.clone()], &gradients[own.clone()], &informations[i * m * m..][..m * m]);
                        forward[i] = kernel.propose(at, &mut buffer, &mut proposals[own]);
                    }
                    likelihood.evaluate(context, &proposals, workspace, proposed);
                    let mut accepted = 0;
                    for i in 0..values.len() {
                        let own = i * m..(i + 1) * m;
                        let square = i * m * m..(i + 1) * m * m;
                        let (old, new) = (&theta[own.clone()], &proposals[own.clone()]);
                        let at = (new, &proposed.gradients[own.clone()], &proposed.informations[square.clone()]);
                        let backward = kernel.log_density(at, old, &mut buffer);
                        let prior = 0.5 * (dot(old, old) - dot(new, new));
                        let ratio = self.beta * (proposed.values[i] - values[i]) + prior + backward - forward[i];
                        // Drawn in any case: the stream's place depends on the number of moves alone. NaN is refused.
                        if noise[i].random::<f64>().ln() < ratio {
                            accepted += 1;
                            values[i] = proposed.values[i];
                            theta[own.clone()].copy_from_slice(new);
                            gradients[own.clone()].copy_from_slice(&proposed.gradients[own]);
                            informations[square.clone()].copy_from_slice(&proposed.informations[square]);
                        }
                    }
                    accepted
                },
            )
            .sum();
        self.evaluations += 1;
        let acceptance = accepted as f64 / self.particles() as f64;
        let adapted = self.step * (ADAPTATION * (acceptance - TARGET_ACCEPTANCE)).exp();
        self.step = adapted.clamp(STEP_RANGE.0, STEP_RANGE.1);
        acceptance
    }

    /// Gives modes that a symmetry exchanges their exact weights, which resampling has let drift.
    fn symmetrise(&mut self, key: &StreamKey) {
        if let Some(symmetry) = self.likelihood.symmetry().filter(|symmetry| symmetry.order() > 1) {
            for (p, theta) in self.theta.chunks_exact_mut(self.likelihood.dim_theta()).enumerate() {
                symmetry.randomise(&mut key.rng(p as u64), theta);
            }
        }
    }

    /// Evenly spaced particles: resampling leaves relatives side by side.
    fn take(self, samples: usize) -> (Vec<f64>, f64, u64) {
        let m = self.likelihood.dim_theta();
        let n = self.particles();
        let theta = (0..samples).flat_map(|s| self.theta[s * n / samples * m..][..m].iter().copied()).collect();
        (theta, self.log_evidence, self.evaluations)
    }
}

/// Weights exp(increment (ℓ - max ℓ)); 0 where ℓ is not finite.
fn weights(values: &[f64], increment: f64) -> Vec<f64> {
    let best = values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    values.iter().map(|value| if value.is_finite() { (increment * (value - best)).exp() } else { 0.0 }).collect()
}

fn effective_size(values: &[f64], increment: f64) -> f64 {
    let weights = weights(values, increment);
    let sum: f64 = weights.iter().sum();
    sum * sum / weights.iter().map(|w| w * w).sum::<f64>()
}

struct Buffers {
    metric: Vec<f64>,
    mean: Vec<f64>,
    noise: Vec<f64>,
}

impl Buffers {
    fn new(m: usize) -> Self {
        Self { metric: vec![0.0; m * m], mean: vec![0.0; m], noise: vec![0.0; m] }
    }
}

/// A point with its gradient and information of the likelihood.
type At<'a> = (&'a [f64], &'a [f64], &'a [f64]);

/// The Langevin proposal N(z + ½h² G⁻¹ ∇log π_β(z), h² G⁻¹).
#[derive(Clone, Copy)]
struct Kernel {
    beta: f64,
    step: f64,
    m: usize,
}

impl Kernel {
    /// Leaves the Cholesky factor of G and the proposal's mean in the buffers; false when G is not finite.
    fn prepare(&self, (z, gradient, information): At<'_>, buffers: &mut Buffers) -> bool {
        let Self { beta, step, m } = *self;
        buffers.metric.iter_mut().zip(information).for_each(|(g, f)| *g = beta * f);
        for i in 0..m {
            buffers.metric[i * m + i] += 1.0;
            buffers.mean[i] = beta * gradient[i] - z[i];
        }
        if !cholesky(&mut buffers.metric, m) {
            return false;
        }
        cholesky_solve(&buffers.metric, &mut buffers.mean);
        buffers.mean.iter_mut().zip(z).for_each(|(mean, z)| *mean = z + 0.5 * step * step * *mean);
        true
    }

    /// Σ log L_ii - ½|ξ|², up to constants that cancel.
    fn normalisation(&self, buffers: &Buffers) -> f64 {
        (0..self.m).map(|i| buffers.metric[i * self.m + i].ln()).sum()
    }

    /// A proposal from `buffers.noise`; returns its log density.
    fn propose(&self, at: At<'_>, buffers: &mut Buffers, proposal: &mut [f64]) -> f64 {
        if !self.prepare(at, buffers) {
            proposal.copy_from_slice(at.0);
            return f64::INFINITY; // never accepted
        }
        proposal.copy_from_slice(&buffers.noise);
        let square = dot(proposal, proposal);
        lower_transpose_solve(&buffers.metric, proposal);
        proposal.iter_mut().zip(&buffers.mean).for_each(|(out, mean)| *out = mean + self.step * *out);
        self.normalisation(buffers) - 0.5 * square
    }

    /// The log density of proposing `to` from `at`.
    fn log_density(&self, at: At<'_>, to: &[f64], buffers: &mut Buffers) -> f64 {
        if !self.prepare(at, buffers) {
            return f64::NEG_INFINITY;
        }
        let Buffers { metric, mean, .. } = &*buffers;
        let m = self.m;
        // |Lᵀ (to - mean)|² / h².
        let square: f64 =
            (0..m).map(|k| (k..m).map(|i| metric[i * m + k] * (to[i] - mean[i])).sum::<f64>().powi(2)).sum();
        self.normalisation(buffers) - 0.5 * square / (self.step * self.step)
    }
}
