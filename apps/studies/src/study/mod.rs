//! Studies: what is asked, as TOML; the steps that answer it; what was found.
//!
//! * [`Study`] is what a study does: of models ([`StudyOptions`]), of samplers on toy problems ([`ToyOptions`]), of networks and
//!   samplers against reference posteriors ([`BenchmarkOptions`]).
//! * `Graph` runs content-addressed steps; what is done is not done again.
//! * [`Results`] is what was found, as `results.json` has it and the report shows it.

pub mod benchmark;
mod collect;
mod graph;
pub mod named_sampler;
mod options;
pub mod pipeline;
mod predictive;
pub mod record;
pub mod results;
mod steps;
mod summary;
mod support;
pub mod toy;

pub use benchmark::{BenchmarkOptions, BenchmarkResults};
use options::check_names;
pub use options::{Preset, StudyOptions};
pub use record::StudyRecord;
pub use results::{Marginal, RunResults, StudyResults};
pub use summary::quantile;
pub use toy::{ToyOptions, ToyResults};

use crate::error::usage;
use crate::options_file::{line_of_option, parse_toml};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tallsbi::Session;

/// Names of the built-in studies.
pub const BUILT_IN: [&str; 3] = ["jrnmm", "benchmark", "toy"];

/// What a study asks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Study {
    /// Models: simulate, train, infer, validate.
    Inference(Box<StudyOptions>),
    /// Networks and samplers, against reference posteriors.
    Benchmark(Box<BenchmarkOptions>),
    /// Samplers, on problems whose posterior is known.
    Toy(ToyOptions),
}

/// What a study found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Results {
    /// Of a study of models.
    Inference(StudyResults),
    /// Of a study against reference posteriors.
    Benchmark(BenchmarkResults),
    /// Of a study of toy problems.
    Toy(ToyResults),
}

impl Results {
    /// What a file holds that a study wrote.
    ///
    /// # Errors
    /// When it is not JSON of results, or names and paths in it are not ones that a study gives.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let results: Self = serde_json::from_slice(bytes)?;
        match &results {
            Self::Inference(results) => {
                check_names("runs", results.runs.iter().map(|run| run.name.as_str()))?;
                let posteriors = results.runs.iter().flat_map(|run| &run.posteriors);
                let refined = results.runs.iter().flat_map(|run| &run.refined).map(|refined| refined.file.as_str());
                let files = posteriors.map(|posterior| posterior.file.as_str()).chain(refined);
                files.into_iter().try_for_each(|file| check_inner("file", file))?;
            }
            Self::Benchmark(results) => {
                check_names("tasks", results.tasks.iter().map(|task| task.name.as_str()))?;
                for task in &results.tasks {
                    check_inner("shown.reference", &task.shown.reference)?;
                    task.runs.iter().try_for_each(|run| check_inner("samples", &run.samples))?;
                }
            }
            Self::Toy(results) => {
                results.shown.iter().try_for_each(|shown| check_inner("shown.folder", &shown.folder))?;
            }
        }
        Ok(results)
    }
}

/// Whether `path` leads from a study's folder to a file in it, and can stand in a link as it is.
pub fn is_inner(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain))
}

fn check_inner(field: &str, path: &str) -> Result<()> {
    anyhow::ensure!(is_inner(path), "{field}: {path:?} is not the path of a file in the study's folder");
    Ok(())
}

/// The option `kind`, which every TOML of a study may begin with.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: KindName,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    #[default]
    Inference,
    Benchmark,
    Toy,
}

impl Study {
    /// A built-in study.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn built_in(name: &str, preset: Preset) -> Result<Self> {
        match name {
            "jrnmm" => Ok(Self::Inference(Box::new(StudyOptions::jansen_rit(preset)))),
            "benchmark" => Ok(Self::Benchmark(Box::new(BenchmarkOptions::paper_section(preset)))),
            "toy" => Ok(Self::Toy(ToyOptions::paper_section(preset))),
            other => Err(usage(format!("{other:?} is not a built-in study; there are {}", BUILT_IN.join(", ")))),
        }
    }

    /// A study from TOML; `origin` names the text in errors, which give the line.
    ///
    /// # Errors
    /// Unknown or missing options, wrong types, values out of range.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let study = match parse_toml::<Kind>(text, origin)?.kind {
            KindName::Inference => Self::Inference(Box::new(parse_toml(text, origin)?)),
            KindName::Benchmark => Self::Benchmark(Box::new(parse_toml(text, origin)?)),
            KindName::Toy => Self::Toy(parse_toml(text, origin)?),
        };
        study.validate().map_err(|error| {
            let message = format!("{error:#}");
            // Messages begin with the option.
            let line = message.split(':').next().and_then(|option| line_of_option(text, option));
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            usage(format!("{origin}: {line}{message}"))
        })?;
        Ok(study)
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// The first option that cannot be, by name.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Inference(options) => options.validate(),
            Self::Benchmark(options) => options.validate(),
            Self::Toy(options) => options.validate(),
        }
    }

    /// Runs it in the folder `root`; `preset` names where the options came from.
    ///
    /// # Errors
    /// Options that do not fit together, a step that fails, an interruption.
    pub fn run(&self, session: &Session<'_>, preset: &str, root: &Path) -> Result<Results> {
        Ok(match self {
            Self::Inference(options) => Results::Inference(pipeline::run(session, options, preset, root)?),
            Self::Benchmark(options) => Results::Benchmark(benchmark::run(session, options, preset, root)?),
            Self::Toy(options) => Results::Toy(toy::run(session, options, preset, root)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::is_inner;

    #[test]
    fn paths_stay_in_the_folder() {
        for path in ["a.nc", "steps/gain-free-0123456789ab/posterior.nc"] {
            assert!(is_inner(path), "{path}");
        }
        for path in
            ["", "/etc/passwd", "../a.nc", "steps/../../a", "javascript:alert(1)", "a//b", "./a", "a\\b", "a b", "a\n"]
        {
            assert!(!is_inner(path), "{path}");
        }
    }
}
