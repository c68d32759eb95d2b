//! Training objective of a conditional network: denoising score matching.

use super::data::TrainingData;
use super::noising::{Noising, Scratch};
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use crate::model::ConditionalNetwork;
use crate::model::conditional::time_features;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;
use tallsbi_network::{Engine, MatrixPlace, Mlp, Trace};

/// 2⁶⁴ divided by the golden ratio, as a fraction: multiples of it modulo 1 are the additive low-discrepancy sequence.
const GOLDEN_FRACTION: f64 = 0.618_033_988_749_894_8;

/// Mean squared error per coordinate between the network's output and the target of [`Noising`].
#[derive(Debug)]
pub struct DenoisingObjective<'a> {
    data: &'a TrainingData,
    network: &'a ConditionalNetwork,
    noising: &'a Noising,
    context_dropout: f64,
    theta_embedding: Option<Engine<f32>>,
    x_embedding: Option<Engine<f32>>,
    trunk: Engine<f32>,
}

impl<'a> DenoisingObjective<'a> {
    /// For a network of the given layers; with `context_dropout` the observation is replaced by "none" (all features 0)
    /// with this probability.
    pub fn new(
        data: &'a TrainingData,
        network: &'a ConditionalNetwork,
        noising: &'a Noising,
        context_dropout: f64,
    ) -> Self {
        Self {
            data,
            network,
            noising,
            context_dropout,
            theta_embedding: network.theta_embedding.as_ref().map(Engine::for_training),
            x_embedding: network.x_embedding.as_ref().map(Engine::for_training),
            trunk: Engine::for_training(&network.trunk),
        }
    }

    /// Draws the rows' states, observations, time features and targets into the workspace.
    fn assemble(&self, batch: &Batch<'_>, positions: Range<usize>, workspace: &mut DenoisingWorkspace) {
        let (m, d, spec) = (self.data.dim_theta, self.data.dim_x, self.network.spec());
        let mut z = vec![0.0; m];
        workspace.sizes.clear();
        workspace.features.clear();
        for (i, position) in positions.enumerate() {
            let row = batch.rows[position] as usize;
            let mut rng = batch.noise.rng(position as u64);
            z.iter_mut().for_each(|z| *z = StandardNormal.sample(&mut rng));
            let level = if batch.validation {
                // A fixed low-discrepancy sequence over the validation rows.
                (position as f64 * GOLDEN_FRACTION).fract()
            } else {
                // Stratified over the batch.
                (position as f64 + batch.level_offset) / batch.rows.len() as f64
            };
            let observation = self.choose_observations(row, &mut rng, workspace);
            if self.context_dropout > 0.0 && rng.random::<f64>() < self.context_dropout {
                let start = workspace.features.len() - workspace.sizes[i] * d;
                workspace.features[start..].fill(0.0);
            }
            let own = i * m..(i + 1) * m;
            let u = self.noising.example(
                self.data.latent_row(row),
                observation,
                (level, &z),
                &mut workspace.scratch,
                &mut workspace.state[own.clone()],
                &mut workspace.target[own],
            );
            let width = 2 * spec.frequencies;
            time_features(u, spec.frequencies, &mut workspace.time[i * width..(i + 1) * width]);
        }
    }

    /// Appends the features of a random set of 1..=n_max of the row's observations; returns the index of the first.
    fn choose_observations(&self, row: usize, rng: &mut impl Rng, workspace: &mut DenoisingWorkspace) -> usize {
        let (k, n_max) = (self.data.n_obs, self.network.spec().n_max);
        let size = if n_max == 1 { 1 } else { rng.random_range(1..=n_max) };
        let start = if k == size { 0 } else { rng.random_range(0..k) };
        for j in 0..size {
            workspace.features.extend_from_slice(self.data.feature_row(row, (start + j) % k));
        }
        workspace.sizes.push(size);
        row * k + start
    }

    /// Runs the embeddings and fills the trunk's input.
    fn embed(&self, n: usize, workspace: &mut DenoisingWorkspace) {
        let (m, d, spec) = (self.data.dim_theta, self.data.dim_x, self.network.spec());
        let DenoisingWorkspace {
            state, features, sizes, time, theta_embedded, x_embedded, theta_trace, x_trace, ..
        } = workspace;
        if let (Some(engine), Some(trace)) = (&self.theta_embedding, theta_trace) {
            engine.forward_traced(&state[..n * m], trace, &mut theta_embedded[..n * engine.spec().output]);
        }
        let x_rows: usize = sizes.iter().sum();
        if let (Some(engine), Some(trace)) = (&self.x_embedding, x_trace) {
            engine.forward_traced(&features[..x_rows * d], trace, &mut x_embedded[..x_rows * engine.spec().output]);
        }
        let (theta_width, x_width) = (spec.theta_width(m), spec.x_width(d));
        let theta = if self.theta_embedding.is_some() { &*theta_embedded } else { &*state };
        let x = if self.x_embedding.is_some() { &*x_embedded } else { &*features };
        let time_width = 2 * spec.frequencies;
        let width = self.trunk.spec().input;
        let mut first = 0;
        for (i, input) in workspace.input[..n * width].chunks_exact_mut(width).enumerate() {
            let (state_part, rest) = input.split_at_mut(theta_width);
            let (x_part, rest) = rest.split_at_mut(x_width);
            let (time_part, set_part) = rest.split_at_mut(time_width);
            state_part.copy_from_slice(&theta[i * theta_width..(i + 1) * theta_width]);
            x_part.fill(0.0);
            for row in x[first * x_width..(first + sizes[i]) * x_width].chunks_exact(x_width) {
                x_part.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / sizes[i] as f32);
            }
            first += sizes[i];
            time_part.copy_from_slice(&time[i * time_width..(i + 1) * time_width]);
            set_part.fill(0.0);
            if let Some(one) = set_part.get_mut(sizes[i] - 1) {
                *one = 1.0;
            }
        }
    }

    /// Adds the gradient given ∂L/∂out in the workspace.
    fn backward(&self, n: usize, workspace: &mut DenoisingWorkspace, gradient: &mut [f32]) {
        let (m, d, spec) = (self.data.dim_theta, self.data.dim_x, self.network.spec());
        let counts = [&self.network.theta_embedding, &self.network.x_embedding]
            .map(|part| part.as_ref().map_or(0, |mlp: &Mlp<f32>| mlp.parameters().len()));
        let (theta_gradient, rest) = gradient.split_at_mut(counts[0]);
        let (x_gradient, trunk_gradient) = rest.split_at_mut(counts[1]);
        let width = self.trunk.spec().input;
        let embedded = self.theta_embedding.is_some() || self.x_embedding.is_some();
        let DenoisingWorkspace {
            input,
            input_gradient,
            out_gradient,
            trunk_trace,
            theta_trace,
            x_trace,
            state,
            features,
            sizes,
            theta_embedded,
            x_embedded,
            ..
        } = workspace;
        let input_gradient = &mut input_gradient[..n * width];
        let out_gradient = &out_gradient[..n * self.trunk.spec().output];
        self.trunk.backward(
            &input[..n * width],
            trunk_trace,
            out_gradient,
            trunk_gradient,
            embedded.then_some(&mut *input_gradient),
        );
        let (theta_width, x_width) = (spec.theta_width(m), spec.x_width(d));
        if let (Some(engine), Some(trace)) = (&self.theta_embedding, theta_trace) {
            let target = &mut theta_embedded[..n * theta_width];
            for (out, row) in target.chunks_exact_mut(theta_width).zip(input_gradient.chunks_exact(width)) {
                out.copy_from_slice(&row[..theta_width]);
            }
            engine.backward(&state[..n * m], trace, target, theta_gradient, None);
        }
        if let (Some(engine), Some(trace)) = (&self.x_embedding, x_trace) {
            let x_rows: usize = sizes.iter().sum();
            let mut targets = x_embedded[..x_rows * x_width].chunks_exact_mut(x_width);
            for (row, &size) in input_gradient.chunks_exact(width).zip(&*sizes) {
                let pooled = &row[theta_width..theta_width + x_width];
                for out in targets.by_ref().take(size) {
                    out.iter_mut().zip(pooled).for_each(|(out, value)| *out = value / size as f32);
                }
            }
            let target = &x_embedded[..x_rows * x_width];
            engine.backward(&features[..x_rows * d], trace, target, x_gradient, None);
        }
    }
}

/// Buffers of one worker.
#[derive(Debug)]
pub struct DenoisingWorkspace {
    state: Vec<f32>,
    target: Vec<f32>,
    features: Vec<f32>,
    sizes: Vec<usize>,
    time: Vec<f32>,
    theta_embedded: Vec<f32>,
    x_embedded: Vec<f32>,
    input: Vec<f32>,
    input_gradient: Vec<f32>,
    out: Vec<f32>,
    out_gradient: Vec<f32>,
    theta_trace: Option<Trace<f32>>,
    x_trace: Option<Trace<f32>>,
    trunk_trace: Trace<f32>,
    scratch: Scratch,
}

impl Objective for DenoisingObjective<'_> {
    type Workspace = DenoisingWorkspace;

    fn workspace(&self) -> DenoisingWorkspace {
        let (m, d, spec) = (self.data.dim_theta, self.data.dim_x, self.network.spec());
        let zeros = |width: usize| vec![0.0f32; CHUNK_ROWS * width];
        let trunk = self.trunk.spec();
        DenoisingWorkspace {
            state: zeros(m),
            target: zeros(m),
            features: Vec::with_capacity(CHUNK_ROWS * spec.n_max * d),
            sizes: Vec::with_capacity(CHUNK_ROWS),
            time: zeros(2 * spec.frequencies),
            theta_embedded: zeros(spec.theta_width(m)),
            x_embedded: zeros(spec.n_max * spec.x_width(d)),
            input: zeros(trunk.input),
            input_gradient: zeros(trunk.input),
            out: zeros(trunk.output),
            out_gradient: zeros(trunk.output),
            theta_trace: self.theta_embedding.as_ref().map(|engine| Trace::new(engine.spec(), CHUNK_ROWS)),
            x_trace: self.x_embedding.as_ref().map(|engine| Trace::new(engine.spec(), CHUNK_ROWS * spec.n_max)),
            trunk_trace: Trace::new(trunk, CHUNK_ROWS),
            scratch: Scratch::default(),
        }
    }

    fn matrices(&self) -> Vec<MatrixPlace> {
        self.network.matrices()
    }

    fn load(&mut self, parameters: &[f32]) {
        let mut rest = parameters;
        let parts = self.theta_embedding.iter_mut().chain(&mut self.x_embedding).chain([&mut self.trunk]);
        for engine in parts {
            let (own, after) = rest.split_at(engine.parameters().len());
            engine.load(own);
            rest = after;
        }
    }

    fn loss(
        &self,
        batch: &Batch<'_>,
        positions: Range<usize>,
        workspace: &mut DenoisingWorkspace,
        gradient: Option<&mut [f32]>,
    ) -> f64 {
        let n = positions.len();
        let m = self.data.dim_theta;
        self.assemble(batch, positions, workspace);
        self.embed(n, workspace);
        let width = self.trunk.spec().input;
        let DenoisingWorkspace { input, out, out_gradient, target, trunk_trace, .. } = workspace;
        self.trunk.forward_traced(&input[..n * width], trunk_trace, &mut out[..n * m]);
        // The gradient of the batch mean of the mean over coordinates.
        let scale = 2.0 / (m * batch.rows.len()) as f32;
        let mut loss = 0.0;
        for ((slope, &out), &target) in out_gradient[..n * m].iter_mut().zip(&out[..n * m]).zip(&target[..n * m]) {
            let error = out - target;
            *slope = scale * error;
            loss += f64::from(error) * f64::from(error);
        }
        if let Some(gradient) = gradient {
            self.backward(n, workspace, gradient);
        }
        loss / m as f64
    }
}
