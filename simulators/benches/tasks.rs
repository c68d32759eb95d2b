//! Simulations per second and core, for each task: `cargo bench -p tallsbi-simulators --bench tasks`.
//!
//! Parameters are drawn from the prior, one observation each; items are simulations.

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use tallsbi_data::{Purpose, StreamKey};
use tallsbi_simulators::jansen_rit::Solver;
use tallsbi_simulators::{Rows, TaskOptions, task, tasks};

fn main() {
    divan::main();
}

fn simulate(bencher: Bencher<'_, '_>, name: &str, options: &TaskOptions) {
    let task = task(name, options).expect("a built-in task");
    let n = task.preferred_batch();
    let root = StreamKey::root(0);
    let mut theta = Array2::zeros((n, task.prior().dim()));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        let row = row.as_slice_mut().expect("rows are contiguous");
        task.prior().sample(&mut root.child(Purpose::Prior).rng(i as u64), row);
    }
    let rows = Rows { theta: theta.view(), n_obs: 1, key: root.child(Purpose::Simulator), first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
    bencher
        .counter(ItemsCount::new(n))
        .bench_local(|| task.simulate_batch(&rows, &mut x, &mut valid).expect("shapes fit"));
}

#[divan::bench(args = tasks())]
fn prior_draws(bencher: Bencher<'_, '_>, name: &str) {
    simulate(bencher, name, &TaskOptions::default());
}

#[divan::bench]
fn jrnmm_strang(bencher: Bencher<'_, '_>) {
    simulate(bencher, "jrnmm", &TaskOptions { solver: Some(Solver::Strang), ..TaskOptions::default() });
}
