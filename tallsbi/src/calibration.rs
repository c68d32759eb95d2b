//! Checks of a model's posteriors on calibration pairs (θ, x) of the joint distribution: which the model was not trained on, and which
//! have n observations of each θ ([`simulate`](crate::simulate()) with another seed).

use crate::{Error, Model, Result, Simulations};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};
use tallsbi_data::{LatentMap, Monitor, Prior, Purpose, StreamKey};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions, LocalC2stResult};
use tallsbi_diagnostics::sbc::{RankOptions, Sbc};
use tallsbi_diagnostics::tarp::Tarp;
use tallsbi_inference::sample::SampleOptions;
use tallsbi_inference::score::MomentCache;

/// How posteriors are checked.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `draws` | 100 | posterior samples of each pair | ≥ 1 |
/// | `sampling` | [`SampleOptions`]'s | how they are drawn; its `samples` is not used | |
/// | `ranks` | [`RankOptions`]'s | how ranks are tested | |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckOptions {
    /// Posterior samples of each pair.
    pub draws: usize,
    /// How they are drawn.
    pub sampling: SampleOptions,
    /// How ranks are tested.
    pub ranks: RankOptions,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { draws: 100, sampling: SampleOptions::default(), ranks: RankOptions::default() }
    }
}

/// Simulation-based calibration: are the ranks of the true parameters among posterior samples uniform?
///
/// # Errors
/// When the pairs do not fit the model, posteriors cannot be sampled, or the monitor asked to stop.
pub fn sbc(
    model: &Model,
    pairs: &Simulations,
    options: &CheckOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Sbc> {
    let drawn = drawn(model, pairs, options, seed, monitor)?;
    let key = StreamKey::root(seed).child(Purpose::Calibration);
    Ok(tallsbi_diagnostics::sbc::sbc(drawn.theta.view(), drawn.draws.view(), &options.ranks, key, monitor)?)
}

/// Expected coverage (TARP): do credible regions hold the truth as often as they say?
///
/// # Errors
/// As [`sbc()`].
pub fn coverage(
    model: &Model,
    pairs: &Simulations,
    options: &CheckOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Tarp> {
    let drawn = drawn(model, pairs, options, seed, monitor)?;
    let key = StreamKey::root(seed).child(Purpose::Calibration);
    Ok(tallsbi_diagnostics::tarp::tarp(drawn.theta.view(), drawn.draws.view(), &options.ranks, key, monitor)?)
}

/// ℓ-C2ST: is the posterior right at these observations (n, d)? `posterior` (S, m) holds samples of it; of each pair as many observations
/// are used.
///
/// # Errors
/// As [`sbc()`], and when pairs have fewer observations.
pub fn local_c2st(
    model: &Model,
    pairs: &Simulations,
    (observations, posterior): (ArrayView2<'_, f32>, ArrayView2<'_, f64>),
    (options, sampling): (&LocalC2stOptions, &SampleOptions),
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<LocalC2stResult> {
    let n = observations.nrows();
    check_pairs(model, pairs)?;
    if pairs.x.dim().1 < n {
        return Err(Error::Shape {
            what: "calibration pairs".into(),
            expected: format!("{n} observations of each"),
            found: pairs.x.dim().1.to_string(),
        });
    }
    let (theta, x) = pairs.valid_rows_for(model);
    let x = x.slice_move(s![.., ..n, ..]);
    let theta_q = draws(model, &x, 1, sampling, StreamKey::root(seed), None, monitor)?.index_axis_move(Axis(1), 0);
    test_locally((theta.view(), theta_q.view(), &x), (observations, posterior), options, seed, monitor)
}

/// ℓ-C2ST from pairs θ (N, m), x (N, n, d) and one posterior sample of each, θ_q (N, m).
///
/// # Errors
/// As [`LocalC2st::train`].
pub fn test_locally(
    (theta, theta_q, x): (ArrayView2<'_, f64>, ArrayView2<'_, f64>, &Array3<f32>),
    (observations, posterior): (ArrayView2<'_, f32>, ArrayView2<'_, f64>),
    options: &LocalC2stOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<LocalC2stResult> {
    let (pairs, n, d) = x.dim();
    let flat = Array2::from_shape_fn((pairs, n * d), |(i, j)| f64::from(x[[i, j / d, j % d]]));
    let observation: Vec<f64> = observations.iter().map(|&value| value.into()).collect();
    let test = LocalC2st::train(theta, theta_q, flat.view(), options, StreamKey::root(seed), monitor)?;
    Ok(test.evaluate(posterior, &observation, monitor)?)
}

/// `count` samples of the posterior of each row of x (N, n, d): (N, count, m). The one way in which checks draw, so that the same seed gives
/// the same numbers wherever a check is asked for.
///
/// # Errors
/// When options are out of range, observations do not fit the model, or the monitor asked to stop.
pub fn draws(
    model: &Model,
    x: &Array3<f32>,
    count: usize,
    sampling: &SampleOptions,
    key: StreamKey,
    covariances: Option<&MomentCache>,
    monitor: &dyn Monitor,
) -> Result<Array3<f64>> {
    let groups: Vec<ArrayView2<'_, f32>> = x.axis_iter(Axis(0)).collect();
    let sampling = SampleOptions { samples: count, ..sampling.clone() };
    let key = key.child(Purpose::Calibration).indexed(count as u64);
    Ok(model.sample_groups(&groups, key, &sampling, covariances, monitor)?.0)
}

/// Parameters (N, m) with posterior samples (N, L, m) of each.
struct Drawn {
    theta: Array2<f64>,
    draws: Array3<f64>,
}

fn drawn(
    model: &Model,
    pairs: &Simulations,
    options: &CheckOptions,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Drawn> {
    check_pairs(model, pairs)?;
    let (theta, x) = pairs.valid_rows_for(model);
    let draws = draws(model, &x, options.draws, &options.sampling, StreamKey::root(seed), None, monitor)?;
    Ok(Drawn { theta, draws })
}

/// Checks that pairs have the model's parameters and observations.
///
/// # Errors
/// [`Error::Shape`] if not.
pub fn check_pairs(model: &Model, pairs: &Simulations) -> Result<()> {
    let (known, found) = (model.names(), pairs.prior.names());
    if known != found {
        return Err(Error::Shape {
            what: "calibration pairs".into(),
            expected: format!("the model's parameters {}", known.join(", ")),
            found: found.join(", "),
        });
    }
    let (own, theirs) = (model.trained().latent.prior(), &pairs.prior);
    if !alike(own, theirs) {
        return Err(Error::Shape {
            what: "calibration pairs".into(),
            expected: format!("parameters from the model's prior {}", own.to_json()),
            found: theirs.to_json(),
        });
    }
    model.check_width("calibration pairs", pairs.x.dim().2)
}

/// Whether two priors have the same supports and quartiles, up to the digits that people write.
fn alike(a: &Prior, b: &Prior) -> bool {
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-4 * a.abs().max(b.abs());
    let points = |prior: &Prior| {
        let map = LatentMap::prior_gaussian(prior);
        let at = |z: f64| {
            let mut theta = vec![0.0; map.dim()];
            map.to_parameters(&vec![z; map.dim()], &mut theta);
            theta
        };
        [at(-0.6745), at(0.0), at(0.6745)].concat()
    };
    let (a, b) = (points(a), points(b));
    let size = a.iter().map(|value| value.abs()).fold(0.0, f64::max);
    a.len() == b.len() && a.iter().zip(&b).all(|(&a, &b)| near(a, b) || (a - b).abs() < 1e-9 * size)
}
