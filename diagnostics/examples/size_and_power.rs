//! How often each test rejects a posterior that is right, and ones that are wrong in a known way.
//!
//! `cargo run --release -p tallsbi-diagnostics --example size_and_power` prints the table of `docs/diagnostics.md`.
//!
//! Model: θ ~ N(0, I₂), three observations x_j ~ N(θ, I₂); posterior N(Σ x_j / 4, I/4). The posterior under test has its mean moved
//! by `shift` posterior standard deviations in both coordinates, or its standard deviations multiplied by `scale`.

use ndarray::{Array2, Array3, s};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use tallsbi_data::StreamKey;
use tallsbi_diagnostics::Monitor;
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions};
use tallsbi_diagnostics::mmd::{PermutationOptions, permutation_test};
use tallsbi_diagnostics::sbc::{RankOptions, sbc};
use tallsbi_diagnostics::tarp::tarp;

/// Nominal level of every test.
const LEVEL: f64 = 0.05;
/// Standard deviation of the posterior.
const SD: f64 = 0.5;

#[derive(Clone, Copy)]
struct Error {
    shift: f64,
    scale: f64,
}

const EXACT: Error = Error { shift: 0.0, scale: 1.0 };

/// p-value of one repetition: of its seed and the posterior's error.
type Test = fn(u64, Error) -> f64;

struct Normals(rand_pcg::Pcg64);

impl Normals {
    fn new(seed: u64) -> Self {
        Self(StreamKey::root(seed).rng(0))
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut self.0))
    }
}

/// θ (N, 2), x (N, 6) and the posterior's mean (N, 2).
fn joint(pairs: usize, normals: &mut Normals) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
    let theta = normals.matrix(pairs, 2);
    let mut x = normals.matrix(pairs, 6);
    let mut mean = Array2::zeros((pairs, 2));
    for j in 0..3 {
        let mut observation = x.slice_mut(s![.., 2 * j..2 * j + 2]);
        observation += &theta;
        mean.scaled_add(0.25, &observation);
    }
    (theta, x, mean)
}

fn posterior(mean: &Array2<f64>, error: Error, normals: &mut Normals) -> Array2<f64> {
    mean + &(normals.matrix(mean.nrows(), 2) * (SD * error.scale) + SD * error.shift)
}

fn mmd_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let mean = Array2::zeros((500, 2));
    let reference = posterior(&mean, EXACT, &mut normals);
    let samples = posterior(&mean, error, &mut normals);
    let options = PermutationOptions { permutations: 199, ..PermutationOptions::default() };
    let key = StreamKey::root(seed);
    permutation_test(reference.view(), samples.view(), &options, key, Monitor::silent()).expect("valid input").p_value
}

fn draws(mean: &Array2<f64>, count: usize, error: Error, normals: &mut Normals) -> Array3<f64> {
    let mut draws = Array3::zeros((mean.nrows(), count, 2));
    for draw in 0..count {
        draws.slice_mut(s![.., draw, ..]).assign(&posterior(mean, error, normals));
    }
    draws
}

fn sbc_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (theta, _, mean) = joint(500, &mut normals);
    let draws = draws(&mean, 99, error, &mut normals);
    let (options, key) = (RankOptions::default(), StreamKey::root(seed));
    sbc(theta.view(), draws.view(), &options, key, Monitor::silent()).expect("valid input").p_value
}

fn tarp_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (theta, _, mean) = joint(500, &mut normals);
    let draws = draws(&mean, 99, error, &mut normals);
    let (options, key) = (RankOptions::default(), StreamKey::root(seed));
    tarp(theta.view(), draws.view(), &options, key, Monitor::silent()).expect("valid input").p_value
}

fn local_c2st_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (theta, x, mean) = joint(1000, &mut normals);
    let theta_q = posterior(&mean, error, &mut normals);
    // 19 trials are the fewest that can reject at 5 %; more make the test sharper and slower.
    let options = LocalC2stOptions { trials: 19, ..LocalC2stOptions::default() };
    let key = StreamKey::root(seed);
    let test = LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, key, Monitor::silent())
        .expect("valid input");
    let (_, x_o, mean_o) = joint(1, &mut normals);
    let mean_o = Array2::from_shape_fn((1000, 2), |(_, k)| mean_o[(0, k)]);
    let samples = posterior(&mean_o, error, &mut normals);
    let x_o = x_o.row(0).to_vec();
    test.evaluate(samples.view(), &x_o, Monitor::silent()).expect("valid input").p_value
}

/// Share of repetitions that reject.
fn rate(p_value: Test, error: Error, repetitions: u64) -> f64 {
    let rejected = (0..repetitions).into_par_iter().filter(|&seed| p_value(seed, error) <= LEVEL).count();
    rejected as f64 / repetitions as f64
}

fn main() {
    let errors = [
        ("exact", EXACT),
        ("shift 0.25", Error { shift: 0.25, scale: 1.0 }),
        ("shift 0.5", Error { shift: 0.5, scale: 1.0 }),
        ("shift 1", Error { shift: 1.0, scale: 1.0 }),
        ("scale 1.25", Error { shift: 0.0, scale: 1.25 }),
        ("scale 1.5", Error { shift: 0.0, scale: 1.5 }),
        ("scale 0.6", Error { shift: 0.0, scale: 0.6 }),
    ];
    println!("| test | {} |", errors.map(|(name, _)| name).join(" | "));
    println!("|---|{}", "---|".repeat(errors.len()));
    // Repetitions under the null and under an error: the latter rates are near 0 or 1 and need fewer.
    let tests: [(&str, Test, u64, u64); 4] = [
        ("MMD permutation", mmd_p_value, 1000, 200),
        ("SBC (ECDF)", sbc_p_value, 1000, 200),
        ("TARP (ECDF)", tarp_p_value, 1000, 200),
        ("ℓ-C2ST", local_c2st_p_value, 200, 50),
    ];
    for (name, p_value, null, alternative) in tests {
        let rates = errors.map(|(_, error)| {
            let repetitions = if error.shift == 0.0 && error.scale == 1.0 { null } else { alternative };
            format!("{:.1} %", 100.0 * rate(p_value, error, repetitions))
        });
        println!("| {name} | {} |", rates.join(" | "));
    }
}
