//! Training sets do not depend on threads, shards or interruptions.

mod common;

use common::Place;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn any_number_of_threads() {
    let place = Place::new();
    for (task, rows) in [("slcp", 40_000), ("jrnmm", 500), ("sir", 300)] {
        for threads in [1, 2, 7] {
            place.run(&format!("simulate {task} -n {rows} -o {task}{threads}.h5 --seed 5 --threads {threads}"));
        }
        let first = place.digest(&format!("{task}1.h5"));
        assert_eq!(place.digest(&format!("{task}2.h5")), first);
        assert_eq!(place.digest(&format!("{task}7.h5")), first);
        place.run(&format!("simulate {task} -n {rows} -o other.h5 --seed 6 --force"));
        assert_ne!(place.digest("other.h5"), first);
    }
}

/// With a fixed time and one command, whole files are equal.
#[test]
fn equal_bytes_at_a_fixed_time() {
    let place = Place::new();
    let run = || {
        let mut command = place.command("simulate two_moons -n 5000 -o set.h5 --force");
        command.env("SOURCE_DATE_EPOCH", "1700000000").assert().success();
        std::fs::read(place.at("set.h5")).unwrap()
    };
    assert!(run() == run());
    assert_eq!(place.json("inspect set.h5")["provenance"]["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn shards_merge_to_the_whole() {
    let place = Place::new();
    let options = "--fix g=0 --n-obs 3 --seed 2 -n 301";
    place.run(&format!("simulate jrnmm {options} -o whole.h5"));
    for shard in 1..=4 {
        place.run(&format!("simulate jrnmm {options} --shard {shard}/4 -o shard-{shard}.h5"));
    }
    place.run("merge shard-3.h5 shard-1.h5 shard-4.h5 shard-2.h5 -o merged.h5");
    assert_eq!(place.digest("merged.h5"), place.digest("whole.h5"));
    let (whole, merged) = (place.json("inspect whole.h5"), place.json("inspect merged.h5"));
    assert_eq!(whole["attributes"], merged["attributes"]);
    assert_eq!(merged["provenance"]["seed"], 2);
    assert_eq!(merged["provenance"]["parents"].as_array().unwrap().len(), 4);

    place.fails("merge shard-1.h5 shard-3.h5 -o bad.h5", 1, "are missing between");
    place.fails("merge shard-1.h5 whole.h5 -o bad.h5", 1, "overlaps");
    place.run("simulate jrnmm --fix g=0 --n-obs 3 --seed 3 -n 301 --shard 2/4 -o foreign.h5");
    place.fails("merge shard-1.h5 foreign.h5 -o bad.h5", 1, "seed is 2 there and 3 here");
}

/// The script of the documentation, as the tasks of an array run it; one is queued twice.
#[test]
fn tasks_of_a_slurm_array_simulate_one_set() {
    let place = Place::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/slurm_array.sh");
    for task in ["1", "3", "2", "3"] {
        let mut command = Command::new("bash");
        command.args([script, "slcp", "1000", "shards", "--seed", "4"]).current_dir(place.at("."));
        command.env("TALLSBI", env!("CARGO_BIN_EXE_tallsbi")).env("SLURM_CPUS_PER_TASK", "1");
        command.env("SLURM_ARRAY_TASK_ID", task).env("SLURM_ARRAY_TASK_MAX", "3");
        let output = command.output().unwrap();
        assert!(output.status.success(), "task {task}: {}", String::from_utf8_lossy(&output.stderr));
    }
    place.run("merge shards/00001.h5 shards/00002.h5 shards/00003.h5 -o merged.h5");
    place.run("simulate slcp -n 1000 -o whole.h5 --seed 4");
    assert_eq!(place.digest("merged.h5"), place.digest("whole.h5"));
}

/// Killed at ten moments, resumed until done: the contents of the uninterrupted run.
#[test]
fn killed_and_resumed() {
    let place = Place::new();
    let arguments = "simulate slcp -n 600000 --seed 9 --quiet";
    place.run(&format!("{arguments} -o whole.h5"));
    let started = Instant::now();
    place.run(&format!("{arguments} -o timed.h5"));
    let whole = started.elapsed();
    let digest = place.digest("whole.h5");
    let mut killed = 0;
    for moment in 0..10u32 {
        let after = whole.mul_f64(f64::from(moment * 7 % 10 + 1) / 12.0) + Duration::from_millis(u64::from(moment));
        let mut child = place.start(&format!("{arguments} -o killed.h5 --resume"));
        std::thread::sleep(after);
        // SIGKILL on Unix: the program cannot react.
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if !place.at("killed.h5").exists() && place.at("killed.h5.partial").exists() {
            place.fails(&format!("{arguments} -o killed.h5"), 2, "--resume");
            place.fails("simulate slcp -n 600000 --seed 8 -q -o killed.h5 --resume", 1, "seed is 9 there and 8 here");
        }
        place.run(&format!("{arguments} -o killed.h5 --resume"));
        assert_eq!(place.digest("killed.h5"), digest, "killed after {after:?}");
        assert!(!place.at("killed.h5.partial").exists());
        std::fs::remove_file(place.at("killed.h5")).unwrap();
    }
    assert!(killed >= 5, "only {killed} of 10 runs were killed in time: the test is too slow to test anything");
}

/// Ctrl-C keeps what is complete, says how to go on, and exits with 130.
#[cfg(unix)]
#[test]
fn interrupted_and_resumed() {
    let place = Place::new();
    let arguments = "simulate jrnmm -n 1000000 --seed 1 -o set.h5";
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallsbi"))
        .current_dir(place.path())
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let kept = place.at("set.h5.partial");
    assert!(common::while_running(&mut child, || kept.exists()), "it ended at once");
    assert!(common::signal(&child, "-INT"));
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{error}");
    assert!(error.lines().last().unwrap().contains("--resume"), "{error}");
    assert!(place.at("set.h5.partial").exists() && !place.at("set.h5").exists());
}

#[test]
fn observations() {
    let place = Place::new();
    let at = "observe slcp --theta 0.7,-2.9,-1,0.9,0.6";
    place.run(&format!("{at} -n 30 -o thirty.h5"));
    place.run(&format!("{at} -n 30 -o again.h5 --threads 1"));
    assert_eq!(place.digest("again.h5"), place.digest("thirty.h5"));
    place.run("observe jrnmm --from-prior --fix g=0 -n 8 -o eight.h5 --seed 4");
    let contents = place.json("inspect eight.h5");
    assert_eq!(contents["kind"], "observations");
    assert_eq!(contents["arrays"][1]["shape"], serde_json::json!([8, 33]));
    assert_eq!(contents["arrays"][0]["shape"], serde_json::json!([3]));
}
