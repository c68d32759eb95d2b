//! What a benchmark does, as TOML.

use super::super::Preset;
use super::super::options::{check_names, check_range};
use crate::error::usage;
use crate::study::named_sampler::{NamedMethod, NamedSampler};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tallsbi::RefineOptions;
use tallsbi::diagnostics::C2stOptions;
use tallsbi::inference::model::ConditionalSpec;
use tallsbi::inference::train::{Architecture, TrainOptions};
use tallsbi::simulators::TaskOptions;

/// Networks and samplers against reference posteriors of tall data (paper Sec. 4.2, App. H, I).
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `kind` | | `"benchmark"`: this schema | |
/// | `title` | | heading of the report | |
/// | `reference_data` | `--reference-data`, else `$TALLSBI_REFERENCE_DATA` | folder with `TASK.h5` for each task | |
/// | `n_obs` | 1, 8, 14, 22, 30 | numbers of observations to condition on | increasing, ≥ 1 |
/// | `sets` | 15 | observation sets of each task: the first so many of its file | ≥ 1 |
/// | `shown_set` | 1 | observation set whose posteriors are drawn | 1 to `sets` |
/// | `simulations` | 30000 | sizes of the training sets | increasing, ≥ 1 |
/// | `seeds` | 1 | networks for each size, with their own training sets | ≥ 1 |
/// | `posterior_samples` | 1000 | samples of each posterior | ≥ 10 |
/// | `samplers` | `likelihood` | methods and numbers of steps | at least one |
/// | `tasks` | | what to benchmark | at least one |
/// | `n_max` | `train.network.n_max` | largest sets of observations that score networks take (partial factorisation), networks for each | increasing, ≥ 1 |
/// | `refine_base` | none: the prior | simulations of a base network that refinements start from and fall back to; they count into `refine.budget` | ≥ 1 |
/// | `refine_network` | true | a network is trained (`train`) on all of a refinement's simulations where local forms do not settle, and kept if it is clearly better | |
/// | `refine` | the program's | options of the sampler `refined`: `budget` is what a set may take | |
/// | `c2st`, `train` | the program's | options of the classifier test and of training | |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BenchmarkOptions {
    /// Which schema this is.
    pub kind: BenchmarkKind,
    /// Heading of the report.
    pub title: String,
    /// Folder with the tasks' observation sets and reference posteriors.
    pub reference_data: Option<PathBuf>,
    /// Numbers of observations to condition on, increasing.
    pub n_obs: Vec<usize>,
    /// Observation sets of each task.
    pub sets: usize,
    /// Observation set whose posteriors are drawn, counted from 1.
    pub shown_set: usize,
    /// Sizes of the training sets.
    pub simulations: Vec<u64>,
    /// Networks for each size.
    pub seeds: u64,
    /// Samples of each posterior.
    pub posterior_samples: usize,
    /// Methods and numbers of steps.
    pub samplers: Vec<NamedSampler>,
    /// Largest sets of observations that score networks take at once (partial factorisation, paper App. L.2): networks for each, with
    /// training sets of so many observations a row. That of `train.network` unless given.
    pub n_max: Vec<usize>,
    /// What to benchmark.
    pub tasks: Vec<BenchmarkTask>,
    /// Simulations of a base network that refinements start from, counted into their budget; none starts from the prior.
    pub refine_base: Option<u64>,
    /// Whether a network is trained on all of a refinement's simulations where local forms do not settle.
    pub refine_network: bool,
    /// Refinement at each observation set, by the sampler `refined`; its `samples` is not used.
    pub refine: RefineOptions,
    /// The classifier two-sample test.
    pub c2st: C2stOptions,
    /// Options of training.
    pub train: TrainOptions,
}

/// The one value of `kind` in this schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BenchmarkKind {
    /// A benchmark.
    #[default]
    Benchmark,
}

/// A task with its reference posteriors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BenchmarkTask {
    /// Short name for files, also of the reference file unless `reference` is given; a built-in task unless there is a training set
    /// or a model.
    pub name: String,
    /// The file with observation sets and reference posteriors; `NAME.h5` in the folder of reference data unless given.
    pub reference: Option<PathBuf>,
    /// Its data set of observations (sets, n, d).
    pub observations: String,
    /// Options of a built-in task.
    pub options: TaskOptions,
    /// The user's training set in place of simulations.
    pub training_set: Option<PathBuf>,
    /// A trained model in place of training: ours or a reference network.
    pub model: Option<PathBuf>,
}

impl Default for BenchmarkTask {
    fn default() -> Self {
        Self {
            name: String::new(),
            reference: None,
            observations: "x_obs".into(),
            options: TaskOptions::default(),
            training_set: None,
            model: None,
        }
    }
}

impl BenchmarkTask {
    /// A built-in task with the usual file.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

impl Default for BenchmarkOptions {
    fn default() -> Self {
        Self {
            kind: BenchmarkKind::Benchmark,
            title: String::new(),
            reference_data: None,
            n_obs: vec![1, 8, 14, 22, 30],
            sets: 15,
            shown_set: 1,
            simulations: vec![30_000],
            seeds: 1,
            posterior_samples: 1000,
            samplers: named("likelihood"),
            n_max: Vec::new(),
            tasks: Vec::new(),
            refine_base: None,
            refine_network: true,
            refine: RefineOptions::default(),
            c2st: C2stOptions::default(),
            train: TrainOptions::default(),
        }
    }
}

fn named(names: &str) -> Vec<NamedSampler> {
    names.split(' ').filter_map(|name| name.parse().ok()).collect()
}

/// Simulations that a refinement may make at a set.
const REFINE_BUDGET: usize = 30_000;

/// Epochs of each network, and observation sets, of the quick preset.
const QUICK_EPOCHS: usize = 25;
const QUICK_SETS: usize = 6;

impl BenchmarkOptions {
    /// The paper's three tasks: SLCP, SIR and Lotka–Volterra.
    pub fn paper_section(preset: Preset) -> Self {
        let mut options = Self {
            title: "Tall posteriors of benchmark tasks, against reference posteriors".into(),
            tasks: ["slcp", "lotka_volterra", "sir"].map(BenchmarkTask::named).to_vec(),
            ..Self::default()
        };
        // Tables 5 to 7 have these.
        let tabulated = vec![1, 14, 30];
        match preset {
            Preset::Full => options.n_obs = tabulated,
            Preset::Quick => {
                options.n_obs = tabulated;
                options.sets = QUICK_SETS;
                options.samplers = named("likelihood gauss-dpm-30");
                options.train.likelihood.members = 1;
                for optimizer in options.train.optimizers() {
                    optimizer.epochs = QUICK_EPOCHS;
                }
            }
            Preset::Refined => {
                options.n_obs = tabulated;
                options.samplers = named("refined");
                options.refine.budget = Some(REFINE_BUDGET);
            }
            Preset::Paper => {
                options.simulations = vec![1000, 3000, 10_000, 30_000];
                options.samplers =
                    named("likelihood gauss-dpm-30 gauss-1000 jac-400-clip langevin-400 langevin-400-clip");
            }
        }
        options
    }

    /// What is trained for score samplers: as the options say, or anchored.
    pub fn score_architecture(&self) -> Architecture {
        match self.train.architecture {
            Architecture::Noise => Architecture::Noise,
            _ => Architecture::Anchored,
        }
    }

    /// Largest sets that networks of an architecture take: a network for each.
    pub fn set_sizes(&self, architecture: Architecture) -> Vec<usize> {
        match architecture {
            Architecture::Likelihood => vec![1],
            _ if self.n_max.is_empty() => vec![self.train.network.n_max],
            _ => self.n_max.clone(),
        }
    }

    /// Options of training one of them.
    pub fn train_options(&self, architecture: Architecture, n_max: usize) -> TrainOptions {
        let network = ConditionalSpec { n_max, ..self.train.network.clone() };
        TrainOptions { architecture, network, ..self.train.clone() }
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// The first option that cannot be, by name.
    pub fn validate(&self) -> Result<()> {
        if self.n_obs.first().is_none_or(|&n| n == 0) || self.n_obs.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(usage("n_obs: give numbers of observations that increase, such as [1, 14, 30]"));
        }
        let sizes = &self.simulations;
        if sizes.first().is_none_or(|&n| n == 0) || sizes.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(usage("simulations: give sizes of training sets that increase, such as [10000, 30000]"));
        }
        check_range("n_obs", self.n_obs[self.n_obs.len() - 1], 1, "observations")?;
        check_range("simulations", sizes[sizes.len() - 1] as usize, 1, "simulations")?;
        check_range("sets", self.sets, 1, "sets")?;
        check_range("seeds", self.seeds as usize, 1, "networks")?;
        check_range("posterior_samples", self.posterior_samples, 10, "samples")?;
        if !(1..=self.sets).contains(&self.shown_set) {
            let (set, sets) = (self.shown_set, self.sets);
            return Err(usage(format!("shown_set: must be one of the sets 1 to {sets}, got {set}")));
        }
        if self.samplers.is_empty() {
            return Err(usage("samplers: give at least one, such as [\"gauss-dpm-30\"]"));
        }
        if self.n_max.first() == Some(&0) || self.n_max.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(usage("n_max: give sizes of sets that increase, such as [1, 3, 6, 30]"));
        }
        let scores = self.samplers.iter().any(|sampler| sampler.composes());
        if !self.n_max.is_empty() && (!scores || self.tasks.iter().all(|task| task.model.is_some())) {
            return Err(usage("n_max: is for score networks that the benchmark trains, and there are none"));
        }
        self.train.validate()?;
        if scores {
            for n_max in self.set_sizes(self.score_architecture()) {
                self.train_options(self.score_architecture(), n_max).validate()?;
            }
        }
        self.refine.validate()?;
        if let Some(rows) = self.refine_base {
            check_range("refine_base", rows as usize, 1, "simulations")?;
            if self.refine.budget.is_some_and(|budget| budget as u64 <= rows) {
                return Err(usage("refine_base: must be less than refine.budget, of which it is a part"));
            }
        }
        self.c2st.validate()?;
        if self.tasks.is_empty() {
            return Err(usage("tasks: add at least one, [[tasks]] with name"));
        }
        check_names("tasks", self.tasks.iter().map(|task| task.name.as_str()))?;
        let trains = self.tasks.iter().any(|task| task.model.is_none());
        let drops = self.train.context_dropout > 0.0 && self.train.architecture == Architecture::Noise;
        if let Some(sampler) = self.samplers.iter().find(|sampler| sampler.learned_prior)
            && trains
            && !drops
        {
            return Err(usage(format!(
                "samplers: {sampler} takes the prior's score from the model; set train.architecture = \"noise\" and train.context_dropout (the paper: 0.2)"
            )));
        }
        for task in &self.tasks {
            let name = &task.name;
            let refined = self.samplers.iter().any(|sampler| sampler.method == NamedMethod::Refined);
            if refined && tallsbi::simulators::task(name, &task.options).is_err() {
                return Err(usage(format!(
                    "tasks: {name} is no built-in task, and a refinement simulates; leave refined out"
                )));
            }
            if task.model.is_some() && task.training_set.is_some() {
                return Err(usage(format!("tasks: {name} has a model and a training_set; give one of them")));
            }
        }
        Ok(())
    }
}
