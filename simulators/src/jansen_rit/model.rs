//! The Jansen–Rit model's constants and the right-hand side both solvers share.

use super::elementary::exp;
use super::generator::{LANES, Lane};

/// Maximal amplitude of excitatory postsynaptic potentials, mV.
pub(super) const A: f64 = 3.25;
/// Maximal amplitude of inhibitory postsynaptic potentials, mV.
pub(super) const B: f64 = 22.0;
/// Inverse time constant of excitation, 1/s.
pub(super) const RATE_A: f64 = 100.0;
/// Inverse time constant of inhibition, 1/s.
pub(super) const RATE_B: f64 = 50.0;
/// Maximal firing rate, 1/s.
pub(super) const V_MAX: f64 = 5.0;
/// Potential of half the maximal firing rate, mV.
pub(super) const V_0: f64 = 6.0;
/// Slope of the sigmoid, 1/mV.
pub(super) const SLOPE: f64 = 0.56;
/// C_2, C_3 and C_4 as fractions of C.
pub(super) const C_2: f64 = 0.8;
pub(super) const C_3: f64 = 0.25;
pub(super) const C_4: f64 = 0.25;
/// Noise on X_3 and on X_5 (on X_4 it is the parameter σ).
pub(super) const SIGMA_3: f64 = 0.01;
pub(super) const SIGMA_5: f64 = 1.0;

/// Parameters (C, μ, σ, g) of one trajectory.
pub(super) type Theta = [f64; 4];

/// State X_0..X_5 of [`LANES`] trajectories.
pub(super) type State = [Lane; 6];

/// The part of the drift that is not linear in the state, times a step: impulses on the velocities X_3, X_4, X_5.
///
/// h A a Sigm(X_1 - X_2), h A a (μ + C_2 Sigm(C_1 X_0)), h B b C_4 Sigm(C_3 X_0), with
/// Sigm(v) = v_max / (1 + exp(r (v_0 - v))).
#[derive(Debug, Clone)]
pub(super) struct Impulses {
    /// r C_1 and r C_3.
    slope_1: Lane,
    slope_3: Lane,
    /// h A a μ.
    input: Lane,
    /// h A a v_max, the same for all; h A a C_2 v_max; h B b C_4 v_max.
    height_3: f32,
    height_4: Lane,
    height_5: Lane,
}

impl Impulses {
    pub(super) fn new(theta: &[Theta; LANES], step: f64) -> Self {
        let lane =
            |f: &dyn Fn(f64, f64) -> f64| -> Lane { std::array::from_fn(|l| f(theta[l][0], theta[l][1]) as f32) };
        Self {
            slope_1: lane(&|c, _| SLOPE * c),
            slope_3: lane(&|c, _| SLOPE * C_3 * c),
            input: lane(&|_, mu| step * A * RATE_A * mu),
            height_3: (step * A * RATE_A * V_MAX) as f32,
            height_4: lane(&|c, _| step * A * RATE_A * V_MAX * C_2 * c),
            height_5: lane(&|c, _| step * B * RATE_B * V_MAX * C_4 * c),
        }
    }

    /// The impulses of one lane at positions (X_0, X_1, X_2).
    #[inline(always)]
    pub(super) fn at(&self, lane: usize, x0: f32, x1: f32, x2: f32) -> [f32; 3] {
        const MIDPOINT: f32 = (SLOPE * V_0) as f32;
        const STEEPNESS: f32 = SLOPE as f32;
        let share = |negative_slope_times_v: f32| 1.0 / (1.0 + exp(negative_slope_times_v + MIDPOINT));
        [
            self.height_3 * share(STEEPNESS * (x2 - x1)),
            self.height_4[lane].mul_add(share(-self.slope_1[lane] * x0), self.input[lane]),
            self.height_5[lane] * share(-self.slope_3[lane] * x0),
        ]
    }
}

/// A method that advances [`LANES`] trajectories by one step.
pub(super) trait Stepper {
    /// Normal numbers a step takes per trajectory.
    const NORMALS: usize;

    /// The method for these parameters and this step in seconds.
    fn new(theta: &[Theta; LANES], step: f64) -> Self;

    /// What has to be done once before the first step.
    fn begin(&self, state: &mut State);

    /// One step, with [`Stepper::NORMALS`] rows of independent N(0, 1) numbers.
    fn step(&self, state: &mut State, normals: &[Lane]);
}
