//! Error against the number of observations as the score gets worse: Figures 2, 8 and 9.

use super::comparison::{Spread, Study, max_sliced, spread};
use super::names::{color, epsilon, id, name};
use crate::plot::{Axis, Band, ChartGrid, Figure, LineChart, Series, sequential};
use crate::report::finding::number;
use crate::report::page::{Part, Section};
use crate::report::sentence::listed;
use crate::study::named_sampler::NamedSampler;
use crate::study::toy::CellResults;
use anyhow::Result;
use plotters::style::RGBColor;

/// Curves against n at one m and ε.
fn against_n(study: &Study<'_>, m: usize, amplitude: f64, compared: &[NamedSampler], bands: bool) -> LineChart {
    let n_obs = study.n_obs(m, amplitude);
    let at = |sampler: NamedSampler| -> Vec<(f64, Spread)> {
        let value = |&n: &usize| {
            let values = max_sliced(&study.at(m, n, amplitude), sampler);
            (!values.is_empty()).then(|| (n as f64, spread(&values)))
        };
        n_obs.iter().filter_map(value).collect()
    };
    let floor = n_obs.iter().map(|&n| {
        let floors: Vec<f64> = study.at(m, n, amplitude).iter().map(|cell| cell.floor.max_sliced).collect();
        (n as f64, spread(&floors).mean)
    });
    let mut series: Vec<Series> = compared
        .iter()
        .map(|&sampler| {
            Series::new(
                sampler.label(),
                color(sampler.method),
                at(sampler).into_iter().map(|(n, spread)| (n, spread.mean)).collect(),
            )
            .with_dots(true)
        })
        .collect();
    series.push(Series::new("two exact samples", RGBColor(0x88, 0x88, 0x88), floor.collect()).with_dashes(true));
    let limits = |sampler: NamedSampler| {
        let known = at(sampler).into_iter().filter(|(_, spread)| spread.sd.is_finite());
        // A logarithmic axis has no place for a lower limit below zero.
        known.map(|(n, s)| (n, (s.mean - s.sd).max(0.3 * s.mean), s.mean + s.sd)).collect::<Vec<_>>()
    };
    let shaded = compared.iter().map(|&sampler| Band {
        label: String::new(),
        color: color(sampler.method),
        limits: limits(sampler),
    });
    let bands = if bands { shaded.filter(|band| band.limits.len() > 1).collect() } else { vec![] };
    LineChart {
        x: Axis::logarithmic("n", n_obs.iter().map(|&n| n as f64)),
        y: Axis::logarithmic("max-sW", Y_RANGE),
        bands,
        rules: vec![],
        series,
    }
}

/// Range of the vertical axes that compare panels: values beyond are drawn at its edge.
const Y_RANGE: [f64; 2] = [0.01, 10.0];

/// The section: Figures 2, 8 and 9.
pub(super) fn robustness(study: &Study<'_>) -> Result<Section> {
    let compared = study.compared();
    let steps = listed(compared.iter().map(|s| format!("{} {}", s.method.label(), s.steps)));
    let mut parts = vec![Part::Text(format!(
        "Numbers of steps: {steps}. Means over seeds; values beyond the axes are drawn at their edge, samples that are not finite \
         leave a gap."
    ))];
    let m = study.table_cell().0;
    let panels: Vec<(String, LineChart)> = study
        .amplitudes(m)
        .into_iter()
        .filter(|&amplitude| study.n_obs(m, amplitude).len() > 1)
        .map(|amplitude| (epsilon(amplitude), against_n(study, m, amplitude, &compared, true)))
        .collect();
    if !panels.is_empty() {
        let title = format!("{}, m = {m}: error against n as the score gets worse", name(study.problem));
        let alternative = worst(study, m, &compared);
        let figure = ChartGrid { columns: 2, panels }.figure(&format!("{}-figure-2", id(study.problem)), &title)?;
        let caption = "Max-sliced Wasserstein distance to the exact posterior against the number of observations, for growing errors \
                       ε of the score (Figure 2 of the paper). Bands: one standard deviation over seeds.";
        parts.push(Part::Figure(figure.described(caption, alternative)));
    }
    parts.extend(by_dimension(study, &compared)?.into_iter().map(Part::Figure));
    let title = format!("{}: errors of the score", name(study.problem));
    Ok(Section { id: format!("{}-robustness", id(study.problem)), title, parts })
}

fn worst(study: &Study<'_>, m: usize, compared: &[NamedSampler]) -> String {
    let one = |&sampler: &NamedSampler| {
        let cells: Vec<&CellResults> = study.cells.iter().copied().filter(|cell| cell.dimension == m).collect();
        let largest = max_sliced(&cells, sampler).into_iter().fold(0.0, f64::max);
        format!("{} up to {}", sampler.method.label(), number(largest))
    };
    format!("Distances over all n and ε: {}. All numbers are in runs.csv.", listed(compared.iter().map(one)))
}

/// Figures 8 and 9, where there are several dimensions with several n.
fn by_dimension(study: &Study<'_>, compared: &[NamedSampler]) -> Result<Vec<Figure>> {
    let curves = |m: usize| -> Vec<f64> {
        study.amplitudes(m).into_iter().filter(|&amplitude| study.n_obs(m, amplitude).len() > 1).collect()
    };
    let dimensions: Vec<usize> = study.dimensions().into_iter().filter(|&m| !curves(m).is_empty()).collect();
    if dimensions.len() < 2 {
        return Ok(vec![]);
    }
    let mut eight = Vec::new();
    let mut nine = Vec::new();
    for &m in &dimensions {
        let amplitudes = curves(m);
        for &amplitude in &amplitudes {
            let heading = format!("m = {m}, {}", epsilon(amplitude));
            eight.push((heading, against_n(study, m, amplitude, compared, false)));
        }
        for &sampler in compared {
            let mut chart = against_n(study, m, amplitudes[0], &[], false);
            let floor = chart.series.pop();
            for (index, &amplitude) in amplitudes.iter().enumerate() {
                let mut one = against_n(study, m, amplitude, &[sampler], false).series.swap_remove(0);
                (one.label, one.color) = (epsilon(amplitude), sequential(index, amplitudes.len()));
                chart.series.push(one);
            }
            chart.series.extend(floor);
            nine.push((format!("m = {m}, {}", sampler.method.label()), chart));
        }
    }
    let columns = eight.len() / dimensions.len();
    let alternative = listed(dimensions.iter().map(|&m| format!("m = {m}: {}", worst(study, m, compared))));
    let prefix = id(study.problem);
    let eight = ChartGrid { columns, panels: eight }
        .figure(&format!("{prefix}-figure-8"), "Error against n by dimension and error of the score: methods compared")?
        .described(
            "Rows: numbers of parameters m; columns: errors ε of the score (Figure 8 of the paper).",
            &*alternative,
        );
    let nine = ChartGrid { columns: compared.len(), panels: nine }
        .figure(&format!("{prefix}-figure-9"), "The same by method: errors of the score compared")?
        .described("Rows: numbers of parameters m; columns: methods (Figure 9 of the paper).", alternative);
    Ok(vec![eight, nine])
}
