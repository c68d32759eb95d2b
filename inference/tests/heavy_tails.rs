//! Noise with heavy tails: posteriors of trained likelihoods against exact ones on a grid.

#[path = "common/small.rs"]
mod small;

use ndarray::{Array2, Array3, Axis};
use rand_distr::{ChiSquared, Distribution, StandardNormal};
use rand_pcg::Pcg64;
use small::options;
use tallsbi_data::{Prior, Silent, StreamKey};
use tallsbi_inference::model::{Networks, PreparedModel, TrainedModel};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{TemperingOptions, sample_tempered};
use tallsbi_inference::train::{TrainOptions, TrainingData, train};

const ROWS: usize = 6000;

/// Noise with ν degrees of freedom in one column or two, the second correlated by 0.6.
#[derive(Clone, Copy)]
struct Noise {
    freedom: f64,
    columns: usize,
}

const CORRELATION: f64 = 0.6;

impl Noise {
    fn draw(&self, rng: &mut Pcg64) -> [f64; 2] {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let (a, b) = (normal(), normal());
        let squares: f64 = ChiSquared::new(self.freedom).unwrap().sample(rng);
        let scale = (self.freedom / squares).sqrt();
        [scale * a, scale * (CORRELATION * a + (1.0 - CORRELATION * CORRELATION).sqrt() * b)]
    }

    /// θ ~ N(0, 2²) for each column; x = θ + noise.
    fn data(&self, options: &TrainOptions) -> TrainingData {
        let parameter = |name: &str| format!(r#"{{"name":"{name}","dist":"normal","loc":0,"scale":2}}"#);
        let prior = Prior::from_json(&format!("[{}]", ["a", "b"].map(parameter)[..self.columns].join(","))).unwrap();
        let mut rng = StreamKey::root(21).rng(0);
        let theta = Array2::from_shape_fn((ROWS, self.columns), |_| {
            let z: f64 = StandardNormal.sample(&mut rng);
            2.0 * z
        });
        let noise = Array2::from_shape_fn((ROWS, 1), |_| self.draw(&mut rng));
        let x = Array3::from_shape_fn((ROWS, 1, self.columns), |(i, _, j)| theta[(i, j)] + noise[(i, 0)][j]);
        TrainingData::prepare(theta.view(), x.view(), &prior, false, options, StreamKey::root(22)).unwrap()
    }

    /// n observations at θ = 1.5 and -0.5.
    fn observations(&self, n: usize, stream: u64) -> Array2<f32> {
        let mut rng = StreamKey::root(23).rng(stream);
        let noise: Vec<[f64; 2]> = (0..n).map(|_| self.draw(&mut rng)).collect();
        Array2::from_shape_fn((n, self.columns), |(i, j)| ([1.5, -0.5][j] + noise[i][j]) as f32)
    }

    /// Mean and standard deviation of each parameter, on a grid; the density of what is there of a row up to a constant.
    fn exact(&self, x: &Array2<f32>) -> Vec<(f64, f64)> {
        let log = |theta: [f64; 2]| -> f64 {
            let row = |x: ndarray::ArrayView1<'_, f32>| -> f64 {
                let r: Vec<f64> = (0..self.columns).map(|j| f64::from(x[j]) - theta[j]).collect();
                let seen = r.iter().filter(|r| !r.is_nan()).count() as f64;
                let square = match r[..] {
                    [a, b] if !a.is_nan() && !b.is_nan() => {
                        (a * a - 2.0 * CORRELATION * a * b + b * b) / (1.0 - CORRELATION * CORRELATION)
                    }
                    _ => r.iter().filter(|r| !r.is_nan()).map(|r| r * r).sum(),
                };
                -0.5 * (self.freedom + seen) * (square / self.freedom).ln_1p()
            };
            let prior: f64 = theta[..self.columns].iter().map(|t| -t * t / 8.0).sum();
            prior + x.outer_iter().map(row).sum::<f64>()
        };
        let step = 0.03;
        let axis: Vec<f64> = (-120..=120).map(|i| f64::from(i) * step + 0.6).collect();
        let second = if self.columns == 2 { axis.clone() } else { vec![0.0] };
        let logs: Vec<([f64; 2], f64)> =
            axis.iter().flat_map(|&a| second.iter().map(move |&b| [a, b])).map(|theta| (theta, log(theta))).collect();
        let largest = logs.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        let moment = |j: usize, power: i32| {
            let (sum, total) = logs.iter().fold((0.0, 0.0), |(sum, total), (theta, log)| {
                let weight = (log - largest).exp();
                (sum + weight * theta[j].powi(power), total + weight)
            });
            sum / total
        };
        let moments = |j| (moment(j, 1), (moment(j, 2) - moment(j, 1).powi(2)).sqrt());
        (0..self.columns).map(moments).collect()
    }
}

fn trained(noise: Noise, forms: usize) -> TrainedModel {
    let options = options(forms);
    train(&noise.data(&options), &options, StreamKey::root(24), &Silent).unwrap()
}

/// Root mean squares over the sets of observations: difference of means in exact standard deviations, and of the logarithms of the widths.
fn errors(model: &TrainedModel, noise: Noise, sets: &[Array2<f32>]) -> (f64, f64) {
    let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
    let (mut means, mut widths, mut count) = (0.0, 0.0, 0.0);
    for x in sets {
        let groups = [x.view()];
        let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(3), covariances: None };
        let (samples, _) = sample_tempered(&likelihood, &request, 4000, &TemperingOptions::default(), &Silent).unwrap();
        let samples = samples.to_parameters(&model.latent);
        let samples = samples.index_axis(Axis(0), 0);
        for (j, (mean, sd)) in noise.exact(x).into_iter().enumerate() {
            let (found, spread) = (samples.column(j).mean().unwrap(), samples.column(j).std(0.0));
            means += ((found - mean) / sd).powi(2);
            widths += (spread / sd).ln().powi(2);
            count += 1.0;
        }
    }
    (f64::sqrt(means / count), f64::sqrt(widths / count))
}

/// 6000 rows leave the location of 10 observations' posteriors off by 0.05 of their standard deviations, that of 100 by 0.16.
fn check(model: &TrainedModel, noise: Noise, sets: &[Array2<f32>], most: f64) {
    let (means, widths) = errors(model, noise, sets);
    assert!(means < most && widths < 0.1, "{means} {widths}");
}

/// The networks that were trained, the one in use with an asterisk.
fn names(model: &TrainedModel) -> Vec<String> {
    let name = |record: &tallsbi_inference::model::TrainingRecord| {
        format!("{}{}", if record.kept { "*" } else { "" }, &record.network[12..])
    };
    model.info.training.iter().map(name).collect()
}

fn uses_tails(model: &TrainedModel) -> bool {
    matches!(&model.networks, Networks::Likelihood { layout, .. } if layout.tails)
}

#[test]
fn cauchy_noise() {
    let noise = Noise { freedom: 1.0, columns: 1 };
    let model = trained(noise, 2);
    assert!(uses_tails(&model), "{:?}", names(&model));
    // Beside the largest of 6000 values, thousands of scales away, all others would be alike.
    assert!((1.0..4.0).contains(&model.observation_map.sd[0]), "{}", model.observation_map.sd[0]);
    for n in [10, 30] {
        let sets: Vec<Array2<f32>> = (0..8).map(|set| noise.observations(n, set)).collect();
        check(&model, noise, &sets, 0.15);
    }
    let read = TrainedModel::from_bytes(&model.to_bytes()).unwrap();
    assert!(read == model);
}

#[test]
fn student_noise_of_three_degrees_of_freedom() {
    let noise = Noise { freedom: 3.0, columns: 1 };
    let model = trained(noise, 3);
    assert!(uses_tails(&model), "{:?}", names(&model));
    let sets: Vec<Array2<f32>> = (0..8).map(|set| noise.observations(100, set)).collect();
    check(&model, noise, &sets, 0.25);
}

/// Complete observations, and the same with values missing in turn.
#[test]
fn correlated_noise_of_two_degrees_of_freedom() {
    let noise = Noise { freedom: 2.0, columns: 2 };
    let model = trained(noise, 2);
    assert!(uses_tails(&model), "{:?}", names(&model));
    let complete: Vec<Array2<f32>> = (0..6).map(|set| noise.observations(20, set)).collect();
    check(&model, noise, &complete, 0.2);
    let gaps =
        |x: &Array2<f32>| Array2::from_shape_fn(x.dim(), |(i, j)| if i % 4 == 2 * j { f32::NAN } else { x[(i, j)] });
    check(&model, noise, &complete.iter().map(gaps).collect::<Vec<_>>(), 0.2);
}
