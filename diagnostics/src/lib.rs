//! Two-sample tests and calibration checks for posteriors, on plain sample matrices (rows are samples).
//!
//! Is a sample the right one, given a reference sample?
//! * [`sliced_wasserstein`] and [`max_sliced_wasserstein`]: a distance;
//! * [`mmd`]: a distance with a permutation test;
//! * [`c2st`]: how well a classifier tells the two apart;
//! * [`dirac`]: distance to the true parameters, where there is no reference.
//!
//! Is a posterior right, given calibration pairs (θ, x) from the joint distribution?
//! * [`local_c2st`]: at one observation;
//! * [`posterior_sbc`]: at the data at hand;
//! * [`sbc`] and [`tarp`]: on average over observations, by marginals or jointly.
//!
//! Does the fitted model reproduce the data? [`predictive`]: statistics of simulated against observed data.
//!
//! Have Markov chains converged? [`convergence()`]: rank-normalised split R̂ and effective sample sizes.
//!
//! Everything is a pure function of its input and a [`tallsbi_data::StreamKey`], on any number of threads. Long work reports to a
//! [`Monitor`](tallsbi_data::Monitor) and can be cancelled through it.

mod c2st;
mod check;
pub mod classifier;
pub mod convergence;
pub mod dirac;
mod ecdf;
mod error;
pub mod exchangeability;
pub mod local_c2st;
pub mod mmd;
pub mod posterior_sbc;
pub mod predictive;
pub mod sbc;
mod sliced_wasserstein;
pub mod tarp;

pub use c2st::{C2st, C2stOptions, RowCount, c2st};
pub use convergence::{Convergence, convergence};
pub use ecdf::EcdfTest;
pub use error::{DiagnosticsError, Result};
pub use sliced_wasserstein::{
    DEFAULT_PROJECTIONS, SlicedWasserstein, max_sliced_wasserstein, random_directions,
    sliced_and_max_sliced_wasserstein, sliced_wasserstein, sliced_wasserstein_along,
};
