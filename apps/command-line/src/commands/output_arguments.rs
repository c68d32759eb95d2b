//! Where commands write.

use clap::Args;
use std::path::PathBuf;
use tallsbi::files::Existing;

/// Where a command writes.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    pub force: bool,
}

impl OutputArguments {
    /// What to do with an existing output.
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Overwrite } else { Existing::Refuse }
    }
}

/// Where a command that can be resumed writes.
#[derive(Debug, Args)]
pub struct ResumableOutputArguments {
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the output if it exists, and start over
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Continue an interrupted run; starts one if there is none
    #[arg(long)]
    pub resume: bool,
}

impl ResumableOutputArguments {
    /// What to do with an existing output.
    pub fn existing(&self) -> Existing {
        match (self.force, self.resume) {
            (true, _) => Existing::Overwrite,
            (_, true) => Existing::Resume,
            _ => Existing::Refuse,
        }
    }
}
