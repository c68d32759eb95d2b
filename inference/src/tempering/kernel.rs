//! Metropolis-adjusted Langevin proposals in a metric of the point's own.

use crate::precision::{cholesky, cholesky_solve, dot, lower_transpose_solve};

/// Buffers of one worker.
pub(super) struct Buffers {
    metric: Vec<f64>,
    mean: Vec<f64>,
    /// The proposal's standard normal numbers.
    pub noise: Vec<f64>,
}

impl Buffers {
    pub fn new(m: usize) -> Self {
        Self { metric: vec![0.0; m * m], mean: vec![0.0; m], noise: vec![0.0; m] }
    }
}

/// A point with its gradient and information of the likelihood.
pub(super) type At<'a> = (&'a [f64], &'a [f64], &'a [f64]);

/// The Langevin proposal N(z + ½h² G⁻¹ ∇log π_β(z), h² G⁻¹).
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    pub beta: f64,
    pub step: f64,
    pub m: usize,
}

impl Kernel {
    /// Leaves the Cholesky factor of G and the proposal's mean in the buffers; false when G is not finite.
    fn prepare(&self, (z, gradient, information): At<'_>, buffers: &mut Buffers) -> bool {
        let Self { beta, step, m } = *self;
        buffers.metric.iter_mut().zip(information).for_each(|(g, f)| *g = beta * f);
        for i in 0..m {
            buffers.metric[i * m + i] += 1.0;
            buffers.mean[i] = beta * gradient[i] - z[i];
        }
        if !cholesky(&mut buffers.metric, m) {
            return false;
        }
        cholesky_solve(&buffers.metric, &mut buffers.mean);
        buffers.mean.iter_mut().zip(z).for_each(|(mean, z)| *mean = z + 0.5 * step * step * *mean);
        true
    }

    /// Σ log L_ii - ½|ξ|², up to constants that cancel.
    fn normalisation(&self, buffers: &Buffers) -> f64 {
        (0..self.m).map(|i| buffers.metric[i * self.m + i].ln()).sum()
    }

    /// A proposal from `buffers.noise`; returns its log density.
    pub fn propose(&self, at: At<'_>, buffers: &mut Buffers, proposal: &mut [f64]) -> f64 {
        if !self.prepare(at, buffers) {
            proposal.copy_from_slice(at.0);
            return f64::INFINITY; // never accepted
        }
        proposal.copy_from_slice(&buffers.noise);
        let square = dot(proposal, proposal);
        lower_transpose_solve(&buffers.metric, proposal);
        proposal.iter_mut().zip(&buffers.mean).for_each(|(out, mean)| *out = mean + self.step * *out);
        self.normalisation(buffers) - 0.5 * square
    }

    /// The log density of proposing `to` from `at`.
    pub fn log_density(&self, at: At<'_>, to: &[f64], buffers: &mut Buffers) -> f64 {
        if !self.prepare(at, buffers) {
            return f64::NEG_INFINITY;
        }
        let Buffers { metric, mean, .. } = &*buffers;
        let m = self.m;
        // |Lᵀ (to - mean)|² / h².
        let square: f64 =
            (0..m).map(|k| (k..m).map(|i| metric[i * m + k] * (to[i] - mean[i])).sum::<f64>().powi(2)).sum();
        self.normalisation(buffers) - 0.5 * square / (self.step * self.step)
    }
}
