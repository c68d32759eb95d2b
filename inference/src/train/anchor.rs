//! Training objective of the Gaussian anchor: negative log-likelihood of z under N(μ(x), (L Lᵀ)⁻¹).

use super::data::TrainingData;
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use crate::model::anchored::{anchor_outputs, precision_factor};
use std::ops::Range;
use tallsbi_network::{Engine, ForwardWorkspace, Mlp, Trace};

/// NLL of a Gaussian anchor, up to the constant m/2 log 2π: ½|Lᵀ(z-μ)|² - Σ log L_ii a row.
#[derive(Debug)]
pub struct AnchorObjective<'a> {
    data: &'a TrainingData,
    engine: Engine<f32>,
}

impl<'a> AnchorObjective<'a> {
    /// For `network`, which maps features to [`anchor_outputs`] numbers.
    pub fn new(data: &'a TrainingData, network: &Mlp<f32>) -> Self {
        Self { data, engine: Engine::for_training(network) }
    }
}

/// Buffers of one worker.
#[derive(Debug)]
pub struct AnchorWorkspace {
    input: Vec<f32>,
    out: Vec<f32>,
    out_gradient: Vec<f32>,
    trace: Trace<f32>,
    forward: ForwardWorkspace<f32>,
}

impl Objective for AnchorObjective<'_> {
    type Workspace = AnchorWorkspace;

    fn workspace(&self) -> AnchorWorkspace {
        let spec = self.engine.spec();
        AnchorWorkspace {
            input: vec![0.0; CHUNK_ROWS * spec.input],
            out: vec![0.0; CHUNK_ROWS * spec.output],
            out_gradient: vec![0.0; CHUNK_ROWS * spec.output],
            trace: Trace::new(spec, CHUNK_ROWS),
            forward: ForwardWorkspace::new(spec, CHUNK_ROWS),
        }
    }

    fn load(&mut self, parameters: &[f32]) {
        self.engine.load(parameters);
    }

    fn loss(
        &self,
        batch: &Batch<'_>,
        positions: Range<usize>,
        workspace: &mut AnchorWorkspace,
        gradient: Option<&mut [f32]>,
    ) -> f64 {
        let data = self.data;
        let (m, d) = (data.dim_theta, data.dim_x);
        let outputs = anchor_outputs(m);
        let n = positions.len();
        let input = &mut workspace.input[..n * d];
        let rows = &batch.rows[positions.clone()];
        for (position, (&row, target)) in rows.iter().zip(input.chunks_exact_mut(d)).enumerate() {
            // Which of a parameter's K observations: drawn anew each step, the first ones in turn for validation.
            let index = (positions.start + position) as u64;
            let choice = if batch.validation { index } else { batch.noise.seed(index) };
            target.copy_from_slice(data.feature_row(row as usize, (choice % data.n_obs as u64) as usize));
        }
        let out = &mut workspace.out[..n * outputs];
        if gradient.is_some() {
            self.engine.forward_traced(input, &mut workspace.trace, out);
        } else {
            self.engine.forward(input, &mut workspace.forward, out);
        }
        let out_gradient = &mut workspace.out_gradient[..n * outputs];
        let scale = 1.0 / batch.rows.len() as f64;
        let mut loss = 0.0;
        for (i, &row) in rows.iter().enumerate() {
            let own = i * outputs..(i + 1) * outputs;
            loss += negative_log_likelihood(
                &out[own.clone()],
                data.latent_row(row as usize),
                scale,
                &mut out_gradient[own],
            );
        }
        if let Some(gradient) = gradient {
            self.engine.backward(input, &mut workspace.trace, out_gradient, gradient, None);
        }
        loss
    }
}

/// The loss of one row; writes `scale` times its gradient with respect to the network's outputs.
fn negative_log_likelihood(outputs: &[f32], z: &[f32], scale: f64, gradient: &mut [f32]) -> f64 {
    let m = z.len();
    let factor = precision_factor(outputs, m);
    let residual: Vec<f64> = (0..m).map(|i| f64::from(z[i]) - f64::from(outputs[i])).collect();
    let u: Vec<f64> = (0..m).map(|k| (k..m).map(|i| factor[(i, k)] * residual[i]).sum()).collect();
    let mut loss = 0.5 * u.iter().map(|u| u * u).sum::<f64>();
    let mut at = m;
    for i in 0..m {
        gradient[i] = (-scale * (0..=i).map(|k| u[k] * factor[(i, k)]).sum::<f64>()) as f32;
        for (k, u) in u.iter().enumerate().take(i + 1) {
            let slope = u * residual[i];
            gradient[at] = if i == k {
                loss -= f64::from(outputs[at]);
                scale * (slope * factor[(i, i)] - 1.0)
            } else {
                scale * slope
            } as f32;
            at += 1;
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_is_the_finite_difference() {
        let z = [0.3f32, -0.7, 0.2];
        let outputs: Vec<f32> = (0..9).map(|i| 0.1 * (i as f32 * 1.7).sin()).collect();
        let mut gradient = vec![0.0; 9];
        negative_log_likelihood(&outputs, &z, 1.0, &mut gradient);
        for i in 0..9 {
            let h = 1e-2f32;
            let at = |shift: f32| {
                let mut moved = outputs.clone();
                moved[i] += shift;
                negative_log_likelihood(&moved, &z, 1.0, &mut [0.0; 9])
            };
            let numeric = (at(h) - at(-h)) / (2.0 * f64::from(h));
            assert!((numeric - f64::from(gradient[i])).abs() < 2e-3, "{i}: {numeric} {}", gradient[i]);
        }
    }
}
