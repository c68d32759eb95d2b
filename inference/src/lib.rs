//! Score networks trained on single observations, and the sampling of posteriors given many.

pub mod analytic;
pub mod error;
pub mod model;
pub mod notes;
pub mod prior_score;
pub mod reference;
pub mod refine;
pub mod sample;
pub mod sampler;
pub mod schedule;
pub mod score;
pub mod small_matrix;
pub mod tempering;
pub mod train;

pub use error::{InferenceError, Result};
