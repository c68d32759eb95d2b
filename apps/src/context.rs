//! What every command shares: global options, progress, interruption, output.

use crate::interrupt::Interrupt;
use crate::progress::{Bar, Bars};
use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use tallsbi_data::StreamKey;
use tallsbi_files::Provenance;
use toml::de::{DeTable, DeValue};

/// A mistake in how the program was called: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Work that stopped because the user asked for it: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub struct Interrupted(pub String);

/// A usage error, for `return Err(usage(..))`.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Options from TOML; `origin` names the text in errors, which give the line.
///
/// # Errors
/// Unknown or missing options, wrong types.
pub fn parse_toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        usage(format!("{origin}: line {line}: {}", error.message().replace('\n', " ")))
    })
}

/// Options from a TOML file.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    parse_toml(&text, &path.display().to_string())
}

/// The line of `text`, from 1, that the byte `offset` is in.
fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// The line of the TOML `text`, from 1, that gives the option `path`, such as "coverage.pairs"; libraries name their options without
/// the tables around them. `None` where it is left out or stands in several places.
pub fn line_of_option(text: &str, path: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    if let Some(start) = option_in(root.get_ref(), path) {
        return Some(line_at(text, start));
    }
    let mut found = Vec::new();
    option_below(root.get_ref(), path, &mut found);
    if let [start] = found[..] { Some(line_at(text, start)) } else { None }
}

/// Where the option `path` of a table begins.
fn option_in(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let (part, rest) = path.split_once('.').map_or((path, None), |(part, rest)| (part, Some(rest)));
    let (key, value) = table.get_key_value(part)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(key.span().start),
        (Some(rest), DeValue::Table(inner)) => option_in(inner, rest),
        _ => None,
    }
}

/// Where it begins in tables below.
fn option_below(table: &DeTable<'_>, path: &str, found: &mut Vec<usize>) {
    for value in table.values() {
        if let DeValue::Table(inner) = value.get_ref() {
            found.extend(option_in(inner, path));
            option_below(inner, path, found);
        }
    }
}

/// Global options and services.
#[derive(Debug)]
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

    /// A progress bar over `total` units; 0 where the total is not known.
    pub fn bar(&self, label: &str, unit: &'static str, total: u64) -> Bar {
        Bar::new(label, unit, total, self.quiet)
    }

    /// Shows the progress of a library's work and stops it on Ctrl-C.
    pub fn monitor(&self) -> Bars<'_> {
        Bars::new(self)
    }

    /// Fails when the user asked to stop; `resume` says how to go on.
    pub fn check_interrupt(&self, resume: &str) -> Result<()> {
        if self.interrupt.is_set() { Err(Interrupted(resume.into()).into()) } else { Ok(()) }
    }

    /// Prints a result: the JSON with `--json`, else the text.
    pub fn print(&self, text: impl std::fmt::Display, json: impl FnOnce() -> Value) -> Result<()> {
        let out = if self.json { format!("{}\n", json()) } else { format!("{text}\n") };
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough (`| head`) is no error.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("the result cannot be written to standard output"),
        }
    }
}

/// The command line as the user could type it again.
pub fn command_line() -> String {
    let quote = |argument: &str| {
        let plain = |c: char| c.is_alphanumeric() || "-_=./,:+%@".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.to_owned()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    std::iter::once("tallsbi".to_owned())
        .chain(std::env::args_os().skip(1).map(|argument| quote(&argument.to_string_lossy())))
        .collect::<Vec<_>>()
        .join(" ")
}
