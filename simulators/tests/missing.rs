//! Likelihoods that integrate over missing values: what they integrate, which tasks do, and that others refuse.

mod support;

use ndarray::{Array2, ArrayView2, Axis};
use support::{built_in, observations, prior_draw};
use tallsbi_simulators::{Task, TaskOptions, task};

const TASKS: [&str; 3] = ["sir", "lotka_volterra", "ornstein_uhlenbeck"];

/// Parameters, and three observations at them.
fn drawn(task: &dyn Task) -> (Vec<f64>, Array2<f32>) {
    let theta = prior_draw(3, task, 0);
    let row = Array2::from_shape_vec((1, theta.len()), theta.clone()).expect("one row");
    let x = observations(task, row.view(), 3, 0).index_axis_move(Axis(0), 0);
    (theta, x)
}

/// log p and its gradient.
fn evaluated(task: &dyn Task, theta: &[f64], x: ArrayView2<'_, f32>) -> (f64, Vec<f64>) {
    let mut gradient = vec![0.0; theta.len()];
    let value = task.log_likelihood().expect("has one").given(x).log_likelihood_gradient(theta, &mut gradient);
    (value, gradient)
}

/// All values that a missing one may have had, equally far apart and exact in single precision, and how far.
fn possible(name: &str, value: f32) -> (Vec<f32>, f64) {
    match name {
        "sir" => ((0..=1000u16).map(f32::from).collect(), 1.0),
        // A fiftieth of the value at most, five times narrower than the noise.
        "lotka_volterra" => {
            let step = (0.02 * value).log2().floor().exp2();
            ((1..400u16).map(|i| step * f32::from(i)).collect(), f64::from(step))
        }
        _ => ((-800..=800i16).map(|i| f32::from(i) / 64.0).collect(), 1.0 / 64.0),
    }
}

/// p(seen) = ∫ p(seen, missing) d missing for each value of an observation, by sums over all counts and by the trapezoidal rule, whose error is
/// beyond all powers of the step for such densities; ∇ log p(seen) is the mean of ∇ log p(seen, missing) under that integrand.
#[test]
fn missing_values_are_integrated_over() {
    for name in TASKS {
        let task = built_in(name);
        let (theta, mut x) = drawn(&*task);
        // Others may be missing too, neighbours and the first among them.
        x.row_mut(1)[0] = f32::NAN;
        x.row_mut(1)[4] = f32::NAN;
        for column in [0, 3, 4, 5, task.dim_x() - 1] {
            for row in [0, 1].into_iter().filter(|&row| !x[(row, column)].is_nan()) {
                let (values, step) = possible(name, x[(row, column)]);
                let (mut full, mut terms) = (x.clone(), Vec::new());
                for value in values {
                    full[(row, column)] = value;
                    terms.push(evaluated(&*task, &theta, full.view()));
                }
                let largest = terms.iter().map(|(log, _)| *log).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = terms.iter().map(|(log, _)| (log - largest).exp()).sum();
                full[(row, column)] = f32::NAN;
                let (found, gradient) = evaluated(&*task, &theta, full.view());
                let expected = largest + (total * step).ln();
                assert!(
                    (found - expected).abs() < 1e-7 * expected.abs().max(1.0),
                    "{name} {row} {column}: {found} for {expected}"
                );
                for (i, slope) in gradient.iter().enumerate() {
                    let mean: f64 = terms.iter().map(|(log, g)| (log - largest).exp() / total * g[i]).sum();
                    let error = (slope - mean).abs();
                    assert!(
                        error < 1e-7 * (1.0 + mean.abs() + found.abs()),
                        "{name} {row} {column} ∂{i}: {slope} for {mean}"
                    );
                }
            }
        }
    }
}

/// An observation without any value tells nothing.
#[test]
fn wholly_missing_observations_are_left_out() {
    for name in TASKS {
        let task = built_in(name);
        let (theta, x) = drawn(&*task);
        let mut with = x.clone();
        with.row_mut(2).fill(f32::NAN);
        assert_eq!(
            evaluated(&*task, &theta, with.view()),
            evaluated(&*task, &theta, x.slice(ndarray::s![..2, ..])),
            "{name}"
        );
        with.fill(f32::NAN);
        let nothing = evaluated(&*task, &theta, with.view());
        assert_eq!((nothing.0, nothing.1.iter().all(|slope| *slope == 0.0)), (0.0, true), "{name}");
    }
}

#[test]
fn posteriors_given_missing_values_are_refused_where_they_would_be_wrong() {
    let check = |name: &str, options: TaskOptions| {
        let task = task(name, &options).expect("valid");
        let mut x = drawn(&*built_in(name)).1;
        x[(1, 0)] = f32::NAN;
        task.posterior_sampler(x.view()).map(|_| ()).map_err(|error| error.to_string())
    };
    for name in TASKS {
        check(name, TaskOptions::default()).expect("integrated over");
    }
    let fix = vec![("beta".to_owned(), 0.06)];
    check("lotka_volterra", TaskOptions { fix, ..TaskOptions::default() }).expect("integrated over");
    for name in ["slcp", "gaussian_linear", "g_and_k", "drift_diffusion"] {
        let message = check(name, TaskOptions::default()).expect_err("no integral");
        assert!(message.contains("observation 1 has NaN"), "{name}: {message}");
    }
}
