//! Score models in closed form: the toy problems of the paper's Sec. 4.1 and App. D, and controlled perturbations of any model.
//!
//! They make the statements "exact scores give the exact posterior" and "an error of ε in the score does this" testable.

mod gaussian;
mod mixture;
mod perturbed;
mod problem;
mod tall;

pub use gaussian::GaussianToy;
pub use mixture::{MixtureContext, MixtureModel, MixtureWorkspace};
pub use perturbed::{Perturbation, PerturbationScale, Perturbed, PerturbedContext, PerturbedWorkspace};
pub use problem::ToyProblem;
