//! Studies: a question about models or samplers as a graph of resumable steps, and the report of what was found.
//!
//! * [`study`] is what is asked, the steps that answer it, and the results.
//! * [`file_figures`] draws posteriors, predictions, losses and coverage of any files.
//! * [`study_folder`] runs one in a folder.
//! * [`plot_files`] finds out what files are, and draws them so.
//! * [`report`] makes figures, tables and one HTML page of them, with [`plot`].

pub mod error;
pub mod file_figures;
pub mod options_file;
pub mod plot;
pub mod plot_files;
pub mod report;
pub mod study;
pub mod study_folder;

pub use error::{UsageError, usage};
