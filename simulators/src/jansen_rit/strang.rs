//! Strang splitting (Buckwar, Tamborrino & Tubikanec 2019): the damped linear part with its noise exactly, the rest as
//! impulses of half a step before and after. Weak order 2, and it keeps the model's ergodic behaviour at large steps.
//!
//! Per oscillator dX = V dt, dV = (-2 a V - a² X) dt + σ dW the exact step is Gaussian with mean
//! e^{-ah} [[1+ah, h], [-a²h, 1-ah]] (X, V) and covariance
//! C11 = σ²/(4a³) [1 - e^{-2ah}(1+2ah+2a²h²)], C12 = σ² h² e^{-2ah}/2, C22 = σ²/(4a) [1 - e^{-2ah}(1-2ah+2a²h²)].
//! The impulses depend on positions only, so the half after one step and the half before the next are one.

use super::generator::{LANES, Lane};
use super::model::{Impulses, RATE_A, RATE_B, SIGMA_3, SIGMA_5, State, Stepper, Theta};

/// The exact step of a noisy damped oscillator: its mean map and the Cholesky factor of its covariance at σ = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearStep {
    /// Mean of (X, V) after the step: [[xx, xv], [vx, vv]].
    pub mean: [[f64; 2]; 2],
    /// Lower Cholesky factor of the covariance at σ = 1: l11, l21, l22.
    pub factor: [f64; 3],
}

impl LinearStep {
    /// The exact step of length `step` (s) at rate `rate` (1/s).
    pub fn new(rate: f64, step: f64) -> Self {
        let ah = rate * step;
        let decay = (-ah).exp();
        let y = 2.0 * ah;
        let c11 = (-y).exp() * exponential_tail(y) / (4.0 * rate.powi(3));
        let c12 = step * step * (-y).exp() / 2.0;
        let c22 = (1.0 - (-y).exp() * (1.0 - y + y * y / 2.0)) / (4.0 * rate);
        let l11 = c11.sqrt();
        let l21 = c12 / l11;
        Self {
            mean: [[decay * (1.0 + ah), decay * step], [-decay * rate * ah, decay * (1.0 - ah)]],
            factor: [l11, l21, (c22 - l21 * l21).sqrt()],
        }
    }
}

/// eʸ - 1 - y - y²/2 without cancellation.
fn exponential_tail(y: f64) -> f64 {
    let mut term = y * y * y / 6.0;
    let mut sum = 0.0;
    let mut k = 3.0;
    while term > sum * f64::EPSILON / 4.0 {
        sum += term;
        k += 1.0;
        term *= y / k;
    }
    sum
}

/// Strang splitting for the Jansen–Rit model.
#[derive(Debug, Clone)]
pub(super) struct Strang {
    impulses: Impulses,
    /// Mean maps and unit factors at rates a and b, rounded to single precision.
    mean: [[[f32; 2]; 2]; 2],
    factor: [[f32; 3]; 2],
    /// σ.
    sigma: Lane,
}

impl Stepper for Strang {
    const NORMALS: usize = 6;

    fn new(theta: &[Theta; LANES], step: f64) -> Self {
        let linear = [RATE_A, RATE_B].map(|rate| LinearStep::new(rate, step));
        Self {
            impulses: Impulses::new(theta, step),
            mean: linear.map(|one| one.mean.map(|row| row.map(|value| value as f32))),
            factor: linear.map(|one| one.factor.map(|value| value as f32)),
            sigma: std::array::from_fn(|l| theta[l][2] as f32),
        }
    }

    fn begin(&self, state: &mut State) {
        #[expect(clippy::needless_range_loop, reason = "the parts of the state are indexed by lane")]
        for l in 0..LANES {
            let impulses = self.impulses.at(l, state[0][l], state[1][l], state[2][l]);
            (0..3).for_each(|i| state[3 + i][l] += 0.5 * impulses[i]);
        }
    }

    #[inline(always)]
    fn step(&self, state: &mut State, normals: &[Lane]) {
        let [z0, z1, z2, z3, z4, z5, ..] = normals else { return };
        for l in 0..LANES {
            let oscillate = |rate: usize, sigma: f32, x: f32, v: f32, z: f32, w: f32| {
                let [[xx, xv], [vx, vv]] = self.mean[rate];
                let [l11, l21, l22] = self.factor[rate];
                let (z, w) = (sigma * z, sigma * w);
                (xx.mul_add(x, xv.mul_add(v, l11 * z)), vx.mul_add(x, vv.mul_add(v, l21.mul_add(z, l22 * w))))
            };
            let (x0, x3) = oscillate(0, SIGMA_3 as f32, state[0][l], state[3][l], z0[l], z3[l]);
            let (x1, x4) = oscillate(0, self.sigma[l], state[1][l], state[4][l], z1[l], z4[l]);
            let (x2, x5) = oscillate(1, SIGMA_5 as f32, state[2][l], state[5][l], z2[l], z5[l]);
            let [i3, i4, i5] = self.impulses.at(l, x0, x1, x2);
            (state[0][l], state[1][l], state[2][l]) = (x0, x1, x2);
            (state[3][l], state[4][l], state[5][l]) = (x3 + i3, x4 + i4, x5 + i5);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two half steps are one step: mean maps compose, and the covariance of the first is carried by the second.
    #[test]
    fn linear_steps_compose_exactly() {
        for (rate, step) in [(100.0, 1.0 / 1024.0), (50.0, 1.0 / 1024.0), (100.0, 1e-6), (50.0, 0.3)] {
            let (half, whole) = (LinearStep::new(rate, step / 2.0), LinearStep::new(rate, step));
            let product = |i: usize, j: usize| (0..2).map(|k| half.mean[i][k] * half.mean[k][j]).sum::<f64>();
            let covariance = |s: &LinearStep| {
                let [l11, l21, l22] = s.factor;
                [[l11 * l11, l11 * l21], [l11 * l21, l21 * l21 + l22 * l22]]
            };
            let (c, total) = (covariance(&half), covariance(&whole));
            for i in 0..2 {
                for j in 0..2 {
                    let scale = (whole.mean[i][i] * whole.mean[j][j]).abs().max(whole.mean[i][j].abs());
                    assert!((product(i, j) - whole.mean[i][j]).abs() < 1e-13 * scale.max(1e-3), "mean {i}{j}");
                    let carried: f64 = (0..2)
                        .flat_map(|k| (0..2).map(move |l| (k, l)))
                        .map(|(k, l)| half.mean[i][k] * c[k][l] * half.mean[j][l])
                        .sum();
                    let scale = (total[i][i] * total[j][j]).sqrt();
                    assert!(
                        (carried + c[i][j] - total[i][j]).abs() < 1e-10 * scale,
                        "covariance {i}{j} at {rate} {step}"
                    );
                }
            }
        }
    }

    /// As the step grows the covariance becomes the stationary one: σ²/(4a³) and σ²/(4a), uncorrelated.
    #[test]
    fn a_long_step_is_stationary() {
        let rate = 50.0;
        let [l11, l21, l22] = LinearStep::new(rate, 1.0).factor;
        assert!((l11 * l11 * 4.0 * rate.powi(3) - 1.0).abs() < 1e-12);
        assert!(l21.abs() < 1e-12 && (l22 * l22 * 4.0 * rate - 1.0).abs() < 1e-12);
    }

    /// The mean map is the flow of the drift: its derivative at zero is the drift's matrix, and the covariance grows as
    /// σ² h in velocity, σ² h³/3 in position.
    #[test]
    fn a_short_step_follows_the_equation() {
        let (rate, step) = (100.0, 1e-7);
        let linear = LinearStep::new(rate, step);
        let drift = [[0.0, 1.0], [-rate * rate, -2.0 * rate]];
        for (i, row) in drift.iter().enumerate() {
            for (j, expected) in row.iter().enumerate() {
                let derivative = (linear.mean[i][j] - f64::from(i == j)) / step;
                assert!((derivative - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{i}{j}: {derivative}");
            }
        }
        let [l11, l21, l22] = linear.factor;
        assert!((l11 * l11 / (step.powi(3) / 3.0) - 1.0).abs() < 1e-4);
        assert!(((l21 * l21 + l22 * l22) / step - 1.0).abs() < 1e-4);
    }
}
