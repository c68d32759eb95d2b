//! Errors of this crate.

use tallsbi_data::DataError;

/// What can go wrong when a task is built or simulated. Each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// No task of that name.
    #[error("no task is called {name:?}; the tasks are {}; give a path that ends in .toml for a model of your own", known.join(", "))]
    UnknownTask {
        /// The name that was asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// An option that the task does not have, or a value that it cannot take.
    #[error("task {task}: {message}")]
    Option {
        /// The task.
        task: String,
        /// Which option, and what to give instead.
        message: String,
    },
    /// A model file that cannot be read, or says something that cannot be.
    #[error("{path}: {}{message}", line.map_or_else(String::new, |line| format!("line {line}: ")))]
    ModelFile {
        /// The file.
        path: String,
        /// The line, from 1, where there is one.
        line: Option<usize>,
        /// What is wrong and what to do.
        message: String,
    },
    /// The program of a model file that does not work at all.
    #[error("{task}: {message}")]
    Program {
        /// The model file.
        task: String,
        /// What happened.
        message: String,
    },
    /// An array of the wrong shape.
    #[error("task {task}: {what} needs {expected} values, got {found}")]
    Shape {
        /// The task.
        task: String,
        /// The array.
        what: &'static str,
        /// The length that was expected.
        expected: usize,
        /// The length that was found.
        found: usize,
    },
    /// One simulation failed; batches mark its row invalid and go on.
    #[error("simulation failed: {0}")]
    Failed(String),
    /// Observations that cannot be conditioned on.
    #[error("task {task}: {message}")]
    Observations {
        /// The task.
        task: String,
        /// What is wrong with them and what to do.
        message: String,
    },
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] tallsbi_data::Cancelled),
    /// A prior that is not proper, or a parameter that it does not have.
    #[error(transparent)]
    Prior(#[from] DataError),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, SimulatorError>;
