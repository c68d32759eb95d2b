//! The vectorised solvers against a plain double-precision solution of the same noise, written from the equations.

use super::euler_maruyama::EulerMaruyama;
use super::generator::{LANES, Lane, NormalGenerator};
use super::model::{State, Stepper, Theta};
use super::recording::{Recording, Solver};
use super::strang::{LinearStep, Strang};
use super::{PowerSpectrum, integrate};
use tallsbi_data::StreamKey;

fn sigmoid(v: f64) -> f64 {
    5.0 / (1.0 + (0.56 * (6.0 - v)).exp())
}

/// Impulses per second on X_3, X_4, X_5: the part of the drift that is not linear.
fn impulses([c, mu, ..]: Theta, x: &[f64; 6]) -> [f64; 3] {
    [
        3.25 * 100.0 * sigmoid(x[1] - x[2]),
        3.25 * 100.0 * (mu + 0.8 * c * sigmoid(c * x[0])),
        22.0 * 50.0 * 0.25 * c * sigmoid(0.25 * c * x[0]),
    ]
}

fn euler_maruyama(theta: Theta, x: &mut [f64; 6], h: f64, z: &[f64]) {
    let (now, impulse) = (*x, impulses(theta, x));
    let sigma = [0.01, theta[2], 1.0];
    for (i, rate) in [100.0, 100.0, 50.0].into_iter().enumerate() {
        x[i] += h * now[3 + i];
        x[3 + i] += h * (impulse[i] - 2.0 * rate * now[3 + i] - rate * rate * now[i]) + sigma[i] * h.sqrt() * z[i];
    }
}

/// Half an impulse, the linear step, half an impulse.
fn strang(theta: Theta, x: &mut [f64; 6], h: f64, z: &[f64]) {
    let half = |x: &mut [f64; 6]| {
        let impulse = impulses(theta, x);
        (0..3).for_each(|i| x[3 + i] += h / 2.0 * impulse[i]);
    };
    half(x);
    let sigma = [0.01, theta[2], 1.0];
    for (i, rate) in [100.0, 100.0, 50.0].into_iter().enumerate() {
        let LinearStep { mean: [[xx, xv], [vx, vv]], factor: [l11, l21, l22] } = LinearStep::new(rate, h);
        let (position, velocity) = (x[i], x[3 + i]);
        x[i] = xx * position + xv * velocity + sigma[i] * l11 * z[i];
        x[3 + i] = vx * position + vv * velocity + sigma[i] * (l21 * z[i] + l22 * z[3 + i]);
    }
    half(x);
}

/// Largest difference of log10 power between single and double precision for each of `LANES` parameters, sorted.
fn differences(solver: Solver) -> Vec<f64> {
    let recording = Recording::default();
    let schedule = recording.schedule(solver).expect("the default is valid");
    let key = StreamKey::root(3);
    let words: Vec<[u64; 4]> = (0..LANES as u64).map(|row| key.words(row)).collect();
    let part = |lane: usize, period: usize| ((lane % period) as f64 + 0.5) / period as f64;
    let theta: [Theta; LANES] = std::array::from_fn(|lane| {
        [10.0 + 240.0 * part(lane, 8), 50.0 + 450.0 * part(lane, 5), 5000.0 * part(lane, 7), 0.0]
    });
    let mut signals = vec![[0.0; LANES]; schedule.samples];
    integrate(solver, &theta, recording.step, schedule, NormalGenerator::new(&words), &mut signals);

    let per_step = if solver == Solver::Strang { 6 } else { 3 };
    let steps = schedule.burn_in + (schedule.samples - 1) * schedule.stride;
    let mut normals = vec![[0.0; LANES]; 6 + steps.next_multiple_of(super::BLOCK) * per_step];
    NormalGenerator::new(&words).fill(&mut normals);
    let mut spectrum = PowerSpectrum::new();
    let mut differences = Vec::new();
    for lane in 0..LANES {
        let noise: Vec<f64> = normals.iter().map(|row| f64::from(row[lane])).collect();
        let mut x: [f64; 6] = std::array::from_fn(|i| noise[i]);
        let mut exact = Vec::new();
        for step in 0..=steps {
            if step >= schedule.burn_in && (step - schedule.burn_in).is_multiple_of(schedule.stride) {
                exact.push(x[1] - x[2]);
            }
            if step < steps {
                let z = &noise[6 + step * per_step..][..per_step];
                match solver {
                    Solver::EulerMaruyama => euler_maruyama(theta[lane], &mut x, recording.step, z),
                    Solver::Strang => strang(theta[lane], &mut x, recording.step, z),
                }
            }
        }
        let single: Vec<f64> = signals.iter().map(|row| f64::from(row[lane])).collect();
        let summary = |signal: &[f64], spectrum: &mut PowerSpectrum| {
            let mean = signal.iter().sum::<f64>() / signal.len() as f64;
            let centred: Vec<f64> = signal.iter().map(|v| v - mean).collect();
            let mut log_power = [0.0; super::BINS];
            spectrum.log10_power(&centred, &mut log_power).expect("long enough");
            log_power
        };
        let (a, b) = (summary(&single, &mut spectrum), summary(&exact, &mut spectrum));
        differences.push(a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max));
    }
    differences.sort_by(f64::total_cmp);
    differences
}

/// A few steps of a solver from zero, all six components: pins the noises that the signal hardly shows.
fn first_steps<S: Stepper>(plain: fn(Theta, &mut [f64; 6], f64, &[f64])) {
    let h = 1.0 / 1024.0;
    let theta: Theta = [135.0, 220.0, 2.0, 0.0];
    let solver = S::new(&[theta; LANES], h);
    let mut state: State = [[0.0; LANES]; 6];
    solver.begin(&mut state);
    let mut exact = [0.0; 6];
    for step in 0..5u16 {
        // Large numbers, so that σ_3 = 0.01 counts.
        let z: Vec<f64> = (0..S::NORMALS as u16).map(|i| 50.0 * f64::from(step * 7 + i * 3 + 1).sin()).collect();
        let normals: Vec<Lane> = z.iter().map(|&value| [value as f32; LANES]).collect();
        solver.step(&mut state, &normals);
        plain(theta, &mut exact, h, &z);
    }
    // Strang splitting's velocities are already half an impulse ahead.
    let ahead = {
        let mut later = state.map(|component| [component[0]; LANES]);
        solver.begin(&mut later);
        (0..3).map(|i| f64::from(later[3 + i][0] - state[3 + i][0])).collect::<Vec<_>>()
    };
    for i in 0..6 {
        let correction = if i < 3 { 0.0 } else { ahead[i - 3] };
        let value = f64::from(state[i][LANES - 1]) - correction;
        assert!((value - exact[i]).abs() < 1e-5 * (1e-3 + exact[i].abs()), "X_{i}: {value} vs {}", exact[i]);
    }
}

#[test]
fn all_components_follow_the_equations() {
    first_steps::<EulerMaruyama>(euler_maruyama);
    first_steps::<Strang>(strang);
}

/// Sampling noise of these summaries is near 0.08. A trajectory that passes close to the threshold of a spike amplifies any
/// rounding, of double precision too: one in 32 may differ visibly, as it would with another seed.
#[test]
fn single_precision_follows_double_precision() {
    for solver in [Solver::EulerMaruyama, Solver::Strang] {
        let differences = differences(solver);
        assert!(differences[LANES / 2] < 2e-5, "{solver:?}: median {}", differences[LANES / 2]);
        assert!(differences[LANES - 3] < 1e-3, "{solver:?}: {differences:?}");
    }
}
