//! One rectangle with axes: frame, grid, ticks and labels, and curves inside it.

use super::axis::Axis;
use super::canvas::{Area, px, stroke, text};
use super::error::{PlotError, Result};
use super::style::{FRAME, GRID, INK, MUTED, PAPER, size};
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

type Plane<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Space around the frame of a panel, in pixels, and which labels it bears.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// Left, right, top and bottom of the frame.
    pub left: f64,
    /// Right of the frame.
    pub right: f64,
    /// Above the frame.
    pub top: f64,
    /// Below the frame.
    pub bottom: f64,
}

impl Margins {
    /// Room for tick labels and axis labels on the left and below.
    pub const LABELLED: Self = Self { left: 84.0, right: 22.0, top: 10.0, bottom: 56.0 };
}

/// Height of a line of an axis label.
pub const LINE: f64 = 19.0;

/// A panel ready to draw into, in axis coordinates.
pub struct Panel<'a> {
    figure: String,
    area: Area<'a>,
    plane: Plane<'a>,
    x: Axis,
    y: Axis,
    frame: [i32; 4],
}

impl<'a> Panel<'a> {
    /// A panel over `area` less `margins`. Nothing is drawn yet.
    pub fn new(figure: &str, area: &Area<'a>, margins: Margins, x: Axis, y: Axis) -> Self {
        let inner = area.margin(px(margins.top), px(margins.bottom), px(margins.left), px(margins.right));
        let (columns, rows) = inner.get_pixel_range();
        let frame = [columns.start, columns.end, rows.start, rows.end];
        let plane = inner.apply_coord_spec(Cartesian2d::<RangedCoordf64, RangedCoordf64>::new(
            x.range(),
            y.range(),
            (columns, rows.end..rows.start),
        ));
        Self { figure: figure.to_owned(), area: area.strip_coord_spec(), plane, x, y, frame }
    }

    fn check<E: std::fmt::Display>(&self, outcome: std::result::Result<(), E>) -> Result<()> {
        outcome.map_err(|error| PlotError::Draw { figure: self.figure.clone(), message: error.to_string() })
    }

    /// Grid lines at the ticks, and the frame.
    pub fn grid(&self, horizontal: bool, vertical: bool) -> Result<()> {
        let (xs, ys) = (self.x.range(), self.y.range());
        let style = stroke(&GRID, 1.0);
        if vertical {
            for (tick, _) in self.x.ticks() {
                self.check(self.plane.draw(&PathElement::new(vec![(*tick, ys.start), (*tick, ys.end)], style)))?;
            }
        }
        if horizontal {
            for (tick, _) in self.y.ticks() {
                self.check(self.plane.draw(&PathElement::new(vec![(xs.start, *tick), (xs.end, *tick)], style)))?;
            }
        }
        Ok(())
    }

    /// The frame; drawn last so that filled curves do not cover it.
    pub fn outline(&self) -> Result<()> {
        let (xs, ys) = (self.x.range(), self.y.range());
        let corners =
            vec![(xs.start, ys.start), (xs.end, ys.start), (xs.end, ys.end), (xs.start, ys.end), (xs.start, ys.start)];
        self.check(self.plane.draw(&PathElement::new(corners, stroke(&FRAME, 1.0))))
    }

    /// Tick labels and axis label below the frame.
    pub fn label_x(&self) -> Result<()> {
        let style = text(size::TICK, MUTED, HPos::Center, VPos::Top);
        for (tick, label) in self.x.ticks() {
            let (column, _) = self.plane.map_coordinate(&(*tick, self.y.range().start));
            self.write(label, column, self.frame[3] + px(6.0), style.clone())?;
        }
        let middle = (self.frame[0] + self.frame[1]) / 2;
        let style = text(size::LABEL, INK, HPos::Center, VPos::Top);
        self.x.label.lines().enumerate().try_for_each(|(line, words)| {
            self.write(words, middle, self.frame[3] + px(29.0 + LINE * line as f64), style.clone())
        })
    }

    /// Tick labels and axis label on the left of the frame.
    pub fn label_y(&self) -> Result<()> {
        let style = text(size::TICK, MUTED, HPos::Right, VPos::Center);
        for (tick, label) in self.y.ticks() {
            let (_, row) = self.plane.map_coordinate(&(self.x.range().start, *tick));
            self.write(label, self.frame[0] - px(6.0), row, style.clone())?;
        }
        self.name_y()
    }

    /// The label of the y axis alone.
    pub fn name_y(&self) -> Result<()> {
        let middle = (self.frame[2] + self.frame[3]) / 2;
        let style = text(size::LABEL, INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
        // The last line is where a single one would be.
        self.y.label.lines().rev().enumerate().try_for_each(|(line, words)| {
            self.write(words, self.frame[0] - px(76.0 + LINE * line as f64), middle, style.clone())
        })
    }

    /// Text at an absolute position of the canvas.
    fn write(&self, label: &str, column: i32, row: i32, style: TextStyle<'_>) -> Result<()> {
        let (left, top) = self.area.get_base_pixel();
        self.check(self.area.draw(&Text::new(label.to_owned(), (column - left, row - top), style)))
    }

    /// Text at axis coordinates.
    pub fn note(&self, label: &str, at: (f64, f64), style: TextStyle<'_>) -> Result<()> {
        let (column, row) = self.plane.map_coordinate(&(self.x.coordinate(at.0), self.y.coordinate(at.1)));
        self.write(label, column, row, style)
    }

    /// A line of a heading `above` pixels over its place above the frame, centred at `x`.
    pub fn heading(&self, label: &str, x: f64, above: f64) -> Result<()> {
        let (column, _) = self.plane.map_coordinate(&(self.x.coordinate(x), self.y.range().start));
        self.write(label, column, self.frame[2] - px(8.0 + above), text(size::LABEL, INK, HPos::Center, VPos::Bottom))
    }

    fn place(&self, points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
        points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|(x, y)| (self.x.coordinate(x), self.y.coordinate(y)))
            .collect()
    }

    /// A curve through values.
    pub fn curve<C: Color>(&self, points: impl IntoIterator<Item = (f64, f64)>, color: &C, width: f64) -> Result<()> {
        self.check(self.plane.draw(&PathElement::new(self.place(points), stroke(color, width))))
    }

    /// A dashed curve through values.
    pub fn dashes<C: Color>(&self, points: impl IntoIterator<Item = (f64, f64)>, color: &C, width: f64) -> Result<()> {
        let style = stroke(color, width);
        self.check(self.plane.draw(&DashedPathElement::new(self.place(points), px(6.0), px(4.0), style)))
    }

    /// A filled polygon.
    pub fn polygon<C: Color>(&self, points: impl IntoIterator<Item = (f64, f64)>, color: &C) -> Result<()> {
        let style = ShapeStyle { color: color.to_rgba(), filled: true, stroke_width: 0 };
        self.check(self.plane.draw(&Polygon::new(self.place(points), style)))
    }

    /// Dots with a thin rim of paper, so that they stay apart where they meet.
    pub fn dots<C: Color>(&self, points: impl IntoIterator<Item = (f64, f64)>, color: &C, radius: f64) -> Result<()> {
        for point in self.place(points) {
            self.check(self.plane.draw(&Circle::new(point, px(radius + 1.0), PAPER.filled())))?;
            self.check(self.plane.draw(&Circle::new(point, px(radius), color.filled())))?;
        }
        Ok(())
    }

    /// A rectangle between two corners, filled.
    pub fn tile<C: Color>(&self, corners: [(f64, f64); 2], color: &C) -> Result<()> {
        let [(x0, y0), (x1, y1)] = corners;
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)
    }

    /// Range of the axes in axis coordinates.
    pub fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        (self.x.range(), self.y.range())
    }
}
