//! Cost of compositions beside that of the scores they compose, and of whole runs with many observations.
//!
//! Analytic scores of ten parameters stand in for a network: they cost about 2 % of one (three layers of 256), so what is
//! measured is an upper bound on the share of everything else.

use divan::{Bencher, black_box};
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use tallsbi_data::{Purpose, Silent, StreamKey};
use tallsbi_inference::analytic::{GaussianToy, MixtureModel};
use tallsbi_inference::prior_score::{DiffusedPrior, PriorOptions};
use tallsbi_inference::sample::{Method, SampleOptions, SampleRequest, sample_posteriors};
use tallsbi_inference::schedule::LinearSchedule;
use tallsbi_inference::score::covariance::Moments;
use tallsbi_inference::score::{
    Bridge, CompositionOptions, FactorizedScore, GaussInformation, GaussOptions, GaussRule, JacOptions, JacRule,
    MiniBatch, Pair, PosteriorScore, PriorTerm, ScoreModel, TallScore,
};

const M: usize = 10;
const PARTICLES: usize = 64;
const OBSERVATIONS: usize = 30;

fn main() {
    divan::main();
}

fn observations(n: usize) -> Array2<f32> {
    let mut rng = StreamKey::root(1).child(Purpose::Observation).rng(0);
    Array2::from_shape_simple_fn((n, M), || {
        let z: f64 = StandardNormal.sample(&mut rng);
        z as f32
    })
}

struct Setup {
    model: MixtureModel,
    prior: DiffusedPrior,
    theta: Vec<f64>,
}

fn setup() -> Setup {
    let toy = GaussianToy::paper(M);
    let model = toy.model(LinearSchedule::default(), true).expect("a toy");
    let prior = DiffusedPrior::new(&toy.prior().expect("a prior"), PriorOptions::default()).expect("a diffused prior");
    Setup { model, prior, theta: vec![0.1; PARTICLES * M] }
}

/// The scores alone.
#[divan::bench]
fn scores(bencher: Bencher) {
    let Setup { model, theta, .. } = setup();
    let context = model.context(&[observations(OBSERVATIONS).view()]).expect("a context");
    let pairs: Vec<Pair> = (0..PARTICLES * OBSERVATIONS)
        .map(|k| Pair { particle: (k / OBSERVATIONS) as u32, factor: (k % OBSERVATIONS) as u32 })
        .collect();
    let mut work = model.workspace(PARTICLES);
    let mut out = vec![0.0; pairs.len() * M];
    bencher.bench_local(|| {
        model.begin(&theta, black_box(0.3), &mut work);
        model.scores(&context, &pairs, &mut work, &mut out);
    });
}

#[divan::bench]
fn gauss(bencher: Bencher) {
    let Setup { model, prior, theta } = setup();
    let context = model.context(&[observations(OBSERVATIONS).view()]).expect("a context");
    let covariances = model.covariances(&context).expect("known");
    let moments = Moments { covariances, means: model.means(&context) };
    let options = GaussOptions::default();
    let information = GaussInformation::new(&context, &moments, &prior, None, &options).expect("definite");
    let rule = GaussRule::new(&information, &options.composition);
    let term = PriorTerm::Analytic(&prior);
    let mut score = TallScore::new(&model, &context, term, rule, options.composition, vec![0; PARTICLES], Vec::new());
    let mut out = vec![0.0; theta.len()];
    bencher.bench_local(|| score.score(&theta, black_box(0.3), &mut out));
}

#[divan::bench]
fn jac(bencher: Bencher) {
    let Setup { model, prior, theta } = setup();
    let context = model.context(&[observations(OBSERVATIONS).view()]).expect("a context");
    let rule = JacRule::new(M, &JacOptions::default());
    let (term, options) = (PriorTerm::Analytic(&prior), CompositionOptions::default());
    let mut score = TallScore::new(&model, &context, term, rule, options, vec![0; PARTICLES], Vec::new());
    let mut out = vec![0.0; theta.len()];
    bencher.bench_local(|| score.score(&theta, black_box(0.3), &mut out));
}

#[divan::bench]
fn factorized(bencher: Bencher) {
    let Setup { model, prior, theta } = setup();
    let context = model.context(&[observations(OBSERVATIONS).view()]).expect("a context");
    let term = PriorTerm::Analytic(&prior);
    let mut score =
        FactorizedScore::new(&model, &context, term, Bridge::Diffused, None, vec![0; PARTICLES], Vec::new());
    let mut out = vec![0.0; theta.len()];
    bencher.bench_local(|| score.score(&theta, black_box(0.3), &mut out));
}

/// 256 samples given many observations, all of them at every evaluation or a hundred.
#[divan::bench(args = [(1000, false), (1000, true), (10_000, false), (10_000, true)], sample_count = 3)]
fn run(bencher: Bencher, (n, batched): (usize, bool)) {
    let toy = GaussianToy::paper(M);
    let model = toy.model(LinearSchedule::default(), true).expect("a toy");
    let prior = toy.prior().expect("a prior");
    let x = observations(n);
    let mini_batch = batched.then_some(MiniBatch { size: 100, damping: 1.0, control_variate: true });
    let composition = CompositionOptions { mini_batch, ..CompositionOptions::default() };
    let method = Method::Gauss(GaussOptions { composition, ..GaussOptions::default() });
    let options = SampleOptions { samples: 256, method, ..SampleOptions::default() };
    bencher.bench_local(|| {
        let request = SampleRequest { groups: &[x.view()], first_group: 0, key: StreamKey::root(1), covariances: None };
        sample_posteriors(&model, &prior, &request, &options, &Silent)
    });
}
