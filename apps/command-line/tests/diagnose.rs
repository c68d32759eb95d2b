//! Samples that cannot be compared: one clear line each, from every metric.

mod common;

use common::Place;
use ndarray::{Array2, Array3, Axis};
use tallsbi::calibration::draws;
use tallsbi::on_disk::{ModelFile, read_pairs};
use tallsbi::{SampleOptions, Silent, StreamKey};

/// A table of 40 rows, `value(row, column)`.
fn table(columns: usize, value: impl Fn(usize, usize) -> String) -> String {
    let row = |row| (0..columns).map(|column| value(row, column)).collect::<Vec<_>>().join(",") + "\n";
    (0..40).map(row).collect()
}

fn number(row: usize, column: usize) -> String {
    ((row * 37 + column * 101) as f64).sin().to_string()
}

/// A file of matrices (40, 3), good and bad.
fn matrices(path: &std::path::Path) {
    let good = Array2::from_shape_fn((40, 3), |(row, column)| ((row * 41 + column * 97) as f64).sin());
    let mut infinite = good.clone();
    infinite[(3, 1)] = f64::INFINITY;
    let file = hdf5::File::create(path).unwrap();
    file.new_dataset_builder().with_data(&good).create("good").unwrap();
    file.new_dataset_builder().with_data(&infinite).create("infinite").unwrap();
    file.new_dataset_builder().with_data(&Array3::<f64>::zeros((2, 40, 3))).create("cube").unwrap();
    file.new_dataset::<f64>().shape((0, 3)).create("none").unwrap();
    file.new_dataset_builder().with_data(&[true, false]).create("words").unwrap();
}

#[test]
fn samples_that_cannot_be_compared() {
    let place = Place::new();
    let nan = |row, column| if (row, column) == (5, 1) { "nan".into() } else { number(row, column) };
    let constant = |row, column| if column == 2 { "1.5".into() } else { number(row, column) };
    let write = |name: &str, text: String| std::fs::write(place.at(name), text).unwrap();
    write("good.csv", table(3, number));
    write("nan.csv", table(3, nan));
    write("one.csv", "0.1,0.2,0.3\n".into());
    write("constant.csv", table(3, constant));
    write("wide.csv", table(4, number));
    write("ragged.csv", "1,2,3\n4,5\n".into());
    write("empty.csv", String::new());
    write(
        "text.csv",
        table(3, |row, column| if (row, column) == (7, 1) { "high".into() } else { number(row, column) }),
    );
    write("text.h5", "not HDF5".into());
    write("empty.h5", String::new());
    matrices(&place.at("mat.h5"));
    let cases = [
        ("nan.csv", "nan.csv: NaN or infinite values: 1 (first in row 5, counted from 0); remove"),
        ("one.csv", "one.csv: has 1 rows, the method needs at least"),
        ("constant.csv", "constant.csv: column 2 (counted from 0) is constant (1.5)"),
        ("wide.csv", "4 columns"),
        ("ragged.csv", "ragged.csv: line 2 has 2 columns, the lines before it 3; give"),
        ("empty.csv", "empty.csv: holds no numbers"),
        ("text.csv", "text.csv: line 8: \"high\" is not a number; correct or remove"),
        ("absent.csv", "absent.csv: no such file"),
        ("text.h5:x", "text.h5: is not an HDF5"),
        ("empty.h5:x", "empty.h5: is empty"),
        ("mat.h5:absent", "mat.h5: has no dataset absent; it has cube, good, infinite, none, words"),
        ("mat.h5", "mat.h5: say which dataset to read"),
        ("mat.h5:cube", "select one of its 2 matrices as mat.h5:cube:INDEX (0 to 1)"),
        ("mat.h5:cube:2", "the index must be 0 to 1"),
        ("mat.h5:good:0", "an index selects from three dimensions, leave it out"),
        ("mat.h5:infinite", "mat.h5: infinite: NaN or infinite values: 1 (first in row 3"),
        ("mat.h5:none", "mat.h5: dataset none has the shape (0, 3): it holds no numbers"),
        ("mat.h5:words", "dataset words does not hold numbers"),
        ("obs.h5", "obs.h5: has 1 rows"),
        ("train.h5", "train.h5: is a file of kind training-set, expected kind observations or posterior"),
        ("cut.h5", "cut.h5: is truncated"),
    ];
    place.run("simulate two_moons -n 50 -q -o train.h5");
    place.run("simulate gaussian_toy --dimension 3 -n 400 -q -o whole.h5");
    place.run("observe gaussian_toy --dimension 3 --from-prior -n 1 -q -o obs.h5");
    let whole = std::fs::read(place.at("whole.h5")).unwrap();
    std::fs::write(place.at("cut.h5"), &whole[..whole.len() / 2]).unwrap();
    for metric in ["sliced-wasserstein", "mmd", "mmd --permutations 20", "c2st"] {
        for (bad, expected) in cases {
            place.fails(&format!("diagnose {metric} {bad} --reference good.csv"), 1, expected);
            let expected = if bad == "wide.csv" { "has 3 columns, the reference wide.csv has 4" } else { expected };
            place.fails(&format!("diagnose {metric} good.csv --reference {bad}"), 1, expected);
        }
        place.run(&format!("diagnose {metric} good.csv --reference mat.h5:good"));
    }
    for (bad, expected) in cases.into_iter().filter(|(bad, _)| !["wide.csv", "obs.h5"].contains(bad)) {
        place.fails(&format!("diagnose dirac {bad} --theta 1,2,3"), 1, expected);
    }
    place.fails("diagnose dirac good.csv --theta 1,2", 2, "2 true values for 3 columns");
}

/// Each fault of a model, of calibration pairs, of observations and of a posterior is told before anything is sampled.
#[test]
fn calibration_that_cannot_be_done() {
    let place = Place::new();
    for arguments in [
        "simulate gaussian_toy --dimension 2 -n 300 -o train.h5",
        "train train.h5 -o model.safetensors --epochs 1 --hidden 8",
        "simulate gaussian_toy --dimension 2 -n 40 --n-obs 2 --seed 1 -o cal.h5",
        "simulate gaussian_toy --dimension 3 -n 40 -o foreign.h5",
        "observe gaussian_toy --dimension 2 --from-prior -n 2 -o obs.h5",
        "observe gaussian_toy --dimension 3 --from-prior -n 2 -o wide.h5",
        "sample model.safetensors --observations obs.h5 --samples 40 -o posterior.nc",
    ] {
        place.run(&format!("{arguments} -q"));
    }
    let change = |name: &str, dataset: &str, change: &dyn Fn(&mut ndarray::ArrayD<f32>)| {
        std::fs::copy(place.at("cal.h5"), place.at(name)).unwrap();
        let file = hdf5::File::open_rw(place.at(name)).unwrap();
        let dataset = file.dataset(dataset).unwrap();
        let mut values = dataset.read_dyn::<f32>().unwrap();
        change(&mut values);
        dataset.write(&values).unwrap();
    };
    change("nan.h5", "x", &|x| x.fill(f32::NAN));
    change("constant.h5", "theta", &|theta| theta.index_axis_mut(ndarray::Axis(1), 1).fill(0.5));
    std::fs::write(place.at("wide.csv"), table(3, number)).unwrap();
    std::fs::write(place.at("nan.csv"), table(2, |row, _| if row == 4 { "nan".into() } else { number(row, 0) }))
        .unwrap();
    for name in ["model.safetensors", "cal.h5"] {
        let bytes = std::fs::read(place.at(name)).unwrap();
        std::fs::write(place.at(&format!("cut-{name}")), &bytes[..bytes.len() / 2]).unwrap();
    }
    let command = |metric: &str, model: &str, calibration: &str| {
        let command = format!("diagnose {metric} {model} --calibration {calibration}");
        match metric {
            "local-c2st" => command + " --observations obs.h5 --posterior posterior.nc --trials 19",
            _ => command,
        }
    };
    for metric in ["sbc", "coverage", "local-c2st"] {
        for (calibration, expected) in [
            ("nan.h5", "nan.h5: none of its 40 rows is valid"),
            ("constant.h5", "constant.h5: theta_2 is 0.5 in every row; draw"),
            (
                "foreign.h5",
                "foreign.h5: expected the model's parameters theta_1, theta_2, found theta_1, theta_2, theta_3",
            ),
            ("posterior.nc", "posterior.nc: is a file of kind posterior, expected kind training-set"),
            ("wide.csv", "wide.csv: is not an HDF5"),
            ("cut-cal.h5", "cut-cal.h5: is truncated"),
            ("absent.h5", "absent.h5: no such file"),
        ] {
            place.fails(&command(metric, "model.safetensors", calibration), 1, expected);
        }
        for (model, expected) in [
            ("cut-model.safetensors", "is not a safetensors file or is truncated"),
            ("cal.h5", "cal.h5: model: is not a safetensors file"),
            ("absent.safetensors", "absent.safetensors: no such file"),
        ] {
            place.fails(&command(metric, model, "cal.h5"), 1, expected);
        }
        let good = command(metric, "model.safetensors", "cal.h5");
        place.fails(&format!("{good} --pairs 0"), 2, "--pairs");
        place.fails(&format!("{good} --pairs 1"), 1, "cal.h5: 1 valid rows are used, the method needs at least");
        if metric != "local-c2st" {
            place.fails(&format!("{good} --n-obs 3"), 2, "simulate it with --n-obs 3");
        }
    }
    let good = command("local-c2st", "model.safetensors", "cal.h5");
    for (old, new, expected) in [
        ("posterior.nc", "wide.csv", "wide.csv: has 3 columns, the model 2 parameters"),
        ("posterior.nc", "nan.csv", "nan.csv: NaN or infinite values: 2 (first in row 4"),
        ("posterior.nc", "absent.nc", "absent.nc: no such file"),
        (
            "obs.h5",
            "wide.h5",
            "wide.h5: expected observations of 2 values, which the model was trained on, found 3 values",
        ),
        ("obs.h5", "absent.h5", "absent.h5: no such file"),
    ] {
        place.fails(&good.replace(old, new), 1, expected);
    }
}

/// A model, calibration pairs of which three are not valid, observations, and a posterior given these.
fn calibrated(place: &Place) {
    for arguments in [
        "simulate gaussian_toy --dimension 2 -n 300 -o train.h5",
        "train train.h5 -o model.safetensors --epochs 1 --hidden 8 --members 1 --architecture likelihood",
        "simulate gaussian_toy --dimension 2 -n 60 --n-obs 2 --seed 1 -o pairs.h5",
        "observe gaussian_toy --dimension 2 --from-prior -n 2 -o obs.h5",
        "sample model.safetensors --observations obs.h5 --samples 40 -o posterior.nc",
    ] {
        place.run(&format!("{arguments} -q"));
    }
    {
        let file = hdf5::File::open_rw(place.at("pairs.h5")).unwrap();
        let valid = file.dataset("valid").unwrap();
        let mut values = valid.read_1d::<u8>().unwrap();
        values.slice_mut(ndarray::s![10..13]).fill(0);
        valid.write(&values).unwrap();
    }
    // A copy, since this process reads it: the lock of a file that was open here may live on in a process that another test has started.
    std::fs::copy(place.at("pairs.h5"), place.at("cal.h5")).unwrap();
}

/// Draws (60, count, 2) of the model, as its own checks draw them; rows that are not valid are NaN.
fn own_draws(place: &Place, count: usize) -> Array3<f64> {
    let model = ModelFile::load(&place.at("model.safetensors")).unwrap().model;
    let pairs = read_pairs(&place.at("cal.h5"), None).unwrap();
    let (_, x) = pairs.valid_rows_for(&model);
    let sampling = SampleOptions::default();
    let drawn = draws(&model, &x, count, &sampling, StreamKey::root(0), None, &Silent).unwrap();
    let mut all = Array3::from_elem((60, count, 2), f64::NAN);
    let rows = (0..60).filter(|&row| pairs.valid[row]);
    rows.zip(drawn.outer_iter()).for_each(|(row, drawn)| all.index_axis_mut(Axis(0), row).assign(&drawn));
    all
}

fn write(path: &std::path::Path, arrays: &[(&str, ndarray::ArrayViewD<'_, f64>)]) {
    let file = hdf5::File::create(path).unwrap();
    for (name, array) in arrays {
        file.new_dataset_builder().with_data(&array.as_standard_layout()).create(*name).unwrap();
    }
}

/// Draws of a model given as a file are tested as the model itself is: to the same digits.
#[test]
fn draws_in_a_file_are_tested_as_a_models() {
    let place = Place::new();
    calibrated(&place);
    let (many, one) = (own_draws(&place, 50), own_draws(&place, 1));
    write(&place.at("many.h5"), &[("a/draws", many.view().into_dyn()), ("b", one.view().into_dyn())]);
    write(&place.at("one.h5"), &[("draws", one.index_axis(Axis(1), 0).into_dyn())]);
    let rest = "--calibration cal.h5 -q";
    for metric in ["sbc", "coverage"] {
        for more in ["", " --pairs 30"] {
            let model = place.json(&format!("diagnose {metric} model.safetensors --draws 50 {rest}{more}"));
            let file = place.json(&format!("diagnose {metric} --posterior-draws many.h5:a/draws {rest}{more}"));
            assert_eq!(model, file);
            assert_eq!(model["pairs"], if more.is_empty() { 57 } else { 27 });
        }
    }
    let rest = format!("{rest} --observations obs.h5 --posterior posterior.nc --trials 19");
    let model = place.json(&format!("diagnose local-c2st model.safetensors {rest}"));
    assert_eq!(model, place.json(&format!("diagnose local-c2st --posterior-draws one.h5 {rest}")));
    // Rows in another order are other posteriors.
    let turned: Vec<usize> = (0..60).map(|row| 59 - row).collect();
    let turned = many.mapv(|value| if value.is_nan() { 0.1 } else { value }).select(Axis(0), &turned);
    write(&place.at("turned.h5"), &[("draws", turned.view().into_dyn())]);
    let ranks = |command: &str| place.json(command)["parameters"][0]["ranks"].clone();
    let own = ranks("diagnose sbc --posterior-draws many.h5:a/draws --calibration cal.h5 -q");
    assert_ne!(own, ranks("diagnose sbc --posterior-draws turned.h5 --calibration cal.h5 -q"));
}

#[test]
fn draws_that_do_not_belong() {
    let place = Place::new();
    calibrated(&place);
    let good = own_draws(&place, 30);
    let changed = |change: &dyn Fn(&mut Array3<f64>)| {
        let mut draws = good.clone();
        change(&mut draws);
        draws.into_dyn()
    };
    let nan = changed(&|draws| draws[[20, 3, 1]] = f64::NAN);
    let collapsed = changed(&|draws| {
        let first = draws.slice(ndarray::s![.., ..1, ..]).to_owned();
        draws.assign(&first);
    });
    let fewer = good.slice(ndarray::s![..40, .., ..]).into_dyn();
    let turned = good.view().permuted_axes([1, 0, 2]).to_owned().into_dyn();
    let wide = Array3::from_shape_fn((60, 30, 3), |(i, j, k)| ((i * 7 + j * 11 + k) as f64).sin()).into_dyn();
    let arrays: &[(&str, ndarray::ArrayViewD<'_, f64>)] = &[
        ("good", good.view().into_dyn()),
        ("nan", nan.view()),
        ("collapsed", collapsed.view()),
        ("fewer", fewer),
        ("turned", turned.view()),
        ("wide", wide.view()),
    ];
    write(&place.at("draws.h5"), arrays);
    std::fs::write(place.at("draws.npy"), "no NumPy").unwrap();
    for metric in ["sbc", "coverage", "local-c2st"] {
        let rest = match metric {
            "local-c2st" => "--calibration cal.h5 --observations obs.h5 --posterior posterior.nc --trials 19 -q",
            _ => "--calibration cal.h5 -q",
        };
        for (source, expected) in [
            ("draws.h5:nan", "draws.h5:nan: theta_2 of draw 3 of row 20 (counted from 0) is NaN; draw it anew"),
            ("draws.h5:collapsed", "draws.h5:collapsed: only 1 of 30 draws differ"),
            ("draws.h5:fewer", "found (40, 30, 2); --pairs 40 takes these rows alone"),
            ("draws.h5:turned", "found (30, 60, 2); exchange its first two axes"),
            (
                "draws.h5:wide",
                "draws.h5:wide: expected (60, L, 2): L draws of 2 parameters for each of 60 rows, found (60, 30, 3)",
            ),
            ("draws.h5", "say which dataset to read, as draws.h5:NAME"),
            ("draws.h5:good:1", "leave the index out"),
            ("draws.h5:none", "has no dataset none"),
            ("draws.npy", "draws.npy: cannot be read as npy"),
            ("absent.npy", "absent.npy: no such file"),
        ] {
            place.fails(&format!("diagnose {metric} --posterior-draws {source} {rest}"), 1, expected);
        }
        place.run(&format!("diagnose {metric} --posterior-draws draws.h5:fewer --pairs 40 {rest}"));
        let both = format!("diagnose {metric} model.safetensors --posterior-draws draws.h5:good {rest}");
        place.fails(&both, 2, "cannot be used with");
        place.fails(&format!("diagnose {metric} {rest}"), 2, "required");
        let sampling = format!("diagnose {metric} --posterior-draws draws.h5:good --steps 5 {rest}");
        place.fails(&sampling, 2, "cannot be used with");
    }
    place.fails(
        "diagnose sbc --posterior-draws draws.h5:good --draws 9 --calibration cal.h5",
        2,
        "cannot be used with",
    );
}

/// Pairs of many rows take long: that is said before they do, and there are cheaper ways.
#[test]
fn many_rows_are_told_beforehand() {
    let place = Place::new();
    let rows = 400_000;
    let file = hdf5::File::create(place.at("many.h5")).unwrap();
    for (name, shift) in [("a", 0.0), ("b", 0.5)] {
        let value = |(row, _)| ((row * 37) as f64).sin() + ((row * 11) as f64 * 0.7).cos() + shift;
        file.new_dataset_builder().with_data(&Array2::from_shape_fn((rows, 1), value)).create(name).unwrap();
    }
    file.close().unwrap();
    let pair = "diagnose mmd many.h5:a --reference many.h5:b";
    let output = place.command(pair).timeout(std::time::Duration::from_secs(20)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("this takes about") && said.contains("3.2e11 pairs"), "{said}");
    assert!(said.contains("--subsample N") && said.contains("--random-features"), "{said}");
    let some = place.json(&format!("{pair} --subsample 2000 --permutations 20"));
    assert_eq!((&some["rows"][0], &some["rows"][1]), (&2000.into(), &2000.into()));
    assert!(some["p_value"].as_f64().unwrap() < 0.05, "{some}");
    let features = place.json(&format!("{pair} --random-features 100"));
    let (value, error) = (features["value"].as_f64().unwrap(), features["standard_error"].as_f64().unwrap());
    assert!((value - some["value"].as_f64().unwrap()).abs() < 4.0 * error + 0.02, "{features} {some}");
    place.fails(&format!("{pair} --random-features 1"), 2, "frequencies");
    place.fails(&format!("{pair} --random-features 9 --permutations 9"), 2, "cannot be used with");
}
