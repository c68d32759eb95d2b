//! Studies: a question about models or samplers as a graph of resumable steps, and the report of what was found.
//!
//! * [`study`] is what is asked, the steps that answer it, and the results.
//! * [`report`] makes figures, tables and one HTML page of them, with [`plot`].

pub mod error;
pub mod options_file;
pub mod plot;
pub mod report;
pub mod study;

pub use error::{UsageError, usage};
