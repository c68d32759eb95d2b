//! Scores of diffused posteriors: what a model gives for one observation, and how they compose for many.
//!
//! A [`ScoreModel`] gives s_j(θ, t) = ∇_θ log p_t(θ | x_j) in latent space for single observations (or small sets of
//! them: *factors*). Compositions turn it into a [`PosteriorScore`], the score given all observations, which is all a
//! sampler sees.
//!
//! Everything works on *pairs* of a particle and a factor, so that one code path serves one posterior with many
//! particles, many posteriors with one particle each (calibration), and anything between.

mod composition;
mod composition_options;
pub mod covariance;
mod factorized;
mod gauss;
mod jac;
pub mod moment_cache;
mod support;

pub use composition::{PriorTerm, TallScore};
pub use composition_options::{CompositionOptions, MiniBatch, Repair};
pub use factorized::{Bridge, FactorizedScore};
pub use gauss::{GaussInformation, GaussOptions, GaussRule, TallGaussian};
pub use jac::{JacOptions, JacRule};
pub use moment_cache::MomentCache;
pub use support::WithinSupport;

use crate::Result;
use crate::schedule::NoiseSchedule;
use ndarray::ArrayView2;
use std::ops::Range;

/// A particle and the factor (observation or set of observations) whose score it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Row of the particle in the current call's `theta`.
    pub particle: u32,
    /// Index of the factor in the context.
    pub factor: u32,
}

/// What a model keeps of observations: everything that depends neither on θ nor on t, computed once a run.
///
/// Observations come in *groups*, one group a posterior. A model of single observations has one factor an observation;
/// a partially factorised one (paper App. L.2) has ⌈n/n_max⌉ factors a group.
pub trait ScoreContext: Send + Sync {
    /// Number of groups G.
    fn groups(&self) -> usize;

    /// The factors of one group.
    fn factors(&self, group: usize) -> Range<usize>;
}

/// A model of the scores of single-observation posteriors in latent space; m = `dim_theta`, d = `dim_x`.
pub trait ScoreModel: Send + Sync {
    /// Preprocessed observations.
    type Context: ScoreContext;
    /// Buffers of one worker; holds the particles and time set by [`begin`](Self::begin).
    type Workspace: Send;

    /// m.
    fn dim_theta(&self) -> usize;

    /// d.
    fn dim_x(&self) -> usize;

    /// The forward process the scores belong to.
    fn schedule(&self) -> &dyn NoiseSchedule;

    /// Preprocesses groups of observations, each (n_g, d), in the units of the simulator's output.
    ///
    /// # Errors
    /// When a width is not d or a value is not finite.
    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<Self::Context>;

    /// Buffers for up to `max_particles` particles at a time.
    fn workspace(&self, max_particles: usize) -> Self::Workspace;

    /// Sets particles (P, m), row-major, and time for the calls that follow.
    fn begin(&self, theta: &[f64], t: f64, workspace: &mut Self::Workspace);

    /// Scores of `pairs` into `out` (pairs, m).
    fn scores(&self, context: &Self::Context, pairs: &[Pair], workspace: &mut Self::Workspace, out: &mut [f64]);

    /// Scores and their Jacobians ∂s_a/∂θ_b into `jacobians` (pairs, m, m).
    fn scores_and_jacobians(
        &self,
        context: &Self::Context,
        pairs: &[Pair],
        workspace: &mut Self::Workspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    );

    /// Covariances Σ̂_j of the factors' posteriors in latent space, (factors, m, m), if the model knows them without
    /// sampling.
    fn covariances(&self, _context: &Self::Context) -> Option<Vec<f64>> {
        None
    }

    /// Means of the same posteriors, (factors, m), if [`covariances`](Self::covariances) are known and so are they.
    fn means(&self, _context: &Self::Context) -> Option<Vec<f64>> {
        None
    }

    /// The largest noise ratio √(v/α) the model was trained at, if that is less than the schedule's at t = 1: samplers
    /// start there.
    fn max_noise(&self) -> Option<f64> {
        None
    }

    /// A context of one group with the single factor "no observation", if the model was trained with dropped contexts
    /// (classifier-free guidance, paper App. L.1): its score is the learned prior score.
    fn null_context(&self) -> Option<Self::Context> {
        None
    }
}

/// The score of a posterior given all its observations, in latent space: all that a sampler needs. Owns its workspace.
pub trait PosteriorScore {
    /// m.
    fn dim(&self) -> usize;

    /// The forward process.
    fn schedule(&self) -> &dyn NoiseSchedule;

    /// Scores of the particles `theta` (P, m) at time `t` into `out` (P, m).
    ///
    /// # Errors
    /// When a precision that must be positive definite is not, and its repair was switched off.
    fn score(&mut self, theta: &[f64], t: f64, out: &mut [f64]) -> Result<()>;

    /// Σ_j s_j into `factors` (P, m), s_λ into `prior` (P, m) and n into `counts` (P): for samplers that weigh them differently
    /// (Geffner's). False when this composition has no such parts.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn parts(
        &mut self,
        _theta: &[f64],
        _t: f64,
        _factors: &mut [f64],
        _prior: &mut [f64],
        _counts: &mut [f64],
    ) -> Result<bool> {
        Ok(false)
    }

    /// Work done and repairs made so far.
    fn counters(&self) -> ScoreCounters {
        ScoreCounters::default()
    }
}

/// Work counters of a composition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScoreCounters {
    /// Scores of single factors evaluated.
    pub pairs: u64,
    /// Precisions Λ of tall posteriors that were checked for definiteness.
    pub precisions: u64,
    /// How many of them were not positive definite and were repaired.
    pub repaired: u64,
    /// Scores changed because the denoised mean was outside the prior's box.
    pub thresholded: u64,
}

impl std::ops::AddAssign for ScoreCounters {
    fn add_assign(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.precisions += other.precisions;
        self.repaired += other.repaired;
        self.thresholded += other.thresholded;
    }
}
