//! On Gaussian problems everything is known: exact scores must give the exact tall posterior, whatever the composition (but F-NPSE),
//! sampler and number of observations.

use ndarray::{Array2, ArrayView2};
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Component, Prior, Purpose, Silent, StreamKey};
use tallsbi_inference::analytic::{GaussianToy, MixtureModel, Perturbation, PerturbationScale, Perturbed};
use tallsbi_inference::prior_score::{DiffusedPrior, Level, PriorOptions, PriorScore};
use tallsbi_inference::sample::{
    FactorizedOptions, GaussianOptions, Method, SampleOptions, SampleRequest, Samples, sample_posteriors,
};
use tallsbi_inference::sampler::{
    Ddim, DpmSolver, EdmHeun, Geffner, Langevin, Predictor, PredictorCorrector, ProbabilityFlow, ReverseSde,
    SamplerOptions, TamedLangevin,
};
use tallsbi_inference::schedule::LinearSchedule;
use tallsbi_inference::score::covariance::{MomentOptions, Moments, sample_moments};
use tallsbi_inference::score::{
    Bridge, CompositionOptions, FactorizedScore, GaussInformation, GaussOptions, GaussRule, JacOptions, JacRule,
    MiniBatch, MomentCache, Pair, PosteriorScore, PriorTerm, ScoreModel, TallScore,
};
use tallsbi_inference::small_matrix::identity;

fn observations(n: usize, m: usize, seed: u64) -> Array2<f32> {
    let mut rng = StreamKey::root(seed).child(Purpose::Observation).rng(0);
    Array2::from_shape_fn((n, m), |(_, i)| {
        let z: f64 = StandardNormal.sample(&mut rng);
        (0.3 + 0.1 * i as f64 + z) as f32
    })
}

/// A toy with nothing special about it.
fn toy(m: usize) -> GaussianToy {
    let mut toy = GaussianToy::paper(m);
    for i in 0..m {
        toy.prior_mean[i] = 0.2 * i as f64 - 0.3;
        toy.prior_covariance[i * m + i] = 0.8 + 0.1 * i as f64;
    }
    if m > 1 {
        toy.prior_covariance[1] = 0.3;
        toy.prior_covariance[m] = 0.3;
    }
    toy
}

/// The exact score of the diffused tall posterior: -(αΣ + vI)⁻¹ (θ - √α μ).
fn exact_score(toy: &GaussianToy, x: ArrayView2<'_, f32>, theta: &[f64], t: f64) -> Vec<f64> {
    let (mean, covariance) = toy.posterior(x);
    let component = Component::MultivariateNormal {
        names: (0..toy.dim()).map(|i| format!("t{i}")).collect(),
        loc: mean,
        covariance: covariance.chunks_exact(toy.dim()).map(<[f64]>::to_vec).collect(),
    };
    // A Gaussian is a Gaussian: the diffused prior's formula serves (tested against goldens elsewhere).
    let gaussian = DiffusedPrior::new(&Prior::new(vec![component]).unwrap(), PriorOptions::default()).unwrap();
    let mut out = vec![0.0; theta.len()];
    let level = Level::new(&LinearSchedule::default(), t);
    for (theta, out) in theta.chunks_exact(toy.dim()).zip(out.chunks_exact_mut(toy.dim())) {
        gaussian.evaluate(theta, level, out, None);
    }
    out
}

fn points(m: usize, count: usize) -> Vec<f64> {
    let mut rng = StreamKey::root(3).child(Purpose::SamplerStart).rng(0);
    (0..m * count).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().fold(0f64, |worst, value| worst.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
}

#[test]
fn gauss_and_jac_are_exact_for_exact_gaussian_scores() {
    for m in [2, 10] {
        let toy = toy(m);
        let model = toy.model(LinearSchedule::default(), true).unwrap();
        let prior = DiffusedPrior::new(&toy.prior().unwrap(), PriorOptions::default()).unwrap();
        for n in [0, 1, 10, 1000] {
            let x = observations(n, m, 1);
            let context = model.context(&[x.view()]).unwrap();
            let moments = Moments { covariances: model.covariances(&context).unwrap(), means: model.means(&context) };
            let options = GaussOptions::default();
            let information = GaussInformation::new(&context, &moments, &prior, None, &options).unwrap();
            assert_eq!(information.clamped, 0);
            let theta = points(m, 7);
            for t in [1e-4, 0.01, 0.1, 0.3, 1.0] {
                let exact = exact_score(&toy, x.view(), &theta, t);
                let term = || PriorTerm::Analytic(&prior);
                let gauss = GaussRule::new(&information, &options.composition);
                let mut gauss =
                    TallScore::new(&model, &context, term(), gauss, options.composition, vec![0; 7], vec![]);
                let jac = JacRule::new(m, &JacOptions::default());
                let mut jac = TallScore::new(&model, &context, term(), jac, options.composition, vec![0; 7], vec![]);
                let scores: [(&str, &mut dyn PosteriorScore); 2] = [("gauss", &mut gauss), ("jac", &mut jac)];
                for (name, score) in scores {
                    let mut out = vec![0.0; theta.len()];
                    score.score(&theta, t, &mut out).unwrap();
                    let worst = difference(&out, &exact);
                    assert!(worst < 1e-8, "{name} m {m} n {n} t {t}: {worst:e}");
                    assert_eq!(score.counters().repaired, 0);
                    if n == 1 {
                        let mut work = model.workspace(7);
                        model.begin(&theta, t, &mut work);
                        let pairs: Vec<Pair> = (0..7).map(|particle| Pair { particle, factor: 0 }).collect();
                        let mut single = vec![0.0; theta.len()];
                        model.scores(&context, &pairs, &mut work, &mut single);
                        assert_eq!(out, single, "{name}: n = 1 is the model itself");
                    }
                }
            }
        }
    }
}

#[test]
fn mini_batches_with_control_variates_are_exact_for_gaussians() {
    let m = 3;
    let toy = toy(m);
    let model = toy.model(LinearSchedule::default(), true).unwrap();
    let prior = DiffusedPrior::new(&toy.prior().unwrap(), PriorOptions::default()).unwrap();
    let x = observations(500, m, 4);
    let context = model.context(&[x.view()]).unwrap();
    let moments = Moments { covariances: model.covariances(&context).unwrap(), means: model.means(&context) };
    let theta = points(m, 5);
    let run = |control_variate: bool, damping: f64, t: f64| {
        let mini_batch = Some(MiniBatch { size: 10, damping, control_variate });
        let composition = CompositionOptions { mini_batch, ..CompositionOptions::default() };
        let options = GaussOptions { composition, ..GaussOptions::default() };
        let information = GaussInformation::new(&context, &moments, &prior, None, &options).unwrap();
        let rule = GaussRule::new(&information, &composition);
        let subsets = (0..5).map(|i| StreamKey::root(5).rng(i)).collect();
        let mut score =
            TallScore::new(&model, &context, PriorTerm::Analytic(&prior), rule, composition, vec![0; 5], subsets);
        let mut mean = vec![0.0; theta.len()];
        for _ in 0..400 {
            let mut out = vec![0.0; theta.len()];
            score.score(&theta, t, &mut out).unwrap();
            mean.iter_mut().zip(&out).for_each(|(mean, value)| *mean += value / 400.0);
        }
        assert_eq!(score.counters().pairs, 400 * 5 * 10);
        mean
    };
    for t in [0.02, 0.2] {
        let exact = exact_score(&toy, x.view(), &theta, t);
        assert!(difference(&run(true, 1.0, t), &exact) < 1e-8);
        // Without control variates only the mean is right, and not exactly.
        let plain = difference(&run(false, 1.0, t), &exact);
        assert!(plain > 1e-6 && plain < 0.05, "{plain}");
        let damped: Vec<f64> = exact.iter().map(|value| value * 0.1f64.powf(t)).collect();
        assert!(difference(&run(true, 0.1, t), &damped) < 1e-8);
    }
}

#[test]
fn order_of_observations_does_not_matter_and_fnpse_is_the_biased_one() {
    let m = 2;
    let toy = toy(m);
    let model = toy.model(LinearSchedule::default(), true).unwrap();
    let prior = DiffusedPrior::new(&toy.prior().unwrap(), PriorOptions::default()).unwrap();
    let x = observations(600, m, 6);
    let mut reversed = x.clone();
    reversed.invert_axis(ndarray::Axis(0));
    let theta = points(m, 4);
    let score = |x: &Array2<f32>, t: f64| {
        let context = model.context(&[x.view()]).unwrap();
        let moments = Moments { covariances: model.covariances(&context).unwrap(), means: model.means(&context) };
        let options = GaussOptions::default();
        let information = GaussInformation::new(&context, &moments, &prior, None, &options).unwrap();
        let rule = GaussRule::new(&information, &options.composition);
        let term = || PriorTerm::Analytic(&prior);
        let mut gauss = TallScore::new(&model, &context, term(), rule, options.composition, vec![0; 4], vec![]);
        let mut out = [vec![0.0; 8], vec![0.0; 8], vec![0.0; 8]];
        gauss.score(&theta, t, &mut out[0]).unwrap();
        for (bridge, out) in [Bridge::Diffused, Bridge::Clean].into_iter().zip(&mut out[1..]) {
            let mut score = FactorizedScore::new(&model, &context, term(), bridge, None, vec![0; 4], vec![]);
            score.score(&theta, t, out).unwrap();
        }
        out
    };
    for t in [1e-4, 0.2] {
        let (forward, backward) = (score(&x, t), score(&reversed, t));
        for (a, b) in forward.iter().zip(&backward) {
            assert!(difference(a, b) < 1e-9);
        }
        let exact = exact_score(&toy, x.view(), &theta, t);
        // v n ≪ 1: all agree. Else F-NPSE's sum is far too strong.
        let bias = difference(&forward[1], &exact);
        if t < 1e-3 { assert!(bias < 1e-3, "{bias}") } else { assert!(bias > 1.0, "{bias}") }
    }
}

fn request(groups: &[ArrayView2<'_, f32>], toy: &GaussianToy, known: bool, options: &SampleOptions) -> Samples {
    let model = toy.model(LinearSchedule::default(), known).unwrap();
    let request = SampleRequest { groups, first_group: 0, key: StreamKey::root(11), covariances: None };
    sample_posteriors(&model, &toy.prior().unwrap(), &request, options, &Silent).unwrap()
}

/// Largest deviation of mean (in exact standard deviations) and of standard deviation (relative).
fn moment_errors(samples: &Samples, group: usize, exact: &(Vec<f64>, Vec<f64>)) -> (f64, f64) {
    let m = exact.0.len();
    let latent = samples.latent.index_axis(ndarray::Axis(0), group);
    let rows: Vec<Vec<f64>> = latent.outer_iter().map(|row| row.to_vec()).collect();
    let (mean, covariance) = sample_moments(rows.iter().map(Vec::as_slice), m).unwrap();
    let mut worst = (0f64, 0f64);
    for i in 0..m {
        let sd = exact.1[i * m + i].sqrt();
        worst.0 = worst.0.max((mean[i] - exact.0[i]).abs() / sd);
        worst.1 = worst.1.max((covariance[i * m + i].sqrt() / sd - 1.0).abs());
    }
    worst
}

#[test]
fn the_driver_samples_exact_tall_posteriors_of_many_groups() {
    let toy = toy(3);
    let data: Vec<Array2<f32>> = [1, 10, 1000].iter().map(|&n| observations(n, 3, n as u64)).collect();
    let views: Vec<_> = data.iter().map(|x| x.view()).collect();
    for (known, method, tolerance) in [
        (true, Method::Gauss(GaussOptions::default()), 0.08),
        (true, Method::Jac(JacOptions::default()), 0.08),
        // Covariances from 1000 samples each err by some percent, and ten of them add up.
        (false, Method::Gauss(GaussOptions::default()), 0.3),
        (true, Method::Gaussian(GaussianOptions::default()), 0.08),
        (false, Method::Gaussian(GaussianOptions::default()), 0.3),
    ] {
        let data = if known { &views[..] } else { &views[..2] };
        let options = SampleOptions { samples: 2000, method, ..SampleOptions::default() };
        let samples = request(data, &toy, known, &options);
        assert_eq!((samples.info.diverged, samples.info.repaired), (0, 0));
        for (group, x) in data.iter().enumerate() {
            let errors = moment_errors(&samples, group, &toy.posterior(*x));
            assert!(errors.0 < tolerance && errors.1 < tolerance, "known {known} {method:?} group {group}: {errors:?}");
        }
    }
}

#[test]
fn every_sampler_reaches_the_posterior() {
    let toy = toy(2);
    let x = observations(8, 2, 9);
    let exact = toy.posterior(x.view());
    let gauss = Method::Gauss(GaussOptions::default());
    let fnpse = Method::Fnpe(FactorizedOptions::default());
    let cases = [
        (SamplerOptions::Ddim(Ddim { steps: 200, ..Ddim::default() }), gauss, 0.1),
        (SamplerOptions::DpmSolver(DpmSolver::default()), gauss, 0.1),
        (SamplerOptions::DpmSolver(DpmSolver { eta: 0.0, ..DpmSolver::default() }), gauss, 0.1),
        (SamplerOptions::EdmHeun(EdmHeun::default()), gauss, 0.1),
        (SamplerOptions::Langevin(Langevin::default()), gauss, 0.12),
        (SamplerOptions::Langevin(Langevin::default()), fnpse, 0.12),
        (SamplerOptions::TamedLangevin(TamedLangevin::default()), gauss, 0.12),
        (SamplerOptions::Geffner(Geffner { steps: 400 }), fnpse, 0.4),
        (SamplerOptions::ReverseSde(ReverseSde::default()), gauss, 0.1),
        (SamplerOptions::PredictorCorrector(PredictorCorrector::default()), gauss, 0.1),
        (
            SamplerOptions::PredictorCorrector(PredictorCorrector {
                predictor: Predictor::Identity,
                steps: 400,
                rounds: 3,
                ..PredictorCorrector::default()
            }),
            gauss,
            0.12,
        ),
        (SamplerOptions::ProbabilityFlow(ProbabilityFlow::default()), gauss, 0.1),
    ];
    for (sampler, method, tolerance) in cases {
        let options = SampleOptions { samples: 1500, sampler: sampler.clone(), method, ..SampleOptions::default() };
        let samples = request(&[x.view()], &toy, true, &options);
        let errors = moment_errors(&samples, 0, &exact);
        assert!(errors.0 < tolerance && errors.1 < tolerance, "{sampler:?}: {errors:?}");
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<SampleOptions>(&json).unwrap(), options, "{json}");
    }
    // DDIM is no sampler for F-NPSE's bridging densities: the bias the paper's LANGEVIN exists to avoid.
    let options = SampleOptions {
        samples: 1500,
        sampler: SamplerOptions::Ddim(Ddim { steps: 200, ..Ddim::default() }),
        method: fnpse,
        ..SampleOptions::default()
    };
    let errors = moment_errors(&request(&[x.view()], &toy, true, &options), 0, &exact);
    assert!(errors.1 > 0.2 || errors.0 > 0.2, "{errors:?}");
}

/// Same bytes on any number of threads, for a part of the groups, and whatever else is sampled along.
#[test]
fn samples_depend_on_key_and_indices_alone() {
    let toy = toy(2);
    let data: Vec<Array2<f32>> = (0..9).map(|k| observations(1 + 7 * (k % 3), 2, k as u64)).collect();
    let views: Vec<_> = data.iter().map(|x| x.view()).collect();
    let mini_batch = Some(MiniBatch { size: 5, damping: 1.0, control_variate: true });
    let composition = CompositionOptions { mini_batch, ..CompositionOptions::default() };
    let method = Method::Gauss(GaussOptions { composition, ..GaussOptions::default() });
    let sampler = SamplerOptions::Ddim(Ddim { steps: 20, ..Ddim::default() });
    for samples in [3, 150] {
        let options = SampleOptions { samples, method, sampler: sampler.clone(), ..SampleOptions::default() };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| request(&views, &toy, true, &options).latent)
        };
        let one = on(1);
        assert!(one == on(2) && one == on(7));
        let model = toy.model(LinearSchedule::default(), true).unwrap();
        let part = SampleRequest { groups: &views[4..6], first_group: 4, key: StreamKey::root(11), covariances: None };
        let part = sample_posteriors(&model, &toy.prior().unwrap(), &part, &options, &Silent).unwrap();
        assert_eq!(part.latent, one.slice(ndarray::s![4..6, .., ..]));
    }
}

/// Covariances that were kept give the same bytes; a longer list of observations finds what a shorter one left.
#[test]
fn kept_covariances_change_nothing() {
    let toy = toy(2);
    let (few, many) = (observations(3, 2, 5), observations(5, 2, 5));
    assert_eq!(few, many.slice(ndarray::s![..3, ..]));
    let model = toy.model(LinearSchedule::default(), false).unwrap();
    let moments = MomentOptions { samples: 60, ..MomentOptions::default() };
    let options = SampleOptions { samples: 20, moments, ..SampleOptions::default() };
    let run = |x: &Array2<f32>, covariances: Option<&MomentCache>| {
        let request = SampleRequest { groups: &[x.view()], first_group: 0, key: StreamKey::root(11), covariances };
        let samples = sample_posteriors(&model, &toy.prior().unwrap(), &request, &options, &Silent).unwrap();
        (samples.latent, samples.info)
    };
    let cache = MomentCache::new(2);
    assert_eq!(run(&few, Some(&cache)), run(&few, None));
    assert_eq!(cache.counts(), (0, 3));
    let read = MomentCache::from_bytes(&cache.to_bytes("toy"), "toy", 2).unwrap();
    assert_eq!(run(&many, Some(&read)), run(&many, None));
    assert_eq!(read.counts(), (3, 2));
    assert_eq!(run(&many, Some(&read)), run(&many, None));
    assert_eq!(read.counts(), (8, 2));
}

/// A mixture's Jacobians, with and without perturbation, against differences.
#[test]
fn jacobians_match_finite_differences() {
    let m = 3;
    let narrow: Vec<f64> = identity(m).iter().map(|value| value / 9.0).collect();
    let wide: Vec<f64> = identity(m).iter().map(|value| value * 2.25).collect();
    let mixture =
        MixtureModel::new(&[(0.5, wide), (0.5, narrow)], &vec![0.1; m], &identity(m), LinearSchedule::default(), false)
            .unwrap();
    let key = StreamKey::root(1);
    for scale in [PerturbationScale::NoisePredictor, PerturbationScale::AsPrinted] {
        let model = Perturbed::new(mixture.clone(), Perturbation { amplitude: 0.5, scale }, key).unwrap();
        let x = observations(2, m, 12);
        let context = model.context(&[x.view()]).unwrap();
        let mut work = model.workspace(1);
        let pair = [Pair { particle: 0, factor: 1 }];
        let theta = [0.2, -0.4, 0.9];
        for t in [0.05, 0.3] {
            let (mut score, mut jacobian) = ([0.0; 3], [0.0; 9]);
            model.begin(&theta, t, &mut work);
            model.scores_and_jacobians(&context, &pair, &mut work, &mut score, &mut jacobian);
            for b in 0..m {
                let mut at = |shift: f64| {
                    let mut moved = theta;
                    moved[b] += shift;
                    let mut out = [0.0; 3];
                    model.begin(&moved, t, &mut work);
                    model.scores(&context, &pair, &mut work, &mut out);
                    out
                };
                let (up, down) = (at(1e-6), at(-1e-6));
                for a in 0..m {
                    let numeric = (up[a] - down[a]) / 2e-6;
                    assert!((jacobian[a * m + b] - numeric).abs() < 1e-6 * (1.0 + numeric.abs()), "{a} {b}");
                }
            }
        }
    }
}

/// The mixture's score is the gradient of its log density: at t → 0, of the likelihood times the prior.
#[test]
fn the_mixture_score_is_that_of_likelihood_times_prior() {
    let (wide, narrow) = (2.25, 1.0 / 9.0);
    let model =
        MixtureModel::new(&[(0.5, vec![wide]), (0.5, vec![narrow])], &[0.0], &[1.0], LinearSchedule::default(), true)
            .unwrap();
    let x = ndarray::array![[0.8f32]];
    let context = model.context(&[x.view()]).unwrap();
    let density = |theta: f64| {
        let normal = |variance: f64| (-(0.8f32 as f64 - theta).powi(2) / (2.0 * variance)).exp() / variance.sqrt();
        (0.5 * normal(wide) + 0.5 * normal(narrow)) * (-0.5 * theta * theta).exp()
    };
    let mut work = model.workspace(1);
    for theta in [-1.0, 0.3, 0.7, 2.0] {
        let mut out = [0.0];
        model.begin(&[theta], 1e-5, &mut work);
        model.scores(&context, &[Pair { particle: 0, factor: 0 }], &mut work, &mut out);
        let numeric = (density(theta + 1e-5).ln() - density(theta - 1e-5).ln()) / 2e-5;
        assert!((out[0] - numeric).abs() < 1e-5 * (1.0 + numeric.abs()), "{theta}: {} {numeric}", out[0]);
    }
    // Known moments against a sum over a grid.
    let grid: Vec<f64> = (0..40_000).map(|i| -10.0 + 0.0005 * f64::from(i)).collect();
    let mass: f64 = grid.iter().map(|&theta| density(theta)).sum();
    let mean = grid.iter().map(|&theta| theta * density(theta)).sum::<f64>() / mass;
    let variance = grid.iter().map(|&theta| (theta - mean).powi(2) * density(theta)).sum::<f64>() / mass;
    assert!((model.means(&context).unwrap()[0] - mean).abs() < 1e-8);
    assert!((model.covariances(&context).unwrap()[0] - variance).abs() < 1e-8);
}

/// A covariance wider than the prior makes Λ indefinite for many observations: repaired, counted, finite; clamped instead by default;
/// an error if asked for.
#[test]
fn indefinite_precisions_are_repaired_counted_or_refused() {
    use tallsbi_inference::InferenceError;
    use tallsbi_inference::score::Repair;
    let m = 2;
    let toy = toy(m);
    let model = toy.model(LinearSchedule::default(), true).unwrap();
    let prior = DiffusedPrior::new(&toy.prior().unwrap(), PriorOptions::default()).unwrap();
    let x = observations(50, m, 13);
    let context = model.context(&[x.view()]).unwrap();
    let wide =
        Moments { covariances: prior.covariance().iter().map(|v| 1.5 * v).collect::<Vec<_>>().repeat(50), means: None };
    let theta = points(m, 3);
    let run = |clamp_covariance: bool, repair: Repair| {
        let composition = CompositionOptions { repair, ..CompositionOptions::default() };
        let options = GaussOptions { composition, clamp_covariance, shrinkage: 0.0 };
        let information = GaussInformation::new(&context, &wide, &prior, None, &options).unwrap();
        let rule = GaussRule::new(&information, &composition);
        let mut score =
            TallScore::new(&model, &context, PriorTerm::Analytic(&prior), rule, composition, vec![0; 3], vec![]);
        let mut out = vec![0.0; theta.len()];
        score.score(&theta, 0.6, &mut out).map(|()| (out, score.counters(), information.clamped))
    };
    let (out, counters, clamped) = run(false, Repair::default()).unwrap();
    assert!(out.iter().all(|value| value.is_finite()));
    // One precision for the three particles of one group.
    assert_eq!((counters.precisions, counters.repaired, clamped), (1, 1, 0));
    let (_, counters, clamped) = run(true, Repair::default()).unwrap();
    assert_eq!((counters.repaired, clamped), (0, 50));
    assert!(matches!(run(false, Repair::Error), Err(InferenceError::NotPositiveDefinite { .. })));
}
