//! Which of several models do observations prefer?

use crate::error::check_counts;
use crate::predict::predict;
use crate::{Error, Model, Result, SampleOptions};
use ndarray::{Array2, ArrayView2};
use serde::Serialize;
use tallsbi_data::{Monitor, Purpose, Quiet, StreamKey};
use tallsbi_inference::model::density::log_sum_exp;
use tallsbi_simulators::Task;

/// Runs of tempering with independent random numbers, whose spread tells the Monte Carlo error.
const RUNS: u64 = 4;

/// What observations say of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// log p(x_{1:n}) = log ∫ λ(θ) p(x_{1:n}|θ) dθ, in the simulator's units.
    pub log_evidence: f64,
    /// Its Monte Carlo error, from the spread of four independent runs. The error of the learned likelihood is not in it.
    pub error: f64,
    /// Probability of the model if all are equally probable before.
    pub probability: f64,
}

/// Evidence and probabilities of models of the same observations: `observations` holds them (n, d) for each model, [centred](Model::centre) as it takes
/// them. Models may have been trained with different transforms of x: densities are those of the simulator's units.
///
/// # Errors
/// When fewer than two models are given, one learned scores and has no density, or cannot follow its posterior.
pub fn compare(
    models: &[&Model],
    observations: &[ArrayView2<'_, f32>],
    options: &SampleOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Vec<Evidence>> {
    check_count(models.len(), observations.len(), "observations")?;
    let key = StreamKey::root(seed).child(Purpose::Evidence);
    let mut found = Vec::with_capacity(models.len());
    for (model, x) in models.iter().zip(observations) {
        let runs: Vec<f64> = (0..RUNS)
            .map(|run| Ok(model.log_evidences(&[*x], options, key.indexed(run), monitor)?[0]))
            .collect::<Result<_>>()?;
        found.push(average(&runs));
    }
    let probabilities = probabilities(found.iter().map(|(log_evidence, _)| *log_evidence));
    let evidence = |((log_evidence, error), probability)| Evidence { log_evidence, error, probability };
    Ok(found.into_iter().zip(probabilities).map(evidence).collect())
}

/// Whether probabilities of models are right: observations simulated by each model in turn, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// Data sets of each model.
    pub pairs: usize,
    /// Observations a data set.
    pub n_obs: usize,
    /// Mean probability of model j where i is true, at \[i\]\[j\].
    pub probability: Vec<Vec<f64>>,
    /// How often model j is the most probable where i is true, at \[i\]\[j\].
    pub chosen: Vec<Vec<usize>>,
    /// For each model: how often it was true more than its probabilities say, in standard deviations; beyond ±2 they are not calibrated.
    pub z: Vec<f64>,
}

/// Simulates `pairs` data sets of `n` observations by each task at parameters from its prior, and asks which model they prefer: a
/// confusion matrix, and whether a model of which the probability is p is true with frequency p.
///
/// # Errors
/// As [`compare`]; when tasks and models do not fit, or simulations fail.
pub fn confusion(
    models: &[&Model],
    tasks: &[&dyn Task],
    (n, pairs): (usize, usize),
    options: &SampleOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Confusion> {
    check_count(models.len(), tasks.len(), "tasks")?;
    check_counts(&[("n", n), ("pairs", pairs)])?;
    let key = StreamKey::root(seed).child(Purpose::Evidence).child(Purpose::Calibration);
    let count = models.len();
    let mut found = Confusion {
        pairs,
        n_obs: n,
        probability: vec![vec![0.0; count]; count],
        chosen: vec![vec![0; count]; count],
        z: vec![0.0; count],
    };
    let (mut surplus, mut variance) = (vec![0.0; count], vec![0.0; count]);
    let stage = monitor.stage("compare", "data sets", (count * count * pairs) as u64);
    for (truth, task) in tasks.iter().enumerate() {
        let key = key.indexed(truth as u64);
        let mut theta = Array2::zeros((pairs, task.prior().dim()));
        for (row, mut theta) in theta.outer_iter_mut().enumerate() {
            let mut one = vec![0.0; task.prior().dim()];
            task.prior().sample(&mut key.rng(row as u64), &mut one);
            theta.iter_mut().zip(&one).for_each(|(to, from)| *to = *from);
        }
        let data = predict(*task, theta.view(), n, key.seed(pairs as u64), &Quiet(monitor))?;
        if data.failed > 0 {
            return Err(Error::FailedObservations { failed: data.failed, total: pairs });
        }
        let mut evidences = Vec::with_capacity(count);
        for (index, model) in models.iter().enumerate() {
            let centred: Vec<Array2<f32>> = data
                .x
                .outer_iter()
                .map(|x| model.centre(task.name(), x.mapv(f64::from).view()))
                .collect::<Result<_>>()?;
            let groups: Vec<ArrayView2<'_, f32>> = centred.iter().map(Array2::view).collect();
            let key = key.indexed(index as u64).child(Purpose::Evidence);
            evidences.push(model.log_evidences(&groups, options, key, &Quiet(monitor))?);
            stage.advance(pairs as u64);
        }
        for pair in 0..pairs {
            let p = probabilities(evidences.iter().map(|of_model| of_model[pair]));
            let best = (0..count).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(truth);
            found.chosen[truth][best] += 1;
            for (model, p) in p.iter().enumerate() {
                found.probability[truth][model] += p / pairs as f64;
                surplus[model] += f64::from(u8::from(model == truth)) - p;
                variance[model] += p * (1.0 - p);
            }
        }
    }
    // Where every probability is 0 or 1, a single surprise is one too many.
    let least = f64::EPSILON;
    found.z = surplus.iter().zip(&variance).map(|(surplus, variance)| surplus / variance.max(least).sqrt()).collect();
    Ok(found)
}

fn check_count(models: usize, others: usize, what: &str) -> Result<()> {
    if models >= 2 && models == others {
        return Ok(());
    }
    Err(Error::Shape {
        what: "models".into(),
        expected: format!("two or more, and as many {what}"),
        found: format!("{models} models, {others} {what}"),
    })
}

/// The logarithm of the average of evidences e^run, and its standard error.
fn average(runs: &[f64]) -> (f64, f64) {
    let count = runs.len() as f64;
    let mean = log_sum_exp(runs) - count.ln();
    let variance = runs.iter().map(|run| ((run - mean).exp() - 1.0).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

/// e^log / Σ e^log.
fn probabilities(logs: impl Iterator<Item = f64>) -> Vec<f64> {
    let logs: Vec<f64> = logs.collect();
    let total = log_sum_exp(&logs);
    logs.iter().map(|log| (log - total).exp()).collect()
}
