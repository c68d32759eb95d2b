//! Bernoulli GLM: spikes of a neuron driven by a known stimulus (sbibm's task).
//!
//! y_t ~ Bernoulli(logistic(V_t · θ)) for t = 0..99; the design matrix V holds a one and the last nine values of the
//! stimulus. θ = (offset, filter) has prior precision ½ for the offset and FᵀF for the filter, F = D² + diag(√(i/9)),
//! D the matrix of first differences: filters are smooth. The observation is either y itself or the sufficient statistic
//! Vᵀ y.

use crate::{LogLikelihood, Result, Simulator, SimulatorError, SimulatorTask, TallLogLikelihood};
use faer::{Mat, Side, linalg::solvers::Llt, prelude::Solve};
use ndarray::ArrayView2;
use rand::RngExt;
use rand_pcg::Pcg64;
use tallsbi_data::{Component, Prior};

/// Time bins.
const BINS: usize = 100;
/// Values of the filter.
const FILTER: usize = 9;
/// Parameters: the offset and the filter.
const PARAMETERS: usize = FILTER + 1;
/// Prior precision of the offset.
const OFFSET_PRECISION: f64 = 0.5;

/// Stimulus of each time bin, as the benchmark has it: the first 100 standard normal numbers of numpy's `RandomState(42)`,
/// rounded to single precision (`stimulus_I` of `bernoulli_glm_stimulus.h5` in the paper authors' repository
/// diffusions-for-sbi, commit 2cf52ee).
const STIMULUS: [f32; BINS] = [
    0.49671414,
    -0.1382643,
    0.64768857,
    1.5230298,
    -0.23415338,
    -0.23413695,
    1.5792128,
    0.7674347,
    -0.46947438,
    0.54256004,
    -0.46341768,
    -0.46572974,
    0.24196227,
    -1.9132802,
    -1.7249179,
    -0.5622875,
    -1.0128311,
    0.31424734,
    -0.9080241,
    -1.4123037,
    1.4656488,
    -0.2257763,
    0.0675282,
    -1.4247482,
    -0.54438275,
    0.11092259,
    -1.1509936,
    0.37569803,
    -0.6006387,
    -0.29169375,
    -0.6017066,
    1.8522782,
    -0.013497225,
    -1.0577109,
    0.82254493,
    -1.2208437,
    0.2088636,
    -1.9596701,
    -1.328186,
    0.19686124,
    0.73846656,
    0.17136829,
    -0.115648285,
    -0.30110368,
    -1.478522,
    -0.7198442,
    -0.46063876,
    1.0571222,
    0.3436183,
    -1.7630402,
    0.32408398,
    -0.38508227,
    -0.676922,
    0.6116763,
    1.0309995,
    0.93128014,
    -0.83921754,
    -0.3092124,
    0.33126342,
    0.9755451,
    -0.47917423,
    -0.18565898,
    -1.1063349,
    -1.1962066,
    0.8125258,
    1.35624,
    -0.07201012,
    1.0035329,
    0.361636,
    -0.6451197,
    0.3613956,
    1.5380366,
    -0.03582604,
    1.5646436,
    -2.619745,
    0.8219025,
    0.08704707,
    -0.29900736,
    0.09176078,
    -1.9875689,
    -0.21967189,
    0.35711256,
    1.4778941,
    -0.5182702,
    -0.8084936,
    -0.501757,
    0.9154021,
    0.32875112,
    -0.5297602,
    0.51326746,
    0.09707755,
    0.968645,
    -0.70205307,
    -0.32766214,
    -0.39210814,
    -1.4635149,
    0.2961203,
    0.26105526,
    0.005113457,
    -0.23458713,
];

/// What is observed of the spikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Observed {
    /// Vᵀ y, 10 values.
    SufficientStatistics,
    /// y, 100 values.
    Spikes,
}

/// The Bernoulli GLM simulator.
#[derive(Debug, Clone)]
pub struct BernoulliGlm {
    /// Rows V_t.
    design: Vec<[f64; PARAMETERS]>,
    observed: Observed,
}

/// The task `bernoulli_glm`: m = 10, d = 10 sufficient statistics.
///
/// # Errors
/// None; the signature is that of every task.
pub fn bernoulli_glm() -> Result<SimulatorTask<BernoulliGlm>> {
    let names = std::iter::once("spikes".to_owned()).chain((1..=FILTER).map(|i| format!("spike_triggered_{i}")));
    task(
        "bernoulli_glm",
        "Spikes of a neuron under a known stimulus, as sufficient statistics",
        Observed::SufficientStatistics,
        names.collect(),
    )
}

/// The task `bernoulli_glm_raw`: m = 10, d = 100 spikes (0 or 1).
///
/// # Errors
/// None; the signature is that of every task.
pub fn bernoulli_glm_raw() -> Result<SimulatorTask<BernoulliGlm>> {
    task(
        "bernoulli_glm_raw",
        "Spikes of a neuron under a known stimulus",
        Observed::Spikes,
        (0..BINS).map(|t| format!("spike_{t}")).collect(),
    )
}

fn task(
    name: &str,
    description: &str,
    observed: Observed,
    observation_names: Vec<String>,
) -> Result<SimulatorTask<BernoulliGlm>> {
    let model = BernoulliGlm { design: design_matrix(), observed };
    Ok(SimulatorTask::new(name, prior()?, observation_names, model)?.described(description).with_likelihood())
}

/// V: a one, then the stimulus delayed by 0..8 bins (zero before it starts).
fn design_matrix() -> Vec<[f64; PARAMETERS]> {
    (0..BINS)
        .map(|t| {
            std::array::from_fn(|column| match column {
                0 => 1.0,
                _ => t.checked_sub(column - 1).map_or(0.0, |bin| f64::from(STIMULUS[bin])),
            })
        })
        .collect()
}

fn prior() -> Result<Prior> {
    let difference = Mat::from_fn(FILTER, FILTER, |i, j| {
        if i == j {
            1.0
        } else if i == j + 1 {
            -1.0
        } else {
            0.0
        }
    });
    let mut roughness = &difference * &difference;
    for i in 0..FILTER {
        roughness[(i, i)] += (i as f64 / FILTER as f64).sqrt();
    }
    let filter = roughness.transpose() * &roughness;
    let precision = Mat::from_fn(PARAMETERS, PARAMETERS, |i, j| match (i, j) {
        (0, 0) => OFFSET_PRECISION,
        (0, _) | (_, 0) => 0.0,
        _ => filter[(i - 1, j - 1)],
    });
    let covariance = Llt::new(precision.as_ref(), Side::Lower)
        .expect("FᵀF is positive definite: F is triangular with a positive diagonal")
        .solve(Mat::<f64>::identity(PARAMETERS, PARAMETERS));
    let names = std::iter::once("offset".to_owned()).chain((1..=FILTER).map(|i| format!("filter_{i}")));
    Ok(Prior::new(vec![Component::MultivariateNormal {
        names: names.collect(),
        loc: vec![0.0; PARAMETERS],
        // The average with the transpose removes the solver's rounding: the covariance is exactly symmetric.
        covariance: (0..PARAMETERS)
            .map(|i| (0..PARAMETERS).map(|j| 0.5 * (covariance[(i, j)] + covariance[(j, i)])).collect())
            .collect(),
    }])?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn logistic(eta: f64) -> f64 {
    1.0 / (1.0 + (-eta).exp())
}

impl Simulator for BernoulliGlm {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        x.fill(0.0);
        for (t, row) in self.design.iter().enumerate() {
            let eta = dot(row, theta);
            if eta.is_nan() {
                return Err(SimulatorError::Failed("a spike probability is not a number".into()));
            }
            let spike = rng.random::<f64>() < logistic(eta);
            match self.observed {
                Observed::Spikes => x[t] = f64::from(spike),
                Observed::SufficientStatistics if spike => x.iter_mut().zip(row).for_each(|(sum, v)| *sum += v),
                Observed::SufficientStatistics => {}
            }
        }
        Ok(())
    }
}

/// What the likelihood needs to know of the observations.
struct SpikeStatistics<'a> {
    design: &'a [[f64; PARAMETERS]],
    /// Observations.
    n: f64,
    /// Σ Vᵀ y over all observations.
    sum: [f64; PARAMETERS],
}

impl BernoulliGlm {
    fn statistics(&self, observations: impl Iterator<Item = f32>) -> SpikeStatistics<'_> {
        let mut sum = [0.0; PARAMETERS];
        let mut values = 0;
        let width = if self.observed == Observed::Spikes { BINS } else { PARAMETERS };
        for (index, value) in observations.enumerate() {
            values += 1;
            match self.observed {
                Observed::SufficientStatistics => sum[index % PARAMETERS] += f64::from(value),
                Observed::Spikes => {
                    let row = &self.design[index % BINS];
                    sum.iter_mut().zip(row).for_each(|(out, v)| *out += f64::from(value) * v);
                }
            }
        }
        SpikeStatistics { design: &self.design, n: (values / width) as f64, sum }
    }
}

impl TallLogLikelihood for SpikeStatistics<'_> {
    fn log_likelihood_gradient(&self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.copy_from_slice(&self.sum);
        let mut total = dot(&self.sum, theta);
        for row in self.design {
            let eta = dot(row, theta);
            // log(1 + eᵉᵗᵃ) and its derivative from one exponential, without overflow.
            let decay = (-eta.abs()).exp();
            total -= self.n * (eta.max(0.0) + decay.ln_1p());
            let probability = if eta >= 0.0 { 1.0 / (1.0 + decay) } else { decay / (1.0 + decay) };
            gradient.iter_mut().zip(row).for_each(|(out, v)| *out -= self.n * probability * v);
        }
        total
    }
}

/// Σ_t [y_t V_t·θ - log(1 + exp(V_t·θ))]. Of the sufficient statistics this is the likelihood up to a factor (the number of
/// spike trains with these statistics) that does not depend on θ.
impl LogLikelihood for BernoulliGlm {
    fn log_likelihood_gradient(&self, theta: &[f64], x: &[f32], gradient: &mut [f64]) -> f64 {
        self.statistics(x.iter().copied()).log_likelihood_gradient(theta, gradient)
    }

    fn tall_log_likelihood_gradient(&self, theta: &[f64], x: ArrayView2<'_, f32>, gradient: &mut [f64]) -> f64 {
        self.statistics(x.iter().copied()).log_likelihood_gradient(theta, gradient)
    }

    fn given(&self, x: ArrayView2<'_, f32>) -> Box<dyn TallLogLikelihood + '_> {
        Box::new(self.statistics(x.iter().copied()))
    }
}
