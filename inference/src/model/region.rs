//! How many training rows a posterior has around it: where there are none, a network extrapolates.

use super::trained::{Networks, TrainedModel};
use crate::notes::Note;
use crate::refine::{Frame, moments};
use ndarray::ArrayView2;

/// Prior standard deviations over which a network's function may be taken as smooth: rows that near tell of a point.
const SMOOTH: f64 = 0.25;

/// Expected rows below which a posterior has hardly any.
const HARDLY: f64 = 3.0;

impl TrainedModel {
    /// A note if hardly a training row is expected near the posterior samples `theta` (S, m): fewer than three within a standard deviation a parameter
    /// of N(mean, Cov + SMOOTH² I) in latent space, where rows are N(0, I). None where that is not known: refined models say it by themselves, and other
    /// latent maps have other densities.
    pub fn thin_support(&self, theta: ArrayView2<'_, f64>) -> Option<Note> {
        let m = self.latent.dim();
        let rows = self.info.n_train;
        if rows == 0
            || !self.latent.is_prior_gaussian()
            || self.mean_scores().is_some()
            || matches!(self.networks, Networks::Refined(_) | Networks::Likelihood { region: Some(_), .. })
        {
            return None;
        }
        let mut z = vec![0.0; theta.len()];
        for (theta, z) in theta.outer_iter().zip(z.chunks_exact_mut(m)) {
            self.latent.to_latent(&theta.to_vec(), z);
        }
        let expected = rows as f64 * prior_mass(&z, m)?;
        (expected < HARDLY).then_some(Note::ThinSupport { expected, rows })
    }
}

/// N(0, I)'s mass of {|C⁻¹(z - c)|² ≤ m} for the Gaussian N(c, C Cᵀ) of the draws, widened: what they see, E_q\[1 φ/q\], with the draws moved by the widening.
fn prior_mass(z: &[f64], m: usize) -> Option<f64> {
    let (mean, mut covariance) = moments(z, m, None);
    let own = Frame::new(mean.clone(), covariance.iter().enumerate().map(|(i, c)| c + tiny(i, m)).collect()).ok()?;
    (0..m).for_each(|i| covariance[i * m + i] += SMOOTH * SMOOTH);
    let wide = Frame::new(mean, covariance).ok()?;
    let prior = Frame::standard(m, 1.0);
    let mut ignored = vec![0.0; m];
    let mut sum = 0.0;
    for z in z.chunks_exact(m) {
        let mut local = z.to_vec();
        own.to_local(&mut local);
        if local.iter().map(|v| v * v).sum::<f64>() <= m as f64 {
            let moved = wide.to_latent(&local);
            sum += (prior.log_density(&moved, &mut ignored) - wide.log_density(&moved, &mut ignored)).exp();
        }
    }
    Some(sum / (z.len() / m) as f64)
}

/// Keeps the covariance of very narrow draws positive definite.
fn tiny(index: usize, m: usize) -> f64 {
    if index.is_multiple_of(m + 1) { 1e-12 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use statrs::distribution::{ChiSquared, ContinuousCDF};
    use tallsbi_data::StreamKey;

    fn draws(m: usize, center: f64, sd: f64) -> Vec<f64> {
        let mut rng = StreamKey::root(3).rng(0);
        (0..4000 * m)
            .map(|_| {
                let z: f64 = StandardNormal.sample(&mut rng);
                center + sd * z
            })
            .collect()
    }

    /// A posterior that is the prior has χ²_m(m) of it but for the widening; narrow ones a ball of radius SMOOTH √m.
    #[test]
    fn masses_are_those_of_balls_of_the_prior() {
        let ball = |m: usize, radius: f64| ChiSquared::new(m as f64).unwrap().cdf(radius * radius);
        for (m, sd) in [(2, 1.0f64), (4, 1.0), (2, 1e-4), (4, 1e-4)] {
            let found = prior_mass(&draws(m, 0.0, sd), m).unwrap();
            let expected = ball(m, (m as f64).sqrt() * sd.hypot(SMOOTH));
            assert!((found / expected - 1.0).abs() < 0.08, "{m} {sd}: {found} {expected}");
        }
        // At five standard deviations in each of two parameters: e^{-25} of that in the middle, about.
        let far = prior_mass(&draws(2, 5.0, 1e-4), 2).unwrap();
        assert!(far < 1e-9 && far > 1e-13, "{far}");
    }
}
