//! Every kind of figure: an SVG that parses with the texts it should bear, and a PNG of the right size that is not blank.

use super::canvas::text_width;
use super::*;
use ndarray::Array2;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

fn normals(rows: usize, columns: usize, scale: f64) -> Array2<f64> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
    Array2::from_shape_fn((rows, columns), |_| {
        let z: f64 = StandardNormal.sample(&mut rng);
        scale * z
    })
}

/// Checks a figure, and that each of `texts` is drawn.
fn check(figure: &Figure, texts: &[&str]) {
    let options = resvg::usvg::Options::default();
    let svg = figure.svg();
    resvg::usvg::Tree::from_str(&svg, &options).expect("valid SVG");
    for text in texts {
        assert!(svg.contains(text), "{} lacks {text:?}", figure.name);
    }
    let png = figure.png().expect("renders");
    let pixels = resvg::tiny_skia::Pixmap::decode_png(&png).expect("a PNG");
    assert_eq!(f64::from(pixels.width()), 2.0 * figure.width());
    let dark = pixels.pixels().iter().filter(|pixel| pixel.red() < 100 && pixel.green() < 100).count();
    // Text is what is darkest: without a font there would be none.
    assert!(dark > 500, "{}: only {dark} dark pixels", figure.name);
    let inline = figure.inline_svg();
    assert!(!inline.contains("http") && inline.contains("role=\"img\""), "inline SVGs refer to nothing");
}

fn axes(m: usize) -> Vec<PairAxis> {
    (0..m)
        .map(|i| PairAxis {
            label: format!("θ{i} <mV>"),
            range: None,
            bounds: (f64::NEG_INFINITY, f64::INFINITY),
            truth: Some(0.1),
            prior: Vec::new(),
        })
        .collect()
}

#[test]
fn pair_plots_of_any_dimension() {
    for m in [1, 2, 4, 10] {
        let (wide, narrow) = (normals(600, m, 1.0), normals(600, m, 0.05));
        let sets = vec![
            SampleSet { label: "n = 1".into(), color: sequential(0, 2), samples: wide.view(), outline: false },
            SampleSet { label: "n = 30".into(), color: sequential(1, 2), samples: narrow.view(), outline: false },
        ];
        let figure = PairPlot { slices: None, axes: axes(m), sets }.figure("pairs", "Pairs & more").expect("draws");
        check(&figure, &["Pairs &amp; more", "n = 30", "true value", "θ0 &lt;mV&gt;"]);
    }
}

/// Figures are as wide as their legends, which stand beside a single panel and below none.
#[test]
fn legends_of_pair_plots_have_room() {
    let samples = normals(100, 1, 1.0);
    let label = "a posterior of which the name is long";
    let sets =
        vec![SampleSet { label: label.into(), color: sequential(0, 1), samples: samples.view(), outline: false }];
    let figure = PairPlot { axes: axes(1), slices: None, sets }.figure("pairs", "").expect("draws");
    assert!(figure.width() > 250.0 + text_width(label, 15.0), "{}", figure.width());
    let samples = normals(100, 10, 1.0);
    let sets: Vec<_> = (0..8)
        .map(|i| SampleSet { label: format!("{i}"), color: CATEGORICAL[0], samples: samples.view(), outline: false })
        .collect();
    PairPlot { axes: axes(10), slices: None, sets }.figure("pairs", "").expect("draws");
}

/// What is compared with is dashed, in the panels and in the legend, and covers nothing.
#[test]
fn outlines_are_dashed() {
    let (samples, other) = (normals(600, 2, 1.0), normals(600, 2, 0.5));
    let set = |samples, outline| SampleSet { label: "a".into(), color: CATEGORICAL[0], samples, outline };
    let draw = |outline| {
        let sets = vec![set(samples.view(), false), set(other.view(), outline)];
        let axes = axes(2).into_iter().map(|axis| PairAxis { truth: None, ..axis });
        PairPlot { slices: None, axes: axes.collect(), sets }.figure("pairs", "").expect("draws").svg()
    };
    let count = |svg: &str, element: &str| svg.matches(element).count();
    let (filled, outlined) = (draw(false), draw(true));
    assert!(count(&outlined, "<polyline") > count(&filled, "<polyline") + 20, "dashes are short lines");
    assert!(count(&outlined, "<polygon") < count(&filled, "<polygon"));
}

#[test]
fn pair_plots_refuse_samples_of_other_dimensions_and_nothing_finite() {
    for samples in [normals(50, 2, 1.0), Array2::from_elem((50, 3), f64::NAN)] {
        let sets =
            vec![SampleSet { label: "a".into(), color: sequential(0, 1), samples: samples.view(), outline: false }];
        let outcome = PairPlot { slices: None, axes: axes(3), sets }.figure("pairs", "");
        assert!(matches!(outcome, Err(PlotError::Data { .. })));
    }
}

/// Samples that do not vary (a fixed parameter) still give a picture.
#[test]
fn constant_samples_are_drawn() {
    let samples = Array2::from_elem((50, 2), 3.0);
    let sets = vec![SampleSet { label: "a".into(), color: sequential(0, 1), samples: samples.view(), outline: false }];
    PairPlot { slices: None, axes: axes(2), sets }.figure("pairs", "Constant").expect("draws");
}

fn chart(values: &[f64]) -> LineChart {
    let points: Vec<(f64, f64)> = [1.0, 8.0, 30.0].into_iter().zip(values.iter().copied()).collect();
    LineChart {
        x: Axis::at("n", &[1.0, 8.0, 30.0]),
        y: Axis::logarithmic("spread", values.iter().copied()),
        bands: vec![Band {
            label: "band".into(),
            color: CATEGORICAL[5],
            limits: vec![(1.0, 0.1, 0.2), (30.0, 0.1, 0.3)],
        }],
        rules: vec![
            Rule::Horizontal { label: "threshold".into(), at: 0.5 },
            Rule::Vertical { label: "kept".into(), at: 8.0 },
        ],
        series: vec![Series { label: "σ".into(), color: CATEGORICAL[0], points, dots: true, dashed: false }],
    }
}

#[test]
fn line_charts() {
    let chart = chart(&[1.0, 0.2, 0.05]);
    check(&chart.figure("lines", "Lines").expect("draws"), &["spread", "threshold", "kept", "band", "σ"]);
    check(&draw_side_by_side("two", "Two", [&chart, &chart]).expect("draws"), &["Two", "spread"]);
}

/// Small charts share a legend that lists the curves of all of them, those that look alike once.
#[test]
fn legends_of_many_charts() {
    let first = chart(&[1.0, 0.2, 0.05]);
    let mut second = first.clone();
    second.series.push(Series::new("only here", CATEGORICAL[1], vec![(8.0, 0.5)]).with_dots(true));
    let grid = ChartGrid { columns: 2, panels: vec![("one".into(), first), ("two".into(), second)] };
    let figure = grid.figure("grid", "Many").expect("draws");
    check(&figure, &["only here", "one", "two"]);
    assert_eq!(figure.svg().matches("threshold").count(), 1);
}

/// Nothing finite is an error that names the figure; single values that are not finite are left out.
#[test]
fn line_charts_need_something_finite() {
    let error = chart(&[f64::NAN; 3]).figure("lines", "").expect_err("nothing to draw");
    assert!(error.to_string().contains("lines"));
    chart(&[1.0, f64::INFINITY, 0.1]).figure("lines", "").expect("draws the rest");
}

#[test]
fn matrices_and_directions() {
    let names = vec!["C".to_owned(), "μ".to_owned()];
    let matrix = vec![vec![1.0, -0.93], vec![-0.93, 1.0]];
    let heatmap = Heatmap { names: names.clone(), matrices: vec![("n = 30".into(), matrix)] };
    check(&heatmap.figure("matrix", "Correlations").expect("draws"), &["−0.93", "n = 30", "C"]);
    let chart = DirectionChart { names, directions: vec![(0.01, vec![0.8, 0.6]), (0.9, vec![-0.6, 0.8])] };
    check(&chart.figure("directions", "Directions").expect("draws"), &["μ +0.60", "90 %"]);
}

#[test]
fn figures_are_saved_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    chart(&[1.0, 0.2, 0.05]).figure("lines", "Lines").expect("draws").save(folder.path()).expect("saves");
    let mut names: Vec<_> = folder.path().read_dir().expect("reads").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["lines.csv", "lines.png", "lines.svg"]);
}
