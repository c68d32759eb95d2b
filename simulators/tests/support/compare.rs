//! Whether two sets of observations come from the same simulator.
//!
//! Reference observations are whitened by the simulated mean and covariance at their own parameter. The published
//! observations of most tasks reuse the same random numbers at every parameter (observation j of one parameter is a
//! function of observation j of another), so pooling over parameters must not count them as independent: pooled
//! statistics are summed over the parameters first, and their spread is taken from the sums of the n observations. The
//! error probability [`ERROR`] is divided between families of tests, and within a family by Bonferroni, which is right
//! under any dependence.

use ndarray::{Array2, Array3, ArrayView2, Axis};
use statrs::distribution::{ChiSquared, ContinuousCDF, FisherSnedecor, StudentsT};

/// Probability that a right simulator fails.
pub const ERROR: f64 = 0.01;
/// Families of tests that share it.
const FAMILIES: f64 = 6.0;
/// Coordinates with a larger kurtosis hold rare events (counts near zero), for which a mean of 100 is not normal: they
/// enter only the Kolmogorov–Smirnov tests, which need no moments.
const MAX_KURTOSIS: f64 = 10.0;

/// The smallest Bonferroni-corrected probability of each family, with what it belongs to.
#[derive(Debug)]
pub struct Comparison {
    pub families: Vec<(&'static str, f64, String)>,
}

impl Comparison {
    /// The family with the least probability under the hypothesis.
    pub fn verdict(&self) -> Result<(), String> {
        let failed: Vec<String> = self
            .families
            .iter()
            .filter(|(_, p, _)| *p < ERROR / FAMILIES)
            .map(|(family, p, which)| format!("{family}: corrected p = {p:.1e} ({which})"))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

/// Tests of one family; Bonferroni over them.
struct Family(&'static str, Vec<(f64, String)>);

impl Family {
    fn summary(self) -> (&'static str, f64, String) {
        let tests = self.1.len() as f64;
        let least = self.1.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((1.0, "no tests".into()));
        (self.0, (least.0 * tests).min(1.0), least.1)
    }
}

/// Compares `reference` (P, n, d) with simulations (P, N, d) at the same parameters, N much larger than n.
pub fn compare(reference: &Array3<f32>, simulated: &Array3<f32>) -> Comparison {
    let (parameters, n, dim) = reference.dim();
    let mut ks = Family("KS per parameter and coordinate", Vec::new());
    let mut hotelling = Family("mean per parameter", Vec::new());
    let mut sums = Pooled::new(n, dim);
    for p in 0..parameters {
        let (real, own) = (reference.index_axis(Axis(0), p), simulated.index_axis(Axis(0), p));
        for c in 0..dim {
            let own_sorted = sorted(own.column(c).iter().copied());
            let pit: Vec<f64> = real.column(c).iter().enumerate().map(|(j, &v)| rank(&own_sorted, v, j)).collect();
            ks.1.push((uniformity(pit, own.nrows()), format!("parameter {p}, coordinate {c}")));
        }
        let active = active_coordinates(own);
        let whitened = Whitening::new(own, &active);
        let (y, z) = (whitened.apply(real), whitened.apply(own));
        hotelling.1.push((mean_is_known(&y, &z), format!("parameter {p}")));
        sums.add(&active, &y, &z);
    }
    let families = [ks, hotelling].into_iter().chain(sums.tests());
    Comparison { families: families.map(Family::summary).collect() }
}

fn sorted(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values
}

/// Probability integral transform of `value`: uniform on (0, 1) if it has the distribution of `sample`. Ties are broken
/// by a low-discrepancy sequence, independent of the values.
fn rank(sample: &[f32], value: f32, index: usize) -> f64 {
    let below = sample.partition_point(|&v| v < value) as f64;
    let up_to = sample.partition_point(|&v| v <= value) as f64;
    let spread = (index as f64 * 0.618_033_988_749_895).fract();
    (below + spread * (up_to - below + 1.0)) / (sample.len() as f64 + 1.0)
}

/// Kolmogorov–Smirnov probability that `pit` is uniform, its ranks taken among `simulated` values.
fn uniformity(mut pit: Vec<f64>, simulated: usize) -> f64 {
    pit.sort_by(f64::total_cmp);
    let n = pit.len() as f64;
    let distance =
        pit.iter().enumerate().map(|(i, u)| (u - i as f64 / n).max((i as f64 + 1.0) / n - u)).fold(0.0, f64::max);
    let effective = (n * simulated as f64 / (n + simulated as f64)).sqrt();
    let lambda = (effective + 0.12 + 0.11 / effective) * distance;
    if lambda < 0.2 {
        return 1.0;
    }
    let tail: f64 = (1..100)
        .map(f64::from)
        .map(|k| 2.0 * (-2.0 * k * k * lambda * lambda).exp() * if k % 2.0 == 1.0 { 1.0 } else { -1.0 })
        .sum();
    tail.clamp(0.0, 1.0)
}

/// Probability that whitened observations `y` have the mean zero of the many whitened simulations `z`: Hotelling's T²,
/// whose variance 2 d + (E‖z‖⁴ - d (d + 2))/n is matched by a scaled χ².
fn mean_is_known(y: &Array2<f64>, z: &Array2<f64>) -> f64 {
    let (n, dim, simulations) = (y.nrows() as f64, y.ncols() as f64, z.nrows() as f64);
    if dim == 0.0 {
        return 1.0;
    }
    // The simulated means have errors of their own.
    let inflation = 1.0 + n / simulations;
    let t2 = y.columns().into_iter().map(|column| column.sum().powi(2)).sum::<f64>() / (n * inflation);
    let fourth = z.rows().into_iter().map(|row| row.dot(&row).powi(2)).sum::<f64>() / simulations;
    let scale = (2.0 * dim + (fourth - dim * (dim + 2.0)) / n) / (2.0 * dim);
    ChiSquared::new(dim / scale).expect("positive freedom").sf(t2 / scale)
}

/// Probability that independent `terms` have mean zero (Student's t, two-sided).
fn mean_is_zero(terms: &[f64]) -> f64 {
    let n = terms.len() as f64;
    let mean = terms.iter().sum::<f64>() / n;
    let variance = terms.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if variance == 0.0 {
        return if mean == 0.0 { 1.0 } else { 0.0 };
    }
    let t = mean / (variance / n).sqrt();
    2.0 * StudentsT::new(0.0, 1.0, n - 1.0).expect("positive freedom").sf(t.abs())
}

/// Coordinates that vary, and not by rare events only.
fn active_coordinates(x: ArrayView2<'_, f32>) -> Vec<usize> {
    (0..x.ncols())
        .filter(|&c| {
            let column: Vec<f64> = x.column(c).iter().map(|&v| f64::from(v)).collect();
            let n = column.len() as f64;
            let mean = column.iter().sum::<f64>() / n;
            let moment = |k: i32| column.iter().map(|v| (v - mean).powi(k)).sum::<f64>() / n;
            let variance = moment(2);
            variance > 1e-12 * mean * mean && moment(4) < MAX_KURTOSIS * variance * variance
        })
        .collect()
}

/// y = L⁻¹ (x - mean) with covariance L Lᵀ, over some coordinates.
struct Whitening {
    active: Vec<usize>,
    mean: Vec<f64>,
    factor: Array2<f64>,
}

impl Whitening {
    fn new(x: ArrayView2<'_, f32>, active: &[usize]) -> Self {
        let (n, k) = (x.nrows() as f64, active.len());
        let columns: Vec<Vec<f64>> = active
            .iter()
            .map(|&c| {
                let column: Vec<f64> = x.column(c).iter().map(|&v| f64::from(v)).collect();
                column
            })
            .collect();
        let mean: Vec<f64> = columns.iter().map(|column| column.iter().sum::<f64>() / n).collect();
        let mut factor = Array2::zeros((k, k));
        for i in 0..k {
            for j in 0..=i {
                let covariance: f64 =
                    columns[i].iter().zip(&columns[j]).map(|(a, b)| (a - mean[i]) * (b - mean[j])).sum::<f64>() / n;
                let rest: f64 = covariance - (0..j).map(|l| factor[(i, l)] * factor[(j, l)]).sum::<f64>();
                factor[(i, j)] = if i == j { rest.sqrt() } else { rest / factor[(j, j)] };
            }
        }
        Self { active: active.to_vec(), mean, factor }
    }

    fn apply(&self, x: ArrayView2<'_, f32>) -> Array2<f64> {
        let k = self.active.len();
        let mut y = Array2::zeros((x.nrows(), k));
        for (row, mut out) in x.outer_iter().zip(y.outer_iter_mut()) {
            for i in 0..k {
                let known: f64 = (0..i).map(|j| self.factor[(i, j)] * out[j]).sum();
                out[i] = (f64::from(row[self.active[i]]) - self.mean[i] - known) / self.factor[(i, i)];
            }
        }
        y
    }
}

/// Sums over the parameters, one for each of the n observations, of terms that have mean zero by hypothesis.
struct Pooled {
    /// Whitened values, (n, d).
    values: Array2<f64>,
    /// Products of two different whitened values and, on the diagonal, absolute values: n terms each.
    products: Array2<Vec<f64>>,
    /// Squared norm.
    square: Vec<f64>,
}

impl Pooled {
    fn new(n: usize, dim: usize) -> Self {
        Self {
            values: Array2::zeros((n, dim)),
            products: Array2::from_elem((dim, dim), Vec::new()),
            square: vec![0.0; n],
        }
    }

    /// Adds one parameter's whitened reference `y` and simulations `z`.
    fn add(&mut self, active: &[usize], y: &Array2<f64>, z: &Array2<f64>) {
        let (n, simulations) = (y.nrows(), z.nrows());
        for (i, &c) in active.iter().enumerate() {
            (0..n).for_each(|j| self.values[(j, c)] += y[(j, i)]);
            for (k, &e) in active.iter().enumerate().take(i + 1) {
                let term = |w: &Array2<f64>, r: usize| if i == k { w[(r, i)].abs() } else { w[(r, i)] * w[(r, k)] };
                let expected = (0..simulations).map(|r| term(z, r)).sum::<f64>() / simulations as f64;
                let cell = &mut self.products[(c, e)];
                cell.resize(n, 0.0);
                cell.iter_mut().enumerate().for_each(|(j, sum)| *sum += term(y, j) - expected);
            }
        }
        // Expected squared Mahalanobis distance when mean and covariance are those of N simulations: d (N+1)/(N-d-2).
        let (dim, simulations) = (active.len() as f64, simulations as f64);
        let expected = dim * (simulations + 1.0) / (simulations - dim - 2.0);
        for (j, sum) in self.square.iter_mut().enumerate() {
            *sum += y.row(j).dot(&y.row(j)) - expected;
        }
    }

    /// Hotelling's T² of the values, with their own covariance.
    fn joint_mean(&self) -> f64 {
        let n = self.values.nrows() as f64;
        let single = self.values.mapv(|v| v as f32);
        let active = active_coordinates(single.view());
        let whitening = Whitening::new(single.view(), &active);
        let zero = Array2::zeros((1, self.values.ncols()));
        let dim = active.len() as f64;
        if active.is_empty() || dim >= n / 2.0 {
            return 1.0;
        }
        // The whitening divides by n where Hotelling's statistic divides by n - 1.
        let t2 = (n - 1.0) * whitening.apply(zero.view()).iter().map(|v| v * v).sum::<f64>();
        let f = t2 * (n - dim) / (dim * (n - 1.0));
        FisherSnedecor::new(dim, n - dim).expect("positive freedom").sf(f)
    }

    fn tests(&self) -> [Family; 4] {
        let values = (0..self.values.ncols()).map(|c| self.values.column(c).to_vec()).enumerate();
        let means = values.map(|(c, terms)| (mean_is_zero(&terms), format!("coordinate {c}")));
        let products = self.products.indexed_iter().filter(|(_, terms)| !terms.is_empty());
        let second = products.map(|(index, terms)| (mean_is_zero(terms), format!("coordinates {index:?}")));
        [
            Family("pooled mean", means.collect()),
            Family("pooled mean, all coordinates", vec![(self.joint_mean(), String::new())]),
            Family("pooled second moments", second.collect()),
            Family("pooled spread, all coordinates", vec![(mean_is_zero(&self.square), String::new())]),
        ]
    }
}
