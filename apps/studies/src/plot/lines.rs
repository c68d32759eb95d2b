//! Quantities against n or epochs: curves with dots, bands, thresholds, and a legend.

use super::axis::Axis;
use super::canvas::{Area, Canvas, Figure, px, stroke, text, text_width};
use super::error::{PlotError, Result};
use super::panel::{Margins, Panel};
use super::style::{INK, TRUTH, size};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// A curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// Colour.
    pub color: RGBColor,
    /// Values; those not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Whether each value gets a dot.
    pub dots: bool,
    /// Whether the curve is dashed.
    pub dashed: bool,
}

impl Series {
    /// A solid curve without dots.
    pub fn new(label: impl Into<String>, color: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), color, points, dots: false, dashed: false }
    }

    /// The same with dots or without.
    #[must_use]
    pub fn with_dots(self, dots: bool) -> Self {
        Self { dots, ..self }
    }

    /// The same in dashes or solid.
    #[must_use]
    pub fn with_dashes(self, dashed: bool) -> Self {
        Self { dashed, ..self }
    }
}

/// A shaded region between two curves.
#[derive(Debug, Clone)]
pub struct Band {
    /// Name in the legend.
    pub label: String,
    /// Colour, drawn transparent.
    pub color: RGBColor,
    /// (x, lower, upper).
    pub limits: Vec<(f64, f64, f64)>,
}

/// A straight line across the panel.
#[derive(Debug, Clone)]
pub enum Rule {
    /// At a value of the y axis.
    Horizontal {
        /// Name in the legend.
        label: String,
        /// Where.
        at: f64,
    },
    /// At a value of the x axis.
    Vertical {
        /// Name in the legend.
        label: String,
        /// Where.
        at: f64,
    },
}

/// A chart of curves.
#[derive(Debug, Clone)]
pub struct LineChart {
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Shaded regions, drawn first.
    pub bands: Vec<Band>,
    /// Thresholds and markers.
    pub rules: Vec<Rule>,
    /// Curves.
    pub series: Vec<Series>,
}

/// Height of one line of a legend.
const LEGEND_LINE: f64 = 22.0;
/// Width of the swatch of a legend entry with its gaps.
const SWATCH: f64 = 36.0;

/// Radius of a dot.
const DOT: f64 = 4.0;

#[derive(PartialEq)]
enum Mark {
    Line,
    Dot,
    Dashes,
    Region,
}

/// Name, colour and look of an entry of a legend.
type Entry = (String, RGBColor, Mark);

impl LineChart {
    /// A figure with this chart alone.
    ///
    /// # Errors
    /// When there is nothing finite to draw.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        let figure = Canvas::new(name, title, 760.0, 430.0).draw(|area| self.draw(name, area))?;
        Ok(figure.with_data(data(&[("", self)])))
    }

    /// What the legend lists; curves of the same name and look share an entry.
    fn legend(&self) -> Vec<Entry> {
        let mark = |series: &Series| match series {
            Series { dashed: true, .. } => Mark::Dashes,
            Series { dots: true, points, .. } if points.len() == 1 => Mark::Dot,
            _ => Mark::Line,
        };
        let curves = self.series.iter().map(|series| (series.label.clone(), series.color, mark(series)));
        let bands = self.bands.iter().map(|b| (b.label.clone(), b.color, Mark::Region));
        let rules = self.rules.iter().map(|rule| match rule {
            Rule::Horizontal { label, .. } | Rule::Vertical { label, .. } => (label.clone(), TRUTH, Mark::Dashes),
        });
        let mut entries = Vec::new();
        for entry in curves.chain(bands).chain(rules) {
            if !entry.0.is_empty() && !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries
    }

    /// Where each entry of the legend begins in `width` pixels, wrapping, and the height of all.
    fn legend_layout(&self, width: f64) -> (Vec<(f64, f64, Entry)>, f64) {
        let left = 20.0;
        let (mut column, mut row) = (left, 12.0);
        let mut places = Vec::new();
        for entry in self.legend() {
            let needed = SWATCH + text_width(&entry.0, size::TICK) + 20.0;
            if column > left && column + needed > width {
                (column, row) = (left, row + LEGEND_LINE);
            }
            places.push((column, row, entry));
            column += needed;
        }
        (places, row + 14.0)
    }

    /// Height of the legend in `width` pixels.
    pub(super) fn legend_height(&self, width: f64) -> f64 {
        self.legend_layout(width).1
    }

    /// Draws the legend along the top of `area`, wrapping, and returns its height.
    pub(super) fn draw_legend(&self, name: &str, area: &Area<'_>) -> Result<f64> {
        let fail = |e: &dyn std::fmt::Display| PlotError::Draw { figure: name.to_owned(), message: e.to_string() };
        let width = f64::from(area.dim_in_pixel().0) / f64::from(px(1.0));
        let (places, height) = self.legend_layout(width);
        for (column, row, (label, color, mark)) in places {
            let (start, end) = (px(column), px(column + SWATCH - 8.0));
            let line = vec![(start, px(row)), (end, px(row))];
            match mark {
                Mark::Line => area.draw(&PathElement::new(line, stroke(&color, 2.5))),
                Mark::Dot => area.draw(&Circle::new(((start + end) / 2, px(row)), px(DOT), color.filled())),
                Mark::Dashes => area.draw(&DashedPathElement::new(line, px(6.0), px(4.0), stroke(&color, 2.0))),
                Mark::Region => {
                    area.draw(&Rectangle::new([(start, px(row - 6.0)), (end, px(row + 6.0))], color.mix(0.25).filled()))
                }
            }
            .map_err(|e| fail(&e))?;
            let style = text(size::TICK, INK, HPos::Left, VPos::Center);
            area.draw(&Text::new(label, (px(column + SWATCH), px(row)), style)).map_err(|e| fail(&e))?;
        }
        Ok(height)
    }

    pub(super) fn is_drawable(&self) -> bool {
        self.series.iter().flat_map(|s| &s.points).any(|(x, y)| x.is_finite() && y.is_finite())
    }

    fn draw(&self, name: &str, area: &Area<'_>) -> Result<()> {
        if !self.is_drawable() {
            return Err(nothing(name));
        }
        let top = self.draw_legend(name, area)?;
        self.draw_panel(name, area, Margins { top: top + 8.0, ..Margins::LABELLED })?;
        Ok(())
    }

    /// The panel without its legend.
    pub(super) fn draw_panel<'a>(&self, name: &str, area: &Area<'a>, margins: Margins) -> Result<Panel<'a>> {
        let panel = Panel::new(name, area, margins, self.x.clone(), self.y.clone());
        panel.grid(true, false)?;
        for band in &self.bands {
            let upper = band.limits.iter().map(|(x, _, high)| (*x, *high));
            let lower = band.limits.iter().rev().map(|(x, low, _)| (*x, *low));
            panel.polygon(upper.chain(lower), &band.color.mix(0.2))?;
        }
        for rule in &self.rules {
            let (xs, ys) = panel.ranges();
            let (x_value, y_value) = (|at: f64| self.x.value(at), |at: f64| self.y.value(at));
            match rule {
                Rule::Horizontal { at, .. } => {
                    panel.dashes([(x_value(xs.start), *at), (x_value(xs.end), *at)], &TRUTH, 1.8)?
                }
                Rule::Vertical { at, .. } => {
                    panel.dashes([(*at, y_value(ys.start)), (*at, y_value(ys.end))], &TRUTH, 1.8)?;
                }
            }
        }
        for series in &self.series {
            let points = series.points.iter().copied();
            if series.dashed {
                panel.dashes(points.clone(), &series.color, 2.0)?;
            } else {
                panel.curve(points.clone(), &series.color, 2.2)?;
            }
            if series.dots {
                panel.dots(points, &series.color, DOT)?;
            }
        }
        panel.outline()?;
        panel.label_x()?;
        panel.label_y()?;
        Ok(panel)
    }
}

/// The error of a chart without values.
pub(super) fn nothing(name: &str) -> PlotError {
    PlotError::Data { figure: name.to_owned(), message: "there is no finite value to draw".into() }
}

/// What the charts show, as CSV: panel, curve, and its values (for a band, its lower and upper limit).
pub(super) fn data(charts: &[(&str, &LineChart)]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = String::from("panel,curve,x,value,upper\n");
    for (panel, chart) in charts {
        for series in &chart.series {
            for (x, y) in &series.points {
                out += &format!("{},{},{x},{y},\n", quoted(panel), quoted(&series.label));
            }
        }
        for band in &chart.bands {
            for (x, low, high) in &band.limits {
                out += &format!("{},{},{x},{low},{high}\n", quoted(panel), quoted(&band.label));
            }
        }
    }
    out
}

/// A figure with two charts beside each other.
///
/// # Errors
/// When one of them has nothing finite to draw.
pub fn draw_side_by_side(name: &str, title: &str, charts: [&LineChart; 2]) -> Result<Figure> {
    let figure = Canvas::new(name, title, 1040.0, 400.0).draw(|area| {
        let (left, right) = area.split_horizontally(px(520.0));
        charts[0].draw(name, &left)?;
        charts[1].draw(name, &right)
    })?;
    Ok(figure.with_data(data(&[(&charts[0].y.label, charts[0]), (&charts[1].y.label, charts[1])])))
}
