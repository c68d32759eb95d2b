//! The probability that a simulation succeeds, as a function of θ.
//!
//! The data are draws that succeeded: their likelihood is p(valid|θ) p(x|θ, valid), and the density network, which sees valid rows only,
//! knows the second factor. The first is learned here, by logistic regression on a linear or a small deep network, if failures depend
//! on θ at all: else a constant is exact, and a network's noise would be multiplied by n.

use super::TrainingData;
use super::data::Split;
use super::density::Input;
use super::networks::NetworkId;
use super::run::{Job, Run};
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use crate::Result;
use crate::model::Failures;
use crate::model::trained::Success;
use crate::notes::Note;
use rand::seq::SliceRandom;
use statrs::distribution::{ContinuousCDF, Normal};
use std::ops::Range;
use tallsbi_data::Purpose;
use tallsbi_network::{Activation, Engine, ForwardWorkspace, LastLayer, MatrixPlace, Mlp, MlpSpec, Trace};

/// Below this corrected p-value failures depend on θ.
const LEVEL: f64 = 1e-3;

/// Hidden widths of the deep network.
const HIDDEN: [usize; 2] = [64; 2];

/// What the deep network must gain in validation loss, in nats a simulation.
const WORTH: f64 = 5e-4;

/// First stream of these networks, beyond those of all others.
const STREAM: u64 = 1 << 32;

/// Mean logistic loss over valid rows (0..N) and failed ones (N..N+F).
#[derive(Debug)]
struct SuccessObjective<'a> {
    data: &'a TrainingData,
    input: Input,
    engine: Engine<f32>,
}

/// Buffers of one worker.
#[derive(Debug)]
struct SuccessWorkspace {
    input: Vec<f32>,
    out: Vec<f32>,
    gradient: Vec<f32>,
    trace: Trace<f32>,
    forward: ForwardWorkspace<f32>,
}

impl Objective for SuccessObjective<'_> {
    type Workspace = SuccessWorkspace;

    fn workspace(&self) -> SuccessWorkspace {
        let spec = self.engine.spec();
        SuccessWorkspace {
            input: vec![0.0; CHUNK_ROWS * spec.input],
            out: vec![0.0; CHUNK_ROWS],
            gradient: vec![0.0; CHUNK_ROWS],
            trace: Trace::new(spec, CHUNK_ROWS),
            forward: ForwardWorkspace::new(spec, CHUNK_ROWS),
        }
    }

    fn matrices(&self) -> Vec<MatrixPlace> {
        self.engine.spec().matrices()
    }

    fn load(&mut self, parameters: &[f32]) {
        self.engine.load(parameters);
    }

    fn loss(
        &self,
        batch: &Batch<'_>,
        positions: Range<usize>,
        workspace: &mut SuccessWorkspace,
        gradient: Option<&mut [f32]>,
    ) -> f64 {
        let rows = &batch.rows[positions];
        let m = self.data.dim_theta;
        let SuccessWorkspace { input, out, gradient: out_gradient, trace, forward } = workspace;
        let (input, out) = (&mut input[..rows.len() * m], &mut out[..rows.len()]);
        let valid = self.data.latent.len() / m;
        for (&row, input) in rows.iter().zip(input.chunks_exact_mut(m)) {
            let row = row as usize;
            let z = if row < valid { self.data.latent_row(row) } else { &self.data.failed[(row - valid) * m..][..m] };
            match &self.input {
                Input::Canonical(symmetry) => input.copy_from_slice(&symmetry.canonical(z).1),
                Input::Plain | Input::Image(_) => input.copy_from_slice(z),
            }
        }
        if gradient.is_some() {
            self.engine.forward_traced(input, trace, out);
        } else {
            self.engine.forward(input, forward, out);
        }
        let mut loss = 0.0;
        for ((&row, &log_odds), slope) in rows.iter().zip(&*out).zip(&mut *out_gradient) {
            // log(1 + e^-f) where the row is valid, log(1 + e^f) where it failed.
            let sign = if (row as usize) < valid { -1.0 } else { 1.0 };
            let signed = sign * f64::from(log_odds);
            loss += (-signed.abs()).exp().ln_1p() + signed.max(0.0);
            *slope = (sign / (1.0 + (-signed).exp()) / batch.rows.len() as f64) as f32;
        }
        if let Some(gradient) = gradient {
            self.engine.backward(input, trace, &out_gradient[..rows.len()], gradient, None);
        }
        loss
    }
}

impl<'a> Run<'a> {
    /// The probability of success, if simulations failed, that is to inform, and it depends on θ.
    pub(super) fn success(&mut self, input: &Input) -> Result<Option<Success>> {
        let data = self.data;
        if data.failed.is_empty() || self.options.failures == Failures::Condition {
            return Ok(None);
        }
        let p_value = dependence(&data.latent, &data.failed, data.dim_theta);
        let informs = p_value < LEVEL;
        self.notes.push(Note::Success { informs, p_value: Some(p_value) });
        if !informs {
            return Ok(None);
        }
        let split = self.success_split();
        let optimizer = self.options.likelihood.optimizer.clone();
        let mut networks = Vec::new();
        let mut jobs = Vec::new();
        for (index, hidden) in [Vec::new(), HIDDEN.to_vec()].into_iter().enumerate() {
            let name = if hidden.is_empty() { "success, linear" } else { "success" };
            let spec = MlpSpec {
                input: data.dim_theta,
                hidden,
                output: 1,
                activation: Activation::Gelu,
                layer_norm: false,
                residual: true,
            };
            let stream = STREAM + index as u64;
            let mut rng = self.key.child(Purpose::Initialization).rng(stream);
            let network = Mlp::random(spec, LastLayer::Zero, &mut rng)?;
            let objective = SuccessObjective { data, input: input.clone(), engine: Engine::for_training(&network) };
            let initial = network.parameters().to_vec();
            let optimizer = optimizer.clone();
            jobs.push(Job {
                name: name.into(),
                stream,
                fold: 0,
                optional: false,
                rival: None,
                optimizer,
                objective,
                initial,
            });
            networks.push(network);
        }
        let splits = vec![split; jobs.len()];
        let trained = self.fit_split("success", jobs, splits)?;
        let better = |best: (NetworkId, Mlp<f32>), next: (NetworkId, Mlp<f32>)| {
            if self.loss(next.0) < self.loss(best.0) - WORTH { next } else { best }
        };
        let (best, mut network) = trained.iter().zip(networks).reduce(better).expect("two were trained");
        self.keep(trained, best);
        network.parameters_mut().copy_from_slice(self.weights(best));
        Ok(Some(Success { network, observations: data.n_obs }))
    }

    /// Valid and failed rows, the same share of both held out.
    fn success_split(&self) -> Split {
        let data = self.data;
        let valid = data.latent.len() / data.dim_theta;
        let failed = data.failed.len() / data.dim_theta;
        let mut order: Vec<u32> = (valid as u32..(valid + failed) as u32).collect();
        order.shuffle(&mut self.key.child(Purpose::Split).rng(1));
        let held_out = ((failed as f64 * self.options.validation_fraction).round() as usize).min(failed - 1);
        let training = order.split_off(held_out);
        Split {
            training: [&data.training[..], &training].concat(),
            validation: [&data.validation[..], &order].concat(),
        }
    }
}

/// The p-value, corrected for their number, of two-sample tests of the means of all z_i, and of z_i z_j and z_i², of valid and failed rows.
fn dependence(valid: &[f32], failed: &[f32], m: usize) -> f64 {
    let pairs = || (0..m).flat_map(|i| (i..m).map(move |j| (i, Some(j))));
    let terms: Vec<(usize, Option<usize>)> = (0..m).map(|i| (i, None)).chain(pairs()).collect();
    let moments = |z: &[f32], (i, j): (usize, Option<usize>)| {
        let n = (z.len() / m) as f64;
        let value = |row: &[f32]| f64::from(row[i]) * j.map_or(1.0, |j| f64::from(row[j]));
        let mean = z.chunks_exact(m).map(value).sum::<f64>() / n;
        let square = z.chunks_exact(m).map(|row| (value(row) - mean).powi(2)).sum::<f64>() / n;
        (mean, square, n)
    };
    let largest = terms.iter().map(|&term| {
        let ((a, va, na), (b, _, nb)) = (moments(valid, term), moments(failed, term));
        // Under the hypothesis failed rows have the others' variance, which many rows tell.
        let z = (a - b).abs() / (va * (1.0 / na + 1.0 / nb)).sqrt();
        if z.is_finite() { z } else { 0.0 }
    });
    (2.0 * terms.len() as f64 * Normal::standard().sf(largest.fold(0.0, f64::max))).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::OptimizerOptions;
    use super::super::tests::small;
    use super::super::{Architecture, DensityForm, LikelihoodOptions, TrainOptions, train};
    use super::*;
    use crate::model::{Covariance, Networks, PreparedModel, TrainedModel};
    use crate::tempering::{Likelihood, Local};
    use ndarray::{Array2, Array3};
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::{Prior, Silent, StreamKey};

    /// θ ~ N(0, 1), x = θ + noise; succeeds with probability Φ(-θ) where failures depend on θ, else with ½.
    fn trained(dependent: bool, failures: Failures) -> TrainedModel {
        let prior = Prior::from_json(r#"[{"name":"a","dist":"normal","loc":0,"scale":1}]"#).unwrap();
        let mut rng = StreamKey::root(7).rng(0);
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let n = 12_000;
        let (mut theta, mut x) = (Array2::zeros((n, 1)), Array3::zeros((n, 1, 1)));
        for i in 0..n {
            let (a, noise, luck) = (normal(), normal(), normal());
            theta[[i, 0]] = a;
            let fails = luck + if dependent { a } else { 0.0 } > 0.0;
            x[[i, 0, 0]] = if fails { f64::NAN } else { a + noise };
        }
        let optimizer = OptimizerOptions { epochs: 25, learning_rate: 3e-3, ..OptimizerOptions::default() };
        let candidates = vec![DensityForm { components: 1, covariance: Covariance::Diagonal }];
        let likelihood =
            LikelihoodOptions { hidden: vec![16], candidates, optimizer, members: 1, ..LikelihoodOptions::default() };
        let options = TrainOptions { architecture: Architecture::Likelihood, likelihood, failures, ..small() };
        let data = TrainingData::prepare(theta.view(), x.view(), &prior, false, &options, StreamKey::root(1)).unwrap();
        assert!(data.failed.len() > 5500 && data.failed.len() as u64 == data.invalid);
        train(&data, &options, StreamKey::root(0), &Silent).unwrap()
    }

    /// Mean and standard deviation of the posterior on a grid, given 20 observations with mean -0.2 and variance 1.
    fn posterior(model: &TrainedModel) -> (f64, f64) {
        let x = Array2::from_shape_fn((20, 1), |(i, _)| if i % 2 == 0 { 0.8 } else { -1.2 });
        let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
        let grid: Vec<f64> = (-400..400).map(|i| 0.01 * f64::from(i)).collect();
        let mut local = Local::default();
        let context = likelihood.context(x.view()).unwrap();
        likelihood.evaluate(&context, &grid, &mut likelihood.workspace(), &mut local);
        let log: Vec<f64> = local.values.iter().zip(&grid).map(|(value, z)| value - 0.5 * z * z).collect();
        moments(&grid, &log)
    }

    fn moments(grid: &[f64], log: &[f64]) -> (f64, f64) {
        let most = log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = log.iter().map(|value| (value - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mean = grid.iter().zip(&weights).map(|(z, w)| z * w).sum::<f64>() / total;
        (mean, (grid.iter().zip(&weights).map(|(z, w)| (z - mean).powi(2) * w).sum::<f64>() / total).sqrt())
    }

    /// N(θ; 0, 1) Φ(-θ)^20 Π N(x_j; θ, 1): that 20 observations exist tells as much as their values.
    #[test]
    fn failures_that_depend_on_the_parameters_inform() {
        let model = trained(true, Failures::Inform);
        assert!(model.info.notes.iter().any(|note| matches!(note, Note::Success { informs: true, .. })));
        assert!(
            matches!(&model.info.notes[0], Note::Failed { rows: 12_000, differs: Some((0, shift)), .. } if *shift > 1.0)
        );
        let grid: Vec<f64> = (-400..400).map(|i| 0.01 * f64::from(i)).collect();
        let log = |z: &f64| -0.5 * z * z + 20.0 * Normal::standard().cdf(-z).ln() - 10.0 * (z + 0.2).powi(2);
        let (mean, sd) = moments(&grid, &grid.iter().map(log).collect::<Vec<f64>>());
        let (found, spread) = posterior(&model);
        assert!((found - mean).abs() < 0.5 * sd && (spread / sd - 1.0).abs() < 0.15, "{found} {spread}: {mean} {sd}");
        assert!(TrainedModel::from_bytes(&model.to_bytes()).unwrap() == model);
        // Given that all succeed, it is the plain posterior N(-0.19, 0.22²).
        let (found, _) = posterior(&trained(true, Failures::Condition));
        assert!((found + 4.0 / 21.0).abs() < 0.08, "{found}");
    }

    #[test]
    fn failures_by_chance_say_nothing() {
        let model = trained(false, Failures::Inform);
        let Networks::Likelihood { success, .. } = &model.networks else { panic!("a likelihood") };
        assert!(success.is_none());
        assert!(model.info.notes.iter().any(|note| matches!(note, Note::Success { informs: false, .. })));
    }

    #[test]
    fn the_logistic_term_has_its_derivatives() {
        let at = |f: f64| {
            let mut local = Local::default();
            local.resize(1, 1);
            crate::model::likelihood::succeed(3.0, f, &[1.0], &mut local, 0);
            local
        };
        for f in [-30.0, -1.0, 0.4, 20.0] {
            let h = 1e-5;
            let local = at(f);
            assert!((local.values[0] - 3.0 * (1.0 / (1.0 + (-f).exp())).ln()).abs() < 1e-7 * f.abs().max(1.0));
            assert!(((at(f + h).values[0] - at(f - h).values[0]) / (2.0 * h) - local.gradients[0]).abs() < 1e-4);
        }
        assert_eq!(dependence(&[0.0, 1.0], &[0.0, 1.0], 1), 1.0);
    }
}
