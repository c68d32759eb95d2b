//! Refinement by the mean scores of a network that is wrong ends at the exact posterior, which the network's own is far from.

use ndarray::{Array2, ArrayView2, Axis};
use rand_distr::{Distribution, StandardNormal};
use tallsbi::data::Prior;
use tallsbi::inference::refine::By;
use tallsbi::inference::small_matrix::{cholesky, cholesky_inverse, dot};
use tallsbi::simulators::{Result, Rows};
use tallsbi::{
    Model, RefineFrom, RefineOptions, Refined, SampleOptions, Silent, StreamKey, Task, TrainOptions, refine, simulate,
    train,
};

/// x = A θ + noise N(0, 1), θ ~ N(0, 1) each; the last value is no less than 0 where that is `censored`.
struct Linear {
    prior: Prior,
    rows: Vec<Vec<f64>>,
    censored: bool,
}

impl Linear {
    fn new(rows: &[&[f64]], censored: bool) -> Self {
        let one = |i: usize| format!(r#"{{"name":"t{i}","dist":"normal","loc":0,"scale":1}}"#);
        let json = format!("[{}]", (0..rows[0].len()).map(one).collect::<Vec<_>>().join(","));
        let prior = Prior::from_json(&json).unwrap();
        Self { prior, rows: rows.iter().map(|row| row.to_vec()).collect(), censored }
    }
}

impl Task for Linear {
    fn name(&self) -> &str {
        "linear"
    }

    fn description(&self) -> &str {
        "Values that are linear in the parameters"
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        vec![String::new(); self.prior.dim()]
    }

    fn observation_names(&self) -> Vec<String> {
        (0..self.rows.len()).map(|i| format!("x{i}")).collect()
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        rows.check(self, x, valid)?;
        let last = self.rows.len() - 1;
        for (index, x) in x.chunks_exact_mut(self.rows.len()).enumerate() {
            let (i, k) = (index / rows.n_obs, index % rows.n_obs);
            let theta = rows.theta.row(i).to_vec();
            let mut rng = StreamKey::root(rows.words(i, k)[0]).rng(0);
            for (column, (x, row)) in x.iter_mut().zip(&self.rows).enumerate() {
                let noise: f64 = StandardNormal.sample(&mut rng);
                let value = dot(row, &theta) + noise;
                *x = (if self.censored && column == last { value.max(0.0) } else { value }) as f32;
            }
        }
        valid.fill(1);
        Ok(())
    }
}

/// A network that has hardly learned.
fn hasty(task: &dyn Task) -> Model {
    let simulations = simulate(task, 600, 1, 1, &Silent).unwrap();
    let mut options = TrainOptions::default();
    options.likelihood.members = 1;
    options.likelihood.hidden = vec![16];
    options.likelihood.optimizer.epochs = 6;
    train(&simulations, &options, 0, &Silent).unwrap()
}

fn observations(task: &dyn Task, theta: &[f32], n: usize) -> Array2<f32> {
    tallsbi::observe(task, theta, n, 3, &Silent).unwrap()
}

fn moments(theta: ArrayView2<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    (theta.mean_axis(Axis(0)).unwrap().to_vec(), theta.std_axis(Axis(0), 1.0).to_vec())
}

/// Distance from the exact mean in exact sd, and ratio of the sd, the farthest of all parameters.
fn apart(theta: ArrayView2<'_, f64>, (mean, sd): (&[f64], &[f64])) -> (f64, f64) {
    let (own, own_sd) = moments(theta);
    let shifts = own.iter().zip(mean).zip(sd).map(|((own, mean), sd)| (own - mean).abs() / sd);
    let widths = own_sd.iter().zip(sd).map(|(own, sd)| own / sd);
    (
        shifts.fold(0.0, f64::max),
        widths.fold(1.0, |far, ratio| if (ratio.ln()).abs() > f64::ln(far).abs() { ratio } else { far }),
    )
}

fn refined(task: &dyn Task, network: &Model, x: ArrayView2<'_, f32>) -> Refined {
    let options = RefineOptions { budget: Some(30_000), samples: 2000, ..RefineOptions::default() };
    let from = RefineFrom { base: Some(network), ..RefineFrom::default() };
    let refined = refine(task, x, from, &options, 0, &Silent).unwrap();
    assert!(refined.simulations <= 30_000);
    refined
}

fn sampled(model: &Model, x: ArrayView2<'_, f32>) -> Array2<f64> {
    let options = SampleOptions { samples: 2000, ..SampleOptions::default() };
    model.sample(x, &options, 1, &Silent).unwrap().theta
}

/// A third of the values are missing, and rows of one kind more often than others.
#[test]
fn with_missing_values_the_posterior_is_exact() {
    let task = Linear::new(&[&[1.0, 0.3], &[-0.5, 0.8], &[0.7, 0.7]], false);
    let mut x = observations(&task, &[0.8, -1.1], 60);
    for (row, column) in (0..60).filter(|row| row % 4 != 0).map(|row| (row, row % 3)) {
        x[[row, column]] = f32::NAN;
    }
    let (mut precision, mut sum) = (vec![1.0, 0.0, 0.0, 1.0], vec![0.0; 2]);
    for observation in x.outer_iter() {
        for (value, row) in observation.iter().zip(&task.rows).filter(|(value, _)| !value.is_nan()) {
            for a in 0..2 {
                sum[a] += row[a] * f64::from(*value);
                (0..2).for_each(|b| precision[a * 2 + b] += row[a] * row[b]);
            }
        }
    }
    assert!(cholesky(&mut precision, 2));
    let mut covariance = vec![0.0; 4];
    cholesky_inverse(&precision, 2, &mut covariance);
    let mean: Vec<f64> = (0..2).map(|a| dot(&covariance[a * 2..a * 2 + 2], &sum)).collect();
    let exact = (&mean[..], &[covariance[0].sqrt(), covariance[3].sqrt()][..]);

    let network = hasty(&task);
    let before = apart(sampled(&network, x.view()).view(), exact);
    assert!(before.0 > 0.5 || before.1 > 1.3, "the network is right already: {before:?}");
    let refined = refined(&task, &network, x.view());
    let (shift, width) = apart(refined.posterior.theta.view(), exact);
    assert!(shift < 0.2 && (0.9..1.15).contains(&width), "off by {shift} sd, {width} times as wide");

    // The model gives the same again, and not for observations of which other values are missing.
    let (shift, width) = apart(sampled(&refined.model, x.view()).view(), exact);
    assert!(shift < 0.2 && (0.9..1.15).contains(&width), "off by {shift} sd, {width} times as wide");
    let complete = observations(&task, &[0.8, -1.1], 60);
    let error = refined.model.sample(complete.view(), &SampleOptions::default(), 1, &Silent).unwrap_err();
    assert!(error.to_string().contains("miss other values"), "{error}");

    // Its density is that of its samples: the quadratic form of their covariance, at two standard deviations from the mean.
    let theta = Array2::from_shape_fn((2, 2), |(i, a)| exact.0[a] + if i == a { 2.0 * exact.1[a] } else { 0.0 });
    let centre = Array2::from_shape_fn((1, 2), |(_, a)| exact.0[a]);
    let log = |theta: &Array2<f64>| {
        refined.model.log_posterior(x.view(), theta.view(), &SampleOptions::default(), &Silent).unwrap()
    };
    for (a, value) in log(&theta).iter().enumerate() {
        let fall = log(&centre)[0] - value;
        // ½ (2 sd)² P_aa.
        let expected = 2.0 * covariance[a * 3] * inverse(&covariance)[a * 3];
        assert!((fall / expected - 1.0).abs() < 0.3, "parameter {a}: {fall} {expected}");
    }
    let error = refined.model.log_evidence(x.view(), &SampleOptions::default(), 0, &Silent).unwrap_err();
    assert!(error.to_string().contains("no density of the observations"), "{error}");
}

fn inverse(matrix: &[f64]) -> Vec<f64> {
    let mut factor = matrix.to_vec();
    assert!(cholesky(&mut factor, 2));
    let mut inverse = vec![0.0; 4];
    cholesky_inverse(&factor, 2, &mut inverse);
    inverse
}

/// A value that is 0 with a probability of its own.
#[test]
fn with_censored_values_the_posterior_is_nearly_exact() {
    let task = Linear::new(&[&[1.2]], true);
    let x = observations(&task, &[-0.4], 80);
    let zeros = x.iter().filter(|x| **x == 0.0).count() as f64;
    assert!((20.0..70.0).contains(&zeros));
    // By quadrature: Φ(-a θ) for each zero, a normal density for each other value.
    let log = |theta: f64| {
        let normal = |x: f32| -0.5 * (f64::from(x) - 1.2 * theta).powi(2);
        let others: f64 = x.iter().filter(|x| **x > 0.0).map(|&x| normal(x)).sum();
        others + zeros * statrs::function::erf::erfc(1.2 * theta / 2.0_f64.sqrt()).ln() - 0.5 * theta * theta
    };
    let grid: Vec<f64> = (0..4000).map(|i| -2.0 + 0.001 * f64::from(i)).collect();
    let top = grid.iter().map(|&theta| log(theta)).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = grid.iter().map(|&theta| (log(theta) - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mean = dot(&grid, &weights) / total;
    let square: f64 = grid.iter().zip(&weights).map(|(theta, weight)| weight * (theta - mean).powi(2)).sum();
    let exact = (&[mean][..], &[(square / total).sqrt()][..]);

    let network = hasty(&task);
    assert_eq!(network.trained().observation_map.atoms.first(), Some(0));
    let before = apart(sampled(&network, x.view()).view(), exact);
    assert!(before.0 > 0.5, "the network is right already: {before:?}");
    let refined = refined(&task, &network, x.view());
    // Its scores are of another form than the right ones, so that their mean tells a little less.
    let (shift, width) = apart(refined.posterior.theta.view(), exact);
    assert!(shift < 0.4 && (0.95..1.25).contains(&width), "off by {shift} sd, {width} times as wide");
}

/// What it needs is said before anything is simulated.
#[test]
fn what_mean_scores_cannot_do_is_refused() {
    let task = Linear::new(&[&[1.0], &[0.5]], false);
    let network = hasty(&task);
    let mut x = observations(&task, &[0.5], 12);
    x[[3, 1]] = f32::NAN;
    let said = |x: ArrayView2<'_, f32>, from: RefineFrom<'_>, by: By| {
        let options = RefineOptions { by, budget: Some(1), ..RefineOptions::default() };
        refine(&task, x, from, &options, 0, &Silent).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let base = Some(&network);
    let from = RefineFrom { base, ..RefineFrom::default() };
    assert!(
        said(x.view(), RefineFrom::default(), By::Auto).contains("missing values: only the mean scores of a network")
    );
    assert!(said(x.view(), from, By::Forms).contains("local likelihoods know nothing of missing values"));
    assert!(said(x.slice(ndarray::s![..9, ..]), from, By::Auto).contains("a mean of 9 observations is not Gaussian"));
    let simulations = simulate(&task, 5, 1, 1, &Silent).unwrap();
    let with = RefineFrom { simulations: Some(&simulations), ..from };
    assert!(said(x.view(), with, By::Scores).contains("leave them out"));
}
