//! Matrices from wherever users keep them: our files, any HDF5 dataset, CSV.

use super::observations::check_finite;
use super::packing::Packing;
use super::provenance::kind_of_open;
use super::table::{Header, read_table};
use super::{CONDITIONS, FileKind, Observations, Posterior, failed, file_error, open_hdf5};
use crate::{FileError, Result};
use hdf5::types::TypeDescriptor;
use ndarray::{Array, Array1, Array2, ArrayD, Axis, Ix2, concatenate};
use std::path::{Path, PathBuf};

/// Where a matrix is: `FILE`, `FILE.h5:DATASET` or `FILE.h5:DATASET:INDEX`.
///
/// The dataset is a path in the file (`posterior/n30`); the index selects from the first axis of a three-dimensional array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixSource {
    /// The file.
    pub path: PathBuf,
    /// The dataset, where one is named.
    pub dataset: Option<String>,
    /// Index into the first axis.
    pub index: Option<usize>,
}

/// Whether values may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gaps {
    /// They may not: NaN is an error.
    #[default]
    Refused,
    /// They may, and are NaN; in tables, empty cells and NA too.
    Allowed,
}

/// A matrix, one sample or observation a row, with what its file says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Values, all finite, or NaN where they may be missing.
    pub values: Array2<f64>,
    /// Names of the columns; may be empty.
    pub names: Vec<String>,
    /// True parameters, where the file holds them.
    pub theta_true: Option<Array1<f64>>,
    /// Whether the file holds one dimension, which is taken for one row: [`Matrix::with_rows_of`] knows better.
    pub flat: bool,
}

impl Matrix {
    /// The same for rows of `width` values: one dimension of n values is n rows of one value, or one row of n.
    ///
    /// # Errors
    /// What was found and what to write, if it is neither.
    pub fn with_rows_of(self, width: usize) -> std::result::Result<Self, String> {
        let found = self.values.ncols();
        match (self.flat, width) {
            (true, 1) => Ok(Self { values: self.values.reversed_axes(), flat: false, ..self }),
            (true, _) if found != width => Err(format!(
                "has one dimension, of {found} values, and a row has {width}; write an array of two dimensions, (n, {width})"
            )),
            _ => Ok(self),
        }
    }
}

impl MatrixSource {
    /// Takes `FILE[:DATASET[:INDEX]]` apart. A file whose name contains a colon is found as it is.
    pub fn parse(text: &str) -> Self {
        let plain = |text: &str| Self { path: text.into(), dataset: None, index: None };
        if Path::new(text).exists() {
            return plain(text);
        }
        let Some((before, last)) = text.rsplit_once(':') else { return plain(text) };
        if let (Ok(index), Some((path, dataset))) = (last.parse(), before.rsplit_once(':')) {
            return Self { path: path.into(), dataset: Some(dataset.into()), index: Some(index) };
        }
        // An index that is none belongs to the dataset's name, and the file is there to say which names it has.
        match text.split_once(':') {
            Some((path, dataset)) if Path::new(path).exists() => {
                Self { path: path.into(), dataset: Some(dataset.into()), index: None }
            }
            _ => Self { path: before.into(), dataset: Some(last.into()), index: None },
        }
    }

    /// Reads the matrix.
    ///
    /// Without a dataset: of a posterior file the samples (chains one after another), of an observations file `x`, of a CSV
    /// file its numbers (a first line without numbers names the columns), of an npy file its array.
    ///
    /// # Errors
    /// When the file or dataset is missing or of the wrong shape, or values are not finite numbers.
    pub fn read(&self) -> Result<Matrix> {
        self.read_with(Header::Auto, Gaps::Refused)
    }

    /// The same, told whether the first line of a table names its columns, and whether values may be missing.
    ///
    /// # Errors
    /// As [`MatrixSource::read`].
    pub fn read_with(&self, header: Header, gaps: Gaps) -> Result<Matrix> {
        let path = &self.path;
        let known = ["csv", "tsv", "txt", "dat", "ascii"];
        let text = path.extension().is_some_and(|e| known.iter().any(|known| e.eq_ignore_ascii_case(known)));
        if text && self.dataset.is_none() {
            return read_table(path, header, gaps);
        }
        if self.is_npy() {
            return self.read_npy_matrix(gaps);
        }
        let file = open_hdf5(path)?;
        let Some(name) = &self.dataset else { return read_whole(path, &file, gaps) };
        let (values, flat) = read_dataset(path, &file, name, (self.index, gaps))?;
        let theta_true = self.theta_beside(&file, name)?;
        Ok(Matrix { values, names: Vec::new(), theta_true, flat })
    }

    fn read_npy_matrix(&self, gaps: Gaps) -> Result<Matrix> {
        let path = &self.path;
        let values = self.read_array()?;
        let flat = values.ndim() == 1;
        let values = if flat { values.insert_axis(Axis(0)) } else { values };
        let shape = values.shape().to_vec();
        let values = values.into_dimensionality::<Ix2>().map_err(|_| {
            file_error(path, format!("has the shape {shape:?}; a matrix with a sample a row is needed"))
        })?;
        if values.is_empty() {
            return Err(file_error(path, "holds no numbers"));
        }
        check_finite(&path.display().to_string(), values.view(), gaps)?;
        Ok(Matrix { values: values.as_standard_layout().into_owned(), names: Vec::new(), theta_true: None, flat })
    }

    /// `theta_true` in the same file: a vector, or the row that belongs to the index.
    fn theta_beside(&self, file: &hdf5::File, dataset: &str) -> Result<Option<Array1<f64>>> {
        if dataset == "theta_true" || !file.link_exists("theta_true") {
            return Ok(None);
        }
        let (theta, _) = read_dataset(&self.path, file, "theta_true", (None, Gaps::Refused))?;
        Ok(match self.index {
            Some(index) if index < theta.nrows() => Some(theta.row(index).to_owned()),
            None if theta.nrows() == 1 => Some(theta.row(0).to_owned()),
            _ => None,
        })
    }
}

fn read_whole(path: &Path, file: &hdf5::File, gaps: Gaps) -> Result<Matrix> {
    match kind_of_open(path, file)? {
        Some(FileKind::Posterior) => {
            let posterior = Posterior::read(path)?;
            Ok(Matrix { values: posterior.matrix(), names: posterior.parameter_names, theta_true: None, flat: false })
        }
        Some(FileKind::Observations) => {
            let observations = Observations::read_with(path, gaps)?;
            let (values, flat) = read_observed(path, file, gaps)?;
            let theta_true = observations.theta_true.map(|theta| theta.mapv(f64::from));
            Ok(Matrix { values, names: observations.observation_names, theta_true, flat })
        }
        Some(FileKind::TrainingSet) => Err(FileError::Kind {
            path: path.to_owned(),
            expected: "observations or posterior",
            found: FileKind::TrainingSet.to_string(),
        }),
        None if file.link_exists("posterior/chain") || file.link_exists("posterior/draw") => {
            let posterior = Posterior::read(path)?;
            Ok(Matrix { values: posterior.matrix(), names: posterior.parameter_names, theta_true: None, flat: false })
        }
        None if file.link_exists("x") && file.link_exists("theta") => Err(FileError::Kind {
            path: path.to_owned(),
            expected: "observations or posterior",
            found: format!("{} by its datasets theta and x", FileKind::TrainingSet),
        }),
        None if file.link_exists("x") => {
            let theta_true = MatrixSource { path: path.into(), dataset: None, index: None }.theta_beside(file, "x")?;
            let (values, flat) = read_observed(path, file, gaps)?;
            Ok(Matrix { values, names: Vec::new(), theta_true, flat })
        }
        None => {
            let found = super::contents::arrays(path, file)?;
            let list: Vec<String> = found.iter().filter(|a| a.shape.len() >= 2).map(|a| a.name.clone()).collect();
            Err(file_error(
                path,
                format!("say which dataset to read, as {}:NAME with one of: {}", path.display(), list.join(", ")),
            ))
        }
    }
}

/// Says which filter is missing where HDF5 would look for a plugin.
pub(super) fn refuse_unknown_filters(path: &Path, dataset: &hdf5::Dataset) -> Result<()> {
    /// Registered filters that people meet, by number.
    const KNOWN: [(i32, &str); 6] = [
        (32_000, "lzf"),
        (32_001, "blosc"),
        (32_004, "lz4"),
        (32_008, "bitshuffle"),
        (32_015, "zstd"),
        (32_026, "blosc2"),
    ];
    for filter in dataset.filters() {
        let id = filter.id();
        // SAFETY: a plain query of the library, made under its lock.
        let available = hdf5::sync::sync(|| unsafe { hdf5_sys::h5z::H5Zfilter_avail(id) }) > 0;
        if !available {
            let name = KNOWN.iter().find(|(known, _)| *known == id).map_or("unknown", |(_, name)| name);
            let what = dataset.name();
            return Err(file_error(
                path,
                format!(
                    "{} is compressed by the filter {name} ({id}), which is not installed; save it again with gzip (h5repack -f GZIP=4)",
                    what.trim_start_matches('/')
                ),
            ));
        }
    }
    Ok(())
}

/// That a dataset holds something else than numbers, and how to save it.
pub(super) fn no_numbers(path: &Path, name: &str, kind: hdf5::Result<TypeDescriptor>) -> FileError {
    let (what, remedy) = match kind {
        Ok(TypeDescriptor::Boolean) => ("truth values", "save them as 0 and 1"),
        Ok(TypeDescriptor::Compound(_)) => {
            ("records (complex numbers, tables of pandas)", "save one array of float64, a value a column")
        }
        Ok(TypeDescriptor::Enum(_)) => ("names of categories", "save their codes as whole numbers"),
        Ok(
            TypeDescriptor::FixedAscii(_)
            | TypeDescriptor::FixedUnicode(_)
            | TypeDescriptor::VarLenAscii
            | TypeDescriptor::VarLenUnicode,
        ) => ("text", "save float64"),
        _ => ("another type (long doubles, for example)", "save float64"),
    };
    file_error(path, format!("dataset {name} does not hold numbers that can be read, but {what}; {remedy}"))
}

/// The dataset `name` of numbers that can be read.
pub(super) fn numbers(path: &Path, file: &hdf5::File, name: &str) -> Result<hdf5::Dataset> {
    let dataset = file.dataset(name).map_err(|_| {
        let known = super::contents::arrays(path, file).unwrap_or_default();
        let known: Vec<String> = known.into_iter().map(|array| array.name).collect();
        file_error(
            path,
            format!(
                "has no dataset {name}; it has {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            ),
        )
    })?;
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()) {
        Ok(TypeDescriptor::Float(_) | TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => {}
        kind => return Err(no_numbers(path, name, kind)),
    }
    refuse_unknown_filters(path, &dataset)?;
    Ok(dataset)
}

/// All numbers of a dataset, as they were before they were packed.
pub(super) fn read_all(path: &Path, name: &str, dataset: &hdf5::Dataset) -> Result<ArrayD<f64>> {
    super::guard::check_memory(path, name, dataset.size(), size_of::<f64>())?;
    let values = dataset.read_dyn::<f64>().map_err(|error| failed(path, &format!("cannot read {name}"), &error))?;
    Ok(unpacked(dataset, values))
}

fn unpacked<D: ndarray::Dimension>(dataset: &hdf5::Dataset, mut values: Array<f64, D>) -> Array<f64, D> {
    let packing = Packing::of(dataset);
    if !packing.is_plain() {
        values.mapv_inplace(|value| packing.decode(value));
    }
    values
}

/// The dataset x, behind conditions that stand apart in the file, and whether one dimension was taken for one row.
fn read_observed(path: &Path, file: &hdf5::File, gaps: Gaps) -> Result<(Array2<f64>, bool)> {
    let (mut x, flat) = read_dataset(path, file, "x", (None, gaps))?;
    if !file.link_exists(CONDITIONS) {
        return Ok((x, flat));
    }
    let (mut conditions, flat_conditions) = read_dataset(path, file, CONDITIONS, (None, Gaps::Refused))?;
    // As many as the other has rows: one value a row. Two alike are columns both.
    if flat && [conditions.nrows(), conditions.len()].contains(&x.len()) {
        x = x.reversed_axes();
    }
    if flat_conditions && conditions.len() == x.nrows() {
        conditions = conditions.reversed_axes();
    }
    if conditions.nrows() != x.nrows() {
        return Err(FileError::Shape {
            what: format!("{}: {CONDITIONS}", path.display()),
            expected: format!("{} rows, one for each of x", x.nrows()),
            found: conditions.nrows().to_string(),
        });
    }
    let all = concatenate(Axis(1), &[conditions.view(), x.view()]).map_err(|error| failed(path, CONDITIONS, &error))?;
    Ok((all.as_standard_layout().into_owned(), false))
}

/// Reads a dataset as a matrix: (n, d) as it is, (d) as one row, (k, n, d) at `index`; and whether it is of one dimension.
pub(super) fn read_dataset(
    path: &Path,
    file: &hdf5::File,
    name: &str,
    (index, gaps): (Option<usize>, Gaps),
) -> Result<(Array2<f64>, bool)> {
    let dataset = numbers(path, file, name)?;
    let shape = dataset.shape();
    let wrong = |what: String| {
        let shape = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(file_error(path, format!("dataset {name} has the shape ({shape}){what}")))
    };
    let values: ArrayD<f64> = match (shape.len(), index) {
        (1, None) => read_all(path, name, &dataset)?.insert_axis(Axis(0)),
        (2, None) => read_all(path, name, &dataset)?,
        (3, Some(index)) if index < shape[0] => {
            super::guard::check_memory(path, name, shape[1..].iter().product(), size_of::<f64>())?;
            let values = dataset
                .read_slice::<f64, _, Ix2>(ndarray::s![index, .., ..])
                .map_err(|error| failed(path, &format!("cannot read {name}"), &error))?;
            unpacked(&dataset, values).into_dyn()
        }
        (3, Some(_)) => return wrong(format!("; the index must be 0 to {}", shape[0].saturating_sub(1))),
        (3, None) => {
            return wrong(format!(
                "; select one of its {} matrices as {}:{name}:INDEX (0 to {})",
                shape[0],
                path.display(),
                shape[0].saturating_sub(1)
            ));
        }
        (_, Some(_)) => return wrong("; an index selects from three dimensions, leave it out".into()),
        _ => return wrong("; a matrix with a sample a row is needed".into()),
    };
    let values = values.into_dimensionality::<Ix2>().map_err(|error| failed(path, name, &error))?;
    if values.is_empty() {
        return wrong(": it holds no numbers".into());
    }
    check_finite(&format!("{}: {name}", path.display()), values.view(), gaps)?;
    Ok((values, shape.len() == 1))
}
