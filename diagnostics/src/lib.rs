//! Two-sample tests and calibration checks for posteriors, on plain sample matrices (rows are samples).

mod c2st;
mod check;
pub mod classifier;
pub mod dirac;
mod error;
pub mod local_c2st;
pub mod mmd;
mod monitor;
mod sliced_wasserstein;

pub use c2st::{C2st, C2stOptions, c2st};
pub use error::{DiagnosticsError, Result};
pub use monitor::{Monitor, Progress};
pub use sliced_wasserstein::{
    DEFAULT_PROJECTIONS, SlicedWasserstein, max_sliced_wasserstein, random_directions, sliced_wasserstein,
    sliced_wasserstein_along,
};
