//! Options in TOML, with errors that name the line.

use crate::error::usage;
use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use std::path::Path;
use tallsbi::data::line_at;
use toml::de::{DeTable, DeValue};

/// Options from TOML; `origin` names the text in errors, which give the line.
///
/// # Errors
/// Unknown or missing options, wrong types.
pub fn parse_toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    tallsbi::data::parse_toml(text).map_err(|error| usage(format!("{origin}: {error}")))
}

/// Options from a TOML file.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    parse_toml(&text, &path.display().to_string())
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
