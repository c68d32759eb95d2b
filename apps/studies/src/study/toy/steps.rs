//! What the steps of a toy study do.

use super::options::ToyOptions;
use super::results::{CellResults, Distances, ToyRun};
use crate::study::named_sampler::NamedSampler;
use crate::study::steps::{cpu_seconds, write_json};
use anyhow::Result;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Serialize, Serializer};
use std::path::Path;
use tallsbi::data::Quiet;
use tallsbi::data::{Prior, Purpose, StreamKey};
use tallsbi::files::{Existing, Posterior, RunAttributes};
use tallsbi::inference::analytic::{MixtureModel, Perturbation, Perturbed, ToyProblem};
use tallsbi::inference::sample::{SampleInfo, SampleOptions, SampleRequest, sample_posteriors};
use tallsbi::inference::schedule::LinearSchedule;
use tallsbi::inference::score::ScoreModel;
use tallsbi::simulators::{Task, TaskOptions, task};
use tallsbi::{Session, observe};

/// What a step leaves.
pub const RESULT: &str = "result.json";

/// A problem, m, n, ε and seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    problem: ToyProblem,
    dimension: usize,
    n_obs: usize,
    /// Bits of ε, which order like ε for ε ≥ 0.
    amplitude: u64,
    seed: u64,
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.problem, self.dimension, self.n_obs, self.amplitude(), self.seed).serialize(serializer)
    }
}

/// Seconds on two cores of one evaluation of a perturbed score, a dimension and what it takes besides.
const EVALUATION: (f64, f64) = (6e-8, 2e-7);

impl Cell {
    /// The cell.
    pub fn new(problem: ToyProblem, dimension: usize, n_obs: usize, amplitude: f64, seed: u64) -> Self {
        // -0 would be another cell.
        Self { problem, dimension, n_obs, amplitude: amplitude.abs().to_bits(), seed }
    }

    fn amplitude(&self) -> f64 {
        f64::from_bits(self.amplitude)
    }

    /// Name of its step.
    pub fn name(&self) -> String {
        let problem = match self.problem {
            ToyProblem::Gaussian => "gaussian",
            ToyProblem::Mixture => "mixture",
        };
        let amplitude = format!("{:e}", self.amplitude()).replace('.', "_");
        format!("{problem}-m{}-n{}-error{amplitude}-seed{}", self.dimension, self.n_obs, self.seed)
    }

    /// Rough seconds on two cores.
    pub fn cost(&self, samplers: &[NamedSampler], samples: usize) -> f64 {
        let evaluations: f64 = samplers.iter().map(|sampler| sampler.evaluations()).sum();
        let each = EVALUATION.1 + EVALUATION.0 * self.dimension as f64;
        evaluations * each * (samples * self.n_obs) as f64 + 0.05 * samplers.len() as f64
    }

    fn task(&self) -> Result<Box<dyn Task>> {
        let name = match self.problem {
            ToyProblem::Gaussian => "gaussian_toy",
            ToyProblem::Mixture => "gmm_toy",
        };
        Ok(task(name, &TaskOptions { dimension: Some(self.dimension), ..TaskOptions::default() })?)
    }
}

/// True parameters and observations: those of one seed are the first of any larger number.
fn data(session: &Session<'_>, cell: &Cell) -> Result<(Vec<f64>, Array2<f32>)> {
    let task = cell.task()?;
    let seed = session.key().indexed(cell.seed).seed(0);
    let mut theta = vec![0.0; cell.dimension];
    task.prior().sample(&mut StreamKey::root(seed).child(Purpose::Prior).rng(0), &mut theta);
    let stored: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    let x = observe(task.as_ref(), &stored, cell.n_obs, seed, &Quiet(session.monitor))?;
    Ok((theta, x))
}

fn sample<M: ScoreModel>(
    session: &Session<'_>,
    model: &M,
    prior: &Prior,
    x: ArrayView2<'_, f32>,
    key: StreamKey,
    options: &SampleOptions,
) -> Result<(Array2<f64>, SampleInfo)> {
    let monitor = Quiet(session.monitor);
    let samples = sample_posteriors(
        model,
        prior,
        &SampleRequest { groups: &[x], first_group: 0, key, covariances: None },
        options,
        &monitor,
    )?;
    Ok((samples.latent.index_axis_move(Axis(0), 0), samples.info))
}

fn distances(
    session: &Session<'_>,
    samples: ArrayView2<'_, f64>,
    exact: ArrayView2<'_, f64>,
    projections: usize,
    key: StreamKey,
) -> Result<Distances> {
    let both = tallsbi::diagnostics::sliced_and_max_sliced_wasserstein(
        samples,
        exact,
        projections,
        key,
        &Quiet(session.monitor),
    )?;
    Ok(Distances { sliced: both.0.value, max_sliced: both.1.value })
}

/// All samplers of one cell, after each other in one process: their times compare.
pub fn cell(
    session: &Session<'_>,
    options: &ToyOptions,
    cell: &Cell,
    samplers: &[NamedSampler],
    folder: &Path,
) -> Result<()> {
    let (_, x) = data(session, cell)?;
    let key = session.key().indexed(cell.seed);
    let exact = cell.problem.model(cell.dimension, LinearSchedule::default(), false)?;
    let reference: Vec<Array2<f64>> = (0..2)
        .map(|set| exact.tall_samples(x.view(), options.samples, key.child(Purpose::Calibration).indexed(set)))
        .collect::<Result<_, _>>()?;
    let perturbation = Perturbation { amplitude: cell.amplitude(), scale: options.perturbation };
    // The same error network for every n and ε of a seed.
    let model: Perturbed<MixtureModel> = Perturbed::new(exact, perturbation, key)?;
    let prior = cell.task()?.prior().clone();
    let mut runs = Vec::new();
    for &sampler in samplers {
        session.monitor.check()?;
        let started = cpu_seconds();
        let key = key.child(Purpose::SamplerStart);
        let (samples, info) = sample(session, &model, &prior, x.view(), key, &sampler.options(options.samples))?;
        let seconds = cpu_seconds() - started;
        let finite = samples.iter().all(|value| value.is_finite());
        let distances =
            finite.then(|| distances(session, samples.view(), reference[0].view(), options.projections, key));
        runs.push(ToyRun {
            sampler,
            seconds,
            evaluations: info.evaluations,
            diverged: info.diverged,
            repaired: info.repaired,
            distances: distances.transpose()?,
        });
    }
    let result = CellResults {
        problem: cell.problem,
        dimension: cell.dimension,
        n_obs: cell.n_obs,
        amplitude: cell.amplitude(),
        seed: cell.seed,
        floor: distances(session, reference[1].view(), reference[0].view(), options.projections, key)?,
        runs,
    };
    write_json(&folder.join(RESULT), &result)
}

/// File with the posterior given `n` observations that a step of shown posteriors leaves.
pub fn shown_file(which: &str, n: usize) -> String {
    format!("{which}-n{n}.nc")
}

/// Samples of the Gaussian toy's posterior in two dimensions, exact and by GAUSS with exact scores; θ* as the result.
pub fn shown(session: &Session<'_>, options: &ToyOptions, folder: &Path) -> Result<()> {
    let most = options.shown_n_obs.last().copied().unwrap_or(1);
    let cell = Cell::new(ToyProblem::Gaussian, 2, most, 0.0, 0);
    let (truth, x) = data(session, &cell)?;
    let prior = cell.task()?.prior().clone();
    let model = cell.problem.model(2, LinearSchedule::default(), false)?;
    for &n in &options.shown_n_obs {
        let x = x.slice(ndarray::s![..n, ..]);
        let sampling = SampleOptions { samples: options.samples, ..SampleOptions::default() };
        let exact = model.tall_samples(x, options.samples, session.key())?;
        let (gauss, _) = sample(session, &model, &prior, x, session.key(), &sampling)?;
        for (which, samples) in [("exact", exact), ("gauss", gauss)] {
            let (names, provenance) = (prior.names().to_vec(), session.provenance("gaussian_toy"));
            let mut run = RunAttributes::new();
            run.insert("n_obs".into(), n.into());
            Posterior::from_matrix(names, samples.view(), None, run, provenance)?
                .write(&folder.join(shown_file(which, n)), Existing::Overwrite)?;
        }
    }
    write_json(&folder.join(RESULT), &truth)
}
