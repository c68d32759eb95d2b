//! Two-sample metrics against the golden values of POT and sbibm.

mod common;

use common::{golden, matrix, scalar, vector};
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Silent, StreamKey};
use tallsbi_diagnostics::mmd::{
    Bandwidth, PermutationOptions, median_bandwidth, permutation_test, random_feature_mmd2, some_rows, unbiased_mmd2,
};
use tallsbi_diagnostics::{
    DiagnosticsError, dirac, max_sliced_wasserstein, sliced_wasserstein, sliced_wasserstein_along,
};

fn close(what: &str, ours: f64, golden: f64, relative: f64) {
    assert!((ours - golden).abs() <= relative * golden.abs() + 1e-15, "{what}: {ours} against {golden}");
}

#[test]
fn sliced_wasserstein_agrees_with_pot() {
    let Some(file) = golden("metrics.h5") else { return };
    for pair in file.member_names().unwrap() {
        let (x, y) = (matrix(&file, &format!("{pair}/X")), matrix(&file, &format!("{pair}/Y")));
        let directions = matrix(&file, &format!("{pair}/projections_seed0_first100"));
        let ours = sliced_wasserstein_along(x.view(), y.view(), directions.view(), &Silent).unwrap();
        close(&pair, ours.value, scalar(&file, &format!("{pair}/swd_first100_projections")), 1e-10);
        // With our own 1000 directions: within the noise of POT's five seeds and ours.
        let ours = sliced_wasserstein(x.view(), y.view(), 1000, StreamKey::root(1), &Silent).unwrap();
        let theirs = vector(&file, &format!("{pair}/swd_seed0_4"));
        let error = ours.standard_error.unwrap();
        assert!(
            (ours.value - theirs.mean().unwrap()).abs() <= 5.0 * error + 1e-12,
            "{pair}: {ours:?} against {theirs}"
        );
    }
}

#[test]
fn mmd_and_bandwidth_agree_with_sbibm() {
    let Some(file) = golden("metrics.h5") else { return };
    for pair in file.member_names().unwrap() {
        let (x, y) = (matrix(&file, &format!("{pair}/X")), matrix(&file, &format!("{pair}/Y")));
        let bandwidth = scalar(&file, &format!("{pair}/mmd_bandwidth"));
        close(&pair, median_bandwidth(x.view(), &Silent).unwrap(), bandwidth, 1e-12);
        let ours = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), &Silent).unwrap();
        close(&pair, ours.squared, scalar(&file, &format!("{pair}/mmd")), 1e-9);
        // The permutation test takes another way to the same number.
        let options = PermutationOptions { permutations: 3, bandwidth: Bandwidth::Fixed(bandwidth) };
        let test = permutation_test(x.view(), y.view(), &options, StreamKey::root(0), &Silent).unwrap();
        close(&pair, test.mmd.squared, ours.squared, 1e-7);
    }
}

#[test]
fn dirac_metrics_agree_with_the_published_code() {
    let Some(file) = golden("metrics.h5") else { return };
    for pair in file.member_names().unwrap() {
        let y = matrix(&file, &format!("{pair}/Y"));
        let truth = vec![0.0; y.ncols()];
        let metric = |name: &str| scalar(&file, &format!("{pair}/dirac_{name}"));
        close(&pair, dirac::mmd(y.view(), &truth).unwrap().mean, metric("mmd_unscaled"), 1e-10);
        close(&pair, dirac::mmd_scaled(y.view(), &truth).unwrap().mean, metric("mmd_scaled"), 1e-10);
        close(&pair, dirac::mse(y.view(), &truth).unwrap().mean, metric("mse"), 1e-10);
    }
}

fn gaussian(rows: usize, columns: usize, shift: f64, seed: u64) -> Array2<f64> {
    let mut rng = StreamKey::root(seed).rng(0);
    Array2::from_shape_simple_fn((rows, columns), || {
        let z: f64 = StandardNormal.sample(&mut rng);
        z + shift
    })
}

/// The tiles and the bracketed median agree with the definitions, for sizes around the tile and block sizes and with many ties.
#[test]
fn mmd_and_median_agree_with_their_definitions() {
    for (n, m, d, rounded) in [(2, 2, 1, false), (17, 33, 3, false), (300, 65, 2, true), (64, 129, 7, false)] {
        let (mut x, y) = (gaussian(n, d, 0.0, 1), gaussian(m, d, 0.4, 2));
        if rounded {
            x.mapv_inplace(|v| (2.0 * v).round());
        }
        let squared = |a: ndarray::ArrayView1<f64>, b: ndarray::ArrayView1<f64>| (&a - &b).mapv(|v| v * v).sum();
        let mut distances: Vec<f64> =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| squared(x.row(i), x.row(j)).sqrt()).collect();
        distances.sort_by(f64::total_cmp);
        let median = distances[(distances.len() - 1) / 2];
        close("median", median_bandwidth(x.view(), &Silent).unwrap(), median, 1e-14);
        let gamma = 0.5 / (median * median);
        let mean = |a: &Array2<f64>, b: &Array2<f64>, same: bool| {
            let mut sum = 0.0;
            for i in 0..a.nrows() {
                for j in 0..b.nrows() {
                    sum += if same && i == j { 0.0 } else { (-gamma * squared(a.row(i), b.row(j))).exp() };
                }
            }
            sum / (a.nrows() * (b.nrows() - usize::from(same))) as f64
        };
        let plain = mean(&x, &x, true) + mean(&y, &y, true) - 2.0 * mean(&x, &y, false);
        let ours = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), &Silent).unwrap();
        assert!((ours.squared - plain).abs() < 1e-11, "{n} {m} {d}: {} against {plain}", ours.squared);
    }
}

/// Random features estimate what all pairs of rows give, with the error that they say; of more frequencies it is smaller.
#[test]
fn random_features_estimate_the_quadratic_mmd() {
    let mut deviations = Vec::new();
    for (seed, shift) in (0..40).map(|seed| (seed, [0.0, 0.3][seed as usize % 2])) {
        let (x, y) = (gaussian(300, 3, 0.0, 2 * seed), gaussian(200, 3, shift, 2 * seed + 1));
        let exact = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), &Silent).unwrap();
        let features = |frequencies| {
            let key = StreamKey::root(seed);
            random_feature_mmd2(x.view(), y.view(), frequencies, Bandwidth::default(), key, &Silent).unwrap()
        };
        let (few, many) = (features(100), features(10_000));
        assert_eq!(many.mmd.bandwidth, exact.bandwidth, "the median of few rows is exact");
        assert!(many.standard_error < 0.2 * few.standard_error);
        deviations.extend([few, many].map(|found| (found.mmd.squared - exact.squared) / found.standard_error));
    }
    let square = deviations.iter().map(|deviation| deviation * deviation).sum::<f64>() / deviations.len() as f64;
    assert!((0.6..1.5).contains(&square), "mean square of 80 standardised deviations {square}");
    assert!(deviations.iter().all(|deviation| deviation.abs() < 4.5), "{deviations:?}");
}

/// Where both samples are of one law, the estimate has mean 0 and the spread of the quadratic one.
#[test]
fn random_features_have_the_null_distribution_of_the_quadratic_mmd() {
    let pairs: Vec<(f64, f64)> = (0..200)
        .map(|seed| {
            let (x, y) = (gaussian(100, 2, 0.0, 2 * seed), gaussian(80, 2, 0.0, 2 * seed + 1));
            let width = Bandwidth::Fixed(1.5);
            let exact = unbiased_mmd2(x.view(), y.view(), width, &Silent).unwrap().squared;
            let found = random_feature_mmd2(x.view(), y.view(), 500, width, StreamKey::root(seed), &Silent).unwrap();
            (exact, found.mmd.squared)
        })
        .collect();
    let moments = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / 200.0;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 199.0).sqrt())
    };
    let (exact, found) =
        (moments(pairs.iter().map(|pair| pair.0).collect()), moments(pairs.iter().map(|pair| pair.1).collect()));
    assert!(found.0.abs() < 4.0 * found.1 / 200f64.sqrt(), "mean {found:?}");
    assert!((0.9..1.15).contains(&(found.1 / exact.1)), "spread {found:?} against {exact:?}");
}

/// Medians of many rows are those of some of them.
#[test]
fn widths_of_many_rows_are_near_the_exact_ones() {
    let x = gaussian(12_000, 3, 0.0, 1);
    let y = gaussian(50, 3, 0.5, 2);
    let exact = median_bandwidth(x.view(), &Silent).unwrap();
    let found = random_feature_mmd2(x.view(), y.view(), 2, Bandwidth::default(), StreamKey::root(0), &Silent).unwrap();
    assert!(found.mmd.bandwidth != exact && (found.mmd.bandwidth / exact - 1.0).abs() < 0.02);
    let some = some_rows(x.view(), 100, StreamKey::root(3));
    assert_eq!((some.nrows(), some_rows(x.view(), 20_000, StreamKey::root(3)).nrows()), (100, 12_000));
    let at = some.outer_iter().map(|row| x.outer_iter().position(|other| other == row).unwrap()).collect::<Vec<_>>();
    assert!(at.is_sorted_by(|a, b| a < b), "rows once, and in their order");
    let error = random_feature_mmd2(x.view(), y.view(), 1, Bandwidth::default(), StreamKey::root(0), &Silent);
    assert!(error.unwrap_err().to_string().contains("frequencies = 1"));
}

#[test]
fn permutation_test_has_size_and_power() {
    let options = PermutationOptions { permutations: 99, ..PermutationOptions::default() };
    let p = |shift: f64, seed: u64| {
        let (x, y) = (gaussian(40, 2, 0.0, 2 * seed), gaussian(30, 2, shift, 2 * seed + 1));
        permutation_test(x.view(), y.view(), &options, StreamKey::root(seed), &Silent).unwrap().p_value
    };
    let rejected = (0..200).filter(|&seed| p(0.0, seed) <= 0.1).count();
    assert!((8..35).contains(&rejected), "rejected {rejected} of 200 at 10 %");
    let rejected = (0..20).filter(|&seed| p(1.0, seed) <= 0.05).count();
    assert!(rejected >= 18, "rejected {rejected} of 20 under a shift");
}

#[test]
fn max_sliced_finds_the_direction_of_a_shift() {
    let x = gaussian(400, 3, 0.0, 1);
    let mut y = x.clone();
    y.column_mut(1).mapv_inplace(|v| v + 2.0);
    let key = StreamKey::root(3);
    let largest = max_sliced_wasserstein(x.view(), y.view(), 2000, key, &Silent).unwrap().value;
    assert!((1.98..=2.0 + 1e-12).contains(&largest), "{largest}");
    // For a translation by t the 1-D distances are |u·t|, whose mean square is |t|²/d.
    let sliced = sliced_wasserstein(x.view(), y.view(), 2000, key, &Silent).unwrap();
    let error = sliced.standard_error.unwrap();
    assert!((sliced.value - 2.0 / 3f64.sqrt()).abs() < 4.0 * error, "{sliced:?}");
}

#[test]
fn bytes_are_equal_for_any_number_of_threads() {
    let (x, y) = (gaussian(500, 3, 0.0, 1), gaussian(333, 3, 0.2, 2));
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let options = PermutationOptions { permutations: 20, ..PermutationOptions::default() };
            (
                sliced_wasserstein(x.view(), y.view(), 50, StreamKey::root(0), &Silent).unwrap(),
                unbiased_mmd2(x.view(), y.view(), Bandwidth::MedianOfPooled, &Silent).unwrap(),
                permutation_test(x.view(), y.view(), &options, StreamKey::root(0), &Silent).unwrap(),
                random_feature_mmd2(x.view(), y.view(), 30, Bandwidth::MedianOfPooled, StreamKey::root(0), &Silent)
                    .unwrap(),
            )
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}

#[test]
fn bad_input_is_named() {
    let x = gaussian(20, 2, 0.0, 1);
    let run = |x: &Array2<f64>, y: &Array2<f64>| {
        let a = sliced_wasserstein(x.view(), y.view(), 10, StreamKey::root(0), &Silent).unwrap_err();
        let b = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), &Silent).unwrap_err();
        assert_eq!(a.to_string(), b.to_string());
        assert_eq!(a, max_sliced_wasserstein(x.view(), y.view(), 10, StreamKey::root(0), &Silent).unwrap_err());
        a
    };
    let mut bad = x.clone();
    bad[(4, 0)] = f64::INFINITY;
    assert!(matches!(run(&bad, &x), DiagnosticsError::NotFinite { what: "reference", row: 4, column: 0, .. }));
    let one = x.slice(ndarray::s![..1, ..]).to_owned();
    assert!(matches!(run(&x, &one), DiagnosticsError::TooFewSamples { what: "samples", found: 1, needed: 2 }));
    let mut constant = x.clone();
    constant.column_mut(1).fill(1.0);
    assert!(matches!(run(&x, &constant), DiagnosticsError::ConstantColumn { what: "samples", column: 1, .. }));
    let wide = gaussian(20, 3, 0.0, 1);
    assert!(matches!(run(&x, &wide), DiagnosticsError::Width { found: 3, expected: 2, .. }));
    assert!(sliced_wasserstein(x.view(), (&x + 1.0).view(), 0, StreamKey::root(0), &Silent).is_err());
    assert!(unbiased_mmd2(x.view(), x.view(), Bandwidth::Fixed(0.0), &Silent).is_err());
    let mut ties = Array2::zeros((20, 2));
    ties.row_mut(0).fill(1.0);
    let result = unbiased_mmd2(ties.view(), x.view(), Bandwidth::default(), &Silent);
    assert_eq!(result.unwrap_err(), DiagnosticsError::ZeroBandwidth { what: "reference" });
    assert!(dirac::mmd_scaled(constant.view(), &[0.0, 0.0]).is_err());
    assert!(matches!(dirac::mse(x.view(), &[0.0]).unwrap_err(), DiagnosticsError::Width { found: 1, .. }));
    assert!(dirac::mmd(x.view(), &[0.0, f64::NAN]).is_err());
    assert!(dirac::mmd(one.view(), &[0.0, 0.0]).is_err());
}
