//! Samplers of tall posteriors that are made for their model: independent draws, or chains that jump between modes.

mod collapsed_mixture;
mod gaussian;
mod quadtree;
mod truncated_normal;

pub(crate) use collapsed_mixture::{CollapsedMixture, CoordinatePrior};
pub(crate) use gaussian::gaussian_sampler;
pub(crate) use quadtree::{Bounded, Quadtree, Square};
