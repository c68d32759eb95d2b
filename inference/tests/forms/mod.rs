//! Likelihood models of every form, with random networks.

use ndarray::{Array2, Array3, ArrayView2};
use std::f64::consts::PI;
use tallsbi_data::{StreamKey, Symmetry};
use tallsbi_inference::model::atoms::Atoms;
use tallsbi_inference::model::mixed::Mixed;
use tallsbi_inference::model::{Covariance, LikelihoodModel, MixtureLayout, ObservationMap};
use tallsbi_inference::tempering::{Likelihood, Local};
use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

pub const NAN: f32 = f32::NAN;
pub const THETA: [f64; 2] = [0.4, -0.3];

pub fn spec(layout: MixtureLayout, hidden: Vec<usize>) -> MlpSpec {
    MlpSpec::plain(2, hidden, layout.outputs(), Activation::Silu)
}

fn model(layout: MixtureLayout, map: ObservationMap) -> LikelihoodModel {
    let network = Mlp::random(spec(layout, vec![16]), LastLayer::Random, &mut StreamKey::root(5).rng(0)).unwrap();
    LikelihoodModel::new(&[network], layout, Symmetry::none(2), map)
}

pub fn evaluate<L: Likelihood>(model: &L, x: ArrayView2<'_, f32>, theta: &[f64]) -> Local {
    let mut local = Local::default();
    model.evaluate(&model.context(x).unwrap(), theta, &mut model.workspace(), &mut local);
    local
}

pub const GAUSSIAN: MixtureLayout = MixtureLayout::gaussian(3);

/// A model with its map, and an observation.
pub struct Case {
    pub model: LikelihoodModel,
    pub map: ObservationMap,
    pub row: Vec<f32>,
}

/// Gaussians, Student t and mixtures of real numbers; a count, a category and a real number as cells; a category with a real number that has an edge; a category with
/// two real columns that have atoms.
pub fn cases() -> Vec<Case> {
    let real = ObservationMap::standardize(vec![0.0; 3], vec![1.0; 3]);
    let column = |i: usize, j: usize| [(i % 6) as f32, (i / 6 % 2) as f32, 0.01 * i as f32 - 2.0][j];
    let fit = |first: usize| {
        let x = Array3::from_shape_fn((400, 1, 3 - first), |(i, _, j)| column(i, first + j));
        ObservationMap::fit(x.view(), false).unwrap()
    };
    let diagonal = MixtureLayout { covariance: Covariance::Diagonal, ..GAUSSIAN };
    let mixed = Some(Mixed { categories: 2, edges: true });
    let case = |layout, map: &ObservationMap, row: &[f32]| Case {
        model: model(layout, map.clone()),
        map: map.clone(),
        row: row.to_vec(),
    };
    vec![
        case(GAUSSIAN, &real, &[0.3, -0.8, 1.1]),
        case(MixtureLayout { components: 3, ..GAUSSIAN }, &real, &[0.3, -0.8, 1.1]),
        case(MixtureLayout { components: 2, ..diagonal }, &real, &[0.3, -0.8, 1.1]),
        case(MixtureLayout { cells: true, ..diagonal }, &fit(0), &[2.0, 1.0, 0.5]),
        case(MixtureLayout { cells: true, components: 2, ..diagonal }, &fit(0), &[2.0, 1.0, 0.5]),
        case(MixtureLayout { tails: true, ..GAUSSIAN }, &real, &[0.3, -0.8, 4.1]),
        case(MixtureLayout { tails: true, components: 3, ..diagonal }, &real, &[0.3, -0.8, 4.1]),
        case(MixtureLayout { components: 4, dim: 1, mixed, ..GAUSSIAN }, &fit(1), &[1.0, 0.5]),
        atoms(),
    ]
}

/// A category; a column with the atom -1.3; one with the atom 0, of which the observation has the value.
fn atoms() -> Case {
    let column = |i: usize, j: usize| [(i % 2) as f32, 0.01 * i as f32 - 2.0, 0.02 * i as f32 - 1.0][j];
    let x = Array3::from_shape_fn((400, 1, 3), |(i, _, j)| column(i, j));
    let patterns = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]].map(Vec::from).to_vec();
    let atoms = Atoms { values: vec![vec![], vec![-1.3], vec![0.0]], patterns };
    let map = ObservationMap { atoms, ..ObservationMap::fit(x.view(), false).unwrap() };
    let mixed = Some(Mixed { categories: 8, edges: true });
    let layout = MixtureLayout { components: 16, dim: 2, mixed, ..GAUSSIAN };
    Case { model: model(layout, map.clone()), map, row: vec![1.0, 0.5, 0.0] }
}

/// Complete rows, rows with gaps of several kinds, one with nothing.
pub fn with_gaps(row: &[f32]) -> Array2<f32> {
    let d = row.len();
    let gaps = |k: usize, j: usize| match k {
        0 | 1 => false,
        5 => true,
        _ => (k + j).is_multiple_of(d),
    };
    Array2::from_shape_fn((6, d), |(k, j)| if gaps(k, j) { NAN } else { row[j] })
}

/// The logarithm of the sum of e^value over a column's whole numbers, or of its integral over the standardised column and its sum over atoms; log-likelihoods lack
/// ½ log 2π a real column that is at none.
pub fn summed(map: &ObservationMap, row: &[f32], column: usize, value: impl Fn(&[f32]) -> f64) -> f64 {
    let at = |number: f64| {
        let mut row = row.to_vec();
        row[column] = number as f32;
        value(&row).exp()
    };
    if map.counts.get(column) == Some(&true) {
        let (lowest, highest) = (map.lowest[column] as i32, map.highest[column] as i32);
        return (lowest..=highest).map(|number| at(f64::from(number))).sum::<f64>().ln();
    }
    let (mean, sd) = (f64::from(map.mean[column]), f64::from(map.sd[column]));
    let step = 0.01;
    let sum: f64 = (-4000..4000).map(|i| at(mean + sd * step * (f64::from(i) + 0.5)) * step).sum();
    let atoms: f64 = map.atoms.values.get(column).into_iter().flatten().map(|&atom| at(atom)).sum();
    (sum / (2.0 * PI).sqrt() + atoms).ln()
}
