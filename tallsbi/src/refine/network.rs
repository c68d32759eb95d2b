//! A network of the likelihood from all of a refinement's simulations.
//!
//! A likelihood needs no correction for where its parameters were drawn, so that a network can be trained on what local forms were learned from: where a posterior fills much of the
//! prior, or is no Gaussian, it follows what polynomials do not (sequential neural likelihood, Papamakarios, Sterratt & Murray 2019).

use super::simulator::Simulator;
use crate::{Model, Result, Simulations, declare, train as train_model};
use ndarray::{Axis, concatenate, s};
use tallsbi_data::{Monitor, Symmetry};
use tallsbi_inference::model::{Networks, Region};
use tallsbi_inference::notes::Note;
use tallsbi_inference::refine::{Frame, radius};
use tallsbi_inference::train::{Architecture, TrainOptions};
use tallsbi_simulators::Task;

/// Rows at most: the last, which are nearest to the posterior.
const MOST_ROWS: usize = 100_000;

/// Trains on the simulations of a refinement and those made `earlier`: a model that holds around the Gaussians `proposed`, whose images the task's `symmetry` gives.
///
/// # Errors
/// As [`crate::train`].
pub(super) fn train(
    task: &dyn Task,
    simulator: &Simulator<'_>,
    earlier: Option<&Simulations>,
    (proposed, symmetry): (&[Frame], &Symmetry),
    options: &TrainOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Model> {
    let (mut theta, mut x, mut valid) = simulator.made();
    if let Some(earlier) = earlier.filter(|earlier| earlier.x.dim().1 == 1) {
        theta = concatenate![Axis(0), earlier.theta, theta];
        x = concatenate![Axis(0), earlier.x.slice(s![.., 0, ..]), x];
        valid = [&earlier.valid[..], &valid].concat();
    }
    let skipped = valid.len().saturating_sub(MOST_ROWS);
    let simulations = Simulations {
        prior: task.prior().clone(),
        theta: theta.slice_move(s![skipped.., ..]),
        x: x.slice_move(s![skipped.., ..]).insert_axis(Axis(1)),
        valid: valid.split_off(skipped),
        conditions: 0,
        observation_names: task.observation_names(),
        x_transform: task.x_transform(),
        task: task.name().to_owned(),
        signal_window: task.signal_window(),
    };
    let options = TrainOptions { architecture: Architecture::Likelihood, ..options.clone() };
    let options = declare(options, task, task.prior());
    let mut trained = train_model(&simulations, &options, seed, monitor)?.trained().clone();
    // They were drawn where the posterior is, on purpose.
    trained.info.notes.retain(|note| !matches!(note, Note::OtherPrior { .. }));
    if let Networks::Likelihood { region, .. } = &mut trained.networks {
        *region = Some(Region::new(proposed, radius(task.prior().dim()), symmetry.elements())?);
    }
    Ok(Model::new(trained))
}
