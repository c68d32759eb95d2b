//! Solving a model.

use crate::Model;
use crate::equations::{Equations, M, V};
use crate::events::Root;
use diffsol::{
    DiffsolError, NalgebraLU, NonLinearOp, NonLinearOpTimePartial, OdeBuilder, OdeEquations, OdeSolverMethod,
    OdeSolverProblem, OdeSolverStopReason, Vector, VectorCommon, VectorView,
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
    /// By [`Method::Tsit45`] and, where that takes more than 2000 steps or gives up, again by [`Method::Bdf`]; at once by that with a mass matrix.
    #[default]
    Auto,
    /// Explicit Runge–Kutta of order 5(4) (Tsitouras 2011). Not with a mass matrix.
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
            Method::Auto if model.has_mass() => by_method!(problem.bdf::<Lu>(), problem.bdf_sens::<Lu>(), most),
            Method::Tsit45 => by_method!(problem.tsit45(), problem.tsit45_sens(), most),
            Method::Bdf => by_method!(problem.bdf::<Lu>(), problem.bdf_sens::<Lu>(), most),
            Method::TrBdf2 => by_method!(problem.tr_bdf2::<Lu>(), problem.tr_bdf2_sens::<Lu>(), most),
            Method::Esdirk34 => by_method!(problem.esdirk34::<Lu>(), problem.esdirk34_sens::<Lu>(), most),
            Method::Auto => by_method!(problem.tsit45(), problem.tsit45_sens(), most.min(EXPLICIT_STEPS))
                .or_else(|_| by_method!(problem.bdf::<Lu>(), problem.bdf_sens::<Lu>(), most)),
        }
    }

    /// Steps from time to time, and from event to event.
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
        let Some(&end) = self.times.last() else { return Ok(()) };
        if end > self.start {
            solver.set_stop_time(end).map_err(|error| stopped(self.start, error))?;
        }
        let (mut at, mut event) = (0, None);
        loop {
            let now = solver.state().t;
            let reached = event.map_or(now, |(time, _)| time);
            while let Some(&time) = self.times.get(at).filter(|&&time| time <= reached) {
                if now == time {
                    state.copy_from(solver.state().y);
                    changes.copy_from(solver.state().s);
                } else {
                    solver.interpolate_inplace(time, &mut state).map_err(|error| stopped(time, error))?;
                    if to.derived() {
                        solver.interpolate_sens_inplace(time, &mut changes).map_err(|error| stopped(time, error))?;
                    }
                }
                to.write(&problem.eqn, at, time, &state, &changes);
                at += 1;
            }
            if at == self.times.len() {
                return Ok(());
            }
            if let Some((time, root)) = event.take() {
                solver.state_mut_back(time).map_err(|error| stopped(time, error))?;
                if problem.eqn.model().has_reset() {
                    let mut state = solver.state_mut();
                    let reset = match to.derived() {
                        true => state.apply_reset_with_sens_mass::<Lu, _>(problem, root),
                        false => state.apply_reset_with_mass::<Lu, _>(problem),
                    };
                    if to.derived() && !problem.eqn.model().has_mass() {
                        // diffsol leaves it as it was before the event.
                        let y = state.y.clone();
                        let slopes = |ds: &mut [f64], [s]: [&[f64]; 1], direction: usize| {
                            problem.eqn.change_along(time, y.inner().as_slice(), (direction, s), ds);
                        };
                        state.ds.for_each_batch_host([&*state.s], slopes);
                    }
                    reset.and_then(|()| solver.set_stop_time(end)).map_err(|error| stopped(time, error))?;
                    continue;
                }
                state.copy_from(solver.state().y);
                changes.copy_from(solver.state().s);
                let flow = solver.state().dy.clone();
                self.hold(problem, (time, root), (&state, flow), &mut changes)?;
                (at..self.times.len()).for_each(|at| to.write(&problem.eqn, at, self.times[at], &state, &changes));
                return Ok(());
            }
            if steps == most {
                return Err(SolveError::Steps { steps, time: now });
            }
            steps += 1;
            if let OdeSolverStopReason::RootFound(time, root) = solver.step().map_err(|error| stopped(now, error))? {
                event = Some((time, root));
            }
        }
    }

    /// The derivatives, by the inputs, of the state that an event ends at: its time t* solves g(y(t*), t*, p) = 0, hence dt*/dp = -(g_y s + g_p) / (g_y f + g_t) and dy/dp = s + f dt*/dp.
    fn hold(
        &self,
        problem: &OdeSolverProblem<Equations<'_>>,
        (time, root): (f64, usize),
        (state, mut flow): (&V, V),
        changes: &mut V,
    ) -> Result<(), SolveError> {
        let equations = &problem.eqn;
        if equations.derivatives() == 0 {
            return Ok(());
        }
        if !equations.model().has_mass() {
            // More exact than what is interpolated.
            equations.rhs().call_inplace(state, time, &mut flow);
        }
        let (y, f) = (state.inner().as_slice(), flow.inner().as_slice());
        let event = Root(equations);
        let mut change = vec![0.0; equations.model().stops()];
        event.along((time, y, f), None, &mut change);
        let speed = change[root] + event.time_derive(state, time).inner().as_slice()[root];
        if speed.abs() <= 100.0 * f64::EPSILON {
            let reason = "the condition of an event touches zero: the event's time has no derivative".into();
            return Err(SolveError::Stopped { time, reason });
        }
        changes.for_each_batch_host([], |s, [], direction| {
            event.along((time, y, s), Some(direction), &mut change);
            let later = -change[root] / speed;
            s.iter_mut().zip(f).for_each(|(s, f)| *s += f * later);
        });
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
    /// Whether derivatives are wanted.
    fn derived(&self) -> bool {
        !self.derivatives.is_empty()
    }

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
