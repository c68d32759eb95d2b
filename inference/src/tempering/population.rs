//! The particles of one posterior, from level to level: the engine of tempered sequential Monte Carlo, whatever the move.

mod overlooked;

use super::course::Course;
use super::moves::{Chunk, Move, Moved, Tempered};
use super::weights::{effective_size, increment, largest, parents, weights};
use super::{Likelihood, Local, TemperingOptions};
use crate::{InferenceError, Result};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tallsbi_data::{Cancelled, Monitor, Purpose, StreamKey};

/// Particles that move together: fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 64;

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

/// The particles of one posterior, moved by `M`.
pub(crate) struct Population<'a, L: Likelihood, M> {
    target: Tempered<'a, L>,
    moves: M,
    options: &'a TemperingOptions,
    monitor: &'a dyn Monitor,
    chunks: Vec<Chunk>,
    particles: usize,
    resampling: StreamKey,
    /// Draws from modes that no particle found.
    overlooked: StreamKey,
    level: u64,
    log_evidence: f64,
    pub(super) evaluations: u64,
    /// How long the first of all particles took.
    evaluation: Duration,
    /// Levels in a row at which particles hardly moved.
    still: usize,
    /// Why the particles do not follow the posterior, if they do not.
    fault: Option<&'static str>,
    /// Who hears how far they have come.
    course: Option<&'a Course<'a>>,
}

/// A population that arrived.
pub(crate) struct Arrived {
    /// Positions (particle, m).
    pub theta: Vec<f64>,
    /// log ∫ N(z; 0, I) p(x_{1:n}|z) dz, up to the likelihood's constant.
    pub log_evidence: f64,
    /// Points at which the likelihood was evaluated.
    pub evaluations: u64,
    /// Temperatures passed.
    pub levels: u64,
    /// That the particles do not follow the posterior, if they do not.
    pub fault: Option<InferenceError>,
}

impl<'a, L: Likelihood, M: Move> Population<'a, L, M> {
    /// Draws from the prior N(0, I). Random numbers come from `key`: a stream for each particle's start and one for its moves, one number
    /// for each resampling.
    ///
    /// # Errors
    /// When the monitor asks to stop.
    pub fn new(
        (likelihood, context): (&'a L, &'a L::Context),
        moves: M,
        particles: usize,
        options: &'a TemperingOptions,
        key: &dyn Fn(Purpose) -> StreamKey,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let m = likelihood.dim_theta();
        let (start, noise) = (key(Purpose::SamplerStart), key(Purpose::SamplerNoise));
        let position = |p: u64| StandardNormal.sample_iter(start.rng(p)).take(m);
        let chunk = |first: usize| {
            let of = first as u64..particles.min(first + CHUNK) as u64;
            let (theta, noise) = (of.clone().flat_map(position).collect(), of.map(|p| noise.rng(p)).collect());
            Chunk { theta, noise, local: Local::default() }
        };
        let mut population = Self {
            target: Tempered { likelihood, context, beta: 0.0 },
            moves,
            options,
            monitor,
            chunks: (0..particles).step_by(CHUNK).map(chunk).collect(),
            particles,
            resampling: key(Purpose::Subset),
            overlooked: key(Purpose::Overlooked),
            level: 0,
            log_evidence: 0.0,
            evaluations: 0,
            evaluation: Duration::ZERO,
            still: 0,
            fault: None,
            course: None,
        };
        let started = Instant::now();
        population.evaluate()?;
        population.evaluation = started.elapsed();
        Ok(population)
    }

    /// The same, telling how far it has come.
    pub(super) fn telling(mut self, course: Option<&'a Course<'a>>) -> Self {
        course.iter().for_each(|course| course.evaluated(self.evaluation));
        self.course = course;
        self
    }

    /// log p(x_{1:n}|z) of all particles.
    fn values(&self) -> Vec<f64> {
        self.chunks.iter().flat_map(|chunk| &chunk.local.values).copied().collect()
    }

    /// Positions (particle, m).
    fn theta(&self) -> impl Iterator<Item = f64> {
        self.chunks.iter().flat_map(|chunk| &chunk.theta).copied()
    }

    /// Particles whose weights are worth a level.
    fn wanted(&self) -> f64 {
        self.options.effective_fraction * self.particles as f64
    }

    /// Evaluates the likelihood at all particles. Of many one evaluation takes long, and stops within it.
    fn evaluate(&mut self) -> std::result::Result<(), Cancelled> {
        let (Tempered { likelihood, context, .. }, monitor) = (&self.target, self.monitor);
        self.evaluations += self.particles as u64;
        self.chunks.par_iter_mut().try_for_each_init(
            || likelihood.workspace(),
            |workspace, chunk| {
                monitor.check()?;
                likelihood.evaluate(context, &chunk.theta, workspace, &mut chunk.local);
                Ok(())
            },
        )
    }

    /// From the present β to `end`, level by level.
    ///
    /// # Errors
    /// When log-likelihoods differ by more than can be weighed, or the monitor asks to stop.
    pub fn anneal(&mut self, end: f64) -> Result<()> {
        let mut stuck = 0;
        while self.target.beta < end && self.fault.is_none() {
            let values = self.values();
            if !values.iter().any(|value| value.is_finite()) {
                self.fault = Some("the likelihood is 0 or overflows at all particles");
                break;
            }
            let rest = end - self.target.beta;
            let increment = increment(&values, rest, self.wanted());
            stuck += u64::from(increment < rest.min(2.0 * f64::EPSILON));
            if stuck > MAX_STUCK || self.is_beyond_weighing(&values) {
                return Err(InferenceError::Tempering { levels: self.level, beta: self.target.beta });
            }
            let changes: Vec<f64> = values.iter().map(|value| increment * value).collect();
            self.reweight(&changes);
            self.target.beta = if increment >= rest { end } else { self.target.beta + increment };
            if self.target.beta < 1.0 {
                self.travel(self.options.travel)?;
            }
            self.course.iter().for_each(|course| course.at(self.target.beta, self.level));
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
    fn is_beyond_weighing(&self, values: &[f64]) -> bool {
        let finite = values.iter().filter(|value| value.is_finite()).count();
        finite as f64 >= self.wanted() && effective_size(values, NO_INCREMENT) < self.wanted()
    }

    /// The moves at β = 1, and again if a mode was [overlooked].
    pub fn settle(&mut self) -> Result<()> {
        if self.fault.is_some() {
            return Ok(());
        }
        self.travel(self.options.final_travel)?;
        if self.take_in_overlooked()? {
            self.travel(self.options.final_travel)?;
        }
        if self.distinct() * COPIES < self.particles {
            self.fault = Some("particles are copies of a few");
        }
        Ok(())
    }

    /// How many particles differ.
    fn distinct(&self) -> usize {
        let m = self.target.likelihood.dim_theta();
        let bits: Vec<u64> = self.theta().map(f64::to_bits).collect();
        bits.chunks_exact(m).collect::<HashSet<_>>().len()
    }

    fn travel(&mut self, budget: f64) -> Result<()> {
        let mut travelled = 0.0;
        for _ in 0..self.options.max_moves {
            travelled += self.advance()?;
            self.look(&vec![1.0; self.particles]);
            if self.target.beta >= 1.0 {
                self.course.iter().for_each(|course| course.settled((travelled / budget).min(1.0)));
            }
            if travelled >= budget {
                break;
            }
        }
        self.still = if travelled < STILL * budget { self.still + 1 } else { 0 };
        Ok(())
    }

    /// Goes on with `likelihood` at the same β; false, and particles that follow neither, if the two differ so much that too few
    /// particles would be left.
    pub fn switch(&mut self, likelihood: &'a L) -> Result<bool> {
        let before = std::mem::replace(&mut self.target.likelihood, likelihood);
        debug_assert_eq!(before.dim_theta(), likelihood.dim_theta());
        let values = self.values();
        self.evaluate()?;
        let changes: Vec<f64> =
            self.values().iter().zip(&values).map(|(new, old)| self.target.beta * (new - old)).collect();
        let enough = effective_size(&changes, 1.0) >= self.wanted();
        self.reweight(&changes);
        Ok(enough)
    }

    /// Systematic resampling with the weights e^change.
    fn reweight(&mut self, changes: &[f64]) {
        let weights = weights(changes, 1.0);
        let mean = weights.iter().sum::<f64>() / self.particles as f64;
        self.log_evidence += mean.ln() + largest(changes);
        self.look(&weights);
        let offset: f64 = self.resampling.rng(self.level).random();
        self.level += 1;
        let m = self.target.likelihood.dim_theta();
        let before = self.chunks.clone();
        for (i, parent) in parents(&weights, offset).into_iter().enumerate() {
            let (from, row) = (&before[parent / CHUNK], parent % CHUNK);
            self.chunks[i / CHUNK].put(i % CHUNK, &from.theta[row * m..][..m], &from.local, row);
        }
    }

    fn look(&mut self, weights: &[f64]) {
        self.moves.look(self.chunks.iter().flat_map(|chunk| &chunk.theta).copied(), weights);
    }

    /// Moves all particles once; returns how far.
    fn advance(&mut self) -> Result<f64> {
        let (target, moves, monitor) = (&self.target, &self.moves, self.monitor);
        let chunks = self.chunks.par_iter_mut().map_init(
            || target.likelihood.workspace(),
            |workspace, chunk| {
                monitor.check()?;
                Ok(moves.advance(target, chunk, workspace))
            },
        );
        let moved = chunks.collect::<std::result::Result<Vec<Moved>, Cancelled>>()?;
        self.evaluations += moved.iter().map(|moved| moved.evaluations).sum::<u64>();
        let accepted: f64 = moved.iter().map(|moved| moved.accepted).sum();
        Ok(self.moves.adapt(accepted / self.particles as f64))
    }

    /// The particles at the end.
    pub fn arrive(self) -> Arrived {
        let of = |reason| InferenceError::Collapsed { reason, distinct: self.distinct(), particles: self.particles };
        Arrived {
            theta: self.theta().collect(),
            log_evidence: self.log_evidence,
            evaluations: self.evaluations,
            levels: self.level,
            fault: self.fault.map(of),
        }
    }
}
