//! What every command shares: global options, progress, interruption, output.

use crate::interrupt::Interrupt;
use crate::progress::Bars;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tallsbi::Session;
use tallsbi::data::{Monitor, StreamKey, Team};
use tallsbi::files::Provenance;
pub use tallsbi_studies::options_file::read_toml;
pub use tallsbi_studies::{UsageError, usage};

/// Work that stopped because the user asked for it: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub struct Interrupted(pub String);

/// Whether an error says that work was stopped because the user asked for it, whichever library says so.
pub fn is_cancelled(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Interrupted>() || tallsbi::is_cancelled(cause))
}

/// Says how to go on where work was stopped.
pub fn resumable<T>(result: Result<T, impl Into<anyhow::Error>>, how: &str) -> Result<T> {
    result.map_err(|error| {
        let error = error.into();
        if is_cancelled(&error) { Interrupted(how.into()).into() } else { error }
    })
}

/// How interrupted work goes on.
pub const RESUME: &str = "run the same command with --resume to go on";

/// Global options and services.
pub struct Context {
    /// The user's seed.
    pub seed: u64,
    /// Whether results are printed as JSON.
    pub json: bool,
    /// Whether progress is shown.
    pub quiet: bool,
    /// The command line, for provenance.
    pub command: String,
    /// Set when the user asked to stop.
    pub interrupt: Interrupt,
    /// The processes that run this command together.
    pub team: Arc<dyn Team + Send>,
    /// Where those of them write that are not the first: what they write is removed with it.
    pub scratch: Option<tempfile::TempDir>,
}

impl Context {
    /// The root of all random streams.
    pub fn key(&self) -> StreamKey {
        StreamKey::root(self.seed)
    }

    /// Provenance of a file this command makes.
    pub fn provenance(&self, task: &str) -> Provenance {
        Provenance::new(&self.command, self.seed, task)
    }

    /// What work on files needs to know, watched by `monitor`.
    pub fn session<'a>(&self, monitor: &'a dyn Monitor) -> Session<'a> {
        Session { seed: self.seed, command: self.command.clone(), monitor }
    }

    /// Shows the progress of a library's work and stops it on Ctrl-C.
    pub fn monitor(&self) -> Bars {
        Bars::new(self.quiet, self.interrupt, self.team.clone())
    }

    /// Whether this process writes and speaks: the first of those that run this command together.
    pub fn leads(&self) -> bool {
        self.team.rank() == 0
    }

    /// Where this process writes what the user wants at `path`.
    pub fn place(&self, path: &Path) -> PathBuf {
        match (&self.scratch, path.file_name()) {
            (Some(scratch), Some(name)) => scratch.path().join(name),
            _ => path.to_owned(),
        }
    }

    /// Prints a result: the JSON with `--json`, else the text.
    pub fn print(&self, text: impl std::fmt::Display, json: impl FnOnce() -> Value) -> Result<()> {
        if !self.leads() {
            return Ok(());
        }
        let out = if self.json { format!("{}\n", json()) } else { format!("{}\n", printable(&text.to_string())) };
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough (`| head`) is no error.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("the result cannot be written to standard output"),
        }
    }
}

/// Text without control characters but ends of lines and tabs: what files say of themselves must not steer a terminal.
pub fn printable(text: &str) -> String {
    let plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The command line as the user could type it again, from its arguments after the program's name.
pub fn command_line(arguments: &[OsString]) -> String {
    let quote = |argument: &str| {
        let plain = |c: char| c.is_alphanumeric() || "-_=./,:+%@".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.to_owned()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    std::iter::once("tallsbi".to_owned())
        .chain(arguments.iter().skip(1).map(|argument| quote(&argument.to_string_lossy())))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn files_do_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}]0;title\u{7}\r\nµ\tb\u{9b}2J"), "a�]0;title��\nµ\tb�2J");
    }
}
