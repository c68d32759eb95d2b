//! Laws of the optimiser, the averages, the schedules, the parallel gradient and the files.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tallsbi_network::{
    Activation, Adam, AdamSettings, Ema, EmaSettings, Engine, ForwardWorkspace, GradientAccumulator, LastLayer,
    LearningRateSchedule, Mlp, MlpSpec, NetworkError, ScheduleShape, Trace, clip_global_norm, tensors,
};

fn spec() -> MlpSpec {
    MlpSpec {
        input: 4,
        hidden: vec![150; 2],
        output: 2,
        activation: Activation::Silu,
        layer_norm: true,
        residual: true,
    }
}

/// A few hundred rows of a regression trained for some steps on a pool of `threads` threads.
fn train(threads: usize) -> (Vec<f64>, Vec<f32>, Vec<f32>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut rng = Pcg64::seed_from_u64(5);
        let mut network = Mlp::<f32>::random(spec(), LastLayer::Zero, &mut rng).unwrap();
        let input: Vec<f32> = (0..300 * 4).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
        let parameters = network.parameters().len();
        assert!(parameters > 16_384, "the parallel paths of the optimiser must be reached");
        let mut engine = Engine::for_training(&network);
        let mut adam = Adam::new(AdamSettings { weight_decay: 1e-3, ..AdamSettings::default() }, parameters).unwrap();
        let mut ema = Ema::new(EmaSettings { decay: 0.9, warm_up: true }, network.parameters()).unwrap();
        let mut accumulator =
            GradientAccumulator::new(parameters, 300, 64, || (Trace::new(&spec(), 64), vec![0.0_f32; 64 * 2]));
        let mut gradient = vec![f32::NAN; parameters];
        let losses = (0..30)
            .map(|_| {
                let loss = accumulator.compute(300, &mut gradient, |rows, gradient, (trace, out)| {
                    let out = &mut out[..rows.len() * 2];
                    let input = &input[rows.start * 4..rows.end * 4];
                    engine.forward_traced(input, trace, out);
                    let mut loss = 0.0;
                    for (row, out) in input.chunks(4).zip(out.chunks_mut(2)) {
                        for (out, target) in out.iter_mut().zip([row[0] * row[1], (3.0 * row[2]).sin()]) {
                            *out -= target;
                            loss += f64::from(*out * *out) / 300.0;
                            *out *= 2.0 / 300.0;
                        }
                    }
                    engine.backward(input, trace, out, gradient, None);
                    loss
                });
                clip_global_norm(&mut gradient, 0.5);
                adam.update(network.parameters_mut(), &gradient, 1e-2);
                ema.update(network.parameters());
                engine.load(network.parameters());
                loss
            })
            .collect();
        (losses, network.parameters().to_vec(), ema.average().to_vec())
    })
}

#[test]
fn training_gives_the_same_bytes_on_any_number_of_threads() {
    let one = train(1);
    assert!(one.0[29] < 0.5 * one.0[0], "the loss must fall: {:?}", one.0);
    for threads in [2, 7] {
        assert!(train(threads) == one, "{threads} threads give other numbers than one");
    }
}

/// A row's result does not depend on the tile it is evaluated in.
#[test]
fn tiles_do_not_change_results() {
    let mut rng = Pcg64::seed_from_u64(6);
    let network = Mlp::<f32>::random(spec(), LastLayer::Random, &mut rng).unwrap();
    let input: Vec<f32> = (0..53 * 4).map(|_| rng.random()).collect();
    let engine = Engine::new(&network);
    let run = |tile: usize| {
        let mut workspace = ForwardWorkspace::new(&spec(), tile);
        let mut out = vec![0.0_f32; 53 * 2];
        for (input, out) in input.chunks(tile * 4).zip(out.chunks_mut(tile * 2)) {
            engine.forward(input, &mut workspace, out);
        }
        out
    };
    let whole = run(53);
    for tile in [1, 5, 12, 31] {
        assert_eq!(run(tile), whole);
    }
}

/// Two steps by hand, with weight decay and L2 penalty.
#[test]
fn adam_equals_its_equations() {
    let settings = AdamSettings { beta1: 0.8, beta2: 0.9, epsilon: 1e-3, weight_decay: 0.1, l2_penalty: 0.05 };
    let mut adam = Adam::<f64>::new(settings, 1).unwrap();
    let (mut found, mut expected) = ([1.0], 1.0);
    let (mut m, mut v) = (0.0, 0.0);
    for (step, gradient) in [(1, 0.5), (2, -2.0), (3, 0.25)] {
        // Through a checkpoint at every step.
        adam = serde_json::from_str(&serde_json::to_string(&adam).unwrap()).unwrap();
        adam.update(&mut found, &[gradient], 0.01);
        let g: f64 = gradient + 0.05 * expected;
        m = 0.8 * m + 0.2 * g;
        v = 0.9 * v + 0.1 * g * g;
        let (m_hat, v_hat) = (m / (1.0 - 0.8_f64.powi(step)), v / (1.0 - 0.9_f64.powi(step)));
        expected = (1.0 - 0.01 * 0.1) * expected - 0.01 * m_hat / (v_hat.sqrt() + 1e-3);
        assert!((found[0] - expected).abs() < 1e-15, "step {step}: {} is not {expected}", found[0]);
    }
    assert_eq!(adam.step(), 3);
    assert!(Adam::<f64>::new(AdamSettings { beta1: 1.0, ..settings }, 1).is_err());
}

#[test]
fn average_follows_its_recurrence() {
    let mut ema = Ema::<f64>::new(EmaSettings { decay: 0.5, warm_up: true }, &[0.0]).unwrap();
    let mut expected = 0.0;
    for step in 0..20 {
        let decay = ((1.0 + f64::from(step)) / (10.0 + f64::from(step))).min(0.5);
        expected = decay * expected + (1.0 - decay) * f64::from(step);
        ema.update(&[f64::from(step)]);
        assert!((ema.average()[0] - expected).abs() < 1e-14);
    }
    let mut plain = Ema::<f64>::new(EmaSettings { decay: 0.75, warm_up: false }, &[1.0]).unwrap();
    plain.update(&[5.0]);
    assert_eq!(plain.average(), [2.0]);
    assert!(Ema::<f64>::new(EmaSettings { decay: 1.0, warm_up: false }, &[1.0]).is_err());
}

#[test]
fn clipping_keeps_direction_and_limits_length() {
    let mut long: Vec<f32> = (0..40_000).map(|index| (index % 7) as f32 - 3.0).collect();
    let original = long.clone();
    let norm = original.iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt();
    assert!((clip_global_norm(&mut long, 2.0) / norm - 1.0).abs() < 1e-12);
    assert!((clip_global_norm(&mut long.clone(), 1e9) - 2.0).abs() < 1e-5);
    assert!(long.iter().zip(&original).all(|(a, b)| (f64::from(*a) - f64::from(*b) * 2.0 / norm).abs() < 1e-8));
    let mut short = [3.0_f64, 4.0];
    assert_eq!((clip_global_norm(&mut short, 5.0), short), (5.0, [3.0, 4.0]));
    let mut diverged = [f64::NAN, 1.0];
    assert!(clip_global_norm(&mut diverged, 1.0).is_nan() && diverged[1] == 1.0);
}

#[test]
fn schedules_rise_and_fall() {
    let constant = LearningRateSchedule { learning_rate: 2.0, warm_up_steps: 4, ..LearningRateSchedule::default() };
    assert_eq!([0, 1, 3, 4, 1000].map(|step| constant.at(step)), [0.5, 1.0, 2.0, 2.0, 2.0]);
    let cosine =
        LearningRateSchedule { shape: ScheduleShape::Cosine, total_steps: 104, final_fraction: 0.1, ..constant };
    for (step, expected) in [(4, 2.0), (54, 1.1), (104, 0.2), (500, 0.2)] {
        assert!((cosine.at(step) - expected).abs() < 1e-12, "step {step}");
    }
    assert!(cosine.validate().is_ok());
    assert!(LearningRateSchedule { total_steps: 4, ..cosine }.validate().is_err());
    assert!(LearningRateSchedule { learning_rate: 0.0, ..constant }.validate().is_err());
}

#[test]
fn initialisation_is_uniform_within_its_bounds() {
    let mut rng = Pcg64::seed_from_u64(7);
    let network = Mlp::<f64>::random(spec(), LastLayer::Zero, &mut rng).unwrap();
    for (index, layer) in network.layers().iter().enumerate() {
        let weight = network.weight(index);
        if index == 2 {
            assert!(weight.iter().chain(network.bias(index)).all(|&value| value == 0.0));
            continue;
        }
        let bound = 1.0 / (layer.input as f64).sqrt();
        assert!(weight.iter().chain(network.bias(index)).all(|value| value.abs() <= bound));
        let variance = weight.iter().map(|value| value * value).sum::<f64>() / weight.len() as f64;
        // U(±b) has variance b²/3; its square has a relative deviation of 0.9 per number.
        let deviation = 0.9 / (weight.len() as f64).sqrt();
        assert!((3.0 * variance / (bound * bound) - 1.0).abs() < 5.0 * deviation);
        let (gain, bias) = network.norm(index).unwrap();
        assert!(gain.iter().all(|&value| value == 1.0) && bias.iter().all(|&value| value == 0.0));
    }
}

#[test]
fn networks_survive_the_file() {
    let network = Mlp::<f32>::random(spec(), LastLayer::Random, &mut Pcg64::seed_from_u64(8)).unwrap();
    let mut named = tensors::mlp_tensors(&network, "net");
    let bytes = safetensors::serialize(named.clone(), None).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let found = tensors::infer_spec(&file, "net", Activation::Silu, true).unwrap();
    assert_eq!(tensors::read_mlp(&file, "net", found).unwrap(), network);

    let missing = tensors::infer_spec(&file, "other", Activation::Silu, true).unwrap_err();
    assert_eq!(missing.to_string(), "tensor 'other.0.weight' is missing; the file does not hold this network");
    let wider = MlpSpec { output: 3, ..spec() };
    assert!(matches!(tensors::read_mlp(&file, "net", wider), Err(NetworkError::TensorShape { .. })));
    named[1].1 = tensors::TensorData::new(vec![150], &[f32::NAN; 150]);
    let bytes = safetensors::serialize(named, None).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(matches!(tensors::read_mlp(&file, "net", spec()), Err(NetworkError::NotFinite { .. })));
    assert!(Mlp::from_parameters(spec(), vec![0.0_f32; 3]).is_err());
    assert!(MlpSpec { hidden: vec![3, 0], ..spec() }.validate().is_err());
}
