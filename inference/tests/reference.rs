//! Reference posteriors: laws that exact samples obey.

use ndarray::{Array3, ArrayView3};
use std::sync::atomic::{AtomicUsize, Ordering};
use tallsbi_data::{Component, LatentMap, Monitor, Prior, Progress, Silent, StreamKey};
use tallsbi_inference::InferenceError;
use tallsbi_inference::reference::{
    Chains, LatentPosterior, LogDensity, ReferenceOptions, sample_chains, sample_nuts, sample_tempered,
};

fn key() -> StreamKey {
    StreamKey::root(3)
}

/// Values of coordinate `i`, one chain after another.
fn coordinate(draws: ArrayView3<'_, f64>, i: usize) -> Vec<f64> {
    draws.index_axis(ndarray::Axis(2), i).iter().copied().collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A Gaussian by its mean and precision.
struct Gaussian {
    mean: Vec<f64>,
    precision: Vec<Vec<f64>>,
}

impl LogDensity for Gaussian {
    fn dim(&self) -> usize {
        self.mean.len()
    }

    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        let residual: Vec<f64> = z.iter().zip(&self.mean).map(|(z, m)| z - m).collect();
        let mut quadratic = 0.0;
        for (i, row) in self.precision.iter().enumerate() {
            gradient[i] = -row.iter().zip(&residual).map(|(p, r)| p * r).sum::<f64>();
            quadratic += residual[i] * gradient[i];
        }
        0.5 * quadratic
    }
}

/// Tight, strongly correlated, far from the prior's centre: as the posterior of many observations is.
fn tall_gaussian() -> Gaussian {
    // Precision of standard deviations 0.05 and 0.02 with correlation 0.95, and of an independent one of 0.5.
    let (a, b, rho) = (0.05f64, 0.02f64, 0.95f64);
    let scale = 1.0 / (1.0 - rho * rho);
    Gaussian {
        mean: vec![1.5, -1.0, 0.3],
        precision: vec![
            vec![scale / (a * a), -scale * rho / (a * b), 0.0],
            vec![-scale * rho / (a * b), scale / (b * b), 0.0],
            vec![0.0, 0.0, 4.0],
        ],
    }
}

fn check_tall_gaussian(draws: ArrayView3<'_, f64>, effective: f64) {
    let z: Vec<Vec<f64>> = (0..3).map(|i| coordinate(draws, i)).collect();
    let (expected_mean, sd) = ([1.5, -1.0, 0.3], [0.05, 0.02, 0.5]);
    let mut standard = z.clone();
    for i in 0..3 {
        let error = (mean(&z[i]) - expected_mean[i]) / sd[i] * effective.sqrt();
        assert!(error.abs() < 4.5, "mean of {i}: {error} standard errors off");
        standard[i].iter_mut().for_each(|value| *value = (*value - expected_mean[i]) / sd[i]);
    }
    for (i, j, correlation) in [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (0, 1, 0.95), (0, 2, 0.0), (1, 2, 0.0)] {
        let products: Vec<f64> = standard[i].iter().zip(&standard[j]).map(|(a, b)| a * b).collect();
        // The variance of a product of standard normals with correlation ρ is 1 + ρ².
        let error = (mean(&products) - correlation) / ((1.0 + correlation * correlation) / effective).sqrt();
        assert!(error.abs() < 4.5, "moment {i}{j}: {error} standard errors off");
    }
}

#[test]
fn nuts_recovers_a_tall_gaussian() {
    let options = ReferenceOptions { draws: 1000, ..Default::default() };
    let chains = sample_nuts(&tall_gaussian(), &options, key(), &Silent).expect("runs");
    assert_eq!(chains.draws.dim(), (4, 5000, 3));
    assert_eq!(chains.info.divergences, 0);
    // Thinned by 5, draws of this target are as good as independent; half of them allow for what is left.
    check_tall_gaussian(chains.thinned(5).view(), 2000.0);
}

#[test]
fn populations_recover_a_tall_gaussian() {
    let options = ReferenceOptions { draws: 1000, thinning: 1, ..Default::default() };
    let chains = sample_tempered(&tall_gaussian(), &options, key(), &Silent).expect("runs");
    check_tall_gaussian(chains.draws.view(), 2000.0);
}

/// 0.2 N(-1, 0.1²) + 0.8 N(1.5, 0.2²).
struct TwoModes;

impl LogDensity for TwoModes {
    fn dim(&self) -> usize {
        1
    }

    fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        let parts = [(0.2, -1.0, 0.1), (0.8, 1.5, 0.2)].map(|(weight, center, sd): (f64, f64, f64)| {
            let residual = (z[0] - center) / sd;
            ((weight / sd).ln() - 0.5 * residual * residual, -residual / sd)
        });
        let highest = parts[0].0.max(parts[1].0);
        let shares = parts.map(|(log, _)| (log - highest).exp());
        let sum = shares[0] + shares[1];
        gradient[0] = (shares[0] * parts[0].1 + shares[1] * parts[1].1) / sum;
        highest + sum.ln()
    }
}

#[test]
fn populations_weigh_modes() {
    let options = ReferenceOptions { chains: 8, draws: 1000, thinning: 1, ..Default::default() };
    let chains = sample_tempered(&TwoModes, &options, key(), &Silent).expect("runs");
    let shares: Vec<f64> = (0..8)
        .map(|chain| {
            chains.draws.index_axis(ndarray::Axis(0), chain).mapv(|z| f64::from(z < 0.0)).mean().unwrap_or(0.0)
        })
        .collect();
    let center = mean(&shares);
    let error = (shares.iter().map(|s| (s - center).powi(2)).sum::<f64>() / 7.0 / 8.0).sqrt();
    assert!(error < 0.015, "shares {shares:?}");
    assert!((center - 0.2).abs() < 5.0 * error, "share {center} ± {error}, expected 0.2");
}

/// Every kind of prior, with a likelihood whose gradient is known.
#[expect(clippy::type_complexity, reason = "an opaque type has no name to alias")]
fn mixed_posterior() -> (Prior, LatentPosterior<impl Fn(&[f64], &mut [f64]) -> f64 + Sync>) {
    let prior = Prior::new(vec![
        Component::Uniform { name: "u".into(), low: -2.0, high: 5.0 },
        Component::Lognormal { name: "l".into(), loc: -1.0, scale: 0.5 },
        Component::Normal { name: "n".into(), loc: 2.0, scale: 3.0 },
        Component::MultivariateNormal {
            names: vec!["a".into(), "b".into()],
            loc: vec![1.0, -1.0],
            covariance: vec![vec![2.0, 0.7], vec![0.7, 1.0]],
        },
    ])
    .expect("a proper prior");
    // log p = Σ_i i sin θ_i + θ_0 θ_4
    let likelihood = |theta: &[f64], gradient: &mut [f64]| {
        let mut total = theta[0] * theta[4];
        for (i, (out, theta)) in gradient.iter_mut().zip(theta).enumerate() {
            *out = i as f64 * theta.cos();
            total += i as f64 * theta.sin();
        }
        gradient[0] += theta[4];
        gradient[4] += theta[0];
        total
    };
    (prior.clone(), LatentPosterior::new(&prior, likelihood))
}

#[test]
fn latent_posteriors_have_their_gradient_and_their_map() {
    let (prior, posterior) = mixed_posterior();
    let map = LatentMap::prior_gaussian(&prior);
    for z in [[0.3, -0.7, 1.1, 0.2, -1.6], [-2.5, 0.9, -0.4, 1.3, 0.6]] {
        let mut gradient = [0.0; 5];
        let value = posterior.log_density_gradient(&z, &mut gradient);
        let mut theta = [0.0; 5];
        map.to_parameters(&z, &mut theta);
        let log_likelihood = (0..5).map(|i| i as f64 * theta[i].sin()).sum::<f64>() + theta[0] * theta[4];
        let expected = log_likelihood - 0.5 * z.iter().map(|z| z * z).sum::<f64>();
        assert!((value - expected).abs() < 1e-12 * expected.abs().max(1.0), "{value}, expected {expected}");
        for i in 0..5 {
            let at = |step: f64| {
                let mut moved = z;
                moved[i] += step;
                posterior.log_density_gradient(&moved, &mut [0.0; 5])
            };
            let h = 1e-3;
            let difference = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            assert!(
                (difference - gradient[i]).abs() < 1e-8 * (1.0 + difference.abs()),
                "{i}: {difference} {gradient:?}"
            );
        }
        let draws = Array3::from_shape_vec((1, 1, 5), z.to_vec()).expect("five values");
        assert_eq!(posterior.to_parameters(draws.view()).iter().copied().collect::<Vec<_>>(), theta.to_vec());
    }
}

#[test]
fn threads_do_not_matter_and_chains_differ() {
    let options = ReferenceOptions { draws: 20, warmup: 50, particles: 16, ..Default::default() };
    let with = |threads: usize| -> [Chains; 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let (_, posterior) = mixed_posterior();
            [
                sample_nuts(&posterior, &options, key(), &Silent).expect("runs"),
                sample_tempered(&posterior, &options, key(), &Silent).expect("runs"),
            ]
        })
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(7));
    for chains in one {
        let first = chains.draws.index_axis(ndarray::Axis(0), 0);
        assert!((1..4).all(|chain| chains.draws.index_axis(ndarray::Axis(0), chain) != first));
    }
}

#[test]
fn work_can_be_stopped() {
    let (_, posterior) = mixed_posterior();
    let options = ReferenceOptions { draws: 100_000, ..Default::default() };
    struct AfterFifty(AtomicUsize);
    impl Monitor for AfterFifty {
        fn progress(&self, _: &Progress<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 50
        }
    }
    let monitor = AfterFifty(0.into());
    assert!(matches!(sample_nuts(&posterior, &options, key(), &monitor), Err(InferenceError::Cancelled(_))));
    monitor.0.store(0, Ordering::Relaxed);
    let start = |_: u64| Box::new(|theta: &mut [f64]| theta.fill(0.0)) as Box<dyn FnMut(&mut [f64]) + Send>;
    assert!(matches!(sample_chains(1, &start, 0, &options, &monitor), Err(InferenceError::Cancelled(_))));
}

#[test]
fn impossible_densities_are_told() {
    struct Nowhere;
    impl LogDensity for Nowhere {
        fn dim(&self) -> usize {
            2
        }
        fn log_density_gradient(&self, _z: &[f64], gradient: &mut [f64]) -> f64 {
            gradient.fill(0.0);
            f64::NEG_INFINITY
        }
    }
    let error = sample_nuts(&Nowhere, &ReferenceOptions::default(), key(), &Silent).expect_err("nowhere");
    assert!(error.to_string().contains("is 0 or overflows at all particles (128 of 128 "), "{error}");
    let options = ReferenceOptions { thinning: 0, ..Default::default() };
    let error = sample_nuts(&TwoModes, &options, key(), &Silent).expect_err("no thinning");
    assert!(error.to_string().contains("thinning"), "{error}");
}

/// Where half of the space is impossible, a quarter of the starts among it: N(0, 1) above zero.
#[test]
fn impossible_regions_are_left_alone() {
    struct Half;
    impl LogDensity for Half {
        fn dim(&self) -> usize {
            1
        }
        fn log_density_gradient(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
            gradient[0] = -z[0];
            if z[0] < 0.0 { f64::NAN } else { -0.5 * z[0] * z[0] }
        }
    }
    let options = ReferenceOptions { draws: 2000, thinning: 1, ..Default::default() };
    let chains = sample_tempered(&Half, &options, key(), &Silent).expect("runs");
    let z = coordinate(chains.draws.view(), 0);
    assert!(z.iter().all(|&z| z >= 0.0));
    // E = √(2/π), variance 1 - 2/π; resampling halves the 8000 at first.
    let error = (mean(&z) - (2.0 / std::f64::consts::PI).sqrt()) / ((1.0 - 2.0 / std::f64::consts::PI) / 3000.0).sqrt();
    assert!(error.abs() < 4.5, "{error} standard errors");
}

/// Three conjugate pairs at once: gamma and Poisson, beta and binomial, inverse gamma and the variance of normals.
#[test]
fn conjugate_posteriors_are_recovered() {
    use statrs::distribution::{Beta, ContinuousCDF, Gamma, InverseGamma};
    let prior = Prior::new(vec![
        Component::Gamma { name: "rate".into(), shape: 2.0, rate: 0.5 },
        Component::Beta { name: "share".into(), alpha: 0.5, beta: 2.0 },
        Component::InverseGamma { name: "variance".into(), shape: 1.5, scale: 2.0 },
    ])
    .expect("a proper prior");
    let ((counts, intervals), (successes, failures), (squares, n)) = ((9.0, 4.0), (1.0, 6.0), (13.0, 8.0));
    let likelihood = |theta: &[f64], gradient: &mut [f64]| {
        let [rate, share, variance] = [theta[0], theta[1], theta[2]];
        gradient[0] = counts / rate - intervals;
        gradient[1] = successes / share - failures / (1.0 - share);
        gradient[2] = (0.5 * squares / variance - 0.5 * n) / variance;
        counts * rate.ln() - intervals * rate + successes * share.ln() + failures * (1.0 - share).ln()
            - 0.5 * (n * variance.ln() + squares / variance)
    };
    let posterior = LatentPosterior::new(&prior, likelihood);
    let options = ReferenceOptions { draws: 2000, thinning: 5, ..Default::default() };
    let chains = sample_nuts(&posterior, &options, key(), &Silent).expect("runs");
    let theta = posterior.to_parameters(chains.thinned(5).view());
    let exact: [Box<dyn Fn(f64) -> f64>; 3] = [
        Box::new(move |x| Gamma::new(2.0 + counts, 0.5 + intervals).expect("proper").cdf(x)),
        Box::new(move |x| Beta::new(0.5 + successes, 2.0 + failures).expect("proper").cdf(x)),
        Box::new(move |x| InverseGamma::new(1.5 + 0.5 * n, 2.0 + 0.5 * squares).expect("proper").cdf(x)),
    ];
    for (i, cdf) in exact.iter().enumerate() {
        let mut draws = coordinate(theta.view(), i);
        draws.sort_by(f64::total_cmp);
        let count = draws.len() as f64;
        let distance = |(k, x): (usize, &f64)| (cdf(*x) - (k as f64 + 0.5) / count).abs();
        let farthest = draws.iter().enumerate().map(distance).fold(0.0, f64::max);
        // 2.2/√n has probability 1e-4 for independent draws; half as many for what the chains remember. Two samples this near are told
        // apart with a C2ST below 0.53.
        assert!(farthest < 2.2 / (0.5 * count).sqrt(), "parameter {i}: {farthest}");
    }
}
