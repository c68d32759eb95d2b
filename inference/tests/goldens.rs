//! Compositions, prior scores, schedules and samplers against the published code's values (f64).

mod common;

use common::{PublishedSchedule, TASKS, WithSchedule, difference, flat, golden, read};
use ndarray::{Axis, s};
use tallsbi_data::{Component, Prior, Silent};
use tallsbi_inference::prior_score::{DiffusedPrior, Level, PriorOptions, PriorScore};
use tallsbi_inference::sampler::ddim::DdimCoefficients;
use tallsbi_inference::sampler::{
    Control, Ddim, Geffner, Grid, Langevin, NoiseSource, Particles, Sampler, Span, TamedLangevin,
};
use tallsbi_inference::schedule::{LinearSchedule, NoiseSchedule};
use tallsbi_inference::score::covariance::{Moments, SingleScore};
use tallsbi_inference::score::{
    Bridge, CompositionOptions, FactorizedScore, GaussInformation, GaussOptions, GaussRule, JacOptions, JacRule,
    PosteriorScore, PriorTerm, Repair, TallScore,
};

#[test]
fn ddim_coefficients_and_langevin_steps() {
    let Some(file) = golden("schedule.h5") else { return };
    let schedule = LinearSchedule::default();
    for (steps, eta) in [(50, 0.2), (100, 0.5), (150, 0.5), (400, 0.8), (1000, 1.0)] {
        let group = format!("ddim_T{steps}_eta{eta:.1}");
        let get = |what: &str| flat(&file, &format!("{group}/{what}"));
        let (alpha, alpha_next, noise) = (get("alpha_t"), get("alpha_t_minus_dt"), get("bridge_std"));
        let times = Grid::Time.times(Span { start: 1.0, end: 0.0 }, steps, &schedule);
        for i in 0..steps {
            let step = DdimCoefficients::new(&schedule, times[i], times[i + 1], eta);
            // Published code computes 1 - α with cancellation: compare with its own α where that matters.
            assert!((schedule.alpha(times[i]) - alpha[i]).abs() < 1e-12);
            assert!((schedule.alpha(times[i + 1]) - alpha_next[i]).abs() < 1e-12);
            assert!((step.noise - noise[i]).abs() < 1e-7, "{group} {i}: {} {}", step.noise, noise[i]);
        }
    }
    let delta = flat(&file, "langevin_T400_tau0.5/delta");
    let times = Grid::Time.times(Span { start: 1.0, end: 0.0 }, 400, &schedule);
    for i in 0..400 {
        let ours = Langevin::default().step_size(&schedule, times[i], times[i + 1]);
        assert!((ours / delta[i] - 1.0).abs() < 1e-9, "{i}: {ours} {}", delta[i]);
    }
}

#[test]
fn diffused_gaussian_prior() {
    let Some(file) = golden("prior_scores.h5") else { return };
    let (mean, covariance) = (flat(&file, "gaussian_3d/mean"), flat(&file, "gaussian_3d/cov"));
    let component = Component::MultivariateNormal {
        names: (0..3).map(|i| format!("t{i}")).collect(),
        loc: mean,
        covariance: covariance.chunks_exact(3).map(<[f64]>::to_vec).collect(),
    };
    let prior = DiffusedPrior::new(&Prior::new(vec![component]).unwrap(), PriorOptions::default()).unwrap();
    let (theta, score) = (flat(&file, "gaussian_3d/theta"), read(&file, "gaussian_3d/score"));
    let precision = read(&file, "gaussian_3d/backward_precision");
    for (k, &t) in flat(&file, "t").iter().enumerate() {
        let level = Level::new(&PublishedSchedule(LinearSchedule::default()), t);
        for (row, theta) in theta.chunks_exact(3).enumerate() {
            let (mut s, mut excess) = ([0.0; 3], [0.0; 9]);
            prior.evaluate(theta, level, &mut s, Some(&mut excess));
            for i in 0..3 {
                excess[i * 4] += level.alpha / level.variance;
                assert!((s[i] / score[[k, row, i]] - 1.0).abs() < 1e-8, "t {t}");
                for j in 0..3 {
                    assert!((excess[i * 3 + j] - precision[[k, i, j]]).abs() < 1e-8 * precision[[k, i, i]].abs());
                }
            }
        }
    }
}

/// Where the box holds mass the published 1e-6 in the denominator does not matter and the values agree; where it does not, the
/// published score dies and ours keeps pulling back to the box.
#[test]
fn diffused_uniform_prior() {
    let Some(file) = golden("prior_scores.h5") else { return };
    let (mut agreed, mut dead) = (0, 0);
    for name in ["uniform_unit_box", "uniform_asym", "uniform_slcp_normalised_x2"] {
        let get = |what: &str| flat(&file, &format!("{name}/{what}"));
        let (low, high, theta) = (get("low"), get("high"), get("theta"));
        let m = low.len();
        let score = read(&file, &format!("{name}/score"));
        let precision = read(&file, &format!("{name}/backward_precision_first16"));
        let components =
            (0..m).map(|i| Component::Uniform { name: format!("t{i}"), low: low[i], high: high[i] }).collect();
        let prior = DiffusedPrior::new(&Prior::new(components).unwrap(), PriorOptions::default()).unwrap();
        for (k, &t) in flat(&file, "t").iter().enumerate() {
            let level = Level::new(&PublishedSchedule(LinearSchedule::default()), t);
            let (signal, noise) = (level.alpha.sqrt(), level.variance.sqrt());
            for (row, theta) in theta.chunks_exact(m).enumerate() {
                let (mut s, mut excess) = (vec![0.0; m], vec![0.0; m * m]);
                prior.evaluate(theta, level, &mut s, Some(&mut excess));
                for i in 0..m {
                    let (a, b) = ((signal * low[i] - theta[i]) / noise, (signal * high[i] - theta[i]) / noise);
                    assert!(s[i].is_finite() && excess[i * m + i].is_finite(), "{name} t {t} {a} {b}");
                    let outside = a.max(-b);
                    let published = score[[k, row, i]];
                    if outside < 2.0 {
                        let f = 0.02 * (b - a).min(1.0) / signal;
                        let tolerance = 1e-6 / f * published.abs() + 1e-9;
                        assert!((s[i] - published).abs() < tolerance, "{name} t {t} [{a}, {b}] {} {published}", s[i]);
                        agreed += 1;
                        if row < 16 && b - a > 0.5 {
                            let ours = excess[i * m + i] + level.alpha / level.variance;
                            let theirs = precision[[k, row, i, i]];
                            // The derivative of f'/(f + 1e-6) times v, through 1 + v J which may be small.
                            let slack = 1e-3 * (theirs * level.variance / level.alpha).max(1.0);
                            assert!((ours / theirs - 1.0).abs() < slack, "{name} t {t} [{a}, {b}] {ours} {theirs}");
                        }
                    } else if outside > 8.0 {
                        // At least as strong as the pull of the nearest bound alone.
                        let pull = if a > 0.0 { s[i] } else { -s[i] };
                        assert!(pull * noise >= outside, "{name} t {t} [{a}, {b}] {}", s[i]);
                        dead += usize::from(published.abs() < 0.01 * s[i].abs());
                    }
                }
            }
        }
    }
    assert!(agreed > 1000 && dead > 10, "{agreed} {dead}");
}

fn published(second_order_only_above_signal_scale: Option<f64>) -> CompositionOptions {
    CompositionOptions { repair: Repair::Off, second_order_only_above_signal_scale, mini_batch: None }
}

/// GAUSS, JAC and F-NPSE through the published networks in f64, at ten times, sixteen points and n = 1, 8, 30.
#[test]
fn tall_scores() {
    let Some(file) = golden("tall_scores.h5") else { return };
    for task in &TASKS {
        let name = task.name;
        let m = task.m;
        let get = |what: &str| flat(&file, &format!("{name}/{what}"));
        let (x, theta, times) = (get("x_norm"), get("theta"), get("t"));
        let network = task.network("n30000.safetensors");
        let (prior, published_prior) = (task.prior(&file), task.published_prior(&file));
        let covariances = get("cov_est");
        let composition = published((name == "slcp").then_some(0.5));
        for n in [1, 8, 30] {
            let context = network.context_of(&x[..n * task.d]);
            let moments = Moments { covariances: covariances[..n * m * m].to_vec(), means: None };
            let options = GaussOptions { composition, ..GaussOptions::published() };
            let information = GaussInformation::new(&context, &moments, &prior, None, &options).unwrap();
            let term = || PriorTerm::Analytic(&published_prior);
            let groups = vec![0; 16];
            let rule = GaussRule::new(&information, &composition);
            let mut gauss = TallScore::new(&network, &context, term(), rule, composition, groups.clone(), Vec::new());
            let rule = JacRule::new(m, &JacOptions { composition, ..JacOptions::published() });
            let mut jac = TallScore::new(&network, &context, term(), rule, composition, groups.clone(), Vec::new());
            let mut fnpse =
                FactorizedScore::new(&network, &context, term(), Bridge::Diffused, None, groups.clone(), Vec::new());
            let scores: [(&str, &mut dyn PosteriorScore); 3] =
                [("gauss", &mut gauss), ("jac", &mut jac), ("fnpse", &mut fnpse)];
            for (method, score) in scores {
                let expected = read(&file, &format!("{name}/{method}_n{n}"));
                for (k, &t) in times.iter().enumerate() {
                    let mut out = vec![0.0; 16 * m];
                    score.score(&theta, t, &mut out).unwrap();
                    let expected: Vec<f64> = expected.index_axis(Axis(0), k).iter().copied().collect();
                    let worst = difference(&out, &expected);
                    assert!(worst < 1e-6, "{name} {method} n {n} t {t}: {worst:e}");
                }
            }
        }
    }
}

/// GAUSS with the prior's score learned by dropping contexts.
#[test]
fn learned_prior_score() {
    let Some(file) = golden("tall_scores.h5") else { return };
    for task in &TASKS {
        let m = task.m;
        let get = |what: &str| flat(&file, &format!("{}/{what}", task.name));
        let (x, theta, times) = (get("x_norm"), get("theta"), get("t"));
        let network = task.network("n30000_cfg.safetensors");
        let prior = task.prior(&file);
        let context = network.context_of(&x[..8 * task.d]);
        let null = network.context_of(&vec![0.0; task.d]);
        let moments = Moments { covariances: get("cov_est")[..8 * m * m].to_vec(), means: None };
        let learned = get("cfg_cov_est_prior");
        let options = GaussOptions::published();
        let information = GaussInformation::new(&context, &moments, &prior, Some(&learned), &options).unwrap();
        let expected = read(&file, &format!("{}/cfg_gauss_n8", task.name));
        let composition = published(None);
        let rule = GaussRule::new(&information, &composition);
        let mut score =
            TallScore::new(&network, &context, PriorTerm::Learned(&null), rule, composition, vec![0; 16], Vec::new());
        for (k, &t) in times.iter().enumerate() {
            let mut out = vec![0.0; 16 * m];
            score.score(&theta, t, &mut out).unwrap();
            let expected: Vec<f64> = expected.index_axis(Axis(0), k).iter().copied().collect();
            let worst = difference(&out, &expected);
            assert!(worst < 1e-6, "{} t {t}: {worst:e}", task.name);
        }
    }
}

/// Noise given step by step, (steps, P, m).
struct Given(std::vec::IntoIter<Vec<f64>>);

impl NoiseSource for Given {
    fn fill(&mut self, out: &mut [f64]) {
        out.copy_from_slice(&self.0.next().expect("as many as the published run drew"));
    }
}

struct Run<'a> {
    file: &'a hdf5::File,
    name: &'a str,
    theta: Vec<f64>,
}

impl Run<'_> {
    fn end(
        &self,
        sampler: &dyn Sampler,
        score: &mut dyn PosteriorScore,
        noise: Option<&str>,
        clip: Option<f64>,
    ) -> Vec<f64> {
        let noise = noise.map_or(Vec::new(), |run| {
            let noise = read(self.file, &format!("{}/{run}/noise", self.name));
            noise.axis_iter(Axis(0)).map(|step| step.iter().copied().collect()).collect()
        });
        let mut particles = Particles { theta: self.theta.clone(), noise: Box::new(Given(noise.into_iter())) };
        let control = Control { span: Span { start: 1.0, end: 0.0 }, clip, monitor: &Silent };
        sampler.run(score, &mut particles, &control).unwrap();
        particles.theta
    }

    fn check(&self, run: &str, ours: &[f64]) {
        let expected = flat(self.file, &format!("{}/{run}/theta_final", self.name));
        let worst = difference(ours, &expected);
        assert!(worst < 1e-6, "{} {run}: {worst:e}", self.name);
    }
}

/// Whole runs from given points with given noise.
#[test]
fn trajectories() {
    let Some(file) = golden("trajectories.h5") else { return };
    for task in &TASKS {
        let name = task.name;
        let m = task.m;
        let get = |what: &str| flat(&file, &format!("{name}/{what}"));
        let network = task.network("n30000.safetensors");
        let (prior, published_prior) = (task.prior(&file), task.published_prior(&file));
        let context = network.context_of(&get("x_norm"));
        let composition = published((name == "slcp").then_some(0.5));
        let options = GaussOptions { composition, ..GaussOptions::published() };
        let moments = Moments { covariances: get("cov_est"), means: None };
        let information = GaussInformation::new(&context, &moments, &prior, None, &options).unwrap();
        let groups = vec![0; 32];
        let exact = LinearSchedule::default;
        let term = || PriorTerm::Analytic(&published_prior);
        let gauss = || {
            let rule = GaussRule::new(&information, &composition);
            let inner = TallScore::new(&network, &context, term(), rule, composition, groups.clone(), Vec::new());
            WithSchedule { inner, schedule: exact() }
        };
        let jac = || {
            let rule = JacRule::new(m, &JacOptions { composition, ..JacOptions::published() });
            let inner = TallScore::new(&network, &context, term(), rule, composition, groups.clone(), Vec::new());
            WithSchedule { inner, schedule: exact() }
        };
        let fnpse =
            || FactorizedScore::new(&network, &context, term(), Bridge::Diffused, None, groups.clone(), Vec::new());
        let run = Run { file: &file, name, theta: get("theta_init") };

        let single = || SingleScore::new(&network, &context, vec![0; 32]);
        let ddim = |steps, eta| Ddim { steps, eta, grid: Grid::Time };
        let end = run.end(
            &ddim(100, 0.5),
            &mut WithSchedule { inner: single(), schedule: exact() },
            Some("single_obs_ddim_eta0.5_T100"),
            None,
        );
        run.check("single_obs_ddim_eta0.5_T100", &end);

        let end = run.end(&ddim(50, 0.0), &mut gauss(), None, None);
        let path = read(&file, &format!("{name}/gauss_ddim_eta0_T50/theta"));
        let last: Vec<f64> = path.slice(s![50, .., ..]).iter().copied().collect();
        let worst = difference(&end, &last);
        assert!(worst < 1e-6, "{name} gauss_ddim_eta0_T50: {worst:e}");

        for clip in [None, Some(3.0)] {
            let langevin = Langevin { steps: 40, rounds: 5, tau: 0.5 };
            let label = if clip.is_some() { "langevin_clip_T40_L5_tau0.5" } else { "langevin_T40_L5_tau0.5" };
            let mut score = WithSchedule { inner: fnpse(), schedule: exact() };
            run.check(label, &run.end(&langevin, &mut score, Some(label), clip));
        }
        let label = "gauss_ddim_eta0.2_T50";
        run.check(label, &run.end(&ddim(50, 0.2), &mut gauss(), Some(label), None));
        let label = "jac_clip_ddim_eta0.2_T50";
        run.check(label, &run.end(&ddim(50, 0.2), &mut jac(), Some(label), Some(3.0)));
        let label = "det_geffner_T50";
        let mut score = WithSchedule { inner: fnpse(), schedule: exact() };
        run.check(label, &run.end(&Geffner { steps: 50 }, &mut score, Some(label), None));
        let label = "tamed_ula_T40_L5_r0.5";
        let tamed = TamedLangevin { steps: 40, rounds: 5, ratio: 0.5 };
        run.check(label, &run.end(&tamed, &mut fnpse(), Some(label), None));
    }
}
