//! Differential equations as text: the sections `[ode]` and `[noise]` of a model file make a simulator and its exact likelihood.

mod law;
mod likelihood;
mod noise;
mod simulator;

pub(super) use noise::WrittenNoise;
pub(super) use simulator::OdeSimulator;

use super::model_file::{Mistake, Place};
use noise::{Given, Measured, Names, read_noise};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use tallsbi_ode::{CompileError, Method, Model, Solver};
use toml::{Spanned, Value};

/// `[ode]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenOde {
    code: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    #[serde(default)]
    inputs: BTreeMap<String, Spanned<Value>>,
    outputs: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    start: f64,
    times: Spanned<Vec<Spanned<f64>>>,
    #[serde(default)]
    method: Method,
    rtol: Option<Spanned<f64>>,
    atol: Option<Spanned<f64>>,
    max_steps: Option<Spanned<usize>>,
}

type Checked<T> = Result<T, Mistake>;

/// Names of the parameters, and where they stand.
type Parameters<'a> = (&'a [String], Range<usize>);

impl OdeSimulator {
    /// The simulator that is written, and the names of its values.
    pub fn checked(
        written: Spanned<WrittenOde>,
        noise: Option<Spanned<WrittenNoise>>,
        (parameters, listed): Parameters<'_>,
        place: &Place<'_>,
    ) -> Checked<(Self, Vec<String>)> {
        let span = written.span();
        let WrittenOde { code, file, inputs, outputs, start, times, method, rtol, atol, max_steps } =
            written.into_inner();
        let noise = noise.ok_or_else(|| {
            let message = "ode: [noise] is missing: how outputs are observed, such as dist = \"normal\", scale = 0.1";
            (span.clone(), message.into())
        })?;
        let (model, code, code_span) = compile(code, file, &span, place)?;
        if model.has_mass() && method == Method::Tsit45 {
            let message = "ode.method: tsit45 is explicit and solves no equations with a mass matrix; take bdf, tr_bdf2 or esdirk34";
            return Err((span, message.into()));
        }
        let default = Solver::default();
        let solver = Solver {
            method,
            rtol: positive("rtol", rtol, default.rtol)?,
            atol: positive("atol", atol, default.atol)?,
            max_steps: max_steps.map_or(default.max_steps, Spanned::into_inner),
            start,
            times: read_times(times, start)?,
        };
        let outputs = read_outputs(outputs, &model, &code_span)?;
        let names = Names { parameters, outputs: &outputs };
        let inputs = read_inputs(inputs, &model, &names, &code_span)?;
        let measured = read_noise(noise, &names)?;
        for (at, name) in parameters.iter().enumerate() {
            let used = |given: &Given| *given == Given::Parameter(at);
            if !inputs.iter().chain(measured.iter().flat_map(|one| &one.numbers)).any(used) {
                let message = format!(
                    "parameters: {name} is used nowhere; the code's inputs are {}: rename one, or give it in ode.inputs or [noise]",
                    model.inputs().join(", ")
                );
                return Err((listed, message));
            }
        }
        let values = names_of_values(&measured, &outputs, &solver.times);
        Ok((Self { model, code, solver, inputs, measured, outputs }, values))
    }
}

/// The compiled model, its text, and where that stands.
fn compile(
    code: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    span: &Range<usize>,
    place: &Place<'_>,
) -> Checked<(Model, String, Range<usize>)> {
    match (code, file) {
        (Some(code), None) => {
            let span = code.span();
            let model = Model::compile(code.get_ref()).map_err(|CompileError { line, message }| {
                let at = line.map_or(span.start, |line| line_of_code(place.text, &span, line));
                (at..span.end, format!("ode.code: {message}"))
            })?;
            Ok((model, code.into_inner(), span))
        }
        (None, Some(file)) => {
            let span = file.span();
            let path = place.folder.join(file.get_ref());
            let fail = |what: String| (span.clone(), format!("ode.file: {}: {what}", file.get_ref()));
            let code = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
            let model = Model::compile(&code).map_err(|error| fail(error.to_string()))?;
            Ok((model, code, span.clone()))
        }
        (None, None) => Err((span.clone(), "ode: give the equations, as code or as a file".into())),
        (Some(_), Some(file)) => Err((file.span(), "ode: code and file are given; leave one out".into())),
    }
}

/// Where line `line` of the text in quotes at `span` begins. A line break right after the opening quotes is no part of it.
fn line_of_code(text: &str, span: &Range<usize>, line: usize) -> usize {
    let written = &text[span.clone()];
    let opened = ["'''", "\"\"\""].into_iter().find_map(|quotes| written.strip_prefix(quotes));
    let skipped = usize::from(opened.is_some_and(|rest| rest.starts_with('\n') || rest.starts_with("\r\n")));
    let breaks = written.match_indices('\n').map(|(at, _)| span.start + at + 1);
    std::iter::once(span.start).chain(breaks).nth(line - 1 + skipped).unwrap_or(span.start)
}

fn positive(key: &str, given: Option<Spanned<f64>>, default: f64) -> Checked<f64> {
    match given {
        Some(given) if !(*given.get_ref() > 0.0 && *given.get_ref() < 1.0) => {
            Err((given.span(), format!("ode.{key}: must be above 0 and below 1, got {}", given.get_ref())))
        }
        given => Ok(given.map_or(default, Spanned::into_inner)),
    }
}

fn read_times(written: Spanned<Vec<Spanned<f64>>>, start: f64) -> Checked<Vec<f64>> {
    if written.get_ref().is_empty() {
        return Err((written.span(), "ode.times: give at least one".into()));
    }
    let mut before = None;
    for time in written.get_ref() {
        let value = *time.get_ref();
        let wrong = match before {
            _ if !value.is_finite() => format!("{value} is not finite"),
            None if value < start => format!("{value} is before the start, {start}; give ode.start"),
            Some(before) if value <= before => format!("{value} comes after {before}; they must increase"),
            _ => {
                before = Some(value);
                continue;
            }
        };
        return Err((time.span(), format!("ode.times: {wrong}")));
    }
    Ok(written.into_inner().into_iter().map(Spanned::into_inner).collect())
}

fn read_outputs(
    written: Option<Spanned<Vec<Spanned<String>>>>,
    model: &Model,
    code: &Range<usize>,
) -> Checked<Vec<String>> {
    let count = model.outputs().len();
    let (names, span) = match written {
        None => {
            let names = model.outputs().iter().cloned().collect::<Option<Vec<_>>>();
            let message = || format!("ode: not every output of the code is a name; name all {count} in ode.outputs");
            (names.ok_or_else(|| (code.clone(), message()))?, code.clone())
        }
        Some(written) => {
            let span = written.span();
            let names: Vec<String> = written.into_inner().into_iter().map(Spanned::into_inner).collect();
            if names.len() != count {
                let message = format!("ode.outputs: there are {} names for {count} outputs of the code", names.len());
                return Err((span, message));
            }
            (names, span)
        }
    };
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, name)) => Err((span, format!("ode.outputs: {name:?} is named twice"))),
        None => Ok(names),
    }
}

/// What the code's inputs are given: by ode.inputs, or the parameter of the same name.
fn read_inputs(
    written: BTreeMap<String, Spanned<Value>>,
    model: &Model,
    names: &Names<'_>,
    code: &Range<usize>,
) -> Checked<Vec<Given>> {
    if let Some((name, value)) = written.iter().find(|(name, _)| !model.inputs().contains(name)) {
        let known = model.inputs().join(", ");
        return Err((value.span(), format!("ode.inputs: the code has no input {name:?}; its inputs are {known}")));
    }
    let given = |input: &String| match written.get(input) {
        Some(value) => {
            let fail = |message| (value.span(), format!("ode.inputs.{input}: {message}"));
            match names.read(value.get_ref()).map_err(fail)? {
                Given::Output(_) => Err(fail("an output cannot be an input; give a number or a parameter".into())),
                given => Ok(given),
            }
        }
        None => match names.parameters.iter().position(|name| name == input) {
            Some(parameter) => Ok(Given::Parameter(parameter)),
            None => {
                let message = format!(
                    "ode: the code's input {input} is no parameter; give inputs = {{ {input} = .. }}, a number or a parameter's name"
                );
                Err((code.clone(), message))
            }
        },
    };
    model.inputs().iter().map(given).collect()
}

/// Output by output, `NAME_tTIME`.
fn names_of_values(measured: &[Measured], outputs: &[String], times: &[f64]) -> Vec<String> {
    let of = |one: &Measured| times.iter().map(|time| format!("{}_t{time}", outputs[one.output])).collect::<Vec<_>>();
    measured.iter().flat_map(of).collect()
}
