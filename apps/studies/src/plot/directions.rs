//! Which combinations of parameters the data fix: the eigen-directions of a posterior, in units of the prior's spread.

use super::axis::Axis;
use super::canvas::{Canvas, Figure, px, text};
use super::error::Result;
use super::panel::{Margins, Panel};
use super::style::{CATEGORICAL, INK, MUTED, TRUTH, sequential, size};
use plotters::style::text_anchor::{HPos, VPos};

/// Eigen-directions of one posterior, best determined first.
#[derive(Debug, Clone)]
pub struct DirectionChart {
    /// Parameter names.
    pub names: Vec<String>,
    /// Posterior over prior standard deviation along each direction, and the direction's unit vector in prior-standardised
    /// coordinates.
    pub directions: Vec<(f64, Vec<f64>)>,
}

impl DirectionChart {
    /// The figure: weights of each direction, and how much of the prior's spread is left along it.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        let rows = self.directions.len().max(1) as f64;
        let parameters = self.names.len().max(1) as f64;
        let height = rows * (parameters * 17.0 + 26.0) + 84.0;
        Canvas::new(name, title, 900.0, height).draw(|area| {
            let (left, right) = area.split_horizontally(px(560.0));
            self.draw_weights(name, &left)?;
            self.draw_spread(name, &right)
        })
    }

    fn rows(&self, label: &str) -> Axis {
        let count = self.directions.len();
        let ticks = (0..count).map(|k| ((count - 1 - k) as f64 + 0.5, format!("{}", k + 1))).collect();
        Axis::with_ticks(0.0, count as f64, ticks).named(label)
    }

    fn draw_weights(&self, name: &str, area: &super::canvas::Area<'_>) -> Result<()> {
        let margins = Margins { left: 84.0, right: 26.0, top: 14.0, bottom: 56.0 };
        let x = Axis::linear("weight of each parameter (in prior standard deviations)", -1.32, 1.32, 6);
        let panel = Panel::new(name, area, margins, x, self.rows("direction"));
        panel.grid(false, true)?;
        let count = self.directions.len();
        for (k, (_, vector)) in self.directions.iter().enumerate() {
            let base = (count - 1 - k) as f64;
            if k > 0 {
                panel.curve([(-1.32, base + 1.0), (1.32, base + 1.0)], &MUTED, 0.6)?;
            }
            let slot = 0.84 / vector.len().max(1) as f64;
            for (i, &weight) in vector.iter().enumerate() {
                let top = base + 0.92 - slot * i as f64;
                let color = if weight < 0.0 { TRUTH } else { CATEGORICAL[0] };
                panel.tile([(0.0, top - 0.88 * slot), (weight, top)], &color)?;
                let side = if weight < 0.0 { HPos::Right } else { HPos::Left };
                let label = format!("{} {weight:+.2}", self.names.get(i).map_or("", String::as_str)).replace('-', "−");
                panel.note(
                    &label,
                    (weight + 0.025 * weight.signum(), top - 0.44 * slot),
                    text(size::TICK, INK, side, VPos::Center),
                )?;
            }
        }
        panel.curve([(0.0, 0.0), (0.0, count as f64)], &INK, 1.0)?;
        panel.outline()?;
        panel.label_x()?;
        panel.label_y()
    }

    fn draw_spread(&self, name: &str, area: &super::canvas::Area<'_>) -> Result<()> {
        let margins = Margins { left: 22.0, right: 22.0, top: 14.0, bottom: 56.0 };
        let spreads = self.directions.iter().map(|(spread, _)| *spread);
        let x = Axis::logarithmic("posterior / prior sd along it", spreads.chain([1.0]));
        let low = x.value(x.range().start);
        let panel = Panel::new(name, area, margins, x, self.rows(""));
        panel.grid(false, true)?;
        let count = self.directions.len();
        for (k, (spread, _)) in self.directions.iter().enumerate() {
            let middle = (count - 1 - k) as f64 + 0.5;
            panel.tile([(low, middle - 0.16), (*spread, middle + 0.16)], &sequential(count - 1 - k, count))?;
            let label =
                if *spread < 0.1 { format!("{:.1} %", 100.0 * spread) } else { format!("{:.0} %", 100.0 * spread) };
            panel.note(&label, (low * 1.03, middle + 0.3), text(size::TICK, INK, HPos::Left, VPos::Center))?;
        }
        panel.outline()?;
        panel.label_x()
    }
}
