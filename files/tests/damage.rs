//! Files of ours with damage: whatever changes a number is refused.

use ndarray::{Array2, arr1};
use std::path::{Path, PathBuf};
use tallsbi_data::{Prior, StreamKey, XTransform};
use tallsbi_files::{
    Companions, Existing, FileError, Observations, Opened, Posterior, Provenance, Result, RowRange, TrainingSet,
    TrainingSetSpec, TrainingSetWriter,
};

/// Flips of single bits, one file after the other.
const FLIPS: u64 = 1000;

/// What stands before the digest at the end of a file.
const MARK: &[u8] = b"tallsbi-sha256";

/// Every flipped bit is refused, or leaves all that is read as it was.
fn flipped_bits_change_nothing<T: PartialEq>(path: &Path, read: impl Fn(&Path) -> Result<T>) {
    let good = std::fs::read(path).unwrap();
    let expected = read(path).unwrap();
    let mut harmless = 0;
    for i in 0..FLIPS {
        let bit = StreamKey::root(3).seed(i) as usize % (8 * good.len());
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, &flipped).unwrap();
        match read(path) {
            Ok(found) => {
                harmless += 1;
                assert!(found == expected, "bit {bit} of {}", 8 * good.len());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("is damaged") || text.contains("is not an HDF5"), "{text}");
            }
        }
    }
    // Only what marks the digest may be hit without harm.
    assert!(harmless < FLIPS / 50, "{harmless}");
}

fn provenance() -> Provenance {
    Provenance::new("test", 5, "toy")
}

fn observations(folder: &Path) -> PathBuf {
    let x = Array2::from_shape_fn((40, 3), |(i, j)| ((3 * i + j) as f32 * 0.37).sin());
    let observations = Observations {
        x: x.mapv(f64::from),
        theta_true: Some(arr1(&[0.5, -1.0])),
        parameter_names: vec!["a".into(), "b".into()],
        observation_names: Vec::new(),
    };
    let path = folder.join("obs.h5");
    observations.write(&path, Existing::Refuse, &provenance()).unwrap();
    path
}

fn training_set(folder: &Path) -> PathBuf {
    const ROWS: usize = 300;
    let path = folder.join("train.h5");
    let spec = TrainingSetSpec {
        prior: Prior::uniform(&[("a", -1.0, 1.0), ("b", 0.0, 5.0)]).unwrap(),
        dim_x: 3,
        conditions: 0,
        n_obs: None,
        observation_names: Vec::new(),
        x_transform: XTransform::Identity,
        rows: RowRange::whole(ROWS as u64),
        keep: None,
        settings: serde_json::Map::default(),
    };
    let Opened::Writing(mut writer) = TrainingSetWriter::open(&path, Existing::Refuse, spec, provenance()).unwrap()
    else {
        panic!("a new set")
    };
    let values = |columns: usize| -> Vec<f32> { (0..columns * ROWS).map(|i| (i as f32 * 0.61).sin().abs()).collect() };
    let valid: Vec<u8> = (0..ROWS).map(|row| u8::from(row % 7 != 0)).collect();
    writer.append(&values(2), &values(3), &valid).unwrap();
    writer.finish().unwrap();
    path
}

fn posterior(folder: &Path) -> PathBuf {
    let path = folder.join("p.nc");
    let samples = Array2::from_shape_fn((50, 2), |(i, j)| f64::from((2 * i + j) as u32).sqrt());
    let names = vec!["a".into(), "b".into()];
    let run = serde_json::Map::default();
    let posterior = Posterior::from_matrix(names, samples.view(), None, run, provenance()).unwrap();
    let companions = Companions { log_likelihood: Some(samples), ..Companions::default() };
    Posterior { companions, ..posterior }.write(&path, Existing::Refuse).unwrap();
    path
}

#[test]
fn observations_with_a_flipped_bit() {
    let folder = tempfile::tempdir().unwrap();
    flipped_bits_change_nothing(&observations(folder.path()), Observations::read);
}

#[test]
fn training_sets_with_a_flipped_bit() {
    let folder = tempfile::tempdir().unwrap();
    flipped_bits_change_nothing(&training_set(folder.path()), |path| {
        let set = TrainingSet::open(path)?;
        Ok::<_, FileError>((set.spec().clone(), set.provenance().clone(), set.load(None)?))
    });
}

#[test]
fn posteriors_with_a_flipped_bit() {
    let folder = tempfile::tempdir().unwrap();
    flipped_bits_change_nothing(&posterior(folder.path()), Posterior::read);
}

/// A program that writes into a file of ours leaves one without a digest, as older versions do.
#[test]
fn files_that_were_changed_on_purpose_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = |path: &Path| std::fs::read(path).unwrap().windows(MARK.len()).any(|window| window == MARK);
    let path = observations(folder.path());
    assert!(sealed(&path));
    let file = hdf5::File::open_rw(&path).unwrap();
    let x = Array2::from_elem((40, 3), 2.5f32);
    file.dataset("x").unwrap().write(&x).unwrap();
    file.close().unwrap();
    assert_eq!(Observations::read(&path).unwrap().x, x.mapv(f64::from));
    assert!(!sealed(&path));
    let path = posterior(folder.path());
    let mut file = netcdf::append(&path).unwrap();
    file.add_attribute("note", "seen").unwrap();
    file.close().unwrap();
    assert!(Posterior::read(&path).is_ok() && !sealed(&path));
}
