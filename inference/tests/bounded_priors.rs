//! Uniform priors: denoised means are kept within the box, which exact scores never leave and scores of networks do.

use ndarray::{Array2, ArrayView2};
use std::ops::Range;
use tallsbi_data::{Component, Prior, Silent, StreamKey};
use tallsbi_inference::Result;
use tallsbi_inference::prior_score::{DiffusedPrior, Level, PriorOptions, PriorScore};
use tallsbi_inference::sample::{Method, SampleOptions, SampleRequest, Samples, sample_posteriors};
use tallsbi_inference::schedule::{LinearSchedule, NoiseSchedule};
use tallsbi_inference::score::{JacOptions, Pair, ScoreContext, ScoreModel};

/// Variance of x given θ.
const NOISE: f64 = 0.04;

/// θ = (a, b), a ~ N(0, 1), b ~ U(-1, 1), x ~ N(θ, 0.04 I).
fn prior() -> Prior {
    let a = Component::Normal { name: "a".into(), loc: 0.0, scale: 1.0 };
    Prior::new(vec![a, Component::Uniform { name: "b".into(), low: -1.0, high: 1.0 }]).unwrap()
}

/// The scores of single posteriors, of a model that takes the box for wider by `blur` on both sides, as a smooth network does.
struct Boxed {
    believed: DiffusedPrior,
    schedule: LinearSchedule,
}

impl Boxed {
    fn new(blur: f64) -> Self {
        let edge = 1.0 + blur;
        let component = Component::Uniform { name: "b".into(), low: -edge, high: edge };
        let believed = DiffusedPrior::new(&Prior::new(vec![component]).unwrap(), PriorOptions::default()).unwrap();
        Self { believed, schedule: LinearSchedule::default() }
    }

    /// Mean and variance of a uniform b given x and the diffused parameter: a normal cut off at the box, which is what a uniform prior
    /// gives at another level of noise.
    fn denoised(&self, x: f64, theta: f64, level: Level) -> (f64, f64) {
        let Level { alpha, variance, .. } = level;
        let precision = 1.0 / NOISE + alpha / variance;
        let centre = (x / NOISE + alpha.sqrt() * theta / variance) / precision;
        let (mut score, mut excess) = ([0.0], [0.0]);
        let level = Level { t: f64::NAN, alpha: 1.0, variance: 1.0 / precision };
        self.believed.evaluate(&[centre], level, &mut score, Some(&mut excess));
        (centre + score[0] / precision, 1.0 / (excess[0] + precision))
    }
}

struct Observed {
    x: Vec<[f64; 2]>,
    ends: Vec<usize>,
}

impl ScoreContext for Observed {
    fn groups(&self) -> usize {
        self.ends.len()
    }

    fn factors(&self, group: usize) -> Range<usize> {
        group.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[group]
    }
}

impl ScoreModel for Boxed {
    type Context = Observed;
    type Workspace = (Vec<f64>, f64);

    fn dim_theta(&self) -> usize {
        2
    }

    fn dim_x(&self) -> usize {
        2
    }

    fn schedule(&self) -> &dyn NoiseSchedule {
        &self.schedule
    }

    fn context(&self, groups: &[ArrayView2<'_, f32>]) -> Result<Observed> {
        let mut observed = Observed { x: Vec::new(), ends: Vec::new() };
        for group in groups {
            observed.x.extend(group.rows().into_iter().map(|x| [f64::from(x[0]), f64::from(x[1])]));
            observed.ends.push(observed.x.len());
        }
        Ok(observed)
    }

    fn workspace(&self, _max_particles: usize) -> Self::Workspace {
        (Vec::new(), 0.0)
    }

    fn begin(&self, theta: &[f64], t: f64, workspace: &mut Self::Workspace) {
        *workspace = (theta.to_vec(), t);
    }

    fn scores(&self, context: &Observed, pairs: &[Pair], workspace: &mut Self::Workspace, out: &mut [f64]) {
        let mut jacobians = vec![0.0; 4 * pairs.len()];
        self.scores_and_jacobians(context, pairs, workspace, out, &mut jacobians);
    }

    fn scores_and_jacobians(
        &self,
        context: &Observed,
        pairs: &[Pair],
        (theta, t): &mut Self::Workspace,
        out: &mut [f64],
        jacobians: &mut [f64],
    ) {
        let level = Level::new(&self.schedule, *t);
        let Level { alpha, variance, .. } = level;
        jacobians.fill(0.0);
        for (k, pair) in pairs.iter().enumerate() {
            let (x, theta) = (context.x[pair.factor as usize], &theta[2 * pair.particle as usize..][..2]);
            let precision = 1.0 + 1.0 / NOISE;
            let width = alpha / precision + variance;
            out[2 * k] = -(theta[0] - alpha.sqrt() * x[0] / NOISE / precision) / width;
            jacobians[4 * k] = -1.0 / width;
            let (mean, spread) = self.denoised(x[1], theta[1], level);
            out[2 * k + 1] = (alpha.sqrt() * mean - theta[1]) / variance;
            jacobians[4 * k + 3] = (alpha * spread / variance - 1.0) / variance;
        }
    }
}

/// Observations about (0.5, 0.95): near the box's edge.
fn observations(n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 2), |(j, i)| [0.5, 0.95][i] + 0.2 * ((1.7 * j as f32 + i as f32).sin()))
}

fn sample(model: &Boxed, n: usize, method: Method, threshold: bool) -> Samples {
    let x = observations(n);
    let options = SampleOptions { samples: 500, method, threshold, ..SampleOptions::default() };
    let request = SampleRequest { groups: &[x.view()], first_group: 0, key: StreamKey::root(1), covariances: None };
    sample_posteriors(model, &prior(), &request, &options, &Silent).unwrap()
}

#[test]
fn exact_scores_of_one_observation_are_left_alone() {
    let model = Boxed::new(0.0);
    let (plain, kept) = (sample(&model, 1, Method::default(), false), sample(&model, 1, Method::default(), true));
    assert_eq!((plain.latent, kept.info.thresholded), (kept.latent, 0));
}

#[test]
fn scores_that_miss_the_edge_lose_samples_unless_means_are_kept_within_it() {
    let model = Boxed::new(0.1);
    for method in [Method::default(), Method::Jac(JacOptions::default())] {
        let (plain, kept) = (sample(&model, 14, method, false), sample(&model, 14, method, true));
        let lost = |samples: &Samples| samples.latent.rows().into_iter().filter(|row| row[1].abs() > 1.02).count();
        assert!(lost(&plain) > 0, "{method:?}: else this test shows nothing");
        // GAUSS has no Jacobians that would tell it where the box ends.
        assert_eq!(plain.info.diverged > 0, matches!(method, Method::Gauss(_)), "{method:?}");
        assert_eq!((plain.info.thresholded, kept.info.diverged), (0, 0), "{method:?}");
        assert!(kept.info.thresholded > 0, "{method:?}");
        // Samples stop with a noise of a tenth of the posterior's standard deviation, or 10⁻³.
        assert_eq!(lost(&kept), 0, "{method:?}");
        // The parameter without bounds keeps its posterior: mean n x̄/(n + 0.04), variance 0.04/(n + 0.04).
        let x = observations(14);
        let (mean, variance) = (x.column(0).mean().unwrap() as f64 * 14.0 / 14.04, 0.04f64 / 14.04);
        let found = kept.latent.rows().into_iter().map(|row| row[0]).sum::<f64>() / 500.0;
        assert!((found - mean).abs() < 4.0 * (variance / 500.0).sqrt(), "{method:?}: {found} {mean}");
    }
}
