//! Two moons: a crescent whose position depends on |θ1 + θ2| (Greenberg et al. 2019; sbibm's task).
//!
//! a ~ U(-π/2, π/2), r ~ N(0.1, 0.01²), p = (r cos a + 0.25, r sin a),
//! x = p + (-|θ1 + θ2|/√2, (θ2 - θ1)/√2). The absolute value makes the posterior two crescents.

use crate::{LogLikelihood, Result, Simulator, SimulatorTask};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use tallsbi_data::Prior;

/// Mean and standard deviation of the crescent's radius.
const RADIUS: (f64, f64) = (0.1, 0.01);
/// The crescent's centre on the first axis.
const CENTRE: f64 = 0.25;
/// The prior is U(-1, 1) for both parameters.
const PRIOR_BOUND: f64 = 1.0;
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// The two-moons simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct TwoMoons;

/// The task `two_moons`: m = d = 2.
///
/// # Errors
/// None; the signature is that of every task.
pub fn two_moons() -> Result<SimulatorTask<TwoMoons>> {
    let prior = Prior::uniform(&["theta_1", "theta_2"].map(|name| (name, -PRIOR_BOUND, PRIOR_BOUND)))?;
    Ok(SimulatorTask::new("two_moons", prior, crate::gaussian::observation_names(2), TwoMoons)?
        .described("A crescent in the plane whose posterior is two crescents")
        .with_likelihood())
}

fn shift(theta: &[f64]) -> [f64; 2] {
    [-(theta[0] + theta[1]).abs() * FRAC_1_SQRT_2, (theta[1] - theta[0]) * FRAC_1_SQRT_2]
}

impl Simulator for TwoMoons {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let angle = PI * (rng.random::<f64>() - 0.5);
        let z: f64 = StandardNormal.sample(rng);
        let radius = RADIUS.0 + RADIUS.1 * z;
        let [dx, dy] = shift(theta);
        x[0] = radius * angle.cos() + CENTRE + dx;
        x[1] = radius * angle.sin() + dy;
        Ok(())
    }
}

/// In polar coordinates around the crescent's centre p(x | θ) = N(r; 0.1, 0.01²) / (π r) on the right half plane. (The
/// simulator's r is negative with probability 10⁻²³, which the density leaves out.)
impl LogLikelihood for TwoMoons {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let [dx, dy] = shift(theta);
        let (u, v) = (f64::from(x[0]) - dx - CENTRE, f64::from(x[1]) - dy);
        if u.is_nan() || v.is_nan() || u <= 0.0 {
            return f64::NEG_INFINITY;
        }
        let radius = u.hypot(v);
        let residual = (radius - RADIUS.0) / RADIUS.1;
        let by_radius = -residual / RADIUS.1 - 1.0 / radius;
        let (by_u, by_v) = (by_radius * u / radius, by_radius * v / radius);
        // u grows by sign(θ1 + θ2)/√2 with either parameter, v by +1/√2 with θ1 and -1/√2 with θ2.
        let sign = (theta[0] + theta[1]).signum();
        gradient[0] = FRAC_1_SQRT_2 * (by_u * sign + by_v);
        gradient[1] = FRAC_1_SQRT_2 * (by_u * sign - by_v);
        -0.5 * residual * residual - RADIUS.1.ln() - LN_SQRT_2PI - PI.ln() - radius.ln()
    }
}
