//! The model file: TOML that says what a task is.

use super::command::{Command, WrittenCommand};
use super::ode::{OdeSimulator, WrittenNoise, WrittenOde};
use crate::{Result, SimulatorError};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tallsbi_data::{Component, Prior, XTransform, line_at, parse_component, parse_toml};
use toml::{Spanned, Value};

/// Names of tasks that end so are model files.
const EXTENSION: &str = ".toml";

/// What a file without parameters is told.
const NO_PARAMETERS: &str =
    "parameters: give at least one, such as { name = \"k\", dist = \"normal\", loc = 0, scale = 1 }";

/// Key of a parameter beside those of its distribution.
const UNIT: &str = "unit";

/// Whether a task's name is the path of a model file.
pub fn is_model_file(name: &str) -> bool {
    name.len() > EXTENSION.len() && name.to_ascii_lowercase().ends_with(EXTENSION)
}

/// Where a task comes from that is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The model file, as it was given.
    pub path: PathBuf,
    /// The model's own name.
    pub name: String,
    /// SHA-256, in hexadecimal, of all that the model file says of the data: not of how many workers make them, or how long they may take.
    pub digest: String,
    /// Rows that are written at once, where that matters: for programs, which may take long.
    pub keep: Option<usize>,
}

/// A model file that makes sense.
pub(super) struct ModelFile {
    pub outline: Outline,
    /// Which of the parameters are conditions; they come last.
    pub conditions: Vec<String>,
    pub means: Means,
}

/// What a model file says of a task, whatever simulates.
#[derive(Debug)]
pub(super) struct Outline {
    pub source: ModelSource,
    pub description: String,
    pub prior: Prior,
    pub units: Vec<String>,
    pub observations: Vec<String>,
    pub transform: XTransform,
}

/// What simulates.
pub(super) enum Means {
    Command(Command),
    Ode(Box<OdeSimulator>),
}

/// A model file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    parameters: Spanned<Vec<Spanned<Value>>>,
    #[serde(default)]
    conditions: Vec<Spanned<Value>>,
    observations: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    transform: XTransform,
    command: Option<Spanned<WrittenCommand>>,
    ode: Option<Spanned<WrittenOde>>,
    noise: Option<Spanned<WrittenNoise>>,
}

/// What is wrong, and where it stands.
pub(super) type Mistake = (Range<usize>, String);

impl ModelFile {
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |line, message| SimulatorError::ModelFile { path: path.display().to_string(), line, message };
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => fail(None, "no such model file".into()),
            _ => fail(None, format!("cannot be read: {error}")),
        })?;
        let written: Written = parse_toml(&text).map_err(|error| fail(Some(error.line), error.message))?;
        let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
        let folder = folder.ok_or_else(|| fail(None, "its folder cannot be found".into()))?;
        let place = Place { path, folder: &folder, text: &text };
        Self::checked(written, &place).map_err(|(span, message)| fail(Some(line_at(&text, span.start)), message))
    }

    fn checked(written: Written, place: &Place<'_>) -> std::result::Result<Self, Mistake> {
        let Written { name, description, parameters, conditions, observations, transform, command, ode, noise } =
            written;
        if name.get_ref().trim().is_empty() || name.get_ref().chars().any(char::is_control) {
            return Err((name.span(), "name: give the model a name, on one line".into()));
        }
        let whole = parameters.span();
        let own = parameters.get_ref().len();
        let (prior, units) = read_parameters(parameters, conditions)?;
        let conditions: Vec<String> =
            prior.components()[own..].iter().flat_map(|component| component.names().to_vec()).collect();
        let observations = observations.map(|given| Ok((given.span(), read_observations(given)?))).transpose()?;
        let name_span = name.span();
        let name = name.into_inner();
        let (means, observations, kind, identity, keep) = match (command, ode, noise) {
            (Some(command), None, None) => {
                let (_, observations) = observations.ok_or_else(|| {
                    (name_span, "observations: name the values that the program gives, such as [\"y1\", \"y2\"]".into())
                })?;
                let (span, written) = (command.span(), command.into_inner());
                let command = Command::checked(written, span, place.folder, prior.names())?;
                let (identity, keep) = (command.identity(), Some(command.keep));
                (Means::Command(command), observations, "command", identity, keep)
            }
            (None, Some(ode), noise) => {
                let (simulator, names) = OdeSimulator::checked(ode, noise, (prior.names(), whole), place)?;
                let observations = named_or_derived(observations, names)?;
                let identity = simulator.identity();
                (Means::Ode(Box::new(simulator)), observations, "ode", identity, None)
            }
            (None, None, _) => {
                let message =
                    "there is neither [command] (a program that simulates) nor [ode] (differential equations)";
                return Err((name_span, message.into()));
            }
            (Some(_), Some(ode), _) => {
                return Err((ode.span(), "[command] and [ode] are two ways to simulate; leave one out".into()));
            }
            (Some(_), None, Some(noise)) => {
                return Err((noise.span(), "[noise] belongs to [ode]; a program adds its own".into()));
            }
        };
        let mut content = serde_json::json!({
            "name": name, "prior": prior, "observations": observations, "transform": transform,
        });
        if !conditions.is_empty() {
            content["conditions"] = serde_json::json!(conditions);
        }
        content[kind] = identity;
        let digest = hex::encode(Sha256::digest(content.to_string()));
        let source = ModelSource { path: place.path.to_owned(), name, digest, keep };
        let outline = Outline { source, description, prior, units, observations, transform };
        Ok(Self { outline, conditions, means })
    }
}

/// The model file that is being read.
pub(super) struct Place<'a> {
    pub path: &'a Path,
    /// Where paths in it start.
    pub folder: &'a Path,
    /// All of it.
    pub text: &'a str,
}

/// Names of observations: as given, if there are as many as `derived`.
fn named_or_derived(
    given: Option<(Range<usize>, Vec<String>)>,
    derived: Vec<String>,
) -> std::result::Result<Vec<String>, Mistake> {
    match given {
        None => Ok(derived),
        Some((_, names)) if names.len() == derived.len() => Ok(names),
        Some((span, names)) => Err((
            span,
            format!(
                "observations: there are {} names for {} values ({}, ..); leave them out for these",
                names.len(),
                derived.len(),
                derived[0]
            ),
        )),
    }
}

/// Parameters, then conditions, as one prior with its units.
fn read_parameters(
    written: Spanned<Vec<Spanned<Value>>>,
    conditions: Vec<Spanned<Value>>,
) -> std::result::Result<(Prior, Vec<String>), Mistake> {
    let whole = written.span();
    let (mut components, mut units, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    if written.get_ref().is_empty() {
        return Err((whole, NO_PARAMETERS.into()));
    }
    for parameter in written.into_inner().into_iter().chain(conditions) {
        let span = parameter.span();
        let (component, unit) = read_parameter(parameter.into_inner()).map_err(|message| (span.clone(), message))?;
        if let Some(name) = component.names().iter().find(|name| !seen.insert((*name).clone())) {
            return Err((span, format!("parameters: {name:?} is named twice")));
        }
        // One component alone, for its line.
        Prior::new(vec![component.clone()]).map_err(|error| (span, error.to_string()))?;
        units.extend(std::iter::repeat_n(unit, component.dim()));
        components.push(component);
    }
    let prior = Prior::new(components).map_err(|_| (whole, NO_PARAMETERS.into()))?;
    Ok((prior, units))
}

/// A distribution as a table or as `k=normal(0, 1)`, and the unit that a table may give.
fn read_parameter(value: Value) -> std::result::Result<(Component, String), String> {
    let mut value = match value {
        Value::String(text) => return Ok((parse_component(&text).map_err(|error| error.to_string())?, String::new())),
        value => value,
    };
    let unit = value.as_table_mut().and_then(|table| table.remove(UNIT));
    let unit = match unit {
        None => String::new(),
        Some(Value::String(unit)) => unit,
        Some(other) => return Err(format!("parameters: unit is {other}; give a text")),
    };
    let name = value.get("name").and_then(Value::as_str).map(|name| format!(" {name}")).unwrap_or_default();
    let component =
        value.try_into().map_err(|error: toml::de::Error| format!("parameters:{name}: {}", error.message()))?;
    Ok((component, unit))
}

fn read_observations(written: Spanned<Vec<Spanned<String>>>) -> std::result::Result<Vec<String>, Mistake> {
    if written.get_ref().is_empty() {
        return Err((written.span(), "observations: name at least one value".into()));
    }
    let mut seen = HashSet::new();
    for name in written.get_ref() {
        if name.get_ref().trim().is_empty() {
            return Err((name.span(), "observations: a name is empty".into()));
        }
        if !seen.insert(name.get_ref().as_str()) {
            return Err((name.span(), format!("observations: {:?} is named twice", name.get_ref())));
        }
    }
    Ok(written.into_inner().into_iter().map(Spanned::into_inner).collect())
}
