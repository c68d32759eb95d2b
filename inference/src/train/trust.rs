//! To how many observations a likelihood network can be trusted.
//!
//! For the right likelihood E[∇ log p(x|z)] = 0 under x ~ p(·|z), at every z. A network's mean score g(z) moves the posterior of n observations by
//! √n F^{-1/2} g of its standard deviation, F the Fisher information: n e² = 1/4 is where the root mean square over the prior is half a
//! standard deviation a parameter, e² = E|F^{-1/2} g|²/m.
//!
//! * One network: held-out rows have scores of mean g(z) with noise of covariance I around it once whitened, so that e² is the
//!   squared length of their regression on orthonormal polynomials of z, less the noise's: what of g is rougher than these is not seen, and n is
//!   an upper bound.
//! * Several, each of which holds other rows out: [`super::disagreement`] tells what they have followed of the noise of their rows, and the
//!   regression what they miss alike, where that is more: networks that were trained too briefly.

use super::data::Split;
use super::disagreement::{self, SquaredError};
use super::run::Run;
use crate::Result;
use crate::model::{
    Committee, LikelihoodModel, MixtureLayout, Moved, NetworkError, expected_information, metric, whitened,
};
use crate::notes::Note;
use crate::refine::Basis;
use crate::tempering::{Likelihood, Local};
use rayon::prelude::*;
use tallsbi_data::{Purpose, Symmetry};
use tallsbi_network::Mlp;

/// Held-out rows of a network that are looked at, and fewest to say anything from.
const ROWS: (usize, usize) = (30_000, 200);

/// Error of the mean, in posterior standard deviations, up to which a network is trusted.
const ERROR: f64 = 0.5;

/// Whitened scores beyond this are bounded: single rows shall not decide.
const BOUND: f64 = 10.0;

/// Polynomials: the highest degree that has at most so many.
const POLYNOMIALS: usize = 100;

/// Held-out rows: z (N, m) and whitened scores (N, m).
#[derive(Debug, Default)]
struct Scores {
    z: Vec<f64>,
    scores: Vec<f64>,
}

impl Run<'_> {
    /// Notes the number of observations up to which the networks, each with the fold that it did not see, can be trusted; their error, if rows show it.
    pub(super) fn note_trust(
        &mut self,
        members: &[(Mlp<f32>, usize)],
        layout: MixtureLayout,
        symmetry: &Symmetry,
    ) -> Result<Option<NetworkError>> {
        let moved = Moved::all(&self.data.locations, &self.data.map, &self.data.observation_map)?;
        let model = |networks: &[Mlp<f32>]| {
            LikelihoodModel::with_conditions(networks, layout, symmetry.clone(), self.data.conditioned())
                .moved_by(&moved)
        };
        let splits: Vec<Split> = members.iter().map(|(_, fold)| self.data.fold(*fold)).collect();
        let alone = members.iter().zip(&splits);
        let alone = alone
            .map(|((network, _), split)| self.error_of_one(&model(std::slice::from_ref(network)), &split.validation));
        let alone: Vec<(usize, SquaredError)> = alone.collect::<Result<_>>()?;
        let (rows, error, by_spread) = match &alone[..] {
            [(rows, error)] => (*rows, *error, None),
            _ => {
                let networks: Vec<Mlp<f32>> = members.iter().map(|(network, _)| network.clone()).collect();
                let found = disagreement::average(self.data, &Committee::of(&model(&networks)), &splits, self.key);
                let common = found.common(&alone.iter().map(|(_, error)| *error).collect::<Vec<_>>());
                match common.filter(|common| common.value > found.error.value) {
                    Some(common) => (found.rows, common, None),
                    None => (found.rows, found.error, Some(found.by_spread)),
                }
            }
        };
        if rows < ROWS.1 {
            return Ok(None);
        }
        let SquaredError { value, error } = error;
        // What noise hides is no proof of exactness.
        let hidden = value < 2.0 * error;
        let squared = if hidden { value.max(0.0) + 2.0 * error } else { value };
        let n = ERROR * ERROR / squared;
        self.notes.push(Note::Trusted { n: n.max(1.0) as usize, at_least: hidden, rows });
        // Networks that disagree somewhere err there, whatever they do elsewhere.
        Ok((!hidden || by_spread.is_some()).then_some(NetworkError { squared, by_spread }))
    }

    /// Rows looked at, and e² of one network that holds them out.
    fn error_of_one(&self, model: &LikelihoodModel, rows: &[u32]) -> Result<(usize, SquaredError)> {
        let m = self.data.map.dim();
        let key = self.key.child(Purpose::Replication).child(Purpose::ValidationNoise);
        let parts: Vec<Option<(Vec<f64>, Vec<f64>)>> = rows[..rows.len().min(ROWS.0)]
            .par_iter()
            .map_init(
                || (model.workspace(), Local::default()),
                |(workspace, local), &row| {
                    let (z, condition) = self.data.latent_row(row as usize).split_at(m);
                    let z: Vec<f64> = z.iter().map(|&z| z.into()).collect();
                    let context = model.context_of(condition, 1.0, self.data.feature_row(row as usize, 0).to_vec());
                    model.evaluate(&context, &z, workspace, local);
                    let (found, rng) = (&local.informations, &mut key.rng(row.into()));
                    let information = expected_information(model, &z, condition, found, rng);
                    let score = whitened(&metric(&information, m)?, &local.gradients, BOUND)?;
                    Some((z, score))
                },
            )
            .collect();
        let mut scores = Scores::default();
        for (z, score) in parts.into_iter().flatten() {
            scores.z.extend(z);
            scores.scores.extend(score);
        }
        Ok((scores.z.len() / m, squared_error(&scores, m)?))
    }
}

/// e² of a network with these held-out scores, by the polynomials that tell most surely.
fn squared_error(scores: &Scores, m: usize) -> Result<SquaredError> {
    let mut best = by_polynomials(scores, m, 1)?;
    for degree in 2..=crate::refine::MOST_DEGREE {
        if Basis::new(m, degree)?.len() > POLYNOMIALS {
            break;
        }
        let next = by_polynomials(scores, m, degree)?;
        if next.value - next.error > best.value - best.error {
            best = next;
        }
    }
    Ok(best)
}

/// The same by polynomials up to a degree.
fn by_polynomials(Scores { z, scores }: &Scores, m: usize, degree: usize) -> Result<SquaredError> {
    let basis = Basis::new(m, degree)?;
    let width = basis.len() * m;
    let rows = (z.len() / m) as f64;
    // Means of φ s and their variances.
    let (mut mean, mut square, mut phi) = (vec![0.0; width], vec![0.0; width], vec![0.0; basis.len()]);
    for (z, score) in z.chunks_exact(m).zip(scores.chunks_exact(m)) {
        basis.evaluate(z, &mut phi);
        for (k, phi) in phi.iter().enumerate() {
            for (a, score) in score.iter().enumerate() {
                mean[k * m + a] += phi * score / rows;
                square[k * m + a] += (phi * score).powi(2) / rows;
            }
        }
    }
    let noise: Vec<f64> =
        mean.iter().zip(&square).map(|(mean, square)| (square - mean * mean) / (rows - 1.0)).collect();
    let value = mean.iter().zip(&noise).map(|(mean, noise)| mean * mean - noise).sum::<f64>() / m as f64;
    let error = (2.0 * noise.iter().map(|noise| noise * noise).sum::<f64>()).sqrt() / m as f64;
    Ok(SquaredError { value, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    /// E|g|²/m of scores g(z) + noise, g = slope z₁ of one of two parameters: half of slope².
    #[test]
    fn the_error_of_one_network_is_what_its_scores_have_in_common() {
        for slope in [0.0, 0.2] {
            let mut rng = StreamKey::root(9).rng(0);
            let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
            let mut scores = Scores::default();
            for _ in 0..16_000 {
                let z = [normal(), normal()];
                scores.z.extend(z);
                scores.scores.extend([slope * z[0] + normal(), normal()]);
            }
            let (expected, found) = (0.5 * slope * slope, squared_error(&scores, 2).unwrap());
            assert!((found.value - expected).abs() < 4.0 * found.error + 0.15 * expected, "{slope}: {found:?}");
            assert!(found.error < 0.001, "{found:?}");
        }
    }
}
