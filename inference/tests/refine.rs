//! Refinement against an exact posterior: x ~ N(A θ + b θ², S) with a Gaussian prior, whose posterior is computed by hand.

use ndarray::{Array2, ArrayView2};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{LatentMap, Prior, Silent, StreamKey, Symmetry};
use tallsbi_inference::model::{Failures, ModelInfo, Networks, ObservationMap, TrainedModel};
use tallsbi_inference::refine::{Problem, RefineOptions, Refinement, Rows, Verdict, moments, refine, sample_refined};
use tallsbi_inference::sample::SampleRequest;
use tallsbi_inference::tempering::TemperingOptions;

/// Mean of an observation: the first value bends, the second and third share noise.
fn mean(theta: &[f64]) -> [f64; 3] {
    [theta[0] + 0.3 * theta[1] + 0.05 * theta[0] * theta[0], theta[1] - 0.2 * theta[0], 0.5 * theta[0]]
}

/// Noise ε = L z of the three values.
const FACTOR: [[f64; 3]; 3] = [[0.5, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.6, 0.3]];

fn observe(theta: &[f64], key: StreamKey, row: u64) -> [f32; 3] {
    let mut rng = key.rng(row);
    let z: [f64; 3] = std::array::from_fn(|_| StandardNormal.sample(&mut rng));
    let mean = mean(theta);
    std::array::from_fn(|i| (mean[i] + (0..3).map(|j| FACTOR[i][j] * z[j]).sum::<f64>()) as f32)
}

fn simulate(
    theta: ArrayView2<'_, f64>,
    first: u64,
    key: StreamKey,
) -> tallsbi_inference::Result<(Array2<f32>, Vec<bool>)> {
    let rows: Vec<f32> =
        theta.outer_iter().enumerate().flat_map(|(i, theta)| observe(&theta.to_vec(), key, first + i as u64)).collect();
    Ok((Array2::from_shape_vec((theta.nrows(), 3), rows).unwrap(), vec![true; theta.nrows()]))
}

fn prior() -> Prior {
    Prior::uniform(&[("a", -4.0, 4.0), ("b", -4.0, 4.0)]).unwrap()
}

fn observations(n: usize) -> Array2<f32> {
    let key = StreamKey::root(77);
    Array2::from_shape_vec((n, 3), (0..n).flat_map(|i| observe(&[1.2, -0.7], key, i as u64)).collect()).unwrap()
}

/// Mean and sd of the exact posterior on a fine grid.
fn exact(x: &Array2<f32>) -> ([f64; 2], [f64; 2]) {
    let n = x.nrows() as f64;
    let average: Vec<f64> = x.columns().into_iter().map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / n).collect();
    let whitened = |theta: [f64; 2]| {
        let mean = mean(&theta);
        let mut z = [0.0; 3];
        for i in 0..3 {
            let known: f64 = (0..i).map(|j| FACTOR[i][j] * z[j]).sum();
            z[i] = (average[i] - mean[i] - known) / FACTOR[i][i];
        }
        -0.5 * n * z.iter().map(|z| z * z).sum::<f64>()
    };
    let axis = |c: f64| (-250..=250).map(move |k| c + f64::from(k) * 3.0 / (n.sqrt() * 250.0));
    let (mut sum, mut first, mut second) = (0.0, [0.0; 2], [0.0; 2]);
    for a in axis(1.2) {
        for b in axis(-0.7) {
            let weight = whitened([a, b]).exp();
            sum += weight;
            for (k, value) in [a, b].into_iter().enumerate() {
                first[k] += weight * value;
                second[k] += weight * value * value;
            }
        }
    }
    let mean = first.map(|f| f / sum);
    (mean, std::array::from_fn(|k| (second[k] / sum - mean[k] * mean[k]).sqrt()))
}

/// Knows of `moving` parameters that they only move observations: the second does.
/// Observations and nothing else known.
fn problem<'a>(latent: &'a LatentMap, symmetry: Symmetry, x: &'a Array2<f32>) -> Problem<'a> {
    let earlier = Rows::default();
    Problem { latent, symmetry, x: x.view(), log: false, moving: 0, start: None, means: false, earlier }
}

fn at(x: &Array2<f32>, moving: usize, options: &RefineOptions) -> tallsbi_inference::Result<Refinement> {
    let latent = LatentMap::prior_gaussian(&prior());
    let problem = Problem { moving, ..problem(&latent, Symmetry::none(2), x) };
    refine(problem, &simulate, options, StreamKey::root(3), &Silent)
}

fn run(x: &Array2<f32>, options: &RefineOptions) -> Refinement {
    at(x, 0, options).unwrap()
}

fn parameters(draws: &Array2<f64>) -> Vec<f64> {
    let latent = LatentMap::prior_gaussian(&prior());
    let mut theta = vec![0.0; 2];
    draws
        .outer_iter()
        .flat_map(|u| {
            latent.to_parameters(&u.to_vec(), &mut theta);
            theta.clone()
        })
        .collect()
}

#[test]
fn from_the_prior_alone_to_the_exact_posterior_of_many_observations() {
    for (n, moving) in [(10, 0), (10, 1), (400, 0), (400, 1)] {
        let x = observations(n);
        let result = at(&x, moving, &RefineOptions { samples: 2000, ..RefineOptions::default() }).unwrap();
        assert_eq!(result.model.components[0].likelihood.basis.linear(), moving);
        assert_eq!(result.verdict, Verdict::Settled, "{:#?}", result.rounds);
        let (mean, sd) = exact(&x);
        let (found, covariance) = moments(&parameters(&result.draws), 2, None);
        for k in 0..2 {
            // The tolerance of 0.1 sd a direction, and the sampler's noise of 0.02.
            let (shift, ratio) = ((found[k] - mean[k]) / sd[k], covariance[k * 3].sqrt() / sd[k]);
            assert!(shift.abs() < 0.3, "n = {n}, parameter {k}: off by {shift} sd, {:#?}", result.rounds);
            assert!((ratio - 1.0).abs() < 0.1, "n = {n}, parameter {k}: {ratio} times the sd");
        }
    }
}

#[test]
fn the_same_for_any_number_of_threads() {
    let x = observations(10);
    let options = RefineOptions { per_round: Some(400), rounds: Some(3), samples: 200, ..RefineOptions::default() };
    let with = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| run(&x, &options))
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(7));
}

#[test]
fn a_refined_model_comes_back_from_its_file_and_knows_where_it_is_valid() {
    let x = observations(50);
    let options = RefineOptions { per_round: Some(1000), rounds: Some(4), ..RefineOptions::default() };
    let result = at(&x, 1, &options).unwrap();
    let model = TrainedModel {
        networks: Networks::Refined(result.model.clone()),
        latent: LatentMap::prior_gaussian(&prior()),
        observation_map: ObservationMap::standardize(vec![0.0; 3], vec![1.0; 3]),
        info: ModelInfo::default(),
    };
    assert_eq!(TrainedModel::from_bytes(&model.to_bytes()).unwrap(), model);
    let at_edge = |x: &Array2<f32>| {
        let groups = [x.view()];
        let request = SampleRequest { groups: &groups, first_group: 0, key: StreamKey::root(1), covariances: None };
        let options = TemperingOptions::default();
        sample_refined(&result.model, &request, 300, None, &options, &Silent).unwrap().1[0].at_edge
    };
    assert!(at_edge(&x) < 0.01);
    // Observations of quite other parameters.
    assert!(at_edge(&(x + 2.0)) > 0.5);
}

#[test]
fn observations_unlike_all_simulations_are_told_as_that() {
    let options = RefineOptions { budget: Some(4000), ..RefineOptions::default() };
    let result = at(&(observations(10) * 1e6), 0, &options).unwrap();
    let reason = result.verdict.reason().unwrap();
    assert!(reason.contains("unlike what was simulated"), "{reason}");
}

/// A simulator without noise.
fn exactly(theta: ArrayView2<'_, f64>, _: u64, _: StreamKey) -> tallsbi_inference::Result<(Array2<f32>, Vec<bool>)> {
    let x: Vec<f32> = theta.outer_iter().flat_map(|theta| mean(&theta.to_vec()).map(|v| v as f32)).collect();
    Ok((Array2::from_shape_vec((theta.nrows(), 3), x).unwrap(), vec![true; theta.nrows()]))
}

#[test]
fn rounds_whose_posterior_cannot_be_sampled_do_not_end_it_and_are_told() {
    let latent = LatentMap::prior_gaussian(&prior());
    let (x, _) =
        exactly(Array2::from_shape_fn((30, 2), |(_, k)| [1.2, -0.7][k]).view(), 0, StreamKey::root(0)).unwrap();
    let (symmetry, earlier) = (Symmetry::none(2), Rows::default());
    let options = RefineOptions { budget: Some(2500), samples: 200, ..RefineOptions::default() };
    let told = |seed: u64| {
        let problem = Problem { earlier: earlier.clone(), ..problem(&latent, symmetry.clone(), &x) };
        let result = refine(problem, &exactly, &options, StreamKey::root(seed), &Silent).unwrap();
        let reason = result.verdict.reason().expect("nothing settles without noise").to_owned();
        assert!(result.simulations == 2500, "{reason}: {}", result.simulations);
        reason.contains("cannot be sampled") && result.rounds.len() < 5
    };
    // Which rounds come to nothing is chance: in most runs the last one does.
    assert!((10..14).filter(|&seed| told(seed)).count() >= 2);
}

/// θ ~ N(0, 1), x = θ + noise, and a simulation succeeds with probability Φ(-θ): that 20 observations exist tells as much as their values, N(θ; 0, 1) Φ(-θ)²⁰ Π N(x_j; θ, 1).
#[test]
fn failures_that_depend_on_the_parameters_inform() {
    use statrs::distribution::{ContinuousCDF, Normal};
    let simulate = |theta: ArrayView2<'_, f64>, first: u64, key: StreamKey| {
        let mut valid = Vec::with_capacity(theta.nrows());
        let x = Array2::from_shape_fn((theta.nrows(), 1), |(row, _)| {
            let mut rng = key.rng(first + row as u64);
            let [noise, luck]: [f64; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut rng));
            valid.push(luck + theta[[row, 0]] < 0.0);
            (theta[[row, 0]] + noise) as f32
        });
        Ok((x, valid))
    };
    let x = Array2::from_shape_fn((20, 1), |(row, _)| if row % 2 == 0 { 0.8 } else { -1.2 });
    let prior = Prior::from_json(r#"[{"name":"a","dist":"normal","loc":0,"scale":1}]"#).unwrap();
    let latent = LatentMap::prior_gaussian(&prior);
    let posterior = |failures| {
        let options = RefineOptions { budget: Some(8000), failures, ..RefineOptions::default() };
        let problem = problem(&latent, Symmetry::none(1), &x);
        let refined = refine(problem, &simulate, &options, StreamKey::root(5), &Silent).unwrap();
        assert!(refined.verdict.is_settled(), "{:?}", refined.verdict);
        let (mean, variance) = moments(refined.draws.as_slice().unwrap(), 1, None);
        (mean[0], variance[0].sqrt())
    };
    let grid: Vec<f64> = (-400..400).map(|i| 0.005 * f64::from(i)).collect();
    let log = |z: &f64| -0.5 * z * z + 20.0 * Normal::standard().cdf(-z).ln() - 10.0 * (z + 0.2).powi(2);
    let weights: Vec<f64> = grid.iter().map(|z| log(z).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mean = grid.iter().zip(&weights).map(|(z, w)| z * w).sum::<f64>() / total;
    let sd = (grid.iter().zip(&weights).map(|(z, w)| (z - mean).powi(2) * w).sum::<f64>() / total).sqrt();
    let (found, spread) = posterior(Failures::Inform);
    assert!((found - mean).abs() < 0.25 * sd && (spread / sd - 1.0).abs() < 0.1, "{found} {spread}: {mean} {sd}");
    // Given that all succeed, it is the plain posterior N(-4/21, 1/21).
    let (found, _) = posterior(Failures::Condition);
    assert!((found + 4.0 / 21.0).abs() < 0.05, "{found}");
}
