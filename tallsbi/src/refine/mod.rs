//! A model made right at given observations, by simulations where their posterior is.

mod by_scores;
mod contest;
mod network;
mod refined;
mod simulator;

pub use by_scores::goes_by_scores;
pub use refined::Refined;
pub use simulator::{KeepSimulations, Simulated};

use self::contest::Contest;
use self::refined::{to_latent, to_parameters};
use self::simulator::Simulator;
use crate::{Error, Model, Posterior, Result, Simulations};
use ndarray::{Array2, ArrayView2, Axis, s};
use tallsbi_data::{Component, LatentMap, Monitor, Prior, Purpose, Quiet, StreamKey, Symmetry, XTransform};
use tallsbi_inference::model::{Failures, ModelInfo, Networks, ObservationMap, PreparedModel, TrainedModel};
use tallsbi_inference::notes::Note;
use tallsbi_inference::refine::{self, Problem, RefineOptions, Refinement, Start};
use tallsbi_inference::sample::{SampleInfo, SampleOptions, SampleRequest};
use tallsbi_inference::tempering::{Worth, sample_tempered};
use tallsbi_inference::train::TrainOptions;
use tallsbi_simulators::Task;

/// Observations' worth of a base model's likelihood that the first round believes: its error all n observations share.
const BASE_WORTH: f64 = 30.0;

/// Prior draws at which a symmetry of θ is compared with that of latent parameters.
const SYMMETRY_POINTS: usize = 16;

/// Samples of the base's posterior.
const BASE_SAMPLES: usize = 1000;

/// Simulations at the posterior that decide between a base's likelihood and the local one, and their largest share of a budget.
const DECIDING: usize = 1000;
const DECIDING_SHARE: usize = 20;

/// From this width of the last proposals on, in the prior's sd, a network competes with local forms that have settled, too: polynomials over so much of a prior can be wrong in ways
/// that neither bias nor fit tell.
const BROAD: f64 = 0.25;

/// What a refinement may start from; nothing at all will do.
#[derive(Clone, Copy, Default)]
pub struct RefineFrom<'a> {
    /// A model whose posterior is the first proposal; else the prior is.
    pub base: Option<&'a Model>,
    /// Simulations made before, those the base was trained on, say: they count where they are near.
    pub simulations: Option<&'a Simulations>,
    /// How a network is trained on all simulations where local forms do not settle, or the posterior fills much of the prior: the better of both is kept. None leaves it at local forms.
    pub network: Option<&'a TrainOptions>,
    /// Where simulations are kept as they are made, and found again after an interruption.
    pub kept: Option<&'a dyn KeepSimulations>,
}

/// Refines at observations (n, d): rounds of simulating around the present posterior, learning the likelihood there in closed form,
/// and sampling. See [`refine`](tallsbi_inference::refine). Under conditions, with missing values, and where single values have a probability of their own, or where that is
/// [asked for](tallsbi_inference::refine::By), it is the law of the base's mean scores that is learned: see [`MeanScores`](tallsbi_inference::model::MeanScores).
///
/// # Errors
/// When base or simulations are of another prior, options are out of range, observations do not fit, simulations fail nearly
/// everywhere, or the monitor asked to stop; where only the mean scores of a network serve, when there is none, or fewer than ten observations.
pub fn refine(
    task: &dyn Task,
    observations: ArrayView2<'_, f32>,
    from: RefineFrom<'_>,
    options: &RefineOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Refined> {
    if observations.ncols() != task.dim_x() || observations.nrows() == 0 {
        return Err(Error::Shape {
            what: "observations".into(),
            expected: format!("at least one, of the {} values of {}", task.dim_x(), task.name()),
            found: format!("{:?}", observations.dim()),
        });
    }
    if let Some(column) = from.base.and_then(|base| base.trained().observation_map.beyond_single_precision()) {
        let message = format!(
            "column {column} of x is large beside its spread, and refinements simulate in single precision, which cannot hold it; subtract an \
             offset from x in the simulator and the observations"
        );
        return Err(Error::Input { origin: "the model".into(), message });
    }
    if let Some(network) = by_scores::network(task, observations, &from, options.by)? {
        return by_scores::refine(task, (network, observations), from.kept, options, seed, monitor);
    }
    let key = StreamKey::root(seed);
    let latent = LatentMap::prior_gaussian(task.prior());
    let start = from.base.map(|base| start(task, base, observations, key, monitor)).transpose()?;
    let symmetry = symmetry(task, &latent, from.base);
    let problem = Problem {
        latent: &latent,
        symmetry: symmetry.clone(),
        x: observations.view(),
        log: task.x_transform() == XTransform::Log,
        moving: moving(task),
        start: start.as_ref().map(|(draws, worth)| Start { draws: draws.view(), worth: *worth }),
        means: false,
        earlier: from
            .simulations
            .map(|rows| earlier(task, &latent, rows, options.failures))
            .transpose()?
            .unwrap_or_default(),
    };
    let simulator = Simulator::new(task, from.kept, monitor);
    let base = from.base.filter(|base| base.is_likelihood());
    let decides = base.is_some() || from.network.is_some();
    let deciding = options.budget.map_or(DECIDING, |budget| DECIDING.min(budget / DECIDING_SHARE));
    let deciding = if decides { deciding } else { 0 };
    let spent = RefineOptions { budget: options.budget.map(|budget| budget - deciding), ..*options };
    let refinement = refine::refine(problem, &simulator, &spent, key, monitor)?;
    let (proposed, breadth) = (refinement.proposed.clone(), refinement.breadth());
    let refined = finish(task, latent.clone(), observations.nrows(), refinement, simulator.notes());
    if deciding == 0 {
        return Ok(refined);
    }
    let training = from.network.filter(|_| !refined.verdict.is_settled() || breadth > BROAD);
    let network = training
        .map(|training| {
            network::train(task, &simulator, from.simulations, (&proposed, &symmetry), training, seed, monitor)
        })
        .transpose()?;
    let sampling = SampleOptions { samples: options.samples, ..SampleOptions::default() };
    let contest =
        Contest { observations: observations.view(), simulator: &simulator, deciding, sampling, seed, monitor };
    let refined = match base {
        Some(base) => contest.base(base, refined)?,
        None => refined,
    };
    match network {
        Some(network) => {
            no_atoms(&network)?;
            contest.network(network, refined)
        }
        None => Ok(refined),
    }
}

/// How many of the last parameters only move observations, by as much as they grow, and are uniform or Gaussian: in coordinates of refinements means are linear in them.
fn moving(task: &dyn Task) -> usize {
    let (locations, names) = (task.locations(), task.prior().names());
    let moves = |component: &&Component| {
        let own = |k: usize| component.names() == std::slice::from_ref(&names[k]);
        matches!(component, Component::Uniform { .. } | Component::Normal { .. })
            && locations.iter().any(|location| own(location.parameter))
    };
    let last = task.prior().components().iter().rev().take_while(moves).count();
    // One parameter at least is to be learned of.
    last.min(names.len() - 1)
}

/// Refuses a network that knows probabilities of single values beside densities: local likelihoods know none, and the two cannot be compared.
fn no_atoms(network: &Model) -> Result<()> {
    network.trained().observation_map.atoms.first().map_or(Ok(()), |column| {
        let message = format!(
            "single values of column {column} have a probability of their own, and local likelihoods know none; train a model of the likelihood, and refine from it by its mean scores"
        );
        Err(Error::Input { origin: "the simulations".into(), message })
    })
}

/// The symmetry that the base was found to have, or that of the task where it is one of the latent parameters too.
fn symmetry(task: &dyn Task, latent: &LatentMap, base: Option<&Model>) -> Symmetry {
    if let Some(Networks::Likelihood { symmetry, .. }) = base.map(|base| &base.trained().networks)
        && symmetry.order() > 1
    {
        return symmetry.clone();
    }
    let (symmetry, m) = (task.symmetry(), latent.dim());
    let mut rng = StreamKey::root(0).child(Purpose::Symmetry).rng(0);
    let commutes = (0..SYMMETRY_POINTS).all(|_| {
        let mut theta = vec![0.0; m];
        task.prior().sample(&mut rng, &mut theta);
        symmetry.elements().iter().all(|element| {
            let [mut u, mut image, mut of_image, mut expected] = [(); 4].map(|()| vec![0.0; m]);
            latent.to_latent(&theta, &mut u);
            element.apply(&u, &mut expected);
            element.apply(&theta, &mut image);
            latent.to_latent(&image, &mut of_image);
            of_image.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6)
        })
    });
    if commutes { symmetry } else { Symmetry::none(m) }
}

fn finish(task: &dyn Task, latent: LatentMap, n_obs: usize, refinement: Refinement, mut notes: Vec<Note>) -> Refined {
    let Refinement { model, draws, rounds, verdict, simulations, log_evidence: _, proposed: _ } = refinement;
    let theta = to_parameters(&latent, draws.view());
    let d = task.dim_x();
    if model.components.iter().any(|component| component.success.is_some()) {
        notes.push(Note::Success { informs: true, p_value: None });
    }
    let info = ModelInfo {
        task: task.name().to_owned(),
        observation_names: task.observation_names(),
        signal_window: task.signal_window(),
        n_train: simulations,
        notes,
        ..ModelInfo::default()
    };
    let mut observation_map = ObservationMap::standardize(vec![0.0; d], vec![1.0; d]);
    observation_map.log = task.x_transform() == XTransform::Log;
    let trained = TrainedModel { networks: Networks::Refined(model), latent, observation_map, info };
    let at_edge = rounds.last().map_or(0.0, |round| round.at_edge);
    let info = SampleInfo { at_edge, ..SampleInfo::default() };
    let model = Model::new(trained);
    let posterior = Posterior { names: model.names().to_vec(), theta, lapses: None, n_obs, info };
    Refined { model, posterior, rounds, verdict, simulations }
}

/// Latent draws of the base's posterior at as many observations' worth as it may be believed.
fn start(
    task: &dyn Task,
    base: &Model,
    x: ArrayView2<'_, f32>,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<(Array2<f64>, f64)> {
    same_prior("the model", base.trained().latent.prior(), task)?;
    same_observations(base, task)?;
    let centred = base.centre("observations", x.mapv(f64::from).view())?;
    let x = centred.view();
    let worth = BASE_WORTH.min(x.nrows() as f64);
    let key = key.child(Purpose::Refinement);
    let quiet = Quiet(monitor);
    if let PreparedModel::Likelihood(likelihood) = base.prepared() {
        let groups = [x];
        let request = SampleRequest { groups: &groups, first_group: 0, key, covariances: None };
        let options = SampleOptions::default().tempering;
        let tempered = Worth::new(likelihood, worth);
        let (samples, _) = sample_tempered(&tempered, &request, BASE_SAMPLES, &options, &quiet)?;
        return Ok((samples.latent.index_axis_move(Axis(0), 0), worth));
    }
    // Of scores, the posterior of the first observations.
    let first = x.slice(s![..worth as usize, ..]);
    let options = SampleOptions { samples: BASE_SAMPLES, ..SampleOptions::default() };
    let (theta, _) = base.sample_groups(&[first], key, &options, None, &quiet)?;
    let map = LatentMap::prior_gaussian(task.prior());
    Ok((to_latent(&map, theta.index_axis(Axis(0), 0)), worth))
}

/// Rows made before, in latent coordinates.
fn earlier(task: &dyn Task, latent: &LatentMap, rows: &Simulations, failures: Failures) -> Result<refine::Rows> {
    same_prior("the simulations", &rows.prior, task)?;
    let (_, each, d) = rows.x.dim();
    if d != task.dim_x() || each == 0 {
        let (expected, found) = (format!("{} values an observation", task.dim_x()), d.to_string());
        return Err(Error::Shape { what: "simulations".into(), expected, found });
    }
    let (theta, x) = rows.valid_rows();
    let failed: Vec<usize> = (0..rows.valid.len()).filter(|&row| !rows.valid[row]).collect();
    if each > 1 && !failed.is_empty() && failures == Failures::Inform {
        let message = format!(
            "{} of its rows of {each} observations failed, and in which observation is not known; give simulations of one observation a row, or \
             failures = \"condition\"",
            failed.len()
        );
        return Err(Error::Input { origin: "the simulations".into(), message });
    }
    let failed = to_latent(latent, rows.theta.select(Axis(0), &failed).view()).into_iter().collect();
    let u = to_latent(latent, theta.view());
    // The first observation of each: rows are to be independent.
    let first = x.slice(s![.., ..1, ..]);
    Ok(refine::Rows { u: u.into_iter().collect(), x: first.iter().copied().collect(), failed })
}

/// Checks a model against a task of the user's: those that are built in, and functions, bring names of their own.
fn same_observations(base: &Model, task: &dyn Task) -> Result<()> {
    let trained = base.trained();
    let (known, names) = (&trained.info.observation_names, task.observation_names());
    let transforms = [trained.observation_map.log, task.x_transform() == XTransform::Log];
    let message = if !known.is_empty() && *known != names {
        format!("was trained on the observations {}, {} has {}", known.join(", "), task.name(), names.join(", "))
    } else if transforms[0] != transforms[1] {
        format!("was trained on another transform of observations than that of {}", task.name())
    } else {
        return Ok(());
    };
    if task.source().is_none() {
        return Ok(());
    }
    Err(Error::Input { origin: "the model".into(), message: format!("{message}; give the task it was trained on") })
}

fn same_prior(what: &str, prior: &Prior, task: &dyn Task) -> Result<()> {
    if prior == task.prior() {
        return Ok(());
    }
    let message = format!("has another prior than the task {}; give one of this task", task.name());
    Err(Error::Input { origin: what.into(), message })
}
