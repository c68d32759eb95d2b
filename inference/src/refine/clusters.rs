//! Modes of a posterior: its draws in groups that are each about Gaussian.
//!
//! Groups are split in two as long as two Gaussians describe a group's draws better by [`GAIN`] nats a draw than one: separate modes and strong
//! bends are split, a Gaussian is not. Expectation–maximisation (Dempster, Laird & Rubin 1977) from a split along the direction in which the draws
//! are widest; nothing is random.

use super::frame::{Frame, moments};
use crate::small_matrix::{dot, symmetric_eigen};

/// Gain of log-likelihood a draw that a split must bring.
const GAIN: f64 = 0.3;

/// Steps of expectation–maximisation.
const STEPS: usize = 50;

/// Draws a group must have, for each of its parameters.
const DRAWS_A_PARAMETER: usize = 15;

/// The draws (rows, m) in at most `most` groups.
pub(super) fn clusters(draws: &[f64], m: usize, most: usize) -> Vec<Vec<f64>> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    let mut open = vec![draws.to_vec()];
    while let Some(group) = open.pop() {
        let room = done.len() + open.len() + 2 <= most;
        match if room { split(&group, m) } else { None } {
            Some((one, other)) => open.extend([other, one]),
            None => done.push(group),
        }
    }
    done
}

/// Two groups in place of one, if that pays.
fn split(draws: &[f64], m: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let rows = draws.len() / m;
    let least = DRAWS_A_PARAMETER * m;
    if rows < 2 * least {
        return None;
    }
    let mut shares = start(draws, m);
    let alone = {
        let (mean, covariance) = moments(draws, m, None);
        let frame = Frame::new(mean, covariance).ok()?;
        total(draws, m, &[(1.0, frame)]).0
    };
    let mut together = f64::NEG_INFINITY;
    for _ in 0..STEPS {
        let parts: Vec<(f64, Frame)> = [false, true]
            .iter()
            .map(|second| {
                let weights: Vec<f64> = shares.iter().map(|share| if *second { 1.0 - share } else { *share }).collect();
                let (mean, covariance) = moments(draws, m, Some(&weights));
                let weight = weights.iter().sum::<f64>() / rows as f64;
                Frame::new(mean, covariance).ok().filter(|_| weight * rows as f64 > least as f64).map(|f| (weight, f))
            })
            .collect::<Option<_>>()?;
        let (value, next) = total(draws, m, &parts);
        let settled = value - together < 1e-6 * rows as f64;
        (together, shares) = (value, next);
        if settled {
            break;
        }
    }
    if together - alone < GAIN * rows as f64 {
        return None;
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (draw, share) in draws.chunks_exact(m).zip(shares) {
        if share >= 0.5 { one.extend_from_slice(draw) } else { other.extend_from_slice(draw) }
    }
    (one.len() >= least * m && other.len() >= least * m).then_some((one, other))
}

/// 1 on one side of the mean along the direction of the largest variance, 0 on the other.
fn start(draws: &[f64], m: usize) -> Vec<f64> {
    let (mean, mut covariance) = moments(draws, m, None);
    let mut vectors = vec![0.0; m * m];
    symmetric_eigen(&mut covariance, m, &mut vectors);
    let widest = (0..m).max_by(|a, b| covariance[a * m + a].total_cmp(&covariance[b * m + b])).unwrap_or(0);
    let axis = &vectors[widest * m..(widest + 1) * m];
    let middle = dot(axis, &mean);
    draws.chunks_exact(m).map(|draw| f64::from(u8::from(dot(axis, draw) >= middle))).collect()
}

/// Log-likelihood of the draws under a mixture, and the first part's share in each.
fn total(draws: &[f64], m: usize, parts: &[(f64, Frame)]) -> (f64, Vec<f64>) {
    let mut ignored = vec![0.0; m];
    let mut sum = 0.0;
    let shares = draws
        .chunks_exact(m)
        .map(|draw| {
            let logs: Vec<f64> =
                parts.iter().map(|(weight, frame)| weight.ln() + frame.log_density(draw, &mut ignored)).collect();
            let log = crate::model::density::log_sum_exp(&logs);
            sum += log;
            (logs[0] - log).exp()
        })
        .collect();
    (sum, shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    fn draws(rows: usize, place: impl Fn(usize, f64, f64) -> [f64; 2]) -> Vec<f64> {
        let mut rng = StreamKey::root(8).rng(0);
        (0..rows).flat_map(|i| place(i, StandardNormal.sample(&mut rng), StandardNormal.sample(&mut rng))).collect()
    }

    #[test]
    fn modes_are_told_apart_and_a_gaussian_is_left_alone() {
        let gaussian = draws(1000, |_, a, b| [a, 0.9 * a + 0.1 * b]);
        assert_eq!(clusters(&gaussian, 2, 4).len(), 1);
        let centers = [[-3.0, 0.0], [3.0, 0.0], [0.0, 5.0]];
        let modes = draws(1200, |i, a, b| [centers[i % 3][0] + 0.4 * a, centers[i % 3][1] + 0.4 * b]);
        let found = clusters(&modes, 2, 4);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|group| (760..=840).contains(&group.len())));
        assert_eq!(clusters(&modes, 2, 2).len(), 2);
        assert_eq!(clusters(&modes, 2, 1), vec![modes]);
    }
}
