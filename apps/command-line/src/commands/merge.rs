//! `tallsbi merge`.

use super::output_arguments::ResumableOutputArguments;
use crate::context::{Context, Interrupted, RESUME};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi::Monitor;
use tallsbi::files::{TrainingSet, merge};

/// Put the shards of a simulation run together
///
/// The result has the contents of the run without shards. Shards of different runs, overlaps and gaps are refused.
///
/// Example: tallsbi merge shard-*.h5 -o train.h5
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// Shards, in any order
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
    #[command(flatten)]
    pub output: ResumableOutputArguments,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &MergeArguments) -> Result<()> {
    let output = &arguments.output.output;
    let mut total = 0;
    let mut provenance = context.provenance("");
    for shard in &arguments.shards {
        total += TrainingSet::open(shard)?.rows();
        provenance = provenance.with_parent(shard)?;
    }
    let merged = {
        let bars = context.monitor();
        let stage = (&bars as &dyn Monitor).stage("merge", "rows", total);
        let mut progress = |rows| {
            stage.advance(rows);
            stage.check().is_ok()
        };
        merge(&arguments.shards, output, arguments.output.existing(), provenance, &mut progress)?
    };
    let (summary, rows) = merged.ok_or_else(|| Interrupted(RESUME.into()))?;
    if !rows.is_whole() {
        tracing::warn!(
            "these are rows {}..{} of the {} of the whole run; merge the result with the other shards",
            rows.first,
            rows.end(),
            rows.total
        );
    }
    let path = output.display();
    context.print(format!("{path}: {} rows, {} invalid", summary.rows, summary.invalid), || {
        json!({
            "path": path.to_string(),
            "rows": summary.rows,
            "invalid": summary.invalid,
            "first_row": rows.first,
            "total_rows": rows.total,
        })
    })
}
