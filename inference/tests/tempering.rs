//! Laws of the tempered populations that sample likelihoods.

use ndarray::{Array2, ArrayView2, Axis};
use tallsbi_data::{Silent, StreamKey};
use tallsbi_inference::model::density::log_sum_exp;
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::small_matrix::dot;
use tallsbi_inference::tempering::{Likelihood, Local, TemperingOptions, sample_tempered};

/// Observations' worth of likelihood for which particles follow a coarse one.
const COARSE_OBSERVATIONS: f64 = 3.0;

/// Log-likelihoods of a network whose weights are damaged: no two particles can be weighed against each other.
struct Absurd;

impl Likelihood for Absurd {
    type Context = ();
    type Workspace = ();

    fn dim_theta(&self) -> usize {
        2
    }

    fn context(&self, _: ArrayView2<'_, f32>) -> tallsbi_inference::Result<()> {
        Ok(())
    }

    fn workspace(&self) {}

    fn evaluate(&self, (): &(), theta: &[f64], (): &mut (), local: &mut Local) {
        local.resize(theta.len() / 2, 2);
        local.values.iter_mut().zip(theta.chunks(2)).for_each(|(value, z)| *value = -1e38 * z[0].abs());
    }
}

#[test]
fn tempering_that_cannot_arrive_says_so() {
    let x = Array2::zeros((1, 1));
    let groups = [x.view()];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(0), covariances: None };
    let outcome = sample_tempered(&Absurd, &request, 1000, &TemperingOptions::default(), &Silent);
    let error = outcome.expect_err("no posterior").to_string();
    assert!(error.contains("more than can be weighed"), "{error}");
}

/// log p(x|z) = log Σ_c w_c N(x̄; A z + b_c, v/n): a Gaussian for one b, several modes for more.
struct Shifts {
    slope: f64,
    variance: f64,
    modes: Vec<(f64, Vec<f64>)>,
    coarse: Option<Box<Shifts>>,
}

impl Likelihood for Shifts {
    type Context = (f64, Vec<f64>);
    type Workspace = ();

    fn dim_theta(&self) -> usize {
        self.modes[0].1.len()
    }

    fn coarse(&self) -> Option<(&Self, f64)> {
        self.coarse.as_deref().map(|coarse| (coarse, COARSE_OBSERVATIONS))
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> tallsbi_inference::Result<Self::Context> {
        Ok((x.nrows() as f64, x.mapv(f64::from).mean_axis(Axis(0)).unwrap().to_vec()))
    }

    fn workspace(&self) {}

    fn evaluate(&self, (n, mean): &Self::Context, theta: &[f64], (): &mut (), local: &mut Local) {
        let m = self.dim_theta();
        local.resize(theta.len() / m, m);
        let precision = n / self.variance;
        for (row, z) in theta.chunks(m).enumerate() {
            let residual =
                |shift: &[f64]| -> Vec<f64> { (0..m).map(|i| mean[i] - self.slope * z[i] - shift[i]).collect() };
            let logs: Vec<f64> = self
                .modes
                .iter()
                .map(|(weight, shift)| {
                    let r = residual(shift);
                    weight.ln() - 0.5 * precision * dot(&r, &r)
                        + 0.5 * m as f64 * (precision / std::f64::consts::TAU).ln()
                })
                .collect();
            local.values[row] = log_sum_exp(&logs);
            local.gradients[row * m..(row + 1) * m].fill(0.0);
            for (log, (_, shift)) in logs.iter().zip(&self.modes) {
                let responsibility = (log - local.values[row]).exp();
                for (i, r) in residual(shift).into_iter().enumerate() {
                    local.gradients[row * m + i] += responsibility * precision * self.slope * r;
                }
            }
            for i in 0..m {
                for j in 0..m {
                    let diagonal = f64::from(u8::from(i == j));
                    local.informations[(row * m + i) * m + j] = diagonal * precision * self.slope.powi(2);
                }
            }
        }
    }
}

fn sample(likelihood: &Shifts, x: &Array2<f32>, samples: usize) -> (Array2<f64>, f64) {
    let groups = [x.view()];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(3), covariances: None };
    let options = TemperingOptions::default();
    let (samples, evidence) = sample_tempered(likelihood, &request, samples, &options, &Silent).unwrap();
    (samples.latent.index_axis(Axis(0), 0).to_owned(), evidence[0])
}

/// One mode at `shift` in m dimensions.
fn gaussian(slope: f64, shift: f64, m: usize) -> Shifts {
    Shifts { slope, variance: 0.5, modes: vec![(1.0, vec![shift; m])], coarse: None }
}

/// p(x|z) = ½ N(x; z, 2.25 I) + ½ N(x; z, I/9): given one observation a needle in a cloud, each of which has its own place and mass.
struct Needle {
    x: Vec<f64>,
}

impl Needle {
    const VARIANCES: [f64; 2] = [2.25, 1.0 / 9.0];

    /// log Σ ½ N(x; at, variances), and each component's share.
    fn components(&self, at: &[f64], variances: [f64; 2]) -> (f64, [f64; 2]) {
        let squares: f64 = self.x.iter().zip(at).map(|(x, z)| (x - z).powi(2)).sum();
        let log = |v: f64| -0.5 * (squares / v + at.len() as f64 * (std::f64::consts::TAU * v).ln()) - 2f64.ln();
        let logs = variances.map(log);
        let sum = log_sum_exp(&logs);
        (sum, logs.map(|log| (log - sum).exp()))
    }
}

impl Likelihood for Needle {
    type Context = ();
    type Workspace = ();

    fn dim_theta(&self) -> usize {
        self.x.len()
    }

    fn context(&self, _: ArrayView2<'_, f32>) -> tallsbi_inference::Result<()> {
        Ok(())
    }

    fn workspace(&self) {}

    fn evaluate(&self, (): &(), theta: &[f64], (): &mut (), local: &mut Local) {
        let m = self.x.len();
        local.resize(theta.len() / m, m);
        for (row, z) in theta.chunks(m).enumerate() {
            let (value, shares) = self.components(z, Self::VARIANCES);
            local.values[row] = value;
            let precision: f64 = shares.iter().zip(Self::VARIANCES).map(|(share, variance)| share / variance).sum();
            local.informations[row * m * m..][..m * m].fill(0.0);
            for (i, (x, z)) in self.x.iter().zip(z).enumerate() {
                local.gradients[row * m + i] = precision * (x - z);
                local.informations[(row * m + i) * m + i] = precision;
            }
        }
    }
}

/// No particle from the prior falls into the needle, or a lucky one does, and then its descendants are too many.
#[test]
fn a_needle_in_a_cloud_has_its_share_and_the_evidence() {
    for (seed, reach) in [(1, 0.7), (2, 0.9), (3, 1.1), (4, 0.8)] {
        let x: Vec<f64> = (0..10).map(|i| if i % 2 == 0 { reach } else { -reach }).collect();
        let likelihood = Needle { x: x.clone() };
        let (evidence, [_, share]) = likelihood.components(&[0.0; 10], Needle::VARIANCES.map(|v| 1.0 + v));
        let groups = [Array2::zeros((1, 1))];
        let groups = [groups[0].view()];
        let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(seed), covariances: None };
        let found = sample_tempered(&likelihood, &request, 1000, &TemperingOptions::default(), &Silent).unwrap();
        // The needle's draws are within about 1 of its centre, those of the cloud beyond 2.
        let needle: Vec<f64> = x.iter().map(|x| x / (1.0 + 1.0 / 9.0)).collect();
        let distance = |z: &[f64]| z.iter().zip(&needle).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let latent = found.0.latent.as_slice().unwrap();
        let inside = latent.chunks(10).filter(|z| distance(z) < 1.6).count() as f64 / 1000.0;
        assert!(share > 0.1, "{share}");
        assert!((inside - share).abs() < 0.1, "seed {seed}: {inside} of the draws in the needle, exactly {share}");
        assert!((found.1[0] - evidence).abs() < 0.05, "seed {seed}: {}, exactly {evidence}", found.1[0]);
    }
}

#[test]
fn a_conjugate_gaussian_posterior_and_its_evidence_are_exact() {
    for (m, n) in [(1, 1), (3, 30), (5, 10_000)] {
        // On a way of its own; along likelihoods nearby; along one so far away that the way is given up.
        for ways in [vec![], vec![(0.85, 0.2)], vec![(0.9, 0.3), (0.85, 0.2)], vec![(-3.0, -4.0)]] {
            // Three times as large everywhere, which the evidence must not show.
            let coarse = ways.into_iter().fold(None, |coarse, (slope, shift)| {
                Some(Box::new(Shifts { modes: vec![(3.0, vec![shift; m])], coarse, ..gaussian(slope, shift, m) }))
            });
            let likelihood = Shifts { coarse, ..gaussian(0.8, 0.1, m) };
            check_conjugate(&likelihood, m, n);
        }
    }
}

/// Moments and evidence of the posterior of `gaussian(0.8, 0.1, m)`.
fn check_conjugate(likelihood: &Shifts, m: usize, n: usize) {
    let name = format!("m = {m}, n = {n}, coarse {:?}", likelihood.coarse.as_ref().map(|coarse| coarse.slope));
    let x = Array2::from_shape_fn((n, m), |(_, i)| 0.9 - 0.6 * i as f32);
    let (z, evidence) = sample(likelihood, &x, 4000);
    let (precision, noise) = (n as f64 * 0.64 / 0.5 + 1.0, 0.5 / n as f64);
    let (mut expected_evidence, sd) = (0.0, precision.sqrt().recip());
    for i in 0..m {
        let shifted = f64::from(0.9 - 0.6 * i as f32) - 0.1;
        let mean = n as f64 * 0.8 / 0.5 * shifted / precision;
        let column = z.column(i);
        // Four standard errors of 4000 samples, doubled for what resampling correlates.
        let error = 4.0 * 2.0 / 4000.0f64.sqrt();
        assert!((column.mean().unwrap() - mean).abs() < error * sd, "{name}: mean {i}");
        assert!((column.std(1.0) / sd - 1.0).abs() < error / 2.0f64.sqrt(), "{name}: sd {i}");
        let spread = 0.64 + noise;
        expected_evidence -= 0.5 * (shifted * shifted / spread + (std::f64::consts::TAU * spread).ln());
    }
    assert!((evidence - expected_evidence).abs() < 0.02, "{name}: {evidence} {expected_evidence}");
}

#[test]
fn separated_modes_keep_their_weights() {
    // Both modes as far from the prior's centre: the posterior's weights are the likelihood's.
    let likelihood =
        Shifts { slope: 1.0, variance: 0.01, modes: vec![(0.3, vec![-1.5, 0.0]), (0.7, vec![1.5, 0.0])], coarse: None };
    let x = Array2::zeros((4, 2));
    let (z, _) = sample(&likelihood, &x, 4000);
    let share = z.column(0).iter().filter(|&&z| z > 0.0).count() as f64 / 4000.0;
    assert!((share - 0.3).abs() < 0.05, "{share}");
}

#[test]
fn the_number_of_threads_does_not_change_samples() {
    let likelihood = Shifts { slope: 1.0, variance: 1.0, modes: vec![(1.0, vec![0.0; 2])], coarse: None };
    let x = Array2::from_elem((8, 2), 0.5);
    let runs = [1, 2, 7].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| sample(&likelihood, &x, 200))
    });
    assert!(runs[0] == runs[1] && runs[1] == runs[2]);
}

/// A likelihood that is a number nowhere, or that only rounding tells from 0: no samples are better than wrong ones.
#[test]
fn what_cannot_be_reached_is_an_error() {
    /// NaN everywhere, or a needle that no particle hits.
    struct Hopeless(f64);
    impl Likelihood for Hopeless {
        type Context = ();
        type Workspace = ();
        fn dim_theta(&self) -> usize {
            1
        }
        fn context(&self, _: ArrayView2<'_, f32>) -> tallsbi_inference::Result<()> {
            Ok(())
        }
        fn workspace(&self) {}
        fn evaluate(&self, (): &(), theta: &[f64], (): &mut (), local: &mut Local) {
            local.resize(theta.len(), 1);
            local.values.iter_mut().zip(theta).for_each(|(value, z)| *value = self.0 * (z * 1e6).sin() * 1e6);
            local.gradients.fill(0.0);
            local.informations.fill(0.0);
        }
    }
    let x = Array2::zeros((2, 1));
    for scale in [f64::NAN, 1e6] {
        let one = [x.view()];
        let request = SampleRequest { groups: &one, first_group: 0, key: StreamKey::root(3), covariances: None };
        let options = TemperingOptions::default();
        let error = sample_tempered(&Hopeless(scale), &request, 100, &options, &Silent).unwrap_err().to_string();
        assert!(error.starts_with("the posterior cannot be sampled: "), "{error}");
        let two = [x.view(), x.view()];
        let request = SampleRequest { groups: &two, ..request };
        let (samples, _) = sample_tempered(&Hopeless(scale), &request, 100, &options, &Silent).unwrap();
        assert_eq!(samples.info.collapsed, 2);
    }
}
