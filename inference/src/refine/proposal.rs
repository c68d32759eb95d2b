//! Where to simulate next: Gaussians around the present posterior, wide enough for its own error, and a share from the round before.

use super::clusters::clusters;
use super::frame::{Frame, moments};
use super::options::RefineOptions;
use crate::Result;
use crate::small_matrix::{cholesky, cholesky_inverse};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::StreamKey;

/// Proposals are at most this much wider than the prior N(0, I): beyond, simulators are often not themselves, and the posterior is not there.
const PRIOR_WIDTH: f64 = 1.2;

/// A mixture of Gaussians to draw parameters from.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Weights, summing to one, and Gaussians.
    pub parts: Vec<(f64, Frame)>,
}

impl Proposal {
    /// The prior.
    pub fn prior(m: usize) -> Self {
        Self { parts: vec![(1.0, Frame::standard(m, 1.0))] }
    }

    /// Draws rows `first`.. of a round, (rows, m): a share `defensive` from `previous`.
    pub fn draw(&self, previous: Option<&Self>, defensive: f64, key: StreamKey, first: u64, rows: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(rows * self.parts[0].1.dim());
        for row in 0..rows as u64 {
            let mut rng = key.rng(first + row);
            let from = match previous {
                Some(previous) if rng.random::<f64>() < defensive => previous,
                _ => self,
            };
            let mut left: f64 = rng.random();
            let frame = from.parts.iter().find(|(weight, _)| {
                left -= weight;
                left < 0.0
            });
            let frame = &frame.unwrap_or(&from.parts[from.parts.len() - 1]).1;
            let z: Vec<f64> = (0..frame.dim()).map(|_| StandardNormal.sample(&mut rng)).collect();
            out.extend(frame.to_latent(&z));
        }
        out
    }
}

/// The Gaussian around posterior draws (rows, m): N(mean, k² Cov + δ δᵀ), δ what the posterior moved last, kept within the prior's reach.
///
/// # Errors
/// When the draws have no width in some direction.
pub fn around(draws: &[f64], m: usize, width: f64, moved: Option<&[f64]>) -> Result<Frame> {
    let (mean, mut covariance) = moments(draws, m, None);
    covariance.iter_mut().for_each(|c| *c *= width * width);
    if let Some(moved) = moved {
        for a in 0..m {
            for b in 0..m {
                covariance[a * m + b] += moved[a] * moved[b];
            }
        }
    }
    // (Σ⁻¹ + I/w²)⁻¹ is never wider than w.
    let plain = covariance.clone();
    let mut factor = covariance;
    let mut precision = vec![0.0; m * m];
    if !cholesky(&mut factor, m) {
        return Frame::new(mean, plain);
    }
    cholesky_inverse(&factor, m, &mut precision);
    for i in 0..m {
        precision[i * m + i] += 1.0 / (PRIOR_WIDTH * PRIOR_WIDTH);
    }
    let mut limited = vec![0.0; m * m];
    if !cholesky(&mut precision, m) {
        return Frame::new(mean, plain);
    }
    cholesky_inverse(&precision, m, &mut limited);
    Frame::new(mean, limited)
}

/// Proposals around the modes of posterior draws (rows, m), weighted by their shares, but none forgotten.
///
/// # Errors
/// When the draws have no width in some direction.
pub(super) fn around_modes(
    draws: &[f64],
    m: usize,
    options: &RefineOptions,
    moved: Option<&[f64]>,
) -> Result<Vec<(f64, Frame)>> {
    let groups = clusters(draws, m, options.components);
    let count = groups.len() as f64;
    groups
        .iter()
        .map(|group| {
            let share = group.len() as f64 / draws.len() as f64;
            Ok((0.5 * share + 0.5 / count, around(group, m, options.width, moved)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_proposal_and_a_share_the_one_before() {
        let wide = Proposal { parts: vec![(1.0, Frame::standard(1, 10.0))] };
        let narrow = Proposal {
            parts: vec![
                (0.25, Frame { center: vec![-3.0], factor: vec![0.1] }),
                (0.75, Frame { center: vec![3.0], factor: vec![0.1] }),
            ],
        };
        let key = StreamKey::root(2);
        let draws = narrow.draw(Some(&wide), 0.2, key, 0, 20_000);
        let near = |c: f64| draws.iter().filter(|u| (*u - c).abs() < 0.5).count() as f64 / draws.len() as f64;
        // The wide one has 3.8 % within ±½ of either.
        assert!((near(3.0) - 0.6 - 0.2 * 0.038).abs() < 0.012, "{}", near(3.0));
        assert!((near(-3.0) - 0.2 - 0.2 * 0.038).abs() < 0.012, "{}", near(-3.0));
        assert_eq!(draws[7..12], narrow.draw(Some(&wide), 0.2, key, 7, 5));
    }

    #[test]
    fn proposals_are_wider_than_the_posterior_but_not_than_the_prior() {
        let draws: Vec<f64> = (0..2000).map(|i| 0.7 + 0.01 * (f64::from(i) * 1.3).sin()).collect();
        let sd = moments(&draws, 1, None).1[0].sqrt();
        let narrow = around(&draws, 1, 3.0, None).unwrap();
        assert!((narrow.factor[0] / sd - 3.0).abs() < 1e-3);
        assert!(around(&draws, 1, 3.0, Some(&[0.5])).unwrap().factor[0] > 0.45);
        assert!(around(&draws, 1, 1e4, None).unwrap().factor[0] < PRIOR_WIDTH);
        assert!(around(&[1.0, 1.0], 1, 3.0, None).is_err());
    }
}
