//! Errors of drawing.

/// What can go wrong while drawing.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The drawing library refused an element.
    #[error("figure {figure}: cannot draw it: {message}")]
    Draw {
        /// Name of the figure.
        figure: String,
        /// What the library says.
        message: String,
    },
    /// There is nothing finite to draw.
    #[error("figure {figure}: {message}")]
    Data {
        /// Name of the figure.
        figure: String,
        /// What is wrong with the values.
        message: String,
    },
    /// The picture could not be turned into a PNG.
    #[error("figure {figure}: cannot render the PNG: {message}")]
    Raster {
        /// Name of the figure.
        figure: String,
        /// What the library says.
        message: String,
    },
    /// A file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Result of drawing.
pub type Result<T> = std::result::Result<T, PlotError>;
