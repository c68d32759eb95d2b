//! Events as `diffsol` sees them: where they are, and what becomes of the state there.

use crate::equations::{Equations, M, V, shape};
use diffsol::{NalgebraContext, NonLinearOp, NonLinearOpJacobian, NonLinearOpSens, Op, Vector};

/// What is zero at an event: `stop` of the code.
pub(crate) struct Root<'a, 'm>(pub &'a Equations<'m>);

/// The state after an event: `reset` of the code.
pub(crate) struct Reset<'a, 'm>(pub &'a Equations<'m>);

impl<'m> Root<'_, 'm> {
    fn equations(&self) -> &Equations<'m> {
        self.0
    }

    /// The derivative where the state changes by `dy` and the inputs along `direction`, if along any.
    pub fn along(&self, (t, y, dy): (f64, &[f64], &[f64]), direction: Option<usize>, change: &mut [f64]) {
        let (data, mut changes) = self.0.along(direction);
        let unread = vec![0.0; change.len()];
        self.0.model().compiler().calc_stop_grad(t, y, dy, &data, &mut changes, &unread, change);
    }
}

impl<'m> Reset<'_, 'm> {
    fn equations(&self) -> &Equations<'m> {
        self.0
    }

    /// As [`Root::along`].
    fn along(&self, (t, y, dy): (f64, &[f64], &[f64]), direction: Option<usize>, change: &mut [f64]) {
        let (data, mut changes) = self.0.along(direction);
        let unread = vec![0.0; change.len()];
        self.0.model().compiler().reset_grad(t, y, dy, &data, &mut changes, &unread, change);
    }
}

impl Equations<'_> {
    /// The number of events that there can be.
    fn stops(&self) -> usize {
        self.model().stops()
    }
}

shape!(Root<'_, '_>, stops);
shape!(Reset<'_, '_>, states);

impl NonLinearOp for Root<'_, '_> {
    fn call_inplace(&self, y: &V, t: f64, out: &mut V) {
        let mut data = self.0.memory();
        out.for_each_batch_host([y], |out, [y], _| self.0.model().compiler().calc_stop(t, y, &mut data, out));
    }
}

impl NonLinearOp for Reset<'_, '_> {
    fn call_inplace(&self, y: &V, t: f64, out: &mut V) {
        let mut data = self.0.memory();
        out.for_each_batch_host([y], |out, [y], _| self.0.model().compiler().reset(t, y, &mut data, out));
    }
}

/// Derivatives by the state and by the inputs of an operator that has them along directions.
macro_rules! derivatives {
    ($name:ty) => {
        impl NonLinearOpJacobian for $name {
            fn jac_mul_inplace(&self, y: &V, t: f64, dy: &V, change: &mut V) {
                change.for_each_batch_host([y, dy], |change, [y, dy], _| self.along((t, y, dy), None, change));
            }
        }

        impl NonLinearOpSens for $name {
            fn sens_mul_inplace(&self, y: &V, t: f64, weights: &V, change: &mut V) {
                let still = vec![0.0; self.0.states()];
                change.for_each_batch_host([y, weights], |change, [y, weights], _| {
                    change.fill(0.0);
                    let mut one = vec![0.0; change.len()];
                    for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                        self.along((t, y, &still), Some(at), &mut one);
                        change.iter_mut().zip(&one).for_each(|(sum, one)| *sum += weight * one);
                    }
                });
            }
        }
    };
}

derivatives!(Root<'_, '_>);
derivatives!(Reset<'_, '_>);
