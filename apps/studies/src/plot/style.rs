//! Colours and type sizes, the same in every figure.
//!
//! Figures stand on a light card in both themes of the report, so there is one palette. Sequential colours are viridis from
//! its middle green to its dark end: readable on white, ordered in lightness for every kind of colour vision. Categories are
//! the Okabe–Ito palette without its yellow, which vanishes on white, and its vermillion, which marks true values.

use plotters::style::RGBColor;

/// Text and axis lines.
pub const INK: RGBColor = RGBColor(0x22, 0x26, 0x2b);
/// Secondary text.
pub const MUTED: RGBColor = RGBColor(0x55, 0x5c, 0x66);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xe2, 0xe5, 0xe9);
/// Frame around a panel.
pub const FRAME: RGBColor = RGBColor(0x9a, 0xa1, 0xaa);
/// The card behind a figure.
pub const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
/// True values and thresholds: Okabe–Ito vermillion, apart from every sequential colour.
pub const TRUTH: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// The prior, behind what is learned.
pub const PRIOR: RGBColor = MUTED;

/// Text sizes in pixels.
pub mod size {
    /// Figure title.
    pub const TITLE: f64 = 19.0;
    /// Axis labels and legends.
    pub const LABEL: f64 = 15.0;
    /// Tick labels.
    pub const TICK: f64 = 13.0;
}

/// Okabe & Ito (2008) in an order in which neighbours differ in lightness as well, without the vermillion of the truth.
pub const CATEGORICAL: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x33, 0x33, 0x33),
];

/// Control points of viridis (Smith & van der Walt 2015) from its dark end at 0 to its middle green at 1.
const VIRIDIS_DARK: [(f64, f64, f64); 6] = [
    (68.0, 1.0, 84.0),
    (70.0, 50.0, 127.0),
    (54.0, 92.0, 141.0),
    (39.0, 127.0, 142.0),
    (31.0, 161.0, 135.0),
    (74.0, 193.0, 109.0),
];

/// Colour `index` of `count`, from light (first) to dark (last). A single colour is a middle one.
pub fn sequential(index: usize, count: usize) -> RGBColor {
    let position = if count > 1 { 1.0 - index as f64 / (count - 1) as f64 } else { 0.5 };
    interpolate(&VIRIDIS_DARK, position)
}

/// Blue for -1, white for 0, orange-brown for +1 (the PuOr family, safe for colour-blind readers).
pub fn diverging(value: f64) -> RGBColor {
    const BLUE: [(f64, f64, f64); 3] = [(250.0, 250.0, 250.0), (120.0, 170.0, 210.0), (5.0, 80.0, 140.0)];
    const ORANGE: [(f64, f64, f64); 3] = [(250.0, 250.0, 250.0), (240.0, 165.0, 95.0), (165.0, 70.0, 0.0)];
    interpolate(if value < 0.0 { &BLUE } else { &ORANGE }, value.abs().min(1.0))
}

fn interpolate(points: &[(f64, f64, f64)], position: f64) -> RGBColor {
    let scaled = position.clamp(0.0, 1.0) * (points.len() - 1) as f64;
    let left = (scaled.floor() as usize).min(points.len() - 2);
    let weight = scaled - left as f64;
    let (from, to) = (points[left], points[left + 1]);
    let mix = |a: f64, b: f64| (a + (b - a) * weight).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// Relative luminance of WCAG 2, between 0 (black) and 1 (white).
pub fn luminance(color: RGBColor) -> f64 {
    let linear = |channel: u8| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequential colours get strictly darker with n, and even the lightest stands out from the paper.
    #[test]
    fn sequential_colours_go_from_light_to_dark() {
        let luminances: Vec<f64> = (0..5).map(|i| luminance(sequential(i, 5))).collect();
        assert!(luminances.windows(2).all(|w| w[0] > w[1] + 0.01), "{luminances:?}");
        let contrast = 1.05 / (luminances[0] + 0.05);
        assert!(contrast > 2.0, "lightest contrast {contrast}");
    }

    #[test]
    fn text_has_enough_contrast() {
        for color in [INK, MUTED] {
            assert!(1.05 / (luminance(color) + 0.05) > 4.5);
        }
    }

    #[test]
    fn diverging_is_white_in_the_middle_and_darkest_at_the_ends() {
        assert!(luminance(diverging(0.0)) > 0.9);
        assert!(luminance(diverging(-1.0)) < luminance(diverging(-0.5)));
        assert!(luminance(diverging(1.0)) < luminance(diverging(0.5)));
        assert_ne!(diverging(-0.8), diverging(0.8));
    }
}
