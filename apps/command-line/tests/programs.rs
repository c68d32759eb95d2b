//! Programs of the user's at length: many rows, every kind of failure, killed again and again.
#![cfg(unix)]

mod common;

use common::Place;
use std::process::Command;
use tallsbi::files::TrainingSet;

const KINDS: [&str; 8] = ["crash", "kill", "hang", "end", "nan", "text", "few", "many"];

/// Rows of the whole run.
const ROWS: usize = 20_000;

/// How often it is killed.
const KILLS: u64 = 10;

/// A model whose program fails at the rows that stand in `poison.txt`: its section `[command]`, and the program as a file.
fn model(place: &Place, command: &str, (name, program): (&str, &str)) {
    let text = format!(
        "name = \"test\"\nparameters = [\"k=uniform(0, 1)\", \"s=uniform(0, 1)\"]\nobservations = [\"a\", \"b\", \"c\"]\n[command]\n{command}\nworkers = 2\ntimeout = 5.0\n"
    );
    std::fs::write(place.at("model.toml"), text).unwrap();
    std::fs::write(place.at(name), program).unwrap();
}

/// θ and which rows are valid.
fn rows(place: &Place, name: &str) -> (Vec<f32>, Vec<bool>) {
    let set = TrainingSet::open(&place.at(name)).unwrap();
    let (theta, _, valid) = set.read_block(0, set.rows() as usize).unwrap();
    (theta.column(0).to_vec(), valid.iter().map(|&valid| valid == 1).collect())
}

/// Three rows fail in each way. Killed at ten moments and resumed: the data of the run that was not.
fn survives(command: &str, program: (&str, &str), prepare: impl FnOnce(&Place)) {
    let place = Place::new();
    model(&place, command, program);
    prepare(&place);
    let arguments = format!("simulate model.toml -n {ROWS} --seed 3 -q");
    // Some of the first parameters are poison.
    std::fs::write(place.at("poison.txt"), "").unwrap();
    let shard = format!("{arguments} --shard 1/20 -o first.h5");
    place.run(&shard);
    let (k, valid) = rows(&place, "first.h5");
    assert!(valid.iter().all(|&valid| valid));
    let bad: Vec<usize> = (0..3 * KINDS.len()).map(|i| 5 + i * (k.len() / 30) + i % 3).collect();
    let poison = bad.iter().zip(KINDS.iter().cycle());
    let poison: String = poison.map(|(&row, kind)| format!("{:?} {kind}\n", f64::from(k[row]))).collect();
    std::fs::write(place.at("poison.txt"), poison).unwrap();

    place.run(&format!("{arguments} -o whole.h5"));
    let (_, valid) = rows(&place, "whole.h5");
    let invalid: Vec<usize> = (0..ROWS).filter(|&row| !valid[row]).collect();
    assert_eq!(invalid, bad);
    let size = place.at("whole.h5").metadata().unwrap().len();
    let mut killed = 0;
    for moment in 0..KILLS {
        let mut child = place.start(&format!("{arguments} -o killed.h5 --resume"));
        let partial = place.at("killed.h5.partial");
        let enough = size * moment / (KILLS + 1);
        killed += u64::from(common::while_running(&mut child, || partial.metadata().is_ok_and(|m| m.len() >= enough)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > KILLS / 2, "only {killed} of {KILLS} runs were killed in time");
    place.run(&format!("{arguments} -o killed.h5 --resume"));
    assert_eq!(place.digest("killed.h5"), place.digest("whole.h5"));
}

/// The worker in C, compiled.
fn compile(place: &Place) {
    let mut cc = Command::new("cc");
    let status = cc.current_dir(place.path()).args(["-O2", "-o", "worker", "worker.c"]).status().unwrap();
    assert!(status.success());
}

const IN_C: (&str, &str) = ("worker.c", include_str!("workers/poisoned.c"));

#[test]
fn a_python_worker() {
    let program = ("worker.py", include_str!("workers/poisoned.py"));
    survives("run = [\"python3\", \"worker.py\"]\nkeep = 500", program, |_| {});
}

#[test]
fn a_worker_in_c() {
    survives("run = [\"./worker\"]\nkeep = 500", IN_C, compile);
}

#[test]
#[ignore = "minutes: it starts 40 000 programs"]
fn a_program_that_is_called_for_each_row() {
    survives("run = [\"./worker\"]\neach = true\nkeep = 500", IN_C, compile);
}
