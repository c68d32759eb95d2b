//! Time of each metric on samples of the usual sizes. Ratios to other packages: `compare_sklearn.py`.

use divan::{Bencher, black_box};
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions};
use tallsbi_diagnostics::mmd::{Bandwidth, PermutationOptions, permutation_test, unbiased_mmd2};
use tallsbi_diagnostics::{C2stOptions, DEFAULT_PROJECTIONS, c2st, sliced_wasserstein};

fn main() {
    divan::main();
}

fn gaussian(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut rng = StreamKey::root(seed).rng(0);
    Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
}

#[divan::bench(args = [1000, 10_000], sample_count = 5)]
fn sliced_wasserstein_5d(bencher: Bencher<'_, '_>, rows: usize) {
    let (x, y) = (gaussian(rows, 5, 1), gaussian(rows, 5, 2));
    bencher.bench(|| {
        sliced_wasserstein(black_box(x.view()), y.view(), DEFAULT_PROJECTIONS, StreamKey::root(0), &Silent)
            .expect("valid input")
    });
}

#[divan::bench(args = [1000, 10_000], sample_count = 5)]
fn mmd_5d(bencher: Bencher<'_, '_>, rows: usize) {
    let (x, y) = (gaussian(rows, 5, 1), gaussian(rows, 5, 2));
    bencher.bench(|| unbiased_mmd2(black_box(x.view()), y.view(), Bandwidth::default(), &Silent).expect("valid input"));
}

#[divan::bench(args = [1000, 4000], sample_count = 3)]
fn mmd_permutation_5d(bencher: Bencher<'_, '_>, rows: usize) {
    let (x, y) = (gaussian(rows, 5, 1), gaussian(rows, 5, 2));
    let options = PermutationOptions { permutations: 200, ..PermutationOptions::default() };
    bencher.bench(|| {
        permutation_test(black_box(x.view()), y.view(), &options, StreamKey::root(0), &Silent).expect("valid input")
    });
}

#[divan::bench(args = [1000], sample_count = 3)]
fn c2st_5d(bencher: Bencher<'_, '_>, rows: usize) {
    let (x, y) = (gaussian(rows, 5, 1), gaussian(rows, 5, 2));
    bencher.bench(|| {
        c2st(black_box(x.view()), y.view(), &C2stOptions::default(), StreamKey::root(0), &Silent).expect("valid input")
    });
}

/// One observed and one null classifier on 2 × 10 000 rows of 4 + 33 numbers: a fiftieth of a test.
#[divan::bench(sample_count = 3)]
fn local_c2st_two_classifiers(bencher: Bencher<'_, '_>) {
    let (theta, theta_q, x) = (gaussian(10_000, 4, 1), gaussian(10_000, 4, 2), gaussian(10_000, 33, 3));
    let options = LocalC2stOptions { trials: 1, ..LocalC2stOptions::default() };
    bencher.bench(|| {
        LocalC2st::train(theta.view(), theta_q.view(), x.view(), &options, StreamKey::root(0), &Silent)
            .expect("valid input")
    });
}
