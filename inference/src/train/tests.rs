//! Gradients of the whole objectives, embeddings and sets included, and laws of the training loop.

use super::denoising::DenoisingObjective;
use super::density::{DensityObjective, Direction};
use super::noising::Noising;
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use super::*;
use crate::model::anchored::anchor_outputs;
use crate::model::trained::{Networks, TrainingRecord};
use crate::model::{AnchoredSettings, ConditionalNetwork, MixtureLayout, NoiseSettings};
use crate::model::{ConditionalSpec, Covariance, EmbeddingSpec};
use ndarray::{Array2, Array3};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use tallsbi_data::{Monitor, Prior, Progress, Purpose, SignedPermutation, Silent, Symmetry};
use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

/// θ ~ N(0, I₂), x_k = θ + 0.5 noise, K observations of each.
pub fn toy(n: usize, n_obs: usize, options: &TrainOptions) -> TrainingData {
    toy_seen(n, n_obs, options, |mean, noise| mean + 0.5 * noise)
}

/// The same with other observations of a mean and standard normal noise.
pub fn toy_seen(n: usize, n_obs: usize, options: &TrainOptions, see: impl Fn(f64, f64) -> f64) -> TrainingData {
    let prior = Prior::from_json(
        r#"[{"name":"a","dist":"normal","loc":0,"scale":1},{"name":"b","dist":"normal","loc":0,"scale":1}]"#,
    )
    .unwrap();
    let key = StreamKey::root(11);
    let mut theta = Array2::zeros((n, 2));
    let mut x = Array3::zeros((n, n_obs, 2));
    for i in 0..n {
        let mut rng = key.child(Purpose::Simulator).rng(i as u64);
        for j in 0..2 {
            let value: f64 = StandardNormal.sample(&mut rng);
            theta[(i, j)] = value as f32;
            for k in 0..n_obs {
                let noise: f64 = StandardNormal.sample(&mut rng);
                x[(i, k, j)] = see(value, noise) as f32;
            }
        }
    }
    TrainingData::prepare(theta.view(), x.view(), &prior, false, options, key).unwrap()
}

/// The derivative along a random direction against central differences.
fn check_gradient<O: Objective>(objective: &mut O, parameters: &[f32]) {
    let rows: Vec<u32> = (0..CHUNK_ROWS as u32).collect();
    let noise = StreamKey::root(2).child(Purpose::TrainingNoise);
    let batch = Batch { rows: &rows, noise, level_offset: 0.4, validation: false };
    let mut rng = StreamKey::root(9).child(Purpose::Initialization).rng(0);
    let direction: Vec<f32> = parameters.iter().map(|_| rng.random::<f32>() - 0.5).collect();
    let mut workspace = objective.workspace();
    let mut at = |step: f32, gradient: Option<&mut [f32]>| {
        let moved: Vec<f32> = parameters.iter().zip(&direction).map(|(p, d)| p + step * d).collect();
        objective.load(&moved);
        objective.loss(&batch, 0..rows.len(), &mut workspace, gradient) / rows.len() as f64
    };
    let mut gradient = vec![0.0; parameters.len()];
    at(0.0, Some(&mut gradient));
    let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
    let h = 2e-3;
    let numeric = (at(h, None) - at(-h, None)) / (2.0 * f64::from(h));
    assert!((slope - numeric).abs() < 5e-3 * numeric.abs().max(0.05), "{slope} {numeric}");
}

#[test]
fn objectives_have_the_gradients_they_say() {
    let mut rng = StreamKey::root(1).child(Purpose::Initialization).rng(0);
    let embedding = Some(EmbeddingSpec { hidden: vec![10], output: 5 });
    for (theta_embedding, x_embedding, n_max) in
        [(None, None, 1), (embedding.clone(), embedding.clone(), 1), (None, embedding.clone(), 3), (None, None, 3)]
    {
        let spec =
            ConditionalSpec { hidden: vec![16, 16], theta_embedding, x_embedding, n_max, ..ConditionalSpec::default() };
        let options =
            TrainOptions { architecture: Architecture::Noise, network: spec.clone(), ..TrainOptions::default() };
        let data = toy(200, 3, &options);
        let network = ConditionalNetwork::random(spec, 2, 2, LastLayer::Random, &mut rng).unwrap();
        let noising = Noising::Noise {
            settings: NoiseSettings::default(),
            levels: NoiseLevels::LogUniform,
            range: AnchoredSettings::default(),
        };
        for dropout in [0.0, 0.5] {
            let mut objective = DenoisingObjective::new(&data, &network, &noising, dropout);
            check_gradient(&mut objective, &network.flat_parameters());
        }
    }
    let data = toy(200, 2, &TrainOptions::default());
    let spec = MlpSpec {
        input: 2,
        hidden: vec![12],
        output: anchor_outputs(2),
        activation: Activation::Silu,
        layer_norm: true,
        residual: false,
    };
    let anchor = Mlp::random(spec, LastLayer::Random, &mut rng).unwrap();
    let layout = MixtureLayout::gaussian(2);
    check_gradient(&mut DensityObjective::new(&data, &anchor, layout, Direction::Posterior), anchor.parameters());
    let counts = toy_seen(200, 2, &TrainOptions::default(), |mean, noise| (1.0 + mean + noise).round());
    for (data, covariance, cells) in [(&data, Covariance::Full, false), (&counts, Covariance::Diagonal, true)] {
        let layout = MixtureLayout { components: 3, covariance, cells, ..MixtureLayout::gaussian(2) };
        let spec = MlpSpec { output: layout.outputs(), ..anchor.spec().clone() };
        let likelihood = Mlp::random(spec, LastLayer::Random, &mut rng).unwrap();
        let mut objective = DensityObjective::new(data, &likelihood, layout, Direction::Likelihood);
        check_gradient(&mut objective, likelihood.parameters());
    }
}

pub fn small() -> TrainOptions {
    let optimizer = OptimizerOptions { epochs: 6, batch_size: 128, ..OptimizerOptions::default() };
    TrainOptions {
        architecture: Architecture::Anchored,
        network: ConditionalSpec { hidden: vec![16, 16], ..ConditionalSpec::default() },
        anchor: AnchorOptions {
            hidden: vec![16],
            linear: false,
            optimizer: OptimizerOptions { epochs: 5, ..optimizer.clone() },
        },
        likelihood: LikelihoodOptions {
            hidden: vec![16],
            members: 2,
            linear: false,
            optimizer: OptimizerOptions { epochs: 3, ..optimizer.clone() },
            ..LikelihoodOptions::default()
        },
        optimizer,
        ..TrainOptions::default()
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let options = small();
    let data = toy(600, 1, &options);
    let bytes: Vec<Vec<u8>> = [1, 2, 7]
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&data, &options, StreamKey::root(0), &Silent).unwrap().to_bytes())
        })
        .into();
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

/// Stops after a number of epochs in all.
struct StopAfter(AtomicUsize);

impl Monitor for StopAfter {
    fn progress(&self, _: &Progress<'_>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn resumed_is_uninterrupted() {
    for architecture in [Architecture::Anchored, Architecture::Noise, Architecture::Likelihood] {
        let options = TrainOptions { architecture, ..small() };
        let data = toy(600, 1, &options);
        let key = StreamKey::root(4);
        let whole = train(&data, &options, key, &Silent).unwrap();
        for epochs in [2, 5, 8] {
            let mut kept = None;
            let mut keep = |last, checkpoint: &dyn Fn() -> Checkpoint| {
                kept = (last == Last::Yes).then(checkpoint);
                Ok(())
            };
            let run = Resumable { fingerprint: "run", resume: None, keep: Box::new(&mut keep) };
            if let Ok(finished) = train_resumable(&data, &options, key, run, &StopAfter(epochs.into())) {
                assert!(finished == whole, "a run that ends before it is stopped");
                continue;
            }
            let checkpoint = Checkpoint::from_bytes(&kept.unwrap().to_bytes()).unwrap();
            let resume = |fingerprint| {
                let keep: Box<Keep<'_>> = Box::new(|_, _| Ok(()));
                let run = Resumable { fingerprint, resume: Some(checkpoint.clone()), keep };
                train_resumable(&data, &options, key, run, &Silent)
            };
            let other = resume("other");
            assert!(other.unwrap_err().to_string().contains("other data"));
            let resumed = resume("run").unwrap();
            assert!(resumed == whole, "{architecture:?} resumed after {epochs} epochs");
        }
    }
}

/// Cancels at the n-th time that it is asked, from whatever thread.
struct CancelAt(AtomicIsize);

impl Monitor for CancelAt {
    fn progress(&self, _: &Progress<'_>) {}

    fn cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) <= 0
    }
}

/// Wherever training is cancelled, within an epoch, a validation or the search for symmetries, it stops with a checkpoint from which it
/// comes to the same bytes.
fn check_cancelled_anywhere(data: &TrainingData, options: &TrainOptions, places: isize) {
    let key = StreamKey::root(4);
    let count = CancelAt(isize::MAX.into());
    let whole = train(data, options, key, &count).unwrap();
    let asked = isize::MAX - count.0.into_inner();
    for place in 0..places {
        let mut kept = None;
        let mut keep = |last, checkpoint: &dyn Fn() -> Checkpoint| {
            kept = (last == Last::Yes).then(checkpoint);
            Ok(())
        };
        let run = Resumable { fingerprint: "run", resume: None, keep: Box::new(&mut keep) };
        let stopped = train_resumable(data, options, key, run, &CancelAt((asked * place / places).into()));
        assert!(matches!(stopped, Err(InferenceError::Cancelled(_))), "{:?} at {place}", options.architecture);
        let run = Resumable { fingerprint: "run", resume: kept, keep: Box::new(|_, _| Ok(())) };
        assert!(run.resume.is_some());
        let resumed = train_resumable(data, options, key, run, &Silent).unwrap();
        assert!(resumed == whole, "{:?} at {place}", options.architecture);
    }
}

#[test]
fn cancelled_anywhere_goes_on_to_the_same_bytes() {
    for architecture in [Architecture::Anchored, Architecture::Likelihood] {
        let mut options = TrainOptions { architecture, ..small() };
        options.anchor.linear = true;
        check_cancelled_anywhere(&toy(600, 1, &options), &options, 12);
    }
}

/// Networks that were cancelled in different epochs are compared in the same ones.
#[test]
fn a_race_that_is_cancelled_anywhere_ends_the_same() {
    let optimizer = OptimizerOptions { epochs: 12, learning_rate: 3e-3, ..OptimizerOptions::default() };
    let likelihood = LikelihoodOptions {
        hidden: vec![32; 2],
        candidates: vec![DensityForm { components: 1, covariance: Covariance::Diagonal }],
        optimizer,
        members: 1,
        symmetries: false,
        ..LikelihoodOptions::default()
    };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
    let data = toy_seen(3000, 1, &options, |mean, noise| (3.0 * mean).sin() + 0.1 * noise);
    let model = train(&data, &options, StreamKey::root(4), &Silent).unwrap();
    let behind = |record: &TrainingRecord| (record.network.ends_with("behind"), record.validation_loss.len());
    assert_eq!(model.info.training.iter().map(behind).collect::<Vec<_>>(), [(true, 4), (false, 12)]);
    check_cancelled_anywhere(&data, &options, 60);
}

/// What a network does not depend on is symmetric in every way: of twelve such parameters, all changes of sign and exchanges generate
/// 2¹² · 12! maps, and of 800 the exchanges alone are 639 200.
#[test]
fn many_parameters_that_are_not_identified_have_no_symmetry() {
    for m in [12, 800] {
        let mut rng = StreamKey::root(11).child(Purpose::Simulator).rng(0);
        let marginals = (0..m).map(|i| format!(r#"{{"name":"p{i}","dist":"normal","loc":0,"scale":1}}"#));
        let prior = Prior::from_json(&format!("[{}]", marginals.collect::<Vec<_>>().join(","))).unwrap();
        let theta = Array2::<f32>::from_shape_simple_fn((300, m), || StandardNormal.sample(&mut rng));
        let x = Array3::<f32>::from_shape_simple_fn((300, 1, 1), || StandardNormal.sample(&mut rng));
        let optimizer = OptimizerOptions { epochs: 2, ..OptimizerOptions::default() };
        let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
        let hidden = vec![8];
        let likelihood =
            LikelihoodOptions { hidden, candidates, optimizer, members: 1, ..LikelihoodOptions::default() };
        let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
        let key = StreamKey::root(0);
        let data = TrainingData::prepare(theta.view(), x.view(), &prior, false, &options, key).unwrap();
        let asked = CancelAt(isize::MAX.into());
        let model = train(&data, &options, key, &asked).unwrap();
        let Networks::Likelihood { symmetry, .. } = &model.networks else { panic!("a likelihood") };
        assert_eq!(symmetry.order(), 1);
        // A measure of the work that does not depend on the machine: tens of epochs, not thousands.
        let asked = isize::MAX - asked.0.into_inner();
        assert!(asked < 5000, "{asked} chunks of rows for {m} parameters");
    }
}

/// On a Gaussian problem the anchor's validation loss reaches that of the exact posterior N(0.8 x, 0.2 I) on the same
/// rows, and nothing is left for the residual: its loss is the variance of its target, 1.
#[test]
fn a_gaussian_posterior_is_learned() {
    let optimizer = OptimizerOptions { epochs: 80, ..OptimizerOptions::default() };
    let options = TrainOptions {
        anchor: AnchorOptions { hidden: vec![32], linear: false, optimizer: optimizer.clone() },
        optimizer: OptimizerOptions { epochs: 5, ..optimizer },
        ..small()
    };
    let data = toy(8000, 1, &options);
    let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
    let [anchor, residual] = &model.info.training[..] else { panic!("two networks") };
    let map = &data.observation_map;
    let exact: f64 = data
        .validation
        .iter()
        .map(|&row| {
            let (z, features) = (data.latent_row(row as usize), data.feature_row(row as usize, 0));
            let square: f64 =
                (0..2).map(|i| f64::from(z[i] - 0.8 * (features[i] * map.sd[i] + map.mean[i])).powi(2)).sum();
            0.5 * square / 0.2 + 0.2f64.ln()
        })
        .sum::<f64>()
        / data.validation.len() as f64;
    assert!((anchor.best_validation_loss - exact).abs() < 0.03, "{} {exact}", anchor.best_validation_loss);
    assert!((residual.best_validation_loss - 1.0).abs() < 0.1, "{}", residual.best_validation_loss);
}

/// The likelihood's validation loss reaches that of the exact N(θ, 0.25 I) on the same rows.
#[test]
fn a_gaussian_likelihood_is_learned() {
    let optimizer = OptimizerOptions { epochs: 80, ..OptimizerOptions::default() };
    let likelihood =
        LikelihoodOptions { hidden: vec![32], optimizer, members: 2, linear: false, ..LikelihoodOptions::default() };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
    let data = toy(8000, 1, &options);
    let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
    let map = &data.observation_map;
    let exact: f64 = data
        .validation
        .iter()
        .map(|&row| {
            let (z, features) = (data.latent_row(row as usize), data.feature_row(row as usize, 0));
            (0..2)
                .map(|i| {
                    let x = f64::from(features[i] * map.sd[i] + map.mean[i]);
                    0.5 * (x - f64::from(z[i])).powi(2) / 0.25 + (0.5 / f64::from(map.sd[i])).ln()
                })
                .sum::<f64>()
        })
        .sum::<f64>()
        / data.validation.len() as f64;
    // Three forms, and a second member.
    assert_eq!(model.info.training.len(), 4);
    for record in &model.info.training {
        let reached = record.best_validation_loss;
        assert!((reached - exact).abs() < 0.03, "{}: {reached} {exact}", record.network);
    }
}

#[test]
fn explosions_are_told() {
    let options = TrainOptions {
        architecture: Architecture::Noise,
        optimizer: OptimizerOptions {
            learning_rate: 1e6,
            max_gradient_norm: 1e30,
            warm_up_epochs: 0,
            ..small().optimizer
        },
        ..small()
    };
    let data = toy(600, 1, &options);
    let error = train(&data, &options, StreamKey::root(0), &Silent).unwrap_err().to_string();
    assert!(error.contains("diverged") && error.contains("learning_rate"), "{error}");
}

/// Of several learning rates and batch sizes the one that validates best is used, as if it had been trained alone.
#[test]
fn a_search_keeps_what_validates_best() {
    for architecture in [Architecture::Anchored, Architecture::Noise, Architecture::Likelihood] {
        let mut alone = TrainOptions { architecture, ..small() };
        alone.likelihood.learning_rate_factors.clear();
        let data = toy(600, 1, &alone);
        // Nothing is learned at the first and the last rate.
        let search = SearchOptions { learning_rates: vec![1e-9, 1e-3, 1e-8], batch_sizes: vec![128] };
        let several = TrainOptions { search, ..alone.clone() };
        let [alone, best] =
            [alone, several].map(|options| train(&data, &options, StreamKey::root(3), &Silent).unwrap());
        assert!(alone.networks == best.networks, "{architecture:?}");
        let stages = if architecture == Architecture::Anchored { 2 } else { 1 };
        let kept = best.info.training.iter().filter(|record| record.kept && record.network.contains("learning rate"));
        assert!(kept.clone().all(|record| (record.learning_rate, record.batch_size) == (1e-3, 128)));
        assert_eq!(kept.count(), stages, "{:?}", best.info.training);
    }
}

/// x = (a², b) + noise: the sign of a is not identified, and that of b is.
#[test]
fn a_symmetry_of_the_likelihood_is_found_and_used() {
    let optimizer = OptimizerOptions { epochs: 60, ..OptimizerOptions::default() };
    let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
    let likelihood =
        LikelihoodOptions { hidden: vec![32; 2], candidates, optimizer, members: 2, ..LikelihoodOptions::default() };
    let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, ..small() };
    let mut data = toy(4000, 1, &options);
    let sd = data.observation_map.sd[0];
    let Features::Memory(features) = &mut data.features else { panic!("in memory") };
    for (z, x) in data.latent.chunks_exact(2).zip(features.chunks_exact_mut(2)) {
        x[0] += 2.0 * z[0] * z[0] - z[0] / sd;
    }
    let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
    let Networks::Likelihood { members, symmetry, .. } = &model.networks else { panic!("a likelihood") };
    assert_eq!(*symmetry, Symmetry::generated(2, &[SignedPermutation::flip(2, &[0])]).unwrap());
    // A linear network, the form's without the symmetry, one with it, another member.
    let kept: Vec<bool> = model.info.training.iter().map(|record| record.kept).collect();
    assert_eq!((members.len(), kept), (2, vec![false, false, true, true]));
    assert!(TrainedModel::from_bytes(&model.to_bytes()).unwrap() == model);

    let without = LikelihoodOptions { symmetries: false, ..options.likelihood.clone() };
    let options = TrainOptions { likelihood: without, ..options };
    let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
    let Networks::Likelihood { symmetry, .. } = &model.networks else { panic!("a likelihood") };
    assert_eq!(symmetry.order(), 1);
}
