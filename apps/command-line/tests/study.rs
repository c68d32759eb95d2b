//! Studies as users run them: from TOML to a report, continued, changed, refused.

mod common;

use common::{Place, results};
use std::path::Path;
use tallsbi::files::Observations;

/// Two parameters, a closed-form posterior, and sizes that take a second.
const SMALL: &str = r#"
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

[[runs]]
name = "toy"
task = "gaussian_toy"
theta_true = [0.5, -0.5]
[runs.options]
dimension = 2

[train.network]
hidden = [16]
[train.optimizer]
epochs = 2
[train.anchor]
hidden = [16]
[train.anchor.optimizer]
epochs = 2
"#;

fn folders(out: &Path) -> Vec<String> {
    let mut names: Vec<String> = out
        .join("steps")
        .read_dir()
        .expect("steps")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn marginals(out: &Path) -> Vec<serde_json::Value> {
    let results = results(out);
    let posteriors = results["runs"][0]["posteriors"].as_array().expect("a list");
    posteriors.iter().map(|posterior| posterior["marginals"].clone()).collect()
}

#[test]
fn a_study_makes_a_report_and_is_not_done_twice() {
    let place = Place::new();
    let out = place.at("out");
    place.write("small.toml", SMALL);
    assert!(place.run("study small.toml -o out").contains("n = 4"));
    for file in ["report.html", "results.json", "study.toml", "figures/toy-pairs.svg", "figures/toy-pairs.png"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let first = results(&out);
    let run = &first["runs"][0];
    assert_eq!(run["posteriors"][1]["n_obs"], 4);
    assert_eq!(run["posteriors"][0]["local_c2st"]["null_statistics"].as_array().map(Vec::len), Some(4));
    let made = folders(&out);
    assert!(made.iter().all(|name| !name.starts_with('.')), "nothing half-done is left: {made:?}");

    place.fails("study small.toml -o out", 2, "--resume");
    assert!(place.log("study small.toml -o out --resume").contains("13 of 13 steps are done already"));
    assert_eq!(results(&out)["runs"], first["runs"]);

    // Only what depends on a change is made again: posteriors, ℓ-C2ST (it looks at them), not the network.
    place.write("small.toml", &SMALL.replace("posterior_samples = 200", "posterior_samples = 300"));
    assert!(place.log("study small.toml -o out --resume").contains("8 of 13 steps are done already"));
    assert_eq!(folders(&out).len(), made.len() + 5);

    // What the posterior predicts is a step of its own, which nothing depends on.
    place.write("small.toml", &SMALL.replace("[coverage]", "[predictive]\ndraws = 0\n\n[coverage]"));
    assert!(place.log("study small.toml -o out --resume").contains("12 of 12 steps are done already"));
    assert!(results(&out)["runs"][0]["predictive"].is_null());
    place.write("small.toml", &SMALL.replace("[coverage]", "[predictive]\ndraws = 50\n\n[coverage]"));
    assert!(place.log("study small.toml -o out --resume").contains("12 of 13 steps are done already"));
    let predictive = &results(&out)["runs"][0]["predictive"];
    assert_eq!((&predictive["draws"], &predictive["n_obs"]), (&50.into(), &4.into()));
    place.write("small.toml", &SMALL.replace("posterior_samples = 200", "posterior_samples = 300"));
    assert!(place.log("study small.toml -o out --resume").contains("13 of 13 steps are done already"));

    // The study's own options give the same study; the report can be made again.
    place.run("study out/study.toml -o again");
    assert_eq!(marginals(&place.at("again")), marginals(&out));
    std::fs::remove_file(out.join("report.html")).expect("removed");
    assert!(place.run("report out").contains("report.html"));
    assert!(out.join("report.html").exists());
}

#[test]
fn studies_of_the_users_observations_and_training_set() {
    let place = Place::new();
    place.run("simulate gaussian_toy --dimension 2 -n 600 -o train.h5");
    place.write("mine.csv", "0.1,0.2\n0.0,0.3\n30.0,-30.0\n0.2,0.1\n31.0,-29.0\n");
    let task = "task = \"gaussian_toy\"\ntheta_true = [0.5, -0.5]\n[runs.options]\ndimension = 2";
    let text =
        SMALL.replace(task, "training_set = \"train.h5\"").replace("title", "observations = \"mine.csv\"\ntitle");
    place.write("mine.toml", &text);
    place.run("study mine.toml -o out");
    let run = &results(&place.at("out"))["runs"][0];
    assert_eq!(run["observations"]["support"]["outside"], 2, "two observations are far out");
    assert!(run["truth"].is_null() && run["posteriors"][0]["local_c2st"].is_null());
    let html = std::fs::read_to_string(place.at("out/report.html")).expect("a report");
    assert!(html.contains("unlike the simulations"));
}

#[test]
fn mistakes_are_one_line() {
    let place = Place::new();
    for (text, expected) in [
        (SMALL.replace("n_obs", "n_observations"), "line 3: unknown field"),
        (SMALL.replace("gaussian_toy", "gaussian_joy"), "gaussian_joy"),
        (SMALL.replace("[0.5, -0.5]", "[0.5]"), "1 values for the 2 parameters"),
        (SMALL.replace("epochs = 2", "epochs = 0"), "epochs"),
    ] {
        place.write("wrong.toml", &text);
        place.fails("study wrong.toml -o out", 2, expected);
        assert!(!place.at("out/steps").exists(), "no work before the mistake is found");
        let _ = std::fs::remove_dir_all(place.at("out"));
    }
    place.fails("study toy.txt -o out", 2, "built-in");
    place.fails("report nowhere", 1, "folder of a finished study");
    assert!(place.run("study --print-default jrnmm").contains("[[runs]]"));
}

/// Killed in the middle of training, a study continues and finds what an uninterrupted one finds.
#[test]
fn a_killed_study_continues_to_the_same_result() {
    let place = Place::new();
    let longer = SMALL.replace("epochs = 2", "epochs = 200\npatience = 200").replace("= 600", "= 4000");
    place.write("long.toml", &longer);
    let is_model = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".toy-model"))
    };
    let training = || place.at("killed/steps").read_dir().is_ok_and(|mut steps| steps.any(is_model));
    // A machine that does other work may look away for as long as a training takes.
    let killed = (0..5).any(|_| {
        let _ = std::fs::remove_dir_all(place.at("killed"));
        let mut child = place.start("study long.toml -o killed -q");
        let seen = common::while_running(&mut child, training);
        child.kill().expect("killed");
        child.wait().expect("ended");
        seen && !place.at("killed/results.json").exists()
    });
    assert!(killed, "five studies were over before they could be killed");
    place.run("study long.toml -o killed --resume");
    place.run("study long.toml -o whole");
    assert_eq!(marginals(&place.at("killed")), marginals(&place.at("whole")));
}

/// Runs with a task are refined at all of the observations; the report shows the posterior before and after with its check.
#[test]
fn a_study_refines_at_its_observations_where_it_can_simulate() {
    let place = Place::new();
    let refine = "[refine]\npairs = 20\ndraws = 20\n[refine.options]\nbudget = 3000\n\n[[runs]]";
    let text = SMALL.replace("[[runs]]", refine).replace("posterior_samples = 200", "posterior_samples = 400");
    place.write("refined.toml", &text);
    let said = place.run("study refined.toml -o out");
    let line = said.lines().filter(|line| line.trim_start().starts_with("n = 4 ")).nth(1).expect("after the network's");
    assert!(["simulations more", "kept", "not settled"].iter().any(|end| line.contains(end)), "{said}");
    let out = place.at("out");
    let found = results(&out);
    let refined = &found["runs"][0]["refined"];
    assert_eq!((&refined["n_obs"], &refined["samples"]), (&4.into(), &400.into()));
    assert!(refined["simulations"].as_u64().is_some_and(|made| (1000..=3000).contains(&made)), "{refined}");
    assert_eq!(refined["check"]["after"]["p_values"].as_array().map(Vec::len), Some(3));
    assert!(refined["check"]["after"]["p_value"].as_f64() > Some(0.001), "{refined}");
    let file = out.join(refined["file"].as_str().expect("a file"));
    assert!(file.exists() && file.with_file_name("refined.safetensors").exists());
    let left = file.parent().expect("a folder").read_dir().expect("readable").flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".simulations")));
    let page = std::fs::read_to_string(out.join("report.html")).expect("a report");
    assert!(page.contains("Refined at the 4 observations") && out.join("figures/toy-refined.svg").exists());
    assert!(place.log("study refined.toml -o out --resume").contains("15 of 15 steps are done already"));
    // What the refinement does redoes it and its check alone.
    place.write("refined.toml", &text.replace("budget = 3000", "budget = 2000"));
    assert!(place.log("study refined.toml -o out --resume").contains("12 of 15 steps are done already"));

    place.write("bad.toml", &text.replace("pairs = 20", "pairs = 3"));
    place.fails("study bad.toml -o bad", 2, "refine.pairs: must be 0");
}

/// Twenty observations as the model makes them, ten times as large, and with more power in one of their values than the model ever has.
#[test]
fn a_study_tells_what_its_model_does_not_reproduce() {
    let place = Place::new();
    place.run("observe gaussian_linear --theta 0.3,-0.2,0.1,0,0.5,-0.4,0.2,0.1,-0.3,0.6 -n 20 -o right.h5");
    let x = Observations::read(&place.at("right.h5")).expect("readable").x;
    let told = |name: &str, change: &dyn Fn(usize, usize, f64) -> f64| {
        let row = |(k, x): (usize, ndarray::ArrayView1<'_, f64>)| {
            let values = x.iter().enumerate().map(|(i, &x)| change(k, i, x).to_string());
            values.collect::<Vec<_>>().join(",")
        };
        let rows: Vec<String> = x.outer_iter().enumerate().map(row).collect();
        place.write(&format!("{name}.csv"), &rows.join("\n"));
        let text = format!(
            "observations = \"{name}.csv\"\nn_obs = [20]\nsimulations = 2000\nposterior_samples = 400\nlocal_c2st.pairs = 0\n\
             coverage.pairs = 0\n[[runs]]\nname = \"linear\"\ntask = \"gaussian_linear\"\n"
        );
        place.write(&format!("{name}.toml"), &text);
        let said = place.run(&format!("study {name}.toml -o {name}"));
        let cautious = said.replace('\u{a0}', " ").contains("caution: The fitted model does not reproduce");
        assert_eq!(cautious, name != "right", "{said}");
        let page = std::fs::read_to_string(place.at(&format!("{name}/report.html"))).expect("a report");
        assert!(place.at(&format!("{name}/figures/linear-predictive.svg")).exists());
        let p = results(&place.at(name))["runs"][0]["predictive"]["checks"].as_array().expect("checked").clone();
        let off = |check: &&serde_json::Value| check["adjusted"].as_f64() < Some(0.05);
        (
            page.replace('\u{a0}', " "),
            p.iter().filter(off).map(|check| check["column"].as_u64().expect("a column")).collect::<Vec<_>>(),
        )
    };
    let (right, off) = told("right", &|_, _, x| x);
    assert!(right.contains("look like the observations") && off.is_empty(), "{off:?}");
    let (gain, off) = told("gain", &|_, _, x| 10.0 * x);
    assert!(gain.contains("does not reproduce") && (0..10).all(|column| off.contains(&column)), "{off:?}");
    let (power, off) = told("power", &|k, i, x| {
        if i != 6 {
            x
        } else if k % 2 == 0 {
            x + 5.0
        } else {
            x - 5.0
        }
    });
    assert!(power.contains("does not reproduce") && off.iter().all(|&column| column == 6), "{off:?}");
}

/// One network for two models of which one knows a parameter.
const KNOWN: &str = r#"
n_obs = [1, 3]
simulations = 600
posterior_samples = 100
[local_c2st]
pairs = 0
[coverage]
pairs = 20
draws = 10
[train.likelihood]
hidden = [16]
members = 1
[train.likelihood.optimizer]
epochs = 2

[[runs]]
name = "known"
task = "sir"
[runs.options]
fix = [["gamma", 0.12]]
[runs.model]
run = "all"
fix = { gamma = 0.12 }

[[runs]]
name = "all"
task = "sir"
"#;

#[test]
fn a_run_takes_the_model_of_another_with_a_parameter_known() {
    let place = Place::new();
    place.write("known.toml", KNOWN);
    place.run("study known.toml -o out");
    let found = results(&place.at("out"));
    let [known, all] = [0, 1].map(|run| &found["runs"][run]);
    assert_eq!((&known["name"], &known["training"]["fixed"]), (&"known".into(), &serde_json::json!([["gamma", 0.12]])));
    // It was trained as the other was, on the other's simulations.
    assert_eq!(known["training"]["networks"], all["training"]["networks"]);
    assert_eq!(known["training"]["simulations"], 600);
    let marginals = |run: &serde_json::Value| run["posteriors"][1]["marginals"].as_array().map(Vec::len);
    assert_eq!((marginals(known), marginals(all)), (Some(1), Some(2)));
    assert!(known["posteriors"][0]["coverage"]["p_value"].is_number());
    let html = std::fs::read_to_string(place.at("out/report.html")).expect("a report");
    assert!(html.contains("gamma = 0.12 is known here"));
    assert!(place.log("study known.toml -o out --resume").contains(" steps are done already"));

    for (of, with, expected) in [
        ("run = \"all\"", "run = \"other\"", "\"other\" is not a run that trains a model"),
        ("run = \"all\"", "run = \"known\"", "\"known\" is not a run that trains a model"),
        ("fix = { gamma = 0.12 }", "fix = { beta = 0.4 }", "without what is fixed (gamma) is not of its task"),
        ("[[\"gamma\", 0.12]]\n[runs.model]", "[[\"gamma\", 0.12]]\n[runs.mode]", "unknown field `mode`"),
    ] {
        place.write("wrong.toml", &KNOWN.replace(of, with));
        place.fails("study wrong.toml -o wrong --force", 2, expected);
    }
}
