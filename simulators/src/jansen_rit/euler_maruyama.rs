//! Euler–Maruyama: X ← X + h f(X) + √h Σ Z. Weak order 1; adequate at the paper's h = 1/1024 s (a h ≈ 0.1).

use super::generator::{LANES, Lane};
use super::model::{Impulses, RATE_A, RATE_B, SIGMA_3, SIGMA_5, State, Stepper, Theta};

/// Euler–Maruyama for the Jansen–Rit model.
#[derive(Debug, Clone)]
pub(super) struct EulerMaruyama {
    impulses: Impulses,
    step: f32,
    /// Factors 1 - 2 a h and a² h of the damped oscillators, for rates a and b.
    damping: [f32; 2],
    spring: [f32; 2],
    /// σ_3 √h, σ √h, σ_5 √h.
    noise_3: f32,
    noise_4: Lane,
    noise_5: f32,
}

impl Stepper for EulerMaruyama {
    const NORMALS: usize = 3;

    fn new(theta: &[Theta; LANES], step: f64) -> Self {
        let rates = [RATE_A, RATE_B];
        Self {
            impulses: Impulses::new(theta, step),
            step: step as f32,
            damping: rates.map(|rate| (1.0 - 2.0 * rate * step) as f32),
            spring: rates.map(|rate| (rate * rate * step) as f32),
            noise_3: (SIGMA_3 * step.sqrt()) as f32,
            noise_4: std::array::from_fn(|l| (theta[l][2] * step.sqrt()) as f32),
            noise_5: (SIGMA_5 * step.sqrt()) as f32,
        }
    }

    fn begin(&self, _state: &mut State) {}

    #[inline(always)]
    fn step(&self, state: &mut State, normals: &[Lane]) {
        let [z3, z4, z5, ..] = normals else { return };
        let ([damping_a, damping_b], [spring_a, spring_b]) = (self.damping, self.spring);
        for l in 0..LANES {
            let x: [f32; 6] = std::array::from_fn(|i| state[i][l]);
            let [i3, i4, i5] = self.impulses.at(l, x[0], x[1], x[2]);
            state[0][l] = x[3].mul_add(self.step, x[0]);
            state[1][l] = x[4].mul_add(self.step, x[1]);
            state[2][l] = x[5].mul_add(self.step, x[2]);
            state[3][l] = x[3].mul_add(damping_a, (-spring_a).mul_add(x[0], self.noise_3.mul_add(z3[l], i3)));
            state[4][l] = x[4].mul_add(damping_a, (-spring_a).mul_add(x[1], self.noise_4[l].mul_add(z4[l], i4)));
            state[5][l] = x[5].mul_add(damping_b, (-spring_b).mul_add(x[2], self.noise_5.mul_add(z5[l], i5)));
        }
    }
}
