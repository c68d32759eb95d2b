//! Models that people bring: model files and the programs they run.

mod common;

use common::Place;
use ndarray::{Array2, Array3};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tallsbi::files::TrainingSet;

/// A folder with the examples of model files in it.
fn examples() -> Place {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, place.at(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    place
}

/// Whether a program is there; says so where it is not.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let found =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().is_ok_and(|out| out.status.success());
    if !found {
        eprintln!("skipped: {program} {} does not run here", arguments.join(" "));
    }
    found
}

/// Compiles an example in C.
fn compile(place: &Place, name: &str) {
    let mut cc = Command::new("cc");
    let status = cc.current_dir(place.path()).args(["-O2", "-o", name, &format!("{name}.c"), "-lm"]).status().unwrap();
    assert!(status.success());
}

/// θ, x and which rows are valid.
fn rows(place: &Place, name: &str) -> (Array2<f32>, Array3<f32>, Vec<bool>) {
    let set = TrainingSet::open(&place.at(name)).unwrap();
    let (theta, x, valid) = set.read_block(0, set.rows() as usize).unwrap();
    (theta, x, valid.iter().map(|&valid| valid == 1).collect())
}

/// A model with the parameters k ~ U(0, 1) and s ~ U(0, 1) and three values, run by `python3 worker.py`.
fn model(place: &Place, command: &str, worker: &str) {
    let text = format!(
        "name = \"test\"\nparameters = [\"k=uniform(0, 1)\", \"s=uniform(0, 1)\"]\nobservations = [\"a\", \"b\", \"c\"]\n[command]\n{command}\n"
    );
    std::fs::write(place.at("model.toml"), text).unwrap();
    std::fs::write(place.at("worker.py"), worker).unwrap();
}

const PYTHON: &str = "run = [\"python3\", \"worker.py\"]";

/// Answers seed + k, s and 1.
const GOOD: &str = "import sys\nfor line in sys.stdin:\n    seed, k, s = line.split()\n    print(int(seed) + float(k), s, 1, flush=True)\n";

/// Neither workers, threads nor batches change a byte; the data are the model's.
#[test]
fn python_worker() {
    let place = examples();
    place.run("simulate decay.toml -n 3000 -o first.h5 --seed 4");
    let text = std::fs::read_to_string(place.at("decay.toml")).unwrap();
    for (name, keys) in
        [("one", "workers = 1\nbatch = 7\nkeep = 512"), ("three", "workers = 3\nbatch = 1000\ntimeout = 9.0")]
    {
        std::fs::write(place.at("decay.toml"), text.replace("workers = 2", keys)).unwrap();
        place.run(&format!("simulate decay.toml -n 3000 -o {name}.h5 --seed 4 --threads 1"));
        assert_eq!(place.digest(&format!("{name}.h5")), place.digest("first.h5"));
    }
    let (theta, x, valid) = rows(&place, "first.h5");
    assert!(valid.iter().all(|&valid| valid));
    // (log y + k t) / s is standard normal: 9000 of them.
    let z = (0..3000).flat_map(|row| {
        let (k, s) = (theta[[row, 0]], theta[[row, 1]]);
        let x = x.clone();
        [0.5, 1.0, 2.0].into_iter().enumerate().map(move |(i, t)| f64::from((x[[row, 0, i]].ln() + k * t) / s))
    });
    let (sum, squares) = z.fold((0.0, 0.0), |(sum, squares), z| (sum + z, squares + z * z));
    assert!((sum / 9000.0_f64).abs() < 0.05 && (squares / 9000.0 - 1.0).abs() < 0.07, "{sum} {squares}");
    let contents = place.json("inspect first.h5");
    assert_eq!(contents["provenance"]["task"], "decay.toml");
    assert_eq!(contents["provenance"]["parents"][0]["path"], "decay.toml");
    assert!(contents["attributes"].to_string().contains("sha256"), "{contents}");

    place.run("observe decay.toml --theta 1,0.5 -n 40 -o obs.h5");
    place.run("observe decay.toml --theta 1,0.5 -n 40 -o again.h5 --threads 1");
    assert_eq!(place.digest("again.h5"), place.digest("obs.h5"));
    place.run("simulate decay.toml --fix s=0.5 --prior k=uniform(1,2) --n-obs 4 -n 50 -o fixed.h5");
    let (theta, x, _) = rows(&place, "fixed.h5");
    assert_eq!((theta.dim(), x.dim()), ((50, 1), (50, 4, 3)));
    assert!(theta.iter().all(|k| (1.0..2.0).contains(k)) && x[[0, 0, 0]] != x[[0, 1, 0]]);
}

/// The examples in C, awk and R, as text, as arrays and called for each row.
#[test]
fn other_languages() {
    let place = examples();
    let mut run = vec!["decay_c", "decay_npy_c", "decay_once"];
    compile(&place, "decay");
    compile(&place, "decay_npy");
    run.extend(installed("mawk", &["-W", "version"]).then_some("decay_awk"));
    run.extend(installed("Rscript", &["--version"]).then_some("decay_r"));
    run.extend(installed("python3", &["-c", "import numpy"]).then_some("decay_npy"));
    for name in &run {
        let count = if *name == "decay_once" { 2000 } else { 4000 };
        place.run(&format!("simulate {name}.toml -n {count} -o {name}.h5"));
        let (theta, x, valid) = rows(&place, &format!("{name}.h5"));
        assert!(valid.iter().all(|&valid| valid), "{name}");
        let residual = |row: usize| f64::from(x[[row, 0, 2]].ln() + 2.0 * theta[[row, 0]]) / f64::from(theta[[row, 1]]);
        let squares = (0..count).map(|row| residual(row).powi(2)).sum::<f64>() / count as f64;
        assert!((squares - 1.0).abs() < 0.15, "{name}: {squares}");
    }
    // One generator, two protocols.
    assert_eq!(place.digest("decay_c.h5"), place.digest("decay_npy_c.h5"));
}

/// What is printed to start from is a model that works.
#[test]
fn the_template_works() {
    let place = Place::new();
    std::fs::write(place.at("model.toml"), place.run("tasks --template command")).unwrap();
    place.run("simulate model.toml -n 500 -o train.h5");
    let (_, x, valid) = rows(&place, "train.h5");
    assert!(valid.iter().all(|&valid| valid) && x.iter().all(|&x| x > 0.0));
}

/// Differential equations: simulated, observed, fixed, the exact posterior sampled, refined and predicted, the same on any number of threads.
#[test]
fn equations_stand_wherever_a_task_does() {
    let place = Place::new();
    std::fs::write(place.at("model.toml"), place.run("tasks --template ode")).unwrap();
    place.run("simulate model.toml -n 500 -o train.h5 --threads 1");
    place.run("simulate model.toml -n 500 -o again.h5 --threads 2");
    assert_eq!(place.digest("train.h5"), place.digest("again.h5"));
    let (_, x, valid) = rows(&place, "train.h5");
    assert!(x.dim().2 == 4 && valid.iter().all(|&valid| valid) && x.iter().all(|&x| x > 0.0));
    place.run("observe model.toml --theta 1.5,0.2 -n 20 -o obs.h5");
    let out = place.run("reference model.toml --observations obs.h5 -o reference.nc");
    assert!(out.contains("NUTS"), "{out}");
    place.run("simulate model.toml --fix sd=0.2 --prior k=uniform(1,2) -n 10 -o fixed.h5");
    place.run(
        "refine --task model.toml --observations obs.h5 --budget 3000 -o refined.safetensors --posterior refined.nc",
    );
    place.run("diagnose c2st refined.nc --reference reference.nc");
    place.run("predict refined.nc -o predictive.nc");
}

/// A worker that fails at rows whose k stands in `poison.txt`, in the way that stands beside it.
const POISONED: &str = include_str!("workers/poisoned.py");

/// The same, an array a batch.
const POISONED_ARRAYS: &str = include_str!("workers/poisoned_arrays.py");

/// The same, called for each row; fails by its status.
const POISONED_CALL: &str = include_str!("workers/poisoned_call.py");

/// Three rows fail in each way: they and no others are invalid, and what the others are does not change.
#[test]
fn rows_that_fail() {
    const KINDS: [&str; 8] = ["crash", "kill", "hang", "end", "nan", "text", "few", "many"];
    let place = Place::new();
    let each = "run = [\"python3\", \"worker.py\", \"{theta}\"]".replace("\"{theta}\"", "\"{seed}\", \"{k}\", \"{s}\"");
    for (name, keys, worker, count) in [
        ("text", PYTHON.to_owned(), POISONED, 2000),
        ("npy", format!("{PYTHON}\nprotocol = \"npy\""), POISONED_ARRAYS, 2000),
        ("each", each, POISONED_CALL, 90),
    ] {
        model(&place, &format!("{keys}\nworkers = 2\ntimeout = 3.0\nbatch = 2"), worker);
        std::fs::write(place.at("poison.txt"), "").unwrap();
        let arguments = format!("simulate model.toml -n {count} --seed 3");
        place.run(&format!("{arguments} -o {name}-good.h5"));
        let (theta, good, valid) = rows(&place, &format!("{name}-good.h5"));
        assert!(valid.iter().all(|&valid| valid));
        let bad: Vec<usize> = (0..3 * KINDS.len()).map(|i| 5 + i * (count / 30) + i % 3).collect();
        let poison = bad.iter().zip(KINDS.iter().cycle());
        let poison: String = poison.map(|(&row, kind)| format!("{:?} {kind}\n", f64::from(theta[[row, 0]]))).collect();
        std::fs::write(place.at("poison.txt"), poison).unwrap();
        let output = place.command(&format!("{arguments} -o {name}.h5")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {error}");
        let told = error.lines().find(|line| line.contains("24 of")).unwrap_or_else(|| panic!("{name}: {error}"));
        assert!(told.contains("for example row 5 (seed ") && told.contains("boom at "), "{name}: {told}");
        let (same, x, valid) = rows(&place, &format!("{name}.h5"));
        assert_eq!(same, theta);
        for (row, valid) in valid.into_iter().enumerate() {
            assert_eq!(valid, !bad.contains(&row), "{name} {row}");
            assert!(!valid || x.index_axis(ndarray::Axis(0), row) == good.index_axis(ndarray::Axis(0), row));
        }
    }
}

const SIMULATE: &str = "simulate model.toml -n 2000 -o train.h5 -q --force";

/// A program that never works, or does not any more, is an error on one line.
#[test]
fn programs_that_fail() {
    let place = Place::new();
    for (command, worker, expected) in [
        (
            "run = [\"no-such-program\"]",
            "",
            "model.toml: the program \"no-such-program\" cannot be started; is it installed?",
        ),
        ("run = [\"worker.py\"]", "", "write ./worker.py for the one beside the model file"),
        (
            PYTHON,
            "import sys\nsys.exit('no licence')\n",
            "no row succeeds: it ended with status 1 (it said: no licence)",
        ),
        (PYTHON, "", "no row succeeds: it ended without an answer"),
        (
            PYTHON,
            "import sys\nfor line in sys.stdin: print('1 2', flush=True)\n",
            "it answered 2 values where 3 belong",
        ),
        (
            PYTHON,
            "import sys\nfor line in sys.stdin: print('1 2 3 4', flush=True)\n",
            "it answered 4 values where 3 belong",
        ),
        (
            PYTHON,
            "import sys\nfor line in sys.stdin: print('1 2 3\\n1 2 3', flush=True)\n",
            "answers more than one line a row",
        ),
        (
            PYTHON,
            "import sys\nprint('Welcome', flush=True)\nfor line in sys.stdin: print('1 2 3', flush=True)\n",
            "it answered \"Welcome\" where 3 numbers belong",
        ),
        (
            "run = [\"python3\", \"worker.py\"]\ntimeout = 0.3",
            "import time\ntime.sleep(1000)\n",
            "it gave no answer within 0.3 s; does it flush",
        ),
        ("run = [\"python3\", \"worker.py\"]\nprotocol = \"npy\"", GOOD, "status 1"),
        (
            "run = [\"python3\", \"worker.py\"]\nprotocol = \"npy\"",
            "print('hello there', flush=True)\nimport time\ntime.sleep(9)\n",
            "it gave something that is no npy array",
        ),
        ("run = [\"python3\", \"worker.py\"]\neach = true", "print(1, 2)\n", "it answered 2 values where 3 belong"),
        ("run = [\"python3\", \"worker.py\", \"{output}\"]", "print(1, 2, 3)\n", "it wrote no {output}"),
    ] {
        model(&place, command, worker);
        place.fails(SIMULATE, 1, expected);
    }
    // It works, then does not any more.
    let worker = "import os, sys\nfor line in sys.stdin:\n    if os.path.exists('broken'): sys.exit('disk full')\n    print(1, 2, 3, flush=True)\n    if line > '15': open('broken', 'w')\n";
    model(&place, PYTHON, worker);
    place.fails(SIMULATE, 1, "the last 100 rows failed: it ended with status 1 (it said: disk full)");
}

/// A model file that cannot be is an error on one line.
#[test]
fn model_files_that_cannot_be() {
    let place = Place::new();
    place.fails("simulate missing.toml -n 10 -o a.h5", 2, "missing.toml: no such model file");
    place.fails("simulate no_such_task -n 10 -o a.h5", 2, "ends in .toml for a model of your own");
    let good = "name = \"m\"\nparameters = [\n  \"a=normal(0, 1)\",\n  { name = \"b\", dist = \"uniform\", low = 0, high = 1 },\n]\nobservations = [\"x\", \"y\"]\n[command]\nrun = [\"cat\"]\n";
    for (from, to, expected) in [
        ("name = \"m\"", "title = \"m\"", "line 1: unknown field `title`, expected one of `name`"),
        ("[command]", "[comand]", "line 7: unknown field `comand`"),
        ("run =", "rum =", "line 8: unknown field `rum`, expected one of `run`"),
        ("name = \"m\"", "name = m", "line 1: "),
        ("name = \"b\"", "name = \"a\"", "line 4: parameters: \"a\" is named twice"),
        ("\"y\"", "\"x\"", "line 6: observations: \"x\" is named twice"),
        ("high = 1", "high = -1", "line 4: prior: uniform \"b\" needs finite low < high"),
        ("high = 1", "hihg = 1", "line 4: parameters: b: unknown field `hihg`, expected one of `name`, `low`, `high`"),
        ("\"uniform\"", "\"flat\"", "line 4: parameters: b: unknown variant `flat`, expected one of `uniform`"),
        ("normal(0, 1)", "normal(0)", "line 3: prior: \"a=normal(0)\" has 1 values"),
        ("[\"cat\"]", "[]", "line 8: command.run: give a program"),
        ("[\"cat\"]", "[\"cat\", \"{c}\"]", "line 8: command.run: {c} is neither a parameter nor one of {seed}"),
        ("[\"cat\"]", "[\"cat\"]\ntimeout = -1.0", "line 9: command.timeout: must be above 0"),
        ("[\"cat\"]", "[\"cat\"]\nworkers = 0", "line 9: command.workers: must be from 1"),
        ("[\"cat\"]", "[\"cat\"]\nprotocol = \"json\"", "line 9: unknown variant `json`, expected `text` or `npy`"),
        ("[\"x\", \"y\"]", "[]", "line 6: observations: name at least one"),
    ] {
        assert!(good.contains(from));
        std::fs::write(place.at("model.toml"), good.replace(from, to)).unwrap();
        place.fails(SIMULATE, 2, &format!("model.toml: {expected}"));
    }
    std::fs::write(place.at("model.toml"), good).unwrap();
    place.fails("simulate model.toml --dimension 3 -n 10 -o a.h5", 2, "has no option dimension");
    std::fs::write(place.at("obs.csv"), "x,y\n1,2\n").unwrap();
    place.fails("reference model.toml --observations obs.csv -o a.nc", 1, "has a simulator only");
}

/// Killed at several moments and resumed, or in shards: the data of the uninterrupted run; no program is left behind.
#[cfg(unix)]
#[test]
fn killed_and_resumed() {
    let place = Place::new();
    // It takes a millisecond a row, and writes its number where it can be found.
    let worker = format!(
        "import os, time\nopen('pids', 'a').write(f'{{os.getpid()}}\\n')\n{}",
        GOOD.replace("    print", "    time.sleep(0.001)\n    print")
    );
    model(&place, &format!("{PYTHON}\nworkers = 2\nkeep = 64"), &worker);
    let arguments = "simulate model.toml -n 1500 --seed 9 -q";
    place.run(&format!("{arguments} -o whole.h5"));
    let whole = place.at("whole.h5").metadata().unwrap().len();
    let digest = place.digest("whole.h5");
    for shard in 1..=3 {
        place.run(&format!("{arguments} --shard {shard}/3 -o shard-{shard}.h5"));
    }
    place.run("merge shard-1.h5 shard-2.h5 shard-3.h5 -o merged.h5");
    assert_eq!(place.digest("merged.h5"), digest);
    let run = || place.start(&format!("{arguments} -o killed.h5 --resume"));
    let mut killed = 0;
    for moment in 1..=5 {
        let mut child = run();
        let kept = place.at("killed.h5.partial");
        let enough = whole * moment / 6;
        killed +=
            usize::from(common::while_running(&mut child, || kept.metadata().is_ok_and(|kept| kept.len() > enough)));
        child.kill().unwrap();
        child.wait().unwrap();
        place.run(&format!("{arguments} -o killed.h5 --resume"));
        assert_eq!(place.digest("killed.h5"), digest);
        std::fs::remove_file(place.at("killed.h5")).unwrap();
    }
    assert!(killed >= 3, "only {killed} of 5 runs were killed in time");
    // Ctrl-C.
    let mut child = run();
    let kept = place.at("killed.h5.partial");
    assert!(common::while_running(&mut child, || kept.metadata().is_ok_and(|kept| kept.len() > 2000)));
    assert!(common::signal(&child, "-INT"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // Other workers may go on with it, another model may not.
    let text = std::fs::read_to_string(place.at("model.toml")).unwrap();
    std::fs::write(place.at("model.toml"), text.replace("s=uniform(0, 1)", "s=uniform(0, 2)")).unwrap();
    place.fails(&format!("{arguments} -o killed.h5 --resume"), 1, "prior is ");
    std::fs::write(place.at("model.toml"), text.replace("\"c\"]", "\"z\"]")).unwrap();
    place.fails(&format!("{arguments} -o killed.h5 --resume"), 1, " there and ");
    std::fs::write(place.at("model.toml"), text.replace("workers = 2", "workers = 3\nbatch = 9")).unwrap();
    place.run(&format!("{arguments} -o killed.h5 --resume"));
    assert_eq!(place.digest("killed.h5"), digest);
    // A program that does not listen ends with us too.
    std::thread::sleep(Duration::from_millis(100));
    let left = std::fs::read_to_string(place.at("pids")).unwrap();
    let left: Vec<&str> = left.lines().filter(|pid| runs(Path::new("/proc").join(pid).as_path())).collect();
    assert!(left.is_empty(), "{left:?} are still there");
}

/// Whether a process of Linux runs: one that ended may wait to be collected.
#[cfg(unix)]
fn runs(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|state| !state.contains(") Z "))
}

/// A program in the middle of a row ends when we are killed.
#[cfg(target_os = "linux")]
#[test]
fn a_busy_program_ends_with_us() {
    let place = Place::new();
    model(&place, PYTHON, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n");
    let mut child = place.start("simulate model.toml -n 10 -o a.h5 -q");
    let pid = || std::fs::read_to_string(place.at("pid")).unwrap_or_default();
    assert!(common::while_running(&mut child, || !pid().is_empty()), "it ended at once");
    let process = Path::new("/proc").join(pid());
    assert!(process.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs(&process) {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A small network, a posterior, predictions, posterior SBC, a refinement and a study from a model file.
#[test]
fn from_simulation_to_study() {
    let place = examples();
    place.run("simulate decay.toml -n 3000 -o train.h5");
    place.run("train train.h5 -o model.safetensors --epochs 5 --hidden 32,32 -q");
    place.run("observe decay.toml --theta 1.5,0.3 -n 12 -o obs.h5");
    place.run("sample model.safetensors --observations obs.h5 --samples 200 -o posterior.nc -q");
    place.run("predict posterior.nc --draws 30 -o predictive.nc -q");
    let parents = place.json("inspect predictive.nc")["provenance"]["parents"].clone();
    assert!(parents.as_array().unwrap().iter().any(|parent| parent["path"] == "decay.toml"), "{parents}");
    let refine = "refine model.safetensors --observations obs.h5 -n 300 --rounds 2 --samples 200 -o refined.safetensors -q --force";
    let refined = place.json(&format!("{refine} --task decay.toml --posterior refined.nc"));
    let (mean, sd) = (refined["mean"][0].as_f64().unwrap(), refined["sd"][0].as_f64().unwrap());
    assert!((mean - 1.5).abs() < 4.0 * sd && sd < 0.15, "{mean} ± {sd}");
    let again = place.json(refine);
    assert_eq!(again["mean"], refined["mean"], "the model knows its task");
    place.run("diagnose posterior-sbc refined.safetensors --observations obs.h5 --pairs 20 --new 4 --draws 20 -q");

    // Another model than the one it was trained on.
    let text = std::fs::read_to_string(place.at("decay.toml")).unwrap();
    for (from, to, expected) in [
        ("scale = 0.5", "scale = 0.6", "the model: has another prior than the task other.toml"),
        ("\"y3\"", "\"y4\"", "was trained on the observations y1, y2, y3, other.toml has y1, y2, y4"),
        ("\"log\"", "\"identity\"", "was trained on another transform"),
    ] {
        std::fs::write(place.at("other.toml"), text.replace(from, to)).unwrap();
        place.fails(&format!("{refine} --task other.toml"), 1, expected);
    }
    std::fs::write(
        place.at("study.toml"),
        "n_obs = [1, 8]\nsimulations = 1000\nposterior_samples = 100\n[local_c2st]\npairs = 20\ntest = { trials = 3 }\n[coverage]\npairs = 20\ndraws = 10\n\
         [train.likelihood]\nmembers = 1\nhidden = [16]\n[train.likelihood.optimizer]\nepochs = 2\n\
         [[runs]]\nname = \"decay\"\ntask = \"decay.toml\"\ntheta_true = [1.5, 0.3]\n",
    )
    .unwrap();
    place.run("study study.toml -o study -q");
    assert!(place.at("study").join("results.json").exists());
    // What the model file says of the data decides whether steps are done.
    let done = |from: &str, to: &str| {
        std::fs::write(place.at("decay.toml"), text.replace(from, to)).unwrap();
        let output = place.command("study study.toml -o study --resume").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = error.lines().find(|line| line.contains("steps are done already")).map(str::to_owned);
        line.unwrap_or_default()
    };
    let all = done("workers = 2", "workers = 1");
    let words: Vec<&str> = all.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "of").unwrap();
    assert_eq!(words[at - 1], words[at + 1], "{all}");
    assert_eq!(done("scale = 0.5", "scale = 0.4"), "", "nothing is done");
}

/// Rows at given parameters, whole and in shards; those that cannot be are named.
#[test]
fn given_parameters() {
    let place = Place::new();
    model(&place, PYTHON, GOOD);
    let table: String = (0..300).map(|row| format!("{},{}\n", f64::from(row) / 512.0, 0.25)).collect();
    std::fs::write(place.at("theta.csv"), format!("k,s\n{table}")).unwrap();
    place.run("simulate model.toml --theta theta.csv -o given.h5 --seed 2");
    let (theta, x, valid) = rows(&place, "given.h5");
    assert!(theta.dim() == (300, 2) && valid.iter().all(|&valid| valid));
    for (row, theta) in theta.outer_iter().enumerate() {
        assert_eq!((theta[0], theta[1], x[[row, 0, 1]]), (row as f32 / 512.0, 0.25, 0.25));
    }
    let set = TrainingSet::open(&place.at("given.h5")).unwrap();
    assert_eq!(set.prior().components()[0].to_string(), "uniform(0, 1)");
    let parents: Vec<String> = set.provenance().parents.iter().map(|parent| parent.path.clone()).collect();
    assert_eq!(parents, ["model.toml", "theta.csv"]);
    for shard in 1..=2 {
        place.run(&format!("simulate model.toml --theta theta.csv --seed 2 --shard {shard}/2 -o shard-{shard}.h5"));
    }
    place.run("merge shard-1.h5 shard-2.h5 -o merged.h5");
    assert_eq!(place.digest("merged.h5"), place.digest("given.h5"));
    place.run("simulate model.toml --theta given.h5:theta -n 100 -o first.h5 --seed 2");
    assert_eq!(rows(&place, "first.h5").1, x.slice(ndarray::s![..100, .., ..]).to_owned());
    place.run("simulate slcp -n 20 -o slcp.h5");
    place.run("simulate slcp --theta slcp.h5:theta -o again.h5");
    assert_eq!(place.digest("again.h5"), place.digest("slcp.h5"));

    place.fails("simulate model.toml -o a.h5", 2, "--rows");
    place.fails("simulate model.toml --theta theta.csv -n 301 -o a.h5", 2, "301 rows wanted, theta.csv has 300");
    place.fails("simulate model.toml --theta slcp.h5:theta -o a.h5", 1, "has 5 columns, the parameters are k, s");
    std::fs::write(place.at("swapped.csv"), format!("s,k\n{table}")).unwrap();
    place.fails("simulate model.toml --theta swapped.csv -o a.h5", 1, "has the columns s, k, the parameters are k, s");
    std::fs::write(place.at("outside.csv"), "k,s\n0.1,0.2\n0.1,0.2\n0.1,1.5\n").unwrap();
    place.fails(
        "simulate model.toml --theta outside.csv -o a.h5",
        1,
        "outside.csv: row 2 has s = 1.5, outside the prior's [0, 1]",
    );
}
