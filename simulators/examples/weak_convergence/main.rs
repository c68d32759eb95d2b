//! Weak convergence of the two solvers of the Jansen–Rit model: their mean log10 power spectra as the step shrinks.
//!
//! `cargo run --release -p tallsbi-simulators --example weak_convergence [FIGURE.svg]` prints the table of `docs/simulators.md` and
//! draws its figure; two minutes of one core. Parameters are the paper's, θ = (135, 220, 2000, 0). The reference is Strang splitting
//! at 1/8192 s.

mod figure;

use ndarray::Array2;
use tallsbi_data::{Stage, StreamKey};
use tallsbi_simulators::jansen_rit::{BINS, Recording, Solver};
use tallsbi_simulators::{Rows, TaskOptions, simulate_parallel, task};

/// Simulations a spectrum is averaged over: its standard error is then 6·10⁻⁴ in each bin.
const SIMULATIONS: usize = 16_384;
/// Steps a second.
const EULER_MARUYAMA: [u32; 6] = [512, 1024, 2048, 4096, 8192, 16_384];
const STRANG: [u32; 5] = [128, 256, 512, 1024, 2048];
const REFERENCE: u32 = 8192;

/// Mean log10 power in each bin.
type Spectrum = [f64; BINS];

/// The spectra of one solver.
struct Curve {
    name: &'static str,
    spectra: Vec<(u32, Spectrum)>,
}

fn spectrum(solver: Solver, steps_per_second: u32, seed: u64) -> Spectrum {
    let recording = Recording { step: 1.0 / f64::from(steps_per_second), ..Recording::default() };
    let options = TaskOptions { solver: Some(solver), recording: Some(recording), ..TaskOptions::default() };
    let task = task("jrnmm", &options).expect("a valid recording");
    let theta = Array2::from_shape_fn((SIMULATIONS, 4), |(_, i)| [135.0, 220.0, 2000.0, 0.0][i]);
    let rows = Rows { theta: theta.view(), n_obs: 1, key: StreamKey::root(seed), first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; SIMULATIONS * BINS], vec![0; SIMULATIONS]);
    simulate_parallel(&*task, &rows, &mut x, &mut valid, &Stage::silent()).expect("shapes fit");
    let mut mean = [0.0; BINS];
    for row in x.chunks_exact(BINS) {
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / SIMULATIONS as f64);
    }
    mean
}

/// Mean and root mean square over the bins of the difference.
fn difference(spectrum: &Spectrum, reference: &Spectrum) -> (f64, f64) {
    let differences = spectrum.iter().zip(reference).map(|(a, b)| a - b);
    let mean = differences.clone().sum::<f64>() / BINS as f64;
    (mean, (differences.map(|d| d * d).sum::<f64>() / BINS as f64).sqrt())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Seeds of their own: the noise of two spectra is independent.
    let reference = spectrum(Solver::Strang, REFERENCE, 0);
    let curve = |name, solver, steps: &[u32], seed: u64| {
        let spectra = steps.iter().zip(seed..).map(|(&step, seed)| (step, spectrum(solver, step, seed))).collect();
        Curve { name, spectra }
    };
    let curves = [
        curve("Euler–Maruyama", Solver::EulerMaruyama, &EULER_MARUYAMA, 100),
        curve("Strang splitting", Solver::Strang, &STRANG, 200),
    ];
    for Curve { name, spectra } in &curves {
        let cells = |cell: &dyn Fn(u32, &Spectrum) -> String| {
            spectra.iter().map(|(step, spectrum)| cell(*step, spectrum)).collect::<Vec<_>>().join(" | ")
        };
        println!("\n| {name}, step | {} |", cells(&|step, _| format!("1/{step} s")));
        println!("|---|{}", "---|".repeat(spectra.len()));
        println!("| mean | {} |", cells(&|_, spectrum| format!("{:+.4}", difference(spectrum, &reference).0)));
        println!(
            "| root mean square | {} |",
            cells(&|_, spectrum| format!("{:.4}", difference(spectrum, &reference).1))
        );
    }
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, figure::draw(&curves, &reference)?)?;
    }
    Ok(())
}
