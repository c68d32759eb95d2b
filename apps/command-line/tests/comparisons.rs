//! Studies against known posteriors, as users run them: toy problems, and a benchmark with the user's own reference.

mod common;

use common::{Place, results};
use ndarray::{Array2, Array3, Axis};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::path::Path;

const TOY: &str = r#"
kind = "toy"
title = "Small"
samples = 200
projections = 50
shown_n_obs = [1, 4]

[[grids]]
problem = "gaussian"
dimensions = [2, 3]
n_obs = [2, 8]
amplitudes = [0.0, 0.01]
seeds = 2
samplers = ["gauss-50", "jac-150", "langevin-20", "gauss-dpm-30"]

[[grids]]
problem = "mixture"
dimensions = [2]
n_obs = [4]
amplitudes = [0.0]
seeds = 1
samplers = ["gauss-50", "gauss-1000", "langevin-20"]
"#;

#[test]
fn a_toy_study_compares_samplers_with_the_exact_posterior() {
    let place = Place::new();
    let out = place.at("out");
    place.write("toy.toml", TOY);
    place.run("study toy.toml -o out");
    let found = results(&out);
    assert_eq!(found["kind"], "toy");
    let cells = found["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 2 * 2 * 2 * 2 + 1);
    for cell in cells {
        let floor = cell["floor"]["max_sliced"].as_f64().expect("a number");
        for run in cell["runs"].as_array().expect("runs") {
            let distance = run["distances"]["max_sliced"].as_f64().expect("no method of ours gives NaN");
            let sampler = run["sampler"].as_str().expect("a name");
            assert!(run["seconds"].as_f64().expect("a number") > 0.0);
            // With exact scores of a Gaussian GAUSS and JAC are exact: what two sets of exact samples show, and the noise of that.
            let exact = cell["problem"] == "gaussian" && cell["amplitude"] == 0.0;
            if exact && (sampler == "gauss-dpm-30" || sampler == "jac-150") {
                assert!(distance < 2.5 * floor + 0.1, "{sampler}: {distance} where exact samples have {floor}");
            }
        }
    }
    for file in ["report.html", "tables/table-1.csv", "tables/table-2.csv", "tables/table-4.csv", "tables/runs.csv"] {
        assert!(out.join(file).exists(), "{file}");
    }
    for figure in ["figure-1-exact", "gaussian-figure-2", "gaussian-figure-8", "gaussian-figure-9", "gaussian-time"] {
        assert!(out.join(format!("figures/{figure}.svg")).exists(), "{figure}");
    }
    let rows = std::fs::read_to_string(out.join("tables/runs.csv")).expect("a table").lines().count();
    assert_eq!(rows, 1 + 16 * 4 + 3);

    // Nothing is done twice, one more grid runs alone, and the report can be made again.
    let more = TOY.replace("amplitudes = [0.0, 0.01]", "amplitudes = [0.0, 0.01, 0.1]");
    place.write("toy.toml", &more);
    let log = place.log("study toy.toml -o out --resume");
    assert!(log.contains("18 of 26 steps are done already"), "{log}");
    assert_eq!(results(&out)["cells"][0]["runs"][0]["distances"], cells[0]["runs"][0]["distances"]);
    assert!(place.run("report out").contains("report.html"));
}

#[test]
fn mistakes_in_a_toy_study_are_one_line() {
    let place = Place::new();
    for (text, expected) in [
        (TOY.replace("gauss-dpm-30", "gaus-30"), "line 14: \"gaus-30\" is not a sampler"),
        (TOY.replace("seeds = 2", "seeds = 0"), "grids: the 1. one: seeds must be 1 to 1000000"),
        (TOY.replace("samples = 200", "sample = 200"), "line 4: unknown field `sample`"),
        (TOY.replace("\"toy\"", "\"toys\""), "line 2: unknown variant `toys`"),
    ] {
        place.write("wrong.toml", &text);
        place.fails("study wrong.toml -o out", 2, expected);
    }
    place.write("toy.toml", TOY);
    place.fails("study toy.toml -o out --observations x.csv", 2, "--observations goes with studies of models");
    place.fails("study toy.toml -o out --reference-data x", 2, "--reference-data goes with benchmarks");
    assert!(place.run("study --print-default toy").contains("[[grids]]"));
}

const BENCHMARK: &str = r#"
kind = "benchmark"
title = "Mine"
n_obs = [1, 4]
sets = 2
simulations = [500, 600]
posterior_samples = 100
samplers = ["gauss-dpm-10", "langevin-20-clip"]

[[tasks]]
name = "gaussian_toy"
[tasks.options]
dimension = 2
correlation = 0.0

[train.network]
hidden = [16]
[train.optimizer]
epochs = 4
[train.anchor]
hidden = [16]
[train.anchor.optimizer]
epochs = 10
"#;

/// θ* of an observation set.
fn truth(set: usize) -> f64 {
    0.7 * set as f64
}

/// x ~ N(θ*, I), θ ~ N(0, I): the posterior is N(Σx/(1+n), I/(1+n)).
fn reference(path: &Path, sets: usize) {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let x = Array3::from_shape_fn((sets, 4, 2), |(set, ..)| (truth(set) + normal()) as f32);
    let file = hdf5::File::create(path).expect("created");
    file.new_dataset_builder().with_data(&x).create("x_obs").expect("written");
    file.new_dataset_builder()
        .with_data(&Array2::from_shape_fn((sets, 2), |(set, _)| truth(set) as f32))
        .create("theta_true")
        .expect("written");
    let group = file.create_group("posterior").expect("created");
    for n in [1usize, 4] {
        let samples = Array3::from_shape_fn((sets, 100, 2), |(set, _, i)| {
            let sum: f64 = (0..n).map(|j| f64::from(x[[set, j, i]])).sum();
            sum / (1.0 + n as f64) + normal() / (1.0 + n as f64).sqrt()
        });
        group.new_dataset_builder().with_data(&samples).create(format!("n{n}").as_str()).expect("written");
    }
}

#[test]
fn a_benchmark_compares_with_the_users_reference() {
    let place = Place::new();
    let out = place.at("out");
    place.write("mine.toml", BENCHMARK);
    std::fs::create_dir(place.at("data")).expect("created");
    reference(&place.at("data/gaussian_toy.h5"), 3);
    place.write("data/ignore_nums.json", r#"{"ignore_nums_per_task_main": {"gaussian_toy": [2]}}"#);
    assert!(place.run("study mine.toml -o out --reference-data data").contains("C2ST"));
    let found = results(&out);
    let task = &found["tasks"][0];
    let runs = task["runs"].as_array().expect("runs");
    assert_eq!((runs.len(), &task["ignored"]), (2 * 2 * 2, &serde_json::json!([2])));
    for run in runs {
        let sets = run["sets"].as_array().expect("sets");
        assert_eq!(sets.len(), 2);
        for set in sets {
            let c2st = set["distances"]["c2st"].as_f64().expect("a number");
            assert!((0.3..=1.0).contains(&c2st) && set["distances"]["mmd"].is_number());
        }
    }
    for file in ["report.html", "tables/sets.csv", "tables/gaussian_toy-metrics.csv"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let figures = ["metrics", "simulations", "dirac", "pairs", "losses"].map(|name| format!("gaussian_toy-{name}"));
    for figure in &figures {
        assert!(out.join(format!("figures/{figure}.png")).exists(), "{figure}");
    }
    distances_to_the_truth(&place.at("data/gaussian_toy.h5"), task, &out);
    // A regression, and the epochs of anchor and residual, of each network, with their losses.
    let losses = std::fs::read_to_string(out.join("figures/gaussian_toy-losses.csv")).expect("a table");
    assert_eq!(losses.lines().count(), 1 + 2 * (1 + 10 + 4), "{losses}");

    // The report is made again from the steps alone.
    let before = std::fs::read(out.join("figures/gaussian_toy-pairs.svg")).expect("a figure");
    std::fs::rename(place.at("data"), place.at("elsewhere")).expect("moved");
    std::fs::remove_dir_all(out.join("figures")).expect("removed");
    place.run("report out");
    assert!(std::fs::read(out.join("figures/gaussian_toy-pairs.svg")).expect("drawn again") == before);
    std::fs::rename(place.at("elsewhere"), place.at("data")).expect("moved");

    // Another set is drawn without sampling anything again.
    place.write("mine.toml", &BENCHMARK.replace("sets = 2", "sets = 2\nshown_set = 2"));
    let log = place.log("study mine.toml -o out --reference-data data --resume");
    assert!(log.contains("20 of 21 steps are done already"), "{log}");
    assert!(std::fs::read(out.join("figures/gaussian_toy-pairs.svg")).expect("drawn again") != before);
    // A trained model in place of training; only sampling and metrics are done.
    let model = std::fs::read_dir(out.join("steps"))
        .expect("steps")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("gaussian_toy-scores-600"))
        .expect("a model");
    let path = model.path().join("model.safetensors");
    let given = BENCHMARK.replace("name = \"gaussian_toy\"", &format!("name = \"gaussian_toy\"\nmodel = {path:?}"));
    place.write("given.toml", &given);
    // The folder around the reference data will do as well.
    std::fs::create_dir(place.at("around")).expect("created");
    std::fs::rename(place.at("data"), place.at("around/reference")).expect("moved");
    place.run("study given.toml -o given --reference-data around");
    let again = results(&place.at("given"));
    assert!(again["tasks"][0]["runs"][0]["simulations"].is_null());
    // Runs of the larger training set come last.
    assert_eq!(again["tasks"][0]["runs"][0]["sets"], runs[4]["sets"]);
}

/// √ of the mean over parameters of Var + (mean - θ*)², for a prior of unit variance.
fn distances_to_the_truth(reference: &Path, task: &serde_json::Value, out: &Path) {
    let file = hdf5::File::open(reference).expect("opens");
    let check = |samples: &Array3<f64>, set: usize, found: &serde_json::Value| {
        let truth = f64::from(truth(set) as f32);
        let of =
            |column: ndarray::ArrayView1<'_, f64>| column.var(1.0) + (column.mean().expect("samples") - truth).powi(2);
        let columns = samples.index_axis(Axis(0), set);
        let expected = (0.5 * columns.columns().into_iter().map(of).sum::<f64>()).sqrt();
        let found = found.as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    };
    for (index, n) in [1, 4].into_iter().enumerate() {
        let samples: Array3<f64> =
            file.dataset(&format!("posterior/n{n}")).and_then(|dataset| dataset.read()).expect("samples");
        assert_eq!(task["reference_dirac"][index][0], n);
        for set in 0..2 {
            check(&samples, set, &task["reference_dirac"][index][1][set]);
        }
    }
    for run in task["runs"].as_array().expect("runs") {
        let path = out.join(run["samples"].as_str().expect("a path"));
        let samples = hdf5::File::open(path).and_then(|file| file.dataset("samples")).expect("opens");
        let samples: Array3<f64> = samples.read().expect("samples");
        for set in 0..2 {
            check(&samples, set, &run["sets"][set]["dirac"]);
        }
    }
}

#[test]
fn a_benchmark_without_reference_says_what_to_give() {
    let place = Place::new();
    place.write("mine.toml", BENCHMARK);
    let fails = |arguments: &str, expected: &str| {
        let output = place.command(arguments).env_remove("TALLSBI_REFERENCE_DATA").output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().count() == 1 && error.contains(expected), "{error}");
        let _ = std::fs::remove_dir_all(place.at("out"));
    };
    fails("study mine.toml -o out", "give --reference-data DIR with TASK.h5");
    fails("study mine.toml -o out --reference-data nowhere", "gaussian_toy.h5 does not exist");
    std::fs::create_dir(place.at("data")).expect("created");
    reference(&place.at("data/gaussian_toy.h5"), 1);
    place.write("mine.toml", &BENCHMARK.replace("n_obs = [1, 4]", "n_obs = [1, 9]"));
    fails("study mine.toml -o out --reference-data data", "has 4 observations a set, n_obs asks for 9");
    place.write("mine.toml", &BENCHMARK.replace("n_obs = [1, 4]", "n_obs = [1, 3]"));
    fails("study mine.toml -o out --reference-data data", "has no data set posterior/n3");
    place.write("mine.toml", &BENCHMARK.replace("sets = 2", "sets = 2\nshown_set = 2"));
    fails("study mine.toml -o out --reference-data data", "has 1 observation sets, shown_set asks for number 2");
    place.write("mine.toml", &BENCHMARK.replace("sets = 2", "sets = 2\nshown_set = 3"));
    fails("study mine.toml -o out", "mine.toml: line 6: shown_set: must be one of the sets 1 to 2, got 3");
    place.write("mine.toml", &BENCHMARK.replace("dimension = 2", "dimension = 3"));
    fails("study mine.toml -o out --reference-data data", "observations of 2 values, the training set of 3");
}

/// Networks for sets of observations, trained on training sets of as many a row, beside one for single observations.
#[test]
fn a_benchmark_trains_for_partial_factorisation() {
    let place = Place::new();
    std::fs::create_dir(place.at("data")).expect("created");
    reference(&place.at("data/gaussian_toy.h5"), 2);
    let sets = BENCHMARK
        .replace("simulations = [500, 600]", "simulations = [500]\nn_max = [1, 3]")
        .replace("\"gauss-dpm-10\", \"langevin-20-clip\"", "\"gauss-dpm-10\"");
    place.write("anchored.toml", &sets);
    let expected = "anchored.toml: line 7: n_max: sets of observations is not for the architecture anchored";
    place.fails("study anchored.toml -o out --reference-data data", 2, expected);
    place.write("likelihood.toml", &sets.replace("gauss-dpm-10", "likelihood"));
    let expected = "line 7: n_max: is for score networks that the benchmark trains";
    place.fails("study likelihood.toml -o out --reference-data data", 2, expected);

    place.write("mine.toml", &sets.replace("[train.network]", "[train]\narchitecture = \"noise\"\n[train.network]"));
    place.run("study mine.toml -o out --reference-data data");
    let out = place.at("out");
    let task = &results(&out)["tasks"][0];
    let found: Vec<_> =
        task["runs"].as_array().expect("runs").iter().map(|run| (&run["n_max"], &run["n_obs"])).collect();
    assert_eq!(serde_json::json!(found), serde_json::json!([[1, 1], [1, 4], [3, 1], [3, 4]]));
    let step = |start: &str| {
        let steps = std::fs::read_dir(out.join("steps")).expect("steps").flatten();
        let mut names = steps.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .find(|name| name.starts_with(start) && name.contains("nmax") == start.contains("nmax"))
            .unwrap_or_else(|| panic!("no step {start}"))
    };
    let rows = |start: &str| {
        let file = hdf5::File::open(out.join("steps").join(step(start)).join("train.h5")).expect("opens");
        file.dataset("x").expect("observations").shape()
    };
    assert_eq!(rows("gaussian_toy-training-set-500-seed0-nmax3"), [500, 3, 2]);
    assert_eq!(rows("gaussian_toy-training-set-500-seed0-"), [500, 2]);
    let table = std::fs::read_to_string(out.join("tables/gaussian_toy-metrics.csv")).expect("a table");
    assert!(table.contains("GAUSS, DPM-Solver++ 10, n_max = 3"), "{table}");
}

/// What of a study's results does not depend on the machine or the hour.
fn without_times(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            // Files are compared themselves, their digests would see times in them. Times of steps that were continued say less than others'.
            for field in ["seconds", "created", "command", "files", "continued"] {
                fields.remove(field);
            }
            fields.values_mut().for_each(without_times);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// All files of a study that are the same however often it was interrupted, by their names in its folder.
fn lasting(out: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(out).expect("inside").to_string_lossy().into_owned();
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if extension == "json" {
                let mut value: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
                without_times(&mut value);
                files.insert(name, value.to_string().into_bytes());
            } else if name.ends_with("samples.h5")
                || (extension == "csv" && !name.ends_with("-costs.csv") && !name.ends_with("timings.csv"))
                || extension == "svg"
            {
                files.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    files
}

/// Interrupted in every kind of step and resumed, a benchmark writes the same bytes as one that ran through.
#[test]
fn an_interrupted_benchmark_writes_the_same_bytes() {
    let place = Place::new();
    let text = BENCHMARK.replace("epochs = 10", "epochs = 150").replace("sets = 2", "sets = 3");
    place.write("mine.toml", &text);
    std::fs::create_dir(place.at("data")).expect("created");
    reference(&place.at("data/gaussian_toy.h5"), 3);
    let study = |out: &str| format!("study mine.toml -o {out} --reference-data data");
    place.run(&study("whole"));
    let mut interruptions = 0;
    for kind in ["training-set-500", "scores-500", "scores-600", "n1-posteriors", "n4-metrics"] {
        let mut child = place.start(&format!("-q {} --resume", study("parts")));
        let steps = place.at("parts/steps");
        let at_work = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with('.') && name.contains(kind)
            })
        };
        // Until it works on such a step, or is done: steps that take milliseconds may be missed.
        common::while_running(&mut child, || steps.read_dir().is_ok_and(|mut all| all.any(at_work)));
        common::signal(&child, "-INT");
        interruptions += usize::from(child.wait().expect("ends").code() == Some(130));
    }
    assert!(interruptions >= 2, "only {interruptions} runs were interrupted");
    place.run(&format!("{} --resume", study("parts")));
    let (whole, parts) = (lasting(&place.at("whole")), lasting(&place.at("parts")));
    assert!(whole.keys().filter(|name| name.ends_with("samples.h5")).count() == 9, "{:?}", whole.keys());
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(parts[name] == *bytes, "{name} differs");
    }
}
