//! The report of a study of toy problems: the paper's Tables 1, 2 and 4 and Figures 1, 2, 8 and 9, with its numbers beside ours.

use super::figures::listed;
use super::page::{Document, Part, Section};
use super::table::{Cell, Table};
use super::words::{Finding, Verdict, number};
use crate::plot::{
    Axis, Band, CATEGORICAL, ChartGrid, Figure, LineChart, PairAxis, PairPlot, Rule, SampleSet, Series, pretty_name,
    sequential,
};
use crate::study::named_sampler::{NamedMethod, NamedSampler};
use crate::study::toy::paper::{TABLE_CELL, printed, printed_ratio, table_number};
use crate::study::toy::{CellResults, Distances, ShownPosteriors, ToyResults, ToyRun, shown_file};
use anyhow::Result;
use plotters::style::RGBColor;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tallsbi_data::file::Posterior;
use tallsbi_inference::analytic::ToyProblem;

/// The report.
///
/// # Errors
/// When files of samples are missing, or something cannot be drawn.
pub fn document<'a>(results: &'a ToyResults, folder: &Path) -> Result<Document<'a>> {
    let mut sections = Vec::new();
    if let Some(shown) = &results.shown {
        sections.push(shown_section(shown, folder)?);
    }
    let problems: BTreeSet<ToyProblem> = results.cells.iter().map(|cell| cell.problem).collect();
    for &problem in &problems {
        let study = Study::new(problem, results);
        sections.push(accuracy(&study)?);
    }
    for &problem in &problems {
        let study = Study::new(problem, results);
        sections.push(robustness(&study)?);
    }
    sections.push(Section {
        id: "runs".into(),
        title: "All runs".into(),
        parts: vec![
            Part::Text("Every run is a row of tables/runs.csv; this table counts them.".into()),
            Part::Table(counts(results)),
        ],
    });
    Ok(Document {
        record: &results.record,
        lead: "Samplers of tall posteriors on problems whose scores and posteriors are known, with controlled errors of the score.".into(),
        summary: problems.iter().map(|&problem| (name(problem).to_owned(), findings(&Study::new(problem, results)))).collect(),
        sections,
        files: vec![],
        data: vec![runs(results)],
    })
}

/// One row for each run.
fn runs(results: &ToyResults) -> Table {
    let columns = [
        "problem",
        "m",
        "n",
        "epsilon",
        "seed",
        "method",
        "T",
        "cpu_seconds",
        "evaluations",
        "diverged",
        "repaired",
        "max_sliced_wasserstein",
        "sliced_wasserstein",
        "exact_max_sliced",
        "exact_sliced",
    ];
    let mut table = Table::new("runs", "All runs", 1, &columns);
    for cell in &results.cells {
        for run in &cell.runs {
            let distance = |value: fn(&Distances) -> f64| run.distances.as_ref().map_or(f64::NAN, value).into();
            table.rows.push(vec![
                Cell::text(name(cell.problem)),
                Cell::count(cell.dimension),
                Cell::count(cell.n_obs),
                cell.amplitude.into(),
                Cell::count(cell.seed as usize),
                Cell::text(run.sampler.method.name()),
                Cell::count(run.sampler.steps),
                run.seconds.into(),
                Cell::count(run.evaluations as usize),
                Cell::count(run.diverged as usize),
                Cell::count(run.repaired as usize),
                distance(|d| d.max_sliced),
                distance(|d| d.sliced),
                cell.floor.max_sliced.into(),
                cell.floor.sliced.into(),
            ]);
        }
    }
    table
}

fn name(problem: ToyProblem) -> &'static str {
    match problem {
        ToyProblem::Gaussian => "Gaussian",
        ToyProblem::Mixture => "Gaussian mixture",
    }
}

fn id(problem: ToyProblem) -> &'static str {
    match problem {
        ToyProblem::Gaussian => "gaussian",
        ToyProblem::Mixture => "mixture",
    }
}

fn color(method: NamedMethod) -> RGBColor {
    CATEGORICAL[NamedMethod::ALL.iter().position(|&other| other == method).unwrap_or(0)]
}

/// Mean and standard deviation over seeds; a single value has none.
#[derive(Debug, Clone, Copy)]
struct Spread {
    mean: f64,
    sd: f64,
}

fn spread(values: &[f64]) -> Spread {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Spread { mean, sd: if values.len() > 1 { variance.sqrt() } else { f64::NAN } }
}

/// Cells of one problem.
struct Study<'a> {
    problem: ToyProblem,
    cells: Vec<&'a CellResults>,
}

impl<'a> Study<'a> {
    fn new(problem: ToyProblem, results: &'a ToyResults) -> Self {
        Self { problem, cells: results.cells.iter().filter(|cell| cell.problem == problem).collect() }
    }

    fn at(&self, m: usize, n: usize, amplitude: f64) -> Vec<&'a CellResults> {
        let here = |cell: &&CellResults| (cell.dimension, cell.n_obs) == (m, n) && cell.amplitude == amplitude;
        self.cells.iter().copied().filter(here).collect()
    }

    /// m, n and ε with the most samplers; the paper's where there are several.
    fn table_cell(&self) -> (usize, usize, f64) {
        let place = |cell: &&&CellResults| {
            let at = (cell.dimension, cell.n_obs, cell.amplitude);
            (cell.runs.len(), at == TABLE_CELL)
        };
        self.cells.iter().max_by_key(place).map_or(TABLE_CELL, |cell| (cell.dimension, cell.n_obs, cell.amplitude))
    }

    fn dimensions(&self) -> Vec<usize> {
        self.cells.iter().map(|cell| cell.dimension).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Values of ε in dimension m, increasing.
    fn amplitudes(&self, m: usize) -> Vec<f64> {
        let cells = self.cells.iter().filter(|cell| cell.dimension == m);
        let bits: BTreeSet<u64> = cells.map(|cell| cell.amplitude.to_bits()).collect();
        bits.into_iter().map(f64::from_bits).collect()
    }

    fn n_obs(&self, m: usize, amplitude: f64) -> Vec<usize> {
        let cells = self.cells.iter().filter(|cell| cell.dimension == m && cell.amplitude == amplitude);
        cells.map(|cell| cell.n_obs).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// For each method the number of steps that most cells have: the one to compare over n and ε with.
    fn compared(&self) -> Vec<NamedSampler> {
        let mut counts: BTreeMap<NamedSampler, usize> = BTreeMap::new();
        for run in self.cells.iter().flat_map(|cell| &cell.runs) {
            *counts.entry(run.sampler).or_default() += 1;
        }
        let widest = counts.values().copied().max().unwrap_or(0);
        let of = |method: NamedMethod| {
            let candidates = counts.iter().filter(|(sampler, _)| sampler.method == method);
            let (sampler, count) = candidates.max_by_key(|(sampler, count)| (**count, sampler.steps))?;
            // What only the table has is no curve.
            (2 * count > widest).then_some(*sampler)
        };
        NamedMethod::ALL.into_iter().filter_map(of).collect()
    }
}

fn of(cell: &CellResults, sampler: NamedSampler) -> Option<&ToyRun> {
    cell.runs.iter().find(|run| run.sampler == sampler)
}

fn max_sliced(cells: &[&CellResults], sampler: NamedSampler) -> Vec<f64> {
    cells.iter().filter_map(|cell| Some(of(cell, sampler)?.distances?.max_sliced)).collect()
}

/// Times of `sampler` over that of LANGEVIN with `steps` steps in the same cell.
fn time_ratios(cells: &[&CellResults], sampler: NamedSampler, steps: usize) -> Vec<f64> {
    let reference = NamedSampler { method: NamedMethod::Langevin, steps, clip: false };
    cells.iter().filter_map(|cell| Some(of(cell, sampler)?.seconds / of(cell, reference)?.seconds)).collect()
}

fn samplers(cells: &[&CellResults]) -> Vec<NamedSampler> {
    let all: BTreeSet<NamedSampler> = cells.iter().flat_map(|cell| cell.runs.iter().map(|run| run.sampler)).collect();
    let mut all: Vec<NamedSampler> = all.into_iter().collect();
    all.sort_by_key(|sampler| (sampler.steps, sampler.method));
    all
}

/// T of LANGEVIN that times are relative to: the paper's equivalent setting, or the largest there is.
fn reference_steps(cells: &[&CellResults]) -> Option<usize> {
    let steps: Vec<usize> = samplers(cells)
        .into_iter()
        .filter(|sampler| sampler.method == NamedMethod::Langevin)
        .map(|sampler| sampler.steps)
        .collect();
    steps.iter().copied().find(|&steps| steps == 400).or(steps.last().copied())
}

fn epsilon(amplitude: f64) -> String {
    format!("ε = {amplitude}")
}

fn accuracy(study: &Study<'_>) -> Result<Section> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let mut parts = vec![
        Part::Text(format!(
            "m = {m} parameters, n = {n} observations, {}, {} seeds. Distances are max-sliced Wasserstein (\"sW\" in the paper's \
             tables) and sliced Wasserstein to exact samples; two sets of exact samples are {} apart. Times are CPU seconds over \
             those of LANGEVIN, measured one after the other in one process.",
            epsilon(amplitude),
            cells.len(),
            number(spread(&cells.iter().map(|cell| cell.floor.max_sliced).collect::<Vec<_>>()).mean),
        )),
        Part::Table(accuracy_table(study, &cells, (m, n, amplitude) == TABLE_CELL)),
    ];
    parts.extend(accuracy_figure(study, &cells)?.map(Part::Figure));
    if study.problem == ToyProblem::Gaussian {
        parts.push(Part::Heading("Time by dimension".into()));
        parts.push(Part::Table(speed_table(study)));
    }
    let title = format!("{}: accuracy and time", name(study.problem));
    Ok(Section { id: format!("{}-accuracy", id(study.problem)), title, parts })
}

/// Tables 1 and 4.
fn accuracy_table(study: &Study<'_>, cells: &[&CellResults], comparable: bool) -> Table {
    let reference = reference_steps(cells);
    let relative = reference.map_or("CPU seconds".into(), |steps| format!("time / LANGEVIN {steps}"));
    let columns = [
        "T",
        "method",
        "max-sW",
        "± over seeds",
        "paper's max-sW",
        "paper's ±",
        "sliced W",
        &relative,
        "paper's ratio",
        "diverged samples",
    ];
    let caption =
        format!("{}: accuracy and time (Table {} of the paper)", name(study.problem), table_number(study.problem));
    let mut table = Table::new(format!("table-{}", table_number(study.problem)), caption, 2, &columns);
    for sampler in samplers(cells) {
        let distances = spread(&max_sliced(cells, sampler));
        let sliced: Vec<f64> = cells.iter().filter_map(|cell| Some(of(cell, sampler)?.distances?.sliced)).collect();
        let ratio = match reference {
            Some(steps) => spread(&time_ratios(cells, sampler, steps)).mean,
            None => spread(&cells.iter().filter_map(|c| Some(of(c, sampler)?.seconds)).collect::<Vec<_>>()).mean,
        };
        let theirs = printed(study.problem, sampler.method, sampler.steps).filter(|_| comparable);
        let base = reference.and_then(|steps| printed(study.problem, NamedMethod::Langevin, steps));
        let diverged: u64 = cells.iter().filter_map(|cell| of(cell, sampler)).map(|run| run.diverged).sum();
        let known = |value: Option<f64>, decimals| value.map_or(Cell::Empty, |value| Cell::decimals(value, decimals));
        table.rows.push(vec![
            Cell::count(sampler.steps),
            Cell::text(sampler.method.label()),
            Cell::decimals(distances.mean, 3),
            Cell::decimals(distances.sd, 3),
            known(theirs.map(|printed| printed.mean), 2),
            known(theirs.map(|printed| printed.sd), 2),
            Cell::decimals(spread(&sliced).mean, 3),
            Cell::decimals(ratio, 3),
            known(theirs.zip(base).map(|(printed, base)| printed.seconds / base.seconds), 3),
            Cell::count(diverged as usize),
        ]);
    }
    table
}

/// Distance against time, a curve a method through its numbers of steps.
fn accuracy_figure(study: &Study<'_>, cells: &[&CellResults]) -> Result<Option<Figure>> {
    let Some(steps) = reference_steps(cells) else { return Ok(None) };
    let mut series = Vec::new();
    for method in NamedMethod::ALL {
        let points: Vec<(f64, f64)> = samplers(cells)
            .into_iter()
            .filter(|sampler| sampler.method == method)
            .map(|sampler| (spread(&time_ratios(cells, sampler, steps)).mean, spread(&max_sliced(cells, sampler)).mean))
            .collect();
        if points.iter().any(|point| point.1.is_finite()) {
            series.push(Series {
                label: method.label().into(),
                color: color(method),
                points,
                dots: true,
                dashed: false,
            });
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let floor = spread(&cells.iter().map(|cell| cell.floor.max_sliced).collect::<Vec<_>>()).mean;
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    let chart = LineChart {
        x: Axis::logarithmic(format!("time / LANGEVIN with {steps} steps"), all().map(|point| point.0)),
        y: Axis::logarithmic("max-sliced Wasserstein", all().map(|point| point.1).chain([floor])),
        bands: vec![],
        rules: vec![Rule::Horizontal { label: "two exact samples".into(), at: floor }],
        series,
    };
    let title = format!("{}: what accuracy costs", name(study.problem));
    let figure = chart.figure(&format!("{}-time", id(study.problem)), &title)?;
    Ok(Some(figure.described(
        "Distance to the exact posterior against time; each dot is a number of steps T, more to the right. Lower left is better.",
        format!("The numbers are in the table above; the distance between two exact samples is {}.", number(floor)),
    )))
}

/// Table 2.
fn speed_table(study: &Study<'_>) -> Table {
    let methods = [NamedMethod::Gauss, NamedMethod::Jac];
    let columns = ["m", "GAUSS / LANGEVIN", "±", "paper's", "JAC / LANGEVIN", "±", "paper's", "runs compared"];
    let caption = "Time at the same number of steps T over LANGEVIN's, mean and spread over T, n, ε and seeds (Table 2 of the paper)";
    let mut table = Table::new("table-2", caption, 1, &columns);
    for m in study.dimensions() {
        let cells: Vec<&CellResults> = study.cells.iter().copied().filter(|cell| cell.dimension == m).collect();
        let ratios = |method: NamedMethod| -> Vec<f64> {
            let all = samplers(&cells).into_iter().filter(|sampler| sampler.method == method);
            all.flat_map(|sampler| time_ratios(&cells, sampler, sampler.steps)).collect()
        };
        let mut row = vec![Cell::count(m)];
        for method in methods {
            let found = spread(&ratios(method));
            row.extend([
                Cell::decimals(found.mean, 3),
                Cell::decimals(found.sd, 3),
                printed_ratio(m, method).map_or(Cell::Empty, |ratio| Cell::decimals(ratio, 2)),
            ]);
        }
        row.push(Cell::count(ratios(methods[0]).len()));
        table.rows.push(row);
    }
    table
}

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
        .map(|&sampler| Series {
            label: sampler.label(),
            color: color(sampler.method),
            points: at(sampler).into_iter().map(|(n, spread)| (n, spread.mean)).collect(),
            dots: true,
            dashed: false,
        })
        .collect();
    series.push(Series {
        label: "two exact samples".into(),
        color: RGBColor(0x88, 0x88, 0x88),
        points: floor.collect(),
        dots: false,
        dashed: true,
    });
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

fn robustness(study: &Study<'_>) -> Result<Section> {
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

/// Figure 1.
fn shown_section(shown: &ShownPosteriors, folder: &Path) -> Result<Section> {
    let mut parts = vec![Part::Text(
        "The Gaussian problem in two dimensions with exact scores: the exact posterior, and GAUSS with the program's default \
         sampler."
            .into(),
    )];
    let figure = |which: &str, title: &str, caption: &str| -> Result<Figure> {
        let files = shown
            .n_obs
            .iter()
            .map(|&n| Ok(Posterior::read(&folder.join(&shown.folder).join(shown_file(which, n)))?.matrix()))
            .collect::<Result<Vec<_>>>()?;
        let sets = shown.n_obs.iter().zip(&files).enumerate().map(|(i, (n, samples))| SampleSet {
            label: format!("n = {n}"),
            color: sequential(i, files.len()),
            samples: samples.view(),
        });
        let axes = shown.truth.iter().enumerate().map(|(i, &truth)| PairAxis {
            label: pretty_name(&format!("theta_{}", i + 1)),
            range: Some((truth - 2.5, truth + 2.5)),
            bounds: (f64::NEG_INFINITY, f64::INFINITY),
            truth: Some(truth),
        });
        let plot = PairPlot { axes: axes.collect(), sets: sets.collect() };
        let alternative = format!("Pair plot for n = {}.", listed(shown.n_obs.iter().map(ToString::to_string)));
        Ok(plot.figure(&format!("figure-1-{which}"), title)?.described(caption, alternative))
    };
    let caption = "Regions that hold 50 % and 95 % of the posterior, light to dark with n; dashed lines mark θ* (Figure 1 of the paper).";
    parts.push(Part::Figure(figure("exact", "Exact posterior", caption)?));
    parts.push(Part::Figure(figure("gauss", "Estimated with GAUSS", caption)?));
    Ok(Section { id: "concentration".into(), title: "How a posterior concentrates".into(), parts })
}

fn counts(results: &ToyResults) -> Table {
    let columns = ["problem", "method", "runs", "with samples that diverged", "not finite", "precisions repaired"];
    let mut table = Table::new("counts", "Runs and what went wrong in them", 2, &columns);
    for problem in [ToyProblem::Gaussian, ToyProblem::Mixture] {
        let study = Study::new(problem, results);
        for method in NamedMethod::ALL {
            let runs: Vec<&ToyRun> =
                study.cells.iter().flat_map(|cell| &cell.runs).filter(|run| run.sampler.method == method).collect();
            if !runs.is_empty() {
                table.rows.push(vec![
                    Cell::text(name(problem)),
                    Cell::text(method.label()),
                    Cell::count(runs.len()),
                    Cell::count(runs.iter().filter(|run| run.diverged > 0).count()),
                    Cell::count(runs.iter().filter(|run| run.distances.is_none()).count()),
                    Cell::count(runs.iter().map(|run| run.repaired).sum::<u64>() as usize),
                ]);
            }
        }
    }
    table
}

/// What is close enough to two exact samples, as a ratio: the distance of two sets of samples varies by about this much.
const NOISE: f64 = 1.3;

fn findings(study: &Study<'_>) -> Vec<Finding> {
    [accuracy_finding(study), exact_finding(study), speed_finding(study), Some(trouble_finding(study))]
        .into_iter()
        .flatten()
        .collect()
}

/// GAUSS in the cell of the paper's table, over all T.
fn accuracy_finding(study: &Study<'_>) -> Option<Finding> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let means: Vec<(NamedSampler, f64)> = samplers(&cells)
        .into_iter()
        .filter(|sampler| matches!(sampler.method, NamedMethod::Gauss | NamedMethod::GaussDpm))
        .map(|sampler| (sampler, spread(&max_sliced(&cells, sampler)).mean))
        .collect();
    let worst = means.iter().map(|(_, mean)| *mean).fold(0.0, f64::max);
    let steps = listed(means.iter().map(|(s, mean)| format!("{mean:.3} ({} {})", s.method.label(), s.steps)));
    let theirs: Vec<f64> = if (m, n, amplitude) == TABLE_CELL {
        means.iter().filter_map(|(s, _)| Some(printed(study.problem, s.method, s.steps)?.mean)).collect()
    } else {
        vec![]
    };
    let best = theirs.iter().copied().fold(f64::INFINITY, f64::min);
    let (verdict, compared) = if theirs.is_empty() {
        (Verdict::Neutral, String::new())
    } else {
        let largest = theirs.iter().copied().fold(0.0, f64::max);
        let verdict = if worst <= best { Verdict::Good } else { Verdict::Caution };
        (verdict, format!("; the paper has {best:.2} to {largest:.2}"))
    };
    (!means.is_empty()).then(|| {
        let place = format!("m = {m}, n = {n}, {}", epsilon(amplitude));
        (verdict, format!("GAUSS is {steps} from the exact posterior at {place}{compared} (max-sliced Wasserstein)."))
    })
}

/// JAC with exact scores on the Gaussian, where it is exact up to its steps.
fn exact_finding(study: &Study<'_>) -> Option<Finding> {
    if study.problem != ToyProblem::Gaussian {
        return None;
    }
    let sampler = study.compared().into_iter().find(|sampler| sampler.method == NamedMethod::Jac)?;
    let exact: Vec<&CellResults> = study.cells.iter().copied().filter(|cell| cell.amplitude == 0.0).collect();
    let values = max_sliced(&exact, sampler);
    let floors: Vec<f64> =
        exact.iter().filter(|cell| of(cell, sampler).is_some()).map(|cell| cell.floor.max_sliced).collect();
    let (found, floor) = (spread(&values).mean, spread(&floors).mean);
    let verdict = if found <= NOISE * floor { Verdict::Good } else { Verdict::Caution };
    (!values.is_empty()).then(|| {
        let text = format!(
            "With exact scores JAC ({} steps) is on average {found:.3} from the exact posterior, where two sets of exact samples are \
             {floor:.3} apart.",
            sampler.steps
        );
        (verdict, text)
    })
}

fn speed_finding(study: &Study<'_>) -> Option<Finding> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let steps = reference_steps(&cells)?;
    let share = |method: NamedMethod, steps_of: usize| {
        let ratios = time_ratios(&cells, NamedSampler { method, steps: steps_of, clip: false }, steps);
        (!ratios.is_empty()).then(|| format!("{} {steps_of} takes {:.3}", method.label(), spread(&ratios).mean))
    };
    let all = [(NamedMethod::Gauss, steps), (NamedMethod::Jac, steps), (NamedMethod::GaussDpm, 30)];
    let parts: Vec<String> = all.into_iter().filter_map(|(method, steps)| share(method, steps)).collect();
    let text = format!("Of the time of LANGEVIN with {steps} steps, {}.", listed(parts.iter().cloned()));
    (!parts.is_empty()).then_some((Verdict::Neutral, text))
}

fn trouble_finding(study: &Study<'_>) -> Finding {
    let count = |baseline: bool, bad: &dyn Fn(&ToyRun) -> bool| {
        let runs = study.cells.iter().flat_map(|cell| &cell.runs);
        runs.filter(|run| (run.sampler.method == NamedMethod::Langevin) == baseline && bad(run)).count()
    };
    let (ours, theirs) = (count(false, &|run| run.distances.is_none()), count(true, &|run| run.distances.is_none()));
    let (far, far_theirs) = (count(false, &|run| run.diverged > 0), count(true, &|run| run.diverged > 0));
    let verdict = if ours + far == 0 { Verdict::Good } else { Verdict::Caution };
    let text = format!(
        "Runs with samples that are not finite: {ours} of GAUSS and JAC, {theirs} of LANGEVIN; with samples beyond 100 prior standard \
         deviations: {far} and {far_theirs}."
    );
    (verdict, text)
}
