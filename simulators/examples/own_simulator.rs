//! A simulator of one's own: a random walk with drift, observed by its end and its range.
//!
//! `cargo run --release -p tallsbi-simulators --example own_simulator`

use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use tallsbi_data::{Prior, Purpose, Stage, StreamKey};
use tallsbi_simulators::{Result, Rows, Simulator, SimulatorTask, Task, simulate_parallel};

struct RandomWalk {
    steps: usize,
}

impl Simulator for RandomWalk {
    type Scratch = ();

    fn scratch(&self) {}

    fn simulate(&self, theta: &[f64], rng: &mut Pcg64, (): &mut (), x: &mut [f64]) -> Result<()> {
        let (drift, volatility) = (theta[0], theta[1]);
        let (mut at, mut low, mut high) = (0.0, 0.0f64, 0.0f64);
        for _ in 0..self.steps {
            let z: f64 = StandardNormal.sample(rng);
            at += drift + volatility * z;
            low = low.min(at);
            high = high.max(at);
        }
        x[0] = at;
        x[1] = high - low;
        Ok(())
    }
}

fn main() -> Result<()> {
    let prior = Prior::uniform(&[("drift", -1.0, 1.0), ("volatility", 0.1, 2.0)])?;
    let task = SimulatorTask::new("random_walk", prior, vec!["end".into(), "range".into()], RandomWalk { steps: 100 })?;

    // 100 000 parameters from the prior, one observation each: the same numbers for any number of threads.
    let (n, root) = (100_000, StreamKey::root(0));
    let mut theta = Array2::zeros((n, 2));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        task.prior().sample(&mut root.child(Purpose::Prior).rng(i as u64), row.as_slice_mut().expect("contiguous"));
    }
    let rows = Rows { theta: theta.view(), n_obs: 1, key: root.child(Purpose::Simulator), first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; n * task.dim_x()], vec![0; n]);
    let invalid = simulate_parallel(&task, &rows, &mut x, &mut valid, &Stage::silent())?;
    println!("{n} simulations, {invalid} invalid; the first: theta = {}, x = {:?}", theta.row(0), &x[..2]);
    Ok(())
}
