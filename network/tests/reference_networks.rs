//! The published networks give the outputs and Jacobians that their authors' code gives (golden values).

use std::path::PathBuf;

use safetensors::SafeTensors;
use tallsbi_network::{Activation, Engine, FirstTangents, ForwardWorkspace, Mlp, Real, TangentWorkspace, tensors};

/// The folder of reference data; None (with a note) where it is absent outside continuous integration.
fn reference_data() -> Option<PathBuf> {
    let folder = std::env::var_os("TALLSBI_REFERENCE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "reference data not found in {}", folder.display());
    eprintln!("skipped: no reference data in {}", folder.display());
    None
}

/// Networks of a file: the trunk and, for JRNMM, the embeddings of θ and x.
struct Reference<T> {
    trunk: Mlp<T>,
    embed_theta: Option<Mlp<T>>,
    embed_x: Option<Mlp<T>>,
    frequencies: Vec<f64>,
}

impl<T: Real> Reference<T> {
    fn open(path: PathBuf) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let load = |prefix: &str| {
            let spec = tensors::infer_spec(&file, prefix, Activation::Relu, false)?;
            assert!(!spec.layer_norm);
            tensors::read_mlp(&file, prefix, spec).map(|network| network.cast())
        };
        let (_, frequencies) = tensors::read_tensor(&file, "freqs").unwrap();
        // π (1..f), rounded to f32: the goldens were computed with the stored, rounded ones.
        let frequencies: Vec<f64> = frequencies.into_iter().map(f64::from).collect();
        let exact = (1..=frequencies.len()).map(|i| std::f64::consts::PI * i as f64);
        assert!(frequencies.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-7 * b));
        Self {
            trunk: load("net").unwrap(),
            embed_theta: load("embed_theta").ok(),
            embed_x: load("embed_x").ok(),
            frequencies,
        }
    }

    /// The trunk's input and its tangents along the coordinates of θ, and the number of these.
    fn input(&self, theta: &[f64], x: &[f64], t: &[f64]) -> (Vec<T>, Vec<T>, usize) {
        let rows = t.len();
        let convert = |values: &[f64]| values.iter().map(|&value| T::from_f64(value)).collect::<Vec<T>>();
        let (theta, x) = (convert(theta), convert(x));
        let count = theta.len() / rows;
        let unit: Vec<T> = (0..rows * count * count)
            .map(|index| if index % count == index / count % count { T::ONE } else { T::ZERO })
            .collect();
        let (theta, tangents) = match &self.embed_theta {
            None => (theta, unit),
            Some(network) => jacobian(network, &theta, &unit, count),
        };
        let x = self.embed_x.as_ref().map_or_else(|| x.clone(), |network| outputs(network, &x));
        let (theta_width, x_width) = (theta.len() / rows, x.len() / rows);
        let mut input = Vec::new();
        let mut input_tangents = Vec::new();
        for (row, &t) in t.iter().enumerate() {
            input.extend_from_slice(&theta[row * theta_width..(row + 1) * theta_width]);
            input.extend_from_slice(&x[row * x_width..(row + 1) * x_width]);
            input.extend(self.frequencies.iter().map(|f| T::from_f64((f * t).cos())));
            input.extend(self.frequencies.iter().map(|f| T::from_f64((f * t).sin())));
            for line in row * count..(row + 1) * count {
                input_tangents.extend_from_slice(&tangents[line * theta_width..(line + 1) * theta_width]);
                input_tangents.extend(vec![T::ZERO; x_width + 2 * self.frequencies.len()]);
            }
        }
        (input, input_tangents, count)
    }
}

/// Forward pass in tiles of 24 rows.
fn outputs<T: Real>(network: &Mlp<T>, input: &[T]) -> Vec<T> {
    let (spec, engine) = (network.spec(), Engine::new(network));
    let mut workspace = ForwardWorkspace::new(spec, 24);
    let mut out = vec![T::ZERO; input.len() / spec.input * spec.output];
    for (input, out) in input.chunks(24 * spec.input).zip(out.chunks_mut(24 * spec.output)) {
        engine.forward(input, &mut workspace, out);
    }
    out
}

fn jacobian<T: Real>(network: &Mlp<T>, input: &[T], tangents: &[T], count: usize) -> (Vec<T>, Vec<T>) {
    let spec = network.spec();
    let rows = input.len() / spec.input;
    let mut workspace = TangentWorkspace::new(spec, rows, count);
    let mut out = vec![T::ZERO; rows * spec.output];
    let mut out_tangents = vec![T::ZERO; rows * count * spec.output];
    Engine::new(network).tangent(input, tangents, count, &mut workspace, &mut out, &mut out_tangents);
    (out, out_tangents)
}

fn largest_error<T: Real>(found: &[T], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).map(|(a, b)| (a.to_f64() - b).abs()).fold(0.0, f64::max) / scale
}

const FILES: [(&str, &str); 6] = [
    ("jrnmm_3d", "jrnmm/3d"),
    ("jrnmm_4d", "jrnmm/4d"),
    ("lotka_volterra", "lotka_volterra/n30000"),
    ("slcp", "slcp/n30000"),
    ("slcp_cfg", "slcp/n30000_cfg"),
    ("two_moons", "two_moons/n30000"),
];

fn check<T: Real>(tolerance: f64) {
    let Some(folder) = reference_data() else { return };
    let goldens = hdf5::File::open(folder.join("goldens/eps_networks.h5")).unwrap();
    for (group, file) in FILES {
        let read = |name: &str| goldens.dataset(&format!("{group}/{name}")).unwrap().read_raw::<f64>().unwrap();
        let network = Reference::<T>::open(folder.join(format!("networks/{file}.safetensors")));
        let (input, tangents, count) = network.input(&read("theta"), &read("x"), &read("t"));
        let error = largest_error(&outputs(&network.trunk, &input), &read("eps"));
        assert!(error < tolerance, "{group}: relative error {error:e}");

        let width = network.trunk.spec().input;
        let (_, found) = jacobian(&network.trunk, &input[..16 * width], &tangents[..16 * count * width], count);
        // The golden is ∂ε_i/∂θ_j at (row, i, j); ours is at (row, j, i).
        let golden = read("deps_dtheta_first16");
        let block = count * count;
        let expected: Vec<f64> = (0..golden.len())
            .map(|index| golden[index / block * block + index % count * count + index / count % count])
            .collect();
        let error = largest_error(&found, &expected);
        assert!(error < tolerance, "{group}: relative error of the Jacobian {error:e}");

        if network.embed_theta.is_none() {
            let engine = Engine::new(&network.trunk);
            let mut preactivation = vec![T::ZERO; 16 * engine.first_width()];
            engine.project_first_layer(0..width, &input[..16 * width], true, &mut preactivation);
            let shared = engine.first_layer_columns(0..count);
            let mut workspace = TangentWorkspace::new(network.trunk.spec(), 16, count);
            let (mut out, mut found) = (vec![T::ZERO; 16 * count], vec![T::ZERO; 16 * block]);
            let first = FirstTangents::Shared(&shared);
            engine.tangent_from_first_preactivation(&preactivation, first, count, &mut workspace, &mut out, &mut found);
            let error = largest_error(&found, &expected);
            assert!(error < tolerance, "{group}: relative error of the split Jacobian {error:e}");
        }
    }
}

#[test]
fn double_precision_equals_goldens() {
    check::<f64>(1e-10);
}

#[test]
fn single_precision_is_near_goldens() {
    check::<f32>(1e-5);
}
