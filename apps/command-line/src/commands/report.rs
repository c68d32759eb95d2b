//! `tallsbi report`.

use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi_studies::{report, study_folder};

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
    let results = study_folder::results(&arguments.study)?;
    let report = report::write(&results, &arguments.study)?;
    context.print(report.display(), || json!({ "report": report.display().to_string() }))
}
