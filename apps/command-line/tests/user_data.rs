//! Data as people have them: what the program says, and that posteriors are the exact ones. Linear Gaussian simulators, so that training is a
//! matter of milliseconds and the posterior known.

mod common;

use common::Place;
use hdf5::types::VarLenUnicode;
use ndarray::{Array2, Array3, ArrayView2};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::Value;
use std::fmt::Write as _;

const NAMES: [&str; 2] = ["a", "b"];

fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
}

/// θ ~ N(0, I₂) and x = θ + ½ noise.
fn simulations(rows: usize) -> (Array2<f64>, Array2<f64>) {
    let theta = normals(rows, 2, 1);
    let x = &theta + &(0.5 * normals(rows, 2, 2));
    (theta, x)
}

fn write(place: &Place, name: &str, theta: ArrayView2<'_, f64>, x: ArrayView2<'_, f64>, names: [&str; 2]) {
    let file = hdf5::File::create(place.at(name)).unwrap();
    file.new_dataset_builder().with_data(&theta.as_standard_layout()).create("theta").unwrap();
    file.new_dataset_builder().with_data(&x.as_standard_layout()).create("x").unwrap();
    let component = |name: &str| serde_json::json!({ "name": name, "dist": "normal", "loc": 0.0, "scale": 1.0 });
    let prior = Value::from(names.map(component).to_vec()).to_string();
    let prior: hdf5::types::VarLenUnicode = prior.parse().unwrap();
    file.new_attr::<hdf5::types::VarLenUnicode>().create("prior").unwrap().write_scalar(&prior).unwrap();
}

/// A dataset of one dimension in a file that is there, in place of the one of that name.
fn flatten(place: &Place, name: &str, dataset: &str, values: &[f64]) {
    let file = hdf5::File::append(place.at(name)).unwrap();
    if file.link_exists(dataset) {
        file.unlink(dataset).unwrap();
    }
    file.new_dataset_builder().with_data(values).create(dataset).unwrap();
}

/// NumPy's file of one dimension.
fn write_npy(place: &Place, name: &str, values: &[f64]) {
    let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}", values.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend([118, 0]);
    bytes.extend(format!("{text:117}\n").bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::write(place.at(name), bytes).unwrap();
}

fn observe(place: &Place, name: &str, x: ArrayView2<'_, f64>) {
    let file = hdf5::File::create(place.at(name)).unwrap();
    file.new_dataset_builder().with_data(&x).create("x").unwrap();
}

/// Twenty observations at (0.6, -0.4).
fn observations() -> Array2<f64> {
    let mut x = 0.5 * normals(20, 2, 3);
    x.outer_iter_mut().for_each(|mut row| {
        row[0] += 0.6;
        row[1] -= 0.4;
    });
    x
}

/// Trains and samples; what it says on standard error, and the result of `sample`.
fn posterior(place: &Place, train: &str) -> (String, Value) {
    let mut said = String::new();
    for arguments in [
        format!("train train.h5 -o model.safetensors --force {train}"),
        "sample model.safetensors --observations obs.h5 --samples 2000 -o posterior.nc --force --json".to_owned(),
    ] {
        let output = place.command(&arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments}: {error}");
        writeln!(said, "{error}").unwrap();
        if arguments.starts_with("sample") {
            return (said, serde_json::from_slice(&output.stdout).unwrap());
        }
    }
    unreachable!("sample comes last")
}

/// N(Σx/(n + ¼), ¼/(n + ¼)).
fn assert_exact(result: &Value, x: ArrayView2<'_, f64>, column: usize) {
    let n = x.nrows() as f64 + 0.25;
    let (mean, sd) = (x.column(column).sum() / n, (0.25 / n).sqrt());
    let found = |name: &str| result[name][column].as_f64().unwrap();
    // Least squares from some thousand rows, and the error of 2000 draws.
    let tolerance = 0.2 + 0.03 * (mean / sd).abs().min(30.0);
    assert!((found("mean") - mean).abs() < tolerance * sd, "{result}: {mean} ± {sd}");
    assert!((found("sd") / sd - 1.0).abs() < 0.12, "{result}: {mean} ± {sd}");
}

#[test]
fn broken_rows_marks_and_large_offsets_do_not_move_the_posterior() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    let observed = observations();
    observe(&place, "obs.h5", observed.view());
    type Broken<'a> = &'a dyn Fn(usize) -> Option<f64>;
    let cases: [(&str, Broken<'_>, &str); 3] = [
        ("one broken row", &|i| (i == 1234).then_some(1e10), "row 1234, column 1: 1e10, "),
        ("marks", &|i| (i % 20 == 0).then_some(-9999.0), "200 rows have -9999 in column 1"),
        ("failures", &|i| (i % 10 == 0).then_some(f64::NAN), "400 of 4000 simulations failed"),
    ];
    for (name, broken, expected) in cases {
        let mut x = x.clone();
        x.column_mut(1).iter_mut().enumerate().for_each(|(i, value)| *value = broken(i).unwrap_or(*value));
        write(&place, "train.h5", theta.view(), x.view(), NAMES);
        let (said, result) = posterior(&place, "");
        assert!(said.contains(expected), "{name}: {said}");
        [0, 1].into_iter().for_each(|column| assert_exact(&result, observed.view(), column));
    }
    // Seconds since 1970, and units of 10⁻¹²: what is known of the parameters does not change.
    let shift = |x: &Array2<f64>| Array2::from_shape_fn(x.dim(), |(i, j)| [1.7e9 + x[[i, j]], 1e-12 * x[[i, j]]][j]);
    write(&place, "train.h5", theta.view(), shift(&x).view(), NAMES);
    observe(&place, "obs.h5", shift(&observed).view());
    let (said, result) = posterior(&place, "");
    assert!(!said.contains("WARN"), "{said}");
    [0, 1].into_iter().for_each(|column| assert_exact(&result, observed.view(), column));
}

/// A study of a training set in double precision, seconds since 1970 and pressures, finds the exact posterior too.
#[test]
fn studies_take_large_offsets() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    let observed = observations();
    let shift = |x: &Array2<f64>| x * &ndarray::arr1(&[1.0, 0.005]) + ndarray::arr1(&[1.7e9, 101_325.0]);
    write(&place, "train.h5", theta.view(), shift(&x).view(), NAMES);
    observe(&place, "obs.h5", shift(&observed).view());
    let text = "n_obs = [5, 20]\nposterior_samples = 2000\nobservations = \"obs.h5\"\n[[runs]]\nname = \"own\"\ntraining_set = \"train.h5\"\n";
    std::fs::write(place.at("study.toml"), text).unwrap();
    place.run("study study.toml -o out");
    let results: Value = serde_json::from_slice(&std::fs::read(place.at("out/results.json")).unwrap()).unwrap();
    let run = &results["runs"][0];
    for (n, posterior) in [5, 20].into_iter().zip(run["posteriors"].as_array().unwrap()) {
        let of = |name: &str| [0, 1].map(|column| posterior["marginals"][column][name].clone());
        let found = serde_json::json!({ "mean": of("mean"), "sd": of("sd") });
        [0, 1].into_iter().for_each(|column| assert_exact(&found, observed.slice(ndarray::s![..n, ..]), column));
    }
    let support = &run["observations"]["support"];
    assert_eq!(support["outside"], 0, "{support}");
    let median = support["observed"][0][1].as_f64().unwrap();
    assert!((median - 1.7e9 - 0.6).abs() < 0.5, "in the simulator's units: {support}");
    // Its task could simulate pairs in single precision only.
    place.run("simulate gaussian_toy --dimension 2 -n 600 -o toy.h5");
    let file = hdf5::File::append(place.at("toy.h5")).unwrap();
    let x: Array3<f64> = file.dataset("x").unwrap().read_dyn().unwrap().into_shape_with_order((600, 1, 2)).unwrap();
    file.unlink("x").unwrap();
    file.new_dataset_builder().with_data(&(x + 1.7e9)).create("x").unwrap();
    drop(file);
    observe(&place, "obs.h5", (observed + 1.7e9).view());
    let task = "task = \"gaussian_toy\"\n[runs.options]\ndimension = 2\n";
    std::fs::write(place.at("study.toml"), text.replace("train.h5", "toy.h5") + task).unwrap();
    place.fails(
        "study study.toml -o other -q",
        1,
        "column 0 of x is large beside its spread, and the task's simulations",
    );
}

#[test]
fn copied_rows_are_used_once() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    let twice = |values: &Array2<f64>| Array2::from_shape_fn((8000, 2), |(i, j)| values[[i * 7 % 4000, j]]);
    write(&place, "train.h5", twice(&theta).view(), twice(&x).view(), NAMES);
    let observed = observations();
    observe(&place, "obs.h5", observed.view());
    let (said, result) = posterior(&place, "");
    assert!(
        said.contains("4000 of 8000 rows are copies of others, parameters and observations: each is used once"),
        "{said}"
    );
    [0, 1].into_iter().for_each(|column| assert_exact(&result, observed.view(), column));
    assert_eq!(place.json("inspect model.safetensors")["model"]["info"]["n_train"], 4000);
}

#[test]
fn rows_of_other_priors_and_of_other_rows_are_told() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    let observed = observations();
    observe(&place, "obs.h5", observed.view());
    // Half as wide about 0.8: the likelihood is the same.
    let moved = theta.mapv(|value| 0.8 + 0.5 * value);
    write(&place, "train.h5", moved.view(), (&moved + &x - &theta).view(), NAMES);
    let (said, result) = posterior(&place, "");
    assert!(said.contains("not drawn from the stated prior: parameter "), "{said}");
    [0, 1].into_iter().for_each(|column| assert_exact(&result, observed.view(), column));
    let others = Array2::from_shape_fn(x.dim(), |(i, j)| x[[(i + 1) % 4000, j]]);
    write(&place, "train.h5", theta.view(), others.view(), NAMES);
    let (said, _) = posterior(&place, "--epochs 2 --members 1 --hidden 8 --symmetry off");
    assert!(said.contains("do the rows of theta and x belong together?"), "{said}");
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    let (said, _) = posterior(&place, "");
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn columns_that_no_density_fits_are_told() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    type Columns<'a> = &'a dyn Fn(f64, f64) -> [f64; 2];
    let cases: [(Columns<'_>, &str); 5] = [
        (&|a, b| [a, b.min(1.0)], "column 1 of x is exactly 1 in "),
        (&|a, b| [a, (10.0 * b).round() / 10.0], "column 1 of x has "),
        (&|a, _| [a, a * a], "column 1 of x is a function of column 0"),
        (&|a, b| [(4.0 * a).exp(), b], "column 0 of x spans "),
        (&|a, b| [a, (100.0 * b).rem_euclid(360.0)], "column 1 of x looks like an angle that starts again after 360"),
    ];
    for (f, expected) in cases {
        let x = Array2::from_shape_fn(x.dim(), |(i, j)| f(x[[i, 0]], x[[i, 1]])[j]);
        write(&place, "train.h5", theta.view(), x.view(), NAMES);
        let quick = "--epochs 1 --members 1 --hidden 4 --components 1 --covariance diagonal --symmetry off";
        let arguments = format!("train train.h5 -o model.safetensors --force {quick}");
        let said = place.log(&arguments) + &place.run(&arguments);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn observations_in_other_units_do_not_fit() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    observe(&place, "obs.h5", (observations() / 1000.0).view());
    let (said, result) = posterior(&place, "");
    assert!(said.contains("the 20 observations are more plausible to the fitted model than its own"), "{said}");
    assert!(result["notes"][0].as_str().unwrap().contains("too much alike"), "{result}");
    // Within the range of all simulations, with three times their noise.
    let mean = ndarray::arr1(&[0.6, -0.4]);
    observe(&place, "obs.h5", ((observations() - &mean) * 3.0 + &mean).view());
    let (said, _) = posterior(&place, "");
    assert!(said.contains("the 20 observations are less plausible to the fitted model than its own"), "{said}");
    // On their side.
    observe(&place, "turned.h5", observations().t().as_standard_layout().view());
    place.fails("sample model.safetensors --observations turned.h5 -o p.nc", 1, "20 values, 2 times; transpose them");
    write(&place, "turned_set.h5", theta.t(), x.t(), NAMES);
    place.fails("train turned_set.h5 -o no.safetensors", 1, "found (2, 4000); transpose theta and x");
}

#[test]
fn observations_unlike_the_simulations_are_told() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    let far = ndarray::arr2(&[[30.0, 0.1], [30.0, 0.1]]);
    observe(&place, "obs.h5", far.view());
    let (said, result) = posterior(&place, "");
    assert!(said.contains("2 of 2 observations are unlike the simulations (observation 0, column 0: 30, "), "{said}");
    assert!(said.contains("1 of 2 observations are copies"), "{said}");
    assert_exact(&result, far.view(), 0);
    let notes = result["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(
        notes[2].as_str().unwrap().starts_with("the posterior leads where hardly anything was simulated"),
        "{notes:?}"
    );
}

#[test]
fn one_dimension_is_observations_of_one_value() {
    let place = Place::new();
    let (theta, x) = simulations(4000);
    let observed = observations();
    let column = |x: &Array2<f64>| x.column(0).to_vec();
    // A parameter and a value a row, all of one dimension.
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    flatten(&place, "train.h5", "theta", &column(&theta));
    flatten(&place, "train.h5", "x", &column(&x));
    let prior: hdf5::types::VarLenUnicode =
        r#"[{"name": "a", "dist": "normal", "loc": 0, "scale": 1}]"#.parse().unwrap();
    hdf5::File::append(place.at("train.h5")).unwrap().attr("prior").unwrap().write_scalar(&prior).unwrap();
    flatten(&place, "obs.h5", "x", &column(&observed));
    let (said, result) = posterior(&place, "");
    assert!(!said.contains("WARN"), "{said}");
    assert_exact(&result, observed.view(), 0);
    let lines: Vec<String> = column(&observed).iter().map(f64::to_string).collect();
    std::fs::write(place.at("obs.csv"), lines.join("\n")).unwrap();
    write_npy(&place, "obs.npy", &column(&observed));
    for source in ["obs.h5:x", "obs.npy", "obs.csv"] {
        let arguments = format!("sample model.safetensors --observations {source} --samples 2000 -o p.nc --force");
        assert_eq!(place.json(&arguments)["mean"], result["mean"], "{source}");
    }
    // One line of many values says two dimensions.
    std::fs::write(place.at("line.csv"), lines.join(",")).unwrap();
    place.fails("sample model.safetensors --observations line.csv -o q.nc", 1, "20 values, 1 times; transpose them");
    // Where an observation has two values, one dimension of two is one observation, and any other cannot be meant.
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    flatten(&place, "obs.h5", "x", &observed.row(0).to_vec());
    let (_, result) = posterior(&place, "");
    [0, 1].into_iter().for_each(|column| assert_exact(&result, observed.slice(ndarray::s![..1, ..]), column));
    let what = "has one dimension, of 20 values, and a row has 2; write an array of two dimensions, (n, 2)";
    place.fails("sample model.safetensors --observations obs.npy -o q.nc", 1, what);
    flatten(&place, "train.h5", "theta", &column(&theta));
    place.fails("train train.h5 -o no.safetensors", 1, "expected shape (N, 2) for a prior over a, b, found (4000, 1)");
}

#[test]
fn names_of_all_kinds_get_through() {
    let place = Place::new();
    let (theta, x) = simulations(500);
    write(&place, "train.h5", theta.view(), x.view(), ["$g$", "-x"]);
    observe(&place, "obs.h5", observations().view());
    let (_, result) = posterior(&place, "--symmetry off");
    assert_eq!(result["parameter_names"], serde_json::json!(["$g$", "-x"]));
    let dirac = place.json("diagnose dirac posterior.nc --theta 0.6,-0.4");
    assert_eq!(dirac["parameter_names"], serde_json::json!(["$g$", "-x"]));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = Place::new();
    let (theta, x) = simulations(500);
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    place.run("train train.h5 -o model.safetensors");
    place.fails("train train.h5 -o train.h5 --force", 1, "is the training set");
    place.fails("train train.h5 -o other.safetensors --symmetry c", 2, "there is no parameter \"c\"");
    place.fails("sample model.safetensors --observations train.h5 -o p.nc", 1, "training-set");
    let text = |name: &str, text: &str| std::fs::write(place.at(name), text).unwrap();
    text("numbers.csv", "0,1\n0.5,0.7\n");
    place.fails("sample model.safetensors --observations numbers.csv -o p.nc", 2, "--header yes or no");
    place.run("sample model.safetensors --observations numbers.csv --header yes -o p.nc --samples 100");
    text("typo.csv", "0.5,0.7x\n0.5,0.7\n");
    place.fails("sample model.safetensors --observations typo.csv -o q.nc", 1, "name every column");
    let constant = Array2::from_elem((500, 2), 3.5);
    write(&place, "constant.h5", theta.view(), constant.view(), NAMES);
    place.fails("train constant.h5 -o no.safetensors", 1, "x is the same in every row");
}

#[test]
fn checks_say_what_they_cannot_see() {
    let place = Place::new();
    let (theta, x) = simulations(2000);
    write(&place, "train.h5", theta.view(), x.view(), NAMES);
    observe(&place, "obs.h5", observations().view());
    posterior(&place, "");
    let theta = normals(60, 2, 8);
    let pairs = Array3::from_shape_fn((60, 20, 2), |(i, _, j)| theta[[i, j]]);
    let noise = normals(60 * 20, 2, 9);
    let pairs = Array3::from_shape_fn(pairs.dim(), |(i, k, j)| pairs[[i, k, j]] + 0.5 * noise[[20 * i + k, j]]);
    write(&place, "cal.h5", theta.view(), pairs.slice(ndarray::s![.., 0, ..]), NAMES);
    let file = hdf5::File::open_rw(place.at("cal.h5")).unwrap();
    file.unlink("x").unwrap();
    file.new_dataset_builder().with_data(&pairs).create("x").unwrap();
    drop(file);
    let error = |arguments: &str| {
        let output = place.command(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (_, said) = error("diagnose sbc model.safetensors --calibration cal.h5 --pairs 3 --draws 20");
    assert!(said.contains("this p-value says next to nothing"), "{said}");
    let (_, said) = error("diagnose sbc model.safetensors --calibration train.h5 --pairs 50 --draws 20");
    assert!(said.contains("is what the model was trained on"), "{said}");
    let local = "diagnose local-c2st model.safetensors --calibration cal.h5 --posterior posterior.nc --trials 19 -q";
    let (done, said) = error(&format!("{local} --observations obs.h5"));
    assert!(done, "{said}");
    let (done, said) = error(&format!("{local} --observations obs.h5 --n-obs 5"));
    assert!(!done && said.contains("is the posterior given 20 observations, but 5"), "{said}");
    observe(&place, "others.h5", (&observations() + 0.1).view());
    let (done, said) = error(&format!("{local} --observations others.h5"));
    assert!(!done && said.contains("given other observations"), "{said}");
}

/// Shards of another program behind one virtual data set, as facilities keep them.
#[test]
fn a_view_of_shards_is_read_where_links_are_followed() {
    let place = Place::new();
    for (name, first) in [("a.h5", 0), ("b.h5", 100)] {
        let shard = hdf5::File::create(place.at(name)).unwrap();
        let value = |row: usize| (0.7 * (first + row) as f64).sin();
        let theta = Array2::from_shape_fn((100, 1), |(row, _)| value(row));
        let x = Array2::from_shape_fn((100, 1), |(row, _)| value(row) + 0.1 * value(3 * row + 1));
        shard.new_dataset_builder().with_data(&theta).create("theta").unwrap();
        shard.new_dataset_builder().with_data(&x).create("x").unwrap();
    }
    let all = hdf5::File::create(place.at("all.h5")).unwrap();
    for name in ["theta", "x"] {
        let builder = all.new_dataset::<f64>().no_chunk().shape((200, 1));
        let builder = builder.with_dcpl(|plist| {
            plist.virtual_map("a.h5", name, (100, 1), (.., ..), (200, 1), (0..100, ..));
            plist.virtual_map("b.h5", name, (100, 1), (.., ..), (200, 1), (100..200, ..))
        });
        builder.create(name).unwrap();
    }
    let prior: VarLenUnicode = r#"[{"name":"a","dist":"uniform","low":-1.5,"high":1.5}]"#.parse().unwrap();
    all.new_attr::<VarLenUnicode>().create("prior").unwrap().write_scalar(&prior).unwrap();
    all.close().unwrap();
    let train = "train all.h5 -o m.st --epochs 2 --hidden 8 --members 1 -q";
    place.fails(train, 1, "follow_links only");
    let trained = place.json(&format!("{train} --follow-links"));
    assert_eq!(trained["rows"], 200);
    let parent = |file: &str| place.json(&format!("inspect {file}"))["model"]["info"]["provenance"]["parents"].clone();
    let before = parent("m.st");
    assert!(before[0]["path"].as_str().unwrap().ends_with("all.h5"), "{before}");
    // Another number in a shard is another parent.
    // A program that another test started while the file was open has its lock until it ends.
    let opened = || {
        let file = hdf5::File::append(place.at("b.h5")).ok();
        file.is_none().then(|| std::thread::sleep(std::time::Duration::from_millis(100)));
        file
    };
    let shard = (0..300).find_map(|_| opened()).expect("no program keeps the file for half a minute");
    shard.dataset("x").unwrap().write(&Array2::from_elem((100, 1), 0.5)).unwrap();
    shard.close().unwrap();
    place.run(&format!("{train} --follow-links --force"));
    assert_ne!(parent("m.st")[0]["sha256"], before[0]["sha256"]);
}
