//! Least squares with weights and held-out predictions: everything that is learned here is one, or a few in a row.

use super::leverage::Leverage;
use crate::small_matrix::{add_scaled, cholesky, cholesky_solve, dot};
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
    let factor = penalised_factor(gram.to_vec(), right.len(), penalty)?;
    let mut out = right.to_vec();
    cholesky_solve(&factor, &mut out);
    Some(out)
}

/// The Cholesky factor of a Gram matrix with a penalty on all but the first unknown; none if it is singular all the same.
fn penalised_factor(mut gram: Vec<f64>, width: usize, penalty: f64) -> Option<Vec<f64>> {
    let trace: f64 = (0..width).map(|i| gram[i * width + i]).sum();
    for i in 0..width {
        gram[i * width + i] += RIDGE * trace / width as f64 + if i > 0 { penalty } else { 0.0 };
    }
    cholesky(&mut gram, width).then_some(gram)
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

    /// The rows of a fold.
    fn fold(&self, fold: usize) -> MatRef<'a, f64> {
        let (values, rows) = (&self.values[fold * self.stride..], self.rows());
        let own = if fold < rows { (rows - fold).div_ceil(FOLDS) } else { 0 };
        MatRef::from_row_major_slice_with_stride(values, own, self.width, FOLDS * self.stride)
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

/// Weighted least squares of `target` on the features; none where the design is singular.
pub(super) fn cross_fit(features: Features<'_>, target: &[f64], weights: Option<&[f64]>) -> Option<CrossFit> {
    let width = features.width;
    let grams = grams(features, weights);
    let mut folds: Vec<Weighted> = grams.into_iter().map(|gram| Weighted { gram, right: vec![0.0; width] }).collect();
    for (i, y) in target.iter().enumerate() {
        add_scaled(weights.map_or(1.0, |w| w[i]) * y, features.row(i), &mut folds[i % FOLDS].right);
    }
    let mut all = Weighted::new(width);
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

/// The same least squares for several targets at once: Gram matrices and their factors are shared.
pub(super) struct SharedDesign {
    gram: Vec<f64>,
    width: usize,
    /// Of as many leading features as a fit may use.
    factors: Vec<(usize, Option<Factors>)>,
}

/// Cholesky factors of the normal equations of some leading features.
struct Factors {
    all: Vec<f64>,
    /// Of all rows but those of a fold each.
    others: Vec<Vec<f64>>,
}

impl Factors {
    /// Of the first `width` features of Gram matrices (stride, stride) by fold; none where one is singular.
    fn new(grams: &[Vec<f64>], all: &[f64], stride: usize, width: usize) -> Option<Self> {
        let of = |gram: &dyn Fn(usize) -> f64| {
            let leading: Vec<f64> = (0..width).flat_map(|a| (0..width).map(move |b| gram(a * stride + b))).collect();
            penalised_factor(leading, width, 0.0)
        };
        let others = grams.iter().map(|fold| of(&|at| all[at] - fold[at])).collect::<Option<_>>()?;
        Some(Self { all: of(&|at| all[at])?, others })
    }
}

impl SharedDesign {
    /// The Gram matrices of all features, to be fitted on the first `widths` of them.
    pub fn new(features: Features<'_>, widths: &[usize]) -> Self {
        let (grams, width) = (grams(features, None), features.width);
        let mut gram = vec![0.0; width * width];
        grams.iter().for_each(|fold| add_scaled(1.0, fold, &mut gram));
        let factors = widths.par_iter().map(|&own| (own, Factors::new(&grams, &gram, width, own))).collect();
        Self { gram, width, factors }
    }

    /// How well means of the first `p` features are known.
    pub fn leverage(&self, p: usize) -> Option<Leverage> {
        Leverage::new(&self.gram, self.width, p)
    }

    fn factors(&self, width: usize) -> Option<&Factors> {
        self.factors.iter().find(|(own, _)| *own == width)?.1.as_ref()
    }

    /// The coefficients of `target` on the first `features.width` features.
    fn coefficients(&self, features: Features<'_>, target: &[f64]) -> Option<Vec<f64>> {
        let mut out = features.transposed_times(target);
        cholesky_solve(&self.factors(features.width)?.all, &mut out);
        Some(out)
    }

    /// The fit of `target` on the first `features.width` features.
    pub fn fit(&self, features: Features<'_>, target: &[f64]) -> Option<CrossFit> {
        let factors = self.factors(features.width)?;
        let by_fold: Vec<Vec<f64>> = (0..FOLDS)
            .map(|fold| {
                let own: Vec<f64> = target.iter().skip(fold).step_by(FOLDS).copied().collect();
                product(features.fold(fold).transpose(), &own)
            })
            .collect();
        let mut coefficients = vec![0.0; features.width];
        by_fold.iter().for_each(|fold| add_scaled(1.0, fold, &mut coefficients));
        let mut held_out = vec![0.0; target.len()];
        for (fold, (own, factor)) in by_fold.iter().zip(&factors.others).enumerate() {
            let mut others: Vec<f64> = coefficients.iter().zip(own).map(|(all, own)| all - own).collect();
            cholesky_solve(factor, &mut others);
            let predicted = product(features.fold(fold), &others);
            held_out.iter_mut().skip(fold).step_by(FOLDS).zip(predicted).for_each(|(to, value)| *to = value);
        }
        cholesky_solve(&factors.all, &mut coefficients);
        Some(CrossFit { coefficients, held_out })
    }
}

/// Scoring steps of a log-variance.
const STEPS: usize = 12;

/// Least log-variance against the mean square, so that a perfect fit stays finite.
const LEAST_RELATIVE: f64 = 1e-12;

/// log E[e²] as a polynomial, by the maximum likelihood of N(0, e^s) (a gamma regression with logarithmic link), Fisher scoring with
/// the shared Gram matrices; held-out values of s, of one more step each, are in `held_out`.
pub(super) fn log_variance(design: &SharedDesign, features: Features<'_>, squares: &[f64]) -> Option<CrossFit> {
    let rows = squares.len() as f64;
    let mean = (squares.iter().sum::<f64>() / rows).max(f64::MIN_POSITIVE);
    let floor = mean * LEAST_RELATIVE;
    let mut inside = vec![mean.ln(); squares.len()];
    if features.width == 1 {
        return Some(CrossFit { coefficients: vec![mean.ln()], held_out: inside });
    }
    // The working response s + e² e^{-s} - 1, bounded so that single outliers do not throw the first steps.
    let response = |s: &[f64]| -> Vec<f64> {
        s.iter().zip(squares).map(|(s, square)| s + (square.max(floor) * (-s).exp() - 1.0).min(20.0)).collect()
    };
    let mut target = response(&inside);
    for _ in 1..STEPS {
        let predicted = features.times(&design.coefficients(features, &target)?);
        let change = predicted.iter().zip(&inside).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if change < 1e-6 {
            break;
        }
        inside = predicted;
        target = response(&inside);
    }
    design.fit(features, &target)
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
        let design = SharedDesign::new(features, &[2]);
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
