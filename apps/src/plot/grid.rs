//! Many small charts with one legend.

use super::canvas::{Canvas, Figure, px};
use super::lines::{LineChart, data, nothing};
use super::panel::Margins;
use super::{Area, Result};

/// Charts in rows and columns that share a legend, that of the first; each has a heading.
pub struct ChartGrid {
    /// Charts in a row.
    pub columns: usize,
    /// Heading and chart, row by row; a chart without values leaves its place empty.
    pub panels: Vec<(String, LineChart)>,
}

/// Size of one panel in pixels.
const PANEL: (f64, f64) = (330.0, 250.0);
/// Room for the shared legend.
const LEGEND: f64 = 40.0;

impl ChartGrid {
    /// The figure.
    ///
    /// # Errors
    /// When there is nothing finite to draw at all.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        let Some((_, first)) = self.panels.iter().find(|(_, chart)| chart.is_drawable()) else {
            return Err(nothing(name));
        };
        let columns = self.columns.clamp(1, self.panels.len());
        let rows = self.panels.len().div_ceil(columns);
        let (width, height) = (PANEL.0 * columns as f64, LEGEND + PANEL.1 * rows as f64);
        let figure = Canvas::new(name, title, width.max(700.0), height).draw(|area| {
            first.draw_legend(name, area)?;
            for (index, (heading, chart)) in self.panels.iter().enumerate() {
                if chart.is_drawable() {
                    draw(name, heading, chart, area, (index % columns, index / columns))?;
                }
            }
            Ok(())
        })?;
        let charts: Vec<(&str, &LineChart)> = self.panels.iter().map(|(h, chart)| (h.as_str(), chart)).collect();
        Ok(figure.with_data(data(&charts)))
    }
}

fn draw(name: &str, heading: &str, chart: &LineChart, area: &Area<'_>, place: (usize, usize)) -> Result<()> {
    let (left, top) = (PANEL.0 * place.0 as f64, LEGEND + PANEL.1 * place.1 as f64);
    let cell = area.clone().shrink((px(left), px(top)), (px(PANEL.0) as u32, px(PANEL.1) as u32));
    let panel = chart.draw_panel(name, &cell, Margins { top: 30.0, ..Margins::LABELLED })?;
    let (columns, _) = panel.ranges();
    panel.heading(heading, chart.x.value(0.5 * (columns.start + columns.end)))
}
