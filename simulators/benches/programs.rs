//! What a row of a program of the user's costs: `cargo bench -p tallsbi-simulators --bench programs`.
//!
//! The example in C, whose own work is small, through the text protocol and through npy arrays, with one worker; and the same program alone on a pipe, which is what the
//! text protocol is compared with. Items are rows.

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tallsbi_data::{Purpose, Stage, StreamKey};
use tallsbi_simulators::{Rows, TaskOptions, simulate_parallel, task};
use tempfile::TempDir;

/// Rows at a time.
const ROWS: usize = 20_000;

fn main() {
    divan::main();
}

/// A folder with an example and its program, compiled.
fn example(program: &str, source: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
    let from = |name: &str| std::fs::read_to_string(examples.join(name)).expect("an example");
    let text = from(&format!("{source}.toml")).replace("workers = 2", "workers = 1");
    std::fs::write(folder.path().join("model.toml"), text).expect("written");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-o"]).arg(folder.path().join(program)).arg(examples.join(format!("{program}.c"))).arg("-lm");
    assert!(cc.status().expect("a C compiler").success());
    folder
}

fn through_the_protocol(bencher: Bencher<'_, '_>, program: &str, source: &str) {
    let folder = example(program, source);
    let path = folder.path().join("model.toml");
    let task = task(path.to_str().expect("UTF-8"), &TaskOptions::default()).expect("a model");
    let root = StreamKey::root(0);
    let mut theta = Array2::zeros((ROWS, task.prior().dim()));
    for (i, mut row) in theta.outer_iter_mut().enumerate() {
        task.prior().sample(&mut root.child(Purpose::Prior).rng(i as u64), row.as_slice_mut().expect("contiguous"));
    }
    let rows = Rows { theta: theta.view(), n_obs: 1, key: root.child(Purpose::Simulator), first_row: 0 };
    let (mut x, mut valid) = (vec![0.0; ROWS * task.dim_x()], vec![0; ROWS]);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let failed = simulate_parallel(&*task, &rows, &mut x, &mut valid, &Stage::silent()).expect("it works");
        assert_eq!(failed, 0);
    });
}

#[divan::bench]
fn text(bencher: Bencher<'_, '_>) {
    through_the_protocol(bencher, "decay", "decay_c");
}

#[divan::bench]
fn npy(bencher: Bencher<'_, '_>) {
    through_the_protocol(bencher, "decay_npy", "decay_npy_c");
}

/// The program's own time, reading and printing included.
#[divan::bench]
fn text_program_alone(bencher: Bencher<'_, '_>) {
    let folder = example("decay", "decay_c");
    let mut lines = String::new();
    for row in 0..ROWS {
        let unit = (row as f64 + 0.5) / ROWS as f64;
        writeln!(lines, "{} {} {}", row * 7919, 0.5 + 1.234_567_890_123 * unit, 0.1 + 0.9 * unit).expect("to a string");
    }
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut command = Command::new(folder.path().join("decay"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                input.write_all(lines.as_bytes()).expect("it reads");
                drop(input);
            });
            let mut said = String::new();
            child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("it answers");
            assert_eq!(said.lines().count(), ROWS);
        });
        assert!(child.wait().expect("it ends").success());
    });
}
