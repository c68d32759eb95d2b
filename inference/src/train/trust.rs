//! To how many observations a likelihood network can be trusted.
//!
//! For the right likelihood E[∇ log p(x|z)] = 0 under x ~ p(·|z), at every z. A network's mean score g(z) moves the posterior of n observations by
//! √n F^{-1/2} g of its standard deviation, F the Fisher information: n e² = 1/4 is where the root mean square over the prior is half a
//! standard deviation a parameter, e² = E|F^{-1/2} g|²/m. Held-out rows have scores of mean g(z) with noise of covariance I around it once whitened, so that e² is the
//! squared length of their regression on orthonormal polynomials of z, less the noise's: what of g is rougher than these is not seen, and n is
//! an upper bound. Members of an ensemble hold different rows out; their average errs by g = Σ_k g_k/K, and products of different members'
//! regressions have no noise to subtract.

use super::run::Run;
use crate::Result;
use crate::model::{LikelihoodModel, MixtureLayout};
use crate::notes::Note;
use crate::precision::{cholesky, lower_solve};
use crate::refine::Basis;
use crate::tempering::{Likelihood, Local};
use rayon::prelude::*;
use tallsbi_data::Symmetry;
use tallsbi_network::Mlp;

/// Held-out rows of a member that are looked at, and fewest to say anything from.
const ROWS: (usize, usize) = (5000, 200);

/// Error of the mean, in posterior standard deviations, up to which a network is trusted.
const ERROR: f64 = 0.5;

/// The prior's share of the metric: directions that 30 observations hardly tell of do not count.
const PRIOR_SHARE: f64 = 1.0 / 30.0;

/// Polynomials: the highest degree that has at most so many.
const POLYNOMIALS: usize = 100;

/// Whitened scores beyond this are bounded: single rows shall not decide.
const BOUND: f64 = 10.0;

/// Held-out rows of one member: z (N, m) and whitened scores (N, m).
#[derive(Debug, Default)]
pub(super) struct Scores {
    z: Vec<f64>,
    scores: Vec<f64>,
}

/// e² and its standard error if all of it is noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SquaredError {
    pub value: f64,
    pub error: f64,
}

impl Run<'_> {
    /// Notes the number of observations up to which the networks, each with the fold that it did not see, can be trusted.
    pub(super) fn note_trust(
        &mut self,
        members: &[(Mlp<f32>, usize)],
        layout: MixtureLayout,
        symmetry: &Symmetry,
    ) -> Result<()> {
        let scores: Vec<Scores> = members
            .iter()
            .map(|(network, fold)| {
                let network = std::slice::from_ref(network);
                let model =
                    LikelihoodModel::with_conditions(network, layout, symmetry.clone(), self.data.conditioned());
                self.scores(&model, &self.data.fold(*fold).validation)
            })
            .collect();
        let m = self.data.map.dim();
        let rows = scores.iter().map(|scores| scores.z.len() / m).min().unwrap_or(0);
        if rows >= ROWS.1 {
            let SquaredError { value, error } = squared_error(&scores, m)?;
            // What noise hides is no proof of exactness.
            let hidden = value < 2.0 * error;
            let n = ERROR * ERROR / if hidden { value.max(0.0) + 2.0 * error } else { value };
            self.notes.push(Note::Trusted { n: n.max(1.0) as usize, at_least: hidden, rows });
        }
        Ok(())
    }

    fn scores(&self, model: &LikelihoodModel, rows: &[u32]) -> Scores {
        let m = self.data.map.dim();
        let used = &rows[..rows.len().min(ROWS.0)];
        let parts: Vec<Option<(Vec<f64>, Vec<f64>)>> = used
            .par_iter()
            .map_init(
                || (model.workspace(), Local::default()),
                |(workspace, local), &row| {
                    let (z, condition) = self.data.latent_row(row as usize).split_at(m);
                    let z: Vec<f64> = z.iter().map(|&z| z.into()).collect();
                    let context = model.context_of(condition, 1.0, self.data.feature_row(row as usize, 0).to_vec());
                    model.evaluate(&context, &z, workspace, local);
                    let mut factor = local.informations.clone();
                    (0..m).for_each(|i| factor[i * m + i] += PRIOR_SHARE);
                    let mut score = local.gradients.clone();
                    if !cholesky(&mut factor, m) {
                        return None;
                    }
                    lower_solve(&factor, &mut score);
                    score.iter_mut().for_each(|s| *s = s.clamp(-BOUND, BOUND));
                    score.iter().all(|s| s.is_finite()).then_some((z, score))
                },
            )
            .collect();
        let mut scores = Scores::default();
        for (z, score) in parts.into_iter().flatten() {
            scores.z.extend(z);
            scores.scores.extend(score);
        }
        scores
    }
}

/// e² of the average of members with these held-out scores.
pub(super) fn squared_error(members: &[Scores], m: usize) -> Result<SquaredError> {
    let size = |degree: usize| Basis::new(m, degree).map(|basis| basis.len());
    let mut degree = 1;
    while degree < crate::refine::MOST_DEGREE && size(degree + 1)? <= POLYNOMIALS {
        degree += 1;
    }
    let basis = Basis::new(m, degree)?;
    let width = basis.len() * m;
    let count = members.len() as f64;
    // Means of φ s and their variances, of each member; their sums over the members.
    let (mut sum, mut noise) = (vec![0.0; width], vec![0.0; width]);
    let mut phi = vec![0.0; basis.len()];
    for Scores { z, scores } in members {
        let rows = (z.len() / m) as f64;
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width]);
        for (z, score) in z.chunks_exact(m).zip(scores.chunks_exact(m)) {
            basis.evaluate(z, &mut phi);
            for (k, phi) in phi.iter().enumerate() {
                for (a, score) in score.iter().enumerate() {
                    mean[k * m + a] += phi * score / rows;
                    square[k * m + a] += (phi * score).powi(2) / rows;
                }
            }
        }
        for k in 0..width {
            sum[k] += mean[k] / count;
            noise[k] += (square[k] - mean[k] * mean[k]) / (rows - 1.0) / (count * count);
        }
    }
    let value = sum.iter().zip(&noise).map(|(sum, noise)| sum * sum - noise).sum::<f64>() / m as f64;
    let error = (2.0 * noise.iter().map(|noise| noise * noise).sum::<f64>()).sqrt() / m as f64;
    Ok(SquaredError { value, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    /// Scores g_k(z) + noise, g_k = common + (-1)^k own.
    fn members(count: usize, common: f64, own: f64) -> Vec<Scores> {
        let mut rng = StreamKey::root(9).rng(0);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let member = |k: usize, normal: &mut dyn FnMut() -> f64| {
            let mut scores = Scores::default();
            for _ in 0..4000 {
                let z = [normal(), normal()];
                let g = (common + if k.is_multiple_of(2) { own } else { -own }) * z[0];
                scores.z.extend(z);
                scores.scores.extend([g + normal(), normal()]);
            }
            scores
        };
        (0..count).map(|k| member(k, &mut normal)).collect()
    }

    /// E|g|²/m: half of common², own errors of an even number of members cancel.
    #[test]
    fn the_error_of_an_average_is_that_of_what_its_members_share() {
        for (count, common, own, expected) in
            [(1, 0.0, 0.0, 0.0), (1, 0.2, 0.0, 0.02), (4, 0.2, 0.0, 0.02), (4, 0.2, 0.3, 0.02), (2, 0.0, 0.3, 0.0)]
        {
            let found = squared_error(&members(count, common, own), 2).unwrap();
            let tolerance = 4.0 * found.error + 0.15 * expected + 0.002;
            assert!((found.value - expected).abs() < tolerance, "{count} {common} {own}: {found:?}");
            assert!(found.error < 0.003, "{found:?}");
        }
    }
}
