//! The sheet figures are drawn on, and the finished figure.

use super::error::{PlotError, Result};
use super::raster;
use super::style::{INK, PAPER, size};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Canvas units per pixel. plotters places everything at whole units, which on pixels would make curves jagged.
const UNITS: f64 = 8.0;

/// plotters' SVG text comes out smaller than asked for by this factor.
const TEXT_FACTOR: f64 = 1.24;

/// The family that figures name: the embedded font's own name first, so that measured and drawn widths agree.
const FAMILY: &str = "sans-serif";

/// A drawing area of a [`Canvas`].
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Pixels to canvas units.
pub fn px(pixels: f64) -> i32 {
    (pixels * UNITS).round() as i32
}

/// A stroke width in pixels as the style of `color`.
pub fn stroke<C: Color>(color: &C, pixels: f64) -> ShapeStyle {
    ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: px(pixels).max(1) as u32 }
}

/// Text of `pixels` height in `color`, anchored at (`horizontal`, `vertical`).
pub fn text(pixels: f64, color: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let size = pixels * TEXT_FACTOR * UNITS;
    let font = (FAMILY, size).into_font();
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(horizontal, vertical) }
}

/// Width of `label` in pixels when drawn at `pixels` height.
pub fn text_width(label: &str, pixels: f64) -> f64 {
    register_font();
    let measured = (FAMILY, pixels * TEXT_FACTOR * UNITS).into_font().box_size(label).map_or(0, |(width, _)| width);
    f64::from(measured) / UNITS
}

/// `label` in lines of at most `width` pixels at `pixels` height: broken at spaces, within longer words after `_`, `-` and `.`, and anywhere where that is not enough.
pub fn wrapped(label: &str, pixels: f64, width: f64) -> Vec<String> {
    let fits = |text: &str| text_width(text, pixels) <= width;
    let mut lines: Vec<String> = Vec::new();
    for word in label.split_whitespace() {
        let parts: Vec<&str> = if fits(word) { vec![word] } else { word.split_inclusive(['_', '-', '.']).collect() };
        for (index, part) in parts.into_iter().enumerate() {
            let mut glue = if index == 0 { " " } else { "" };
            let characters = part.chars().map(String::from);
            for piece in if fits(part) { vec![part.to_owned()] } else { characters.collect() } {
                match lines.last_mut() {
                    Some(line) if fits(&format!("{line}{glue}{piece}")) => *line += &format!("{glue}{piece}"),
                    _ => lines.push(piece),
                }
                glue = "";
            }
        }
    }
    lines
}

fn register_font() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // Only fails for bytes that are not a font, which the tests would show.
        let _ = plotters::style::register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular());
    });
}

/// A white sheet with a title, in pixels.
pub struct Canvas {
    name: String,
    width: f64,
    height: f64,
    title: String,
}

/// Height that the title takes.
pub const TITLE_HEIGHT: f64 = 38.0;

impl Canvas {
    /// A sheet for the figure called `name` (its file name without extension), `height` without the title.
    pub fn new(name: &str, title: &str, width: f64, height: f64) -> Self {
        let height = if title.is_empty() { height } else { height + TITLE_HEIGHT };
        Self { name: name.to_owned(), width, height, title: title.to_owned() }
    }

    /// Draws with `draw` into the space below the title.
    ///
    /// # Errors
    /// Whatever `draw` or the drawing library reports, with the figure's name.
    pub fn draw(self, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<Figure> {
        register_font();
        let mut svg = String::new();
        {
            let area =
                SVGBackend::with_string(&mut svg, (px(self.width) as u32, px(self.height) as u32)).into_drawing_area();
            let fail = |error: &dyn std::fmt::Display| PlotError::Draw {
                figure: self.name.clone(),
                message: error.to_string(),
            };
            area.fill(&PAPER).map_err(|error| fail(&error))?;
            let body = if self.title.is_empty() {
                area.clone()
            } else {
                let style = text(size::TITLE, INK, HPos::Left, VPos::Center);
                area.draw(&Text::new(self.title.clone(), (px(16.0), px(TITLE_HEIGHT * 0.55)), style))
                    .map_err(|error| fail(&error))?;
                area.margin(px(TITLE_HEIGHT), 0, 0, 0)
            };
            draw(&body)?;
            area.present().map_err(|error| fail(&error))?;
        }
        let start = svg.find("<svg").and_then(|open| svg[open..].find('>').map(|close| open + close + 1)).unwrap_or(0);
        Ok(Figure {
            name: self.name,
            title: self.title,
            caption: String::new(),
            alternative: String::new(),
            data: None,
            width: self.width,
            height: self.height,
            body: svg[start..].trim_end().trim_end_matches("</svg>").trim_end().to_owned(),
        })
    }
}

/// A finished picture.
#[derive(Debug, Clone)]
pub struct Figure {
    /// File name without extension.
    pub name: String,
    /// Title, as drawn.
    pub title: String,
    /// What the picture shows, for the line below it.
    pub caption: String,
    /// What a reader who cannot see the picture needs to know.
    pub alternative: String,
    data: Option<String>,
    width: f64,
    height: f64,
    body: String,
}

impl Figure {
    /// With a caption and the text for readers who cannot see the picture.
    #[must_use]
    pub fn described(mut self, caption: impl Into<String>, alternative: impl Into<String>) -> Self {
        self.caption = caption.into();
        self.alternative = alternative.into();
        self
    }

    /// With the values it shows, as CSV.
    #[must_use]
    pub fn with_data(mut self, csv: String) -> Self {
        self.data = Some(csv);
        self
    }

    /// Whether [`save`](Self::save) writes a CSV.
    pub fn has_data(&self) -> bool {
        self.data.is_some()
    }

    /// Width in pixels.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// A standalone SVG document.
    pub fn svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {} {}\">\n<title>{}</title>\n\
             <desc>{}</desc>\n{}\n</svg>\n",
            px(w),
            px(h),
            escape(&self.title),
            escape(&self.alternative),
            self.body
        )
    }

    /// The element to put into HTML: no namespace, as wide as its container, named for screen readers.
    pub fn inline_svg(&self) -> String {
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            px(self.width),
            px(self.height),
            escape(&self.alternative),
            self.body
        )
    }

    /// PNG bytes.
    ///
    /// # Errors
    /// When rendering fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        raster::png(&self.name, &self.svg())
    }

    /// Writes `name.svg`, `name.png` and, where there are values, `name.csv` into `folder`, each beside and then renamed.
    ///
    /// # Errors
    /// When rendering or writing fails.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_atomically(&folder.join(format!("{}.svg", self.name)), self.svg().as_bytes())?;
        write_atomically(&folder.join(format!("{}.png", self.name)), &self.png()?)?;
        match &self.data {
            Some(csv) => write_atomically(&folder.join(format!("{}.csv", self.name)), csv.as_bytes()),
            None => Ok(()),
        }
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside: PathBuf = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path)).map_err(|source| {
        // What is there of it is of no use; why it is not whole is what matters.
        let _ = std::fs::remove_file(&beside);
        PlotError::Write { path: path.to_owned(), source }
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
