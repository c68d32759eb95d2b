//! Figures of any files side by side: posteriors, what they predict, losses of a model, coverage.

use crate::plot::{
    Axis, Band, CATEGORICAL, ChartGrid, Figure, LineChart, PairAxis, PairPlot, Result, SampleSet, Series, pretty_name,
};
pub use crate::report::CoverageCurve;
use crate::report::{coverage_chart, loss_chart};
use crate::study::quantile;
use crate::study::results::LossCurves;
use ndarray::{ArrayView2, ArrayView3, Axis as Dimension};

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

/// One- and two-dimensional marginals of posteriors of the same parameters, over each other.
///
/// # Errors
/// When one has other parameters, or nothing finite.
pub fn posteriors(sets: &[Labelled<'_>], names: &[String], truth: Option<&[f64]>) -> Result<Figure> {
    let axis = |(i, name): (usize, &String)| PairAxis {
        label: pretty_name(name),
        range: None,
        bounds: (f64::NEG_INFINITY, f64::INFINITY),
        truth: truth.map(|truth| truth[i]),
    };
    let plot = PairPlot {
        axes: names.iter().enumerate().map(axis).collect(),
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
    let line = |label: &str, color, points: Vec<(f64, f64)>, dots| Series {
        label: label.into(),
        color,
        points,
        dots,
        dashed: false,
    };
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
