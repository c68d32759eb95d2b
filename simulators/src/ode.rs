//! Ordinary differential equations observed on a regular grid.

use crate::{Result, SimulatorError};
use ode_solvers::{Dop853, SVector, System};

/// Relative and absolute tolerance of every solution.
const TOLERANCE: f64 = 1e-8;

/// Solves `system` from `initial` at t = 0 by Dormand–Prince 8(5,3) and writes its states at 0, `spacing`, 2 `spacing`, …
/// into `states`.
///
/// # Errors
/// [`SimulatorError::Failed`] when the solver gives up (step size underflow, stiffness, too many steps).
pub(crate) fn solve_on_grid<const D: usize>(
    system: impl System<f64, SVector<f64, D>>,
    initial: SVector<f64, D>,
    spacing: f64,
    states: &mut [SVector<f64, D>],
) -> Result<()> {
    // Half a grid cell beyond the last point, so that rounding of the grid cannot lose it.
    let end = spacing * (states.len() as f64 - 0.5);
    let mut solver = Dop853::new(system, 0.0, end, spacing, initial, TOLERANCE, TOLERANCE);
    solver.integrate().map_err(|error| SimulatorError::Failed(error.to_string()))?;
    let solution = solver.y_out();
    if solution.len() < states.len() {
        return Err(SimulatorError::Failed(format!("the solver stopped after {} states", solution.len())));
    }
    states.copy_from_slice(&solution[..states.len()]);
    Ok(())
}
