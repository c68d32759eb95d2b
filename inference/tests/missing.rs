//! Missing values: marginal likelihoods against integrals, posteriors against the closed form.

mod forms;

use forms::{Case, GAUSSIAN, NAN, THETA, cases, evaluate, spec, summed, with_gaps};
use ndarray::{Array2, ArrayView2, Axis, arr2};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Silent, StreamKey, Symmetry};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::{LikelihoodModel, ObservationMap};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::small_matrix::{cholesky, cholesky_inverse, cholesky_solve};
use tallsbi_inference::tempering::{Likelihood, TemperingOptions, sample_tempered};
use tallsbi_network::Mlp;

impl Case {
    fn value(&self, row: &[f32]) -> f64 {
        let x = ArrayView2::from_shape((1, row.len()), row).unwrap();
        evaluate(&self.model, x, &THETA).values[0]
    }
}

#[test]
fn marginals_are_sums_and_integrals() {
    for (index, case) in cases().iter().enumerate() {
        let d = case.row.len();
        for column in 0..d {
            // Nothing else missing, and another value if one is left then.
            for other in (0..d).filter(|&other| other == column || d > 2) {
                let mut row = case.row.clone();
                if other != column {
                    row[other] = NAN;
                }
                let expected = summed(&case.map, &row, column, |row| case.value(row));
                row[column] = NAN;
                let found = case.value(&row);
                assert!((found - expected).abs() < 1e-5, "case {index}, {column} {other}: {found} {expected}");
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences_and_sums_those_of_single_observations() {
    for (case, Case { model, row, .. }) in cases().iter().enumerate() {
        let x = with_gaps(row);
        let all = evaluate(model, x.view(), &THETA);
        let each = |k: usize| evaluate(model, x.slice(ndarray::s![k..=k, ..]), &THETA).values[0];
        let sum: f64 = (0..5).map(each).sum();
        assert!((all.values[0] - sum).abs() < 1e-9 * sum.abs(), "case {case}: {} {sum}", all.values[0]);
        let h = 0.01;
        for i in 0..2 {
            let at = |shift: f64| {
                let mut theta = THETA;
                theta[i] += shift;
                evaluate(model, x.view(), &theta).values[0]
            };
            let (numeric, exact) = ((at(h) - at(-h)) / (2.0 * h), all.gradients[i]);
            assert!((numeric - exact).abs() < 2e-3 * exact.abs().max(1.0), "case {case}, {i}: {numeric} {exact}");
        }
    }
}

/// μ = A z, Lᵀ's rows as they are for all z.
const A: [[f64; 2]; 3] = [[0.8, 0.1], [-0.4, 0.9], [0.5, 0.5]];
const L: [[f64; 3]; 3] = [[1.2, 0.0, 0.0], [-0.9, 1.5, 0.0], [0.7, -1.1, 0.9]];

fn linear() -> LikelihoodModel {
    let spec = spec(GAUSSIAN, Vec::new());
    let mut parameters = vec![0.0f32; spec.parameter_count()];
    let outputs = spec.output;
    for (i, row) in A.iter().enumerate() {
        row.iter().enumerate().for_each(|(j, &value)| parameters[2 * i + j] = value as f32);
    }
    let mut at = 2 * outputs + 3;
    for (i, row) in L.iter().enumerate() {
        for (k, &value) in row[..=i].iter().enumerate() {
            parameters[at] = if k == i { value.ln() } else { value } as f32;
            at += 1;
        }
    }
    let network = Mlp::from_parameters(spec, parameters).unwrap();
    let map = ObservationMap::standardize(vec![0.0; 3], vec![1.0; 3]);
    LikelihoodModel::new(&[network], GAUSSIAN, Symmetry::none(2), map)
}

/// Mean and covariance of the posterior given the values of x that are there: Σ_OO inverted for each row.
fn exact(x: &Array2<f32>) -> ([f64; 2], [f64; 4]) {
    let mut precision: Vec<f64> = (0..9).map(|e| (0..3).map(|k| L[e / 3][k] * L[e % 3][k]).sum()).collect();
    let mut covariance = vec![0.0; 9];
    assert!(cholesky(&mut precision, 3));
    cholesky_inverse(&precision, 3, &mut covariance);
    let (mut lambda, mut eta) = (vec![1.0, 0.0, 0.0, 1.0], [0.0; 2]);
    for row in x.outer_iter() {
        let seen: Vec<usize> = (0..3).filter(|&i| !row[i].is_nan()).collect();
        let mut own: Vec<f64> =
            seen.iter().flat_map(|&i| seen.iter().map(move |&j| (i, j))).map(|(i, j)| covariance[3 * i + j]).collect();
        assert!(cholesky(&mut own, seen.len()));
        for a in 0..2 {
            let mut column: Vec<f64> = seen.iter().map(|&i| A[i][a]).collect();
            cholesky_solve(&own, &mut column);
            for (&i, weight) in seen.iter().zip(&column) {
                eta[a] += weight * f64::from(row[i]);
                (0..2).for_each(|b| lambda[2 * a + b] += weight * A[i][b]);
            }
        }
    }
    assert!(cholesky(&mut lambda, 2));
    let mut out = vec![0.0; 4];
    cholesky_inverse(&lambda, 2, &mut out);
    cholesky_solve(&lambda, &mut eta);
    (eta, [out[0], out[1], out[2], out[3]])
}

fn sample(x: &Array2<f32>) -> Array2<f64> {
    let groups = [x.view()];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(3), covariances: None };
    let (samples, _) = sample_tempered(&linear(), &request, 8000, &TemperingOptions::default(), &Silent).unwrap();
    samples.latent.index_axis(Axis(0), 0).to_owned()
}

/// Three in ten values missing; and a column of which nothing is known.
#[test]
fn posteriors_are_those_of_the_observed_values() {
    let mut rng = StreamKey::root(8).rng(0);
    let mut draw = |share: f64| {
        Array2::from_shape_fn((30, 3), |_| {
            let z: f64 = StandardNormal.sample(&mut rng);
            if rng.random::<f64>() < share { NAN } else { (0.3 + z) as f32 }
        })
    };
    let scattered = draw(0.3);
    let mut column = draw(0.0);
    column.column_mut(1).fill(NAN);
    for x in [scattered, column] {
        let known: Vec<usize> = (0..30).filter(|&row| x.row(row).iter().any(|value| !value.is_nan())).collect();
        let (mean, covariance) = exact(&x.select(Axis(0), &known));
        let samples = sample(&x);
        for a in 0..2 {
            let sd = covariance[3 * a].sqrt();
            let (found, spread) = (samples.column(a).mean().unwrap(), samples.column(a).std(0.0));
            assert!((found - mean[a]).abs() < 0.06 * sd, "{a}: {found} for {} ± {sd}", mean[a]);
            assert!((spread / sd - 1.0).abs() < 0.04, "{a}: {spread} for {sd}");
        }
    }
}

/// An observation of which nothing is known changes nothing.
#[test]
fn wholly_missing_observations_are_left_out() {
    let model = linear();
    let x = arr2(&[[0.3, NAN, 0.1], [0.2, 0.4, -0.7]]);
    let more = arr2(&[[NAN; 3], [0.3, NAN, 0.1], [NAN; 3], [0.2, 0.4, -0.7]]);
    let (own, other) = (evaluate(&model, x.view(), &THETA), evaluate(&model, more.view(), &THETA));
    assert_eq!((own.values, own.gradients, own.informations), (other.values, other.gradients, other.informations));
    let nothing = arr2(&[[NAN; 3]; 4]);
    assert!(matches!(model.context(nothing.view()), Err(InferenceError::NothingObserved { rows: 4 })));
    assert!(model.context(arr2(&[[0.0, f32::INFINITY, 0.0]]).view()).is_err());
}
