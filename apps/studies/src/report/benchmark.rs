//! The report of a benchmark: distances to reference posteriors, with the paper's numbers beside ours (Fig. 3, 10 to 16; Tables 5
//! to 7).

use super::figures::{self, ends};
use super::finding::{Finding, Verdict};
use super::losses;
use super::page::{Document, Part, Section};
use super::pairs::Pairs;
use super::sentence::listed;
use super::table::{Cell, Table};
use crate::plot::{Axis, CATEGORICAL, ChartGrid, Figure, LineChart, Series};
use crate::study::benchmark::paper::{best, printed, printed_for};
use crate::study::benchmark::{BenchmarkResults, BenchmarkRun, Metric, TaskResults, read_samples};
use crate::study::named_sampler::NamedSampler;
use anyhow::Result;
use ndarray::Axis as Dimension;
use plotters::style::RGBColor;
use std::collections::BTreeSet;
use std::path::Path;

/// The report.
///
/// # Errors
/// When samples cannot be read, or something cannot be drawn.
pub fn document<'r>(results: &'r BenchmarkResults, folder: &Path) -> Result<Document<'r>> {
    Ok(Document {
        record: &results.record,
        lead: "Posteriors of tall data by one network each, against reference posteriors. C2ST: 0.5 is indistinguishable, 1 disjoint; \
               MMD² and sliced Wasserstein: 0 is best."
            .into(),
        summary: results.tasks.iter().map(|task| (task.name.clone(), findings(task))).collect(),
        sections: results.tasks.iter().map(|task| section(task, folder)).collect::<Result<_>>()?,
        files: results.tasks.iter().map(|task| (task.name.clone(), task.reference.clone(), "reference".into())).collect(),
        data: vec![sets(results)],
    })
}

/// One row a set and run.
fn sets(results: &BenchmarkResults) -> Table {
    let columns = [
        "task",
        "simulations",
        "seed",
        "n_max",
        "sampler",
        "n",
        "set",
        "kept by the paper",
        "c2st",
        "mmd2",
        "sliced_wasserstein",
        "dirac",
    ];
    let mut table = Table::new("sets", "All observation sets", 1, &columns);
    for task in &results.tasks {
        for run in &task.runs {
            for set in &run.sets {
                let mut row = vec![
                    Cell::text(&task.name),
                    simulations(run),
                    Cell::count(run.trained.seed as usize),
                    Cell::count(run.trained.n_max),
                    Cell::text(run.sampler.to_string()),
                    Cell::count(run.n_obs),
                    Cell::count(set.set),
                    Cell::count(usize::from(task.keeps(set))),
                ];
                row.extend(Metric::ALL.map(|metric| metric.of(set).into()));
                row.push(set.dirac.map_or(Cell::Empty, Cell::from));
                table.rows.push(row);
            }
        }
    }
    table
}

fn simulations(run: &BenchmarkRun) -> Cell {
    run.trained.simulations.map_or_else(|| Cell::text("given model"), |rows| Cell::count(rows as usize))
}

/// Mean and standard deviation of a metric over the sets of all seeds; all sets, or those the paper keeps.
fn over_sets(task: &TaskResults, runs: &[&BenchmarkRun], metric: Metric, kept_only: bool) -> (f64, f64) {
    let sets = runs.iter().flat_map(|run| &run.sets).filter(|set| !kept_only || task.keeps(set));
    let values: Vec<f64> = sets.map(|set| metric.of(set)).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt())
}

/// The set with the largest value.
fn worst(runs: &[&BenchmarkRun], metric: Metric) -> Option<(f64, usize)> {
    let sets = runs.iter().flat_map(|run| &run.sets).map(|set| (metric.of(set), set.set));
    sets.filter(|(value, _)| value.is_finite()).max_by(|a, b| a.0.total_cmp(&b.0))
}

fn sizes(task: &TaskResults) -> Vec<Option<u64>> {
    task.runs.iter().map(|run| run.trained.simulations).collect::<BTreeSet<_>>().into_iter().collect()
}

fn n_obs(task: &TaskResults) -> Vec<usize> {
    task.runs.iter().map(|run| run.n_obs).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A sampler of networks that take sets of up to so many observations.
#[derive(Clone, Copy, PartialEq)]
struct Variant {
    sampler: NamedSampler,
    n_max: usize,
}

impl Variant {
    fn of(run: &BenchmarkRun) -> Self {
        Self { sampler: run.sampler, n_max: run.trained.n_max }
    }

    fn label(self) -> String {
        let sets = if self.n_max > 1 { format!(", n_max = {}", self.n_max) } else { String::new() };
        format!("{}{sets}", self.sampler.label())
    }

    /// The paper's number for the same method.
    fn printed(self, task: &str, metric: Metric, n: usize) -> Option<f64> {
        if self.n_max > 1 { None } else { printed_for(task, metric, n, self.sampler.method) }
    }
}

/// In the order of the options.
fn samplers(task: &TaskResults) -> Vec<Variant> {
    let mut found = Vec::new();
    for variant in task.runs.iter().map(Variant::of) {
        if !found.contains(&variant) {
            found.push(variant);
        }
    }
    found
}

fn runs_of(task: &TaskResults, size: Option<u64>, sampler: Variant, n: usize) -> Vec<&BenchmarkRun> {
    let here = |run: &&BenchmarkRun| (run.trained.simulations, Variant::of(run), run.n_obs) == (size, sampler, n);
    task.runs.iter().filter(here).collect()
}

/// What is compared with the paper: its number of simulations, else the largest.
fn compared_size(task: &TaskResults) -> Option<u64> {
    sizes(task).into_iter().max_by_key(|size| (*size == Some(30_000), *size)).flatten()
}

fn decimals(metric: Metric) -> usize {
    if metric == Metric::SlicedWasserstein { 4 } else { 3 }
}

fn section(task: &TaskResults, folder: &Path) -> Result<Section> {
    let size = compared_size(task);
    let trained = size.map_or_else(|| "the given model".to_owned(), |rows| format!("{rows} simulations"));
    let sets = task.runs.first().map_or(0, |run| run.sets.len());
    let kept = task.runs.first().map_or(0, |run| run.sets.iter().filter(|set| task.keeps(set)).count());
    let intro = format!(
        "{sets} observation sets, of which the paper's averages keep {kept}; network trained on {trained}. The paper's numbers are for \
         30 000 simulations. Means are over the sets the paper keeps, and over all; the worst set is shown whichever it is."
    );
    let mut parts = vec![Part::Text(intro)];
    parts.extend(against_n(task, size)?.map(Part::Figure));
    parts.extend(dirac(task, size)?.map(Part::Figure));
    parts.push(Part::Table(comparison(task, size)));
    parts.extend(against_size(task)?.map(Part::Figure));
    parts.push(Part::Table(costs(task)));
    parts.extend(posteriors(task, size, folder)?.into_iter().map(Part::Figure));
    parts.extend(losses::of_task(task)?.map(Part::Figure));
    Ok(Section { id: task.name.clone(), title: task.name.clone(), parts })
}

/// Tables 5 to 7.
fn comparison(task: &TaskResults, size: Option<u64>) -> Table {
    let columns = [
        "metric",
        "n",
        "sampler",
        "kept sets",
        "± over sets",
        "all sets",
        "worst set",
        "its number",
        "paper, same method",
        "paper, best of three",
        "diverged samples",
    ];
    let mut table = Table::new(format!("{}-metrics", task.name), "Distances to the reference posteriors", 3, &columns);
    for metric in Metric::ALL {
        for &n in &n_obs(task) {
            for sampler in samplers(task) {
                let runs = runs_of(task, size, sampler, n);
                if runs.is_empty() {
                    continue;
                }
                let places = decimals(metric);
                let number = |value: f64| Cell::decimals(value, places);
                let (mean, sd) = over_sets(task, &runs, metric, true);
                let worst = worst(&runs, metric);
                table.rows.push(vec![
                    Cell::text(metric.name()),
                    Cell::count(n),
                    Cell::text(sampler.label()),
                    number(mean),
                    number(sd),
                    number(over_sets(task, &runs, metric, false).0),
                    worst.map_or(Cell::Empty, |(value, _)| number(value)),
                    worst.map_or(Cell::Empty, |(_, set)| Cell::count(set)),
                    sampler.printed(&task.name, metric, n).map_or(Cell::Empty, Cell::Number),
                    best(&task.name, metric, n).map_or(Cell::Empty, Cell::Number),
                    Cell::count(runs.iter().map(|run| run.diverged).sum::<u64>() as usize),
                ]);
            }
        }
    }
    table
}

fn costs(task: &TaskResults) -> Table {
    let columns = [
        "n",
        "sampler",
        "evaluations a sample",
        "CPU seconds, all sets",
        "relative to the first",
        "repaired precisions",
    ];
    let mut table = Table::new(format!("{}-costs", task.name), "What sampling took", 2, &columns);
    for &n in &n_obs(task) {
        let mut first = None;
        for sampler in samplers(task) {
            let runs: Vec<&BenchmarkRun> =
                task.runs.iter().filter(|run| Variant::of(run) == sampler && run.n_obs == n).collect();
            let count = runs.len().max(1) as f64;
            let seconds = runs.iter().map(|run| run.seconds).sum::<f64>() / count;
            let reference = *first.get_or_insert(seconds);
            table.rows.push(vec![
                Cell::count(n),
                Cell::text(sampler.label()),
                Cell::count(runs.first().map_or(0, |run| run.evaluations as usize)),
                Cell::decimals(seconds, 2),
                Cell::decimals(seconds / reference, 2),
                Cell::count(runs.iter().map(|run| run.repaired).sum::<u64>() as usize),
            ]);
        }
    }
    table
}

/// Colour of the paper's curves.
const THEIRS: [RGBColor; 3] = [RGBColor(0x44, 0x44, 0x44), RGBColor(0x88, 0x88, 0x88), RGBColor(0xb5, 0xb5, 0xb5)];

fn chart(metric: Metric, x: Axis, series: Vec<Series>) -> LineChart {
    let values = || series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let y = match metric {
        Metric::C2st => Axis::linear(metric.name(), 0.48, 1.01, 5),
        // Unbiased estimates may be negative, which a logarithm cannot show.
        _ => Axis::from_zero(metric.name(), values(), 5),
    };
    LineChart { x, y, bands: vec![], rules: vec![], series }
}

/// One curve a sampler.
fn curves(task: &TaskResults, points: impl Fn(Variant) -> Vec<(f64, f64)>) -> Vec<Series> {
    let one = |(index, sampler): (usize, Variant)| {
        Series::new(sampler.label(), CATEGORICAL[index % CATEGORICAL.len()], points(sampler)).with_dots(true)
    };
    samplers(task).into_iter().enumerate().map(one).collect()
}

/// The mean of a metric against n, one curve a sampler.
fn against_n_curves(task: &TaskResults, size: Option<u64>, metric: Metric) -> Vec<Series> {
    let mean = |n: usize, sampler| over_sets(task, &runs_of(task, size, sampler, n), metric, true).0;
    curves(task, |sampler| n_obs(task).into_iter().map(|n| (n as f64, mean(n, sampler))).collect())
}

/// Distance to the true parameters against n (Fig. 16), and that of the reference posteriors.
fn dirac(task: &TaskResults, size: Option<u64>) -> Result<Option<Figure>> {
    if task.reference_dirac.is_empty() {
        return Ok(None);
    }
    let mean = |distances: &[f64]| {
        let kept = distances.iter().enumerate().filter(|(index, _)| task.keeps_number(index + 1)).map(|(_, d)| *d);
        let kept: Vec<f64> = kept.collect();
        kept.iter().sum::<f64>() / kept.len() as f64
    };
    let reference = Series::new(
        "reference posterior",
        THEIRS[0],
        task.reference_dirac.iter().map(|(n, distances)| (*n as f64, mean(distances))).collect(),
    )
    .with_dashes(true);
    let mut series = against_n_curves(task, size, Metric::Dirac);
    series.push(reference);
    let alternative = format!("Root of the MMD to the true values in prior standard deviations: {}.", ends(&series));
    let positions: Vec<f64> = task.reference_dirac.iter().map(|(n, _)| *n as f64).collect();
    let chart = figures::against_n(&positions, Metric::Dirac.name(), series);
    let title = format!("{}: distance of the posterior from the true parameters", task.name);
    Ok(Some(chart.figure(&format!("{}-dirac", task.name), &title)?.described(
        "How far posteriors are from having collapsed onto the true parameters: root of the squared maximum mean discrepancy \
         Var + (mean − θ*)² in units of the prior's variance, averaged over parameters; mean over the observation sets that the \
         paper's averages keep. A right posterior is as far as the reference, no nearer.",
        alternative,
    )))
}

/// Posteriors of the shown set by the first sampler (Fig. 10).
fn posteriors(task: &TaskResults, size: Option<u64>, folder: &Path) -> Result<Vec<Figure>> {
    let Some(sampler) = samplers(task).into_iter().next() else { return Ok(vec![]) };
    let set = task.shown.set;
    let mut samples = Vec::new();
    for n in n_obs(task) {
        if let Some(run) = runs_of(task, size, sampler, n).first() {
            let held = read_samples(&folder.join(&run.samples))?.index_axis_move(Dimension(0), set - 1);
            // All samples may have diverged.
            if held.iter().any(|value| value.is_finite()) {
                samples.push((n, held));
            }
        }
    }
    let reference = read_samples(&folder.join(&task.shown.reference))?.index_axis_move(Dimension(0), 0);
    let pairs = Pairs {
        name: &task.name,
        title: &format!("{}: posteriors of observation set {set}", task.name),
        what: &format!("Posterior by {}", sampler.label()),
        prior: &task.prior,
        units: &task.units,
        truth: task.shown.truth.as_deref(),
        posteriors: samples.iter().map(|(n, samples)| (*n, samples.view())).collect(),
        reference: Some(reference.view()),
        described: "The distances to the reference are in the table of metrics.".into(),
    };
    Ok(if samples.is_empty() { vec![] } else { pairs.figures()? })
}

/// Metrics against n (Fig. 3, 10 to 12).
fn against_n(task: &TaskResults, size: Option<u64>) -> Result<Option<Figure>> {
    let n = n_obs(task);
    if n.len() < 2 {
        return Ok(None);
    }
    let positions: Vec<f64> = n.iter().map(|&n| n as f64).collect();
    let panels = Metric::ALL.map(|metric| {
        let ours = against_n_curves(task, size, metric);
        let methods: Vec<&str> = printed(&task.name, metric, 1).iter().map(|printed| printed.method).collect();
        let theirs = methods.into_iter().enumerate().map(|(index, method)| {
            Series::new(
                format!("paper: {method}"),
                THEIRS[index % THEIRS.len()],
                n.iter()
                    .filter_map(|&n| {
                        let all = printed(&task.name, metric, n);
                        Some((n as f64, all.into_iter().find(|printed| printed.method == method)?.mean))
                    })
                    .collect(),
            )
            .with_dashes(true)
        });
        (metric.name().to_owned(), chart(metric, Axis::at("n", &positions), ours.into_iter().chain(theirs).collect()))
    });
    let figure = ChartGrid { columns: 3, panels: panels.to_vec() }
        .figure(&format!("{}-metrics", task.name), &format!("{}: distance to the reference posterior", task.name))?;
    Ok(Some(figure.described(
        "Mean over the observation sets that the paper's averages keep, against the number of observations; dashed: the paper.",
        "The numbers are in the table below.".to_owned(),
    )))
}

/// Metrics against the number of simulations at the largest n (Fig. 13 to 16).
fn against_size(task: &TaskResults) -> Result<Option<Figure>> {
    let sizes: Vec<u64> = sizes(task).into_iter().flatten().collect();
    let (Some(&n), true) = (n_obs(task).last(), sizes.len() > 1) else { return Ok(None) };
    let panels = Metric::ALL.map(|metric| {
        let mean = |rows: u64, sampler| over_sets(task, &runs_of(task, Some(rows), sampler, n), metric, true).0;
        let ours = curves(task, |sampler| sizes.iter().map(|&rows| (rows as f64, mean(rows, sampler))).collect());
        let x = Axis::logarithmic("simulations", sizes.iter().map(|&rows| rows as f64));
        (metric.name().to_owned(), chart(metric, x, ours))
    });
    let title = format!("{}: what more simulations bring, n = {n}", task.name);
    let figure =
        ChartGrid { columns: 3, panels: panels.to_vec() }.figure(&format!("{}-simulations", task.name), &title)?;
    Ok(Some(figure.described(
        "Mean over the observation sets that the paper's averages keep, against the number of simulations the network was trained on.",
        "The numbers are in tables/sets.csv.".to_owned(),
    )))
}

fn findings(task: &TaskResults) -> Vec<Finding> {
    let size = compared_size(task);
    let mut findings = Vec::new();
    for sampler in samplers(task) {
        let of = |n: usize| over_sets(task, &runs_of(task, size, sampler, n), Metric::C2st, true).0;
        let values: Vec<(usize, f64, Option<f64>)> =
            n_obs(task).into_iter().map(|n| (n, of(n), best(&task.name, Metric::C2st, n))).collect();
        let known: Vec<(f64, f64)> = values.iter().filter_map(|(_, ours, theirs)| Some((*ours, (*theirs)?))).collect();
        let verdict = match () {
            () if known.is_empty() => Verdict::Neutral,
            // The paper prints two digits.
            () if known.iter().all(|(ours, theirs)| *ours <= theirs + 0.005) => Verdict::Good,
            () => Verdict::Caution,
        };
        let text = listed(values.iter().map(|(n, ours, theirs)| {
            let theirs = theirs.map_or_else(String::new, |theirs| format!(" (paper's best {theirs})"));
            format!("{ours:.3}{theirs} at n = {n}")
        }));
        findings.push((verdict, format!("{}: C2ST {text}.", sampler.label())));
    }
    let far: u64 = task.runs.iter().map(|run| run.diverged).sum();
    let broken = task.runs.iter().flat_map(|run| &run.sets).filter(|set| set.distances.is_none()).count();
    if far > 0 || broken > 0 {
        let text = format!("{far} samples diverged; posteriors with samples that are not finite: {broken}.");
        findings.push((Verdict::Caution, text));
    }
    findings
}
