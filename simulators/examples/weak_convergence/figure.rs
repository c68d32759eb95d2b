//! Left the spectra, right their error against the step.

use crate::{Curve, Spectrum, difference};
use plotters::coord::Shift;
use plotters::prelude::*;

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Okabe and Ito (2008): distinct for every kind of colour vision. Euler–Maruyama, Strang splitting.
const COLORS: [RGBColor; 2] = [RGBColor(0xd5, 0x5e, 0x00), RGBColor(0x00, 0x72, 0xb2)];
const GRID: RGBColor = RGBColor(0xe2, 0xe5, 0xe9);
const FRAME: RGBColor = RGBColor(0x9a, 0xa1, 0xaa);
/// Hz from one bin to the next.
const BIN_WIDTH: f64 = 128.0 / 65.0;
/// Steps a second of the spectra shown on the left.
const SHOWN: [u32; 3] = [1024, 2048, 8192];

/// The figure as an SVG document.
pub fn draw(curves: &[Curve; 2], reference: &Spectrum) -> Result<String, Box<dyn std::error::Error>> {
    // Only to measure text: viewers use their own font.
    let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    let mut svg = String::new();
    {
        let sheet = SVGBackend::with_string(&mut svg, (960, 400)).into_drawing_area();
        sheet.fill(&WHITE)?;
        let (left, right) = sheet.split_horizontally(480);
        spectra(&left, curves, reference)?;
        errors(&right, curves, reference)?;
        sheet.present()?;
    }
    Ok(svg)
}

fn spectra(area: &Area<'_>, curves: &[Curve; 2], reference: &Spectrum) -> Drawn {
    let low = reference.iter().copied().fold(f64::MAX, f64::min) - 0.2;
    let high = reference.iter().copied().fold(f64::MIN, f64::max) + 0.4;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..64.0, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc("frequency, Hz")
        .y_desc("mean log10 power")
        .label_style(("sans-serif", 14))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS) {
        for (step, spectrum) in curve.spectra.iter().filter(|(step, _)| SHOWN.contains(step)) {
            // The finer the step, the stronger the colour.
            let strength = if *step == SHOWN[0] { 0.45 } else { 0.75 };
            let color = color.mix(if *step == SHOWN[2] { 1.0 } else { strength });
            let points = spectrum.iter().enumerate().map(|(bin, &power)| (bin as f64 * BIN_WIDTH, power));
            if curve.name.starts_with("Strang") && *step != SHOWN[0] {
                continue;
            }
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(format!("{}, 1/{step} s", curve.name))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
        }
    }
    let dots = reference
        .iter()
        .enumerate()
        .map(|(bin, &power)| Circle::new((bin as f64 * BIN_WIDTH, power), 2, BLACK.filled()));
    chart
        .draw_series(dots)?
        .label(format!("Strang splitting, 1/{} s", crate::REFERENCE))
        .legend(|(x, y)| Circle::new((x + 10, y), 2, BLACK.filled()));
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn errors(area: &Area<'_>, curves: &[Curve; 2], reference: &Spectrum) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((5e-5..1e-2).log_scale(), (3e-4..1.0).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc("step h, s")
        .y_desc("error of log10 power (rms over bins)")
        .x_label_formatter(&|step| format!("{step:.0e}"))
        .y_label_formatter(&|error| format!("{error:.0e}"))
        .label_style(("sans-serif", 14))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS) {
        let points =
            curve.spectra.iter().map(|(step, spectrum)| (1.0 / f64::from(*step), difference(spectrum, reference).1));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    // Through Euler–Maruyama's error at 1/1024 s.
    let first_order = |step: f64| (step, 0.21 * step * 1024.0);
    chart
        .draw_series(DashedLineSeries::new([first_order(6e-5), first_order(4e-3)], 5, 4, BLACK.stroke_width(1)))?
        .label("proportional to h")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLACK.stroke_width(1)));
    let noise = (2.0f64).sqrt() * 6e-4;
    chart
        .draw_series(DashedLineSeries::new([(5e-5, noise), (1e-2, noise)], 1, 4, FRAME.stroke_width(2)))?
        .label("sampling noise")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], FRAME.stroke_width(2)));
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

fn legend<'a, 'b: 'a, C: plotters::coord::CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, C>,
    position: SeriesLabelPosition,
) -> Drawn
where
    SVGBackend<'b>: 'a,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(FRAME)
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}
