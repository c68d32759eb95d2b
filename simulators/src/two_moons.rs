//! Two moons: a crescent whose position depends on |θ1 + θ2| (Greenberg et al. 2019; sbibm's task).
//!
//! a ~ U(-π/2, π/2), r ~ N(0.1, 0.01²), p = (r cos a + 0.25, r sin a),
//! x = p + (-|θ1 + θ2|/√2, (θ2 - θ1)/√2). The absolute value makes the posterior two crescents.

use crate::exact::{Bounded, Quadtree, Square};
use crate::{LogLikelihood, PosteriorSampler, Result, Simulator, SimulatorError, SimulatorTask};
use ndarray::ArrayView2;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use tallsbi_data::{Prior, SignedPermutation};

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
    // θ1 + θ2 changes its sign, θ2 - θ1 does not.
    let exchange = SignedPermutation { source: vec![1, 0], negate: vec![true, true] };
    SimulatorTask::new("two_moons", prior, crate::gaussian::observation_names(2), TwoMoons)?
        .described("A crescent in the plane whose posterior is two crescents")
        .with_likelihood()
        .with_posterior_sampler(TwoMoons::posterior)
        .with_symmetry(&[exchange])
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

/// Radii below this are impossible: they have probability 10⁻²², and the density's pole at zero has no upper bound.
const SMALLEST_RADIUS: f64 = 0.1 * RADIUS.0;

/// The posterior of the shift s = (-|θ1 + θ2|, θ2 - θ1)/√2, in which θ ↦ s is an isometry of either half of the prior's square
/// onto the triangle s1 ≤ 0, |s1| + |s2| ≤ √2.
struct ShiftPosterior {
    /// Centre of the crescent that each observation would come from at s = 0.
    centres: Vec<[f64; 2]>,
}

/// log of N(r; 0.1, 0.01²) / r up to a constant.
fn radial(radius: f64) -> f64 {
    let residual = (radius - RADIUS.0) / RADIUS.1;
    -0.5 * residual * residual - radius.ln()
}

/// The radius where [`radial`] is largest; it rises from [`SMALLEST_RADIUS`] to there and falls beyond.
fn peak() -> f64 {
    0.5 * (RADIUS.0 + (RADIUS.0 * RADIUS.0 - 4.0 * RADIUS.1 * RADIUS.1).sqrt())
}

impl Bounded for ShiftPosterior {
    fn log_density(&self, s: [f64; 2]) -> f64 {
        if s[0] > 0.0 || s[0].abs() + s[1].abs() > 2f64.sqrt() * PRIOR_BOUND {
            return f64::NEG_INFINITY;
        }
        let of_one = |centre: &[f64; 2]| {
            let (u, v) = (centre[0] - s[0], centre[1] - s[1]);
            let radius = u.hypot(v);
            if u <= 0.0 || radius < SMALLEST_RADIUS { f64::NEG_INFINITY } else { radial(radius) }
        };
        self.centres.iter().map(of_one).sum()
    }

    fn upper_bound(&self, square: &Square) -> f64 {
        let [right, top] = square.at(1.0, 1.0);
        let smallest = |low: f64, high: f64| if low <= 0.0 && high >= 0.0 { 0.0 } else { low.abs().min(high.abs()) };
        let taxicab = smallest(square.corner[0], right) + smallest(square.corner[1], top);
        if square.corner[0] > 0.0 || taxicab > 2f64.sqrt() * PRIOR_BOUND {
            return f64::NEG_INFINITY;
        }
        let of_one = |centre: &[f64; 2]| {
            let (low, high) = square.distances(*centre);
            if centre[0] <= square.corner[0] || high < SMALLEST_RADIUS {
                return f64::NEG_INFINITY;
            }
            radial(peak().clamp(low.max(SMALLEST_RADIUS), high))
        };
        self.centres.iter().map(of_one).sum()
    }
}

/// Independent draws of θ.
struct TwoMoonsPosterior(Quadtree<ShiftPosterior>);

impl PosteriorSampler for TwoMoonsPosterior {
    fn method(&self) -> &'static str {
        "exact rejection on a quadtree"
    }

    fn chain(&self, mut rng: Pcg64) -> crate::task::Draw<'_> {
        Box::new(move |theta| {
            let [minus_sum, difference] = self.0.sample(&mut rng);
            let sum = if rng.random::<bool>() { minus_sum } else { -minus_sum };
            theta[0] = (sum - difference) * FRAC_1_SQRT_2;
            theta[1] = (sum + difference) * FRAC_1_SQRT_2;
        })
    }
}

impl TwoMoons {
    /// The sampler of the posterior given the rows of `x` (n, 2).
    fn posterior(&self, _prior: &Prior, x: ArrayView2<'_, f32>) -> Result<Box<dyn PosteriorSampler>> {
        let centres = x.outer_iter().map(|row| [f64::from(row[0]) - CENTRE, f64::from(row[1])]).collect();
        let side = 2f64.sqrt() * PRIOR_BOUND;
        let squares = [-side, 0.0].map(|bottom| Square { corner: [-side, bottom], side });
        match Quadtree::new(ShiftPosterior { centres }, &squares) {
            Some(tree) => Ok(Box::new(TwoMoonsPosterior(tree))),
            None => Err(SimulatorError::Observations {
                task: "two_moons".into(),
                message: "no parameters explain these observations together; condition on fewer of them".into(),
            }),
        }
    }
}
