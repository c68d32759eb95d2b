//! The algebra that GAUSS and JAC share (paper Lemma 3.2, Alg. 1 and 2), over tiles of pairs.
//!
//! With P_j = Σ_{t,j}⁻¹ and P_λ = Σ_{t,λ}⁻¹ the tall score is Λ⁻¹[Σ_j P_j s_j + (1-n) P_λ s_λ], Λ = Σ_j P_j + (1-n) P_λ.
//! Every P is (α/v) I plus an *excess* Q; multiplied through by ρ = v/α this is
//!
//! ```text
//! score = (I + ρK)⁻¹ [F + ρW],   K = Σ_j Q_j + (1-n) Q_λ,   F = Σ_j s_j + (1-n) s_λ,   W = Σ_j Q_j s_j + (1-n) Q_λ s_λ
//! ```
//!
//! which loses no digits as t → 0 (where α/v → ∞) and shows that F-NPSE's F is the limit ρ → 0. n counts the factors of the
//! particle's group. Sums run over tiles of fixed size in a fixed order, particle by particle: memory is O(particles), never
//! O(particles · n), and a particle's result does not depend on its neighbours.

use super::composition_options::{CompositionOptions, Repair};
use super::{Pair, PosteriorScore, ScoreContext, ScoreCounters, ScoreModel};
use crate::prior_score::{Level, PriorScore};
use crate::schedule::NoiseSchedule;
use crate::small_matrix::{
    add_multiply, add_scaled, change_relative_eigenvalues, cholesky, cholesky_solve, general_solve,
};
use crate::{InferenceError, Result};
use rand::RngExt;
use rand_pcg::Pcg64;

/// Pairs evaluated at a time: large enough to fill a network's tiles, small enough to stay in cache.
pub(crate) const TILE: usize = 512;

/// Where the prior score comes from.
pub enum PriorTerm<'a, M: ScoreModel> {
    /// The exact diffused prior.
    Analytic(&'a dyn PriorScore),
    /// The model's score without observations (classifier-free guidance, paper App. L.1).
    Learned(&'a M::Context),
}

impl<M: ScoreModel> Clone for PriorTerm<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ScoreModel> Copy for PriorTerm<'_, M> {}

/// Whose factors a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Observations.
    Factors,
    /// "No observation": the learned prior.
    Null,
}

/// Sums of each particle.
pub struct Sums {
    /// Σ w s, (P, m).
    pub score: Vec<f64>,
    /// Σ w Q s, (P, m).
    pub weighted: Vec<f64>,
    /// Σ w Q, (P, m, m), if it depends on the particle; else empty.
    pub precision: Vec<f64>,
}

impl Sums {
    fn new(particles: usize, m: usize, per_particle: bool) -> Self {
        let precision = vec![0.0; if per_particle { particles * m * m } else { 0 }];
        Self { score: vec![0.0; particles * m], weighted: vec![0.0; particles * m], precision }
    }

    fn clear(&mut self) {
        self.score.fill(0.0);
        self.weighted.fill(0.0);
        self.precision.fill(0.0);
    }
}

/// One call's worth of pairs.
pub struct Tile<'t, M: ScoreModel> {
    /// The model.
    pub model: &'t M,
    /// Context the factors index.
    pub context: &'t M::Context,
    /// Whose factors these are.
    pub source: Source,
    /// Signal and noise.
    pub level: Level,
    /// Particles (P, m).
    pub theta: &'t [f64],
    /// The pairs.
    pub pairs: &'t [Pair],
    /// Weight of each pair in the sums.
    pub weights: &'t [f64],
}

/// The one hook in which GAUSS and JAC differ: the excess precisions Q_j.
pub trait PrecisionRule<M: ScoreModel>: Send {
    /// Adds the pairs' w s, w Q s and (where it depends on the particle) w Q to `sums`.
    fn add(&mut self, tile: Tile<'_, M>, workspace: &mut M::Workspace, sums: &mut Sums);

    /// Σ_j Q_j of a group's factors (m, m) when it depends on neither θ nor t.
    fn constant(&self, group: usize) -> Option<&[f64]>;

    /// Q of the learned prior (m, m) when it depends on neither θ nor t.
    fn constant_prior(&self) -> Option<&[f64]>;

    /// Adds to a particle's W what a mini-batch leaves to be summed exactly (control variates).
    fn add_exact(&self, group: usize, theta: &[f64], level: Level, weighted: &mut [f64]);
}

/// The particles of a chunk and the pairs they make with their groups' factors.
pub(crate) struct Chunk<'a, M: ScoreModel> {
    pub model: &'a M,
    pub context: &'a M::Context,
    pub workspace: M::Workspace,
    /// Group of each particle; equal groups are neighbours.
    pub groups: Vec<u32>,
    pairs: Vec<Pair>,
    weights: Vec<f64>,
    /// Subsets of each particle.
    subsets: Vec<Pcg64>,
    pub counted: ScoreCounters,
}

impl<'a, M: ScoreModel> Chunk<'a, M> {
    pub fn new(model: &'a M, context: &'a M::Context, groups: Vec<u32>, subsets: Vec<Pcg64>) -> Self {
        Self {
            model,
            context,
            workspace: model.workspace(groups.len()),
            groups,
            pairs: Vec::with_capacity(TILE),
            weights: Vec::with_capacity(TILE),
            subsets,
            counted: ScoreCounters::default(),
        }
    }

    /// n of a particle's group.
    pub fn count(&self, particle: usize) -> usize {
        self.context.factors(self.groups[particle] as usize).len()
    }

    /// Hands out all pairs in tiles.
    pub fn for_each_tile(
        &mut self,
        subset: Option<usize>,
        mut each: impl FnMut(&M, &M::Context, &[Pair], &[f64], &mut M::Workspace),
    ) {
        for particle in 0..self.groups.len() {
            let factors = self.context.factors(self.groups[particle] as usize);
            let n = factors.len();
            let taken = subset.map_or(n, |size| size.min(n));
            for stratum in 0..taken {
                let (low, high) = (stratum * n / taken, (stratum + 1) * n / taken);
                let chosen = if high - low > 1 { self.subsets[particle].random_range(low..high) } else { low };
                self.pairs.push(Pair { particle: particle as u32, factor: (factors.start + chosen) as u32 });
                self.weights.push((high - low) as f64);
                if self.pairs.len() == TILE {
                    self.flush(self.context, &mut each);
                }
            }
        }
        self.flush(self.context, &mut each);
    }

    /// Hands out each particle with the null factor, weighted 1 - n.
    pub fn for_each_null_tile(
        &mut self,
        null: &M::Context,
        mut each: impl FnMut(&M, &M::Context, &[Pair], &[f64], &mut M::Workspace),
    ) {
        for particle in 0..self.groups.len() {
            self.pairs.push(Pair { particle: particle as u32, factor: 0 });
            self.weights.push(1.0 - self.count(particle) as f64);
            if self.pairs.len() == TILE {
                self.flush(null, &mut each);
            }
        }
        self.flush(null, &mut each);
    }

    fn flush(
        &mut self,
        context: &M::Context,
        each: &mut impl FnMut(&M, &M::Context, &[Pair], &[f64], &mut M::Workspace),
    ) {
        if !self.pairs.is_empty() {
            each(self.model, context, &self.pairs, &self.weights, &mut self.workspace);
            self.counted.pairs += self.pairs.len() as u64;
            self.pairs.clear();
            self.weights.clear();
        }
    }
}

/// The tall score by a second-order composition; `R` says which.
pub struct TallScore<'a, M: ScoreModel, R> {
    chunk: Chunk<'a, M>,
    prior: PriorTerm<'a, M>,
    rule: R,
    options: CompositionOptions,
    sums: Sums,
    prior_score: Vec<f64>,
    prior_excess: Vec<f64>,
    matrix: Vec<f64>,
    /// Group and time of the Cholesky factor in `matrix`, when it is shared by a group's particles.
    factored: Option<(u32, f64)>,
}

impl<'a, M: ScoreModel, R: PrecisionRule<M>> TallScore<'a, M, R> {
    /// The score for particles of the given groups (equal groups side by side); `subsets` are the particles' random streams, one
    /// each, if options ask for mini-batches (may be empty otherwise).
    pub fn new(
        model: &'a M,
        context: &'a M::Context,
        prior: PriorTerm<'a, M>,
        rule: R,
        options: CompositionOptions,
        groups: Vec<u32>,
        subsets: Vec<Pcg64>,
    ) -> Self {
        let (m, particles) = (model.dim_theta(), groups.len());
        let per_particle = rule.constant(0).is_none();
        Self {
            chunk: Chunk::new(model, context, groups, subsets),
            prior,
            rule,
            options,
            sums: Sums::new(particles, m, per_particle),
            prior_score: vec![0.0; m],
            prior_excess: vec![0.0; m * m],
            matrix: vec![0.0; m * m],
            factored: None,
        }
    }

    fn is_prior_gaussian(&self) -> bool {
        matches!(self.prior, PriorTerm::Analytic(prior) if prior.is_gaussian())
    }

    /// Adds the prior's part of the particle's sums. For Gaussian priors `prior_excess` is constant.
    fn add_prior(&mut self, particle: usize, theta: &[f64], level: Level) {
        let m = theta.len();
        let weight = 1.0 - self.chunk.count(particle) as f64;
        match self.prior {
            PriorTerm::Analytic(prior) => {
                prior.evaluate(theta, level, &mut self.prior_score, Some(&mut self.prior_excess));
                let row = particle * m..(particle + 1) * m;
                add_scaled(weight, &self.prior_score, &mut self.sums.score[row.clone()]);
                add_multiply(weight, &self.prior_excess, &self.prior_score, &mut self.sums.weighted[row]);
            }
            // Its sums were added as pairs; its Q is known only if constant.
            PriorTerm::Learned(_) => match self.rule.constant_prior() {
                Some(excess) => self.prior_excess.copy_from_slice(excess),
                None => self.prior_excess.fill(0.0),
            },
        }
    }

    /// I + ρK of a particle into `matrix`.
    fn assemble(&mut self, particle: usize, rho: f64) {
        let m = self.prior_score.len();
        let group = self.chunk.groups[particle] as usize;
        match self.rule.constant(group) {
            Some(constant) => self.matrix.copy_from_slice(constant),
            None => self.matrix.copy_from_slice(&self.sums.precision[particle * m * m..(particle + 1) * m * m]),
        }
        let weight = 1.0 - self.chunk.count(particle) as f64;
        add_scaled(weight, &self.prior_excess, &mut self.matrix);
        for value in &mut self.matrix {
            *value *= rho;
        }
        for i in 0..m {
            self.matrix[i * m + i] += 1.0;
        }
    }

    /// Factors `matrix`, repairing it if need be.
    fn factor(&mut self, particle: usize, level: Level, rho: f64) -> Result<()> {
        let m = self.prior_score.len();
        self.chunk.counted.precisions += 1;
        if cholesky(&mut self.matrix, m) {
            return Ok(());
        }
        let Repair::EigenvalueFloor { relative } = self.options.repair else {
            return Err(InferenceError::NotPositiveDefinite {
                t: level.t,
                remedy: "let it be repaired (eigenvalue floor), or use fewer observations or another composition",
            });
        };
        self.assemble(particle, rho);
        let mut prior: Vec<f64> = self.prior_excess.iter().map(|q| rho * q).collect();
        for i in 0..m {
            prior[i * m + i] += 1.0;
        }
        let repaired = change_relative_eigenvalues(&mut self.matrix, &prior, m, |mu| mu.max(relative));
        if repaired.is_none() || !cholesky(&mut self.matrix, m) {
            // Not finite: the particle has diverged, or does now, and is counted as such by the driver.
            self.matrix.fill(f64::NAN);
        }
        self.chunk.counted.repaired += 1;
        Ok(())
    }

    /// (I + ρK)⁻¹ [F + ρW] of a particle into `out`.
    fn solve(&mut self, particle: usize, level: Level, shared: bool, out: &mut [f64]) -> Result<()> {
        let m = out.len();
        let rho = level.variance / level.alpha;
        let row = particle * m..(particle + 1) * m;
        out.copy_from_slice(&self.sums.score[row.clone()]);
        add_scaled(rho, &self.sums.weighted[row], out);
        if out.iter().any(|value| !value.is_finite()) {
            out.fill(f64::NAN);
            return Ok(());
        }
        if self.options.repair == Repair::Off {
            self.assemble(particle, rho);
            if !general_solve(&mut self.matrix, out, m) {
                out.fill(f64::NAN);
            }
            return Ok(());
        }
        let key = (self.chunk.groups[particle], level.t);
        if !(shared && self.factored == Some(key)) {
            self.assemble(particle, rho);
            self.factor(particle, level, rho)?;
            self.factored = shared.then_some(key);
        }
        cholesky_solve(&self.matrix, out);
        Ok(())
    }
}

impl<M: ScoreModel, R: PrecisionRule<M>> PosteriorScore for TallScore<'_, M, R> {
    fn dim(&self) -> usize {
        self.chunk.model.dim_theta()
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        self.chunk.model.schedule()
    }

    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()> {
        let m = self.dim();
        let level = Level::new(self.schedule(), t);
        let Self { chunk, rule, sums, .. } = self;
        sums.clear();
        chunk.model.begin(theta, t, &mut chunk.workspace);
        let batch = self.options.mini_batch;
        chunk.for_each_tile(batch.map(|b| b.size), |model, context, pairs, weights, workspace| {
            rule.add(Tile { model, context, source: Source::Factors, level, theta, pairs, weights }, workspace, sums);
        });
        if let PriorTerm::Learned(null) = self.prior {
            chunk.for_each_null_tile(null, |model, context, pairs, weights, workspace| {
                rule.add(Tile { model, context, source: Source::Null, level, theta, pairs, weights }, workspace, sums);
            });
        }
        let gaussian = self.is_prior_gaussian();
        let shared = self.sums.precision.is_empty() && (gaussian || self.rule.constant_prior().is_some());
        let first_order = !gaussian
            && self.options.second_order_only_above_signal_scale.is_some_and(|limit| level.alpha.sqrt() <= limit);
        let damping = batch.map_or(1.0, |b| b.damping.powf(t));
        for (particle, (theta, out)) in theta.chunks_exact(m).zip(out.chunks_exact_mut(m)).enumerate() {
            let row = particle * m..(particle + 1) * m;
            if self.chunk.count(particle) == 1 {
                out.copy_from_slice(&self.sums.score[row]);
                continue;
            }
            self.add_prior(particle, theta, level);
            if first_order {
                out.copy_from_slice(&self.sums.score[row]);
            } else {
                let group = self.chunk.groups[particle] as usize;
                self.rule.add_exact(group, theta, level, &mut self.sums.weighted[row]);
                self.solve(particle, level, shared, out)?;
            }
            for value in out {
                *value *= damping;
            }
        }
        Ok(())
    }

    fn counters(&self) -> ScoreCounters {
        self.chunk.counted
    }
}
