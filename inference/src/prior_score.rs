//! Diffused priors (paper App. D): ∇_θ log p_t^λ(θ) and the precision of the backward kernel p(θ_0 | θ_t) under the prior alone.
//!
//! Precisions are given as *excess* over the noise, Q_λ = Σ_{t,λ}⁻¹ - (α/v) I. It is what second-order compositions need,
//! and it has no cancellation: for a Gaussian prior it is S⁻¹ at every t (from Σ_{t,λ} = (S⁻¹ + (α/v) I)⁻¹).
//!
//! * Gaussian N(μ, S): s_λ = -(αS + vI)⁻¹ (θ - √α μ).
//! * Uniform on `[a, b]`, per coordinate: with A = (√α a - θ)/√v and B = (√α b - θ)/√v, θ_0 | θ_t is the image under
//!   θ_0 = (θ + √v x)/√α of a standard normal x truncated to [A, B]; s_λ = E x/√v (equal to the paper's
//!   -(φ(B) - φ(A))/(√v (Φ(B) - Φ(A)))) and Σ_{t,λ} = (v/α) Var(x). Both moments come from one Gauss–Legendre rule
//!   over the part of [A, B] that carries mass, relative to the mode: accurate to rounding from narrow boxes to points hundreds
//!   of noise scales outside, where differences of Φ are 0/0.

use crate::small_matrix::{cholesky, cholesky_inverse, dot, symmetric_eigen};
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Component, Prior};

/// Signal and noise at one diffusion time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// t.
    pub t: f64,
    /// α_t.
    pub alpha: f64,
    /// v_t.
    pub variance: f64,
}

impl Level {
    /// The level of `schedule` at `t`.
    pub fn new(schedule: &dyn crate::schedule::NoiseSchedule, t: f64) -> Self {
        Self { t, alpha: schedule.alpha(t), variance: schedule.variance(t) }
    }
}

/// The score of a diffused prior, as compositions need it.
pub trait PriorScore: Send + Sync {
    /// s_λ(θ, t) of one particle into `score` (m), and Q_λ into `excess` (m, m) when given.
    fn evaluate(&self, theta: &[f64], level: Level, score: &mut [f64], excess: Option<&mut [f64]>);

    /// ∇ log λ(θ) of the undiffused prior into `gradient` (m).
    fn undiffused_score(&self, theta: &[f64], gradient: &mut [f64]);

    /// Whether the prior is Gaussian, so that Q_λ depends on neither θ nor t.
    fn is_gaussian(&self) -> bool;
}

/// Deviations of published code from the equations, off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorOptions {
    /// Multiply the bounds of uniform components by two before diffusing them, as the authors' code does for its benchmark.
    /// Without thresholding ([`crate::score::WithinSupport`]) the published networks need it: with the true box many of their samples
    /// leave it.
    pub double_uniform_bounds: bool,
}

/// An independent block of the latent prior.
#[derive(Debug, Clone)]
enum Block {
    Uniform {
        at: usize,
        low: f64,
        high: f64,
    },
    Normal {
        at: usize,
        loc: f64,
        variance: f64,
    },
    /// S = Vᵀ diag(variances) V, eigenvectors in the rows of V: αS + vI is then diagonal at every t.
    Multivariate {
        at: usize,
        loc: Vec<f64>,
        variances: Vec<f64>,
        vectors: Vec<f64>,
    },
}

/// A latent prior under the forward process.
#[derive(Debug, Clone)]
pub struct DiffusedPrior {
    dim: usize,
    blocks: Vec<Block>,
    /// Q_λ of the Gaussian blocks, zero elsewhere: (m, m).
    gaussian_excess: Vec<f64>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
    rule: Rule,
}

impl DiffusedPrior {
    /// The diffused form of a prior over latent parameters.
    ///
    /// # Errors
    /// When the prior has a component that is neither uniform nor Gaussian: latent priors have none, see `LatentMap::latent_prior`.
    pub fn new(prior: &Prior, options: PriorOptions) -> Result<Self> {
        let m = prior.dim();
        let mut blocks = Vec::new();
        let (mut excess, mut covariance) = (vec![0.0; m * m], vec![0.0; m * m]);
        let mut mean = vec![0.0; m];
        let mut at = 0;
        for component in prior.components() {
            match component {
                Component::Uniform { low, high, .. } => {
                    let factor = if options.double_uniform_bounds { 2.0 } else { 1.0 };
                    let (low, high) = (factor * low, factor * high);
                    mean[at] = 0.5 * (low + high);
                    covariance[at * m + at] = (high - low).powi(2) / 12.0;
                    blocks.push(Block::Uniform { at, low, high });
                }
                Component::Normal { loc, scale, .. } => {
                    mean[at] = *loc;
                    covariance[at * m + at] = scale * scale;
                    excess[at * m + at] = 1.0 / (scale * scale);
                    blocks.push(Block::Normal { at, loc: *loc, variance: scale * scale });
                }
                Component::MultivariateNormal { loc, covariance: rows, .. } => {
                    let k = loc.len();
                    let flat: Vec<f64> = rows.iter().flatten().copied().collect();
                    let mut inverse = vec![0.0; k * k];
                    let mut factor = flat.clone();
                    if !cholesky(&mut factor, k) {
                        return Err(InferenceError::Option {
                            option: "prior",
                            message: "a multivariate_normal covariance is not positive definite".into(),
                        });
                    }
                    cholesky_inverse(&factor, k, &mut inverse);
                    for i in 0..k {
                        mean[at + i] = loc[i];
                        for j in 0..k {
                            covariance[(at + i) * m + at + j] = flat[i * k + j];
                            excess[(at + i) * m + at + j] = inverse[i * k + j];
                        }
                    }
                    let mut diagonal = flat;
                    let mut vectors = vec![0.0; k * k];
                    symmetric_eigen(&mut diagonal, k, &mut vectors);
                    let variances = (0..k).map(|i| diagonal[i * k + i]).collect();
                    blocks.push(Block::Multivariate { at, loc: loc.clone(), variances, vectors });
                }
                other => {
                    return Err(InferenceError::Option {
                        option: "prior",
                        message: format!(
                            "{} ~ {other} has no diffused score; give the prior of the latent parameters, which is Gaussian or uniform",
                            other.names().join(", ")
                        ),
                    });
                }
            }
            at += component.dim();
        }
        Ok(Self { dim: m, blocks, gaussian_excess: excess, mean, covariance, rule: Rule::new() })
    }

    /// m.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Q_λ = S⁻¹ of the Gaussian components, (m, m); zero in the uniform ones (its limit inside the box as t → 0).
    pub fn gaussian_excess(&self) -> &[f64] {
        &self.gaussian_excess
    }

    /// Prior mean.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Prior covariance (m, m).
    pub fn covariance(&self) -> &[f64] {
        &self.covariance
    }
}

impl PriorScore for DiffusedPrior {
    fn is_gaussian(&self) -> bool {
        !self.blocks.iter().any(|block| matches!(block, Block::Uniform { .. }))
    }

    /// Linear in m for Gaussian and
    /// uniform components (times 64 exponentials for uniform ones), quadratic in the size of multivariate ones.
    fn evaluate(&self, theta: &[f64], level: Level, score: &mut [f64], mut excess: Option<&mut [f64]>) {
        let Level { alpha, variance: v, .. } = level;
        let signal = alpha.sqrt();
        if let Some(excess) = excess.as_deref_mut() {
            excess.copy_from_slice(&self.gaussian_excess);
        }
        for block in &self.blocks {
            match block {
                Block::Normal { at, loc, variance } => {
                    score[*at] = -(theta[*at] - signal * loc) / (alpha * variance + v)
                }
                Block::Multivariate { at, loc, variances, vectors } => {
                    let k = loc.len();
                    score[*at..at + k].fill(0.0);
                    for (vector, variance) in vectors.chunks_exact(k).zip(variances) {
                        let projection = dot(vector, &theta[*at..at + k]) - signal * dot(vector, loc);
                        for i in 0..k {
                            score[at + i] -= vector[i] * projection / (alpha * variance + v);
                        }
                    }
                }
                Block::Uniform { at, low, high } => {
                    let noise = v.sqrt();
                    let a = (signal * low - theta[*at]) / noise;
                    let b = (signal * high - theta[*at]) / noise;
                    let (mean, variance) = self.rule.truncated_normal(a, b);
                    score[*at] = mean / noise;
                    if let Some(excess) = excess.as_deref_mut() {
                        excess[at * self.dim + at] = alpha / v * (1.0 - variance) / variance;
                    }
                }
            }
        }
    }

    /// ∇ log λ(θ) of the undiffused prior into `gradient` (m); 0 in uniform components, inside and outside.
    fn undiffused_score(&self, theta: &[f64], gradient: &mut [f64]) {
        for block in &self.blocks {
            match block {
                Block::Uniform { at, .. } => gradient[*at] = 0.0,
                Block::Normal { at, loc, variance } => gradient[*at] = -(theta[*at] - loc) / variance,
                Block::Multivariate { at, loc, .. } => {
                    for i in 0..loc.len() {
                        let row = &self.gaussian_excess[(at + i) * self.dim + at..][..loc.len()];
                        gradient[at + i] =
                            -row.iter().enumerate().map(|(j, q)| q * (theta[at + j] - loc[j])).sum::<f64>();
                    }
                }
            }
        }
    }
}

/// Points of the Gauss–Legendre rule: enough for a standard normal over ±[`TAIL`] to rounding.
const POINTS: usize = 64;

/// The density is cut where it has fallen by e^{-TAIL²/2} ≈ 4e-18 from its largest value.
const TAIL: f64 = 9.0;

/// A Gauss–Legendre rule on [0, 1].
#[derive(Debug, Clone)]
struct Rule {
    nodes: [f64; POINTS],
    weights: [f64; POINTS],
}

impl Rule {
    /// Nodes by Newton's method from the usual cosine guesses (Press et al., Numerical Recipes, Sec. 4.6).
    fn new() -> Self {
        let (mut nodes, mut weights) = ([0.0; POINTS], [0.0; POINTS]);
        let count = POINTS as f64;
        for i in 0..POINTS.div_ceil(2) {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (count + 0.5)).cos();
            let mut slope = 1.0;
            // Newton converges quadratically; ten rounds from this guess are more than enough.
            for _ in 0..10 {
                let (mut p, mut previous) = (1.0, 0.0);
                for k in 0..POINTS {
                    let degree = k as f64;
                    (p, previous) = (((2.0 * degree + 1.0) * x * p - degree * previous) / (degree + 1.0), p);
                }
                slope = count * (x * p - previous) / (x * x - 1.0);
                x -= p / slope;
            }
            let weight = 1.0 / ((1.0 - x * x) * slope * slope);
            (nodes[i], weights[i]) = (0.5 - 0.5 * x, weight);
            (nodes[POINTS - 1 - i], weights[POINTS - 1 - i]) = (0.5 + 0.5 * x, weight);
        }
        Self { nodes, weights }
    }

    /// Mean and variance of a standard normal truncated to [a, b]; NaN when a particle has diverged to NaN.
    fn truncated_normal(&self, a: f64, b: f64) -> (f64, f64) {
        if a.is_nan() || b.is_nan() {
            return (f64::NAN, f64::NAN);
        }
        let mode = 0f64.clamp(a, b);
        // Relative to the mode: exp(-mode u - u²/2) on the part of [a, b] that is within e^{-TAIL²/2} of its largest value.
        let reach = TAIL * TAIL / (mode.abs() + mode.hypot(TAIL));
        let low = (a - mode).max(if mode > 0.0 { 0.0 } else { -reach });
        let high = (b - mode).min(if mode < 0.0 { 0.0 } else { reach });
        let width = high - low;
        let mut density = [0.0; POINTS];
        let (mut mass, mut first) = (0.0, 0.0);
        for ((density, node), weight) in density.iter_mut().zip(&self.nodes).zip(&self.weights) {
            let u = low + width * node;
            *density = weight * (-u * (mode + 0.5 * u)).exp();
            mass += *density;
            first += *density * node;
        }
        let mean = first / mass;
        let second: f64 = (0..POINTS).map(|k| density[k] * (self.nodes[k] - mean).powi(2)).sum();
        (mode + low + width * mean, width * width * second / mass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::LinearSchedule;
    use errorfunctions::RealErrorFunctions;

    /// Mills' ratio (1 - Φ(x))/φ(x).
    fn mills(x: f64) -> f64 {
        (std::f64::consts::PI / 2.0).sqrt() * RealErrorFunctions::erfcx(x / 2f64.sqrt())
    }

    /// Mean and variance by the textbook formula, in scaled tails: accurate for boxes that are neither narrow nor central.
    fn textbook(a: f64, b: f64) -> (f64, f64) {
        // Divided by φ(a), for 0 < a < b.
        let decay = (0.5 * (a - b) * (a + b)).exp();
        let mass = mills(a) - decay * mills(b);
        let mean = (1.0 - decay) / mass;
        (mean, 1.0 + (a - b * decay) / mass - mean * mean)
    }

    #[test]
    fn truncated_moments_match_the_textbook_where_that_is_accurate() {
        let rule = Rule::new();
        for (a, b) in [(0.5, 2.0), (1.0, 30.0), (3.0, 4.5), (5.0, 1e6), (2.0, 2.5)] {
            let ((mean, variance), (mean_textbook, variance_textbook)) = (rule.truncated_normal(a, b), textbook(a, b));
            assert!((mean / mean_textbook - 1.0).abs() < 1e-12, "[{a}, {b}] {mean} {mean_textbook}");
            assert!((variance / variance_textbook - 1.0).abs() < 1e-9, "[{a}, {b}] {variance} {variance_textbook}");
            let (mirrored, same) = rule.truncated_normal(-b, -a);
            assert!((mirrored + mean).abs() < 1e-12 * mean && (same - variance).abs() < 1e-12);
        }
        let (mean, variance) = rule.truncated_normal(-1e9, 1e9);
        assert!(mean.abs() < 1e-14 && (variance - 1.0).abs() < 1e-13, "{mean} {variance}");
    }

    #[test]
    fn truncated_moments_have_their_limits() {
        let rule = Rule::new();
        // Narrow: uniform.
        for (a, w) in [(0.3, 1e-9), (-2.0, 1e-6)] {
            let (mean, variance) = rule.truncated_normal(a, a + w);
            assert!((mean - a - 0.5 * w).abs() < w * 1e-6);
            assert!((variance / (w * w / 12.0) - 1.0).abs() < 1e-5, "{variance}");
        }
        // Far out: exponential with rate a, up to relative 1/a².
        for a in [1e3, 1e6, 1e8] {
            let (mean, variance) = rule.truncated_normal(a, a + 1.0);
            assert!(((mean - a) * a - 1.0).abs() < 3.0 / (a * a) + 4.0 * f64::EPSILON * a * a, "{a} {mean}");
            assert!((variance * a * a - 1.0).abs() < 7.0 / (a * a) + 1e-12, "{a} {variance}");
        }
    }

    fn unit_box(options: PriorOptions) -> DiffusedPrior {
        let component = Component::Uniform { name: "a".into(), low: -1.0, high: 1.0 };
        DiffusedPrior::new(&Prior::new(vec![component]).unwrap(), options).unwrap()
    }

    #[test]
    fn the_precision_is_the_derivative_of_the_score() {
        let prior = unit_box(PriorOptions::default());
        let schedule = LinearSchedule::default();
        for t in [0.01, 0.1, 0.4] {
            let level = Level::new(&schedule, t);
            for theta in [-1.5, -1.01, -0.2, 0.0, 0.97, 1.3, 40.0] {
                let at = |theta: f64| {
                    let (mut s, mut q) = ([0.0], [0.0]);
                    prior.evaluate(&[theta], level, &mut s, Some(&mut q));
                    (s[0], q[0])
                };
                let h = 1e-5 * level.variance.sqrt();
                let slope = (at(theta + h).0 - at(theta - h).0) / (2.0 * h);
                // Σ_{t,λ} = (v/α)(1 + v s').
                let covariance = 1.0 / (at(theta).1 + level.alpha / level.variance);
                let expected = level.variance / level.alpha * (1.0 + level.variance * slope);
                assert!((covariance - expected).abs() < 1e-5 * level.variance / level.alpha, "{t} {theta}");
            }
        }
    }

    #[test]
    fn doubled_bounds_are_a_named_option() {
        let doubled = unit_box(PriorOptions { double_uniform_bounds: true });
        assert_eq!(doubled.covariance(), [16.0 / 12.0]);
        let level = Level::new(&LinearSchedule::default(), 0.01);
        let (mut inside, mut outside) = ([0.0], [0.0]);
        doubled.evaluate(&[1.5], level, &mut inside, None);
        unit_box(PriorOptions::default()).evaluate(&[1.5], level, &mut outside, None);
        assert!(inside[0].abs() < 1e-6 && outside[0] < -100.0);
    }

    #[test]
    fn log_normal_components_are_refused() {
        let component = Component::Lognormal { name: "a".into(), loc: 0.0, scale: 1.0 };
        assert!(DiffusedPrior::new(&Prior::new(vec![component]).unwrap(), PriorOptions::default()).is_err());
    }
}
