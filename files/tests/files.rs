//! Observations, posteriors and matrices on disk, as users of the library see them.

use ndarray::{Array1, Array2, Array3, array};
use std::path::Path;
use tallsbi_files::{
    Companions, Contents, Existing, FileKind, MatrixSource, Observations, OutputFile, Posterior, Provenance,
    RunAttributes, TrainingSet, kind_of, sha256_file,
};

fn provenance() -> Provenance {
    Provenance::new("tallsbi test --flag", 7, "slcp")
}

fn posterior() -> Posterior {
    let run: RunAttributes = [
        ("method", "gauss".into()),
        ("steps", 50.into()),
        ("eta", 0.2.into()),
        ("clip", false.into()),
        ("note", "".into()),
    ]
    .into_iter()
    .map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value))
    .collect();
    Posterior {
        companions: Companions::default(),
        parameter_names: vec!["sigma".into(), "a b".into(), "C".into()],
        samples: Array3::from_shape_fn((2, 50, 3), |(c, i, j)| c as f64 * 1000.0 + i as f64 + 0.1 * j as f64),
        observations: Some(Array2::from_shape_fn((4, 2), |(i, j)| (i * 2 + j) as f32)),
        run,
        provenance: provenance(),
    }
}

fn observations() -> Observations {
    Observations {
        x: array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        theta_true: Some(array![0.5, -0.5, 9.0]),
        parameter_names: vec!["a".into(), "b".into(), "c".into()],
        observation_names: Vec::new(),
    }
}

#[test]
fn posterior_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posterior.nc");
    let written = posterior();
    written.write(&path, Existing::Refuse).unwrap();
    let mut read = Posterior::read(&path).unwrap();
    // netCDF has no booleans.
    assert_eq!(read.run.insert("clip".into(), false.into()), Some(serde_json::Value::Bool(false)));
    assert_eq!(read, written);
    assert_eq!(read.matrix().dim(), (100, 3));
    assert_eq!(read.matrix().row(50).to_vec(), vec![1000.0, 1000.1, 1000.2]);
    assert_eq!(kind_of(&path).unwrap(), Some(FileKind::Posterior));
    let message = written.write(&path, Existing::Refuse).unwrap_err().to_string();
    assert!(message.contains("exists already"), "{message}");
}

/// Groups beside the samples have their chains, and each says what ArviZ recommends that it should.
#[test]
fn groups_have_chains_and_say_what_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posterior.nc");
    let companions = Companions {
        log_likelihood: Some(Array2::from_shape_fn((100, 4), |(i, k)| -(i as f64) - 0.1 * k as f64)),
        log_posterior: Some((0..100).map(|i| -0.5 * f64::from(i)).collect()),
        posterior_predictive: Some(Array3::from_shape_fn((100, 4, 2), |(i, k, j)| (i * 8 + k * 2 + j) as f32)),
        prior: Some(Array2::from_shape_fn((30, 3), |(i, j)| (3 * i + j) as f64)),
        prior_predictive: Some(Array3::from_elem((30, 4, 2), 0.5)),
        per_observation: vec![("p_value".into(), vec![0.5; 4])],
    };
    let mut written = Posterior { companions, ..posterior() };
    written.run.remove("clip");
    written.write(&path, Existing::Refuse).unwrap();
    assert_eq!(Posterior::read(&path).unwrap(), written);
    let file = hdf5::File::open(&path).unwrap();
    let shape = |name: &str| file.dataset(name).unwrap().shape();
    assert_eq!(shape("sample_stats/lp"), [2, 50]);
    assert_eq!(shape("log_likelihood/x"), [2, 50, 4]);
    assert_eq!((shape("posterior_predictive/x"), shape("prior_predictive/x")), (vec![2, 50, 4, 2], vec![1, 30, 4, 2]));
    let second = file.dataset("sample_stats/lp").unwrap().read_2d::<f64>().unwrap().row(1).to_vec();
    assert_eq!(second, written.companions.log_posterior.as_ref().unwrap()[50..]);
    let library = ["inference_library", "inference_library_version", "creation_library", "creation_library_version"];
    for group in file.groups().unwrap() {
        let has = |name: &str| group.attr_names().unwrap().iter().any(|found| found == name);
        for name in library.iter().chain(&["creation_library_language", "created_at"]) {
            assert!(has(name), "{}: {name}", group.name());
        }
        let drawn = !["/observed_data", "/constant_data"].contains(&group.name().as_str());
        assert_eq!(has("sample_dims"), drawn, "{}", group.name());
    }
    let dims = file.group("posterior").unwrap().attr("sample_dims").unwrap();
    let dims: Vec<hdf5::types::VarLenUnicode> = dims.read_raw().unwrap();
    assert_eq!(dims.iter().map(|dim| dim.as_str()).collect::<Vec<_>>(), ["chain", "draw"]);

    written.companions.log_posterior = Some(vec![0.0; 99]);
    let message = written.write(&folder.path().join("p.nc"), Existing::Refuse).unwrap_err().to_string();
    assert!(message.contains("its group sample_stats would have 99 rows or columns for 100"), "{message}");
}

#[test]
fn names_that_are_not_told_apart_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sigma", ""] {
        let mut posterior = posterior();
        posterior.parameter_names[1] = name.into();
        let message = posterior.write(&folder.path().join("p.nc"), Existing::Refuse).unwrap_err().to_string();
        assert!(message.contains("cannot be told from others"), "{message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn observations_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("obs.h5");
    let written = observations();
    written
        .write(&path, Existing::Refuse, &provenance().with_parent(Path::new(file!())).unwrap_or_else(|_| provenance()))
        .unwrap();
    assert_eq!(Observations::read(&path).unwrap(), written);
    let single = |path: &Path| hdf5::File::open(path).unwrap().dataset("x").unwrap().dtype().unwrap().size() == 4;
    assert!(single(&path));
    // Digits that single precision does not have.
    let fine = Observations { x: array![[1.7e9 + 0.25], [1.7e9 - 1.5]], ..written };
    let path = folder.path().join("fine.h5");
    fine.write(&path, Existing::Refuse, &provenance()).unwrap();
    assert_eq!(Observations::read(&path).unwrap(), fine);
    assert!(!single(&path));
    let path = folder.path().join("obs.h5");
    assert!(matches!(Posterior::read(&path), Err(tallsbi_files::FileError::Kind { .. })));
    assert!(matches!(TrainingSet::open(&path), Err(tallsbi_files::FileError::Kind { .. })));
}

#[test]
fn nan_observations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("obs.h5");
    let mut bad = observations();
    bad.x[[1, 0]] = f64::NAN;
    let message = bad.write(&path, Existing::Refuse, &provenance()).unwrap_err().to_string();
    assert!(message.contains("NaN or infinite values: 1 (first in row 1, counted from 0)"), "{message}");
    let file = hdf5::File::create(&path).unwrap();
    file.new_dataset_builder().with_data(&bad.x).create("x").unwrap();
    drop(file);
    let message = Observations::read(&path).unwrap_err().to_string();
    assert!(message.contains("first in row 1"), "{message}");
}

#[test]
fn matrices_from_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    posterior().write(&at("p.nc"), Existing::Refuse).unwrap();
    observations().write(&at("o.h5"), Existing::Refuse, &provenance()).unwrap();
    let file = hdf5::File::create(at("r.h5")).unwrap();
    let cube = Array3::from_shape_fn((5, 4, 3), |(k, i, j)| (100 * k + 10 * i + j) as f32);
    let group = file.create_group("posterior").unwrap();
    group.new_dataset_builder().with_data(&cube).create("n30").unwrap();
    let theta = Array2::from_shape_fn((5, 3), |(k, j)| (100 * k + j) as f32);
    file.new_dataset_builder().with_data(&theta).create("theta_true").unwrap();
    drop((group, file));
    std::fs::write(at("m.csv"), "a,b\n1,2\n3.5,-4e2\n").unwrap();
    std::fs::write(at("plain.csv"), "1 2 3\n").unwrap();

    let read = |text: String| MatrixSource::parse(&text).read();
    let show = |name: &str| at(name).display().to_string();
    assert_eq!(read(show("p.nc")).unwrap().values, posterior().matrix());
    assert_eq!(read(show("p.nc")).unwrap().names, posterior().parameter_names);
    let o = read(show("o.h5")).unwrap();
    assert_eq!((o.values[[2, 1]], o.theta_true), (6.0, Some(array![0.5, -0.5, 9.0])));
    let r = read(format!("{}:posterior/n30:3", show("r.h5"))).unwrap();
    assert_eq!((r.values.dim(), r.values[[1, 2]]), ((4, 3), 312.0));
    assert_eq!(r.theta_true, Some(Array1::from(vec![300.0, 301.0, 302.0])));
    assert_eq!(read(format!("{}:theta_true", show("r.h5"))).unwrap().values.dim(), (5, 3));
    let csv = read(show("m.csv")).unwrap();
    assert_eq!((csv.values, csv.names), (array![[1.0, 2.0], [3.5, -400.0]], vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(read(show("plain.csv")).unwrap().values, array![[1.0, 2.0, 3.0]]);

    std::fs::write(at("bad.csv"), "1,2\n3,x\n").unwrap();
    std::fs::write(at("ragged.csv"), "1,2\n3\n").unwrap();
    std::fs::write(at("empty.csv"), "").unwrap();
    let cases = [
        (format!("{}:posterior/n30", show("r.h5")), "select one of its 5 matrices"),
        (format!("{}:posterior/n30:5", show("r.h5")), "the index must be 0 to 4"),
        (format!("{}:theta_true:1", show("r.h5")), "three dimensions"),
        (format!("{}:posterior/n30:last", show("r.h5")), "has no dataset posterior/n30:last"),
        (format!("{}:nope", show("r.h5")), "it has posterior/n30, theta_true"),
        (show("r.h5"), "say which dataset"),
        (show("bad.csv"), "line 2: \"x\" is not a number"),
        (show("ragged.csv"), "line 2 has 1 columns, the lines before it 2"),
        (show("empty.csv"), "holds no numbers"),
        (show("missing.h5"), "no such file"),
        (show("missing.csv"), "no such file"),
    ];
    for (text, expected) in cases {
        let message = read(text).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
    }
}

/// The digest is of the numbers: neither the time nor the command matters, one changed number does.
#[test]
fn digest_is_of_the_contents() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |name: &str, observations: &Observations, command: &str| {
        let path = folder.path().join(name);
        observations.write(&path, Existing::Refuse, &Provenance::new(command, 1, "")).unwrap();
        Contents::read(&path).unwrap().digest
    };
    let first = digest("a.h5", &observations(), "one");
    assert_eq!(digest("b.h5", &observations(), "two"), first);
    let mut changed = observations();
    changed.x[[0, 0]] = 1.000_000_1;
    assert_ne!(digest("c.h5", &changed, "one"), first);
}

#[test]
fn checksums_and_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    OutputFile::write(&path, Existing::Refuse, b"abc").unwrap();
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_file(&path).unwrap(), expected);
    assert_eq!(provenance().with_parent(&path).unwrap().parents[0].sha256, expected);
    assert!(kind_of(&path).is_err());
}

#[test]
fn files_say_which_vector_instructions_they_were_made_with() {
    let made = provenance();
    assert!(["avx512", "avx2", std::env::consts::ARCH].contains(&made.instruction_set.as_str()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.h5");
    observations().write(&path, Existing::Refuse, &made).unwrap();
    let contents = Contents::read(&path).unwrap();
    assert_eq!(contents.provenance.unwrap().instruction_set, made.instruction_set);
    assert!(!contents.attributes.contains_key("instruction_set"), "said once");
}

/// Many threads in HDF5 and netCDF at once.
#[test]
fn threads_do_not_collide() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                for round in 0..5 {
                    let nc = folder.join(format!("{thread}-{round}.nc"));
                    posterior().write(&nc, Existing::Refuse).unwrap();
                    assert_eq!(Posterior::read(&nc).unwrap().samples, posterior().samples);
                    let h5 = folder.join(format!("{thread}-{round}.h5"));
                    observations().write(&h5, Existing::Refuse, &provenance()).unwrap();
                    assert_eq!(Observations::read(&h5).unwrap(), observations());
                }
            });
        }
    });
}

/// Names of all kinds are kept, whatever netCDF makes of them.
#[test]
fn posteriors_keep_the_names_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posterior.nc");
    let names: Vec<String> =
        ["$g$", "\\beta", "(x)", "%", "-x", "a/b", "chain", "plain", "µ", "g"].map(String::from).into();
    let samples = Array2::from_shape_fn((5, names.len()), |(i, j)| (10 * i + j) as f64);
    let provenance = Provenance::new("test", 0, "");
    let posterior =
        Posterior::from_matrix(names.clone(), samples.view(), None, RunAttributes::new(), provenance).unwrap();
    posterior.write(&path, Existing::Refuse).unwrap();
    let read = Posterior::read(&path).unwrap();
    assert_eq!((&read.parameter_names, read.matrix()), (&names, samples));
    let file = hdf5::File::open(&path).unwrap();
    assert!(file.link_exists("posterior/beta") && file.link_exists("posterior/g_2") && file.link_exists("posterior/µ"));
}

/// ArviZ files of others: variables without a list of names, some with more dimensions.
#[test]
fn foreign_posteriors_are_read_without_a_list_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.nc");
    let file = hdf5::File::create(&path).unwrap();
    let group = file.create_group("posterior").unwrap();
    group.new_dataset_builder().with_data(&ndarray::arr1(&[0i64, 1])).create("chain").unwrap();
    let vector = ndarray::Array3::from_shape_fn((2, 3, 2), |(i, j, k)| (100 * i + 10 * j + k) as f64);
    group.new_dataset_builder().with_data(&vector).create("mu").unwrap();
    group
        .new_dataset_builder()
        .with_data(&vector.index_axis(ndarray::Axis(2), 1).as_standard_layout())
        .create("a")
        .unwrap();
    drop((group, file));
    let read = MatrixSource::parse(path.to_str().unwrap()).read().unwrap();
    assert_eq!(read.names, ["a", "mu[0]", "mu[1]"]);
    assert_eq!(read.values.row(4).to_vec(), [111.0, 110.0, 111.0]);
}

/// Packed integers with a mark for what is missing, as xarray writes them; double precision keeps its digits.
#[test]
fn packed_numbers_and_large_offsets_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.h5");
    let file = hdf5::File::create(&path).unwrap();
    let packed = ndarray::arr2(&[[100i16, 250], [-32768, 7], [101, 251]]);
    let x = file.new_dataset_builder().with_data(&packed).create("x").unwrap();
    for (name, value) in [("scale_factor", 0.01f64), ("add_offset", 1.7e9), ("_FillValue", -32768.0)] {
        x.new_attr::<f64>().create(name).unwrap().write_scalar(&value).unwrap();
    }
    let theta = ndarray::arr2(&[[0.1f64], [0.2], [0.3]]);
    file.new_dataset_builder().with_data(&theta).create("theta").unwrap();
    let prior = r#"[{"name":"a","dist":"normal","loc":0,"scale":1}]"#;
    let prior: hdf5::types::VarLenUnicode = prior.parse().unwrap();
    file.new_attr::<hdf5::types::VarLenUnicode>().create("prior").unwrap().write_scalar(&prior).unwrap();
    drop((x, file));
    let set = TrainingSet::open(&path).unwrap();
    let rows = set.load_less(&[1.7e9, 1.7e9 + 2.0], None).unwrap();
    assert_eq!((rows.invalid, rows.x.len()), (1, 4));
    for (found, expected) in rows.x.iter().zip([1.0f32, 0.5, 1.01, 0.51]) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let error = MatrixSource::parse(path.to_str().unwrap()).read().unwrap_err().to_string();
    assert!(error.contains("training-set by its datasets theta and x"), "{error}");
    let observed = MatrixSource::parse(&format!("{}:x", path.display())).read();
    assert!(observed.unwrap_err().to_string().contains("NaN"), "a masked value is none");
}
