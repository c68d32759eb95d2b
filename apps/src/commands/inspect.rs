//! `tallsbi inspect`.

use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use tallsbi_data::file::Contents;

/// Say what a file is: kind, shapes, provenance, digest of its contents
///
/// Reads training sets, observations, posteriors, models (safetensors), and any other HDF5 or netCDF-4 file. The digest is
/// over the numbers alone: files with equal digests hold the same data, whenever and by whatever command they were made.
///
/// Example: tallsbi inspect train.h5 --json | jq -r .digest
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct InspectArguments {
    /// File
    pub file: PathBuf,
}

/// Characters of an attribute that are shown without --json.
const SHOWN: usize = 300;

/// Runs the command.
pub fn run(context: &Context, arguments: &InspectArguments) -> Result<()> {
    let contents = Contents::read(&arguments.file)?;
    context.print(describe(arguments, &contents), || {
        let mut value = json!(contents);
        value["path"] = arguments.file.display().to_string().into();
        value
    })
}

fn describe(arguments: &InspectArguments, contents: &Contents) -> String {
    let mut text = format!("{}: {}", arguments.file.display(), contents.description());
    // Writing to a String cannot fail.
    let _ = match &contents.provenance {
        None => write!(text, "\n"),
        Some(p) => write!(
            text,
            "\n  made {} by tallsbi {}: {}\n  task {:?}, seed {}\n",
            p.created, p.version, p.command, p.task, p.seed
        ),
    };
    for parent in contents.provenance.iter().flat_map(|p| &p.parents) {
        let _ = writeln!(text, "  from {} (sha256 {})", parent.path, parent.sha256);
    }
    for (name, value) in &contents.attributes {
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        let _ = writeln!(text, "  {name}: {shown}");
    }
    for array in &contents.arrays {
        let shape: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  {} ({}) {}", array.name, shape.join(", "), array.dtype);
    }
    let _ = write!(text, "  digest of the contents: {}", contents.digest);
    text
}
