//! Posteriors under priors of every kind, by the samplers of reference posteriors, against densities written down here and integrated.

use ndarray::Axis;
use tallsbi_data::{Prior, Silent, StreamKey, parse_component};
use tallsbi_inference::reference::{LatentPosterior, ReferenceOptions, sample_nuts, sample_tempered};

/// Cells of equal exact probability that draws are sorted into.
const CELLS: usize = 20;

/// Accuracy of the best classifier of draws against exact ones by these cells: ½ + ½ total variation. 4000 exact draws have 0.514.
fn c2st(draws: &[f64], distribution_function: impl Fn(f64) -> f64) -> f64 {
    let mut shares = [0.0; CELLS];
    for &draw in draws {
        let cell = (distribution_function(draw) * CELLS as f64) as usize;
        shares[cell.min(CELLS - 1)] += 1.0 / draws.len() as f64;
    }
    0.5 + 0.25 * shares.iter().map(|share| (share - 1.0 / CELLS as f64).abs()).sum::<f64>()
}

/// ∫ e^log over (low, high), as a distribution function: midpoints of `steps` steps of t, θ = low + (high - low) sin²(πt/2), which are short at both ends, where densities may
/// have no bound.
fn integrated((low, high): (f64, f64), log: impl Fn(f64) -> f64) -> impl Fn(f64) -> f64 {
    let steps = 400_000;
    let at = move |t: f64| low + (high - low) * (0.5 * std::f64::consts::PI * t).sin().powi(2);
    let middle = |k: usize| (k as f64 + 0.5) / steps as f64;
    let logs: Vec<f64> = (0..steps).map(|k| log(at(middle(k)))).collect();
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sums = vec![0.0];
    for (k, log) in logs.iter().enumerate() {
        let slope = (std::f64::consts::PI * middle(k)).sin();
        sums.push(sums[k] + (log - highest).exp() * slope);
    }
    move |theta: f64| {
        let t = ((theta - low) / (high - low)).clamp(0.0, 1.0).sqrt().asin() * 2.0 / std::f64::consts::PI;
        let place = t * steps as f64;
        let k = (place as usize).min(steps - 1);
        (sums[k] + (sums[k + 1] - sums[k]) * (place - k as f64)) / sums[steps]
    }
}

/// A prior, its log-density up to a constant, where it has mass; the observations' mean, and the sd of that mean.
type Case = (&'static str, fn(f64) -> f64, (f64, f64), f64, f64);

const CASES: [Case; 20] = [
    ("uniform(-1, 3)", |_| 0.0, (-1.0, 3.0), 2.6, 0.5),
    ("normal(1, 2)", |t| -0.125 * (t - 1.0).powi(2), (-30.0, 30.0), 4.0, 1.5),
    ("lognormal(0.5, 0.7)", |t| -t.ln() - (t.ln() - 0.5).powi(2) / 0.98, (0.0, 30.0), 0.5, 0.6),
    ("truncated_normal(1, 2, 0, 4)", |t| -0.125 * (t - 1.0).powi(2), (0.0, 4.0), 0.3, 0.7),
    ("truncated_normal(1, 2, -inf, 0.5)", |t| -0.125 * (t - 1.0).powi(2), (-30.0, 0.5), 1.0, 1.0),
    ("truncated_normal(0, 1, 6, inf)", |t| -0.5 * t * t, (6.0, 12.0), 6.3, 0.2),
    ("half_normal(2.5)", |t| -0.08 * t * t, (0.0, 30.0), 0.5, 1.0),
    ("loguniform(0.01, 30)", |t| -t.ln(), (0.01, 30.0), 0.5, 0.5),
    ("beta(2, 5)", |t| t.ln() + 4.0 * (-t).ln_1p(), (0.0, 1.0), 0.6, 0.15),
    ("beta(0.3, 0.2)", |t| -0.7 * t.ln() - 0.8 * (-t).ln_1p(), (0.0, 1.0), 0.4, 0.4),
    ("gamma(2, 3)", |t| t.ln() - 3.0 * t, (0.0, 20.0), 1.5, 0.6),
    ("gamma(0.4, 0.1)", |t| -0.6 * t.ln() - 0.1 * t, (0.0, 60.0), 1.0, 2.0),
    ("inverse_gamma(3, 2)", |t| -4.0 * t.ln() - 2.0 / t, (0.0, 60.0), 2.0, 0.8),
    ("exponential(0.1)", |t| -0.1 * t, (0.0, 60.0), 3.0, 5.0),
    ("student_t(3, 1, 2)", |t| -2.0 * ((t - 1.0).powi(2) / 12.0).ln_1p(), (-60.0, 60.0), 7.0, 2.0),
    ("student_t(0.5, 0, 1)", |t| -0.75 * (2.0 * t * t).ln_1p(), (-60.0, 60.0), 5.0, 2.0),
    ("cauchy(-1, 0.5)", |t| -(4.0 * (t + 1.0).powi(2)).ln_1p(), (-60.0, 60.0), 2.0, 1.5),
    ("half_cauchy(2)", |t| -(0.25 * t * t).ln_1p(), (0.0, 60.0), 4.0, 3.0),
    ("half_cauchy(25)", |t| -(t * t / 625.0).ln_1p(), (0.0, 400.0), 20.0, 40.0),
    ("beta(300, 2)", |t| 299.0 * t.ln() + (-t).ln_1p(), (0.9, 1.0), 0.99, 0.005),
];

#[test]
fn posteriors_under_every_prior_are_their_integrals() {
    let options = ReferenceOptions { draws: 1000, thinning: 2, ..ReferenceOptions::default() };
    for (spec, log_prior, support, mean, sd) in CASES {
        let prior = Prior::new(vec![parse_component(&format!("a={spec}")).unwrap()]).unwrap();
        let log = move |theta: f64| -0.5 * ((theta - mean) / sd).powi(2);
        let posterior = LatentPosterior::new(&prior, move |theta, gradient| {
            gradient[0] = (mean - theta[0]) / (sd * sd);
            log(theta[0])
        });
        let exact = integrated(support, move |theta| log_prior(theta) + log(theta));
        for chains in [
            sample_tempered(&posterior, &options, StreamKey::root(1), &Silent).unwrap(),
            sample_nuts(&posterior, &options, StreamKey::root(2), &Silent).unwrap(),
        ] {
            let theta = posterior.to_parameters(chains.thinned(options.thinning).view());
            let draws: Vec<f64> = theta.into_iter().collect();
            let found = c2st(&draws, &exact);
            assert!(found <= 0.53, "{spec}: {found} of {} draws", draws.len());
        }
    }
}

/// log θ ~ N(m, S), observed with Gaussian noise in log θ: conjugate.
#[test]
fn posteriors_under_correlated_log_normals_are_conjugate() {
    let spec =
        r#"[{"names":["a","b"],"dist":"multivariate_lognormal","loc":[0.2,-0.4],"covariance":[[0.5,0.3],[0.3,0.4]]}]"#;
    let prior = Prior::from_json(spec).unwrap();
    // One observation of log a, 0.9 with variance 0.25: Kalman's update.
    let (y, noise) = (0.9, 0.25);
    let posterior = LatentPosterior::new(&prior, move |theta: &[f64], gradient: &mut [f64]| {
        let residual = y - theta[0].ln();
        gradient[0] = residual / noise / theta[0];
        gradient[1] = 0.0;
        -0.5 * residual * residual / noise
    });
    let gain = [0.5 / 0.75, 0.3 / 0.75];
    let mean = [0.2 + gain[0] * 0.7, -0.4 + gain[1] * 0.7];
    let variance = [0.5 - gain[0] * 0.5, 0.4 - gain[1] * 0.3];
    let options = ReferenceOptions { draws: 1000, thinning: 2, ..ReferenceOptions::default() };
    let chains = sample_tempered(&posterior, &options, StreamKey::root(3), &Silent).unwrap();
    let theta = posterior.to_parameters(chains.thinned(options.thinning).view());
    for k in 0..2 {
        let draws: Vec<f64> = theta.index_axis(Axis(2), k).iter().copied().collect();
        let z = |theta: f64| (theta.ln() - mean[k]) / variance[k].sqrt();
        let found = c2st(&draws, |theta| {
            statrs::distribution::ContinuousCDF::cdf(&statrs::distribution::Normal::standard(), z(theta))
        });
        assert!(found <= 0.53, "{k}: {found}");
    }
}
