//! Reference data for the tests.

use hdf5::File;
use ndarray::{Array1, Array2};
use std::path::PathBuf;

/// The golden file `name`, or `None` with a printed reason where the reference data are not installed (never under CI).
pub fn golden(name: &str) -> Option<File> {
    let root = std::env::var_os("TALLSBI_REFERENCE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let path = root.join("goldens").join(name);
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none(), "reference data are missing: {}", path.display());
        println!("skipped: {} is missing; set TALLSBI_REFERENCE_DATA", path.display());
        return None;
    }
    Some(File::open(&path).expect("golden file opens"))
}

/// A matrix of the file.
pub fn matrix(file: &File, name: &str) -> Array2<f64> {
    file.dataset(name).and_then(|set| set.read_2d()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A vector of the file.
#[allow(dead_code)] // Each test binary compiles this module, not each uses all of it.
pub fn vector(file: &File, name: &str) -> Array1<f64> {
    file.dataset(name).and_then(|set| set.read_1d()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A number of the file.
#[allow(dead_code)]
pub fn scalar(file: &File, name: &str) -> f64 {
    file.dataset(name).and_then(|set| set.read_scalar()).unwrap_or_else(|error| panic!("{name}: {error}"))
}
