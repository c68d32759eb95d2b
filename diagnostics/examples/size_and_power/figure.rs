//! Rejection rates as curves, one panel for the shift and one for the scale.

use crate::Curves;
use plotters::prelude::*;

/// Okabe and Ito (2008): distinct for every kind of colour vision.
const COLORS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// The figure as an SVG document.
pub fn draw(curves: &[Curves], level: f64) -> Result<String, Box<dyn std::error::Error>> {
    // Only to measure text: viewers use their own font.
    let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    let mut svg = String::new();
    {
        let sheet = SVGBackend::with_string(&mut svg, (960, 400)).into_drawing_area();
        sheet.fill(&WHITE)?;
        let (left, right) = sheet.split_horizontally(480);
        let shift: Vec<_> = curves.iter().map(|curve| (curve.name, &curve.shift[..])).collect();
        let scale: Vec<_> = curves.iter().map(|curve| (curve.name, &curve.scale[..])).collect();
        panel(&left, "mean moved by s posterior standard deviations", &shift, level)?;
        panel(&right, "standard deviations multiplied by c", &scale, level)?;
        sheet.present()?;
    }
    Ok(svg)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    label: &str,
    curves: &[(&str, &[(f64, f64)])],
    level: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let xs = curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.0));
    let (low, high) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(low..high, 0.0..1.02)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xe2, 0xe5, 0xe9))
        .x_desc(label)
        .y_desc("share of repetitions with p ≤ 0.05")
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(DashedLineSeries::new([(low, level), (high, level)], 5, 4, BLACK.stroke_width(1)))?;
    for (&(name, points), color) in curves.iter().zip(COLORS) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(0x9a, 0xa1, 0xaa))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}
