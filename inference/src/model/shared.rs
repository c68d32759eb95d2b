//! The network's own error as an effect that observations share.
//!
//! A Gaussian likelihood that a network learned from single observations takes what the network misses for noise; n observations then average it out, which they do not, for all of them are
//! predicted by the same wrong numbers. Where training sets have several observations of each parameter the two can be told apart. With u_j = Lᵀ(x_j - μ), P = L Lᵀ the precision *among* observations of one θ,
//!
//!   u_jk = √λ (β_k η_k + ε_jk),   η_k, ε_jk ~ N(0, 1),   1/λ ~ Gamma(ν/2, ν/2):
//!
//! β(θ) is how far the mean may be off in each direction, and ν(θ) how well the spread is known. Both are outputs of the network, learned by the likelihood of all K observations of a row together (random
//! effects: Laird & Ware 1982; the marginal t: Lange, Little & Taylor 1989). With the mean x̄ of n observations, S their scatter about it, v_k = 1/n + β_k² and D = n d,
//!
//!   Q = Σ_k (Lᵀ(x̄ - μ))_k²/v_k + tr(Lᵀ S L),
//!   log p(x_{1:n}|θ) = log Γ((ν+D)/2) - log Γ(ν/2) - D/2 log(ν/2) - (ν+D)/2 log(1 + Q/ν) + n Σ log L_ii - ½ Σ_k log(n v_k),
//!
//! less D/2 log 2π as everywhere. As n grows the posterior narrows to what β and ν leave, place by place and direction by direction.
//!
//! The mean's precision is L' L'ᵀ with L' = L diag(v^{-1/2}), a factor of the same shape, so that values which are missing in all observations are [integrated out](super::missing) of the mean with L' and of
//! the scatter with L. Cost: that of the Gaussian.

use super::density::{Component, MixtureLayout, MixtureScratch};
use super::missing::Hidden;
use super::tails::{TailInformation, normaliser};
use rand::Rng;
use rand_distr::{ChiSquared, Distribution};
use std::borrow::Cow;
use std::ops::Range;

/// Bounds of ν: at 10⁴ a spread is known to 1.4 %, more than a thousand observations of ten values tell.
const FREEDOM: (f64, f64) = (1.0, 1e4);

/// Bound on |log β²|.
const MOST_LOG_SQUARE: f64 = 30.0;

/// Contrasts that are less work than S.
const FEW: usize = 4;

/// β² and ν that training starts from.
const START: (f64, f64) = (0.05, 50.0);

/// What observations of one θ share, of a component.
#[derive(Debug, Clone, Default)]
pub struct SharedError {
    /// β_k².
    pub squares: Vec<f64>,
    /// ν.
    pub freedom: f64,
    /// ∂ν/∂output.
    by_output: f64,
}

/// Observations of one θ, as far as they tell of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// n.
    n: f64,
    /// x̄ (d), NaN where all of them miss a value.
    mean: Vec<f64>,
    /// Vectors (d each) whose outer products add up to S.
    contrasts: Vec<f64>,
    /// S (d, d) itself, where that is less work.
    scatter: Option<Vec<f64>>,
}

impl Sample {
    /// Of observations (n, d) of which the same values are missing: orthonormal contrasts of Helmert, as many as S has columns at most.
    pub fn new(points: &[f64], d: usize) -> Self {
        let n = points.len() / d;
        let (mut mean, mut contrasts) = (points[..d].to_vec(), Vec::with_capacity((n - 1) * d));
        for (j, point) in points.chunks_exact(d).enumerate().skip(1) {
            let j = j as f64;
            let scale = (j / (j + 1.0)).sqrt();
            contrasts.extend(point.iter().zip(&mean).map(|(x, mean)| scale * (x - mean)));
            mean.iter_mut().zip(point).for_each(|(mean, x)| *mean += (x - *mean) / (j + 1.0));
        }
        let complete = !mean.iter().any(|value| value.is_nan());
        let scatter = (complete && n - 1 > FEW).then(|| sum_of_squares(&contrasts, d));
        if n - 1 > d {
            contrasts = roots(&contrasts, d);
        }
        Self { n: n as f64, mean, contrasts, scatter }
    }

    /// x̄ (d), NaN where all observations miss a value.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }
}

/// A factor L' of the mean's precision, and residuals.
struct Mean {
    factor: Vec<f64>,
    /// v_k.
    variances: Vec<f64>,
    residual: Vec<f64>,
    whitened: Vec<f64>,
    hidden: Hidden,
}

impl SharedError {
    fn new(squares: &[f32], output: f32) -> Self {
        let (low, high) = (FREEDOM.0.ln(), FREEDOM.1.ln());
        let share = 1.0 / (1.0 + (-f64::from(output)).exp());
        let freedom = (low + (high - low) * share).exp();
        let bounded = |&log: &f32| f64::from(log).clamp(-MOST_LOG_SQUARE, MOST_LOG_SQUARE).exp();
        Self {
            squares: squares.iter().map(bounded).collect(),
            freedom,
            by_output: freedom * (high - low) * share * (1.0 - share),
        }
    }

    /// ∂ν/∂output.
    pub(super) fn by_output(&self) -> f64 {
        self.by_output
    }
}

impl MixtureLayout {
    /// Numbers of what is shared.
    pub(super) fn shared_outputs(&self) -> usize {
        if self.shared { self.dim + 1 } else { 0 }
    }

    /// Where they lie: log β_k² (d), then that of ν.
    pub(crate) fn shared_range(&self) -> Range<usize> {
        let start = self.tail_offset(0) + self.tail_outputs();
        start..start + self.shared_outputs()
    }

    pub(super) fn expand_shared(&self, outputs: &[f32], component: &mut Component) {
        component.shared = self.shared.then(|| {
            let own = &outputs[self.shared_range()];
            SharedError::new(&own[..self.dim], own[self.dim])
        });
    }

    /// Initial biases of what is shared.
    pub fn start_shared(&self, bias: &mut [f32]) {
        if self.shared {
            let share = (START.1 / FREEDOM.0).ln() / (FREEDOM.1 / FREEDOM.0).ln();
            let own = &mut bias[self.shared_range()];
            own[..self.dim].fill(START.0.ln() as f32);
            own[self.dim] = (share / (1.0 - share)).ln() as f32;
        }
    }

    /// The packed factor of one observation's precision, of a Gaussian with the covariance of the t's scale: L, and L' of n = 1 where something is shared.
    pub fn factor_of_one(&self, component: &Component) -> Vec<f64> {
        match &component.shared {
            None => component.factor.clone(),
            Some(shared) => self.mean_factor(component, shared, 1.0).0,
        }
    }

    /// L' and v of the mean of n observations.
    fn mean_factor(&self, component: &Component, shared: &SharedError, n: f64) -> (Vec<f64>, Vec<f64>) {
        let variances: Vec<f64> = shared.squares.iter().map(|square| 1.0 / n + square).collect();
        let mut factor = component.factor.clone();
        for i in 0..self.dim {
            let start = self.row_offset(i);
            for (entry, k) in (start..).zip(self.columns(i)) {
                factor[entry] /= variances[k].sqrt();
            }
        }
        (factor, variances)
    }

    /// Numbers in units of noise, (d), as an observation has them that is drawn for itself.
    pub(super) fn spread_shared(&self, component: &Component, noise: &mut [f64], rng: &mut impl Rng) {
        if let Some(shared) = &component.shared {
            let chi = ChiSquared::new(shared.freedom).expect("degrees of freedom are positive").sample(rng);
            let scale = (shared.freedom / chi).sqrt();
            for (value, square) in noise.iter_mut().zip(&shared.squares) {
                *value *= scale * (1.0 + square).sqrt();
            }
        }
    }

    /// log p(x_{1:n}|θ) of an expanded row; adds `weight` times its gradient with respect to the outputs.
    pub fn accumulate_shared(
        &self,
        sample: &Sample,
        weight: f64,
        scratch: &MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        let component = &scratch.components[0];
        let shared = component.shared.as_ref().expect("a layout with shared errors");
        let mean = self.mean_residual(component, shared, sample);
        let seen = (self.dim - mean.hidden.columns().len()) as f64;
        let (total, others) = (sample.n * seen, sample.n - 1.0);
        let mut within = Hidden::new(mean.hidden.columns().to_vec());
        let contrasts = self.complete(&component.factor, &mut within, &sample.contrasts);

        let mut by_factor = vec![0.0; component.factor.len()];
        let mut square = mean.whitened.iter().map(|u| u * u).sum::<f64>();
        square += match &sample.scatter {
            Some(scatter) => -2.0 * self.scatter(scatter, &component.factor, &mut vec![0.0; self.dim], &mut by_factor),
            None => contrasts.chunks_exact(self.dim).map(|r| self.pull(&component.factor, r, &mut by_factor)).sum(),
        };
        let determinants = {
            let of_mean = component.log_determinant - 0.5 * mean.variances.iter().map(|v| v.ln()).sum::<f64>();
            let hidden =
                if within.is_empty() { 0.0 } else { mean.hidden.log_determinant() + others * within.log_determinant() };
            of_mean + others * component.log_determinant - hidden - 0.5 * seen * sample.n.ln()
        };
        let (freedom, half) = (shared.freedom, 0.5 * (shared.freedom + total));
        let [constant, by_freedom] = normaliser(freedom, total);
        let log = (square / freedom).ln_1p();
        if let Some(gradient) = gradient {
            let pull = (freedom + total) / (freedom + square);
            by_factor.iter_mut().for_each(|slope| *slope *= pull);
            self.add_determinant(others, (&component.factor, &within), &mut by_factor);
            let own = &mut gradient[self.mean_offset(0)..];
            let by_variance = self.mean_slope(&mean, pull, (&mut own[..self.dim], &mut by_factor), weight);
            own[self.dim..].iter_mut().zip(&by_factor).for_each(|(sum, slope)| *sum += weight * slope);
            let own = &mut gradient[self.shared_range()];
            for ((sum, slope), (square, variance)) in
                own.iter_mut().zip(by_variance).zip(shared.squares.iter().zip(&mean.variances))
            {
                *sum += weight * slope * square / variance;
            }
            let slope = by_freedom - 0.5 * log + half * square / (freedom * (freedom + square));
            own[self.dim] += weight * slope * shared.by_output;
        }
        constant - half * log + determinants
    }

    fn mean_residual(&self, component: &Component, shared: &SharedError, sample: &Sample) -> Mean {
        let (factor, variances) = self.mean_factor(component, shared, sample.n);
        let mut residual: Vec<f64> = sample.mean.iter().zip(&component.mean).map(|(x, mean)| x - mean).collect();
        let mut hidden = Hidden::default();
        hidden.find(&sample.mean);
        if !hidden.is_empty() {
            hidden.condition(*self, &factor);
            hidden.complete(*self, &factor, &mut residual);
        }
        let mut whitened = vec![0.0; self.dim];
        self.whiten(&factor, &residual, &mut whitened);
        Mean { factor, variances, residual, whitened, hidden }
    }

    /// Contrasts, as likely as can be where values are hidden.
    fn complete<'a>(&self, factor: &[f64], hidden: &mut Hidden, contrasts: &'a [f64]) -> Cow<'a, [f64]> {
        if hidden.is_empty() {
            return contrasts.into();
        }
        hidden.condition(*self, factor);
        let mut contrasts = contrasts.to_vec();
        contrasts.chunks_exact_mut(self.dim).for_each(|contrast| hidden.complete(*self, factor, contrast));
        contrasts.into()
    }

    /// |Lᵀ r|²; the gradient of -½ of it with respect to the packed factor added.
    fn pull(&self, factor: &[f64], residual: &[f64], by_factor: &mut [f64]) -> f64 {
        let mut whitened = vec![0.0; self.dim];
        self.whiten(factor, residual, &mut whitened);
        self.add_pull(factor, (residual, &whitened), 1.0, by_factor);
        whitened.iter().map(|u| u * u).sum()
    }

    /// Adds `weight` times the gradient of -½|Lᵀ r|².
    fn add_pull(&self, factor: &[f64], (residual, whitened): (&[f64], &[f64]), weight: f64, by_factor: &mut [f64]) {
        let mut entry = 0;
        for (i, r) in residual.iter().enumerate() {
            for k in self.columns(i) {
                let slope = -weight * whitened[k] * r;
                by_factor[entry] += if k < i { slope } else { slope * factor[entry] };
                entry += 1;
            }
        }
    }

    /// Adds `count` times the gradient of Σ log L_ii - ½ log det P_MM.
    fn add_determinant(&self, count: f64, (factor, hidden): (&[f64], &Hidden), by_factor: &mut [f64]) {
        for i in 0..self.dim {
            by_factor[self.row_offset(i) + self.columns(i).len() - 1] += count;
        }
        if !hidden.is_empty() {
            hidden.slope(*self, factor, count, by_factor);
        }
    }

    /// Adds the gradient of the mean's part with respect to μ, `weight` times, and to the packed factor; returns that with respect to log v_k.
    fn mean_slope(
        &self,
        mean: &Mean,
        pull: f64,
        (by_mean, by_factor): (&mut [f64], &mut [f64]),
        weight: f64,
    ) -> Vec<f64> {
        let mut own = vec![0.0; mean.factor.len()];
        self.add_pull(&mean.factor, (&mean.residual, &mean.whitened), pull, &mut own);
        self.add_determinant(1.0, (&mean.factor, &mean.hidden), &mut own);
        let mut by_variance = vec![0.0; self.dim];
        let mut entry = 0;
        for (i, sum) in by_mean.iter_mut().enumerate() {
            for k in self.columns(i) {
                *sum += weight * pull * mean.whitened[k] * mean.factor[entry];
                // L'_ik = L_ik v_k^{-1/2}; diagonal entries are logarithms.
                by_factor[entry] += if k < i { own[entry] / mean.variances[k].sqrt() } else { own[entry] };
                by_variance[k] -= 0.5 * own[entry] * if k < i { mean.factor[entry] } else { 1.0 };
                entry += 1;
            }
        }
        by_variance
    }

    /// The Fisher information of n observations along two tangents of the outputs: products of the mean's whitened by L, of L⁻¹∂L (diagonal times √2), of ∂ log β² and of ∂ν.
    pub(super) fn shared_information(
        &self,
        component: &Component,
        (n, seen): (f64, usize),
        tangents: [SharedTangent<'_>; 2],
    ) -> f64 {
        let shared = component.shared.as_ref().expect("a layout with shared errors");
        let tail = TailInformation::new(shared.freedom, n * seen as f64);
        let [a, b] = tangents;
        let (mut means, mut squares) = (0.0, 0.0);
        for (k, square) in shared.squares.iter().enumerate() {
            let variance = 1.0 / n + square;
            means += a.mean[k] * b.mean[k] / variance;
            let share = square / variance;
            squares +=
                0.5 * share * share * f64::from(a.outputs[self.shared_range()][k] * b.outputs[self.shared_range()][k]);
        }
        let relative: f64 = a.relative.iter().zip(b.relative).map(|(a, b)| a * b).sum();
        let of = |tangent: SharedTangent<'_>| {
            let trace: f64 =
                (0..self.dim).map(|i| tangent.relative[self.row_offset(i) + self.columns(i).len() - 1]).sum::<f64>();
            let freedom = f64::from(tangent.outputs[self.shared_range().end - 1]) * shared.by_output;
            [n * trace / std::f64::consts::SQRT_2, freedom]
        };
        tail.gaussian * (means + squares + n * relative) + tail.product(of(a), of(b))
    }
}

/// What the information is made of along one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedTangent<'a> {
    /// Lᵀ ∂μ.
    pub(super) mean: &'a [f64],
    /// L⁻¹ ∂L, packed.
    pub(super) relative: &'a [f64],
    /// ∂ of the outputs.
    pub(super) outputs: &'a [f32],
}

/// The sum (d, d) of the outer products of `vectors` (d each).
fn sum_of_squares(vectors: &[f64], d: usize) -> Vec<f64> {
    let mut sum = vec![0.0; d * d];
    for vector in vectors.chunks_exact(d) {
        for (a, row) in vector.iter().zip(sum.chunks_exact_mut(d)) {
            row.iter_mut().zip(vector).for_each(|(sum, b)| *sum += a * b);
        }
    }
    sum
}

/// As many vectors (d each) as d at most whose outer products add up to those of `vectors`: columns of the factor of their sum, by pivoted Cholesky. Values that are NaN stay so.
fn roots(vectors: &[f64], d: usize) -> Vec<f64> {
    let known: Vec<usize> = (0..d).filter(|&i| !vectors[i].is_nan()).collect();
    let mut rest = sum_of_squares(vectors, d);
    let largest = |rest: &[f64]| {
        let diagonal = known.iter().map(|&i| (i, rest[i * d + i]));
        diagonal.reduce(|best, next| if next.1 > best.1 { next } else { best })
    };
    let mut found = Vec::new();
    for _ in 0..known.len() {
        let Some((pivot, value)) = largest(&rest).filter(|(_, value)| *value > 0.0) else { break };
        let mut root = vec![f64::NAN; d];
        known.iter().for_each(|&i| root[i] = rest[i * d + pivot] / value.sqrt());
        for &i in &known {
            known.iter().for_each(|&j| rest[i * d + j] -= root[i] * root[j]);
        }
        for &i in &known {
            rest[pivot * d + i] = 0.0;
            rest[i * d + pivot] = 0.0;
        }
        found.extend(root);
    }
    found
}

#[cfg(test)]
mod tests;
