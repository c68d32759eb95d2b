//! A model at given inputs as `diffsol` sees it.
//!
//! `diffsol` has equations from DiffSL of its own, but takes their derivatives by the inputs from functions that only the LLVM backend makes. Cranelift makes the
//! derivative along any direction of state and inputs at once, which is all that is needed.

use crate::Model;
use crate::events::{Reset, Root};
use diffsol::{
    ConstantOp, ConstantOpSens, LinearOp, NalgebraContext, NalgebraMat, NalgebraVec, NonLinearOp, NonLinearOpJacobian,
    NonLinearOpSens, OdeEquations, OdeEquationsRef, Op, Vector,
};
use std::cell::{Ref, RefCell, RefMut};

pub(crate) type M = NalgebraMat<f64>;
pub(crate) type V = NalgebraVec<f64>;

/// A model at given inputs, with the memory that its compiled functions work in.
pub(crate) struct Equations<'m> {
    model: &'m Model,
    inputs: Vec<f64>,
    context: NalgebraContext,
    /// State at the start.
    initial: Vec<f64>,
    /// The compiled functions' memory: what follows from the inputs, and what they write over.
    data: RefCell<Vec<f64>>,
    /// Its derivative where the inputs stay.
    still: RefCell<Vec<f64>>,
    /// Directions: inputs by which derivatives are taken.
    directions: Vec<RefCell<Direction>>,
    /// Where values go that nobody reads.
    unread: Vec<f64>,
    zeros: Vec<f64>,
}

/// The derivatives by one input.
struct Direction {
    /// Of the initial state.
    initial: Vec<f64>,
    /// Of the compiled functions' memory.
    data: Vec<f64>,
}

impl<'m> Equations<'m> {
    /// `model` at `inputs`, with derivatives by those whose indices are in `by`.
    pub fn new(model: &'m Model, inputs: &[f64], by: &[usize]) -> Self {
        let compiler = model.compiler();
        let n = model.states();
        let mut data = compiler.get_new_data();
        let mut initial = vec![0.0; n];
        compiler.set_inputs(inputs, &mut data, 0);
        compiler.set_u0(&mut initial, &mut data);
        let directions = by.iter().map(|&input| {
            let mut unit = vec![0.0; inputs.len()];
            unit[input] = 1.0;
            let mut direction = Direction { initial: vec![0.0; n], data: compiler.get_new_data() };
            compiler.set_inputs_grad(inputs, &unit, &data, &mut direction.data, 0);
            compiler.set_u0_grad(&initial, &mut direction.initial, &data, &mut direction.data);
            RefCell::new(direction)
        });
        let directions = directions.collect();
        let still = RefCell::new(compiler.get_new_data());
        let (unread, zeros) = (vec![0.0; n.max(model.outputs().len())], vec![0.0; n]);
        let (inputs, context) = (inputs.to_owned(), NalgebraContext::default());
        Self { model, inputs, context, initial, data: RefCell::new(data), still, directions, unread, zeros }
    }

    /// Number of outputs.
    pub fn count(&self) -> usize {
        self.model.outputs().len()
    }

    /// The outputs at state `y`.
    pub fn outputs(&self, t: f64, y: &[f64], outputs: &mut [f64]) {
        self.model.compiler().calc_out(t, y, &mut self.data.borrow_mut(), outputs);
    }

    /// The derivative of the outputs along direction `direction`, in which the state changes by `dy`.
    pub fn outputs_along(&self, t: f64, y: &[f64], direction: usize, dy: &[f64], changes: &mut [f64]) {
        let mut direction = self.directions[direction].borrow_mut();
        let unread = &self.unread[..changes.len()];
        let data = self.data.borrow();
        self.model.compiler().calc_out_grad(t, y, dy, &data, &mut direction.data, unread, changes);
    }

    pub(crate) fn states(&self) -> usize {
        self.model.states()
    }

    pub(crate) fn model(&self) -> &'m Model {
        self.model
    }

    pub(crate) fn context(&self) -> &NalgebraContext {
        &self.context
    }

    /// The number of inputs by which derivatives are taken.
    pub(crate) fn derivatives(&self) -> usize {
        self.directions.len()
    }

    /// What compiled functions work in.
    pub(crate) fn memory(&self) -> RefMut<'_, Vec<f64>> {
        self.data.borrow_mut()
    }

    /// What their derivatives work in, along the direction of an input, or where all inputs stay.
    pub(crate) fn along(&self, direction: Option<usize>) -> (Ref<'_, Vec<f64>>, RefMut<'_, Vec<f64>>) {
        let changes = match direction {
            Some(direction) => RefMut::map(self.directions[direction].borrow_mut(), |direction| &mut direction.data),
            None => self.still.borrow_mut(),
        };
        (self.data.borrow(), changes)
    }
}

/// The right-hand side.
pub(crate) struct RightHandSide<'a, 'm>(&'a Equations<'m>);

/// The initial state.
pub(crate) struct Initial<'a, 'm>(&'a Equations<'m>);

/// The mass matrix.
pub(crate) struct Mass<'a, 'm>(&'a Equations<'m>);

/// The sizes of an operator with as many values as `$count` of its equations says.
macro_rules! shape {
    ($name:ty, $count:ident) => {
        impl Op for $name {
            type T = f64;
            type V = V;
            type M = M;
            type C = NalgebraContext;

            fn nstates(&self) -> usize {
                self.equations().states()
            }

            fn nout(&self) -> usize {
                self.equations().$count()
            }

            fn nparams(&self) -> usize {
                self.equations().derivatives()
            }

            fn context(&self) -> &NalgebraContext {
                self.equations().context()
            }
        }
    };
}

pub(crate) use shape;

impl Equations<'_> {
    fn equations(&self) -> &Self {
        self
    }
}

impl<'m> RightHandSide<'_, 'm> {
    fn equations(&self) -> &Equations<'m> {
        self.0
    }
}

impl<'m> Initial<'_, 'm> {
    fn equations(&self) -> &Equations<'m> {
        self.0
    }
}

impl<'m> Mass<'_, 'm> {
    fn equations(&self) -> &Equations<'m> {
        self.0
    }
}

shape!(Equations<'_>, states);
shape!(RightHandSide<'_, '_>, states);
shape!(Initial<'_, '_>, states);
shape!(Mass<'_, '_>, states);

impl LinearOp for Mass<'_, '_> {
    fn gemv_inplace(&self, change: &V, t: f64, beta: f64, out: &mut V) {
        let mut data = self.0.data.borrow_mut();
        let mut product = vec![0.0; self.0.states()];
        out.for_each_batch_host([change], |out, [change], _| {
            self.0.model.compiler().mass(t, change, &mut data, &mut product);
            out.iter_mut().zip(&product).for_each(|(out, product)| *out = product + beta * *out);
        });
    }
}

impl NonLinearOp for RightHandSide<'_, '_> {
    fn call_inplace(&self, y: &V, t: f64, change: &mut V) {
        let mut data = self.0.data.borrow_mut();
        change.for_each_batch_host([y], |change, [y], _| self.0.model.compiler().rhs(t, y, &mut data, change));
    }
}

impl NonLinearOpJacobian for RightHandSide<'_, '_> {
    fn jac_mul_inplace(&self, y: &V, t: f64, dy: &V, change: &mut V) {
        let (data, mut still) = (self.0.data.borrow(), self.0.still.borrow_mut());
        let unread = &self.0.unread[..self.0.states()];
        change.for_each_batch_host([y, dy], |change, [y, dy], _| {
            self.0.model.compiler().rhs_grad(t, y, dy, &data, &mut still, unread, change);
        });
    }
}

impl NonLinearOpSens for RightHandSide<'_, '_> {
    fn sens_mul_inplace(&self, y: &V, t: f64, weights: &V, change: &mut V) {
        change.for_each_batch_host([y, weights], |change, [y, weights], _| {
            change.fill(0.0);
            let mut one = vec![0.0; change.len()];
            for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                self.0.change_along(t, y, (at, &self.0.zeros), &mut one);
                change.iter_mut().zip(&one).for_each(|(sum, one)| *sum += weight * one);
            }
        });
    }
}

impl Equations<'_> {
    /// The derivative of the right-hand side along a direction of the inputs and of the state.
    pub fn change_along(&self, t: f64, y: &[f64], (direction, dy): (usize, &[f64]), change: &mut [f64]) {
        let mut direction = self.directions[direction].borrow_mut();
        let (data, unread) = (self.data.borrow(), &self.unread[..self.states()]);
        self.model.compiler().rhs_grad(t, y, dy, &data, &mut direction.data, unread, change);
    }
}

impl ConstantOp for Initial<'_, '_> {
    fn call_inplace(&self, _t: f64, y: &mut V) {
        y.for_each_batch_host([], |y, [], _| y.copy_from_slice(&self.0.initial));
    }
}

impl ConstantOpSens for Initial<'_, '_> {
    fn sens_mul_inplace(&self, _t: f64, weights: &V, change: &mut V) {
        change.for_each_batch_host([weights], |change, [weights], _| {
            change.fill(0.0);
            for (weight, direction) in weights.iter().zip(&self.0.directions) {
                let direction = direction.borrow();
                change.iter_mut().zip(&direction.initial).for_each(|(sum, one)| *sum += weight * one);
            }
        });
    }
}

impl<'a, 'm> OdeEquationsRef<'a> for Equations<'m> {
    type Mass = Mass<'a, 'm>;
    type Rhs = RightHandSide<'a, 'm>;
    type Root = Root<'a, 'm>;
    type Init = Initial<'a, 'm>;
    type Out = RightHandSide<'a, 'm>;
    type Reset = Reset<'a, 'm>;
}

impl<'m> OdeEquations for Equations<'m> {
    fn rhs(&self) -> RightHandSide<'_, 'm> {
        RightHandSide(self)
    }

    fn mass(&self) -> Option<Mass<'_, 'm>> {
        self.model.has_mass().then_some(Mass(self))
    }

    fn root(&self) -> Option<Root<'_, 'm>> {
        (self.model.stops() > 0).then_some(Root(self))
    }

    fn reset(&self) -> Option<Reset<'_, 'm>> {
        self.model.has_reset().then_some(Reset(self))
    }

    fn init(&self) -> Initial<'_, 'm> {
        Initial(self)
    }

    /// Nothing: inputs are given when the equations are made.
    fn set_params(&mut self, _inputs: &V) {}

    fn get_params(&self, inputs: &mut V) {
        inputs.for_each_batch_host([], |inputs, [], _| {
            inputs.iter_mut().zip(&self.inputs).for_each(|(to, from)| *to = *from);
        });
    }
}
