//! Several processes write what one writes: `cargo test --release -p tallsbi --features mpi --test mpi`.

mod common;

use common::Place;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `mpirun` with `size` processes of the program in a place's folder; `None`, with the reason printed, where it cannot run.
fn mpirun(place: &Place, size: u32, arguments: &str) -> Option<Command> {
    if !cfg!(feature = "mpi") {
        eprintln!("skipped: built without the feature mpi");
        return None;
    }
    if Command::new("mpirun").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no mpirun");
        return None;
    }
    let mut command = Command::new("mpirun");
    command.current_dir(place.path()).args(["-n", &size.to_string(), env!("CARGO_BIN_EXE_tallsbi")]);
    command.args(arguments.split_whitespace()).args(["--threads", "1"]);
    // Open MPI: more processes than cores, and root, as in containers.
    command
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    Some(command)
}

/// Runs it to the end: exit code and the program's errors (mpirun adds words of its own).
fn run(mut command: Command) -> (Option<i32>, Vec<String>) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text.lines().filter(|line| line.starts_with("error:")).map(String::from).collect())
}

#[test]
fn processes_write_what_one_writes() {
    let place = Place::new();
    for (size, task, options) in [
        (4, "slcp", "-n 50001"),
        (3, "jrnmm", "-n 257 --n-obs 2 --fix g=0"),
        (4, "sir", "-n 2"),
        (2, "slcp", "-n 999 --shard 2/3"),
    ] {
        let arguments = format!("simulate {task} {options} --seed 4");
        let Some(command) = mpirun(&place, size, &format!("{arguments} -o many.h5 --force")) else { return };
        assert_eq!(run(command), (Some(0), vec![]));
        place.run(&format!("{arguments} -o one.h5 --force"));
        assert_eq!(place.digest("many.h5"), place.digest("one.h5"), "{task} on {size} processes");
    }
}

/// Interrupted, then killed, then resumed with other numbers of processes.
#[cfg(unix)]
#[test]
fn interrupted_and_resumed_with_other_numbers_of_processes() {
    let place = Place::new();
    let arguments = "simulate jrnmm -n 30000 --seed 1 -o set.h5 --resume";
    for (size, signal) in [(3, "-INT"), (2, "-KILL")] {
        let Some(mut command) = mpirun(&place, size, arguments) else { return };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        assert!(common::signal(&child, signal));
        assert!(!child.wait().unwrap().success());
        assert!(!place.at("set.h5").exists(), "the run was over before it was stopped: too short to test anything");
        // Killing mpirun leaves the processes to notice it; the file is locked until they have.
        std::thread::sleep(Duration::from_secs(2));
    }
    place.run(&arguments.replace("30000", "30000 -q"));
    place.run("simulate jrnmm -n 30000 --seed 1 -o whole.h5 -q");
    assert_eq!(place.digest("set.h5"), place.digest("whole.h5"));
}

#[test]
fn errors_are_told_once_and_end_the_job() {
    let place = Place::new();
    place.run("simulate slcp -n 100 -o set.h5");
    for (arguments, expected) in [
        ("simulate slcp -n 100 -o set.h5", "--force"),
        ("simulate slpc -n 100 -o new.h5", "slpc"),
        ("simulate slcp -o new.h5", "--rows"),
        ("simulate slcp -n 100 -o no/such/folder/new.h5", "no/such/folder"),
        ("tasks", "without mpirun"),
    ] {
        let Some(command) = mpirun(&place, 3, arguments) else { return };
        let (code, errors) = run(command);
        assert!(code.is_some_and(|code| code != 0), "{arguments}");
        assert_eq!(errors.len(), 1, "{arguments}: {errors:?}");
        assert!(errors[0].contains(expected), "{arguments}: {errors:?}");
    }
}
