//! The simulators of tallsbi: every task of the paper, reproducible row by row.
//!
//! * [`task`] gives a built-in [`Task`] by name, [`tasks`] lists them.
//! * [`Simulator`] is the trait a user implements for a simulator of their own; [`SimulatorTask`] makes it a [`Task`].
//! * [`simulate_parallel`] runs any task on all cores; its bytes depend on neither threads nor chunks.
//! * [`LogLikelihood`] gives exact likelihoods with gradients where the model has one, [`Task::exact_posterior`] and
//!   [`Task::single_posterior`] exact posteriors.
//!
//! Names that end in `.toml` are model files: see [`external`].
//!
//! | task | m | d | likelihood | exact posterior |
//! |---|---|---|---|---|
//! | `slcp` | 5 | 8 | yes | |
//! | `sir` | 2 | 10 | yes | |
//! | `lotka_volterra` | 4 | 20 | yes | |
//! | `jrnmm`, `jrnmm_3d` | 4, 3 | 33 | | |
//! | `gaussian_toy`, `gaussian_linear` | 10 | 10 | yes | tall |
//! | `gmm_toy`, `gaussian_mixture` | 10 | 10 | yes | one observation |
//! | `gaussian_mixture_uniform` | 10 | 10 | yes | |
//! | `two_moons` | 2 | 2 | yes | |
//! | `drift_diffusion` | 4 | 2 | yes | |
//! | `drift_diffusion_stimulus` (given the stimulus) | 4 | 3 | yes | |
//! | `g_and_k` | 4 | 1 | yes | |
//! | `ornstein_uhlenbeck` | 3 | 20 | yes | |
//! | `bernoulli_glm`, `bernoulli_glm_raw` | 10 | 10, 100 | yes | |

mod bernoulli_glm;
mod conditioned;
mod drift_diffusion;
mod error;
mod exact;
pub mod external;
mod first_failure;
mod fixed;
mod g_and_k;
mod gaussian;
mod gaussian_mixture;
pub mod jansen_rit;
mod lotka_volterra;
mod ode;
mod ornstein_uhlenbeck;
mod registry;
mod simulator_task;
mod sir;
mod slcp;
mod task;
mod two_moons;
mod with_prior;

pub use conditioned::ConditionedTask;
pub use error::{Result, SimulatorError};
pub use fixed::FixedParameters;
pub use registry::{TaskOptions, task, tasks};
pub use simulator_task::{ExactPosterior, SamplerOf, SimulatorTask, SinglePosterior};
pub use task::{
    Draw, GaussianPosterior, LogLikelihood, MixturePosterior, PosteriorSampler, Rows, Simulator, TallLogLikelihood,
    Task, simulate_parallel,
};
