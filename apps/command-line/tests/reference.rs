//! Reference posteriors from the command line.

mod common;

use common::Place;
use ndarray::ArrayView1;
use tallsbi::files::MatrixSource;

#[test]
fn references_are_written_and_used() {
    let place = Place::new();
    for (task, method) in [
        ("gaussian_toy --dimension 3", "exact Gaussian"),
        ("gaussian_mixture_uniform", "exact mixture of Gaussians"),
        ("two_moons", "exact rejection on a quadtree"),
        ("sir", "NUTS"),
        ("slcp", "NUTS"),
    ] {
        let name = task.split(' ').next().unwrap();
        place.run(&format!("observe {task} --from-prior -n 8 -o {name}.h5"));
        let result = place.json(&format!("reference {task} --observations {name}.h5 --n-obs 6 -o {name}.nc -q"));
        let run = &result["run"];
        assert_eq!((&run["sampler"], &run["n_obs"], &run["converged"]), (&method.into(), &6.into(), &"yes".into()));
        let numbers = |key: &str| -> Vec<f64> {
            run[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
        };
        assert!(numbers("rhat").iter().all(|rhat| *rhat <= 1.01), "{run}");
        assert!(numbers("ess_bulk").iter().chain(&numbers("ess_tail")).all(|ess| *ess >= 400.0), "{run}");
        let contents = place.json(&format!("inspect {name}.nc"));
        assert_eq!(contents["kind"], "posterior");
        let first = contents["arrays"]
            .as_array()
            .unwrap()
            .iter()
            .find(|array| array["name"] == format!("posterior/{}", result["parameter_names"][0].as_str().unwrap()));
        assert_eq!(first.unwrap()["shape"], serde_json::json!([4, 250]), "chains are kept");
    }
    let same = place.json("diagnose sliced-wasserstein sir.nc --reference sir.nc -q");
    assert_eq!(same["value"], 0.0);
}

/// The four modes of SLCP have equal shares whichever mode each chain was in.
#[test]
fn symmetric_modes_have_equal_shares() {
    let place = Place::new();
    place.run("observe slcp --theta 0.7,-1,-1.2,1.5,0.3 -n 20 -o obs.h5");
    place.run("reference slcp --observations obs.h5 -o reference.nc --samples 2000 -q");
    let file = hdf5::File::open(place.at("reference.nc")).unwrap();
    let column = |name: &str| file.dataset(&format!("posterior/{name}")).unwrap().read_raw::<f64>().unwrap();
    let (third, fourth) = (column("theta_3"), column("theta_4"));
    for signs in [(false, false), (false, true), (true, false), (true, true)] {
        let count = third.iter().zip(&fourth).filter(|(a, b)| (**a > 0.0, **b > 0.0) == signs).count() as f64;
        // Binomial(2000, 1/4): standard deviation 19.
        assert!((count - 500.0).abs() < 90.0, "{signs:?}: {count} of 2000");
    }
}

/// Missing values are integrated over where the likelihood can, and refused where it cannot.
#[test]
fn references_are_given_what_was_seen() {
    let place = Place::new();
    place.run("observe ornstein_uhlenbeck --theta 1,1,0.5 -n 3 -o obs.h5");
    let x = MatrixSource::parse(place.at("obs.h5").to_str().unwrap()).read().unwrap().values;
    let cell = |row: usize, (column, value): (usize, &f64)| match (row, column) {
        (0, 4) => "NA".to_owned(),
        (1, 7) => "-999".to_owned(),
        (2, _) => String::new(),
        _ => value.to_string(),
    };
    let line = |(row, values): (usize, ArrayView1<'_, f64>)| {
        values.iter().enumerate().map(|value| cell(row, value)).collect::<Vec<_>>().join(",") + "\n"
    };
    std::fs::write(place.at("gaps.csv"), x.outer_iter().enumerate().map(line).collect::<String>()).unwrap();
    let run = &place.json("reference ornstein_uhlenbeck --observations gaps.csv --missing -999 -o gaps.nc -q")["run"];
    let counts = ["n_obs", "missing_values", "incomplete_observations", "missing_observations"];
    assert_eq!(counts.map(|name| run[name].as_u64()), [2, 22, 2, 1].map(Some));
    std::fs::write(place.at("slcp.csv"), "1,2,3,4,5,6,7,NA\n").unwrap();
    place.fails("reference slcp --observations slcp.csv -o no.nc -q", 1, "slcp.csv");
    std::fs::write(place.at("marked.csv"), "1,2,3,4,5,6,7,-999\n").unwrap();
    place.fails("reference slcp --observations marked.csv --missing -999 -o no.nc -q", 1, "not integrated over here");
}

#[test]
fn references_do_not_depend_on_threads() {
    let place = Place::new();
    place.run("observe lotka_volterra --from-prior -n 3 -o obs.h5");
    for threads in [1, 2, 7] {
        place.run(&format!(
            "reference lotka_volterra --observations obs.h5 -o r{threads}.nc --threads {threads} --thinning 2 -q"
        ));
    }
    assert_eq!(place.digest("r1.nc"), place.digest("r2.nc"));
    assert_eq!(place.digest("r1.nc"), place.digest("r7.nc"));
}

#[test]
fn what_has_not_converged_is_no_reference() {
    let place = Place::new();
    place.run("observe slcp --from-prior -n 1 -o obs.h5");
    let short = "reference slcp --observations obs.h5 -o reference.nc --warmup 50 --thinning 1 --samples 40 -q";
    place.fails(short, 1, "not a reference: ");
    assert!(!place.at("reference.nc").exists());
    let marked = place.json(&format!("{short} --allow-unconverged"));
    assert_eq!(marked["run"]["converged"], "no");
    assert!(place.at("reference.nc").exists());
    // Too few to be one, however good.
    place.run("observe gaussian_linear --from-prior -n 1 -o linear.h5");
    place.fails("reference gaussian_linear --observations linear.h5 -o few.nc --samples 100 -q", 1, "more samples");
}

#[test]
fn mistakes_are_told() {
    let place = Place::new();
    place.run("observe sir --from-prior -n 3 -o obs.h5");
    for (arguments, code, expected) in [
        ("reference jrnmm --observations obs.h5 -o a.nc", 1, "needs 33 values, got 10"),
        ("reference lotka_volterra --observations obs.h5 -o a.nc", 1, "needs 20 values, got 10"),
        ("reference nothing --observations obs.h5 -o a.nc", 2, "no task is called"),
        ("reference sir --observations none.h5 -o a.nc", 1, "no such file"),
        ("reference sir --observations obs.h5 --n-obs 9 -o a.nc", 2, "--n-obs"),
        ("reference sir --observations obs.h5 -o obs.h5", 1, "--force"),
        ("reference sir --observations obs.h5 -o a.nc --chains 1", 2, "chains: must be at least 2"),
        ("reference sir --observations obs.h5 -o a.nc --target-accept 2", 2, "between 0.5 and 1"),
    ] {
        place.fails(arguments, code, expected);
    }
    place.run("observe jrnmm --from-prior -n 1 -o eeg.h5");
    place.fails("reference jrnmm --observations eeg.h5 -o a.nc", 1, "needs a likelihood");
    let tasks = place.json("tasks");
    let reference =
        |name: &str| tasks.as_array().unwrap().iter().find(|t| t["name"] == name).unwrap()["reference"].clone();
    assert_eq!(reference("jrnmm"), serde_json::Value::Null);
    assert_eq!(reference("slcp"), "NUTS, 4 symmetric modes");
}

/// Ranks of true parameters are uniform under the reference, and the check has power: see the crates' own tests.
#[test]
fn references_are_calibrated() {
    let place = Place::new();
    let result = place.json("diagnose reference slcp --pairs 60 --n-obs 5 --draws 40 -q");
    assert_eq!(result["pairs"], 60);
    assert!(result["value"].as_f64().unwrap() > 1e-4, "{result}");
}
