//! A likelihood whose location parameter is integrated out.
//!
//! With g a location parameter ([`Location`](tallsbi_data::Location)), all other parameters fixed, networks give the same numbers for every g, and n observations have a log-likelihood v(g) that is nearly quadratic:
//! one evaluation of the networks serves the whole integral, and three of the density do ([`Along`]):
//!
//!   L(θ₋) = ∫ N(z; 0, 1) exp v(g(z)) dz ≈ h Σ_k N(z_k) exp v(g(z_k)),   z_k = ẑ + k h,
//!
//! by the trapezoid rule, whose error falls like e^{-2π² σ²/h²} for integrands as smooth as a Gaussian of width σ (Trefethen & Weideman 2014). Its gradient is the average of v's over the nodes, its metric the Schur
//! complement F₋₋ - F₋g F_g₋/(1 + F_gg). Particles then follow the other parameters alone: where g and they trade off along a thin, curved ridge, that is a wide posterior and a short way.
//! g is drawn from its conditional afterwards, so that samples are those of all parameters.

use super::likelihood::{LikelihoodModel, LikelihoodWorkspace, RowScratch};
use super::location::Moved;
use super::observed::{Group, LikelihoodContext};
use crate::Result;
use crate::sample::{SampleRequest, Samples};
use crate::small_matrix::dot;
use crate::tempering::{Likelihood, Local, TemperingOptions, sample_tempered};
use ndarray::{ArrayView2, Axis};
use rand::RngExt;
use rayon::prelude::*;
use tallsbi_data::{Cancelled, Monitor, Purpose, StreamKey, Symmetry};

/// Nodes of an integral on either side of its centre, and their distance, in standard deviations: errors of 10⁻⁶ where it is a Gaussian.
const EVALUATED: Grid = Grid { side: 4, step: 1.2 };

/// Nodes that a draw is interpolated between: its density is off by a thousandth at most.
const DRAWN: Grid = Grid { side: 48, step: 0.125 };

/// Parabolas through the likelihood; one is exact but for rounding, which grows with the distance to what it was laid through, in the likelihood's widths.
const PASSES: usize = 3;
const FAR: f64 = 4.0;

/// Steps towards the integrand's highest point, and the longest of them, in the prior's standard deviations.
const CENTRING: usize = 30;
const LONGEST: f64 = 1.0;

/// Distance of the derivative of a slope by differences.
const APART: f64 = 1e-4;

/// ½ log 2π.
const HALF_LN_2PI: f64 = 0.918_938_533_204_672_7;

#[derive(Clone, Copy)]
struct Grid {
    side: i32,
    step: f64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Collapsed<'a> {
    model: &'a LikelihoodModel,
    moved: &'a Moved,
    coarse: Option<(Box<Self>, f64)>,
}

/// v along δ = g - g(0) from its values and gradients at three points. Without what observations share v is a quadratic function of δ, and its gradients by the outputs are; with it, v = -½ N log(1 + Q/ν), N = ν + D,
/// where Q and Q's gradients are, so that e^{-2 v/N} and those of v times it are; of the slope by ν that is so but for its term -½ log(1 + Q/ν).
struct Along {
    /// δ of the first point; the others lie `apart` above and below.
    origin: f64,
    apart: f64,
    value: f64,
    /// q₁ and q₂ of q(t) = q₁ t + q₂ t², t = δ - origin: v's fall without, e^{-2 (v - value)/N} - 1 with what observations share.
    first: f64,
    second: f64,
    /// With what observations share.
    shared: Option<SharedLine>,
    /// Gradients of v with respect to the networks' outputs at the three points, the one for ν without its logarithm.
    slopes: [Vec<f64>; 3],
}

#[derive(Debug, Clone, Copy)]
struct SharedLine {
    /// N.
    power: f64,
    /// The output that ν comes from, and ½ ∂ν/∂output.
    freedom: (usize, f64),
}

impl Along {
    fn rise(&self, delta: f64) -> f64 {
        let t = delta - self.origin;
        (self.first + self.second * t) * t
    }

    fn at(&self, delta: f64) -> f64 {
        let rise = self.rise(delta);
        self.value - self.shared.map_or(rise, |shared| 0.5 * shared.power * rise.ln_1p())
    }

    /// What gradients at δ are a quadratic function over.
    fn scale(&self, delta: f64) -> f64 {
        self.shared.map_or(1.0, |_| 1.0 + self.rise(delta))
    }

    /// Where v is highest, and -v'' there.
    fn peak(&self) -> (f64, f64) {
        if self.second.is_nan() || self.second <= 0.0 {
            return (self.origin, 0.0);
        }
        let highest = self.origin - 0.5 * self.first / self.second;
        (highest, self.shared.map_or(2.0, |shared| shared.power) * self.second / self.scale(highest))
    }

    /// By how much the gradient at each of the three points counts at δ.
    fn shares(&self, delta: f64) -> [f64; 3] {
        let (t, scale) = ((delta - self.origin) / self.apart, self.scale(delta));
        let points = [self.origin, self.origin + self.apart, self.origin - self.apart];
        let through = [1.0 - t * t, 0.5 * t * (t + 1.0), 0.5 * t * (t - 1.0)];
        std::array::from_fn(|l| through[l] * self.scale(points[l]) / scale)
    }
}

/// The integrand at its nodes.
struct Profile {
    z: Vec<f64>,
    /// δ.
    moved: Vec<f64>,
    /// v + log N(z; 0, 1).
    logs: Vec<f64>,
    along: Along,
    step: f64,
    /// ∂g/∂z at the centre.
    by_z: f64,
}

impl LikelihoodModel {
    /// The same with its location parameter integrated out; none where there is not exactly one, where components are several or no Gaussians, or where the likelihood is bounded by where simulations were.
    pub fn collapsed(&self) -> Option<Collapsed<'_>> {
        let [moved] = &self.moved[..] else { return None };
        let (layout, (_, cells, categories)) = (self.layout(), self.columns());
        let gaussian = layout.components == 1 && !layout.tails && cells.is_none() && categories.is_none();
        if !gaussian || self.region().is_some() {
            return None;
        }
        let coarse = self.coarse();
        let coarse = coarse.map(|(model, observations)| model.collapsed().map(|own| (Box::new(own), observations)));
        Some(Collapsed { model: self, moved, coarse: coarse.flatten() })
    }
}

impl Collapsed<'_> {
    /// Whether observations (n, d) can be taken so: all under the same conditions.
    ///
    /// # Errors
    /// When they do not fit the model.
    pub fn takes(&self, x: ArrayView2<'_, f32>) -> Result<bool> {
        Ok(self.context(x)?.groups.len() == 1)
    }

    /// As [`sample_tempered`], all parameters included.
    ///
    /// # Errors
    /// Those of [`sample_tempered`].
    pub fn sample(
        &self,
        request: &SampleRequest<'_, '_>,
        samples: usize,
        options: &TemperingOptions,
        monitor: &dyn Monitor,
    ) -> Result<Samples> {
        let (mut drawn, _) = sample_tempered(self, request, samples, options, monitor)?;
        for (group, mut latent) in drawn.latent.axis_iter_mut(Axis(0)).enumerate() {
            let context = self.context(request.groups[group])?;
            let key = request.key.child(Purpose::Location).indexed(request.first_group + group as u64);
            let rows: Vec<Vec<f64>> = latent.outer_iter().map(|row| row.to_vec()).collect();
            let draw = |workspace: &mut LikelihoodWorkspace, (row, z): (usize, &Vec<f64>)| {
                monitor.check()?;
                Ok(self.draw(&context.groups[0], z, workspace, key, row as u64))
            };
            let found: std::result::Result<Vec<f64>, Cancelled> =
                rows.par_iter().enumerate().map_init(|| self.model.workspace(), draw).collect();
            for (mut row, z) in latent.outer_iter_mut().zip(found?) {
                row[self.moved.parameter()] = z;
            }
        }
        Ok(drawn)
    }

    /// z of the location parameter given the other coordinates of `z`, by the inverse of its distribution function between nodes.
    fn draw(&self, group: &Group, z: &[f64], workspace: &mut LikelihoodWorkspace, key: StreamKey, row: u64) -> f64 {
        let mut drawn = 0.0;
        let (theta, mut local) = (self.at_origin(z), Local::default());
        self.model.evaluate_rows(group.asked(), &theta, workspace, &mut local, &mut |_, scratch| {
            drawn = self.profile(group, scratch, DRAWN).draw(key.rng(row).random());
            0.0
        });
        drawn
    }

    /// Points (rows, m) with the location parameter at the origin.
    fn at_origin(&self, theta: &[f64]) -> Vec<f64> {
        let mut theta = theta.to_vec();
        let m = self.model.dim_theta();
        theta.chunks_exact_mut(m).for_each(|row| row[self.moved.parameter()] = 0.0);
        theta
    }

    /// v at g - g(0) = `delta`, its derivative by `delta`; its gradient with respect to the outputs is left in `row`.
    fn at(&self, delta: f64, group: &Group, base: &[f64], row: &mut RowScratch) -> (f64, f64) {
        let steps = self.moved.steps();
        let mean = &mut row.mixture.components[0].mean;
        mean.iter_mut().zip(base).zip(steps).for_each(|((mean, base), step)| *mean = base + delta * step);
        row.slope.fill(0.0);
        row.counts.clone_from(&group.counts);
        let value = self.model.log_likelihood(group, row);
        let means = self.model.layout().mean_offset(0);
        (value, dot(&row.slope[means..means + steps.len()], steps))
    }

    /// v along δ of an expanded row with means `base` at the origin.
    fn along(&self, group: &Group, base: &[f64], row: &mut RowScratch) -> Along {
        let layout = self.model.layout();
        let component = &row.mixture.components[0];
        let seen = layout.dim - group.patterns.first().map_or(0, |hidden| hidden.columns().len());
        let shared = component.shared.as_ref().map(|shared| SharedLine {
            power: shared.freedom + group.n * seen as f64,
            freedom: (layout.shared_range().end - 1, 0.5 * shared.by_output()),
        });
        let factor = layout.factor_of_one(component);
        let (mut steps, mut residual) = (vec![0.0; base.len()], vec![0.0; base.len()]);
        layout.whiten(&factor, self.moved.steps(), &mut steps);
        let square = dot(&steps, &steps).max(f64::MIN_POSITIVE);
        let apart = (group.n * square).max(f64::MIN_POSITIVE).sqrt().recip();
        // Where the mean of the observations would have it.
        let known = |(x, base): (&f64, &f64)| if x.is_nan() { 0.0 } else { x - base };
        let mean: Vec<f64> = group.observed[0].mean().iter().zip(base).map(known).collect();
        layout.whiten(&factor, &mean, &mut residual);
        let mut along = self.through(dot(&residual, &steps) / square, (apart, shared), group, base, row);
        for _ in 1..PASSES {
            let (highest, _) = along.peak();
            if (highest - along.origin).abs() <= FAR * apart {
                break;
            }
            along = self.through(highest, (apart, shared), group, base, row);
        }
        along
    }

    fn through(
        &self,
        origin: f64,
        (apart, shared): (f64, Option<SharedLine>),
        group: &Group,
        base: &[f64],
        row: &mut RowScratch,
    ) -> Along {
        let mut found = [origin, origin + apart, origin - apart].map(|delta| {
            let (value, slope) = self.at(delta, group, base, row);
            (value, slope, row.slope.clone())
        });
        let (value, slope, _) = found[0];
        // What v, or log(1 + Q/ν), falls, or rises, by.
        let falls =
            found.each_ref().map(|(other, ..)| shared.map_or(1.0, |shared| 2.0 / shared.power) * (value - other));
        let rises = falls.map(|fall| shared.map_or(fall, |_| fall.exp_m1()));
        let second = (rises[1] + rises[2]) / (2.0 * apart * apart);
        let first = shared.map_or(-slope, |shared| -2.0 * slope / shared.power);
        let slopes = std::array::from_fn(|l| {
            let mut slopes = std::mem::take(&mut found[l].2);
            if let Some(SharedLine { freedom: (output, half), .. }) = shared {
                slopes[output] += half * falls[l];
            }
            slopes
        });
        Along { origin, apart, value, first, second, shared, slopes }
    }

    /// The integrand of an expanded row; means are moved back to the origin in the end.
    fn profile(&self, group: &Group, row: &mut RowScratch, grid: Grid) -> Profile {
        let base = row.mixture.components[0].mean.clone();
        let along = self.along(group, &base, row);
        let (highest, curvature) = along.peak();
        let (mut centre, mut width, mut by_z) = (0.0f64, 1.0, 1.0);
        for _ in 0..CENTRING {
            let (delta, slope) = self.moved.moved(centre);
            let bend = (self.moved.moved(centre + APART).1 - self.moved.moved(centre - APART).1) / (2.0 * APART);
            // -∂² of -½ z² - ½ c (ĝ - g(z))²: towards an end of the prior g(z) bends.
            let force = curvature * (highest - delta);
            let metric = (1.0 + curvature * slope * slope).max(1.0 + curvature * slope * slope - force * bend);
            (width, by_z) = (metric.sqrt().recip(), slope);
            let step = ((force * slope - centre) / metric).clamp(-LONGEST, LONGEST);
            centre += step;
            if step.abs() < 1e-3 * width {
                break;
            }
        }
        let step = grid.step * width;
        row.mixture.components[0].mean = base;
        let z: Vec<f64> = (-grid.side..=grid.side).map(|k| centre + f64::from(k) * step).collect();
        let moved: Vec<f64> = z.iter().map(|z| self.moved.moved(*z).0).collect();
        let log = |(z, moved): (&f64, &f64)| along.at(*moved) - 0.5 * z * z - HALF_LN_2PI;
        let logs = z.iter().zip(&moved).map(log).collect();
        Profile { z, moved, logs, along, step, by_z }
    }
}

impl Profile {
    fn weights(&self) -> (f64, Vec<f64>) {
        let highest = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (highest, self.logs.iter().map(|log| (log - highest).exp()).collect())
    }

    /// log ∫, and the average gradient into `slope`.
    fn integral(&self, slope: &mut [f64]) -> f64 {
        let (highest, weights) = self.weights();
        let total: f64 = weights.iter().sum();
        let (mut shares, mut logarithm) = ([0.0; 3], 0.0);
        for (weight, delta) in weights.iter().zip(&self.moved) {
            let own = self.along.shares(*delta);
            shares.iter_mut().zip(own).for_each(|(sum, share)| *sum += weight / total * share);
            logarithm += weight / total * self.along.rise(*delta).ln_1p();
        }
        slope.fill(0.0);
        for (share, own) in shares.iter().zip(&self.along.slopes) {
            slope.iter_mut().zip(own).for_each(|(sum, value)| *sum += share * value);
        }
        if let Some(SharedLine { freedom: (output, half), .. }) = self.along.shared {
            slope[output] -= half * logarithm;
        }
        highest + (total * self.step).ln()
    }

    /// z where a share `u` of the mass lies below, the density linear between nodes.
    fn draw(&self, u: f64) -> f64 {
        let (_, weights) = self.weights();
        let cells: Vec<f64> = weights.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
        let mut rest = u * cells.iter().sum::<f64>();
        let cell = cells.iter().position(|mass| {
            let within = rest <= *mass;
            rest -= if within { 0.0 } else { *mass };
            within
        });
        let cell = cell.unwrap_or(cells.len() - 1);
        // ½ (b - a) t² + a t = rest.
        let (a, b) = (weights[cell], weights[cell + 1]);
        let root = (a * a + 2.0 * (b - a) * rest).max(0.0).sqrt();
        let t = if a + root > 0.0 { (2.0 * rest / (a + root)).min(1.0) } else { 0.5 };
        self.z[cell] + t * self.step
    }
}

impl Likelihood for Collapsed<'_> {
    type Context = LikelihoodContext;
    type Workspace = LikelihoodWorkspace;

    fn dim_theta(&self) -> usize {
        self.model.dim_theta()
    }

    fn symmetry(&self) -> Option<&Symmetry> {
        self.model.symmetry()
    }

    fn coarse(&self) -> Option<(&Self, f64)> {
        self.coarse.as_ref().map(|(coarse, observations)| (&**coarse, *observations))
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> Result<LikelihoodContext> {
        self.model.context(x)
    }

    fn workspace(&self) -> LikelihoodWorkspace {
        self.model.workspace()
    }

    /// Of a context with one group; the location parameter's own coordinate counts for nothing.
    fn evaluate(
        &self,
        context: &LikelihoodContext,
        theta: &[f64],
        workspace: &mut LikelihoodWorkspace,
        local: &mut Local,
    ) {
        let (m, own, group) = (self.model.dim_theta(), self.moved.parameter(), &context.groups[0]);
        let at_origin = self.moved.moved(0.0).1;
        let mut ratios = vec![1.0; theta.len() / m];
        self.model.evaluate_rows(group.asked(), &self.at_origin(theta), workspace, local, &mut |index, row| {
            let profile = self.profile(group, row, EVALUATED);
            ratios[index] = profile.by_z / at_origin;
            profile.integral(&mut row.slope)
        });
        for (index, ratio) in ratios.into_iter().enumerate() {
            local.gradients[index * m + own] = 0.0;
            let information = &mut local.informations[index * m * m..(index + 1) * m * m];
            let cross: Vec<f64> = (0..m).map(|a| ratio * information[a * m + own]).collect();
            let total = 1.0 + ratio * cross[own];
            for a in 0..m {
                for b in 0..m {
                    let inert = a == own || b == own;
                    let left = information[a * m + b] - cross[a] * cross[b] / total;
                    information[a * m + b] = if inert { 0.0 } else { left };
                }
            }
        }
    }
}
