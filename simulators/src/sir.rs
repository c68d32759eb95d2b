//! SIR: an epidemic among N = 10⁶ people (Kermack & McKendrick 1927; sbibm's task).
//!
//! dS = -β S I / N, dI = β S I / N - γ I from S = N - 1, I = 1; on every 17th day 1000 people are tested,
//! x_k ~ Binomial(1000, I(17 k) / N) for k = 0..9.

use crate::ode::solve_on_grid;
use crate::{LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask, TallLogLikelihood};
use ndarray::{ArrayView2, aview1};
use ode_solvers::{SVector, System};
use rand_distr::{Binomial, Distribution};
use rand_pcg::Pcg64;
use tallsbi_data::Prior;

/// People.
const POPULATION: f64 = 1e6;
/// Infected people at t = 0.
const INITIALLY_INFECTED: f64 = 1.0;
/// People tested each time.
const TESTED: u64 = 1000;
/// Days between tests.
const SPACING: f64 = 17.0;
/// Tests, the first at t = 0.
const TIMES: usize = 10;

/// The SIR simulator.
#[derive(Debug, Clone)]
pub struct Sir {
    /// log k! for k = 0..=TESTED.
    ln_factorial: Vec<f64>,
}

/// The task `sir`: m = 2 (contact rate β and recovery rate γ, per day), d = 10 counts.
///
/// # Errors
/// None; the signature is that of every task.
pub fn sir() -> Result<SimulatorTask<Sir>> {
    let prior = Prior::log_normal(&[("beta", 0.4f64.ln(), 0.5), ("gamma", 0.125f64.ln(), 0.2)])?;
    let names = (0..TIMES).map(|k| format!("infected_day_{}", k as f64 * SPACING)).collect();
    let mut ln_factorial = vec![0.0; TESTED as usize + 1];
    for k in 1..ln_factorial.len() {
        ln_factorial[k] = ln_factorial[k - 1] + (k as f64).ln();
    }
    Ok(SimulatorTask::new("sir", prior, names, Sir { ln_factorial })?
        .described("Epidemic of susceptible, infected and recovered people, tested every 17 days")
        .with_units(&["1/day", "1/day"])
        .with_likelihood())
}

/// The right-hand side at (β, γ), for the state alone (D = 2) or with its derivatives by β and γ (D = 6).
struct Epidemic {
    beta: f64,
    gamma: f64,
}

impl System<f64, SVector<f64, 2>> for Epidemic {
    fn system(&self, _t: f64, y: &SVector<f64, 2>, dy: &mut SVector<f64, 2>) {
        let infections = self.beta * y[0] * y[1] / POPULATION;
        dy[0] = -infections;
        dy[1] = infections - self.gamma * y[1];
    }
}

/// State (S, I, S_β, I_β, S_γ, I_γ): the variational equations beside the state.
impl System<f64, SVector<f64, 6>> for Epidemic {
    fn system(&self, _t: f64, y: &SVector<f64, 6>, dy: &mut SVector<f64, 6>) {
        let contacts = y[0] * y[1] / POPULATION;
        let change = |s: f64, i: f64| self.beta * (s * y[1] + y[0] * i) / POPULATION;
        dy[0] = -self.beta * contacts;
        dy[1] = self.beta * contacts - self.gamma * y[1];
        dy[2] = -contacts - change(y[2], y[3]);
        dy[3] = contacts + change(y[2], y[3]) - self.gamma * y[3];
        dy[4] = -change(y[4], y[5]);
        dy[5] = change(y[4], y[5]) - self.gamma * y[5] - y[1];
    }
}

/// The epidemic of the parameters last simulated: K observations of one θ solve it once.
#[derive(Debug, Clone, Default)]
pub struct SirScratch {
    theta: Option<[f64; 2]>,
    infected: [f64; TIMES],
}

impl Simulator for Sir {
    type Scratch = SirScratch;

    fn scratch(&self) -> SirScratch {
        SirScratch::default()
    }

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, scratch: &mut SirScratch, x: &mut [f64]) -> Result<()> {
        let theta = [theta[0], theta[1]];
        if scratch.theta != Some(theta) {
            scratch.theta = None;
            let mut states = [SVector::<f64, 2>::zeros(); TIMES];
            let initial = [POPULATION - INITIALLY_INFECTED, INITIALLY_INFECTED].into();
            solve_on_grid(Epidemic { beta: theta[0], gamma: theta[1] }, initial, SPACING, &mut states)?;
            scratch.infected = states.map(|state| state[1] / POPULATION);
            scratch.theta = Some(theta);
        }
        for (out, &fraction) in x.iter_mut().zip(&scratch.infected) {
            let tests = Binomial::new(TESTED, fraction.clamp(0.0, 1.0))
                .map_err(|_| SimulatorError::Failed(format!("the infected fraction is {fraction}")))?;
            *out = tests.sample(rng) as f64;
        }
        Ok(())
    }
}

/// What the likelihood needs to know of the observations.
struct SirCounts {
    /// Counts of each time that are not missing: given θ they are independent, so that others are left out of the product.
    n: [f64; TIMES],
    /// Positive tests of each time, over all observations.
    positive: [f64; TIMES],
    /// Σ log (1000 choose x), over all observations and times.
    log_choices: f64,
}

impl Sir {
    /// Sums of the counts, NaN where missing; `None` if a count is impossible.
    fn counts(&self, x: ArrayView2<'_, f32>) -> Option<SirCounts> {
        let mut counts = SirCounts { n: [0.0; TIMES], positive: [0.0; TIMES], log_choices: 0.0 };
        for observation in x.outer_iter() {
            let sums = counts.n.iter_mut().zip(&mut counts.positive).zip(observation);
            for ((n, sum), &count) in sums.filter(|(_, count)| !count.is_nan()) {
                let positive = f64::from(count);
                let negative = TESTED as f64 - positive;
                if !(positive >= 0.0 && negative >= 0.0 && positive.fract() == 0.0) {
                    return None;
                }
                *n += 1.0;
                *sum += positive;
                counts.log_choices += self.ln_factorial[TESTED as usize]
                    - self.ln_factorial[positive as usize]
                    - self.ln_factorial[negative as usize];
            }
        }
        Some(counts)
    }
}

impl TallLogLikelihood for Option<SirCounts> {
    /// One solution of the variational equations, whatever the number of observations.
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let Some(counts) = self else { return f64::NEG_INFINITY };
        let mut states = [SVector::<f64, 6>::zeros(); TIMES];
        let mut initial = SVector::<f64, 6>::zeros();
        (initial[0], initial[1]) = (POPULATION - INITIALLY_INFECTED, INITIALLY_INFECTED);
        if solve_on_grid(Epidemic { beta: theta[0], gamma: theta[1] }, initial, SPACING, &mut states).is_err() {
            return f64::NAN;
        }
        let mut total = counts.log_choices;
        for (state, (&n, &positive)) in states.iter().zip(counts.n.iter().zip(&counts.positive)) {
            // The solver's error can leave a spent epidemic slightly below zero.
            let p = (state[1] / POPULATION).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON);
            let negative = n * TESTED as f64 - positive;
            total += positive * p.ln() + negative * (-p).ln_1p();
            let derivative = positive / p - negative / (1.0 - p);
            gradient[0] += derivative * state[3] / POPULATION;
            gradient[1] += derivative * state[5] / POPULATION;
        }
        total
    }
}

impl LogLikelihood for Sir {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.tall_log_likelihood_gradient(theta, aview1(x).insert_axis(ndarray::Axis(0)), gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        self.counts(x).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(self.counts(x))
    }

    fn integrates_missing(&self) -> bool {
        true
    }
}
