//! Score networks: against the goldens of the authors' networks, and against their own derivatives.

use ndarray::{Array1, Array2, ArrayView2, s};
use rand::RngExt;
use std::path::PathBuf;
use tallsbi_data::{LatentMap, Prior, Purpose, StreamKey};
use tallsbi_inference::model::anchored::anchor_outputs;
use tallsbi_inference::model::{
    AnchoredModel, AnchoredSettings, ConditionalNetwork, ConditionalSpec, EmbeddingSpec, ModelInfo, Networks,
    NoiseModel, NoiseSettings, ObservationMap, PreparedModel, TrainedModel,
};
use tallsbi_inference::score::{Pair, ScoreContext, ScoreModel};
use tallsbi_network::{Activation, LastLayer, Mlp, MlpSpec};

fn reference_data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let path = PathBuf::from(std::env::var("TALLSBI_REFERENCE_DATA").unwrap_or_else(|_| default.into()));
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").is_err(), "the reference data must be there in CI");
    println!("skipped: no reference data at {}", path.display());
    None
}

fn load(name: &str) -> Option<TrainedModel> {
    let path = reference_data()?.join("networks").join(name);
    Some(TrainedModel::from_bytes(&std::fs::read(path).unwrap()).unwrap())
}

/// Undoes a standardisation, so that goldens in network space can go through the public path in simulator units.
fn to_units(map: &ObservationMap, features: ArrayView2<'_, f64>) -> Array2<f32> {
    Array2::from_shape_fn(features.dim(), |(i, j)| {
        let value = features[(i, j)] * f64::from(map.sd[j]) + f64::from(map.mean[j]);
        (if map.log { value.exp() } else { value }) as f32
    })
}

fn noise_model(model: &TrainedModel) -> NoiseModel {
    match model.prepare() {
        PreparedModel::Noise(model) => model,
        _ => panic!("reference networks predict noise"),
    }
}

#[test]
fn reference_networks_give_the_golden_scores_and_jacobians() {
    let Some(data) = reference_data() else { return };
    let goldens = hdf5::File::open(data.join("goldens/eps_networks.h5")).unwrap();
    for (group, file) in [
        ("slcp", "slcp/n30000.safetensors"),
        ("lotka_volterra", "lotka_volterra/n30000.safetensors"),
        ("jrnmm_3d", "jrnmm/3d.safetensors"),
        ("jrnmm_4d", "jrnmm/4d.safetensors"),
    ] {
        let trained = load(file).unwrap();
        let model = noise_model(&trained);
        let golden = goldens.group(group).unwrap();
        let read = |name: &str| golden.dataset(name).unwrap().read_2d::<f64>().unwrap();
        let (theta, x, eps) = (read("theta"), read("x"), read("eps"));
        let t: Array1<f64> = golden.dataset("t").unwrap().read_1d().unwrap();
        let jacobians = golden.dataset("deps_dtheta_first16").unwrap().read_dyn::<f64>().unwrap();
        let m = model.dim_theta();
        let units = to_units(&trained.observation_map, x.view());
        let context = model.context(&[units.view()]).unwrap();
        let mut workspace = model.workspace(1);
        for row in 0..theta.nrows() {
            let pair = [Pair { particle: 0, factor: row as u32 }];
            model.begin(theta.row(row).as_slice().unwrap(), t[row], &mut workspace);
            let (mut score, mut jacobian) = (vec![0.0; m], vec![0.0; m * m]);
            model.scores_and_jacobians(&context, &pair, &mut workspace, &mut score, &mut jacobian);
            let mut plain = vec![0.0; m];
            model.scores(&context, &pair, &mut workspace, &mut plain);
            let sigma = model.noise_scale(t[row]);
            let scale = eps.row(row).iter().fold(0.1f64, |a, v| a.max(v.abs()));
            for i in 0..m {
                assert!(
                    (plain[i] - score[i]).abs() <= 2e-5 * scale / sigma,
                    "{group}: value with and without tangents"
                );
                // f32 networks, and observations rounded to f32 on their way through physical units.
                let error = (-sigma * score[i] - eps[(row, i)]).abs() / scale;
                assert!(error < 5e-5, "{group} row {row}: relative error {error:e}");
            }
            if row < 16 {
                let golden = jacobians.slice(s![row, .., ..]);
                let scale = golden.iter().fold(0.1f64, |a, v| a.max(v.abs()));
                for i in 0..m {
                    for j in 0..m {
                        let error = (-sigma * jacobian[i * m + j] - golden[[i, j]]).abs() / scale;
                        assert!(error < 2e-4, "{group} row {row}: Jacobian error {error:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn networks_for_sets_give_the_golden_noise() {
    let Some(data) = reference_data() else { return };
    let goldens = hdf5::File::open(data.join("goldens/eps_networks.h5")).unwrap();
    for n_max in [3usize, 6, 30] {
        let trained = load(&format!("lotka_volterra/n30000_pf{n_max}.safetensors")).unwrap();
        let model = noise_model(&trained);
        let Networks::Noise { positions, .. } = &trained.networks else { panic!() };
        let golden = goldens.group(&format!("lotka_volterra_pf{n_max}")).unwrap();
        let read = |name: &str| golden.dataset(name).unwrap().read_dyn::<f64>().unwrap();
        let (theta, x, eps, sizes) = (read("theta"), read("x"), read("eps"), read("n"));
        let t: Array1<f64> = golden.dataset("t").unwrap().read_1d().unwrap();
        for row in 0..t.len() {
            let size = sizes[[row, 0]] as usize;
            let units = Array2::from_shape_fn((size, trained.dim_x()), |(i, j)| {
                let map = &positions[i];
                let value = x[[row, i, j]] * f64::from(map.sd[j]) + f64::from(map.mean[j]);
                (if map.log { value.exp() } else { value }) as f32
            });
            let context = model.context(&[units.view()]).unwrap();
            assert_eq!(context.factors(0), 0..1);
            let mut workspace = model.workspace(1);
            let particle: Vec<f64> = (0..4).map(|i| theta[[row, i]]).collect();
            model.begin(&particle, t[row], &mut workspace);
            let mut score = vec![0.0; 4];
            model.scores(&context, &[Pair { particle: 0, factor: 0 }], &mut workspace, &mut score);
            for i in 0..4 {
                let error = (-model.noise_scale(t[row]) * score[i] - eps[[row, i]]).abs();
                assert!(error < 1e-4, "n_max {n_max} row {row}: error {error:e}");
            }
        }
    }
}

#[test]
fn guided_networks_know_the_prior() {
    let Some(with) = load("sir/n30000_cfg.safetensors") else { return };
    assert!(noise_model(&with).null_context().is_some());
    assert!(noise_model(&load("sir/n30000.safetensors").unwrap()).null_context().is_none());
}

fn identity_map(d: usize) -> ObservationMap {
    ObservationMap::standardize(vec![0.0; d], vec![1.0; d])
}

fn random_anchored(m: usize, d: usize) -> (Mlp<f32>, ConditionalNetwork) {
    let mut rng = StreamKey::root(3).child(Purpose::Initialization).rng(0);
    let anchor = MlpSpec {
        input: d,
        hidden: vec![16],
        output: anchor_outputs(m),
        activation: Activation::Silu,
        layer_norm: true,
        residual: false,
    };
    let anchor = Mlp::random(anchor, LastLayer::Random, &mut rng).unwrap();
    let spec = ConditionalSpec { hidden: vec![24, 24], ..ConditionalSpec::default() };
    let residual = ConditionalNetwork::random(spec, m, d, LastLayer::Random, &mut rng).unwrap();
    (anchor, residual)
}

/// Central differences of the score against its Jacobian.
fn check_jacobian<M: ScoreModel>(model: &M, x: ArrayView2<'_, f32>, t: f64) {
    let m = model.dim_theta();
    let context = model.context(&[x]).unwrap();
    let mut workspace = model.workspace(4);
    let mut rng = StreamKey::root(5).child(Purpose::SamplerStart).rng(0);
    let theta: Vec<f64> = (0..2 * m).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect();
    let pairs: Vec<Pair> =
        (0..2).flat_map(|particle| (0..x.nrows() as u32).map(move |factor| Pair { particle, factor })).collect();
    let (mut scores, mut jacobians) = (vec![0.0; pairs.len() * m], vec![0.0; pairs.len() * m * m]);
    model.begin(&theta, t, &mut workspace);
    model.scores_and_jacobians(&context, &pairs, &mut workspace, &mut scores, &mut jacobians);
    let h = 1e-2;
    for b in 0..m {
        let mut at = |shift: f64| {
            let moved: Vec<f64> =
                theta.iter().enumerate().map(|(i, v)| v + if i % m == b { shift } else { 0.0 }).collect();
            let mut out = vec![0.0; pairs.len() * m];
            model.begin(&moved, t, &mut workspace);
            model.scores(&context, &pairs, &mut workspace, &mut out);
            out
        };
        let (up, down) = (at(h), at(-h));
        let scale = jacobians.iter().fold(1.0f64, |a, v| a.max(v.abs()));
        for pair in 0..pairs.len() {
            for a in 0..m {
                let numeric = (up[pair * m + a] - down[pair * m + a]) / (2.0 * h);
                let error = (numeric - jacobians[pair * m * m + a * m + b]).abs() / scale;
                assert!(error < 2e-3, "t {t} pair {pair} ({a},{b}): {numeric} {error:e}");
            }
        }
    }
}

#[test]
fn jacobians_are_finite_differences() {
    let x = Array2::from_shape_fn((3, 4), |(i, j)| (i as f32 - 1.0) * 0.5 + 0.3 * j as f32);
    let (anchor, residual) = random_anchored(3, 4);
    let anchored = AnchoredModel::new(&anchor, &residual, identity_map(4), AnchoredSettings::default());
    let embedding = Some(EmbeddingSpec { hidden: vec![12], output: 6 });
    let mut rng = StreamKey::root(4).child(Purpose::Initialization).rng(0);
    for theta_embedding in [None, embedding.clone()] {
        let spec = ConditionalSpec {
            hidden: vec![24, 24],
            theta_embedding,
            x_embedding: embedding.clone(),
            ..ConditionalSpec::default()
        };
        let network = ConditionalNetwork::random(spec, 3, 4, LastLayer::Random, &mut rng).unwrap();
        let noise = NoiseModel::new(&network, identity_map(4), Vec::new(), NoiseSettings::default());
        for t in [0.1, 0.6] {
            check_jacobian(&noise, x.view(), t);
        }
    }
    for t in [0.05, 0.3, 0.6] {
        check_jacobian(&anchored, x.view(), t);
    }
}

/// With a zero residual the anchored score is that of the diffused Gaussian N(√α μ, αΣ + vI).
#[test]
fn anchored_score_without_residual_is_gaussian() {
    let (anchor, _) = random_anchored(2, 4);
    let mut rng = StreamKey::root(3).child(Purpose::Initialization).rng(1);
    let spec = ConditionalSpec { hidden: vec![8], ..ConditionalSpec::default() };
    let residual = ConditionalNetwork::random(spec, 2, 4, LastLayer::Zero, &mut rng).unwrap();
    let model = AnchoredModel::new(&anchor, &residual, identity_map(4), AnchoredSettings::default());
    let x = Array2::from_elem((1, 4), 0.4f32);
    let context = model.context(&[x.view()]).unwrap();
    let covariance = model.covariances(&context).unwrap();
    let mean = &context.anchors.mean;
    let (t, theta) = (0.2, [0.3, -0.8]);
    let alpha = model.schedule().alpha(t);
    let mut workspace = model.workspace(1);
    model.begin(&theta, t, &mut workspace);
    let mut score = [0.0; 2];
    model.scores(&context, &[Pair { particle: 0, factor: 0 }], &mut workspace, &mut score);
    let c = [
        alpha * covariance[0] + 1.0 - alpha,
        alpha * covariance[1],
        alpha * covariance[2],
        alpha * covariance[3] + 1.0 - alpha,
    ];
    let y = [theta[0] - alpha.sqrt() * mean[0], theta[1] - alpha.sqrt() * mean[1]];
    let det = c[0] * c[3] - c[1] * c[2];
    let expected = [-(c[3] * y[0] - c[1] * y[1]) / det, -(c[0] * y[1] - c[2] * y[0]) / det];
    for i in 0..2 {
        assert!((score[i] - expected[i]).abs() < 1e-10, "{score:?} {expected:?}");
    }
}

#[test]
fn files_round_trip_and_damage_is_told() {
    let (anchor, residual) = random_anchored(2, 3);
    let prior = Prior::uniform(&[("a", 0.0, 1.0), ("b", -1.0, 1.0)]).unwrap();
    let model = TrainedModel {
        networks: Networks::Anchored { anchor, residual, settings: AnchoredSettings::default() },
        latent: LatentMap::prior_gaussian(&prior),
        observation_map: identity_map(3),
        info: ModelInfo { task: "toy".into(), ..ModelInfo::default() },
    };
    let bytes = model.to_bytes();
    assert_eq!(bytes, model.to_bytes(), "the same model gives the same bytes");
    assert_eq!(TrainedModel::from_bytes(&bytes).unwrap(), model);
    for damaged in [&bytes[..bytes.len() - 5], &bytes[..20], b"CSV,1,2"] {
        let message = TrainedModel::from_bytes(damaged).unwrap_err().to_string();
        assert!(message.contains("truncated"), "{message}");
    }
}
