//! Trials: outliers among them, conditions that they are made under.

mod common;

use common::Place;
use ndarray::{Array2, Axis};
use std::fmt::Write;
use tallsbi::files::Posterior;

/// A likelihood of choices and response times, and 40 trials of which three (5, 15 and 25) took ten times as long as the others.
fn prepared() -> Place {
    let place = Place::new();
    place.run("simulate drift_diffusion -n 3000 -o train.h5");
    place.run("train train.h5 -o model.st --epochs 15 --hidden 32 --members 1 -q");
    place.run("observe drift_diffusion --theta 1.5,1.2,0.5,0.3 -n 40 -o obs.h5");
    place.run("sample model.st --observations obs.h5 --samples 64 -o plain.nc -q");
    let x = Posterior::read(&place.at("plain.nc")).unwrap().observations.expect("kept");
    let mut table = String::from("choice,response_time\n");
    for (row, x) in x.outer_iter().enumerate() {
        let time = if row % 10 == 5 && row < 30 { 60.0 + row as f32 } else { x[1] };
        writeln!(table, "{},{time}", x[0]).unwrap();
    }
    std::fs::write(place.at("trials.csv"), table).unwrap();
    place
}

#[test]
fn outliers_are_told_and_left_aside() {
    let place = prepared();
    let with =
        place.json("sample model.st --observations trials.csv --lapse 0.05 --log-likelihood --surprise -o with.nc -q");
    let posterior = Posterior::read(&place.at("with.nc")).unwrap();
    let found = &posterior.companions.per_observation;
    assert_eq!(found[0].0, "lapse_probability");
    let likely: Vec<usize> = (0..40).filter(|&row| found[0].1[row] > 0.5).collect();
    assert_eq!(likely, [5, 15, 25], "{found:?}");
    assert_eq!(with["lapse_probability"].as_array().expect("written").len(), 40);
    // Three of forty, and nothing but them: p-values of the regular ones are what they would be without the three.
    assert_eq!(found[1].0, "p_value");
    let mut implausible: Vec<u64> =
        with["implausible"].as_array().expect("written").iter().map(|row| row.as_u64().expect("a row")).collect();
    implausible.sort_unstable();
    assert_eq!(implausible, [5, 15, 25], "{:?}", found[1].1);
    // As far away from the others as they are without the three.
    let log_likelihood = posterior.companions.log_likelihood.as_ref().expect("written");
    assert!(log_likelihood.iter().all(|value| *value > -20.0), "a lapse is as probable as its broad density says");
    let mean = |value: &serde_json::Value, i: usize| value["mean"][i].as_f64().expect("a number");
    let sd = |value: &serde_json::Value, i: usize| value["sd"][i].as_f64().expect("a number");
    let regular: String = std::fs::read_to_string(place.at("trials.csv"))
        .unwrap()
        .lines()
        .enumerate()
        .filter(|(line, _)| ![6, 16, 26].contains(line))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    std::fs::write(place.at("regular.csv"), regular).unwrap();
    let regular = place.json("sample model.st --observations regular.csv -o regular.nc -q");
    for i in 0..4 {
        let distance = (mean(&with, i) - mean(&regular, i)).abs() / sd(&regular, i);
        assert!(distance < 0.5, "{i}: {distance}");
    }

    let text = place.run("sample model.st --observations trials.csv --lapse infer -o rate.nc -q");
    assert!(text.contains("lapse") && text.contains("more probably than not"), "{text}");
    let posterior = Posterior::read(&place.at("rate.nc")).unwrap();
    assert_eq!(posterior.parameter_names.last().map(String::as_str), Some("lapse"));
    let rate = posterior.matrix().column(4).mean().expect("samples");
    assert!(rate > 0.04 && rate < 0.2, "{rate}");
    // The simulator makes no lapses, and has no rate of them.
    place.run("predict rate.nc -o predicted.nc --draws 10 -q");
    assert_eq!(Posterior::read(&place.at("predicted.nc")).unwrap().parameter_names.len(), 4);

    place.run("train train.h5 -o score.st --architecture anchored --epochs 1 --hidden 8 -q");
    place.fails("sample score.st --observations obs.h5 --lapse 0.05 -o s.nc -q", 2, "does not take lapses");
    place.fails(
        "sample score.st --observations obs.h5 --surprise -o s.nc -q",
        2,
        "--surprise: needs a model of the likelihood",
    );
    place.fails("sample model.st --observations obs.h5 --lapse 1.5 -o s.nc -q", 2, "a rate between 0 and 1");
}

/// Stimuli are known: simulated, trained, observed, sampled, predicted with them.
#[test]
fn conditions_go_all_the_way() {
    let place = Place::new();
    place.run("simulate drift_diffusion_stimulus -n 3000 -o train.h5");
    for shard in [1, 2] {
        place.run(&format!("simulate drift_diffusion_stimulus -n 3000 --shard {shard}/2 -o {shard}.h5"));
    }
    place.run("merge 1.h5 2.h5 -o merged.h5");
    assert_eq!(place.digest("train.h5"), place.digest("merged.h5"));
    place.run("train train.h5 -o model.st --epochs 30 --hidden 32 --members 1 -q");
    std::fs::write(place.at("stimuli.csv"), "stimulus\n-0.8\n0.1\n0.8\n").unwrap();
    place.run("observe drift_diffusion_stimulus --theta 3,1.2,0.5,0.4 -n 90 --conditions stimuli.csv -o obs.h5");
    place.run("sample model.st --observations obs.h5 -o with.nc -q");
    let posterior = Posterior::read(&place.at("with.nc")).unwrap();
    assert_eq!(posterior.parameter_names, ["k", "a", "w", "t0"]);
    let x = posterior.observations.expect("kept");
    assert_eq!(x.column(0).iter().take(4).copied().collect::<Vec<f32>>(), [-0.8, 0.1, 0.8, -0.8]);
    // Choices follow the stimulus: of a model that left it out, k would be anything.
    place.run("reference drift_diffusion_stimulus --observations obs.h5 -o exact.nc -q");
    let k = |name: &str| Posterior::read(&place.at(name)).unwrap().matrix().column(0).to_owned();
    let [(mean, sd), (expected, width)] =
        ["with.nc", "exact.nc"].map(|name| (k(name).mean().unwrap(), k(name).std(1.0)));
    assert!((mean - expected).abs() < 1.5 * width && (sd / width).ln().abs() < 0.5, "{mean} {sd} {expected} {width}");

    // Predictions are made under the same stimuli, which are nothing to be checked.
    let checks = place.json("predict with.nc -o predicted.nc --draws 20 -q");
    let columns: Vec<u64> =
        checks["checks"].as_array().unwrap().iter().map(|c| c["column"].as_u64().unwrap()).collect();
    assert!(columns.iter().all(|&column| column > 0) && !columns.is_empty(), "{columns:?}");
    let predicted = Posterior::read(&place.at("predicted.nc")).unwrap().companions.posterior_predictive.unwrap();
    assert_eq!(predicted.slice(ndarray::s![5, .., 0]), x.column(0));

    // A parameter of any task can be a condition, and only what is observed is left to explain.
    place.run("simulate drift_diffusion --condition t0 -n 50 -o known.h5");
    let text = place.run("inspect known.h5");
    assert!(text.contains(r#"["t0","choice","response_time"]"#) && text.contains("conditions: 1"), "{text}");
    std::fs::write(place.at("alone.csv"), "choice,response_time\n1,0.9\n").unwrap();
    place.fails(
        "sample model.st --observations alone.csv -o s.nc -q",
        1,
        "of 3 values, the first 1 of them conditions",
    );
    std::fs::write(place.at("unknown.csv"), "stimulus,choice,response_time\n,1,0.9\n0.5,1,0.8\n").unwrap();
    place.fails("sample model.st --observations unknown.csv -o s.nc -q", 1, "observation 0 misses a condition");
    place.fails(
        "observe drift_diffusion --theta 1,1,0.5,0.4 -n 3 --conditions stimuli.csv -o o.h5",
        1,
        "has 1 columns, but drift_diffusion has 0 conditions",
    );
    place.fails(
        "refine --task drift_diffusion_stimulus --observations obs.h5 --budget 1000 -o r.st -q",
        1,
        "give a model of the likelihood to start from",
    );
}

/// Under conditions a refinement goes by the mean scores of a network: a small one, whose posterior is far off, ends near the exact one.
#[test]
fn refinement_under_conditions_ends_near_the_exact_posterior() {
    let place = Place::new();
    let task = "drift_diffusion_stimulus --fix a=1.2 --fix w=0.5";
    place.run(&format!("simulate {task} -n 3000 -o train.h5"));
    place.run("train train.h5 -o model.st --epochs 20 --hidden 32 --members 1 -q");
    std::fs::write(place.at("stimuli.csv"), "stimulus\n0.9\n0.6\n-0.2\n").unwrap();
    place.run(&format!("observe {task} --theta 2,0.7 -n 240 --conditions stimuli.csv -o obs.h5"));
    place.run(&format!("reference {task} --observations obs.h5 -o exact.nc -q"));
    place.run("sample model.st --observations obs.h5 -o network.nc -q");
    place.run(&format!(
        "refine model.st --task {task} --observations obs.h5 --budget 20000 -o refined.st --posterior refined.nc -q"
    ));
    let samples = |name: &str| Posterior::read(&place.at(name)).unwrap().matrix();
    let moments = |samples: &Array2<f64>| (samples.mean_axis(Axis(0)).unwrap(), samples.std_axis(Axis(0), 1.0));
    let (exact, sd) = moments(&samples("exact.nc"));
    // Distance of means in exact sd, root mean square over parameters, and ratios of sd.
    let apart = |name: &str| {
        let (mean, own) = moments(&samples(name));
        let shift = (&mean - &exact) / &sd;
        ((shift.mapv(|z| z * z).sum() / shift.len() as f64).sqrt(), own / &sd)
    };
    let (before, _) = apart("network.nc");
    assert!(before > 1.2, "the network is right already: {before}");
    let (shift, ratios) = apart("refined.nc");
    assert!(
        shift < 0.7 && ratios.iter().all(|ratio| (0.95..1.35).contains(ratio)),
        "off by {shift} sd, {ratios} times the sd"
    );

    assert!(
        place.run("inspect refined.st").contains("refined by its mean scores at 240 observations, for others under")
    );
    // The file has the law: it gives the same posterior again, and no other observations' where these were made otherwise.
    place.run("sample refined.st --observations obs.h5 -o again.nc -q");
    let (refined, sd) = moments(&samples("refined.nc"));
    let shift = (moments(&samples("again.nc")).0 - refined) / sd;
    assert!(shift.iter().all(|shift| shift.abs() < 0.2), "{shift}");
    place.run(&format!("observe {task} --theta 2,0.7 -n 240 -o other.h5"));
    place.fails("sample refined.st --observations other.h5 -o o.nc -q", 1, "made under other conditions");
    place.fails(
        "sample refined.st --observations obs.h5 --lapse 0.05 -o o.nc -q",
        2,
        "for observations without lapses",
    );
    place.fails("compare model.st refined.st --observations obs.h5 -q", 1, "no density of the observations");
}

/// In model files too, where a program or equations see conditions behind the parameters.
#[test]
fn model_files_have_conditions() {
    let place = Place::new();
    let model = r#"
name = "decay under a dose"
parameters = ["k = lognormal(0, 0.5)"]
conditions = [{ name = "dose", dist = "uniform", low = 1, high = 5, unit = "mg" }]
observations = ["y"]
[command]
run = ["python3", "worker.py"]
"#;
    let worker = "import sys\nfor line in sys.stdin:\n    _, k, dose = line.split()\n    print(float(k) * float(dose), flush=True)\n";
    std::fs::write(place.at("worker.py"), worker).unwrap();
    std::fs::write(place.at("model.toml"), model).unwrap();
    place.run("simulate model.toml -n 200 -o train.h5");
    let set = tallsbi::files::TrainingSet::open(&place.at("train.h5")).unwrap();
    assert_eq!((set.spec().conditions, set.prior().names()), (1, &["k".to_owned()][..]));
    let rows = set.load(None).unwrap();
    for (theta, x) in rows.theta.outer_iter().zip(rows.x.outer_iter()) {
        let (dose, y) = (x[[0, 0]], x[[0, 1]]);
        assert!((1.0..=5.0).contains(&dose) && (y / (theta[0] * dose) - 1.0).abs() < 1e-4, "{theta} {x}");
    }
    let twice = model.replace("name = \"dose\"", "name = \"k\"");
    std::fs::write(place.at("twice.toml"), twice).unwrap();
    place.fails("simulate twice.toml -n 5 -o t.h5", 2, "twice.toml: line 4: parameters: \"k\" is named twice");
}
