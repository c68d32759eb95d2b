//! The particles of one posterior, from level to level.

use super::kernel::{Buffers, Kernel};
use super::{Likelihood, Local, TemperingOptions};
use crate::precision::dot;
use crate::{InferenceError, Result};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use std::collections::HashSet;
use tallsbi_data::{Cancelled, Monitor, Purpose, StreamKey};

/// Particles that move together: fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 64;

/// Acceptance that step sizes aim at, near MALA's optimum of 0.574 (Roberts & Rosenthal 1998).
const TARGET_ACCEPTANCE: f64 = 0.6;

/// Rate at which the logarithm of the step size follows the acceptance.
const ADAPTATION: f64 = 0.5;

/// Bounds of the step size; for a Gaussian target √2 lands on the mode in one step.
const STEP_RANGE: (f64, f64) = (0.02, 1.4);

/// Levels at most: from the prior to a posterior that can be reached it takes some tens, whatever n.
const MAX_LEVELS: u64 = 400;

/// Levels in a row at which particles hardly move ([`STILL`] of the way they should) before it is given up.
const STUCK_LEVELS: usize = 8;
const STILL: f64 = 0.02;

/// One particle in so many must differ from the others, in the end.
const COPIES: usize = 20;

/// An increment of β so small that log-likelihoods it would still tell apart are no model's: they differ by 10²⁴.
const NO_INCREMENT: f64 = 1e-24;

/// Most levels at which β rises by no more than its rounding: one throws out particles of no likelihood.
const MAX_STUCK: u64 = 50;

/// The particles of one posterior.
pub(super) struct Run<'a, L: Likelihood> {
    likelihood: &'a L,
    context: &'a L::Context,
    options: &'a TemperingOptions,
    monitor: &'a dyn Monitor,
    theta: Vec<f64>,
    local: Local,
    noise: Vec<Pcg64>,
    resampling: StreamKey,
    beta: f64,
    step: f64,
    level: u64,
    log_evidence: f64,
    pub(super) evaluations: u64,
    /// Levels in a row at which particles hardly moved.
    still: usize,
    /// Why the particles do not follow the posterior, if they do not.
    fault: Option<&'static str>,
}

impl<'a, L: Likelihood> Run<'a, L> {
    pub(super) fn new(
        likelihood: &'a L,
        context: &'a L::Context,
        particles: usize,
        options: &'a TemperingOptions,
        key: &dyn Fn(Purpose) -> StreamKey,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
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
            monitor,
            theta,
            local,
            noise: (0..particles as u64).map(|p| noise.rng(p)).collect(),
            resampling: key(Purpose::Subset),
            beta: 0.0,
            step: 1.0,
            level: 0,
            log_evidence: 0.0,
            evaluations: 1,
            still: 0,
            fault: None,
        };
        run.evaluate()?;
        Ok(run)
    }

    fn particles(&self) -> usize {
        self.noise.len()
    }

    /// Evaluates the likelihood at all particles. Of many one evaluation takes long, and stops within it.
    fn evaluate(&mut self) -> Result<()> {
        let (likelihood, context, monitor) = (self.likelihood, self.context, self.monitor);
        let m = likelihood.dim_theta();
        let parts: std::result::Result<Vec<Local>, Cancelled> = self
            .theta
            .par_chunks(CHUNK * m)
            .map_init(
                || likelihood.workspace(),
                |workspace, theta| {
                    monitor.check()?;
                    let mut local = Local::default();
                    likelihood.evaluate(context, theta, workspace, &mut local);
                    Ok(local)
                },
            )
            .collect();
        self.local = parts?.into_iter().fold(Local::default(), |mut all, part| {
            all.values.extend(part.values);
            all.gradients.extend(part.gradients);
            all.informations.extend(part.informations);
            all
        });
        Ok(())
    }

    /// From the present β to `end`, level by level.
    pub(super) fn anneal(&mut self, end: f64) -> Result<()> {
        let mut stuck = 0;
        while self.beta < end && self.fault.is_none() {
            if !self.local.values.iter().any(|value| value.is_finite()) {
                self.fault = Some("the likelihood is 0 or overflows at all particles");
                break;
            }
            let rest = end - self.beta;
            let increment = self.increment(rest);
            stuck += u64::from(increment < rest.min(2.0 * f64::EPSILON));
            if stuck > MAX_STUCK || self.is_beyond_weighing() {
                return Err(InferenceError::Tempering { levels: self.level, beta: self.beta });
            }
            let changes: Vec<f64> = self.local.values.iter().map(|value| increment * value).collect();
            self.reweight(&changes);
            self.beta = if increment >= rest { end } else { self.beta + increment };
            if self.beta < 1.0 {
                self.travel(self.options.travel)?;
            }
            if self.still >= STUCK_LEVELS {
                self.fault = Some("particles no longer move");
            } else if self.level >= MAX_LEVELS {
                self.fault = Some("it is too far from the prior");
            }
        }
        Ok(())
    }

    /// Whether even at [`NO_INCREMENT`] too few of the particles that have a likelihood would be left: whichever of them is best by
    /// rounding would be all that there is.
    fn is_beyond_weighing(&self) -> bool {
        let target = self.options.effective_fraction * self.particles() as f64;
        let finite = self.local.values.iter().filter(|value| value.is_finite()).count();
        finite as f64 >= target && effective_size(&self.local.values, NO_INCREMENT) < target
    }

    /// The moves at β = 1.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.fault.is_some() {
            return Ok(());
        }
        self.travel(self.options.final_travel)?;
        if self.distinct() * COPIES < self.particles() {
            self.fault = Some("particles are copies of a few");
        }
        Ok(())
    }

    /// How many particles differ.
    fn distinct(&self) -> usize {
        let bits = |theta: &[f64]| theta.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
        self.theta.chunks_exact(self.likelihood.dim_theta()).map(bits).collect::<HashSet<_>>().len()
    }

    /// That the particles do not follow the posterior, if they do not.
    pub(super) fn fault(&self) -> Option<InferenceError> {
        let reason = self.fault?;
        Some(InferenceError::Collapsed { reason, distinct: self.distinct(), particles: self.particles() })
    }

    fn travel(&mut self, budget: f64) -> Result<()> {
        let mut travelled = 0.0;
        for _ in 0..self.options.max_moves {
            let step = self.step;
            travelled += self.advance()? * 0.5 * step * step;
            if travelled >= budget {
                break;
            }
        }
        self.still = if travelled < STILL * budget { self.still + 1 } else { 0 };
        Ok(())
    }

    /// Goes on with `likelihood` at the same β; false, and particles that follow neither, if the two differ so much that too few
    /// particles would be left.
    pub(super) fn switch(&mut self, likelihood: &'a L) -> Result<bool> {
        let before = std::mem::replace(&mut self.likelihood, likelihood);
        debug_assert_eq!(before.dim_theta(), likelihood.dim_theta());
        let values = self.local.values.clone();
        self.evaluate()?;
        self.evaluations += 1;
        let changes: Vec<f64> =
            self.local.values.iter().zip(&values).map(|(new, old)| self.beta * (new - old)).collect();
        let enough = effective_size(&changes, 1.0) >= self.options.effective_fraction * self.particles() as f64;
        self.reweight(&changes);
        Ok(enough)
    }

    /// The largest increment of β that leaves the wanted effective sample size.
    fn increment(&self, rest: f64) -> f64 {
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

    /// Systematic resampling with the weights e^change.
    fn reweight(&mut self, changes: &[f64]) {
        let weights = weights(changes, 1.0);
        let sum: f64 = weights.iter().sum();
        let n = self.particles();
        self.log_evidence += (sum / n as f64).ln() + largest(changes);
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
    fn advance(&mut self) -> Result<f64> {
        let (likelihood, context, monitor) = (self.likelihood, self.context, self.monitor);
        let m = likelihood.dim_theta();
        let kernel = Kernel { beta: self.beta, step: self.step, m };
        let Local { values, gradients, informations } = &mut self.local;
        let accepted: std::result::Result<usize, Cancelled> = self
            .theta
            .par_chunks_mut(CHUNK * m)
            .zip(values.par_chunks_mut(CHUNK))
            .zip(gradients.par_chunks_mut(CHUNK * m))
            .zip(informations.par_chunks_mut(CHUNK * m * m))
            .zip(self.noise.par_chunks_mut(CHUNK))
            .map_init(
                || (likelihood.workspace(), Local::default()),
                |(workspace, proposed), ((((theta, values), gradients), informations), noise)| {
                    monitor.check()?;
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
                    Ok(accepted)
                },
            )
            .sum();
        self.evaluations += 1;
        let acceptance = accepted? as f64 / self.particles() as f64;
        let adapted = self.step * (ADAPTATION * (acceptance - TARGET_ACCEPTANCE)).exp();
        self.step = adapted.clamp(STEP_RANGE.0, STEP_RANGE.1);
        Ok(acceptance)
    }

    /// Gives modes that a symmetry exchanges their exact weights, which resampling has let drift.
    pub(super) fn symmetrise(&mut self, key: &StreamKey) {
        if let Some(symmetry) = self.likelihood.symmetry().filter(|symmetry| symmetry.order() > 1) {
            for (p, theta) in self.theta.chunks_exact_mut(self.likelihood.dim_theta()).enumerate() {
                symmetry.randomise(&mut key.rng(p as u64), theta);
            }
        }
    }

    /// Evenly spaced particles: resampling leaves relatives side by side.
    pub(super) fn take(self, samples: usize) -> (Vec<f64>, f64, u64) {
        let m = self.likelihood.dim_theta();
        let n = self.particles();
        let theta = (0..samples).flat_map(|s| self.theta[s * n / samples * m..][..m].iter().copied()).collect();
        (theta, self.log_evidence, self.evaluations)
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max)
}

/// Weights exp(increment (ℓ - max ℓ)); 0 where ℓ is not finite.
fn weights(values: &[f64], increment: f64) -> Vec<f64> {
    let best = largest(values);
    values.iter().map(|value| if value.is_finite() { (increment * (value - best)).exp() } else { 0.0 }).collect()
}

fn effective_size(values: &[f64], increment: f64) -> f64 {
    let weights = weights(values, increment);
    let sum: f64 = weights.iter().sum();
    sum * sum / weights.iter().map(|w| w * w).sum::<f64>()
}
