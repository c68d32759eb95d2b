//! The benchmark: networks and samplers against reference posteriors of tall data (paper Sec. 4.2, App. H, I).

mod collect;
mod options;
pub mod paper;
mod reference;
mod results;
mod steps;

pub use options::{BenchmarkOptions, BenchmarkTask};
#[cfg(test)]
pub use results::ShownSet;
pub use results::{BenchmarkResults, BenchmarkRun, Metric, NetworkResults, RefinedSet, TaskResults, Trained};
pub use steps::read_samples;

use super::graph::{Graph, Step, StepId};
use super::named_sampler::{NamedMethod, NamedSampler};
use super::pipeline::{cost, sampling_cost};
use super::record::StudyRecord;
use super::steps::{file, simulation, training};
use crate::error::usage;
use anyhow::Result;
use collect::{Network, Plan, TaskPlan};
use reference::Reference;
use serde_json::json;
use std::path::Path;
use steps::SAMPLES;
use tallsbi::files::{TrainingSet, sha256_file};
use tallsbi::inference::train::Architecture;
use tallsbi::on_disk::load_model;
use tallsbi::simulators::{Task, task};
use tallsbi::{RefineOptions, Session};

/// Seconds on two cores of one C2ST with thousand samples.
const C2ST_COST: f64 = 1.5;

/// Runs `options` in the folder `root`.
///
/// # Errors
/// Reference data that are missing or do not fit, a step that fails, an interruption.
pub fn run(session: &Session<'_>, options: &BenchmarkOptions, preset: &str, root: &Path) -> Result<BenchmarkResults> {
    let references: Vec<Reference> =
        options.tasks.iter().map(|task| Reference::find(options, task)).collect::<Result<_>>()?;
    // Networks beyond the first have seeds, and with them training sets, of their own.
    let seeds: Vec<Session<'_>> = (0..options.seeds)
        .map(|index| Session {
            seed: if index == 0 { session.seed } else { session.key().indexed(index).seed(0) },
            command: session.command.clone(),
            ..*session
        })
        .collect();
    let mut graph = Graph::new(root);
    let mut plans = Vec::new();
    for (task, reference) in options.tasks.iter().zip(&references) {
        let mut planner = Planner { session, seeds: &seeds, options, task, reference, graph: &mut graph };
        plans.push(planner.plan()?);
    }
    let steps = graph.run(session)?;
    let tasks = options.tasks.iter().zip(&references).zip(&plans);
    let tasks = tasks.map(|((task, reference), plan)| collect::task(options, task, reference, plan, root));
    Ok(BenchmarkResults {
        tasks: tasks.collect::<Result<_>>()?,
        record: StudyRecord::new(session, &options.title, preset, options, steps)?,
    })
}

/// What the steps of one task need while they are planned.
struct Planner<'a, 'g> {
    session: &'a Session<'a>,
    seeds: &'a [Session<'a>],
    options: &'a BenchmarkOptions,
    task: &'a BenchmarkTask,
    reference: &'a Reference,
    graph: &'g mut Graph<'a>,
}

impl<'a> Planner<'a, '_> {
    fn plan(&mut self) -> Result<TaskPlan> {
        let mut plan = TaskPlan::default();
        let all = self.options.samplers.iter().filter(|sampler| sampler.method != NamedMethod::Refined);
        let (scores, likelihood): (Vec<NamedSampler>, Vec<NamedSampler>) = all.partition(|sampler| sampler.composes());
        for (samplers, architecture) in
            [(likelihood, Architecture::Likelihood), (scores, self.options.score_architecture())]
        {
            if !samplers.is_empty() {
                self.plan_for(&samplers, architecture, &mut plan)?;
            }
        }
        if self.options.samplers.contains(&NamedSampler::REFINED) {
            for &n in &self.options.n_obs {
                plan.runs.push(self.refined(n)?);
            }
        }
        plan.shown = self.shown()?;
        Ok(plan)
    }

    /// Refinements at all sets given their first `n` observations.
    fn refined(&mut self, n: usize) -> Result<Plan> {
        let (session, options, task, reference) = (self.session, self.options, self.task, self.reference);
        self.check_width(self.built_in()?.dim_x())?;
        let refine = RefineOptions { samples: options.posterior_samples, ..options.refine };
        let budget = refine.budget.map(|budget| budget as u64);
        let trained = Trained { simulations: budget, seed: 0, n_max: 1 };
        let mut inputs = Vec::new();
        let base = match options.refine_base {
            None => None,
            Some(rows) => {
                let rows = Trained { simulations: Some(rows), seed: 0, n_max: 1 };
                let set = self.training_set(rows);
                let training = self.graph.folder(set).join(file::TRAINING);
                let network = self.network(rows, Some(set), &training, None, Architecture::Likelihood)?;
                inputs.extend([Some(set), network.step].into_iter().flatten());
                Some((network.path, training))
            }
        };
        let network = options.refine_network.then_some(&options.train);
        let data = json!({ "sha256": sha256_file(&reference.path)?, "observations": task.observations, "sets": reference.sets });
        let sampled = self.graph.add(Step {
            name: format!("{}{trained}-refined-n{n}-posteriors", task.name),
            options: json!({
                "task": task.name, "options": task.options, "refine": refine, "base": options.refine_base,
                "network": network, "reference": data, "n": n, "seed": session.seed,
            }),
            inputs,
            cost: cost::REFINEMENT * reference.sets as f64,
            resumes: true,
            action: Box::new(move |folder| {
                steps::refined(session, task, (&refine, base.as_ref(), network), reference, n, folder)
            }),
        });
        self.measured(trained, NamedSampler::REFINED, n, sampled)
    }

    fn plan_for(&mut self, samplers: &[NamedSampler], architecture: Architecture, plan: &mut TaskPlan) -> Result<()> {
        for network in self.networks(architecture)? {
            for &sampler in samplers {
                for &n in &self.options.n_obs {
                    plan.runs.push(self.run(&network, sampler, n)?);
                }
            }
            plan.networks.push(network);
        }
        Ok(())
    }

    fn networks(&mut self, architecture: Architecture) -> Result<Vec<Network>> {
        if let Some(path) = &self.task.model {
            let digest = Some(sha256_file(path)?);
            let found = load_model(path)?.architecture();
            if (found == "likelihood") != (architecture == Architecture::Likelihood) {
                return Err(usage(format!(
                    "samplers: the model of {} ({}) is {found}; \"likelihood\" is for likelihood models, all others for scores",
                    self.task.name,
                    path.display()
                )));
            }
            let trained = Trained { simulations: None, seed: 0, n_max: 1 };
            return Ok(vec![Network { path: path.clone(), step: None, digest, trained }]);
        }
        if let Some(path) = &self.task.training_set {
            let set = TrainingSet::open(path)?;
            self.check_width(set.spec().dim_x)?;
            let (rows, digest) = (set.rows(), sha256_file(path)?);
            let all = self.to_train(&[rows], architecture);
            return all.map(|trained| self.network(trained, None, path, Some(digest.clone()), architecture)).collect();
        }
        let built_in = self.built_in()?;
        self.check_width(built_in.dim_x())?;
        let mut networks = Vec::new();
        for trained in self.to_train(&self.options.simulations, architecture) {
            let id = self.training_set(trained);
            let path = self.graph.folder(id).join(file::TRAINING);
            networks.push(self.network(trained, Some(id), &path, None, architecture)?);
        }
        Ok(networks)
    }

    /// A network for each largest set, size of training set and seed.
    fn to_train(&self, sizes: &[u64], architecture: Architecture) -> std::vec::IntoIter<Trained> {
        let mut all = Vec::new();
        for n_max in self.options.set_sizes(architecture) {
            for &rows in sizes {
                let seeds = 0..self.options.seeds;
                all.extend(seeds.map(|seed| Trained { simulations: Some(rows), seed, n_max }));
            }
        }
        all.into_iter()
    }

    fn built_in(&self) -> Result<Box<dyn Task>> {
        Ok(task(&self.task.name, &self.task.options)?)
    }

    fn check_width(&self, dim_x: usize) -> Result<()> {
        let found = self.reference.dim_x()?;
        if found == dim_x {
            return Ok(());
        }
        Err(usage(format!(
            "tasks: {}: {} has observations of {found} values, the training set of {dim_x}; name another data set with observations",
            self.task.name,
            self.reference.path.display()
        )))
    }

    fn training_set(&mut self, trained: Trained) -> StepId {
        let Trained { simulations, seed, n_max } = trained;
        let (task, session, rows) = (self.task, &self.seeds[seed as usize], simulations.unwrap_or(0));
        let mut options = json!({ "task": task.name, "options": task.options, "rows": rows, "seed": session.seed });
        if n_max > 1 {
            options["n_obs"] = n_max.into();
        }
        self.graph.add(Step {
            name: format!("{}-training-set{trained}", task.name),
            options,
            inputs: vec![],
            cost: cost::SIMULATION * rows as f64 * n_max as f64,
            resumes: true,
            action: Box::new(move |folder| {
                let built_in = tallsbi::simulators::task(&task.name, &task.options)?;
                simulation(session, built_in.as_ref(), rows, n_max, &folder.join(file::TRAINING))
            }),
        })
    }

    fn network(
        &mut self,
        trained: Trained,
        training_set: Option<StepId>,
        path: &Path,
        digest: Option<String>,
        architecture: Architecture,
    ) -> Result<Network> {
        let (session, path) = (&self.seeds[trained.seed as usize], path.to_owned());
        let train = self.options.train_options(architecture, trained.n_max);
        let epochs = train.epochs(self.reference.dim_x()?);
        let kind = if architecture == Architecture::Likelihood { "likelihood" } else { "scores" };
        let id = self.graph.add(Step {
            name: format!("{}-{kind}{trained}", self.task.name),
            options: json!({ "train": train, "data": digest, "seed": session.seed }),
            inputs: training_set.into_iter().collect(),
            cost: cost::TRAINING_ROW * trained.simulations.unwrap_or(0) as f64 * epochs as f64,
            resumes: true,
            action: Box::new(move |folder| training(session, &train, &path, folder)),
        });
        let path = self.graph.folder(id).join(file::MODEL);
        Ok(Network { path, step: Some(id), digest: None, trained })
    }

    fn run(&mut self, network: &Network, sampler: NamedSampler, n: usize) -> Result<Plan> {
        let (session, options, reference) = (self.session, self.options, self.reference);
        let data = json!({ "sha256": sha256_file(&reference.path)?, "observations": self.task.observations, "sets": reference.sets });
        let model = network.path.clone();
        let sampled = self.graph.add(Step {
            name: format!("{}{}-{sampler}-n{n}-posteriors", self.task.name, network.trained),
            options: json!({
                "model": network.digest, "reference": data, "sampler": sampler, "n": n,
                "samples": options.posterior_samples, "seed": session.seed,
            }),
            inputs: network.step.into_iter().collect(),
            cost: sampling_cost(options.posterior_samples * reference.sets, n) * sampler.evaluations() / 30.0,
            resumes: false,
            action: Box::new(move |folder| {
                steps::posteriors(session, options, reference, (n, sampler), &model, folder)
            }),
        });
        self.measured(network.trained, sampler, n, sampled)
    }

    /// Distances of samples to the reference.
    fn measured(&mut self, trained: Trained, sampler: NamedSampler, n: usize, sampled: StepId) -> Result<Plan> {
        let (session, options, reference) = (self.session, self.options, self.reference);
        let data = json!({ "sha256": sha256_file(&reference.path)?, "observations": self.task.observations, "sets": reference.sets });
        let samples = self.graph.folder(sampled).join(SAMPLES);
        let metrics = self.graph.add(Step {
            name: format!("{}{trained}-{sampler}-n{n}-metrics", self.task.name),
            options: json!({ "reference": data, "n": n, "c2st": options.c2st, "seed": session.seed }),
            inputs: vec![sampled],
            cost: C2ST_COST * reference.sets as f64,
            resumes: false,
            action: Box::new(move |folder| steps::metrics(session, options, reference, n, &samples, folder)),
        });
        Ok(Plan {
            trained,
            sampler,
            n,
            sampled: self.graph.relative_folder(sampled),
            metrics: self.graph.folder(metrics),
        })
    }

    /// Keeps the reference samples that are drawn: a report can be made again without the reference data.
    fn shown(&mut self) -> Result<String> {
        let (reference, set) = (self.reference, self.options.shown_set);
        let n = self.options.n_obs.last().copied().unwrap_or(1);
        let id = self.graph.add(Step {
            name: format!("{}-reference-n{n}-set{set}", self.task.name),
            options: json!({ "reference": sha256_file(&reference.path)?, "n": n, "set": set }),
            inputs: vec![],
            cost: 0.1,
            resumes: false,
            action: Box::new(move |folder| steps::reference_samples(reference, (n, set), folder)),
        });
        Ok(self.graph.relative_folder(id))
    }
}
