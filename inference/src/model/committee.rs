//! Networks that were trained side by side, each with rows of its own left out: where they differ, all of them err.

use super::likelihood::LikelihoodModel;
use crate::small_matrix::{cholesky, dot, lower_solve};
use crate::tempering::{Likelihood, Local};
use rand::Rng;

/// Observations drawn at a point, a half.
const DRAWS: usize = 16;

/// Differences of mean scores, whitened, beyond this are bounded: networks that are half a standard deviation of one observation's posterior apart know nothing there, and few such points
/// shall not decide.
const BOUND: f64 = 0.5;

/// The prior's share of the metric: directions that 30 observations hardly tell of do not count.
const PRIOR_SHARE: f64 = 1.0 / 30.0;

/// The networks of a likelihood, each for itself.
#[derive(Debug, Clone)]
pub struct Committee {
    members: Vec<LikelihoodModel>,
}

/// What one network's mean score has that another's has not, whitened (m): from two independent halves, whose product has no noise.
pub(crate) type Halves = [Vec<f64>; 2];

impl Committee {
    /// That of `model`.
    pub fn of(model: &LikelihoodModel) -> Self {
        Self { members: model.each_alone() }
    }

    /// How many networks.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Score and factor of the metric of one observation's standardised `features` under network `own`.
    pub(crate) fn score(
        &self,
        own: usize,
        z: &[f64],
        condition: &[f32],
        features: &[f32],
        rng: &mut impl Rng,
    ) -> Option<(Vec<f64>, Vec<f64>)> {
        let local = evaluate(&self.members[own], z, condition, 1, features);
        let information = expected_information(&self.members[own], z, condition, &local.informations, rng);
        let factor = metric(&information, z.len())?;
        Some((whitened(&factor, &local.gradients, f64::INFINITY)?, factor))
    }

    /// Δ = L⁻¹ E[∇ log p_own(x|z) - ∇ log p_other(x|z)] over x ~ p_own(·|z) for each of `others`, with L Lᵀ = F + I/30, F the Fisher information of one observation. Nothing where it is not finite.
    pub(crate) fn differences(
        &self,
        own: usize,
        others: &[usize],
        z: &[f64],
        condition: &[f32],
        rng: &mut impl Rng,
    ) -> Option<Vec<Halves>> {
        let model = &self.members[own];
        let drawn: Vec<f32> = model.draws(z, condition, 2 * DRAWS, rng).iter().map(|&x| x as f32).collect();
        let halves = drawn.chunks_exact(drawn.len() / 2);
        let at = |model: &LikelihoodModel| -> Vec<Local> {
            halves.clone().map(|half| evaluate(model, z, condition, DRAWS, half)).collect()
        };
        let expected = at(model);
        let information: Vec<f64> = expected[0].informations.iter().map(|f| f / DRAWS as f64).collect();
        let factor = metric(&information, z.len())?;
        others
            .iter()
            .map(|&other| {
                let found = at(&self.members[other]);
                let difference = |half: usize| {
                    let pairs = expected[half].gradients.iter().zip(&found[half].gradients);
                    let difference: Vec<f64> = pairs.map(|(a, b)| (a - b) / DRAWS as f64).collect();
                    whitened(&factor, &difference, BOUND)
                };
                Some([difference(0)?, difference(1)?])
            })
            .collect()
    }

    /// |Δ|² a parameter at `z`, mean over networks other than `own`.
    pub(crate) fn spread(&self, own: usize, z: &[f64], condition: &[f32], rng: &mut impl Rng) -> Option<f64> {
        let others: Vec<usize> = (0..self.len()).filter(|&other| other != own).collect();
        let differences = self.differences(own, &others, z, condition, rng)?;
        let sum: f64 = differences.iter().map(|[first, second]| dot(first, second)).sum();
        Some(sum / (others.len() * z.len()) as f64)
    }
}

fn evaluate(model: &LikelihoodModel, z: &[f64], condition: &[f32], n: usize, features: &[f32]) -> Local {
    let context = model.context_of(condition, n as f64, features.to_vec());
    let mut local = Local::default();
    model.evaluate(&context, z, &mut model.workspace(), &mut local);
    local
}

/// The Fisher information (m, m) of one observation at z, given what an evaluation of one `found`. Of choices beside real numbers that is the square of the observation's own score, by
/// which scores of unequal sizes, as those of whether a value is at an atom, would all become ones; the mean over draws takes its place.
pub(crate) fn expected_information(
    model: &LikelihoodModel,
    z: &[f64],
    condition: &[f32],
    found: &[f64],
    rng: &mut impl Rng,
) -> Vec<f64> {
    if model.layout().mixed.is_none() {
        return found.to_vec();
    }
    let drawn: Vec<f32> = model.draws(z, condition, 2 * DRAWS, rng).iter().map(|&x| x as f32).collect();
    let local = evaluate(model, z, condition, 2 * DRAWS, &drawn);
    local.informations.iter().map(|information| information / (2 * DRAWS) as f64).collect()
}

/// The Cholesky factor of the Fisher information (m, m) of one observation and the prior's share.
pub(crate) fn metric(information: &[f64], m: usize) -> Option<Vec<f64>> {
    let mut factor = information.to_vec();
    (0..m).for_each(|i| factor[i * m + i] += PRIOR_SHARE);
    cholesky(&mut factor, m).then_some(factor)
}

/// A score (m) in units of its standard deviation, within ± `bound`; nothing if it is not finite.
pub(crate) fn whitened(factor: &[f64], score: &[f64], bound: f64) -> Option<Vec<f64>> {
    let mut score = score.to_vec();
    lower_solve(factor, &mut score);
    score.iter_mut().for_each(|s| *s = s.clamp(-bound, bound));
    score.iter().all(|s| s.is_finite()).then_some(score)
}
