//! Reference data, and statistics that compare simulations with it.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod compare;

use ndarray::{Array2, Array3, ArrayView2};
use std::path::PathBuf;
use tallsbi_data::{Purpose, Stage, StreamKey};
use tallsbi_simulators::{Rows, Task, TaskOptions, simulate_parallel, task};

/// The folder of reference data; `None`, with the reason printed, where there is none (never on CI).
pub fn reference_data() -> Option<PathBuf> {
    let folder = std::env::var_os("TALLSBI_REFERENCE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no reference data at {}", folder.display());
    eprintln!("skipped: no reference data at {}; set TALLSBI_REFERENCE_DATA", folder.display());
    None
}

/// True parameters (P, m) and observations (P, n, d) of one task.
pub struct Reference {
    pub theta: Array2<f64>,
    pub x: Array3<f32>,
}

impl Reference {
    /// `reference/{task}.h5`.
    pub fn open(task: &str) -> Option<Self> {
        let file = hdf5::File::open(reference_data()?.join(format!("reference/{task}.h5"))).expect("readable file");
        let theta: Array2<f32> = file.dataset("theta_true").expect("theta_true").read().expect("two dimensions");
        let observed = if task == "bernoulli_glm" { "x_summary" } else { "x_obs" };
        let x = file.dataset(observed).expect("observations").read().expect("three dimensions");
        Some(Self { theta: theta.mapv(f64::from), x })
    }
}

/// A built-in task as it is.
pub fn built_in(name: &str) -> Box<dyn Task> {
    task(name, &TaskOptions::default()).expect("built in")
}

/// A draw of its prior with a seed.
pub fn prior_draw(seed: u64, task: &dyn Task, index: u64) -> Vec<f64> {
    let mut theta = vec![0.0; task.prior().dim()];
    task.prior().sample(&mut StreamKey::root(seed).rng(index), &mut theta);
    theta
}

/// Simulates `n` observations at each row of `theta`: (P, n, d), all valid.
pub fn observations(task: &dyn Task, theta: ArrayView2<'_, f64>, n: usize, seed: u64) -> Array3<f32> {
    let key = StreamKey::root(seed).child(Purpose::Observation);
    let rows = Rows { theta, n_obs: n, key, first_row: 0 };
    let mut x = Array3::zeros((theta.nrows(), n, task.dim_x()));
    let mut valid = vec![0; theta.nrows()];
    let out = x.as_slice_mut().expect("contiguous");
    let invalid = simulate_parallel(task, &rows, out, &mut valid, &Stage::silent()).expect("shapes fit");
    assert_eq!(invalid, 0, "every simulation succeeds");
    x
}
