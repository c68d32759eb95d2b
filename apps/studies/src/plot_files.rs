//! Figures of files by what they are: posteriors and what they predict, models, results of checks.

use crate::file_figures::{
    CoverageCurve, Labelled, Parameters, RankCurves, conditionals, contraction, coverage, losses, marginals,
    posteriors, predictions, ranks,
};
use crate::plot::{CATEGORICAL, Figure};
use crate::study::results::LossCurves;
use crate::usage;
use anyhow::{Context as _, Result};
use ndarray::{Array2, Axis};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tallsbi::data::Prior;
use tallsbi::diagnostics::sbc::RankTest;
use tallsbi::files::Posterior;
use tallsbi::on_disk::{ModelFile, load_model, told_prior};
use tallsbi::{SampleOptions, Silent};

/// What is drawn of posteriors.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawn {
    /// One- and two-dimensional marginals over each other.
    Pairs,
    /// Densities of single parameters.
    Marginals,
    /// How posteriors of different numbers of observations contract.
    Contraction,
    /// What a file of predictions predicts.
    Predictions,
    /// Densities of one and two parameters given all others.
    Conditionals {
        /// The model that knows them.
        model: PathBuf,
        /// Values of the others; where the density is largest if not given.
        at: Option<Vec<f64>>,
    },
}

/// Files of one kind, to be drawn in one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotFiles<'a> {
    /// Posteriors (any HDF5 or netCDF), models (.safetensors, .st) or results of checks (.json).
    pub files: &'a [PathBuf],
    /// Their names in the legend; where there are fewer, the files' own.
    pub labels: &'a [String],
    /// True parameters to mark, and where they were given.
    pub truth: Option<(&'static str, Vec<f64>)>,
    /// Whether the prior of posteriors is drawn too.
    pub prior: bool,
    /// What is drawn of posteriors.
    pub drawn: Drawn,
}

impl PlotFiles<'_> {
    /// The figure.
    ///
    /// # Errors
    /// When files cannot be read, do not go together, or lack what is to be drawn.
    pub fn figure(&self) -> Result<Figure> {
        let kinds: Vec<String> = self.files.iter().map(|file| ending(file)).collect();
        if kinds.iter().any(|kind| *kind != kinds[0]) {
            return Err(usage("the files are of several kinds; draw posteriors, models or checks for themselves"));
        }
        let posteriors = !["safetensors", "st", "json"].contains(&kinds[0].as_str());
        if !posteriors && (self.prior || self.drawn != Drawn::Pairs) {
            return Err(usage(
                "--prior, --predictive, --marginals, --contraction and --conditional are of posteriors; leave them out",
            ));
        }
        match (kinds[0].as_str(), &self.drawn) {
            ("safetensors" | "st", _) => self.of_model(),
            ("json", _) => self.of_checks(),
            (_, Drawn::Predictions) => self.of_predictions(),
            (_, Drawn::Contraction) => self.of_contraction(),
            (_, Drawn::Conditionals { model, at }) => self.of_conditionals(model, at.as_ref()),
            (_, Drawn::Pairs | Drawn::Marginals) => self.of_posteriors(),
        }
    }

    fn label(&self, index: usize) -> String {
        let stem = || self.files[index].file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.labels.get(index).cloned().unwrap_or_else(stem)
    }

    /// The only file.
    fn single(&self, what: &str) -> Result<&Path> {
        match self.files {
            [file] => Ok(file),
            files => Err(usage(format!("{} files given; {what} are drawn of one", files.len()))),
        }
    }

    /// The files as posteriors of the same parameters.
    fn read(&self) -> Result<Vec<Posterior>> {
        let read: Vec<Posterior> = self.files.iter().map(|file| Posterior::read(file)).collect::<Result<_, _>>()?;
        let names = &read[0].parameter_names;
        if let Some(index) = read.iter().position(|posterior| posterior.parameter_names != *names) {
            return Err(usage(format!(
                "{}: has the parameters {}, {} has {}",
                self.files[index].display(),
                read[index].parameter_names.join(", "),
                self.files[0].display(),
                names.join(", ")
            )));
        }
        Ok(read)
    }

    /// The parameters, what is marked in them, and their prior where it is drawn.
    fn with_parameters<T>(
        &self,
        posteriors: &[Posterior],
        draw: impl FnOnce(&Parameters<'_>) -> Result<T>,
    ) -> Result<T> {
        let names = &posteriors[0].parameter_names;
        if let Some((option, truth)) = self.truth.as_ref().filter(|(_, truth)| truth.len() != names.len()) {
            return Err(usage(format!("{option}: {} values for {} parameters", truth.len(), names.len())));
        }
        let prior = if self.prior { known_prior(posteriors)? } else { None };
        if self.prior && prior.is_none() {
            let first = self.files[0].display();
            return Err(usage(format!("--prior: {first} does not tell its prior; sample it again, or leave it out")));
        }
        let truth = self.truth.as_ref().map(|(_, truth)| truth.as_slice());
        draw(&Parameters { names, truth, prior: prior.as_ref() })
    }

    fn of_posteriors(&self) -> Result<Figure> {
        let read = self.read()?;
        let samples: Vec<_> = read.iter().map(Posterior::matrix).collect();
        let own = samples.iter().enumerate();
        let sets: Vec<Labelled<'_>> =
            own.map(|(index, samples)| Labelled { label: self.label(index), samples: samples.view() }).collect();
        let draw = if self.drawn == Drawn::Marginals { marginals } else { posteriors };
        self.with_parameters(&read, |parameters| Ok(draw(&sets, parameters)?))
    }

    fn of_contraction(&self) -> Result<Figure> {
        let read = self.read()?;
        let mut posteriors = Vec::with_capacity(read.len());
        for (file, posterior) in self.files.iter().zip(&read) {
            let told = posterior.run.get("n_obs").and_then(Value::as_u64).map(|n| n as usize);
            let Some(n) = told.or(posterior.observations.as_ref().map(Array2::nrows)) else {
                let file = file.display();
                return Err(usage(format!("{file}: does not tell how many observations it was given; leave it out")));
            };
            posteriors.push((n, posterior.matrix().std_axis(Axis(0), 0.0).to_vec()));
        }
        let different: HashSet<usize> = posteriors.iter().map(|(n, _)| *n).collect();
        if different.len() < posteriors.len().max(2) {
            return Err(usage("--contraction: give two posteriors or more, each of another number of observations"));
        }
        let names = &read[0].parameter_names;
        let prior = known_prior(&read)?.filter(|prior| prior.names() == names.as_slice());
        let sd: Option<Vec<f64>> = prior.map(|prior| prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect());
        let sd = sd.filter(|sd| sd.iter().all(|sd| sd.is_finite() && *sd > 0.0));
        Ok(contraction(&posteriors, names, sd.as_deref())?)
    }

    fn of_conditionals(&self, model: &Path, at: Option<&Vec<f64>>) -> Result<Figure> {
        let path = self.single("conditional densities")?;
        let read = self.read()?;
        let (file, model) = (&read[0], ModelFile::load(model)?.model);
        let (names, options) = (&file.parameter_names, SampleOptions::default());
        if names.as_slice() != model.names() {
            let (found, known) = (names.join(", "), model.names().join(", "));
            return Err(usage(format!("{}: has the parameters {found}, the model has {known}", path.display())));
        }
        if !model.is_likelihood() {
            return Err(usage("--conditional: this model learned scores and has no density; leave it out"));
        }
        let Some(observed) = &file.observations else {
            return Err(usage(format!("{}: holds no observations, of which its density is", path.display())));
        };
        let x = model.centre(&path.display().to_string(), observed.mapv(f64::from).view())?;
        let samples = file.matrix();
        let at = match at {
            Some(at) => at.clone(),
            None => model.mode(x.view(), samples.view(), &options, &Silent)?.theta,
        };
        if at.len() != names.len() {
            return Err(usage(format!("--at: {} values for {} parameters", at.len(), names.len())));
        }
        let set = Labelled { label: self.label(0), samples: samples.view() };
        self.with_parameters(&read, |parameters| {
            conditionals(&set, parameters, &at, |free| {
                Ok(model.conditional(x.view(), &at, free, &options, &Silent)?.density.into_iter().collect())
            })
        })
    }

    fn of_predictions(&self) -> Result<Figure> {
        let path = self.single("predictions")?;
        let file = Posterior::read(path)?;
        let Some(predicted) = &file.companions.posterior_predictive else {
            return Err(usage(format!("{}: holds no predictions; make them with tallsbi predict", path.display())));
        };
        Ok(predictions(predicted.view(), file.observations.as_ref().map(|x| x.view()))?)
    }

    fn of_model(&self) -> Result<Figure> {
        let path = self.single("losses")?;
        let networks = LossCurves::of(&load_model(path)?);
        if networks.is_empty() {
            return Err(usage(format!("{}: holds no record of its training", path.display())));
        }
        Ok(losses(&networks)?)
    }

    fn of_checks(&self) -> Result<Figure> {
        let (mut curves, mut tests, mut named) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for (index, file) in self.files.iter().enumerate() {
            let shown = file.display();
            let text = std::fs::read_to_string(file).with_context(|| format!("{shown}: cannot be read"))?;
            let label = self.label(index);
            let found: CheckJson = serde_json::from_str(&text).with_context(|| {
                format!("{shown}: is not what tallsbi diagnose coverage --json or diagnose sbc --json prints")
            })?;
            match found {
                CheckJson::Coverage { levels, coverage, pairs } => {
                    let color = CATEGORICAL[index % CATEGORICAL.len()];
                    curves.push(CoverageCurve { label, color, levels, coverage, pairs });
                }
                CheckJson::Sbc { parameter_names, parameters } => {
                    if parameters.len() != parameter_names.len() || !named.is_empty() && named != parameter_names {
                        return Err(usage(format!("{shown}: has other parameters than the files before")));
                    }
                    named = parameter_names;
                    tests.push(RankCurves { label, tests: parameters.into_iter().map(|test| test.ecdf).collect() });
                }
            }
        }
        match (curves.is_empty(), tests.is_empty()) {
            (false, true) => Ok(coverage(&curves)?),
            (true, false) => Ok(ranks(&tests, &named)?),
            _ => Err(usage("the files are of several checks; draw coverage and ranks for themselves")),
        }
    }
}

/// The ending of a file's name, in small letters.
pub fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The prior that the first of the files that do tells.
fn known_prior(posteriors: &[Posterior]) -> Result<Option<Prior>> {
    let told = posteriors.iter().map(|posterior| told_prior(&posterior.run));
    Ok(told.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
}

/// What `diagnose coverage --json` and `diagnose sbc --json` print.
#[derive(Deserialize)]
#[serde(tag = "metric", rename_all = "kebab-case")]
enum CheckJson {
    Coverage { levels: Vec<f64>, coverage: Vec<f64>, pairs: usize },
    Sbc { parameter_names: Vec<String>, parameters: Vec<RankTest> },
}
