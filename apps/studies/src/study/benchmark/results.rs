//! What a benchmark found.

use crate::study::StudyRecord;
use crate::study::named_sampler::NamedSampler;
use crate::study::results::LossCurves;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use tallsbi::data::Prior;

/// Everything a benchmark found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkResults {
    /// How it was run.
    #[serde(flatten)]
    pub record: StudyRecord,
    /// One entry a task.
    pub tasks: Vec<TaskResults>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResults {
    /// Name.
    pub name: String,
    /// File with its reference posteriors.
    pub reference: String,
    /// Sets, from 1, that the paper's averages leave out.
    pub ignored: Vec<usize>,
    /// The prior.
    pub prior: Prior,
    /// Units of the parameters.
    pub units: Vec<String>,
    /// The set whose posteriors are drawn.
    pub shown: ShownSet,
    /// Distance of the reference posteriors to the true parameters: n, and a value for each set. Empty where they are not known.
    pub reference_dirac: Vec<(usize, Vec<f64>)>,
    /// The networks, in the order of training.
    pub networks: Vec<NetworkResults>,
    /// All runs.
    pub runs: Vec<BenchmarkRun>,
}

/// An observation set whose posteriors are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownSet {
    /// Its number, from 1.
    pub set: usize,
    /// File with reference samples at the largest n (1, S, m), relative to the study's folder.
    pub reference: String,
    /// True parameters, where they are known.
    pub truth: Option<Vec<f64>>,
}

/// What a network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Simulations; `None` for a given model.
    pub simulations: Option<u64>,
    /// Which network of that size.
    pub seed: u64,
    /// Largest set of observations that it takes at once; 1 for a given model, which knows for itself.
    pub n_max: usize,
}

/// The part of a step's name that says it.
impl fmt::Display for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rows) = self.simulations {
            write!(f, "-{rows}-seed{}", self.seed)?;
        }
        if self.n_max > 1 { write!(f, "-nmax{}", self.n_max) } else { Ok(()) }
    }
}

/// A model of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkResults {
    /// What it was trained on.
    #[serde(flatten)]
    pub trained: Trained,
    /// Its architecture.
    pub architecture: String,
    /// Loss curves; none where a given model has no records.
    pub losses: Vec<LossCurves>,
}

/// One network and sampler at one n, on all observation sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkRun {
    /// What the network was trained on.
    #[serde(flatten)]
    pub trained: Trained,
    /// The sampler.
    pub sampler: NamedSampler,
    /// n.
    pub n_obs: usize,
    /// File with the samples (sets, S, m), relative to the study's folder.
    pub samples: String,
    /// CPU seconds of sampling all sets.
    pub seconds: f64,
    /// Evaluations of the tall score a sample.
    pub evaluations: u64,
    /// Samples that diverged, over all sets.
    pub diverged: u64,
    /// Precisions that had to be repaired.
    pub repaired: u64,
    /// The sets in their order.
    pub sets: Vec<SetResults>,
    /// Of refinements, what each set took and came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refined: Vec<RefinedSet>,
}

/// A refinement at one observation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefinedSet {
    /// Simulations made.
    pub simulations: usize,
    /// Rounds.
    pub rounds: usize,
    /// CPU seconds.
    pub seconds: f64,
    /// Why it is not settled, if it is not.
    pub not_settled: Option<String>,
}

/// One observation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResults {
    /// Its number, from 1.
    pub set: usize,
    /// Distances to the reference; `None` where samples are not finite.
    pub distances: Option<SetDistances>,
    /// Distance to the true parameters: √ of the mean over parameters of MMD² to the Dirac measure there, each in prior standard
    /// deviations. `None` where they are not known, or samples are not finite.
    #[serde(default)]
    pub dirac: Option<f64>,
}

/// Distances of samples to reference samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SetDistances {
    /// Sliced Wasserstein distance.
    pub sliced_wasserstein: f64,
    /// Unbiased MMD².
    pub mmd: f64,
    /// C2ST accuracy.
    pub c2st: f64,
}

/// A metric of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Classifier two-sample test.
    C2st,
    /// Maximum mean discrepancy.
    Mmd,
    /// Sliced Wasserstein.
    SlicedWasserstein,
    /// Distance to the Dirac measure at the true parameters, which needs no reference.
    Dirac,
}

impl Metric {
    /// Distances to the reference, in the order of tables.
    pub const ALL: [Self; 3] = [Self::C2st, Self::Mmd, Self::SlicedWasserstein];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::C2st => "C2ST",
            Self::Mmd => "MMD²",
            Self::SlicedWasserstein => "sliced W",
            Self::Dirac => "MMD to the truth / prior sd",
        }
    }

    /// Its value in a set; NaN where samples are not finite.
    pub fn of(self, set: &SetResults) -> f64 {
        let distance = |value: fn(&SetDistances) -> f64| set.distances.as_ref().map_or(f64::NAN, value);
        match self {
            Self::C2st => distance(|distances| distances.c2st),
            Self::Mmd => distance(|distances| distances.mmd),
            Self::SlicedWasserstein => distance(|distances| distances.sliced_wasserstein),
            Self::Dirac => set.dirac.unwrap_or(f64::NAN),
        }
    }
}

impl TaskResults {
    /// Whether the paper's averages keep a set.
    pub fn keeps(&self, set: &SetResults) -> bool {
        self.keeps_number(set.set)
    }

    /// Whether the paper's averages keep the set of this number, from 1.
    pub fn keeps_number(&self, set: usize) -> bool {
        !self.ignored.contains(&set)
    }
}

impl BenchmarkResults {
    /// A few lines for the terminal: C2ST of each task, sampler and n.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for task in &self.tasks {
            for run in &task.runs {
                let (kept, all): (Vec<_>, Vec<_>) = (
                    run.sets.iter().filter(|set| task.keeps(set)).map(|set| Metric::C2st.of(set)).collect(),
                    run.sets.iter().map(|set| Metric::C2st.of(set)).collect(),
                );
                let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
                let mut trained = run.trained.simulations.map_or_else(String::new, |n| format!(", {n} simulations"));
                if run.trained.n_max > 1 {
                    let _ = write!(trained, ", n_max = {}", run.trained.n_max);
                }
                let _ = write!(
                    text,
                    "\n{:16} {:14} n = {:<3} C2ST {:.3} (all sets {:.3}){trained}",
                    task.name,
                    run.sampler.to_string(),
                    run.n_obs,
                    mean(&kept),
                    mean(&all)
                );
                if !run.refined.is_empty() {
                    let settled = run.refined.iter().filter(|set| set.not_settled.is_none()).count();
                    let worst = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let _ = write!(text, ", worst set {worst:.3}, {settled} of {} settled", run.refined.len());
                }
            }
        }
        text
    }
}
