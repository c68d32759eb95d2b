//! Observations to condition on.

use super::matrix::Gaps;
use super::output::not_written;
use super::provenance::expect_kind;
use super::{Existing, FileKind, OutputFile, Provenance, attributes, failed, file_error, open_hdf5};
use crate::{FileError, Result};
use ndarray::{Array1, Array2, ArrayView2};
use std::path::Path;

/// Observations x_1..x_n of one system, with the true parameters where they are known (simulated observations).
#[derive(Debug, Clone, PartialEq)]
pub struct Observations {
    /// Observations, one a row (n, d). Their file has single precision if that holds them all, as simulations do, else double.
    pub x: Array2<f64>,
    /// True parameters (m).
    pub theta_true: Option<Array1<f32>>,
    /// Names of the parameters; may be empty.
    pub parameter_names: Vec<String>,
    /// Names of the values of an observation; may be empty.
    pub observation_names: Vec<String>,
}

impl Observations {
    /// Writes an observations file.
    ///
    /// # Errors
    /// When there is nothing to write, values are not finite, or the file cannot be written.
    pub fn write(&self, target: &Path, existing: Existing, provenance: &Provenance) -> Result<()> {
        check_finite(&format!("{}: x", target.display()), self.x.view(), Gaps::Refused)?;
        if self.x.is_empty() {
            return Err(file_error(target, "no observations to write"));
        }
        let output = OutputFile::create(target, existing)?;
        self.fill(output.path(), provenance).map_err(|error| not_written(target, &error))?;
        output.commit_sealed()
    }

    /// Writes everything to a new file.
    fn fill(&self, path: &Path, provenance: &Provenance) -> Result<()> {
        let failed = |error: hdf5::Error| failed(path, "cannot be written", &error);
        let file = hdf5::File::create(path).map_err(failed)?;
        provenance.write(path, &file, FileKind::Observations)?;
        for (name, names) in
            [("parameter_names", &self.parameter_names), ("observation_names", &self.observation_names)]
        {
            let json = serde_json::json!(names).to_string();
            if !names.is_empty() && json.len() <= attributes::LONGEST_TEXT {
                attributes::write_text(path, &file, name, &json)?;
            }
        }
        if self.x.iter().all(|&value| f64::from(value as f32) == value) {
            write_x(&file, &self.x.mapv(|value| value as f32)).map_err(failed)?;
        } else {
            write_x(&file, &self.x).map_err(failed)?;
        }
        if let Some(theta) = &self.theta_true {
            let dataset = file.new_dataset::<f32>().shape(theta.len()).obj_track_times(false);
            dataset.create("theta_true").and_then(|dataset| dataset.write(theta)).map_err(failed)?;
        }
        file.close().map_err(failed)
    }

    /// Reads an observations file: ours, or any HDF5 file with a dataset `x` (n, d).
    ///
    /// # Errors
    /// When the file is missing, of another kind, has no matrix `x`, or values are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with(path, Gaps::Refused)
    }

    /// The same, told whether values may be missing.
    ///
    /// # Errors
    /// As [`Observations::read`].
    pub fn read_with(path: &Path, gaps: Gaps) -> Result<Self> {
        let file = open_hdf5(path)?;
        expect_kind(path, &file, FileKind::Observations)?;
        let (x, _) = super::matrix::read_dataset(path, &file, "x", (None, gaps))?;
        let theta_true = if file.link_exists("theta_true") {
            let (theta, _) = super::matrix::read_dataset(path, &file, "theta_true", (None, Gaps::Refused))?;
            Some(theta.row(0).mapv(|value| value as f32))
        } else {
            None
        };
        Ok(Self {
            x,
            theta_true,
            parameter_names: attributes::names(path, &file, "parameter_names")?.unwrap_or_default(),
            observation_names: attributes::names(path, &file, "observation_names")?.unwrap_or_default(),
        })
    }
}

fn write_x<T: hdf5::H5Type>(file: &hdf5::File, x: &Array2<T>) -> hdf5::Result<()> {
    let dataset = file.new_dataset::<T>().shape(x.dim()).chunk(x.dim()).shuffle().deflate(1);
    dataset.obj_track_times(false).create("x")?.write(x)
}

/// Fails where values are not finite, or missing where they may not be.
pub(super) fn check_finite<T: Copy + Into<f64>>(what: &str, values: ArrayView2<'_, T>, gaps: Gaps) -> Result<()> {
    let fits = |value: f64| value.is_finite() || gaps == Gaps::Allowed && value.is_nan();
    let bad: Vec<usize> = values
        .outer_iter()
        .enumerate()
        .flat_map(|(row, values)| {
            values.into_iter().filter(|v| !fits((**v).into())).map(move |_| row).collect::<Vec<_>>()
        })
        .collect();
    match bad.first() {
        None => Ok(()),
        Some(&row) => Err(FileError::NotFinite { what: what.into(), count: bad.len(), row }),
    }
}
