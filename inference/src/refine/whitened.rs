//! Residuals of Gaussian columns, whitened: r_i = e^{-s_i/2} (e_i - Σ_j b_ij e_j), e = y - a. They are N(0, I), or have the law of a [`Mixture`](super::mixture::Mixture).
//!
//! log p(y|u) = log f(r) - ½ Σ_i s_i. With a mixture no statistics are sufficient: an evaluation costs as much as there are observations.

use super::column::{Column, GaussianColumn};
use super::local::{LocalLikelihood, LocalScratch, Statistics};
use super::mixture::ResidualLaw;
use crate::small_matrix::{dot, multiply};
use statrs::distribution::{ContinuousCDF, Normal};
use std::f64::consts::PI;

/// Gaussian columns at one place.
pub(super) struct Place<'a> {
    columns: Vec<(usize, &'a GaussianColumn)>,
    mean: Vec<f64>,
    /// e^{-s/2}.
    root: Vec<f64>,
    log_variance: Vec<f64>,
    /// (position among the Gaussian columns, b).
    coupling: Vec<Vec<(usize, f64)>>,
}

impl LocalLikelihood {
    /// The Gaussian columns and where they are.
    pub(super) fn gaussians(&self) -> Vec<(usize, &GaussianColumn)> {
        let mut out = Vec::new();
        for (i, column) in self.columns.iter().enumerate() {
            if let Column::Gaussian(gaussian) = column {
                out.push((i, gaussian));
            }
        }
        out
    }

    /// The Gaussian columns, to be changed.
    pub(super) fn gaussian_columns(&mut self) -> impl Iterator<Item = &mut GaussianColumn> {
        self.columns.iter_mut().filter_map(|column| match column {
            Column::Gaussian(gaussian) => Some(gaussian),
            _ => None,
        })
    }

    /// The Gaussian columns where the polynomials are `phi`.
    pub(super) fn place(&self, phi: &[f64]) -> Place<'_> {
        let columns = self.gaussians();
        let at = |coefficients: &[f64]| dot(coefficients, &phi[..coefficients.len()]);
        let position = |j: usize| columns.iter().position(|(i, _)| *i == j).expect("couplings are to Gaussian columns");
        let mean = columns.iter().map(|(_, column)| at(&column.mean)).collect();
        let log_variance: Vec<f64> = columns.iter().map(|(_, column)| at(&column.log_variance)).collect();
        let coupling = columns.iter().map(|(_, c)| c.coupling.iter().map(|(j, b)| (position(*j), at(b))).collect());
        let coupling = coupling.collect();
        let root = log_variance.iter().map(|s| (-0.5 * s).exp()).collect();
        Place { columns, mean, root, log_variance, coupling }
    }

    /// F(x_i | x_<i, u) of each value, as cells of those below and up to it; \[½, ½\] of constants. None where the polynomials do not hold.
    pub(super) fn transforms(&self, x: &[f32], u: &[f64]) -> Option<Vec<[f64; 2]>> {
        let v = self.chart.at(u);
        if !(dot(&v, &v) <= self.radius * self.radius) {
            return None;
        }
        let mut phi = vec![0.0; self.basis.len()];
        self.basis.evaluate(&v, &mut phi);
        let place = self.place(&phi);
        let g = place.columns.len();
        let y: Vec<f64> = place.columns.iter().map(|&(i, c)| self.standardised(c, f64::from(x[i]))).collect();
        let (mut r, mut t) = (vec![0.0; g], vec![0.0; g]);
        place.whiten(&y, &mut r);
        match &self.residual {
            Some(law) => law.mixture.transforms(&r, &mut t),
            None => t.iter_mut().zip(&r).for_each(|(t, r)| *t = Normal::standard().cdf(*r)),
        }
        let mut cells: Vec<[f64; 2]> = vec![[0.5; 2]; self.columns.len()];
        place.columns.iter().zip(t).for_each(|((i, _), t)| cells[*i] = [t; 2]);
        for (i, column) in self.columns.iter().enumerate() {
            if let Column::Count(count) = column {
                let eta = dot(&count.predictor, &phi[..count.predictor.len()]);
                cells[i] = count.family.cell(f64::from(x[i]), eta);
            }
        }
        if let Some(by) = &self.by_category {
            let own = by.parts[by.category(x[by.column])?].transforms(x, u)?;
            let given = |i: &usize| matches!(self.columns[*i], Column::Given { .. });
            (0..cells.len()).filter(given).for_each(|i| cells[i] = own[i]);
        }
        Some(cells)
    }
}

impl Place<'_> {
    /// r of the standardised values y of the Gaussian columns.
    pub(super) fn whiten(&self, y: &[f64], r: &mut [f64]) {
        for i in 0..y.len() {
            let coupled: f64 = self.coupling[i].iter().map(|&(j, b)| b * (y[j] - self.mean[j])).sum();
            r[i] = self.root[i] * (y[i] - self.mean[i] - coupled);
        }
    }

    /// Σ_i s_i.
    pub(super) fn spread(&self) -> f64 {
        self.log_variance.iter().sum()
    }

    /// ∂r/∂a, (g, g): -e^{-s_i/2} (δ_ij - b_ij).
    pub(super) fn of_means(&self) -> Vec<f64> {
        let g = self.mean.len();
        let mut out = vec![0.0; g * g];
        for i in 0..g {
            out[i * g + i] = -self.root[i];
            self.coupling[i].iter().for_each(|&(j, b)| out[i * g + j] = self.root[i] * b);
        }
        out
    }

    /// Σ_j log f(r_j) - ½ n Σ_i s_i, up to constants of [`Statistics`]; adds gradient and metric to `scratch`.
    pub(super) fn sum(&self, law: &ResidualLaw, statistics: &Statistics, scratch: &mut LocalScratch, m: usize) -> f64 {
        let (g, n) = (self.mean.len(), statistics.n);
        let means: Vec<Vec<f64>> = self.columns.iter().map(|(_, c)| scratch.slope(&c.mean, m)).collect();
        let spreads: Vec<Vec<f64>> = self.columns.iter().map(|(_, c)| scratch.slope(&c.log_variance, m)).collect();
        let couplings: Vec<Vec<Vec<f64>>> =
            self.columns.iter().map(|(_, c)| c.coupling.iter().map(|(_, b)| scratch.slope(b, m)).collect()).collect();
        let of_means = self.of_means();
        // ∂r_i/∂v of what does not depend on the observation.
        let mut fixed = vec![0.0; g * m];
        for i in 0..g {
            for j in 0..g {
                (0..m).for_each(|a| fixed[i * m + a] += of_means[i * g + j] * means[j][a]);
            }
        }
        let (mut r, mut score, mut value) = (vec![0.0; g], vec![0.0; g], 0.0);
        let mut scorer = law.mixture.scorer();
        for y in statistics.points.chunks_exact(g) {
            self.whiten(y, &mut r);
            value += scorer.log_density(&r, &mut score) + 0.5 * g as f64 * (2.0 * PI).ln();
            for i in 0..g {
                for a in 0..m {
                    let coupled: f64 = self.coupling[i]
                        .iter()
                        .zip(&couplings[i])
                        .map(|(&(j, _), slope)| slope[a] * (y[j] - self.mean[j]))
                        .sum();
                    let slope = fixed[i * m + a] - 0.5 * spreads[i][a] * r[i] - self.root[i] * coupled;
                    scratch.gradient[a] += score[i] * slope;
                }
            }
        }
        let mut along = vec![0.0; g];
        for i in 0..g {
            value -= 0.5 * n * self.log_variance[i];
            scratch.add(&spreads[i], -0.5 * n, 0.5 * n);
        }
        for a in 0..m {
            let column: Vec<f64> = (0..g).map(|i| fixed[i * m + a]).collect();
            multiply(&law.information, &column, &mut along);
            for b in 0..m {
                scratch.information[b * m + a] += n * (0..g).map(|i| fixed[i * m + b] * along[i]).sum::<f64>();
            }
        }
        value
    }
}
