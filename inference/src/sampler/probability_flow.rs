//! The probability-flow ODE (Song et al. 2021) by an adaptive Runge–Kutta method.

use super::dpm_solver::finish;
use super::{Control, Run, Sampler, Span, positive};
use crate::schedule::NoiseSchedule;
use crate::score::PosteriorScore;
use crate::{InferenceError, Result};
use ode_solvers::{DVector, Dopri5, OutputType, System};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// dθ/dt = -½ β (θ + s), in the variables in which it is not stiff: θ̃ = θ/√α against log σ, σ = √(v/α), where
/// dθ̃/d log σ = -(v/√α) s has rates of at most one for any posterior. Dormand–Prince 5(4) to the given tolerances.
///
/// The particles that run together share their steps, so results of different partitions agree to the tolerance only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbabilityFlow {
    /// Relative tolerance a step.
    pub relative_tolerance: f64,
    /// Absolute tolerance a step, in latent units.
    pub absolute_tolerance: f64,
}

impl Default for ProbabilityFlow {
    fn default() -> Self {
        Self { relative_tolerance: 1e-5, absolute_tolerance: 1e-6 }
    }
}

/// Steps after which the solver gives up; smooth posteriors take tens.
const MAX_STEPS: u32 = 10_000;

/// The right-hand side; the solver only hands out shared references.
struct Flow<'f, 'a, 'c> {
    state: &'f RefCell<FlowState<'a>>,
    control: &'f Control<'c>,
    start: f64,
}

struct FlowState<'a> {
    score: &'a mut dyn PosteriorScore,
    theta: Vec<f64>,
    s: Vec<f64>,
    /// Coordinates whose score was once not finite: held still, so that they do not stop the others, and NaN in the end.
    failed: Vec<bool>,
    evaluations: u64,
    error: Option<InferenceError>,
}

impl System<f64, DVector<f64>> for Flow<'_, '_, '_> {
    /// In τ = log σ_start - log σ, which rises.
    fn system(&self, tau: f64, y: &DVector<f64>, dy: &mut DVector<f64>) {
        let FlowState { score, theta, s, failed, evaluations, error } = &mut *self.state.borrow_mut();
        dy.fill(0.0);
        if error.is_some() {
            return;
        }
        let t = score.schedule().time_of_half_log_snr(self.start + tau);
        let (signal, v) = (score.schedule().signal_scale(t), score.schedule().variance(t));
        for (theta, y) in theta.iter_mut().zip(y.iter()) {
            *theta = signal * y;
        }
        *evaluations += 1;
        if let Err(problem) = self.control.check().and_then(|()| score.score(theta, t, s)) {
            *error = Some(problem);
            return;
        }
        for ((dy, s), failed) in dy.iter_mut().zip(s.iter()).zip(failed) {
            *failed |= !s.is_finite();
            *dy = if *failed { 0.0 } else { v / signal * s };
        }
    }

    fn solout(&mut self, _: f64, _: &DVector<f64>, _: &DVector<f64>) -> bool {
        self.state.borrow().error.is_some()
    }
}

impl ProbabilityFlow {
    /// From start to end in τ; `None` when the solver gave up.
    fn integrate(&self, flow: Flow<'_, '_, '_>, length: f64, y: DVector<f64>) -> Option<DVector<f64>> {
        // The controller's constants are the solver's defaults (Hairer, Nørsett & Wanner, Sec. II.4).
        let (safety, beta, smallest, largest) = (0.9, 0.04, 0.2, 10.0);
        let (relative, absolute) = (self.relative_tolerance, self.absolute_tolerance);
        let mut solver = Dopri5::from_param(
            flow,
            0.0,
            length,
            length,
            y,
            relative,
            absolute,
            safety,
            beta,
            smallest,
            largest,
            length,
            0.0,
            MAX_STEPS,
            MAX_STEPS,
            OutputType::Sparse,
        );
        solver.integrate().ok()?;
        solver.y_out().last().cloned()
    }
}

impl Sampler for ProbabilityFlow {
    fn times(&self, span: Span, _: &dyn NoiseSchedule) -> Vec<f64> {
        vec![span.start, 0.0]
    }

    /// The one step there is: to the span's end as the tolerances ask, and on to 0.
    fn step(&self, run: &mut Run<'_>, _t: f64, _next: f64) -> Result<u64> {
        let Run { score, particles, control, .. } = run;
        let length = particles.theta.len();
        let (start, end) =
            (score.schedule().half_log_snr(control.span.start), score.schedule().half_log_snr(control.span.end));
        let signal = score.schedule().signal_scale(control.span.start);
        let signal_end = score.schedule().signal_scale(control.span.end);
        let y = DVector::from_iterator(length, particles.theta.iter().map(|theta| theta / signal));
        let state = RefCell::new(FlowState {
            score: &mut **score,
            theta: vec![0.0; length],
            s: vec![0.0; length],
            failed: particles.theta.iter().map(|theta| !theta.is_finite()).collect(),
            evaluations: 0,
            error: None,
        });
        let outcome = self.integrate(Flow { state: &state, control, start }, end - start, y);
        let FlowState { mut s, failed, evaluations, error, .. } = state.into_inner();
        if let Some(error) = error {
            return Err(error);
        }
        match outcome {
            Some(y) => particles.theta.iter_mut().zip(y.iter()).for_each(|(theta, y)| *theta = signal_end * y),
            None => particles.theta.fill(f64::NAN),
        }
        particles.theta.iter_mut().zip(&failed).filter(|(_, failed)| **failed).for_each(|(theta, _)| *theta = f64::NAN);
        finish(*score, &mut particles.theta, control.span.end, &mut s)?;
        Ok(evaluations + 1)
    }

    fn validate(&self) -> Result<()> {
        positive("relative_tolerance", self.relative_tolerance)?;
        positive("absolute_tolerance", self.absolute_tolerance)
    }

    fn stops_at_end(&self) -> bool {
        true
    }
}
