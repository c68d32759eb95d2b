//! The benchmark: networks and samplers against reference posteriors of tall data (paper Sec. 4.2, App. H, I).

mod options;
pub mod paper;
mod reference;
mod results;
mod steps;

pub use options::{BenchmarkOptions, BenchmarkTask};
pub use results::{BenchmarkResults, BenchmarkRun, Metric, TaskResults};

use super::graph::{Graph, Step, StepId};
use super::named_sampler::{NamedMethod, NamedSampler};
use super::pipeline::{cost, sampling_cost};
use super::record::StudyRecord;
use super::steps::{file, read_json, simulation, training};
use crate::commands::model::load_model;
use crate::context::{Context, usage};
use anyhow::Result;
use reference::Reference;
use serde_json::json;
use std::path::{Path, PathBuf};
use steps::{RESULT, SAMPLES, Sampled};
use tallsbi_data::file::{TrainingSet, sha256_file};
use tallsbi_inference::train::{Architecture, TrainOptions};
use tallsbi_simulators::{Task, task};

/// Seconds on two cores of one C2ST with thousand samples.
const C2ST_COST: f64 = 1.5;

/// Runs `options` in the folder `root`.
///
/// # Errors
/// Reference data that are missing or do not fit, a step that fails, an interruption.
pub fn run(context: &Context, options: &BenchmarkOptions, preset: &str, root: &Path) -> Result<BenchmarkResults> {
    let references: Vec<Reference> =
        options.tasks.iter().map(|task| Reference::find(options, task)).collect::<Result<_>>()?;
    // Networks beyond the first have seeds, and with them training sets, of their own.
    let seeds: Vec<Context> = (0..options.seeds)
        .map(|index| Context {
            seed: if index == 0 { context.seed } else { context.key().indexed(index).seed(0) },
            command: context.command.clone(),
            ..*context
        })
        .collect();
    let mut graph = Graph::new(root);
    let mut plans = Vec::new();
    for (task, reference) in options.tasks.iter().zip(&references) {
        let mut planner = Planner { context, seeds: &seeds, options, task, reference, graph: &mut graph };
        plans.push(planner.plan()?);
    }
    let steps = graph.run(context)?;
    let tasks = options.tasks.iter().zip(&references).zip(plans).map(|((task, reference), plans)| {
        Ok(TaskResults {
            name: task.name.clone(),
            reference: reference.path.display().to_string(),
            ignored: reference.ignored.clone(),
            runs: plans.iter().map(collect).collect::<Result<_>>()?,
        })
    });
    Ok(BenchmarkResults {
        tasks: tasks.collect::<Result<_>>()?,
        record: StudyRecord::new(context, &options.title, preset, options, steps)?,
    })
}

/// Where the results of one run will be.
struct Plan {
    simulations: Option<u64>,
    seed: u64,
    sampler: NamedSampler,
    n: usize,
    sampled: PathBuf,
    metrics: PathBuf,
}

fn collect(plan: &Plan) -> Result<BenchmarkRun> {
    let sampled: Sampled = read_json(&plan.sampled)?;
    Ok(BenchmarkRun {
        simulations: plan.simulations,
        seed: plan.seed,
        sampler: plan.sampler,
        n_obs: plan.n,
        seconds: sampled.seconds,
        evaluations: sampled.info.evaluations,
        diverged: sampled.info.diverged,
        repaired: sampled.info.repaired,
        sets: read_json(&plan.metrics)?,
    })
}

/// What the steps of one task need while they are planned.
struct Planner<'a, 'g> {
    context: &'a Context,
    seeds: &'a [Context],
    options: &'a BenchmarkOptions,
    task: &'a BenchmarkTask,
    reference: &'a Reference,
    graph: &'g mut Graph<'a>,
}

/// A model of a task: where it will be, the step that makes it or its digest, and what it was trained on.
struct Network {
    path: PathBuf,
    step: Option<StepId>,
    digest: Option<String>,
    simulations: Option<u64>,
    seed: u64,
}

impl<'a> Planner<'a, '_> {
    fn plan(&mut self) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        let all = &self.options.samplers;
        let (likelihood, scores): (Vec<NamedSampler>, Vec<NamedSampler>) =
            all.iter().partition(|sampler| sampler.method == NamedMethod::Likelihood);
        for (samplers, architecture) in [(likelihood, Architecture::Likelihood), (scores, self.score_architecture())] {
            if !samplers.is_empty() {
                self.plan_for(&samplers, architecture, &mut plans)?;
            }
        }
        Ok(plans)
    }

    /// What composes scores: as the options say, or anchored.
    fn score_architecture(&self) -> Architecture {
        match self.options.train.architecture {
            Architecture::Noise => Architecture::Noise,
            _ => Architecture::Anchored,
        }
    }

    fn plan_for(&mut self, samplers: &[NamedSampler], architecture: Architecture, plans: &mut Vec<Plan>) -> Result<()> {
        for network in self.networks(architecture)? {
            for &sampler in samplers {
                for &n in &self.options.n_obs {
                    plans.push(self.run(&network, sampler, n)?);
                }
            }
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
            return Ok(vec![Network { path: path.clone(), step: None, digest, simulations: None, seed: 0 }]);
        }
        if let Some(path) = &self.task.training_set {
            let set = TrainingSet::open(path)?;
            self.check_width(set.spec().dim_x)?;
            let (rows, digest) = (set.rows(), sha256_file(path)?);
            return (0..self.seeds.len())
                .map(|seed| self.network((rows, seed), None, path, Some(digest.clone()), architecture))
                .collect();
        }
        let built_in = self.built_in()?;
        self.check_width(built_in.dim_x())?;
        let mut networks = Vec::new();
        for &rows in &self.options.simulations {
            for seed in 0..self.seeds.len() {
                let id = self.training_set(rows, seed);
                let path = self.graph.folder(id).join(file::TRAINING);
                networks.push(self.network((rows, seed), Some(id), &path, None, architecture)?);
            }
        }
        Ok(networks)
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

    fn training_set(&mut self, rows: u64, seed: usize) -> StepId {
        let (task, context) = (self.task, &self.seeds[seed]);
        self.graph.add(Step {
            name: format!("{}-training-set-{rows}-seed{seed}", task.name),
            options: json!({ "task": task.name, "options": task.options, "rows": rows, "seed": context.seed }),
            inputs: vec![],
            cost: cost::SIMULATION * rows as f64,
            resumes: true,
            action: Box::new(move |folder| {
                let built_in = tallsbi_simulators::task(&task.name, &task.options)?;
                simulation(context, built_in.as_ref(), rows, 1, &folder.join(file::TRAINING))
            }),
        })
    }

    fn network(
        &mut self,
        (rows, seed): (u64, usize),
        training_set: Option<StepId>,
        path: &Path,
        digest: Option<String>,
        architecture: Architecture,
    ) -> Result<Network> {
        let (context, path) = (&self.seeds[seed], path.to_owned());
        let train = TrainOptions { architecture, ..self.options.train.clone() };
        let epochs = train.epochs(self.reference.dim_x()?);
        let kind = if architecture == Architecture::Likelihood { "likelihood" } else { "scores" };
        let id = self.graph.add(Step {
            name: format!("{}-{kind}-{rows}-seed{seed}", self.task.name),
            options: json!({ "train": train, "data": digest, "seed": context.seed }),
            inputs: training_set.into_iter().collect(),
            cost: cost::TRAINING_ROW * rows as f64 * epochs as f64,
            resumes: true,
            action: Box::new(move |folder| training(context, &train, &path, folder)),
        });
        let path = self.graph.folder(id).join(file::MODEL);
        Ok(Network { path, step: Some(id), digest: None, simulations: Some(rows), seed: seed as u64 })
    }

    fn run(&mut self, network: &Network, sampler: NamedSampler, n: usize) -> Result<Plan> {
        let (context, options, reference) = (self.context, self.options, self.reference);
        let data = json!({ "sha256": sha256_file(&reference.path)?, "observations": self.task.observations, "sets": reference.sets });
        let trained = network.simulations.map_or_else(String::new, |rows| format!("-{rows}-seed{}", network.seed));
        let name = |what: &str| format!("{}{trained}-{sampler}-n{n}-{what}", self.task.name);
        let model = network.path.clone();
        let sampled = self.graph.add(Step {
            name: name("posteriors"),
            options: json!({
                "model": network.digest, "reference": data, "sampler": sampler, "n": n,
                "samples": options.posterior_samples, "seed": context.seed,
            }),
            inputs: network.step.into_iter().collect(),
            cost: sampling_cost(options.posterior_samples * reference.sets, n) * sampler.evaluations() / 30.0,
            resumes: false,
            action: Box::new(move |folder| {
                steps::posteriors(context, options, reference, (n, sampler), &model, folder)
            }),
        });
        let samples = self.graph.folder(sampled).join(SAMPLES);
        let metrics = self.graph.add(Step {
            name: name("metrics"),
            options: json!({ "reference": data, "n": n, "c2st": options.c2st, "seed": context.seed }),
            inputs: vec![sampled],
            cost: C2ST_COST * reference.sets as f64,
            resumes: false,
            action: Box::new(move |folder| steps::metrics(context, options, reference, n, &samples, folder)),
        });
        Ok(Plan {
            simulations: network.simulations,
            seed: network.seed,
            sampler,
            n,
            sampled: self.graph.folder(sampled).join(RESULT),
            metrics: self.graph.folder(metrics).join(RESULT),
        })
    }
}
