//! Log evidence, as `compare` has it from tempered particles, of tasks whose likelihood is exact: against closed forms, quadrature and importance sampling.

use ndarray::{Array2, ArrayView2, Axis};
use rand_distr::{ChiSquared, Distribution, StandardNormal};
use std::f64::consts::TAU;
use tallsbi::data::{LatentMap, Purpose};
use tallsbi::inference::model::density::log_sum_exp;
use tallsbi::inference::reference::ReferenceOptions;
use tallsbi::inference::sample::SampleRequest;
use tallsbi::inference::small_matrix::{cholesky, cholesky_inverse, dot};
use tallsbi::inference::tempering::{Likelihood, Local, TemperingOptions, sample_tempered};
use tallsbi::simulators::TallLogLikelihood;
use tallsbi::{ReferenceMethod, Retries, Silent, StreamKey, Task, TaskOptions, observe, sample_reference, task};

/// Numbers of observations.
const SIZES: [usize; 3] = [1, 14, 30];
/// Runs of tempering, as [`tallsbi::compare`] makes.
const RUNS: u64 = 4;
const PARTICLES: usize = 1000;

/// A task's exact likelihood of some observations where the prior is N(0, I).
struct Exact<'a> {
    likelihood: Box<dyn TallLogLikelihood + 'a>,
    map: LatentMap,
    /// The posterior's mean and covariance there, of reference draws.
    mean: Vec<f64>,
    covariance: Vec<f64>,
    /// Its inverse, in place of the Fisher information.
    precision: Vec<f64>,
}

impl<'a> Exact<'a> {
    fn new(task: &'a dyn Task, x: ArrayView2<'_, f32>) -> Self {
        let options = ReferenceOptions::default();
        let method = ReferenceMethod::Auto;
        let found = sample_reference(task, x, method, &options, Retries(1), StreamKey::root(5), &Silent).unwrap();
        let map = LatentMap::prior_gaussian(task.prior());
        let m = map.dim();
        let mut latent = Array2::zeros((found.samples.len() / m, m));
        for (theta, mut z) in found.samples.lanes(Axis(2)).into_iter().zip(latent.outer_iter_mut()) {
            map.to_latent(&theta.to_vec(), z.as_slice_mut().unwrap());
        }
        let mean = latent.mean_axis(Axis(0)).unwrap();
        let centred = &latent - &mean;
        let covariance: Vec<f64> = (centred.t().dot(&centred) / latent.nrows() as f64).iter().copied().collect();
        let mut factor = covariance.clone();
        assert!(cholesky(&mut factor, m));
        let mut precision = vec![0.0; m * m];
        cholesky_inverse(&factor, m, &mut precision);
        let likelihood = task.log_likelihood().unwrap().given(x);
        Self { likelihood, map, mean: mean.to_vec(), covariance, precision }
    }

    /// log p(x_{1:n}|z) and its gradient.
    fn at(&self, z: &[f64], gradient: &mut [f64]) -> f64 {
        let (mut theta, mut by_theta) = (vec![0.0; z.len()], vec![0.0; z.len()]);
        self.map.to_parameters(z, &mut theta);
        let value = self.likelihood.log_likelihood_gradient(&theta, &mut by_theta);
        gradient.fill(0.0);
        self.map.pull_back(z, &theta, &by_theta, gradient);
        value
    }

    /// log p(x_{1:n}|z) N(z; 0, I).
    fn joint(&self, z: &[f64]) -> f64 {
        self.at(z, &mut vec![0.0; z.len()]) - 0.5 * dot(z, z) - 0.5 * z.len() as f64 * TAU.ln()
    }

    /// L of the covariance L Lᵀ.
    fn factor(&self) -> Vec<f64> {
        let mut factor = self.covariance.clone();
        assert!(cholesky(&mut factor, self.mean.len()));
        factor
    }

    /// mean + L u.
    fn place(&self, factor: &[f64], u: &[f64]) -> Vec<f64> {
        let m = u.len();
        (0..m).map(|i| self.mean[i] + dot(&factor[i * m..i * m + i + 1], &u[..=i])).collect()
    }

    /// As `compare`: the mean of the evidences of independent runs, and its standard error, in logarithms.
    fn tempered(&self) -> (f64, f64) {
        let x = Array2::zeros((1, 1));
        let (groups, options) = ([x.view()], TemperingOptions::default());
        let run = |run| {
            let key = StreamKey::root(1).child(Purpose::Evidence).indexed(run);
            let request = SampleRequest { groups: &groups, first_group: 0, key, covariances: None };
            sample_tempered(self, &request, PARTICLES, &options, &Silent).unwrap().1[0]
        };
        let runs: Vec<f64> = (0..RUNS).map(run).collect();
        let mean = log_sum_exp(&runs) - (RUNS as f64).ln();
        let variance = runs.iter().map(|run| ((run - mean).exp() - 1.0).powi(2)).sum::<f64>() / (RUNS - 1) as f64;
        (mean, (variance / RUNS as f64).sqrt())
    }

    /// Importance sampling from a multivariate t distribution around the reference draws, 1.2 times as wide: log evidence and standard error.
    fn by_importance(&self, draws: u64) -> (f64, f64) {
        const FREEDOM: f64 = 5.0;
        const WIDER: f64 = 1.2;
        let (factor, m) = (self.factor(), self.mean.len());
        let determinant: f64 = (0..m).map(|i| factor[i * m + i].ln() + WIDER.ln()).sum();
        // Up to the constant of the t distribution, which the average of its own normalised weights needs: log Γ by its recurrence.
        let constant = log_gamma_half(FREEDOM as usize + m)
            - log_gamma_half(FREEDOM as usize)
            - 0.5 * m as f64 * (FREEDOM * TAU / 2.0).ln()
            - determinant;
        let chi = ChiSquared::new(FREEDOM).unwrap();
        let key = StreamKey::root(2);
        let weight = |draw| {
            let mut rng = key.rng(draw);
            let scale = WIDER * (FREEDOM / chi.sample(&mut rng)).sqrt();
            let u: Vec<f64> = (0..m)
                .map(|_| scale * <StandardNormal as Distribution<f64>>::sample(&StandardNormal, &mut rng))
                .collect();
            let squares = dot(&u, &u) / (WIDER * WIDER);
            let value = self.joint(&self.place(&factor, &u)) - constant
                + 0.5 * (FREEDOM + m as f64) * (squares / FREEDOM).ln_1p();
            if value.is_nan() { f64::NEG_INFINITY } else { value }
        };
        let weights: Vec<f64> = (0..draws).map(weight).collect();
        let mean = log_sum_exp(&weights) - (draws as f64).ln();
        let variance = weights.iter().map(|weight| ((weight - mean).exp() - 1.0).powi(2)).sum::<f64>() / draws as f64;
        (mean, (variance / draws as f64).sqrt())
    }

    /// The rule of rectangles, which is exact for smooth densities up to what lies outside of 8 standard deviations: m = 2.
    fn by_quadrature(&self) -> f64 {
        const STEP: f64 = 0.125;
        let factor = self.factor();
        let line = || (-64..=64).map(|k| f64::from(k) * STEP);
        let value = |a, b| self.joint(&self.place(&factor, &[a, b]));
        let logs: Vec<f64> = line()
            .flat_map(|a| line().map(move |b| (a, b)))
            .map(|(a, b)| value(a, b))
            .filter(|v| !v.is_nan())
            .collect();
        log_sum_exp(&logs) + (STEP * STEP * factor[0] * factor[3]).ln()
    }
}

/// log Γ(k/2).
fn log_gamma_half(k: usize) -> f64 {
    match k {
        1 => 0.5 * (TAU / 2.0).ln(),
        2 => 0.0,
        _ => log_gamma_half(k - 2) + (0.5 * k as f64 - 1.0).ln(),
    }
}

impl Likelihood for Exact<'_> {
    type Context = ();
    type Workspace = ();

    fn dim_theta(&self) -> usize {
        self.mean.len()
    }

    fn context(&self, _: ArrayView2<'_, f32>) -> tallsbi::inference::Result<()> {
        Ok(())
    }

    fn workspace(&self) {}

    fn evaluate(&self, (): &(), theta: &[f64], (): &mut (), local: &mut Local) {
        let m = self.mean.len();
        local.resize(theta.len() / m, m);
        for (row, z) in theta.chunks(m).enumerate() {
            local.values[row] = self.at(z, &mut local.gradients[row * m..(row + 1) * m]);
            local.informations[row * m * m..(row + 1) * m * m].copy_from_slice(&self.precision);
        }
    }
}

/// Observations of `name` at parameters of its prior.
fn observed(task: &dyn Task, n: usize, seed: u64) -> Array2<f32> {
    let mut theta = vec![0.0; task.prior().dim()];
    task.prior().sample(&mut StreamKey::root(seed).rng(0), &mut theta);
    let theta: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    observe(task, &theta, n, seed, &Silent).unwrap()
}

/// That tempering's evidence is `exact`, which itself is known to `known`.
fn check(exact_likelihood: &Exact<'_>, what: &str, (exact, known): (f64, f64)) {
    let (found, error) = exact_likelihood.tempered();
    println!("{what}: {:+.3} ± {error:.3} (known to {known:.3})", found - exact);
    assert!(
        (found - exact).abs() < 0.02 + 3.0 * error.hypot(known),
        "{what}: {found} ± {error}, exactly {exact} ± {known}"
    );
    assert!(error > 0.0 && error < 0.05, "{what}: {error}");
}

/// log N(x_{1:n}; 0, …) of one coordinate whose mean has the prior N(0, 1), by one observation after the other, each of its own variance.
fn of_coordinate(x: impl Iterator<Item = f64>, variances: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut precision, mut total) = (0.0, 1.0, 0.0);
    for (x, variance) in x.zip(variances) {
        let spread = 1.0 / precision + variance;
        total -= 0.5 * ((x - mean) * (x - mean) / spread + (TAU * spread).ln());
        let updated = precision + 1.0 / variance;
        (mean, precision) = ((mean * precision + x / variance) / updated, updated);
    }
    total
}

#[test]
fn gaussian_linear_has_the_evidence_of_its_closed_form() {
    let task = task("gaussian_linear", &Default::default()).unwrap();
    for n in SIZES {
        let x = observed(&*task, n, 3);
        let posterior = task.exact_posterior(x.view()).unwrap();
        let coordinate = |i: usize| {
            // 1/covariance = 1 + n/v.
            let variance = n as f64 / (1.0 / posterior.covariance[i][i] - 1.0);
            of_coordinate(x.column(i).iter().map(|&x| f64::from(x)), std::iter::repeat(variance))
        };
        let exact = (0..10).map(coordinate).sum();
        check(&Exact::new(&*task, x.view()), &format!("Gaussian linear, n = {n}"), (exact, 0.0));
    }
}

/// The sum over all assignments of observations to the components, of variances 2.25 v and v/9; of thirty observations importance sampling. In ten dimensions one observation makes a needle in a cloud, which
/// particles that come from the prior do not find.
#[test]
fn a_gaussian_mixture_has_the_evidence_of_all_assignments() {
    for (dimension, n) in [(2, 1), (2, 14), (10, 1), (10, 14), (10, 30)] {
        let task = task("gmm_toy", &TaskOptions { dimension: Some(dimension), ..Default::default() }).unwrap();
        let x = observed(&*task, n, 4);
        let assigned = |word: usize| -> f64 {
            let coordinate = |(i, v): (usize, f64)| {
                let variance = |k: usize| if word >> k & 1 == 0 { 2.25 * v } else { v / 9.0 };
                of_coordinate(x.column(i).iter().map(|&x| f64::from(x)), (0..n).map(variance))
            };
            let spread = |i: usize| 0.6 + 0.8 * i as f64 / (dimension - 1) as f64;
            (0..dimension).map(|i| coordinate((i, spread(i)))).sum::<f64>() - n as f64 * 2f64.ln()
        };
        let likelihood = Exact::new(&*task, x.view());
        let exact = if n <= 14 {
            (log_sum_exp(&(0..1 << n).map(assigned).collect::<Vec<_>>()), 0.0)
        } else {
            likelihood.by_importance(8000)
        };
        check(&likelihood, &format!("Gaussian mixture of {dimension} dimensions, n = {n}"), exact);
    }
}

#[test]
fn sir_has_the_evidence_of_quadrature() {
    let task = task("sir", &Default::default()).unwrap();
    for n in SIZES {
        let x = observed(&*task, n, 6);
        let likelihood = Exact::new(&*task, x.view());
        let exact = likelihood.by_quadrature();
        let (weighed, error) = likelihood.by_importance(4000);
        assert!((weighed - exact).abs() < 0.01 + 4.0 * error, "{weighed} ± {error}, {exact}");
        check(&likelihood, &format!("SIR, n = {n}"), (exact, 0.0));
    }
}

#[test]
fn lotka_volterra_has_the_evidence_of_importance_sampling() {
    let task = task("lotka_volterra", &Default::default()).unwrap();
    for n in SIZES {
        let x = observed(&*task, n, 7);
        let likelihood = Exact::new(&*task, x.view());
        let exact = likelihood.by_importance(8000);
        assert!(exact.1 < 0.03, "{}", exact.1);
        check(&likelihood, &format!("Lotka–Volterra, n = {n}"), exact);
    }
}
