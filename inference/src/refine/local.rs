//! A likelihood around one place: the distributions of all values of an observation as polynomials of local coordinates.
//!
//! Given the parameters, an observation's Gaussian columns need n observations' mean and scatter only, its counts their sums: an evaluation
//! costs the same for any n.

use super::basis::Basis;
use super::by_category::ByCategory;
use super::chart::Chart;
use super::column::{Column, GaussianColumn};
use super::leverage::Leverage;
use super::mixture::ResidualLaw;
use super::spread::Spread;
use crate::small_matrix::{add_scaled, dot, multiply};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use std::f64::consts::PI;

/// A likelihood that holds within a region of the latent space.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalLikelihood {
    /// The polynomials' variables.
    pub chart: Chart,
    /// The polynomials.
    pub basis: Basis,
    /// Whether Gaussian columns are those of log x.
    pub log: bool,
    /// One distribution a value, (d).
    pub columns: Vec<Column>,
    /// |v| up to which it holds: farther out nothing was simulated.
    pub radius: f64,
    /// The law of the Gaussian columns' whitened residuals, if that is not N(0, I).
    pub residual: Option<ResidualLaw>,
    /// How well means are known; none takes them for exact.
    pub leverage: Option<Leverage>,
    /// The laws of real numbers that depend on a category.
    pub by_category: Option<ByCategory>,
}

/// What a local likelihood needs of n observations.
#[derive(Debug, Clone)]
pub struct Statistics {
    pub(super) n: f64,
    /// How many values the scatter and the squared mean are of: n, or 1 where only the mean counts.
    count: f64,
    /// Means of the standardised Gaussian columns, sums of the counts, (d).
    first: Vec<f64>,
    /// Scatter about the means S, (d, d), of Gaussian columns.
    scatter: Vec<f64>,
    /// tᵀ S t of the Gaussian columns whose couplings are the same everywhere, (d).
    along: Vec<Option<f64>>,
    /// With a law of residuals, the standardised values of Gaussian columns themselves, (n, g).
    pub(super) points: Vec<f64>,
    /// What does not depend on the parameters.
    constant: f64,
    /// Those of each category's part.
    parts: Vec<Option<Self>>,
}

impl Statistics {
    /// Those of the observations' mean alone, N(a, Σ/n), up to constants: no scatter, one square.
    pub(super) fn pooled(mut self) -> Self {
        self.scatter.fill(0.0);
        self.along.iter_mut().flatten().for_each(|square| *square = 0.0);
        Self { count: 1.0, constant: 0.0, ..self }
    }
}

/// Buffers of one worker.
#[derive(Debug, Clone, Default)]
pub struct LocalScratch {
    pub(super) phi: Vec<f64>,
    pub(super) slopes: Vec<f64>,
    /// Variances of means and their slopes, of the first 1, 2, .. polynomials.
    pub(super) leverage: Vec<f64>,
    pub(super) leverage_slopes: Vec<f64>,
    /// ȳ - a and ∂a of each Gaussian column.
    residual: Vec<f64>,
    mean_slopes: Vec<f64>,
    pub(super) gradient: Vec<f64>,
    pub(super) information: Vec<f64>,
    /// Of the parts of a category each.
    parts: Vec<Self>,
}

impl LocalLikelihood {
    /// y of a value of a Gaussian column.
    pub(super) fn standardised(&self, column: &GaussianColumn, x: f64) -> f64 {
        ((if self.log { x.ln() } else { x }) - column.center) / column.scale
    }

    /// Takes observations (n, d).
    ///
    /// # Errors
    /// When they are of another width or not finite.
    pub fn statistics(&self, x: ArrayView2<'_, f32>) -> Result<Statistics> {
        let d = self.columns.len();
        if x.ncols() != d {
            let (expected, found) = (format!("{d} columns"), format!("{} columns", x.ncols()));
            return Err(InferenceError::Shape { what: "observations", expected, found });
        }
        let n = x.nrows() as f64;
        let mut values = vec![0.0; x.len()];
        let mut constant = 0.0;
        for (row, observation) in x.outer_iter().enumerate() {
            for (i, (&x, column)) in observation.iter().zip(&self.columns).enumerate() {
                let x = f64::from(x);
                if x.is_nan() {
                    return Err(InferenceError::ObservationMissing { row });
                }
                let value = match column {
                    Column::Constant { .. } | Column::Given { .. } => 0.0,
                    Column::Count(count) => {
                        if x < 0.0 || x.fract() != 0.0 {
                            let value = x as f32;
                            return Err(InferenceError::ObservationNotWhole { row, column: i, value });
                        }
                        constant += count.family.constant(x);
                        x
                    }
                    Column::Gaussian(gaussian) => {
                        constant -= gaussian.scale.ln() + 0.5 * (2.0 * PI).ln();
                        self.standardised(gaussian, x)
                    }
                };
                if !(value.is_finite() && x.is_finite()) {
                    return Err(InferenceError::ObservationNotFinite { row });
                }
                values[row * d + i] = value;
            }
        }
        let parts = self.by_category.as_ref().map_or(Ok(Vec::new()), |by| by.statistics(x))?;
        Ok(Statistics { parts, ..self.summed(n, &values, constant) })
    }

    fn summed(&self, n: f64, values: &[f64], constant: f64) -> Statistics {
        let d = self.columns.len();
        let mut first = vec![0.0; d];
        for row in values.chunks_exact(d) {
            first.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let gaussian: Vec<bool> = self.columns.iter().map(|column| matches!(column, Column::Gaussian(_))).collect();
        first.iter_mut().zip(&gaussian).filter(|(_, gaussian)| **gaussian).for_each(|(sum, _)| *sum /= n);
        if self.residual.is_some() {
            let kept = |row: &[f64]| (0..d).filter(|&i| gaussian[i]).map(|i| row[i]).collect::<Vec<_>>();
            let points = values.chunks_exact(d).flat_map(kept).collect();
            let (scatter, along, parts) = (Vec::new(), Vec::new(), Vec::new());
            return Statistics { n, count: n, first, scatter, along, points, constant, parts };
        }
        let mut scatter = vec![0.0; d * d];
        for row in values.chunks_exact(d) {
            for i in (0..d).filter(|&i| gaussian[i]) {
                for j in (0..d).filter(|&j| gaussian[j]) {
                    scatter[i * d + j] += (row[i] - first[i]) * (row[j] - first[j]);
                }
            }
        }
        let along = self.columns.iter().enumerate().map(|(i, column)| column.known_square(i, &scatter)).collect();
        Statistics { n, count: n, first, scatter, along, points: Vec::new(), constant, parts: Vec::new() }
    }

    /// Σ_j log p(x_j|u), its gradient (m) and a positive semi-definite metric (m, m) along the `directions` B (m, m), u = c + B z; -∞ where
    /// nothing is known.
    pub fn evaluate(
        &self,
        statistics: &Statistics,
        u: &[f64],
        directions: &[f64],
        scratch: &mut LocalScratch,
        (gradient, information): (&mut [f64], &mut [f64]),
    ) -> f64 {
        let m = u.len();
        gradient.fill(0.0);
        information.fill(0.0);
        let v = self.chart.at(u);
        if !(dot(&v, &v) <= self.radius * self.radius) {
            return f64::NEG_INFINITY;
        }
        let value = self.sum_at(statistics, &v, scratch);
        // From v to z.
        let jacobian = self.chart.jacobian(u, directions);
        let mut product = vec![0.0; m];
        for a in 0..m {
            gradient[a] = (0..m).map(|i| jacobian[i * m + a] * scratch.gradient[i]).sum();
            let column: Vec<f64> = (0..m).map(|i| jacobian[i * m + a]).collect();
            multiply(&scratch.information, &column, &mut product);
            for b in 0..m {
                information[b * m + a] = (0..m).map(|i| jacobian[i * m + b] * product[i]).sum();
            }
        }
        value
    }

    /// Σ_j log p(x_j|v); leaves gradient and metric by v in `scratch`.
    pub(super) fn sum_at(&self, statistics: &Statistics, v: &[f64], scratch: &mut LocalScratch) -> f64 {
        self.look(v, scratch);
        match &self.leverage {
            Some(leverage) => leverage.evaluate(scratch, v.len()),
            None => scratch.leverage.clear(),
        }
        let value = self.sum(statistics, scratch, v.len());
        let Some(by_category) = &self.by_category else { return value };
        let LocalScratch { parts, gradient, information, .. } = scratch;
        value + by_category.sum(&statistics.parts, v, parts, (gradient, information))
    }

    /// Puts the polynomials at the local coordinates `v`, and their slopes, into `scratch`.
    pub(super) fn look(&self, v: &[f64], scratch: &mut LocalScratch) {
        scratch.prepare(self.basis.len(), self.columns.len(), v.len());
        self.basis.evaluate_with_gradient(v, &mut scratch.phi, &mut scratch.slopes);
    }

    fn sum(&self, statistics: &Statistics, scratch: &mut LocalScratch, m: usize) -> f64 {
        let mut value = statistics.constant;
        for (i, column) in self.columns.iter().enumerate() {
            match column {
                Column::Constant { .. } | Column::Given { .. } => {}
                Column::Count(count) => {
                    let slope = scratch.slope(&count.predictor, m);
                    let eta = dot(&count.predictor, &scratch.phi[..count.predictor.len()]);
                    let term = count.family.term(statistics.n, statistics.first[i], eta);
                    value += term.value;
                    scratch.add(&slope, term.slope, term.information);
                }
                Column::Gaussian(_) if self.residual.is_some() => {}
                Column::Gaussian(gaussian) => {
                    let slope = scratch.slope(&gaussian.mean, m);
                    let mean = dot(&gaussian.mean, &scratch.phi[..gaussian.mean.len()]);
                    scratch.residual[i] = statistics.first[i] - mean;
                    scratch.mean_slopes[i * m..(i + 1) * m].copy_from_slice(&slope);
                    value += gaussian_term(i, gaussian, statistics, scratch, m);
                }
            }
        }
        if let Some(law) = &self.residual {
            value += self.place(&scratch.phi).sum(law, statistics, scratch, m);
        }
        value
    }
}

impl LocalScratch {
    fn prepare(&mut self, p: usize, d: usize, m: usize) {
        self.phi.resize(p, 0.0);
        self.slopes.resize(p * m, 0.0);
        self.residual.resize(d, 0.0);
        self.mean_slopes.resize(d * m, 0.0);
        self.gradient.clear();
        self.gradient.resize(m, 0.0);
        self.information.clear();
        self.information.resize(m * m, 0.0);
    }

    /// h of a mean of `width` polynomials, and its slope (m).
    fn uncertainty(&self, width: usize, m: usize) -> (f64, Vec<f64>) {
        match self.leverage.get(width.wrapping_sub(1)) {
            Some(&h) => (h, self.leverage_slopes[(width - 1) * m..width * m].to_vec()),
            None => (0.0, vec![0.0; m]),
        }
    }

    /// A polynomial.
    pub(super) fn value(&self, coefficients: &[f64]) -> f64 {
        dot(coefficients, &self.phi[..coefficients.len()])
    }

    /// ∂ of a polynomial.
    pub(super) fn slope(&self, coefficients: &[f64], m: usize) -> Vec<f64> {
        let mut out = vec![0.0; m];
        for (c, slopes) in coefficients.iter().zip(self.slopes.chunks_exact(m)) {
            out.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += c * slope);
        }
        out
    }

    /// Adds what a quantity with this slope contributes.
    pub(super) fn add(&mut self, slope: &[f64], by: f64, information: f64) {
        let m = slope.len();
        for a in 0..m {
            self.gradient[a] += by * slope[a];
            for b in 0..m {
                self.information[a * m + b] += information * slope[a] * slope[b];
            }
        }
    }
}

/// log p(y_i | y_<i) of n observations up to constants: [`Spread`] of Q = n r̄²/(1 + n h) + tᵀ S t, less ½ log(1 + n h), with r = (y_i - a_i) - Σ b_ij (y_j - a_j) = tᵀ(y - a);
/// see [`Leverage`] for h. Errors of the a_j are correlated as the y_j are, so that h is that of r as well.
fn gaussian_term(
    i: usize,
    column: &GaussianColumn,
    statistics: &Statistics,
    scratch: &mut LocalScratch,
    m: usize,
) -> f64 {
    let (n, d) = (statistics.n, statistics.first.len());
    let s = dot(&column.log_variance, &scratch.phi[..column.log_variance.len()]);
    let s_slope = scratch.slope(&column.log_variance, m);
    let mut residual = scratch.residual[i];
    let mut slope: Vec<f64> = scratch.mean_slopes[i * m..(i + 1) * m].iter().map(|a| -a).collect();
    let coupling = |(j, b): &(usize, Vec<f64>)| -> (usize, f64, Option<Vec<f64>>) {
        (*j, scratch.value(b), (b.len() > 1).then(|| scratch.slope(b, m)))
    };
    let couplings: Vec<_> = column.coupling.iter().map(coupling).collect();
    for (j, b, b_slope) in &couplings {
        residual -= b * scratch.residual[*j];
        add_scaled(*b, &scratch.mean_slopes[j * m..(j + 1) * m], &mut slope);
        if let Some(b_slope) = b_slope {
            add_scaled(-scratch.residual[*j], b_slope, &mut slope);
        }
    }
    // (S t)_k, and tᵀ S t.
    let product = |row: usize| {
        let scatter = &statistics.scatter[row * d..(row + 1) * d];
        scatter[i] - couplings.iter().map(|(j, b, _)| b * scatter[*j]).sum::<f64>()
    };
    let scatter = statistics.along[i]
        .unwrap_or_else(|| product(i) - couplings.iter().map(|(j, b, _)| b * product(*j)).sum::<f64>());
    let (h, h_slope) = scratch.uncertainty(column.mean.len(), m);
    let known = 1.0 / (1.0 + n * h);
    let effective = n * known;
    let (h_spread, h_spread_slope) = scratch.uncertainty(column.log_variance.len(), m);
    let spread = Spread::new(statistics.count, scatter + effective * residual * residual, s, h_spread);
    let precision = spread.precision;
    for (j, b_slope) in couplings.iter().filter_map(|(j, _, slope)| slope.as_ref().map(|slope| (j, slope))) {
        // ∂Q = 2 n r̄ ∂r̄ - 2 Σ ∂b_ij (S t)_j; the metric has the diagonal of ∂bᵀ S ∂b.
        scratch.add(b_slope, precision * product(*j), precision * statistics.scatter[j * d + j]);
    }
    scratch.add(&slope, -precision * effective * residual, precision * effective);
    scratch.add(&h_slope, 0.5 * (precision * (effective * residual).powi(2) - effective), 0.0);
    scratch.add(&s_slope, spread.slope, spread.information);
    scratch.add(&h_spread_slope, spread.uncertainty_slope, 0.0);
    spread.value + 0.5 * known.ln()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::column::{CountColumn, Family};
    use super::super::frame::Frame;
    use super::super::mixture::Mixture;
    use super::*;
    use ndarray::Array2;

    /// Two parameters; columns: Gaussian, counts, Gaussian coupled to the first, constant.
    pub(crate) fn example() -> LocalLikelihood {
        let basis = Basis::new(2, 2).unwrap();
        let poly = |count: usize, phase: f64| (0..count).map(|k| 0.5 * (1.3 * k as f64 + phase).sin()).collect();
        let gaussian = |phase, coupling| {
            Column::Gaussian(GaussianColumn {
                center: 0.4,
                scale: 1.7,
                mean: poly(6, phase),
                log_variance: poly(3, phase + 1.0),
                coupling,
            })
        };
        let count = CountColumn { family: Family::Binomial { trials: 20.0 }, predictor: poly(6, 0.2) };
        LocalLikelihood {
            chart: Chart {
                bounded: vec![true, false],
                frame: Frame::new(vec![0.5, 0.1], vec![0.2, 0.05, 0.05, 0.9]).unwrap(),
            },
            basis,
            log: false,
            columns: vec![
                gaussian(0.1, vec![]),
                Column::Count(count),
                gaussian(0.7, vec![(0, poly(3, 2.0))]),
                Column::Constant { value: 3.0 },
            ],
            radius: 5.0,
            residual: None,
            leverage: None,
            by_category: None,
        }
    }

    pub(crate) fn observations(rows: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, 4), |(i, j)| match j {
            1 => ((i * 7) % 13) as f32,
            3 => 3.0,
            _ => (1.1 * (i * 3 + j) as f32).sin() + 0.3,
        })
    }

    fn value(model: &LocalLikelihood, x: ArrayView2<'_, f32>, u: &[f64]) -> f64 {
        let statistics = model.statistics(x).unwrap();
        let buffers = (&mut [0.0; 2][..], &mut [0.0; 4][..]);
        model.evaluate(&statistics, u, &[1.0, 0.0, 0.0, 1.0], &mut LocalScratch::default(), buffers)
    }

    /// The same with a law of residuals.
    pub(crate) fn with_law() -> LocalLikelihood {
        let parts =
            vec![(0.4, Frame::new(vec![0.5, -0.2], vec![0.6, 0.2, 0.2, 0.5]).unwrap()), (0.6, Frame::standard(2, 0.8))];
        let law = ResidualLaw::new(Mixture { parts }, vec![1.2, 0.1, 0.1, 0.9]);
        LocalLikelihood { residual: Some(law), ..example() }
    }

    #[test]
    fn statistics_give_the_sum_over_observations() {
        for model in [example(), with_law()] {
            let x = observations(9);
            let u = [0.4, -0.3];
            let one_by_one: f64 = x.outer_iter().map(|row| value(&model, row.insert_axis(ndarray::Axis(0)), &u)).sum();
            assert!((value(&model, x.view(), &u) - one_by_one).abs() < 1e-9);
        }
    }

    /// Couplings of degree 0 are polynomials of higher ones whose other coefficients are 0.
    #[test]
    fn couplings_that_are_the_same_everywhere_are_known_beforehand() {
        let with = |b: Vec<f64>| {
            let mut model = example();
            let Column::Gaussian(third) = &mut model.columns[2] else { panic!("a Gaussian") };
            third.coupling = vec![(0, b)];
            model
        };
        let (known, general) = (with(vec![0.7]), with(vec![0.7, 0.0, 0.0]));
        let (x, u, directions) = (observations(9), [0.4, -0.3], [0.8, 0.0, -0.2, 0.5]);
        let [one, other] = [known, general].map(|model| {
            let statistics = model.statistics(x.view()).unwrap();
            let (mut gradient, mut information) = ([0.0; 2], [0.0; 4]);
            let buffers = (&mut gradient[..], &mut information[..]);
            let value = model.evaluate(&statistics, &u, &directions, &mut LocalScratch::default(), buffers);
            [value, gradient[0], gradient[1]]
        });
        assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-9 * b.abs()), "{one:?} {other:?}");
    }

    #[test]
    fn a_standard_normal_law_of_residuals_is_none() {
        let law = ResidualLaw::new(Mixture::standard(2), vec![1.0, 0.0, 0.0, 1.0]);
        let model = LocalLikelihood { residual: Some(law), ..example() };
        let (x, u) = (observations(9), [0.4, -0.3]);
        assert!((value(&model, x.view(), &u) - value(&example(), x.view(), &u)).abs() < 1e-9);
    }

    #[test]
    fn the_gradient_is_the_finite_difference_along_the_directions() {
        for model in [example(), with_law()] {
            check_gradient(&model);
        }
    }

    fn check_gradient(model: &LocalLikelihood) {
        let x = observations(9);
        let statistics = model.statistics(x.view()).unwrap();
        let (u, directions) = ([0.4, -0.3], [0.8, 0.0, -0.2, 0.5]);
        let (mut gradient, mut information) = ([0.0; 2], [0.0; 4]);
        let buffers = (&mut gradient[..], &mut information[..]);
        model.evaluate(&statistics, &u, &directions, &mut LocalScratch::default(), buffers);
        for a in 0..2 {
            let moved = |h: f64| [u[0] + h * directions[a], u[1] + h * directions[2 + a]];
            let numeric = (value(model, x.view(), &moved(1e-5)) - value(model, x.view(), &moved(-1e-5))) / 2e-5;
            assert!((numeric - gradient[a]).abs() < 1e-5 * gradient[a].abs().max(1.0), "{numeric} {}", gradient[a]);
        }
        let determinant = information[0] * information[3] - information[1] * information[2];
        assert!(information[0] > 0.0 && determinant > 0.0 && (information[1] - information[2]).abs() < 1e-9);
        assert_eq!(value(model, x.view(), &[0.4, 9.0]), f64::NEG_INFINITY);
    }
}
