//! JAC (paper Sec. 3.3, Alg. 2): backward precisions from the scores' Jacobians, P_j = (α/v) (I + v ∇_θ s_j)⁻¹, exact for exact scores
//! of any posterior but as noisy as the network's derivatives.
//!
//! The excess is Q_j = P_j - (α/v) I = -α J (I + vJ)⁻¹, J = ∇_θ s_j.

use super::composition::{PrecisionRule, Sums, Tile};
use super::{CompositionOptions, Repair, ScoreModel};
use crate::Result;
use crate::prior_score::{DiffusedPrior, Level, PriorScore};
use crate::small_matrix::{add_multiply, add_scaled, change_relative_eigenvalues, cholesky, general_solve, symmetrize};
use serde::{Deserialize, Serialize};

/// Options of JAC.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JacOptions {
    /// Options shared with GAUSS.
    pub composition: CompositionOptions,
    /// Replace the network's Jacobian, which is not symmetric, by its symmetric part: true scores are gradients. Published code
    /// does not, and solves an unsymmetric system (together with `repair = off`).
    pub symmetrize: bool,
    /// With a Gaussian prior, raise eigenvalues of each P_j relative to P_λ that are below 1 to it (not in the paper): no observation
    /// makes a parameter less certain than the prior. Changes nothing for exact scores of Gaussian posteriors. Without it an error ε of
    /// the noise predictor makes I + v ∇_θ s_j, of size α at large t, singular or negative, and P_j arbitrarily large: what then
    /// follows is the instability the paper reports.
    pub clamp_precisions: bool,
}

impl Default for JacOptions {
    fn default() -> Self {
        Self { composition: CompositionOptions::default(), symmetrize: true, clamp_precisions: true }
    }
}

impl JacOptions {
    /// As published: Jacobians and Λ as they come.
    pub fn published() -> Self {
        let composition = CompositionOptions { repair: Repair::Off, ..CompositionOptions::default() };
        Self { composition, symmetrize: false, clamp_precisions: false }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.composition.validate()
    }
}

/// Pairs whose Jacobians are asked for at a time: m² numbers each.
const JACOBIAN_TILE: usize = 128;

/// JAC's precisions as a rule of [`TallScore`](super::TallScore).
pub struct JacRule {
    symmetrize: bool,
    clamp: bool,
    /// Q_λ of a Gaussian prior, if precisions are to be clamped to it.
    floor: Option<Vec<f64>>,
    scores: Vec<f64>,
    jacobians: Vec<f64>,
    matrix: Vec<f64>,
    excess: Vec<f64>,
}

impl JacRule {
    /// The rule for m parameters.
    pub fn new(m: usize, options: &JacOptions) -> Self {
        Self {
            symmetrize: options.symmetrize,
            clamp: options.clamp_precisions,
            floor: None,
            scores: vec![0.0; JACOBIAN_TILE * m],
            jacobians: vec![0.0; JACOBIAN_TILE * m * m],
            matrix: vec![0.0; m * m],
            excess: vec![0.0; m * m],
        }
    }

    /// The rule with the prior that precisions are clamped to, if that is asked for and the prior is Gaussian.
    #[must_use]
    pub fn with_prior(mut self, prior: &DiffusedPrior) -> Self {
        self.floor = (self.clamp && prior.is_gaussian()).then(|| prior.gaussian_excess().to_vec());
        self
    }
}

/// Eigenvalues of Q_j relative to Q_λ down to this are taken for those of an observation that says little, with some noise; below it
/// for noise altogether. True ones are at least 1.
const NOISE: f64 = 0.5;

/// Raises the eigenvalues of Q_j relative to Q_λ that are below 1 to it; Q_λ where Q_j has some below [`NOISE`] or is not finite: the
/// large eigenvalues are then the least certain, as 1 + vj = (1 + Q v/α)⁻¹ is smallest there. `work` is (m, m).
fn clamp(excess: &mut [f64], floor: &[f64], work: &mut [f64], m: usize) {
    // A factorisation is much cheaper than eigenvalues, and mostly Q_j is clearly above the bound or clearly noise.
    let mut is_above = |share: f64| {
        for ((work, excess), floor) in work.iter_mut().zip(excess.iter()).zip(floor) {
            *work = excess - share * floor;
        }
        cholesky(work, m)
    };
    if is_above(1.0) {
        return;
    }
    if !is_above(NOISE) || change_relative_eigenvalues(excess, floor, m, |mu| mu.max(1.0)).is_none() {
        excess.copy_from_slice(floor);
    }
}

/// -α J (I + vJ)⁻¹ into `excess`; NaN where I + vJ is singular. The two factors commute, so one solve does.
fn excess_precision(jacobian: &[f64], level: Level, matrix: &mut [f64], excess: &mut [f64], m: usize) {
    for i in 0..m {
        for j in 0..m {
            let value = jacobian[i * m + j];
            matrix[i * m + j] = f64::from(u8::from(i == j)) + level.variance * value;
            excess[i * m + j] = -level.alpha * value;
        }
    }
    if !general_solve(matrix, excess, m) {
        excess.fill(f64::NAN);
    }
}

impl<M: ScoreModel> PrecisionRule<M> for JacRule {
    fn add(&mut self, tile: Tile<'_, M>, workspace: &mut M::Workspace, sums: &mut Sums) {
        let m = tile.model.dim_theta();
        for (pairs, weights) in tile.pairs.chunks(JACOBIAN_TILE).zip(tile.weights.chunks(JACOBIAN_TILE)) {
            let scores = &mut self.scores[..pairs.len() * m];
            let jacobians = &mut self.jacobians[..pairs.len() * m * m];
            tile.model.scores_and_jacobians(tile.context, pairs, workspace, scores, jacobians);
            for (k, (pair, weight)) in pairs.iter().zip(weights).enumerate() {
                let score = &scores[k * m..(k + 1) * m];
                let jacobian = &mut jacobians[k * m * m..(k + 1) * m * m];
                if self.symmetrize {
                    symmetrize(jacobian, m);
                }
                excess_precision(jacobian, tile.level, &mut self.matrix, &mut self.excess, m);
                if let Some(floor) = &self.floor {
                    clamp(&mut self.excess, floor, &mut self.matrix, m);
                }
                let particle = pair.particle as usize;
                let row = particle * m..(particle + 1) * m;
                add_scaled(*weight, score, &mut sums.score[row.clone()]);
                add_multiply(*weight, &self.excess, score, &mut sums.weighted[row]);
                add_scaled(*weight, &self.excess, &mut sums.precision[particle * m * m..(particle + 1) * m * m]);
            }
        }
    }

    fn constant(&self, _group: usize) -> Option<&[f64]> {
        None
    }

    fn constant_prior(&self) -> Option<&[f64]> {
        None
    }

    fn add_exact(&self, _group: usize, _theta: &[f64], _level: Level, _weighted: &mut [f64]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With Q_λ = 2 I: eigenvalues 5 and 1.5 become 5 and 2, those above stay as they are, and what is not finite or far below is the
    /// prior's.
    #[test]
    fn precisions_are_raised_to_the_priors() {
        let floor = [2.0, 0.0, 0.0, 2.0];
        let mut work = [0.0; 4];
        for (given, expected) in [
            ([3.25, 1.75, 1.75, 3.25], [3.5, 1.5, 1.5, 3.5]),
            ([5.0, 1.0, 1.0, 4.0], [5.0, 1.0, 1.0, 4.0]),
            ([f64::NAN, 0.0, 0.0, 1.0], floor),
            ([-1e9, 0.0, 0.0, 3.0], floor),
        ] {
            let mut excess = given;
            clamp(&mut excess, &floor, &mut work, 2);
            for (found, expected) in excess.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{excess:?}");
            }
        }
    }
}
