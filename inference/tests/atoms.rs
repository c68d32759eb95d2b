//! Values that many rows share exactly (zeros, a detector's end, failed rows, what one class always has): posteriors of trained likelihoods against exact ones on a grid.

#[path = "common/small.rs"]
mod small;

use ndarray::{Array2, Array3, ArrayView1, Axis};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use small::options;
use statrs::distribution::{ContinuousCDF, Normal};
use tallsbi_data::{Prior, Silent, StreamKey};
use tallsbi_inference::model::{Believed, PreparedModel, TrainedModel};
use tallsbi_inference::notes::Note;
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::{TemperingOptions, sample_tempered};
use tallsbi_inference::train::{TrainOptions, TrainingData, train};

const ROWS: usize = 6000;
const NOISE: f64 = 0.5;

fn normal_density(x: f64, mean: f64, sd: f64) -> f64 {
    -0.5 * ((x - mean) / sd).powi(2) - sd.ln()
}

fn log_cdf(z: f64) -> f64 {
    Normal::standard().cdf(z).max(f64::MIN_POSITIVE).ln()
}

/// A simulator of two parameters, N(0, 1) a priori, with its likelihood, marginal where values are missing.
struct Case {
    /// Of θ and four standard normal numbers.
    simulate: fn([f64; 2], [f64; 4]) -> Vec<f64>,
    log_likelihood: fn([f64; 2], ArrayView1<'_, f64>) -> f64,
}

/// x = θ₀ + noise on a detector that ends at 1; θ₁ moves a second column that depends on the first's noise.
const DETECTOR: Case = Case {
    simulate: |theta, z| vec![(theta[0] + NOISE * z[0]).min(1.0), theta[1] + NOISE * (0.8 * z[0] + 0.6 * z[1])],
    log_likelihood: |theta, x| {
        if x[0].is_nan() {
            return if x[1].is_nan() { 0.0 } else { normal_density(x[1], theta[1], NOISE) };
        }
        if x[0] < 1.0 {
            let first = normal_density(x[0], theta[0], NOISE);
            let mean = theta[1] + 0.8 * (x[0] - theta[0]);
            return if x[1].is_nan() { first } else { first + normal_density(x[1], mean, 0.6 * NOISE) };
        }
        if x[1].is_nan() {
            return log_cdf((theta[0] - 1.0) / NOISE);
        }
        // The first given the second.
        let mean = theta[0] + 0.8 * (x[1] - theta[1]);
        normal_density(x[1], theta[1], NOISE) + log_cdf((mean - 1.0) / (0.6 * NOISE))
    },
};

/// One column: 0 with probability Φ(θ₀), else log-normal about e^θ₁.
const ZEROS: Case = Case {
    simulate: |theta, z| vec![if z[0] < theta[0] { 0.0 } else { (theta[1] + NOISE * z[1]).exp() }],
    log_likelihood: |theta, x| match x[0] {
        x if x.is_nan() => 0.0,
        0.0 => log_cdf(theta[0]),
        x => log_cdf(-theta[0]) + normal_density(x.ln(), theta[1], NOISE),
    },
};

/// Readings about 10 000 that are all 0 in failed rows, with probability Φ(θ₀).
const FAILED: Case = Case {
    simulate: |theta, z| {
        let readings = [theta[1] + NOISE * z[1], theta[0] - theta[1] + NOISE * z[2]];
        if z[0] < theta[0] { vec![0.0; 2] } else { readings.map(|x| 1e4 + x).to_vec() }
    },
    log_likelihood: |theta, x| {
        if x[0] == 0.0 {
            return log_cdf(theta[0]);
        }
        let first = normal_density(x[0] - 1e4, theta[1], NOISE);
        log_cdf(-theta[0]) + first + normal_density(x[1] - 1e4, theta[0] - theta[1], NOISE)
    },
};

/// A class, 1 with probability Φ(θ₀), and a value that is 3.5 in class 1.
const CLASS: Case = Case {
    simulate: |theta, z| if z[0] < theta[0] { vec![1.0, 3.5] } else { vec![0.0, theta[1] + NOISE * z[1]] },
    log_likelihood: |theta, x| {
        if x[0] == 1.0 { log_cdf(theta[0]) } else { log_cdf(-theta[0]) + normal_density(x[1], theta[1], NOISE) }
    },
};

/// The same with a real number in both classes.
const CHOICE: Case = Case {
    simulate: |theta, z| {
        let class = f64::from(u8::from(z[0] < theta[0]));
        vec![class, theta[1] + class + NOISE * z[1]]
    },
    log_likelihood: |theta, x| {
        let of_class = if x[0] == 1.0 { log_cdf(theta[0]) } else { log_cdf(-theta[0]) };
        of_class + normal_density(x[1], theta[1] + x[0], NOISE)
    },
};

impl Case {
    fn draw(&self, theta: [f64; 2], rng: &mut Pcg64) -> Vec<f64> {
        (self.simulate)(theta, std::array::from_fn(|_| StandardNormal.sample(rng)))
    }

    fn data(&self, options: &TrainOptions) -> TrainingData {
        let parameter = |name: &str| format!(r#"{{"name":"{name}","dist":"normal","loc":0,"scale":1}}"#);
        let prior = Prior::from_json(&format!("[{}]", ["a", "b"].map(parameter).join(","))).unwrap();
        let mut rng = StreamKey::root(31).rng(0);
        let theta = Array2::from_shape_fn((ROWS, 2), |_| -> f64 { StandardNormal.sample(&mut rng) });
        let x: Vec<Vec<f64>> = theta.outer_iter().map(|row| self.draw([row[0], row[1]], &mut rng)).collect();
        let x = Array3::from_shape_fn((ROWS, 1, x[0].len()), |(i, _, j)| x[i][j]);
        TrainingData::prepare(theta.view(), x.view(), &prior, false, options, StreamKey::root(32)).unwrap()
    }

    /// n observations.
    fn observations(&self, theta: [f64; 2], n: usize, stream: u64) -> Array2<f64> {
        let mut rng = StreamKey::root(33).rng(stream);
        let rows: Vec<Vec<f64>> = (0..n).map(|_| self.draw(theta, &mut rng)).collect();
        // As single precision has them.
        Array2::from_shape_fn((n, rows[0].len()), |(i, j)| f64::from(rows[i][j] as f32))
    }

    /// Mean and standard deviation of both parameters.
    fn exact(&self, x: &Array2<f64>) -> [(f64, f64); 2] {
        let log = |theta: [f64; 2]| -> f64 {
            let prior: f64 = theta.iter().map(|t| -0.5 * t * t).sum();
            prior + x.outer_iter().map(|row| (self.log_likelihood)(theta, row)).sum::<f64>()
        };
        let mut moments = [(0.0, 0.75); 2];
        for _ in 0..4 {
            let points = 60;
            let at = |k: usize, i: usize| moments[k].0 + moments[k].1 * 6.0 * (2.0 * i as f64 / points as f64 - 1.0);
            let grid = (0..=points).flat_map(|i| (0..=points).map(move |j| [i, j]));
            let values: Vec<([f64; 2], f64)> =
                grid.map(|[i, j]| [at(0, i), at(1, j)]).map(|theta| (theta, log(theta))).collect();
            let largest = values.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = values.iter().map(|(_, log)| (log - largest).exp()).sum();
            let mean = |f: &dyn Fn([f64; 2]) -> f64| {
                values.iter().map(|(theta, log)| f(*theta) * (log - largest).exp()).sum::<f64>() / total
            };
            moments = [0, 1].map(|k| {
                let first = mean(&|theta| theta[k]);
                (first, mean(&|theta| (theta[k] - first).powi(2)).sqrt())
            });
        }
        moments
    }
}

fn trained(case: &Case, forms: usize) -> TrainedModel {
    let options = options(forms);
    let model = train(&case.data(&options), &options, StreamKey::root(34), &Silent).unwrap();
    let read = TrainedModel::from_bytes(&model.to_bytes()).unwrap();
    assert!(read == model);
    read
}

/// Mean and standard deviation of both parameters.
fn sampled(model: &TrainedModel, x: &Array2<f64>) -> [(f64, f64); 2] {
    let PreparedModel::Likelihood(likelihood) = model.prepare() else { panic!("a likelihood") };
    let x = model.observation_map.centre(x.view());
    let groups = [x.view()];
    let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(3), covariances: None };
    let options = TemperingOptions::default();
    let samples = match model.info.error {
        Some(error) => {
            Believed::new(&likelihood, error).sample(&likelihood, &request, 2000, &options, &Silent).unwrap()
        }
        None => sample_tempered(&likelihood, &request, 2000, &options, &Silent).unwrap().0,
    };
    let samples = samples.to_parameters(&model.latent);
    let samples = samples.index_axis(Axis(0), 0);
    [0, 1].map(|k| (samples.column(k).mean().unwrap(), samples.column(k).std(0.0)))
}

/// Root mean squares over sets: difference of means in exact standard deviations, and of the logarithms of the widths.
fn errors(model: &TrainedModel, case: &Case, sets: &[Array2<f64>]) -> (f64, f64) {
    let (mut means, mut widths) = (0.0, 0.0);
    for x in sets {
        let exact = case.exact(x);
        let found = sampled(model, x);
        for ((mean, sd), (found, spread)) in exact.into_iter().zip(found) {
            means += ((found - mean) / sd).powi(2);
            widths += (spread / sd).ln().powi(2);
        }
    }
    let count = 2.0 * sets.len() as f64;
    (f64::sqrt(means / count), f64::sqrt(widths / count))
}

const PLACES: [[f64; 2]; 4] = [[0.6, -0.4], [1.2, 0.5], [-0.5, 0.8], [0.2, -1.0]];

/// At each n, the largest errors of means and widths over four sets.
fn check(model: &TrainedModel, case: &Case, bounds: &[(usize, f64, f64)]) {
    let mut failed = Vec::new();
    for &(n, most, width) in bounds {
        let sets: Vec<Array2<f64>> = (0..4).map(|set| case.observations(PLACES[set], n, set as u64)).collect();
        let (means, widths) = errors(model, case, &sets);
        if !(means < most && widths < width) {
            failed.push((n, means, widths));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// The columns that have atoms, with their values and shares, as notes say.
fn atoms(model: &TrainedModel) -> Vec<(usize, f64, f64)> {
    let told = |note: &Note| match *note {
        Note::Atom { column, value, share } => Some((column, value, share)),
        _ => None,
    };
    assert!(!model.info.notes.iter().any(|note| matches!(note, Note::SharedValue { .. })));
    model.info.notes.iter().filter_map(told).collect()
}

/// No atoms, but the form that they share with choices, whose networks' errors were taken for several times as large as they are.
#[test]
fn a_choice_beside_a_real_number() {
    let model = trained(&CHOICE, 3);
    assert_eq!(atoms(&model), []);
    check(&model, &CHOICE, &[(30, 0.3, 0.1), (300, 0.8, 0.35)]);
}

/// Complete observations, and some of which a quarter of either column is missing.
#[test]
fn a_detector_that_ends_at_one() {
    let model = trained(&DETECTOR, 3);
    assert!(matches!(atoms(&model)[..], [(0, 1.0, share)] if (share - 0.186).abs() < 0.02));
    check(&model, &DETECTOR, &[(1, 0.15, 0.08), (30, 0.3, 0.1), (300, 0.8, 0.1)]);
    let gaps = |set: usize| {
        let x = DETECTOR.observations(PLACES[set], 30, set as u64);
        Array2::from_shape_fn(x.dim(), |(i, j)| if i % 4 == 2 * j { f64::NAN } else { x[(i, j)] })
    };
    let (means, widths) = errors(&model, &DETECTOR, &[0, 1, 2, 3].map(gaps));
    assert!(means < 0.35 && widths < 0.1, "{means} {widths}");
}

#[test]
fn zeros() {
    let model = trained(&ZEROS, 3);
    assert!(matches!(atoms(&model)[..], [(0, 0.0, share)] if (share - 0.5).abs() < 0.03));
    check(&model, &ZEROS, &[(1, 0.1, 0.08), (30, 0.3, 0.12), (300, 1.0, 0.15)]);
}

#[test]
fn failed_rows_are_all_zero() {
    let model = trained(&FAILED, 2);
    assert!(matches!(atoms(&model)[..], [(0, 0.0, _), (1, 0.0, _)]));
    // By the rows that did not fail.
    assert!((model.observation_map.sd[0] - 1.1).abs() < 0.2, "{:?}", model.observation_map);
    check(&model, &FAILED, &[(1, 0.1, 0.08), (30, 0.3, 0.14), (300, 0.6, 0.17)]);
}

#[test]
fn a_value_that_one_class_always_has() {
    let model = trained(&CLASS, 2);
    assert!(matches!(atoms(&model)[..], [(1, 3.5, share)] if (share - 0.5).abs() < 0.03));
    check(&model, &CLASS, &[(1, 0.1, 0.08), (30, 0.2, 0.08), (300, 0.4, 0.1)]);
    // Eight of class 1 are alike, and no copies.
    let x = model.observation_map.centre(Array2::from_shape_fn((8, 2), |(_, j)| [1.0, 3.5][j]).view());
    assert_eq!(model.examine(x.view()).unwrap(), []);
}
