//! Observations made under known conditions: posteriors of trained likelihoods against exact ones.

#[path = "common/rows.rs"]
mod rows;

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rows::Rows;
use tallsbi_data::{Prior, Silent, StreamKey};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::{Lapse, Lapsing, Networks, PreparedModel, TrainedModel};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{Likelihood, Local, TemperingOptions, sample_tempered};
use tallsbi_inference::train::{
    Architecture, LikelihoodOptions, OptimizerOptions, Storage, TrainOptions, TrainingData, train,
};

const ROWS: usize = 6000;
const NOISE: f64 = 0.5;

/// θ ~ N(0, 1), c ~ U(-2, 2), x = (f(θ, c) + noise, noise).
fn simulated(of: impl Fn(f64, f64) -> f64) -> Rows {
    let mut rng = StreamKey::root(31).rng(0);
    let mut theta = Array2::zeros((ROWS, 1));
    let mut x = Array3::zeros((ROWS, 1, 3));
    for i in 0..ROWS {
        let (z, c): (f64, f64) = (StandardNormal.sample(&mut rng), rng.random_range(-2.0..2.0));
        let mut noise = || -> f64 { StandardNormal.sample(&mut rng) };
        theta[[i, 0]] = z as f32;
        let row = [c, of(z, c) + NOISE * noise(), noise()];
        x.slice_mut(s![i, 0, ..]).iter_mut().zip(row).for_each(|(out, value)| *out = value as f32);
    }
    let prior = Prior::from_json(r#"[{"name":"slope","dist":"normal","loc":0,"scale":1}]"#).unwrap();
    Rows { prior, theta, x, conditions: 1 }
}

fn trained(rows: &Rows) -> TrainedModel {
    let optimizer =
        OptimizerOptions { epochs: 40, learning_rate: 3e-3, ema_decay: 0.99, ..OptimizerOptions::default() };
    let likelihood = LikelihoodOptions { hidden: vec![32; 2], members: 2, optimizer, ..LikelihoodOptions::default() };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..TrainOptions::default() };
    let data = TrainingData::read(rows, &options, StreamKey::root(32), &Storage::Memory).unwrap();
    train(&data, &options, StreamKey::root(33), &Silent).unwrap()
}

fn likelihood(model: &TrainedModel) -> tallsbi_inference::model::LikelihoodModel {
    let PreparedModel::Likelihood(prepared) = model.prepare() else { panic!("a likelihood") };
    prepared
}

/// n observations at θ, a third each under the conditions -1.5, 0.5 and 1.
fn observed(theta: f64, n: usize, of: impl Fn(f64, f64) -> f64) -> Array2<f32> {
    let mut rng = StreamKey::root(34).rng(0);
    Array2::from_shape_vec(
        (n, 3),
        (0..n)
            .flat_map(|j| {
                let c = [-1.5, 0.5, 1.0][j % 3];
                let mut noise = || -> f64 { StandardNormal.sample(&mut rng) };
                [c, of(theta, c) + NOISE * noise(), noise()].map(|value| value as f32)
            })
            .collect(),
    )
    .unwrap()
}

/// Mean and sd of samples of the posterior.
fn posterior<L: Likelihood>(model: &L, x: ArrayView2<'_, f32>) -> (f64, f64) {
    let request = SampleRequest { groups: &[x], first_group: 0, key: StreamKey::root(35), covariances: None };
    let (samples, _) = sample_tempered(model, &request, 2000, &TemperingOptions::default(), &Silent).unwrap();
    let z = samples.latent.index_axis(Axis(0), 0);
    let z = z.column(0);
    let mean = z.mean().unwrap();
    (mean, z.std(1.0))
}

/// x = θ c + noise: a posterior that knows the conditions, and one coefficient.
#[test]
fn a_slope_is_found_from_observations_under_known_conditions() {
    let product = |theta: f64, c: f64| theta * c;
    let model = trained(&simulated(product));
    assert_eq!((model.info.conditions, model.dim_x(), model.dim_theta()), (1, 3, 1));
    let read = TrainedModel::from_bytes(&model.to_bytes()).unwrap();
    assert_eq!(read, model);
    let prepared = likelihood(&read);
    for n in [3, 30] {
        let x = observed(0.7, n, product);
        let precision = 1.0 + x.column(0).iter().map(|c| f64::from(*c).powi(2)).sum::<f64>() / (NOISE * NOISE);
        let cross: f64 = x.outer_iter().map(|row| f64::from(row[0]) * f64::from(row[1])).sum();
        let (mean, sd) = (cross / (NOISE * NOISE) / precision, precision.powf(-0.5));
        let (found, width) = posterior(&prepared, x.view());
        assert!((found - mean).abs() < 0.35 * sd, "{n}: {found} for {mean} ± {sd}");
        assert!((width / sd).ln().abs() < 0.12, "{n}: {width} for {sd}");
    }
    // Under other conditions the same values tell something else.
    let mut x = observed(0.7, 30, product);
    let own = posterior(&prepared, x.view()).0;
    x.column_mut(0).mapv_inplace(|c| -c);
    let mirrored = posterior(&prepared, x.view()).0;
    assert!((own + mirrored).abs() < 0.1 && own > 0.5, "{own} {mirrored}");
}

/// x = θ + 2 c + noise, in closed form: exact for hundreds of observations, with some values missing.
#[test]
fn linear_models_are_exact_for_many_observations() {
    let sum = |theta: f64, c: f64| theta + 2.0 * c;
    let model = trained(&simulated(sum));
    let Networks::Likelihood { members, .. } = &model.networks else { panic!("a likelihood") };
    assert!(members.len() == 1 && members[0].spec().hidden.is_empty(), "by least squares");
    let mut x = observed(-0.4, 300, sum);
    (0..60).for_each(|row| x[[row, 1]] = f32::NAN);
    let known = x.outer_iter().filter(|row| !row[1].is_nan());
    let residual: f64 = known.map(|row| f64::from(row[1]) - 2.0 * f64::from(row[0])).sum();
    let precision = 1.0 + 240.0 / (NOISE * NOISE);
    let (mean, sd) = (residual / (NOISE * NOISE) / precision, precision.powf(-0.5));
    let (found, width) = posterior(&likelihood(&model), x.view());
    assert!((found - mean).abs() < 0.6 * sd, "{found} for {mean} ± {sd}");
    assert!((width / sd).ln().abs() < 0.08, "{width} for {sd}");
}

/// Likelihoods of all observations are sums over those of each, with their gradients, with lapses as well; a condition must be known.
#[test]
fn observations_under_several_conditions_add_up() {
    let product = |theta: f64, c: f64| theta * c;
    let model = trained(&simulated(product));
    let prepared = likelihood(&model);
    let lapsing = Lapsing::new(&prepared, Lapse::Rate(0.1)).unwrap();
    let x = observed(0.3, 7, product);
    adds_up(&prepared, &x);
    adds_up(&lapsing, &x);
    let mut unknown = x.clone();
    unknown[[4, 0]] = f32::NAN;
    let error = prepared.context(unknown.view()).unwrap_err();
    assert!(matches!(error, InferenceError::ConditionMissing { row: 4 }), "{error}");
    assert!(prepared.context(x.slice(s![.., 1..])).is_err(), "conditions left out");
    // What is implausible under its own condition is told, though it would not be under others.
    let mut odd = observed(1.0, 30, product);
    (odd[[0, 0]], odd[[0, 1]]) = (-1.5, 1.5);
    let p = prepared.p_values(odd.view(), &[1.0; 20], StreamKey::root(36), &Silent).unwrap();
    assert!(p[0] < 1e-3 && p[1..].iter().all(|&p| p > 1e-3), "{p:?}");
}

fn adds_up<L: Likelihood>(model: &L, x: &Array2<f32>) {
    let at = |theta: f64, x: ArrayView2<'_, f32>| {
        let mut local = Local::default();
        model.evaluate(&model.context(x).unwrap(), &[theta], &mut model.workspace(), &mut local);
        local
    };
    let whole = at(0.2, x.view());
    let mut parts = at(0.2, x.slice(s![..1, ..]));
    (1..x.nrows()).for_each(|row| parts.add(&at(0.2, x.slice(s![row..=row, ..]))));
    assert!((whole.values[0] - parts.values[0]).abs() < 1e-6 * whole.values[0].abs());
    assert!((whole.gradients[0] - parts.gradients[0]).abs() < 1e-5 * whole.gradients[0].abs());
    assert!((whole.informations[0] - parts.informations[0]).abs() < 1e-5 * whole.informations[0]);
    let step = 1e-2;
    let slope = (at(0.2 + step, x.view()).values[0] - at(0.2 - step, x.view()).values[0]) / (2.0 * step);
    assert!((slope - whole.gradients[0]).abs() < 0.02 * whole.gradients[0].abs().max(1.0), "{slope} {whole:?}");
}
