//! The Hamiltonian Monte Carlo move (Neal 2011), preconditioned by the mean and covariance of the population.

use super::affine::Affine;
use super::moves::{Chunk, Move, Moved, Step, Tempered};
use super::{Likelihood, Local};
use crate::small_matrix::{add_scaled, dot};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

/// Length of a trajectory, in units of the population's standard deviation: a quarter period, after which a Gaussian population has
/// forgotten where it was.
const TRAJECTORY: f64 = std::f64::consts::FRAC_PI_2;

const STEP: Step = Step { size: 1.0, target: 0.8, rate: 1.0, range: (0.0, TRAJECTORY) };

/// A trajectory has at most this many steps.
const MOST_STEPS: usize = 10;

/// Relative range of the random step of each trajectory: no length is resonant.
const STEP_JITTER: f64 = 0.2;

/// Leapfrog trajectories in whitened coordinates w, z = mean + L w.
pub(crate) struct Hamiltonian {
    step: Step,
    whitening: Affine,
}

impl Hamiltonian {
    /// In m dimensions.
    pub fn new(m: usize) -> Self {
        Self { step: STEP, whitening: Affine::of(&vec![0.0; m], &[1.0]) }
    }

    /// Leaves the end of a trajectory of `steps` leapfrog steps in `z` and `local`; returns the probability to accept it, and how many
    /// steps it took.
    fn trajectory<L: Likelihood>(
        &self,
        target: &Tempered<'_, L>,
        (z, local): (&mut [f64], &mut Local),
        (steps, noise): (usize, &mut Pcg64),
        workspace: &mut L::Workspace,
    ) -> (f64, usize) {
        let step = self.step.size * (1.0 + STEP_JITTER * (2.0 * noise.random::<f64>() - 1.0));
        let mut momentum: Vec<f64> = z.iter().map(|_| StandardNormal.sample(noise)).collect();
        let log_density = |z: &[f64], local: &Local, momentum: &[f64]| {
            target.beta * local.values[0] - 0.5 * (dot(z, z) + dot(momentum, momentum))
        };
        let start = log_density(z, local, &momentum);
        let mut w = self.whitening.invert(z);
        let mut by_w = vec![0.0; z.len()];
        let mut kick = |z: &[f64], local: &Local, momentum: &mut [f64]| {
            let by_z: Vec<f64> = local.gradients.iter().zip(z).map(|(g, z)| target.beta * g - z).collect();
            self.whitening.pull_back(&by_z, &mut by_w);
            add_scaled(0.5 * step, &by_w, momentum);
        };
        for taken in 1..=steps {
            kick(z, local, &mut momentum);
            add_scaled(step, &momentum, &mut w);
            self.whitening.apply(&w, z);
            target.likelihood.evaluate(target.context, z, workspace, local);
            if !local.values[0].is_finite() {
                return (0.0, taken);
            }
            kick(z, local, &mut momentum);
        }
        let probability = (log_density(z, local, &momentum) - start).exp().min(1.0);
        (if probability.is_nan() { 0.0 } else { probability }, steps)
    }
}

impl Move for Hamiltonian {
    fn look(&mut self, theta: impl Iterator<Item = f64>, weights: &[f64]) {
        self.whitening = Affine::of(&theta.collect::<Vec<f64>>(), weights);
    }

    fn advance<L: Likelihood>(
        &self,
        target: &Tempered<'_, L>,
        chunk: &mut Chunk,
        workspace: &mut L::Workspace,
    ) -> Moved {
        let m = self.whitening.dim();
        let steps = ((TRAJECTORY / self.step.size).round() as usize).clamp(1, MOST_STEPS);
        let mut moved = Moved::default();
        for i in 0..chunk.noise.len() {
            let mut z = chunk.theta[i * m..][..m].to_vec();
            let mut local = Local {
                values: vec![chunk.local.values[i]],
                gradients: chunk.local.gradients[i * m..][..m].to_vec(),
                informations: Vec::new(),
            };
            let noise = (steps, &mut chunk.noise[i]);
            let (probability, taken) = self.trajectory(target, (&mut z, &mut local), noise, workspace);
            moved.evaluations += taken as u64;
            moved.accepted += probability;
            if chunk.noise[i].random::<f64>() < probability {
                chunk.put(i, &z, &local, 0);
            }
        }
        moved
    }

    fn adapt(&mut self, acceptance: f64) -> f64 {
        self.step.adapt(acceptance);
        acceptance
    }
}
