//! Errors of this crate.

use tallsbi_data::{Cancelled, DataError};
use tallsbi_diagnostics::DiagnosticsError;
use tallsbi_inference::InferenceError;
use tallsbi_recordings::RecordingError;
use tallsbi_simulators::SimulatorError;

/// What can go wrong in the main job: the errors of the libraries, and of what joins them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From tasks and their simulators.
    #[error(transparent)]
    Simulator(SimulatorError),
    /// From training and sampling.
    #[error(transparent)]
    Inference(InferenceError),
    /// From checks of posteriors.
    #[error(transparent)]
    Diagnostics(DiagnosticsError),
    /// From priors and latent maps.
    #[error(transparent)]
    Data(#[from] DataError),
    /// From recordings.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// From files.
    #[cfg(feature = "files")]
    #[error(transparent)]
    File(tallsbi_files::FileError),
    /// The monitor asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Arrays that do not fit each other, the model or the task.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The array.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Something about a file or a set of rows, by its name.
    #[error("{origin}: {message}")]
    Input {
        /// The file, or what the rows are.
        origin: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Calibration pairs that are too few.
    #[error("{origin}: {rows} valid rows are used, the method needs at least {fewest}")]
    FewPairs {
        /// Their file.
        origin: String,
        /// How many there are.
        rows: usize,
        /// How many are needed.
        fewest: usize,
    },
    /// A posterior given another number of observations.
    #[error("{origin}: is the posterior given {given} observations, but {found} are given here")]
    OtherCount {
        /// Its file.
        origin: String,
        /// Observations it was given.
        given: usize,
        /// Observations here.
        found: usize,
    },
    /// An error of a library about a file.
    #[error("{origin}: {source}")]
    About {
        /// The file.
        origin: String,
        /// What happened.
        source: Box<Error>,
    },
    /// Simulations failed where all are needed.
    #[error("{failed} of {total} simulations at these parameters failed or are not finite")]
    FailedObservations {
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
    },
    /// Runs that could not follow the posterior, of several.
    #[error(
        "{collapsed} of {chains} chains could not follow the posterior; ask for more samples, or look at the observations, which may be unlike all that the model can produce"
    )]
    Chains {
        /// How many.
        collapsed: u64,
        /// Of how many.
        chains: usize,
    },
    /// A posterior around whose mode there is no Gaussian.
    #[error("the posterior is like no Gaussian: {reason}; look at its samples")]
    NoGaussian {
        /// What is in the way.
        reason: &'static str,
    },
    /// A reference posterior of a task that has none.
    #[error("task {task} has a simulator only, and a reference posterior needs a likelihood")]
    NoLikelihood {
        /// The task.
        task: String,
    },
    /// Another process of a distributed run failed.
    #[error("process {rank}: {message}")]
    Process {
        /// Its rank.
        rank: usize,
        /// Its error.
        message: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same, saying which file or rows it is about.
    pub fn about(self, origin: impl std::fmt::Display) -> Self {
        match self {
            Self::Cancelled(_) => self,
            other => Self::About { origin: origin.to_string(), source: Box::new(other) },
        }
    }

    /// Whether an option or a name is at fault that the caller gave, rather than data or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Simulator(error) => is_usage(error),
            Self::Inference(error) => is_usage(error),
            Self::Diagnostics(error) => is_usage(error),
            Self::Recording(error) => !matches!(error, RecordingError::File { .. }),
            #[cfg(feature = "files")]
            Self::File(error) => matches!(error, tallsbi_files::FileError::Interrupted { .. }),
            Self::About { source, .. } => source.is_usage(),
            _ => false,
        }
    }

    /// Whether the monitor asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

/// Most rows, draws, pairs and observations that may be asked for: more fit into no memory.
const MOST: usize = 1_000_000_000;

/// Refuses counts that cannot be meant, each with its option's name.
pub(crate) fn check_counts(counts: &[(&'static str, usize)]) -> Result<()> {
    let Some(&(option, count)) = counts.iter().find(|(_, count)| *count > MOST) else { return Ok(()) };
    let message = format!("must be at most {MOST} to fit into memory, got {count}");
    Err(InferenceError::Option { option, message }.into())
}

/// [`Error::is_usage`] of an error of this library or of those that simulate, infer and diagnose; false for others.
pub fn is_usage(error: &(dyn std::error::Error + 'static)) -> bool {
    use SimulatorError::{ModelFile, Option, UnknownTask};
    error.downcast_ref().is_some_and(Error::is_usage)
        || matches!(error.downcast_ref(), Some(UnknownTask { .. } | Option { .. } | ModelFile { .. }))
        || matches!(error.downcast_ref(), Some(InferenceError::Option { .. }))
        || matches!(error.downcast_ref(), Some(DiagnosticsError::Setting { .. }))
}

/// The same of [`Error::is_cancelled`].
pub fn is_cancelled(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<Cancelled>()
        || error.downcast_ref().is_some_and(Error::is_cancelled)
        || matches!(error.downcast_ref(), Some(InferenceError::Cancelled(_)))
        || matches!(error.downcast_ref(), Some(DiagnosticsError::Cancelled(_)))
        || matches!(error.downcast_ref(), Some(SimulatorError::Cancelled(_)))
}

// Cancellation is one and the same, whichever library saw it first.
impl From<SimulatorError> for Error {
    fn from(error: SimulatorError) -> Self {
        match error {
            SimulatorError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Simulator(other),
        }
    }
}

impl From<InferenceError> for Error {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Inference(other),
        }
    }
}

impl From<DiagnosticsError> for Error {
    fn from(error: DiagnosticsError) -> Self {
        match error {
            DiagnosticsError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Diagnostics(other),
        }
    }
}

#[cfg(feature = "files")]
impl From<tallsbi_files::FileError> for Error {
    fn from(error: tallsbi_files::FileError) -> Self {
        Self::File(error)
    }
}

/// What systems say of a full disk, and what it is called here.
const FULL: [(&str, &str); 2] = [
    ("No space left on device (os error 28)", "the disk is full; make room and run it again"),
    ("Disk quota exceeded (os error 122)", "your share of the disk is full; make room and run it again"),
];

/// An error and its causes on one line, without repetitions.
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // Errors that are transparent repeat their cause.
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    let line = parts.join(": ").lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    FULL.iter().fold(line, |line, (said, plain)| line.replace(said, plain))
}
