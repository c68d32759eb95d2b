//! Gaussian mixtures as network outputs (mixture density networks, Bishop 1994): the anchor's one Gaussian of θ given x, and
//! the likelihood's Gaussians of x given θ.
//!
//! A component's outputs are its logit (where there are several), its mean μ (d), and the lower-triangular factor L of its
//! precision L Lᵀ by rows, diagonal entries as logarithms:
//!
//!   log N(y; μ, (L Lᵀ)⁻¹) = Σ log L_ii - ½|Lᵀ(y - μ)|² - d/2 log 2π; the last term is left out everywhere.
//!
//! Components may be [Student t](super::tails) in place of Gaussians; their degrees of freedom follow the factor.

use super::cells::Term;
use super::missing::Hidden;
use super::mixed::{EDGE_OUTPUTS, Mixed, Seen};
use super::shared::SharedError;
use super::tails::Tail;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tallsbi_data::{Choice, Named};

/// Bound on the logarithm of L's diagonal: standard deviations beyond e^±15 of the standardised data's are no densities but a
/// network far outside its training data, and must not overflow.
pub const MAX_LOG_DIAGONAL: f64 = 15.0;

/// Which entries of the precision's factor a component has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covariance {
    /// All of the lower triangle.
    #[default]
    Full,
    /// The diagonal only.
    Diagonal,
}

impl Named for Covariance {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("full", "Any", Self::Full),
            Choice::new("diagonal", "Values of x independent given the parameters", Self::Diagonal),
        ]
    }
}

/// Components that an observation may come from: bit c is that of component c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(pub u32);

impl Block {
    /// Those of a range.
    pub fn range(range: Range<usize>) -> Self {
        Self(range.fold(0, |bits, c| bits | 1 << c))
    }

    /// Whether component c is one.
    pub fn contains(self, c: usize) -> bool {
        self.0 >> c & 1 == 1
    }
}

/// Where the numbers of a mixture lie in a network's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureLayout {
    /// C.
    pub components: usize,
    /// d.
    pub dim: usize,
    /// Shape of the factors.
    pub covariance: Covariance,
    /// Whether columns of whole numbers have the masses of their [cells](super::cells), for diagonal factors.
    #[serde(default)]
    pub cells: bool,
    /// Whether components belong to [categories](super::mixed) that are seen, for `dim` real columns beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Mixed>,
    /// Whether components are Student t, with [degrees of freedom](super::tails) of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tails: bool,
    /// Whether the single component, a Gaussian of real columns, has an [error that all observations share](super::shared).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A component in f64, diagonal exponentiated.
#[derive(Debug, Clone, Default)]
pub struct Component {
    /// μ (d).
    pub mean: Vec<f64>,
    /// L, packed as in the outputs.
    pub factor: Vec<f64>,
    /// Σ log L_ii.
    pub log_determinant: f64,
    /// Of each group of columns, where components are Student t.
    pub tails: Vec<Tail>,
    /// What observations share.
    pub shared: Option<SharedError>,
}

/// Buffers for one row's densities.
#[derive(Debug, Clone, Default)]
pub struct MixtureScratch {
    /// Components of the row.
    pub components: Vec<Component>,
    /// log w_c, and w_c.
    pub(super) logs: Vec<f64>,
    pub(super) weights: Vec<f64>,
    /// r and u of each component at one observation.
    pub(super) kept: Vec<f64>,
    pub(super) residual: Vec<f64>,
    pub(super) whitened: Vec<f64>,
    /// Of the values that are missing.
    pub(super) hidden: Hidden,
    /// Of the components' columns, where there are cells.
    pub(super) terms: Vec<Term>,
    /// Of the real columns, where they have edges.
    pub(super) edges: Vec<[f64; EDGE_OUTPUTS]>,
    /// One observation's columns as they are seen, and its gradient.
    pub(super) seen: Vec<Seen>,
    pub(super) z: Vec<f64>,
    pub(super) own: Vec<f64>,
}

impl MixtureLayout {
    /// One Gaussian with a full covariance.
    pub const fn gaussian(dim: usize) -> Self {
        Self {
            components: 1,
            dim,
            covariance: Covariance::Full,
            cells: false,
            mixed: None,
            tails: false,
            shared: false,
        }
    }

    /// Number of a network's outputs.
    pub fn outputs(&self) -> usize {
        self.components * self.component_outputs() + self.edge_outputs()
    }

    fn has_logits(&self) -> bool {
        self.components > 1
    }

    pub(super) fn component_outputs(&self) -> usize {
        usize::from(self.has_logits()) + self.dim + self.factor_entries() + self.tail_outputs() + self.shared_outputs()
    }

    pub(super) fn factor_entries(&self) -> usize {
        match self.covariance {
            Covariance::Full => self.dim * (self.dim + 1) / 2,
            Covariance::Diagonal => self.dim,
        }
    }

    /// Columns of L's row i that are there.
    pub fn columns(&self, i: usize) -> Range<usize> {
        match self.covariance {
            Covariance::Full => 0..i + 1,
            Covariance::Diagonal => i..i + 1,
        }
    }

    /// Where L's row i starts among a component's packed entries.
    pub fn row_offset(&self, i: usize) -> usize {
        match self.covariance {
            Covariance::Full => i * (i + 1) / 2,
            Covariance::Diagonal => i,
        }
    }

    /// Where component c's mean starts; its factor follows after d numbers, its logit, if any, precedes it.
    pub fn mean_offset(&self, c: usize) -> usize {
        c * self.component_outputs() + usize::from(self.has_logits())
    }

    /// Initial biases that spread the components' means over the standardised data, so that they can part.
    pub fn spread_means(&self, bias: &mut [f32], mut draw: impl FnMut() -> f64) {
        if self.has_logits() {
            for c in 0..self.components {
                let at = self.mean_offset(c);
                bias[at..at + self.dim].iter_mut().for_each(|value| *value = draw() as f32);
            }
        }
    }

    /// Takes a row of outputs apart; returns nothing but what it leaves in `scratch`.
    pub fn expand(&self, outputs: &[f32], scratch: &mut MixtureScratch) {
        let d = self.dim;
        scratch.components.resize_with(self.components, Component::default);
        scratch.logs.clear();
        scratch.residual.resize(d, 0.0);
        scratch.whitened.resize(d, 0.0);
        for (c, component) in scratch.components.iter_mut().enumerate() {
            let at = self.mean_offset(c);
            scratch.logs.push(if self.has_logits() { f64::from(outputs[at - 1]) } else { 0.0 });
            component.mean.clear();
            component.mean.extend(outputs[at..at + d].iter().map(|&value| f64::from(value)));
            component.factor.clear();
            component.factor.extend(outputs[at + d..at + d + self.factor_entries()].iter().map(|&v| f64::from(v)));
            component.log_determinant = 0.0;
            let mut entry = 0;
            for i in 0..d {
                entry += self.columns(i).len();
                let log = component.factor[entry - 1].clamp(-MAX_LOG_DIAGONAL, MAX_LOG_DIAGONAL);
                component.log_determinant += log;
                component.factor[entry - 1] = log.exp();
            }
            self.expand_tails(outputs, c, &mut component.tails);
            self.expand_shared(outputs, component);
        }
        self.expand_edges(outputs, &mut scratch.edges);
        let total = log_sum_exp(&scratch.logs);
        scratch.logs.iter_mut().for_each(|log| *log -= total);
        scratch.weights.clear();
        scratch.weights.extend(scratch.logs.iter().map(|log| log.exp()));
        scratch.kept.resize(2 * d * self.components, 0.0);
    }

    /// log w_c of the expanded row.
    pub fn log_weight(&self, scratch: &MixtureScratch, c: usize) -> f64 {
        scratch.logs[c]
    }

    /// u = Lᵀ r.
    pub fn whiten(&self, factor: &[f64], residual: &[f64], whitened: &mut [f64]) {
        whitened.fill(0.0);
        let mut entry = 0;
        for (i, r) in residual.iter().enumerate() {
            for k in self.columns(i) {
                whitened[k] += factor[entry] * r;
                entry += 1;
            }
        }
    }

    /// The diagonal of (L Lᵀ)⁻¹.
    pub fn variances(&self, factor: &[f64]) -> Vec<f64> {
        let d = self.dim;
        let mut variances = vec![0.0; d];
        // Row by row of L⁻¹ by forward substitution of unit vectors: Σ_ii sums the squares of column i of L⁻¹.
        for (i, variance) in variances.iter_mut().enumerate() {
            let mut column = vec![0.0; d];
            let mut entry = (0..i).map(|row| self.columns(row).len()).sum::<usize>();
            for row in i..d {
                let columns = self.columns(row);
                let known: f64 =
                    columns.clone().filter(|&k| k < row).map(|k| factor[entry + k - columns.start] * column[k]).sum();
                let unit = if row == i { 1.0 } else { 0.0 };
                column[row] = (unit - known) / factor[entry + row - columns.start];
                entry += columns.len();
            }
            *variance = column.iter().map(|value| value * value).sum();
        }
        variances
    }

    /// Leaves r = y - μ_c and u = Lᵀ r in the scratch; r is as likely as can be where y is missing.
    pub(super) fn residual(&self, c: usize, y: &[f64], scratch: &mut MixtureScratch) {
        let MixtureScratch { components, residual, whitened, hidden, .. } = scratch;
        residual.iter_mut().zip(y).zip(&components[c].mean).for_each(|((r, y), mean)| *r = y - mean);
        hidden.find(y);
        if !hidden.is_empty() {
            hidden.condition(*self, &components[c].factor);
            hidden.complete(*self, &components[c].factor, residual);
        }
        self.whiten(&components[c].factor, residual, whitened);
    }

    /// -½ tr(Lᵀ S L) of the first component for a scatter matrix S (d, d) about the observations' mean; adds its gradient. With
    /// the mean it makes sufficient statistics of a single Gaussian.
    pub fn accumulate_scatter(&self, scatter: &[f64], scratch: &mut MixtureScratch, gradient: &mut [f64]) -> f64 {
        let gradient = &mut gradient[self.mean_offset(0) + self.dim..];
        self.scatter(scatter, &scratch.components[0].factor, &mut scratch.whitened, gradient)
    }

    /// The same for the packed factor L, `product` (d) being overwritten.
    pub(super) fn scatter(&self, scatter: &[f64], factor: &[f64], product: &mut [f64], gradient: &mut [f64]) -> f64 {
        let d = self.dim;
        let mut value = 0.0;
        let mut entry = 0;
        for (i, row) in scatter.chunks_exact(d).enumerate() {
            // Row i of S L, as far as L has entries there.
            let columns = self.columns(i);
            product[columns.clone()].fill(0.0);
            let mut below = 0;
            for (j, s) in row.iter().enumerate() {
                let own = self.columns(j);
                let shared = own.start.max(columns.start)..own.end.min(columns.end);
                for k in shared {
                    product[k] += s * factor[below + k - own.start];
                }
                below += own.len();
            }
            for k in columns {
                let slope = -product[k];
                value += 0.5 * slope * factor[entry];
                gradient[entry] += if k < i { slope } else { slope * factor[entry] };
                entry += 1;
            }
        }
        value
    }

    /// Adds `weight` times the gradient of log p_c, residual and whitened residual being in the scratch.
    pub(super) fn slope(&self, c: usize, weight: f64, scratch: &mut MixtureScratch, gradient: &mut [f64]) {
        let MixtureScratch { components, residual, whitened, hidden, .. } = scratch;
        let factor = &components[c].factor;
        let at = self.mean_offset(c);
        if self.tails {
            let own = &mut gradient[self.tail_offset(c)..][..self.tail_outputs()];
            self.pull_tails((&components[c].tails, hidden), weight, whitened, own);
        }
        if !hidden.is_empty() {
            hidden.slope(*self, factor, weight, &mut gradient[at + self.dim..]);
        }
        let mut entry = 0;
        for (i, r) in residual.iter().enumerate() {
            let mut mean = 0.0;
            for k in self.columns(i) {
                let slope = -whitened[k] * r;
                mean += whitened[k] * factor[entry];
                gradient[at + self.dim + entry] += weight * if k < i { slope } else { slope * factor[entry] + 1.0 };
                entry += 1;
            }
            gradient[at + i] += weight * mean;
        }
    }
}

/// ½ log 2π, which log densities of networks leave out.
pub const HALF_LN_2PI: f64 = 0.918_938_533_204_672_8;

/// Most components of a mixture.
pub const MAX_COMPONENTS: usize = 32;

/// log Σ exp.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return max;
    }
    max + values.iter().map(|value| (value - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(layout: MixtureLayout) -> Vec<f32> {
        (0..layout.outputs()).map(|i| 0.4 * (i as f32 * 1.7 + 0.3).sin()).collect()
    }

    fn density(layout: MixtureLayout, outputs: &[f32], y: &[f64], gradient: Option<&mut [f64]>) -> f64 {
        let mut scratch = MixtureScratch::default();
        layout.expand(outputs, &mut scratch);
        layout.accumulate(y, 1.0, &mut scratch, gradient)
    }

    #[test]
    fn gradient_is_the_finite_difference() {
        for (components, covariance) in [(1, Covariance::Full), (3, Covariance::Full), (3, Covariance::Diagonal)] {
            let layout = MixtureLayout { components, covariance, ..MixtureLayout::gaussian(3) };
            let y = [0.3, -0.7, 0.2];
            let outputs = outputs(layout);
            let mut gradient = vec![0.0; layout.outputs()];
            density(layout, &outputs, &y, Some(&mut gradient));
            for i in 0..layout.outputs() {
                let h = 1e-2f32;
                let at = |shift: f32| {
                    let mut moved = outputs.clone();
                    moved[i] += shift;
                    density(layout, &moved, &y, None)
                };
                let numeric = (at(h) - at(-h)) / (2.0 * f64::from(h));
                assert!((numeric - gradient[i]).abs() < 2e-4, "{layout:?} {i}: {numeric} {}", gradient[i]);
            }
        }
    }

    /// L = [[2, 0], [1, 4]]: L Lᵀ = [[4, 2], [2, 17]], whose inverse is [[17, -2], [-2, 4]]/64.
    #[test]
    fn variances_are_the_inverse_precisions_diagonal() {
        let full = MixtureLayout::gaussian(2);
        let found = full.variances(&[2.0, 1.0, 4.0]);
        assert!((found[0] - 17.0 / 64.0).abs() < 1e-12 && (found[1] - 4.0 / 64.0).abs() < 1e-12, "{found:?}");
        let diagonal = MixtureLayout { covariance: Covariance::Diagonal, ..full };
        assert_eq!(diagonal.variances(&[2.0, 4.0]), [0.25, 0.0625]);
    }

    #[test]
    fn density_integrates_to_one() {
        let layout = MixtureLayout { components: 2, ..MixtureLayout::gaussian(2) };
        let outputs = outputs(layout);
        let (half, step) = (120, 0.08);
        let mut sum = 0.0;
        for i in -half..=half {
            for j in -half..=half {
                let y = [f64::from(i) * step, f64::from(j) * step];
                sum += density(layout, &outputs, &y, None).exp() * step * step;
            }
        }
        let normalised = sum / (2.0 * std::f64::consts::PI);
        assert!((normalised - 1.0).abs() < 1e-6, "{normalised}");
    }
}
