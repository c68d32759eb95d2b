//! The main job on files: simulated in pieces and resumed, trained with checkpoints, sampled into netCDF.

mod calibration;
mod covariance_file;
mod fixed;
mod model;
mod observations;
mod parameters;
mod posterior;
mod refined;
mod simulate;
mod simulation_log;
mod train;

pub use calibration::{check_given, is_parent, read_calibration};
pub use covariance_file::CovarianceFile;
pub use fixed::fix_file;
pub use model::{ModelFile, load_model, read_pairs};
pub use observations::{ReadObservations, Taker, read_observations};
pub use parameters::Parameters;
pub use posterior::{
    convergence_attributes, missing_attributes, mode_attributes, posterior_attributes, reference_attributes, told_prior,
};
pub use refined::{refined_posterior, write_refined};
pub use simulate::{of_task, simulate_file, training_set_spec};
pub use simulation_log::SimulationLog;
pub use train::{Limits, train_file};
