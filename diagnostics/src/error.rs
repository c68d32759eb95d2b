//! Errors of this crate.

/// What can go wrong in a diagnostic. Each message says what was wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DiagnosticsError {
    /// Fewer samples than the method can work with.
    #[error("{what}: has {found} rows, the method needs at least {needed}; give more")]
    TooFewSamples {
        /// The matrix.
        what: &'static str,
        /// Rows found.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// A matrix without columns.
    #[error("{what}: has no columns; give at least one coordinate")]
    NoColumns {
        /// The matrix.
        what: &'static str,
    },
    /// Replications of other observations than those they are compared with.
    #[error(
        "replications of {replications:?} observations and values against {observations:?}; simulate as many as were observed"
    )]
    ReplicationShape {
        /// (n, d) of a replication.
        replications: (usize, usize),
        /// (n, d) of the observations.
        observations: (usize, usize),
    },
    /// A value that is NaN or infinite.
    #[error("{what}: row {row}, column {column} (counted from 0) is {value}; remove or repair such rows")]
    NotFinite {
        /// The matrix.
        what: &'static str,
        /// Row of the first such value, from 0.
        row: usize,
        /// Its column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A column that holds one value only: there is no distribution to compare.
    #[error(
        "{what}: column {column} (counted from 0) is constant ({value}); remove it from every matrix or check where it comes from"
    )]
    ConstantColumn {
        /// The matrix.
        what: &'static str,
        /// The column, from 0.
        column: usize,
        /// Its value.
        value: f64,
    },
    /// Matrices that must agree in their number of columns do not.
    #[error("{what}: has {found} columns, expected {expected} as in {like}; give matrices of the same coordinates")]
    Width {
        /// The matrix.
        what: &'static str,
        /// Columns found.
        found: usize,
        /// Columns expected.
        expected: usize,
        /// The matrix that sets the expectation.
        like: &'static str,
    },
    /// Matrices whose rows must correspond have different numbers of rows.
    #[error("{what}: has {found} rows, expected {expected} as in {like}; give one row for each row there")]
    Rows {
        /// The matrix.
        what: &'static str,
        /// Rows found.
        found: usize,
        /// Rows expected.
        expected: usize,
        /// The matrix that sets the expectation.
        like: &'static str,
    },
    /// An option outside its range.
    #[error("option {name} = {value}: {requirement}")]
    Setting {
        /// The option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        requirement: &'static str,
    },
    /// Draws of a posterior that has collapsed: most are copies of others, so that nothing can be tested with them.
    #[error("{what}: only {distinct} of {rows} draws differ; the sampler has collapsed, draw them anew")]
    Collapsed {
        /// The matrix.
        what: &'static str,
        /// Different rows.
        distinct: usize,
        /// All rows.
        rows: usize,
    },
    /// More than half of all pairs of points coincide, so that no kernel width can be read off them.
    #[error("{what}: the median pairwise distance is 0 (most rows are equal); give a fixed bandwidth or other samples")]
    ZeroBandwidth {
        /// The matrix.
        what: &'static str,
    },
    /// A classifier could not be trained.
    #[error("classifier {classifier}: {message}")]
    Classifier {
        /// Name of the classifier.
        classifier: &'static str,
        /// What happened.
        message: String,
    },
    /// The caller asked to stop.
    #[error("cancelled before the diagnostic was complete")]
    Cancelled(#[from] tallsbi_data::Cancelled),
    /// Error of linfa's own checks.
    #[error("classifier: {0}")]
    Linfa(String),
}

impl DiagnosticsError {
    /// The matrix that is at fault, by the name its message begins with.
    pub fn matrix(&self) -> Option<&'static str> {
        match self {
            Self::TooFewSamples { what, .. }
            | Self::NoColumns { what }
            | Self::NotFinite { what, .. }
            | Self::ConstantColumn { what, .. }
            | Self::Width { what, .. }
            | Self::Rows { what, .. }
            | Self::Collapsed { what, .. }
            | Self::ZeroBandwidth { what } => Some(what),
            Self::ReplicationShape { .. }
            | Self::Setting { .. }
            | Self::Classifier { .. }
            | Self::Cancelled(_)
            | Self::Linfa(_) => None,
        }
    }
}

impl From<linfa::Error> for DiagnosticsError {
    fn from(error: linfa::Error) -> Self {
        Self::Linfa(error.to_string())
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, DiagnosticsError>;
