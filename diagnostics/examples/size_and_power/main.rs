//! How often each test rejects a posterior that is right, and ones that are wrong in a known way.
//!
//! `cargo run --release -p tallsbi-diagnostics --example size_and_power [FIGURE.svg]` prints the tables of `docs/diagnostics.md` and
//! draws its figure. `TESTS=mmd,sbc,tarp,local-c2st,posterior-sbc` chooses among the tests; `TABLES=FILE` takes tables printed before (one after
//! the other in a file) into the figure. All take three quarters of an hour of one core, ℓ-C2ST
//! twelve minutes of it.
//!
//! Model: θ ~ N(0, I₂), three observations x_j ~ N(θ, I₂); posterior N(Σ x_j / 4, I/4). The posterior under test has its mean moved
//! by `shift` posterior standard deviations in both coordinates, or its standard deviations multiplied by `scale`.

mod figure;

use ndarray::{Array2, Array3, s};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions};
use tallsbi_diagnostics::mmd::{PermutationOptions, permutation_test};
use tallsbi_diagnostics::posterior_sbc::posterior_sbc;
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
    permutation_test(reference.view(), samples.view(), &options, key, &Silent).expect("valid input").p_value
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
    sbc(theta.view(), draws.view(), &options, key, &Silent).expect("valid input").p_value
}

fn tarp_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (theta, _, mean) = joint(500, &mut normals);
    let draws = draws(&mean, 99, error, &mut normals);
    let (options, key) = (RankOptions::default(), StreamKey::root(seed));
    tarp(theta.view(), draws.view(), &options, key, &Silent).expect("valid input").p_value
}

fn local_c2st_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (theta, x, mean) = joint(4000, &mut normals);
    let theta_q = posterior(&mean, error, &mut normals);
    // 19 trials are the fewest that can reject at 5 %; more make the test sharper and slower.
    let options = LocalC2stOptions { trials: 19, ..LocalC2stOptions::default() };
    let key = StreamKey::root(seed);
    let test = LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, key, &Silent).expect("valid input");
    let (_, x_o, mean_o) = joint(1, &mut normals);
    let mean_o = Array2::from_shape_fn((1000, 2), |(_, k)| mean_o[(0, k)]);
    let samples = posterior(&mean_o, error, &mut normals);
    let x_o = x_o.row(0).to_vec();
    test.evaluate(samples.view(), &x_o, &Silent).expect("valid input").p_value
}

/// At three observations, with three new ones at each draw: the inference under test errs alike given three and given six.
fn posterior_sbc_p_value(seed: u64, error: Error) -> f64 {
    let mut normals = Normals::new(seed);
    let (_, _, mean_o) = joint(1, &mut normals);
    let mean_o = Array2::from_shape_fn((500, 2), |(_, k)| mean_o[(0, k)]);
    let posterior_o = posterior(&mean_o, error, &mut normals);
    let theta = posterior(&mean_o, error, &mut normals);
    // Σ x' of three, and the mean of the posterior given all six: Σ x / 7.
    let sum = &theta * 3.0 + normals.matrix(500, 2) * 3f64.sqrt();
    let mean = (mean_o * 4.0 + sum) / 7.0;
    let sd = 7f64.sqrt().recip();
    let mut draws = Array3::zeros((500, 99, 2));
    for draw in 0..99 {
        let noise = normals.matrix(500, 2) * (sd * error.scale) + sd * error.shift;
        draws.slice_mut(s![.., draw, ..]).assign(&(&mean + &noise));
    }
    let (options, key) = (RankOptions::default(), StreamKey::root(seed));
    let result = posterior_sbc(theta.view(), draws.view(), posterior_o.view(), &options, key, &Silent);
    result.expect("valid input").p_value
}

/// Share of repetitions that reject.
fn rate(p_value: Test, error: Error, repetitions: u64) -> f64 {
    let rejected = (0..repetitions).into_par_iter().filter(|&seed| p_value(seed, error) <= LEVEL).count();
    rejected as f64 / repetitions as f64
}

/// The tests by name, with repetitions under the null and under an error: the latter rates are mostly near 0 or 1 and need fewer.
const TESTS: [(&str, &str, Test, u64, u64); 5] = [
    ("mmd", "MMD permutation", mmd_p_value, 1000, 200),
    ("sbc", "SBC (ECDF)", sbc_p_value, 1000, 200),
    ("tarp", "TARP (ECDF)", tarp_p_value, 1000, 200),
    ("local-c2st", "ℓ-C2ST", local_c2st_p_value, 200, 50),
    ("posterior-sbc", "posterior SBC", posterior_sbc_p_value, 1000, 200),
];

const SHIFTS: [f64; 8] = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0];
const SCALES: [f64; 9] = [0.5, 0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0];

/// Rejection rates of one test against the shift and against the scale.
struct Curves {
    name: &'static str,
    shift: Vec<(f64, f64)>,
    scale: Vec<(f64, f64)>,
}

fn print_table(what: &str, values: &[f64], curves: &[Curves], of: impl Fn(&Curves) -> &[(f64, f64)]) {
    let header: Vec<String> = values.iter().map(|value| format!("{what} {value}")).collect();
    println!("\n| test | {} |\n|---|{}", header.join(" | "), "---|".repeat(values.len()));
    for curve in curves {
        let rates: Vec<String> = of(curve).iter().map(|(_, rate)| format!("{:.1} %", 100.0 * rate)).collect();
        println!("| {} | {} |", curve.name, rates.join(" | "));
    }
}

/// Curves from the tables this program printed earlier: the rates of the tests they name.
fn read_tables(text: &str) -> Vec<Curves> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = text.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
    let rates = |name: &str, what: &str, values: &[f64]| -> Vec<(f64, f64)> {
        let mut of_what = false;
        for row in &rows {
            if row[0] == "test" {
                of_what = row[1].starts_with(what);
            } else if of_what && row[0] == name {
                let rate =
                    |cell: &String| cell.trim_end_matches(" %").parse::<f64>().map_or(f64::NAN, |rate| rate / 100.0);
                return values.iter().copied().zip(row[1..].iter().map(rate)).collect();
            }
        }
        Vec::new()
    };
    TESTS
        .into_iter()
        .map(|(_, name, ..)| Curves {
            name,
            shift: rates(name, "shift", &SHIFTS),
            scale: rates(name, "scale", &SCALES),
        })
        .filter(|curves| !curves.shift.is_empty())
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chosen = std::env::var("TESTS").ok();
    let mut curves = match std::env::var("TABLES") {
        Ok(path) => read_tables(&std::fs::read_to_string(path)?),
        Err(_) => Vec::new(),
    };
    for (key, name, p_value, null, alternative) in TESTS {
        if chosen.as_ref().is_some_and(|names| !names.split(',').any(|one| one == key)) {
            continue;
        }
        let started = std::time::Instant::now();
        let exact = rate(p_value, EXACT, null);
        let power = |error: Error| {
            let is_exact = error.shift == EXACT.shift && error.scale == EXACT.scale;
            if is_exact { exact } else { rate(p_value, error, alternative) }
        };
        let shift = SHIFTS.map(|shift| (shift, power(Error { shift, ..EXACT }))).to_vec();
        let scale = SCALES.map(|scale| (scale, power(Error { scale, ..EXACT }))).to_vec();
        eprintln!("{name}: {:.0} s", started.elapsed().as_secs_f64());
        curves.push(Curves { name, shift, scale });
    }
    print_table("shift", &SHIFTS, &curves, |curves| &curves.shift);
    print_table("scale", &SCALES, &curves, |curves| &curves.scale);
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, figure::draw(&curves, LEVEL)?)?;
    }
    Ok(())
}
