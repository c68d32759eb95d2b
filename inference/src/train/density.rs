//! Training objective of conditional densities: negative log-likelihood of a Gaussian mixture.

use super::data::TrainingData;
use super::trainer::{Batch, CHUNK_ROWS, Objective};
use crate::model::cells::{Cells, Interval};
use crate::model::density::{MixtureLayout, MixtureScratch};
use crate::model::mixed::Categories;
use crate::model::shared::Sample;
use rand::RngExt;
use statrs::distribution::{ContinuousCDF, Normal};
use std::ops::Range;
use tallsbi_data::{SignedPermutation, StreamKey, Symmetry};
use tallsbi_network::{Engine, ForwardWorkspace, MatrixPlace, Mlp, Trace};

/// What is conditioned on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// θ given x: the Gaussian anchor.
    Posterior,
    /// x given θ: the likelihood.
    Likelihood,
}

/// Which point of its orbit a network sees in place of θ.
#[derive(Debug, Clone)]
pub enum Input {
    /// θ itself.
    Plain,
    /// Its image.
    Image(SignedPermutation),
    /// The representative of its orbit.
    Canonical(Symmetry),
}

/// NLL of a mixture density network, up to the constant d/2 log 2π.
#[derive(Debug)]
pub struct DensityObjective<'a> {
    data: &'a TrainingData,
    engine: Engine<f32>,
    layout: MixtureLayout,
    cells: Option<Cells>,
    categories: Option<Categories>,
    direction: Direction,
    input: Input,
}

impl<'a> DensityObjective<'a> {
    /// For `network`, whose outputs are those of `layout`.
    pub fn new(data: &'a TrainingData, network: &Mlp<f32>, layout: MixtureLayout, direction: Direction) -> Self {
        let cells = if layout.cells { Cells::new(&data.observation_map) } else { None };
        let categories = layout.mixed.and_then(|_| Categories::new(&data.observation_map));
        Self { data, engine: Engine::for_training(network), layout, cells, categories, direction, input: Input::Plain }
    }

    /// The same with another input (of a likelihood).
    #[must_use]
    pub fn with_input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// Calls `visit` with each row and its score, the gradient of the log-densities of all its observations with respect to the outputs.
    pub fn scores(&self, rows: &[u32], noise: StreamKey, mut visit: impl FnMut(u32, &[f64])) {
        let mut workspace = self.workspace();
        let data = self.data;
        let outputs = self.engine.spec().output;
        let mut sums = vec![0.0; rows.len() * outputs];
        let observations = if self.layout.shared { 1 } else { data.n_obs };
        for observation in 0..observations {
            for (chunk, sums) in rows.chunks(CHUNK_ROWS).zip(sums.chunks_mut(CHUNK_ROWS * outputs)) {
                self.assemble_chosen(
                    chunk
                        .iter()
                        .map(|&row| (row, observation, noise, u64::from(row) * data.n_obs as u64 + observation as u64)),
                    &mut workspace,
                );
                let DensityWorkspace { input, target, out, mixture, intervals, forward, .. } = &mut workspace;
                let out = &mut out[..chunk.len() * outputs];
                self.engine.forward(&input[..chunk.len() * self.engine.spec().input], forward, out);
                let weight = if self.layout.shared { data.n_obs as f64 } else { 1.0 };
                let parts =
                    out.chunks_exact(outputs).zip(target.chunks_exact(self.width())).zip(sums.chunks_mut(outputs));
                for ((out, target), sum) in parts {
                    self.layout.expand(out, mixture);
                    self.accumulate(target, weight, (mixture, intervals), Some(sum));
                }
            }
        }
        rows.iter().zip(sums.chunks_exact(outputs)).for_each(|(&row, sum)| visit(row, sum));
    }

    /// Calls `visit` with the residual of the first observation of each row from the density's mean and with the standard deviations, (d) each.
    pub fn residuals(&self, rows: &[u32], noise: StreamKey, mut visit: impl FnMut(&[f64], &[f64])) {
        let (d, layout) = (self.layout.dim, self.layout);
        self.expanded(rows, noise, |target, mixture| {
            let (mut mean, mut square) = (vec![0.0; d], vec![0.0; d]);
            for c in 0..layout.components {
                let weight = layout.log_weight(mixture, c).exp();
                let component = &mixture.components[c];
                let variances = layout.variances(&layout.factor_of_one(component));
                for j in 0..d {
                    mean[j] += weight * component.mean[j];
                    square[j] += weight * (component.mean[j].powi(2) + variances[j]);
                }
            }
            let sd: Vec<f64> = square.iter().zip(&mean).map(|(s, m)| (s - m * m).max(1e-30).sqrt()).collect();
            let residual: Vec<f64> = target.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
            visit(&residual, &sd);
        });
    }

    /// Calls `visit` with the normal scores Φ⁻¹(F(x_j|θ)) of the first observation of each row, (d), F the distribution function of its column under a
    /// mixture of Gaussians: standard normal, if that is the law.
    pub fn normal_scores(&self, rows: &[u32], noise: StreamKey, mut visit: impl FnMut(&[f64])) {
        let (d, layout, normal) = (self.layout.dim, self.layout, Normal::standard());
        self.expanded(rows, noise, |target, mixture| {
            let mut tails = vec![[0.0; 2]; d];
            let mut scores = vec![0.0; d];
            for (c, component) in mixture.components.iter().enumerate() {
                let weight = layout.log_weight(mixture, c).exp();
                for (j, variance) in layout.variances(&layout.factor_of_one(component)).into_iter().enumerate() {
                    scores[j] = (target[j] - component.mean[j]) / variance.sqrt();
                    tails[j][0] += weight * normal.cdf(scores[j]);
                    tails[j][1] += weight * normal.sf(scores[j]);
                }
            }
            if layout.components > 1 {
                // By the smaller tail, which has all digits.
                for (score, [below, above]) in scores.iter_mut().zip(tails) {
                    let least = below.min(above).max(f64::MIN_POSITIVE);
                    *score = normal.inverse_cdf(least) * if below < above { 1.0 } else { -1.0 };
                }
            }
            visit(&scores);
        });
    }

    /// The outputs at rows, and what they are to predict.
    pub fn outputs(&self, rows: &[u32], noise: StreamKey) -> (Vec<Vec<f32>>, Vec<Vec<f64>>) {
        let mut workspace = self.workspace();
        let width = self.engine.spec().output;
        let (mut outputs, mut targets) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for chunk in rows.chunks(CHUNK_ROWS) {
            self.assemble_chosen(chunk.iter().map(|&row| (row, 0, noise, u64::from(row))), &mut workspace);
            let DensityWorkspace { input, target, out, forward, .. } = &mut workspace;
            let out = &mut out[..chunk.len() * width];
            self.engine.forward(&input[..chunk.len() * self.engine.spec().input], forward, out);
            outputs.extend(out.chunks_exact(width).map(<[f32]>::to_vec));
            targets.extend(target.chunks_exact(self.width()).take(chunk.len()).map(<[f64]>::to_vec));
        }
        (outputs, targets)
    }

    /// Calls `visit` with the first observation of each row and the density's numbers.
    fn expanded(&self, rows: &[u32], noise: StreamKey, mut visit: impl FnMut(&[f64], &MixtureScratch)) {
        let mut workspace = self.workspace();
        let (outputs, d) = (self.engine.spec().output, self.layout.dim);
        for chunk in rows.chunks(CHUNK_ROWS) {
            self.assemble_chosen(chunk.iter().map(|&row| (row, 0, noise, u64::from(row))), &mut workspace);
            let DensityWorkspace { input, target, out, mixture, forward, .. } = &mut workspace;
            let out = &mut out[..chunk.len() * outputs];
            self.engine.forward(&input[..chunk.len() * self.engine.spec().input], forward, out);
            for (out, target) in out.chunks_exact(outputs).zip(target.chunks_exact(self.width())) {
                self.layout.expand(out, mixture);
                visit(&target[..d], mixture);
            }
        }
    }

    /// Numbers of a target: those of an observation, of all that share an error, or the parameters.
    fn width(&self) -> usize {
        match self.direction {
            Direction::Posterior => self.layout.dim,
            Direction::Likelihood if self.layout.shared => self.data.n_obs * self.data.dim_x,
            Direction::Likelihood => self.data.dim_x,
        }
    }

    /// log p of a target under the expanded row, of several observations their mean; adds `weight` times its gradient.
    fn accumulate(
        &self,
        target: &[f64],
        weight: f64,
        (mixture, intervals): (&mut MixtureScratch, &mut Vec<Interval>),
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        if let Some(categories) = &self.categories {
            let (block, real) = (categories.possible(&self.layout, target), categories.real_values(target));
            return self.layout.accumulate_mixed(block, &real, weight, mixture, gradient) + categories.constant();
        }
        if self.layout.shared {
            let share = 1.0 / self.data.n_obs as f64;
            let sample = Sample::new(target, self.layout.dim);
            return share * self.layout.accumulate_shared(&sample, share * weight, mixture, gradient);
        }
        match &self.cells {
            None => self.layout.accumulate(target, weight, mixture, gradient),
            Some(cells) => {
                intervals.clear();
                intervals.extend(target.iter().enumerate().map(|(i, &value)| cells.interval(i, value)));
                self.layout.accumulate_intervals(intervals, weight, mixture, gradient) + cells.constant()
            }
        }
    }

    /// Fills the inputs; returns the targets through `target`, row by row.
    fn assemble(&self, batch: &Batch<'_>, positions: Range<usize>, workspace: &mut DensityWorkspace) {
        let data = self.data;
        // Which of a parameter's K observations: drawn anew each step, the first ones in turn for validation.
        let chosen = batch.rows[positions.clone()].iter().enumerate().map(|(position, &row)| {
            let index = (positions.start + position) as u64;
            let choice = if batch.validation { index } else { batch.noise.seed(index) };
            (row, (choice % data.n_obs as u64) as usize, batch.noise, index)
        });
        self.assemble_chosen(chosen, workspace);
    }

    /// The same for rows and their observations, with the streams that spread counts.
    fn assemble_chosen(
        &self,
        chosen: impl Iterator<Item = (u32, usize, StreamKey, u64)>,
        workspace: &mut DensityWorkspace,
    ) {
        let data = self.data;
        let inputs = workspace.input.chunks_exact_mut(self.engine.spec().input);
        let targets = workspace.target.chunks_exact_mut(self.width());
        for (((row, observation, noise, index), input), target) in chosen.zip(inputs).zip(targets) {
            let features = match self.layout.shared {
                true => data.feature_rows(row as usize),
                false => data.feature_row(row as usize, observation),
            };
            let latent = data.latent_row(row as usize);
            let (given, wanted) = match self.direction {
                Direction::Posterior => (features, latent),
                Direction::Likelihood => (latent, features),
            };
            match &self.input {
                Input::Plain => input.copy_from_slice(given),
                Input::Image(map) => map.apply(given, input),
                Input::Canonical(symmetry) => input.copy_from_slice(&symmetry.canonical(given).1),
            }
            target.iter_mut().zip(wanted).for_each(|(target, &value)| *target = f64::from(value));
            if self.direction == Direction::Likelihood && !self.layout.shared {
                let mut rng = noise.rng(index);
                let whole = |column| {
                    self.cells.as_ref().is_some_and(|cells| cells.has(column))
                        || self.categories.as_ref().is_some_and(|categories| categories.has(column))
                };
                data.observation_map.dequantize(target, whole, || rng.random());
            }
        }
    }
}

/// Buffers of one worker.
#[derive(Debug)]
pub struct DensityWorkspace {
    input: Vec<f32>,
    target: Vec<f64>,
    out: Vec<f32>,
    out_gradient: Vec<f32>,
    slope: Vec<f64>,
    mixture: MixtureScratch,
    intervals: Vec<Interval>,
    trace: Trace<f32>,
    forward: ForwardWorkspace<f32>,
}

impl Objective for DensityObjective<'_> {
    type Workspace = DensityWorkspace;

    fn workspace(&self) -> DensityWorkspace {
        let spec = self.engine.spec();
        DensityWorkspace {
            input: vec![0.0; CHUNK_ROWS * spec.input],
            target: vec![0.0; CHUNK_ROWS * self.width()],
            out: vec![0.0; CHUNK_ROWS * spec.output],
            out_gradient: vec![0.0; CHUNK_ROWS * spec.output],
            slope: vec![0.0; spec.output],
            mixture: MixtureScratch::default(),
            intervals: Vec::new(),
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
        workspace: &mut DensityWorkspace,
        gradient: Option<&mut [f32]>,
    ) -> f64 {
        let n = positions.len();
        self.assemble(batch, positions, workspace);
        let spec = self.engine.spec();
        let DensityWorkspace { input, target, out, out_gradient, slope, mixture, intervals, trace, forward } =
            workspace;
        let (input, out) = (&input[..n * spec.input], &mut out[..n * spec.output]);
        if gradient.is_some() {
            self.engine.forward_traced(input, trace, out);
        } else {
            self.engine.forward(input, forward, out);
        }
        let scale = 1.0 / batch.rows.len() as f64;
        let mut loss = 0.0;
        let rows = out.chunks_exact(spec.output).zip(target.chunks_exact(self.width()));
        for ((outputs, target), out_gradient) in rows.zip(out_gradient.chunks_exact_mut(spec.output)) {
            self.layout.expand(outputs, mixture);
            slope.fill(0.0);
            let wanted = gradient.is_some().then_some(slope.as_mut_slice());
            loss -= self.accumulate(target, -scale, (mixture, intervals), wanted);
            if gradient.is_some() {
                out_gradient.iter_mut().zip(&*slope).for_each(|(out, &value)| *out = value as f32);
            }
        }
        if let Some(gradient) = gradient {
            self.engine.backward(input, trace, &out_gradient[..n * spec.output], gradient, None);
        }
        loss
    }
}
