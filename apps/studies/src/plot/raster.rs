//! From SVG to PNG with resvg and the embedded DejaVu Sans: no system font, display or library is needed.

use super::error::{PlotError, Result};
use resvg::{tiny_skia, usvg};
use std::sync::{Arc, OnceLock};

/// Pixels of the PNG per pixel of the figure: sharp on screens and in print.
const PNG_SCALE: f32 = 2.0;

/// Renders an SVG document as PNG bytes, at twice its nominal size.
pub fn png(figure: &str, svg: &str) -> Result<Vec<u8>> {
    let fail = |message: String| PlotError::Raster { figure: figure.to_owned(), message };
    let options = usvg::Options { fontdb: fonts(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| fail(error.to_string()))?;
    let size = tree.size().to_int_size();
    let scaled = size.scale_by(PNG_SCALE).ok_or_else(|| fail("it has no size".into()))?;
    let mut pixels = tiny_skia::Pixmap::new(scaled.width(), scaled.height())
        .ok_or_else(|| fail(format!("no memory for {}x{} pixels", scaled.width(), scaled.height())))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| fail(error.to_string()))
}

/// The embedded font under every generic family name.
fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    FONTS
        .get_or_init(|| {
            let mut fonts = usvg::fontdb::Database::new();
            fonts.load_font_data(dejavu::sans::regular().to_vec());
            fonts.load_font_data(dejavu::sans::bold().to_vec());
            fonts.set_sans_serif_family("DejaVu Sans");
            fonts.set_serif_family("DejaVu Sans");
            fonts.set_monospace_family("DejaVu Sans");
            Arc::new(fonts)
        })
        .clone()
}
