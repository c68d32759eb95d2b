//! Where a posterior is densest, how it is curved there, and slices through it.

#[cfg(test)]
mod tests;

use crate::{Error, Model, Result};
use ndarray::{Array2, ArrayView2, Axis};
use tallsbi_data::Monitor;
use tallsbi_inference::sample::SampleOptions;
use tallsbi_inference::small_matrix::{cholesky, cholesky_inverse, dot};

/// Where a posterior is densest.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// θ̂, (m).
    pub theta: Vec<f64>,
    /// log λ(θ̂) + log p(x_{1:n}|θ̂), as [`Model::log_posterior`] has it.
    pub log_posterior: f64,
    /// Axes along which it was searched for: the Cholesky factor of the samples' covariance, (m, m) row by row.
    axes: Vec<f64>,
}

/// The posterior as a Gaussian around its mode (Laplace's approximation; Tierney & Kadane 1986).
#[derive(Debug, Clone, PartialEq)]
pub struct Laplace {
    /// H = -∇∇ᵀ log p(θ|x_{1:n}) at θ̂, (m, m).
    pub hessian: Array2<f64>,
    /// H⁻¹, (m, m).
    pub covariance: Array2<f64>,
}

impl Laplace {
    /// Standard deviations, (m).
    pub fn sd(&self) -> Vec<f64> {
        self.covariance.diag().iter().map(|variance| variance.sqrt()).collect()
    }
}

/// The density of one or two parameters given all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditional {
    /// Which parameters vary: one or two.
    pub parameters: Vec<usize>,
    /// The values at which they do, a list a parameter.
    pub grid: Vec<Vec<f64>>,
    /// p(θ_i, θ_j|θ_others, x_{1:n}), (G_i, G_j), that integrates to 1 over the grid (trapezoidal rule); (G_i, 1) of a single parameter.
    pub density: Array2<f64>,
}

/// Length of a search's first step along an axis, and the one at which it ends: a thousandth of the posterior's width.
const STEPS: (f64, f64) = (0.5, 1e-3);
/// Rounds of a search at most.
const ROUNDS: usize = 400;

/// Fall of the log density at one step of the differences, at least and at most: far above what networks in single precision round, and where the density is still a Gaussian's.
const FALL: (f64, f64) = (0.02, 0.1);
/// Steps tried on the way there, and the longest one, in widths of the posterior.
const TRIALS: usize = 60;
const LONGEST: f64 = 100.0;

impl Model {
    /// The θ of largest density ([`Model::log_posterior`], of networks taken for exact) given observations (n, d), to a thousandth of the posterior's width: from the best of the
    /// samples (S, m) by a search along the axes of their covariance.
    ///
    /// # Errors
    /// As [`Model::log_posterior`]; when there are no samples.
    pub fn mode(
        &self,
        observations: ArrayView2<'_, f32>,
        samples: ArrayView2<'_, f64>,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Mode> {
        let values = self.log_posterior(observations, samples, options, monitor)?;
        let Some(best) = (0..values.len()).max_by(|&a, &b| finite(values[a]).total_cmp(&finite(values[b]))) else {
            return Err(Error::Input { origin: "samples".into(), message: "there are none; give at least one".into() });
        };
        let axes = axes(samples);
        let (m, mut step) = (samples.ncols(), STEPS.0);
        let mut mode = Mode { theta: samples.row(best).to_vec(), log_posterior: values[best], axes };
        for _ in 0..ROUNDS {
            // Both ways along each axis.
            let tried = Array2::from_shape_fn((2 * m, m), |(row, i)| {
                let sign = if row < m { step } else { -step };
                mode.theta[i] + sign * mode.axes[i * m + row % m]
            });
            let values = self.log_posterior(observations, tried.view(), options, monitor)?;
            let best = (0..2 * m).max_by(|&a, &b| finite(values[a]).total_cmp(&finite(values[b]))).unwrap_or(0);
            if values[best] > mode.log_posterior {
                (mode.theta, mode.log_posterior) = (tried.row(best).to_vec(), values[best]);
            } else if step < STEPS.1 {
                break;
            } else {
                step /= 2.0;
            }
        }
        Ok(mode)
    }

    /// Hessian and covariance of the posterior at its mode, by second differences of [`Model::log_posterior`] of fourth order, over steps about a third as long as the posterior is wide there.
    ///
    /// # Errors
    /// When the mode lies at the edge of the prior's support, or the density does not fall off in all directions: then no Gaussian is like the posterior; when the monitor asked to stop.
    pub fn laplace(
        &self,
        observations: ArrayView2<'_, f32>,
        mode: &Mode,
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Laplace> {
        let m = mode.theta.len();
        let at = |axes: &[f64], points: &[Vec<f64>]| {
            let moved = |row: usize, i: usize| mode.theta[i] + dot(&axes[i * m..(i + 1) * m], &points[row]);
            let theta = Array2::from_shape_fn((points.len(), m), |(row, i)| moved(row, i));
            self.log_posterior(observations, theta.view(), options, monitor)
        };
        let point = |moves: &[(usize, f64)]| {
            let mut point = vec![0.0; m];
            moves.iter().for_each(|(axis, step)| point[*axis] = *step);
            point
        };
        let mut axes = mode.axes.clone();
        for axis in 0..m {
            let step = step_along(mode.log_posterior, |step| {
                at(&mode.axes, &[-2.0, -1.0, 1.0, 2.0].map(|times| point(&[(axis, times * step)])))
            })?;
            (0..m).for_each(|i| axes[i * m + axis] *= step);
        }
        let pairs: Vec<(usize, usize)> = (0..m).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
        let mut points = vec![point(&[])];
        for a in 0..m {
            points.extend([-1.0, 1.0, -2.0, 2.0].map(|step| point(&[(a, step)])));
        }
        for &(a, b) in &pairs {
            for s in [1.0, 2.0] {
                points.extend([(s, s), (-s, -s), (s, -s), (-s, s)].map(|(x, y)| point(&[(a, x), (b, y)])));
            }
        }
        let values = at(&axes, &points)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::NoGaussian { reason: EDGE });
        }
        // Differences over one step and over two; together they leave errors of fourth order.
        let second = |near: f64, far: f64| -(4.0 * near - far / 4.0) / 3.0;
        let mut curvature = vec![0.0; m * m];
        let (own, mixed) = values[1..].split_at(4 * m);
        for (a, v) in own.chunks_exact(4).enumerate() {
            curvature[a * m + a] = second(v[0] + v[1] - 2.0 * values[0], v[2] + v[3] - 2.0 * values[0]);
        }
        for (&(a, b), v) in pairs.iter().zip(mixed.chunks_exact(8)) {
            let cross = |v: &[f64]| (v[0] + v[1] - v[2] - v[3]) / 4.0;
            curvature[a * m + b] = second(cross(&v[..4]), cross(&v[4..]));
            curvature[b * m + a] = curvature[a * m + b];
        }
        gaussian(&curvature, &axes, m)
    }

    /// The density of one or two parameters with all others held at `at` (m), given observations (n, d), on the values that `free` lists for each: a slice through
    /// [`Model::log_posterior`].
    ///
    /// # Errors
    /// As [`Model::log_posterior`]; when other than one or two parameters vary, over fewer than two values, or the density is nowhere above 0.
    pub fn conditional(
        &self,
        observations: ArrayView2<'_, f32>,
        at: &[f64],
        free: &[(usize, Vec<f64>)],
        options: &SampleOptions,
        monitor: &dyn Monitor,
    ) -> Result<Conditional> {
        let m = self.sampled_names(options).len();
        let distinct = free.len() == 1 || free.len() == 2 && free[0].0 != free[1].0;
        if at.len() != m || !distinct || free.iter().any(|(parameter, grid)| *parameter >= m || grid.len() < 2) {
            return Err(Error::Shape {
                what: "conditional".into(),
                expected: format!("values of {m} parameters, one or two of them on two values or more"),
                found: format!("{} values, {:?}", at.len(), free.iter().map(|f| (f.0, f.1.len())).collect::<Vec<_>>()),
            });
        }
        let (first, one) = (&free[0].1, Vec::from([0.0]));
        let second = free.get(1).map_or(&one, |(_, grid)| grid);
        let theta = Array2::from_shape_fn((first.len() * second.len(), m), |(row, i)| {
            match free.iter().position(|(parameter, _)| *parameter == i) {
                Some(0) => first[row / second.len()],
                Some(_) => second[row % second.len()],
                None => at[i],
            }
        });
        let values = self.log_posterior(observations, theta.view(), options, monitor)?;
        let best = values.iter().copied().map(finite).fold(f64::NEG_INFINITY, f64::max);
        if best == f64::NEG_INFINITY {
            let message = "the density is 0 at all of these values; hold the others at values that are possible together, such as those of the mode";
            return Err(Error::Input { origin: "conditional".into(), message: message.into() });
        }
        let density: Vec<f64> = values.iter().map(|value| (finite(*value) - best).exp()).collect();
        let mut density = Array2::from_shape_vec((first.len(), second.len()), density).expect("a value a row");
        let (rows, columns) = (widths(first), if free.len() == 2 { widths(second) } else { vec![1.0] });
        let total: f64 = density.indexed_iter().map(|((i, j), value)| value * rows[i] * columns[j]).sum();
        density /= total;
        let (parameters, grid) = free.iter().cloned().unzip();
        Ok(Conditional { parameters, grid, density })
    }
}

const EDGE: &str = "its mode lies at the edge of the prior's support";
const FLAT: &str = "its density does not fall off around the mode in all directions";

/// -∞ for what is no number.
fn finite(value: f64) -> f64 {
    if value.is_nan() { f64::NEG_INFINITY } else { value }
}

/// The Cholesky factor of the covariance of samples (S, m), row by row; of their variances alone where too few of them, or copies, span less.
fn axes(samples: ArrayView2<'_, f64>) -> Vec<f64> {
    let (rows, m) = samples.dim();
    let mean = samples.mean_axis(Axis(0)).expect("there are samples");
    let moment = |i: usize, j: usize| {
        samples.outer_iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>() / rows as f64
    };
    let mut covariance: Vec<f64> = (0..m * m).map(|k| moment(k / m, k % m)).collect();
    let width = |i: usize| {
        let variance = moment(i, i);
        // Of a value that all samples share: its own size, or 1.
        if variance > 0.0 { variance.sqrt() } else { 1e-3 * if mean[i] == 0.0 { 1.0 } else { mean[i].abs() } }
    };
    if rows <= m || !cholesky(&mut covariance, m) {
        return (0..m * m).map(|k| if k / m == k % m { width(k / m) } else { 0.0 }).collect();
    }
    (0..m * m).map(|k| if k % m <= k / m { covariance[k] } else { 0.0 }).collect()
}

/// The step along one axis, two of which to either side stay inside the support, at which the log density falls by a few hundredths of `top`; `at` gives it at -2, -1, 1 and 2 steps.
fn step_along(top: f64, at: impl Fn(f64) -> Result<Vec<f64>>) -> Result<f64> {
    let (mut step, mut bounded) = (STEPS.0, false);
    for _ in 0..TRIALS {
        let values = at(step)?;
        let fall = top - 0.5 * (values[1] + values[2]);
        let inside = values.iter().all(|value| value.is_finite());
        if inside && (FALL.0..=FALL.1).contains(&fall) {
            return Ok(step);
        }
        if inside && fall < FALL.0 {
            // So short a step because of the support's end, and yet no fall.
            if bounded {
                return Err(Error::NoGaussian { reason: EDGE });
            }
            step *= 1.5;
        } else {
            bounded |= !inside;
            step *= 0.7;
        }
        if step > LONGEST {
            break;
        }
    }
    Err(Error::NoGaussian { reason: FLAT })
}

/// Covariance A C⁻¹ Aᵀ and its inverse, of the curvature C along the columns of A.
fn gaussian(curvature: &[f64], axes: &[f64], m: usize) -> Result<Laplace> {
    let mut factor = curvature.to_vec();
    if !cholesky(&mut factor, m) {
        return Err(Error::NoGaussian { reason: FLAT });
    }
    let mut inverse = vec![0.0; m * m];
    cholesky_inverse(&factor, m, &mut inverse);
    let matrix = |values: &[f64]| Array2::from_shape_vec((m, m), values.to_vec()).expect("square");
    let axes = matrix(axes);
    let covariance = axes.dot(&matrix(&inverse)).dot(&axes.t());
    let mut factor: Vec<f64> = covariance.iter().copied().collect();
    if !cholesky(&mut factor, m) {
        return Err(Error::NoGaussian { reason: FLAT });
    }
    let mut hessian = vec![0.0; m * m];
    cholesky_inverse(&factor, m, &mut hessian);
    Ok(Laplace { hessian: matrix(&hessian), covariance })
}

/// Weights of the trapezoidal rule on increasing values.
fn widths(grid: &[f64]) -> Vec<f64> {
    let last = grid.len() - 1;
    (0..=last).map(|i| 0.5 * (grid[(i + 1).min(last)] - grid[i.saturating_sub(1)])).collect()
}
