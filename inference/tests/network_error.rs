//! The error of networks: told by held-out rows as new simulations tell it, and carried by posteriors of many observations.

#[path = "common/rows.rs"]
mod rows;

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use rows::Rows;
use tallsbi_data::{Prior, Silent, StreamKey};
use tallsbi_inference::model::{Believed, Covariance, Lapse, Lapsing, LikelihoodModel, PreparedModel, TrainedModel};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{Likelihood, Local, TemperingOptions, sample_tempered};
use tallsbi_inference::train::{
    Architecture, DensityForm, LikelihoodOptions, OptimizerOptions, Storage, TrainOptions, TrainingData, train,
};

const ROWS: usize = 3000;
const NOISE: f64 = 0.3;
/// Errors beyond, at a parameter, are where networks extrapolate.
const LARGEST: f64 = 0.25;

/// θ ~ N(0, I₂), x = (θ₁ + sin 2θ₂, θ₂ + cos 2θ₁, θ₁ θ₂) + noise.
fn simulate(theta: &[f64], rng: &mut impl Rng) -> [f32; 3] {
    let (a, b) = (theta[0], theta[1]);
    [a + (2.0 * b).sin(), b + (2.0 * a).cos(), a * b].map(|mean| {
        let noise: f64 = StandardNormal.sample(rng);
        (mean + NOISE * noise) as f32
    })
}

fn simulated(n_obs: usize) -> Rows {
    let mut rng = StreamKey::root(41).rng(0);
    let (mut theta, mut x) = (Array2::zeros((ROWS, 2)), Array3::zeros((ROWS, n_obs, 3)));
    for i in 0..ROWS {
        let z: [f64; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut rng));
        (0..2).for_each(|a| theta[[i, a]] = z[a] as f32);
        for k in 0..n_obs {
            let row = simulate(&z, &mut rng);
            x.slice_mut(s![i, k, ..]).iter_mut().zip(row).for_each(|(out, value)| *out = value);
        }
    }
    let normal = |name: &str| format!(r#"{{"name":"{name}","dist":"normal","loc":0,"scale":1}}"#);
    let prior = Prior::from_json(&format!("[{},{}]", normal("a"), normal("b"))).unwrap();
    Rows { prior, theta, x, conditions: 0 }
}

fn trained(data: &Rows, likelihood: LikelihoodOptions, epochs: usize) -> TrainedModel {
    let optimizer = OptimizerOptions { epochs, learning_rate: 3e-3, ema_decay: 0.99, ..OptimizerOptions::default() };
    let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
    let likelihood = LikelihoodOptions { optimizer, candidates, symmetries: false, ..likelihood };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..TrainOptions::default() };
    let data = TrainingData::read(data, &options, StreamKey::root(42), &Storage::Memory).unwrap();
    train(&data, &options, StreamKey::root(43), &Silent).unwrap()
}

/// E|F^{-1/2} g|²/m over the prior, g the mean score of `new` simulations at each of `points` parameters.
fn by_simulation(model: &LikelihoodModel, points: usize, new: usize) -> f64 {
    let mut rng = StreamKey::root(44).rng(0);
    let (mut local, mut sum) = (Local::default(), 0.0);
    for _ in 0..points {
        let z: [f64; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut rng));
        let mut half = |rng: &mut _| {
            let mut x = Array2::<f32>::zeros((new, 3));
            x.outer_iter_mut().for_each(|mut row| row.iter_mut().zip(simulate(&z, rng)).for_each(|(x, v)| *x = v));
            model.evaluate(&model.context(x.view()).unwrap(), &z, &mut model.workspace(), &mut local);
            let n = new as f64;
            (
                local.gradients.iter().map(|g| g / n).collect::<Vec<_>>(),
                local.informations.iter().map(|f| f / n).collect::<Vec<_>>(),
            )
        };
        let ((first, f), (second, _)) = (half(&mut rng), half(&mut rng));
        // gᵀ F⁻¹ g, F a 2 × 2 matrix.
        let determinant = f[0] * f[3] - f[1] * f[2];
        let solved =
            [f[3] * second[0] - f[1] * second[1], f[0] * second[1] - f[2] * second[0]].map(|v| v / determinant);
        sum += (0.5 * (first[0] * solved[0] + first[1] * solved[1])).clamp(-LARGEST, LARGEST);
    }
    sum / points as f64
}

/// Root mean square of (mean - θ)/sd of posteriors of n observations at parameters of the prior.
fn deviation(sample: impl Fn(&[ArrayView2<'_, f32>]) -> ndarray::Array3<f64>, sets: usize, n: usize) -> f64 {
    let mut rng = StreamKey::root(45).rng(0);
    let truths: Vec<[f64; 2]> = (0..sets).map(|_| std::array::from_fn(|_| StandardNormal.sample(&mut rng))).collect();
    let x: Vec<Array2<f32>> = truths
        .iter()
        .map(|z| Array2::from_shape_vec((n, 3), (0..n).flat_map(|_| simulate(z, &mut rng)).collect()).unwrap())
        .collect();
    let views: Vec<_> = x.iter().map(Array2::view).collect();
    let latent = sample(&views);
    let squares = truths.iter().enumerate().flat_map(|(set, truth)| {
        let latent = latent.index_axis(Axis(0), set).to_owned();
        truth
            .iter()
            .enumerate()
            .map(move |(a, &t)| ((latent.column(a).mean().unwrap() - t) / latent.column(a).std(1.0)).powi(2))
            .collect::<Vec<_>>()
    });
    (squares.sum::<f64>() / (2 * sets) as f64).sqrt()
}

#[test]
fn held_out_rows_tell_the_error_of_new_simulations_and_posteriors_carry_it() {
    let networks = LikelihoodOptions { hidden: vec![48; 3], members: 4, ..LikelihoodOptions::default() };
    let model = trained(&simulated(1), networks, 60);
    let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
    let error = model.info.error.expect("told");
    let truth = by_simulation(&likelihood, 400, 300);
    println!("told {error:?}, simulated {truth}");
    assert!((error.squared / truth).ln().abs() < 0.3, "{error:?} for {truth}");
    let believed = Believed::new(&likelihood, error);
    let options = TemperingOptions::default();
    let (sets, n) = (60, 2000);
    let key = StreamKey::root(46);
    let with = |groups: &[ArrayView2<'_, f32>]| {
        let request = SampleRequest { groups, first_group: 0, key, covariances: None };
        let samples = believed.sample(&likelihood, &request, 200, &options, &Silent).unwrap();
        assert!(samples.info.worth > 0.0 && samples.info.worth < n as f64);
        samples.latent
    };
    let (with, without) = (deviation(with, sets, n), deviation(|groups| samples(&likelihood, groups), sets, n));
    println!("with {with}, without {without}");
    assert!(without > 2.0, "{without}");
    assert!((0.75..1.35).contains(&with), "{with}");
}

/// Latent samples of the posterior that a likelihood has by itself.
fn samples(likelihood: &LikelihoodModel, groups: &[ArrayView2<'_, f32>]) -> Array3<f64> {
    let request = SampleRequest { groups, first_group: 0, key: StreamKey::root(46), covariances: None };
    sample_tempered(likelihood, &request, 200, &TemperingOptions::default(), &Silent).unwrap().0.latent
}

/// A network too small for the simulator, from two observations of each parameter.
#[test]
fn an_error_that_observations_share_is_learned_from_several_of_each_parameter() {
    let rows = simulated(2);
    let deviation = |shared_error: bool, n: usize| {
        let networks =
            LikelihoodOptions { hidden: vec![16; 2], members: 1, shared_error, ..LikelihoodOptions::default() };
        let model = trained(&rows, networks, 60);
        let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
        assert_eq!(likelihood.shares_error(), shared_error);
        if shared_error {
            takes_what_it_can(&likelihood);
        }
        deviation(|groups| samples(&likelihood, groups), 60, n)
    };
    for n in [1, 30, 100] {
        let (with, without) = (deviation(true, n), deviation(false, n));
        println!("n = {n}: with {with}, without {without}");
        assert!((0.75..1.35).contains(&with), "{n}: {with}");
        assert!(n < 100 || without > 2.0, "{without}");
    }
}

/// Values that are missing in all observations are integrated out, the order of observations does not matter, and what has no answer is refused.
fn takes_what_it_can(likelihood: &LikelihoodModel) {
    let nan = f32::NAN;
    let value = |x: [[f32; 3]; 2]| {
        let context = likelihood.context(ndarray::arr2(&x).view())?;
        let mut local = Local::default();
        likelihood.evaluate(&context, &[0.3, -0.4], &mut likelihood.workspace(), &mut local);
        tallsbi_inference::Result::Ok(local.values[0])
    };
    let (alike, turned) = ([[0.1, nan, 0.2], [0.5, nan, -0.3]], [[0.5, nan, -0.3], [0.1, nan, 0.2]]);
    let (alike, turned) = (value(alike).unwrap(), value(turned).unwrap());
    assert!((alike - turned).abs() < 1e-9 && alike.is_finite(), "{alike} {turned}");
    let unlike = value([[0.1, nan, 0.2], [0.5, 0.3, -0.3]]).unwrap_err().to_string();
    assert!(unlike.contains("miss different values") && unlike.contains("shared_error"), "{unlike}");
    let lapse = Lapsing::new(likelihood, Lapse::Rate(0.1)).map(|_| ()).unwrap_err().to_string();
    assert!(lapse.contains("shared_error"), "{lapse}");
}
