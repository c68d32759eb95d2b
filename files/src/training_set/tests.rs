use super::*;
use crate::{Contents, Existing, Provenance};
use ndarray::s;
use std::path::{Path, PathBuf};

const WIDTH: usize = 3;

fn spec(rows: RowRange) -> TrainingSetSpec {
    TrainingSetSpec {
        prior: Prior::uniform(&[("a", -1.0, 1.0), ("b", 0.0, 5.0)]).unwrap(),
        dim_x: WIDTH,
        conditions: 0,
        n_obs: None,
        observation_names: ["u", "v", "w"].map(String::from).to_vec(),
        x_transform: XTransform::Identity,
        rows,
        keep: None,
        settings: Map::from_iter([("step".to_owned(), json!(0.1))]),
    }
}

fn provenance() -> Provenance {
    Provenance::new("test", 5, "toy")
}

/// Row `i` of the run: a pure function of `i`. Every seventh row is invalid.
fn row(i: u64) -> ([f32; 2], [f32; WIDTH], u8) {
    let u = (i as f32 * 0.618).fract();
    let valid = u8::from(!i.is_multiple_of(7));
    let x = if valid == 1 { [u.sin(), u * 100.0, i as f32] } else { [f32::NAN; WIDTH] };
    ([2.0 * u - 1.0, 5.0 * u], x, valid)
}

fn append(writer: &mut TrainingSetWriter, first: u64, count: u64) {
    let (mut theta, mut x, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for i in first..first + count {
        let (t, o, v) = row(i);
        theta.extend(t);
        x.extend(o);
        valid.push(v);
    }
    writer.append(&theta, &x, &valid).unwrap();
}

fn open(path: &Path, existing: Existing, rows: RowRange) -> TrainingSetWriter {
    match TrainingSetWriter::open(path, existing, spec(rows), provenance()).unwrap() {
        Opened::Writing(writer) => *writer,
        Opened::Complete(_) => panic!("nothing was written yet"),
    }
}

fn write(path: &Path, rows: RowRange, block: u64) -> Summary {
    let mut writer = open(path, Existing::Refuse, rows);
    while writer.next_row() < rows.count {
        let next = writer.next_row();
        append(&mut writer, rows.first + next, block.min(rows.count - next));
    }
    writer.finish().unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.h5");
    (folder, path)
}

const N: u64 = 40_000;

#[test]
fn round_trip_counts_and_skips_invalid_rows() {
    let (_folder, path) = folder();
    let summary = write(&path, RowRange::whole(N), 777);
    assert_eq!(summary, Summary { rows: N, invalid: N.div_ceil(7) });
    let set = TrainingSet::open(&path).unwrap();
    assert_eq!(set.spec(), &spec(RowRange::whole(N)));
    assert_eq!((set.provenance().seed, set.provenance().task.as_str()), (5, "toy"));
    assert_eq!(set.count_invalid().unwrap(), summary.invalid);
    let rows = set.load(None).unwrap();
    assert_eq!((rows.invalid, rows.theta.nrows() as u64), (summary.invalid, N - summary.invalid));
    for (at, i) in (0..N).filter(|i| !i.is_multiple_of(7)).enumerate() {
        let (theta, x, _) = row(i);
        assert_eq!(rows.theta.row(at).to_vec(), theta);
        assert_eq!(rows.x.index_axis(ndarray::Axis(0), at).iter().copied().collect::<Vec<_>>(), x);
    }
    assert_eq!(set.load(Some(10)).unwrap().theta.nrows(), 8);
}

/// The bytes of the file do not depend on how rows were handed over (the time of writing is fixed by the caller).
#[test]
fn contents_do_not_depend_on_blocks_or_shards() {
    let (folder, path) = folder();
    write(&path, RowRange::whole(N), 1 << 20);
    let digest = Contents::read(&path).unwrap().digest;
    let other = folder.path().join("other.h5");
    write(&other, RowRange::whole(N), 1001);
    assert_eq!(Contents::read(&other).unwrap().digest, digest);

    let shards: Vec<PathBuf> = (1..=3)
        .map(|index| {
            let shard = folder.path().join(format!("shard-{index}.h5"));
            write(&shard, RowRange::shard(N, index, 3).unwrap(), 5000);
            shard
        })
        .collect();
    let merged = folder.path().join("merged.h5");
    let reversed: Vec<PathBuf> = shards.iter().rev().cloned().collect();
    let (summary, rows) = merge(&reversed, &merged, Existing::Refuse, provenance(), &mut |_| true).unwrap().unwrap();
    assert!(rows.is_whole());
    assert_eq!(summary.invalid, N.div_ceil(7));
    assert_eq!(Contents::read(&merged).unwrap().digest, digest);
    assert_eq!(TrainingSet::open(&merged).unwrap().spec(), &spec(RowRange::whole(N)));

    let fails = |inputs: &[usize]| {
        let inputs: Vec<PathBuf> = inputs.iter().map(|&i| shards[i].clone()).collect();
        let target = folder.path().join("bad.h5");
        merge(&inputs, &target, Existing::Refuse, provenance(), &mut |_| true).unwrap_err().to_string()
    };
    assert!(fails(&[0, 2]).contains("are missing"), "{}", fails(&[0, 2]));
    assert!(fails(&[0, 1, 1]).contains("overlaps"), "{}", fails(&[0, 1, 1]));

    let foreign = folder.path().join("foreign.h5");
    let mut different = spec(RowRange::shard(N, 2, 3).unwrap());
    different.settings.insert("step".into(), json!(0.2));
    let Opened::Writing(mut writer) =
        TrainingSetWriter::open(&foreign, Existing::Refuse, different, provenance()).unwrap()
    else {
        panic!("new file")
    };
    append(&mut writer, N / 3, RowRange::shard(N, 2, 3).unwrap().count);
    writer.finish().unwrap();
    let message = merge(&[shards[0].clone(), foreign], &merged, Existing::Overwrite, provenance(), &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(message.contains("settings is"), "{message}");
}

#[test]
fn shards_partition_the_rows() {
    for total in [1, 5, 100, 101] {
        for shards in [1, 3, 7] {
            let mut next = 0;
            for index in 1..=shards {
                let range = RowRange::shard(total, index, shards).unwrap();
                assert_eq!(range.first, next);
                next = range.end();
            }
            assert_eq!(next, total);
        }
    }
    assert_eq!(RowRange::shard(10, 0, 3), None);
    assert_eq!(RowRange::shard(10, 4, 3), None);
}

/// Whatever is left of the staged rows after a kill, resuming gives the uninterrupted contents.
#[test]
fn resumes_after_a_kill_at_any_byte() {
    let (folder, path) = folder();
    write(&path, RowRange::whole(N), 1 << 20);
    let digest = Contents::read(&path).unwrap().digest;
    let target = folder.path().join("killed.h5");
    let partial = folder.path().join("killed.h5.partial");

    let mut writer = open(&target, Existing::Refuse, RowRange::whole(N));
    append(&mut writer, 0, N - 1000);
    let staged = std::fs::read(&partial).unwrap();
    drop(writer);
    for cut in [0, 10, 200, staged.len() / 3, staged.len() / 2, staged.len() - 1, staged.len()] {
        std::fs::write(&partial, &staged[..cut]).unwrap();
        if cut == staged.len() {
            let message = TrainingSetWriter::open(&target, Existing::Refuse, spec(RowRange::whole(N)), provenance())
                .unwrap_err()
                .to_string();
            assert!(message.contains("interrupted run"), "{message}");
            let message = TrainingSetWriter::open(
                &target,
                Existing::Resume,
                spec(RowRange::whole(N)),
                Provenance::new("", 6, "toy"),
            )
            .unwrap_err()
            .to_string();
            assert!(message.contains("seed is 5 there and 6 here"), "{message}");
        }
        let mut writer = open(&target, Existing::Resume, RowRange::whole(N));
        let next = writer.next_row();
        assert!(next < N && (cut < staged.len() || next > 0));
        append(&mut writer, next, N - next);
        writer.finish().unwrap();
        assert!(!partial.exists());
        assert_eq!(Contents::read(&target).unwrap().digest, digest);
        let again = TrainingSetWriter::open(&target, Existing::Resume, spec(RowRange::whole(N)), provenance()).unwrap();
        assert!(matches!(again, Opened::Complete(summary) if summary.rows == N));
        std::fs::remove_file(&target).unwrap();
    }
}

/// A failed assembly (here: the output's folder cannot be written) keeps the staged rows.
#[test]
fn wrong_lengths_are_refused() {
    let (_folder, path) = folder();
    let mut writer = open(&path, Existing::Refuse, RowRange::whole(10));
    assert!(writer.append(&[0.0; 4], &[0.0; 6], &[1; 3]).is_err());
    assert!(writer.append(&[0.0; 22], &[0.0; 33], &[1; 11]).is_err());
    append(&mut writer, 0, 9);
    let message = writer.finish().unwrap_err().to_string();
    assert!(message.contains("expected shape 10, found 9"), "{message}");
}

#[test]
fn several_observations_a_row() {
    let (_folder, path) = folder();
    let spec = TrainingSetSpec { n_obs: Some(4), ..spec(RowRange::whole(50)) };
    let Opened::Writing(mut writer) =
        TrainingSetWriter::open(&path, Existing::Refuse, spec.clone(), provenance()).unwrap()
    else {
        panic!("new file")
    };
    let x: Vec<f32> = (0..50 * 4 * WIDTH).map(|i| i as f32).collect();
    writer.append(&[0.5; 100], &x, &[1; 50]).unwrap();
    writer.finish().unwrap();
    let set = TrainingSet::open(&path).unwrap();
    assert_eq!(set.spec(), &spec);
    let rows = set.load(None).unwrap();
    assert_eq!(rows.x.dim(), (50, 4, WIDTH));
    assert_eq!(rows.x.iter().copied().collect::<Vec<_>>(), x);
}

/// What users write: float64, no names, no `valid`; and what they get wrong.
#[test]
fn foreign_files() {
    let (folder, path) = folder();
    let make = |name: &str, theta: (usize, usize), x: &[usize], prior: Option<&str>| {
        let path = folder.path().join(name);
        let file = hdf5::File::create(&path).unwrap();
        let theta = ndarray::Array2::<f64>::from_elem(theta, 0.5);
        file.new_dataset_builder().with_data(&theta).create("theta").unwrap();
        let x = ndarray::ArrayD::<f64>::from_elem(x, 2.0);
        file.new_dataset_builder().with_data(&x).create("x").unwrap();
        if let Some(prior) = prior {
            crate::attributes::write_text(&path, &file, "prior", prior).unwrap();
        }
        path
    };
    let prior = spec(RowRange::whole(1)).prior.to_json();
    let good = make("good.h5", (20, 2), &[20, 3], Some(&prior));
    let rows = TrainingSet::open(&good).unwrap().load(None).unwrap();
    assert_eq!((rows.theta.dim(), rows.x.dim(), rows.invalid), ((20, 2), (20, 1, 3), 0));

    let one_value = TrainingSet::open(&make("one.h5", (20, 2), &[20], Some(&prior))).unwrap().load(None).unwrap();
    assert_eq!((one_value.theta.dim(), one_value.x.dim()), ((20, 2), (20, 1, 1)));

    let message = |path: &Path| match TrainingSet::open(path) {
        Err(error) => error.to_string(),
        Ok(set) => set.load(None).unwrap_err().to_string(),
    };
    let cases = [
        (make("prior.h5", (20, 2), &[20, 3], None), r#"[{"name":"theta1","dist":"uniform""#),
        (make("dist.h5", (20, 2), &[20, 3], Some(r#"[{"name":"a","dist":"weibull"}]"#)), "unknown variant `weibull`"),
        (
            make("width.h5", (20, 3), &[20, 3], Some(&prior)),
            "expected shape (N, 2) for a prior over a, b, found (20, 3)",
        ),
        (make("rows.h5", (20, 2), &[19, 3], Some(&prior)), "as theta has 20 rows, found (19, 3)"),
        (make("flat.h5", (20, 2), &[19], Some(&prior)), "(20, d) or (20, K, d)"),
        (
            make(
                "support.h5",
                (20, 2),
                &[20, 3],
                Some(
                    r#"[{"name":"a","dist":"uniform","low":0,"high":0.1},{"name":"b","dist":"uniform","low":0,"high":1}]"#,
                ),
            ),
            "row 0 has a = 0.5, outside the prior's [0, 0.1]",
        ),
        (folder.path().join("none.h5"), "no such file"),
        (folder.path().to_owned(), "is a directory"),
    ];
    for (path, expected) in cases {
        let message = message(&path);
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
    }

    write(&path, RowRange::whole(N), N);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(&path).contains("truncated"), "{}", message(&path));
    std::fs::write(&path, b"theta,x\n1,2\n").unwrap();
    assert!(message(&path).contains("not an HDF5"), "{}", message(&path));

    let file = hdf5::File::create(&path).unwrap();
    file.new_dataset_builder().with_data(&ndarray::Array2::<f32>::zeros((1, 1))).create("theta").unwrap();
    drop(file);
    assert!(
        message(&path).contains("has no dataset x") && message(&path).contains("it has theta"),
        "{}",
        message(&path)
    );
}

#[test]
fn rows_with_nan_are_skipped_and_counted() {
    let (_folder, path) = folder();
    let file = hdf5::File::create(&path).unwrap();
    let mut x = ndarray::Array2::<f32>::zeros((6, 2));
    x[[1, 1]] = f32::NAN;
    x[[4, 0]] = f32::INFINITY;
    file.new_dataset_builder().with_data(&ndarray::Array2::<f32>::zeros((6, 2))).create("theta").unwrap();
    file.new_dataset_builder().with_data(&x).create("x").unwrap();
    crate::attributes::write_text(&path, &file, "prior", &spec(RowRange::whole(1)).prior.to_json()).unwrap();
    drop(file);
    let set = TrainingSet::open(&path).unwrap();
    assert_eq!(set.count_invalid().unwrap(), 2);
    let rows = set.load(None).unwrap();
    assert_eq!((rows.invalid, rows.x.dim()), (2, (4, 1, 2)));
}

/// Conditions of other tools stand apart, ours are the first columns of x: read alike, also packed.
#[test]
fn conditions_come_before_what_was_observed() {
    let (folder, path) = folder();
    let own = TrainingSetSpec { conditions: 1, ..spec(RowRange::whole(20)) };
    let Opened::Writing(mut writer) =
        TrainingSetWriter::open(&path, Existing::Refuse, own.clone(), provenance()).unwrap()
    else {
        panic!("new file")
    };
    append(&mut writer, 0, 20);
    writer.finish().unwrap();
    assert_eq!(TrainingSet::open(&path).unwrap().spec(), &own);

    let prior = own.prior.to_json();
    let make = |name: &str, x: &[usize], conditions: &[usize], scale: Option<f64>| {
        let path = folder.path().join(name);
        let file = hdf5::File::create(&path).unwrap();
        let theta = ndarray::Array2::<f64>::from_elem((20, 2), 0.5);
        file.new_dataset_builder().with_data(&theta).create("theta").unwrap();
        let x = ndarray::ArrayD::<f64>::from_elem(x, 2.0);
        file.new_dataset_builder().with_data(&x).create("x").unwrap();
        let size: usize = conditions.iter().product();
        let values = ndarray::ArrayD::from_shape_vec(conditions, (0..size).map(|i| i as f64).collect()).unwrap();
        let dataset = file.new_dataset_builder().with_data(&values).create("conditions").unwrap();
        if let Some(scale) = scale {
            dataset.new_attr::<f64>().create("scale_factor").unwrap().write_scalar(&scale).unwrap();
        }
        crate::attributes::write_text(&path, &file, "prior", &prior).unwrap();
        crate::attributes::write_text(&path, &file, "observation_names", r#"["u","v"]"#).unwrap();
        path
    };
    let plain = TrainingSet::open(&make("plain.h5", &[20, 2], &[20, 1], None)).unwrap();
    assert_eq!((plain.spec().conditions, plain.spec().dim_x), (1, 3));
    assert_eq!(plain.spec().observation_names, ["condition1", "u", "v"]);
    let rows = plain.load(None).unwrap();
    assert_eq!(rows.x.slice(s![7, 0, ..]).to_vec(), [7.0, 2.0, 2.0]);
    let packed = TrainingSet::open(&make("packed.h5", &[20, 2], &[20, 1], Some(0.5))).unwrap();
    assert_eq!(packed.load(None).unwrap().x.slice(s![7, 0, ..]).to_vec(), [3.5, 2.0, 2.0]);
    let several = TrainingSet::open(&make("several.h5", &[20, 4, 2], &[20, 4, 1], None)).unwrap();
    assert_eq!(several.load(None).unwrap().x.slice(s![2, 3, ..]).to_vec(), [11.0, 2.0, 2.0]);
    // One row of conditions for all observations of a parameter.
    let shared = TrainingSet::open(&make("shared.h5", &[20, 4, 2], &[20, 1], None)).unwrap();
    assert_eq!(shared.load(None).unwrap().x.slice(s![2, .., 0]).to_vec(), [2.0; 4]);
    let error = TrainingSet::open(&make("short.h5", &[20, 2], &[19, 1], None)).unwrap_err().to_string();
    assert!(error.contains("conditions: expected shape (20, c), one row for each of x, found (19, 1)"), "{error}");
}
