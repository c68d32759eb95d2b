//! Solving a model.

use crate::Model;
use crate::equations::{Equations, M, V};
use diffsol::{
    DiffsolError, NalgebraLU, OdeBuilder, OdeSolverMethod, OdeSolverProblem, Vector, VectorCommon, VectorView,
};
use serde::{Deserialize, Serialize};

/// Linear solver of the implicit methods.
type Lu = NalgebraLU<f64>;

/// Steps that [`Method::Auto`] lets the explicit method take before it turns to the implicit one: about a millisecond of a small model.
const EXPLICIT_STEPS: usize = 2_000;

/// How equations are solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By [`Method::Tsit45`] and, where that takes more than 2000 steps or gives up, again by [`Method::Bdf`].
    #[default]
    Auto,
    /// Explicit Runge–Kutta of order 5(4) (Tsitouras 2011).
    Tsit45,
    /// Backward differentiation of orders 1 to 5, for stiff equations.
    Bdf,
    /// Implicit Runge–Kutta of order 2, for stiff equations.
    TrBdf2,
    /// Implicit Runge–Kutta of order 3(4), for stiff equations.
    Esdirk34,
}

/// Equations without a solution to the last of the times.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// More steps than allowed.
    #[error("the solver needs more than {steps} steps: it stands at t = {time}")]
    Steps {
        /// Steps that are allowed.
        steps: usize,
        /// How far it came.
        time: f64,
    },
    /// The solver gave up.
    #[error("the solver stops at t = {time}: {reason}")]
    Stopped {
        /// How far it came.
        time: f64,
        /// Why, in diffsol's words.
        reason: String,
    },
}

/// What is to be solved, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Solver {
    /// The method.
    pub method: Method,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance, of every state.
    pub atol: f64,
    /// Most steps.
    pub max_steps: usize,
    /// When the initial state holds.
    pub start: f64,
    /// Times of the outputs, none before `start`, increasing.
    pub times: Vec<f64>,
}

impl Default for Solver {
    fn default() -> Self {
        Self { method: Method::Auto, rtol: 1e-6, atol: 1e-6, max_steps: 100_000, start: 0.0, times: vec![1.0] }
    }
}

impl Solver {
    /// Writes the outputs of `model` at `inputs` to `values` (times × outputs).
    ///
    /// # Errors
    /// [`SolveError`] when the solver gives up.
    pub fn solve(&self, model: &Model, inputs: &[f64], values: &mut [f64]) -> Result<(), SolveError> {
        self.run(model, inputs, &[], &mut Outputs { values, derivatives: &mut [] })
    }

    /// Writes the outputs of `model` at `inputs` to `values` (times × outputs) and their derivatives by the inputs of indices `by` to `derivatives`
    /// (times × outputs × derivatives).
    ///
    /// # Errors
    /// [`SolveError`] when the solver gives up.
    pub fn solve_with_derivatives(
        &self,
        model: &Model,
        inputs: &[f64],
        by: &[usize],
        values: &mut [f64],
        derivatives: &mut [f64],
    ) -> Result<(), SolveError> {
        self.run(model, inputs, by, &mut Outputs { values, derivatives })
    }

    fn run(&self, model: &Model, inputs: &[f64], by: &[usize], to: &mut Outputs<'_>) -> Result<(), SolveError> {
        let stopped = |error: DiffsolError| SolveError::Stopped { time: self.start, reason: error.to_string() };
        let equations = Equations::new(model, inputs, by);
        let problem = OdeBuilder::<M>::new()
            .t0(self.start)
            .rtol(self.rtol)
            .atol([self.atol])
            .p(vec![0.0; by.len()])
            .build_from_eqn(equations)
            .map_err(stopped)?;
        let problem = &problem;
        let most = self.max_steps;
        // One line a method and kind: each is a type of its own.
        macro_rules! by_method {
            ($plain:expr, $derived:expr, $most:expr) => {
                match by.is_empty() {
                    true => self.march(problem, $plain.map_err(stopped)?, $most, to),
                    false => self.march(problem, $derived.map_err(stopped)?, $most, to),
                }
            };
        }
        match self.method {
            Method::Tsit45 => by_method!(problem.tsit45(), problem.tsit45_sens(), most),
            Method::Bdf => by_method!(problem.bdf::<Lu>(), problem.bdf_sens::<Lu>(), most),
            Method::TrBdf2 => by_method!(problem.tr_bdf2::<Lu>(), problem.tr_bdf2_sens::<Lu>(), most),
            Method::Esdirk34 => by_method!(problem.esdirk34::<Lu>(), problem.esdirk34_sens::<Lu>(), most),
            Method::Auto => by_method!(problem.tsit45(), problem.tsit45_sens(), most.min(EXPLICIT_STEPS))
                .or_else(|_| by_method!(problem.bdf::<Lu>(), problem.bdf_sens::<Lu>(), most)),
        }
    }

    /// Steps from time to time.
    fn march<'a, 'm: 'a, S: OdeSolverMethod<'a, Equations<'m>>>(
        &self,
        problem: &'a OdeSolverProblem<Equations<'m>>,
        mut solver: S,
        most: usize,
        to: &mut Outputs<'_>,
    ) -> Result<(), SolveError> {
        let mut steps = 0;
        let (mut state, mut changes) = (solver.state().y.clone(), solver.state().s.clone());
        let stopped = |time: f64, error: DiffsolError| SolveError::Stopped { time, reason: error.to_string() };
        if let Some(&end) = self.times.last().filter(|&&end| end > self.start) {
            solver.set_stop_time(end).map_err(|error| stopped(self.start, error))?;
        }
        for (at, &time) in self.times.iter().enumerate() {
            while solver.state().t < time {
                let now = solver.state().t;
                if steps == most {
                    return Err(SolveError::Steps { steps, time: now });
                }
                steps += 1;
                solver.step().map_err(|error| stopped(now, error))?;
            }
            if solver.state().t == time {
                state.copy_from(solver.state().y);
                changes.copy_from(solver.state().s);
            } else {
                solver.interpolate_inplace(time, &mut state).map_err(|error| stopped(time, error))?;
                if !to.derivatives.is_empty() {
                    solver.interpolate_sens_inplace(time, &mut changes).map_err(|error| stopped(time, error))?;
                }
            }
            to.write(&problem.eqn, at, time, &state, &changes);
        }
        Ok(())
    }
}

/// Where outputs go.
struct Outputs<'a> {
    /// Times × outputs.
    values: &'a mut [f64],
    /// Times × outputs × inputs.
    derivatives: &'a mut [f64],
}

impl Outputs<'_> {
    /// The outputs of the time of index `at`, and the derivatives by every direction.
    fn write(&mut self, equations: &Equations<'_>, at: usize, time: f64, state: &V, changes: &V) {
        let count = equations.count();
        let y = state.inner().as_slice();
        equations.outputs(time, y, &mut self.values[at * count..][..count]);
        let directions = self.derivatives.len() / self.values.len().max(1);
        let mut change = vec![0.0; count];
        let here = &mut self.derivatives[at * count * directions..];
        for direction in 0..directions {
            let dy = changes.get_batch(direction).into_owned();
            equations.outputs_along(time, y, direction, dy.inner().as_slice(), &mut change);
            (0..count).for_each(|output| here[output * directions + direction] = change[output]);
        }
    }
}
