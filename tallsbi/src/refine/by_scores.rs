//! A refinement by the mean scores of a network: the network says what to look at, simulations what that tells.

use super::refined::{Refined, to_latent, to_parameters};
use super::simulator::{KeepSimulations, Simulator};
use super::{RefineFrom, start};
use crate::{Error, Model, Posterior, Result};
use ndarray::{Array2, ArrayView2, Axis, s};
use tallsbi_data::{Monitor, Purpose, StreamKey, Symmetry};
use tallsbi_inference::model::{
    LikelihoodModel, MeanScores, Networks, PreparedModel, ScorePoints, design, seen_observations,
};
use tallsbi_inference::notes::Note;
use tallsbi_inference::refine::{
    self, By, FEWEST, Problem, RefineOptions, Refinement, RoundRecord, Rows, Simulate, Start,
};
use tallsbi_inference::sample::SampleInfo;
use tallsbi_simulators::Task;

/// Times that points are laid around the posterior as it is known then.
const PASSES: usize = 3;

/// Tolerance and share of the budget of passes that only say where the next one looks, relative to what is asked for.
const LOOSE: f64 = 3.0;
const LOOKING: f64 = 0.3;

/// The network whose mean scores the refinement goes by, if it does: where local likelihoods cannot, or where that is asked for.
///
/// # Errors
/// When there is none, fewer observations than make a mean Gaussian, or simulations that cannot count.
pub(super) fn network<'a>(
    task: &dyn Task,
    observations: ArrayView2<'_, f32>,
    from: &RefineFrom<'a>,
    by: By,
) -> Result<Option<&'a Model>> {
    let refused = |message: String| Err(Error::Input { origin: "the refinement".into(), message });
    let why = match no_forms(task, observations, from.base) {
        Some(why) if by == By::Forms => {
            return refused(format!("local likelihoods know nothing of {why}; refine by mean scores of a network"));
        }
        Some(why) => why,
        None if by == By::Scores => "by = scores".into(),
        None => return Ok(None),
    };
    let needed = format!("{why}: only the mean scores of a network serve");
    let Some(network) = from.base.filter(|base| matches!(base.prepared(), PreparedModel::Likelihood(_))) else {
        return refused(format!("{needed}; give a model of the likelihood to start from"));
    };
    let n = seen_observations(observations, task.conditions()).nrows();
    if (n as f64) < FEWEST {
        return refused(format!(
            "{needed}, and a mean of {n} observations is not Gaussian; sample the model as it is, whose error hardly shows in fewer than {FEWEST}"
        ));
    }
    if from.simulations.is_some() {
        return refused(format!("{needed}, whose law simulations made before do not tell; leave them out"));
    }
    Ok(Some(network))
}

/// Whether a refinement goes by mean scores, so that no network is trained in it.
pub fn goes_by_scores(task: &dyn Task, observations: ArrayView2<'_, f32>, base: Option<&Model>, by: By) -> bool {
    by == By::Scores || no_forms(task, observations, base).is_some()
}

/// What local likelihoods cannot take, if there is something.
fn no_forms(task: &dyn Task, observations: ArrayView2<'_, f32>, base: Option<&Model>) -> Option<String> {
    if task.conditions() > 0 {
        return Some("observations under conditions".into());
    }
    if observations.iter().any(|value| value.is_nan()) {
        return Some("missing values".into());
    }
    let column = base?.trained().observation_map.atoms.first()?;
    Some(format!("single values of column {column} that have a probability of their own"))
}

/// Refines by mean scores of a network at observations (n, d).
pub(super) fn refine(
    task: &dyn Task,
    (network, observations): (&Model, ArrayView2<'_, f32>),
    kept: Option<&dyn KeepSimulations>,
    options: &RefineOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Refined> {
    let conditions = task.conditions();
    let observations = seen_observations(observations, conditions);
    let known = observations.slice(s![.., ..conditions]);
    let under = (conditions > 0).then(|| task.under(known)).transpose()?;
    let task = under.as_deref().unwrap_or(task);
    let key = StreamKey::root(seed);
    let start = start(task, network, observations.view(), key, monitor)?;
    let simulator = Simulator::new(task, kept, monitor);
    let by = ByScores { network, observations: observations.view(), simulator: &simulator, options, key, monitor };
    by.refine(start)
}

/// What is known before.
struct ByScores<'a> {
    /// A network of the likelihood.
    network: &'a Model,
    /// Of which at least one value is known each, (n, d).
    observations: ArrayView2<'a, f32>,
    /// Simulates under the observations' conditions: row i under those of observation i mod n.
    simulator: &'a Simulator<'a>,
    options: &'a RefineOptions,
    key: StreamKey,
    monitor: &'a dyn Monitor,
}

/// Simulations as one pass sees them.
struct Summarised<'a, 'b> {
    by: &'a ByScores<'b>,
    likelihood: &'a LikelihoodModel,
    points: &'a ScorePoints,
    /// Simulations of the passes before.
    made: usize,
}

impl ByScores<'_> {
    /// Refines from latent draws (S, m) of the network's posterior for so many observations' worth.
    ///
    /// # Errors
    /// Those of the simulator and of [`refine::refine`].
    fn refine(&self, start: (Array2<f64>, f64)) -> Result<Refined> {
        let trained = self.network.trained();
        let (PreparedModel::Likelihood(likelihood), Networks::Likelihood { symmetry, .. }) =
            (self.network.prepared(), &trained.networks)
        else {
            unreachable!("a network of the likelihood")
        };
        let (mut draws, mut worth) = start;
        let (mut made, mut rounds): (usize, Vec<RoundRecord>) = (0, Vec::new());
        for pass in 1.. {
            let points =
                ScorePoints::around(&canonical(draws.view(), symmetry), likelihood, self.observations, self.monitor)?;
            let x = points.of(likelihood, self.observations, self.monitor)?;
            let summarised = Summarised { by: self, likelihood, points: &points, made };
            let problem = Problem {
                latent: &trained.latent,
                symmetry: symmetry.clone(),
                x: x.view(),
                log: false,
                moving: 0,
                start: Some(Start { draws: draws.view(), worth }),
                means: true,
                earlier: summarised.earlier(symmetry)?,
            };
            let key = self.key.child(Purpose::Replication).indexed(pass as u64);
            let options = self.share(made, pass == PASSES);
            let mut refinement = refine::refine(problem, &summarised, &options, key, self.monitor)?;
            made += refinement.simulations;
            rounds.append(&mut refinement.rounds);
            if pass == PASSES {
                return Ok(self.finish(points, refinement, rounds, made));
            }
            (draws, worth) = (refinement.draws, self.observations.nrows() as f64);
        }
        unreachable!("the last pass returns")
    }

    /// Options of a pass after `made` simulations.
    fn share(&self, made: usize, last: bool) -> RefineOptions {
        let budget = self
            .options
            .budget
            .map(|budget| if last { budget.saturating_sub(made) } else { (LOOKING * budget as f64).ceil() as usize });
        let tolerance = if last { self.options.tolerance } else { (LOOSE * self.options.tolerance).min(1.0) };
        RefineOptions { budget, tolerance, ..*self.options }
    }

    fn finish(&self, summary: ScorePoints, refinement: Refinement, rounds: Vec<RoundRecord>, made: usize) -> Refined {
        let mut trained = self.network.trained().clone();
        let theta = to_parameters(&trained.latent, refinement.draws.view());
        let design = design(self.observations, trained.info.conditions);
        if let Networks::Likelihood { mean_scores, .. } = &mut trained.networks {
            *mean_scores = Some(Box::new(MeanScores { summary, law: refinement.model, design }));
        }
        // Of networks as they were trained: simulations have told what their error does.
        trained.info.notes.retain(|note| !matches!(note, Note::Trusted { .. }));
        trained.info.notes.extend(self.simulator.notes());
        let info = SampleInfo { at_edge: rounds.last().map_or(0.0, |round| round.at_edge), ..SampleInfo::default() };
        let model = Model::new(trained);
        let (names, n_obs) = (model.names().to_vec(), self.observations.nrows());
        let posterior = Posterior { names, theta, lapses: None, n_obs, info };
        Refined { model, posterior, rounds, verdict: refinement.verdict, simulations: made }
    }
}

impl Summarised<'_, '_> {
    /// Summaries of simulations x (rows, d) from row `first` on, of which the same values are missing as of their observation; none of those without a result.
    fn of(&self, mut x: Array2<f32>, valid: &mut [bool], first: usize) -> tallsbi_inference::Result<Array2<f32>> {
        let observed = self.by.observations;
        let with_result: Vec<usize> = (0..valid.len()).filter(|&row| valid[row]).collect();
        for &row in &with_result {
            let like = observed.row((first + row) % observed.nrows());
            x.row_mut(row).iter_mut().zip(like).filter(|(_, seen)| seen.is_nan()).for_each(|(x, _)| *x = f32::NAN);
        }
        let t = self.points.of(self.likelihood, x.select(Axis(0), &with_result).view(), self.by.monitor)?;
        let mut summaries = Array2::from_elem((valid.len(), t.ncols()), f32::NAN);
        for (&row, t) in with_result.iter().zip(t.outer_iter()) {
            summaries.row_mut(row).assign(&t);
            valid[row] = t.iter().all(|value| value.is_finite());
        }
        Ok(summaries)
    }

    /// All simulations before this pass.
    fn earlier(&self, symmetry: &Symmetry) -> Result<Rows> {
        if self.made == 0 {
            return Ok(Rows::default());
        }
        let (theta, x, mut valid) = self.by.simulator.made();
        let u = to_latent(&self.by.network.trained().latent, theta.view());
        let t = self.of(x.mapv(|value| value as f32), &mut valid, 0)?;
        let mut rows = Rows::default();
        for ((u, t), valid) in u.outer_iter().zip(t.outer_iter()).zip(valid) {
            let u = symmetry.canonical(&u.to_vec()).1;
            if valid {
                rows.u.extend(u);
                rows.x.extend(t);
            } else {
                rows.failed.extend(u);
            }
        }
        Ok(rows)
    }
}

impl Simulate for Summarised<'_, '_> {
    fn simulate(
        &self,
        theta: ArrayView2<'_, f64>,
        first_row: u64,
        key: StreamKey,
    ) -> tallsbi_inference::Result<(Array2<f32>, Vec<bool>)> {
        let first = self.made as u64 + first_row;
        let (x, mut valid) = self.by.simulator.simulate(theta, first, key)?;
        Ok((self.of(x, &mut valid, first as usize)?, valid))
    }
}

/// One point of the orbit of each row (S, m).
fn canonical(draws: ArrayView2<'_, f64>, symmetry: &Symmetry) -> Vec<f64> {
    draws.outer_iter().flat_map(|u| symmetry.canonical(&u.to_vec()).1).collect()
}
