//! The likelihood: one solution of the variational equations, whatever the number of observations.

use super::law::Seen;
use super::noise::Given;
use super::simulator::OdeSimulator;
use crate::{LogLikelihood, TallLogLikelihood};
use ndarray::{ArrayView2, aview1};

/// The observations: what the law of each value needs to know of them, output by output; `None` if one is impossible.
struct Observed<'a> {
    simulator: &'a OdeSimulator,
    seen: Option<Vec<Seen>>,
}

impl OdeSimulator {
    fn observed(&self, x: ArrayView2<'_, f32>) -> Observed<'_> {
        let times = self.solver.times.len();
        let seen = x.columns().into_iter().enumerate().map(|(column, x)| {
            let measured = self.measured.get(column / times)?;
            let trials = match measured.numbers[0] {
                Given::Constant(trials) => trials,
                _ => 0.0,
            };
            measured.law.seen(x.iter().map(|&x| f64::from(x)), trials)
        });
        Observed { simulator: self, seen: seen.collect() }
    }

    /// The log-likelihood at θ; `None` where it cannot be computed.
    fn evaluate(&self, seen: &[Seen], theta: &[f64], gradient: &mut [f64]) -> Option<f64> {
        let (times, count) = (self.solver.times.len(), self.outputs.len());
        let is_parameter = |at: &usize| matches!(self.inputs[*at], Given::Parameter(_));
        let by: Vec<usize> = (0..self.inputs.len()).filter(is_parameter).collect();
        let (mut values, mut derivatives) = (vec![0.0; times * count], vec![0.0; times * count * by.len()]);
        let inputs = self.inputs(theta);
        self.solver.solve_with_derivatives(&self.model, &inputs, &by, &mut values, &mut derivatives).ok()?;
        let mut total = 0.0;
        // How the total changes with each of the outputs.
        let mut slopes = vec![0.0; times * count];
        for (measured, seen) in self.measured.iter().zip(seen.chunks_exact(times)) {
            for (at, (seen, outputs)) in seen.iter().zip(values.chunks_exact(count)).enumerate() {
                let location = self.location(measured, at, outputs).ok()?;
                let numbers = self.numbers(measured, theta, outputs).ok()?;
                let (value, slope, by_numbers) = measured.law.log_likelihood(seen, location, numbers);
                total += value;
                let slopes = &mut slopes[at * count..][..count];
                // Where it is kept within bounds it does not change.
                if location == outputs[measured.output] {
                    slopes[measured.output] += slope;
                }
                for (given, slope) in measured.numbers.iter().zip(by_numbers) {
                    match *given {
                        Given::Constant(_) => {}
                        Given::Parameter(parameter) => gradient[parameter] += slope,
                        Given::Output(output) => slopes[output] += slope,
                    }
                }
            }
        }
        if by.is_empty() {
            return Some(total);
        }
        for (slope, derivatives) in slopes.iter().zip(derivatives.chunks_exact(by.len())) {
            for (&input, derivative) in by.iter().zip(derivatives) {
                if let Given::Parameter(parameter) = self.inputs[input] {
                    gradient[parameter] += slope * derivative;
                }
            }
        }
        Some(total)
    }
}

impl TallLogLikelihood for Observed<'_> {
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let Some(seen) = &self.seen else { return f64::NEG_INFINITY };
        self.simulator.evaluate(seen, theta, gradient).unwrap_or_else(|| {
            gradient.fill(0.0);
            f64::NAN
        })
    }
}

impl LogLikelihood for OdeSimulator {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.tall_log_likelihood_gradient(theta, aview1(x).insert_axis(ndarray::Axis(0)), gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        self.observed(x).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(self.observed(x))
    }
}
