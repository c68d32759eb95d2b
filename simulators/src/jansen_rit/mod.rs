//! The Jansen–Rit neural mass model (Jansen & Rit 1995; App. J, eq. (50) of the paper, corrected).
//!
//! Three populations of a cortical column, X_0..X_2 their postsynaptic potentials (mV), X_3..X_5 their derivatives:
//!
//! ```text
//! dX_0 = X_3 dt, dX_1 = X_4 dt, dX_2 = X_5 dt
//! dX_3 = [A a Sigm(X_1 - X_2)          - 2 a X_3 - a² X_0] dt + σ_3 dW_3
//! dX_4 = [A a (μ + C_2 Sigm(C_1 X_0))  - 2 a X_4 - a² X_1] dt + σ   dW_4
//! dX_5 = [B b C_4 Sigm(C_3 X_0)        - 2 b X_5 - b² X_2] dt + σ_5 dW_5
//! Sigm(v) = v_max / (1 + exp(r (v_0 - v)))
//! ```
//!
//! from X(0) ~ N(0, I), with C_1 = C, C_2 = 0.8 C, C_3 = C_4 = 0.25 C (eq. (50) prints C_3 = C_4 = 0.25 and X_4 for X_5
//! in its last line). The EEG signal is 10^{g/10} (X_1 - X_2) with its mean removed; θ = (C, μ, σ, g).
//!
//! # Which solver
//!
//! At h = 1/1024 s Euler–Maruyama is not the model: its step adds power. Mean log10 power over all bins against Strang
//! splitting at 1/4096 s, at θ = (135, 220, 2000, 0) (sampling noise of one observation's bin is near 0.08):
//!
//! | step | 1/1024 s | 1/2048 s | 1/4096 s | 1/8192 s |
//! |---|---|---|---|---|
//! | Euler–Maruyama | +0.207 | +0.100 | +0.045 | +0.022 |
//! | Strang splitting | -0.0003 | | 0 | |
//!
//! The error halves with the step, as weak order 1 has it. The published observations (`reference/jrnmm.h5`) agree with
//! Strang splitting at 1/1024 s and with Euler–Maruyama only at far smaller steps. Strang splitting is therefore the
//! default, at two thirds of the speed.
//!
//! # How
//!
//! 32 trajectories advance together in SIMD lanes, in single precision: a trajectory's relaxation over 1/a = 10 steps keeps
//! rounding errors near 10⁻⁶ of the signal, far below what 10 s of noise leave of any statistic (a test compares with a
//! double-precision solution of the same noise). Each trajectory has a random stream of its own, so its bytes depend on
//! neither its lane nor the batch.

mod elementary;
mod euler_maruyama;
mod generator;
mod model;
mod recording;
mod spectrum;
mod strang;
#[cfg(test)]
mod tests;

pub use generator::{LANES, Lane, NormalGenerator};
pub use recording::{Output, Recording, Solver};
pub use spectrum::{BINS, HOP, PowerSpectrum, SEGMENT};
pub use strang::LinearStep;

use crate::{Result, Rows, Task};
use euler_maruyama::EulerMaruyama;
use model::{State, Stepper, Theta};
use recording::Schedule;
use strang::Strang;
use tallsbi_data::{Location, Prior, SignalWindow};

/// Prior bounds of C, μ, σ, g (App. J; the authors' code draws σ from 100 on).
const PRIOR: [(&str, f64, f64); 4] =
    [("C", 10.0, 250.0), ("mu", 50.0, 500.0), ("sigma", 0.0, 5000.0), ("g", -20.0, 20.0)];
/// Steps whose random numbers are drawn at once: 16 steps of 6 numbers for 32 lanes are 12 KiB and stay in the first cache.
const BLOCK: usize = 16;

/// The Jansen–Rit task: m = 4, d = 33 (or the number of samples).
#[derive(Debug, Clone)]
pub struct JansenRit {
    prior: Prior,
    solver: Solver,
    recording: Recording,
    schedule: Schedule,
}

/// The task `jrnmm`: parameters C (connectivity), μ (mean input, 1/s), σ (input noise) and g (gain, dB).
///
/// # Errors
/// When the recording is not valid for the solver, as [`Recording::validate`].
pub fn jansen_rit(solver: Solver, recording: Recording) -> Result<JansenRit> {
    let schedule = recording.schedule(solver)?;
    Ok(JansenRit { prior: Prior::uniform(&PRIOR)?, solver, recording, schedule })
}

impl Task for JansenRit {
    fn name(&self) -> &str {
        "jrnmm"
    }

    fn description(&self) -> &str {
        "Jansen-Rit neural mass model of the electroencephalogram"
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn parameter_units(&self) -> Vec<String> {
        ["", "1/s", "1/s^1/2", "dB"].map(String::from).to_vec()
    }

    fn dim_x(&self) -> usize {
        match self.recording.output {
            Output::Psd => BINS,
            Output::Signal => self.schedule.samples,
        }
    }

    fn signal_window(&self) -> Option<SignalWindow> {
        let window = SignalWindow { samples: self.schedule.samples, sampling_rate: self.recording.sampling_rate };
        (self.recording.output == Output::Psd).then_some(window)
    }

    fn observation_names(&self) -> Vec<String> {
        let rate = self.recording.sampling_rate;
        match self.recording.output {
            Output::Psd => {
                (0..BINS).map(|bin| format!("log10_power_{:.2}_Hz", bin as f64 * rate / SEGMENT as f64)).collect()
            }
            Output::Signal => (0..self.schedule.samples).map(|k| format!("signal_{:.6}_s", k as f64 / rate)).collect(),
        }
    }

    fn locations(&self) -> Vec<Location> {
        match self.recording.output {
            // Amplitudes grow by 10^{g/10}, powers by its square.
            Output::Psd => vec![Location { parameter: 3, steps: vec![2.0 / 10.0; BINS] }],
            Output::Signal => Vec::new(),
        }
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        rows.check(self, x, valid)?;
        let dim = self.dim_x();
        let mut signals = vec![[0.0; LANES]; self.schedule.samples];
        let mut summary = Summary::new(self.recording.output, self.schedule.samples);
        for (group, out) in x.chunks_mut(LANES * dim).enumerate() {
            let trajectories: Vec<(usize, usize)> = (group * LANES..)
                .take(out.len() / dim)
                .map(|trajectory| (trajectory / rows.n_obs, trajectory % rows.n_obs))
                .collect();
            let words: Vec<[u64; 4]> = trajectories.iter().map(|&(row, k)| rows.words(row, k)).collect();
            // Lanes to spare repeat the last trajectory.
            let theta: [Theta; LANES] = std::array::from_fn(|lane| {
                let (row, _) = trajectories[lane.min(trajectories.len() - 1)];
                std::array::from_fn(|i| rows.theta[(row, i)])
            });
            integrate(
                self.solver,
                &theta,
                self.recording.step,
                self.schedule,
                NormalGenerator::new(&words),
                &mut signals,
            );
            for (lane, out) in out.chunks_exact_mut(dim).enumerate() {
                summary.write(&signals, lane, theta[lane][3], out)?;
            }
        }
        let width = rows.n_obs * dim;
        for (row, valid) in x.chunks_exact_mut(width.max(1)).zip(valid) {
            let finite = row.iter().all(|value| value.is_finite());
            *valid = finite.into();
            if !finite {
                row.fill(f32::NAN);
            }
        }
        Ok(())
    }
}

/// Simulates [`LANES`] trajectories with a solver, writing X_1 - X_2 at each sample into `signals`.
fn integrate(
    solver: Solver,
    theta: &[Theta; LANES],
    step: f64,
    schedule: Schedule,
    generator: NormalGenerator,
    signals: &mut [Lane],
) {
    let arch = pulp::Arch::new();
    match solver {
        Solver::EulerMaruyama => {
            arch.dispatch(Integration { stepper: EulerMaruyama::new(theta, step), schedule, generator, signals });
        }
        Solver::Strang => {
            arch.dispatch(Integration { stepper: Strang::new(theta, step), schedule, generator, signals })
        }
    }
}

/// A simulation to be compiled for each instruction set.
struct Integration<'a, S> {
    stepper: S,
    schedule: Schedule,
    generator: NormalGenerator,
    signals: &'a mut [Lane],
}

impl<S: Stepper> pulp::WithSimd for Integration<'_, S> {
    type Output = ();

    #[inline(always)]
    fn with_simd<P: pulp::Simd>(mut self, _: P) {
        let Schedule { burn_in, stride, .. } = self.schedule;
        let mut state: State = [[0.0; LANES]; 6];
        self.generator.fill_inline(&mut state);
        self.stepper.begin(&mut state);
        let mut normals = vec![[0.0; LANES]; BLOCK * S::NORMALS];
        let mut unused: &[Lane] = &[];
        let mut steps = burn_in;
        for sample in self.signals.iter_mut() {
            for _ in 0..steps {
                if unused.is_empty() {
                    self.generator.fill_inline(&mut normals);
                    unused = &normals;
                }
                let (now, later) = unused.split_at(S::NORMALS);
                unused = later;
                self.stepper.step(&mut state, now);
            }
            steps = stride;
            for (lane, out) in sample.iter_mut().enumerate() {
                *out = state[1][lane] - state[2][lane];
            }
        }
    }
}

/// From a recorded signal to an observation.
struct Summary {
    output: Output,
    spectrum: PowerSpectrum,
    signal: Vec<f64>,
    log_power: [f64; BINS],
}

impl Summary {
    fn new(output: Output, samples: usize) -> Self {
        Self { output, spectrum: PowerSpectrum::new(), signal: vec![0.0; samples], log_power: [0.0; BINS] }
    }

    /// The observation of one lane at gain `gain` (dB) into `out`.
    fn write(&mut self, signals: &[Lane], lane: usize, gain: f64, out: &mut [f32]) -> Result<()> {
        let amplitude = 10f64.powf(gain / 10.0);
        let mut mean = 0.0;
        for (value, sample) in self.signal.iter_mut().zip(signals) {
            *value = amplitude * f64::from(sample[lane]);
            mean += *value;
        }
        mean /= signals.len() as f64;
        self.signal.iter_mut().for_each(|value| *value -= mean);
        match self.output {
            Output::Signal => out.iter_mut().zip(&self.signal).for_each(|(to, from)| *to = *from as f32),
            Output::Psd => {
                self.spectrum.log10_power(&self.signal, &mut self.log_power)?;
                out.iter_mut().zip(&self.log_power).for_each(|(to, from)| *to = *from as f32);
            }
        }
        Ok(())
    }
}
