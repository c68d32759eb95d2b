//! Two-sample metrics against the golden values of POT and sbibm.

mod common;

use common::{golden, matrix, scalar, vector};
use tallsbi_data::StreamKey;
use tallsbi_diagnostics::mmd::{Bandwidth, PermutationOptions, median_bandwidth, permutation_test, unbiased_mmd2};
use tallsbi_diagnostics::{Monitor, dirac, sliced_wasserstein, sliced_wasserstein_along};

fn close(what: &str, ours: f64, golden: f64, relative: f64) {
    assert!((ours - golden).abs() <= relative * golden.abs() + 1e-15, "{what}: {ours} against {golden}");
}

#[test]
fn sliced_wasserstein_agrees_with_pot() {
    let Some(file) = golden("metrics.h5") else { return };
    for pair in file.member_names().unwrap() {
        let (x, y) = (matrix(&file, &format!("{pair}/X")), matrix(&file, &format!("{pair}/Y")));
        let directions = matrix(&file, &format!("{pair}/projections_seed0_first100"));
        let ours = sliced_wasserstein_along(x.view(), y.view(), directions.view()).unwrap();
        close(&pair, ours.value, scalar(&file, &format!("{pair}/swd_first100_projections")), 1e-10);
        // With our own 1000 directions: within the noise of POT's five seeds and ours.
        let ours = sliced_wasserstein(x.view(), y.view(), 1000, StreamKey::root(1)).unwrap();
        let theirs = vector(&file, &format!("{pair}/swd_seed0_4"));
        let error = ours.standard_error.unwrap();
        assert!((ours.value - theirs.mean().unwrap()).abs() <= 5.0 * error + 1e-12, "{pair}: {ours:?} against {theirs}");
    }
}

#[test]
fn mmd_and_bandwidth_agree_with_sbibm() {
    let Some(file) = golden("metrics.h5") else { return };
    for pair in file.member_names().unwrap() {
        let (x, y) = (matrix(&file, &format!("{pair}/X")), matrix(&file, &format!("{pair}/Y")));
        let bandwidth = scalar(&file, &format!("{pair}/mmd_bandwidth"));
        close(&pair, median_bandwidth(x.view(), Monitor::silent()).unwrap(), bandwidth, 1e-12);
        let ours = unbiased_mmd2(x.view(), y.view(), Bandwidth::default(), Monitor::silent()).unwrap();
        close(&pair, ours.squared, scalar(&file, &format!("{pair}/mmd")), 1e-9);
        // The permutation test takes another way to the same number.
        let options = PermutationOptions { permutations: 3, bandwidth: Bandwidth::Fixed(bandwidth) };
        let test = permutation_test(x.view(), y.view(), &options, StreamKey::root(0), Monitor::silent()).unwrap();
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
