//! Rounds of simulation at the observations, from a base posterior or from nothing but the prior.

use super::calibrate::{Posterior, calibrate};
use super::check::check;
use super::fit::Rows;
use super::frame::Frame;
use super::judge::{RoundRecord, Verdict, movement, predicted_error, rows_needed};
use super::learn::learn;
use super::model::RefinedModel;
use super::nearest::nearest;
use super::options::RefineOptions;
use super::proposal::{Proposal, around_modes};
use super::sample::sample_refined;
use crate::sample::SampleRequest;
use crate::{InferenceError, Result};
use ndarray::{Array2, ArrayView2};
use tallsbi_data::{LatentMap, Monitor, Purpose, Quiet, StreamKey, Symmetry};

/// Simulates one observation of each row of θ (rows, m): x (rows, d) and whether each has a result. Row i is a pure function of its θ, the key and
/// `first_row` + i.
pub trait Simulate: Sync {
    /// Simulates.
    ///
    /// # Errors
    /// When the simulator cannot go on, or was asked to stop.
    fn simulate(&self, theta: ArrayView2<'_, f64>, first_row: u64, key: StreamKey) -> Result<(Array2<f32>, Vec<bool>)>;
}

impl<F> Simulate for F
where
    F: Fn(ArrayView2<'_, f64>, u64, StreamKey) -> Result<(Array2<f32>, Vec<bool>)> + Sync,
{
    fn simulate(&self, theta: ArrayView2<'_, f64>, first_row: u64, key: StreamKey) -> Result<(Array2<f32>, Vec<bool>)> {
        self(theta, first_row, key)
    }
}

/// What to refine at.
pub struct Problem<'a> {
    /// The prior-gaussian map of the parameters.
    pub latent: &'a LatentMap,
    /// Symmetry of prior and likelihood in latent coordinates.
    pub symmetry: Symmetry,
    /// The observations, (n, d).
    pub x: ArrayView2<'a, f32>,
    /// Whether Gaussians are those of log x.
    pub log: bool,
    /// How many of the last parameters only move observations ([`Location`](tallsbi_data::Location)), by as much as they or their distribution functions grow: means are linear in them, and
    /// nothing else depends on them.
    pub moving: usize,
    /// Draws (rows, m) of a posterior to start from, latent; none starts from the prior.
    pub start: Option<Start<'a>>,
    /// Whether observations are summaries of which the mean alone counts, as a Gaussian, whatever the law of one is.
    pub means: bool,
    /// Simulations made before: latent parameters (N, m) and x (N, d). They serve where they are near.
    pub earlier: Rows,
}

/// A first posterior.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Latent draws, (rows, m).
    pub draws: ArrayView2<'a, f64>,
    /// How many observations' worth of likelihood they follow.
    pub worth: f64,
}

/// A refined model with its posterior at the observations.
#[derive(Debug, Clone, PartialEq)]
pub struct Refinement {
    /// The model.
    pub model: RefinedModel,
    /// Latent draws of the posterior, (samples, m).
    pub draws: Array2<f64>,
    /// log ∫ prior × likelihood.
    pub log_evidence: f64,
    /// What each round did.
    pub rounds: Vec<RoundRecord>,
    /// Whether it has settled.
    pub verdict: Verdict,
    /// The Gaussians that the last two rounds drew from, those of the last first; they hold one point of each orbit.
    pub proposed: Vec<Frame>,
    /// Simulations made.
    pub simulations: usize,
}

impl Refinement {
    /// Width of the widest Gaussian that the last two rounds drew from, geometric mean over directions, in the prior's sd: at most 1.2.
    pub fn breadth(&self) -> f64 {
        let widths = self.proposed.iter().map(|frame| (frame.log_determinant() / frame.dim() as f64).exp());
        widths.fold(0.0, f64::max)
    }
}

/// Rounds at most where they are automatic.
const MOST_ROUNDS: usize = 12;

/// Observations' worth that a start from the prior is taken for: after growth, the first round follows one observation. What polynomials miss over the whole prior all
/// observations share, so that more would count the same error several times.
const PRIOR_WORTH: f64 = 0.1;

/// Share of a budget that scouting rounds may take, and one of them.
const SCOUTING: f64 = 0.5;
const SCOUTING_ROUND: f64 = 0.15;

/// Rows of a scouting round at least, a coefficient of degree 2.
const SCOUTING_ROWS: usize = 40;

/// Rows of the first look a coefficient of degree 2, and their share of a budget at most.
const LOOK_ROWS: usize = 100;
const LOOK: f64 = 0.1;

/// Doublings of scouting rounds that lead nowhere, at most.
const MOST_DOUBLINGS: u32 = 6;

/// What changes from round to round.
struct State {
    draws: Vec<f64>,
    worth: f64,
    moved: Option<Vec<f64>>,
    rows: Rows,
    proposal: Option<Proposal>,
    /// The one before.
    before: Option<Proposal>,
    made: usize,
    /// Whether the last two posteriors agree well enough to follow more of the likelihood, or to spend what is left.
    agreed: bool,
    /// Whether they followed the same share of it.
    same: bool,
    /// Scouting rounds in a row after which they did not agree.
    astray: u32,
    /// Rounds made that were more than scouting.
    settling: usize,
}

/// Movements, in sd, up to which two rounds' posteriors agree.
const AGREED: f64 = 1.0;

/// Ratios of standard deviations up to which they do.
const AGREED_WIDTH: f64 = 1.6;

/// Refines at observations.
///
/// Each round draws parameters around the present posterior, simulates, fits [local likelihoods](super::fit) to all rows that lie there, and samples the posterior
/// under the true prior. The result is a function of the problem, options and key alone.
///
/// # Errors
/// Options out of range, observations that do not fit, simulators that fail nearly everywhere, or when the monitor asks to stop.
pub fn refine(
    problem: Problem<'_>,
    simulator: &dyn Simulate,
    options: &RefineOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Refinement> {
    options.validate()?;
    let (n, m) = (problem.x.nrows(), problem.latent.dim());
    if !problem.latent.is_prior_gaussian() {
        let message =
            "a refinement works where the prior is N(0, I); give a model whose latent space is prior-gaussian".into();
        return Err(InferenceError::Option { option: "latent", message });
    }
    let key = key.child(Purpose::Refinement);
    let mut state = State::new(&problem, m, key);
    let stage = monitor.stage("refine", "simulations", options.budget.unwrap_or(0) as u64);
    let mut records: Vec<RoundRecord> = Vec::new();
    let (mut result, mut collapsed): (Option<Outcome>, _) = (None, None);
    if problem.start.is_none() {
        state.look(&problem, simulator, options, key)?;
        stage.advance_noting(state.made as u64, "");
    }
    let mut verdict = Verdict::NotSettled { reason: "no simulations were allowed; give a larger budget".into() };
    for round in 0..options.rounds.unwrap_or(MOST_ROUNDS) {
        stage.check()?;
        let worth = match state.agreed {
            // The last rounds follow all of it, or the verdict would compare two that do not.
            true if spent(&state, options) => n as f64,
            true => (state.worth * options.growth).min(n as f64),
            false => state.worth,
        };
        let (size, last) = round_size(&problem, &state, worth, options, round);
        if size == 0 {
            break;
        }
        let plan = Plan { round, size, worth, last };
        let (record, outcome) = match one_round(&problem, simulator, options, &mut state, plan, key, monitor) {
            // Its simulations are kept: the next round goes on from the last posterior that could be sampled, with more of them.
            Err(error @ (InferenceError::Collapsed { .. } | InferenceError::NoWidth)) => {
                verdict = Verdict::NotSettled { reason: format!("in the last round {error}") };
                state.collapsed(last);
                collapsed = Some(error);
                continue;
            }
            other => other?,
        };
        verdict = record.verdict(records.last(), n, options.tolerance);
        records.push(record);
        result = Some(outcome);
        stage.advance_noting(size as u64, "");
        if options.rounds.is_none() && options.budget.is_none() && verdict.is_settled() {
            break;
        }
    }
    let Some((model, draws, log_evidence)) = result else {
        let message = "allows no simulations; give a larger one".into();
        return Err(collapsed.unwrap_or(InferenceError::Option { option: "budget", message }));
    };
    let last = [&state.proposal, &state.before].into_iter().flatten().flat_map(|proposal| &proposal.parts);
    let proposed = last.map(|(_, frame)| frame.clone()).collect();
    Ok(Refinement { model, draws, log_evidence, rounds: records, verdict, proposed, simulations: state.made })
}

impl State {
    fn new(problem: &Problem<'_>, m: usize, key: StreamKey) -> Self {
        let (draws, worth) = match problem.start {
            Some(start) => (start.draws.iter().copied().collect(), start.worth),
            None => (Proposal::prior(m).draw(None, 0.0, key.child(Purpose::SamplerStart), 0, 2000), PRIOR_WORTH),
        };
        let worth = worth.min(problem.x.nrows() as f64);
        Self {
            draws,
            worth,
            moved: None,
            rows: problem.earlier.clone(),
            proposal: None,
            before: None,
            made: 0,
            agreed: problem.start.is_none(),
            same: false,
            astray: 0,
            settling: 0,
        }
    }
}

/// A coming round.
struct Plan {
    round: usize,
    size: usize,
    worth: f64,
    last: bool,
}

/// Whether scouting has had its share of the budget.
fn spent(state: &State, options: &RefineOptions) -> bool {
    options.budget.is_some_and(|budget| state.made as f64 >= SCOUTING * budget as f64)
}

/// Simulations of the coming round, and whether it is more than scouting: a scouting round's until the whole posterior is followed and looked at once, then what is missing.
fn round_size(
    problem: &Problem<'_>,
    state: &State,
    worth: f64,
    options: &RefineOptions,
    round: usize,
) -> (usize, bool) {
    let (n, m) = (problem.x.nrows(), problem.latent.dim());
    let left = options.budget.map_or(usize::MAX, |budget| budget.saturating_sub(state.made));
    if let Some(size) = options.per_round {
        return (size.min(left), true);
    }
    let quadratic = (m + 1) * (m + 2) / 2;
    let all = options.budget.unwrap_or(usize::MAX) as f64;
    let last = options.rounds.is_some_and(|rounds| round + 1 == rounds);
    let settling = state.worth >= n as f64 && state.agreed && state.same && round > 0;
    if last || settling || spent(state, options) {
        let needed = rows_needed(n, m, options.width, options.tolerance).max(2 * SCOUTING_ROWS * quadratic);
        // With a budget, all that is left, for more rows never harm: in two rounds, so that the verdict does not compare the last posterior with one that scouted.
        let first = state.settling == 0 && !last && round + 2 < MOST_ROUNDS && left > 2 * SCOUTING_ROWS * quadratic;
        let share = if first { left.div_ceil(2) } else { left };
        return (options.budget.map_or(needed, |_| share), true);
    }
    let scouting =
        rows_needed(worth as usize, m, options.width, 2.0 * options.tolerance).max(SCOUTING_ROWS * quadratic);
    // Where rounds do not agree, the polynomials need more rows, or narrower places that more rows find.
    (
        scouting.saturating_mul(1 << state.astray.min(MOST_DOUBLINGS)).min((SCOUTING_ROUND * all) as usize).min(left),
        false,
    )
}

type Outcome = (RefinedModel, Array2<f64>, f64);

fn one_round(
    problem: &Problem<'_>,
    simulator: &dyn Simulate,
    options: &RefineOptions,
    state: &mut State,
    plan: Plan,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<(RoundRecord, Outcome)> {
    let m = problem.latent.dim();
    let Plan { round, size, worth, last } = plan;
    let key = key.indexed(round as u64);
    let proposal = match around_modes(&state.draws, m, options, state.moved.as_deref()) {
        Ok(parts) => Proposal { parts },
        // Draws in a plane, as rounding may have it, say where but not how far: as far as before.
        Err(InferenceError::NoWidth) => state.proposal.clone().unwrap_or_else(|| Proposal::prior(m)),
        Err(error) => return Err(error),
    };
    let u =
        proposal.draw(state.proposal.as_ref(), options.defensive, key.child(Purpose::Prior), state.made as u64, size);
    let failed = state.simulate(problem, simulator, &u, key)?;
    monitor.check()?;
    let known = (problem.latent.prior(), &problem.symmetry, problem.x.nrows(), problem.means);
    let mut learned =
        learn(known, &proposal, &state.rows, problem.log, (options.forms(problem.moving), options.failures), monitor)?;
    let groups = [problem.x];
    let request = SampleRequest { groups: &groups, first_group: 0, key, covariances: None };
    let sample = |model: &RefinedModel| -> Result<Posterior> {
        let (samples, reach) =
            sample_refined(model, &request, options.samples, Some(worth), &options.tempering, &Quiet(monitor))?;
        let draws: Vec<f64> = samples.latent.iter().copied().collect();
        let canonical = draws.chunks_exact(m).flat_map(|u| model.symmetry.canonical(u).1).collect();
        Ok(Posterior { draws, canonical, reach: reach[0] })
    };
    monitor.check()?;
    let mut posterior = sample(&learned.model)?;
    let log_evidence = posterior.reach.log_evidence;
    let calibrated =
        calibrate(&mut learned, &mut posterior, worth, options.forms(problem.moving), key, monitor, sample)?;
    monitor.check()?;
    let (model, used) = (&learned.model, learned.counts());
    let Posterior { draws, canonical, reach } = posterior;
    let (moved, widened, shift) = movement(&state.draws, &canonical, m);
    let checked = check(&learned, &canonical, problem.x, worth)?;
    let record = RoundRecord {
        bias: checked.bias.size,
        bias_error: checked.bias.error,
        misfit: checked.misfit,
        likeness: checked.likeness,
        last,
        simulations: size,
        failed,
        rows: used.iter().sum(),
        worth,
        components: model.components.len(),
        held_out: learned.held_out,
        moved,
        widened,
        predicted_error: predicted_error(model, &canonical, m, worth, &used),
        at_edge: reach.at_edge,
        narrow: calibrated.narrow,
        by_scores: calibrated.by_scores,
    };
    // A posterior that followed less of the likelihood is to be within its own, wider sd.
    let same = state.worth >= worth;
    let jump = if same { moved } else { movement(&canonical, &state.draws, m).0 };
    state.agreed = jump <= AGREED && (!same || widened <= AGREED_WIDTH);
    state.same = same;
    state.astray = if state.agreed { 0 } else { state.astray + 1 };
    state.settling += usize::from(last);
    state.moved = same.then_some(shift);
    (state.draws, state.worth) = (canonical, worth);
    state.before = state.proposal.replace(proposal);
    let draws = Array2::from_shape_vec((options.samples, m), draws).expect("one row a sample");
    Ok((record, (learned.model, draws, log_evidence)))
}

impl State {
    /// A first look from the prior: at the simulations most like the observations.
    fn look(
        &mut self,
        problem: &Problem<'_>,
        simulator: &dyn Simulate,
        options: &RefineOptions,
        key: StreamKey,
    ) -> Result<()> {
        let m = problem.latent.dim();
        let quadratic = (m + 1) * (m + 2) / 2;
        let most = options.budget.map_or(usize::MAX, |budget| (LOOK * budget as f64) as usize);
        let size = options.per_round.unwrap_or(LOOK_ROWS * quadratic).min(most);
        let u = Proposal::prior(m).draw(None, 0.0, key.child(Purpose::Prior), 0, size);
        self.simulate(problem, simulator, &u, key)?;
        let x: Vec<f32> = problem.x.iter().copied().collect();
        self.draws = nearest(&self.rows, m, &x, problem.log);
        Ok(())
    }

    /// Takes note of a round whose posterior could not be sampled.
    fn collapsed(&mut self, last: bool) {
        (self.agreed, self.same) = (false, false);
        self.astray += 1;
        self.settling += usize::from(last);
    }

    /// Simulates at `u` and keeps the rows with a result; returns how many had none.
    fn simulate(
        &mut self,
        problem: &Problem<'_>,
        simulator: &dyn Simulate,
        u: &[f64],
        key: StreamKey,
    ) -> Result<usize> {
        let m = problem.latent.dim();
        let rows = u.len() / m;
        let mut theta = Array2::zeros((rows, m));
        let mut out = vec![0.0; m];
        for (mut row, u) in theta.outer_iter_mut().zip(u.chunks_exact(m)) {
            problem.latent.to_parameters(u, &mut out);
            row.iter_mut().zip(&out).for_each(|(to, from)| *to = *from);
        }
        let (x, valid) = simulator.simulate(theta.view(), self.made as u64, key.child(Purpose::Simulator))?;
        self.made += rows;
        let mut failed = 0;
        for ((u, x), valid) in u.chunks_exact(m).zip(x.outer_iter()).zip(valid) {
            if valid && x.iter().all(|value| value.is_finite()) {
                self.rows.u.extend(problem.symmetry.canonical(u).1);
                self.rows.x.extend(x.iter());
            } else {
                self.rows.failed.extend(problem.symmetry.canonical(u).1);
                failed += 1;
            }
        }
        Ok(failed)
    }
}
