//! Refinement where real numbers depend on a choice beside them, against the exact posterior on a grid.

use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{LatentMap, Prior, Silent, StreamKey, Symmetry};
use tallsbi_inference::model::{ModelInfo, Networks, ObservationMap, TrainedModel};
use tallsbi_inference::refine::{Problem, RefineOptions, Rows, moments, refine, sample_refined};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::TemperingOptions;

/// log P(c = 1)/P(c = 0), and mean and sd of y given c.
fn law(theta: [f64; 2], c: bool) -> (f64, f64, f64) {
    let [a, b] = theta;
    let (mean, sd) = if c { (0.3 + 0.8 * b - 0.5 * a, 1.0) } else { (0.2 * b, 0.4) };
    (0.7 * a, mean, sd)
}

fn observe(theta: [f64; 2], key: StreamKey, row: u64) -> [f32; 2] {
    let mut rng = key.rng(row);
    let c = rng.random::<f64>() < 1.0 / (1.0 + (-law(theta, false).0).exp());
    let (_, mean, sd) = law(theta, c);
    let z: f64 = StandardNormal.sample(&mut rng);
    [f32::from(u8::from(c)), (mean + sd * z) as f32]
}

fn simulate(
    theta: ArrayView2<'_, f64>,
    first: u64,
    key: StreamKey,
) -> tallsbi_inference::Result<(Array2<f32>, Vec<bool>)> {
    let row = |(i, theta): (usize, ndarray::ArrayView1<'_, f64>)| observe([theta[0], theta[1]], key, first + i as u64);
    let rows: Vec<f32> = theta.outer_iter().enumerate().flat_map(row).collect();
    Ok((Array2::from_shape_vec((theta.nrows(), 2), rows).unwrap(), vec![true; theta.nrows()]))
}

/// Mean and sd under the prior N(0, I).
fn exact(x: &Array2<f32>) -> ([f64; 2], [f64; 2]) {
    let axis = || (-300..=300).map(|k| 0.01 * f64::from(k));
    let log = |theta: [f64; 2]| {
        let one = |row: ndarray::ArrayView1<'_, f32>| {
            let c = row[0] == 1.0;
            let (odds, mean, sd) = law(theta, c);
            let signed = if c { odds } else { -odds };
            -(-signed).exp().ln_1p() - sd.ln() - 0.5 * ((f64::from(row[1]) - mean) / sd).powi(2)
        };
        x.outer_iter().map(one).sum::<f64>() - 0.5 * (theta[0] * theta[0] + theta[1] * theta[1])
    };
    let points: Vec<([f64; 2], f64)> = axis().flat_map(|a| axis().map(move |b| [a, b])).map(|t| (t, log(t))).collect();
    let highest = points.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut first, mut second) = (0.0, [0.0; 2], [0.0; 2]);
    for (theta, log) in points {
        let weight = (log - highest).exp();
        sum += weight;
        for k in 0..2 {
            first[k] += weight * theta[k];
            second[k] += weight * theta[k] * theta[k];
        }
    }
    let mean = first.map(|f| f / sum);
    (mean, std::array::from_fn(|k| (second[k] / sum - mean[k] * mean[k]).sqrt()))
}

#[test]
fn laws_that_depend_on_a_choice_are_learned_for_each_and_come_back_from_files() {
    let x: Vec<f32> = (0..150).flat_map(|i| observe([0.6, -0.8], StreamKey::root(9), i)).collect();
    let x = Array2::from_shape_vec((150, 2), x).unwrap();
    let prior = r#"[{"name":"a","dist":"normal","loc":0,"scale":1},{"name":"b","dist":"normal","loc":0,"scale":1}]"#;
    let latent = LatentMap::prior_gaussian(&Prior::from_json(prior).unwrap());
    let problem = Problem {
        latent: &latent,
        symmetry: Symmetry::none(2),
        x: x.view(),
        log: false,
        moving: 0,
        start: None,
        means: false,
        earlier: Rows::default(),
    };
    let options = RefineOptions { samples: 2000, budget: Some(60_000), ..RefineOptions::default() };
    let refined = refine(problem, &simulate, &options, StreamKey::root(5), &Silent).unwrap();
    assert!(refined.verdict.is_settled(), "{:?}", refined.verdict);
    let by_category = refined.model.components[0].likelihood.by_category.as_ref().expect("a law for each choice");
    assert_eq!((by_category.column, by_category.parts.len()), (0, 2));
    let (mean, sd) = exact(&x);
    let (found, covariance) = moments(refined.draws.as_slice().unwrap(), 2, None);
    for k in 0..2 {
        let (shift, ratio) = ((found[k] - mean[k]) / sd[k], covariance[k * 3].sqrt() / sd[k]);
        assert!(shift.abs() < 0.25, "parameter {k}: off by {shift} sd");
        assert!((ratio - 1.0).abs() < 0.1, "parameter {k}: {ratio} times the sd");
    }

    let model = TrainedModel {
        networks: Networks::Refined(refined.model.clone()),
        latent,
        observation_map: ObservationMap::standardize(vec![0.0; 2], vec![1.0; 2]),
        info: ModelInfo::default(),
    };
    assert_eq!(TrainedModel::from_bytes(&model.to_bytes()).unwrap(), model);
    let sample = |x: ArrayView2<'_, f32>| {
        let groups = [x];
        let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(1), covariances: None };
        sample_refined(&refined.model, &request, 100, None, &TemperingOptions::default(), &Silent)
    };
    assert!(sample(x.view()).is_ok());
    let mut unknown = x;
    unknown[[3, 0]] = 2.0;
    let error = sample(unknown.view()).unwrap_err().to_string();
    assert!(error.contains("observation 3, column 0: 2, a category"), "{error}");
}
