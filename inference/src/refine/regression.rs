//! Least squares with weights and held-out predictions: everything that is learned here is one, or a few in a row.

use super::leverage::Leverage;
use crate::small_matrix::{cholesky, cholesky_solve, dot};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Folds of held-out predictions: row i is held out with those of i mod FOLDS.
pub(super) const FOLDS: usize = 5;

/// Ridge penalty as a share of the mean diagonal: only against singular designs.
const RIDGE: f64 = 1e-9;

/// Normal equations Σ w φ φᵀ and Σ r φ.
#[derive(Debug, Clone)]
pub(super) struct Weighted {
    pub gram: Vec<f64>,
    pub right: Vec<f64>,
}

impl Weighted {
    pub fn new(width: usize) -> Self {
        Self { gram: vec![0.0; width * width], right: vec![0.0; width] }
    }

    fn plus(&mut self, other: &Self, sign: f64) {
        self.gram.iter_mut().zip(&other.gram).for_each(|(sum, value)| *sum += sign * value);
        self.right.iter_mut().zip(&other.right).for_each(|(sum, value)| *sum += sign * value);
    }
}

/// Solves `gram` x = `right` with a penalty on all but the first unknown; none if it is singular all the same.
pub(super) fn solve(gram: &[f64], right: &[f64], penalty: f64) -> Option<Vec<f64>> {
    let width = right.len();
    let trace: f64 = (0..width).map(|i| gram[i * width + i]).sum();
    let mut factor = gram.to_vec();
    for i in 0..width {
        factor[i * width + i] += RIDGE * trace / width as f64 + if i > 0 { penalty } else { 0.0 };
    }
    if !cholesky(&mut factor, width) {
        return None;
    }
    let mut out = right.to_vec();
    cholesky_solve(&factor, &mut out);
    Some(out)
}

/// A regression on all rows, and each row's prediction by the regression on the other folds.
#[derive(Debug, Clone)]
pub(super) struct CrossFit {
    pub coefficients: Vec<f64>,
    pub held_out: Vec<f64>,
}

/// Features (rows, stride), of which the first `width` are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features<'a> {
    pub values: &'a [f64],
    pub stride: usize,
    pub width: usize,
}

impl<'a> Features<'a> {
    pub fn row(&self, i: usize) -> &'a [f64] {
        &self.values[i * self.stride..i * self.stride + self.width]
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.stride
    }

    fn matrix(&self) -> MatRef<'a, f64> {
        MatRef::from_row_major_slice_with_stride(self.values, self.rows(), self.width, self.stride)
    }

    /// Φ β, (rows).
    pub fn times(&self, beta: &[f64]) -> Vec<f64> {
        product(self.matrix(), beta)
    }

    /// Φᵀ w, (width).
    pub fn transposed_times(&self, w: &[f64]) -> Vec<f64> {
        product(self.matrix().transpose(), w)
    }
}

fn product(matrix: MatRef<'_, f64>, vector: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; matrix.nrows()];
    let column = MatRef::from_column_major_slice(vector, vector.len(), 1);
    let to = MatMut::from_column_major_slice_mut(&mut out, matrix.nrows(), 1);
    matmul(to, Accum::Replace, matrix, column, 1.0, Par::Seq);
    out
}

/// Rows of a product.
const BLOCK: usize = 256;

/// Σ w φ φᵀ of some rows.
pub(super) fn gram(features: Features<'_>, rows: &[usize], weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let width = features.width;
    let (mut gram, mut block) = (vec![0.0; width * width], Vec::with_capacity(BLOCK * width));
    for rows in rows.chunks(BLOCK) {
        block.clear();
        for &i in rows {
            let root = weight(i).sqrt();
            block.extend(features.row(i).iter().map(|phi| root * phi));
        }
        let a = MatRef::from_row_major_slice(&block, rows.len(), width);
        let out = MatMut::from_row_major_slice_mut(&mut gram, width, width);
        matmul(out, Accum::Add, a.transpose(), a, 1.0, Par::Seq);
    }
    gram
}

/// Σ w φ φᵀ of each fold's rows.
pub(super) fn grams(features: Features<'_>, weights: Option<&[f64]>) -> Vec<Vec<f64>> {
    let of = |fold: usize| {
        let rows: Vec<usize> = (fold..features.rows()).step_by(FOLDS).collect();
        gram(features, &rows, |i| weights.map_or(1.0, |w| w[i]))
    };
    (0..FOLDS).into_par_iter().map(of).collect()
}

/// Σ r φ of each fold's rows, beside their `grams`.
fn with_right(features: Features<'_>, grams: Vec<Vec<f64>>, right: impl Fn(usize) -> f64) -> Vec<Weighted> {
    let mut folds: Vec<Weighted> =
        grams.into_iter().map(|gram| Weighted { gram, right: vec![0.0; features.width] }).collect();
    for i in 0..features.rows() {
        let scaled = right(i);
        let sums = &mut folds[i % FOLDS].right;
        sums.iter_mut().zip(features.row(i)).for_each(|(sum, feature)| *sum += scaled * feature);
    }
    folds
}

/// Weighted least squares of `target` on the features; none where the design is singular.
pub(super) fn cross_fit(features: Features<'_>, target: &[f64], weights: Option<&[f64]>) -> Option<CrossFit> {
    let right = |i: usize| weights.map_or(1.0, |w| w[i]) * target[i];
    let folds = with_right(features, grams(features, weights), right);
    from_folds(features, &folds)
}

/// The fits of normal equations by fold.
pub(super) fn from_folds(features: Features<'_>, folds: &[Weighted]) -> Option<CrossFit> {
    let mut all = Weighted::new(features.width);
    folds.iter().for_each(|fold| all.plus(fold, 1.0));
    let coefficients = solve(&all.gram, &all.right, 0.0)?;
    let others = |fold: &Weighted| {
        let mut rest = all.clone();
        rest.plus(fold, -1.0);
        solve(&rest.gram, &rest.right, 0.0)
    };
    let by_fold: Vec<Vec<f64>> = folds.iter().map(others).collect::<Option<_>>()?;
    let held_out = (0..features.rows()).map(|i| dot(features.row(i), &by_fold[i % FOLDS])).collect();
    Some(CrossFit { coefficients, held_out })
}

/// The same least squares for several targets at once: Gram matrices are shared.
pub(super) struct SharedDesign {
    grams: Vec<Vec<f64>>,
    width: usize,
}

impl SharedDesign {
    /// The Gram matrices of all features, by fold.
    pub fn new(features: Features<'_>) -> Self {
        Self { grams: grams(features, None), width: features.width }
    }

    /// How well means of the first `p` features are known.
    pub fn leverage(&self, p: usize) -> Option<Leverage> {
        let mut all = vec![0.0; self.width * self.width];
        self.grams.iter().for_each(|gram| all.iter_mut().zip(gram).for_each(|(sum, value)| *sum += value));
        Leverage::new(&all, self.width, p)
    }

    /// The fit of `target` on the first `features.width` features.
    pub fn fit(&self, features: Features<'_>, target: &[f64]) -> Option<CrossFit> {
        let width = features.width;
        let leading = |gram: &Vec<f64>| -> Vec<f64> {
            (0..width).flat_map(|a| gram[a * self.width..a * self.width + width].iter().copied()).collect()
        };
        let folds = with_right(features, self.grams.iter().map(leading).collect(), |i| target[i]);
        from_folds(features, &folds)
    }
}

/// Scoring steps of a log-variance.
const STEPS: usize = 12;

/// Least log-variance against the mean square, so that a perfect fit stays finite.
const LEAST_RELATIVE: f64 = 1e-12;

/// log E[e²] as a polynomial, by the maximum likelihood of N(0, e^s) (a gamma regression with logarithmic link), Fisher scoring with
/// the shared Gram matrices; held-out values of s are in `held_out`.
pub(super) fn log_variance(design: &SharedDesign, features: Features<'_>, squares: &[f64]) -> Option<CrossFit> {
    let rows = squares.len() as f64;
    let mean = (squares.iter().sum::<f64>() / rows).max(f64::MIN_POSITIVE);
    let floor = mean * LEAST_RELATIVE;
    let mut fit = CrossFit { coefficients: vec![0.0; features.width], held_out: vec![mean.ln(); squares.len()] };
    fit.coefficients[0] = mean.ln();
    if features.width == 1 {
        return Some(fit);
    }
    let mut inside: Vec<f64> = fit.held_out.clone();
    for _ in 0..STEPS {
        // The working response s + e² e^{-s} - 1, bounded so that single outliers do not throw the first steps.
        let response = |s: &[f64]| -> Vec<f64> {
            s.iter().zip(squares).map(|(s, square)| s + (square.max(floor) * (-s).exp() - 1.0).min(20.0)).collect()
        };
        let next = design.fit(features, &response(&inside))?;
        let predicted: Vec<f64> = (0..squares.len()).map(|i| dot(features.row(i), &next.coefficients)).collect();
        let change = predicted.iter().zip(&inside).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        (inside, fit) = (predicted, next);
        if change < 1e-6 {
            break;
        }
    }
    Some(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::StreamKey;

    fn rows() -> (Vec<f64>, Vec<f64>) {
        let mut rng = StreamKey::root(1).rng(0);
        let mut draw = move || -> f64 { StandardNormal.sample(&mut rng) };
        let (mut phi, mut y) = (Vec::new(), Vec::new());
        for _ in 0..4000 {
            let v = draw();
            let sd = (0.5 * (-1.0 + 0.8 * v)).exp();
            phi.extend([1.0, v]);
            y.push(0.7 - 0.3 * v + sd * draw());
        }
        (phi, y)
    }

    #[test]
    fn mean_and_log_variance_are_found() {
        let (phi, y) = rows();
        let features = Features { values: &phi, stride: 2, width: 2 };
        let design = SharedDesign::new(features);
        let mean = design.fit(features, &y).unwrap();
        let direct = cross_fit(features, &y, None).unwrap();
        assert!(mean.coefficients.iter().zip(&direct.coefficients).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!(mean.held_out.iter().zip(&direct.held_out).all(|(a, b)| (a - b).abs() < 1e-9));
        let squares: Vec<f64> = y.iter().zip(&mean.held_out).map(|(y, mean)| (y - mean).powi(2)).collect();
        let spread = log_variance(&design, features, &squares).unwrap();
        for (found, wanted) in spread.coefficients.iter().zip([-1.0, 0.8]) {
            assert!((found - wanted).abs() < 0.09, "{:?}", spread.coefficients);
        }
        let weights: Vec<f64> = spread.held_out.iter().map(|s| (-s).exp()).collect();
        let better = cross_fit(features, &y, Some(&weights)).unwrap();
        for (found, wanted) in better.coefficients.iter().zip([0.7, -0.3]) {
            assert!((found - wanted).abs() < 0.025, "{:?}", better.coefficients);
        }
    }

    /// A held-out prediction does not know its row: as many features as rows predict nothing.
    #[test]
    fn held_out_predictions_do_not_see_their_rows() {
        let (_, noise) = rows();
        let rows = 40;
        let phi: Vec<f64> = (0..rows * 20).map(|i| if i % 20 == 0 { 1.0 } else { noise[i] - 0.7 }).collect();
        let features = Features { values: &phi, stride: 20, width: 20 };
        let target = &noise[1000..1000 + rows];
        let fit = cross_fit(features, target, None).unwrap();
        let error = |predict: &dyn Fn(usize) -> f64| (0..rows).map(|i| (target[i] - predict(i)).powi(2)).sum::<f64>();
        assert!(error(&|i| fit.held_out[i]) > 2.0 * error(&|i| dot(features.row(i), &fit.coefficients)));
    }
}
