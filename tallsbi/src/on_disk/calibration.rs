//! Calibration pairs and posteriors in files, before anything is drawn for them: whether they can be what they are given for.

use super::read_pairs;
use crate::{Error, Model, Result, Simulations, calibration};
use ndarray::ArrayView2;
use std::path::Path;
use tallsbi_files::{FileKind, MatrixSource, Posterior, kind_of, sha256_file};

fn refused(origin: impl std::fmt::Display, message: String) -> Error {
    Error::Input { origin: origin.to_string(), message }
}

/// The calibration pairs of a training set, at most the first `limit` of its rows, for a check of `model`, or of other posteriors, that takes no fewer than `fewest`.
///
/// # Errors
/// When the file cannot be read, has too few valid rows or the same value of a parameter in all, or is not of the model's task.
pub fn read_calibration(path: &Path, limit: Option<u64>, model: Option<&Model>, fewest: usize) -> Result<Simulations> {
    let pairs = read_pairs(path, limit)?;
    if let Some(model) = model {
        calibration::check_pairs(model, &pairs).map_err(|error| match error {
            Error::Shape { expected, found, .. } => {
                let found = format!("{found}; simulate it with the model's task");
                Error::Shape { what: path.display().to_string(), expected, found }
            }
            other => other,
        })?;
    }
    let rows = pairs.valid.len() - pairs.invalid();
    if rows < fewest {
        return Err(Error::FewPairs { origin: path.display().to_string(), rows, fewest });
    }
    for (name, column) in pairs.prior.names().iter().zip(pairs.theta.columns()) {
        let mut values = column.iter().zip(&pairs.valid).filter_map(|(value, &valid)| valid.then_some(value));
        let first = values.next().copied().unwrap_or_default();
        if values.all(|&value| value == first) {
            let message = format!("{name} is {first} in every row; draw the parameters from the prior");
            return Err(refused(path.display(), message));
        }
    }
    Ok(pairs)
}

/// Whether `model` says that it was made from this file.
///
/// # Errors
/// When the file cannot be read.
pub fn is_parent(path: &Path, model: &Model) -> Result<bool> {
    let digest = sha256_file(path)?;
    let parents = model.trained().info.provenance["parents"].as_array();
    Ok(parents.into_iter().flatten().any(|parent| parent["sha256"] == digest.as_str()))
}

/// Refuses samples of a posterior whose file says that it is of another model than that in the file `model`, or given other observations than these (n, d).
///
/// # Errors
/// If so, or when a file cannot be read.
pub fn check_given(source: &str, model: Option<&Path>, observations: ArrayView2<'_, f64>) -> Result<()> {
    let path = MatrixSource::parse(source).path;
    if !matches!(kind_of(&path), Ok(Some(FileKind::Posterior))) {
        return Ok(());
    }
    let posterior = Posterior::read(&path)?;
    if let Some(x) = &posterior.observations {
        if x.nrows() != observations.nrows() {
            let (origin, given, found) = (source.into(), x.nrows(), observations.nrows());
            return Err(Error::OtherCount { origin, given, found });
        }
        let same = x.iter().zip(observations).all(|(&theirs, &ours)| theirs == ours as f32);
        if x.dim() != observations.dim() || !same {
            let message = "is the posterior given other observations; give the ones that it was sampled with";
            return Err(refused(source, message.into()));
        }
    }
    let Some(model) = model else { return Ok(()) };
    let digest = sha256_file(model)?;
    let parents = &posterior.provenance.parents;
    let of_a_model = parents.iter().any(|parent| parent.path.ends_with(".safetensors"));
    if of_a_model && !parents.iter().any(|parent| parent.sha256 == digest) {
        let model = model.display();
        let message = format!("was sampled from another model than {model}; give the one it was sampled from");
        return Err(refused(source, message));
    }
    Ok(())
}
