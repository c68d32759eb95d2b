//! Two-sample tests and calibration checks for posteriors, on plain sample matrices (rows are samples).

mod check;
pub mod dirac;
mod error;
pub mod mmd;
mod monitor;
mod sliced_wasserstein;

pub use error::{DiagnosticsError, Result};
pub use monitor::{Monitor, Progress};
pub use sliced_wasserstein::{
    DEFAULT_PROJECTIONS, SlicedWasserstein, max_sliced_wasserstein, random_directions, sliced_wasserstein,
    sliced_wasserstein_along,
};
