//! The report of a benchmark: distances to reference posteriors, with the paper's numbers beside ours (Fig. 3, 10 to 16; Tables 5
//! to 7).

use super::figures::listed;
use super::page::{Document, Part, Section};
use super::table::{Cell, Table};
use super::words::{Finding, Verdict};
use crate::plot::{Axis, CATEGORICAL, ChartGrid, Figure, LineChart, Result, Series};
use crate::study::benchmark::paper::{best, printed, printed_for};
use crate::study::benchmark::{BenchmarkResults, BenchmarkRun, Metric, TaskResults};
use crate::study::named_sampler::NamedSampler;
use plotters::style::RGBColor;
use std::collections::BTreeSet;

/// The report.
///
/// # Errors
/// When something cannot be drawn.
pub fn document(results: &BenchmarkResults) -> Result<Document<'_>> {
    Ok(Document {
        record: &results.record,
        lead: "Posteriors of tall data by one network each, against reference posteriors. C2ST: 0.5 is indistinguishable, 1 disjoint; \
               MMD² and sliced Wasserstein: 0 is best."
            .into(),
        summary: results.tasks.iter().map(|task| (task.name.clone(), findings(task))).collect(),
        sections: results.tasks.iter().map(section).collect::<Result<_>>()?,
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
        "sampler",
        "n",
        "set",
        "kept by the paper",
        "c2st",
        "mmd2",
        "sliced_wasserstein",
    ];
    let mut table = Table::new("sets", "All observation sets", 1, &columns);
    for task in &results.tasks {
        for run in &task.runs {
            for set in &run.sets {
                let mut row = vec![
                    Cell::text(&task.name),
                    simulations(run),
                    Cell::count(run.seed as usize),
                    Cell::text(run.sampler.to_string()),
                    Cell::count(run.n_obs),
                    Cell::count(set.set),
                    Cell::count(usize::from(task.keeps(set))),
                ];
                row.extend(Metric::ALL.map(|metric| metric.of(set).into()));
                table.rows.push(row);
            }
        }
    }
    table
}

fn simulations(run: &BenchmarkRun) -> Cell {
    run.simulations.map_or_else(|| Cell::text("given model"), |rows| Cell::count(rows as usize))
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
    task.runs.iter().map(|run| run.simulations).collect::<BTreeSet<_>>().into_iter().collect()
}

fn n_obs(task: &TaskResults) -> Vec<usize> {
    task.runs.iter().map(|run| run.n_obs).collect::<BTreeSet<_>>().into_iter().collect()
}

/// In the order of the options.
fn samplers(task: &TaskResults) -> Vec<NamedSampler> {
    let mut found = Vec::new();
    for run in &task.runs {
        if !found.contains(&run.sampler) {
            found.push(run.sampler);
        }
    }
    found
}

fn runs_of(task: &TaskResults, size: Option<u64>, sampler: NamedSampler, n: usize) -> Vec<&BenchmarkRun> {
    let here = |run: &&BenchmarkRun| (run.simulations, run.sampler, run.n_obs) == (size, sampler, n);
    task.runs.iter().filter(here).collect()
}

/// What is compared with the paper: its number of simulations, else the largest.
fn compared_size(task: &TaskResults) -> Option<u64> {
    sizes(task).into_iter().max_by_key(|size| (*size == Some(30_000), *size)).flatten()
}

fn decimals(metric: Metric) -> usize {
    if metric == Metric::SlicedWasserstein { 4 } else { 3 }
}

fn section(task: &TaskResults) -> Result<Section> {
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
    parts.push(Part::Table(comparison(task, size)));
    parts.extend(against_size(task)?.map(Part::Figure));
    parts.push(Part::Table(costs(task)));
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
                    printed_for(&task.name, metric, n, sampler.method).map_or(Cell::Empty, Cell::Number),
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
                task.runs.iter().filter(|run| run.sampler == sampler && run.n_obs == n).collect();
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

/// Metrics against n (Fig. 3, 10 to 12).
fn against_n(task: &TaskResults, size: Option<u64>) -> Result<Option<Figure>> {
    let n = n_obs(task);
    if n.len() < 2 {
        return Ok(None);
    }
    let positions: Vec<f64> = n.iter().map(|&n| n as f64).collect();
    let panels = Metric::ALL.map(|metric| {
        let ours = samplers(task).into_iter().enumerate().map(|(index, sampler)| Series {
            label: sampler.label(),
            color: CATEGORICAL[index % CATEGORICAL.len()],
            points: n
                .iter()
                .map(|&n| (n as f64, over_sets(task, &runs_of(task, size, sampler, n), metric, true).0))
                .collect(),
            dots: true,
            dashed: false,
        });
        let methods: Vec<&str> = printed(&task.name, metric, 1).iter().map(|printed| printed.method).collect();
        let theirs = methods.into_iter().enumerate().map(|(index, method)| Series {
            label: format!("paper: {method}"),
            color: THEIRS[index % THEIRS.len()],
            points: n
                .iter()
                .filter_map(|&n| {
                    let all = printed(&task.name, metric, n);
                    Some((n as f64, all.into_iter().find(|printed| printed.method == method)?.mean))
                })
                .collect(),
            dots: false,
            dashed: true,
        });
        (metric.name().to_owned(), chart(metric, Axis::at("n", &positions), ours.chain(theirs).collect()))
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
        let ours = samplers(task).into_iter().enumerate().map(|(index, sampler)| Series {
            label: sampler.label(),
            color: CATEGORICAL[index % CATEGORICAL.len()],
            points: sizes
                .iter()
                .map(|&rows| (rows as f64, over_sets(task, &runs_of(task, Some(rows), sampler, n), metric, true).0))
                .collect(),
            dots: true,
            dashed: false,
        });
        let x = Axis::logarithmic("simulations", sizes.iter().map(|&rows| rows as f64));
        (metric.name().to_owned(), chart(metric, x, ours.collect()))
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
