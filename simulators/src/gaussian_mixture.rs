//! Mixtures of two Gaussians around θ, one wide and one narrow (Sec. 4.1, App. D.2; Geffner et al. 2023).
//!
//! p(x | θ) = ½ N(x; θ, D_wide) + ½ N(x; θ, D_narrow) with diagonal covariances. Under θ ~ N(0, I) the posterior given one
//! observation is a mixture of two Gaussians.

use crate::exact::{CollapsedMixture, CoordinatePrior};
use crate::gaussian::{DEFAULT_DIMENSION, linear_variances, observation_names, standard_normal_prior};
use crate::{
    GaussianPosterior, LogLikelihood, MixturePosterior, PosteriorSampler, Result, Simulator, SimulatorError,
    SimulatorTask,
};
use ndarray::ArrayView2;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::{Component, Prior};

/// Variances of the toy's components relative to diag(0.6, …, 1.4).
const TOY_VARIANCES: [f64; 2] = [2.25, 1.0 / 9.0];
/// Standard deviations of the benchmark's components, as the authors' benchmark code has them.
const BENCHMARK_DEVIATIONS: [f64; 2] = [2.25, 1.0 / 9.0];
/// The uniform variant's prior is U(-10, 10).
const PRIOR_BOUND: f64 = 10.0;
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// Two equally likely Gaussians around θ.
#[derive(Debug, Clone)]
pub struct GaussianMixtureModel {
    /// Variances of both components, m values each.
    variances: [Vec<f64>; 2],
}

/// log N(r; 0, diag(variances)).
fn log_normal_density(residual: impl Iterator<Item = f64>, variances: &[f64]) -> f64 {
    residual.zip(variances).map(|(r, v)| -0.5 * (r * r / v + v.ln()) - LN_SQRT_2PI).sum()
}

/// log(½ eᵃ + ½ eᵇ) and the first component's share of it.
fn mix(a: f64, b: f64) -> (f64, f64) {
    let high = a.max(b);
    let (share_a, share_b) = ((a - high).exp(), (b - high).exp());
    let sum = share_a + share_b;
    (high + (sum / 2.0).ln(), share_a / sum)
}

impl GaussianMixtureModel {
    /// The posterior given one observation under θ ~ N(0, I): per component, variance v/(1+v), mean x/(1+v), weight
    /// ∝ N(x; 0, 1+v).
    fn posterior(&self, x: &[f32]) -> Option<MixturePosterior> {
        if x.len() != self.variances[0].len() {
            return None;
        }
        let evidence = self.variances.each_ref().map(|variances| {
            let marginal: Vec<f64> = variances.iter().map(|v| 1.0 + v).collect();
            log_normal_density(x.iter().map(|&value| f64::from(value)), &marginal)
        });
        let (_, wide) = mix(evidence[0], evidence[1]);
        let component = |variances: &Vec<f64>| GaussianPosterior {
            mean: x.iter().zip(variances).map(|(&value, v)| f64::from(value) / (1.0 + v)).collect(),
            covariance: (0..variances.len())
                .map(|i| {
                    let mut row = vec![0.0; variances.len()];
                    row[i] = variances[i] / (1.0 + variances[i]);
                    row
                })
                .collect(),
        };
        Some(MixturePosterior {
            weights: vec![wide, 1.0 - wide],
            components: self.variances.iter().map(component).collect(),
        })
    }

    /// The sampler of the posterior given the rows of `x` (n, m), under any of this file's priors.
    fn sampler(&self, prior: &Prior, x: ArrayView2<'_, f32>) -> Result<Box<dyn PosteriorSampler>> {
        let coordinates = prior.components().iter().map(|component| match component {
            Component::Normal { loc, scale, .. } => Some(CoordinatePrior::Normal { loc: *loc, scale: *scale }),
            Component::Uniform { low, high, .. } => Some(CoordinatePrior::Uniform { low: *low, high: *high }),
            _ => None,
        });
        let coordinates = coordinates.collect::<Option<Vec<_>>>().ok_or_else(|| {
            SimulatorError::Failed("the mixtures' posterior sampler needs a normal or uniform prior".into())
        })?;
        Ok(Box::new(CollapsedMixture::new(x, self.variances.clone(), coordinates)))
    }
}

impl Simulator for GaussianMixtureModel {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let variances = &self.variances[usize::from(rng.random::<bool>())];
        for ((out, mean), variance) in x.iter_mut().zip(theta).zip(variances) {
            let z: f64 = StandardNormal.sample(rng);
            *out = mean + variance.sqrt() * z;
        }
        Ok(())
    }
}

impl LogLikelihood for GaussianMixtureModel {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        let residual = |i: usize| f64::from(x[i]) - theta[i];
        let [wide, narrow] = &self.variances;
        let (total, share) = mix(
            log_normal_density((0..theta.len()).map(residual), wide),
            log_normal_density((0..theta.len()).map(residual), narrow),
        );
        for (i, out) in gradient.iter_mut().enumerate() {
            *out = residual(i) * (share / wide[i] + (1.0 - share) / narrow[i]);
        }
        total
    }
}

/// The task `gmm_toy` (Sec. 4.1): variances 2.25 Σ and Σ/9, Σ = diag(0.6, …, 1.4), prior N(0, I).
///
/// # Errors
/// When `dimension` is zero.
pub fn gmm_toy(dimension: usize) -> Result<SimulatorTask<GaussianMixtureModel>> {
    let base = linear_variances(dimension);
    let variances = TOY_VARIANCES.map(|scale| base.iter().map(|v| scale * v).collect());
    Ok(SimulatorTask::new(
        "gmm_toy",
        standard_normal_prior(dimension)?,
        observation_names(dimension),
        GaussianMixtureModel { variances },
    )?
    .described("Wide and narrow Gaussian around the parameters; exact single posterior")
    .with_likelihood()
    .with_posterior_sampler(GaussianMixtureModel::sampler)
    .with_single_posterior(GaussianMixtureModel::posterior))
}

fn benchmark(name: &str, description: &str, prior: Prior) -> Result<SimulatorTask<GaussianMixtureModel>> {
    let variances = BENCHMARK_DEVIATIONS.map(|deviation| vec![deviation * deviation; DEFAULT_DIMENSION]);
    let names = observation_names(DEFAULT_DIMENSION);
    Ok(SimulatorTask::new(name, prior, names, GaussianMixtureModel { variances })?
        .described(description)
        .with_likelihood()
        .with_posterior_sampler(GaussianMixtureModel::sampler))
}

/// The task `gaussian_mixture`: m = d = 10, standard deviations 2.25 and 1/9, prior N(0, I).
///
/// # Errors
/// None; the signature is that of every task.
pub fn gaussian_mixture() -> Result<SimulatorTask<GaussianMixtureModel>> {
    let prior = standard_normal_prior(DEFAULT_DIMENSION)?;
    Ok(benchmark("gaussian_mixture", "Wide and narrow Gaussian around the parameters, Gaussian prior", prior)?
        .with_single_posterior(GaussianMixtureModel::posterior))
}

/// The task `gaussian_mixture_uniform`: as [`gaussian_mixture`] with prior U(-10, 10)^10.
///
/// # Errors
/// None; the signature is that of every task.
pub fn gaussian_mixture_uniform() -> Result<SimulatorTask<GaussianMixtureModel>> {
    let component = |i| Component::Uniform { name: format!("theta_{i}"), low: -PRIOR_BOUND, high: PRIOR_BOUND };
    let prior = Prior::new((1..=DEFAULT_DIMENSION).map(component).collect())?;
    benchmark("gaussian_mixture_uniform", "Wide and narrow Gaussian around the parameters, uniform prior", prior)
}
