//! Several processes write what one writes: `cargo test --release --workspace --features tallsbi-cli/mpi --test mpi`.

mod common;

use common::Place;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program of a place as several processes; `None`, with the reason printed, where it cannot run.
fn mpirun(place: &Place, size: u32, arguments: &str) -> Option<Command> {
    mpirun_each(place, &vec![String::new(); size as usize], arguments)
}

/// The same with variables of its own for each process, `NAME=value`, or a program that starts it, or neither.
fn mpirun_each(place: &Place, variables: &[String], arguments: &str) -> Option<Command> {
    if !cfg!(feature = "mpi") {
        eprintln!("skipped: built without the feature mpi");
        return None;
    }
    if Command::new("mpirun").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no mpirun");
        return None;
    }
    let mut command = Command::new("mpirun");
    command.current_dir(place.path());
    for (rank, variables) in variables.iter().enumerate() {
        command.args((rank > 0).then_some(":")).args(["-n", "1", "env"]).args(variables.split_whitespace());
        command.arg(env!("CARGO_BIN_EXE_tallsbi")).args(arguments.split_whitespace()).args(["--threads", "1"]);
    }
    // Open MPI: more processes than cores, and root, as in containers.
    command
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    // Files of equal runs are equal to the byte.
    command.env("SOURCE_DATE_EPOCH", "0").env("HDF5_USE_FILE_LOCKING", "FALSE");
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
    let arguments = "simulate jrnmm -n 400000 --seed 1 -o set.h5 --resume";
    for (size, signal) in [(3, "-INT"), (2, "-KILL")] {
        let Some(mut command) = mpirun(&place, size, arguments) else { return };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        assert!(common::signal(&child, signal));
        assert!(!child.wait().unwrap().success());
        assert!(!place.at("set.h5").exists(), "the run was over before it was stopped: too short to test anything");
        // Killing mpirun leaves the processes to notice it; the file is locked until they have.
        std::thread::sleep(Duration::from_secs(2));
    }
    place.run(&format!("{arguments} -q"));
    place.run("simulate jrnmm -n 400000 --seed 1 -o whole.h5 -q");
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
        ("study nowhere.toml -o out", "nowhere.toml"),
        ("study toy -o taken", "--resume"),
        ("diagnose c2st none.nc --reference none.nc", "none.nc"),
    ] {
        std::fs::create_dir_all(place.at("taken/steps")).unwrap();
        let Some(command) = mpirun(&place, 3, arguments) else { return };
        let (code, errors) = run(command);
        assert!(code.is_some_and(|code| code != 0), "{arguments}");
        assert_eq!(errors.len(), 1, "{arguments}: {errors:?}");
        assert!(errors[0].contains(expected), "{arguments}: {errors:?}");
    }
}

/// `mpirun` ends all processes as soon as one fails: the others leave the first one time to tell why.
#[cfg(unix)]
#[test]
fn a_first_process_that_is_late_tells_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::write(place.at("late"), "#!/bin/sh\nsleep 0.5\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(place.at("late"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (arguments, expected) in [("simulate slcp -o new.h5", "--rows"), ("tasks", "without mpirun")] {
        let starts = ["./late", "", ""].map(String::from);
        let Some(command) = mpirun_each(&place, &starts, arguments) else { return };
        let (code, errors) = run(command);
        assert_eq!(code, Some(2), "{arguments}");
        assert!(errors.len() == 1 && errors[0].contains(expected), "{arguments}: {errors:?}");
    }
}

/// Two networks of each kind, refined, checked in every way a study knows.
const STUDY: &str = r#"
title = "Two numbers from a few"
n_obs = [1, 4]
simulations = 600
posterior_samples = 200
[local_c2st]
pairs = 40
[local_c2st.test]
trials = 4
[coverage]
pairs = 30
draws = 10
[refine]
pairs = 20
draws = 20
[refine.options]
budget = 3000
[train]
ARCHITECTURE
[train.likelihood]
members = 3
hidden = [16]
[train.likelihood.optimizer]
epochs = EPOCHS
patience = EPOCHS
[train.network]
hidden = [16]
[train.optimizer]
epochs = EPOCHS
[train.anchor]
hidden = [16]
[train.anchor.optimizer]
epochs = EPOCHS
[[runs]]
name = "toy"
task = "two_moons"
theta_true = [0.5, -0.5]
"#;

fn write_study(place: &Place, architecture: &str, epochs: u32) {
    let text = STUDY.replace("ARCHITECTURE", architecture).replace("EPOCHS", &epochs.to_string());
    std::fs::write(place.at("study.toml"), text).unwrap();
}

/// A JSON value without what differs between runs: times and the command.
fn without_times(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|name, _| {
                !["seconds", "training_seconds", "wall_seconds", "command", "threads", "sha256"]
                    .contains(&name.as_str())
            });
            map.values_mut().for_each(without_times);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(without_times),
        // What a model's file says of itself, with a digest of all that.
        serde_json::Value::String(text) if text.starts_with('{') => {
            let mut said: serde_json::Value = serde_json::from_str(text).unwrap();
            without_times(&mut said);
            said.as_object_mut().unwrap().remove("digest");
            *value = said;
        }
        _ => {}
    }
}

/// What a study left: its results, and each file of its steps by name and digest.
fn content(place: &Place, folder: &str) -> Vec<String> {
    let bytes = std::fs::read(place.at(folder).join("results.json")).unwrap();
    let mut results = serde_json::from_slice(&bytes).unwrap();
    without_times(&mut results);
    let mut content = vec![];
    for step in place.at(folder).join("steps").read_dir().unwrap().flatten() {
        let step = step.file_name().into_string().unwrap();
        assert!(!step.starts_with('.'), "{step} is left");
        for file in place.at(&format!("{folder}/steps/{step}")).read_dir().unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            let path = format!("steps/{step}/{name}");
            if [".h5", ".nc", ".safetensors"].iter().any(|end| name.ends_with(end)) {
                let mut said = place.json(&format!("inspect {folder}/{path}"));
                without_times(&mut said);
                content.push(format!("{path} {}", said.to_string().replace(&format!("{folder}/"), "")));
            } else {
                content.push(path);
            }
        }
    }
    content.sort();
    content.push(results.to_string());
    content
}

#[test]
fn studies_on_several_processes_find_what_one_finds() {
    let place = Place::new();
    for (size, architecture) in [(2, "architecture = \"likelihood\""), (3, "architecture = \"anchored\"")] {
        write_study(&place, architecture, 3);
        let Some(command) = mpirun(&place, size, "study study.toml -o many --force -q") else { return };
        assert_eq!(run(command), (Some(0), vec![]));
        let one = place.command("study study.toml -o one --force -q").env("SOURCE_DATE_EPOCH", "0").output().unwrap();
        assert!(one.status.success());
        assert_eq!(content(&place, "many"), content(&place, "one"), "{architecture} on {size} processes");
        assert!(place.at("many/report.html").exists());
    }
}

#[test]
fn refinements_and_diagnoses_on_several_processes_find_what_one_finds() {
    let place = Place::new();
    place.run("simulate two_moons -n 600 -o train.h5");
    std::fs::write(
        place.at("train.toml"),
        "[likelihood]\nmembers = 2\nhidden = [16]\n[likelihood.optimizer]\nepochs = 3\n",
    )
    .unwrap();
    place.run("train train.h5 -o model.safetensors --config train.toml");
    place.run("simulate two_moons -n 50 --n-obs 3 --seed 1 -o pairs.h5");
    place.run("observe two_moons --from-prior -n 3 -o observed.h5");
    place.run("sample model.safetensors --observations observed.h5 --samples 200 -o posterior.nc");
    place.run("sample model.safetensors --observations observed.h5 --samples 200 --seed 1 -o other.nc");
    place.run("observe sir --from-prior -n 30 --seed 1 -o sir.h5");
    let refine = "refine --task sir --observations sir.h5 --budget 6000";
    let Some(command) = mpirun(&place, 2, &format!("{refine} -o many.safetensors --posterior many.nc")) else { return };
    assert_eq!(run(command), (Some(0), vec![]));
    place.run(&format!("{refine} -o one.safetensors --posterior one.nc"));
    for kind in ["safetensors", "nc"] {
        assert_eq!(place.digest(&format!("many.{kind}")), place.digest(&format!("one.{kind}")));
    }
    for diagnose in [
        "sbc model.safetensors --calibration pairs.h5 --draws 20",
        "coverage model.safetensors --calibration pairs.h5 --draws 20",
        "local-c2st model.safetensors --calibration pairs.h5 --observations observed.h5 --posterior posterior.nc --trials 3",
        "posterior-sbc model.safetensors --task two_moons --observations observed.h5 --pairs 20 --draws 20",
        "c2st posterior.nc --reference other.nc",
        "reference two_moons --pairs 5 --draws 40",
    ] {
        let arguments = format!("diagnose {diagnose} --json -q");
        let many = mpirun(&place, 3, &arguments).unwrap().output().unwrap();
        let said = String::from_utf8_lossy(&many.stderr).into_owned();
        assert!(many.status.success(), "{diagnose}: {said}");
        let mut many = serde_json::from_slice(&many.stdout).expect("printed once");
        let mut one = place.json(&format!("diagnose {diagnose}"));
        [&mut many, &mut one].into_iter().for_each(without_times);
        assert_eq!(many, one, "{diagnose}");
    }
}

/// Process numbers of the program's ranks under an `mpirun`, by rank.
fn ranks(mpirun: &Child) -> Vec<(u32, u32)> {
    let job = mpirun.id().to_string();
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let rank = |pid: u32| -> Option<(u32, u32)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let of_job = rest.split_whitespace().nth(1)? == job;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let rank = environment.split('\0').find_map(|entry| entry.strip_prefix("OMPI_COMM_WORLD_RANK="))?;
        (of_job && name == "tallsbi").then_some((rank.parse().ok()?, pid))
    };
    let mut ranks: Vec<_> = pids.filter_map(rank).collect();
    ranks.sort_unstable();
    ranks
}

fn kill(signal: &str, pid: u32) {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
}

/// Everything killed, one process killed, one interrupted: all of them end, and what was done is gone on with, by another number of processes.
#[cfg(target_os = "linux")]
#[test]
fn stopped_studies_are_resumed_to_the_same_result() {
    let place = Place::new();
    write_study(&place, "architecture = \"likelihood\"", 3000);
    let training = || {
        let is_model = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".toy-model"))
        };
        place.at("many/steps").read_dir().is_ok_and(|mut steps| steps.any(is_model))
    };
    for (victim, signal, size) in [("all", "-KILL", 2), ("1", "-KILL", 3), ("0", "-INT", 2), ("1", "-INT", 2)] {
        let Some(mut command) = mpirun(&place, size, "study study.toml -o many --resume -q") else { return };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(common::while_running(&mut child, training), "the study was over before it was stopped");
        std::thread::sleep(Duration::from_millis(300));
        let members = ranks(&child);
        assert_eq!(members.len(), size as usize);
        let started = Instant::now();
        match victim.parse::<usize>() {
            Ok(rank) => kill(signal, members[rank].1),
            Err(_) => {
                std::iter::once(child.id()).chain(members.iter().map(|(_, pid)| *pid)).for_each(|pid| kill(signal, pid))
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(20), "{victim} {signal}: {:?}", started.elapsed());
        let gone = || members.iter().all(|(_, pid)| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(30), "{victim} {signal}: processes are left");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!place.at("many/results.json").exists());
    }
    assert_eq!(run(mpirun(&place, 3, "study study.toml -o many --resume -q").unwrap()), (Some(0), vec![]));
    place.command("study study.toml -o one -q").env("SOURCE_DATE_EPOCH", "0").output().unwrap();
    assert_eq!(content(&place, "many"), content(&place, "one"));
}

/// What fails in one process, or would differ, ends all and is told once, by the first.
#[test]
fn trouble_of_one_process_ends_all() {
    let place = Place::new();
    write_study(&place, "", 3);
    let variables = [String::new(), "TMPDIR=/nowhere".into()];
    let Some(command) = mpirun_each(&place, &variables, "study study.toml -o out --force -q") else { return };
    let (code, errors) = run(command);
    assert_eq!((code, errors.len()), (Some(1), 1), "{errors:?}");
    assert!(errors[0].contains("process 1: no temporary folder"), "{errors:?}");
    // As a mistake in a job's script would.
    let mut command = mpirun(&place, 1, "study study.toml -o out --force -q").unwrap();
    command
        .args([":", "-n", "1", env!("CARGO_BIN_EXE_tallsbi")])
        .args("study study.toml -o out --force -q --seed 1".split(' '));
    let (code, errors) = run(command);
    assert!(code != Some(0) && errors.len() == 1 && errors[0].contains("other arguments"), "{errors:?}");
}
