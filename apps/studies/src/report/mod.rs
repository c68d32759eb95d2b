//! The report of a study: one self-contained HTML page, and beside it each figure as SVG and PNG and each table as CSV.

mod benchmark;
mod figures;
mod finding;
mod inference;
mod losses;
mod page;
mod pairs;
mod predictive;
mod sentence;
mod spectrum;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod toy;
mod words;

use crate::study::{Results, StudyResults};
use anyhow::{Context as _, Result};
use figures::RunFigures;
pub use figures::{CoverageCurve, against_n, coverage_chart, root_n};
pub use losses::chart as loss_chart;
use page::Document;
use std::path::{Path, PathBuf};
use tallsbi::files::{Existing, OutputFile, Posterior};
pub use words::cautions;

/// Writes `report.html`, `figures/` and `tables/` into the study's folder, and returns the report's path.
///
/// # Errors
/// When files of samples are missing, or something cannot be drawn or written.
pub fn write(results: &Results, folder: &Path) -> Result<PathBuf> {
    let document = match results {
        Results::Inference(results) => inference::document(results, draw(results, folder)?),
        Results::Benchmark(results) => benchmark::document(results, folder)?,
        Results::Toy(results) => toy::document(results, folder)?,
    };
    save(&document, folder)
}

fn draw(results: &StudyResults, folder: &Path) -> Result<Vec<RunFigures>> {
    let one = |run| -> Result<RunFigures> {
        let run: &crate::study::results::RunResults = run;
        let samples = run
            .posteriors
            .iter()
            .map(|posterior| Ok(Posterior::read(&folder.join(&posterior.file))?.matrix()))
            .collect::<Result<Vec<_>>>()?;
        let refined = run.refined.as_ref().map(|refined| Posterior::read(&folder.join(&refined.file))).transpose()?;
        Ok(RunFigures::draw(run, &samples, refined.map(|posterior| posterior.matrix()).as_ref())?)
    };
    results.runs.iter().map(one).collect()
}

fn save(document: &Document<'_>, folder: &Path) -> Result<PathBuf> {
    let (drawn, tabulated) = (folder.join("figures"), folder.join("tables"));
    for made in [&drawn, &tabulated] {
        std::fs::create_dir_all(made).with_context(|| format!("{}: cannot be created", made.display()))?;
    }
    for figure in document.figures() {
        figure.save(&drawn)?;
    }
    for table in document.tables() {
        OutputFile::write(&tabulated.join(format!("{}.csv", table.name)), Existing::Overwrite, &table.csv()?)?;
    }
    let path = folder.join("report.html");
    OutputFile::write(&path, Existing::Overwrite, document.render().into_string().as_bytes())?;
    Ok(path)
}
