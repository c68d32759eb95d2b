//! The section `[noise]`: which outputs are observed, and by which laws.

use super::law::{Law, NUMBERS};
use crate::external::model_file::Mistake;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::{Spanned, Value};

/// `[noise]` as it is written: keys of one law, or a law for each of some outputs.
pub(in crate::external) type WrittenNoise = BTreeMap<String, Spanned<Value>>;

/// Key of the law.
const DIST: &str = "dist";
const TRIALS: &str = "trials";

/// Where a number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Given {
    /// The model file.
    Constant(f64),
    /// The parameter of this index.
    Parameter(usize),
    /// The output of this index.
    Output(usize),
}

/// An output that is observed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Measured {
    /// Index of the output.
    pub output: usize,
    pub law: Law,
    /// Numbers of the law; zeros where it has fewer.
    pub numbers: [Given; NUMBERS],
}

/// Names that numbers may be given by.
pub(super) struct Names<'a> {
    pub parameters: &'a [String],
    pub outputs: &'a [String],
}

impl Names<'_> {
    /// A number, or the name of a parameter or an output.
    pub fn read(&self, value: &Value) -> Result<Given, String> {
        let at = |names: &[String], name: &str| names.iter().position(|known| known == name);
        match value {
            Value::Integer(number) => Ok(Given::Constant(*number as f64)),
            Value::Float(number) => Ok(Given::Constant(*number)),
            Value::String(name) => match (at(self.parameters, name), at(self.outputs, name)) {
                (Some(parameter), _) => Ok(Given::Parameter(parameter)),
                (None, Some(output)) => Ok(Given::Output(output)),
                (None, None) => Err(format!(
                    "{name:?} is neither a parameter ({}) nor an output ({})",
                    self.parameters.join(", "),
                    self.outputs.join(", ")
                )),
            },
            other => Err(format!("{other} is neither a number nor a name")),
        }
    }
}

/// What is observed, in the order of the outputs: those with a law of their own, or, under one law, all that are not themselves numbers of it.
pub(super) fn read_noise(written: Spanned<WrittenNoise>, names: &Names<'_>) -> Result<Vec<Measured>, Mistake> {
    let whole = written.span();
    let written = written.into_inner();
    if written.contains_key(DIST) {
        let keys = written.iter().map(|(key, value)| (key.as_str(), (value.span(), value.get_ref())));
        let (law, numbers) = read_law("noise", &whole, keys.collect(), names)?;
        let observed = (0..names.outputs.len()).filter(|output| !numbers.contains(&Given::Output(*output)));
        return Ok(observed.map(|output| Measured { output, law, numbers }).collect());
    }
    let mut measured = Vec::new();
    for (name, given) in &written {
        let span = given.span();
        let Some(output) = names.outputs.iter().position(|known| known == name) else {
            let known = names.outputs.join(", ");
            let message = format!("noise: {name:?} is no output ({known}); give dist, or a table for each output");
            return Err((span, message));
        };
        let Value::Table(table) = given.get_ref() else {
            return Err((span, format!("noise.{name}: give a table, such as {{ dist = \"normal\", scale = 0.1 }}")));
        };
        let keys = table.iter().map(|(key, value)| (key.as_str(), (span.clone(), value))).collect();
        let (law, numbers) = read_law(&format!("noise.{name}"), &span, keys, names)?;
        measured.push(Measured { output, law, numbers });
    }
    if measured.is_empty() {
        return Err((whole, "noise: give dist, such as \"normal\", or a table for each output".into()));
    }
    measured.sort_by_key(|measured| measured.output);
    Ok(measured)
}

type Keys<'a> = BTreeMap<&'a str, (Range<usize>, &'a Value)>;

fn read_law(
    place: &str,
    whole: &Range<usize>,
    mut keys: Keys<'_>,
    names: &Names<'_>,
) -> Result<(Law, [Given; NUMBERS]), Mistake> {
    let Some((span, dist)) = keys.remove(DIST) else {
        return Err((whole.clone(), format!("{place}: dist is missing, such as \"normal\"")));
    };
    let law: Law = dist
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| (span, format!("{place}.dist: {}", error.message().replace('\n', " "))))?;
    let mut numbers = [Given::Constant(0.0); NUMBERS];
    for (number, &key) in numbers.iter_mut().zip(law.numbers()) {
        let Some((span, value)) = keys.remove(key) else {
            return Err((whole.clone(), format!("{place}: {key} is missing: a number, a parameter or an output")));
        };
        *number = names.read(value).map_err(|message| (span.clone(), format!("{place}.{key}: {message}")))?;
        match *number {
            Given::Constant(value) if key == TRIALS && value >= 1.0 && value.fract() == 0.0 => {}
            _ if key == TRIALS => return Err((span, format!("{place}.{TRIALS}: give a whole number, at least 1"))),
            Given::Constant(value) if !(value > 0.0 && value.is_finite()) => {
                return Err((span, format!("{place}.{key}: must be positive and finite, got {value}")));
            }
            _ => {}
        }
    }
    if let Some((key, (span, _))) = keys.into_iter().next() {
        let known = law.numbers().join(", ");
        let known = if known.is_empty() { "nothing beside dist".to_owned() } else { known };
        return Err((span, format!("{place}: {key} is unknown; this law takes {known}")));
    }
    Ok((law, numbers))
}
