//! Refinement at the observations: a likelihood learned where their posterior is.
//!
//! A network trained over the whole prior has an error that all n observations share, while the posterior narrows like 1/√n. So: draw parameters around the present
//! posterior, simulate, learn the likelihood there, sample, again (sequential neural likelihood, Papamakarios, Sterratt & Murray 2019, with
//! closed forms in place of networks). A likelihood needs no correction for where its parameters were drawn, so all rounds' simulations count;
//! and in local coordinates everything is smooth, so that low polynomials do what networks do, in a second and with an error
//! that is known beforehand ([`judge`]).
//!
//! * [`Frame`]: local coordinates; [`Basis`]: polynomials; [`Chart`]: their variables;
//! * [`mod@column`]: the distribution of one value of an observation; [`mod@local`]: of all, given n observations;
//! * [`mod@fit`]: learning them, forms chosen by held-out likelihood;
//! * [`mod@bias`], [`mod@form`], `likeness`: whether it is right where the posterior is, and the observations come from there; [`mod@mixture`]: laws of residuals that are not Gaussian;
//! * [`ByCategory`]: laws of real numbers that depend on a category beside them;
//! * [`LocalSuccess`]: the probability that a simulation has a result;
//! * `information`: whether one observation tells as much as it says; [`ScoreSummary`]: the posterior by mean scores where it does not;
//! * [`proposal`]: where to simulate; [`refine`]: the rounds; [`judge`]: whether they have settled;
//! * [`RefinedModel`], [`sample_refined`]: the result, and posteriors under the true prior.

#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "what is NaN shall fail a check, not pass it")]
#![allow(clippy::needless_range_loop, reason = "indices run through several arrays, as in the formulas")]

mod basis;
pub mod bias;
mod by_category;
mod calibrate;
pub mod chart;
mod check;
mod clusters;
pub mod column;
mod counts;
mod coupling;
mod description;
pub mod fit;
pub mod form;
mod frame;
mod information;
pub mod judge;
mod learn;
mod leverage;
mod likeness;
pub mod local;
pub mod mixture;
pub mod model;
mod near;
mod nearest;
mod options;
pub mod proposal;
mod regression;
mod rounds;
mod sample;
mod scores;
mod shape;
mod spread;
mod success;
mod whitened;

pub use basis::{Basis, MOST_DEGREE};
pub use by_category::ByCategory;
pub use chart::Chart;
pub use column::Column;
pub use description::RefinedDescription;
pub use fit::Rows;
pub use frame::{Frame, moments};
pub use judge::{RoundRecord, Shift, Verdict, rows_needed};
pub use learn::radius;
pub use local::LocalLikelihood;
pub use model::{Component, RefinedModel};
pub use options::{By, RefineOptions};
pub use rounds::{Problem, Refinement, Simulate, Start, refine};
pub use sample::{Reach, sample_refined};
pub use scores::{FEWEST, ScoreSummary, Scores};
pub use success::LocalSuccess;
