//! JAC (paper Sec. 3.3, Alg. 2): backward precisions from the scores' Jacobians, P_j = (α/v) (I + v ∇_θ s_j)⁻¹, exact for exact scores
//! of any posterior but as noisy as the network's derivatives.
//!
//! The excess is Q_j = P_j - (α/v) I = -α J (I + vJ)⁻¹, J = ∇_θ s_j.

use super::composition::{PrecisionRule, Sums, Tile};
use super::{CompositionOptions, Repair, ScoreModel};
use crate::Result;
use crate::precision::{add_multiply, add_scaled, general_solve, symmetrize};
use crate::prior_score::Level;
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
}

impl Default for JacOptions {
    fn default() -> Self {
        Self { composition: CompositionOptions::default(), symmetrize: true }
    }
}

impl JacOptions {
    /// As published: Jacobians and Λ as they come.
    pub fn published() -> Self {
        let composition = CompositionOptions { repair: Repair::Off, ..CompositionOptions::default() };
        Self { composition, symmetrize: false }
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
            scores: vec![0.0; JACOBIAN_TILE * m],
            jacobians: vec![0.0; JACOBIAN_TILE * m * m],
            matrix: vec![0.0; m * m],
            excess: vec![0.0; m * m],
        }
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
