//! Studies: simulate, train, sample, validate and report, for one or more models and numbers of observations.
//!
//! * `StudyOptions` is what a study does, as TOML; `Preset`s of the built-in ones.
//! * `Graph` runs content-addressed steps; what is done is not done again.
//! * `pipeline` makes the steps of a study and collects their `StudyResults`.

mod graph;
mod options;
pub mod pipeline;
mod recording;
pub mod results;
mod steps;
mod summary;

pub use options::{Preset, StudyOptions};
pub use results::StudyResults;
pub use summary::quantile;
