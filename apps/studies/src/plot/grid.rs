//! Many small charts with one legend.

use super::canvas::Area;
use super::canvas::{Canvas, Figure, px};
use super::error::Result;
use super::lines::{LineChart, data, nothing};
use super::panel::Margins;

/// Charts in rows and columns that share a legend of all their curves; each has a heading.
pub struct ChartGrid {
    /// Charts in a row.
    pub columns: usize,
    /// Heading and chart, row by row; a chart without values leaves its place empty.
    pub panels: Vec<(String, LineChart)>,
}

/// Size of one panel in pixels.
const PANEL: (f64, f64) = (330.0, 250.0);
/// Narrowest figure, for its title and legend.
const NARROWEST: f64 = 700.0;
/// Space below the legend.
const BELOW_LEGEND: f64 = 14.0;

impl ChartGrid {
    /// The figure.
    ///
    /// # Errors
    /// When there is nothing finite to draw at all.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        if !self.panels.iter().any(|(_, chart)| chart.is_drawable()) {
            return Err(nothing(name));
        }
        let columns = self.columns.clamp(1, self.panels.len());
        let rows = self.panels.len().div_ceil(columns);
        let width = (PANEL.0 * columns as f64).max(NARROWEST);
        let legend = self.legend();
        let top = legend.legend_height(width) + BELOW_LEGEND;
        let figure = Canvas::new(name, title, width, top + PANEL.1 * rows as f64).draw(|area| {
            legend.draw_legend(name, area)?;
            for (index, (heading, chart)) in self.panels.iter().enumerate() {
                if chart.is_drawable() {
                    let corner = (PANEL.0 * (index % columns) as f64, top + PANEL.1 * (index / columns) as f64);
                    draw(name, heading, chart, area, corner)?;
                }
            }
            Ok(())
        })?;
        let charts: Vec<(&str, &LineChart)> = self.panels.iter().map(|(h, chart)| (h.as_str(), chart)).collect();
        Ok(figure.with_data(data(&charts)))
    }

    /// A chart with all curves, for its legend.
    fn legend(&self) -> LineChart {
        let charts = || self.panels.iter().map(|(_, chart)| chart);
        LineChart {
            bands: charts().flat_map(|chart| chart.bands.iter().cloned()).collect(),
            rules: charts().flat_map(|chart| chart.rules.iter().cloned()).collect(),
            series: charts().flat_map(|chart| chart.series.iter().cloned()).collect(),
            ..self.panels[0].1.clone()
        }
    }
}

fn draw(name: &str, heading: &str, chart: &LineChart, area: &Area<'_>, (left, top): (f64, f64)) -> Result<()> {
    let cell = area.clone().shrink((px(left), px(top)), (px(PANEL.0) as u32, px(PANEL.1) as u32));
    let panel = chart.draw_panel(name, &cell, Margins { top: 30.0, ..Margins::LABELLED })?;
    let (columns, _) = panel.ranges();
    panel.heading(heading, chart.x.value(0.5 * (columns.start + columns.end)))
}
