//! Ordinary differential equations as text, in the language DiffSL, compiled to machine code at run time by Cranelift and solved by `diffsol`.
//!
//! A [`Model`] has inputs, states and outputs. A [`Solver`] gives its outputs at chosen times, and their derivatives by any of the inputs: the variational equations
//! (forward sensitivities), with exact products of Jacobians from the compiler's automatic differentiation.
//!
//! ```
//! use tallsbi_ode::{Model, Solver};
//!
//! let model = Model::compile("in_i { k = 1 } u { y = 2 } F { -k * y } out { y }")?;
//! let solver = Solver { times: vec![0.0, 1.0], ..Solver::default() };
//! let (mut values, mut derivatives) = ([0.0; 2], [0.0; 2]);
//! solver.solve_with_derivatives(&model, &[0.5], &[0], &mut values, &mut derivatives)?;
//! assert!((values[1] - 2.0 * (-0.5_f64).exp()).abs() < 1e-5);
//! assert!((derivatives[1] + 2.0 * (-0.5_f64).exp()).abs() < 1e-4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Equations may have a mass matrix, singular too (differential-algebraic equations), and events: where an element of `stop` changes its sign, the state becomes `reset`, or stays what it is
//! from there on where there is no `reset`. Derivatives are those through the event, whose time moves with the inputs (Rozenvasser 1967; Galán, Feehery & Barton 1999).

mod equations;
mod events;
mod model;
mod solver;

pub use model::{CompileError, Model};
pub use solver::{Method, SolveError, Solver};
