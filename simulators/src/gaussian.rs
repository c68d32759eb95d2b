//! Gaussian likelihoods around θ with a standard normal prior: everything is known in closed form.
//!
//! x ~ N(θ, Σ), θ ~ N(0, I): the posterior given n observations is N(Λ⁻¹ Σ⁻¹ Σ_j x_j, Λ⁻¹) with Λ = I + n Σ⁻¹ (App. D.1
//! of the paper).

use crate::{GaussianPosterior, LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask};
use faer::linalg::solvers::Llt;
use faer::prelude::Solve;
use faer::{Mat, Side};
use ndarray::ArrayView2;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::{Component, Prior};

/// Dimension of every Gaussian task unless chosen otherwise.
pub const DEFAULT_DIMENSION: usize = 10;
/// Correlation ρ between the coordinates of the toy task (Sec. 4.1).
pub const DEFAULT_CORRELATION: f64 = 0.8;
/// Variances of the Gaussian linear task and of the mixture toy run linearly between these (Geffner et al. 2023).
const VARIANCES: (f64, f64) = (0.6, 1.4);
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// x ~ N(θ, Σ) for a fixed Σ.
#[derive(Debug, Clone)]
pub struct GaussianModel {
    /// Lower Cholesky factor of Σ.
    factor: Mat<f64>,
    /// Σ⁻¹.
    precision: Mat<f64>,
    /// ½ log |Σ|.
    half_log_determinant: f64,
}

impl GaussianModel {
    /// The model with covariance `covariance` (m, m); `None` unless it is positive definite.
    fn new(covariance: &Mat<f64>) -> Option<Self> {
        let cholesky = Llt::new(covariance.as_ref(), Side::Lower).ok()?;
        let m = covariance.nrows();
        Some(Self {
            factor: cholesky.L().to_owned(),
            precision: cholesky.solve(Mat::<f64>::identity(m, m)),
            half_log_determinant: (0..m).map(|i| cholesky.L()[(i, i)].ln()).sum(),
        })
    }

    fn dim(&self) -> usize {
        self.precision.nrows()
    }

    /// The posterior under θ ~ N(0, I) given all rows of `x` (n, m).
    fn posterior(&self, x: ArrayView2<'_, f32>) -> Option<GaussianPosterior> {
        let (n, m) = x.dim();
        if m != self.dim() {
            return None;
        }
        let sum = Mat::from_fn(m, 1, |i, _| x.column(i).iter().map(|&value| f64::from(value)).sum::<f64>());
        let identity = Mat::<f64>::identity(m, m);
        let lambda = Mat::from_fn(m, m, |i, j| identity[(i, j)] + n as f64 * self.precision[(i, j)]);
        let cholesky = Llt::new(lambda.as_ref(), Side::Lower).ok()?;
        let covariance = cholesky.solve(&identity);
        let mean = cholesky.solve(&self.precision * &sum);
        Some(GaussianPosterior {
            mean: (0..m).map(|i| mean[(i, 0)]).collect(),
            covariance: (0..m).map(|i| (0..m).map(|j| covariance[(i, j)]).collect()).collect(),
        })
    }
}

impl Simulator for GaussianModel {
    type Scratch = Vec<f64>;

    fn scratch(&self) -> Vec<f64> {
        vec![0.0; self.dim()]
    }

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, z: &mut Vec<f64>, x: &mut [f64]) -> Result<()> {
        z.iter_mut().for_each(|value| *value = StandardNormal.sample(rng));
        for (i, out) in x.iter_mut().enumerate() {
            *out = theta[i] + (0..=i).map(|j| self.factor[(i, j)] * z[j]).sum::<f64>();
        }
        Ok(())
    }
}

impl LogLikelihood for GaussianModel {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        let residual = |i: usize| f64::from(x[i]) - theta[i];
        let mut quadratic = 0.0;
        for (i, out) in gradient.iter_mut().enumerate() {
            *out = (0..self.dim()).map(|j| self.precision[(i, j)] * residual(j)).sum();
            quadratic += residual(i) * *out;
        }
        -0.5 * quadratic - self.half_log_determinant - self.dim() as f64 * LN_SQRT_2PI
    }
}

/// N(0, I) over `theta_1`, …, `theta_m`.
pub(crate) fn standard_normal_prior(m: usize) -> Result<Prior> {
    let component = |i| Component::Normal { name: format!("theta_{i}"), loc: 0.0, scale: 1.0 };
    Ok(Prior::new((1..=m).map(component).collect())?)
}

/// Observations `x_1`, …, `x_m`.
pub(crate) fn observation_names(m: usize) -> Vec<String> {
    (1..=m).map(|i| format!("x_{i}")).collect()
}

/// m variances from 0.6 to 1.4 (1 for m = 1).
pub(crate) fn linear_variances(m: usize) -> Vec<f64> {
    let (low, high) = VARIANCES;
    (0..m).map(|i| if m == 1 { (low + high) / 2.0 } else { low + (high - low) * i as f64 / (m - 1) as f64 }).collect()
}

fn task(name: &str, description: &str, covariance: &Mat<f64>) -> Result<SimulatorTask<GaussianModel>> {
    let m = covariance.nrows();
    let model = GaussianModel::new(covariance).ok_or_else(|| SimulatorError::Option {
        task: name.into(),
        message: format!("the correlation must lie between -1/(dimension - 1) and 1 (dimension {m})"),
    })?;
    Ok(SimulatorTask::new(name, standard_normal_prior(m)?, observation_names(m), model)?
        .described(description)
        .with_likelihood()
        .with_exact_posterior(GaussianModel::posterior))
}

/// The task `gaussian_toy` (Sec. 4.1): Σ = (1 - ρ) I + ρ 1 1ᵀ.
///
/// # Errors
/// When `dimension` is zero or Σ is not positive definite.
pub fn gaussian_toy(dimension: usize, correlation: f64) -> Result<SimulatorTask<GaussianModel>> {
    let covariance = Mat::from_fn(dimension, dimension, |i, j| if i == j { 1.0 } else { correlation });
    task("gaussian_toy", "Gaussian with equally correlated coordinates; exact tall posterior", &covariance)
}

/// The task `gaussian_linear`: m = d = 10, Σ = diag(0.6, …, 1.4).
///
/// # Errors
/// None; the signature is that of every task.
pub fn gaussian_linear() -> Result<SimulatorTask<GaussianModel>> {
    let variances = linear_variances(DEFAULT_DIMENSION);
    let covariance = Mat::from_fn(DEFAULT_DIMENSION, DEFAULT_DIMENSION, |i, j| if i == j { variances[i] } else { 0.0 });
    task("gaussian_linear", "Gaussian with independent coordinates of different variances", &covariance)
}
