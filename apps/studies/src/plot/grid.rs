//! Many small charts with one legend.

use super::canvas::Area;
use super::canvas::{Canvas, Figure, px, wrapped};
use super::error::Result;
use super::lines::{LineChart, data, nothing};
use super::panel::Margins;
use super::style::size;

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
/// Space above a panel's frame for one line of its heading, and for each further one.
const HEADING: (f64, f64) = (30.0, 19.0);
/// Space between the headings of neighbours.
const BETWEEN_HEADINGS: f64 = 12.0;

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
        let headings: Vec<Vec<String>> = self.panels.iter().map(|(heading, _)| lines_of(heading)).collect();
        let lines = headings.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let above = HEADING.0 + HEADING.1 * (lines - 1) as f64;
        let height = PANEL.1 + above - HEADING.0;
        let figure = Canvas::new(name, title, width, top + height * rows as f64).draw(|area| {
            legend.draw_legend(name, area)?;
            for (index, ((_, chart), heading)) in self.panels.iter().zip(&headings).enumerate() {
                if chart.is_drawable() {
                    let corner = (PANEL.0 * (index % columns) as f64, top + height * (index / columns) as f64);
                    let cell =
                        area.clone().shrink((px(corner.0), px(corner.1)), (px(PANEL.0) as u32, px(height) as u32));
                    draw(name, heading, chart, &cell, above)?;
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

fn draw(name: &str, heading: &[String], chart: &LineChart, cell: &Area<'_>, above: f64) -> Result<()> {
    let panel = chart.draw_panel(name, cell, Margins { top: above, ..Margins::LABELLED })?;
    let (columns, _) = panel.ranges();
    let middle = chart.x.value(0.5 * (columns.start + columns.end));
    heading.iter().rev().enumerate().try_for_each(|(line, words)| panel.heading(words, middle, HEADING.1 * line as f64))
}

/// A heading in lines that fit a panel.
fn lines_of(heading: &str) -> Vec<String> {
    wrapped(heading, size::LABEL, PANEL.0 - BETWEEN_HEADINGS)
}

#[cfg(test)]
mod tests {
    use super::super::canvas::text_width;
    use super::*;

    #[test]
    fn long_headings_stay_over_their_panel() {
        assert_eq!(lines_of("member 2 of 4"), ["member 2 of 4"]);
        let lines = lines_of("likelihood, one diagonal Gaussian of counts' cells, linear (not used)");
        assert_eq!(lines.join(" "), "likelihood, one diagonal Gaussian of counts' cells, linear (not used)");
        assert!(lines.len() > 1 && lines.iter().all(|line| text_width(line, size::LABEL) < PANEL.0), "{lines:?}");
    }

    /// Names without spaces are broken where people would break them, and anywhere if need be; nothing is lost.
    #[test]
    fn long_names_are_broken() {
        let name = "membrane_time_constant_of_cells";
        let lines = wrapped(name, size::LABEL, 100.0);
        assert_eq!(lines.concat(), name);
        assert!(lines.len() < 5 && lines.iter().all(|line| text_width(line, size::LABEL) <= 100.0), "{lines:?}");
        assert!(lines[0].ends_with('_'), "{lines:?}");
        let solid = "x".repeat(40);
        let lines = wrapped(&solid, size::LABEL, 100.0);
        assert!(lines.concat() == solid && lines.iter().all(|line| text_width(line, size::LABEL) <= 100.0));
    }
}
