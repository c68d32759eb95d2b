//! What passes between the parts of tallsbi: priors, latent maps, symmetries, random streams.
//!
//! * [`Prior`]: the distribution simulator parameters are drawn from, with its JSON form.
//! * [`LatentMap`]: between simulator parameters and the space the score network works in.
//! * [`Symmetry`]: groups of maps that leave a posterior as it is.
//! * [`Location`]: parameters that move observations and do nothing else.
//! * [`XTransform`]: how observations enter a network.
//! * [`SignalWindow`]: the stretch of a signal that an observation summarises.
//! * [`Monitor`]: how long work tells how far it is, and is asked to stop.
//! * [`Team`]: several processes that share out independent parts of the same work.
//! * [`Named`]: choices with names.
//! * [`parse_toml`]: TOML with errors that name the line.
//! * [`StreamKey`]: random numbers as pure functions of (seed, purpose, index).

mod cancelled;
mod error;
mod latent;
mod location;
mod monitor;
mod named;
mod notation;
mod parcel;
mod prior;
mod share;
mod signal_window;
mod stream;
mod symmetry;
mod team;
mod toml_text;
mod x_transform;

pub use cancelled::Cancelled;
pub use error::{DataError, Result};
pub use latent::LatentMap;
pub use location::{LatentLocation, Location};
pub use monitor::{Monitor, Progress, Quiet, Silent, Stage};
pub use named::{Choice, Named};
pub use notation::{parse_component, parse_symmetries};
pub use parcel::{InJson, Parcel};
pub use prior::{Component, Prior};
pub use signal_window::SignalWindow;
pub use stream::{Purpose, StreamKey};
pub use symmetry::{SignedPermutation, Symmetry};
pub use team::{Alone, Team};
pub use toml_text::{TomlError, line_at, parse_toml};
pub use x_transform::XTransform;
