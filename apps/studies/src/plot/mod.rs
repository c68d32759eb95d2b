//! Figures as SVG and PNG, drawn with plotters on a canvas of fractional pixels, with a font that travels in the program.
//!
//! * `Canvas` is the sheet, `Figure` the finished picture with its title, caption and alternative text.
//! * `Axis` and `Panel` are the frame that every chart shares; `LineChart` draws quantities against n or epochs, `ChartGrid` many of them.
//! * `PairPlot` shows marginals of posterior samples, `Heatmap` matrices, `DirectionChart` eigen-directions.

mod axis;
mod canvas;
mod density;
mod directions;
mod error;
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
pub use density::{Curve, Support, Surface, curve, sample_range};
pub use directions::DirectionChart;
pub use error::{PlotError, Result};
pub use grid::ChartGrid;
pub use heatmap::Heatmap;
pub use lines::{Band, LineChart, Rule, Series, draw_side_by_side};
pub use names::{pretty_name, with_unit};
pub use pairs::{MASSES, PairAxis, PairPlot, SampleSet, Slices};
pub use style::{CATEGORICAL, PRIOR, TRUTH, sequential};
