//! Draws of likelihoods against their densities, p-values against closed forms.

mod forms;

use forms::{Case, GAUSSIAN, NAN, THETA, cases, evaluate, spec, summed, with_gaps};
use ndarray::{ArrayView2, arr2};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use tallsbi_data::{Silent, StreamKey, Symmetry};
use tallsbi_inference::model::{LikelihoodModel, ObservationMap};
use tallsbi_network::Mlp;

impl Case {
    /// The probability that a column is below `bound`, in the simulator's units, others unknown: by summing the density.
    fn below(&self, column: usize, bound: f64) -> f64 {
        let value = |row: &[f32]| {
            if f64::from(row[column]) >= bound {
                return f64::NEG_INFINITY;
            }
            evaluate(&self.model, ArrayView2::from_shape((1, row.len()), row).unwrap(), &THETA).values[0]
        };
        summed(&self.map, &vec![NAN; self.row.len()], column, value).exp()
    }
}

#[test]
fn draws_follow_the_density() {
    const DRAWS: usize = 40_000;
    for (index, case) in cases().iter().enumerate() {
        let d = case.row.len();
        let drawn = case.model.draws(&THETA, &[], DRAWS, &mut StreamKey::root(2).rng(0));
        let value = |row: usize, i: usize| drawn[row * d + i] * f64::from(case.map.sd[i]) + f64::from(case.map.mean[i]);
        for column in 0..d {
            let whole = case.map.counts.get(column) == Some(&true);
            for at in [0.2, 0.5, 0.8] {
                let mut sorted: Vec<f64> = (0..DRAWS).map(|row| value(row, column)).collect();
                sorted.sort_by(f64::total_cmp);
                let quantile = sorted[(at * DRAWS as f64) as usize];
                // Behind a quantile that is an atom.
                let bound = if whole { quantile.round() + 0.5 } else { quantile + 1e-4 };
                let found = sorted.partition_point(|value| *value < bound) as f64 / DRAWS as f64;
                let wanted = case.below(column, bound);
                // Four standard errors, and a step of the sum.
                assert!((found - wanted).abs() < 0.014, "case {index}, {column}: {found} {wanted}");
            }
        }
    }
}

/// Correlations: p-values of a Gaussian are those of the squared distance from its mean, missing values or not.
#[test]
fn p_values_of_a_gaussian_are_chi_squared() {
    let spec = spec(GAUSSIAN, Vec::new());
    let mut parameters = vec![0.0f32; spec.parameter_count()];
    // No slopes; means 0; the factor of the precision by rows, its diagonal as logarithms.
    let factor = [[1.2f64, 0.0, 0.0], [-0.9, 1.5, 0.0], [0.7, -1.1, 0.9]];
    let mut at = 2 * spec.output + 3;
    for (i, row) in factor.iter().enumerate() {
        for (k, &value) in row[..=i].iter().enumerate() {
            parameters[at] = if k == i { value.ln() } else { value } as f32;
            at += 1;
        }
    }
    let network = Mlp::from_parameters(spec, parameters).unwrap();
    let map = ObservationMap::standardize(vec![0.0; 3], vec![1.0; 3]);
    let model = LikelihoodModel::new(&[network], GAUSSIAN, Symmetry::none(2), map);
    let x = arr2(&[[0.1f32, -0.2, 0.3], [2.0, 2.0, 1.0], [1.5, NAN, NAN], [NAN; 3], [9.0, -9.0, 9.0]]);
    let found = model.p_values(x.view(), &[0.3; 2 * 50], StreamKey::root(1), &Silent).unwrap();
    let precision = |i: usize, j: usize| -> f64 { (0..3).map(|k| factor[i][k] * factor[j][k]).sum() };
    let square = |row: usize| -> f64 {
        let value = |i: usize| f64::from(x[[row, i]]);
        (0..3).flat_map(|i| (0..3).map(move |j| (i, j))).map(|(i, j)| value(i) * precision(i, j) * value(j)).sum()
    };
    for row in [0, 1] {
        let wanted = ChiSquared::new(3.0).unwrap().sf(square(row));
        assert!((found[row] - wanted).abs() < 0.02, "{row}: {} {wanted}", found[row]);
    }
    // Of the first value alone: its variance is that of the inverse of the precision.
    let (a, b, c) = (precision(1, 1), precision(1, 2), precision(2, 2));
    let determinant = a * c - b * b;
    let (e, f) = (precision(0, 1), precision(0, 2));
    let schur = precision(0, 0) - (e * e * c - 2.0 * e * f * b + f * f * a) / determinant;
    let wanted = ChiSquared::new(1.0).unwrap().sf(1.5 * 1.5 * schur);
    assert!((found[2] - wanted).abs() < 0.02, "{} {wanted}", found[2]);
    assert!(found[3].is_nan());
    assert!(found[4] > 0.0 && found[4] < 1e-4, "{}", found[4]);
}

/// Observations that a model draws itself have uniform p-values, whatever its form and whatever is missing, whole numbers up to ties.
#[test]
fn p_values_of_draws_are_uniform() {
    for (index, case) in cases().iter().enumerate() {
        let d = case.row.len();
        let drawn = case.model.draws(&THETA, &[], 600, &mut StreamKey::root(6).rng(0));
        let gaps = with_gaps(&case.row);
        let x = ndarray::Array2::from_shape_fn((600, d), |(row, i)| {
            let value = drawn[row * d + i] * f64::from(case.map.sd[i]) + f64::from(case.map.mean[i]);
            let whole = case.map.counts.get(i) == Some(&true);
            let value = if whole { value.round() } else { value };
            if gaps[[row % 5, i]].is_nan() { NAN } else { value as f32 }
        });
        let found = case.model.p_values(x.view(), &THETA, StreamKey::root(7), &Silent).unwrap();
        let mean = found.iter().sum::<f64>() / 600.0;
        // Four standard errors.
        assert!((mean - 0.5).abs() < 0.05, "case {index}: {mean}");
    }
}
