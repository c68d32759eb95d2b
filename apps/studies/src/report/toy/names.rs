//! What problems and methods are called and which colour they have.

use crate::plot::CATEGORICAL;
use crate::study::named_sampler::NamedMethod;
use plotters::style::RGBColor;
use tallsbi::inference::analytic::ToyProblem;

/// What a problem is called.
pub fn name(problem: ToyProblem) -> &'static str {
    match problem {
        ToyProblem::Gaussian => "Gaussian",
        ToyProblem::Mixture => "Gaussian mixture",
    }
}

/// A problem in file names.
pub fn id(problem: ToyProblem) -> &'static str {
    match problem {
        ToyProblem::Gaussian => "gaussian",
        ToyProblem::Mixture => "mixture",
    }
}

/// The colour of a method in all figures.
pub fn color(method: NamedMethod) -> RGBColor {
    CATEGORICAL[NamedMethod::ALL.iter().position(|&other| other == method).unwrap_or(0)]
}

/// The amplitude of the error, as labels have it.
pub fn epsilon(amplitude: f64) -> String {
    format!("ε = {amplitude}")
}
