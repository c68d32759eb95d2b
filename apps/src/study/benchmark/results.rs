//! What a benchmark found.

use crate::study::StudyRecord;
use crate::study::named_sampler::NamedSampler;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

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
    /// All runs.
    pub runs: Vec<BenchmarkRun>,
}

/// One network and sampler at one n, on all observation sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkRun {
    /// Simulations the network was trained on; `None` for a given model.
    pub simulations: Option<u64>,
    /// Which network of that size.
    pub seed: u64,
    /// The sampler.
    pub sampler: NamedSampler,
    /// n.
    pub n_obs: usize,
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
}

/// One observation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResults {
    /// Its number, from 1.
    pub set: usize,
    /// Distances to the reference; `None` where samples are not finite.
    pub distances: Option<SetDistances>,
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
}

impl Metric {
    /// In the order of tables.
    pub const ALL: [Self; 3] = [Self::C2st, Self::Mmd, Self::SlicedWasserstein];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::C2st => "C2ST",
            Self::Mmd => "MMD²",
            Self::SlicedWasserstein => "sliced W",
        }
    }

    /// Its value in a set; NaN where samples are not finite.
    pub fn of(self, set: &SetResults) -> f64 {
        set.distances.map_or(f64::NAN, |distances| match self {
            Self::C2st => distances.c2st,
            Self::Mmd => distances.mmd,
            Self::SlicedWasserstein => distances.sliced_wasserstein,
        })
    }
}

impl TaskResults {
    /// Whether the paper's averages keep a set.
    pub fn keeps(&self, set: &SetResults) -> bool {
        !self.ignored.contains(&set.set)
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
                let trained = run.simulations.map_or_else(String::new, |n| format!(", {n} simulations"));
                let _ = write!(
                    text,
                    "\n{:16} {:14} n = {:<3} C2ST {:.3} (all sets {:.3}){trained}",
                    task.name,
                    run.sampler.to_string(),
                    run.n_obs,
                    mean(&kept),
                    mean(&all)
                );
            }
        }
        text
    }
}
