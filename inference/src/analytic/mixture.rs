//! Posteriors of location mixtures: p(x | θ) = Σ_c w_c N(x; θ, C_c) with prior N(μ_0, S_0) (paper Sec. 4.1, App. D).

use crate::prior_score::Level;
use crate::schedule::{LinearSchedule, NoiseSchedule};
use crate::score::{Pair, ScoreContext, ScoreModel};
use crate::small_matrix::{add_multiply, add_scaled, cholesky, cholesky_inverse, dot, lower_solve};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use std::ops::Range;

/// Exact scores of the diffused posterior of a location mixture.
///
/// Given x the posterior is Σ_c ω_c(x) N(μ_c(x), Σ_c), Σ_c = (S_0⁻¹ + C_c⁻¹)⁻¹, μ_c = Σ_c (S_0⁻¹ μ_0 + C_c⁻¹ x),
/// ω_c ∝ w_c N(x; μ_0, S_0 + C_c). Diffused it is Σ_c ω_c N(√α μ_c, αΣ_c + vI); its score weighs the components' scores with their
/// responsibilities *at (θ, t)*, where the paper's (43) prints ω_c(x).
#[derive(Debug, Clone)]
pub struct MixtureModel {
    pub(super) dim: usize,
    schedule: LinearSchedule,
    pub(super) components: Vec<Component>,
    /// S_0⁻¹.
    pub(super) prior_precision: Vec<f64>,
    /// S_0⁻¹ μ_0.
    pub(super) prior_information_mean: Vec<f64>,
    knows_moments: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) log_weight: f64,
    /// Σ_c.
    covariance: Vec<f64>,
    /// C_c⁻¹.
    pub(super) noise_precision: Vec<f64>,
    /// ½ log |C_c|.
    pub(super) half_log_noise: f64,
    /// Cholesky factor of S_0 + C_c.
    evidence: Vec<f64>,
    prior_mean: Vec<f64>,
}

/// Posterior components of each factor.
#[derive(Debug, Clone)]
pub struct MixtureContext {
    groups: Vec<Range<usize>>,
    /// μ_c, (factors, components, m).
    means: Vec<f64>,
    /// log ω_c, normalised, (factors, components).
    log_weights: Vec<f64>,
}

impl ScoreContext for MixtureContext {
    fn groups(&self) -> usize {
        self.groups.len()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        self.groups[group].clone()
    }
}

/// Particles, and the diffused components at one time.
#[derive(Debug, Clone)]
pub struct MixtureWorkspace {
    theta: Vec<f64>,
    signal: f64,
    /// (αΣ_c + vI)⁻¹, (components, m, m).
    precisions: Vec<f64>,
    /// ½ log det of them.
    half_log_det: Vec<f64>,
    residual: Vec<f64>,
    component_scores: Vec<f64>,
    responsibilities: Vec<f64>,
}

impl MixtureModel {
    /// The mixture with the given (weight, C_c) and Gaussian prior. With `knows_moments` the model gives the exact covariances and
    /// means of single posteriors; without, they must be sampled, as with a network.
    ///
    /// # Errors
    /// When sizes disagree or a covariance is not positive definite.
    pub fn new(
        components: &[(f64, Vec<f64>)],
        prior_mean: &[f64],
        prior_covariance: &[f64],
        schedule: LinearSchedule,
        knows_moments: bool,
    ) -> Result<Self> {
        let m = prior_mean.len();
        let prior_precision = inverse(prior_covariance, m)?.0;
        let mut prior_information_mean = vec![0.0; m];
        add_multiply(1.0, &prior_precision, prior_mean, &mut prior_information_mean);
        let build = |(weight, noise): &(f64, Vec<f64>)| -> Result<Component> {
            if *weight <= 0.0 || !weight.is_finite() {
                return Err(InferenceError::Option {
                    option: "components",
                    message: "weights must be finite and > 0".into(),
                });
            }
            let (noise_precision, noise_factor) = inverse(noise, m)?;
            let mut precision = noise_precision.clone();
            add_scaled(1.0, &prior_precision, &mut precision);
            let mut evidence = prior_covariance.to_vec();
            add_scaled(1.0, noise, &mut evidence);
            let evidence = inverse(&evidence, m)?.1;
            let covariance = inverse(&precision, m)?.0;
            Ok(Component {
                log_weight: weight.ln(),
                covariance,
                noise_precision,
                half_log_noise: (0..m).map(|i| noise_factor[i * m + i].ln()).sum(),
                evidence,
                prior_mean: prior_mean.to_vec(),
            })
        };
        let components: Result<Vec<_>> = components.iter().map(build).collect();
        let components = components?;
        Ok(Self { dim: m, schedule, components, prior_precision, prior_information_mean, knows_moments })
    }

    /// Means and log-weights of the posterior given one observation.
    fn posterior(&self, x: &[f64], means: &mut Vec<f64>, log_weights: &mut Vec<f64>) {
        let m = self.dim;
        let start = log_weights.len();
        for component in &self.components {
            let mut information = self.prior_information_mean.clone();
            add_multiply(1.0, &component.noise_precision, x, &mut information);
            let mut mean = vec![0.0; m];
            add_multiply(1.0, &component.covariance, &information, &mut mean);
            means.extend(mean);
            let mut residual: Vec<f64> = x.iter().zip(&component.prior_mean).map(|(x, mean)| x - mean).collect();
            lower_solve(&component.evidence, &mut residual);
            let log_det: f64 = (0..m).map(|i| component.evidence[i * m + i].ln()).sum();
            log_weights.push(component.log_weight - 0.5 * dot(&residual, &residual) - log_det);
        }
        normalize_log(&mut log_weights[start..]);
    }

    /// Score of one pair; leaves the components' scores and responsibilities in the workspace.
    fn score(&self, context: &MixtureContext, pair: Pair, work: &mut MixtureWorkspace, out: &mut [f64]) {
        let m = self.dim;
        let count = self.components.len();
        let theta = &work.theta[pair.particle as usize * m..][..m];
        for c in 0..count {
            let index = pair.factor as usize * count + c;
            let mean = &context.means[index * m..(index + 1) * m];
            for i in 0..m {
                work.residual[i] = theta[i] - work.signal * mean[i];
            }
            let score = &mut work.component_scores[c * m..(c + 1) * m];
            score.fill(0.0);
            add_multiply(-1.0, &work.precisions[c * m * m..(c + 1) * m * m], &work.residual, score);
            work.responsibilities[c] =
                context.log_weights[index] + work.half_log_det[c] + 0.5 * dot(score, &work.residual);
        }
        normalize_log(&mut work.responsibilities);
        out.fill(0.0);
        for c in 0..count {
            work.responsibilities[c] = work.responsibilities[c].exp();
            add_scaled(work.responsibilities[c], &work.component_scores[c * m..(c + 1) * m], out);
        }
    }
}

/// Inverse and Cholesky factor.
fn inverse(a: &[f64], m: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut l = a.to_vec();
    let mut out = vec![0.0; m * m];
    if a.len() != m * m || !cholesky(&mut l, m) {
        return Err(InferenceError::Option {
            option: "covariance",
            message: format!("must be a positive definite {m} x {m} matrix"),
        });
    }
    cholesky_inverse(&l, m, &mut out);
    Ok((out, l))
}

/// Subtracts log Σ exp.
fn normalize_log(values: &mut [f64]) {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln();
    for value in values {
        *value -= total;
    }
}

impl ScoreModel for MixtureModel {
    type Context = MixtureContext;
    type Workspace = MixtureWorkspace;

    fn dim_theta(&self) -> usize {
        self.dim
    }

    fn dim_x(&self) -> usize {
        self.dim
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.schedule
    }

    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<MixtureContext> {
        let mut context = MixtureContext { groups: Vec::new(), means: Vec::new(), log_weights: Vec::new() };
        let mut at = 0;
        for group in groups {
            if group.ncols() != self.dim {
                return Err(InferenceError::Shape {
                    what: "observations",
                    expected: format!("{} columns", self.dim),
                    found: group.ncols().to_string(),
                });
            }
            for (row, x) in group.outer_iter().enumerate() {
                let x: Vec<f64> = x.iter().map(|&value| f64::from(value)).collect();
                if x.iter().any(|value| !value.is_finite()) {
                    return Err(InferenceError::ObservationNotFinite { row });
                }
                self.posterior(&x, &mut context.means, &mut context.log_weights);
            }
            context.groups.push(at..at + group.nrows());
            at += group.nrows();
        }
        Ok(context)
    }

    fn workspace(&self, max_particles: usize) -> MixtureWorkspace {
        let (m, count) = (self.dim, self.components.len());
        MixtureWorkspace {
            theta: vec![0.0; max_particles * m],
            signal: 0.0,
            precisions: vec![0.0; count * m * m],
            half_log_det: vec![0.0; count],
            residual: vec![0.0; m],
            component_scores: vec![0.0; count * m],
            responsibilities: vec![0.0; count],
        }
    }

    fn begin(&self, theta: &[f64], t: f64, work: &mut MixtureWorkspace) {
        let m = self.dim;
        let level = Level::new(&self.schedule, t);
        work.theta[..theta.len()].copy_from_slice(theta);
        work.signal = level.alpha.sqrt();
        for (c, component) in self.components.iter().enumerate() {
            let mut l: Vec<f64> = component.covariance.iter().map(|value| level.alpha * value).collect();
            for i in 0..m {
                l[i * m + i] += level.variance;
            }
            let definite = cholesky(&mut l, m);
            debug_assert!(definite, "a covariance plus noise is positive definite");
            cholesky_inverse(&l, m, &mut work.precisions[c * m * m..(c + 1) * m * m]);
            work.half_log_det[c] = -(0..m).map(|i| l[i * m + i].ln()).sum::<f64>();
        }
    }

    fn scores(&self, context: &MixtureContext, pairs: &[Pair], work: &mut MixtureWorkspace, out: &mut [f64]) {
        for (pair, out) in pairs.iter().zip(out.chunks_exact_mut(self.dim)) {
            self.score(context, *pair, work, out);
        }
    }

    /// ∇s = Σ_c r_c (s_c s_cᵀ - (αΣ_c + vI)⁻¹) - s sᵀ.
    fn scores_and_jacobians(
        &self,
        context: &MixtureContext,
        pairs: &[Pair],
        work: &mut MixtureWorkspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        let m = self.dim;
        for ((pair, out), jacobian) in pairs.iter().zip(out.chunks_exact_mut(m)).zip(jacobians.chunks_exact_mut(m * m))
        {
            self.score(context, *pair, work, out);
            jacobian.fill(0.0);
            for c in 0..self.components.len() {
                let r = work.responsibilities[c];
                let s = &work.component_scores[c * m..(c + 1) * m];
                add_scaled(-r, &work.precisions[c * m * m..(c + 1) * m * m], jacobian);
                for i in 0..m {
                    add_scaled(r * s[i], s, &mut jacobian[i * m..(i + 1) * m]);
                }
            }
            for i in 0..m {
                add_scaled(-out[i], out, &mut jacobian[i * m..(i + 1) * m]);
            }
        }
    }

    fn covariances(&self, context: &MixtureContext) -> Option<Vec<f64>> {
        let means = self.means(context)?;
        let (m, count) = (self.dim, self.components.len());
        let mut out = vec![0.0; means.len() * m];
        for (factor, covariance) in out.chunks_exact_mut(m * m).enumerate() {
            for (c, component) in self.components.iter().enumerate() {
                let index = factor * count + c;
                let weight = context.log_weights[index].exp();
                add_scaled(weight, &component.covariance, covariance);
                for i in 0..m {
                    for j in 0..m {
                        covariance[i * m + j] += weight
                            * (context.means[index * m + i] - means[factor * m + i])
                            * (context.means[index * m + j] - means[factor * m + j]);
                    }
                }
            }
        }
        Some(out)
    }

    fn means(&self, context: &MixtureContext) -> Option<Vec<f64>> {
        let m = self.dim;
        let mut out = vec![0.0; context.means.len() / self.components.len()];
        for (index, (mean, log_weight)) in context.means.chunks_exact(m).zip(&context.log_weights).enumerate() {
            let factor = index / self.components.len();
            add_scaled(log_weight.exp(), mean, &mut out[factor * m..(factor + 1) * m]);
        }
        self.knows_moments.then_some(out)
    }
}
