//! The outcome of a refinement.

use crate::{Model, Posterior};
use ndarray::{Array2, ArrayView2};
use tallsbi_data::LatentMap;
use tallsbi_inference::refine::{RoundRecord, Verdict};

/// A model refined at observations, with its posterior there.
pub struct Refined {
    /// The model.
    pub model: Model,
    /// Samples of the posterior.
    pub posterior: Posterior,
    /// What each round did.
    pub rounds: Vec<RoundRecord>,
    /// Whether it has settled.
    pub verdict: Verdict,
    /// Simulations made.
    pub simulations: usize,
}

/// Parameters of latent coordinates (rows, m).
pub(super) fn to_parameters(map: &LatentMap, latent: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut theta = Array2::zeros(latent.dim());
    let mut out = vec![0.0; latent.ncols()];
    for (mut row, u) in theta.outer_iter_mut().zip(latent.outer_iter()) {
        map.to_parameters(&u.to_vec(), &mut out);
        row.iter_mut().zip(&out).for_each(|(to, from)| *to = *from);
    }
    theta
}

/// Latent coordinates of parameters (rows, m).
pub(super) fn to_latent(map: &LatentMap, theta: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut latent = Array2::zeros(theta.dim());
    let mut u = vec![0.0; theta.ncols()];
    for (mut row, theta) in latent.outer_iter_mut().zip(theta.outer_iter()) {
        map.to_latent(&theta.to_vec(), &mut u);
        row.iter_mut().zip(&u).for_each(|(to, from)| *to = *from);
    }
    latent
}
