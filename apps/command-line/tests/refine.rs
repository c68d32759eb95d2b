//! `tallsbi refine` and `tallsbi diagnose posterior-sbc` from a user's point of view.

mod common;

use common::Place;

#[test]
fn a_refined_posterior_is_the_exact_one_and_the_model_says_where_it_ends() {
    let place = Place::new();
    place.run("observe sir --from-prior -n 30 -o obs.h5 --seed 1 -q");
    place.run("reference sir --observations obs.h5 -o reference.nc -q");
    let refine = "refine --task sir --observations obs.h5 --budget 8000 -q";
    let result = place.json(&format!("{refine} -o refined.safetensors --posterior refined.nc"));
    assert!(result["simulations"].as_u64().unwrap() <= 8000, "{result}");
    let exact = place.json("diagnose c2st refined.nc --reference reference.nc -q");
    assert!(exact["value"].as_f64().unwrap() < 0.58, "{exact} {result}");
    // Same seed, same bytes, for any number of threads.
    place.run(&format!("{refine} -o again.safetensors --posterior again.nc --threads 3"));
    assert_eq!(place.digest("refined.nc"), place.digest("again.nc"));
    assert_eq!(place.digest("refined.safetensors"), place.digest("again.safetensors"));
    // What an interrupted run left is not thrown away, and continued to the same numbers.
    let left = place.at(".resumed.safetensors.simulations");
    std::fs::write(&left, "half a block").unwrap();
    place.fails(&format!("{refine} -o resumed.safetensors"), 2, "--resume to continue it");
    place.run(&format!("{refine} -o resumed.safetensors --resume"));
    assert_eq!(place.digest("refined.safetensors"), place.digest("resumed.safetensors"));
    assert!(!left.exists());
    // The file is a model like others, from which a second refinement starts.
    assert!(place.run("inspect refined.safetensors").contains("refined model for task \"sir\""));
    place.run("sample refined.safetensors --observations obs.h5 -o sampled.nc -q");
    let check = place.json("diagnose posterior-sbc refined.safetensors --observations obs.h5 --pairs 50 --draws 50 -q");
    assert!(check["p_value"].as_f64().unwrap() > 1e-3, "{check}");
    place.run("observe sir --from-prior -n 30 -o other.h5 --seed 5 -q");
    let said = place.log("sample refined.safetensors --observations other.h5 -o other.nc");
    assert!(said.contains("edge of what the refined model knows"), "{said}");
    // A model without tensors has a digest of its own.
    place.run("refine --task sir --observations other.h5 --budget 2000 -o other.safetensors -q");
    assert_ne!(place.digest("refined.safetensors"), place.digest("other.safetensors"));
}

/// A crescent is no Gaussian; its posterior from a Gaussian's mean and covariance was 0.64 and called settled.
#[test]
fn the_form_of_the_likelihood_is_learned_too() {
    let place = Place::new();
    place.run("observe two_moons --from-prior -n 14 -o obs.h5 --seed 201 -q");
    place.run("reference two_moons --observations obs.h5 -o reference.nc -q");
    let result =
        place.json("refine --task two_moons --observations obs.h5 --budget 12000 -o m.safetensors --posterior p.nc -q");
    assert_eq!(result["verdict"]["verdict"], "settled", "{result}");
    let exact = place.json("diagnose c2st p.nc --reference reference.nc -q");
    assert!(exact["value"].as_f64().unwrap() < 0.58, "{exact} {result}");
}

/// From the whole prior, polynomials led astray here until nothing was left of the budget.
#[test]
fn scouting_starts_at_the_simulations_most_like_the_observations() {
    let place = Place::new();
    place.run("observe lotka_volterra --from-prior -n 30 -o obs.h5 --seed 4038 -q");
    let result =
        place.json("refine --task lotka_volterra --observations obs.h5 --budget 12000 --seed 4038 -o m.safetensors -q");
    assert_eq!(result["verdict"]["verdict"], "settled", "{result}");
}

/// A flat prior from the posterior's mean upwards leaves the upper half of it: its mean is √(2/π) sd higher.
#[test]
fn the_prior_may_be_another() {
    let place = Place::new();
    place.run("observe sir --from-prior -n 30 -o obs.h5 --seed 1 -q");
    let options = "--observations obs.h5 --budget 4000 -q";
    let own = place.json(&format!("refine --task sir {options} -o own.safetensors"));
    let [mean, sd] = ["mean", "sd"].map(|of| own[of][0].as_f64().unwrap());
    let prior = format!("--prior beta=uniform({mean},{})", mean + 6.0 * sd);
    let half = place.json(&format!("refine --task sir {prior} {options} -o half.safetensors"));
    let shift = (half["mean"][0].as_f64().unwrap() - mean) / sd;
    assert!((shift - 0.8).abs() < 0.25, "{shift} {half}");
    let check = "diagnose posterior-sbc half.safetensors --task sir --observations obs.h5 --pairs 20 --draws 20 -q";
    place.fails(check, 1, "has another prior than the task sir");
    place.run(&format!("{check} {prior}"));
}

#[test]
fn mistakes_are_told_before_anything_is_simulated() {
    let place = Place::new();
    place.run("observe slcp --from-prior -n 2 -o obs.h5 -q");
    let refine = "refine --observations obs.h5 -o refined.safetensors -q";
    place.fails(refine, 2, "name the one to simulate");
    place.fails(&format!("{refine} --task sir"), 1, "sir has 10");
    place.fails(&format!("{refine} --task slcp --rounds 0"), 2, "auto");
    place.fails(&format!("{refine} --task slcp --tolerance 0"), 2, "tolerance");
    std::fs::write(place.at("options.toml"), "widht = 2.0\n").unwrap();
    place.fails(&format!("{refine} --task slcp --config options.toml"), 2, "widht");
    assert!(!place.at("refined.safetensors").exists());
}

/// An epidemic that did not come: of counts that are nearly all 0, a Gaussian's density had no bound, and won over the counts' own law (0.82).
#[test]
fn counts_of_nothing_but_zeros_stay_counts() {
    let place = Place::new();
    std::fs::write(place.at("obs.csv"), "0,0,0,0,0,0,0,0,0,0\n").unwrap();
    place.run("reference sir --observations obs.csv -o reference.nc -q");
    place.run("refine --task sir --observations obs.csv --budget 30000 --network off --seed 3 -o m.safetensors --posterior p.nc -q");
    let exact = place.json("diagnose c2st p.nc --reference reference.nc -q");
    assert!(exact["value"].as_f64().unwrap() < 0.6, "{exact}");
}

/// Given one observation SLCP's posterior fills much of the prior but for one narrow parameter: polynomials do not follow it, and a network that was not bounded by where simulations were made
/// up a part of the posterior elsewhere (0.70).
#[test]
fn where_local_forms_do_not_settle_a_network_serves() {
    let place = Place::new();
    place.run("observe slcp --from-prior -n 1 -o obs.h5 --seed 3005 -q");
    place.run("reference slcp --observations obs.h5 -o reference.nc -q");
    let training = "[likelihood]\nhidden = [64, 64, 64, 64]\nmembers = 1\n[[likelihood.candidates]]\ncomponents = 1\ncovariance = \"full\"\n";
    std::fs::write(place.at("train.toml"), training).unwrap();
    let refine = "refine --task slcp --observations obs.h5 --budget 8000 --train-config train.toml --seed 3005 -q";
    let local = place.json(&format!("{refine} --network off -o local.safetensors"));
    assert_eq!(local["verdict"]["verdict"], "not-settled", "{local}");
    let kept = place.json(&format!("{refine} -o m.safetensors --posterior p.nc"));
    assert_eq!(kept["verdict"]["verdict"], "network-kept", "{kept}");
    assert_eq!(kept["simulations"], 8000, "{kept}");
    let exact = place.json("diagnose c2st p.nc --reference reference.nc -q");
    assert!(exact["value"].as_f64().unwrap() < 0.58, "{exact} {kept}");
    // It is a model that knows where it holds, the same for any number of threads.
    place.run(&format!("{refine} -o again.safetensors --threads 3"));
    assert_eq!(place.digest("m.safetensors"), place.digest("again.safetensors"));
    place.run("observe slcp --from-prior -n 30 -o other.h5 --seed 9 -q");
    let said = place.log("sample m.safetensors --observations other.h5 -o other.nc");
    assert!(said.contains("edge of what the refined model knows"), "{said}");
}

/// A program that writes -9999 where it fails, at large a more often: P(success) = Φ(-2a), x ~ N(a, 1), 20 observations around 0 of variance 1. Exact: N(a; 0, 1) Φ(-2a)²⁰ N(0; a, 1/20), on a grid.
#[test]
fn marks_of_failure_are_failures_and_count() {
    let place = Place::new();
    let worker = "
import random, sys
for line in sys.stdin:
    seed, a = line.split()
    draw = random.Random(int(seed))
    x, luck = draw.gauss(float(a), 1), draw.gauss(0, 1)
    print(-9999 if luck > -2 * float(a) else x, flush=True)
";
    std::fs::write(place.at("worker.py"), worker).unwrap();
    let model = "
name = \"fails\"
parameters = [{ name = \"a\", dist = \"normal\", loc = 0.0, scale = 1.0 }]
observations = [\"x\"]
[command]
run = [\"python3\", \"worker.py\"]
";
    std::fs::write(place.at("model.toml"), model).unwrap();
    let rows: Vec<&str> = (0..20).map(|row| if row % 2 == 0 { "1" } else { "-1" }).collect();
    std::fs::write(place.at("obs.csv"), format!("x\n{}\n", rows.join("\n"))).unwrap();
    let refine = "refine --task model.toml --observations obs.csv --budget 6000 -q";
    let found = place.json(&format!("{refine} -o m.safetensors"));
    let [mean, sd] = ["mean", "sd"].map(|of| found[of][0].as_f64().unwrap());
    assert!((mean + 0.530).abs() < 0.05 && (sd - 0.143).abs() < 0.02, "{found}");
    let notes = found["notes"].to_string();
    for said in ["have -9999 in column x", "simulations failed", "probability of success is a factor"] {
        assert!(notes.contains(said), "{notes}");
    }
}
