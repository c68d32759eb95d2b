//! Gradients and tangents against central finite differences in double precision.

use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tallsbi_network::{
    Activation, Engine, FirstTangents, ForwardWorkspace, LastLayer, Mlp, MlpSpec, TangentWorkspace, Trace,
};

const ACTIVATIONS: [Activation; 5] =
    [Activation::Relu, Activation::Silu, Activation::Elu, Activation::Gelu, Activation::Tanh];
const ROWS: usize = 5;

/// Every activation with and without layer norm and residuals, over equal and unequal widths; and a linear map.
fn specs() -> Vec<MlpSpec> {
    let mut specs = vec![MlpSpec {
        input: 3,
        hidden: vec![],
        output: 4,
        activation: Activation::Relu,
        layer_norm: true,
        residual: true,
    }];
    for activation in ACTIVATIONS {
        for (layer_norm, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            let hidden = vec![7, 37, 37, 37];
            specs.push(MlpSpec { input: 6, hidden, output: 3, activation, layer_norm, residual });
        }
    }
    specs
}

fn random_network(spec: MlpSpec, rng: &mut Pcg64) -> Mlp<f64> {
    let mut network = Mlp::random(spec, LastLayer::Random, rng).unwrap();
    // Gains away from 1 and norm biases away from 0, so that a forgotten one shows.
    for layer in network.layers().to_vec() {
        if let Some((gain, bias)) = layer.norm {
            for parameter in &mut network.parameters_mut()[gain.start..bias.end] {
                *parameter += rng.random::<f64>() - 0.5;
            }
        }
    }
    network
}

fn uniform(length: usize, rng: &mut Pcg64) -> Vec<f64> {
    (0..length).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect()
}

fn outputs(network: &Mlp<f64>, input: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; input.len() / network.spec().input * network.spec().output];
    Engine::new(network).forward(input, &mut ForwardWorkspace::new(network.spec(), ROWS), &mut out);
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Largest difference relative to the largest reference value.
fn relative_error(found: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let scale = reference.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
}

const STEP: f64 = 1e-6;

fn central_difference(mut value: impl FnMut(f64) -> f64) -> f64 {
    (value(STEP) - value(-STEP)) / (2.0 * STEP)
}

#[test]
fn backward_equals_finite_differences() {
    for spec in specs() {
        let mut rng = Pcg64::seed_from_u64(1);
        let network = random_network(spec.clone(), &mut rng);
        let input = uniform(ROWS * spec.input, &mut rng);
        let weights = uniform(ROWS * spec.output, &mut rng);
        let engine = Engine::for_training(&network);
        let mut trace = Trace::new(&spec, ROWS + 2);
        let mut out = vec![0.0; ROWS * spec.output];
        engine.forward_traced(&input, &mut trace, &mut out);
        assert_eq!(out, outputs(&network, &input), "{spec:?}");
        // Starts away from zero: gradients must be added.
        let mut gradient = vec![0.5; spec.parameter_count()];
        let mut input_gradient = vec![f64::NAN; input.len()];
        engine.backward(&input, &mut trace, &weights, &mut gradient, Some(&mut input_gradient));
        gradient.iter_mut().for_each(|value| *value -= 0.5);

        let loss = |network: &Mlp<f64>, input: &[f64]| dot(&outputs(network, input), &weights);
        for layer in network.layers() {
            let norm = layer.norm.iter().flat_map(|(gain, bias)| [gain.clone(), bias.clone()]);
            for range in [layer.weight.clone(), layer.bias.clone()].into_iter().chain(norm) {
                let expected: Vec<f64> = range
                    .clone()
                    .map(|index| {
                        let mut changed = network.clone();
                        central_difference(|step| {
                            changed.parameters_mut()[index] = network.parameters()[index] + step;
                            loss(&changed, &input)
                        })
                    })
                    .collect();
                let error = relative_error(&gradient[range.clone()], &expected);
                assert!(error < 1e-6, "{spec:?} {range:?}: relative error {error:e}");
            }
        }
        let expected: Vec<f64> = (0..input.len())
            .map(|index| {
                let mut changed = input.clone();
                central_difference(|step| {
                    changed[index] = input[index] + step;
                    loss(&network, &changed)
                })
            })
            .collect();
        let error = relative_error(&input_gradient, &expected);
        assert!(error < 1e-6, "{spec:?} input: relative error {error:e}");
    }
}

#[test]
fn tangents_equal_finite_differences() {
    for spec in specs() {
        let mut rng = Pcg64::seed_from_u64(2);
        let network = random_network(spec.clone(), &mut rng);
        let input = uniform(ROWS * spec.input, &mut rng);
        let count = 3;
        let tangents = uniform(ROWS * count * spec.input, &mut rng);
        let engine = Engine::new(&network);
        let mut workspace = TangentWorkspace::new(&spec, ROWS + 1, count + 1);
        let mut out = vec![0.0; ROWS * spec.output];
        let mut out_tangents = vec![0.0; ROWS * count * spec.output];
        engine.tangent(&input, &tangents, count, &mut workspace, &mut out, &mut out_tangents);
        assert!(relative_error(&out, &outputs(&network, &input)) < 1e-14);
        for row in 0..ROWS {
            for index in 0..count {
                let line = row * count + index;
                let direction = &tangents[line * spec.input..(line + 1) * spec.input];
                let point = &input[row * spec.input..(row + 1) * spec.input];
                let at = |step: f64| {
                    let moved: Vec<f64> = point.iter().zip(direction).map(|(x, d)| x + step * d).collect();
                    outputs(&network, &moved)
                };
                let (ahead, behind) = (at(STEP), at(-STEP));
                let expected: Vec<f64> = ahead.iter().zip(&behind).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
                let error = relative_error(&out_tangents[line * spec.output..(line + 1) * spec.output], &expected);
                assert!(error < 1e-6, "{spec:?}: relative error {error:e}");
            }
        }
    }
}

/// The first layer may be entered in parts: blocks of columns, added up, give the same values, and its columns the same
/// tangents, as the whole input.
#[test]
fn split_first_layer_equals_whole() {
    for spec in specs() {
        let mut rng = Pcg64::seed_from_u64(3);
        let network = random_network(spec.clone(), &mut rng);
        let engine = Engine::new(&network);
        let input = uniform(ROWS * spec.input, &mut rng);
        let width = engine.first_width();
        let mut preactivation = vec![0.0; ROWS * width];
        for (columns, add_bias) in [(0..2, true), (2..spec.input, false)] {
            let part: Vec<f64> =
                input.chunks(spec.input).flat_map(|row| row[columns.clone()].iter().copied()).collect();
            let mut block = vec![f64::NAN; ROWS * width];
            engine.project_first_layer(columns, &part, add_bias, &mut block);
            preactivation.iter_mut().zip(&block).for_each(|(total, value)| *total += value);
        }
        let mut out = vec![0.0; ROWS * spec.output];
        let mut workspace = ForwardWorkspace::new(&spec, ROWS);
        engine.forward_from_first_preactivation(&preactivation, &mut workspace, &mut out);
        assert!(relative_error(&out, &outputs(&network, &input)) < 1e-13, "{spec:?}");

        let count = 2;
        let mut tangents = vec![0.0; ROWS * count * spec.input];
        for (line, tangent) in tangents.chunks_exact_mut(spec.input).enumerate() {
            tangent[line % count] = 1.0;
        }
        let mut workspace = TangentWorkspace::new(&spec, ROWS, count);
        let mut expected = vec![0.0; ROWS * count * spec.output];
        engine.tangent(&input, &tangents, count, &mut workspace, &mut out, &mut expected);
        let shared = engine.first_layer_columns(0..count);
        let per_row = shared.repeat(ROWS);
        for first in [FirstTangents::Shared(&shared), FirstTangents::PerRow(&per_row)] {
            let mut found = vec![f64::NAN; expected.len()];
            let mut values = vec![f64::NAN; out.len()];
            engine.tangent_from_first_preactivation(
                &preactivation,
                first,
                count,
                &mut workspace,
                &mut values,
                &mut found,
            );
            assert!(relative_error(&found, &expected) < 1e-13, "{spec:?}");
            assert!(relative_error(&values, &out) < 1e-13, "{spec:?}");
        }
    }
}
