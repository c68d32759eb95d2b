//! What the paper prints in its Tables 5 to 7 (App. H): 30 000 simulations, mean over the observation sets it keeps.

use super::results::Metric;
use crate::study::named_sampler::NamedMethod;

/// Columns of the tables.
const N_OBS: [usize; 3] = [1, 14, 30];

/// Task, the paper's method, and for C2ST, MMD and sliced Wasserstein the means at n = 1, 14, 30.
type Row = (&'static str, &'static str, [[f64; 3]; 3]);

const TABLES: [Row; 9] = [
    ("slcp", "GAUSS", [[0.7, 0.92, 0.95], [0.02, 0.02, 0.02], [0.31, 0.37, 0.4]]),
    ("slcp", "JAC, clipped", [[0.7, 0.89, 0.94], [0.02, 0.02, 0.02], [0.31, 0.47, 0.51]]),
    ("slcp", "LANGEVIN, clipped", [[0.7, 0.92, 0.97], [0.02, 0.05, 0.1], [0.31, 0.56, 0.81]]),
    ("lotka_volterra", "GAUSS", [[0.77, 0.93, 0.96], [0.05, 0.2, 0.31], [0.005, 0.004, 0.005]]),
    ("lotka_volterra", "JAC, clipped", [[0.76, 0.94, 0.97], [0.05, 0.26, 0.4], [0.005, 0.01, 0.007]]),
    ("lotka_volterra", "LANGEVIN", [[0.85, 0.99, 1.0], [0.15, 0.61, 0.63], [0.006, 0.03, 0.38]]),
    ("sir", "GAUSS", [[0.57, 0.78, 0.86], [0.007, 0.23, 0.38], [0.001, 0.002, 0.002]]),
    ("sir", "JAC, clipped", [[0.58, 0.75, 0.84], [0.006, 0.08, 0.21], [0.001, 0.002, 0.002]]),
    ("sir", "LANGEVIN", [[0.63, 0.93, 1.0], [0.018, 0.56, 0.73], [0.001, 0.01, 0.07]]),
];

/// One number of the paper.
#[derive(Debug, Clone)]
pub struct Printed {
    /// Its method.
    pub method: &'static str,
    /// The mean.
    pub mean: f64,
}

/// All of the paper's numbers for a task, metric and n.
pub fn printed(task: &str, metric: Metric, n: usize) -> Vec<Printed> {
    let Some(column) = N_OBS.iter().position(|&known| known == n) else { return vec![] };
    let row = match metric {
        Metric::C2st => 0,
        Metric::Mmd => 1,
        Metric::SlicedWasserstein => 2,
        Metric::Dirac => return vec![],
    };
    let rows = TABLES.iter().filter(|(name, ..)| *name == task);
    rows.map(|(_, method, means)| Printed { method, mean: means[row][column] }).collect()
}

/// The paper's number for the method nearest to ours.
pub fn printed_for(task: &str, metric: Metric, n: usize, method: NamedMethod) -> Option<f64> {
    let prefix = match method {
        NamedMethod::Gauss | NamedMethod::GaussDpm => "GAUSS",
        NamedMethod::Jac | NamedMethod::JacDpm => "JAC",
        NamedMethod::Langevin | NamedMethod::TamedLangevin => "LANGEVIN",
        NamedMethod::Likelihood | NamedMethod::Refined => return None,
    };
    printed(task, metric, n).into_iter().find(|printed| printed.method.starts_with(prefix)).map(|printed| printed.mean)
}

/// The paper's best of its methods.
pub fn best(task: &str, metric: Metric, n: usize) -> Option<f64> {
    printed(task, metric, n).into_iter().map(|printed| printed.mean).min_by(f64::total_cmp)
}
