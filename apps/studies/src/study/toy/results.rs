//! What a study of toy problems found.

use crate::study::StudyRecord;
use crate::study::named_sampler::{NamedMethod, NamedSampler};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use tallsbi::inference::analytic::ToyProblem;

/// Everything a study of toy problems found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToyResults {
    /// How it was run.
    #[serde(flatten)]
    pub record: StudyRecord,
    /// Posteriors in two dimensions, to be drawn.
    pub shown: Option<ShownPosteriors>,
    /// One entry for each problem, m, n, ε and seed.
    pub cells: Vec<CellResults>,
}

/// Posteriors in two dimensions, exact and by GAUSS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownPosteriors {
    /// Their folder, relative to the study's, with `exact-nN.nc` and `gauss-nN.nc`.
    pub folder: String,
    /// n of each.
    pub n_obs: Vec<usize>,
    /// θ*.
    pub truth: Vec<f64>,
}

/// One problem, m, n, ε and seed: all samplers on the same observations and the same perturbed score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResults {
    /// The problem.
    pub problem: ToyProblem,
    /// m.
    pub dimension: usize,
    /// n.
    pub n_obs: usize,
    /// ε.
    pub amplitude: f64,
    /// Which θ*.
    pub seed: u64,
    /// Distance between two sets of exact samples: what a perfect sampler shows.
    pub floor: Distances,
    /// What the samplers gave.
    pub runs: Vec<ToyRun>,
}

/// Distances of samples to exact samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Max-sliced Wasserstein distance, "sW" in the paper's toy tables.
    pub max_sliced: f64,
    /// Sliced Wasserstein distance.
    pub sliced: f64,
}

/// One run of a sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToyRun {
    /// Which.
    pub sampler: NamedSampler,
    /// CPU seconds of the run, with the estimation of covariances (GAUSS).
    pub seconds: f64,
    /// Evaluations of the tall score a sample.
    pub evaluations: u64,
    /// Samples that diverged.
    pub diverged: u64,
    /// Precisions that had to be repaired.
    pub repaired: u64,
    /// Distances; `None` where samples are not finite.
    pub distances: Option<Distances>,
}

impl ToyResults {
    /// A few lines for the terminal: each method at the largest of its steps, over all cells.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for method in NamedMethod::ALL {
            let runs: Vec<&ToyRun> =
                self.cells.iter().flat_map(|cell| &cell.runs).filter(|run| run.sampler.method == method).collect();
            if runs.is_empty() {
                continue;
            }
            let not_finite = runs.iter().filter(|run| run.distances.is_none()).count();
            let diverged = runs.iter().filter(|run| run.diverged > 0).count();
            let _ = write!(
                text,
                "\n{:22} {:5} runs, {diverged} with samples that diverged, {not_finite} not finite",
                method.label(),
                runs.len()
            );
        }
        text
    }
}
