//! Modes that no particle has found, and evidence by the modes that they have.
//!
//! Particles from the prior miss a mode that is narrow beside the rest of the posterior, though it may hold most of it: a needle in a cloud. Or a lucky one finds it, and the evidence is nats off. So after the last
//! moves some climb: particles straight up the posterior, others up the likelihood first (whose highest point may be a needle within a cloud that the prior has moved away), and draws from the prior.
//! Around where they end Laplace's approximation gives an ellipsoid A, and importance sampling from its Gaussian truncated to A what of N(z; 0, I) p(x_{1:n}|z) lies in it, Z_A
//! (Robert & Casella 2004, ch. 3). With s the share of the particles in all ellipsoids,
//!
//!   Z = min(Σ Z_A / s, Σ Z_A + (1 - s) Z_β),   Z_β as the temperatures gave it:
//!
//! the first is far too large where particles have overlooked most of an ellipsoid, the second where a lucky one has made Z_β too large; where neither is so they are the same. If the particles in a mode are off
//! by more than a tenth of all from Z_A/Z, modes that have too few get draws from A instead, and others fewer particles. Otherwise particles stay as they are.

use super::{CHUNK, Population};
use crate::Result;
use crate::model::density::log_sum_exp;
use crate::small_matrix::{cholesky, cholesky_solve, dot, lower_transpose_solve, symmetrize};
use crate::tempering::moves::Move;
use crate::tempering::weights::{effective_size, largest, parents, weights};
use crate::tempering::{Likelihood, Local};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use tallsbi_data::Cancelled;

/// Particles that climb straight, those that climb the likelihood first, and draws from the prior that climb.
const CLIMBERS: usize = 4;

/// Particles below which a mode's share is not known well enough to say that it is too small.
const FEWEST: usize = 200;

/// The likelihood's power while its own highest point is looked for.
const COLD: f64 = 16.0;

/// Steps of a climb at most, what a step has to gain for another one (nats), and by how much steps grow after one that gains and shrink after one that does not.
const STEPS: usize = 60;
const GAIN: f64 = 1e-3;
const GROW: f64 = 2.0;
const SHRINK: f64 = 0.25;

/// Steps of the differences of gradients that give a Hessian, in widths by the metric: errors of single precision are far smaller.
const DIFFERENCE: f64 = 0.05;

/// Modes that hold e^-5 of the largest are not looked at.
const SMALLEST: f64 = 5.0;

/// By how much a mode's share of the particles may be off: resampling leaves so much between separate modes.
const OFF: f64 = 0.1;

/// The share of the particles that modes need to hold to give the evidence.
const KNOWN: f64 = 0.3;

/// Effective share of importance weights below which the Gaussian does not describe the mode.
const EFFECTIVE: f64 = 0.1;

/// A mode by Laplace's approximation.
struct Mode {
    centre: Vec<f64>,
    /// L of minus the Hessian L Lᵀ.
    factor: Vec<f64>,
    /// The logarithm of what it holds.
    log_mass: f64,
}

impl Mode {
    /// |Lᵀ (z - centre)|².
    fn distance(&self, z: &[f64]) -> f64 {
        let m = z.len();
        let component = |k: usize| (k..m).map(|i| self.factor[i * m + k] * (z[i] - self.centre[i])).sum::<f64>();
        (0..m).map(|k| component(k).powi(2)).sum()
    }

    /// Σ log L_ii.
    fn log_factor(&self) -> f64 {
        let m = self.centre.len();
        (0..m).map(|i| self.factor[i * m + i].ln()).sum()
    }
}

/// The squared radius of A: three standard deviations of χ² beyond its mean.
fn squared_radius(m: usize) -> f64 {
    m as f64 + 3.0 * (2.0 * m as f64).sqrt()
}

/// What lies in the ellipsoid around a mode, less what is in those of narrower modes.
struct Region {
    mode: Mode,
    /// log Z_A.
    log_mass: f64,
    /// Draws from A and their importance weights.
    draws: Vec<f64>,
    weights: Vec<f64>,
}

impl Region {
    /// Whether `z` lies in the ellipsoid.
    fn holds(&self, z: &[f64]) -> bool {
        self.mode.distance(z) <= squared_radius(z.len())
    }
}

impl<L: Likelihood, M: Move> Population<'_, L, M> {
    /// Takes the evidence from the modes, and gives those that were overlooked their share of the particles; true if there was one.
    pub(super) fn take_in_overlooked(&mut self) -> Result<bool> {
        if self.particles < FEWEST {
            return Ok(false);
        }
        let regions = self.regions()?;
        if regions.is_empty() {
            return Ok(false);
        }
        let own = self.sorted_into(&regions);
        let share_of = |particles: &[Vec<f64>]| particles.len() as f64 / self.particles as f64;
        let outside = share_of(&own[regions.len()]);
        let masses: Vec<f64> = regions.iter().map(|region| region.log_mass).collect();
        let total = log_sum_exp(&masses);
        let known = 1.0 - outside >= KNOWN;
        let by_temperatures = log_sum_exp(&[total, self.log_evidence + outside.ln()]);
        let by_shares = if known { total - (1.0 - outside).ln() } else { f64::INFINITY };
        let evidence = by_temperatures.min(by_shares);
        let shares: Vec<f64> = masses.iter().map(|mass| (mass - evidence).exp()).collect();
        let right = shares.iter().zip(&own).all(|(share, own)| (share - share_of(own)).abs() <= OFF);
        if known || !right {
            self.log_evidence = evidence;
        }
        if !right {
            self.share_out(&regions, &own, &shares);
            self.evaluate()?;
        }
        Ok(!right)
    }

    /// The particles in each of `regions`, of several the narrowest, and those outside of all.
    fn sorted_into(&self, regions: &[Region]) -> Vec<Vec<Vec<f64>>> {
        let m = self.target.likelihood.dim_theta();
        let mut own = vec![Vec::new(); regions.len() + 1];
        for z in self.theta().collect::<Vec<_>>().chunks_exact(m) {
            let narrowest = regions.iter().position(|region| region.holds(z));
            own[narrowest.unwrap_or(regions.len())].push(z.to_vec());
        }
        own
    }

    /// Gives each of `regions` its share of the particles, and what is left to those outside: of its own where it has enough, of its draws otherwise, evenly spaced.
    fn share_out(&mut self, regions: &[Region], own: &[Vec<Vec<f64>>], shares: &[f64]) {
        let m = self.target.likelihood.dim_theta();
        let mut places = Vec::with_capacity(self.particles * m);
        let mut cumulative = 0.0;
        for (k, own) in own.iter().enumerate() {
            cumulative += shares.get(k).copied().unwrap_or(1.0);
            let end = ((cumulative.min(1.0) * self.particles as f64).round()) as usize;
            let count = end.saturating_sub(places.len() / m);
            let Some(region) = regions.get(k).filter(|_| count > own.len()) else {
                (0..count).for_each(|i| places.extend(&own[i * own.len() / count]));
                continue;
            };
            let offset = self.resampling.indexed(k as u64).rng(self.level).random();
            let drawn = parents(&region.weights, offset);
            (0..count).for_each(|i| places.extend(&region.draws[drawn[i * drawn.len() / count] * m..][..m]));
        }
        for (chunk, places) in self.chunks.iter_mut().zip(places.chunks(CHUNK * m)) {
            chunk.theta.copy_from_slice(places);
        }
    }

    /// Regions of the posterior around its modes, the narrowest first; no two hold the same.
    fn regions(&mut self) -> Result<Vec<Region>> {
        let m = self.target.likelihood.dim_theta();
        let theta: Vec<f64> = self.theta().collect();
        let particle = |k: usize| &theta[k * self.particles / (2 * CLIMBERS) * m..][..m];
        let mut starts: Vec<f64> = (0..CLIMBERS).flat_map(|k| particle(2 * k).to_vec()).collect();
        let by_likelihood = (0..CLIMBERS).flat_map(|k| particle(2 * k + 1).to_vec()).collect();
        starts.extend(self.climb(by_likelihood, COLD)?);
        starts.extend(StandardNormal.sample_iter(self.overlooked.rng(0)).take(CLIMBERS * m).collect::<Vec<f64>>());
        let mut modes: Vec<Mode> = Vec::new();
        for end in self.climb(starts, 1.0)?.chunks_exact(m) {
            if modes.iter().all(|mode| mode.distance(end) > 1.0) {
                modes.extend(self.mode(end)?);
            }
        }
        let best = modes.iter().map(|mode| mode.log_mass).fold(f64::NEG_INFINITY, f64::max);
        modes.retain(|mode| mode.log_mass > best - SMALLEST);
        modes.sort_by(|a, b| b.log_factor().total_cmp(&a.log_factor()));
        let mut regions = Vec::new();
        for (mode, index) in modes.into_iter().zip(1..) {
            let region = self.region(mode, index, &regions)?;
            regions.extend(region);
        }
        Ok(regions)
    }

    /// What lies around `mode` and not in `narrower` regions, by as many draws as there are particles; `None` where that is no Gaussian.
    fn region(&mut self, mode: Mode, index: u64, narrower: &[Region]) -> Result<Option<Region>> {
        let m = mode.centre.len();
        let draws = mode.draws(self.particles, &mut self.overlooked.rng(index));
        let values = self.at(&draws)?.values;
        let log = |(z, value): (&[f64], f64)| {
            let elsewhere = narrower.iter().any(|region| region.holds(z));
            if elsewhere { f64::NEG_INFINITY } else { value - 0.5 * dot(z, z) + 0.5 * mode.distance(z) }
        };
        let logs: Vec<f64> = draws.chunks_exact(m).zip(values).map(log).collect();
        // Not so either where nothing is left.
        let gaussian = effective_size(&logs, 1.0) >= EFFECTIVE * self.particles as f64;
        if !gaussian {
            return Ok(None);
        }
        let weights = weights(&logs, 1.0);
        let inner = ChiSquared::new(m as f64).expect("dimensions are positive").cdf(squared_radius(m));
        let mean = weights.iter().sum::<f64>() / self.particles as f64;
        let log_mass = (mean * inner).ln() + largest(&logs) - mode.log_factor();
        Ok(Some(Region { mode, log_mass, draws, weights }))
    }

    /// Evaluates at the rows of `z`.
    fn at(&mut self, z: &[f64]) -> Result<Local> {
        let (likelihood, context, monitor) = (self.target.likelihood, self.target.context, self.monitor);
        let m = likelihood.dim_theta();
        let of_chunk = |workspace: &mut L::Workspace, z: &[f64]| {
            monitor.check()?;
            let mut local = Local::default();
            likelihood.evaluate(context, z, workspace, &mut local);
            Ok(local)
        };
        let chunks = z.par_chunks(CHUNK * m).map_init(|| likelihood.workspace(), of_chunk);
        let mut all = Local::default();
        for local in chunks.collect::<std::result::Result<Vec<_>, Cancelled>>()? {
            all.values.extend(local.values);
            all.gradients.extend(local.gradients);
            all.informations.extend(local.informations);
        }
        self.evaluations += all.values.len() as u64;
        Ok(all)
    }

    /// From the rows of `z` up -|z|²/2 + power · log p(x_{1:n}|z), by steps in the metric whose length adapts.
    fn climb(&mut self, mut z: Vec<f64>, power: f64) -> Result<Vec<f64>> {
        let m = self.target.likelihood.dim_theta();
        let height = |z: &[f64], value: f64| power * value - 0.5 * dot(z, z);
        let mut local = self.at(&z)?;
        let mut steps = vec![Some(1.0); z.len() / m];
        for _ in 0..STEPS {
            let mut proposed = z.clone();
            for (row, (proposal, step)) in proposed.chunks_exact_mut(m).zip(&mut steps).enumerate() {
                match (*step, ascent(proposal, &local, row, power)) {
                    (Some(length), Some(direction)) => {
                        proposal.iter_mut().zip(direction).for_each(|(z, by)| *z += length * by);
                    }
                    _ => *step = None,
                }
            }
            if steps.iter().all(Option::is_none) {
                break;
            }
            let new = self.at(&proposed)?;
            for (row, step) in steps.iter_mut().enumerate() {
                let Some(length) = *step else { continue };
                let (old, proposal) = (&mut z[row * m..][..m], &proposed[row * m..][..m]);
                let gain = height(proposal, new.values[row]) - height(old, local.values[row]);
                // NaN gains nothing.
                if gain > 0.0 {
                    old.copy_from_slice(proposal);
                    local.put(row, &new, row, m);
                    *step = (gain > GAIN).then_some(GROW * length);
                } else {
                    *step = (length > GAIN).then_some(SHRINK * length);
                }
            }
        }
        Ok(z)
    }

    /// Laplace's approximation at `centre`; `None` where the posterior does not curve down.
    fn mode(&mut self, centre: &[f64]) -> Result<Option<Mode>> {
        let m = centre.len();
        let here = self.at(centre)?;
        let width = |i: usize| DIFFERENCE / (1.0 + here.informations[i * m + i]).sqrt();
        let moved = |i: usize, sign: f64| {
            let mut z = centre.to_vec();
            z[i] += sign * width(i);
            z
        };
        let around = self.at(&(0..m).flat_map(|i| [moved(i, -1.0), moved(i, 1.0)].concat()).collect::<Vec<_>>())?;
        let mut factor = vec![0.0; m * m];
        for (i, row) in factor.chunks_exact_mut(m).enumerate() {
            let gradient = |k: usize| &around.gradients[(2 * i + k) * m..][..m];
            for (j, out) in row.iter_mut().enumerate() {
                *out = (gradient(0)[j] - gradient(1)[j]) / (2.0 * width(i)) + f64::from(u8::from(i == j));
            }
        }
        symmetrize(&mut factor, m);
        if !cholesky(&mut factor, m) {
            return Ok(None);
        }
        let mut mode = Mode { centre: centre.to_vec(), factor, log_mass: 0.0 };
        mode.log_mass = here.values[0] - 0.5 * dot(centre, centre) - mode.log_factor();
        Ok(Some(mode))
    }
}

impl Mode {
    /// So many draws from the Gaussian truncated to A.
    fn draws(&self, count: usize, rng: &mut impl Rng) -> Vec<f64> {
        let m = self.centre.len();
        let mut draw = || loop {
            let mut z: Vec<f64> = StandardNormal.sample_iter(&mut *rng).take(m).collect();
            if dot(&z, &z) <= squared_radius(m) {
                lower_transpose_solve(&self.factor, &mut z);
                z.iter_mut().zip(&self.centre).for_each(|(z, centre)| *z += centre);
                return z;
            }
        };
        (0..count).flat_map(|_| draw()).collect()
    }
}

/// (I + power · F)⁻¹ times the gradient of -|z|²/2 + power · log p at `z`, which is row `row` of `local`; `None` where that is not finite.
fn ascent(z: &[f64], local: &Local, row: usize, power: f64) -> Option<Vec<f64>> {
    let m = z.len();
    let mut factor: Vec<f64> = local.informations[row * m * m..][..m * m].iter().map(|f| power * f).collect();
    (0..m).for_each(|i| factor[i * m + i] += 1.0);
    let mut direction: Vec<f64> =
        local.gradients[row * m..][..m].iter().zip(z).map(|(gradient, z)| power * gradient - z).collect();
    if !cholesky(&mut factor, m) {
        return None;
    }
    cholesky_solve(&factor, &mut direction);
    direction.iter().all(|by| by.is_finite()).then_some(direction)
}
