//! Laws of the Jansen–Rit task: its summary, the moments of its linear part, and the agreement of its two solvers.

mod support;

use ndarray::{Array2, array};
use support::{observations, reference_data};
use tallsbi_simulators::jansen_rit::{BINS, Output, PowerSpectrum, Recording, Solver};
use tallsbi_simulators::{SimulatorError, TaskOptions, task};

fn jansen_rit(solver: Solver, recording: Recording) -> Box<dyn tallsbi_simulators::Task> {
    let options = TaskOptions { solver: Some(solver), recording: Some(recording), ..TaskOptions::default() };
    task("jrnmm", &options).expect("a valid recording")
}

#[test]
fn summary_matches_the_authors() {
    let Some(folder) = reference_data() else { return };
    let file = hdf5::File::open(folder.join("goldens/psd_summary.h5")).expect("readable file");
    let read = |name: &str| -> Array2<f64> { file.dataset(name).expect(name).read().expect("two dimensions") };
    let (signals, expected) = (read("signal"), read("psd_log10_33"));
    let mut spectrum = PowerSpectrum::new();
    for (signal, expected) in signals.outer_iter().zip(expected.outer_iter()) {
        let mut log_power = [0.0; BINS];
        spectrum.log10_power(&signal.to_vec(), &mut log_power).expect("long enough");
        let worst = log_power.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-10, "log10 power differs by {worst:e}");
    }
}

#[test]
fn summary_refuses_what_does_not_fit() {
    let mut spectrum = PowerSpectrum::new();
    assert!(matches!(spectrum.log10_power(&[0.0; 64], &mut [0.0; BINS]), Err(SimulatorError::Shape { .. })));
    assert!(matches!(spectrum.log10_power(&[0.0; 65], &mut [0.0; 32]), Err(SimulatorError::Shape { .. })));
}

/// At C = 0 the signal is the difference of two independent noisy oscillators, with variances σ²/(4a³) and 1/(4b³) and
/// autocorrelation e^{-aτ}(1 + aτ). Strang splitting has them exactly, at any step.
#[test]
fn strang_splitting_has_the_exact_linear_moments() {
    let (rate_a, rate_b, sigma, rate) = (100.0, 50.0, 2000.0, 128.0);
    let autocovariance = |lag: f64| {
        let one = |a: f64, s: f64| s * s / (4.0 * a.powi(3)) * (-a * lag).exp() * (1.0 + a * lag);
        one(rate_a, sigma) + one(rate_b, 1.0)
    };
    let recording = Recording { step: 1.0 / 128.0, output: Output::Signal, ..Recording::default() };
    let task = jansen_rit(Solver::Strang, recording);
    let trajectories = 2000;
    let signals = observations(&*task, array![[0.0, 220.0, sigma, 0.0]].view(), trajectories, 4);
    let samples = task.dim_x();
    // Removing the mean of the recording takes its variance from every covariance.
    let of_mean = (0..samples)
        .map(|k| {
            let pairs = if k == 0 { samples } else { 2 * (samples - k) };
            pairs as f64 * autocovariance(k as f64 / rate)
        })
        .sum::<f64>()
        / (samples * samples) as f64;
    for lag in 0..6 {
        let each: Vec<f64> = signals
            .outer_iter()
            .flat_map(|group| group.outer_iter().map(|signal| signal.to_vec()).collect::<Vec<_>>())
            .map(|signal| {
                let products = signal.iter().zip(&signal[lag..]).map(|(a, b)| f64::from(*a) * f64::from(*b));
                products.sum::<f64>() / (samples - lag) as f64
            })
            .collect();
        let n = each.len() as f64;
        let mean = each.iter().sum::<f64>() / n;
        let error = (each.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n / n).sqrt();
        let expected = autocovariance(lag as f64 / rate) - of_mean;
        assert!(((mean - expected) / error).abs() < 4.5, "lag {lag}: {mean} ± {error}, expected {expected}");
        assert!(error < 0.005 * autocovariance(0.0), "the test could not see a 2 % error");
    }
}

/// Mean log10 power over all bins at the paper's parameters.
fn mean_log_power(solver: Solver, step: f64) -> f64 {
    let task = jansen_rit(solver, Recording { step, ..Recording::default() });
    let x = observations(&*task, array![[135.0, 220.0, 2000.0, 0.0]].view(), 2000, 9);
    x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64
}

/// Euler–Maruyama's error halves with the step and Strang splitting's is smaller than any of them: both tend to the same
/// spectrum.
#[test]
fn solvers_agree_as_the_step_shrinks() {
    let exact = mean_log_power(Solver::Strang, 1.0 / 4096.0);
    let errors = [1024.0, 2048.0, 4096.0, 8192.0].map(|rate| mean_log_power(Solver::EulerMaruyama, 1.0 / rate) - exact);
    let strang = mean_log_power(Solver::Strang, 1.0 / 1024.0) - exact;
    for pair in errors.windows(2) {
        let ratio = pair[0] / pair[1];
        assert!((1.6..2.6).contains(&ratio), "halving the step divides the error by {ratio}: {errors:?}");
    }
    assert!(strang.abs() < errors[3].abs() / 2.0, "Strang's error {strang} against {errors:?}");
}

#[test]
fn recordings_that_cannot_be_are_refused() {
    let valid = Recording::default();
    let cases = [
        (Recording { step: 0.0, ..valid.clone() }, "step"),
        (Recording { step: f64::NAN, ..valid.clone() }, "step"),
        (Recording { burn_in: -1.0, ..valid.clone() }, "burn_in"),
        (Recording { duration: 0.1, ..valid.clone() }, "samples"),
        (Recording { sampling_rate: 100.0, ..valid.clone() }, "multiple"),
        (Recording { step: 1.0 / 64.0, sampling_rate: 64.0, ..valid.clone() }, "unstable"),
        (Recording { step: 1e-9, ..valid.clone() }, "steps"),
    ];
    for (recording, part) in cases {
        let message = recording.validate(Solver::EulerMaruyama).expect_err("must be refused").to_string();
        assert!(message.contains(part), "{message}");
    }
    assert!(Recording { step: 1.0 / 64.0, sampling_rate: 64.0, ..valid }.validate(Solver::Strang).is_ok());
}
