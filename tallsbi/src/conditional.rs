//! A check of a posterior at the data at hand.

use crate::error::check_counts;
use crate::{Error, Model, Result};
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Monitor, Purpose, Quiet, StreamKey};
use tallsbi_diagnostics::posterior_sbc::PosteriorSbc;
use tallsbi_diagnostics::sbc::RankOptions;
use tallsbi_inference::sample::SampleOptions;
use tallsbi_simulators::{Rows, Task, simulate_parallel};

/// How [`posterior_sbc`] checks.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `pairs` | 200 | parameters drawn from the posterior, with new observations of each | ≥ 2 |
/// | `new` | none: as many as there are | new observations a pair | ≥ 1 |
/// | `draws` | 100 | samples of the posterior given both | ≥ 1 |
/// | `sampling` | [`SampleOptions`]'s | how they are drawn; its `samples` is not used | |
/// | `ranks` | [`RankOptions`]'s | how ranks are tested | |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PosteriorSbcOptions {
    /// Parameters drawn from the posterior.
    pub pairs: usize,
    /// New observations of each.
    pub new: Option<usize>,
    /// Samples of the posterior given both.
    pub draws: usize,
    /// How they are drawn.
    pub sampling: SampleOptions,
    /// How ranks are tested.
    pub ranks: RankOptions,
}

impl Default for PosteriorSbcOptions {
    fn default() -> Self {
        Self { pairs: 200, new: None, draws: 100, sampling: SampleOptions::default(), ranks: RankOptions::default() }
    }
}

/// Samples of the posterior whose spread is the metric of distances, at least.
const SPREAD: usize = 400;

/// Of so many samples of the posterior one makes a pair: neighbours may be relatives.
const APART: usize = 4;

/// Posterior SBC (Säilynoja et al. 2025): draws parameters from the model's posterior given the observations (n, d),
/// [centred](Model::centre) where the model has offsets, simulates new ones at each, and asks
/// whether the parameters rank uniformly in the model's posterior given both. See [`posterior_sbc`](tallsbi_diagnostics::posterior_sbc).
///
/// # Errors
/// When the task has other parameters than the model, simulations fail, options are out of range, or the monitor asked to stop.
pub fn posterior_sbc(
    model: &Model,
    task: &dyn Task,
    observations: ArrayView2<'_, f32>,
    options: &PosteriorSbcOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<PosteriorSbc> {
    if model.trained().latent.prior() != task.prior() {
        let message = format!("has another prior than the task {}; give the task it was trained on", task.name());
        return Err(Error::Input { origin: "the model".into(), message });
    }
    model.check_width("observations", observations.ncols())?;
    model.check_width("new observations", task.dim_x())?;
    check_counts(&[("pairs", options.pairs), ("new", options.new.unwrap_or(1)), ("draws", options.draws)])?;
    let pairs = options.pairs.max(2);
    let key = StreamKey::root(seed).child(Purpose::Calibration);
    let sampling = SampleOptions { samples: SPREAD.max(APART * pairs), ..options.sampling.clone() };
    let (posterior, _) =
        model.sample_groups(&[observations.view()], key.indexed(0), &sampling, None, &Quiet(monitor))?;
    // Without the rate of lapses, which simulations have none of.
    let parameters = s![.., .., ..model.names().len()];
    let posterior = posterior.slice_move(parameters).index_axis_move(Axis(0), 0);
    let rows: Vec<usize> = (0..pairs).map(|pair| pair * sampling.samples / pairs).collect();
    let theta = posterior.select(Axis(0), &rows);
    let new = options.new.unwrap_or(observations.nrows()).max(1);
    let x = simulated(task, &theta, new, key.indexed(1), monitor)?;
    let both = |new: ArrayView2<'_, f32>| -> Result<Array2<f32>> {
        let new = model.centre("new observations", new.mapv(f64::from).view())?;
        Ok(concatenate(Axis(0), &[observations.view(), new.view()]).expect("one width"))
    };
    let both: Vec<Array2<f32>> = x.outer_iter().map(both).collect::<Result<_>>()?;
    let groups: Vec<ArrayView2<'_, f32>> = both.iter().map(Array2::view).collect();
    let sampling = SampleOptions { samples: options.draws, ..options.sampling.clone() };
    let (draws, _) = model.sample_groups(&groups, key.indexed(2), &sampling, None, monitor)?;
    let draws = draws.slice_move(parameters);
    let (key, ranks) = (key.indexed(3), &options.ranks);
    Ok(tallsbi_diagnostics::posterior_sbc::posterior_sbc(
        theta.view(),
        draws.view(),
        posterior.view(),
        ranks,
        key,
        monitor,
    )?)
}

/// `n_obs` observations at each row of θ, (N, n_obs, d).
fn simulated(
    task: &dyn Task,
    theta: &Array2<f64>,
    n_obs: usize,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Array3<f32>> {
    let (rows, d) = (theta.nrows(), task.dim_x());
    let (mut x, mut valid) = (vec![0.0; rows * n_obs * d], vec![0; rows]);
    let stage = monitor.stage("simulate new observations", "rows", rows as u64);
    let study = Rows { theta: theta.view(), n_obs, key: key.child(Purpose::Simulator), first_row: 0 };
    let failed = simulate_parallel(task, &study, &mut x, &mut valid, &stage)?;
    if failed > 0 {
        return Err(Error::FailedObservations { failed, total: rows });
    }
    let x = Array3::from_shape_vec((rows, n_obs, d), x).expect("one value a column");
    Ok(x)
}
