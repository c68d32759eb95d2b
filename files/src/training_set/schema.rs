//! What a training set must have: its datasets, their shapes, names and prior.

use crate::matrix::no_numbers;
use crate::{FileError, Result, attributes, file_error};
use hdf5::Dataset;
use hdf5::types::TypeDescriptor;
use std::path::Path;
use tallsbi_data::Prior;

/// The dataset `name`, of numbers.
pub(super) fn dataset(path: &Path, file: &hdf5::File, name: &str, what: &str) -> Result<Dataset> {
    if !file.link_exists(name) {
        let found: Vec<String> = file.member_names().unwrap_or_default();
        let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
        return Err(file_error(path, format!("has no dataset {name} ({what}); it has {found}")));
    }
    let dataset = file.dataset(name).map_err(|_| file_error(path, format!("{name} is not a dataset")))?;
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()) {
        Ok(TypeDescriptor::Float(_) | TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => Ok(dataset),
        Ok(TypeDescriptor::Boolean) if name == "valid" => Ok(dataset),
        kind => Err(no_numbers(path, name, kind)),
    }
}

pub(super) fn read_prior(path: &Path, file: &hdf5::File, columns: Option<usize>) -> Result<Prior> {
    let Some(json) = attributes::text(path, file, "prior")? else {
        let example: Vec<String> = (1..=columns.unwrap_or(2).clamp(1, 3))
            .map(|i| format!(r#"{{"name":"theta{i}","dist":"uniform","low":-1,"high":1}}"#))
            .collect();
        let more = if columns.unwrap_or(0) > 3 { ",…" } else { "" };
        return Err(file_error(
            path,
            format!(
                "has no attribute prior; set it on the file to a JSON list with one entry a column of theta, such as [{}{more}] \
                 (dist is one of uniform: low, high; normal, lognormal: loc, scale; multivariate_normal: names, loc, covariance)",
                example.join(",")
            ),
        ));
    };
    Prior::from_json(&json).map_err(|error| {
        let text = error.to_string();
        file_error(path, format!("attribute prior: {}", text.strip_prefix("prior: ").unwrap_or(&text)))
    })
}

/// The shape of a dataset with a row for each simulation: one dimension, (N), is one value a row.
pub(super) fn shape_of(dataset: &Dataset) -> Vec<usize> {
    let shape = dataset.shape();
    if shape.len() == 1 { vec![shape[0], 1] } else { shape }
}

/// Checks that the datasets fit each other and the prior, theta and x with [a row for each simulation](shape_of); returns N.
pub(super) fn check_shapes(
    path: &Path,
    prior: &Prior,
    theta: &[usize],
    x: &[usize],
    valid: Option<&[usize]>,
) -> Result<usize> {
    let hinted = |what: &str, expected: String, found: &[usize], hint: &str| {
        let shape = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(FileError::Shape {
            what: format!("{}: {what}", path.display()),
            expected,
            found: format!("({shape}){hint}"),
        })
    };
    let shape = |what: &str, expected, found: &[usize]| hinted(what, expected, found, "");
    let m = prior.dim();
    if theta.len() != 2 || theta[1] != m {
        let turned = theta.len() == 2 && theta[0] == m;
        let hint = if turned { "; transpose theta and x (MATLAB, R and Julia write HDF5 so)" } else { "" };
        return hinted("theta", format!("(N, {m}) for a prior over {}", prior.names().join(", ")), theta, hint);
    }
    let n = theta[0];
    if n == 0 {
        return Err(file_error(path, "has no rows"));
    }
    if !(2..=3).contains(&x.len()) || x[0] != n || x.contains(&0) {
        return shape("x", format!("({n}, d) or ({n}, K, d) as theta has {n} rows"), x);
    }
    match valid {
        Some(valid) if valid != [n] => shape("valid", format!("({n})"), valid),
        _ => Ok(n),
    }
}

/// Number of conditions in a dataset of them, (N, c), or (N, K, c) where x has K observations a row.
pub(super) fn condition_columns(path: &Path, found: &[usize], x: &[usize]) -> Result<usize> {
    let fits = match found {
        [n, c] => *n == x[0] && *c > 0,
        [n, k, c] => *n == x[0] && *c > 0 && x.len() == 3 && *k == x[1],
        _ => false,
    };
    if fits {
        return Ok(found[found.len() - 1]);
    }
    let shape = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(FileError::Shape {
        what: format!("{}: conditions", path.display()),
        expected: format!("({}, c), one row for each of x", x[0]),
        found: format!("({shape})"),
    })
}

pub(super) fn check_names(path: &Path, what: &str, names: &[String], expected: usize) -> Result<()> {
    if names.is_empty() || names.len() == expected {
        return Ok(());
    }
    Err(FileError::Shape {
        what: format!("{}: attribute {what}", path.display()),
        expected: format!("{expected} names"),
        found: names.len().to_string(),
    })
}
