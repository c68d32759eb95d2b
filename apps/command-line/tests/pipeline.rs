//! From simulations to diagnosed posteriors, and what goes wrong on the way.

mod common;

use common::Place;
use ndarray::s;
use tallsbi::Silent;
use tallsbi::files::Posterior;
use tallsbi::on_disk::ModelFile;

#[test]
fn slcp_from_simulation_to_diagnosis() {
    let place = Place::new();
    place.run("simulate slcp -n 2000 -o train.h5");
    let trained = place.json("train train.h5 -o model.safetensors --epochs 3 --hidden 32,32 -q");
    assert_eq!((&trained["dim_theta"], &trained["dim_x"], &trained["rows"]), (&5.into(), &8.into(), &2000.into()));
    place.run("observe slcp --from-prior -n 8 -o obs.h5 --seed 3");
    let sampled =
        place.json("sample model.safetensors --observations obs.h5 --n-obs 6 --samples 300 -o posterior.nc -q");
    assert_eq!(sampled["run"]["n_obs"], 6);
    place.run("train train.h5 -o scores.safetensors --architecture anchored --epochs 3 --hidden 32,32 -q");
    let refused = "sample scores.safetensors --observations obs.h5 -o no.nc --sampler edm-heun --eta 0.5";
    place.fails(refused, 2, "edm-heun has no such option");
    place.run("sample scores.safetensors --observations obs.h5 --samples 300 -o other.nc -q --sampler ddim --steps 50");

    let contents = place.json("inspect posterior.nc");
    assert_eq!(contents["kind"], "posterior");
    assert_eq!(contents["provenance"]["parents"].as_array().unwrap().len(), 2);
    let find = |name: &str| contents["arrays"].as_array().unwrap().iter().any(|array| array["name"] == name);
    assert!(find("posterior/theta_1") && find("observed_data/x"));

    for metric in ["sliced-wasserstein", "mmd", "c2st"] {
        let result = place.json(&format!("diagnose {metric} posterior.nc --reference other.nc -q"));
        assert_eq!(result["metric"], metric);
        assert!(result["value"].is_number(), "{result}");
    }
    let same = place.json("diagnose sliced-wasserstein posterior.nc --reference posterior.nc -q");
    assert_eq!(same["value"], 0.0);
    let by_file = place.json("diagnose dirac posterior.nc --observations obs.h5");
    assert_eq!(by_file["mmd"]["marginals"].as_array().unwrap().len(), 5);

    place.run("simulate slcp -n 200 --n-obs 6 --seed 7 -o cal.h5");
    // What is for scores is not ignored with a likelihood.
    for (option, value) in [
        ("--sampler", "ddim"),
        ("--steps", "5"),
        ("--eta", "1"),
        ("--grid", "log-snr"),
        ("--tau", "0.5"),
        ("--rounds", "2"),
        ("--bridge", "clean"),
        ("--clip", "3"),
        ("--learned-prior", ""),
        ("--mini-batch", "2"),
        ("--damping", "0.5"),
        ("--shrinkage", "0.5"),
    ] {
        let arguments = format!("sample model.safetensors --observations obs.h5 -o no.nc {option} {value}");
        place.fails(&arguments, 2, &format!("{option} is for score models"));
    }
    let refused = "diagnose sbc model.safetensors --calibration cal.h5 --n-obs 2 --pairs 50 --draws 20 --method jac";
    place.fails(refused, 2, "--method is for score models");
    for check in ["sbc", "coverage"] {
        let arguments = "model.safetensors --calibration cal.h5 --n-obs 2 --pairs 50 --draws 20 -q";
        let result = place.json(&format!("diagnose {check} {arguments}"));
        assert!((0.0..=1.0).contains(&result["value"].as_f64().unwrap()), "{result}");
    }
    let local = place.json(
        "diagnose local-c2st model.safetensors --calibration cal.h5 --observations obs.h5 --n-obs 6 \
         --posterior posterior.nc --trials 20 -q",
    );
    assert!(local["p_value"].as_f64().unwrap() >= 1.0 / 21.0);
    assert_eq!(local["n_obs"], 6);
    place.fails(
        "diagnose local-c2st model.safetensors --calibration cal.h5 --observations obs.h5 --posterior posterior.nc",
        1,
        "is the posterior given 6 observations, but 8 are given here; use --n-obs 6",
    );
}

/// The same command gives the same model and posterior on any number of threads.
#[test]
fn training_and_sampling_are_reproducible() {
    let place = Place::new();
    place.run("simulate gaussian_toy --dimension 3 -n 1000 -o train.h5");
    place.run("observe gaussian_toy --dimension 3 --from-prior -n 5 -o obs.h5");
    for threads in [1, 2, 7] {
        place
            .run(&format!("train train.h5 -o m{threads}.safetensors --epochs 2 --hidden 32,32 -q --threads {threads}"));
        place.run(&format!(
            "sample m{threads}.safetensors --observations obs.h5 --samples 200 -o p{threads}.nc -q --threads {threads}"
        ));
    }
    // Observations in a scratch file are the same observations.
    place.run("train train.h5 -o scratch.safetensors --memory 0 --epochs 2 --hidden 32,32 -q");
    assert_eq!(place.digest("scratch.safetensors"), place.digest("m1.safetensors"));
    for threads in [2, 7] {
        assert_eq!(place.digest(&format!("m{threads}.safetensors")), place.digest("m1.safetensors"));
        assert_eq!(place.digest(&format!("p{threads}.nc")), place.digest("p1.nc"));
    }
}

/// The posterior of many observations is as wide as the networks' error, and says so; without it, it is narrower. On any number of threads.
#[test]
fn the_error_of_networks_widens_posteriors_of_many_observations() {
    let place = Place::new();
    place.run("simulate lotka_volterra -n 3000 -o train.h5");
    std::fs::write(place.at("t.toml"), "[[likelihood.candidates]]\ncomponents = 1\ncovariance = \"diagonal\"\n")
        .unwrap();
    place.run("train train.h5 -o model.safetensors --config t.toml --epochs 10 --hidden 32,32 --members 3 -q");
    place.run("observe lotka_volterra --from-prior -n 3000 -o obs.h5 --seed 3");
    let arguments = "sample model.safetensors --observations obs.h5 --samples 200 -q --force";
    let said = place.log(&format!("{} -o with.nc --threads 1", arguments.replace(" -q", "")));
    assert!(said.contains("includes the network's own error"), "{said}");
    place.run(&format!("{arguments} -o again.nc --threads 7"));
    assert_eq!(place.digest("with.nc"), place.digest("again.nc"));
    let without = place.json(&format!("{arguments} -o without.nc --network-error ignore"));
    let with = place.json(&format!("{arguments} -o with.nc --network-error include"));
    let sd = |of: &serde_json::Value| of["sd"][0].as_f64().unwrap();
    assert!(sd(&with) > 3.0 * sd(&without), "{with} {without}");
    place.run("train train.h5 -o scores.safetensors --architecture anchored --epochs 1 --hidden 16 -q");
    let refused = "sample scores.safetensors --observations obs.h5 -o no.nc --network-error ignore";
    place.fails(refused, 2, "--network-error is for likelihood models, scores.safetensors is anchored");
}

/// Two observations of each parameter: posteriors stop narrowing, the same on any number of threads, and leave-one-out densities are given the others.
#[test]
fn observations_of_the_same_parameters_teach_the_error_that_they_share() {
    let place = Place::new();
    place.run("simulate lotka_volterra -n 1500 --n-obs 2 -o train.h5");
    let form = "[[likelihood.candidates]]\ncomponents = 1\ncovariance = \"diagonal\"\n";
    std::fs::write(place.at("with.toml"), form).unwrap();
    std::fs::write(place.at("without.toml"), format!("[likelihood]\nshared_error = false\n{form}")).unwrap();
    let train = "train train.h5 --epochs 10 --hidden 32,32 --members 2 -q";
    for threads in [1, 2] {
        place.run(&format!("{train} --config with.toml -o with{threads}.safetensors --threads {threads}"));
    }
    assert_eq!(place.digest("with1.safetensors"), place.digest("with2.safetensors"));
    place.run(&format!("{train} --config without.toml -o without.safetensors"));
    place.run("observe lotka_volterra --from-prior -n 1000 -o obs.h5 --seed 3");
    let sample = "sample with1.safetensors --observations obs.h5 --samples 200 -q --force";
    let with = place.json(&format!("{sample} -o with.nc"));
    let without = "sample without.safetensors --observations obs.h5 --samples 200 -q --force -o without.nc";
    let without = place.json(&format!("{without} --network-error ignore"));
    let sd = |of: &serde_json::Value| of["sd"][0].as_f64().unwrap();
    assert!(sd(&with) > 3.0 * sd(&without), "{with} {without}");
    place.run(&format!("{sample} -o again.nc --network-error include --threads 7"));
    assert_eq!(place.digest("with.nc"), place.digest("again.nc"));
    place.fails(&format!("{sample} -o no.nc --network-error ignore"), 2, "a part of this model's likelihood");
    place.fails(&format!("{sample} -o no.nc --lapse 0.1"), 2, "train with shared_error = false");
    place.run(&format!("{sample} --n-obs 2 --log-likelihood -o pointwise.nc"));
    let posterior = Posterior::read(&place.at("pointwise.nc")).unwrap();
    let values = posterior.companions.log_likelihood.as_ref().expect("written");
    let model = ModelFile::load(&place.at("with1.safetensors")).unwrap().model;
    let x = posterior.observations.as_ref().expect("kept").mapv(f64::from);
    let x = model.centre("observations", x.view()).unwrap();
    let alone = |k: usize| model.log_likelihood(x.slice(s![k..=k, ..]), posterior.matrix().view(), &Silent).unwrap();
    let (first, second) = (alone(0), alone(1));
    // p(x_1|x_2)/p(x_2|x_1) = p(x_1)/p(x_2), but neither is p(x_k).
    for row in 0..200 {
        let (found, expected) = (values[[row, 0]] - values[[row, 1]], first[row] - second[row]);
        assert!((found - expected).abs() < 1e-6 * (1.0 + first[row].abs()), "{found} {expected}");
    }
    assert!((0..200).all(|row| (values[[row, 0]] - first[row]).abs() > 1e-3));
}

/// Training interrupted by Ctrl-C and resumed gives the uninterrupted weights.
/// Two runs on one output would lose one of the models, and share a checkpoint.
#[cfg(unix)]
#[test]
fn one_run_at_a_time_trains_into_an_output() {
    let place = Place::new();
    place.run("simulate slcp -n 2000 -o train.h5");
    let arguments = "train train.h5 -o model.safetensors --epochs 100000 --patience 100000 --hidden 16 -q";
    let mut child = place.start(arguments);
    let lock = place.at("model.safetensors.lock");
    assert!(common::while_running(&mut child, || lock.exists()), "training ended at once");
    place.fails(arguments, 1, "another run is training into it");
    assert!(common::signal(&child, "-INT"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!place.at("model.safetensors.lock").exists());
}

#[cfg(unix)]
#[test]
fn training_resumes_to_the_same_weights() {
    let place = Place::new();
    place.run("simulate slcp -n 5000 -o train.h5");
    let arguments = "train train.h5 --epochs 12 --hidden 64,64 -q";
    place.run(&format!("{arguments} -o whole.safetensors"));
    let mut interruptions = 0;
    let lock = place.at("cut.safetensors.lock");
    loop {
        let mut child = place.start(&format!("{arguments} -o cut.safetensors --resume"));
        if common::while_running(&mut child, || lock.exists()) {
            std::thread::sleep(std::time::Duration::from_millis(400));
            // Fails where the run is over already.
            common::signal(&child, "-INT");
        }
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            break;
        }
        assert_eq!(code, Some(130));
        interruptions += 1;
        assert!(place.at("cut.safetensors.checkpoint").exists());
        place.fails(&format!("{arguments} -o cut.safetensors"), 2, "--resume");
    }
    assert!(interruptions > 0, "training was over before it could be interrupted");
    assert_eq!(place.digest("cut.safetensors"), place.digest("whole.safetensors"));
    assert!(!place.at("cut.safetensors.checkpoint").exists());
}

/// What other languages write: float64, only theta, x and prior.
fn write_foreign(place: &Place, name: &str, rows: usize, prior: Option<&str>, spoil: impl Fn(usize, &mut f64)) {
    let theta = ndarray::Array2::from_shape_fn((rows, 2), |(i, j)| ((i * 7 + j * 3) % 1009) as f64 / 1009.0);
    let mut x = theta.mapv(|value| value * 2.0 + 1.0);
    x.iter_mut().enumerate().for_each(|(i, value)| spoil(i, value));
    let file = hdf5::File::create(place.at(name)).unwrap();
    file.new_dataset_builder().with_data(&theta).create("theta").unwrap();
    file.new_dataset_builder().with_data(&x).create("x").unwrap();
    if let Some(prior) = prior {
        let value: hdf5::types::VarLenUnicode = prior.parse().unwrap();
        file.new_attr::<hdf5::types::VarLenUnicode>().create("prior").unwrap().write_scalar(&value).unwrap();
    }
}

const PRIOR: &str =
    r#"[{"name":"a","dist":"uniform","low":0,"high":1},{"name":"b","dist":"uniform","low":0,"high":1}]"#;

#[test]
fn foreign_training_sets_train() {
    let place = Place::new();
    write_foreign(&place, "user.h5", 500, Some(PRIOR), |i, value| {
        if i % 100 == 0 {
            *value = f64::NAN;
        }
    });
    let trained = place.json("train user.h5 -o model.safetensors --epochs 2 --hidden 16 -q");
    assert_eq!(trained["rows"], 490);
    place.run(
        "train user.h5 -o published.safetensors --epochs 2 --hidden 16 -q --latent standardized --context-dropout 0.2",
    );
    assert_eq!(place.json("inspect published.safetensors")["model"]["architecture"], "noise");
}

#[test]
fn missing_values_are_integrated_over() {
    let place = Place::new();
    place.run("simulate slcp -n 500 -o train.h5");
    place.run("train train.h5 -o model.safetensors --epochs 1 --hidden 8 -q");
    place.run("train train.h5 -o scores.safetensors --architecture anchored --epochs 1 --hidden 8 -q");
    std::fs::write(place.at("gaps.csv"), "1,2,,4,5,6,7,8\nNA,,,,,,,nan\n1,-999,3,4,5,6,7,8\n1,2,3,4,5,6,7,8\n")
        .unwrap();
    let sample = "--observations gaps.csv --missing -999 --samples 100 -q";
    let run = &place.json(&format!("sample model.safetensors {sample} -o posterior.nc"))["run"];
    let counts =
        ["n_obs", "missing_values", "incomplete_observations", "missing_observations"].map(|name| run[name].as_u64());
    assert_eq!(counts, [3, 10, 2, 1].map(Some));
    let contents = place.json("inspect posterior.nc");
    assert!(contents["arrays"].as_array().unwrap().iter().any(|array| array["name"] == "observed_data/x"));
    std::fs::write(place.at("known.csv"), "1,2,,4,5,6,7,8\n1,,3,4,5,6,7,8\n1,2,3,4,5,6,7,8\n").unwrap();
    let known = place.json("sample model.safetensors --observations known.csv --samples 100 -q -o known.nc");
    let all = place.json(&format!("sample model.safetensors {sample} -o again.nc"));
    assert_eq!(known["mean"], all["mean"]);
    place.fails(&format!("sample scores.safetensors {sample} -o no.nc"), 1, "observation 0 has missing values (NaN)");
    place.fails("reference slcp --observations gaps.csv -o no.nc", 1, "gaps.csv: line 1: \"\" is not a number");
}

#[test]
fn wrong_inputs_are_one_line() {
    let place = Place::new();
    place.run("simulate slcp -n 500 -o train.h5");
    place.run("train train.h5 -o model.safetensors --epochs 1 --hidden 8 -q");
    place.run("observe slcp --from-prior -n 3 -o obs.h5");
    write_foreign(&place, "user.h5", 100, Some(PRIOR), |_, _| {});
    write_foreign(&place, "noprior.h5", 100, None, |_, _| {});
    write_foreign(&place, "infinite.h5", 100, Some(PRIOR), |i, value| {
        *value = if i == 7 { f64::INFINITY } else { *value }
    });
    write_foreign(&place, "wide.h5", 100, Some(r#"[{"name":"a","dist":"uniform","low":0,"high":1}]"#), |_, _| {});
    write_foreign(&place, "outside.h5", 100, Some(&PRIOR.replace("\"high\":1}]", "\"high\":0.5}]")), |_, _| {});
    drop(hdf5::File::create(place.at("empty.h5")).unwrap());
    let cut = |from: &str, to: &str| {
        let bytes = std::fs::read(place.at(from)).unwrap();
        std::fs::write(place.at(to), &bytes[..bytes.len() / 2]).unwrap();
    };
    cut("train.h5", "cut.h5");
    cut("model.safetensors", "cut.safetensors");
    std::fs::write(place.at("text.h5"), "theta,x\n").unwrap();

    let cases = [
        ("frobnicate", 2, "frobnicate"),
        ("simulate nothing -n 10 -o a.h5", 2, "no task is called \"nothing\""),
        ("simulate slcp -n 10 -o train.h5", 1, "--force"),
        ("simulate slcp -n 0 -o a.h5", 2, "--rows"),
        ("simulate slcp -n 10 -o none/a.h5", 1, "folder none does not exist"),
        ("simulate slcp -n 10 -o a.h5 --shard 5/4", 2, "--shard"),
        ("simulate slcp -n 10 -o a.h5 --solver strang", 2, "solver"),
        ("simulate jrnmm -n 10 -o a.h5 --fix h=0", 1, "no parameter \"h\""),
        ("simulate jrnmm -n 10 -o a.h5 --fix g", 2, "NAME=VALUE"),
        ("simulate slcp -n 10 -o a.h5 --resume --force", 2, "cannot be used with"),
        ("observe slcp -n 3 -o a.h5", 2, "--theta"),
        ("observe slcp --theta 1,2 -n 3 -o a.h5", 2, "2 values for the 5 parameters"),
        ("observe slcp --theta 1,2,3,4,5 -n 3 -o a.h5", 2, "theta_4 = 4 is outside"),
        ("observe slcp --theta 1,x,3,0,0 -n 3 -o a.h5", 2, "\"x\" is not a number"),
        ("merge train.h5 missing.h5 -o a.h5", 1, "missing.h5: no such file"),
        ("train missing.h5 -o a.safetensors", 1, "no such file"),
        ("train empty.h5 -o a.safetensors", 1, "has no dataset theta"),
        ("train noprior.h5 -o a.safetensors", 1, "has no attribute prior"),
        ("train wide.h5 -o a.safetensors", 1, "expected shape (N, 1) for a prior over a, found (100, 2)"),
        ("train outside.h5 -o a.safetensors", 1, "outside the prior's [0, 0.5]"),
        ("train cut.h5 -o a.safetensors", 1, "truncated"),
        ("train text.h5 -o a.safetensors", 1, "is not an HDF5"),
        ("train obs.h5 -o a.safetensors", 1, "kind observations"),
        ("train train.h5 -o model.safetensors", 1, "--force"),
        ("train train.h5 -o a.safetensors --epochs 0", 2, "epochs"),
        ("train train.h5 -o a.safetensors --learning-rate -1", 2, "learning_rate"),
        ("train train.h5 -o a.safetensors --n-max 4", 2, "simulate 4 of each"),
        ("train train.h5 -o a.safetensors --config missing.toml", 1, "missing.toml"),
        ("sample model.safetensors --observations missing.h5 -o a.nc", 1, "missing.h5: no such file"),
        (
            "sample model.safetensors --observations infinite.h5:x -o a.nc",
            1,
            "NaN or infinite values: 1 (first in row 3, counted from 0)",
        ),
        ("sample model.safetensors --observations user.h5:x -o a.nc", 1, "found 2 values"),
        ("sample model.safetensors --observations obs.h5 --n-obs 4 -o a.nc", 2, "obs.h5 has 3"),
        (
            "sample model.safetensors --observations obs.h5 -o a.nc --sampler edm-heun --eta 0.5",
            2,
            "--sampler is for score models",
        ),
        ("sample model.safetensors --observations obs.h5 -o a.nc --steps 0", 2, "steps"),
        ("sample cut.safetensors --observations obs.h5 -o a.nc", 1, "cut.safetensors"),
        ("sample train.h5 --observations obs.h5 -o a.nc", 1, "train.h5"),
        ("diagnose c2st obs.h5 --reference user.h5:theta", 1, "8 columns"),
        ("diagnose c2st obs.h5 --reference user.h5:nothing", 1, "has no dataset nothing"),
        ("diagnose dirac obs.h5 --theta 1,2", 2, "2 true values for 8 columns"),
        ("diagnose sbc model.safetensors --calibration user.h5", 1, "found a, b; simulate"),
        ("inspect text.h5", 1, "is not an HDF5"),
        ("inspect missing", 1, "no such file"),
    ];
    for (arguments, code, expected) in cases {
        place.fails(arguments, code, expected);
    }
    // Nothing is left behind by any of them.
    let left: Vec<String> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("a.") || name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_parameter_is_taken_for_known() {
    let place = Place::new();
    place.run("simulate sir -n 800 -q -o train.h5");
    place.run("train train.h5 -o whole.st --epochs 3 --hidden 16 --members 1 -q");
    place.run("observe sir --from-prior -n 5 -o obs.h5");
    let made = place.json("fix whole.st gamma=0.12 -o beta.st");
    assert_eq!(made["parameters"], serde_json::json!(["beta"]));
    assert!(place.run("inspect beta.st").contains("with gamma = 0.12 known"));
    let sampled = place.json("sample beta.st --observations obs.h5 --samples 200 -o beta.nc -q");
    assert_eq!(sampled["parameter_names"], serde_json::json!(["beta"]));
    // The posterior's simulator has it fixed, too.
    place.run("refine beta.st --observations obs.h5 --budget 2000 --network off -o refined.st -q");
    for (arguments, code, expected) in [
        ("fix whole.st gamma=0.12 -o beta.st", 1, "--force"),
        ("fix whole.st gamma -o x.st", 2, "is not NAME=VALUE"),
        ("fix whole.st delta=1 -o x.st", 1, "whole.st: prior: has no parameter \"delta\"; it has beta, gamma"),
        ("fix beta.st beta=0.3 -o x.st", 2, "beta.st: fix: beta: it is the only parameter"),
        ("fix whole.st gamma=5 -o x.st", 2, "gamma: 5 lies where hardly a simulation was"),
        ("fix whole.st gamma=-1 -o x.st", 2, "gamma: -1 is outside of the prior's [0, inf]"),
        ("fix refined.st beta=0.3 -o x.st", 2, "a model of architecture refined"),
        ("fix train.h5 gamma=1 -o x.st", 1, "train.h5: "),
    ] {
        place.fails(arguments, code, expected);
    }
}

#[test]
fn tasks_and_help() {
    let place = Place::new();
    let tasks = place.json("tasks");
    let jrnmm = tasks.as_array().unwrap().iter().find(|task| task["name"] == "jrnmm").unwrap();
    assert_eq!((&jrnmm["dim_theta"], &jrnmm["dim_x"], &jrnmm["likelihood"]), (&4.into(), &33.into(), &false.into()));
    for command in ["tasks", "simulate", "merge", "observe", "train", "sample", "diagnose", "inspect"] {
        let help = place.run(&format!("{command} --help"));
        assert!(help.contains("Example: tallsbi"), "{command}");
    }
    for check in ["sliced-wasserstein", "mmd", "c2st", "dirac", "local-c2st", "sbc", "coverage"] {
        assert!(place.run(&format!("diagnose {check} --help")).contains("Example: tallsbi"), "{check}");
    }
}
