//! A panic, on whatever thread, ends the process: each case is a process of its own, this program of tests started again.

use super::guarded;
use crate::interrupt::Interrupt;
use rayon::prelude::*;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Variable that tells a process which case it is.
const CASE: &str = "TALLSBI_PANIC_CASE";

/// Longest that a process may live on after a panic.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What work does that panics; the exit code it would have.
fn work(case: &str) -> u8 {
    match case {
        "main" => panic!("on the main thread\nin two lines"),
        // On one of rayon's threads; the others stop where work asks whether to.
        "worker" => {
            let ask = Interrupt::for_tests();
            rayon::broadcast(|thread| {
                assert!(thread.index() != 1, "on one of many");
                while !ask.is_set() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            0
        }
        // On a thread whose panic nobody asks for; all others compute and ask nothing.
        "detached" => {
            std::thread::spawn(|| panic!("on a thread of its own"));
            (0..64).into_par_iter().for_each(|item| {
                let mut value = f64::from(item);
                loop {
                    value = std::hint::black_box(value.sin());
                }
            });
            0
        }
        // The same, seen too late to stop anything.
        "late" => u8::from(std::thread::spawn(|| panic!("and the work is done")).join().is_ok()),
        _ => 0,
    }
}

/// The process of one case; does nothing unless it is told which.
#[test]
#[ignore = "started by the others"]
fn case() {
    if let Ok(case) = std::env::var(CASE) {
        std::process::exit(guarded(|| work(&case)).into());
    }
}

fn end_of(case: &str, stderr: Stdio) -> Output {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["tests::case", "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(CASE, case);
    command.env("RAYON_NUM_THREADS", "3").stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().expect("started");
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if started.elapsed() > ENDS_WITHIN {
            child.kill().expect("killed");
            panic!("{case}: goes on after a panic");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

#[test]
fn a_panic_on_any_thread_ends_the_process_with_one_line() {
    for (case, expected) in [
        ("main", "internal error (on the main thread, at "),
        ("worker", "internal error (on one of many, at "),
        ("detached", "internal error (on a thread of its own, at "),
        ("late", "internal error (and the work is done, at "),
    ] {
        let output = end_of(case, Stdio::piped());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{case}: {error}");
        assert_eq!(error.lines().count(), 1, "{case}: {error}");
        assert!(error.starts_with(&format!("error: {expected}")) && error.contains("please report it"), "{error}");
    }
    assert_eq!(end_of("none", Stdio::piped()).status.code(), Some(0));
}

#[test]
fn so_it_does_where_nobody_reads_standard_error() {
    for case in ["main", "worker", "detached"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(end_of(case, writer.into()).status.code(), Some(1), "{case}");
    }
}
