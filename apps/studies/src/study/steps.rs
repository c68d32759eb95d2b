//! What the steps of a study do, each in a folder of its own.

use super::options::{ModelOf, RefineStudy, RunOptions, StudyOptions};
use super::results::{
    ConditionalCheck, ConditionalChecks, CoverageResults, LocalC2stResults, RecordingResults, RefinedWork,
};
use super::support::support;
use crate::error::usage;
use anyhow::{Context as _, Result, bail};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, s};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Instant;
use tallsbi::calibration::Drawn;
use tallsbi::data::{Prior, SignalWindow};
use tallsbi::diagnostics::sbc::RankOptions;
use tallsbi::files::{Existing, Gaps, Header, Observations, Posterior, RowRange, RunAttributes, TrainingSet};
use tallsbi::inference::refine::Verdict;
use tallsbi::inference::sample::{SampleInfo, SampleOptions};
use tallsbi::inference::train::TrainOptions;
use tallsbi::on_disk::{
    Limits, ModelFile, Parameters, ReadObservations, SimulationLog, Taker, fix_file, of_task, posterior_attributes,
    read_observations, read_pairs, refined_posterior, simulate_file, train_file, training_set_spec, write_refined,
};
use tallsbi::simulators::{Task, task};
use tallsbi::{Model, PosteriorSbcOptions, RefineFrom, RefineOptions, Session, TaskOptions};
use tallsbi::{calibration, draw_truth, observe};

/// Files in the steps' folders.
pub mod file {
    /// Training set.
    pub const TRAINING: &str = "train.h5";
    /// Network.
    pub const MODEL: &str = "model.safetensors";
    /// Observations.
    pub const OBSERVATIONS: &str = "observations.h5";
    /// Comparison of observations and simulations.
    pub const SUPPORT: &str = "support.json";
    /// What was made of a recording, where the observations are one.
    pub const WINDOWS: &str = "windows.json";
    /// Refined model.
    pub const REFINED: &str = "refined.safetensors";
    /// Posterior samples.
    pub const POSTERIOR: &str = "posterior.nc";
    /// Folder of estimated covariances, in the study's folder.
    pub const COVARIANCES: &str = "covariances";
    /// Calibration pairs.
    pub const CALIBRATION: &str = "calibration.h5";
    /// One posterior sample for each calibration pair, as a posterior file.
    pub const CALIBRATION_SAMPLES: &str = "samples.nc";
    /// Result of a diagnostic.
    pub const RESULT: &str = "result.json";
}

/// Samples that a refinement needs of its posteriors at least.
const LEAST_SAMPLES: usize = 100;

/// The task of a run, where it has one.
pub fn run_task(run: &RunOptions) -> Result<Option<Box<dyn Task>>> {
    if run.task.is_empty() { Ok(None) } else { Ok(Some(task(&run.task, &run.options)?)) }
}

/// What decides the simulations of a run, added to what else identifies a step: the task, its options, and what its model file says.
pub fn simulated_by(run: &RunOptions, mut step: serde_json::Value) -> Result<serde_json::Value> {
    step["task"] = run.task.as_str().into();
    step["options"] = serde_json::to_value(&run.options)?;
    if let Some(source) = run_task(run)?.as_deref().and_then(Task::source) {
        step["model"] = source.digest.as_str().into();
    }
    Ok(step)
}

/// The window of a signal that an observation of a run summarises, if that is what its task's are.
pub fn signal_window(run: &RunOptions) -> Result<Option<SignalWindow>> {
    Ok(run_task(run)?.and_then(|task| task.signal_window()))
}

/// Units of the parameters of `prior`: the task's, where there is one that has these parameters.
pub fn units(task: Option<&dyn Task>, prior: &Prior) -> Vec<String> {
    let known = task.map(Task::parameter_units).filter(|units| units.len() == prior.dim());
    known.unwrap_or_else(|| vec![String::new(); prior.dim()])
}

/// Simulates `rows` rows of `n_obs` observations into a training set; continues where it was interrupted.
pub fn simulation(session: &Session<'_>, task: &dyn Task, rows: u64, n_obs: usize, output: &Path) -> Result<()> {
    let spec = training_set_spec(task, RowRange::whole(rows), Some(n_obs), &Parameters::Prior, &TaskOptions::default());
    Ok(simulate_file(session, (task, &Parameters::Prior), spec, output, Existing::Resume).map(|_| ())?)
}

/// Trains; continues where it was interrupted.
pub fn training(session: &Session<'_>, options: &TrainOptions, data: &Path, folder: &Path) -> Result<()> {
    let output = folder.join(file::MODEL);
    Ok(train_file(session, data, Limits::default(), options, &output, Existing::Resume).map(|_| ())?)
}

/// The model of another run where parameters are known.
pub fn fixed_model(session: &Session<'_>, of: &ModelOf, model: &Path, folder: &Path) -> Result<()> {
    let known: Vec<(String, f64)> = of.fix.iter().map(|(name, value)| (name.clone(), *value)).collect();
    fix_file(session, model, &known, &folder.join(file::MODEL), Existing::Overwrite)?;
    Ok(())
}

/// The user's observations of a run.
pub fn read_own(source: &str, options: &StudyOptions, run: &RunOptions, dim_x: usize) -> Result<ReadObservations> {
    let taker = Taker { dim_x, window: signal_window(run)?, gaps: Gaps::Refused, comparable: false };
    let own = read_observations(source, Header::Auto, taker, &options.recording)?;
    let found = own.matrix.values.ncols();
    if found != dim_x {
        return Err(usage(format!("{source}: observations have {found} values, the model was trained on {dim_x}")));
    }
    Ok(own)
}

/// Simulated observations, or the user's, and how they compare with the simulations.
pub fn observations(
    session: &Session<'_>,
    options: &StudyOptions,
    run: &RunOptions,
    training: &Path,
    folder: &Path,
) -> Result<()> {
    let set = TrainingSet::open(training)?;
    let (dim_x, prior) = (set.spec().dim_x, set.prior().clone());
    let (x, theta_true) = match &options.observations {
        Some(source) => {
            let own = read_own(source, options, run, dim_x)?;
            if let Some(windows) = &own.windows {
                write_json(&folder.join(file::WINDOWS), &RecordingResults::of(windows, signal_window(run)?))?;
            }
            (own.matrix.values, None)
        }
        None => {
            let task = run_task(run)?.context("observations can only be simulated by a task")?;
            let theta = run.theta_true.clone().unwrap_or_else(|| draw_truth(&prior, session.seed));
            let stored: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
            let most = options.n_obs.last().copied().unwrap_or(1);
            let x = observe(task.as_ref(), &stored, most, session.seed, session.monitor)?;
            (x.mapv(f64::from), Some(Array1::from(stored)))
        }
    };
    write_json(&folder.join(file::SUPPORT), &support(first_observations(&set)?.view(), x.view())?)?;
    let observations = Observations {
        x,
        theta_true,
        parameter_names: prior.names().to_vec(),
        observation_names: set.spec().observation_names.clone(),
    };
    let mut provenance = session.provenance(&run.task);
    if let Some(task) = run_task(run)? {
        provenance = of_task(provenance, task.as_ref())?;
    }
    Ok(observations.write(&folder.join(file::OBSERVATIONS), Existing::Overwrite, &provenance)?)
}

/// The first observation of each valid row, with all digits, (V, d).
fn first_observations(set: &TrainingSet) -> Result<Array2<f64>> {
    let mut values = Vec::new();
    set.for_each_raw_block::<anyhow::Error>(None, |rows| {
        let valid = rows.x.outer_iter().zip(&rows.valid).filter(|(_, valid)| **valid);
        valid.for_each(|(x, _)| values.extend(x.row(0)));
        Ok(())
    })?;
    let d = set.spec().dim_x;
    Ok(Array2::from_shape_vec((values.len() / d, d), values)?)
}

/// The first `n` observations of a step as `model` takes them: centred before they are single precision.
fn observed_by(model: &Model, observations: &Path, n: usize) -> Result<Array2<f32>> {
    let held = Observations::read(observations)?;
    Ok(model.centre("observations", held.x.slice(s![..n, ..]))?)
}

/// Samples the posterior given the first `n` observations.
pub fn posterior(
    session: &Session<'_>,
    options: &StudyOptions,
    n: usize,
    model: &Path,
    observations: &Path,
    folder: &Path,
) -> Result<()> {
    let path = model;
    let mut model = ModelFile::load(model)?;
    let x = observed_by(&model.model, observations, n)?;
    let sampling = SampleOptions { samples: options.posterior_samples, ..options.sampling.clone() };
    keep_covariances(&mut model, &sampling, folder)?;
    let started = Instant::now();
    let (samples, info) = sampled(session, &model, &[x.view()], &sampling)?;
    let run = posterior_attributes(&model.model, &sampling, &info, n, started.elapsed().as_secs_f64());
    let provenance =
        session.provenance(&model.model.trained().info.task).with_parent(path)?.with_parent(observations)?;
    let names = model.model.trained().latent.prior().names().to_vec();
    let samples = samples.index_axis_move(Axis(0), 0);
    let given = Observations::read(observations)?.x.slice(s![..n, ..]).mapv(|value| value as f32);
    let mut posterior = Posterior::from_matrix(names, samples.view(), Some(given), run, provenance)?;
    if model.model.is_likelihood() {
        let values = model.model.log_posterior(x.view(), samples.view(), &sampling, session.monitor)?;
        posterior.companions.log_posterior = Some(values);
    }
    Ok(posterior.write(&folder.join(file::POSTERIOR), Existing::Overwrite)?)
}

/// Keeps the model's estimated covariances, if there are any, beside the steps' folders: posteriors given different numbers of the same
/// observations share them.
pub fn keep_covariances(model: &mut ModelFile, sampling: &SampleOptions, step: &Path) -> Result<()> {
    match step.ancestors().nth(2) {
        Some(study) if model.model.estimates_covariances(sampling) => {
            Ok(model.keep_covariances(&study.join(file::COVARIANCES), sampling)?)
        }
        _ => Ok(()),
    }
}

/// Calibration pairs: θ (N, m) and the first `n` observations of each as `model` takes them, (N, n, d).
fn pairs(model: &Model, calibration: &Path, pairs: usize, n: usize) -> Result<(Array2<f64>, Array3<f32>)> {
    let map = &model.trained().observation_map;
    if let Some(column) = map.beyond_single_precision() {
        bail!(
            "column {column} of x is large beside its spread, and the task's simulations have single precision: no calibration pairs can be had; \
             set local_c2st.pairs and coverage.pairs to 0, or subtract an offset from x in the simulator"
        );
    }
    let rows = TrainingSet::open(calibration)?.load_less(&map.offset, Some(pairs as u64))?;
    Ok((rows.theta.mapv(f64::from), rows.x.slice_move(s![.., ..n, ..])))
}

/// Samples of the posterior of each group, told of what should be known before they are believed.
pub fn sampled(
    session: &Session<'_>,
    model: &ModelFile,
    groups: &[ArrayView2<'_, f32>],
    sampling: &SampleOptions,
) -> Result<(Array3<f64>, SampleInfo)> {
    let (samples, info) = model.sample(groups, session.key(), sampling, session.monitor)?;
    for caution in model.model.cautions(&info, sampling, groups.len() * sampling.samples) {
        tracing::warn!("{caution}");
    }
    if let Some(note) = samples.outer_iter().find_map(|samples| model.model.trained().thin_support(samples)) {
        tracing::warn!("{note}");
    }
    Ok((samples, info))
}

/// One posterior sample for each calibration pair given its first `n` observations.
pub fn calibration_samples(
    session: &Session<'_>,
    options: &StudyOptions,
    n: usize,
    model: &Path,
    calibration: &Path,
    folder: &Path,
) -> Result<()> {
    let loaded = ModelFile::load(model)?.model;
    let (_, x) = pairs(&loaded, calibration, options.local_c2st.pairs, n)?;
    let samples = calibration::draws(&loaded, &x, 1, &options.sampling, session.key(), None, session.monitor)?
        .index_axis_move(Axis(1), 0);
    let provenance = session.provenance(&loaded.trained().info.task).with_parent(model)?.with_parent(calibration)?;
    let names = loaded.trained().latent.prior().names().to_vec();
    let mut run = RunAttributes::new();
    run.insert("n_obs".into(), n.into());
    run.insert("draws_belong_to".into(), "calibration pairs, row by row".into());
    let posterior = Posterior::from_matrix(names, samples.view(), None, run, provenance)?;
    Ok(posterior.write(&folder.join(file::CALIBRATION_SAMPLES), Existing::Overwrite)?)
}

/// ℓ-C2ST of the posterior given the first `n` observations.
pub fn local_c2st(
    session: &Session<'_>,
    options: &StudyOptions,
    n: usize,
    inputs: [&Path; 5],
    folder: &Path,
) -> Result<()> {
    let [model, calibration, samples, observations, posterior] = inputs;
    let model = ModelFile::load(model)?.model;
    let (theta, x) = pairs(&model, calibration, options.local_c2st.pairs, n)?;
    let draws = Posterior::read(samples)?.matrix().insert_axis(Axis(1));
    let observed = observed_by(&model, observations, n)?.mapv(f64::from);
    let posterior = Posterior::read(posterior)?.matrix();
    let pairs = theta.nrows();
    let result = Drawn { theta, draws }.local_c2st(
        x.mapv(f64::from).view(),
        (observed.view(), posterior.view()),
        &options.local_c2st.test,
        session.seed,
        session.monitor,
    )?;
    let result = LocalC2stResults {
        statistic: result.statistic,
        p_value: result.p_value,
        null_statistics: result.null_statistics,
        pairs,
    };
    write_json(&folder.join(file::RESULT), &result)
}

/// Expected coverage of posteriors given `n` observations.
pub fn coverage(
    session: &Session<'_>,
    options: &StudyOptions,
    n: usize,
    model: &Path,
    calibration: &Path,
    folder: &Path,
) -> Result<()> {
    let model = ModelFile::load(model)?.model;
    let (theta, x) = pairs(&model, calibration, options.coverage.pairs, n)?;
    let count = options.coverage.draws;
    let draws = calibration::draws(&model, &x, count, &options.sampling, session.key(), None, session.monitor)?;
    let drawn = Drawn { theta, draws };
    let result = drawn.coverage(&RankOptions::default(), session.seed, session.monitor)?;
    let result = CoverageResults {
        levels: result.levels,
        coverage: result.coverage,
        p_value: result.p_value,
        area: result.area_to_curve,
        pairs: drawn.theta.nrows(),
    };
    write_json(&folder.join(file::RESULT), &result)
}

/// Refines `model` at the first `n` observations; simulations that an interrupted run made are not made again.
pub fn refinement(
    session: &Session<'_>,
    (options, refine): (&StudyOptions, &RefineStudy),
    run: &RunOptions,
    n: usize,
    inputs: [&Path; 3],
    folder: &Path,
) -> Result<()> {
    let [model, training, observations] = inputs;
    let task = run_task(run)?.context("a refinement needs a task")?;
    let base = ModelFile::load(model)?.model;
    let simulations = read_pairs(training, None)?;
    let x = Observations::read(observations)?.x.slice(s![..n, ..]).mapv(|value| value as f32);
    let output = folder.join(file::REFINED);
    let log = SimulationLog::open(&output, simulated_by(run, serde_json::json!({}))?.to_string(), true)?;
    let from = RefineFrom { base: Some(&base), simulations: Some(&simulations), network: None, kept: Some(&log) };
    let refine = RefineOptions { samples: options.posterior_samples.max(LEAST_SAMPLES), ..refine.options };
    let started = Instant::now();
    let refined = tallsbi::refine(task.as_ref(), x.view(), from, &refine, session.seed, session.monitor)?;
    let provenance =
        of_task(session.provenance(&run.task), task.as_ref())?.with_parent(model)?.with_parent(observations)?;
    write_refined(&output, Existing::Overwrite, &refined, &refine, &provenance)?;
    refined_posterior(&refined, x.view(), &refine, started.elapsed().as_secs_f64(), provenance)?
        .write(&folder.join(file::POSTERIOR), Existing::Overwrite)?;
    let work = RefinedWork {
        simulations: refined.simulations,
        rounds: refined.rounds.len(),
        base_kept: matches!(refined.verdict, Verdict::BaseKept { .. }),
        not_settled: refined.verdict.reason(),
    };
    write_json(&folder.join(file::RESULT), &work)?;
    Ok(log.remove()?)
}

/// Posterior SBC of each of `models`, before and after refinement, at the first `n` observations.
pub fn conditional_checks(
    session: &Session<'_>,
    (options, refine): (&StudyOptions, &RefineStudy),
    run: &RunOptions,
    n: usize,
    (models, observations): ([&Path; 2], &Path),
    folder: &Path,
) -> Result<()> {
    let task = run_task(run)?.context("posterior SBC needs a task")?;
    let sampling = options.sampling.clone();
    let checking = PosteriorSbcOptions { pairs: refine.pairs, draws: refine.draws, sampling, ..Default::default() };
    let check = |path: &Path| -> Result<ConditionalCheck> {
        let model = ModelFile::load(path)?.model;
        let x = observed_by(&model, observations, n)?;
        let found = tallsbi::posterior_sbc(&model, task.as_ref(), x.view(), &checking, session.seed, session.monitor)?;
        let tests = found.parameters.iter().chain([&found.distance]);
        Ok(ConditionalCheck {
            p_value: found.p_value,
            p_values: tests.map(|test| test.ecdf.p_value).collect(),
            pairs: refine.pairs,
        })
    };
    let checks = ConditionalChecks { before: check(models[0])?, after: check(models[1])? };
    write_json(&folder.join(file::RESULT), &checks)
}

/// CPU seconds that this process has used on all threads: other programs on the machine do not count.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Reads what a step wrote as JSON.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is damaged; remove its folder and resume", path.display()))
}

/// Writes what a step found as JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    std::fs::write(path, serde_json::to_vec(value)?).with_context(|| format!("{}: cannot be written", path.display()))
}
