//! What happens when nobody can read what is said: a closed terminal, a pipe without a reader, a full device.

mod common;

use common::Place;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Ends of a pipe whose reader is gone.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full_device() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").expect("a full device").into()
}

fn start(place: &Place, arguments: &str, stdout: Stdio, stderr: Stdio) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_tallsbi"))
        .current_dir(place.path())
        .args(arguments.split_whitespace())
        .env("HDF5_USE_FILE_LOCKING", "FALSE")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("starts")
}

/// Waits for it, at most so long.
fn wait(child: &mut Child, most: Duration) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if started.elapsed() > most {
            child.kill().expect("killed");
            panic!("still runs after {most:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Work goes on without standard error; what cannot be printed is an error of its own where it is the result.
#[test]
fn nobody_listens() {
    let place = Place::new();
    let most = Duration::from_secs(60);
    let code = |arguments: &str, stdout: Stdio, stderr: Stdio| {
        wait(&mut start(&place, arguments, stdout, stderr), most).code()
    };
    place.run("simulate gaussian_toy -n 200 -o t.h5");
    // Each of them logs, or says what is wrong.
    assert_eq!(code("-v simulate gaussian_toy -n 2000 -o a.h5", Stdio::null(), broken_pipe()), Some(0));
    assert_eq!(code("-v simulate gaussian_toy -n 2000 -o b.h5", Stdio::null(), full_device()), Some(0));
    assert_eq!(code("inspect t.h5", broken_pipe(), broken_pipe()), Some(0));
    assert_eq!(code("inspect t.h5", full_device(), broken_pipe()), Some(1));
    assert_eq!(code("inspect absent.h5", full_device(), full_device()), Some(1));
    assert_eq!(code("nonsense", full_device(), full_device()), Some(2));
    assert_eq!(code("--help", full_device(), full_device()), Some(0));
    assert_eq!(place.digest("a.h5"), place.digest("b.h5"));
    place.fails_on_full_stdout("inspect t.h5", "error: the result cannot be written to standard output");
}

/// A terminal that closes sends SIGHUP, often twice, and takes standard error with it: training stops in order and leaves a checkpoint.
#[test]
fn a_closed_terminal_leaves_a_checkpoint() {
    let place = Place::new();
    place.run("simulate slcp -n 20000 -o t.h5");
    let arguments = "train t.h5 -o m.safetensors --epochs 100000 --patience 100000";
    for signals in [vec!["-HUP", "-HUP"], vec!["-TERM"], vec!["-INT"]] {
        let _ = std::fs::remove_file(place.at("m.safetensors.checkpoint"));
        let mut child = start(&place, arguments, broken_pipe(), broken_pipe());
        let lock = place.at("m.safetensors.lock");
        assert!(common::while_running(&mut child, || lock.exists()), "it ended at once");
        std::thread::sleep(Duration::from_secs(3));
        for signal in signals {
            assert!(common::signal(&child, signal));
        }
        let told = Instant::now();
        assert_eq!(wait(&mut child, Duration::from_secs(20)).code(), Some(130));
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        assert!(place.at("m.safetensors.checkpoint").exists());
    }
}
