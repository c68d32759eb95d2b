//! Posterior samples, in ArviZ's InferenceData layout (netCDF-4).

mod groups;

use crate::output::not_written;
use crate::provenance::{ATTRIBUTES, expect_kind};
use crate::{Existing, FileKind, OutputFile, Provenance, attributes, failed, file_error, open_hdf5};
use crate::{FileError, Result};
pub use groups::Companions;
use groups::{Rows, coordinate};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use netcdf::{AttributeValue, FileMut, GroupMut};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::Path;

/// Settings and counters of a sampling run: numbers, text and flags; anything else is stored as JSON text.
pub type RunAttributes = Map<String, Value>;

/// Posterior samples and the run that made them.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Names of the parameters, in the order of the last axis.
    pub parameter_names: Vec<String>,
    /// Samples (chain, draw, parameter).
    pub samples: Array3<f64>,
    /// The observations conditioned on (n, d).
    pub observations: Option<Array2<f32>>,
    /// Method, sampler, steps, repairs, wall time and the like.
    pub run: RunAttributes,
    /// Where the file came from.
    pub provenance: Provenance,
    /// Other groups of ArviZ's layout.
    pub companions: Companions,
}

impl Posterior {
    /// Independent samples (N, m), as one chain.
    ///
    /// # Errors
    /// When the number of names is not m.
    pub fn from_matrix(
        parameter_names: Vec<String>,
        samples: ArrayView2<'_, f64>,
        observations: Option<Array2<f32>>,
        run: RunAttributes,
        provenance: Provenance,
    ) -> Result<Self> {
        Self::from_chains(parameter_names, samples.to_owned().insert_axis(Axis(0)), observations, run, provenance)
    }

    /// Samples of several runs (chain, draw, m).
    ///
    /// # Errors
    /// When the number of names is not m.
    pub fn from_chains(
        parameter_names: Vec<String>,
        samples: Array3<f64>,
        observations: Option<Array2<f32>>,
        run: RunAttributes,
        provenance: Provenance,
    ) -> Result<Self> {
        let columns = samples.len_of(Axis(2));
        if parameter_names.len() != columns {
            return Err(FileError::Shape {
                what: "posterior samples".into(),
                expected: format!("one column for each of {}", parameter_names.join(", ")),
                found: format!("{columns} columns"),
            });
        }
        Ok(Self { parameter_names, samples, observations, run, provenance, companions: Companions::default() })
    }

    /// All samples (chains · draws, m), one chain after another.
    pub fn matrix(&self) -> Array2<f64> {
        let (chains, draws, m) = self.samples.dim();
        Array2::from_shape_fn((chains * draws, m), |(i, j)| self.samples[[i / draws, i % draws, j]])
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When parameters' names are not different, or the file cannot be written.
    pub fn write(&self, target: &Path, existing: Existing) -> Result<()> {
        self.check(target)?;
        self.companions.check(target, &self.samples, self.observations.as_ref())?;
        let output = OutputFile::create(target, existing)?;
        // netCDF sits on the same HDF5 library, which is not thread-safe: hold the lock of our HDF5 binding throughout.
        hdf5::sync::sync(|| -> std::result::Result<(), netcdf::Error> {
            let mut file = netcdf::create(output.path())?;
            self.write_attributes(&mut file)?;
            self.write_samples(&mut groups::group(&mut file, "posterior", &self.provenance, Rows::Draws)?)?;
            if let Some(x) = &self.observations {
                let mut group = groups::group(&mut file, "observed_data", &self.provenance, Rows::Observations)?;
                write_observed(&mut group, x)?;
            }
            self.companions.write(&mut file, self)?;
            file.close()
        })
        .map_err(|error| not_written(target, &error))?;
        output.commit_sealed()
    }

    fn check(&self, target: &Path) -> Result<()> {
        if self.samples.is_empty() {
            return Err(file_error(target, "no samples to write"));
        }
        let mut seen = HashSet::new();
        match self.parameter_names.iter().find(|name| name.is_empty() || name.contains('\0') || !seen.insert(*name)) {
            None => Ok(()),
            Some(name) => Err(file_error(
                target,
                format!("parameter {name:?} cannot be told from others; name each in the prior"),
            )),
        }
    }

    fn write_attributes(&self, file: &mut FileMut) -> std::result::Result<(), netcdf::Error> {
        for (name, text) in self.provenance.texts(FileKind::Posterior) {
            file.add_attribute(name, text)?;
        }
        file.add_attribute("seed", self.provenance.seed)?;
        file.add_attribute("parameter_names", self.names_json())?;
        let variables = variable_names(&self.parameter_names);
        if variables != self.parameter_names {
            file.add_attribute("variable_names", serde_json::json!(variables).to_string())?;
        }
        for (name, value) in &self.run {
            file.add_attribute(name, attribute(value))?;
        }
        Ok(())
    }

    fn names_json(&self) -> String {
        serde_json::json!(self.parameter_names).to_string()
    }

    fn write_samples(&self, group: &mut GroupMut<'_>) -> std::result::Result<(), netcdf::Error> {
        group.add_attribute("parameter_names", self.names_json())?;
        groups::write_draws(group, &self.parameter_names, self.samples.view())
    }

    /// Reads a posterior: ours, or another in ArviZ's layout. Without the attribute `parameter_names` its parameters are all variables of
    /// the group `posterior` in the order of their names, those with further dimensions as name\[0\], name\[1\], ..
    ///
    /// # Errors
    /// When the file is missing or of another kind, or a variable is missing or of the wrong shape.
    pub fn read(path: &Path) -> Result<Self> {
        let file = open_hdf5(path)?;
        expect_kind(path, &file, FileKind::Posterior)?;
        let group = file.group("posterior").map_err(|_| file_error(path, "has no group posterior"))?;
        let names = match attributes::names(path, &group, "parameter_names")? {
            Some(names) => Some(names),
            None => attributes::names(path, &file, "parameter_names")?,
        };
        let listed = names.is_some();
        let parameter_names = match names {
            Some(names) => names,
            None => variables(path, &group)?,
        };
        let variables = attributes::names(path, &file, "variable_names")?.unwrap_or_else(|| parameter_names.clone());
        if variables.len() != parameter_names.len() {
            return Err(file_error(path, "its attributes parameter_names and variable_names differ in length"));
        }
        let mut columns = Vec::new();
        let mut names = Vec::new();
        for (variable, name) in variables.iter().zip(&parameter_names) {
            let dataset = group
                .dataset(variable)
                .map_err(|_| file_error(path, format!("has no variable posterior/{variable}")))?;
            crate::guard::check_memory(path, variable, dataset.size(), size_of::<f64>())?;
            let values =
                dataset.read_dyn::<f64>().map_err(|error| failed(path, &format!("posterior/{variable}"), &error))?;
            let shape = values.shape().to_vec();
            if shape.len() < 2 || listed && shape.len() > 2 {
                return Err(file_error(
                    path,
                    format!("posterior/{variable} has {} dimensions, not (chain, draw)", shape.len()),
                ));
            }
            let width: usize = shape[2..].iter().product();
            let flat = Array3::from_shape_vec((shape[0], shape[1], width), values.into_iter().collect())
                .map_err(|error| failed(path, &format!("posterior/{variable}"), &error))?;
            for k in 0..width {
                columns.push(flat.index_axis(Axis(2), k).to_owned());
                names.push(if shape.len() == 2 { name.clone() } else { format!("{name}[{k}]") });
            }
        }
        let parameter_names = names;
        let views: Vec<_> = columns.iter().map(|column| column.view()).collect();
        let samples = ndarray::stack(Axis(2), &views)
            .map_err(|_| file_error(path, "the variables of its group posterior differ in shape (chain, draw)"))?;
        if samples.is_empty() {
            return Err(file_error(path, "holds no samples"));
        }
        let observed = file.dataset("observed_data/x").ok();
        let observations = observed
            .map(|dataset| dataset.read_2d::<f32>().map_err(|error| failed(path, "observed_data/x", &error)))
            .transpose()?;
        Ok(Self {
            parameter_names,
            samples,
            observations,
            run: read_run(&file),
            provenance: Provenance::read(path, &file)?,
            companions: Companions::read(path, &file, &variables)?,
        })
    }
}

/// The variables of a group that have chains and draws.
fn variables(path: &Path, group: &hdf5::Group) -> Result<Vec<String>> {
    let mut names = group.member_names().map_err(|error| failed(path, "cannot list its group posterior", &error))?;
    names.retain(|name| group.dataset(name).is_ok_and(|dataset| dataset.ndim() >= 2));
    names.sort_unstable();
    if names.is_empty() {
        return Err(file_error(path, "its group posterior has no variable with dimensions (chain, draw, ..)"));
    }
    Ok(names)
}

/// Names that netCDF variables can have: the parameters' own where they are such, else with `_` for what is not a letter, a digit or one
/// of `_`, `-`, `.`, and a number where two would be the same. The given ones stay in `parameter_names` and `long_name`.
fn variable_names(names: &[String]) -> Vec<String> {
    let reserved = ["chain", "draw"];
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    let legal = |name: &str| {
        name.starts_with(plain)
            && !name.contains(|c: char| c == '/' || c.is_control())
            && !name.ends_with(' ')
            && !reserved.contains(&name)
    };
    let mut used: HashSet<String> = names.iter().filter(|name| legal(name)).cloned().collect();
    let rename = |name: &String| {
        if legal(name) {
            return name.clone();
        }
        let clean: String = name.chars().map(|c| if plain(c) || c == '-' || c == '.' { c } else { '_' }).collect();
        let clean = if reserved.contains(&clean.as_str()) { format!("{clean}_") } else { clean };
        let trimmed = clean.trim_matches(['_', '-', '.']);
        let base = if trimmed.is_empty() || reserved.contains(&trimmed) {
            format!("parameter_{trimmed}")
        } else {
            trimmed.into()
        };
        let candidates = std::iter::once(base.clone()).chain((2..).map(|i| format!("{base}_{i}")));
        let free = candidates.into_iter().find(|candidate| !used.contains(candidate)).expect("endless");
        used.insert(free.clone());
        free
    };
    names.iter().map(rename).collect()
}

/// Root attributes beside provenance that do not describe the run.
const NOT_RUN: [&str; 2] = ["parameter_names", "variable_names"];

fn read_run(file: &hdf5::File) -> RunAttributes {
    attributes::all_names(file)
        .into_iter()
        .filter(|name| ![&ATTRIBUTES[..], &NOT_RUN].concat().contains(&name.as_str()) && !name.starts_with("_NC"))
        .filter_map(|name| {
            let text = attributes::display(file, &name)?;
            let number = serde_json::from_str::<Value>(&text).ok().filter(|value| !value.is_string());
            Some((name, number.unwrap_or(Value::String(text))))
        })
        .collect()
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) => float.into(),
            (None, None) => number.to_string().into(),
        },
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

fn write_observed(group: &mut GroupMut<'_>, x: &Array2<f32>) -> std::result::Result<(), netcdf::Error> {
    coordinate(group, "observation", x.nrows())?;
    coordinate(group, "x_dim", x.ncols())?;
    let values: Vec<f32> = x.iter().copied().collect();
    group.add_variable::<f32>("x", &["observation", "x_dim"])?.put_values(&values, ..)
}
