//! What a study found: plain data, written as `results.json`, all the report is made from beside the posterior files.

use super::record::StudyRecord;
use serde::{Deserialize, Serialize};
use tallsbi::data::{Prior, SignalWindow};
use tallsbi::diagnostics::predictive::PredictiveCheck;
use tallsbi::inference::model::{TrainedModel, TrainingRecord};
use tallsbi::{Sensitivity, WindowSummaries};

/// Everything a study of models found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyResults {
    /// How it was run.
    #[serde(flatten)]
    pub record: StudyRecord,
    /// One entry for each model that was studied.
    pub runs: Vec<RunResults>,
}

/// What was found with one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResults {
    /// Short name, used in file names.
    pub name: String,
    /// What it is, for people.
    pub label: String,
    /// Task, or "" for a training set of the user's.
    pub task: String,
    /// The prior.
    pub prior: Prior,
    /// Units of the parameters.
    pub units: Vec<String>,
    /// True parameters, where they are known.
    pub truth: Option<Vec<f64>>,
    /// The training set and the network.
    pub training: TrainingResults,
    /// Where the observations came from, and whether the simulations cover them.
    pub observations: ObservationResults,
    /// Posteriors, by increasing n.
    pub posteriors: Vec<PosteriorResults>,
    /// Refinement at the largest n, where it was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refined: Option<RefinedResults>,
    /// What values of an observation tell at the largest n, and what more observations would, where the likelihood is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
    /// Data simulated at the posterior at the largest n beside the observations, where there is a task to simulate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictive: Option<PredictiveResults>,
}

/// A training set and the network trained on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingResults {
    /// Simulations.
    pub simulations: u64,
    /// Of these, failed and left out.
    pub invalid: u64,
    /// Observations of each parameter.
    #[serde(default = "one")]
    pub n_obs: usize,
    /// Networks whose outputs are averaged.
    #[serde(default = "one")]
    pub members: usize,
    /// Architecture of the network.
    pub architecture: String,
    /// Parameters that it was trained to infer and that are taken for known here, with their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<(String, f64)>,
    /// Loss curves of the networks.
    pub networks: Vec<LossCurves>,
}

fn one() -> usize {
    1
}

/// Training of one network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossCurves {
    /// Which network.
    pub network: String,
    /// Whether the model uses it, or another validated better.
    #[serde(default = "used")]
    pub kept: bool,
    /// Epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Training loss of each epoch.
    pub training: Vec<f64>,
    /// Validation loss of each epoch.
    pub validation: Vec<f64>,
}

/// Results of version 0.1.0 did not say.
fn used() -> bool {
    true
}

impl LossCurves {
    /// Those of all networks that a model file has records of: none for models that were trained elsewhere.
    pub fn of(model: &TrainedModel) -> Vec<Self> {
        let one = |record: &TrainingRecord| Self {
            network: record.network.clone(),
            kept: record.kept,
            best_epoch: record.best_epoch,
            training: record.training_loss.clone(),
            validation: record.validation_loss.clone(),
        };
        model.info.training.iter().map(one).collect()
    }
}

/// The observations and how they compare with the simulations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservationResults {
    /// "simulated", or the user's file.
    pub source: String,
    /// How many there are.
    pub count: usize,
    /// Names of the values.
    pub names: Vec<String>,
    /// Where the values of one are the log10 power of a signal at equally spaced frequencies from 0 on: their distance, Hz.
    #[serde(default)]
    pub bin_hz: Option<f64>,
    /// Comparison with the training set.
    pub support: SupportCheck,
    /// What was made of a recording, where they are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<RecordingResults>,
}

/// A recording that was cut into windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingResults {
    /// The file and its channel.
    pub origin: String,
    /// Seconds of one window.
    pub seconds: f64,
    /// Start of each window that is used, s.
    pub starts: Vec<f64>,
    /// Windows that are not used: start (s) and what is wrong with them.
    pub rejected: Vec<(f64, String)>,
    /// Robust standard deviation of the signal, mV.
    pub sd: f64,
    /// What is to be said of the order of the windows, and of frequencies at which they differ from simulations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
}

impl RecordingResults {
    /// What is kept of `windows` for the report.
    pub fn of(windows: &WindowSummaries, window: Option<SignalWindow>) -> Self {
        Self {
            origin: windows.origin.clone(),
            seconds: window.map_or(0.0, |window| window.samples as f64 / window.sampling_rate),
            starts: windows.starts.clone(),
            rejected: windows.rejected.iter().map(|rejected| (rejected.start, rejected.fault.to_string())).collect(),
            sd: windows.sd,
            order: windows.warnings().into_iter().chain(windows.aliasing()).collect(),
        }
    }
}

/// Are the observations like the simulations the network has seen? A check for a misspecified model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupportCheck {
    /// Squared Mahalanobis distance of each observation from the training set.
    pub distances: Vec<f64>,
    /// Share of the training set that is at least as far out, for each observation.
    pub tail: Vec<f64>,
    /// Observations further out than 99 % of the training set.
    pub outside: usize,
    /// 0.5 %, 50 % and 99.5 % quantiles of the training set, for each value of an observation.
    pub quantiles: Vec<[f64; 3]>,
    /// Smallest, middle and largest of the observations, for each value.
    pub observed: Vec<[f64; 3]>,
}

impl SupportCheck {
    /// Whether more observations lie outside than the 1 % that would by chance (a third is beyond any doubt for n ≥ 3).
    pub fn is_suspicious(&self) -> bool {
        3 * self.outside >= self.distances.len().max(1)
    }
}

/// Posterior predictive checks: as many observations as there are, simulated at draws of the posterior (the refined one where there is one).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictiveResults {
    /// Number of observations.
    pub n_obs: usize,
    /// Draws simulated at.
    pub draws: usize,
    /// Of these, left out: a simulation failed.
    pub failed: usize,
    /// Values of an observation that are conditions and are not predicted, the first ones.
    pub first: usize,
    /// Statistics of each value; none where hardly a simulation succeeded.
    pub checks: Vec<PredictedStatistic>,
    /// 2.5 %, 50 % and 97.5 % quantiles of one simulated observation, for each value.
    pub single: Vec<[f64; 3]>,
    /// The same of the mean over as many as were observed.
    pub mean: Vec<[f64; 3]>,
}

/// A statistic of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedStatistic {
    /// Observed and predicted.
    #[serde(flatten)]
    pub check: PredictiveCheck,
    /// p-value that holds for all statistics together.
    pub adjusted: f64,
}

impl PredictedStatistic {
    /// How far the observed is from the predicted, in standard deviations.
    pub fn deviation(&self) -> f64 {
        let PredictiveCheck { observed, predicted, sd, .. } = self.check;
        if sd > 0.0 { (observed - predicted).abs() / sd } else { f64::INFINITY }
    }
}

/// A posterior given the first n observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PosteriorResults {
    /// n.
    pub n_obs: usize,
    /// File with the samples, relative to the study's folder.
    pub file: String,
    /// Number of samples.
    pub samples: usize,
    /// Samples that diverged.
    pub diverged: u64,
    /// Precisions that had to be repaired.
    pub repaired: u64,
    /// Observations' worth that the posterior counts, where the network's own error widens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<f64>,
    /// Summaries, parameter by parameter.
    pub marginals: Vec<Marginal>,
    /// Correlations between parameters.
    pub correlation: Vec<Vec<f64>>,
    /// Eigen-directions of the covariance in units of the prior's spread, best determined first.
    pub directions: Vec<Direction>,
    /// ℓ-C2ST at the observations, where it was run.
    pub local_c2st: Option<LocalC2stResults>,
    /// Expected coverage over the calibration set, where it was run.
    pub coverage: Option<CoverageResults>,
}

/// A refinement at the observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefinedResults {
    /// Number of observations.
    pub n_obs: usize,
    /// File with the samples, relative to the study's folder.
    pub file: String,
    /// Number of samples.
    pub samples: usize,
    /// What it took and found.
    #[serde(flatten)]
    pub work: RefinedWork,
    /// Summaries, parameter by parameter.
    pub marginals: Vec<Marginal>,
    /// Posterior SBC at the observations, where it was run.
    pub check: Option<ConditionalChecks>,
}

/// What a refinement took, and whether it has settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefinedWork {
    /// Simulations made.
    pub simulations: usize,
    /// Rounds.
    pub rounds: usize,
    /// Whether the base model's posterior was kept.
    pub base_kept: bool,
    /// Why it has not settled, if it has not.
    pub not_settled: Option<String>,
}

/// Posterior SBC at the observations, of the posterior before and after refinement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionalChecks {
    /// Of the network's.
    pub before: ConditionalCheck,
    /// Of the refined.
    pub after: ConditionalCheck,
}

/// Posterior SBC at the observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionalCheck {
    /// The smallest p-value, corrected for the number of tests.
    pub p_value: f64,
    /// The p-value of each parameter's ranks, and last that of the distance from the posterior's mean.
    pub p_values: Vec<f64>,
    /// Pairs.
    pub pairs: usize,
}

/// One parameter of a posterior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marginal {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
    /// 2.5 % quantile.
    pub lower: f64,
    /// Median.
    pub median: f64,
    /// 97.5 % quantile.
    pub upper: f64,
    /// Posterior over prior standard deviation.
    pub contraction: f64,
    /// Maximum mean discrepancy to the true value: Var + (mean - θ*)².
    pub dirac_mmd: Option<f64>,
}

/// A direction of parameter space, in coordinates divided by the prior's standard deviations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Posterior standard deviation along it; the prior's is 1.
    pub spread: f64,
    /// Unit vector, its largest component positive.
    pub weights: Vec<f64>,
}

/// Local two-sample test at the observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalC2stResults {
    /// The statistic.
    pub statistic: f64,
    /// Its p-value.
    pub p_value: f64,
    /// The statistic under the null hypothesis, trial by trial.
    pub null_statistics: Vec<f64>,
    /// Calibration pairs.
    pub pairs: usize,
}

/// Expected coverage (TARP).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoverageResults {
    /// Credibility levels.
    pub levels: Vec<f64>,
    /// Share of calibration pairs whose credible region of that level holds the truth.
    pub coverage: Vec<f64>,
    /// p-value of the test that both are equal.
    pub p_value: f64,
    /// Area between curve and diagonal above level ½.
    pub area: f64,
    /// Calibration pairs.
    pub pairs: usize,
}
