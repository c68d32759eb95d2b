//! The probability that a simulation succeeds near the posterior: log p/(1 - p) is a polynomial of local coordinates.
//!
//! Observations are draws that succeeded: their likelihood is p(success|θ) p(x|θ, success), and [local likelihoods](super::local), learned from simulations with a
//! result, know the second factor only. The first is a logistic regression on those with and without one.

use super::basis::{Basis, MOST_DEGREE};
use super::chart::Chart;
use super::column::Family;
use super::fit::{Design, Forms, Rows};
use crate::Result;
use crate::small_matrix::dot;

/// p(success|u) = 1/(1 + e^{-η}), η a polynomial of the chart's variables.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalSuccess {
    /// The polynomials' variables.
    pub chart: Chart,
    /// The polynomials.
    basis: Basis,
    /// Coefficients of η.
    pub predictor: Vec<f64>,
}

/// Whether one simulation succeeds.
const LAW: Family = Family::Binomial { trials: 1.0 };

impl LocalSuccess {
    /// The polynomial with these coefficients, if it is one.
    pub(super) fn new(chart: Chart, predictor: Vec<f64>) -> Option<Self> {
        let m = chart.bounded.len();
        let fits = |basis: &Basis| basis.len() == predictor.len();
        let basis = (0..=MOST_DEGREE).filter_map(|degree| Basis::new(m, degree).ok()).find(fits)?;
        let whole = chart.frame.is_valid(m) && predictor.iter().all(|value| value.is_finite());
        whole.then_some(Self { chart, basis, predictor })
    }

    /// Learns from rows with and without a result; none where failures do not depend on the parameters, so that a constant is exact.
    ///
    /// # Errors
    /// Too few rows.
    pub(super) fn learn(chart: &Chart, rows: &Rows, degree: usize) -> Result<Option<Self>> {
        if rows.failed.is_empty() {
            return Ok(None);
        }
        let m = chart.bounded.len();
        let valid = rows.u.len() / m;
        let all = Rows { u: [&rows.u[..], &rows.failed].concat(), ..Rows::default() };
        let succeeded: Vec<f64> = (0..all.u.len() / m).map(|row| f64::from(u8::from(row < valid))).collect();
        let chosen =
            Design::new(chart, &all, Forms { mean: degree, ..Forms::default() })?.predictor(&succeeded, LAW, degree);
        Ok(chosen.filter(|(_, eta)| eta.len() > 1).and_then(|(_, eta)| Self::new(chart.clone(), eta)))
    }

    /// n log p(success|u); adds its gradient (m) and metric (m, m) along `directions` (m, m).
    pub(super) fn add(
        &self,
        n: f64,
        u: &[f64],
        directions: &[f64],
        (gradient, information): (&mut [f64], &mut [f64]),
    ) -> f64 {
        let m = u.len();
        let (mut phi, mut slopes) = (vec![0.0; self.basis.len()], vec![0.0; self.basis.len() * m]);
        self.basis.evaluate_with_gradient(&self.chart.at(u), &mut phi, &mut slopes);
        let mut slope = vec![0.0; m];
        for (b, slopes) in self.predictor.iter().zip(slopes.chunks_exact(m)) {
            slope.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += b * slope);
        }
        let jacobian = self.chart.jacobian(u, directions);
        let along: Vec<f64> = (0..m).map(|a| (0..m).map(|i| jacobian[i * m + a] * slope[i]).sum()).collect();
        let term = LAW.term(n, n, dot(&self.predictor, &phi));
        for a in 0..m {
            gradient[a] += term.slope * along[a];
            (0..m).for_each(|b| information[a * m + b] += term.information * along[a] * along[b]);
        }
        term.value
    }
}
