//! `tallsbi report`.

use super::study::RESULTS;
use crate::context::Context;
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi_studies::report;
use tallsbi_studies::study::Results;

/// Make the report of a finished study again: OUT/report.html and OUT/figures
///
/// Example: tallsbi report out/
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ReportArguments {
    /// Folder of the study
    pub study: PathBuf,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &ReportArguments) -> Result<()> {
    let path = arguments.study.join(RESULTS);
    let bytes = std::fs::read(&path)
        .with_context(|| format!("{}: cannot be read; is it the folder of a finished study?", path.display()))?;
    let results =
        Results::from_json(&bytes).with_context(|| format!("{}: is not what a study writes", path.display()))?;
    let report = report::write(&results, &arguments.study)?;
    context.print(report.display(), || json!({ "report": report.display().to_string() }))
}
