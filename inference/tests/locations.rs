//! Location parameters: likelihoods whose networks do not see what only moves observations.

use ndarray::{Array1, Array2, Array3, ArrayView2, s};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{LatentMap, Location, Prior, Purpose, Silent, StreamKey};
use tallsbi_inference::InferenceError;
use tallsbi_inference::model::{Covariance, LikelihoodModel, PreparedModel, TrainedModel};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{Likelihood, Local, TemperingOptions};
use tallsbi_inference::train::{
    Architecture, DensityForm, LikelihoodOptions, OptimizerOptions, TrainOptions, TrainingData, train,
};

const STEPS: [f64; 2] = [0.5, -0.2];

fn prior() -> Prior {
    Prior::uniform(&[("a", -2.0, 2.0), ("b", -1.0, 5.0)]).unwrap()
}

fn options(n_locations: usize, steps: [f64; 2]) -> TrainOptions {
    let optimizer = OptimizerOptions { epochs: 12, learning_rate: 3e-3, ..OptimizerOptions::default() };
    let likelihood = LikelihoodOptions {
        hidden: vec![24; 2],
        candidates: vec![DensityForm { components: 1, covariance: Covariance::Full }],
        locations: vec![Location { parameter: 1, steps: steps.to_vec() }; n_locations],
        members: 2,
        optimizer,
        ..LikelihoodOptions::default()
    };
    TrainOptions { architecture: Architecture::Likelihood, likelihood, ..TrainOptions::default() }
}

/// x = (sin 2a, a) + b STEPS + noise, `n_obs` of each of 1500 parameters.
fn data(n_obs: usize, options: &TrainOptions) -> Result<TrainingData, InferenceError> {
    let (n, key) = (1500, StreamKey::root(4));
    let mut theta = Array2::<f64>::zeros((n, 2));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        prior().sample(&mut key.child(Purpose::Prior).rng(i as u64), row.as_slice_mut().unwrap());
    }
    let mut rng = key.child(Purpose::Simulator).rng(0);
    let x = Array3::from_shape_fn((n, n_obs, 2), |(i, _, column)| {
        let noise: f64 = StandardNormal.sample(&mut rng);
        let mean = [(2.0 * theta[[i, 0]]).sin(), theta[[i, 0]]][column];
        mean + theta[[i, 1]] * STEPS[column] + 0.3 * noise
    });
    TrainingData::prepare(theta.view(), x.view(), &prior(), false, options, key)
}

fn trained(n_obs: usize, options: &TrainOptions) -> TrainedModel {
    train(&data(n_obs, options).unwrap(), options, StreamKey::root(0), &Silent).unwrap()
}

fn likelihood(model: &TrainedModel) -> LikelihoodModel {
    let PreparedModel::Likelihood(model) = model.prepare() else { panic!("a likelihood") };
    model
}

fn evaluate(model: &LikelihoodModel, x: ArrayView2<'_, f32>, z: &[f64]) -> Local {
    let mut local = Local::default();
    model.evaluate(&model.context(x).unwrap(), z, &mut model.workspace(), &mut local);
    local
}

fn latent(theta: [f64; 2]) -> [f64; 2] {
    let mut z = [0.0; 2];
    LatentMap::prior_gaussian(&prior()).to_latent(&theta, &mut z);
    z
}

#[test]
fn observations_that_move_with_their_parameter_are_as_likely() {
    for n_obs in [1, 2] {
        let model = likelihood(&trained(n_obs, &options(1, STEPS)));
        let x = Array2::from_shape_fn((3, 2), |(j, column)| (0.4 + 0.3 * (j * 2 + column) as f64) as f32);
        for a in [-1.5, 0.3, 1.9] {
            let here = evaluate(&model, x.view(), &latent([a, 0.5])).values[0];
            for b in [-0.9, 2.0, 4.9] {
                let moved = Array2::from_shape_fn(x.dim(), |at| (f64::from(x[at]) + (b - 0.5) * STEPS[at.1]) as f32);
                let there = evaluate(&model, moved.view(), &latent([a, b])).values[0];
                assert!((here - there).abs() < 1e-3 * here.abs().max(1.0), "{here} {there}");
                // And it does matter.
                let still = evaluate(&model, x.view(), &latent([a, b])).values[0];
                assert!((still - here).abs() > 0.05, "{here} {still}");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_values() {
    for n_obs in [1, 2] {
        let model = likelihood(&trained(n_obs, &options(1, STEPS)));
        let x = Array2::from_shape_fn((4, 2), |(j, column)| (0.2 + 0.2 * (j + column) as f64) as f32);
        let z = [0.4, -0.3];
        let local = evaluate(&model, x.view(), &z);
        for k in 0..2 {
            let at = |step: f64| {
                let mut z = z;
                z[k] += step;
                evaluate(&model, x.view(), &z).values[0]
            };
            let h = 1e-2;
            let slope = (at(h) - at(-h)) / (2.0 * h);
            let gradient = local.gradients[k];
            assert!((gradient - slope).abs() < 0.02 * slope.abs().max(1.0), "{k}: {gradient} {slope}");
        }
        // The information of b is that of a known mean: (θ_b'(z))² n stepsᵀ Σ⁻¹ steps, near n |steps|²/0.3² of the simulator.
        let derivative = (latent([0.0, 2.001])[1] - latent([0.0, 2.0])[1]) / 0.001;
        let at_centre = evaluate(&model, x.view(), &[0.0, 0.0]).informations[3] * derivative.powi(2) / 4.0;
        let exact = STEPS.iter().map(|step| step * step).sum::<f64>() / 0.09;
        let close = if n_obs == 1 { 0.6 * exact..1.4 * exact } else { 0.3 * exact..1.4 * exact };
        assert!(close.contains(&at_centre), "{at_centre} {exact}");
    }
}

#[test]
fn models_keep_them_in_their_files() {
    let model = trained(1, &options(1, STEPS));
    let bytes = model.to_bytes();
    let read = TrainedModel::from_bytes(&bytes).unwrap();
    assert!(read == model && read.to_bytes() == bytes);
    assert!(model.info.notes.iter().any(|note| note.to_string().starts_with("parameter 1 moves x")));
    // A change of sign of what networks do not see is no symmetry of the likelihood.
    assert!(model.info.notes.iter().all(|note| !note.to_string().contains("symmetric")), "{:?}", model.info.notes);
}

#[test]
fn what_the_rows_contradict_is_refused() {
    let wrong = options(1, [0.5, 0.2]);
    let message = data(1, &wrong).unwrap_err().to_string();
    assert!(message.contains("locations") && message.contains("contradicts"), "{message}");
    let twice = options(2, STEPS);
    assert!(data(1, &twice).is_err());
}

/// The integral over b by a fine sum of the likelihood with b in it.
#[test]
fn what_is_integrated_out_is_what_a_sum_gives_and_comes_back_with_its_law() {
    for n_obs in [1, 2] {
        let model = likelihood(&trained(n_obs, &options(1, STEPS)));
        let collapsed = model.collapsed().unwrap();
        // In the middle of the prior of b, and beyond its upper end.
        for shift in [0.0, 6.0] {
            let x = Array2::from_shape_fn((6, 2), |(j, column)| {
                (0.1 * ((j * 5 + column * 3) % 7) as f64 + (1.0 + shift) * STEPS[column]) as f32
            });
            let context = model.context(x.view()).unwrap();
            let at = |z: &[f64]| {
                let mut local = Local::default();
                collapsed.evaluate(&context, z, &mut collapsed.workspace(), &mut local);
                local
            };
            let grid: Vec<f64> = (-6000..=6000).map(|k| 1e-3 * f64::from(k)).collect();
            let logs = |a: f64| -> Vec<f64> {
                let points: Vec<f64> = grid.iter().flat_map(|&b| [a, b]).collect();
                let values = evaluate(&model, x.view(), &points).values;
                values
                    .iter()
                    .zip(&grid)
                    .map(|(value, b)| value - 0.5 * b * b - 0.5 * (std::f64::consts::TAU).ln())
                    .collect()
            };
            let integral = |logs: &[f64]| {
                let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                highest + (1e-3 * logs.iter().map(|log| (log - highest).exp()).sum::<f64>()).ln()
            };
            for a in [-0.8, 0.1, 1.2] {
                let (local, exact) = (at(&[a, 7.0]), integral(&logs(a)));
                assert!((local.values[0] - exact).abs() < 1e-3, "{a} {shift}: {} {exact}", local.values[0]);
                let h = 1e-2;
                let slope = (at(&[a + h, 0.0]).values[0] - at(&[a - h, 0.0]).values[0]) / (2.0 * h);
                assert!((local.gradients[0] - slope).abs() < 0.02 * slope.abs().max(1.0), "{a}: {slope}");
                assert_eq!((local.gradients[1], &local.informations[1..]), (0.0, &[0.0; 3][..]));
                let with = evaluate(&model, x.view(), &[a, 0.0]).informations[0];
                assert!(local.informations[0] > 0.0 && local.informations[0] <= with * (1.0 + 1e-6));
            }
            same_law(&model, x.view());
        }
    }
}

/// Means and widths of samples are those of a sum over both parameters.
fn same_law(model: &LikelihoodModel, x: ArrayView2<'_, f32>) {
    let axis = |step: f64| (-400..=400).map(move |k| step * f64::from(k));
    let points: Vec<f64> = axis(0.01).flat_map(|a| axis(0.015).flat_map(move |b| [a, b])).collect();
    let values = evaluate(model, x, &points).values;
    let logs: Vec<f64> =
        points.chunks_exact(2).zip(&values).map(|(z, value)| value - 0.5 * (z[0] * z[0] + z[1] * z[1])).collect();
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let average = |of: &dyn Fn(&[f64]) -> f64| {
        points.chunks_exact(2).zip(&weights).map(|(z, weight)| weight * of(z)).sum::<f64>() / total
    };
    let groups = [x];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(8), covariances: None };
    let collapsed = model.collapsed().unwrap();
    let drawn = collapsed.sample(&request, 8000, &TemperingOptions::default(), &Silent).unwrap().latent;
    for k in 0..2 {
        let mean = average(&|z| z[k]);
        let sd = average(&|z| (z[k] - mean).powi(2)).sqrt();
        // Beyond the prior's end one particle in 8000 may be left in a far mode of e⁻¹⁵.
        let own: Array1<f64> =
            drawn.slice(s![0, .., k]).iter().copied().filter(|z| (z - mean).abs() < 8.0 * sd).collect();
        assert!(own.len() >= 7998, "{k}: {}", own.len());
        let (shift, ratio) = ((own.mean().unwrap() - mean) / sd, own.std(0.0) / sd);
        assert!(shift.abs() < 0.06 && (ratio - 1.0).abs() < 0.06, "{k}: {mean} ± {sd}, off by {shift}, {ratio}");
    }
    let product = average(&|z| z[0] * z[1]);
    let found = drawn.rows().into_iter().map(|z| z[0] * z[1]).sum::<f64>() / 8000.0;
    let spread = average(&|z| (z[0] * z[1] - product).powi(2)).sqrt();
    assert!((found - product).abs() < 0.06 * spread, "{product} ± {spread}: {found}");
}
