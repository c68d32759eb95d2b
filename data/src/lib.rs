//! What passes between the parts of tallsbi: priors, latent maps, random streams, data sets and files.
//!
//! * [`Prior`]: the distribution simulator parameters are drawn from, with its JSON form.
//! * [`LatentMap`]: between simulator parameters and the space the score network works in.
//! * [`mod@file`]: training sets, observations and posteriors on disk.
//! * [`Symmetry`]: groups of maps that leave a posterior as it is.
//! * [`StreamKey`]: random numbers as pure functions of (seed, purpose, index).

mod error;
pub mod file;
mod latent;
mod prior;
mod stream;
mod symmetry;

pub use error::{DataError, Result};
pub use latent::LatentMap;
pub use prior::{Component, Prior};
pub use stream::{Purpose, StreamKey};
pub use symmetry::{SignedPermutation, Symmetry};
