//! Modes of posteriors, their curvature there, and slices through them, against an exact Gaussian.

use crate::testing::gaussian_linear;
use crate::{Model, SampleOptions, Silent, observe};
use ndarray::Array2;
use std::f64::consts::TAU;

/// A small network of a task whose posterior is Gaussian with independent coordinates, 30 observations, and mean and standard deviations of that posterior.
fn prepared() -> (Model, Array2<f32>, Vec<f64>, Vec<f64>) {
    let (task, model) = gaussian_linear();
    let x = observe(&*task, &[0.1; 10], 30, 0, &Silent).unwrap();
    let exact = task.exact_posterior(x.view()).unwrap();
    (model, x, exact.mean, (0..10).map(|i| exact.covariance[i][i].sqrt()).collect())
}

/// Mode, curvature and slices are those of the exact Gaussian, of which coordinates are independent.
#[test]
fn modes_and_slices_are_those_of_the_exact_posterior() {
    let (model, x, mean, sd) = prepared();
    let options = SampleOptions::default();
    let samples = model.sample(x.view(), &options, 0, &Silent).unwrap().theta;
    let mode = model.mode(x.view(), samples.view(), &options, &Silent).unwrap();
    let best = model.log_posterior(x.view(), samples.view(), &options, &Silent).unwrap();
    assert!(best.iter().all(|value| *value <= mode.log_posterior));
    // A fifth of a standard deviation away it is less dense, whichever way.
    let moved =
        |row: usize, i: usize| if row % 10 == i { if row < 10 { 0.2 * sd[i] } else { -0.2 * sd[i] } } else { 0.0 };
    let moved = Array2::from_shape_fn((20, 10), |(row, i)| mode.theta[i] + moved(row, i));
    let around = model.log_posterior(x.view(), moved.view(), &options, &Silent).unwrap();
    assert!(around.iter().all(|value| *value < mode.log_posterior), "{around:?} {}", mode.log_posterior);
    let laplace = model.laplace(x.view(), &mode, &options, &Silent).unwrap();
    for i in 0..10 {
        assert!((mode.theta[i] - mean[i]).abs() < 0.5 * sd[i], "{i}: {} for {}", mode.theta[i], mean[i]);
        assert!((laplace.sd()[i] / sd[i] - 1.0).abs() < 0.15, "{i}: {} for {}", laplace.sd()[i], sd[i]);
    }
    let product = laplace.hessian.dot(&laplace.covariance);
    assert!((&product - &Array2::<f64>::eye(10)).iter().all(|difference| difference.abs() < 1e-8));

    let around = |i: usize, count: u32| -> Vec<f64> {
        (0..count).map(|k| mode.theta[i] + sd[i] * (8.0 * f64::from(k) / f64::from(count - 1) - 4.0)).collect()
    };
    let one = model.conditional(x.view(), &mode.theta, &[(3, around(3, 81))], &options, &Silent).unwrap();
    assert_eq!((one.density.dim(), &one.parameters), ((81, 1), &vec![3]));
    let peak = one.density[[40, 0]] * sd[3] * TAU.sqrt();
    assert!((peak - 1.0).abs() < 0.15, "{peak}");
    let two = [(3, around(3, 31)), (0, around(0, 41))];
    let two = model.conditional(x.view(), &mode.theta, &two, &options, &Silent).unwrap();
    assert_eq!(two.density.dim(), (31, 41));
    let peak = two.density[[15, 20]] * sd[3] * sd[0] * TAU;
    assert!((peak - 1.0).abs() < 0.2, "{peak}");
    // The first parameter's values are the rows.
    let falls = |i: usize, j: usize| two.density[[15, 20]] / two.density[[i, j]];
    assert!((falls(21, 20).ln() - 0.5 * 1.6f64.powi(2)).abs() < 0.4 && (falls(15, 25).ln() - 0.5).abs() < 0.2);
}

#[test]
fn what_has_no_slice_is_refused() {
    let (model, x, mean, _) = prepared();
    let options = SampleOptions::default();
    let of = |at: &[f64], free: &[(usize, Vec<f64>)]| {
        model.conditional(x.view(), at, free, &options, &Silent).unwrap_err().to_string()
    };
    let grid = vec![0.0, 0.1];
    for (at, free) in [
        (&mean[..9], vec![(0, grid.clone())]),
        (&mean, vec![]),
        (&mean, vec![(0, grid.clone()), (0, grid.clone())]),
        (&mean, vec![(10, grid.clone())]),
        (&mean, vec![(0, vec![0.0])]),
    ] {
        let message = of(at, &free);
        assert!(message.contains("values of 10 parameters, one or two of them"), "{message}");
    }
    assert!(model.mode(x.view(), Array2::zeros((0, 10)).view(), &options, &Silent).is_err());
}
