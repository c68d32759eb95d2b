//! What a study does, as TOML: one schema for the built-in studies and for studies of a user's own.

use crate::error::usage;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tallsbi::data::{Choice, Named};
use tallsbi::diagnostics::local_c2st::LocalC2stOptions;
use tallsbi::inference::model::Covariance;
use tallsbi::inference::sample::SampleOptions;
use tallsbi::inference::train::{DensityForm, LikelihoodOptions, OptimizerOptions, TrainOptions};
use tallsbi::simulators::TaskOptions;
use tallsbi::{RecordingOptions, RefineOptions};

/// A study: the same questions asked of one or more models.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `kind` | inference | this schema | |
/// | `title` | | heading of the report | |
/// | `n_obs` | 1, 8, 14, 22, 30 | numbers of observations to condition on | increasing, ≥ 1 |
/// | `simulations` | 50000 | rows of the training set | ≥ 1 |
/// | `training_n_obs` | 1 | observations of each of its parameters: from 2 on a likelihood learns which error they share | ≥ 1 |
/// | `posterior_samples` | 10000 | samples of each posterior | ≥ 2 |
/// | `observations` | none: simulated at each run's `theta_true` | the user's observations, a recording, or a signal | |
/// | `recording` | all of its only channel | [`RecordingOptions`] | |
/// | `local_c2st.pairs` | 10000 | calibration pairs; 0 leaves the test out | 0 or ≥ 20 |
/// | `local_c2st.test` | sbi's | the test itself | |
/// | `coverage.pairs` | 1000 | calibration pairs; 0 leaves it out | 0 or ≥ 20 |
/// | `coverage.draws` | 100 | posterior samples for each pair | ≥ 1 |
/// | `predictive.draws` | 200 | draws of the posterior at the largest n to simulate observations at; 0 leaves the check out | 0 or ≥ 20 |
/// | `refine` | none: not refined | `RefineStudy` | |
/// | `train`, `sampling` | the program's | options of training and sampling | |
/// | `runs` | | the models | at least one |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyOptions {
    /// Which schema this is.
    pub kind: InferenceKind,
    /// Heading of the report.
    pub title: String,
    /// Numbers of observations to condition on, increasing.
    pub n_obs: Vec<usize>,
    /// Simulations in each training set.
    pub simulations: u64,
    /// Observations of each of their parameters.
    pub training_n_obs: usize,
    /// Samples of each posterior.
    pub posterior_samples: usize,
    /// The user's observations: FILE, FILE.h5:DATASET or FILE.h5:DATASET:INDEX; for models of signals also a recording (EDF, BDF, BrainVision).
    pub observations: Option<String>,
    /// Which part of a recording is observed, where `observations` is one.
    #[serde(skip_serializing_if = "is_default")]
    pub recording: RecordingOptions,
    /// Local two-sample test at the observations.
    pub local_c2st: LocalC2stStudy,
    /// Expected coverage over all of the prior.
    pub coverage: CoverageStudy,
    /// Does the fitted model reproduce the observations? Of runs with a task.
    pub predictive: PredictiveStudy,
    /// Refinement at all of the observations, of runs with a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refine: Option<RefineStudy>,
    /// The models.
    pub runs: Vec<RunOptions>,
    /// Sampling of posteriors (`samples` is set by the fields above).
    pub sampling: SampleOptions,
    /// Training of the score networks.
    pub train: TrainOptions,
}

/// The one value of `kind` in this schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InferenceKind {
    /// A study of models.
    #[default]
    Inference,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One model of a study.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Short name for files: letters, digits, `-` and `_`.
    pub name: String,
    /// What it is, for people; the name unless given.
    pub label: String,
    /// A built-in task, or the path of a model file (.toml). Needed to simulate observations and for the checks on calibration pairs.
    pub task: String,
    /// The model of another run, with parameters known, instead of one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelOf>,
    /// The user's training set instead of one simulated by the task.
    pub training_set: Option<PathBuf>,
    /// True parameters that observations are simulated at; drawn from the prior unless given.
    pub theta_true: Option<Vec<f64>>,
    /// Options of the task.
    pub options: TaskOptions,
}

/// The model of another run where parameters are known: a likelihood that needs no training of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOf {
    /// Name of the run whose model it is, which trains one.
    pub run: String,
    /// Parameters that are known, with their values; this run's task has the others.
    pub fix: BTreeMap<String, f64>,
}

/// Size of the local two-sample test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalC2stStudy {
    /// Calibration pairs (θ, x_{1:n}); 0 leaves the test out.
    pub pairs: usize,
    /// Options of the test.
    pub test: LocalC2stOptions,
}

impl Default for LocalC2stStudy {
    fn default() -> Self {
        Self { pairs: 10_000, test: LocalC2stOptions::default() }
    }
}

/// Size of the coverage check; it is run at the smallest and the largest n.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoverageStudy {
    /// Calibration pairs; 0 leaves it out.
    pub pairs: usize,
    /// Posterior samples for each pair.
    pub draws: usize,
}

impl Default for CoverageStudy {
    fn default() -> Self {
        Self { pairs: 1000, draws: 100 }
    }
}

/// Of fewer replications that did not fail nothing is said.
pub(super) const LEAST_REPLICATIONS: usize = 20;

/// Size of the posterior predictive check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictiveStudy {
    /// Draws of the posterior, at each of which as many observations are simulated as there are; 0 leaves it out.
    pub draws: usize,
}

impl Default for PredictiveStudy {
    fn default() -> Self {
        Self { draws: 200 }
    }
}

/// Refinement at the observations, and how its posterior is checked there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefineStudy {
    /// Parameters drawn from the posterior for posterior SBC, before and after; 0 leaves it out.
    pub pairs: usize,
    /// Posterior samples for each of them.
    pub draws: usize,
    /// Options of the refinement (`samples` is set by `posterior_samples`).
    pub options: RefineOptions,
}

impl Default for RefineStudy {
    fn default() -> Self {
        Self { pairs: 200, draws: 100, options: RefineOptions::default() }
    }
}

impl Default for StudyOptions {
    fn default() -> Self {
        Self {
            kind: InferenceKind::Inference,
            title: String::new(),
            n_obs: vec![1, 8, 14, 22, 30],
            simulations: 50_000,
            training_n_obs: 1,
            posterior_samples: 10_000,
            observations: None,
            recording: RecordingOptions::default(),
            local_c2st: LocalC2stStudy::default(),
            coverage: CoverageStudy::default(),
            predictive: PredictiveStudy::default(),
            refine: None,
            runs: Vec::new(),
            sampling: SampleOptions::default(),
            train: TrainOptions::default(),
        }
    }
}

/// Sizes of a built-in study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// Minutes
    #[default]
    Quick,
    /// The most accurate recipe, at one size: an hour
    Full,
    /// The paper's sizes, and its methods beside ours: hours
    Paper,
    /// Benchmark: refined at each observation set, 30 000 simulations each
    Refined,
}

impl Named for Preset {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("quick", "Minutes", Self::Quick),
            Choice::new("full", "The most accurate recipe, at one size: an hour", Self::Full),
            Choice::new("paper", "The paper's sizes, and its methods beside ours: hours", Self::Paper),
            Choice::new(
                "refined",
                "Benchmark: refined at each observation set, 30 000 simulations each; others as quick",
                Self::Refined,
            ),
        ]
    }
}

/// The parameters the paper infers the neural mass model at (Sec. 4.3): C, μ, σ, g.
const JANSEN_RIT_TRUTH: [f64; 4] = [135.0, 220.0, 2000.0, 0.0];

/// Simulations and epochs (per network) of the quick preset. A simulation costs far less than the epochs it is trained on, and
/// many seen a few times give a better network in the same time than few seen often.
const QUICK_SIMULATIONS: u64 = 200_000;
const QUICK_EPOCHS: usize = 16;
/// Of each parameter: what these share beyond noise is the network's error.
const QUICK_OBSERVATIONS: usize = 2;
const QUICK_NETWORKS: usize = 2;
/// Of its refinement: some ten seconds.
const QUICK_BUDGET: usize = 20_000;
/// Those of the full one (docs/lab/jrnmm.md).
const FULL_SIMULATIONS: u64 = 2_000_000;
const FULL_EPOCHS: usize = 12;
/// Learning rate and layers of both (docs/lab/jrnmm.md): a covariance of 33 log powers is 594 outputs, more than narrower layers serve.
const LEARNING_RATE: f64 = 3e-3;
const HIDDEN: [usize; 8] = [128; 8];

impl StudyOptions {
    /// The study of the Jansen–Rit neural mass model (paper Sec. 4.3), with g fixed to 0 and with g inferred.
    pub fn jansen_rit(preset: Preset) -> Self {
        let run = |name: &str, label: &str, task: &str, m: usize| RunOptions {
            name: name.into(),
            label: label.into(),
            task: task.into(),
            theta_true: Some(JANSEN_RIT_TRUTH[..m].to_vec()),
            ..RunOptions::default()
        };
        let mut options = Self {
            title: "What recordings of a neural mass model tell about its parameters".into(),
            runs: vec![
                run("3d", "Jansen–Rit model, gain fixed (g = 0 dB)", "jrnmm_3d", 3),
                run("4d", "Jansen–Rit model, gain inferred", "jrnmm", 4),
            ],
            ..Self::default()
        };
        if preset != Preset::Paper {
            // The likelihood of the gain's model has the other's in it.
            options.runs[0].model = Some(ModelOf { run: "4d".into(), fix: BTreeMap::from([("g".into(), 0.0)]) });
        }
        match preset {
            Preset::Quick | Preset::Refined => {
                options.posterior_samples = 2000;
                options.local_c2st.pairs = 300;
                options.local_c2st.test.trials = 50;
                options.coverage = CoverageStudy { pairs: 100, draws: 40 };
                options.sampling.tempering.min_particles = 24;
                options.training_n_obs = QUICK_OBSERVATIONS;
                options.networks(QUICK_NETWORKS, QUICK_SIMULATIONS, QUICK_EPOCHS);
                let budget = RefineOptions { budget: Some(QUICK_BUDGET), ..RefineOptions::default() };
                // Posterior SBC takes minutes more.
                options.refine = Some(RefineStudy { pairs: 0, options: budget, ..RefineStudy::default() });
            }
            Preset::Full => {
                options.posterior_samples = 2000;
                options.local_c2st.pairs = 1000;
                options.coverage.pairs = 500;
                options.networks(1, FULL_SIMULATIONS, FULL_EPOCHS);
                options.refine = Some(RefineStudy::default());
            }
            Preset::Paper => {}
        }
        options
    }

    /// Trains a likelihood, one full Gaussian of the spectrum, on many simulations that are each seen a few times.
    fn networks(&mut self, members: usize, simulations: u64, epochs: usize) {
        self.simulations = simulations;
        self.train.likelihood = LikelihoodOptions {
            hidden: HIDDEN.to_vec(),
            candidates: vec![DensityForm { components: 1, covariance: Covariance::Full }],
            linear: false,
            members,
            // Rows seen so rarely are not over-fitted.
            optimizer: OptimizerOptions { learning_rate: LEARNING_RATE, ..OptimizerOptions::default() },
            ..LikelihoodOptions::default()
        };
        for optimizer in self.train.optimizers() {
            optimizer.set_epochs(epochs);
        }
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// The first option that cannot be, by name.
    pub fn validate(&self) -> Result<()> {
        let increasing = self.n_obs.windows(2).all(|pair| pair[0] < pair[1]);
        if self.n_obs.first().is_none_or(|&first| first == 0) || !increasing {
            return Err(usage("n_obs: give numbers of observations that increase, such as [1, 8, 30]"));
        }
        check_range("n_obs", self.n_obs[self.n_obs.len() - 1], 1, "observations")?;
        check_range("simulations", self.simulations as usize, 1, "simulations")?;
        check_range("training_n_obs", self.training_n_obs, 1, "observations")?;
        check_range("posterior_samples", self.posterior_samples, 2, "samples")?;
        check_range("coverage.draws", self.coverage.draws, 1, "samples")?;
        for (option, pairs) in [("local_c2st.pairs", self.local_c2st.pairs), ("coverage.pairs", self.coverage.pairs)] {
            if (1..20).contains(&pairs) {
                return Err(usage(format!("{option}: must be 0 (leave out) or at least 20, got {pairs}")));
            }
            check_range(option, pairs, 0, "pairs")?;
        }
        let draws = self.predictive.draws;
        if (1..LEAST_REPLICATIONS).contains(&draws) {
            let message = format!("must be 0 (leave out) or at least {LEAST_REPLICATIONS}, got {draws}");
            return Err(usage(format!("predictive.draws: {message}")));
        }
        check_range("predictive.draws", draws, 0, "simulations")?;
        if let Some(refine) = &self.refine {
            if (1..20).contains(&refine.pairs) {
                return Err(usage(format!("refine.pairs: must be 0 (leave out) or at least 20, got {}", refine.pairs)));
            }
            check_range("refine.pairs", refine.pairs, 0, "pairs")?;
            check_range("refine.draws", refine.draws, 1, "samples")?;
            refine.options.validate()?;
        }
        self.train.validate()?;
        self.sampling.validate()?;
        self.local_c2st.test.validate()?;
        self.validate_runs()
    }

    fn validate_runs(&self) -> Result<()> {
        if self.runs.is_empty() {
            return Err(usage("runs: add at least one model, [[runs]] with name and task"));
        }
        check_names("runs", self.runs.iter().map(|run| run.name.as_str()))?;
        for run in &self.runs {
            let name = &run.name;
            if run.task.is_empty() && run.training_set.is_none() {
                return Err(usage(format!("runs: {name} needs a task or a training_set")));
            }
            if run.task.is_empty() && self.observations.is_none() {
                return Err(usage(format!("runs: {name} has no task to simulate observations with; set observations")));
            }
            if let Some(ModelOf { run: of, fix }) = &run.model {
                if let Some((parameter, value)) = fix.iter().find(|(_, value)| !value.is_finite()) {
                    return Err(usage(format!("runs: {name}: model.fix: {parameter} = {value} is not finite")));
                }
                let owner = self.runs.iter().find(|run| run.name == *of);
                if owner.is_none_or(|owner| owner.model.is_some()) {
                    return Err(usage(format!("runs: {name}: model.run: {of:?} is not a run that trains a model")));
                }
                if run.task.is_empty() || run.training_set.is_some() {
                    let needs = "with the model of another run it needs a task, and no training_set";
                    return Err(usage(format!("runs: {name}: {needs}")));
                }
            }
        }
        Ok(())
    }
}

/// Most of anything that is simulated, drawn or observed: some tens of gigabytes.
const MOST: usize = 1_000_000_000;

/// Checks a number of things.
///
/// # Errors
/// When there are fewer than `least`, or more than any machine holds.
pub fn check_range(option: &str, value: usize, least: usize, things: &str) -> Result<()> {
    if value < least {
        return Err(usage(format!("{option}: must be at least {least}, got {value}")));
    }
    if value > MOST {
        return Err(usage(format!(
            "{option}: must be at most {MOST}, got {value}: more {things} do not fit into memory"
        )));
    }
    Ok(())
}

/// Checks names that files will have: `list` is the option they stand in.
///
/// # Errors
/// Names that are empty, have other characters than letters, digits, `-` and `_`, or are used twice.
pub fn check_names<'n>(list: &str, names: impl Iterator<Item = &'n str>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for name in names {
        if name.is_empty() || !name.chars().all(plain) {
            return Err(usage(format!("{list}: name {name:?} must be letters, digits, - and _")));
        }
        if !seen.insert(name) {
            return Err(usage(format!("{list}: the name {name:?} is used twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{BUILT_IN, Study};
    use super::*;

    #[test]
    fn printed_defaults_read_back_as_they_were() {
        for preset in [Preset::Quick, Preset::Full, Preset::Paper, Preset::Refined] {
            for name in BUILT_IN {
                let study = Study::built_in(name, preset).expect("built in");
                let text = toml::to_string(&study).expect("serialises");
                assert_eq!(Study::parse(&text, "printed").expect("reads back"), study);
            }
        }
    }

    #[test]
    fn the_paper_preset_has_the_papers_sizes() {
        let paper = StudyOptions::jansen_rit(Preset::Paper);
        assert_eq!((paper.simulations, paper.posterior_samples), (50_000, 10_000));
        assert_eq!((paper.local_c2st.test.trials, paper.local_c2st.pairs), (100, 10_000));
        assert_eq!(paper.n_obs, [1, 8, 14, 22, 30]);
    }

    #[test]
    fn the_full_benchmark_is_what_train_and_sample_do_on_all_sets() {
        let Ok(Study::Benchmark(full)) = Study::built_in("benchmark", Preset::Full) else { panic!("a benchmark") };
        assert_eq!((&full.train, full.sets, full.posterior_samples), (&TrainOptions::default(), 15, 1000));
        assert_eq!((full.n_obs, full.simulations, full.samplers.len()), (vec![1, 14, 30], vec![30_000], 1));
        let jansen_rit = StudyOptions::jansen_rit(Preset::Full);
        assert_eq!((jansen_rit.simulations, jansen_rit.coverage.pairs), (FULL_SIMULATIONS, 500));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let run = "[[runs]]\nname = \"a\"\ntask = \"slcp\"\n";
        for (text, expected) in [
            (format!("n_obs = [1, 2]\nsimulation = 5\n{run}"), "line 2: unknown field `simulation`"),
            (format!("n_obs = \"many\"\n{run}"), "line 1: n_obs: invalid type"),
            (format!("title = \"x\"\nn_obs = [3, 2]\n{run}"), "line 2: n_obs: give numbers"),
            (format!("posterior_samples = 1\n{run}"), "line 1: posterior_samples: must be at least 2"),
            (format!("{run}[coverage]\npairs = 3\n"), "line 5: coverage.pairs: must be 0"),
            ("title = \"x\"\n".into(), "runs: add at least one"),
            (format!("{run}{run}"), "used twice"),
            (format!("kind = \"other\"\n{run}"), "line 1: unknown variant `other`"),
            ("[[runs]]\nname = \"a b\"\ntask = \"slcp\"\n".into(), "must be letters"),
            ("[[runs]]\nname = \"a\"\ntraining_set = \"t.h5\"\n".into(), "set observations"),
            (format!("{run}[train]\nepocs = 3\n"), "line 5: unknown field `epocs`"),
            (
                format!("{run}[runs.model]\nrun = \"b\"\nfix = {{ g = inf }}\n"),
                "runs: a: model.fix: g = inf is not finite",
            ),
        ] {
            let message = format!("{:#}", Study::parse(&text, "study.toml").expect_err("a mistake"));
            assert!(message.starts_with("study.toml: ") && message.contains(expected), "{message}");
        }
    }
}
