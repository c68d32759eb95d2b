//! From samples to answers: predictions, log-likelihoods of observations, evidence.

mod common;

use common::Place;
use ndarray::Axis;
use std::f64::consts::TAU;
use tallsbi::files::Posterior;
use tallsbi::simulators::Task;

/// Models of two tasks of ten values, and 20 and 300 observations of the first.
fn prepared() -> Place {
    let place = Place::new();
    for (name, task) in [("linear", "gaussian_linear"), ("mixture", "gaussian_mixture")] {
        place.run(&format!("simulate {task} -n 4000 -o {name}.h5"));
        place.run(&format!("train {name}.h5 -o {name}.st --epochs 100 --hidden 32 --members 1 -q"));
    }
    let theta: Vec<String> = (0..10).map(|i| format!("{}", 0.05 * f64::from(i))).collect();
    for (n, name) in [(20, "obs.h5"), (300, "many.h5")] {
        place.run(&format!("observe gaussian_linear --theta {} -n {n} -o {name}", theta.join(",")));
    }
    place
}

/// log p(x|θ) of the task.
fn log_likelihood(task: &dyn Task, theta: &[f64], x: &[f32]) -> f64 {
    let mut gradient = vec![0.0; theta.len()];
    task.log_likelihood().expect("has one").log_likelihood_gradient(theta, x, &mut gradient)
}

#[test]
fn log_likelihoods_predictions_and_evidence() {
    let place = prepared();
    place.run("sample linear.st --observations obs.h5 --log-likelihood --samples 400 -o p.nc -q");
    let posterior = Posterior::read(&place.at("p.nc")).unwrap();
    let values = posterior.companions.log_likelihood.as_ref().expect("written");
    assert_eq!(values.dim(), (400, 20));
    let task = tallsbi::task("gaussian_linear", &Default::default()).unwrap();
    let (theta, x) = (posterior.matrix(), posterior.observations.as_ref().expect("kept"));
    let error = |row: usize, k: usize| {
        let exact = log_likelihood(&*task, &theta.row(row).to_vec(), &x.row(k).to_vec());
        (values[[row, k]] - exact).abs()
    };
    let mean = (0..400).flat_map(|row| (0..20).map(move |k| (row, k))).map(|(r, k)| error(r, k)).sum::<f64>() / 8000.0;
    // Ten coordinates of a small network: a constant forgotten would be 9 off.
    assert!(mean < 0.5, "{mean}");

    // log λ(θ) + log p(x|θ), as single observations have it.
    let log_posterior = posterior.companions.log_posterior.as_ref().expect("written");
    for (row, lp) in log_posterior.iter().enumerate() {
        let expected = task.prior().log_density(&theta.row(row).to_vec()) + values.row(row).sum();
        assert!((lp - expected).abs() < 1e-3 * expected.abs(), "{lp} for {expected}");
    }
    chains(&place);
    modes(&place, &*task, &posterior);

    let checks = place.json("predict p.nc -o right.nc --prior -q");
    assert_eq!(checks["checks"].as_array().expect("compared").len(), 40);
    let off = |checks: &serde_json::Value| {
        let two_sided = |p: f64| 2.0 * p.min(1.0 - p);
        let all = checks["checks"].as_array().expect("compared").clone();
        all.iter().filter(|check| two_sided(check["p_value"].as_f64().expect("a number")) < 0.05).count()
    };
    assert!(off(&checks) <= 6, "{}: 40 at 5 % at most", off(&checks));
    let predicted = Posterior::read(&place.at("right.nc")).unwrap().companions;
    assert_eq!(predicted.posterior_predictive.expect("written").dim(), (400, 20, 10));
    assert_eq!(predicted.prior.expect("written").dim(), (400, 10));
    // The prior's predictions are wider than the posterior's: variances 1 + σ² against 1/20 + σ².
    let prior = predicted.prior_predictive.expect("written").mapv(f64::from);
    assert!(prior.index_axis(Axis(2), 0).std(0.0) > 0.9);
    // Another noise: half of it with sd 2.25, half with 1/9, is not what was observed, sd 0.77 to 1.18.
    place.run("sample linear.st --observations many.h5 --samples 400 -o p.nc --force -q");
    let wrong = place.json("predict p.nc --task gaussian_mixture -o wrong.nc -q");
    assert!(off(&wrong) >= 10, "{}", off(&wrong));
    assert!(place.run("predict p.nc --task gaussian_mixture -o wrong.nc --force -q").contains("not reproduced"));

    let compared = place.json("compare linear.st mixture.st --observations obs.h5 --samples 200 --check 10 -q");
    let evidence = |index: usize, field: &str| compared["models"][index][field].as_f64().expect("a number");
    let exact = task.exact_posterior(x.view()).expect("Gaussian");
    // log Z = log prior + log likelihood - log posterior at any θ, here the posterior's mean; coordinates are independent.
    let log_posterior: f64 = (0..10).map(|i| -0.5 * (TAU * exact.covariance[i][i]).ln()).sum();
    let likelihood: f64 = x.outer_iter().map(|x| log_likelihood(&*task, &exact.mean, &x.to_vec())).sum();
    let log_evidence = task.prior().log_density(&exact.mean) + likelihood - log_posterior;
    let (found, error) = (evidence(0, "log_evidence"), evidence(0, "error"));
    // A constant forgotten would be 180 off, 20 observations of a small network's error are some nats.
    assert!((found - log_evidence).abs() < 4.0, "{found} ± {error} for {log_evidence}");
    assert!(error > 0.0 && error < 0.5, "{error}");
    assert!(evidence(0, "probability") > 0.999 && evidence(1, "log_evidence") < found - 20.0);
    for truth in 0..2 {
        // Two of ten mistaken for a Gaussian is what so small a network of a mixture of scales makes; half would be chance.
        assert!(compared["check"]["chosen"][truth][truth].as_u64().expect("a count") >= 7, "{compared}");
    }
    // A model against itself: nothing to prefer.
    let same = place.json("compare linear.st linear.st --observations obs.h5 --samples 200 -q");
    assert!((same["models"][0]["probability"].as_f64().expect("a number") - 0.5).abs() < 0.2);

    place.run("train linear.h5 -o score.st --architecture anchored --epochs 1 --hidden 8 -q");
    place.fails("sample score.st --observations obs.h5 --log-likelihood -o s.nc -q", 2, "has no density");
    place.fails("sample score.st --observations obs.h5 --map -o s.nc -q", 2, "has no density");
    place.fails("compare linear.st score.st --observations obs.h5 -q", 1, "has no density");
    place.fails("compare linear.st --observations obs.h5 -q", 2, "2 values required");
    place.fails("predict p.nc --task sir -o t.nc -q", 2, "name its task with --task");
    figures(&place);
}

/// Several runs as chains: independent of each other, the same for any number of threads, and told apart from one.
fn chains(place: &Place) {
    let sample = "sample linear.st --observations obs.h5 --log-likelihood --samples 400 -q";
    let told = place.json(&format!("{sample} --chains 4 -o four.nc --threads 1"));
    place.run(&format!("{sample} --chains 4 -o again.nc --threads 3"));
    assert_eq!(place.digest("four.nc"), place.digest("again.nc"));
    let read = |name: &str| Posterior::read(&place.at(name)).unwrap();
    let four = read("four.nc");
    assert_eq!(four.samples.dim(), (4, 100, 10));
    assert_eq!(four.companions.log_likelihood.expect("written").dim(), (400, 20));
    place.run("sample linear.st --observations obs.h5 --samples 100 -o first.nc -q");
    let first = four.samples.index_axis(Axis(0), 0);
    assert_eq!(first, read("first.nc").samples.index_axis(Axis(0), 0));
    assert!((1..4).all(|chain| first != four.samples.index_axis(Axis(0), chain)));
    let rhat = told["run"]["rhat"].as_array().expect("of each parameter");
    assert!(rhat.len() == 10 && rhat.iter().all(|rhat| (0.99..1.1).contains(&rhat.as_f64().expect("a number"))));
    assert!(place.run("inspect four.nc").contains("each chain is a run of its own"));
    assert!(place.run("inspect p.nc").contains("one chain, of the particles of a single run"));
    place.fails("sample linear.st --observations obs.h5 --samples 8 --chains 4 -o t.nc -q", 2, "4 chains of 2 samples");
}

/// The mode of a Gaussian is its mean, and the curvature there its precision, as well as so small a network knows them.
fn modes(place: &Place, task: &dyn Task, posterior: &Posterior) {
    let told = place.json("sample linear.st --observations obs.h5 --map --samples 400 -o mode.nc -q");
    let exact = task.exact_posterior(posterior.observations.as_ref().expect("kept").view()).expect("Gaussian");
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    for i in 0..10 {
        let sd = exact.covariance[i][i].sqrt();
        assert!((number(&told["run"]["map"][i]) - exact.mean[i]).abs() < sd, "{told}");
        assert!((0.5..2.0).contains(&(number(&told["run"]["map_hessian"][i][i]) * sd * sd)), "{told}");
    }
    let best = posterior.companions.log_posterior.as_ref().expect("written").iter().copied().fold(f64::MIN, f64::max);
    assert!(number(&told["run"]["map_log_posterior"]) >= best);
    let words = place.run("sample linear.st --observations obs.h5 --map --samples 400 -o mode.nc --force -q");
    assert!(words.contains("largest density, and standard deviations of its curvature"), "{words}");
}

/// What `tallsbi plot` draws of the files made above: each kind of file says what is in it.
fn figures(place: &Place) {
    let drawn = |arguments: &str, name: &str| {
        place.run(&format!("plot {arguments} -o {name}"));
        std::fs::read_to_string(place.at(name)).unwrap()
    };
    let overlaid = drawn("p.nc right.nc --labels many,few --truth-of obs.h5", "posteriors.svg");
    for expected in ["many", "few", "true value", "theta"] {
        assert!(overlaid.contains(expected), "{expected}: {overlaid}");
    }
    assert!(!drawn("p.nc", "one.svg").contains("true value"));
    assert!(drawn("right.nc --predictive", "predicted.svg").contains("predicted, 95 %"));
    let with_prior = drawn("p.nc --prior", "prior.svg");
    assert!(with_prior.contains("prior") && !drawn("p.nc", "plain.svg").contains("prior"), "{with_prior}");
    let single = drawn("p.nc four.nc --marginals --prior --truth-of obs.h5", "marginals.svg");
    for expected in ["density", "prior", "true value", "four", "θ₁₀"] {
        assert!(single.contains(expected), "{expected}: {single}");
    }
    let contracted = drawn("p.nc four.nc --contraction", "contraction.svg");
    for expected in ["posterior sd / prior sd", "proportional to 1/√n", "θ₁₀"] {
        assert!(contracted.contains(expected), "{expected}: {contracted}");
    }
    let slices = drawn("four.nc --conditional linear.st --truth-of obs.h5", "conditional.svg");
    assert!(slices.contains("given all others") && slices.contains("four, marginal"), "{slices}");
    let at = ["0.2"; 10].join(",");
    assert_ne!(drawn(&format!("four.nc --conditional linear.st --at {at}"), "at.svg"), slices);
    place.run("simulate gaussian_linear -n 100 --n-obs 5 -o pairs.h5 --seed 3");
    for check in ["sbc", "coverage"] {
        let words = format!("diagnose {check} linear.st --calibration pairs.h5 --draws 50 -q --json");
        std::fs::write(place.at(&format!("{check}.json")), place.run(&words)).unwrap();
    }
    let ranked = drawn("sbc.json sbc.json --labels one,two", "ranks.svg");
    for expected in ["rank / draws", "uniform (95 % of curves)", "one", "two", "θ₁₀"] {
        assert!(ranked.contains(expected), "{expected}: {ranked}");
    }
    assert!(drawn("coverage.json", "coverage.svg").contains("credibility level"));
    assert!(drawn("linear.st", "losses.svg").contains("validation"));
    std::fs::write(place.at("told.json"), r#"{"metric": "c2st", "value": 0.5}"#).unwrap();
    place.run("plot linear.st -o losses.png");
    assert!(std::fs::read(place.at("losses.png")).unwrap().starts_with(b"\x89PNG"));
    for (arguments, code, expected) in [
        ("p.nc -o one.svg", 1, "--force"),
        ("p.nc -o p.pdf", 2, "neither .svg nor .png"),
        ("p.nc linear.st -o t.svg", 2, "of several kinds"),
        ("p.nc --labels a,b -o t.svg", 2, "2 for 1 files"),
        ("p.nc --theta 1,2 -o t.svg", 2, "2 values for 10 parameters"),
        ("p.nc --predictive -o t.svg", 2, "holds no predictions"),
        ("p.nc --marginals --contraction -o t.svg", 2, "cannot be used with"),
        ("linear.st --prior -o t.svg", 2, "are of posteriors"),
        ("p.nc --contraction -o t.svg", 2, "each of another number of observations"),
        ("four.nc first.nc --contraction -o t.svg", 2, "each of another number of observations"),
        ("p.nc four.nc --conditional linear.st -o t.svg", 2, "2 files given"),
        ("p.nc --conditional score.st -o t.svg", 2, "has no density"),
        ("p.nc --conditional linear.st --at 1,2 -o t.svg", 2, "2 values for 10 parameters"),
        ("sbc.json coverage.json -o t.svg", 2, "of several checks"),
        ("told.json -o t.svg", 1, "is not what tallsbi diagnose"),
    ] {
        place.fails(&format!("plot {arguments}"), code, expected);
        assert!(!place.at("t.svg").exists(), "{arguments}");
    }
}
