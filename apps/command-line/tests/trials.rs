//! Trials: outliers among them.

mod common;

use common::Place;
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
