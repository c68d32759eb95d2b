//! Populations tempered from the prior to a density, moved by Hamiltonian trajectories.

use super::LogDensity;
use crate::Result;
use crate::small_matrix::{add_scaled, dot};
use crate::tempering::{Arrived, Hamiltonian, Likelihood, Local, Population, TemperingOptions};
use ndarray::ArrayView2;
use tallsbi_data::{Monitor, StreamKey};

/// A density as the likelihood π(z)/N(z; 0, I) of the prior N(0, I), without a metric.
struct Untempered<'a>(&'a dyn LogDensity);

impl Likelihood for Untempered<'_> {
    type Context = ();
    type Workspace = ();

    fn dim_theta(&self) -> usize {
        self.0.dim()
    }

    fn context(&self, _: ArrayView2<'_, f32>) -> Result<()> {
        Ok(())
    }

    fn workspace(&self) {}

    fn evaluate(&self, (): &(), theta: &[f64], (): &mut (), local: &mut Local) {
        let m = self.dim_theta();
        local.resize(theta.len() / m, m);
        let rows = local.values.iter_mut().zip(local.gradients.chunks_exact_mut(m));
        for (z, (value, gradient)) in theta.chunks_exact(m).zip(rows) {
            *value = self.0.log_density_gradient(z, gradient) + 0.5 * dot(z, z);
            add_scaled(1.0, z, gradient);
            if gradient.iter().any(|g| !g.is_finite()) {
                *value = f64::NEG_INFINITY;
            }
        }
    }
}

/// How long particles are moved: accepted trajectories each, of a quarter period, after which a Gaussian population has forgotten where it
/// was.
pub(super) struct Travel {
    /// At each temperature; one trajectory is taken in any case.
    pub level: f64,
    /// At the density itself.
    pub last: f64,
}

/// Carries `particles` draws from the prior to the density.
///
/// # Errors
/// [`InferenceError::Cancelled`](crate::InferenceError::Cancelled); when the density is zero or not finite at all draws, or the particles
/// do not arrive.
pub(super) fn carry(
    density: &dyn LogDensity,
    particles: usize,
    travel: &Travel,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Arrived> {
    let options = TemperingOptions { travel: travel.level, final_travel: travel.last, ..TemperingOptions::default() };
    let likelihood = Untempered(density);
    let key = |purpose| key.child(purpose);
    let moves = Hamiltonian::new(density.dim());
    let mut population = Population::new((&likelihood, &()), moves, particles, &options, &key, monitor)?;
    population.anneal(1.0)?;
    population.settle()?;
    let mut arrived = population.arrive();
    arrived.fault.take().map_or(Ok(arrived), Err)
}
