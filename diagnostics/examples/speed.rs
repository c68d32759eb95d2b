//! Our side of `benches/compare_sklearn.py`: times each diagnostic on matrices that script has written, and prints JSON.
//!
//! `speed DIRECTORY TASK`: reads raw little-endian f64 matrices `NAME.f64`, whose numbers of columns are in `NAME.columns`.

use ndarray::Array2;
use std::path::Path;
use std::time::Instant;
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions};
use tallsbi_diagnostics::mmd::{Bandwidth, unbiased_mmd2};
use tallsbi_diagnostics::{C2stOptions, DEFAULT_PROJECTIONS, c2st, sliced_wasserstein};

fn read(directory: &Path, name: &str) -> Array2<f64> {
    let bytes = std::fs::read(directory.join(format!("{name}.f64"))).expect("matrix file");
    let columns = std::fs::read_to_string(directory.join(format!("{name}.columns"))).expect("columns file");
    let columns: usize = columns.trim().parse().expect("a number of columns");
    let values: Vec<f64> =
        bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().expect("8 bytes"))).collect();
    Array2::from_shape_vec((values.len() / columns, columns), values).expect("whole rows")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, task] = &arguments[..] else { panic!("usage: speed DIRECTORY TASK") };
    let directory = Path::new(directory);
    let (key, silent) = (StreamKey::root(1), &Silent);
    let matrices = |names: [&str; 2]| names.map(|name| read(directory, name));
    let (seconds, value) = match task.as_str() {
        "c2st" => {
            let [x, y] = matrices(["x", "y"]);
            let start = Instant::now();
            let result = c2st(x.view(), y.view(), &C2stOptions::default(), key, silent).expect("valid input");
            (start.elapsed(), result.accuracy)
        }
        "mmd" => {
            let [x, y] = matrices(["x", "y"]);
            let start = Instant::now();
            let result = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), silent).expect("valid input");
            (start.elapsed(), result.squared)
        }
        "sliced-wasserstein" => {
            let [x, y] = matrices(["x", "y"]);
            let start = Instant::now();
            let result =
                sliced_wasserstein(x.view(), y.view(), DEFAULT_PROJECTIONS, key, &Silent).expect("valid input");
            (start.elapsed(), result.value)
        }
        "local-c2st" => {
            let [theta, theta_q] = matrices(["theta", "theta_q"]);
            let x = read(directory, "context");
            let trials = std::env::var("TRIALS").map_or(100, |trials| trials.parse().expect("a number"));
            let options = LocalC2stOptions { trials, ..LocalC2stOptions::default() };
            let start = Instant::now();
            let test =
                LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, key, silent).expect("valid input");
            let seconds = start.elapsed();
            let x_o = x.row(0).to_vec();
            let samples = theta_q.slice(ndarray::s![..1000, ..]);
            (seconds, test.evaluate(samples, &x_o, silent).expect("valid input").statistic)
        }
        other => panic!("unknown task {other}"),
    };
    println!("{{\"seconds\": {}, \"value\": {value}}}", seconds.as_secs_f64());
}
