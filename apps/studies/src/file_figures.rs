//! Figures of any files side by side: posteriors, what they predict, losses of a model, coverage.

use crate::plot::{
    Axis, Band, CATEGORICAL, ChartGrid, Curve, Figure, LineChart, MASSES, PRIOR, PairAxis, PairPlot, Result, Rule,
    SampleSet, Series, Slices, Support, Surface, curve, pretty_name, sample_range,
};
pub use crate::report::CoverageCurve;
use crate::report::{against_n, coverage_chart, loss_chart, root_n};
use crate::study::quantile;
use crate::study::results::LossCurves;
use ndarray::{ArrayView2, ArrayView3, Axis as Dimension};
use tallsbi::data::{Prior, Purpose, StreamKey};
use tallsbi::diagnostics::EcdfTest;

/// Small charts in a row.
const COLUMNS: usize = 3;

/// Predicted quantiles that are shaded, outer first.
const BANDS: [(f64, f64, &str); 2] = [(0.025, 0.975, "predicted, 95 %"), (0.25, 0.75, "predicted, 50 %")];

/// Posterior samples with what they are called.
pub struct Labelled<'a> {
    /// Name in the legend.
    pub label: String,
    /// Samples (S, m).
    pub samples: ArrayView2<'a, f64>,
}

/// The parameters of posteriors, and what is drawn with them.
pub struct Parameters<'a> {
    /// Their names (m).
    pub names: &'a [String],
    /// True values (m).
    pub truth: Option<&'a [f64]>,
    /// The prior, to be drawn too; it may lack some of them, such as a rate of lapses.
    pub prior: Option<&'a Prior>,
}

/// Draws of a prior whose density is drawn.
const PRIOR_DRAWS: u64 = 20_000;

impl Parameters<'_> {
    /// Draws and bounds of each one's prior; none, and infinite ones, where it is not known.
    fn priors(&self) -> Vec<(Vec<f64>, (f64, f64))> {
        let none = || (Vec::new(), (f64::NEG_INFINITY, f64::INFINITY));
        let Some(prior) = self.prior else { return self.names.iter().map(|_| none()).collect() };
        let (key, support) = (StreamKey::root(0).child(Purpose::Prior), prior.support());
        let draw = |index| {
            let mut theta = vec![0.0; prior.dim()];
            prior.sample(&mut key.rng(index), &mut theta);
            theta
        };
        let draws: Vec<Vec<f64>> = (0..PRIOR_DRAWS).map(draw).collect();
        let of = |name: &String| match prior.names().iter().position(|own| own == name) {
            Some(i) => (draws.iter().map(|theta| theta[i]).collect(), support[i]),
            None => none(),
        };
        self.names.iter().map(of).collect()
    }

    /// The axes of a pair plot, on the range that `range` gives for each, or else that of its samples.
    fn axes(&self, range: impl Fn(usize) -> Option<(f64, f64)>) -> Vec<PairAxis> {
        let one = |(i, (prior, bounds)): (usize, (Vec<f64>, _))| PairAxis {
            label: pretty_name(&self.names[i]),
            range: range(i),
            bounds,
            truth: self.truth.map(|truth| truth[i]),
            prior,
        };
        self.priors().into_iter().enumerate().map(one).collect()
    }
}

/// One- and two-dimensional marginals of posteriors of the same parameters, over each other.
///
/// # Errors
/// When one has other parameters, or nothing finite.
pub fn posteriors(sets: &[Labelled<'_>], parameters: &Parameters<'_>) -> Result<Figure> {
    let names = parameters.names;
    let plot = PairPlot {
        axes: parameters.axes(|_| None),
        slices: None,
        sets: sets
            .iter()
            .enumerate()
            .map(|(i, set)| SampleSet {
                label: set.label.clone(),
                color: CATEGORICAL[i % CATEGORICAL.len()],
                samples: set.samples,
                // What lies under the last sets stays visible.
                outline: i > 0,
            })
            .collect(),
    };
    let labels: Vec<&str> = sets.iter().map(|set| set.label.as_str()).collect();
    Ok(plot.figure("posteriors", "Posteriors")?.described(
        "Diagonal: marginal densities. Below: regions that hold 50 % and 95 %.",
        format!("Pair plot of {} over the parameters {}.", labels.join(", "), names.join(", ")),
    ))
}

/// Cells of a curve and of a side of a region, at which marginal and conditional densities are drawn.
const CELLS: (usize, usize) = (320, 64);

/// Marginal densities of posteriors of the same parameters, a chart a parameter, with those of the prior.
///
/// # Errors
/// When nothing is finite.
pub fn marginals(sets: &[Labelled<'_>], parameters: &Parameters<'_>) -> Result<Figure> {
    let chart = |i: usize, (prior, bounds): (Vec<f64>, (f64, f64))| {
        let columns: Vec<Vec<f64>> = sets.iter().map(|set| set.samples.column(i).to_vec()).collect();
        let truth = parameters.truth.map(|truth| truth[i]);
        let (low, high) = sample_range(columns.iter().map(Vec::as_slice), bounds, truth);
        let line = |label: &str, color, values: &[f64], dashed| {
            let Curve { at, density } = curve(values, Support { low, high, bounds }, CELLS.0);
            Series { label: label.into(), color, points: at.into_iter().zip(density).collect(), dots: false, dashed }
        };
        let own = sets.iter().zip(&columns).enumerate();
        let mut series: Vec<Series> =
            own.map(|(k, (set, c))| line(&set.label, CATEGORICAL[k % CATEGORICAL.len()], c, false)).collect();
        if !prior.is_empty() {
            series.push(line("prior", PRIOR, &prior, true));
        }
        let heights: Vec<f64> = series.iter().flat_map(|one| one.points.iter().map(|point| point.1)).collect();
        LineChart {
            x: Axis::linear("", low, high, 4),
            y: Axis::from_zero("density", heights, 4),
            bands: vec![],
            rules: truth.map(|at| Rule::Vertical { label: "true value".into(), at }).into_iter().collect(),
            series,
        }
    };
    let charts = parameters.priors().into_iter().enumerate().map(|(i, prior)| chart(i, prior));
    let labels: Vec<&str> = sets.iter().map(|set| set.label.as_str()).collect();
    let figure = charts_of(parameters.names, charts.collect(), "marginals", "Marginal densities")?;
    Ok(figure.described(
        "Density of each parameter.",
        format!("Marginal densities of {} of the parameters {}.", labels.join(", "), parameters.names.join(", ")),
    ))
}

/// A chart a parameter; a single one with its name below.
fn charts_of(names: &[String], mut charts: Vec<LineChart>, name: &str, title: &str) -> Result<Figure> {
    if let [chart] = &mut charts[..] {
        chart.x = chart.x.clone().named(&pretty_name(&names[0]));
        return chart.figure(name, title);
    }
    let panels = names.iter().map(|name| pretty_name(name)).zip(charts).collect();
    ChartGrid { columns: COLUMNS, panels }.figure(name, title)
}

/// Standard deviations (m) of posteriors given n observations each, over those of the prior (m), or over those at the smallest n where none is known.
///
/// # Errors
/// When nothing is finite.
pub fn contraction(posteriors: &[(usize, Vec<f64>)], names: &[String], prior: Option<&[f64]>) -> Result<Figure> {
    let mut sorted: Vec<&(usize, Vec<f64>)> = posteriors.iter().collect();
    sorted.sort_by_key(|(n, _)| *n);
    let counts: Vec<f64> = sorted.iter().map(|(n, _)| *n as f64).collect();
    let whole = prior.unwrap_or_else(|| sorted.first().map_or(&[][..], |(_, sd)| sd));
    let line = |(i, name): (usize, &String)| {
        Series::new(
            pretty_name(name),
            CATEGORICAL[i % CATEGORICAL.len()],
            sorted.iter().map(|(n, sd)| (*n as f64, sd[i] / whole[i])).collect(),
        )
        .with_dots(true)
        .with_dashes(i >= CATEGORICAL.len())
    };
    let mut series: Vec<Series> = names.iter().enumerate().map(line).collect();
    series.push(root_n(&series, &counts));
    let (label, what) = match prior {
        Some(_) => ("posterior sd / prior sd", "that of the prior"),
        None => ("posterior sd / that at the smallest n", "that given the fewest observations"),
    };
    let figure = against_n(&counts, label, series).figure("contraction", "How the posterior contracts with n")?;
    Ok(figure.described(
        format!("Standard deviation of each marginal over {what}. A parameter that the data fix contracts like 1/√n."),
        format!("Contraction of {} at n = {counts:?}.", names.join(", ")),
    ))
}

/// Ranks of true parameters among posterior draws, from simulation-based calibration.
pub struct RankCurves {
    /// Name in the legend.
    pub label: String,
    /// Test of each parameter (m).
    pub tests: Vec<EcdfTest>,
}

/// Distribution functions of ranks less that of uniform ones, a chart a parameter (Säilynoja, Bürkner & Vehtari 2022).
///
/// # Errors
/// When nothing is finite.
pub fn ranks(curves: &[RankCurves], names: &[String]) -> Result<Figure> {
    let chart = |i: usize| {
        let own = curves.iter().filter_map(|curve| Some((curve, curve.tests.get(i)?)));
        let line = |(k, (curve, test)): (usize, (&RankCurves, &EcdfTest))| {
            Series::new(
                curve.label.clone(),
                CATEGORICAL[k % CATEGORICAL.len()],
                test.points.iter().zip(&test.observed).map(|(at, share)| (*at, share - at)).collect(),
            )
        };
        // The widest band holds for all.
        let widest = own.clone().max_by(|a, b| (a.1.high[0] - a.1.points[0]).total_cmp(&(b.1.high[0] - b.1.points[0])));
        let band = widest.map(|(_, test)| Band {
            label: format!("uniform ({:.0} % of curves)", 100.0 * test.confidence),
            color: CATEGORICAL[5],
            limits: (0..test.points.len())
                .map(|k| (test.points[k], test.low[k] - test.points[k], test.high[k] - test.points[k]))
                .collect(),
        });
        let bands: Vec<Band> = band.into_iter().collect();
        let series: Vec<Series> = own.enumerate().map(line).collect();
        let heights: Vec<f64> = (bands.iter().flat_map(|band| band.limits.iter().flat_map(|l| [l.1, l.2])))
            .chain(series.iter().flat_map(|one| one.points.iter().map(|point| point.1)))
            .collect();
        LineChart {
            x: Axis::linear("rank / draws", 0.0, 1.0, 4),
            y: Axis::around("share below − uniform", heights, 4),
            bands,
            rules: vec![],
            series,
        }
    };
    let charts = (0..names.len()).map(chart).collect();
    let figure = charts_of(names, charts, "ranks", "Are ranks of true parameters uniform?")?;
    Ok(figure.described(
        "Distribution function of ranks less the uniform one. A curve above the band at the left: truths too low among draws. Below at the left and above at the right: posteriors too wide; the other way round: too narrow.",
        format!("Ranks of {} from {} checks.", names.join(", "), curves.len()),
    ))
}

/// Conditional densities of one and of two parameters, all others held at `at`, over the marginal ones: `density` gives the density on lists of values of one or two parameters (the first one's as
/// rows), up to a factor.
///
/// # Errors
/// Those of `density`; when nothing is finite.
pub fn conditionals(
    set: &Labelled<'_>,
    parameters: &Parameters<'_>,
    at: &[f64],
    mut density: impl FnMut(&[(usize, Vec<f64>)]) -> anyhow::Result<Vec<f64>>,
) -> anyhow::Result<Figure> {
    let m = parameters.names.len();
    let priors = parameters.priors();
    let supports: Vec<Support> = (0..m)
        .map(|i| {
            let (own, bounds) = (set.samples.column(i).to_vec(), priors[i].1);
            let (low, high) = sample_range([own.as_slice(), &[at[i]]], bounds, parameters.truth.map(|truth| truth[i]));
            Support { low, high, bounds }
        })
        .collect();
    let (mut curves, mut surfaces) = (Vec::with_capacity(m), Vec::new());
    for y in 0..m {
        let values = supports[y].centres(CELLS.0);
        curves.push(Curve { density: density(&[(y, values.clone())])?, at: values });
        for x in 0..y {
            let grid = [y, x].map(|i| (i, supports[i].centres(CELLS.1)));
            surfaces.push(Surface::known(density(&grid)?, supports[x], supports[y], CELLS.1, &MASSES));
        }
    }
    let plot = PairPlot {
        axes: parameters.axes(|i| Some((supports[i].low, supports[i].high))),
        slices: Some(Slices { label: "given all others".into(), color: CATEGORICAL[0], curves, surfaces }),
        sets: vec![SampleSet {
            label: format!("{}, marginal", set.label),
            color: CATEGORICAL[5],
            samples: set.samples,
            outline: true,
        }],
    };
    let held = parameters.names.iter().zip(at).map(|(name, value)| format!("{name} = {value:.4}"));
    Ok(plot.figure("conditionals", "Posterior given all other parameters")?.described(
        "Filled: densities of one and two parameters with all others held fixed. Dashed: marginal ones. Where filled regions are much smaller, parameters trade off.",
        format!("Conditional densities at {}.", held.collect::<Vec<_>>().join(", ")),
    ))
}

/// Observed values (n, d) against predicted ones (S, n, d), value by value: the middle of the n observations, and the range that its predictions have.
///
/// # Errors
/// When nothing is finite.
pub fn predictions(predicted: ArrayView3<'_, f32>, observed: Option<ArrayView2<'_, f32>>) -> Result<Figure> {
    let middle = |values: &mut Vec<f64>| {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        if values.is_empty() { f64::NAN } else { quantile(values, 0.5) }
    };
    let d = predicted.len_of(Dimension(2));
    let columns: Vec<Vec<f64>> = (0..d)
        .map(|column| {
            let replications = predicted
                .outer_iter()
                .map(|one| middle(&mut one.column(column).iter().map(|&value| f64::from(value)).collect()));
            let mut medians: Vec<f64> = replications.filter(|median| median.is_finite()).collect();
            medians.sort_unstable_by(f64::total_cmp);
            medians
        })
        .collect();
    let level = |column: &[f64], at: f64| if column.is_empty() { f64::NAN } else { quantile(column, at) };
    let bands =
        BANDS.iter().rev().zip([CATEGORICAL[4], CATEGORICAL[5]]).rev().map(|((low, high, label), color)| Band {
            label: (*label).into(),
            color,
            limits: columns.iter().enumerate().map(|(i, c)| (i as f64, level(c, *low), level(c, *high))).collect(),
        });
    let line = |label: &str, color, points: Vec<(f64, f64)>, dots| Series::new(label, color, points).with_dots(dots);
    let mut series = vec![line(
        "predicted, middle",
        CATEGORICAL[4],
        columns.iter().enumerate().map(|(i, c)| (i as f64, level(c, 0.5))).collect(),
        false,
    )];
    let mut all: Vec<f64> = columns.iter().flat_map(|c| [level(c, BANDS[0].0), level(c, BANDS[0].1)]).collect();
    if let Some(observed) = observed {
        let points: Vec<(f64, f64)> = (0..d)
            .map(|i| (i as f64, middle(&mut observed.column(i).iter().map(|&value| f64::from(value)).collect())))
            .collect();
        all.extend(points.iter().map(|(_, value)| *value));
        series.push(line("observed, middle", CATEGORICAL[0], points, true));
    }
    let chart = LineChart {
        x: Axis::linear("index of the value", 0.0, (d.max(2) - 1) as f64, 8),
        y: Axis::around("value", all.into_iter().filter(|value| value.is_finite()), 6),
        bands: bands.collect(),
        rules: vec![],
        series,
    };
    Ok(chart.figure("predictions", "Observed and predicted values")?.described(
        "Median over the observations of each value: observed, and its distribution over simulations at posterior draws.",
        format!("{d} values, observed and predicted."),
    ))
}

/// Losses of a model's networks, a small chart each.
///
/// # Errors
/// When there are none.
pub fn losses(networks: &[LossCurves]) -> Result<Figure> {
    let panel = |network: &LossCurves| {
        let used = if network.kept { "" } else { " (not used)" };
        Some((format!("{}{used}", network.network), loss_chart(network)?))
    };
    let grid = ChartGrid { columns: COLUMNS, panels: networks.iter().filter_map(panel).collect() };
    Ok(grid.figure("losses", "Training")?.described(
        "Loss on training rows and on held-out rows; the weights of the marked epoch are the ones used.",
        format!("Loss curves of {} networks.", networks.len()),
    ))
}

/// Expected coverage of credible regions of several posteriors over each other.
///
/// # Errors
/// When there is nothing finite.
pub fn coverage(curves: &[CoverageCurve]) -> Result<Figure> {
    let figure =
        coverage_chart(curves).figure("coverage", "Do credible regions hold the truth as often as they say?")?;
    Ok(figure.described(
        "Expected coverage over calibration pairs. Steep at both ends: too narrow or off centre. Flat: too wide.",
        format!("Coverage of {} posteriors.", curves.len()),
    ))
}
