//! How well means are known that were learned from N rows: their leverage.
//!
//! Least squares leave a mean a(u) = βᵀφ(u) with the variance σ² h(u), h = φᵀ(ΦᵀΦ)⁻¹φ, which all n observations at u share: with a flat prior of
//! β, their mean is N(a(u), σ²(1/n + h(u))) (Lindley & Smith 1972). Taking a for known instead costs n h/2 nats a value: too much where rows are sparse, so that a posterior would shrink from
//! the edges of what was simulated and, round by round, lose a part of itself.

use super::local::LocalScratch;
use crate::small_matrix::{cholesky, lower_solve};
use serde::{Deserialize, Serialize};

/// The Cholesky factor of ΦᵀΦ of the rows that means were learned from, (p, p): its leading blocks are those of fewer polynomials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leverage {
    factor: Vec<f64>,
}

impl Leverage {
    /// Of a Gram matrix (stride, stride), its first `p` rows and columns; none where it is singular.
    pub(super) fn new(gram: &[f64], stride: usize, p: usize) -> Option<Self> {
        let mut factor: Vec<f64> = (0..p).flat_map(|a| gram[a * stride..a * stride + p].iter().copied()).collect();
        cholesky(&mut factor, p).then_some(Self { factor })
    }

    /// Whether it is that of `p` polynomials.
    pub(super) fn is_valid(&self, p: usize) -> bool {
        self.factor.len() == p * p
            && self.factor.iter().all(|value| value.is_finite())
            && (0..p).all(|i| self.factor[i * p + i] > 0.0)
    }

    /// Puts h of the first 1, 2, .. polynomials (p) and its slopes (p, m) into `scratch`, which has their values and slopes.
    pub(super) fn evaluate(&self, scratch: &mut LocalScratch, m: usize) {
        let p = scratch.phi.len();
        let mut y = scratch.phi.clone();
        lower_solve(&self.factor, &mut y);
        scratch.leverage.clear();
        scratch.leverage_slopes.clear();
        scratch.leverage_slopes.resize(p * m, 0.0);
        let mut sum = 0.0;
        scratch.leverage.extend(y.iter().map(|y| {
            sum += y * y;
            sum
        }));
        for a in 0..m {
            let mut slope: Vec<f64> = scratch.slopes.iter().skip(a).step_by(m).copied().collect();
            lower_solve(&self.factor, &mut slope);
            let mut sum = 0.0;
            for (k, (y, slope)) in y.iter().zip(&slope).enumerate() {
                sum += 2.0 * y * slope;
                scratch.leverage_slopes[k * m + a] = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, Rows, fit};
    use super::super::frame::Frame;
    use super::super::spread::Spread;
    use super::*;
    use ndarray::Array2;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::{Silent, StreamKey};

    /// Observations' mean under a line learned from few rows: N(a(u), σ²(1/n + h(u))), with h of simple regression, 1/N + (u - ū)²/Σ(u - ū)².
    #[test]
    fn the_mean_of_observations_is_as_uncertain_as_the_line() {
        let mut rng = StreamKey::root(3).rng(0);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
        let u: Vec<f64> = (0..60).map(|_| normal()).collect();
        let x: Vec<f32> = u.iter().map(|u| (2.0 * u + normal()) as f32).collect();
        let (rows, frame) = (60.0, Frame::standard(1, 1.0));
        let chart = Chart { bounded: vec![false], frame: frame.clone() };
        let forms = Forms { mean: 1, ..Forms::default() };
        let mut known =
            fit(chart, &Rows { u: u.clone(), x, ..Rows::default() }, false, 10.0, forms, &Silent).unwrap().likelihood;
        let honest = known.clone();
        known.leverage = None;
        let observed = Array2::from_shape_fn((40, 1), |(i, _)| 5.0 + (i as f32).sin());
        let n = observed.nrows() as f64;
        let at = |likelihood: &super::super::LocalLikelihood, u: f64| {
            let statistics = likelihood.statistics(observed.view()).unwrap();
            let (mut gradient, mut information) = ([0.0], [0.0]);
            let buffers = (&mut gradient[..], &mut information[..]);
            let value = likelihood.evaluate(&statistics, &[u], &[1.0], &mut LocalScratch::default(), buffers);
            (value, gradient[0])
        };
        let mean = u.iter().sum::<f64>() / rows;
        let square: f64 = u.iter().map(|u| (u - mean).powi(2)).sum();
        let super::super::Column::Gaussian(column) = &honest.columns[0] else { panic!("one Gaussian") };
        let average = observed.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        for u in [0.0, 1.5, 3.0] {
            let h = 1.0 / rows + (u - mean).powi(2) / square;
            let a = column.center + column.scale * (column.mean[0] + column.mean[1] * u);
            let precision = (-column.log_variance[0]).exp() / column.scale.powi(2);
            let scatter = observed.iter().map(|&x| (f64::from(x) - average).powi(2)).sum::<f64>() * precision;
            let square = (average - a).powi(2) * precision;
            let log = |h: f64, spread: f64| {
                let known = 1.0 / (1.0 / n + h);
                Spread::new(n, scatter + known * square, 0.0, spread).value + 0.5 * (known / n).ln()
            };
            // The one variance is that of as many residuals as there are rows.
            let expected = log(h, 1.0 / rows) - log(0.0, 0.0);
            let (value, slope) = at(&honest, u);
            assert!((value - at(&known, u).0 - expected).abs() < 1e-8 * expected.abs().max(1.0), "{u}");
            let numeric = (at(&honest, u + 1e-5).0 - at(&honest, u - 1e-5).0) / 2e-5;
            assert!((numeric - slope).abs() < 1e-5 * slope.abs().max(1.0), "{numeric} {slope}");
        }
    }
}
