//! How a model file's program is run.

use super::model_file::Mistake;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// How rows and answers are written between us and a program that stays alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// A line a row.
    #[default]
    Text,
    /// A numpy array a batch.
    Npy,
}

/// `[command]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCommand {
    run: Spanned<Vec<Spanned<String>>>,
    workers: Option<Spanned<usize>>,
    batch: Option<Spanned<usize>>,
    #[serde(default)]
    protocol: Option<Spanned<Protocol>>,
    timeout: Option<Spanned<f64>>,
    each: Option<bool>,
    keep: Option<Spanned<usize>>,
}

/// Rows that a worker is given at once.
const BATCH: usize = 100;
/// Seconds without an answer after which a program hangs.
const TIMEOUT: f64 = 60.0;
/// Longest time-out, s: a year.
const LONGEST: f64 = 366.0 * 86_400.0;
/// Rows that are written at once: what a killed run loses at most, few since a row may take long.
const KEEP: usize = 128;
/// Most workers, rows of a batch and rows at once.
const MOST: usize = 65_536;

/// What stands for something in an argument, beside names of parameters.
pub(super) const SEED: &str = "seed";
pub(super) const THETA: &str = "theta";
pub(super) const INPUT: &str = "input";
pub(super) const OUTPUT: &str = "output";
const RESERVED: [&str; 4] = [SEED, THETA, INPUT, OUTPUT];

/// A part of an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum Piece {
    /// As it is.
    Text(String),
    /// What stands for something: one of the reserved names, or a parameter's.
    Place(String),
}

/// How a program is run.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// Program and arguments, in pieces.
    pub run: Vec<Vec<Piece>>,
    /// The working folder: the model file's.
    pub folder: PathBuf,
    /// Programs at once; as many as there are threads if `None`.
    pub workers: Option<usize>,
    /// Rows that a worker is given at once.
    pub batch: usize,
    /// How rows are written.
    pub protocol: Protocol,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Whether the program is started for each row.
    pub each: bool,
    /// Rows written at once.
    pub keep: usize,
}

impl Command {
    pub fn checked(
        written: WrittenCommand,
        span: Range<usize>,
        folder: &Path,
        parameters: &[String],
    ) -> Result<Self, Mistake> {
        let WrittenCommand { run, workers, batch, protocol, timeout, each, keep } = written;
        let run_span = run.span();
        let pieces = run
            .get_ref()
            .iter()
            .map(|argument| pieces(argument.get_ref(), parameters).map_err(|message| (argument.span(), message)))
            .collect::<Result<Vec<_>, Mistake>>()?;
        if run.get_ref().first().is_none_or(|program| program.get_ref().is_empty()) {
            return Err((run_span, "command.run: give a program, such as [\"python3\", \"worker.py\"]".into()));
        }
        let places = pieces.iter().flatten().any(|piece| matches!(piece, Piece::Place(_)));
        if places && each == Some(false) {
            let message = "command.run: has placeholders, which need a call for each row; leave out each = false";
            return Err((run_span, message.into()));
        }
        let each = places || each == Some(true);
        if let Some(name) = parameters.iter().find(|name| each && RESERVED.contains(&name.as_str())) {
            let message = format!(
                "command.run: a parameter is called {name:?}, which means something else in placeholders; rename it"
            );
            return Err((span, message));
        }
        if let Some(protocol) = protocol.as_ref().filter(|protocol| each && *protocol.get_ref() != Protocol::Text) {
            let message = "command.protocol: a program that is called for each row answers in text; leave it out";
            return Err((protocol.span(), message.into()));
        }
        let timeout = match timeout {
            Some(given) if !(*given.get_ref() > 0.0 && *given.get_ref() <= LONGEST) => {
                let message =
                    format!("command.timeout: must be above 0 and at most {LONGEST} seconds, got {}", given.get_ref());
                return Err((given.span(), message));
            }
            given => given.map_or(TIMEOUT, Spanned::into_inner),
        };
        let workers = number("workers", workers)?;
        let batch = number("batch", batch)?.unwrap_or(BATCH);
        let keep = number("keep", keep)?.unwrap_or(KEEP);
        let protocol = protocol.map(Spanned::into_inner).unwrap_or_default();
        let timeout = Duration::from_secs_f64(timeout);
        Ok(Self { run: pieces, folder: folder.to_owned(), workers, batch, protocol, timeout, each, keep })
    }

    /// What of it decides the data.
    pub fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "run": self.run, "protocol": self.protocol, "each": self.each })
    }

    /// The program as it is written, for errors.
    pub fn program(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(name) => format!("{{{name}}}"),
        };
        self.run[0].iter().map(text).collect()
    }

    /// The program's process, not started, with `value` put in place of what stands for something; an argument that is `{theta}` and
    /// nothing else becomes one of each parameter.
    pub fn process(&self, value: &dyn Fn(&str) -> Vec<String>) -> std::process::Command {
        let filled = |pieces: &Vec<Piece>| match &pieces[..] {
            [Piece::Place(name)] => value(name),
            pieces => vec![
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Place(name) => value(name).join(" "),
                    })
                    .collect(),
            ],
        };
        let mut arguments = self.run.iter().flat_map(filled);
        let program = arguments.next().unwrap_or_default();
        // A path is meant from the model file's folder, a bare name is looked up.
        let path = Path::new(&program);
        let program = if path.components().count() > 1 { self.folder.join(path) } else { path.to_owned() };
        let mut process = std::process::Command::new(program);
        process.args(arguments).current_dir(&self.folder);
        process
    }
}

fn number(key: &str, given: Option<Spanned<usize>>) -> Result<Option<usize>, Mistake> {
    match given {
        Some(given) if !(1..=MOST).contains(given.get_ref()) => {
            Err((given.span(), format!("command.{key}: must be from 1 to {MOST}, got {}", given.get_ref())))
        }
        given => Ok(given.map(Spanned::into_inner)),
    }
}

/// An argument in pieces: `{NAME}` stands for something, `{{` and `}}` are braces, and braces around anything but a name are themselves.
fn pieces(argument: &str, parameters: &[String]) -> Result<Vec<Piece>, String> {
    let (mut found, mut text, mut rest) = (Vec::new(), String::new(), argument);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let inside = after.split_once('}').filter(|_| brace == "{").map(|(inside, _)| inside);
        let known = |name: &str| RESERVED.contains(&name) || parameters.iter().any(|parameter| parameter == name);
        match inside {
            Some(name) if known(name) => {
                if !text.is_empty() {
                    found.push(Piece::Text(std::mem::take(&mut text)));
                }
                found.push(Piece::Place(name.to_owned()));
                rest = &after[name.len() + 1..];
            }
            Some(name) if is_name(name) => {
                return Err(format!(
                    "command.run: {{{name}}} is neither a parameter nor one of {{{}}}; for braces as such write {{{{{name}}}}}",
                    RESERVED.join("}, {")
                ));
            }
            _ => {
                text.push_str(brace);
                rest = after;
            }
        }
    }
    text.push_str(rest);
    if !text.is_empty() || found.is_empty() {
        found.push(Piece::Text(text));
    }
    Ok(found)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_numeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_apart() {
        let of = |argument: &str| pieces(argument, &["k".into()]);
        let text = |text: &str| Piece::Text(text.into());
        let place = |name: &str| Piece::Place(name.into());
        assert_eq!(of("--k={k},{seed}").unwrap(), [text("--k="), place("k"), text(","), place("seed")]);
        assert_eq!(of("{theta}").unwrap(), [place("theta")]);
        assert_eq!(of("{ print $1 }").unwrap(), [text("{ print $1 }")]);
        assert_eq!(of("{{k}} {").unwrap(), [text("{k} {")]);
        assert_eq!(of("").unwrap(), [text("")]);
        assert!(of("{sed}").unwrap_err().contains("{{sed}}"));
    }
}
