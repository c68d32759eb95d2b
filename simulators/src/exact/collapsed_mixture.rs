//! The posterior of the place of a two-component Gaussian mixture, with the place integrated out.
//!
//! x_j ~ ½ N(θ, diag v_0) + ½ N(θ, diag v_1): given which component each observation came from, c ∈ {0, 1}ⁿ, the posterior of
//! θ is a (truncated) Gaussian per coordinate, whose evidence w(c) is known. The posterior of θ is the mixture of these 2ⁿ with
//! weights ∝ w(c): up to [`MOST_ENUMERATED`] observations all are summed and draws are independent and exact. Beyond, c follows
//! a Gibbs sampler (collapsed: θ is integrated out) that redraws blocks of c jointly.
//!
//! Gradient methods (MALA, NUTS) with this posterior must cross from a wide component to a narrow one inside it, which in ten
//! dimensions they hardly ever do; c jumps between them.

use super::truncated_normal::{log_probability, sample_truncated};
use crate::PosteriorSampler;
use ndarray::ArrayView2;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

/// All 2ⁿ assignments are summed up to this n: 65 536, half a second.
const MOST_ENUMERATED: usize = 16;
/// Assignments redrawn jointly by the Gibbs sampler.
const BLOCK: usize = 6;

/// The prior of a coordinate of θ.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CoordinatePrior {
    /// N(loc, scale²).
    Normal { loc: f64, scale: f64 },
    /// U(low, high).
    Uniform { low: f64, high: f64 },
}

impl CoordinatePrior {
    /// log ∫ λ(θ) exp(-½ a θ² + b θ) dθ up to a constant.
    fn log_integral(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Normal { loc, scale } => {
                let (a, b) = (a + scale.powi(-2), b + loc * scale.powi(-2));
                0.5 * (b * b / a - a.ln())
            }
            Self::Uniform { low, high } => {
                let (center, root) = (b / a, a.sqrt());
                0.5 * (b * b / a - a.ln()) + log_probability((low - center) * root, (high - center) * root)
            }
        }
    }

    /// A draw from the density ∝ λ(θ) exp(-½ a θ² + b θ).
    fn sample(self, a: f64, b: f64, rng: &mut Pcg64) -> f64 {
        match self {
            Self::Normal { loc, scale } => {
                let (a, b) = (a + scale.powi(-2), b + loc * scale.powi(-2));
                let z: f64 = StandardNormal.sample(rng);
                b / a + z / a.sqrt()
            }
            Self::Uniform { low, high } => {
                let (center, root) = (b / a, a.sqrt());
                let z = sample_truncated((low - center) * root, (high - center) * root, rng);
                (center + z / root).clamp(low, high)
            }
        }
    }
}

/// The posterior of θ given observations.
pub(crate) struct CollapsedMixture {
    /// Observations, n of m values.
    x: Vec<Vec<f64>>,
    /// Variances of both components, m values each.
    variances: [Vec<f64>; 2],
    prior: Vec<CoordinatePrior>,
    /// Cumulative weights of all assignments, the one with bits c at index c; empty where there are too many.
    cumulative: Vec<f64>,
}

/// Which component each observation comes from, with its sums.
struct Assignment<'a> {
    model: &'a CollapsedMixture,
    second: Vec<bool>,
    /// Per coordinate Σ_j 1/v and Σ_j x_j/v.
    sums: Vec<(f64, f64)>,
    /// -½ Σ_j Σ_i (x²/v + log v).
    constant: f64,
}

impl Assignment<'_> {
    fn add(&mut self, j: usize, sign: f64) {
        let variances = &self.model.variances[usize::from(self.second[j])];
        for ((sums, x), v) in self.sums.iter_mut().zip(&self.model.x[j]).zip(variances) {
            sums.0 += sign / v;
            sums.1 += sign * x / v;
            self.constant -= sign * 0.5 * (x * x / v + v.ln());
        }
    }

    fn flip(&mut self, j: usize) {
        self.add(j, -1.0);
        self.second[j] = !self.second[j];
        self.add(j, 1.0);
    }

    /// Sums anew, without the rounding of many flips.
    fn refresh(&mut self) {
        self.sums.fill((0.0, 0.0));
        self.constant = 0.0;
        (0..self.second.len()).for_each(|j| self.add(j, 1.0));
    }

    /// log w(c) up to a constant.
    fn log_weight(&self) -> f64 {
        self.constant + self.sums.iter().zip(&self.model.prior).map(|(&(a, b), p)| p.log_integral(a, b)).sum::<f64>()
    }

    /// Log-weights of all 2^b assignments of the observations in `block`; at index k, bit i of k flips observation `block[i]`.
    /// Leaves the assignment as it was.
    fn all_of(&mut self, block: &[usize]) -> Vec<f64> {
        let count = 1usize << block.len();
        let mut log_weights = vec![0.0; count];
        // Gray code: consecutive assignments differ in one observation.
        let mut gray = 0;
        for index in 0..count {
            log_weights[gray] = self.log_weight();
            let bit = (index + 1).trailing_zeros() as usize;
            if bit < block.len() {
                self.flip(block[bit]);
                gray ^= 1 << bit;
            }
        }
        // The last code has the highest bit alone.
        if let Some(&last) = block.last() {
            self.flip(last);
        }
        log_weights
    }

    fn draw(&self, rng: &mut Pcg64, theta: &mut [f64]) {
        for ((out, &(a, b)), prior) in theta.iter_mut().zip(&self.sums).zip(&self.model.prior) {
            *out = prior.sample(a, b, rng);
        }
    }
}

/// Cumulative weights, normalised to end at one.
fn cumulative(log_weights: &[f64]) -> Vec<f64> {
    let highest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    let mut sums: Vec<f64> = log_weights
        .iter()
        .map(|log_weight| {
            sum += (log_weight - highest).exp();
            sum
        })
        .collect();
    sums.iter_mut().for_each(|value| *value /= sum);
    sums
}

/// An index drawn with the given cumulative weights.
fn pick(cumulative: &[f64], rng: &mut Pcg64) -> usize {
    let u: f64 = rng.random();
    cumulative.partition_point(|&value| value <= u).min(cumulative.len() - 1)
}

impl CollapsedMixture {
    /// The posterior given the rows of `x` (n, m).
    pub(crate) fn new(x: ArrayView2<'_, f32>, variances: [Vec<f64>; 2], prior: Vec<CoordinatePrior>) -> Self {
        let x: Vec<Vec<f64>> = x.outer_iter().map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect();
        let n = x.len();
        let mut model = Self { x, variances, prior, cumulative: Vec::new() };
        if n <= MOST_ENUMERATED {
            let all: Vec<usize> = (0..n).collect();
            model.cumulative = cumulative(&model.assignment(vec![false; n]).all_of(&all));
        }
        model
    }

    fn assignment(&self, second: Vec<bool>) -> Assignment<'_> {
        let mut assignment =
            Assignment { model: self, second, sums: vec![(0.0, 0.0); self.prior.len()], constant: 0.0 };
        assignment.refresh();
        assignment
    }
}

impl PosteriorSampler for CollapsedMixture {
    fn method(&self) -> &'static str {
        if self.independent() { "exact mixture of Gaussians" } else { "collapsed Gibbs sampler" }
    }

    fn independent(&self) -> bool {
        !self.cumulative.is_empty()
    }

    fn chain(&self, mut rng: Pcg64) -> crate::task::Draw<'_> {
        let n = self.x.len();
        if self.independent() {
            return Box::new(move |theta| {
                let code = pick(&self.cumulative, &mut rng);
                self.assignment((0..n).map(|j| code >> j & 1 == 1).collect()).draw(&mut rng, theta);
            });
        }
        // Dispersed starts: any share of either component.
        let share: f64 = rng.random();
        let mut state = self.assignment((0..n).map(|_| rng.random::<f64>() < share).collect());
        let mut order: Vec<usize> = (0..n).collect();
        Box::new(move |theta| {
            order.shuffle(&mut rng);
            state.refresh();
            for block in order.chunks(BLOCK) {
                let code = pick(&cumulative(&state.all_of(block)), &mut rng);
                for (i, &j) in block.iter().enumerate() {
                    if code >> i & 1 == 1 {
                        state.flip(j);
                    }
                }
            }
            state.draw(&mut rng, theta);
        })
    }
}
