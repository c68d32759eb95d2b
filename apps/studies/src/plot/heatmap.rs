//! Correlation matrices as tiles with their numbers.

use super::axis::Axis;
use super::canvas::{Canvas, Figure, px, text};
use super::error::Result;
use super::panel::{Margins, Panel};
use super::style::{INK, PAPER, diverging, luminance, size};
use plotters::style::text_anchor::{HPos, VPos};

/// Symmetric matrices with values between -1 and 1, side by side, over the same names.
#[derive(Debug, Clone)]
pub struct Heatmap {
    /// Names of rows and columns.
    pub names: Vec<String>,
    /// Heading and values of each matrix.
    pub matrices: Vec<(String, Vec<Vec<f64>>)>,
}

impl Heatmap {
    /// The figure.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        let m = self.names.len().max(1);
        let side = (m as f64 * 74.0).clamp(170.0, 520.0);
        let column = side + 92.0;
        let width = (column * self.matrices.len().max(1) as f64 + 24.0).max(420.0);
        Canvas::new(name, title, width, side + 84.0).draw(|area| {
            let mut rest = area.clone();
            for (heading, values) in &self.matrices {
                let (cell, right) = rest.split_horizontally(px(column));
                self.draw_matrix(name, &cell, heading, values)?;
                rest = right;
            }
            Ok(())
        })
    }

    fn draw_matrix(
        &self,
        name: &str,
        area: &super::canvas::Area<'_>,
        heading: &str,
        values: &[Vec<f64>],
    ) -> Result<()> {
        let m = self.names.len();
        let labelled = |reverse: bool| {
            let ticks = (0..m).map(|i| {
                let position = if reverse { m - 1 - i } else { i };
                (position as f64 + 0.5, self.names[i].clone())
            });
            Axis::with_ticks(0.0, m as f64, ticks.collect())
        };
        let margins = Margins { left: 76.0, right: 16.0, top: 34.0, bottom: 50.0 };
        let panel = Panel::new(name, area, margins, labelled(false), labelled(true));
        let middle = m as f64 / 2.0;
        for (i, row) in values.iter().enumerate() {
            for (j, &value) in row.iter().enumerate() {
                let (x, y) = (j as f64, (m - 1 - i) as f64);
                let color = diverging(value);
                panel.tile([(x, y), (x + 1.0, y + 1.0)], &color)?;
                let ink = if luminance(color) > 0.25 { INK } else { PAPER };
                let written = format!("{value:.2}").replace('-', "−");
                panel.note(&written, (x + 0.5, y + 0.5), text(size::TICK, ink, HPos::Center, VPos::Center))?;
            }
        }
        panel.outline()?;
        panel.label_x()?;
        panel.label_y()?;
        panel.heading(heading, middle, 0.0)
    }
}
