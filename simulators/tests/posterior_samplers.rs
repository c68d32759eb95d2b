//! Symmetries, likelihoods of fixed observations, and samplers made for their model.

mod support;

use ndarray::{Array2, ArrayView2, Axis};
use support::{built_in, observations, prior_draw};
use tallsbi_data::StreamKey;
use tallsbi_simulators::{Task, TaskOptions, task, tasks};

/// Of the draws of priors.
const SEED: u64 = 21;

/// n observations at a prior draw, with the draw.
fn pair(task: &dyn Task, n: usize, index: u64) -> (Vec<f64>, Array2<f32>) {
    let theta = prior_draw(SEED, task, index);
    let row = Array2::from_shape_vec((1, theta.len()), theta.clone()).expect("one row");
    let x = observations(task, row.view(), n, index).index_axis_move(Axis(0), 0);
    (theta, x)
}

fn log_posterior(task: &dyn Task, theta: &[f64], x: ArrayView2<'_, f32>) -> f64 {
    let likelihood = task.log_likelihood().expect("has one");
    task.prior().log_density(theta) + likelihood.tall_log_likelihood_gradient(theta, x, &mut vec![0.0; theta.len()])
}

#[test]
fn symmetries_leave_prior_and_likelihood() {
    let mut seen = Vec::new();
    for name in tasks() {
        let task = built_in(name);
        let symmetry = task.symmetry();
        if symmetry.order() > 1 {
            seen.push((name, symmetry.order()));
        }
        for index in 0..if symmetry.order() > 1 { 5 } else { 0 } {
            let (theta, x) = pair(&*task, 3, index);
            let expected = log_posterior(&*task, &theta, x.view());
            assert!(expected.is_finite());
            for element in symmetry.elements() {
                let mut image = theta.clone();
                element.apply(&theta, &mut image);
                let value = log_posterior(&*task, &image, x.view());
                assert!((value - expected).abs() < 1e-9 * expected.abs().max(1.0), "{name}: {value} vs {expected}");
            }
        }
    }
    assert_eq!(seen, [("slcp", 4), ("two_moons", 2)]);
    // θ1 fixed leaves the signs of θ3 and θ4; θ3 fixed leaves that of θ4.
    for (fixed, order) in [("theta_1", 4), ("theta_3", 2)] {
        let options = TaskOptions { fix: vec![(fixed.into(), 1.0)], ..Default::default() };
        assert_eq!(task("slcp", &options).expect("built in").symmetry().order(), order, "{fixed}");
    }
}

/// The likelihood of all observations at once is the sum of the single ones, with its gradient.
#[test]
fn likelihoods_add_up() {
    for name in tasks() {
        let task = built_in(name);
        let Some(likelihood) = task.log_likelihood() else { continue };
        let (theta, x) = pair(&*task, 6, 1);
        let (mut gradient, mut single) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
        let (mut expected, mut expected_gradient) = (0.0, vec![0.0; theta.len()]);
        for row in x.outer_iter() {
            expected += likelihood.log_likelihood_gradient(&theta, &row.to_vec(), &mut single);
            expected_gradient.iter_mut().zip(&single).for_each(|(sum, term)| *sum += term);
        }
        let scale = expected_gradient.iter().fold(expected.abs().max(1.0), |a, b| a.max(b.abs()));
        let check = |value: f64, gradient: &[f64], what: &str| {
            assert!((value - expected).abs() < 1e-9 * scale, "{name}, {what}: {value} vs {expected}");
            for (found, expected) in gradient.iter().zip(&expected_gradient) {
                assert!((found - expected).abs() < 1e-9 * scale, "{name}, {what}: {found} vs {expected}");
            }
        };
        check(likelihood.tall_log_likelihood_gradient(&theta, x.view(), &mut gradient), &gradient, "all rows");
        check(likelihood.given(x.view()).log_likelihood_gradient(&theta, &mut gradient), &gradient, "given");
    }
}

/// Simulation-based calibration: the rank of the true parameters among draws is uniform. Draws are exact, or of a chain after
/// `discard` sweeps; χ² over 10 bins of every parameter.
fn calibrate(name: &str, n: usize, discard: usize) {
    const PAIRS: u64 = 400;
    const DRAWS: usize = 19;
    let task = built_in(name);
    let m = task.prior().dim();
    let mut counts = vec![[0.0f64; 10]; m];
    for index in 0..PAIRS {
        let (theta, x) = pair(&*task, n, 1000 + index);
        let sampler = task.posterior_sampler(x.view()).expect("possible").expect("has one");
        assert_eq!(sampler.independent(), discard == 0, "{name}, n = {n}");
        let mut chain = sampler.chain(StreamKey::root(5).rng(index));
        let mut draw = vec![0.0; m];
        (0..discard).for_each(|_| chain(&mut draw));
        let mut below = vec![0; m];
        for _ in 0..DRAWS {
            (0..if discard > 0 { 3 } else { 1 }).for_each(|_| chain(&mut draw));
            below.iter_mut().zip(&draw).zip(&theta).for_each(|((count, d), t)| *count += usize::from(d < t));
        }
        counts.iter_mut().zip(&below).for_each(|(counts, rank)| counts[rank / 2] += 1.0);
    }
    for (i, counts) in counts.iter().enumerate() {
        let expected = PAIRS as f64 / 10.0;
        let chi_squared: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        // 9 degrees of freedom: exceeded once in 20 000.
        assert!(chi_squared < 36.0, "{name}, n = {n}, parameter {i}: χ² = {chi_squared}, {counts:?}");
    }
}

#[test]
fn samplers_are_calibrated() {
    for (name, n, discard) in [
        ("gaussian_toy", 3, 0),
        ("gmm_toy", 1, 0),
        ("gmm_toy", 3, 0),
        ("gaussian_mixture", 2, 0),
        ("gaussian_mixture", 20, 20),
        ("gaussian_mixture_uniform", 2, 0),
        ("two_moons", 1, 0),
        ("two_moons", 10, 0),
    ] {
        calibrate(name, n, discard);
    }
}

/// In one dimension the posterior's distribution function is a sum over a grid: components and assignments have their right
/// weights, to finer than calibration sees.
#[test]
fn mixture_draws_follow_the_density() {
    // Exact draws, and those of the Gibbs sampler, of which one in five is kept.
    for (n, draws, thinning, index) in [(1, 100_000, 1, 0), (3, 100_000, 1, 1), (20, 20_000, 5, 2)] {
        let options = TaskOptions { dimension: Some(1), ..Default::default() };
        let task = task("gmm_toy", &options).expect("built in");
        let (_, x) = pair(&*task, n, index);
        let point = |k: usize| (k as f64 - 10_000.0) * 6e-4;
        let logs: Vec<f64> = (0..=20_000).map(|k| log_posterior(&*task, &[point(k)], x.view())).collect();
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut below: Vec<f64> = logs
            .iter()
            .scan(0.0, |sum, log| {
                *sum += (log - highest).exp();
                Some(*sum)
            })
            .collect();
        let all = below[20_000];
        below.iter_mut().for_each(|value| *value /= all);
        let sampler = task.posterior_sampler(x.view()).expect("possible").expect("has one");
        assert_eq!(sampler.independent(), n <= 16);
        let mut chain = sampler.chain(StreamKey::root(8).rng(0));
        let mut theta = [0.0];
        let mut sample: Vec<f64> = (0..draws)
            .map(|_| {
                (0..thinning).for_each(|_| chain(&mut theta));
                theta[0]
            })
            .collect();
        sample.sort_by(f64::total_cmp);
        let distance = sample
            .iter()
            .enumerate()
            .map(|(rank, value)| {
                let k = ((value / 6e-4 + 10_000.0).round() as usize).min(20_000);
                (below[k] - (rank as f64 + 0.5) / draws as f64).abs()
            })
            .fold(0.0, f64::max);
        // Kolmogorov's distance of independent draws exceeds this once in 5000; the grid errs by less than a tenth of it.
        let limit = 2.15 / (draws as f64).sqrt();
        assert!(distance < limit, "n = {n}: {distance} > {limit}");
    }
}

/// Both crescents of two moons get half of the draws, far apart as they are.
#[test]
fn two_moons_draws_meet_both_modes_and_the_prior() {
    let task = built_in("two_moons");
    let (_, x) = pair(&*task, 30, 7);
    let sampler = task.posterior_sampler(x.view()).expect("possible").expect("has one");
    let mut chain = sampler.chain(StreamKey::root(1).rng(0));
    let (mut positive, mut theta) = (0, [0.0; 2]);
    for _ in 0..2000 {
        chain(&mut theta);
        assert!(theta.iter().all(|value| value.abs() <= 1.0));
        assert!(log_posterior(&*task, &theta, x.view()).is_finite());
        positive += i32::from(theta[0] + theta[1] > 0.0);
    }
    // Standard deviation 22.
    assert!((positive - 1000).abs() < 100, "{positive} of 2000");
}

#[test]
fn observations_are_checked() {
    let task = built_in("two_moons");
    let error = |x: Array2<f32>| match task.posterior_sampler(x.view()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error(Array2::zeros((1, 3))).contains("2 values, got 3"));
    assert!(error(Array2::zeros((0, 2))).contains("list of observations"));
    assert!(error(Array2::from_elem((2, 2), f32::NAN)).contains("observation 0"));
    // Left of every crescent that the prior can make.
    let apart = Array2::from_elem((2, 2), -2.0);
    assert!(error(apart).contains("no parameters explain"));
}
