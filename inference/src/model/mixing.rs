//! Densities of mixtures at one observation: log Σ_c w_c p_c(y), and its gradient by responsibilities.

use super::density::{Block, MAX_COMPONENTS, MixtureLayout, MixtureScratch};

impl MixtureLayout {
    /// log Σ_c w_c p_c(y) of the expanded row, marginal where `y` is NaN; adds `weight` times its gradient with respect to the outputs.
    pub fn accumulate(
        &self,
        y: &[f64],
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        self.accumulate_block(Block::range(0..self.components), y, weight, scratch, gradient)
    }

    /// The same of the components `block` only, their weights as they are.
    pub(super) fn accumulate_block(
        &self,
        block: Block,
        y: &[f64],
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        if self.dim == 1 && self.components > 1 && !self.tails && !y[0].is_nan() {
            return self.accumulate_line(block, y[0], weight, scratch, gradient);
        }
        let log = |c: usize, scratch: &mut MixtureScratch| {
            self.residual(c, y, scratch);
            scratch.keep(c);
            let MixtureScratch { components, whitened, hidden, .. } = &*scratch;
            let kernel = if self.tails {
                self.log_tails(&components[c].tails, whitened, hidden)
            } else {
                -0.5 * whitened.iter().map(|u| u * u).sum::<f64>()
            };
            let complete = components[c].log_determinant + kernel;
            if scratch.hidden.is_empty() { complete } else { complete - scratch.hidden.log_determinant() }
        };
        let slope = |c: usize, weight: f64, scratch: &mut MixtureScratch, gradient: &mut [f64]| {
            // What is hidden is of one component.
            if !scratch.hidden.is_empty() {
                self.residual(c, y, scratch);
            } else if self.components > 1 {
                scratch.recall(c);
            }
            self.slope(c, weight, scratch, gradient);
        };
        self.mix(block, weight, scratch, gradient, (log, slope))
    }

    /// The same of a single value: response times and the like, of which there are many.
    fn accumulate_line(
        &self,
        block: Block,
        y: f64,
        weight: f64,
        scratch: &MixtureScratch,
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        let (mut logs, mut whitened) = ([f64::NEG_INFINITY; MAX_COMPONENTS], [0.0; MAX_COMPONENTS]);
        let logs = &mut logs[..self.components];
        for (c, component) in scratch.components.iter().enumerate().filter(|(c, _)| block.contains(*c)) {
            whitened[c] = component.factor[0] * (y - component.mean[0]);
            logs[c] = component.log_determinant + scratch.logs[c] - 0.5 * whitened[c] * whitened[c];
        }
        let (density, sum) = exponentials(logs);
        let Some(gradient) = gradient else { return density };
        let each = gradient.chunks_exact_mut(self.component_outputs()).zip(&scratch.components).enumerate();
        for (c, (gradient, component)) in each {
            gradient[0] -= weight * scratch.weights[c];
            if block.contains(c) {
                let (responsibility, u) = (weight * logs[c] / sum, whitened[c]);
                gradient[0] += responsibility;
                gradient[1] += responsibility * u * component.factor[0];
                gradient[2] += responsibility * (1.0 - u * u);
            }
        }
        density
    }

    /// log Σ_c w_c exp(log_c) over the components `block`; adds `weight` times its gradient, given what adds a weight times that of log_c. The slope of
    /// a single component follows its logarithm at once.
    pub(super) fn mix(
        &self,
        block: Block,
        weight: f64,
        scratch: &mut MixtureScratch,
        gradient: Option<&mut [f64]>,
        (log, slope): (
            impl Fn(usize, &mut MixtureScratch) -> f64,
            impl Fn(usize, f64, &mut MixtureScratch, &mut [f64]),
        ),
    ) -> f64 {
        let mut logs = [f64::NEG_INFINITY; MAX_COMPONENTS];
        let logs = &mut logs[..self.components];
        for c in (0..self.components).filter(|&c| block.contains(c)) {
            logs[c] = log(c, scratch) + scratch.logs[c];
        }
        let (density, sum) = exponentials(logs);
        if let Some(gradient) = gradient {
            for (c, exponential) in logs.iter().enumerate() {
                let responsibility = exponential / sum;
                if self.components > 1 {
                    gradient[self.mean_offset(c) - 1] += weight * (responsibility - scratch.weights[c]);
                }
                if block.contains(c) {
                    slope(c, weight * responsibility, scratch, gradient);
                }
            }
        }
        density
    }
}

impl MixtureScratch {
    /// Keeps r and u of component `c`.
    fn keep(&mut self, c: usize) {
        let d = self.residual.len();
        let (residual, whitened) = self.kept[2 * d * c..][..2 * d].split_at_mut(d);
        residual.copy_from_slice(&self.residual);
        whitened.copy_from_slice(&self.whitened);
    }

    /// Has them again.
    fn recall(&mut self, c: usize) {
        let d = self.residual.len();
        let (residual, whitened) = self.kept[2 * d * c..][..2 * d].split_at(d);
        self.residual.copy_from_slice(residual);
        self.whitened.copy_from_slice(whitened);
    }
}

/// log Σ exp; leaves exp(value - largest) in place of the values, and their sum.
fn exponentials(values: &mut [f64]) -> (f64, f64) {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        values.fill(f64::NAN);
        return (max, 1.0);
    }
    let mut sum = 0.0;
    for value in values {
        // exp(-∞) is not free.
        *value = if *value == f64::NEG_INFINITY { 0.0 } else { (*value - max).exp() };
        sum += *value;
    }
    (max + sum.ln(), sum)
}
