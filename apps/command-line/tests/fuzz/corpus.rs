//! Good files of every kind, small, written as users' are.

use super::writers::{BrainVision, Edf};
use hdf5::types::{FixedUnicode, VarLenUnicode};
use ndarray::{Array2, Array3, arr1, arr2};
use std::path::Path;
use tallsbi::data::{Prior, XTransform};
use tallsbi::files::{
    Companions, Existing, Observations, Opened, Posterior, Provenance, RowRange, TrainingSetSpec, TrainingSetWriter,
};
use tallsbi::inference::score::MomentCache;
use tallsbi::inference::score::moment_cache::Estimate;
use tallsbi::inference::train::{
    AnchorOptions, Architecture, Checkpoint, LikelihoodOptions, OptimizerOptions, Resumable, TrainOptions,
    TrainingData, train, train_resumable,
};
use tallsbi::on_disk::SimulationLog;
use tallsbi::simulators::external::{COMMAND_TEMPLATE, ODE_TEMPLATE};
use tallsbi::{
    KeepSimulations, RefineFrom, RefineOptions, SampleOptions, Session, Silent, StreamKey, TaskOptions, draw_truth,
    observe, refine, task,
};
use tallsbi_studies::study::{Preset, Study};

/// Rows of training sets.
const ROWS: usize = 40;

/// What covariances and simulations are kept for.
pub const IDENTITY: &str = "a model";

/// A study of a task with closed form, in a second.
const STUDY: &str = r#"
title = "Two numbers"
n_obs = [1, 2]
simulations = 200
posterior_samples = 100
[local_c2st]
pairs = 20
[local_c2st.test]
trials = 2
[coverage]
pairs = 20
draws = 10
[[runs]]
name = "toy"
task = "gaussian_toy"
theta_true = [0.5, -0.5]
[runs.options]
dimension = 2
[train.network]
hidden = [8]
[train.optimizer]
epochs = 1
[train.anchor]
hidden = [8]
[train.anchor.optimizer]
epochs = 1
"#;

/// Makes all seeds in `folder`.
pub fn make(folder: &Path) {
    std::fs::create_dir(folder).expect("created");
    priors(folder);
    tables(folder);
    training_sets(folder);
    observations(folder);
    posteriors(folder);
    models(folder);
    covariances_and_simulations(folder);
    recordings(folder);
    studies(folder);
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).expect("written");
}

fn prior() -> Prior {
    Prior::from_json(
        r#"[{"name":"a","dist":"normal","loc":0,"scale":1},{"name":"b","dist":"uniform","low":-3,"high":3}]"#,
    )
    .expect("a prior")
}

fn provenance() -> Provenance {
    Provenance::new("tallsbi fuzz", 5, "toy")
}

fn values(rows: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| ((7 * i + 3 * j) as f64 * 0.61).sin())
}

fn priors(folder: &Path) {
    write(folder, "prior-1.json", prior().to_json());
    let many = [
        r#"{"name":"c","dist":"multivariate_normal","names":["c","d"],"loc":[0,1],"covariance":[[1,0.5],[0.5,2]]}"#,
        r#"{"name":"e","dist":"beta","alpha":2,"beta":0.5},{"name":"f","dist":"gamma","shape":2,"rate":3}"#,
        r#"{"name":"g","dist":"truncated_normal","loc":0,"scale":1,"low":-1,"high":2}"#,
        r#"{"name":"h","dist":"student_t","df":3,"loc":0,"scale":1},{"name":"i","dist":"half_cauchy","scale":1}"#,
        r#"{"name":"j","dist":"inverse_gamma","shape":3,"scale":1},{"name":"k","dist":"loguniform","low":0.1,"high":9}"#,
    ];
    many.iter()
        .enumerate()
        .for_each(|(index, text)| write(folder, &format!("prior-{}.json", index + 2), format!("[{text}]")));
    let lines =
        "a=normal(0, 1)\nb=uniform(low=-1, high=2)\nk=truncated_normal(0,1,-1,2)\ns=student_t(3, 0, 1)\nt=beta(2,3)";
    write(folder, "notation.txt", lines);
    write(folder, "command.toml", COMMAND_TEMPLATE);
    write(folder, "ode.toml", ODE_TEMPLATE);
    write(folder, "train.toml", toml::to_string(&TrainOptions::default()).expect("TOML"));
    write(folder, "refine.toml", toml::to_string(&RefineOptions::default()).expect("TOML"));
    write(folder, "sample.toml", toml::to_string(&SampleOptions::default()).expect("TOML"));
}

fn tables(folder: &Path) {
    write(folder, "table-1.csv", "a,b\n0.5,-1.25\n3,4e-3\n\n# comment\n1,2\n");
    write(folder, "table-2.csv", "0.5;-1.25;2\r\n3;4e-3;1\r\n");
    write(folder, "table-3.csv", "   5.0000000e-01  -1.2500000e+00\n   3.0000000e+00   4.0000000e-03\n");
    write(folder, "table-4.csv", "\"a \"\"quoted\"\" name\",b\n1,NA\n,nan\n");
    for (name, descr, order, width) in [("1", "<f8", "False", 8), ("2", "<f4", "True", 4)] {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3, 2), }}");
        let padded = format!("{header}{}\n", " ".repeat((64 - (11 + header.len()) % 64) % 64));
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.bytes());
        bytes.extend((0..12 * width).map(|byte| byte as u8));
        write(folder, &format!("array-{name}.npy"), bytes);
    }
}

/// The training set of the seeds; 4 values of an observation, each as many times as `n_obs` says.
pub fn spec(n_obs: Option<usize>) -> TrainingSetSpec {
    TrainingSetSpec {
        prior: prior(),
        dim_x: 4,
        conditions: 0,
        n_obs,
        observation_names: Vec::new(),
        x_transform: XTransform::Identity,
        rows: RowRange::whole(ROWS as u64),
        keep: Some(8),
        settings: serde_json::Map::default(),
    }
}

/// A writer of such a set, or of what is left of one.
pub fn open_set(path: &Path, n_obs: Option<usize>, existing: Existing) -> tallsbi::files::Result<Opened> {
    TrainingSetWriter::open(path, existing, spec(n_obs), provenance())
}

fn training_sets(folder: &Path) {
    for (name, n_obs, complete) in [("train-1.h5", None, true), ("train-2.h5", Some(2), true), ("out.h5", None, false)]
    {
        let Ok(Opened::Writing(mut writer)) = open_set(&folder.join(name), n_obs, Existing::Refuse) else {
            panic!("a new set")
        };
        let single = |array: Array2<f64>| array.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let valid: Vec<u8> = (0..ROWS).map(|row| u8::from(row % 7 != 0)).collect();
        let rows = if complete { ROWS } else { ROWS - 10 };
        let x = single(values(rows, 4 * n_obs.unwrap_or(1)));
        writer.append(&single(values(rows, 2)), &x, &valid[..rows]).expect("appended");
        if complete {
            writer.finish().expect("written");
            without_heap(&folder.join(name));
        }
    }
    let file = hdf5::File::create(folder.join("train-3.h5")).expect("created");
    file.new_dataset_builder().with_data(&values(ROWS, 2)).create("theta").expect("written");
    file.new_dataset_builder().with_data(&values(ROWS, 3)).create("x").expect("written");
    let json: VarLenUnicode = prior().to_json().parse().expect("text");
    file.new_attr::<VarLenUnicode>().create("prior").and_then(|a| a.write_scalar(&json)).expect("written");
    file.close().expect("written");
    without_heap(&folder.join("train-3.h5"));
}

/// Texts of fixed length in place of variable ones, which lie on the global heap: libhdf5 1.10 crashes and loops on one in a hundred damages
/// there, and little else would be seen. Files of ours with such damage do not get as far: they have a digest.
fn without_heap(path: &Path) {
    let file = hdf5::File::open_rw(path).expect("opened");
    for name in file.attr_names().expect("names") {
        let Ok(text) = file.attr(&name).and_then(|attribute| attribute.read_scalar::<VarLenUnicode>()) else {
            continue;
        };
        let fixed: FixedUnicode<512> = text.as_str().parse().expect("short");
        file.delete_attr(&name).expect("deleted");
        file.new_attr::<FixedUnicode<512>>().create(&*name).and_then(|a| a.write_scalar(&fixed)).expect("written");
    }
}

fn observations(folder: &Path) {
    let observations = Observations {
        x: values(6, 4).mapv(|value| f64::from(value as f32)),
        theta_true: Some(arr1(&[0.5, -0.5])),
        parameter_names: vec!["a".into(), "b".into()],
        observation_names: Vec::new(),
    };
    observations.write(&folder.join("obs-1.h5"), Existing::Refuse, &provenance()).expect("written");
    without_heap(&folder.join("obs-1.h5"));
    let file = hdf5::File::create(folder.join("obs-2.h5")).expect("created");
    file.new_dataset_builder().with_data(&values(6, 4)).create("x").expect("written");
    let packed =
        file.new_dataset_builder().with_data(&arr2(&[[1i16, 2, 3], [4, 5, 6]])).create("packed").expect("written");
    for (name, value) in [("scale_factor", 0.5f64), ("add_offset", 3.0), ("_FillValue", 4.0)] {
        packed.new_attr::<f64>().create(name).and_then(|a| a.write_scalar(&value)).expect("written");
    }
    let draws = Array3::from_shape_fn((2, 3, 2), |(i, j, k)| (i + j + k) as f64);
    let group = file.create_group("deep").expect("created");
    group.new_dataset_builder().with_data(&draws).chunk((1, 3, 2)).deflate(1).create("draws").expect("written");
}

fn posteriors(folder: &Path) {
    let samples = values(20, 2);
    let run = serde_json::Map::from_iter([("steps".to_owned(), 5.into()), ("method".to_owned(), "gauss".into())]);
    let observed = Some(values(3, 4).mapv(|value| value as f32));
    let names = vec!["a".into(), "$b$".into()];
    let posterior = Posterior::from_matrix(names, samples.view(), observed, run, provenance()).expect("fits");
    posterior.write(&folder.join("posterior-1.nc"), Existing::Refuse).expect("written");
    let predictive = Array3::from_elem((20, 3, 4), 0.5f32);
    let companions = Companions {
        log_likelihood: Some(values(20, 3)),
        log_posterior: Some(vec![-1.5; 20]),
        posterior_predictive: Some(predictive.clone()),
        prior: Some(values(20, 2)),
        prior_predictive: Some(predictive),
        per_observation: vec![("lapse".into(), vec![0.5; 3])],
    };
    let posterior = Posterior { companions, ..posterior };
    posterior.write(&folder.join("posterior-2.nc"), Existing::Refuse).expect("written");
}

/// Options of networks as small as they get.
fn small(architecture: Architecture) -> TrainOptions {
    let optimizer = OptimizerOptions { epochs: 2, ..OptimizerOptions::default() };
    let mut options = TrainOptions { architecture, optimizer: optimizer.clone(), ..TrainOptions::default() };
    options.network.hidden = vec![8];
    options.anchor = AnchorOptions { hidden: vec![8], optimizer: optimizer.clone(), ..AnchorOptions::default() };
    options.likelihood =
        LikelihoodOptions { hidden: vec![8], members: 2, linear: false, optimizer, ..LikelihoodOptions::default() };
    options
}

fn models(folder: &Path) {
    let theta = values(100, 2).mapv(|value| value as f32);
    let x = Array3::from_shape_fn((100, 1, 2), |(i, _, j)| theta[[i, j]] + 0.1 * ((i * 5 + j) as f32).cos());
    let key = StreamKey::root(1);
    for (name, architecture) in
        [("anchored", Architecture::Anchored), ("noise", Architecture::Noise), ("likelihood", Architecture::Likelihood)]
    {
        let options = small(architecture);
        let data = TrainingData::prepare(theta.view(), x.view(), &prior(), false, &options, key).expect("prepared");
        let model = train(&data, &options, key, &Silent).expect("trained");
        write(folder, &format!("{name}.safetensors"), model.to_bytes());
        let mut kept = Vec::new();
        let keep = |_, checkpoint: &dyn Fn() -> Checkpoint| {
            kept = checkpoint().to_bytes();
            Ok(())
        };
        let run = Resumable { fingerprint: "run", resume: None, keep: Box::new(keep) };
        train_resumable(&data, &options, key, run, &Silent).expect("trained");
        write(folder, &format!("{name}.checkpoint"), kept);
    }
    let sir = task("sir", &TaskOptions::default()).expect("built in");
    let truth: Vec<f32> = draw_truth(sir.prior(), 1).into_iter().map(|value| value as f32).collect();
    let x = observe(sir.as_ref(), &truth, 3, 1, &Silent).expect("observed");
    let options = RefineOptions { budget: Some(1000), samples: 100, ..RefineOptions::default() };
    let refined = refine(sir.as_ref(), x.view(), RefineFrom::default(), &options, 1, &Silent).expect("refined");
    write(folder, "refined.safetensors", refined.model.to_bytes());
}

fn covariances_and_simulations(folder: &Path) {
    let cache = MomentCache::new(2);
    for i in 0..3u64 {
        let x = Array2::from_elem((1, 2), i as f32);
        let estimate = Estimate { mean: vec![0.5; 2], covariance: vec![1.0, 0.2, 0.2, 1.0], pairs: i };
        cache.insert(MomentCache::key(Some(x.view()), StreamKey::root(i)), estimate);
    }
    write(folder, "covariances.safetensors", cache.to_bytes(IDENTITY));
    let output = folder.join("refined.out");
    let log = SimulationLog::open(&output, IDENTITY.into(), false).expect("opened");
    let x = values(8, 3).mapv(|value| value as f32);
    for first in [0, 8] {
        log.keep(first, values(8, 2).view(), (&x, &[true; 8])).expect("kept");
    }
    std::fs::rename(SimulationLog::path(&output), folder.join("simulations.log")).expect("renamed");
}

fn recordings(folder: &Path) {
    let samples: Vec<f64> = (0..64 * 9).map(|k| (f64::from(k) * 0.37).sin() * 20.0).collect();
    let channels = [("Oz", "uV", &samples[..]), ("O1", "mV", &samples[..])];
    Edf::new(16, 64, &channels[..1]).write(&folder.join("plain.edf"));
    let marks = [(1.0, Some(7.0), "rest"), (3.0, None, "blink")];
    Edf::new(24, 64, &channels).with_annotations(&marks).write(&folder.join("annotated.bdf"));
    let onsets: Vec<f64> = (0..9).map(|record| f64::from(record) * 1.5).collect();
    Edf::new(16, 64, &channels).discontinuous(&onsets).write(&folder.join("broken.edf"));
    let channels: &[(&str, &[f64])] = &[("Oz", &samples), ("O1", &samples)];
    BrainVision { rate: 64.0, channels, format: "INT_16", orientation: "VECTORIZED" }.write(&folder.join("input.vhdr"));
}

fn studies(folder: &Path) {
    write(folder, "study-1.toml", STUDY);
    for (name, built_in) in [("2", "jrnmm"), ("3", "benchmark"), ("4", "toy")] {
        let study = Study::built_in(built_in, Preset::Quick).expect("built in");
        write(folder, &format!("study-{name}.toml"), toml::to_string(&study).expect("TOML"));
    }
    let session = Session { seed: 1, command: "tallsbi fuzz".into(), monitor: &Silent };
    let study = Study::parse(STUDY, "study").expect("parsed");
    let results = study.run(&session, "study", &folder.join("study")).expect("ran");
    write(folder, "results.json", serde_json::to_vec(&results).expect("JSON"));
}
