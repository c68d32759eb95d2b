//! GAUSS (paper Sec. 3.2, Alg. 1): backward precisions P_j = Σ̂_j⁻¹ + (α/v) I from the covariances Σ̂_j of the factors' posteriors,
//! exact when those are Gaussian.
//!
//! The excess is Q_j = Σ̂_j⁻¹ at every t, so ΣQ_j is summed once, and with a Gaussian prior Λ is factored once a group and time.

use super::composition::{PrecisionRule, Source, Sums, TILE, Tile};
use super::covariance::Moments;
use super::{CompositionOptions, ScoreContext, ScoreModel};
use crate::prior_score::{DiffusedPrior, Level};
use crate::small_matrix::{
    add_multiply, add_scaled, change_relative_eigenvalues, cholesky, cholesky_inverse, cholesky_solve, dot,
    smallest_eigenvalue,
};
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};

/// Options of GAUSS.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussOptions {
    /// Options shared with JAC.
    pub composition: CompositionOptions,
    /// Clamp the eigenvalues of Σ̂_j relative to the prior's covariance to at most 1: with a Gaussian prior this makes Λ positive
    /// definite for every n (not in the paper; on by default, changes nothing for covariances that observations narrowed).
    pub clamp_covariance: bool,
    /// Weight in [0, 1) of diag(Σ̂_j) in place of Σ̂_j: shrinks noisy sample correlations (not in the paper).
    pub shrinkage: f64,
}

impl Default for GaussOptions {
    fn default() -> Self {
        Self { composition: CompositionOptions::default(), clamp_covariance: true, shrinkage: 0.0 }
    }
}

impl GaussOptions {
    /// As published: no clamping, no repair.
    pub fn published() -> Self {
        let composition = CompositionOptions { repair: super::Repair::Off, ..CompositionOptions::default() };
        Self { composition, clamp_covariance: false, shrinkage: 0.0 }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.shrinkage) {
            return Err(InferenceError::Option { option: "shrinkage", message: "must be in [0, 1)".into() });
        }
        self.composition.validate()
    }
}

/// A Gaussian approximation of a tall posterior.
#[derive(Debug, Clone, PartialEq)]
pub struct TallGaussian {
    /// μ_G (m); absent when the factors' means are unknown.
    pub mean: Option<Vec<f64>>,
    /// Σ_G (m, m).
    pub covariance: Vec<f64>,
    /// Smallest standard deviation over all directions.
    pub smallest_sd: f64,
}

/// What GAUSS keeps of the factors' covariances: inverses and their sums. O(factors · m²) memory.
#[derive(Debug, Clone)]
pub struct GaussInformation {
    dim: usize,
    /// Σ̂_j⁻¹, (factors, m, m).
    factors: Vec<f64>,
    /// Σ̂_j⁻¹ μ_j, (factors, m), if means are known.
    factor_means: Option<Vec<f64>>,
    /// Σ_j Σ̂_j⁻¹ of each group, (groups, m, m).
    sums: Vec<f64>,
    /// Σ_j Σ̂_j⁻¹ μ_j of each group, (groups, m).
    sum_means: Option<Vec<f64>>,
    /// Σ̂_λ⁻¹ of a learned prior.
    prior: Option<Vec<f64>>,
    /// Covariances whose eigenvalues were clamped.
    pub clamped: u64,
}

impl GaussInformation {
    /// Inverts and sums the factors' covariances. `learned_prior` is the covariance (m, m) of a learned prior, `prior` the
    /// latent prior that clamping compares with.
    ///
    /// # Errors
    /// When a covariance is not positive definite.
    pub fn new(
        context: &impl ScoreContext,
        moments: &Moments,
        prior: &DiffusedPrior,
        learned_prior: Option<&[f64]>,
        options: &GaussOptions,
    ) -> Result<Self> {
        let m = prior.dim();
        let mut clamped = 0;
        let mut factors = Vec::with_capacity(moments.covariances.len());
        for (index, covariance) in moments.covariances.chunks_exact(m * m).enumerate() {
            let mut covariance = covariance.to_vec();
            shrink(&mut covariance, m, options.shrinkage);
            if options.clamp_covariance {
                let changed = change_relative_eigenvalues(&mut covariance, prior.covariance(), m, |mu| mu.min(1.0));
                clamped += u64::from(changed.is_some_and(|count| count > 0));
            }
            factors.extend(inverse(&covariance, m).ok_or_else(|| not_definite(index))?);
        }
        let factor_means = moments.means.as_ref().map(|means| {
            let mut out = vec![0.0; means.len()];
            for ((q, mean), out) in factors.chunks_exact(m * m).zip(means.chunks_exact(m)).zip(out.chunks_exact_mut(m))
            {
                add_multiply(1.0, q, mean, out);
            }
            out
        });
        let sum_over = |values: &[f64], width: usize| {
            let mut sums = vec![0.0; context.groups() * width];
            for (group, sum) in sums.chunks_exact_mut(width).enumerate() {
                for factor in context.factors(group) {
                    add_scaled(1.0, &values[factor * width..(factor + 1) * width], sum);
                }
            }
            sums
        };
        let sums = sum_over(&factors, m * m);
        let sum_means = factor_means.as_ref().map(|means| sum_over(means, m));
        let prior = match learned_prior {
            Some(covariance) => Some(inverse(covariance, m).ok_or_else(|| InferenceError::Option {
                option: "prior score",
                message: "the learned prior's estimated covariance is not positive definite; use the analytic prior score".into(),
            })?),
            None => None,
        };
        Ok(Self { dim: m, factors, factor_means, sums, sum_means, prior, clamped })
    }

    /// The Gaussian with precision ΣΣ̂_j⁻¹ + (1-n) S⁻¹ for a group of n factors, repaired to be no wider than the prior in the
    /// directions in which it is not positive definite. Uniform components of the prior count as flat.
    pub fn tall_gaussian(
        &self,
        context: &impl ScoreContext,
        group: usize,
        prior: &DiffusedPrior,
    ) -> Option<TallGaussian> {
        let m = self.dim;
        let excess = self.prior.as_deref().unwrap_or(prior.gaussian_excess());
        let weight = 1.0 - context.factors(group).len() as f64;
        let mut precision = self.sums[group * m * m..(group + 1) * m * m].to_vec();
        add_scaled(weight, excess, &mut precision);
        let mut l = precision.clone();
        if !cholesky(&mut l, m) {
            let prior_precision = inverse(prior.covariance(), m)?;
            change_relative_eigenvalues(&mut precision, &prior_precision, m, |mu| mu.max(1.0))?;
            l.copy_from_slice(&precision);
            if !cholesky(&mut l, m) {
                return None;
            }
        }
        let mean = self.sum_means.as_ref().map(|sums| {
            let mut mean = sums[group * m..(group + 1) * m].to_vec();
            add_multiply(weight, excess, prior.mean(), &mut mean);
            cholesky_solve(&l, &mut mean);
            mean
        });
        let mut covariance = vec![0.0; m * m];
        cholesky_inverse(&l, m, &mut covariance);
        let smallest_sd = smallest_eigenvalue(&covariance, m).max(0.0).sqrt();
        Some(TallGaussian { mean, covariance, smallest_sd })
    }
}

fn not_definite(index: usize) -> InferenceError {
    InferenceError::Option {
        option: "covariances",
        message: format!(
            "the posterior covariance estimated for factor {index} is not positive definite; estimate it from more samples"
        ),
    }
}

fn inverse(a: &[f64], m: usize) -> Option<Vec<f64>> {
    let mut l = a.to_vec();
    let mut out = vec![0.0; m * m];
    cholesky(&mut l, m).then(|| {
        cholesky_inverse(&l, m, &mut out);
        out
    })
}

fn shrink(covariance: &mut [f64], m: usize, weight: f64) {
    for i in 0..m {
        for j in 0..m {
            if i != j {
                covariance[i * m + j] *= 1.0 - weight;
            }
        }
    }
}

/// GAUSS's precisions as a rule of [`TallScore`](super::TallScore).
pub struct GaussRule<'a> {
    information: &'a GaussInformation,
    control_variate: bool,
    scores: Vec<f64>,
}

impl<'a> GaussRule<'a> {
    /// The rule for the given information. Control variates need the factors' means; without them mini-batches do without.
    pub fn new(information: &'a GaussInformation, options: &CompositionOptions) -> Self {
        let wanted = options.mini_batch.is_some_and(|batch| batch.control_variate);
        let control_variate = wanted && information.factor_means.is_some();
        Self { information, control_variate, scores: vec![0.0; TILE * information.dim] }
    }
}

impl<M: ScoreModel> PrecisionRule<M> for GaussRule<'_> {
    fn add(&mut self, tile: Tile<'_, M>, workspace: &mut M::Workspace, sums: &mut Sums) {
        let Self { information, control_variate, scores } = self;
        let m = information.dim;
        let scores = &mut scores[..tile.pairs.len() * m];
        tile.model.scores(tile.context, tile.pairs, workspace, scores);
        let Level { alpha, variance: v, .. } = tile.level;
        let signal = alpha.sqrt();
        for ((pair, weight), score) in tile.pairs.iter().zip(tile.weights).zip(scores.chunks_exact(m)) {
            let (particle, factor) = (pair.particle as usize, pair.factor as usize);
            let row = particle * m..(particle + 1) * m;
            add_scaled(*weight, score, &mut sums.score[row.clone()]);
            let q = match tile.source {
                Source::Factors => &information.factors[factor * m * m..(factor + 1) * m * m],
                Source::Null => information.prior.as_deref().expect("a learned prior comes with its covariance"),
            };
            let weighted = &mut sums.weighted[row.clone()];
            match &information.factor_means {
                // (I + ρQ) s for the Gaussian score is -(Q θ - √α Qμ)/α, which add_exact sums over all factors.
                Some(means) if *control_variate && tile.source == Source::Factors => {
                    let theta = &tile.theta[row];
                    for i in 0..m {
                        let q_row = &q[i * m..(i + 1) * m];
                        let gaussian = (dot(q_row, theta) - signal * means[factor * m + i]) / v;
                        weighted[i] += weight * (dot(q_row, score) + gaussian);
                    }
                }
                _ => add_multiply(*weight, q, score, weighted),
            }
        }
    }

    fn constant(&self, group: usize) -> Option<&[f64]> {
        let m2 = self.information.dim.pow(2);
        Some(&self.information.sums[group * m2..(group + 1) * m2])
    }

    fn constant_prior(&self) -> Option<&[f64]> {
        self.information.prior.as_deref()
    }

    fn add_exact(&self, group: usize, theta: &[f64], level: Level, weighted: &mut [f64]) {
        let information = self.information;
        let m = information.dim;
        if let (true, Some(means)) = (self.control_variate, &information.sum_means) {
            add_multiply(-1.0 / level.variance, &information.sums[group * m * m..(group + 1) * m * m], theta, weighted);
            add_scaled(level.alpha.sqrt() / level.variance, &means[group * m..(group + 1) * m], weighted);
        }
    }
}
