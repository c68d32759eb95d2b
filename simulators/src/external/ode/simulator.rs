//! The simulator: solve, then draw.

use super::law::NUMBERS;
use super::noise::{Given, Measured};
use crate::external::model_file::Outline;
use crate::{Result, Simulator, SimulatorError, SimulatorTask};
use rand_pcg::Pcg64;
use tallsbi_data::XTransform;
use tallsbi_ode::{Model, SolveError, Solver};

/// Differential equations whose outputs are observed with noise.
pub(in crate::external) struct OdeSimulator {
    pub(super) model: Model,
    /// The model's text.
    pub(super) code: String,
    pub(super) solver: Solver,
    /// What the model's inputs are given.
    pub(super) inputs: Vec<Given>,
    pub(super) measured: Vec<Measured>,
    /// Names of the outputs.
    pub(super) outputs: Vec<String>,
}

/// The solution at the parameters last simulated: K observations of one θ solve once.
#[derive(Default)]
pub(in crate::external) struct Scratch {
    theta: Option<Vec<f64>>,
    values: Vec<f64>,
}

impl OdeSimulator {
    /// The task of the model file `path`.
    pub fn task(self: Box<Self>, path: &str, outline: Outline) -> Result<SimulatorTask<Self>> {
        let Outline { source, description, prior, units, observations, transform } = outline;
        let description = if description.is_empty() { source.name.clone() } else { description };
        let task = SimulatorTask::new(path, prior, observations, *self)?
            .described(&description)
            .with_units(&units)
            .with_likelihood()
            .with_source(source);
        Ok(if transform == XTransform::Log { task.with_log_observations() } else { task })
    }

    /// What of it decides the data.
    pub fn identity(&self) -> serde_json::Value {
        let Solver { method, rtol, atol, max_steps, start, times } = &self.solver;
        serde_json::json!({
            "code": self.code, "inputs": self.inputs, "noise": self.measured,
            "method": method, "rtol": rtol, "atol": atol, "max_steps": max_steps, "start": start, "times": times,
        })
    }

    /// The model's inputs at θ.
    pub(super) fn inputs(&self, theta: &[f64]) -> Vec<f64> {
        self.inputs.iter().map(|given| value(*given, theta, &[])).collect()
    }

    /// The numbers of a law at θ, given the outputs of the time; all positive.
    ///
    /// # Errors
    /// Which number is not.
    pub(super) fn numbers(&self, measured: &Measured, theta: &[f64], outputs: &[f64]) -> Result<[f64; NUMBERS]> {
        let numbers = measured.numbers.map(|given| value(given, theta, outputs));
        let names = measured.law.numbers();
        match names.iter().zip(numbers).find(|(_, number)| !(*number > 0.0 && number.is_finite())) {
            None => Ok(numbers),
            Some((name, number)) => Err(SimulatorError::Failed(format!(
                "{name} of {} is {number}; it must be positive",
                self.outputs[measured.output]
            ))),
        }
    }

    /// The location of a law, given the outputs of the time of index `at`.
    ///
    /// # Errors
    /// Which output is what it cannot be.
    pub(super) fn location(&self, measured: &Measured, at: usize, outputs: &[f64]) -> Result<f64> {
        let f = outputs[measured.output];
        measured.law.location(f).map_err(|needed| {
            let (name, time) = (&self.outputs[measured.output], self.solver.times[at]);
            SimulatorError::Failed(format!("{name} at t = {time} is {f}; it must be {needed}"))
        })
    }
}

pub(super) fn failed(error: SolveError) -> SimulatorError {
    SimulatorError::Failed(error.to_string())
}

fn value(given: Given, theta: &[f64], outputs: &[f64]) -> f64 {
    match given {
        Given::Constant(value) => value,
        Given::Parameter(at) => theta[at],
        Given::Output(at) => outputs[at],
    }
}

impl Simulator for OdeSimulator {
    type Scratch = Scratch;

    fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, scratch: &mut Scratch, x: &mut [f64]) -> Result<()> {
        let (times, count) = (self.solver.times.len(), self.outputs.len());
        if scratch.theta.as_deref() != Some(theta) {
            scratch.theta = None;
            scratch.values.resize(times * count, 0.0);
            self.solver.solve(&self.model, &self.inputs(theta), &mut scratch.values).map_err(failed)?;
            scratch.theta = Some(theta.to_owned());
        }
        for (measured, x) in self.measured.iter().zip(x.chunks_exact_mut(times)) {
            for (at, (x, outputs)) in x.iter_mut().zip(scratch.values.chunks_exact(count)).enumerate() {
                let location = self.location(measured, at, outputs)?;
                *x = measured.law.draw(location, self.numbers(measured, theta, outputs)?, rng)?;
            }
        }
        Ok(())
    }
}
