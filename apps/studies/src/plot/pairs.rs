//! Pair plots: every one- and two-dimensional marginal of one or more sets of samples.

use super::axis::Axis;
use super::canvas::{Canvas, Figure, px, stroke, text, text_width, wrapped};
use super::density::{self, Curve, Support, Surface};
use super::error::{PlotError, Result};
use super::panel::{LINE, Margins, Panel};
use super::style::{INK, MUTED, PRIOR, TRUTH, size};
use ndarray::ArrayView2;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// One parameter of a pair plot.
#[derive(Debug, Clone)]
pub struct PairAxis {
    /// Name with unit.
    pub label: String,
    /// Plotted range; that of the samples unless given.
    pub range: Option<(f64, f64)>,
    /// Bounds of the prior; infinite where it has none.
    pub bounds: (f64, f64),
    /// True value.
    pub truth: Option<f64>,
    /// Draws of the prior, whose density is drawn on the diagonal; may be empty.
    pub prior: Vec<f64>,
}

/// One- and two-dimensional densities that are known on grids, such as conditional ones.
#[derive(Debug, Clone)]
pub struct Slices {
    /// Name in the legend.
    pub label: String,
    /// Colour.
    pub color: RGBColor,
    /// Of each parameter.
    pub curves: Vec<Curve>,
    /// Of each pair (column, row), column < row: (1, 0), (2, 0), (2, 1), .. by row.
    pub surfaces: Vec<Surface>,
}

/// Samples of one posterior, (N, m).
#[derive(Debug, Clone)]
pub struct SampleSet<'a> {
    /// Name in the legend.
    pub label: String,
    /// Colour.
    pub color: RGBColor,
    /// Samples.
    pub samples: ArrayView2<'a, f64>,
    /// Whether it is something to compare with: dashed outlines alone, which what lies below them shows through.
    pub outline: bool,
}

/// Marginals of sets of samples: densities on the diagonal, credible regions of 50 % and 95 % below it.
#[derive(Debug, Clone)]
pub struct PairPlot<'a> {
    /// Parameters, in column order.
    pub axes: Vec<PairAxis>,
    /// Densities, drawn first.
    pub slices: Option<Slices>,
    /// Sets, drawn in this order.
    pub sets: Vec<SampleSet<'a>>,
}

/// Shares of the samples inside the outlined regions, outer first.
pub const MASSES: [f64; 2] = [0.95, 0.50];
/// Cells of a density grid along one axis.
const CELLS: usize = 128;
/// Cells of a density curve.
const CURVE_CELLS: usize = 320;

/// Space left of and below the panels, in pixels.
const LEFT: f64 = 88.0;
const BOTTOM: f64 = 50.0;
const EDGE: f64 = 14.0;
const GAP: f64 = 8.0;

/// Middle of the first line of the legend, and from one line to the next.
const LEGEND_TOP: f64 = 24.0;
const LEGEND_LINE: f64 = 23.0;
/// What regions hold.
const NOTE: &str = "regions hold 50 % and 95 %";

impl PairPlot<'_> {
    /// The figure.
    ///
    /// # Errors
    /// When a set has another number of parameters than there are axes, or holds nothing finite.
    pub fn figure(&self, name: &str, title: &str) -> Result<Figure> {
        let m = self.axes.len();
        for set in &self.sets {
            if set.samples.ncols() != m || !set.samples.iter().any(|v| v.is_finite()) {
                let message = format!("{} does not hold samples of {m} parameters", set.label);
                return Err(PlotError::Data { figure: name.to_owned(), message });
            }
        }
        let columns: Vec<Vec<Vec<f64>>> =
            self.sets.iter().map(|set| (0..m).map(|i| set.samples.column(i).to_vec()).collect()).collect();
        let supports: Vec<Support> = (0..m).map(|i| self.support(i, &columns)).collect();
        let panel = (840.0 / m as f64).clamp(100.0, 250.0);
        let side = panel * m as f64;
        let lines = self.axes.iter().map(|axis| named(axis, panel).lines().count()).max().unwrap_or(1).max(1);
        let (first, below) = (LEFT + LINE * (lines - 1) as f64, BOTTOM + LINE * (lines - 1) as f64);
        let legend = self.legend();
        // Where there is room for it above the diagonal, or right of all panels.
        let column = ((LEGEND_TOP + LEGEND_LINE * legend.len() as f64 + LEGEND_LINE) / panel).ceil().min(m as f64);
        let legend_left = first + column * panel + 26.0;
        let widest = legend.iter().map(|(label, ..)| text_width(label, size::LABEL)).fold(0.0, f64::max);
        let noted = if m > 2 { text_width(NOTE, size::TICK) } else { 38.0 + widest };
        let width = (side + first + EDGE).max(legend_left + noted.max(38.0 + widest) + EDGE).ceil();
        Canvas::new(name, title, width, side + below + EDGE).draw(|area| {
            for row in 0..m {
                for column in 0..=row {
                    let left = first + column as f64 * panel;
                    let top = EDGE / 2.0 + row as f64 * panel;
                    let margins = Margins {
                        left,
                        top,
                        right: width - left - panel + GAP,
                        bottom: side + below + EDGE - top - panel + GAP,
                    };
                    let y = if row == column {
                        Axis::with_ticks(0.0, 1.08, Vec::new())
                    } else {
                        self.axis(row, supports[row], panel)
                    };
                    let x = self.axis(column, supports[column], panel);
                    let panel = Panel::new(name, area, margins, x, y);
                    if row == column {
                        self.draw_marginal(&panel, row, supports[row], &columns)?;
                    } else {
                        self.draw_pair(&panel, (column, row), (supports[column], supports[row]), &columns)?;
                    }
                    if row == m - 1 {
                        panel.label_x()?;
                    }
                    if column == 0 && row > 0 {
                        panel.label_y()?;
                    }
                }
            }
            draw_legend(name, area, legend_left, &legend, m > 2)
        })
    }

    fn support(&self, index: usize, columns: &[Vec<Vec<f64>>]) -> Support {
        let axis = &self.axes[index];
        let (low, high) = axis.range.unwrap_or_else(|| {
            density::sample_range(columns.iter().map(|set| set[index].as_slice()), axis.bounds, axis.truth)
        });
        Support { low, high, bounds: axis.bounds }
    }

    fn axis(&self, index: usize, support: Support, panel: f64) -> Axis {
        let label = named(&self.axes[index], panel);
        let with = |count| Axis::linear(label.clone(), support.low, support.high, count).inner_ticks();
        let fewest = if panel < 150.0 { 1 } else { 2 };
        (2..8).map(with).find(|axis| axis.ticks().len() >= fewest).unwrap_or_else(|| with(8))
    }

    /// Densities, each scaled to its own peak: the widths are what is to be compared.
    fn draw_marginal(
        &self,
        panel: &Panel<'_>,
        index: usize,
        support: Support,
        columns: &[Vec<Vec<f64>>],
    ) -> Result<()> {
        let filled = |curve: &Curve, color: RGBColor| {
            let points = scaled(curve);
            let ends = [(support.high, 0.0), (support.low, 0.0)];
            panel.polygon(points.iter().copied().chain(ends), &color.mix(0.10))?;
            panel.curve(points, &color, 2.0)
        };
        if !self.axes[index].prior.is_empty() {
            panel.dashes(scaled(&density::curve(&self.axes[index].prior, support, CURVE_CELLS)), &PRIOR, 1.5)?;
        }
        if let Some(slices) = &self.slices {
            filled(&slices.curves[index], slices.color)?;
        }
        for (set, columns) in self.sets.iter().zip(columns) {
            let curve = density::curve(&columns[index], support, CURVE_CELLS);
            match set.outline {
                true => panel.dashes(scaled(&curve), &set.color, 1.8)?,
                false => filled(&curve, set.color)?,
            }
        }
        if let Some(truth) = self.axes[index].truth {
            panel.dashes([(truth, 0.0), (truth, 1.08)], &TRUTH, 1.8)?;
        }
        panel.outline()
    }

    fn draw_pair(
        &self,
        panel: &Panel<'_>,
        (x, y): (usize, usize),
        supports: (Support, Support),
        columns: &[Vec<Vec<f64>>],
    ) -> Result<()> {
        panel.grid(true, true)?;
        if let Some(slices) = &self.slices {
            draw_regions(panel, &slices.surfaces[y * (y - 1) / 2 + x], slices.color, false)?;
        }
        for (set, columns) in self.sets.iter().zip(columns) {
            let points: Vec<(f64, f64)> = columns[x].iter().copied().zip(columns[y].iter().copied()).collect();
            let surface = Surface::new(&points, supports.0, supports.1, CELLS, &MASSES);
            draw_regions(panel, &surface, set.color, set.outline)?;
        }
        if let (Some(at_x), Some(at_y)) = (self.axes[x].truth, self.axes[y].truth) {
            let (xs, ys) = panel.ranges();
            panel.dashes([(at_x, ys.start), (at_x, ys.end)], &TRUTH, 1.0)?;
            panel.dashes([(xs.start, at_y), (xs.end, at_y)], &TRUTH, 1.0)?;
            panel.dots([(at_x, at_y)], &TRUTH, 3.5)?;
        }
        panel.outline()
    }

    /// Name, colour, and whether it is dashed.
    fn legend(&self) -> Vec<(String, RGBColor, bool)> {
        let mut entries: Vec<(String, RGBColor, bool)> =
            self.slices.iter().map(|slices| (slices.label.clone(), slices.color, false)).collect();
        entries.extend(self.sets.iter().map(|set| (set.label.clone(), set.color, set.outline)));
        if self.axes.iter().any(|axis| !axis.prior.is_empty()) {
            entries.push(("prior".into(), PRIOR, true));
        }
        if self.axes.iter().any(|axis| axis.truth.is_some()) {
            entries.push(("true value".into(), TRUTH, true));
        }
        entries
    }
}

/// A parameter's name in lines as wide as a panel.
fn named(axis: &PairAxis, panel: f64) -> String {
    wrapped(&axis.label, size::LABEL, panel - GAP).join("\n")
}

/// The legend, with what regions hold where there are several.
fn draw_legend(
    name: &str,
    area: &super::canvas::Area<'_>,
    left: f64,
    entries: &[(String, RGBColor, bool)],
    noted: bool,
) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| PlotError::Draw { figure: name.to_owned(), message: e.to_string() };
    for (index, (label, color, dashed)) in entries.iter().enumerate() {
        let row = px(LEGEND_TOP + LEGEND_LINE * index as f64);
        let line = vec![(px(left), row), (px(left + 28.0), row)];
        if *dashed {
            area.draw(&DashedPathElement::new(line, px(6.0), px(4.0), stroke(color, 2.0))).map_err(|e| fail(&e))?;
        } else {
            area.draw(&PathElement::new(line, stroke(color, 4.0))).map_err(|e| fail(&e))?;
        }
        let style = text(size::LABEL, INK, HPos::Left, VPos::Center);
        area.draw(&Text::new(label.clone(), (px(left + 38.0), row), style)).map_err(|e| fail(&e))?;
    }
    if noted {
        let row = px(LEGEND_TOP + 6.0 + LEGEND_LINE * entries.len() as f64);
        let style = text(size::TICK, MUTED, HPos::Left, VPos::Center);
        area.draw(&Text::new(NOTE, (px(left), row), style)).map_err(|e| fail(&e))?;
    }
    Ok(())
}

/// A density over its own peak: the widths are what is to be compared.
fn scaled(curve: &Curve) -> Vec<(f64, f64)> {
    let peak = curve.density.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    curve.at.iter().zip(&curve.density).map(|(x, density)| (*x, density / peak)).collect()
}

fn draw_regions(panel: &Panel<'_>, surface: &Surface, color: RGBColor, outline: bool) -> Result<()> {
    for (region, (fill, width)) in [(0.13, 1.3), (0.28, 1.6)].into_iter().enumerate() {
        for ring in surface.region(region) {
            if outline {
                panel.dashes(ring, &color, width)?;
            } else {
                panel.polygon(ring.iter().copied(), &color.mix(fill))?;
                panel.curve(ring, &color, width)?;
            }
        }
    }
    Ok(())
}
