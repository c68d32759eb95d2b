//! A refined posterior: local likelihoods, each with the proposal around it, that share the latent space out among them.
//!
//! The proposals' mixture q(u) = Σ_c w_c N(u; c_c, C_c C_cᵀ), symmetrised where a symmetry is known, stands in for the prior in tempering: particles
//! of component c start from its Gaussian and follow q to prior × likelihood,
//!     log L_c(z) = log p_c(x_{1:n}|u) + log N(u; 0, I) - log q(u),   u = c_c + C_c z,
//! so that they never leave where simulations are, and the posterior is that of the true prior. The evidences E_c\[L_c\] say how much of the posterior each
//! component has: Σ_c w_c E_c\[L_c\] = ∫ prior × likelihood, where components that overlap agree.

use super::frame::Frame;
use super::local::{LocalLikelihood, LocalScratch, Statistics};
use super::scores::{FEWEST, Scores};
use super::success::LocalSuccess;
use crate::Result;
use crate::small_matrix::dot;
use crate::tempering::{Likelihood, Local};
use ndarray::ArrayView2;
use tallsbi_data::Symmetry;

/// A local likelihood and the proposal around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// w_c; they sum to one.
    pub weight: f64,
    /// c_c and C_c.
    pub frame: Frame,
    /// p_c.
    pub likelihood: LocalLikelihood,
    /// The probability that a simulation succeeds, where that depends on the parameters.
    pub success: Option<LocalSuccess>,
    /// The law of its scores, which serves means of many observations in its place.
    pub scores: Option<Scores>,
    /// Share of what p_c says of an observation that counts towards posteriors of many: 1/λ where its scores vary λ times as much as it says.
    pub share: f64,
}

/// Local likelihoods side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct RefinedModel {
    /// At least one.
    pub components: Vec<Component>,
    /// Maps of the latent parameters that leave prior and likelihood as they are; the components hold one point of each orbit.
    pub symmetry: Symmetry,
    /// The number of observations it was refined for.
    pub n_obs: usize,
    /// Whether observations are summaries whose mean alone counts, as a Gaussian.
    pub means: bool,
}

impl RefinedModel {
    /// log q(u) and its gradient.
    pub fn log_reference(&self, u: &[f64], gradient: &mut [f64]) -> f64 {
        let m = u.len();
        let elements = self.symmetry.elements();
        let mut logs = Vec::with_capacity(elements.len() * self.components.len());
        let mut slopes = Vec::with_capacity(logs.capacity() * m);
        let (mut image, mut slope, mut back) = (vec![0.0; m], vec![0.0; m], vec![0.0; m]);
        for element in elements {
            element.apply(u, &mut image);
            for component in &self.components {
                let log = component.frame.log_density(&image, &mut slope);
                element.apply_transposed(&slope, &mut back);
                logs.push(log + (component.weight / elements.len() as f64).ln());
                slopes.extend_from_slice(&back);
            }
        }
        let total = crate::model::density::log_sum_exp(&logs);
        gradient.fill(0.0);
        for (log, slope) in logs.iter().zip(slopes.chunks_exact(m)) {
            let share = (log - total).exp();
            gradient.iter_mut().zip(slope).for_each(|(sum, slope)| *sum += share * slope);
        }
        total
    }

    /// How far out `u` is in the best suited component: |v| over its radius; above 1 nothing is known.
    pub fn reach(&self, u: &[f64]) -> f64 {
        let (_, image) = self.symmetry.canonical(u);
        let reach = |component: &Component| {
            let v = component.likelihood.chart.at(&image);
            dot(&v, &v).sqrt() / component.likelihood.radius
        };
        self.components.iter().map(reach).fold(f64::INFINITY, f64::min)
    }

    /// The same without [mean scores](super::ScoreSummary): densities and evidences are those of the observations themselves, by the form that was learned of one.
    pub fn by_form(&self) -> Self {
        let components =
            self.components.iter().map(|component| Component { scores: None, share: 1.0, ..component.clone() });
        Self { components: components.collect(), symmetry: self.symmetry.clone(), n_obs: self.n_obs, means: self.means }
    }

    /// What tempering of component `index` follows, with the likelihood to the power `worth`/n for `worth` observations' worth of it.
    pub fn part(&self, index: usize, worth: Option<f64>) -> Part<'_> {
        Part { model: self, component: &self.components[index], worth }
    }
}

/// The target of one component's particles.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    model: &'a RefinedModel,
    component: &'a Component,
    worth: Option<f64>,
}

/// Statistics and the power of the likelihood.
#[derive(Debug, Clone)]
pub struct PartContext {
    statistics: Statistics,
    power: f64,
    by_scores: bool,
}

impl Likelihood for Part<'_> {
    type Context = PartContext;
    type Workspace = LocalScratch;

    fn dim_theta(&self) -> usize {
        self.component.frame.dim()
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> Result<PartContext> {
        let n = x.nrows() as f64;
        let worth = self.worth.map_or(n, |worth| worth.min(n));
        let likelihood = &self.component.likelihood;
        let scores = self.component.scores.as_ref().filter(|_| worth >= FEWEST);
        let statistics = scores.map_or_else(|| likelihood.statistics(x), |scores| scores.statistics(likelihood, x))?;
        let statistics = if self.model.means { statistics.pooled() } else { statistics };
        let share = if worth >= FEWEST { self.component.share } else { 1.0 };
        Ok(PartContext { statistics, power: share * worth / n, by_scores: scores.is_some() })
    }

    fn workspace(&self) -> LocalScratch {
        LocalScratch::default()
    }

    fn evaluate(&self, context: &PartContext, theta: &[f64], scratch: &mut LocalScratch, local: &mut Local) {
        let m = self.dim_theta();
        local.resize(theta.len() / m, m);
        let (mut image, mut reference) = (vec![0.0; m], vec![0.0; m]);
        let by_scores = self.component.scores.as_ref().filter(|_| context.by_scores);
        let likelihood = by_scores.map_or(&self.component.likelihood, |scores| &scores.likelihood);
        for (row, z) in theta.chunks_exact(m).enumerate() {
            let u = self.component.frame.to_latent(z);
            let element = self.model.symmetry.canonical(&u).0;
            element.apply(&u, &mut image);
            let directions = self.directions(|column, out| element.apply(column, out));
            let gradient = &mut local.gradients[row * m..(row + 1) * m];
            let information = &mut local.informations[row * m * m..(row + 1) * m * m];
            let buffers = (&mut *gradient, &mut *information);
            let mut likelihood = likelihood.evaluate(&context.statistics, &image, &directions, scratch, buffers);
            if let Some(success) = &self.component.success {
                let buffers = (&mut *gradient, &mut *information);
                likelihood += success.add(context.statistics.n, &image, &directions, buffers);
            }
            let log_q = self.model.log_reference(&u, &mut reference);
            let prior = -0.5 * (dot(&u, &u) + m as f64 * (2.0 * std::f64::consts::PI).ln());
            local.values[row] = context.power * likelihood + prior - log_q;
            // ∇(log prior - log q) = -u - ∇log q, and the metric F + CᵀC - I: the run adds I.
            let factor = &self.component.frame.factor;
            for a in 0..m {
                let along: f64 = (0..m).map(|i| factor[i * m + a] * (-u[i] - reference[i])).sum();
                gradient[a] = context.power * gradient[a] + along;
                for b in 0..m {
                    let widths: f64 = (0..m).map(|i| factor[i * m + a] * factor[i * m + b]).sum();
                    let own = f64::from(u8::from(a == b));
                    information[a * m + b] = context.power * information[a * m + b] + widths - own;
                }
            }
        }
    }
}

impl Part<'_> {
    /// C with each column mapped.
    fn directions(&self, map: impl Fn(&[f64], &mut [f64])) -> Vec<f64> {
        let m = self.dim_theta();
        let factor = &self.component.frame.factor;
        let mut out = vec![0.0; m * m];
        let mut image = vec![0.0; m];
        for a in 0..m {
            let column: Vec<f64> = (0..m).map(|i| factor[i * m + a]).collect();
            map(&column, &mut image);
            (0..m).for_each(|i| out[i * m + a] = image[i]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::tests::{example, observations};
    use super::*;
    use tallsbi_data::SignedPermutation;

    #[test]
    fn gradients_are_finite_differences_with_symmetry_and_several_components() {
        let chart = example().chart;
        let success = LocalSuccess::new(chart, vec![0.7, -0.1, 0.6]);
        let flip = SignedPermutation::flip(2, &[0]);
        let frame = |center: Vec<f64>| Frame::new(center, vec![0.5, 0.1, 0.1, 0.3]).unwrap();
        let model = RefinedModel {
            components: vec![
                Component {
                    weight: 0.3,
                    frame: frame(vec![0.6, 0.0]),
                    likelihood: example(),
                    success,
                    scores: None,
                    share: 1.0,
                },
                Component {
                    weight: 0.7,
                    frame: frame(vec![0.9, -0.4]),
                    likelihood: example(),
                    success: None,
                    scores: None,
                    share: 1.0,
                },
            ],
            symmetry: Symmetry::generated(2, &[flip]).unwrap(),
            n_obs: 9,
            means: false,
        };
        let x = observations(9);
        for (index, worth) in [(0, None), (1, Some(4.0))] {
            let part = model.part(index, worth);
            let context = part.context(x.view()).unwrap();
            let at = |z: &[f64]| {
                let mut local = Local::default();
                part.evaluate(&context, z, &mut part.workspace(), &mut local);
                local
            };
            // The second lies on the other side of the symmetry.
            for z in [[0.4, -0.7], [-2.6, 0.3]] {
                let exact = at(&z).gradients;
                for a in 0..2 {
                    let moved = |h: f64| {
                        let mut moved = z;
                        moved[a] += h;
                        at(&moved).values[0]
                    };
                    let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((numeric - exact[a]).abs() < 1e-5 * exact[a].abs().max(1.0), "{numeric} {}", exact[a]);
                }
            }
        }
    }
}
