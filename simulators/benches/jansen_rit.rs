//! Where the time of a JRNMM simulation goes: `cargo bench -p tallsbi-simulators --bench jansen_rit`.
//!
//! Items are simulations of 10 s at h = 1/1024 s on one core. `signal` is random numbers, sigmoids and updates; `psd` adds
//! the summary. Sigmoid and update cost what `signal` takes beyond `random_numbers`. One item of `machine_peak` is as many
//! independent vector multiply-adds as a simulation by Euler–Maruyama has vector instructions: the time it would take if
//! nothing waited and divisions and roots cost as much as multiplications.

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use tallsbi_data::StreamKey;
use tallsbi_simulators::jansen_rit::{BINS, LANES, NormalGenerator, Output, PowerSpectrum, Recording, Solver};
use tallsbi_simulators::{Rows, TaskOptions, task};

/// Steps of the paper's recording.
const STEPS: usize = 10 * 1024;
/// Steps whose numbers are drawn at once.
const BLOCK: usize = 16;
/// Vector instructions of a step of Euler–Maruyama: 34 for each of three normal numbers, 19 for each of three sigmoids, 18
/// for the update.
const INSTRUCTIONS: usize = 3 * 34 + 3 * 19 + 18;

fn main() {
    divan::main();
}

fn simulate(bencher: Bencher<'_, '_>, solver: Solver, output: Output) {
    let recording = Some(Recording { output, ..Recording::default() });
    let options = TaskOptions { solver: Some(solver), recording, ..TaskOptions::default() };
    let task = task("jrnmm", &options).expect("valid");
    let theta = Array2::from_shape_fn((LANES, 4), |(_, i)| [135.0, 220.0, 2000.0, 0.0][i]);
    let rows = Rows { theta: theta.view(), n_obs: 1, key: StreamKey::root(0), first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; LANES * task.dim_x()], vec![0; LANES]);
    bencher
        .counter(ItemsCount::new(LANES))
        .bench_local(|| task.simulate_batch(&rows, &mut x, &mut valid).expect("shapes fit"));
}

#[divan::bench(args = [Solver::EulerMaruyama, Solver::Strang])]
fn psd(bencher: Bencher<'_, '_>, solver: Solver) {
    simulate(bencher, solver, Output::Psd);
}

#[divan::bench(args = [Solver::EulerMaruyama, Solver::Strang])]
fn signal(bencher: Bencher<'_, '_>, solver: Solver) {
    simulate(bencher, solver, Output::Signal);
}

#[divan::bench(args = [3, 6])]
fn random_numbers(bencher: Bencher<'_, '_>, per_step: usize) {
    let mut generator = NormalGenerator::new(&[[1, 2, 3, 4]]);
    let mut normals = vec![[0.0; LANES]; BLOCK * per_step];
    bencher.counter(ItemsCount::new(LANES)).bench_local(|| {
        for _ in 0..STEPS / BLOCK {
            generator.fill(&mut normals);
        }
    });
}

#[divan::bench]
fn summary(bencher: Bencher<'_, '_>) {
    let mut spectrum = PowerSpectrum::new();
    let signal: Vec<f64> = (0..1024).map(|i| f64::from(i * i % 97)).collect();
    let mut log_power = [0.0; BINS];
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| spectrum.log10_power(divan::black_box(&signal), &mut log_power).expect("long enough"));
}

/// Independent multiply-add chains, enough to hide their latency.
struct MultiplyAdds(f32);

impl pulp::WithSimd for MultiplyAdds {
    type Output = f32;
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> f32 {
        const CHAINS: usize = 16;
        let registers = LANES * size_of::<f32>() / size_of::<S::f32s>();
        let (factor, term) = (simd.splat_f32s(0.999), simd.splat_f32s(self.0));
        let mut sums = [term; CHAINS];
        for _ in 0..STEPS * INSTRUCTIONS * registers / CHAINS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, term);
            }
        }
        sums.into_iter().map(|sum| simd.reduce_sum_f32s(sum)).sum()
    }
}

#[divan::bench]
fn machine_peak(bencher: Bencher<'_, '_>) {
    let arch = pulp::Arch::new();
    bencher.counter(ItemsCount::new(LANES)).bench_local(|| arch.dispatch(MultiplyAdds(divan::black_box(1e-3))));
}
