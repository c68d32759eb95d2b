//! Does a fitted likelihood have the form of the simulations where the posterior is? Neyman's smooth test of the conditional law.
//!
//! Under the right law the probability integral transforms t_i = F(x_i | x_<i, u) are uniform and independent of each other and of u (Rosenblatt 1952). Products of orthonormal
//! Legendre polynomials of one or two of them, also times a local coordinate, then have mean 0 and variance 1 over the rows near the posterior
//! (Neyman 1937; Rayner & Best 1989). A mean c_k that is not 0 beyond chance is a misfit, and the tilt p(x|u) exp(Σ_k c_k h_k) is to first order what
//! mends it. So its effect on the posterior at hand is known without knowing a better form: over the posterior's draws, the standard deviation of
//!     Δ(u) = Σ_j Σ_k c_k h_k(t(x_j, u), u),
//! in nats. A calibrated but inefficient posterior, which simulation-based calibration accepts, shows here: a mean's posterior
//! where the law is a crescent, say. Two densities that differ by e^Δ have a total variation of about 0.4 sd(Δ), a C2ST of ½ + 0.2 sd(Δ).

use super::column::{Column, Family};
use super::fit::Rows;
use super::frame::{Frame, moments};
use super::local::LocalLikelihood;
use super::near::weights;
use crate::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, NegativeBinomial, Normal, Poisson};

/// Degrees of a single transform's polynomials.
const DEGREES: usize = 4;

/// Degrees of those of pairs.
const PAIRED: usize = 2;

/// Values up to which pairs of them are tested: of d there are 2 d (d - 1).
const MOST_PAIRED: usize = 24;

/// Level of the test over all features together.
const LEVEL: f64 = 1e-3;

/// Effective rows, for each parameter, from which a form can be judged.
const ROWS_A_PARAMETER: usize = 10;

/// Draws at which the effect on the posterior is evaluated.
const DRAWS: usize = 200;

/// Cells of a count this narrow are points.
const POINT: f64 = 1e-4;

/// Rows evaluated together.
const CHUNK: usize = 256;

/// A departure from the fitted form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The value whose law is off.
    pub column: usize,
    /// The earlier value that it depends on otherwise than fitted, if it is that.
    pub given: Option<usize>,
    /// Whether it changes with the parameters.
    pub varies: bool,
    /// Its mean in standard errors.
    pub z: f64,
}

impl Departure {
    /// In words.
    pub fn describe(&self) -> String {
        let given = self.given.map_or_else(String::new, |given| format!(" given column {given}"));
        let varies = if self.varies { ", as the parameters change," } else { "" };
        format!("the law of column {}{given}{varies} is not of the fitted form (z = {:.1})", self.column, self.z)
    }
}

/// What the test found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Misfit {
    /// Standard deviation over the posterior of what the departures would change in its logarithm, nats; ∞ where too few simulations are near to tell.
    pub effect: f64,
    /// The strongest departure beyond chance.
    pub worst: Option<Departure>,
    /// Number of departures beyond chance, and of features tested.
    pub departures: usize,
    /// See `departures`.
    pub features: usize,
}

/// One product of polynomials: of t_i of degree k, of t_j of degree l if paired, and of a coordinate if it varies.
#[derive(Debug, Clone, Copy)]
struct Feature {
    i: usize,
    k: usize,
    paired: Option<(usize, usize)>,
    coordinate: Option<usize>,
}

impl Feature {
    fn value(&self, h: &[f64], v: &[f64]) -> f64 {
        let paired = self.paired.map_or(1.0, |(j, l)| h[j * DEGREES + l]);
        h[self.i * DEGREES + self.k] * paired * self.coordinate.map_or(1.0, |a| v[a])
    }
}

/// All features of the values `informative` with `m` parameters.
fn features(informative: &[usize], m: usize) -> Vec<Feature> {
    let coordinates: Vec<Option<usize>> = std::iter::once(None).chain((0..m).map(Some)).collect();
    let mut all = Vec::new();
    for coordinate in coordinates {
        for (position, &i) in informative.iter().enumerate() {
            all.extend((0..DEGREES).map(|k| Feature { i, k, paired: None, coordinate }));
            if informative.len() > MOST_PAIRED {
                continue;
            }
            for &j in &informative[..position] {
                for k in 0..PAIRED {
                    all.extend((0..PAIRED).map(|l| Feature { i, k, paired: Some((j, l)), coordinate }));
                }
            }
        }
    }
    all
}

/// Tests the form of `likelihood` at the posterior `draws` (draw, m) of the observations `x` (n, d), with rows of its own that were drawn from about `frame`.
///
/// # Errors
/// When draws have no width in some direction.
pub fn misfit(
    likelihood: &LocalLikelihood,
    frame: &Frame,
    rows: &Rows,
    draws: &[f64],
    x: &[f32],
    power: f64,
) -> Result<Misfit> {
    let (m, d) = (frame.dim(), likelihood.columns.len());
    let informative: Vec<usize> =
        (0..d).filter(|&i| !matches!(likelihood.columns[i], Column::Constant { .. })).collect();
    let all = features(&informative, m);
    let weights = weights(frame, rows, draws)?;
    let total: f64 = weights.iter().sum();
    let effective = total * total / weights.iter().map(|w| w * w).sum::<f64>();
    if !(effective >= (ROWS_A_PARAMETER * (m + 1)) as f64) {
        return Ok(Misfit { effect: f64::INFINITY, ..Misfit::default() });
    }
    // Coordinates of mean 0 and covariance I over the weighted rows.
    let (mean, covariance) = moments(&rows.u, m, Some(&weights));
    let local = Frame::new(mean, covariance)?;
    let at = |u: &[f64]| {
        let mut v = u.to_vec();
        local.to_local(&mut v);
        v
    };
    let sums = sums(likelihood, rows, &weights, &all, &at);
    let critical = Normal::standard().inverse_cdf(1.0 - 0.5 * LEVEL / all.len().max(1) as f64);
    let mut found: Vec<(Feature, f64)> = Vec::new();
    let mut worst: Option<Departure> = None;
    for (feature, [first, second]) in all.iter().zip(&sums) {
        let z = first / second.sqrt();
        if !(z.abs() > critical) {
            continue;
        }
        // Shrunk by what of it is chance.
        found.push((*feature, first / total * (1.0 - 1.0 / (z * z))));
        if worst.as_ref().is_none_or(|worst| z.abs() > worst.z.abs()) {
            let given = feature.paired.map(|(j, _)| j);
            worst = Some(Departure { column: feature.i, given, varies: feature.coordinate.is_some(), z });
        }
    }
    let effect = if found.is_empty() { 0.0 } else { power * effect(likelihood, &found, draws, x, &at) };
    Ok(Misfit { effect, worst, departures: found.len(), features: all.len() })
}

/// Σ w h and Σ w² h² of each feature.
fn sums(
    likelihood: &LocalLikelihood,
    rows: &Rows,
    weights: &[f64],
    features: &[Feature],
    at: &(dyn Fn(&[f64]) -> Vec<f64> + Sync),
) -> Vec<[f64; 2]> {
    let d = likelihood.columns.len();
    let m = rows.u.len() / weights.len();
    let parts: Vec<Vec<[f64; 2]>> = (0..weights.len().div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let mut sums = vec![[0.0; 2]; features.len()];
            let mut h = vec![0.0; d * DEGREES];
            for i in chunk * CHUNK..((chunk + 1) * CHUNK).min(weights.len()) {
                let u = &rows.u[i * m..(i + 1) * m];
                if weights[i] > 0.0 && transforms(likelihood, &rows.x[i * d..(i + 1) * d], u, &mut h) {
                    let v = at(u);
                    for (sums, feature) in sums.iter_mut().zip(features) {
                        let value = weights[i] * feature.value(&h, &v);
                        sums[0] += value;
                        sums[1] += value * value;
                    }
                }
            }
            sums
        })
        .collect();
    let mut total = vec![[0.0; 2]; features.len()];
    for part in parts {
        for (sum, value) in total.iter_mut().zip(part) {
            (0..2).for_each(|k| sum[k] += value[k]);
        }
    }
    total
}

/// sd(Δ) over evenly spaced draws.
fn effect(
    likelihood: &LocalLikelihood,
    found: &[(Feature, f64)],
    draws: &[f64],
    x: &[f32],
    at: &(dyn Fn(&[f64]) -> Vec<f64> + Sync),
) -> f64 {
    let d = likelihood.columns.len();
    let m = likelihood.chart.bounded.len();
    let count = draws.len() / m;
    let used = count.min(DRAWS);
    let changes: Vec<f64> = (0..used)
        .into_par_iter()
        .map(|s| {
            let u = &draws[s * count / used * m..][..m];
            let v = at(u);
            let mut h = vec![0.0; d * DEGREES];
            let mut change = 0.0;
            for x in x.chunks_exact(d) {
                if transforms(likelihood, x, u, &mut h) {
                    change += found.iter().map(|(feature, c)| c * feature.value(&h, &v)).sum::<f64>();
                }
            }
            change
        })
        .collect();
    moments(&changes, 1, None).1[0].sqrt()
}

/// The polynomials of all transforms of an observation, (d, DEGREES); false where it has no density.
fn transforms(likelihood: &LocalLikelihood, x: &[f32], u: &[f64], h: &mut [f64]) -> bool {
    let Some(cells) = likelihood.transforms(x, u) else { return false };
    for (h, [low, high]) in h.chunks_exact_mut(DEGREES).zip(cells) {
        polynomials(low, high, h);
    }
    h.iter().all(|value| value.is_finite())
}

/// Means of the orthonormal shifted Legendre polynomials of degrees 1 to 4 over \[low, high\].
fn polynomials(low: f64, high: f64, out: &mut [f64]) {
    if high - low < POINT {
        let t = 0.5 * (low + high);
        let s = 2.0 * t - 1.0;
        let s2 = s * s;
        out[0] = 3f64.sqrt() * s;
        out[1] = 5f64.sqrt() * (1.5 * s2 - 0.5);
        out[2] = 7f64.sqrt() * s * (2.5 * s2 - 1.5);
        out[3] = 3.0 * (s2 * (4.375 * s2 - 3.75) + 0.375);
        return;
    }
    // ∫ P_k = (P_{k+1} - P_{k-1}) / (2k+1) in s, and dt = ds/2.
    let legendre = |t: f64| {
        let s = 2.0 * t - 1.0;
        let mut p = [1.0, s, 0.0, 0.0, 0.0, 0.0];
        for k in 1..5 {
            p[k + 1] = ((2 * k + 1) as f64 * s * p[k] - k as f64 * p[k - 1]) / (k + 1) as f64;
        }
        p
    };
    let (a, b) = (legendre(low), legendre(high));
    for k in 1..=DEGREES {
        let integral = |p: &[f64; 6]| (p[k + 1] - p[k - 1]) / (2 * k + 1) as f64;
        out[k - 1] = ((2 * k + 1) as f64).sqrt() * 0.5 * (integral(&b) - integral(&a)) / (high - low);
    }
}

impl Family {
    /// P(X < x) and P(X ≤ x) at the predictor η.
    pub(super) fn cell(&self, x: f64, eta: f64) -> [f64; 2] {
        let mean = self.mean(eta);
        let below = |x: f64| -> f64 {
            if x < 0.0 {
                return 0.0;
            }
            let x = x as u64;
            match *self {
                Self::Poisson => Poisson::new(mean.max(f64::MIN_POSITIVE)).map_or(f64::NAN, |law| law.cdf(x)),
                Self::Binomial { trials } => {
                    Binomial::new((mean / trials).clamp(0.0, 1.0), trials as u64).map_or(f64::NAN, |law| law.cdf(x))
                }
                Self::NegativeBinomial { size } => {
                    NegativeBinomial::new(size, size / (size + mean)).map_or(f64::NAN, |law| law.cdf(x))
                }
            }
        };
        [below(x - 1.0), below(x)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chart;
    use super::super::fit::{Forms, fit};
    use super::super::shape::shape;
    use super::*;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};
    use std::f64::consts::PI;
    use tallsbi_data::{Silent, StreamKey};

    const N: usize = 16;

    /// Rows x = u + noise(uniform, normal, normal) in two dimensions, and n observations at u = 0.
    fn simulated(seed: u64, noise: impl Fn(f64, f64, f64) -> [f64; 2]) -> (Rows, Vec<f32>) {
        let mut rng = StreamKey::root(seed).rng(0);
        let mut rows = Rows::default();
        let mut observed = Vec::new();
        for row in 0..4000 + N {
            let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
            let (u, z) = ([normal(), normal()], [normal(), normal()]);
            let e = noise(rng.random(), z[0], z[1]);
            if row < N {
                observed.extend(e.map(|e| e as f32));
            } else {
                rows.u.extend(u);
                rows.x.extend([(u[0] + e[0]) as f32, (u[1] + e[1]) as f32]);
            }
        }
        (rows, observed)
    }

    fn fitted(rows: &Rows) -> LocalLikelihood {
        let chart = Chart { bounded: vec![false; 2], frame: Frame::standard(2, 1.0) };
        fit(chart, rows, false, 10.0, Forms { mean: 2, variance: 2, coupling: Some(1), linear: 0 }, &Silent)
            .unwrap()
            .likelihood
    }

    fn found(likelihood: &LocalLikelihood, (rows, observed): &(Rows, Vec<f32>)) -> Misfit {
        let draws: Vec<f64> = (0..400).map(|i| 0.25 * (1.0 + f64::from(i) * 1.7).sin()).collect();
        misfit(likelihood, &Frame::standard(2, 1.0), rows, &draws, observed, 1.0).unwrap()
    }

    fn crescent(t: f64, a: f64, _: f64) -> [f64; 2] {
        let (radius, angle) = (1.0 + 0.1 * a, PI * (t - 0.5));
        [radius * angle.cos(), radius * angle.sin()]
    }

    /// A level of 10⁻³ an experiment, less since the fit was made on the rows: of twenty none is expected beyond.
    #[test]
    fn the_right_form_has_no_departures() {
        for seed in 0..20 {
            let data = simulated(seed, |_, a, b| [a, 0.5 * a + 0.5 * b]);
            let misfit = found(&fitted(&data.0), &data);
            assert_eq!((misfit.departures, misfit.effect), (0, 0.0), "{seed}: {misfit:?}");
        }
    }

    /// The Gaussian of a crescent has its mean and covariance: its posteriors are calibrated, and wide.
    #[test]
    fn a_crescent_is_no_gaussian_and_a_mixture_mends_it() {
        let data = simulated(1, crescent);
        let gaussian = fitted(&data.0);
        let misfit = found(&gaussian, &data);
        let worst = misfit.worst.clone().unwrap();
        assert!(misfit.effect > 1.0 && worst.z.abs() > 10.0, "{misfit:?}");
        let (mixture, gain) = shape(&gaussian, &data.0).unwrap();
        let left = found(&mixture, &data);
        assert!(gain > 1000.0 && left.effect < 0.3, "{gain} {left:?}");
    }

    /// A scale that turns with the parameters faster than the variances' polynomials go.
    #[test]
    fn what_changes_with_the_parameters_is_told() {
        let mut data = simulated(2, |_, a, b| [a, b]);
        for (u, x) in data.0.u.chunks_exact(2).zip(data.0.x.chunks_exact_mut(2)) {
            x[0] = (f64::from(x[0]) + 0.8 * (f64::from(x[0]) - u[0]) * u[0].tanh()) as f32;
        }
        let chart = Chart { bounded: vec![false; 2], frame: Frame::standard(2, 1.0) };
        let forms = Forms { mean: 1, ..Forms::default() };
        let likelihood = fit(chart, &data.0, false, 10.0, forms, &Silent).unwrap().likelihood;
        let worst = found(&likelihood, &data).worst.unwrap();
        assert!(worst.column == 0 && worst.varies && worst.z.abs() > 5.0, "{worst:?}");
    }

    #[test]
    fn polynomials_are_orthonormal_and_means_over_cells_agree() {
        let mut gram = [0.0; DEGREES * DEGREES];
        let mut h = [0.0; DEGREES];
        let steps = 4000;
        let mut mean = [0.0; DEGREES];
        for step in 0..steps {
            let t = (step as f64 + 0.5) / steps as f64;
            polynomials(t, t, &mut h);
            for i in 0..DEGREES {
                (0..DEGREES).for_each(|j| gram[i * DEGREES + j] += h[i] * h[j] / steps as f64);
                if (0.2..0.7).contains(&t) {
                    mean[i] += h[i] / (0.5 * steps as f64);
                }
            }
        }
        for (ij, value) in gram.iter().enumerate() {
            let own = if ij % (DEGREES + 1) == 0 { 1.0 } else { 0.0 };
            assert!((value - own).abs() < 1e-5);
        }
        polynomials(0.2, 0.7, &mut h);
        assert!(h.iter().zip(mean).all(|(h, mean)| (h - mean).abs() < 1e-5), "{h:?} {mean:?}");
    }
}
