//! The report of a study of toy problems: the paper's Tables 1, 2 and 4 and Figures 1, 2, 8 and 9, with its numbers beside ours.

mod accuracy;
mod comparison;
mod findings;
mod names;
mod robustness;

use super::page::{Document, Part, Section};
use super::sentence::listed;
use super::table::{Cell, Table};
use crate::plot::{Figure, PairAxis, PairPlot, SampleSet, pretty_name, sequential};
use crate::study::named_sampler::NamedMethod;
use crate::study::toy::{Distances, ShownPosteriors, ToyResults, ToyRun, shown_file};
use accuracy::accuracy;
use anyhow::Result;
use comparison::Study;
use findings::findings;
use names::name;
use robustness::robustness;
use std::collections::BTreeSet;
use std::path::Path;
use tallsbi::files::Posterior;
use tallsbi::inference::analytic::ToyProblem;

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
            outline: false,
        });
        let axes = shown.truth.iter().enumerate().map(|(i, &truth)| PairAxis {
            label: pretty_name(&format!("theta_{}", i + 1)),
            range: Some((truth - 2.5, truth + 2.5)),
            bounds: (f64::NEG_INFINITY, f64::INFINITY),
            truth: Some(truth),
            prior: Vec::new(),
        });
        let plot = PairPlot { slices: None, axes: axes.collect(), sets: sets.collect() };
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
