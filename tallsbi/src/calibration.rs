//! Checks of a model's posteriors on calibration pairs (θ, x) of the joint distribution: which the model was not trained on, and which
//! have n observations of each θ ([`simulate`](crate::simulate()) with another seed).

use crate::{Error, Model, Result, Simulations};
use ndarray::{Array2, Array3, ArrayD, ArrayView2, ArrayView3, Axis, Ix3, s};
use serde::{Deserialize, Serialize};
use tallsbi_data::{LatentMap, Monitor, Prior, Purpose, StreamKey};
use tallsbi_diagnostics::local_c2st::{LocalC2st, LocalC2stOptions, LocalC2stResult};
use tallsbi_diagnostics::sbc::{RankOptions, Sbc, check_pairs as check_drawn};
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
    Drawn::of_model(model, pairs, options, seed, monitor)?.sbc(&options.ranks, seed, monitor)
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
    Drawn::of_model(model, pairs, options, seed, monitor)?.coverage(&options.ranks, seed, monitor)
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
    let draws = draws(model, &x, 1, sampling, StreamKey::root(seed), None, monitor)?;
    let (x, observations) = (x.mapv(f64::from), observations.mapv(f64::from));
    Drawn { theta, draws }.local_c2st(x.view(), (observations.view(), posterior), options, seed, monitor)
}

/// What errors call the draws of others.
const DRAWS: &str = "posterior draws";

fn wrong_shape(found: &[usize], rows: usize, m: usize) -> Error {
    let turned = matches!(*found, [_, second, third] if second == rows && third == m);
    let remedy = if turned { "; exchange its first two axes" } else { "" };
    Error::Shape {
        what: DRAWS.into(),
        expected: format!("({rows}, L, {m}): L draws of {m} parameters for each of {rows} rows"),
        found: format!("{found:?}{remedy}").replace('[', "(").replace(']', ")"),
    }
}

/// Parameters of the joint distribution with samples of the posterior of each of them, whoever drew these.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// True parameters (N, m).
    pub theta: Array2<f64>,
    /// Posterior samples (N, L, m).
    pub draws: Array3<f64>,
}

impl Drawn {
    /// Those of a model.
    ///
    /// # Errors
    /// As [`sbc()`].
    pub fn of_model(
        model: &Model,
        pairs: &Simulations,
        options: &CheckOptions,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        check_pairs(model, pairs)?;
        let (theta, x) = pairs.valid_rows_for(model);
        let draws = draws(model, &x, options.draws, &options.sampling, StreamKey::root(seed), None, monitor)?;
        Ok(Self { theta, draws })
    }

    /// Those that another tool drew: `draws` (N, L, m) belong to the N rows of `pairs`, of which the valid ones are kept. (N, m) is one draw of
    /// each, and (N, L) draws of a single parameter.
    ///
    /// # Errors
    /// When shapes do not fit, draws are not finite, or most posteriors have collapsed.
    pub fn of_others(pairs: &Simulations, draws: ArrayD<f64>) -> Result<Self> {
        let found = draws.shape().to_vec();
        let (rows, m) = pairs.theta.dim();
        let draws = match (found.as_slice(), m) {
            (_, 1) if found.len() == 2 => draws.insert_axis(Axis(2)),
            (&[_, width], _) if width == m => draws.insert_axis(Axis(1)),
            _ => draws,
        };
        let draws = draws.into_dimensionality::<Ix3>().ok().filter(|draws| draws.dim().0 == rows && draws.dim().2 == m);
        let draws = draws.ok_or_else(|| wrong_shape(&found, rows, m))?;
        let kept: Vec<usize> = (0..rows).filter(|&row| pairs.valid[row]).collect();
        let bad = |row: &usize| {
            draws.index_axis(Axis(0), *row).indexed_iter().find_map(|(at, v)| (!v.is_finite()).then_some((at, *v)))
        };
        if let Some((row, ((draw, column), value))) = kept.iter().find_map(|row| Some((row, bad(row)?))) {
            let name = &pairs.prior.names()[column];
            let message = format!(
                "{name} of draw {draw} of row {row} (counted from 0) is {value}; draw it anew, or mark the row as not valid"
            );
            return Err(Error::Input { origin: DRAWS.into(), message });
        }
        let drawn = Self { theta: pairs.theta.select(Axis(0), &kept), draws: draws.select(Axis(0), &kept) };
        check_drawn(drawn.theta.view(), drawn.draws.view())?;
        Ok(drawn)
    }

    /// See [`sbc()`].
    ///
    /// # Errors
    /// As [`tallsbi_diagnostics::sbc::sbc`].
    pub fn sbc(&self, ranks: &RankOptions, seed: u64, monitor: &dyn Monitor) -> Result<Sbc> {
        let key = StreamKey::root(seed).child(Purpose::Calibration);
        Ok(tallsbi_diagnostics::sbc::sbc(self.theta.view(), self.draws.view(), ranks, key, monitor)?)
    }

    /// See [`coverage`].
    ///
    /// # Errors
    /// As [`tallsbi_diagnostics::tarp::tarp`].
    pub fn coverage(&self, ranks: &RankOptions, seed: u64, monitor: &dyn Monitor) -> Result<Tarp> {
        let key = StreamKey::root(seed).child(Purpose::Calibration);
        Ok(tallsbi_diagnostics::tarp::tarp(self.theta.view(), self.draws.view(), ranks, key, monitor)?)
    }

    /// ℓ-C2ST with the first sample of each posterior: x (N, n, d) belongs to the rows, `posterior` (S, m) to the observations (n, d).
    ///
    /// # Errors
    /// As [`LocalC2st::train`] and [`LocalC2st::evaluate`].
    pub fn local_c2st(
        &self,
        x: ArrayView3<'_, f64>,
        (observations, posterior): (ArrayView2<'_, f64>, ArrayView2<'_, f64>),
        options: &LocalC2stOptions,
        seed: u64,
        monitor: &dyn Monitor,
    ) -> Result<LocalC2stResult> {
        let (pairs, n, d) = x.dim();
        let flat = Array2::from_shape_fn((pairs, n * d), |(i, j)| x[[i, j / d, j % d]]);
        let observation: Vec<f64> = observations.iter().copied().collect();
        let theta_q = self.draws.index_axis(Axis(1), 0);
        let test = LocalC2st::train(self.theta.view(), theta_q, flat.view(), options, StreamKey::root(seed), monitor)?;
        Ok(test.evaluate(posterior, &observation, monitor)?)
    }
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
    let drawn = model.sample_groups(&groups, key, &sampling, covariances, monitor)?.0;
    // Without the rate of lapses, which simulations have none of.
    Ok(drawn.slice_move(s![.., .., ..model.names().len()]))
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
