//! Reference posteriors of built-in tasks: which sampler, its chains, and whether they converged.

use crate::{Error, Result};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use rayon::prelude::*;
use std::ops::Range;
use tallsbi_data::{Choice, Monitor, Named, Purpose, Quiet, Silent, StreamKey, Symmetry};
use tallsbi_diagnostics::Convergence;
use tallsbi_diagnostics::convergence::{LARGEST_RHAT, SMALLEST_ESS, convergence, largest_rhat, smallest_ess};
use tallsbi_diagnostics::sbc::{RankOptions, Sbc, sbc};
use tallsbi_inference::reference::{
    ChainInfo, Chains, LatentPosterior, ReferenceOptions, sample_chains, sample_nuts, sample_tempered,
};
use tallsbi_simulators::{Rows, Task};

/// How a reference posterior is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReferenceMethod {
    /// The task's own sampler where it has one, else NUTS.
    #[default]
    Auto,
    /// No-U-turn sampler in the space where the prior is N(0, I).
    Nuts,
    /// Populations tempered from the prior to the posterior: right weights for any modes.
    Tempered,
}

impl Named for ReferenceMethod {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("auto", "The task's own sampler where it has one, else nuts", Self::Auto),
            Choice::new("nuts", "No-U-turn sampler in the space where the prior is N(0, I)", Self::Nuts),
            Choice::new(
                "tempered",
                "Populations tempered from the prior to the posterior: right weights for any modes",
                Self::Tempered,
            ),
        ]
    }
}

/// Samples of a tall posterior with what tells whether to believe them.
pub struct ReferencePosterior {
    /// Samples (chain, draw, m).
    pub samples: Array3<f64>,
    /// Per parameter: R̂ of the whole run, effective sizes of the samples kept.
    pub convergence: Vec<Convergence>,
    /// What made them.
    pub method: String,
    /// Work and incidents.
    pub info: ChainInfo,
    /// Whether its draws are independent and exact, so that more of the same is the only remedy.
    pub exact: bool,
    /// Number of maps of the task's symmetry.
    pub symmetry: usize,
    /// Options of the run that converged, or the last one.
    pub options: ReferenceOptions,
}

impl ReferencePosterior {
    /// The largest R̂.
    pub fn rhat(&self) -> f64 {
        largest_rhat(&self.convergence)
    }

    /// The smallest effective sample size, of bulk and tails.
    pub fn ess(&self) -> f64 {
        smallest_ess(&self.convergence)
    }

    /// Whether longer chains would help: they disagree, or what is kept of them is worth less than it could be.
    fn wants_longer_chains(&self) -> bool {
        let kept = (self.samples.dim().0 * self.samples.dim().1) as f64;
        self.rhat().is_nan() || self.rhat() > LARGEST_RHAT || self.ess() < SMALLEST_ESS.min(kept * SMALLEST_SHARE)
    }

    /// Why these samples are not a reference, and what to do; `None` if they are.
    pub fn objection(&self, names: &[String]) -> Option<String> {
        let worst = |key: &dyn Fn(&Convergence) -> f64| {
            let index = (0..self.convergence.len())
                .max_by(|&a, &b| key(&self.convergence[a]).total_cmp(&key(&self.convergence[b])));
            index.and_then(|i| names.get(i)).map_or("?", String::as_str)
        };
        let kept = self.samples.dim().0 * self.samples.dim().1;
        if (kept as f64) < SMALLEST_ESS {
            return Some(format!(
                "{kept} samples cannot be worth the {SMALLEST_ESS} independent ones that are wanted; give more samples"
            ));
        }
        let more = if self.exact || (kept as f64) < 1.5 * SMALLEST_ESS {
            "more samples"
        } else {
            "more warm-up and thinning, or tempered populations if there may be several modes"
        };
        // NaN objects too.
        if self.rhat().is_nan() || self.rhat() > LARGEST_RHAT {
            let name = worst(&|c| c.rhat);
            return Some(format!(
                "the chains do not agree (R-hat {:.3} for {name}, at most {LARGEST_RHAT} wanted); give {more}",
                self.rhat()
            ));
        }
        if self.ess().is_nan() || self.ess() < SMALLEST_ESS {
            let name = worst(&|c| -c.ess_bulk.min(c.ess_tail));
            return Some(format!(
                "the {kept} samples are worth {:.0} independent ones for {name}, at least {SMALLEST_ESS} wanted; give {more}",
                self.ess()
            ));
        }
        None
    }
}

/// How often to try again when chains have not converged. Each time four times the draws are made for each that is kept, after
/// twice the warm-up and by smaller steps; chains that disagree as those in different modes do are given up for tempered
/// populations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries(pub usize);

impl Default for Retries {
    fn default() -> Self {
        Self(3)
    }
}

/// Chains of which fewer samples than are wanted in all are kept shall be worth this share of them.
const SMALLEST_SHARE: f64 = 0.4;
/// Acceptance that the steps of a retry are adapted to, at least.
const CAREFUL_ACCEPT: f64 = 0.95;
/// Beyond this R̂ chains are taken to have met different modes, between which longer ones would hardly move either.
const MODES_RHAT: f64 = 1.05;

/// Samples the posterior of `task` given all rows of `x` (n, d), and again with more effort while the chains have not converged.
///
/// The cost of an evaluation does not depend on n for tasks with sufficient statistics (all but the mixtures and two moons).
pub fn sample_reference(
    task: &dyn Task,
    x: ArrayView2<'_, f32>,
    method: ReferenceMethod,
    options: &ReferenceOptions,
    retries: Retries,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<ReferencePosterior> {
    let (mut options, mut used) = (*options, method);
    let mut posterior = sample_once(task, x, method, &options, key, monitor)?;
    for attempt in 0..retries.0 {
        if posterior.exact || !posterior.wants_longer_chains() {
            break;
        }
        tracing::debug!(
            "{}, attempt {}: R-hat {:.3}, effective sample size {:.0}",
            posterior.method,
            attempt + 1,
            posterior.rhat(),
            posterior.ess()
        );
        if used == ReferenceMethod::Auto && posterior.rhat() > MODES_RHAT {
            used = ReferenceMethod::Tempered;
        } else {
            options.thinning *= 4;
        }
        options.warmup *= 2;
        options.target_accept = options.target_accept.max(CAREFUL_ACCEPT);
        posterior =
            sample_once(task, x, used, &options, key.child(Purpose::Reference).indexed(attempt as u64), monitor)?;
    }
    Ok(posterior)
}

fn sample_once(
    task: &dyn Task,
    x: ArrayView2<'_, f32>,
    method: ReferenceMethod,
    options: &ReferenceOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<ReferencePosterior> {
    // Also checks the observations.
    let own = task.posterior_sampler(x)?;
    if let (Some(sampler), ReferenceMethod::Auto) = (&own, method) {
        let stream = key.child(Purpose::Reference);
        let exact = sampler.independent();
        // Thinned all the same: R̂ of more draws does not object by chance.
        let warmup = if exact { 0 } else { options.warmup };
        let start = |chain| sampler.chain(stream.rng(chain));
        let chains = sample_chains(task.prior().dim(), &start, warmup, options, monitor)?;
        // Such samplers visit all modes.
        let symmetry = Symmetry::none(task.prior().dim());
        return Ok(ReferencePosterior { exact, ..judge(chains, sampler.method(), &symmetry, options, key)? });
    }
    let Some(likelihood) = task.log_likelihood() else {
        return Err(Error::NoLikelihood { task: task.name().to_owned() });
    };
    let given = likelihood.given(x);
    let density = LatentPosterior::new(task.prior(), |theta: &[f64], gradient: &mut [f64]| {
        given.log_likelihood_gradient(theta, gradient)
    });
    let (chains, name) = match method {
        ReferenceMethod::Auto | ReferenceMethod::Nuts => (sample_nuts(&density, options, key, monitor)?, "NUTS"),
        ReferenceMethod::Tempered => (sample_tempered(&density, options, key, monitor)?, "tempered populations"),
    };
    let chains = Chains { draws: density.to_parameters(chains.draws.view()), info: chains.info };
    judge(chains, name, &task.symmetry(), options, key)
}

/// log λ(θ) + log p(x_{1:n}|θ) of each row of θ (N, m) with the likelihood of `task`, up to a constant that does not depend on θ; nothing where it has none. Observations (n, d) are as [`sample_reference`] took them.
pub fn task_log_posterior(task: &dyn Task, x: ArrayView2<'_, f32>, theta: ArrayView2<'_, f64>) -> Option<Vec<f64>> {
    let given = task.log_likelihood()?.given(x);
    let at = |row: usize| {
        let theta = theta.row(row).to_vec();
        task.prior().log_density(&theta) + given.log_likelihood_gradient(&theta, &mut vec![0.0; theta.len()])
    };
    Some((0..theta.nrows()).into_par_iter().map(at).collect())
}

/// What [`calibrate_reference`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceCalibration {
    /// The tests of the ranks.
    pub sbc: Sbc,
    /// The largest R̂ of each posterior.
    pub rhat: Vec<f64>,
}

/// Simulation-based calibration of reference posteriors: draws `pairs` parameters from the prior, simulates `n_obs` observations of each, and samples the reference
/// posterior given them, as [`sample_reference`] does. Where it is exact, the parameters rank uniformly among the samples.
///
/// # Errors
/// As [`sample_reference`].
pub fn calibrate_reference(
    task: &dyn Task,
    (pairs, n_obs): (usize, usize),
    method: ReferenceMethod,
    options: &ReferenceOptions,
    retries: Retries,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<ReferenceCalibration> {
    let (m, d) = (task.prior().dim(), task.dim_x());
    let key = key.child(Purpose::Calibration);
    let mut theta = Array2::zeros((pairs, m));
    for (pair, mut row) in theta.outer_iter_mut().enumerate() {
        let drawn = row.as_slice_mut().expect("rows are contiguous");
        task.prior().sample(&mut key.child(Purpose::Prior).rng(pair as u64), drawn);
    }
    let (stage, quiet) = (monitor.stage("calibrate", "posteriors", pairs as u64), Quiet(monitor));
    let of_pair = |pair: usize| -> Result<(Vec<f64>, f64)> {
        let (theta, first_row) = (theta.slice(s![pair..=pair, ..]), pair as u64);
        let rows = Rows { theta, n_obs, key: key.child(Purpose::Simulator), first_row };
        let mut x = Array2::zeros((n_obs, d));
        task.simulate_batch(&rows, x.as_slice_mut().expect("rows are contiguous"), &mut [0])?;
        let posterior = sample_reference(task, x.view(), method, options, retries, key.indexed(first_row), &quiet)?;
        stage.advance(1);
        let rhat = posterior.rhat();
        Ok((posterior.samples.into_iter().collect(), rhat))
    };
    let several = |pairs: Range<usize>| pairs.into_par_iter().map(of_pair).collect::<Result<Vec<_>>>();
    let found = monitor.share("reference posteriors", pairs, several)?.into_iter().flatten();
    let (draws, rhat): (Vec<Vec<f64>>, Vec<f64>) = found.unzip();
    let draws = draws.concat();
    let draws = Array3::from_shape_vec((pairs, draws.len() / (pairs * m), m), draws).expect("as many of each");
    Ok(ReferenceCalibration { sbc: sbc(theta.view(), draws.view(), &RankOptions::default(), key, &Silent)?, rhat })
}

/// Thins the chains, measures their convergence up to the symmetry, and gives modes that it exchanges equal weights.
fn judge(
    chains: Chains,
    method: &str,
    symmetry: &Symmetry,
    options: &ReferenceOptions,
    key: StreamKey,
) -> Result<ReferencePosterior> {
    let mut samples = chains.thinned(options.thinning);
    let convergence = {
        let mut folded = chains.draws;
        let mut kept = samples.clone();
        for draws in [&mut folded, &mut kept] {
            for mut lane in draws.lanes_mut(Axis(2)) {
                let mut theta = lane.to_vec();
                theta = symmetry.canonical(&theta).1;
                lane.iter_mut().zip(&theta).for_each(|(to, from)| *to = *from);
            }
        }
        let run = convergence(folded.view())?;
        let kept = convergence(kept.view())?;
        run.iter().zip(kept).map(|(run, kept)| Convergence { rhat: run.rhat, ..kept }).collect()
    };
    let stream = key.child(Purpose::Symmetry);
    for (chain, mut draws) in samples.outer_iter_mut().enumerate() {
        let mut rng = stream.rng(chain as u64);
        for mut row in draws.outer_iter_mut() {
            let mut theta = row.to_vec();
            symmetry.randomise(&mut rng, &mut theta);
            row.iter_mut().zip(&theta).for_each(|(to, from)| *to = *from);
        }
    }
    Ok(ReferencePosterior {
        samples,
        convergence,
        method: method.to_owned(),
        exact: false,
        info: chains.info,
        symmetry: symmetry.order(),
        options: *options,
    })
}
