//! Putting the shards of a simulation run together.

use super::{Opened, RowRange, Summary, TrainingSet, TrainingSetWriter, difference};
use crate::{Existing, Provenance, file_error};
use crate::{FileError, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Merges shards, in the order of their rows, into a file with the contents of the unsharded run.
///
/// The provenance's seed and task are taken from the shards. `progress` gets the number of rows written since its last
/// call; `false` stops, and [`Existing::Resume`] continues.
///
/// # Errors
/// When shards belong to different runs, overlap or leave a gap, cannot be read, or the output cannot be written. A run
/// that lacks its first or last shards is merged as far as it goes; see [`RowRange::is_whole`] of the result.
pub fn merge(
    inputs: &[PathBuf],
    target: &Path,
    existing: Existing,
    mut provenance: Provenance,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<(Summary, RowRange)>> {
    let mut shards = inputs.iter().map(|path| TrainingSet::open(path)).collect::<Result<Vec<_>>>()?;
    shards.sort_by_key(|shard| shard.spec().rows.first);
    let Some(first) = shards.first() else {
        return Err(file_error(target, "no shards to merge were given"));
    };
    check(&shards)?;
    let mut spec = first.spec().clone();
    spec.rows.count = shards.iter().map(TrainingSet::rows).sum();
    let rows = spec.rows;
    provenance.seed = first.provenance().seed;
    provenance.task.clone_from(&first.provenance().task);
    let mut writer = match TrainingSetWriter::open(target, existing, spec, provenance)? {
        Opened::Complete(summary) => return Ok(Some((summary, rows))),
        Opened::Writing(writer) => writer,
    };
    let mut before = 0;
    for shard in &shards {
        // Rows that an interrupted merge has written already are skipped.
        let mut at = writer.next_row().saturating_sub(before).min(shard.rows());
        while at < shard.rows() {
            let count = (shard.rows() - at).min(shard.block_rows() as u64) as usize;
            let (theta, x, valid) = shard.read_block(at, count)?;
            let flat = |what: &str| file_error(shard.path(), format!("{what} is not contiguous"));
            writer.append(
                theta.as_slice().ok_or_else(|| flat("theta"))?,
                x.as_slice().ok_or_else(|| flat("x"))?,
                valid.as_slice().ok_or_else(|| flat("valid"))?,
            )?;
            at += count as u64;
            if !progress(count as u64) {
                writer.checkpoint()?;
                return Ok(None);
            }
        }
        before += shard.rows();
    }
    Ok(Some((writer.finish()?, rows)))
}

/// Checks that shards, sorted by first row, belong together without gap or overlap.
fn check(shards: &[TrainingSet]) -> Result<()> {
    let identity = |shard: &TrainingSet| -> Value {
        let mut identity = shard.identity();
        identity["rows"] = identity["rows"]["total"].clone();
        identity
    };
    for pair in shards.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let problem = |message: String| -> Result<()> { Err(file_error(b.path(), message)) };
        if let Some(difference) = difference(&identity(b), &identity(a)) {
            return problem(format!("does not belong with {}: {difference}", a.path().display()));
        }
        let (end, start) = (a.spec().rows.end(), b.spec().rows.first);
        if end > start {
            return problem(format!("overlaps {}: rows {start}..{end} are in both", a.path().display()));
        }
        if end < start {
            return problem(format!("rows {end}..{start} are missing between {} and this file", a.path().display()));
        }
    }
    Ok::<(), FileError>(())
}
