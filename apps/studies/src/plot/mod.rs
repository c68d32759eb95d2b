//! Figures as SVG and PNG, drawn with plotters on a canvas of fractional pixels, with a font that travels in the program.
//!
//! * `Canvas` is the sheet, `Figure` the finished picture with its title, caption and alternative text.
//! * `Axis` and `Panel` are the frame that every chart shares; `LineChart` draws quantities against n or epochs, `ChartGrid` many of them.
//! * `PairPlot` shows marginals of posterior samples, `Heatmap` matrices, `DirectionChart` eigen-directions.

mod axis;
mod canvas;
mod density;
mod directions;
mod grid;
mod heatmap;
mod lines;
mod names;
mod pairs;
mod panel;
mod raster;
mod style;
#[cfg(test)]
mod tests;

pub use axis::Axis;
pub use canvas::Figure;
pub use directions::DirectionChart;
pub use grid::ChartGrid;
pub use heatmap::Heatmap;
pub use lines::{Band, LineChart, Rule, Series, draw_side_by_side};
pub use names::{pretty_name, with_unit};
pub use pairs::{PairAxis, PairPlot, SampleSet};
pub use style::{CATEGORICAL, sequential};

use canvas::Area;

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
    #[error("cannot write {path}: {source}; check that the folder is writable and the disk is not full")]
    Write {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Result of drawing.
pub type Result<T> = std::result::Result<T, PlotError>;
