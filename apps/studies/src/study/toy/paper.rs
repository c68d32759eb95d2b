//! What the paper prints in its Tables 1, 2 and 4 (Sec. 4.1, App. G).

use crate::study::named_sampler::NamedMethod::{self, Gauss, Jac, Langevin};
use tallsbi::inference::analytic::ToyProblem;

/// A row of Table 1 or 4: method, T, seconds, sW and its standard deviation over seeds; sW is NaN where the table has it.
type Row = (NamedMethod, usize, f64, f64, f64);

/// m, n and ε of Tables 1 and 4.
pub const TABLE_CELL: (usize, usize, f64) = (10, 32, 1e-2);

/// Table 1: Gaussian.
#[expect(clippy::approx_constant, reason = "a ratio of times, as printed")]
const TABLE_1: [Row; 12] = [
    (Gauss, 50, 0.45, 0.17, 0.08),
    (Jac, 50, 0.41, 3.14, 4.12),
    (Langevin, 50, 0.83, f64::NAN, f64::NAN),
    (Gauss, 150, 0.90, 0.17, 0.06),
    (Jac, 150, 1.22, 1.57, 2.33),
    (Langevin, 150, 2.50, 0.65, 0.42),
    (Gauss, 400, 2.04, 0.20, 0.11),
    (Jac, 400, 3.26, 0.85, 1.20),
    (Langevin, 400, 6.65, 0.65, 0.43),
    (Gauss, 1000, 4.77, 0.22, 0.10),
    (Jac, 1000, 8.18, 0.25, 0.09),
    (Langevin, 1000, 16.65, 0.65, 0.42),
];

/// Table 4: mixture. The authors' own data have 0.03 to 0.05 for LANGEVIN, better than GAUSS, where this table has 0.24 to 0.47.
const TABLE_4: [Row; 12] = [
    (Gauss, 50, 0.99, 0.30, 0.05),
    (Jac, 50, 0.89, 82.73, 67.41),
    (Langevin, 50, 1.77, 0.24, 0.01),
    (Gauss, 150, 1.83, 0.31, 0.04),
    (Jac, 150, 2.66, 5.89, 1.07),
    (Langevin, 150, 5.28, 0.35, 0.02),
    (Gauss, 400, 3.91, 0.31, 0.04),
    (Jac, 400, 7.13, 3.41, 1.04),
    (Langevin, 400, 14.06, 0.43, 0.02),
    (Gauss, 1000, 8.85, 0.34, 0.03),
    (Jac, 1000, 17.69, 7.33, 5.41),
    (Langevin, 1000, 35.08, 0.47, 0.02),
];

/// Table 2: m, time of GAUSS and of JAC over that of LANGEVIN.
const TABLE_2: [(usize, f64, f64); 6] =
    [(2, 0.39, 0.56), (4, 0.39, 0.55), (8, 0.39, 0.56), (10, 0.38, 0.52), (16, 0.38, 0.54), (32, 0.37, 0.52)];

/// One line of Table 1 or 4.
#[derive(Debug, Clone, Copy)]
pub struct Printed {
    /// Seconds on the authors' machine.
    pub seconds: f64,
    /// Max-sliced Wasserstein distance, mean over five seeds.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
}

/// Number of the table with accuracy and time of a problem.
pub fn table_number(problem: ToyProblem) -> usize {
    match problem {
        ToyProblem::Gaussian => 1,
        ToyProblem::Mixture => 4,
    }
}

/// What Table 1 or 4 has for a method and T.
pub fn printed(problem: ToyProblem, method: NamedMethod, steps: usize) -> Option<Printed> {
    let table = match problem {
        ToyProblem::Gaussian => TABLE_1,
        ToyProblem::Mixture => TABLE_4,
    };
    let row = table.into_iter().find(|row| (row.0, row.1) == (method, steps))?;
    Some(Printed { seconds: row.2, mean: row.3, sd: row.4 })
}

/// What Table 2 has for m: the ratio of GAUSS or JAC to LANGEVIN.
pub fn printed_ratio(dimension: usize, method: NamedMethod) -> Option<f64> {
    let row = TABLE_2.into_iter().find(|row| row.0 == dimension)?;
    match method {
        Gauss => Some(row.1),
        Jac => Some(row.2),
        _ => None,
    }
}
