//! Small dense networks at the speed of the machine's matrix product.
//!
//! * [`MlpSpec`] and [`Mlp`]: what a network is, and its parameters in one flat vector.
//! * [`Engine`]: runs it, forward ([`Engine::forward`]), backward ([`Engine::backward`]) and along tangents
//!   ([`Engine::tangent`]), on tiles of rows, without allocating.
//! * [`SmallNetwork`]: trains networks of tens of units, at twice the speed.
//! * [`Adam`], [`Soap`], [`Ema`], [`LearningRateSchedule`], [`GradientAccumulator`]: training on flat vectors, to the same bytes on any
//!   number of threads.
//! * [`tensors`]: reading and writing as named safetensors.
//!
//! All matrices are row-major slices. Networks run in `f32`; `f64` is there for tests ([`Real`]).

mod adam;
mod backward;
mod definition;
mod engine;
mod error;
mod forward;
mod kernels;
mod parallel;
mod real;
mod schedule;
mod small;
mod soap;
mod tangent;
pub mod tensors;

pub use adam::{Adam, AdamSettings, Ema, EmaSettings, clip_global_norm};
pub use backward::Trace;
pub use definition::{Activation, LastLayer, LayerLayout, MAX_PARAMETERS, MAX_WIDTH, MatrixPlace, Mlp, MlpSpec};
pub use engine::Engine;
pub use error::NetworkError;
pub use forward::ForwardWorkspace;
pub use parallel::GradientAccumulator;
pub use real::Real;
pub use schedule::{LearningRateSchedule, ScheduleShape};
pub use small::SmallNetwork;
pub use soap::Soap;
pub use tangent::{FirstTangents, TangentWorkspace};
