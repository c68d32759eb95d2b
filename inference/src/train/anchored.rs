//! Training of the Gaussian-anchored score: the anchor, in closed form or a network, then the residual, if it is worth anything.
//!
//! What a network errs in is the same for all n observations, and n times as large in their score: what the rows do not ask for is left out.
//!
//! * The anchor by ridge regression, z ~ N(A x + b, S): exact where the simulator is linear with Gaussian noise, and hardly moved by columns that
//!   say nothing, to which a network fits the noise of its rows. A network is used if it validates better, beyond chance or by 0.01 nats.
//! * The residual is noise where the posterior is Gaussian. It is used if held-out rows, with noise that no epoch was chosen by, are predicted better
//!   with it than without, beyond chance, and multiplied by the factor between 0 and 1 that predicts them best: what of it is not noise.

use super::denoising::{DenoisingObjective, DenoisingWorkspace};
use super::density::{DensityObjective, Direction};
use super::noising::Noising;
use super::optimizer::OptimizerOptions;
use super::run::{Job, Run};
use super::trainer::{Batch, Objective, Plan, validate};
use crate::Result;
use crate::model::anchored::{Anchors, anchor_outputs};
use crate::model::trained::{Networks, TrainedModel};
use crate::model::{AnchoredSettings, ConditionalNetwork, MixtureLayout};
use crate::small_matrix::{cholesky, cholesky_inverse, cholesky_solve, dot};
use rayon::prelude::*;
use tallsbi_data::Purpose;
use tallsbi_network::{Activation, Engine, LastLayer, Mlp, MlpSpec};

/// Nats that a network must validate better by than a regression: so many over all held-out rows, about three standard errors, but not more than the
/// others a row.
const SIMPLER: f64 = 18.0;
const SIMPLER_ROW: f64 = 0.01;

/// Penalties of the regression, each for a row.
const PENALTIES: [f64; 4] = [1e-6, 1e-3, 1e-2, 1e-1];

/// Most columns of a regression.
const MOST_COLUMNS: usize = 1024;

/// Rows whose sums one worker adds up, and workers' sums held at a time.
const SUM_ROWS: usize = 4096;
const WAVE: usize = 32;

/// Standard errors by which a residual must predict better than none.
const WORTH: f64 = 2.0;

/// Held-out rows that decide it at most, and times that noise is drawn for each.
const JUDGES: usize = 20_000;
const DRAWS: usize = 8;

impl Run<'_> {
    /// The Gaussian anchor, then the residual.
    pub fn anchored(mut self) -> Result<TrainedModel> {
        let (data, options) = (self.data, self.options);
        let m = data.dim_theta;
        let anchor = self.anchor()?;
        let settings = AnchoredSettings::default();
        let noising =
            Noising::Anchored { settings, anchors: Anchors::evaluate(&Engine::new(&anchor), &data.features, m) };
        let mut rng = self.key.child(Purpose::Initialization).rng(1);
        let none = ConditionalNetwork::random(options.network.clone(), m, data.dim_x, LastLayer::Zero, &mut rng)?;
        let first = self.next_network();
        let trained = self.denoiser("residual", none.clone(), &noising, 0.0)?;
        let (factor, worth) = self.worth([&none, &scaled(&trained, 0.5), &trained], &noising);
        if self.monitor.cancelled() {
            return Err(self.stopped(&Vec::new));
        }
        if worth > WORTH {
            let residual = scaled(&trained, factor);
            return Ok(self.model(Networks::Anchored { anchor, residual, settings }));
        }
        self.keep(self.since(first), None);
        Ok(self.model(Networks::Anchored { anchor, residual: none, settings }))
    }

    /// The anchor: the best network, or the regression unless that is better.
    fn anchor(&mut self) -> Result<Mlp<f32>> {
        let (data, options) = (self.data, self.options);
        let m = data.dim_theta;
        let first = self.next_network();
        let regression = if options.anchor.linear { self.regression()? } else { None };
        let spec = MlpSpec {
            input: data.dim_x,
            hidden: options.anchor.hidden.clone(),
            output: anchor_outputs(m),
            activation: Activation::Silu,
            layer_norm: true,
            residual: false,
        };
        let initialization = self.key.child(Purpose::Initialization);
        let mut anchor = Mlp::random(spec, LastLayer::Zero, &mut initialization.rng(0))?;
        let job = |(variant, optimizer): (String, OptimizerOptions)| Job {
            name: format!("anchor{variant}"),
            stream: 0,
            fold: 0,
            optional: false,
            rival: None,
            optimizer,
            objective: DensityObjective::new(data, &anchor, MixtureLayout::gaussian(m), Direction::Posterior),
            initial: anchor.parameters().to_vec(),
        };
        let jobs = options.search.variants(&options.anchor.optimizer).map(job).collect();
        let networks = self.fit("anchor", jobs)?;
        let best = self.best(&networks);
        let margin = SIMPLER_ROW.min(SIMPLER / data.validation.len() as f64);
        if let Some(regression) = regression.filter(|_| self.loss(first) <= self.loss(best) + margin) {
            self.keep(self.since(first), first);
            return Ok(regression);
        }
        self.keep(self.since(first), best);
        anchor.parameters_mut().copy_from_slice(self.weights(best));
        Ok(anchor)
    }

    /// The regression of the best penalty, as a network without hidden layers, where there are rows for one.
    fn regression(&mut self) -> Result<Option<Mlp<f32>>> {
        let (data, m) = (self.data, self.data.dim_theta);
        if data.dim_x > MOST_COLUMNS || data.training.len() <= m + 1 {
            return Ok(None);
        }
        let sums = Sums::of(self);
        let split = data.fold(0);
        let options = &self.options.anchor.optimizer;
        let plan = Plan { training: &split.training, validation: &split.validation, options, key: self.key.indexed(0) };
        let mut best: Option<(f64, Mlp<f32>)> = None;
        for network in PENALTIES.iter().filter_map(|&penalty| sums.solve(penalty)) {
            let network = network?;
            let objective = DensityObjective::new(data, &network, MixtureLayout::gaussian(m), Direction::Posterior);
            let interrupted = &self.interrupted.clone();
            let loss = validate(&objective, &plan, self.monitor).map_err(|_| self.stopped(&|| interrupted.clone()))?;
            if loss.is_finite() && best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, network));
            }
        }
        let Some((loss, network)) = best else { return Ok(None) };
        self.take_fitted("anchor, linear by ridge regression", &network, split.training.len(), loss);
        Ok(Some(network))
    }

    /// By what factor the residual predicts held-out rows best, and by how many standard errors better than none.
    fn worth(&self, residuals: [&ConditionalNetwork; 3], noising: &Noising) -> (f64, f64) {
        let objectives = residuals.map(|network| DenoisingObjective::new(self.data, network, noising, 0.0));
        let rows = &self.data.validation[..self.data.validation.len().min(JUDGES)];
        let n = rows.len();
        // Each draw in another order: a row's place decides its noise level.
        let start = |draw: usize| draw * n / DRAWS;
        let batches: Vec<Vec<u32>> =
            (0..DRAWS).map(|draw| rows[start(draw)..].iter().chain(&rows[..start(draw)]).copied().collect()).collect();
        let key = self.key.indexed(1).child(Purpose::ValidationNoise);
        let losses = |workspaces: &mut [DenoisingWorkspace; 3], row: usize, draw: usize| -> [f64; 3] {
            let noise = key.indexed(1 + draw as u64);
            let batch = Batch { rows: &batches[draw], noise, level_offset: 0.0, validation: true };
            let place = (row + n - start(draw)) % n;
            std::array::from_fn(|i| objectives[i].loss(&batch, place..place + 1, &mut workspaces[i], None))
        };
        // Of |target - s prediction|²: the product of both, and the prediction's square.
        let products: Vec<[f64; 2]> = (0..n)
            .into_par_iter()
            .map_init(
                || objectives.each_ref().map(Objective::workspace),
                |workspaces, row| {
                    let mut sums = [0.0; 2];
                    for draw in (0..DRAWS).take_while(|_| !self.monitor.cancelled()) {
                        let [none, half, whole] = losses(workspaces, row, draw);
                        let square = 2.0 * ((whole - none) - 2.0 * (half - none));
                        sums = [sums[0] + 0.5 * (none - whole + square), sums[1] + square];
                    }
                    sums
                },
            )
            .collect();
        let [product, square] = [0, 1].map(|i: usize| products.iter().map(|sums| sums[i]).sum::<f64>());
        if square <= 0.0 {
            return (0.0, 0.0);
        }
        let factor = (product / square).clamp(0.0, 1.0);
        let gains: Vec<f64> =
            products.iter().map(|[product, square]| factor * (2.0 * product - factor * square)).collect();
        let mean = gains.iter().sum::<f64>() / n as f64;
        let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0).max(1.0);
        (factor, if variance > 0.0 { mean / (variance / n as f64).sqrt() } else { 0.0 })
    }
}

/// The network whose outputs are `factor` times those of `network`.
fn scaled(network: &ConditionalNetwork, factor: f64) -> ConditionalNetwork {
    let mut scaled = network.clone();
    let layers = scaled.trunk.spec().layout();
    let last = layers.last().expect("a network has a layer");
    scaled.trunk.parameters_mut()[last.weight.start..last.bias.end]
        .iter_mut()
        .for_each(|value| *value *= factor as f32);
    scaled
}

/// Sums over the observations of the training rows: of products of (x, 1) with themselves (p, p), with z (p, m), and of z with themselves (m, m).
struct Sums {
    rows: f64,
    square: Vec<f64>,
    cross: Vec<f64>,
    targets: Vec<f64>,
    m: usize,
    d: usize,
}

impl Sums {
    fn of(run: &Run<'_>) -> Self {
        let data = run.data;
        let (m, d) = (data.dim_theta, data.dim_x);
        let p = d + 1;
        let length = p * p + p * m + m * m;
        let chunk = |rows: &[u32]| {
            let mut sums = vec![0.0; length];
            let (square, rest) = sums.split_at_mut(p * p);
            let (cross, targets) = rest.split_at_mut(p * m);
            for &row in rows {
                let z: Vec<f64> = data.latent_row(row as usize).iter().map(|&z| z.into()).collect();
                for k in 0..data.n_obs {
                    let x: Vec<f64> =
                        data.feature_row(row as usize, k).iter().map(|&x| f64::from(x)).chain([1.0]).collect();
                    add_products(&x, &x, square);
                    add_products(&x, &z, cross);
                    add_products(&z, &z, targets);
                }
            }
            sums
        };
        let chunks: Vec<&[u32]> = data.training.chunks(SUM_ROWS).collect();
        let mut all = vec![0.0; length];
        for wave in chunks.chunks(WAVE) {
            let parts: Vec<Vec<f64>> = wave.par_iter().map(|rows| chunk(rows)).collect();
            parts.iter().for_each(|part| all.iter_mut().zip(part).for_each(|(sum, value)| *sum += value));
        }
        let targets = all.split_off(p * p + p * m);
        let cross = all.split_off(p * p);
        Self { rows: (data.training.len() * data.n_obs) as f64, square: all, cross, targets, m, d }
    }

    /// The network of the regression with this penalty; nothing where the rows do not determine it.
    fn solve(&self, penalty: f64) -> Option<Result<Mlp<f32>>> {
        let (m, d, p) = (self.m, self.d, self.d + 1);
        let ridge = penalty * self.rows;
        let mut factor = self.square.clone();
        (0..d).for_each(|i| factor[i * p + i] += ridge);
        if !cholesky(&mut factor, p) {
            return None;
        }
        let mut coefficients = vec![0.0; m * p];
        for (j, column) in coefficients.chunks_exact_mut(p).enumerate() {
            column.iter_mut().enumerate().for_each(|(a, value)| *value = self.cross[a * m + j]);
            cholesky_solve(&factor, column);
        }
        // Degrees of freedom: the trace of (XᵀX + λ)⁻¹ XᵀX.
        let mut inverse = vec![0.0; p * p];
        cholesky_inverse(&factor, p, &mut inverse);
        let freedom = self.rows - p as f64 + ridge * (0..d).map(|i| inverse[i * p + i]).sum::<f64>();
        if freedom < 1.0 {
            return None;
        }
        let mut covariance = vec![0.0; m * m];
        for (i, a) in coefficients.chunks_exact(p).enumerate() {
            let seen: Vec<f64> = self.square.chunks_exact(p).map(|row| dot(row, a)).collect();
            for (j, b) in coefficients.chunks_exact(p).enumerate() {
                let crossed: f64 = (0..p).map(|k| a[k] * self.cross[k * m + j] + b[k] * self.cross[k * m + i]).sum();
                covariance[i * m + j] = (self.targets[i * m + j] - crossed + dot(&seen, b)) / freedom;
            }
        }
        let mut precision = vec![0.0; m * m];
        if !cholesky(&mut covariance, m) {
            return None;
        }
        cholesky_inverse(&covariance, m, &mut precision);
        cholesky(&mut precision, m).then(|| self.network(&coefficients, &precision))
    }

    /// A network without hidden layers of these means (m, p) and this factor of the precision (m, m).
    fn network(&self, coefficients: &[f64], factor: &[f64]) -> Result<Mlp<f32>> {
        let (m, d) = (self.m, self.d);
        let spec = MlpSpec {
            input: d,
            hidden: Vec::new(),
            output: anchor_outputs(m),
            activation: Activation::Silu,
            layer_norm: false,
            residual: false,
        };
        let mut parameters = vec![0.0f32; spec.output * (d + 1)];
        let (weights, biases) = parameters.split_at_mut(spec.output * d);
        for (j, column) in coefficients.chunks_exact(d + 1).enumerate() {
            weights[j * d..(j + 1) * d].iter_mut().zip(column).for_each(|(weight, &value)| *weight = value as f32);
            biases[j] = column[d] as f32;
        }
        let triangle = (0..m).flat_map(|i| (0..=i).map(move |k| (i, k)));
        for ((i, k), bias) in triangle.zip(&mut biases[m..]) {
            let value = factor[i * m + k];
            *bias = if i == k { value.ln() } else { value } as f32;
        }
        Ok(Mlp::from_parameters(spec, parameters)?)
    }
}

/// Adds a bᵀ to `sums`.
fn add_products(a: &[f64], b: &[f64], sums: &mut [f64]) {
    for (a, row) in a.iter().zip(sums.chunks_exact_mut(b.len())) {
        row.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy_seen};
    use super::super::{AnchorOptions, Features, OptimizerOptions, TrainOptions, TrainingData, train};
    use crate::model::PreparedModel;
    use crate::model::trained::TrainedModel;
    use crate::score::ScoreModel;
    use ndarray::Array2;
    use rand_distr::{Distribution, StandardNormal};
    use tallsbi_data::{Purpose, Silent, StreamKey};

    fn options(epochs: usize) -> TrainOptions {
        let optimizer = OptimizerOptions { epochs, batch_size: 128, ..OptimizerOptions::default() };
        let anchor = AnchorOptions { hidden: vec![32, 32], linear: true, optimizer: optimizer.clone() };
        TrainOptions { anchor, optimizer, ..small() }
    }

    /// Beside what `see` gives of two parameters, columns of noise.
    fn with_noise(rows: usize, columns: usize, options: &TrainOptions, see: impl Fn(f64, f64) -> f64) -> TrainingData {
        let mut data = toy_seen(rows, 1, options, see);
        let mut rng = StreamKey::root(5).child(Purpose::Simulator).rng(0);
        let mut noise = || -> f32 { StandardNormal.sample(&mut rng) };
        let Features::Memory(features) = &data.features else { panic!("in memory") };
        let wide = features
            .chunks_exact(2)
            .flat_map(|x| x.iter().copied().chain((0..columns).map(|_| noise())).collect::<Vec<_>>());
        data.features = Features::Memory(wide.collect());
        data.dim_x += columns;
        for map in [&mut data.observation_map, &mut data.whole_map] {
            map.mean.extend(vec![0.0; columns]);
            map.sd.extend(vec![1.0; columns]);
        }
        data
    }

    fn kept(model: &TrainedModel) -> Vec<bool> {
        model.info.training.iter().map(|record| record.kept).collect()
    }

    /// x = θ + ½ noise beside 30 columns of noise: the posterior of n observations is N(Σx/(n + ¼), ¼/(n + ¼)).
    #[test]
    fn columns_of_noise_do_not_move_linear_posteriors() {
        let options = options(12);
        let data = with_noise(4000, 30, &options, |mean, noise| mean + 0.5 * noise);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        assert_eq!(kept(&model), [true, false, false]);
        let PreparedModel::Anchored(prepared) = model.prepare() else { panic!("anchored") };
        let (n, mut rng) = (30, StreamKey::root(6).child(Purpose::Simulator).rng(0));
        let x = Array2::from_shape_fn((n, 32), |(_, j)| {
            let noise: f32 = StandardNormal.sample(&mut rng);
            if j < 2 { 0.7 + 0.5 * noise } else { noise }
        });
        let context = prepared.context(&[x.view()]).unwrap();
        let (means, covariances) = (prepared.means(&context).unwrap(), prepared.covariances(&context).unwrap());
        // The product of Gaussians, and the prior N(0, 1) taken out n - 1 times; columns are next to independent.
        for j in 0..2 {
            let precisions: Vec<f64> = covariances.chunks_exact(4).map(|covariance| 1.0 / covariance[3 * j]).collect();
            let precision = precisions.iter().sum::<f64>() + 1.0 - n as f64;
            let mean =
                precisions.iter().zip(means.chunks_exact(2)).map(|(p, mean)| p * mean[j]).sum::<f64>() / precision;
            let exact = x.column(j).iter().map(|&value| f64::from(value)).sum::<f64>() / (n as f64 + 0.25);
            let sd = (0.25 / (n as f64 + 0.25)).sqrt();
            assert!((mean - exact).abs() < 0.6 * sd, "{mean}, exact {exact} ± {sd}");
            assert!((precision.powf(-0.5) / sd - 1.0).abs() < 0.1, "{}, exact {sd}", precision.powf(-0.5));
        }
    }

    /// What is not linear needs the network, and what is not Gaussian the residual too.
    #[test]
    fn networks_are_kept_where_they_are_needed() {
        let options = options(40);
        let data = with_noise(4000, 2, &options, |mean, noise| (1.5 * mean).sin() + 0.3 * noise);
        let model = train(&data, &options, StreamKey::root(0), &Silent).unwrap();
        assert_eq!(kept(&model), [false, true, true], "{:?}", model.info.training);
    }
}
