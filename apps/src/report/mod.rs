//! The report of a study: one self-contained HTML page, and each of its figures as SVG and PNG beside it.

mod figures;
mod page;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use crate::study::StudyResults;
use anyhow::{Context as _, Result};
use figures::RunFigures;
use std::path::{Path, PathBuf};
use tallsbi_data::file::{Existing, OutputFile, Posterior};

/// Writes `report.html` and `figures/` into the study's folder, and returns the report's path.
///
/// # Errors
/// When posterior files are missing, or something cannot be drawn or written.
pub fn write(results: &StudyResults, folder: &Path) -> Result<PathBuf> {
    let drawn = folder.join("figures");
    std::fs::create_dir_all(&drawn).with_context(|| format!("{}: cannot be created", drawn.display()))?;
    let mut all = Vec::new();
    for run in &results.runs {
        let samples = run
            .posteriors
            .iter()
            .map(|posterior| Ok(Posterior::read(&folder.join(&posterior.file))?.matrix()))
            .collect::<Result<Vec<_>>>()?;
        let figures = RunFigures::draw(run, &samples)?;
        for figure in figures.all() {
            figure.save(&drawn)?;
        }
        all.push(figures);
    }
    let path = folder.join("report.html");
    let html = page::render(results, &all).into_string();
    OutputFile::write(&path, Existing::Overwrite, html.as_bytes())?;
    Ok(path)
}
