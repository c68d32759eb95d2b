//! The steps of a study and what they found.

use super::collect::{Plan, PosteriorPlan, RefinedPlan, collect};
use super::graph::{Graph, Step, StepId};
use super::options::{ModelOf, RunOptions, StudyOptions};
use super::predictive::predictive_check;
use super::record::StudyRecord;
use super::results::StudyResults;
use super::steps::{self, file, run_task};
use crate::error::usage;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tallsbi::data::{Prior, Purpose};
use tallsbi::files::{TrainingSet, sha256_file};
use tallsbi::{RecordingOptions, Session};

/// Runs `options` in the folder `root` and returns what was found.
///
/// # Errors
/// Options that do not fit the models, a step that fails, an interruption.
pub fn run(session: &Session<'_>, options: &StudyOptions, preset: &str, root: &Path) -> Result<StudyResults> {
    let mut graph = Graph::new(root);
    let mut plans = Plans::default();
    // Models first that are others', too.
    let own = |run: &&RunOptions| run.model.is_none();
    let runs = options.runs.iter();
    for run in runs.clone().filter(own).chain(runs.clone().filter(|run| !own(run))) {
        let planned = plan(session, options, run, &plans, &mut graph)?;
        plans.insert(&run.name, planned);
    }
    let steps = graph.run(session)?;
    let runs = runs.map(|run| collect(options, run, &plans[run.name.as_str()].1, root)).collect::<Result<_>>()?;
    Ok(StudyResults { record: StudyRecord::new(session, &options.title, preset, options, steps)?, runs })
}

/// The model of each run that is planned, and the run's plan, by the run's name.
type Plans<'a> = BTreeMap<&'a str, (StepId, Plan)>;

/// Rows of the training set of a run that trains on none: observations are compared with them, and refinements begin with them.
const ROWS_BESIDE: u64 = 20_000;

/// What all steps of one run need to know while they are planned.
struct Planner<'a, 'g> {
    session: &'a Session<'a>,
    options: &'a StudyOptions,
    run: &'a RunOptions,
    graph: &'g mut Graph<'a>,
}

/// Rough costs in seconds on two cores, to share out the time left.
pub(super) mod cost {
    /// Of one simulation with its summary.
    pub const SIMULATION: f64 = 7e-5;
    /// Of a refinement at one set.
    pub const REFINEMENT: f64 = 10.0;
    /// Of one training row in one epoch.
    pub const TRAINING_ROW: f64 = 6e-5;
    /// Of one posterior sample given one observation, and what a sample costs without any.
    pub const SAMPLE: (f64, f64) = (2e-5, 1e-4);
    /// Of one classifier, a pair and observation, and what a pair costs besides.
    pub const CLASSIFIER: (f64, f64) = (2e-5, 1e-4);
}

fn plan<'a>(
    session: &'a Session<'a>,
    options: &'a StudyOptions,
    run: &'a RunOptions,
    plans: &Plans<'a>,
    graph: &mut Graph<'a>,
) -> Result<(StepId, Plan)> {
    let mut planner = Planner { session, options, run, graph };
    let available = planner.check()?;
    let (training_id, training) = planner.training_set()?;
    let (model_id, trained_on) = match &run.model {
        Some(of) => planner.model_of(of, plans)?,
        None => (planner.model(training_id, &training)?, training.clone()),
    };
    let model = planner.graph.folder(model_id).join(file::MODEL);
    let observations_id = planner.observations(training_id, &training)?;
    let observations = planner.graph.folder(observations_id).join(file::OBSERVATIONS);
    let wanted: Vec<usize> = options.n_obs.iter().copied().filter(|&n| available.is_none_or(|all| n <= all)).collect();
    let Some(&most) = wanted.last() else {
        return Err(usage(format!(
            "n_obs: the smallest is {}, but there are only {} observations",
            options.n_obs[0],
            available.unwrap_or(0)
        )));
    };
    let calibration = planner.calibration(most)?;
    let (mut posteriors, mut last) = (Vec::new(), None);
    for &n in &wanted {
        let posterior_id = planner.posterior(n, [model_id, observations_id], [&model, &observations]);
        let posterior = planner.graph.folder(posterior_id).join(file::POSTERIOR);
        let mut plan =
            PosteriorPlan { n, folder: planner.graph.relative_folder(posterior_id), local_c2st: None, coverage: None };
        if let Some((calibration_id, pairs)) = &calibration {
            let known = Known {
                ids: [model_id, observations_id, posterior_id, *calibration_id],
                paths: [model.clone(), observations.clone(), posterior, pairs.clone()],
            };
            plan.local_c2st = planner.local_c2st(n, &known);
            // At both ends: what holds there is hardly broken between.
            plan.coverage = if n == most || n == wanted[0] { planner.coverage(n, &known) } else { None };
        }
        posteriors.push(plan);
        last = Some(posterior_id);
    }
    let observed = (observations_id, observations.as_path());
    let refined = planner.refined(most, (model_id, &model), (training_id, &training), observed)?;
    let (refined, refined_id) = refined.unzip();
    let fitted = refined_id.or(last).context("there is a posterior for each n")?;
    let predictive = planner.predictive(most, fitted, observed)?;
    let observations = planner.graph.folder(observations_id);
    Ok((model_id, Plan { training: trained_on, model, observations, posteriors, refined, predictive }))
}

/// Model, observations, posterior and calibration pairs: the steps, and their files.
struct Known {
    ids: [StepId; 4],
    paths: [PathBuf; 4],
}

impl<'a> Planner<'a, '_> {
    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.run.name)
    }

    /// Checks what can be checked before any work; the number of the user's observations, if they are the user's.
    fn check(&self) -> Result<Option<usize>> {
        let (prior, dim_x) = prior_and_width(self.run)?;
        if let Some(theta) = &self.run.theta_true {
            check_truth(&self.run.name, theta, &prior)?;
        }
        if let Some(of) = &self.run.model {
            let owner = self.options.runs.iter().find(|run| run.name == of.run).context("names are checked before")?;
            let (mut left, width) = prior_and_width(owner)?;
            for name in of.fix.keys() {
                left = left.without(name).with_context(|| format!("runs: {}: model.fix", self.run.name))?.0;
            }
            if (&left, width) != (&prior, dim_x) {
                let (name, left) = (&self.run.name, left.names().join(", "));
                return Err(usage(format!(
                    "runs: {name}: the model of run {} without what is fixed ({left}) is not of its task (priors or widths differ)",
                    of.run
                )));
            }
        }
        let Some(source) = &self.options.observations else { return Ok(None) };
        Ok(Some(steps::read_own(source, self.options, self.run, dim_x)?.matrix.values.nrows()))
    }

    fn training_set(&mut self) -> Result<(Option<StepId>, PathBuf)> {
        if let Some(path) = &self.run.training_set {
            return Ok((None, path.clone()));
        }
        let (session, options, run) = (self.session, self.options, self.run);
        let (rows, n_obs) = match &run.model {
            Some(_) => (options.simulations.min(ROWS_BESIDE), 1),
            None => (options.simulations, options.training_n_obs),
        };
        let id = self.graph.add(Step {
            name: self.name("training-set"),
            options: steps::simulated_by(run, json!({ "rows": rows, "n_obs": n_obs, "seed": session.seed }))?,
            inputs: vec![],
            cost: cost::SIMULATION * (rows * n_obs as u64) as f64,
            resumes: true,
            action: Box::new(move |folder| {
                let task = run_task(run)?.context("a simulated training set needs a task")?;
                steps::simulation(session, task.as_ref(), rows, n_obs, &folder.join(file::TRAINING))
            }),
        });
        Ok((Some(id), self.graph.folder(id).join(file::TRAINING)))
    }

    /// What identifies a training set: nothing more where it is a step, its digest where it is the user's.
    fn source(&self, training: Option<StepId>) -> Result<(Vec<StepId>, Option<String>)> {
        match (training, &self.run.training_set) {
            (None, Some(path)) => Ok((vec![], Some(sha256_file(path)?))),
            (id, _) => Ok((id.into_iter().collect(), None)),
        }
    }

    fn model(&mut self, training: Option<StepId>, path: &Path) -> Result<StepId> {
        let (session, options, path) = (self.session, self.options, path.to_owned());
        let (inputs, digest) = self.source(training)?;
        let epochs = options.train.epochs(run_task(self.run)?.map_or(0, |task| task.dim_x()));
        Ok(self.graph.add(Step {
            name: self.name("model"),
            options: json!({ "train": options.train, "data": digest, "seed": session.seed }),
            inputs,
            cost: cost::TRAINING_ROW * options.simulations as f64 * epochs as f64,
            resumes: true,
            action: Box::new(move |folder| steps::training(session, &options.train, &path, folder)),
        }))
    }

    /// The model of another run with parameters known; also what that one was trained on.
    fn model_of(&mut self, of: &'a ModelOf, plans: &Plans<'_>) -> Result<(StepId, PathBuf)> {
        let session = self.session;
        let (id, plan) = plans.get(of.run.as_str()).context("runs are checked before they are planned")?;
        let model = plan.model.clone();
        let id = self.graph.add(Step {
            name: self.name("model"),
            options: json!({ "fix": of.fix }),
            inputs: vec![*id],
            cost: 0.1,
            resumes: false,
            action: Box::new(move |folder| steps::fixed_model(session, of, &model, folder)),
        });
        Ok((id, plan.training.clone()))
    }

    fn observations(&mut self, training: Option<StepId>, path: &Path) -> Result<StepId> {
        let (session, options, run, path) = (self.session, self.options, self.run, path.to_owned());
        let (inputs, digest) = self.source(training)?;
        let source = match &options.observations {
            Some(source) => {
                let file = tallsbi::files::MatrixSource::parse(source).path;
                let mut from = json!({ "source": source, "sha256": sha256_file(&file)? });
                if options.recording != RecordingOptions::default() {
                    from["recording"] = json!(options.recording);
                }
                from
            }
            None => steps::simulated_by(run, json!({ "theta": run.theta_true, "n": options.n_obs.last() }))?,
        };
        Ok(self.graph.add(Step {
            name: self.name("observations"),
            options: json!({ "from": source, "data": digest, "seed": session.seed }),
            inputs,
            cost: 1.0,
            resumes: false,
            action: Box::new(move |folder| steps::observations(session, options, run, &path, folder)),
        }))
    }

    fn posterior(&mut self, n: usize, inputs: [StepId; 2], paths: [&Path; 2]) -> StepId {
        let (session, options) = (self.session, self.options);
        let [model, observations] = paths.map(Path::to_owned);
        self.graph.add(Step {
            name: self.name(&format!("posterior-n{n}")),
            options: json!({
                "n": n, "samples": options.posterior_samples, "sampling": options.sampling, "seed": session.seed,
            }),
            inputs: inputs.to_vec(),
            cost: sampling_cost(options.posterior_samples, n),
            resumes: false,
            action: Box::new(move |folder| steps::posterior(session, options, n, &model, &observations, folder)),
        })
    }

    /// Calibration pairs with `n` observations each, where a check wants them and there is a task to simulate them.
    fn calibration(&mut self, n: usize) -> Result<Option<(StepId, PathBuf)>> {
        let (session, run) = (self.session, self.run);
        let pairs = self.options.local_c2st.pairs.max(self.options.coverage.pairs) as u64;
        if pairs == 0 || run.task.is_empty() {
            return Ok(None);
        }
        let id = self.graph.add(Step {
            name: self.name("calibration"),
            options: steps::simulated_by(run, json!({ "rows": pairs, "n": n, "seed": session.seed }))?,
            inputs: vec![],
            cost: cost::SIMULATION * pairs as f64 * n as f64,
            resumes: true,
            action: Box::new(move |folder| {
                let task = run_task(run)?.context("calibration pairs need a task")?;
                let seeded = session.seeded(Purpose::Calibration);
                steps::simulation(&seeded, task.as_ref(), pairs, n, &folder.join(file::CALIBRATION))
            }),
        });
        Ok(Some((id, self.graph.folder(id).join(file::CALIBRATION))))
    }

    /// A refinement at the first `n` observations, where it is wanted and there is a task to simulate.
    fn refined(
        &mut self,
        n: usize,
        (model_id, model): (StepId, &Path),
        (training_id, training): (Option<StepId>, &Path),
        (observations_id, observations): (StepId, &Path),
    ) -> Result<Option<(RefinedPlan, StepId)>> {
        let (session, options, run) = (self.session, self.options, self.run);
        let Some(refine) = options.refine.as_ref().filter(|_| !run.task.is_empty()) else { return Ok(None) };
        let (mut inputs, digest) = self.source(training_id)?;
        inputs.extend([model_id, observations_id]);
        let files = [model, training, observations].map(Path::to_owned);
        let id = self.graph.add(Step {
            name: self.name(&format!("refined-n{n}")),
            options: steps::simulated_by(
                run,
                json!({
                    "n": n, "refine": refine.options, "data": digest, "samples": options.posterior_samples,
                    "seed": session.seed,
                }),
            )?,
            inputs,
            cost: cost::REFINEMENT * run_task(run)?.map_or(1, |task| task.dim_x()) as f64,
            resumes: true,
            action: Box::new(move |folder| {
                let inputs = [files[0].as_path(), &files[1], &files[2]];
                steps::refinement(session, (options, refine), run, n, inputs, folder)
            }),
        });
        let check = (refine.pairs > 0).then(|| {
            let (before, observations) = (model.to_owned(), observations.to_owned());
            let after = self.graph.folder(id).join(file::REFINED);
            let check = self.graph.add(Step {
                name: self.name(&format!("posterior-sbc-n{n}")),
                options: json!({
                    "n": n, "pairs": refine.pairs, "draws": refine.draws, "sampling": options.sampling, "seed": session.seed,
                }),
                inputs: vec![model_id, id, observations_id],
                // Each pair has as many new observations.
                cost: 2.0 * sampling_cost(refine.pairs * refine.draws, 2 * n),
                resumes: false,
                action: Box::new(move |folder| {
                    let inputs = ([before.as_path(), &after], observations.as_path());
                    steps::conditional_checks(session, (options, refine), run, n, inputs, folder)
                }),
            });
            self.graph.folder(check).join(file::RESULT)
        });
        Ok(Some((RefinedPlan { n, folder: self.graph.relative_folder(id), check }, id)))
    }

    /// What the posterior given the first `n` observations predicts, beside them, where there is a task to simulate.
    fn predictive(
        &mut self,
        n: usize,
        posterior_id: StepId,
        (observations_id, observations): (StepId, &Path),
    ) -> Result<Option<PathBuf>> {
        let (session, run, draws) = (self.session, self.run, self.options.predictive.draws);
        if draws == 0 || run.task.is_empty() {
            return Ok(None);
        }
        let (posterior, observations) =
            (self.graph.folder(posterior_id).join(file::POSTERIOR), observations.to_owned());
        let id = self.graph.add(Step {
            name: self.name(&format!("predictive-n{n}")),
            options: steps::simulated_by(run, json!({ "n": n, "draws": draws, "seed": session.seed }))?,
            inputs: vec![posterior_id, observations_id],
            cost: cost::SIMULATION * (draws * n) as f64,
            resumes: false,
            action: Box::new(move |folder| {
                predictive_check(session, run, (n, draws), [&posterior, &observations], folder)
            }),
        });
        Ok(Some(self.graph.folder(id).join(file::RESULT)))
    }

    fn local_c2st(&mut self, n: usize, known: &Known) -> Option<PathBuf> {
        let (session, options) = (self.session, self.options);
        let pairs = options.local_c2st.pairs;
        if pairs == 0 {
            return None;
        }
        let [model_id, observations_id, posterior_id, calibration_id] = known.ids;
        let [model, observations, posterior, calibration] = known.paths.clone();
        let (loaded, calibrated) = (model.clone(), calibration.clone());
        let samples_id = self.graph.add(Step {
            name: self.name(&format!("calibration-samples-n{n}")),
            options: json!({ "n": n, "pairs": pairs, "sampling": options.sampling, "seed": session.seed }),
            inputs: vec![model_id, calibration_id],
            cost: sampling_cost(pairs, n),
            resumes: false,
            action: Box::new(move |folder| {
                steps::calibration_samples(session, options, n, &model, &calibrated, folder)
            }),
        });
        let samples = self.graph.folder(samples_id).join(file::CALIBRATION_SAMPLES);
        let trials = options.local_c2st.test.trials as f64 + 1.0;
        let id = self.graph.add(Step {
            name: self.name(&format!("local-c2st-n{n}")),
            options: json!({ "n": n, "study": options.local_c2st, "seed": session.seed }),
            inputs: vec![model_id, calibration_id, samples_id, observations_id, posterior_id],
            cost: trials * pairs as f64 * (cost::CLASSIFIER.1 + cost::CLASSIFIER.0 * n as f64),
            resumes: false,
            action: Box::new(move |folder| {
                let inputs = [loaded.as_path(), &calibration, &samples, &observations, &posterior];
                steps::local_c2st(session, options, n, inputs, folder)
            }),
        });
        Some(self.graph.folder(id).join(file::RESULT))
    }

    fn coverage(&mut self, n: usize, known: &Known) -> Option<PathBuf> {
        let (session, options) = (self.session, self.options);
        if options.coverage.pairs == 0 {
            return None;
        }
        let [model_id, _, _, calibration_id] = known.ids;
        let [model, _, _, calibration] = known.paths.clone();
        let id = self.graph.add(Step {
            name: self.name(&format!("coverage-n{n}")),
            options: json!({
                "n": n, "study": options.coverage, "sampling": options.sampling, "seed": session.seed,
            }),
            inputs: vec![model_id, calibration_id],
            cost: sampling_cost(options.coverage.pairs * options.coverage.draws, n),
            resumes: false,
            action: Box::new(move |folder| steps::coverage(session, options, n, &model, &calibration, folder)),
        });
        Some(self.graph.folder(id).join(file::RESULT))
    }
}

/// Prior and width of an observation of a run's task or training set.
fn prior_and_width(run: &RunOptions) -> Result<(Prior, usize)> {
    let from_task = run_task(run)?.map(|task| (task.prior().clone(), task.dim_x()));
    let from_file = match &run.training_set {
        Some(path) => {
            let set = TrainingSet::open(path)?;
            Some((set.prior().clone(), set.spec().dim_x))
        }
        None => None,
    };
    if let (Some(task), Some(file)) = (&from_task, &from_file)
        && task != file
    {
        let name = &run.name;
        return Err(usage(format!("runs: {name}: its training_set does not fit its task (priors or widths differ)")));
    }
    from_file.or(from_task).context("a run has a task or a training set")
}

pub(super) fn sampling_cost(samples: usize, n: usize) -> f64 {
    samples as f64 * (cost::SAMPLE.1 + cost::SAMPLE.0 * n as f64)
}

fn check_truth(run: &str, theta: &[f64], prior: &Prior) -> Result<()> {
    if theta.len() != prior.dim() {
        return Err(usage(format!(
            "runs: {run}: theta_true has {} values for the {} parameters {}",
            theta.len(),
            prior.dim(),
            prior.names().join(", ")
        )));
    }
    let outside =
        theta.iter().zip(prior.support()).zip(prior.names()).find(|((v, (low, high)), _)| *v < low || *v > high);
    match outside {
        None => Ok(()),
        Some(((value, (low, high)), name)) => {
            Err(usage(format!("runs: {run}: theta_true: {name} = {value} is outside the prior's [{low}, {high}]")))
        }
    }
}
