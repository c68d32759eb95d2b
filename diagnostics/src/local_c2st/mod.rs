//! Local classifier two-sample test ℓ-C2ST (Linhart, Gramfort & Rodrigues 2023): is q(θ|x_o) right at one observation x_o?
//!
//! Calibration pairs (θ_i, x_i) come from the joint distribution, and θ̃_i ~ q(·|x_i) from the posterior under test at the same x_i.
//! A classifier learns to tell class 0, (θ̃_i, x_i), from class 1, (θ_i, x_i), once for all observations. At x_o the statistic is
//!
//! T = mean over θ ~ q(·|x_o) of (P(class 0 | θ, x_o) - ½)², in \[0, ¼\]  (their eq. 8).
//!
//! Under the null hypothesis θ_i and θ̃_i may be exchanged at the same x_i: classifiers trained after exchanging each pair with
//! probability ½ give draws of T under the null. They depend on the calibration set only: train once, evaluate at any number of
//! observations; [`LocalC2st`] serialises, to be kept in a file.
//!
//! Tall data: x is x_{1:n} flattened to one row of n·d numbers.

mod map;
mod options;
mod pp_plot;
mod rows;

use crate::c2st::fold_rows;
use crate::classifier::FittedClassifier;
use crate::{Result, check};
use ndarray::ArrayView2;
use rand::RngExt;
use rayon::prelude::*;
use rows::{JointRows, Scaling};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{InJson, Monitor, Purpose, StreamKey};

pub use map::{MarginalMap, PairMap, ProbabilityMap, probability_map};
pub use options::LocalC2stOptions;
pub use pp_plot::{PpBand, PpPlot};

/// Fewest calibration pairs: below this nothing can be held out.
pub const FEWEST_PAIRS: usize = 20;

/// Trained classifiers of a local C2ST: the observed one and those of the null trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalC2st {
    options: LocalC2stOptions,
    scaling: Scaling,
    observed: Members,
    null: Vec<Members>,
}

/// Classifiers of one trial: fold by fold, in each the members of the ensemble.
type Members = Vec<FittedClassifier>;

/// ℓ-C2ST at one observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalC2stResult {
    /// T, in \[0, ¼\].
    pub statistic: f64,
    /// T of each null trial, at the same observation and samples.
    pub null_statistics: Vec<f64>,
    /// (1 + #{T_null ≥ T}) / (1 + trials).
    pub p_value: f64,
    /// P(class 0 | θ, x_o) of each posterior sample: above ½ where q has too much mass, below where too little.
    pub probabilities: Vec<f64>,
    /// Distribution of these probabilities, observed and in each null trial.
    pub pp_plot: PpPlot,
}

impl LocalC2st {
    /// Trains on the calibration set `theta` (N, m) from the joint, `theta_q` (N, m) from the posterior under test, `x` (N, n·d).
    ///
    /// All trials run in parallel, each with random numbers of its own: the same bytes for any number of threads. Cost: (1 + trials) ×
    /// ensemble × folds classifiers on 2N rows.
    ///
    /// # Errors
    /// Different numbers of rows or columns, fewer than 20 pairs, values that are not finite, constant columns, options outside their
    /// range, a classifier that fails, or cancellation.
    pub fn train(
        theta: ArrayView2<'_, f64>,
        theta_q: ArrayView2<'_, f64>,
        x: ArrayView2<'_, f64>,
        options: &LocalC2stOptions,
        key: StreamKey,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        options.validate()?;
        for (what, matrix) in [("theta", theta.view()), ("theta_q", theta_q.view()), ("x", x.view())] {
            check::finite(what, matrix, FEWEST_PAIRS)?;
            check::varies(what, matrix)?;
            check::same_rows(what, matrix.nrows(), "theta", theta.nrows())?;
        }
        check::same_width("theta_q", theta_q, "theta", theta.ncols())?;
        let scaling = if options.standardize {
            Scaling::new(theta, theta_q, x)?
        } else {
            Scaling::identity(theta.ncols(), x.ncols())
        };
        let rows = JointRows::calibration(&scaling, theta, theta_q, x);
        let mut trials = train_trials(&rows, theta.nrows(), theta.ncols(), options, key, monitor)?;
        let null = trials.split_off(1);
        let observed = trials.pop().expect("trial 0 is the observed one");
        Ok(Self { options: options.clone(), scaling, observed, null })
    }

    /// The options it was trained with.
    pub fn options(&self) -> &LocalC2stOptions {
        &self.options
    }

    /// Number of parameters m.
    pub fn dim_theta(&self) -> usize {
        self.scaling.dim_theta()
    }

    /// Length n·d of an observation.
    pub fn dim_x(&self) -> usize {
        self.scaling.dim_x()
    }

    /// Number of null trials.
    pub fn trials(&self) -> usize {
        self.null.len()
    }

    /// Tests q(·|x_o) from `samples` (S, m) of it, at `observation` (n·d numbers).
    ///
    /// The p-value is exact if the calibration pairs and q's samples are independent and the samples here are not among them.
    ///
    /// # Errors
    /// Samples or an observation of other widths than in training, no samples or a few that are copied again and again, values that are not finite, or cancellation.
    pub fn evaluate(
        &self,
        samples: ArrayView2<'_, f64>,
        observation: &[f64],
        monitor: &dyn Monitor,
    ) -> Result<LocalC2stResult> {
        check::finite("posterior samples", samples, 1)?;
        check::same_width("posterior samples", samples, "theta", self.dim_theta())?;
        check::not_collapsed("posterior samples", samples)?;
        let x = ArrayView2::from_shape((1, observation.len()), observation).expect("a slice is a row");
        check::finite("observation", x, 1)?;
        check::same_width("observation", x, "x", self.dim_x())?;
        let rows = JointRows::at(&self.scaling, samples, x);
        let indices: Vec<usize> = (0..samples.nrows()).collect();
        let folds = self.options.folds.unwrap_or(1);
        let observed = trial_scores(&self.observed, folds, &rows, &indices);
        let stage = monitor.stage("null statistics", "trials", (self.null.len()) as u64);
        let null = self
            .null
            .par_iter()
            .map(|members| {
                monitor.check()?;
                let scores = trial_scores(members, folds, &rows, &indices);
                stage.advance(1);
                Ok((scores.statistic, pp_plot::distribution(&scores.probabilities)))
            })
            .collect::<Result<Vec<_>>>()?;
        let (null_statistics, null_distributions): (Vec<f64>, Vec<_>) = null.into_iter().unzip();
        let above = null_statistics.iter().filter(|&&null| null >= observed.statistic).count();
        Ok(LocalC2stResult {
            statistic: observed.statistic,
            p_value: (1 + above) as f64 / (1 + null_statistics.len()) as f64,
            pp_plot: PpPlot::new(pp_plot::distribution(&observed.probabilities), null_distributions),
            probabilities: observed.probabilities,
            null_statistics,
        })
    }
}

/// T from the probabilities of class 0 at samples of q(·|x_o).
pub fn statistic(probabilities: &[f64]) -> f64 {
    probabilities.iter().map(|p| (p - 0.5) * (p - 0.5)).sum::<f64>() / probabilities.len() as f64
}

/// Trains all classifiers of all trials; trial 0 has the labels as they are.
fn train_trials(
    rows: &JointRows,
    pairs: usize,
    dim_theta: usize,
    options: &LocalC2stOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Vec<Members>> {
    let classifier = options.classifier(dim_theta);
    let members = options.members();
    let stage = monitor.stage("classifiers", "networks", (members * (1 + options.trials)) as u64);
    let tasks = |tasks: Range<usize>| {
        let one = |task: usize| {
            let (trial, member) = (task / members, task % members);
            let exchanged = exchanges(trial, pairs, key);
            // Class 1 (true) is the joint: rows 0..N, unless the pair is exchanged.
            let label = |row: usize| (row < pairs) != exchanged[row % pairs];
            let indices = training_rows(pairs, member / options.ensemble, options.folds, trial, key);
            let key = key.child(Purpose::Classifier).indexed(trial as u64).indexed(member as u64);
            let fitted = classifier.fit_rows(rows, &indices, &label, key, monitor)?;
            stage.advance(1);
            Ok(fitted)
        };
        tasks.into_par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>>>().map(InJson)
    };
    let fitted = monitor.share("local c2st", members * (1 + options.trials), tasks)?;
    let fitted: Vec<FittedClassifier> = fitted.into_iter().flat_map(|InJson(fitted)| fitted).collect();
    Ok(fitted.chunks(members).map(<[FittedClassifier]>::to_vec).collect())
}

/// Which pairs a trial exchanges: none in trial 0, each with probability ½ in the others.
fn exchanges(trial: usize, pairs: usize, key: StreamKey) -> Vec<bool> {
    if trial == 0 {
        return vec![false; pairs];
    }
    let mut rng = key.child(Purpose::Permutation).rng(trial as u64);
    (0..pairs).map(|_| rng.random::<bool>()).collect()
}

/// Both rows of the pairs outside fold `fold`. Pairs stay together, as x would give a left-out row away.
fn training_rows(pairs: usize, fold: usize, folds: Option<usize>, trial: usize, key: StreamKey) -> Vec<usize> {
    let kept = match folds {
        None => (0..pairs).collect(),
        Some(folds) => fold_rows(pairs, folds, fold, key.indexed(trial as u64)).0,
    };
    kept.iter().copied().chain(kept.iter().map(|pair| pairs + pair)).collect()
}

struct Scores {
    statistic: f64,
    probabilities: Vec<f64>,
}

/// Ensemble: probabilities are averaged. Folds: statistics are.
fn trial_scores(members: &Members, folds: usize, rows: &JointRows, indices: &[usize]) -> Scores {
    let mut total = 0.0;
    let mut mean = vec![0.0; indices.len()];
    for ensemble in members.chunks(members.len() / folds) {
        let mut probabilities = vec![0.0; indices.len()];
        for member in ensemble {
            for (sum, p) in probabilities.iter_mut().zip(member.probabilities_of(rows, indices)) {
                *sum += (1.0 - p) / ensemble.len() as f64;
            }
        }
        total += statistic(&probabilities);
        mean.iter_mut().zip(&probabilities).for_each(|(mean, p)| *mean += p / folds as f64);
    }
    Scores { statistic: total / folds as f64, probabilities: mean }
}
