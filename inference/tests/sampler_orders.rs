//! How fast samplers approach the posterior as their steps grow: for a Gaussian in one dimension their errors are known without sampling.

use ndarray::arr2;
use tallsbi_data::Silent;
use tallsbi_inference::analytic::GaussianToy;
use tallsbi_inference::prior_score::{DiffusedPrior, Level, PriorOptions};
use tallsbi_inference::sampler::{
    Control, Ddim, DpmSolver, EdmHeun, Grid, NoiseSource, ParticleStreams, Particles, ProbabilityFlow, Sampler, Span,
};
use tallsbi_inference::schedule::{LinearSchedule, NoiseSchedule};
use tallsbi_inference::score::{CompositionOptions, JacOptions, JacRule, PriorTerm, ScoreModel, TallScore};

/// Where particles from `start` of the exact posterior's mean and variance end, given four observations; and these two.
fn run(
    sampler: &dyn Sampler,
    span: Span,
    start: impl Fn(f64, f64) -> Vec<f64>,
    noise: Box<dyn NoiseSource>,
) -> (Vec<f64>, f64, f64) {
    let toy = GaussianToy { prior_mean: vec![0.3], prior_covariance: vec![1.0], noise: vec![0.5] };
    let model = toy.model(LinearSchedule::default(), true).unwrap();
    let prior = DiffusedPrior::new(&toy.prior().unwrap(), PriorOptions::default()).unwrap();
    let x = arr2(&[[-0.4f32], [0.9], [1.7], [0.2]]);
    let context = model.context(&[x.view()]).unwrap();
    let (mean, covariance) = toy.posterior(x.view());
    let theta = start(mean[0], covariance[0]);
    let rule = JacRule::new(1, &JacOptions::default());
    let (options, groups) = (CompositionOptions::default(), vec![0; theta.len()]);
    let mut score = TallScore::new(&model, &context, PriorTerm::Analytic(&prior), rule, options, groups, vec![]);
    let mut particles = Particles { theta, noise };
    sampler.run(&mut score, &mut particles, &Control { span, clip: None, monitor: &Silent }).unwrap();
    (particles.theta, mean[0], covariance[0])
}

/// Moves standard normal points deterministically; for a Gaussian the map is affine, and its error is compared with the exact flow
/// θ_0 = μ + Σ^{1/2} C^{-1/2} (θ - √α μ) in one dimension.
fn flow_error(sampler: &dyn Sampler, span: Span) -> f64 {
    let level = Level::new(&LinearSchedule::default(), span.start);
    let start = [-1.5, 0.4, 2.0];
    let (ends, mean, variance) = run(sampler, span, |_, _| start.to_vec(), Box::new(ParticleStreams(vec![])));
    let (sd, spread) = (variance.sqrt(), (level.alpha * variance + level.variance).sqrt());
    let exact = start.map(|theta| mean + sd / spread * (theta - level.alpha.sqrt() * mean));
    ends.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Halving the steps divides the error by 2^order.
#[test]
fn deterministic_samplers_converge_at_their_order() {
    let schedule = LinearSchedule::default();
    // An end so small that the last step's own error does not show.
    let span = Span::whole(&schedule, 2e-3);
    type Make = fn(usize) -> Box<dyn Sampler>;
    let cases: [(&str, Make, f64, usize); 4] = [
        ("ddim", |steps| Box::new(Ddim { steps, eta: 0.0, grid: Grid::Time }), 1.0, 200),
        ("ddim, log-SNR", |steps| Box::new(Ddim { steps, eta: 0.0, grid: Grid::LogSnr }), 1.0, 100),
        ("dpm-solver", |steps| Box::new(DpmSolver { steps, eta: 0.0 }), 2.0, 60),
        ("edm-heun", |steps| Box::new(EdmHeun { steps, rho: 7.0 }), 2.0, 60),
    ];
    for (name, make, order, steps) in cases {
        let errors = [1, 2, 4].map(|factor| flow_error(make(factor * steps).as_ref(), span));
        for pair in errors.windows(2) {
            let measured = (pair[0] / pair[1]).log2();
            assert!((measured - order).abs() < 0.3, "{name}: order {measured}, errors {errors:?}");
        }
    }
    let tight = ProbabilityFlow { relative_tolerance: 1e-9, absolute_tolerance: 1e-10 };
    let loose = ProbabilityFlow { relative_tolerance: 1e-3, absolute_tolerance: 1e-4 };
    let (tight, loose) = (flow_error(&tight, span), flow_error(&loose, span));
    assert!(tight < 1e-7 && loose > 3.0 * tight && loose < 1e-2, "{tight:e} {loose:e}");
}

/// One unit of noise for each particle from the third on, each at a step of its own.
struct Impulses {
    step: usize,
}

impl NoiseSource for Impulses {
    fn fill(&mut self, out: &mut [f64]) {
        out.fill(0.0);
        if let Some(value) = out.get_mut(self.step + 2) {
            *value = 1.0;
        }
        self.step += 1;
    }
}

/// Errors of mean and variance of a stochastic sampler's samples for a Gaussian in one dimension, without sampling: with an exact score
/// a sample is linear in its start and its noises, so its variance is the sum of squared responses to a unit of each.
fn distribution_error(sampler: &dyn Sampler, span: Span, steps: usize) -> (f64, f64) {
    let level = Level::new(&LinearSchedule::default(), span.start);
    let start = |mean: f64, variance: f64| {
        let mut theta = vec![level.alpha.sqrt() * mean; steps + 2];
        theta[1] += (level.alpha * variance + level.variance).sqrt();
        theta
    };
    let (ends, mean, exact) = run(sampler, span, start, Box::new(Impulses { step: 0 }));
    let variance: f64 = ends[1..].iter().map(|theta| (theta - ends[0]).powi(2)).sum();
    ((ends[0] - mean).abs(), (variance / exact - 1.0).abs())
}

/// Stochastic DPM-Solver++ is second order in distribution, and DDIM with η = 1 first order.
#[test]
fn stochastic_samplers_converge_at_their_order() {
    let span = Span::whole(&LinearSchedule::default(), 2e-3);
    let solver = |steps| distribution_error(&DpmSolver { steps, eta: 1.0 }, span, steps).1;
    let ddim = |steps| distribution_error(&Ddim { steps, eta: 1.0, grid: Grid::LogSnr }, span, steps).1;
    let errors = [(2.0, [80, 160, 320].map(solver)), (1.0, [80, 160, 320].map(ddim))];
    for (order, errors) in errors {
        for pair in errors.windows(2) {
            let measured = (pair[0] / pair[1]).log2();
            assert!((measured - order).abs() < 0.3, "order {measured} in place of {order}: {errors:?}");
        }
    }
    // The published setting is too narrow: at S = 1/3 by 1.4 % in standard deviation (docs/samplers.md).
    let published = distribution_error(&Ddim::default(), span, Ddim::default().steps).1;
    assert!((published - 0.027).abs() < 0.005, "{published}");
}

/// The last step alone, from noise σ = 0.1 to 0, keeps deviations of a posterior with standard deviation S = 0.33 up to a relative
/// (σ/S)⁴/8 ≈ 1e-3; to the denoised mean it would be (σ/S)²/2 ≈ 5 %.
#[test]
fn the_last_step_keeps_the_variance() {
    let t = LinearSchedule::default().time_of_half_log_snr(-0.1f64.ln());
    let span = Span { start: t, end: t };
    // The points start up to six standard deviations out.
    for sampler in [&DpmSolver { steps: 1, eta: 0.0 } as &dyn Sampler, &EdmHeun { steps: 1, rho: 7.0 }] {
        let error = flow_error(sampler, span);
        assert!(error < 5e-3, "{error}");
    }
}

/// At the default number of steps, and at an end noise chosen by itself, narrow posteriors keep their width.
#[test]
fn the_default_sampler_is_accurate_in_thirty_evaluations() {
    let schedule = LinearSchedule::default();
    let span = Span { start: schedule.time_of_half_log_snr(-100f64.ln()), ..Span::whole(&schedule, 0.03) };
    // The posterior's standard deviation is 0.33.
    let error = flow_error(&DpmSolver { eta: 0.0, ..DpmSolver::default() }, span);
    assert!(error < 4e-3, "{error}");
    let solver = DpmSolver::default();
    let (mean, variance) = distribution_error(&solver, span, solver.steps);
    assert!(mean < 4e-3 && variance < 0.03, "{mean} {variance}");
}
