//! Exact likelihoods: their gradients, their normalisation, their agreement with the simulators and exact posteriors.

mod support;

use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt;
use support::{built_in, observations, prior_draw};
use tallsbi_data::StreamKey;
use tallsbi_simulators::{LogLikelihood, TaskOptions, task, tasks};

/// Of the draws of priors.
const SEED: u64 = 11;

/// Tasks with a likelihood: all but the neural mass model.
fn known() -> impl Iterator<Item = &'static str> {
    tasks().into_iter().filter(|name| !name.starts_with("jrnmm"))
}

fn value(likelihood: &dyn LogLikelihood, theta: &[f64], x: ArrayView2<'_, f32>) -> f64 {
    likelihood.tall_log_likelihood_gradient(theta, x, &mut vec![0.0; theta.len()])
}

#[test]
fn every_task_but_the_neural_mass_model_has_a_likelihood() {
    for name in tasks() {
        assert_eq!(built_in(name).log_likelihood().is_some(), !name.starts_with("jrnmm"), "{name}");
    }
}

/// Gradients against central differences, at parameters near those that made the observations.
#[test]
fn gradients_match_finite_differences() {
    for name in known() {
        let task = built_in(name);
        let likelihood = task.log_likelihood().expect("has one");
        for draw in 0..5 {
            let theta = prior_draw(SEED, &*task, draw);
            let row = Array2::from_shape_vec((1, theta.len()), theta.clone()).expect("one row");
            let x = observations(&*task, row.view(), 3, draw).index_axis_move(Axis(0), 0);
            // Off the truth, where gradients are not near zero; two moons have mass only near it.
            let scale = if name == "two_moons" { 1.0 + 1e-3 } else { 1.02 };
            let theta: Vec<f64> = theta.iter().map(|v| v * scale).collect();
            let mut gradient = vec![0.0; theta.len()];
            let center = likelihood.tall_log_likelihood_gradient(&theta, x.view(), &mut gradient);
            assert!(center.is_finite(), "{name}: log-likelihood {center} at {theta:?}");
            for i in 0..theta.len() {
                let at = |factor: f64| {
                    let mut moved = theta.clone();
                    let step = 1e-4 * theta[i].abs().max(1e-2);
                    moved[i] += factor * step;
                    value(likelihood, &moved, x.view()) / step
                };
                // Fourth order.
                let difference = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / 12.0;
                let error = (difference - gradient[i]).abs();
                let tolerance = if matches!(name, "sir" | "lotka_volterra") { 1e-5 } else { 1e-6 };
                assert!(
                    error < tolerance * (1.0 + difference.abs() + center.abs()),
                    "{name} ∂{i}: {} vs {difference}",
                    gradient[i]
                );
            }
        }
    }
}

/// The tall likelihood is the sum over observations, gradient and all.
#[test]
fn tall_likelihood_is_the_sum() {
    for name in known() {
        let task = built_in(name);
        let likelihood = task.log_likelihood().expect("has one");
        let theta = prior_draw(SEED, &*task, 1);
        let row = Array2::from_shape_vec((1, theta.len()), theta.clone()).expect("one row");
        let x = observations(&*task, row.view(), 4, 0).index_axis_move(Axis(0), 0);
        let (mut tall, mut single) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
        let total = likelihood.tall_log_likelihood_gradient(&theta, x.view(), &mut tall);
        let mut sum = 0.0;
        let mut gradient = vec![0.0; theta.len()];
        for observation in x.outer_iter() {
            sum += likelihood.log_likelihood_gradient(&theta, &observation.to_vec(), &mut single);
            gradient.iter_mut().zip(&single).for_each(|(a, b)| *a += b);
        }
        assert!((total - sum).abs() < 1e-9 * sum.abs(), "{name}: {total} vs {sum}");
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9 * (1.0 + b.abs() + sum.abs());
        assert!(tall.iter().zip(&gradient).all(close), "{name}: {tall:?} vs {gradient:?}");
    }
}

/// Simulator and likelihood belong together: at the true θ the score has mean zero, and its covariance is the Fisher
/// information, which a finite difference of the expected score gives as well.
#[test]
fn simulations_follow_the_likelihood() {
    for name in known() {
        // Where the support moves with θ the second identity does not hold.
        let (n, second) = (10_000, name != "two_moons");
        let task = built_in(name);
        let likelihood = task.log_likelihood().expect("has one");
        for draw in [3, 4] {
            let theta = prior_draw(SEED, &*task, draw);
            let row = Array2::from_shape_vec((1, theta.len()), theta.clone()).expect("one row");
            let x = observations(&*task, row.view(), n, 100 + draw).index_axis_move(Axis(0), 0);
            let m = theta.len();
            let mut gradient = vec![0.0; m];
            likelihood.tall_log_likelihood_gradient(&theta, x.view(), &mut gradient);
            // Fisher information by the derivative of the expected score.
            let mut information = vec![0.0; m];
            let mut moved_gradient = vec![0.0; m];
            for i in 0..m {
                let step = 1e-4 * theta[i].abs().max(1e-2);
                let mut at = |sign: f64| {
                    let mut moved = theta.clone();
                    moved[i] += sign * step;
                    likelihood.tall_log_likelihood_gradient(&moved, x.view(), &mut moved_gradient);
                    moved_gradient[i]
                };
                information[i] = (at(-1.0) - at(1.0)) / (2.0 * step * n as f64);
            }
            if !second {
                continue;
            }
            for i in 0..m {
                let z = gradient[i] / (information[i] * n as f64).sqrt();
                assert!(z.abs() < 4.5, "{name}: score {i} is {z} standard errors from zero at {theta:?}");
            }
            // The variance of single scores, on a part of the observations where each solves an equation.
            let part = if matches!(name, "sir" | "lotka_volterra") { 1000 } else { n };
            let mut squares = vec![(0.0, 0.0); m];
            for observation in x.outer_iter().take(part) {
                likelihood.log_likelihood_gradient(&theta, &observation.to_vec(), &mut gradient);
                squares.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum = (sum.0 + g * g, sum.1 + g.powi(4)));
            }
            for i in 0..m {
                let mean = squares[i].0 / part as f64;
                let error = ((squares[i].1 / part as f64 - mean * mean) / part as f64).sqrt();
                let z = (mean - information[i]) / (error + 0.01 * information[i]);
                assert!(z.abs() < 4.5, "{name}: E[score {i}²] = {mean}, information {}", information[i]);
            }
        }
    }
}

/// Integral of the density over a box by Monte Carlo, for tasks of one observation in the plane.
#[test]
fn two_moons_density_integrates_to_one() {
    let task = built_in("two_moons");
    let likelihood = task.log_likelihood().expect("has one");
    let theta = [0.3, -0.5];
    // Midpoint rule around the crescent's centre.
    let (dx, dy) = (-(0.2 / 2f64.sqrt()) + 0.25, -0.8 / 2f64.sqrt());
    let (cells, half) = (800, 0.2);
    let width = 2.0 * half / f64::from(cells);
    let mut total = 0.0;
    for i in 0..cells {
        for j in 0..cells {
            let x = [dx - half + (f64::from(i) + 0.5) * width, dy - half + (f64::from(j) + 0.5) * width];
            total += likelihood.log_likelihood_gradient(&theta, &x.map(|v| v as f32), &mut [0.0; 2]).exp();
        }
    }
    assert!((total * width * width - 1.0).abs() < 5e-3, "{}", total * width * width);
}

/// SIR's counts at the first three times by full summation over all of them, one at a time.
#[test]
fn sir_counts_sum_to_one() {
    let task = built_in("sir");
    let likelihood = task.log_likelihood().expect("has one");
    let theta = [0.5, 0.125];
    let base = [0.0, 1.0, 100.0, 100.0, 20.0, 3.0, 0.0, 0.0, 0.0, 0.0f32];
    let mut gradient = [0.0; 2];
    let reference = likelihood.log_likelihood_gradient(&theta, &base, &mut gradient);
    for (time, fraction) in conditional_fractions(&theta).into_iter().enumerate().skip(1).take(4) {
        let (mut total, mut mean) = (0.0, 0.0);
        let mut x = base;
        for count in 0..=1000u16 {
            x[time] = f32::from(count);
            let p = (likelihood.log_likelihood_gradient(&theta, &x, &mut gradient) - reference).exp();
            total += p;
            mean += p * f64::from(count);
        }
        assert!(
            (mean / total / 1000.0 - fraction).abs() < 1e-6,
            "day {}: {} vs {fraction}",
            17 * time,
            mean / total / 1000.0
        );
    }
    x_outside_support(likelihood);
}

fn x_outside_support(likelihood: &dyn LogLikelihood) {
    let mut gradient = [1.0; 2];
    let value = likelihood.log_likelihood_gradient(&[0.5, 0.125], &[1001.0f32; 10], &mut gradient);
    assert_eq!((value, gradient), (f64::NEG_INFINITY, [0.0; 2]));
}

/// Infected fractions by an independent method: classical Runge–Kutta with steps of 1/100 day.
fn conditional_fractions(theta: &[f64; 2]) -> Vec<f64> {
    let f = |y: [f64; 2]| [-theta[0] * y[0] * y[1] / 1e6, theta[0] * y[0] * y[1] / 1e6 - theta[1] * y[1]];
    let add = |y: [f64; 2], k: [f64; 2], h: f64| [y[0] + h * k[0], y[1] + h * k[1]];
    let mut y = [1e6 - 1.0, 1.0];
    let h = 0.01;
    let mut fractions = vec![y[1] / 1e6];
    for step in 1..=15_300 {
        let k1 = f(y);
        let k2 = f(add(y, k1, h / 2.0));
        let k3 = f(add(y, k2, h / 2.0));
        let k4 = f(add(y, k3, h));
        y = std::array::from_fn(|i| y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]));
        if step % 1700 == 0 {
            fractions.push(y[1] / 1e6);
        }
    }
    fractions
}

/// Gaussian likelihoods against the textbook formula with the constants of the paper.
#[test]
fn gaussian_likelihoods_match_the_formula() {
    let mut rng = StreamKey::root(5).rng(0);
    let theta: Vec<f64> = (0..10).map(|_| rng.random::<f64>() - 0.5).collect();
    let x: Vec<f32> = (0..10).map(|_| (rng.random::<f64>() - 0.5) as f32).collect();
    let residual: Vec<f64> = x.iter().zip(&theta).map(|(a, b)| f64::from(*a) - b).collect();
    let diagonal = |variance: &dyn Fn(usize) -> f64| -> f64 {
        residual
            .iter()
            .enumerate()
            .map(|(i, r)| -0.5 * (r * r / variance(i) + (std::f64::consts::TAU * variance(i)).ln()))
            .sum()
    };
    let linear = |i: usize| 0.6 + 0.8 * i as f64 / 9.0;
    let mixture = |a: f64, b: f64| (0.5 * a.exp() + 0.5 * b.exp()).ln();
    // (1-ρ) I + ρ 1 1ᵀ has the eigenvalue 1 + 9 ρ on 1 and 1 - ρ elsewhere.
    let (square, sum) = (residual.iter().map(|r| r * r).sum::<f64>(), residual.iter().sum::<f64>());
    let along = sum * sum / 10.0;
    let toy = -0.5 * ((square - along) / 0.2 + along / 8.2)
        - 0.5 * (9.0 * 0.2f64.ln() + 8.2f64.ln())
        - 5.0 * std::f64::consts::TAU.ln();
    let expected = [
        ("gaussian_toy", toy),
        ("gaussian_linear", diagonal(&linear)),
        ("gmm_toy", mixture(diagonal(&|i| 2.25 * linear(i)), diagonal(&|i| linear(i) / 9.0))),
        ("gaussian_mixture", mixture(diagonal(&|_| 2.25 * 2.25), diagonal(&|_| 1.0 / 81.0))),
        ("gaussian_mixture_uniform", mixture(diagonal(&|_| 2.25 * 2.25), diagonal(&|_| 1.0 / 81.0))),
    ];
    for (name, expected) in expected {
        let task = built_in(name);
        let likelihood = task.log_likelihood().expect("has one");
        let value = likelihood.log_likelihood_gradient(&theta, &x, &mut [0.0; 10]);
        assert!((value - expected).abs() < 1e-10 * expected.abs().max(1.0), "{name}: {value} vs {expected}");
    }
}

/// The exact tall posterior: its log-density differs from prior times likelihoods by a constant.
#[test]
fn exact_posteriors_are_prior_times_likelihood() {
    for name in ["gaussian_toy", "gaussian_linear", "gmm_toy", "gaussian_mixture"] {
        let task = task(name, &TaskOptions::default()).expect("built in");
        let likelihood = task.log_likelihood().expect("has one");
        let n_obs = if task.exact_posterior(Array2::zeros((1, 10)).view()).is_some() { 7 } else { 1 };
        let truth = Array2::from_shape_vec((1, 10), prior_draw(SEED, &*task, 2)).expect("one row");
        let x = observations(&*task, truth.view(), n_obs, 0).index_axis_move(Axis(0), 0);
        let log_posterior = |theta: &[f64]| {
            let (weights, components) = match task.exact_posterior(x.view()) {
                Some(posterior) => (vec![1.0], vec![posterior]),
                None => {
                    let mixture = task.single_posterior(&x.row(0).to_vec()).expect("has one");
                    (mixture.weights, mixture.components)
                }
            };
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            weights
                .iter()
                .zip(&components)
                .map(|(w, c)| {
                    let names = task.prior().names().to_vec();
                    let component = tallsbi_data::Component::MultivariateNormal {
                        names,
                        loc: c.mean.clone(),
                        covariance: c.covariance.clone(),
                    };
                    w * tallsbi_data::Prior::new(vec![component]).expect("a proper covariance").log_density(theta).exp()
                })
                .sum::<f64>()
                .ln()
        };
        let offsets: Vec<f64> = (0..20)
            .map(|draw| {
                let jitter = prior_draw(SEED, &*task, 50 + draw);
                let theta: Vec<f64> = truth.iter().zip(&jitter).map(|(t, j)| t + 0.1 * j).collect();
                task.prior().log_density(&theta) + value(likelihood, &theta, x.view()) - log_posterior(&theta)
            })
            .collect();
        let spread = offsets.iter().map(|o| (o - offsets[0]).abs()).fold(0.0, f64::max);
        assert!(spread < 1e-8 * offsets[0].abs().max(1.0), "{name}: evidence varies by {spread}: {offsets:?}");
    }
}

/// Two moons at the crescent's middle: N(r; 0.1, 0.01²)/(π r) one deviation outside its centre line.
#[test]
fn two_moons_density_matches_the_formula() {
    let task = built_in("two_moons");
    let likelihood = task.log_likelihood().expect("has one");
    let theta = [0.5, 0.25];
    let root = 2f64.sqrt();
    let (radius, angle) = (0.11, 0.7f64);
    let x = [radius * angle.cos() + 0.25 - 0.75 / root, radius * angle.sin() - 0.25 / root];
    let value = likelihood.log_likelihood_gradient(&theta, &x.map(|v| v as f32), &mut [0.0; 2]);
    let pi = std::f64::consts::PI;
    let expected = ((-0.5f64).exp() / ((2.0 * pi).sqrt() * 0.01 * pi * radius)).ln();
    // Single precision moves x by 10⁻⁸, 10⁻⁶ deviations.
    assert!((value - expected).abs() < 1e-5, "{value} vs {expected}");
}

/// Before the dynamics set in the observations are log-normal around (30, 1) with deviation 0.1.
#[test]
fn lotka_volterra_starts_where_it_should() {
    let task = built_in("lotka_volterra");
    let row = Array2::from_shape_vec((1, 4), prior_draw(SEED, &*task, 0)).expect("one row");
    let n = 20_000;
    let x = observations(&*task, row.view(), n, 1).index_axis_move(Axis(0), 0);
    for (column, expected) in [(0, 30f64.ln()), (10, 0.0)] {
        let logs: Vec<f64> = x.column(column).iter().map(|v| f64::from(*v).ln()).collect();
        let mean = logs.iter().sum::<f64>() / n as f64;
        let sd = (logs.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        assert!((mean - expected).abs() < 4.5 * 0.1 / (n as f64).sqrt(), "mean {mean}, expected {expected}");
        assert!((sd / 0.1 - 1.0).abs() < 4.5 / (2.0 * n as f64).sqrt(), "deviation {sd}");
    }
}
