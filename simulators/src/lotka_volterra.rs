//! Lotka–Volterra: predators and prey (Lotka 1920; sbibm's task).
//!
//! dX = (α - β Y) X, dY = (-γ + δ X) Y from X = 30, Y = 1, t ∈ [0, 20]; observed at t = 0, 2.1, …, 18.9 as
//! x ~ LogNormal(log z, 0.1) with z clipped to [1e-10, 1e4]: all prey values, then all predator values.

use crate::ode::solve_on_grid;
use crate::{LogLikelihood, Result, Simulator, SimulatorTask, TallLogLikelihood};
use ndarray::{ArrayView2, Axis, aview1};
use ode_solvers::{SVector, System};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::Prior;

/// Prey and predators at t = 0.
const INITIAL: [f64; 2] = [30.0, 1.0];
/// Every 21st point of a grid of 0.1.
const SPACING: f64 = 2.1;
/// Observation times, the first at t = 0.
const TIMES: usize = 10;
/// Standard deviation of log x.
const NOISE: f64 = 0.1;
/// Populations are clipped to this interval before they are observed (sbibm).
const CLIP: (f64, f64) = (1e-10, 1e4);
/// Mean of the parameters' logarithms under the prior, and their standard deviation.
const PRIOR: ([f64; 4], f64) = ([-0.125, -3.0, -0.125, -3.0], 0.5);
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// The Lotka–Volterra simulator.
#[derive(Debug, Clone, Copy, Default)]
pub struct LotkaVolterra;

/// The task `lotka_volterra`: m = 4 (α, β, γ, δ), d = 20; networks see log x.
///
/// # Errors
/// None; the signature is that of every task.
pub fn lotka_volterra() -> Result<SimulatorTask<LotkaVolterra>> {
    let names = ["alpha", "beta", "gamma", "delta"];
    let prior = Prior::log_normal(&std::array::from_fn::<_, 4, _>(|i| (names[i], PRIOR.0[i], PRIOR.1)))?;
    let observation_names = ["prey", "predator"]
        .iter()
        .flat_map(|species| (0..TIMES).map(move |k| format!("{species}_t{:.1}", k as f64 * SPACING)))
        .collect();
    Ok(SimulatorTask::new("lotka_volterra", prior, observation_names, LotkaVolterra)?
        .described("Populations of prey and predators, observed ten times with 10 % noise")
        .with_log_observations()
        .with_likelihood())
}

/// The right-hand side at θ, for the state alone (D = 2) or with its derivatives by the four parameters (D = 10).
struct Populations([f64; 4]);

impl System<f64, SVector<f64, 2>> for Populations {
    fn system(&self, _t: f64, y: &SVector<f64, 2>, dy: &mut SVector<f64, 2>) {
        let [alpha, beta, gamma, delta] = self.0;
        dy[0] = (alpha - beta * y[1]) * y[0];
        dy[1] = (-gamma + delta * y[0]) * y[1];
    }
}

/// State (X, Y, X_α, Y_α, X_β, Y_β, X_γ, Y_γ, X_δ, Y_δ): the variational equations beside the state.
impl System<f64, SVector<f64, 10>> for Populations {
    fn system(&self, _t: f64, y: &SVector<f64, 10>, dy: &mut SVector<f64, 10>) {
        let [alpha, beta, gamma, delta] = self.0;
        let (prey, predators) = (y[0], y[1]);
        dy[0] = (alpha - beta * predators) * prey;
        dy[1] = (-gamma + delta * prey) * predators;
        let direct = [(prey, 0.0), (-prey * predators, 0.0), (0.0, -predators), (0.0, prey * predators)];
        for (p, (of_prey, of_predators)) in direct.into_iter().enumerate() {
            let (a, b) = (y[2 + 2 * p], y[3 + 2 * p]);
            dy[2 + 2 * p] = of_prey + (alpha - beta * predators) * a - beta * prey * b;
            dy[3 + 2 * p] = of_predators + (-gamma + delta * prey) * b + delta * predators * a;
        }
    }
}

/// The populations of the parameters last simulated: K observations of one θ solve them once.
#[derive(Debug, Clone, Default)]
pub struct LotkaVolterraScratch {
    theta: Option<[f64; 4]>,
    /// Clipped populations, prey then predators.
    populations: [[f64; TIMES]; 2],
}

impl Simulator for LotkaVolterra {
    type Scratch = LotkaVolterraScratch;

    fn scratch(&self) -> LotkaVolterraScratch {
        LotkaVolterraScratch::default()
    }

    fn simulate(
        &self,
        theta: &[f64],
        rng: &mut Pcg64,
        scratch: &mut LotkaVolterraScratch,
        x: &mut [f64],
    ) -> Result<()> {
        let theta = [theta[0], theta[1], theta[2], theta[3]];
        if scratch.theta != Some(theta) {
            scratch.theta = None;
            let mut states = [SVector::<f64, 2>::zeros(); TIMES];
            solve_on_grid(Populations(theta), INITIAL.into(), SPACING, &mut states)?;
            scratch.populations = [0, 1].map(|species| states.map(|state| state[species].clamp(CLIP.0, CLIP.1)));
            scratch.theta = Some(theta);
        }
        for (out, population) in x.iter_mut().zip(scratch.populations.as_flattened()) {
            let z: f64 = StandardNormal.sample(rng);
            *out = population * (NOISE * z).exp();
        }
        Ok(())
    }
}

/// Sufficient statistics of the observations.
struct LogMoments {
    /// Values of each column that are not missing, prey then predators: noise is independent, so that others are left out of the product.
    n: [[f64; TIMES]; 2],
    /// Mean of their log x; 0 where there are none.
    mean: [[f64; TIMES]; 2],
    /// What does not depend on θ: -½ Σ (log x - mean)² / σ² and the normalisation.
    constant: f64,
}

impl LogMoments {
    /// Of observations (n, 20), NaN where missing; `None` if a population is not positive.
    fn new(x: ArrayView2<'_, f32>) -> Option<Self> {
        let mut moments = Self { n: [[0.0; TIMES]; 2], mean: [[0.0; TIMES]; 2], constant: 0.0 };
        let Self { n, mean, constant } = &mut moments;
        for ((n, mean), column) in n.as_flattened_mut().iter_mut().zip(mean.as_flattened_mut()).zip(x.columns()) {
            let seen = column.iter().filter(|value| !value.is_nan());
            if seen.clone().any(|&value| !(value > 0.0 && value.is_finite())) {
                return None;
            }
            let logs: Vec<f64> = seen.map(|&value| f64::from(value).ln()).collect();
            if logs.is_empty() {
                continue;
            }
            *n = logs.len() as f64;
            let n = *n;
            let sum: f64 = logs.iter().sum();
            *mean = sum / n;
            let scatter: f64 = logs.iter().map(|log| (log - *mean).powi(2)).sum();
            *constant -= 0.5 * scatter / (NOISE * NOISE) + sum + n * (NOISE.ln() + LN_SQRT_2PI);
        }
        Some(moments)
    }
}

impl TallLogLikelihood for Option<LogMoments> {
    /// One solution of the variational equations, whatever the number of observations.
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let Some(moments) = self else { return f64::NEG_INFINITY };
        let mut states = [SVector::<f64, 10>::zeros(); TIMES];
        let mut initial = SVector::<f64, 10>::zeros();
        (initial[0], initial[1]) = (INITIAL[0], INITIAL[1]);
        let populations = Populations([theta[0], theta[1], theta[2], theta[3]]);
        if solve_on_grid(populations, initial, SPACING, &mut states).is_err() {
            return f64::NAN;
        }
        let mut total = moments.constant;
        for (species, (counts, means)) in moments.n.iter().zip(&moments.mean).enumerate() {
            for (state, (n, mean)) in states.iter().zip(counts.iter().zip(means)) {
                let population = state[species].clamp(CLIP.0, CLIP.1);
                let residual = (mean - population.ln()) / NOISE;
                total -= 0.5 * n * residual * residual;
                if population == state[species] {
                    let derivative = n * residual / (NOISE * population);
                    (0..4).for_each(|p| gradient[p] += derivative * state[2 + 2 * p + species]);
                }
            }
        }
        total
    }
}

impl LogLikelihood for LotkaVolterra {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.tall_log_likelihood_gradient(theta, aview1(x).insert_axis(Axis(0)), gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        LogMoments::new(x).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(LogMoments::new(x))
    }

    fn integrates_missing(&self) -> bool {
        true
    }
}
